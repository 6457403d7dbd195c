//! The list as a table in `docs/durability.md`.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};

use crate::list::List;

const PATH: &str = "docs/durability.md";
const BEGIN: &str = "<!-- tools/faults/faults.toml, written by `make faults-docs`: begin -->\n";
const END: &str = "<!-- tools/faults/faults.toml: end -->\n";

/// Writes the table into the document.
///
/// # Errors
/// The document lacks its place, or can't be read or written.
pub fn write(root: &Path, list: &List) -> Result<()> {
    let path = root.join(PATH);
    let document = std::fs::read_to_string(&path)?;
    std::fs::write(&path, with_table(&document, list)?)?;
    Ok(())
}

fn with_table(document: &str, list: &List) -> Result<String> {
    let (before, rest) = document
        .split_once(BEGIN)
        .with_context(|| format!("{PATH} has no place for the list"))?;
    let (_, after) = rest
        .split_once(END)
        .with_context(|| format!("{PATH} has no end for the list"))?;
    Ok(format!("{before}{BEGIN}{}{END}{after}", table(list)))
}

fn table(list: &List) -> String {
    let mut text = String::from("| Fault | What it breaks | Turns red |\n| --- | --- | --- |\n");
    let cell = |text: &str| text.trim().replace('|', "\\|");
    for fault in &list.faults {
        let tests: Vec<String> = fault
            .caught_by
            .iter()
            .map(|test| format!("`{}`", test.name))
            .collect();
        if !tests.is_empty() {
            let breaks = cell(&fault.breaks);
            let _ = writeln!(
                text,
                "| `{}` | {breaks} | {} |",
                fault.name,
                tests.join("<br>")
            );
        }
    }
    let is_harmless = list
        .faults
        .iter()
        .any(|fault| fault.harmless_because.is_some());
    if is_harmless {
        text.push_str("\n| Not counted | What it changes | Why it harms nothing |\n");
        text.push_str("| --- | --- | --- |\n");
    }
    for fault in &list.faults {
        if let Some(why) = &fault.harmless_because {
            let breaks = cell(&fault.breaks);
            let _ = writeln!(text, "| `{}` | {breaks} | {} |", fault.name, cell(why));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_faults_in_the_document_is_that_of_the_list() {
        let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
        let document = std::fs::read_to_string(root.join(PATH)).unwrap();
        let list = List::read(root).unwrap();
        let expected = with_table(&document, &list).unwrap();
        assert!(document == expected, "run `make faults-docs`");
    }
}
