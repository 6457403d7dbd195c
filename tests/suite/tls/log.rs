//! The real binary over TLS: what both sides say, and new certificates by a signal or by
//! themselves.

use rustix::process::Signal;

use super::pki::{self, Pki};
use crate::process::{Broker, Ran, binary, wait_for};

/// A broker with the certificate of `pki`, and more arguments.
pub fn serve(pki: &Pki, more: &[&str]) -> Broker {
    let (cert, key) = (pki.arg("server.pem"), pki.arg("server-key.pem"));
    let mut args = vec![
        "--tls-cert",
        &cert,
        "--tls-key",
        &key,
        "--http",
        "127.0.0.1:0",
    ];
    args.extend(more);
    Broker::start_with(&pki.path("data"), &args)
}

/// `npayload broker info` against `localhost`, with more arguments.
fn ask(broker: &Broker, scheme: &str, args: &[&str]) -> Ran {
    let url = format!("{scheme}://localhost:{}", broker.address().port());
    let mut all = vec!["broker", "info", "--url", &url];
    all.extend(args);
    broker.run(&all)
}

#[test]
fn both_sides_say_why_a_client_stays_out() {
    let (pki, other) = (Pki::new(), Pki::new());
    let ca = pki.arg("ca.pem");
    let broker = serve(&pki, &["--tls-client-ca", &ca]);
    let (cert, key) = (
        pki.arg("client-trainer.pem"),
        pki.arg("client-trainer-key.pem"),
    );
    let shown = ["--cert", &cert, "--cert-key", &key];
    ask(
        &broker,
        "npayload+tls",
        &[&["--ca", &ca][..], &shown].concat(),
    )
    .ok();

    let said = ask(&broker, "npayload+tls", &["--ca", &other.arg("ca.pem")]).fails(1);
    assert!(
        said.contains("not issued by a CA that is trusted here"),
        "{said}"
    );
    assert!(
        said.contains(&other.arg("ca.pem")) && said.contains("--ca FILE"),
        "{said}"
    );
    broker.logs("it does not trust the CA of this broker's certificate");

    let said = ask(
        &broker,
        "npayload+tls",
        &["--ca", &ca, "--server-name", "b.example"],
    )
    .fails(1);
    assert!(said.contains("is not for `b.example`"), "{said}");
    broker.logs("not for the name that it connected to");

    let said = ask(&broker, "npayload+tls", &["--ca", &ca]).fails(1);
    assert!(said.contains("demands a client certificate"), "{said}");
    assert!(said.contains("--cert FILE --cert-key FILE"), "{said}");
    broker.logs("it has no client certificate, which is required here");

    let theirs = [
        other.arg("client-trainer.pem"),
        other.arg("client-trainer-key.pem"),
    ];
    let shown = ["--ca", &ca, "--cert", &theirs[0], "--cert-key", &theirs[1]];
    let said = ask(&broker, "npayload+tls", &shown).fails(1);
    assert!(said.contains("refused this client's certificate"), "{said}");
    broker.logs("no CA in the file of client CAs has issued its certificate");

    let said = ask(&broker, "npayload", &[]).fails(1);
    assert!(
        said.contains("TLS_REQUIRED") && said.contains("--tls"),
        "{said}"
    );
    broker.logs("it speaks without TLS, and this port only with TLS");

    pki.issue("late", |params| {
        pki::for_clients(params);
        pki::expired(params);
    });
    let late = [pki.arg("late.pem"), pki.arg("late-key.pem")];
    let shown = ["--ca", &ca, "--cert", &late[0], "--cert-key", &late[1]];
    ask(&broker, "npayload+tls", &shown).fails(1);
    broker.logs("its certificate expired on 2021-06-01T00:00:00Z");
    assert_eq!(broker.terminate(), 0);
}

#[test]
fn a_client_with_tls_and_a_broker_without_say_so() {
    let pki = Pki::new();
    let broker = Broker::start(&pki.path("data"));
    let said = ask(&broker, "npayload", &["--ca", &pki.arg("ca.pem")]).fails(1);
    assert!(said.contains("does not speak TLS"), "{said}");
    assert!(said.contains("npayload://"), "{said}");
    broker.logs("it speaks TLS, and this port has no certificate to answer with");
    assert_eq!(broker.terminate(), 0);
}

#[test]
fn the_environment_names_the_files_and_an_open_port_is_not_needed_for_that() {
    let pki = Pki::new();
    let ca = pki.arg("ca.pem");
    let mut serving = binary();
    serving
        .env("NPAYLOAD_TLS_CERT", pki.file("server.pem"))
        .env("NPAYLOAD_TLS_KEY", pki.file("server-key.pem"))
        .env("NPAYLOAD_TLS_CLIENT_CA", &ca)
        .env("NPAYLOAD_TLS_CLIENT_CERTS", "optional");
    let config = pki.path("empty.toml");
    pki::write(&config, "");
    let broker = Broker::launch_by(serving, &config, &pki.path("data"), &[]).ready();
    let url = format!("npayload+tls://localhost:{}", broker.address().port());
    let run = |variables: &[(&str, &str)]| {
        let mut command = broker.command(&["channel", "list", "--url", &url]);
        command.envs(variables.iter().copied());
        command.output().expect("runs").status.success()
    };
    assert!(!run(&[]), "the system does not trust it");
    assert!(run(&[("NPAYLOAD_CA", &ca)]));
    let identity = [
        pki.arg("client-trainer.pem"),
        pki.arg("client-trainer-key.pem"),
    ];
    assert!(run(&[
        ("NPAYLOAD_CA", &ca),
        ("NPAYLOAD_CERT", &identity[0]),
        ("NPAYLOAD_CERT_KEY", &identity[1]),
    ]));
    assert!(
        !run(&[("NPAYLOAD_CA", &ca), ("NPAYLOAD_CERT", &identity[0])]),
        "half of one"
    );
    assert_eq!(broker.terminate(), 0);
}

#[test]
fn sighup_has_new_files_taken_and_bad_ones_logged() {
    let (pki, next) = (Pki::new(), Pki::new());
    let broker = serve(&pki, &[]);
    let (old, new) = (pki.arg("ca.pem"), next.arg("ca.pem"));
    pki::write(&pki.file("server-key.pem"), "no key");
    broker.signal(Signal::HUP);
    broker.logs("the new files of TLS are not taken, the old ones stay in use");
    assert!(
        broker.log().contains("server-key.pem holds no private key"),
        "{}",
        broker.log()
    );
    ask(&broker, "npayload+tls", &["--ca", &old]).ok();
    pki.replace_server(&next, "server");
    broker.signal(Signal::HUP);
    wait_for("the new certificate", || {
        (ask(&broker, "npayload+tls", &["--ca", &new]).code == 0).then_some(())
    });
    ask(&broker, "npayload+tls", &["--ca", &old]).fails(1);
    assert_eq!(broker.terminate(), 0);
}

#[test]
fn a_key_that_everybody_may_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt;
    let pki = Pki::new();
    let quiet = serve(&pki, &[]);
    assert!(!quiet.log().contains("may read the key"), "{}", quiet.log());
    assert_eq!(quiet.terminate(), 0);
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(pki.file("server-key.pem"), open).expect("its owner may");
    let broker = serve(&pki, &[]);
    broker.logs("every user of this machine may read the key in");
    assert_eq!(broker.terminate(), 0);
}

#[test]
fn changed_files_are_noticed_without_a_signal() {
    let (pki, next) = (Pki::new(), Pki::new());
    let broker = serve(&pki, &[]);
    pki.replace_server(&next, "server");
    let new = next.arg("ca.pem");
    // They are looked at every 10 s.
    let is_taken = || ask(&broker, "npayload+tls", &["--ca", &new]).code == 0;
    let began = crate::process::clock();
    while !is_taken() {
        let waited = began.elapsed().as_secs();
        assert!(waited < 120, "the new files were not noticed in {waited} s");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    assert_eq!(broker.terminate(), 0);
}

#[test]
fn a_broker_without_tls_takes_sighup_as_the_end() {
    let pki = Pki::new();
    let broker = Broker::start(&pki.path("data"));
    broker.run_with(&["publish", "a"], b"one\n").ok();
    broker.signal(Signal::HUP);
    assert_eq!(broker.wait(), 0, "stopped in order");
}
