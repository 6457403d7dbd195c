//! What a channel that exists has in place of what was asked for.

use serde_json::Value;

use crate::protocol::control::{ChannelConfig, ConfigChange};

/// Each part of a configuration that is another than it was asked to be, as
/// `--retention-days is 7, not 30`.
pub(super) fn differences(asked: &ConfigChange, found: &ChannelConfig) -> Vec<String> {
    let members = |config: serde_json::Result<Value>| match config {
        Ok(Value::Object(members)) => members,
        _ => serde_json::Map::new(),
    };
    let found = members(serde_json::to_value(found));
    let asked = members(serde_json::to_value(asked)).into_iter();
    asked
        .filter_map(|(name, asked)| {
            let found = match (found.get(&name), name.as_str()) {
                (Some(found), _) => typed(found),
                // What is left out has its default.
                (None, "regions") => "one".to_owned(),
                (None, "ackRegions") => "1".to_owned(),
                (None, _) => "none".to_owned(),
            };
            let asked = typed(&asked);
            (asked != found).then(|| format!("{} is {found}, not {asked}", flag(&name)))
        })
        .collect()
}

/// A value as it is typed; the order of several says nothing.
fn typed(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(values) => {
            let mut values: Vec<String> = values.iter().map(typed).collect();
            values.sort();
            values.join(",")
        }
        value => value.to_string(),
    }
}

/// The option that sets a member.
fn flag(member: &str) -> String {
    let mut flag = "--".to_owned();
    for letter in member.chars() {
        if letter.is_ascii_uppercase() {
            flag.push('-');
        }
        flag.push(letter.to_ascii_lowercase());
    }
    flag
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::control::CompressionName;
    use crate::region::directory::Spread;
    use crate::types::Durability;

    fn found() -> ChannelConfig {
        serde_json::from_value(serde_json::json!({
            "retentionDays": 7, "retentionBytes": null, "durability": "synced",
            "syncIntervalMs": 200, "segmentBytes": 134_217_728, "maxRecordBytes": 1_048_576,
            "compression": ["none", "lz4", "zstd"],
        }))
        .unwrap()
    }

    #[test]
    fn only_what_was_asked_for_and_is_otherwise_is_told() {
        assert_eq!(differences(&ConfigChange::default(), &found()), [""; 0]);
        let same = ConfigChange {
            retention_days: Some(Some(7)),
            retention_bytes: Some(None),
            compression: Some(vec![
                CompressionName::Zstd,
                CompressionName::None,
                CompressionName::Lz4,
            ]),
            regions: Some(Spread::One),
            ack_regions: Some(1),
            ..ConfigChange::default()
        };
        assert_eq!(differences(&same, &found()), [""; 0]);
        let other = ConfigChange {
            retention_days: Some(None),
            durability: Some(Durability::Written),
            max_record_bytes: Some(10),
            ..ConfigChange::default()
        };
        let mut told = differences(&other, &found());
        told.sort();
        assert_eq!(
            told,
            [
                "--durability is synced, not written",
                "--max-record-bytes is 1048576, not 10",
                "--retention-days is 7, not none",
            ]
        );
    }
}
