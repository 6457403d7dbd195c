//! Regions that ask for keys, and keys in files.

use std::path::Path;

use serde_json::Value;

use super::Region;
use crate::process::{Ran, wait_for};

impl Region {
    /// Asks for keys from now on; the file of its administrator's.
    pub fn require_keys(&mut self, dir: &Path) -> String {
        let admin = dir.join("admin");
        let admin = admin.to_str().expect("a path").to_owned();
        self.restart_with(vec!["--require-keys", "--admin-key-file", admin.clone().leak()].leak());
        wait_for("the link", || {
            let status = self.with_key(&admin, &["region", "status", "--json"]);
            (status.json()["links"][0]["state"] == "open").then_some(())
        });
        admin
    }

    /// Runs a command with the key in a file.
    pub fn with_key(&self, key: &str, args: &[&str]) -> Ran {
        self.run(&[&["--api-key-file", key], args].concat())
    }
}

/// Keeps the text of a key that was made in a file; its path.
pub fn kept_key(made: &Value, file: &Path) -> String {
    std::fs::write(file, made["secret"].as_str().expect("a text")).expect("written");
    file.display().to_string()
}

/// A key for all of an organisation, made by whoever needs none in the region, in a file.
pub fn key_of_org(region: &Region, file: &Path, org: &str) -> String {
    let create = [
        "key", "create", "a key", "--org", org, "--scope", "all", "--json",
    ];
    kept_key(&region.run(&create).json(), file)
}
