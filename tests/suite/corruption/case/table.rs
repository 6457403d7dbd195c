//! The tables of docs/durability.md, "Corruption matrix": what is said is what is tested.

use std::collections::BTreeMap;

/// Cell by row and column; each a list of outcomes. Cells that say `—` are left out.
pub type Table = BTreeMap<(String, String), Vec<String>>;

/// The table behind the line that begins with `title`, within the section "Corruption matrix".
pub fn table(title: &str) -> Table {
    let document = include_str!("../../../../docs/durability.md");
    let (_, section) = document.split_once("\n### Corruption matrix\n").unwrap();
    let section = section.split_once("\n### ").map_or(section, |(it, _)| it);
    let mut lines = section.lines();
    lines
        .find(|line| line.starts_with(title))
        .unwrap_or_else(|| panic!("no table `{title}` in docs/durability.md"));
    let mut rows = lines
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
        .map(cells);
    let columns = rows.next().unwrap();
    rows.next(); // the line below the head
    let mut table = Table::new();
    for row in rows {
        assert_eq!(row.len(), columns.len(), "{row:?}");
        for (column, cell) in columns.iter().zip(&row).skip(1) {
            if cell != "—" {
                let outcomes = cell.split(", ").map(str::to_owned).collect();
                let old = table.insert((row[0].clone(), column.clone()), outcomes);
                assert!(old.is_none(), "{} / {column} stands twice", row[0]);
            }
        }
    }
    table
}

fn cells(line: &str) -> Vec<String> {
    let line = line.trim().trim_matches('|');
    line.split('|').map(|cell| cell.trim().to_owned()).collect()
}

/// The tables as they would have to be, for the message of a failed test.
pub fn print(table: &Table, rows: &[&str], columns: &[&str]) -> String {
    let mut text = format!("| Where | {} |\n", columns.join(" | "));
    text += &format!("| --- |{}\n", " --- |".repeat(columns.len()));
    for row in rows {
        let cell = |column: &&str| {
            let key = ((*row).to_owned(), (*column).to_owned());
            table.get(&key).map_or("—".to_owned(), |it| it.join(", "))
        };
        let cells: Vec<String> = columns.iter().map(cell).collect();
        text += &format!("| {row} | {} |\n", cells.join(" | "));
    }
    text
}
