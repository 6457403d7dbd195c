//! Who looks at a map of a file dies of a sector that the medium has lost. Encrypting is looking.

use std::path::Path;

use super::log::serve;
use super::pki::Pki;
use crate::process::Broker;

const CHANNEL: &str = "events";

/// Publishes records of which segments are full.
fn publish(broker: &Broker, to: &[&str]) {
    let create = ["channel", "create", CHANNEL, "--segment-bytes", "65536"];
    broker.run(&[&create[..], to].concat()).ok();
    let line = format!("{}\n", "x".repeat(1_000));
    let publish = ["publish", CHANNEL, "--type", "event.seen"];
    let publish = [&publish[..], to].concat();
    broker.run_with(&publish, line.repeat(300).as_bytes()).ok();
}

/// Reads them all, and the names of channels' files that the broker has mapped then.
fn mapped_after_reading(broker: &Broker, to: &[&str]) -> Vec<String> {
    let read = ["consume", CHANNEL, "--from", "start", "--max", "300"];
    broker.run(&[&read[..], to].concat()).ok();
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", broker.pid())).expect("Linux");
    let names = maps.lines().filter(|line| line.contains("/channels/"));
    names.map(str::to_owned).collect()
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "only Linux tells what is mapped")]
fn what_is_encrypted_for_a_client_is_not_mapped() {
    let pki = Pki::new();
    let broker = serve(&pki, &[]);
    let url = format!("npayload+tls://localhost:{}", broker.address().port());
    let ca = pki.arg("ca.pem");
    publish(&broker, &["--url", &url, "--ca", &ca]);
    assert_eq!(broker.terminate(), 0);

    // From its segments now, and no longer from its tail.
    let broker = serve(&pki, &[]);
    let url = format!("npayload+tls://localhost:{}", broker.address().port());
    let mapped = mapped_after_reading(&broker, &["--url", &url, "--ca", &ca]);
    assert_eq!(mapped, Vec::<String>::new());
    assert_eq!(broker.terminate(), 0);

    let plain = Broker::start(Path::new(&pki.path("data")));
    let mapped = mapped_after_reading(&plain, &[]);
    assert!(!mapped.is_empty(), "what goes to a socket as it is");
    assert_eq!(plain.terminate(), 0);
}
