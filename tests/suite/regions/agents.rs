//! Agents in a region: a session of two, and what they promise in it.

use super::Region;
use crate::process::Ran;

/// A session of two agents, `writer` and `editor`, that lives in a region; its id.
///
/// - `participants`: each with its role, as `--participant` takes them.
pub fn survey(region: &Region, participants: [&str; 2]) -> String {
    for agent in ["writer", "editor"] {
        region.run(&["agent", "register", agent]).ok();
    }
    let [writer, editor] = participants;
    let create = [
        "session",
        "create",
        "a survey",
        "--participant",
        writer,
        "--participant",
        editor,
        "--json",
    ];
    let made = region.run(&create).json();
    made["sessionId"].as_str().expect("an id").to_owned()
}

/// A promise of an agent to the editor, asked for in a region.
pub fn promised(region: &Region, session: &str, agent: &str, more: &[&str]) -> Ran {
    let create = [
        "commitment",
        "create",
        session,
        "Ten answers",
        "--agent",
        agent,
        "--to",
        "editor",
        "--deadline",
        "1h",
        "--json",
    ];
    region.run(&[&create[..], more].concat())
}

/// A promise of the writer to the editor, made through a region; its id.
pub fn promise(region: &Region, session: &str) -> String {
    let row = promised(region, session, "writer", &[]).json();
    let id = row["id"].as_str().unwrap_or_else(|| panic!("{row}"));
    id.to_owned()
}
