//! `npayload cert dev`: what it makes is what a broker and its clients need, and never written
//! over.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use npayload::tls::PeerCertificate;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::process::{Broker, Ran, npayload};

fn dev(dir: &Path, more: &[&str]) -> Ran {
    let mut args = vec!["cert", "dev", dir.to_str().expect("UTF-8")];
    args.extend(more);
    npayload(&args)
}

fn read(path: &Path) -> PeerCertificate {
    let certificate = CertificateDer::from_pem_file(path).expect("PEM");
    PeerCertificate::read(&certificate).expect("readable")
}

#[test]
fn what_it_makes_and_says_to_try_works() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let certs = dir.path().join("some").join("certs");
    let said = dev(&certs, &["--client", "trainer"]).ok();
    let said = String::from_utf8(said).expect("text");
    // Both commands that it says to try, but for the ports, which others may have.
    let command = |first: &str| -> Vec<String> {
        let line = said.lines().find(|line| line.trim().starts_with(first));
        let line = line.unwrap_or_else(|| panic!("no {first} in {said}"));
        line.split_whitespace().skip(2).map(str::to_owned).collect()
    };
    let serve = command("npayload serve");
    let serve: Vec<&str> = serve.iter().map(String::as_str).collect();
    let broker = Broker::start_with(&dir.path().join("data"), &serve);
    let ask: Vec<String> = command("npayload broker info")
        .into_iter()
        .map(|word| {
            let port = broker.address().port();
            word.replace(
                "npayload+tls://localhost",
                &format!("npayload+tls://localhost:{port}"),
            )
        })
        .collect();
    let mut all = vec!["broker"];
    all.extend(ask.iter().map(String::as_str));
    broker.run(&all).ok();
    // Nobody without the client's certificate.
    let without = all
        .iter()
        .position(|word| *word == "--cert")
        .expect("it is said");
    broker.run(&all[..without]).fails(1);
    assert_eq!(broker.terminate(), 0);
}

#[test]
fn its_files_are_for_their_owner_alone_and_never_written_over() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let certs = dir.path().join("certs");
    let made = dev(
        &certs,
        &["--name", "a.example,10.1.2.3", "--name", "b", "--json"],
    )
    .json();
    let path = |value: &serde_json::Value| value.as_str().expect("a path").to_owned();
    let mut files = vec![
        path(&made["ca"]),
        path(&made["server"]["cert"]),
        path(&made["server"]["key"]),
    ];
    assert_eq!(made["clients"], serde_json::json!([]));
    files.push(certs.join("ca-key.pem").to_str().unwrap().to_owned());
    let before: Vec<Vec<u8>> = files
        .iter()
        .map(|file| std::fs::read(file).unwrap())
        .collect();
    for file in &files {
        let mode = std::fs::metadata(file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let mode = std::fs::metadata(&certs).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    assert_eq!(
        read(Path::new(&files[1])).names,
        ["a.example", "10.1.2.3", "b"]
    );

    let said = dev(&certs, &[]).fails(1);
    assert!(
        said.contains("holds a CA already") && said.contains("--client"),
        "{said}"
    );
    // A client's certificate by the CA that is there, and each only once.
    let made = dev(&certs, &["--client", "eval.1", "--json"]).json();
    assert!(made.get("server").is_none());
    let client = path(&made["clients"][0]["cert"]);
    assert_eq!(
        read(Path::new(&client)).common_name.as_deref(),
        Some("eval.1")
    );
    let said = dev(&certs, &["--client", "eval.1", "--client", "new"]).fails(1);
    assert!(said.contains("client-eval.1.pem exists already"), "{said}");
    assert!(!certs.join("client-new.pem").exists(), "all or nothing");
    // What is left of a CA is not made whole by another.
    std::fs::remove_file(certs.join("ca.pem")).unwrap();
    let said = dev(&certs, &[]).fails(1);
    assert!(said.contains("ca-key.pem exists already"), "{said}");
    let after = files[1..].iter().map(|file| std::fs::read(file).unwrap());
    assert!(
        after.eq(before[1..].iter().cloned()),
        "nothing was written over"
    );
}

#[test]
fn names_that_are_none_are_refused_before_anything_is_made() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let certs = dir.path().join("certs");
    for more in [
        ["--name", "a b"],
        ["--name", "a..b"],
        ["--name", ""],
        ["--client", "../evil"],
        ["--client", ".hidden"],
        ["--days", "0"],
        ["--days", "3651"],
    ] {
        dev(&certs, &more).fails(2);
        assert!(!certs.exists(), "{more:?}");
    }
}

#[test]
fn no_secret_stands_on_a_command_line() {
    // Every option that has to do with a secret takes the name of a file: what the option says of
    // its value is what `ps` would show.
    let help = String::from_utf8(npayload(&["serve", "--help"]).ok()).unwrap();
    let more = String::from_utf8(npayload(&["channel", "list", "--help"]).ok()).unwrap();
    let options = help.lines().chain(more.lines()).map(str::trim);
    let secret: Vec<&str> = options
        .filter(|line| line.starts_with("--"))
        .filter(|line| {
            let name = line.split_whitespace().next().unwrap_or_default();
            ["key", "secret", "password", "token"]
                .iter()
                .any(|word| name.contains(word))
        })
        .collect();
    assert!(
        secret.iter().any(|line| line.starts_with("--tls-key")),
        "{secret:?}"
    );
    for line in secret {
        let takes = line.split_whitespace().nth(1).unwrap_or_default();
        let is_switch = !takes.starts_with('<');
        // A command that fetches a key from where it is kept is none itself.
        assert!(
            ["<FILE>", "<COMMAND>"].contains(&takes) || is_switch,
            "{line}"
        );
    }
}
