//! The pages that a reader pastes from: what they say runs, in the order in which it stands.

use std::process::{Command, Stdio};

use crate::process::Broker;

/// The commands of a section of docs/operations.md.
fn commands(section: &str) -> String {
    let page = include_str!("../../docs/operations.md");
    let from = page.find(&format!("\n## {section}\n")).expect("a section");
    let section = &page[from + 1..];
    let section = &section[..section.find("\n## ").unwrap_or(section.len())];
    let blocks = section.split("\n```sh\n").skip(1);
    let blocks = blocks.map(|block| block.split("\n```").next().unwrap_or_default());
    blocks.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_walk_through_of_agents_runs_as_it_stands() {
    let keep = tempfile::tempdir().unwrap();
    let broker = Broker::start(&keep.path().join("data"));
    let ours = std::path::Path::new(env!("CARGO_BIN_EXE_npayload"));
    let mut path = ours.parent().unwrap().as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let ran = Command::new("bash")
        // What is unset or fails ends it, also where a variable takes what a command prints.
        .args(["-eu", "-c", &commands("Agents")])
        .current_dir(keep.path())
        .env("PATH", path)
        .env("NPAYLOAD_URL", format!("npayload://{}", broker.address()))
        .env_remove("NPAYLOAD_API_KEY")
        .env_remove("NPAYLOAD_API_KEY_FILE")
        .stdin(Stdio::null())
        .output()
        .expect("a shell");
    let told = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{told}");
    // A key that is made says what follows from it.
    assert!(
        told.contains("from now on it has to sign all that it says"),
        "{told}"
    );
}
