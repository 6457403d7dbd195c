//! What a broker refuses to open to other machines, and what it says when it is made to.

use super::pki::Pki;
use crate::process::{Broker, Ran, binary};

fn serve(pki: &Pki, args: &[&str]) -> Ran {
    let data = pki.path("data");
    let output = binary()
        .args(["serve", "--data-dir"])
        .arg(&data)
        .args(args)
        .output()
        .expect("the binary runs");
    let ran = Ran {
        code: output.status.code().unwrap_or(-1),
        out: output.stdout,
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    };
    assert!(!data.exists(), "nothing was begun: {}", ran.err);
    ran
}

#[test]
fn an_open_address_without_tls_and_keys_is_refused_with_the_ways_out() {
    let pki = Pki::new();
    let (cert, key) = (pki.arg("server.pem"), pki.arg("server-key.pem"));
    let tls = ["--tls-cert", &cert, "--tls-key", &key];
    let said = serve(&pki, &["--listen", "0.0.0.0:0"]).fails(2);
    for part in [
        "--listen 0.0.0.0:0",
        "--tls-cert",
        "--require-keys",
        "127.0.0.1",
        "--insecure",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let said = serve(&pki, &["--listen", "127.0.0.1:0", "--http", "[::]:0"]).fails(2);
    assert!(
        said.contains("--http [::]:0") && said.contains("--tls-cert"),
        "{said}"
    );
    let said = serve(&pki, &[&["--listen", "0.0.0.0:0"][..], &tls].concat()).fails(2);
    assert!(
        said.contains("without keys") && said.contains("--require-keys"),
        "{said}"
    );
    let said = serve(&pki, &["--listen", "0.0.0.0:0", "--require-keys"]).fails(2);
    assert!(
        said.contains("has no TLS") && said.contains("--tls-cert"),
        "{said}"
    );
}

#[test]
fn half_of_tls_is_refused_naming_the_other_half() {
    let pki = Pki::new();
    let (cert, key, ca) = (
        pki.arg("server.pem"),
        pki.arg("server-key.pem"),
        pki.arg("ca.pem"),
    );
    for (args, needs) in [
        (vec!["--tls-cert", &cert], "--tls-key"),
        (vec!["--tls-key", &key], "--tls-cert"),
        (vec!["--tls-client-ca", &ca], "tls_cert"),
        (vec!["--tls-min-version", "1.2"], "tls_cert"),
        (
            vec![
                "--tls-cert",
                &cert,
                "--tls-key",
                &key,
                "--tls-client-certs",
                "optional",
            ],
            "--tls-client-ca",
        ),
        // Flags of those who connect do nothing here, so they are no silent mistake.
        (vec!["--cert", &cert, "--cert-key", &key], "--tls-cert"),
    ] {
        let said = serve(&pki, &args).fails(2);
        assert!(said.contains(needs), "{args:?}: {said}");
    }
    let said = serve(
        &pki,
        &["--tls-cert", &cert, "--tls-key", &pki.arg("none.pem")],
    )
    .fails(1);
    assert!(said.contains("none.pem"), "{said}");
}

#[test]
fn what_is_insecure_says_so_in_the_log_and_on_the_health_page() {
    let pki = Pki::new();
    let args = ["--http", "0.0.0.0:0", "--insecure"];
    let broker = Broker::start_with(&pki.path("data"), &args);
    broker.logs("--insecure: other machines reach 0.0.0.0:0 without TLS and without keys");
    let (status, health) = broker.healthz();
    assert_eq!(status, 200, "{health}");
    let told = "\"insecure\":\"other machines reach 0.0.0.0:0 without TLS and without keys\"";
    assert!(health.contains(told), "{health}");
    let info = broker.run(&["broker", "info"]).ok();
    let info = String::from_utf8_lossy(&info);
    assert!(info.contains("other machines reach 0.0.0.0:0"), "{info}");
    assert_eq!(broker.terminate(), 0);
    // The word changes nothing where nothing is open.
    let args = ["--http", "127.0.0.1:0", "--insecure"];
    let closed = Broker::start_with(&pki.path("other"), &args);
    assert!(!closed.healthz().1.contains("insecure"));
    assert!(!closed.log().contains("insecure"), "{}", closed.log());
    assert_eq!(closed.terminate(), 0);
}
