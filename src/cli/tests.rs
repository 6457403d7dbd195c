//! The command line as others rely on it: names of options, exit codes, what excludes what.

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use super::Cli;

fn parse(line: &str) -> Result<Cli, ErrorKind> {
    Cli::of(line.split_whitespace()).map_err(|error| error.kind())
}

#[test]
fn the_definition_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn every_documented_form_is_understood() {
    for line in [
        "npayload serve",
        "npayload serve --require-keys --admin-key-file f",
        "npayload serve --data-dir ./data --listen 127.0.0.1:0 --http 127.0.0.1:0 --config f --json",
        "npayload serve --listen 0.0.0.0:1 --require-keys --tls-cert c --tls-key k --tls-client-ca a \
         --tls-client-certs optional --tls-min-version 1.2",
        "npayload serve --insecure --must-exist",
        "npayload cert dev",
        "npayload cert dev certs --name a.b --name ::1,c --client x --days 30 --json",
        "npayload channel list --tls --ca a --cert c --cert-key k --server-name s",
        "npayload --url npayload+tls://h --ca a publish x",
        "npayload channel create a.b-c_d",
        "npayload channel create a --retention-days 3 --retention-bytes 9 --durability written \
         --sync-interval-ms 5 --segment-bytes 4096 --max-record-bytes 100 --if-not-exists --json",
        "npayload channel create a --retention-days none --retention-bytes none --compression lz4,zstd",
        "npayload channel list --json",
        "npayload channel info a --json",
        "npayload channel info __channels",
        "npayload channel update a --durability synced",
        "npayload channel configure a --encryption on",
        "npayload channel create a --encryption off",
        "npayload channel rotate-key a --json",
        "npayload serve --master-key-file f",
        "npayload serve --master-key-command c",
        "npayload channel delete a --yes",
        "npayload publish a",
        "npayload publish a --file f --type t --key k --header a=b --header c=d=e --batch-records 1 \
         --linger-ms 0 --compression zstd --expect-offset 0 --fence 1 --timeout-s 1 --acks --json",
        "npayload publish a --key -1 --type -t --header -a=b",
        "npayload publish --atomic --file f --json",
        "npayload consume a",
        "npayload consume __consumers --json",
        "npayload consume a --from start --to end",
        "npayload consume a --from 5 --to 7 --max 1 --raw",
        "npayload consume a --from -5 --follow",
        "npayload consume a --from=-5 -f",
        "npayload consume a --from @-1h --to @2026-01-31T08:00:00Z",
        "npayload consume a --from @2026-01-31T08:00:00+01:00",
        "npayload audit",
        "npayload audit --json",
        "npayload audit --verify --json",
        "npayload audit --verify --expect 0:0000000000000000000000000000000000000000000000000000000000000000",
        "npayload consumer list a",
        "npayload consumer position a c",
        "npayload consumer commit a c 5 --metadata -x --expect 4",
        "npayload consumer commit a c 5 --expect none",
        "npayload consumer reset a c -5",
        "npayload consumer reset a c @-1h",
        "npayload consumer reset a c start",
        "npayload consumer lag",
        "npayload consumer lag a --json",
        "npayload consumer delete a c --yes",
        "npayload org create acme --max-connections 5 --requests-per-s 100 --bytes-in-per-s 4096 \
         --bytes-out-per-s 4096 --max-channels 3 --max-retention-days 7 --max-record-bytes 100",
        "npayload org list --json",
        "npayload org limit acme",
        "npayload key create ci --scope publish:orders.*,x --scope all --org acme --test \
         --expires 90d --requests-per-s 5",
        "npayload key create ci --scope all --expires 2027-01-31T08:00:00Z",
        "npayload key list --org acme",
        "npayload key rotate key_01990000-0000-7000-8000-0000000000ff --overlap 0s",
        "npayload key revoke key_01990000-0000-7000-8000-0000000000ff --yes",
        "npayload grant create consume orders.* --guest acme --expires 7d",
        "npayload grant create publish orders --owner acme",
        "npayload grant list --org acme --json",
        "npayload grant accept grt_01990000-0000-7000-8000-0000000000ff",
        "npayload grant revoke grt_01990000-0000-7000-8000-0000000000ff",
        "npayload --api-key-file f key list",
        "npayload agent register research-agent",
        "npayload agent register a --description d --agent-version 2.1.0 --capability b --capability c.d \
         --protocol asp/1.0 --schema urn:x --authority-level high --max-transaction 5000:EUR --status busy \
         --timezone Europe/Berlin --response-time 250ms --endpoint http=https://h/ --metadata {} --json",
        "npayload agent search",
        "npayload agent list --json",
        "npayload agent search image-* b --any --min-trust 0.85 --availability busy --text x --org acme --max 5",
        "npayload agent show agt_01990000-0000-7000-8000-0000000000ff --card",
        "npayload agent show agent://acme/research/writer --json",
        "npayload agent availability a away --timezone UTC --response-time 1m",
        "npayload agent deregister a",
        "npayload agent key a ed25519:d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "npayload agent key a --revoke",
        "npayload agent key a --generate f",
        "npayload session create t --participant a:coordinator --participant agent://acme/b:specialist \
         --ttl 2h --invitation 5m --max-messages 5 --max-payload-bytes 5 --max-participants 5 --metadata {}",
        "npayload session list --agent a --state ESCALATED --state closed --since 7d --until 1h --max 5 --json",
        "npayload session list --since 2027-01-31T08:00:00Z",
        "npayload session show ses_01990000-0000-7000-8000-0000000000ff",
        "npayload session send ses_01990000-0000-7000-8000-0000000000ff --from a {\"x\":1}",
        "npayload session send ses_01990000-0000-7000-8000-0000000000ff --from a --to b --type task.assign \
         --say propose --reply-to msg_01990000-0000-7000-8000-0000000000ff --allow ACCEPT,reject --within 10m \
         --require-trust 0.5 --id msg_01990000-0000-7000-8000-0000000000fe --signing-key-file f -",
        "npayload session tail ses_01990000-0000-7000-8000-0000000000ff --from 3 -f --max 5 --agent a --json",
        "npayload session verify ses_01990000-0000-7000-8000-0000000000ff --agent a --json",
        "npayload session close ses_01990000-0000-7000-8000-0000000000ff --from a --reason r --outcome o",
        "npayload session leave ses_01990000-0000-7000-8000-0000000000ff a",
        "npayload session resume ses_01990000-0000-7000-8000-0000000000ff",
        "npayload session inbox a --cursor c --follow --max 5",
        "npayload tool start web-search --agent a",
        "npayload tool start t --agent a --session ses_01990000-0000-7000-8000-0000000000ff --parent \
         tcl_01990000-0000-7000-8000-0000000000ff --arguments @f --sensitive --timeout 2h \
         --id tcl_01990000-0000-7000-8000-0000000000fe --json",
        "npayload tool progress tcl_01990000-0000-7000-8000-0000000000ff --progress 0.5 --message m",
        "npayload tool finish tcl_01990000-0000-7000-8000-0000000000ff [1] --sensitive",
        "npayload tool finish tcl_01990000-0000-7000-8000-0000000000ff --result-sha256 \
         sha256:0000000000000000000000000000000000000000000000000000000000000000",
        "npayload tool fail tcl_01990000-0000-7000-8000-0000000000ff timeout --message m",
        "npayload tool list --agent a --tool t --since 7d --otel",
        "npayload tool list --session ses_01990000-0000-7000-8000-0000000000ff --outcome abandoned --until 1h",
        "npayload tool show tcl_01990000-0000-7000-8000-0000000000ff --otel",
        "npayload tool stats t --json",
        "npayload commitment create ses_01990000-0000-7000-8000-0000000000ff words --agent a \
         --deadline 2h",
        "npayload commitment create ses_01990000-0000-7000-8000-0000000000ff words --agent a \
         --deadline 2026-03-15T00:00:00Z --to agent://acme/b --obligation a:write --escrow \
         50000:EUR --late-percent 2.5 --non-delivery-percent 100 --severity 5 --window 1h \
         --terms @f --id cmt_01990000-0000-7000-8000-0000000000ff --json",
        "npayload commitment deliver cmt_01990000-0000-7000-8000-0000000000ff --evidence {} \
         --reference ses_01990000-0000-7000-8000-0000000000ff:7 --reference a.b:1..2",
        "npayload commitment confirm cmt_01990000-0000-7000-8000-0000000000ff --agent a --within \
         1h",
        "npayload commitment list --agent a --side counterparty --session \
         ses_01990000-0000-7000-8000-0000000000ff --state active --state breached --max 5 --json",
        "npayload commitment show cmt_01990000-0000-7000-8000-0000000000ff --agent a",
        "npayload commitment receipt cmt_01990000-0000-7000-8000-0000000000ff --agent a",
        "npayload commitment receipt --verify f --json",
        "npayload dispute create cmt_01990000-0000-7000-8000-0000000000ff words --agent a --type \
         non-delivery --severity 2 --evidence {} --reference \
         ses_01990000-0000-7000-8000-0000000000ff:7 --id \
         dsp_01990000-0000-7000-8000-0000000000ff --json",
        "npayload dispute answer dsp_01990000-0000-7000-8000-0000000000ff words --reference \
         ses_01990000-0000-7000-8000-0000000000ff:7",
        "npayload dispute create cmt_01990000-0000-7000-8000-0000000000ff words --answer-within 2h \
         --arbitrate-within 3d --reference a.b:1..5",
        "npayload dispute withdraw dsp_01990000-0000-7000-8000-0000000000ff",
        "npayload dispute rule dsp_01990000-0000-7000-8000-0000000000ff partial words --agent a \
         --severity 2",
        "npayload dispute rule dsp_01990000-0000-7000-8000-0000000000ff upheld",
        "npayload dispute list --commitment cmt_01990000-0000-7000-8000-0000000000ff --agent a \
         --session ses_01990000-0000-7000-8000-0000000000ff --state under-review --max 5",
        "npayload dispute show dsp_01990000-0000-7000-8000-0000000000ff --agent a --json",
        "npayload trust show a --json",
        "npayload trust show a --region us-east",
        "npayload trust explain a --any-region",
        "npayload agent search --region us-east --json",
        "npayload agent show a --any-region",
        "npayload session show ses_01990000-0000-7000-8000-0000000000ff --region us-east",
        "npayload session tail ses_01990000-0000-7000-8000-0000000000ff --any-region --from 3",
        "npayload trust explain agent://acme/a --max 20 --cursor c",
        "npayload consume a --from 1 --to 3 --json --base64",
        "npayload trust endorse a --from b --json",
        "npayload trust endorse agent://acme/a --from b --withdraw",
        "npayload trust rate a 0.9 --session ses_01990000-0000-7000-8000-0000000000ff --from b",
        "npayload org verify acme --revoke --json",
        "npayload escrow deposit 50000:EUR --agent a",
        "npayload escrow withdraw 1:USD --org acme --json",
        "npayload escrow deposit 1:USD --org acme --agent agent://beta/bot",
        "npayload escrow deposit 1:USD --id pay_01990000-0000-7000-8000-0000000000ff --region us-east",
        "npayload grant create asp research-* --guest b",
        "npayload escrow balance --currency EUR",
        "npayload escrow ledger --agent a --commitment cmt_01990000-0000-7000-8000-0000000000ff \
         --max 5 --json",
        "npayload market create --title t --category data-analysis --capability web-search --agent a",
        "npayload market create --title t --description @f --category c --tag x --tag y --capability a \
         --capability b --agent a --agent b --price 0EUR/call..1000,0.05EUR/call --visibility \
         invite-only --access by-invitation --invite acme --invite beta --sample {} --terms @f --id \
         lst_01990000-0000-7000-8000-0000000000ff --json",
        "npayload market create --file f",
        "npayload market update lst_01990000-0000-7000-8000-0000000000ff --price 9.90EUR/month --sample null",
        "npayload market submit lst_01990000-0000-7000-8000-0000000000ff",
        "npayload market review lst_01990000-0000-7000-8000-0000000000ff approve",
        "npayload market review lst_01990000-0000-7000-8000-0000000000ff reject --reason r --json",
        "npayload market archive lst_01990000-0000-7000-8000-0000000000ff",
        "npayload market search",
        "npayload market search words --category c --tag x --capability a --min-trust 0.5 --max-price \
         2.50EUR --pricing per-call --org acme --verified --sort price --max 5 --json",
        "npayload market search --own --sort newest",
        "npayload market search --in-review",
        "npayload market info lst_01990000-0000-7000-8000-0000000000ff --json",
        "npayload market subscribe lst_01990000-0000-7000-8000-0000000000ff --terms-hash \
         sha256:0000000000000000000000000000000000000000000000000000000000000000",
        "npayload market approve sub_01990000-0000-7000-8000-0000000000ff",
        "npayload market approve sub_01990000-0000-7000-8000-0000000000ff suspend --reason r",
        "npayload market cancel sub_01990000-0000-7000-8000-0000000000ff",
        "npayload market rate lst_01990000-0000-7000-8000-0000000000ff 5 --comment c",
        "npayload market subscriptions",
        "npayload market subscriptions --as publisher --listing lst_01990000-0000-7000-8000-0000000000ff --state requested --max 5",
        "npayload market usage sub_01990000-0000-7000-8000-0000000000ff --since 90d --until 2027-01-31T08:00:00Z --json",
        "npayload completions bash",
        "npayload --url npayload://h:1 --json channel list",
        "npayload channel list --url npayload://h:1",
    ] {
        assert_eq!(parse(line).map(drop), Ok(()), "{line}");
    }
}

#[test]
fn wrong_usage_is_refused_with_exit_code_2() {
    for line in [
        "npayload",
        "npayload nothing",
        "npayload channel",
        "npayload channel create",
        "npayload channel create a..b",
        "npayload channel create __a",
        "npayload channel create a --retention-days forever",
        "npayload channel create a --retention-days -1",
        "npayload channel create a --durability never",
        "npayload publish",
        "npayload publish __channels",
        "npayload publish a --atomic",
        "npayload publish --atomic --key k",
        "npayload publish a --header x",
        "npayload publish a --batch-records 0",
        "npayload publish a --fence 0",
        "npayload audit --verify --expect 7",
        "npayload audit --expect 0:0000000000000000000000000000000000000000000000000000000000000000",
        "npayload publish a --timeout-s 0",
        "npayload publish a --compression gzip",
        "npayload publish a --expect-offset 18446744073709551615",
        "npayload consume",
        "npayload consume a --from",
        "npayload consume a --from yesterday",
        "npayload consume a --from --follow",
        "npayload consume a --raw --json",
        "npayload consume a --base64",
        "npayload consume a --max -1",
        "npayload consumer commit a c",
        "npayload consumer commit a c -1",
        "npayload consumer commit a c 1 --expect x",
        "npayload consumer reset a c",
        "npayload consumer position a c/d/e",
        "npayload org create Acme",
        "npayload commitment create ses_01990000-0000-7000-8000-0000000000ff words --agent a",
        "npayload commitment create ses_01990000-0000-7000-8000-0000000000ff words --agent a \
         --deadline soon",
        "npayload commitment create ses_01990000-0000-7000-8000-0000000000ff words --agent a \
         --deadline 2h --severity 6",
        "npayload commitment create ses_01990000-0000-7000-8000-0000000000ff words --agent a \
         --deadline 2h --late-percent 5",
        "npayload commitment create ses_01990000-0000-7000-8000-0000000000ff words --agent a \
         --deadline 2h --escrow 1.5:EUR",
        "npayload commitment deliver dsp_01990000-0000-7000-8000-0000000000ff",
        "npayload commitment deliver cmt_01990000-0000-7000-8000-0000000000ff --reference a.b:1",
        "npayload commitment list --state done",
        "npayload commitment receipt",
        "npayload commitment receipt cmt_01990000-0000-7000-8000-0000000000ff --verify f",
        "npayload dispute create cmt_01990000-0000-7000-8000-0000000000ff",
        "npayload dispute create cmt_01990000-0000-7000-8000-0000000000ff words --type lateness",
        "npayload dispute rule dsp_01990000-0000-7000-8000-0000000000ff guilty words",
        "npayload dispute rule dsp_01990000-0000-7000-8000-0000000000ff upheld words --severity 0",
        "npayload trust rate a 1.1 --session ses_01990000-0000-7000-8000-0000000000ff --from b",
        "npayload trust endorse a",
        "npayload trust rate a 0.9",
        "npayload escrow deposit 0:EUR",
        "npayload escrow deposit 5:euro",
        "npayload escrow withdraw 5:EUR --id cmt_01990000-0000-7000-8000-0000000000ff",
        "npayload org verify Acme",
        "npayload agent search --region us-east --any-region",
        "npayload agent search --region US",
        "npayload session tail ses_01990000-0000-7000-8000-0000000000ff --region us-east --follow",
        "npayload key create ci",
        "npayload key create ci --scope write",
        "npayload key revoke 5",
        "npayload grant create consume a",
        "npayload agent register a..b",
        "npayload agent register agt_x",
        "npayload agent register a --max-transaction 5000",
        "npayload agent register a --endpoint x",
        "npayload agent show a/b",
        "npayload agent availability a",
        "npayload agent availability a gone",
        "npayload agent search --min-trust 2",
        "npayload agent key a",
        "npayload agent key a ed25519:d7",
        "npayload agent key a --revoke --generate f",
        "npayload session create t",
        "npayload session create t --participant a",
        "npayload session create t --participant a:boss",
        "npayload session list --state TALKING",
        "npayload session list --since yesterday",
        "npayload session show 5",
        "npayload session send ses_01990000-0000-7000-8000-0000000000ff",
        "npayload session send ses_01990000-0000-7000-8000-0000000000ff --from a --say SHOUT",
        "npayload session send ses_01990000-0000-7000-8000-0000000000ff --from a --id 7",
        "npayload session close ses_01990000-0000-7000-8000-0000000000ff",
        "npayload session tail ses_01990000-0000-7000-8000-0000000000ff --from -1",
        "npayload tool start t",
        "npayload tool start t --agent a --sensitive",
        "npayload tool start t --agent a --arguments 1 --arguments-sha256 \
         sha256:0000000000000000000000000000000000000000000000000000000000000000",
        "npayload tool finish tcl_01990000-0000-7000-8000-0000000000ff --result-sha256 x",
        "npayload tool fail tcl_01990000-0000-7000-8000-0000000000ff",
        "npayload tool list --outcome good",
        "npayload market create --title t --price 2.50",
        "npayload market create --title t --price 2.505EUR/call",
        "npayload market create --title t --visibility hidden",
        "npayload market create --title t --agent a..b",
        "npayload market review lst_01990000-0000-7000-8000-0000000000ff maybe",
        "npayload market review sub_01990000-0000-7000-8000-0000000000ff approve",
        "npayload market search --sort best",
        "npayload market search --max-price 5",
        "npayload market search --own --org acme",
        "npayload market approve sub_01990000-0000-7000-8000-0000000000ff reject",
        "npayload market rate lst_01990000-0000-7000-8000-0000000000ff 6",
        "npayload market rate lst_01990000-0000-7000-8000-0000000000ff 0",
        "npayload market subscriptions --as owner",
        "npayload market subscriptions --state done",
        "npayload market usage sub_01990000-0000-7000-8000-0000000000ff --since yesterday",
        "npayload completions tcsh",
        "npayload serve --tls-client-certs maybe",
        "npayload serve --tls-min-version 1.1",
        "npayload cert",
        "npayload cert dev --days many",
    ] {
        let error = Cli::try_parse_from(line.split_whitespace()).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{line}: {error}");
    }
}

#[test]
fn help_and_version_go_to_stdout_with_exit_code_0() {
    assert_eq!(
        parse("npayload --help").unwrap_err(),
        ErrorKind::DisplayHelp
    );
    assert_eq!(
        parse("npayload publish --help").unwrap_err(),
        ErrorKind::DisplayHelp
    );
    assert_eq!(
        parse("npayload --version").unwrap_err(),
        ErrorKind::DisplayVersion
    );
}

#[test]
fn every_option_is_explained() {
    fn check(command: &clap::Command) {
        for arg in command.get_arguments() {
            assert!(
                arg.get_help().is_some(),
                "{} {}",
                command.get_name(),
                arg.get_id()
            );
        }
        assert!(command.get_about().is_some(), "{}", command.get_name());
        command.get_subcommands().for_each(check);
    }
    check(&Cli::command());
}

#[test]
fn what_would_destroy_or_do_nothing_is_refused_before_a_broker_is_asked() {
    for line in [
        "npayload channel delete a",
        "npayload consumer delete a c",
        "npayload channel update a",
        "npayload market create --title t --category c --capability a",
        "npayload market create --title t --category c --capability a --agent a --sample {",
        "npayload market update lst_01990000-0000-7000-8000-0000000000ff",
        "npayload channel list --url http://x",
        "npayload channel list --tls --cert c",
        "npayload channel list --tls --cert-key k",
        "npayload completions bash --tls",
        "npayload cert dev --ca a",
    ] {
        let failure = parse(line).unwrap().run().unwrap_err();
        assert_eq!(failure.exit_code(), 2, "{line}: {failure}");
    }
}

#[test]
fn options_of_the_broker_stand_under_what_they_are_about() {
    let command = Cli::command();
    let serve = command.find_subcommand("serve").expect("there is one");
    for (option, heading) in [
        ("config", None),
        ("insecure", None),
        ("tls_cert", Some("TLS, on both addresses")),
        ("require_keys", Some("Keys")),
        ("master_key_file", Some("Keys")),
        ("peers", Some("Regions")),
        ("ack_wait", Some("Regions")),
    ] {
        let found = serve.get_arguments().find(|arg| arg.get_id() == option);
        assert_eq!(found.expect(option).get_help_heading(), heading, "{option}");
    }
}

#[test]
fn an_address_that_is_none_is_answered_with_what_one_is() {
    for line in [
        "npayload serve --listen localhost:7400",
        "npayload serve --http 7401",
    ] {
        let error = Cli::try_parse_from(line.split_whitespace()).expect_err(line);
        let text = error.to_string();
        assert!(text.contains("an address is IP:PORT, such as"), "{text}");
    }
}

#[test]
fn a_negative_number_is_told_as_the_value_that_it_is() {
    for line in [
        "npayload consume a --max -1",
        "npayload channel create a --retention-days -1",
        "npayload publish a --batch-records -1",
        "npayload publish a --fence -1",
        "npayload consumer commit a b -1",
        "npayload agent search --max -1",
    ] {
        let error = Cli::of(line.split_whitespace()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ValueValidation, "{line}");
        let text = error.to_string();
        assert!(!text.contains("-- -1"), "{text}");
        let says = ["whole number", "is not in"];
        assert!(says.iter().any(|say| text.contains(say)), "{text}");
    }
}

#[test]
fn what_is_no_offset_is_told_what_one_is() {
    let error = Cli::try_parse_from("npayload consumer commit a b abc".split_whitespace());
    let text = error.unwrap_err().to_string();
    assert!(
        text.contains("whole number from 0 on, such as 42"),
        "{text}"
    );
}
