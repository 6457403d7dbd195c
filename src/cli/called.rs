//! How this program is called, for hints that are to be pasted as they stand.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// What to type to start this program from any directory: its name where the shell finds it by
/// that, else the whole path.
pub(super) fn program() -> String {
    let path = std::env::var_os("PATH");
    std::env::current_exe().map_or_else(
        |_| "npayload".to_owned(),
        |exe| typed(&exe, path.as_deref()),
    )
}

fn typed(exe: &Path, path: Option<&OsStr>) -> String {
    let name = exe.file_name().unwrap_or(exe.as_os_str());
    let real = |file: PathBuf| file.canonicalize().ok();
    let found = path.and_then(|path| {
        let mut folders = std::env::split_paths(path);
        // The first of the name is the one that a shell takes.
        folders.find_map(|folder| real(folder.join(name)))
    });
    if found.is_some() && found == real(exe.to_owned()) {
        return name.to_string_lossy().into_owned();
    }
    let text = exe.to_string_lossy();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+@:".contains(c);
    if text.chars().all(is_plain) {
        return text.into_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_enough_only_where_the_shell_takes_this_very_program() {
        let dir = tempfile::tempdir().unwrap();
        let at = |folder: &str| {
            let folder = dir.path().join(folder);
            std::fs::create_dir(&folder).unwrap();
            std::fs::write(folder.join("npayload"), "").unwrap();
            folder
        };
        let (ours, other, quoted) = (at("ours"), at("other"), at("it's here"));
        let path = |folders: &[&PathBuf]| std::env::join_paths(folders).unwrap();
        let exe = ours.join("npayload");
        let whole = exe.display().to_string();
        let told = |folders: &[&PathBuf]| typed(&exe, Some(&path(folders)));
        assert_eq!(told(&[&ours, &other]), "npayload");
        assert_eq!(told(&[&other, &ours]), whole, "another one is found first");
        assert_eq!(told(&[&dir.path().to_owned()]), whole);
        assert_eq!(typed(&exe, None), whole);
        let text = typed(&quoted.join("npayload"), None);
        assert!(
            text.starts_with('\'') && text.ends_with(r"it'\''s here/npayload'"),
            "{text}"
        );
    }
}
