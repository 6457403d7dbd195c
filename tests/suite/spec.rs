//! `storage-format.md` against the code: every table is its struct, every struct has its table.

use npayload::format::LAYOUTS;

const SPEC: &str = include_str!("../../storage-format.md");

/// Offset, size and name of each field.
type Table = Vec<(usize, usize, String)>;

#[test]
fn every_table_in_the_spec_matches_its_struct() {
    for layout in LAYOUTS {
        let ends = layout.fields[1..]
            .iter()
            .map(|field| field.1)
            .chain([layout.bytes]);
        let code: Table = layout
            .fields
            .iter()
            .zip(ends)
            .map(|(&(name, at), end)| (at, end - at, name.to_owned()))
            .collect();
        assert_eq!(
            table_under(layout.section),
            code,
            "storage-format.md, {}",
            layout.section
        );
    }
}

#[test]
fn every_table_of_fields_in_the_spec_is_one_of_the_code() {
    let tables = SPEC
        .lines()
        .filter(|line| line.starts_with("| offset | size | field |"))
        .count();
    assert_eq!(tables, LAYOUTS.len());
}

#[test]
fn every_link_in_the_spec_leads_to_a_section() {
    let anchors: Vec<String> = SPEC
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            title.replace(' ', "-")
        })
        .collect();
    for link in SPEC.split("](#").skip(1) {
        let target = link.split(')').next().unwrap();
        assert!(anchors.iter().any(|anchor| anchor == target), "#{target}");
    }
}

/// The rows of the table of fields under this title.
fn table_under(section: &str) -> Table {
    let mut lines = SPEC.lines();
    assert!(
        lines.any(|line| line.trim_start_matches('#').trim() == section && line.starts_with('#')),
        "storage-format.md has no section {section}"
    );
    lines
        .take_while(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
            let at = cells.next()?.parse().ok()?;
            let size = cells.next()?.parse().ok()?;
            Some((at, size, cells.next()?.to_owned()))
        })
        .collect()
}
