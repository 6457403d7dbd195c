//! The secret half of an agent's key, in a file: 64 hexadecimal digits, the private key of RFC 8032.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use super::failure::Failure;
use crate::asp::chain::SigningKey;

/// Reads a key.
///
/// # Errors
/// When the file cannot be read, or holds something else.
pub(super) fn read(file: &Path) -> Result<SigningKey, Failure> {
    let what = || format!("reading the signing key in {}", file.display());
    let text = std::fs::read_to_string(file).map_err(|error| Failure::new(what(), &error))?;
    let text = Zeroizing::new(text);
    let seed = seed(text.trim())
        .ok_or_else(|| Failure::because(what(), "it is not 64 hexadecimal digits in lower case"))?;
    Ok(SigningKey::from_seed(&seed))
}

/// Makes a key, in a file that was not there, for nobody else to read.
///
/// # Errors
/// When there is such a file already, or it cannot be written.
pub(super) fn make(file: &Path) -> Result<SigningKey, Failure> {
    let what = || format!("making a signing key in {}", file.display());
    let mut seed = Zeroizing::new([0; 32]);
    SystemRandom::new()
        .fill(&mut *seed)
        .map_err(|_| Failure::because(what(), "the operating system gives no random bytes"))?;
    let mut text = Zeroizing::new(String::with_capacity(65));
    for byte in *seed {
        let _ = write!(text, "{byte:02x}");
    }
    text.push('\n');
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(file).and_then(|mut open| {
        open.write_all(text.as_bytes())?;
        open.sync_all()
    });
    written.map_err(|error| Failure::new(what(), &error))?;
    Ok(SigningKey::from_seed(&seed))
}

fn seed(digits: &str) -> Option<Zeroizing<[u8; 32]>> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if digits.len() != 64 || !digits.bytes().all(is_digit) {
        return None;
    }
    let mut seed = Zeroizing::new([0; 32]);
    for (at, byte) in seed.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_was_made_reads_back_and_none_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("agent.key");
        let made = make(&file).unwrap();
        assert_eq!(read(&file).unwrap().public_key(), made.public_key());
        assert!(make(&file).is_err());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(&file).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        let other = dir.path().join("other.key");
        assert_ne!(make(&other).unwrap().public_key(), made.public_key());
        for bad in ["", "xyz", &"A".repeat(64), &"0".repeat(63)] {
            std::fs::write(&file, bad).unwrap();
            assert!(read(&file).is_err(), "{bad}");
        }
    }

    /// RFC 8032, 7.1, test 1.
    #[test]
    fn the_file_holds_the_private_key_of_rfc_8032() {
        let seed = seed("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
        assert_eq!(
            SigningKey::from_seed(&seed.unwrap())
                .public_key()
                .to_string(),
            "ed25519:d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
        );
    }
}
