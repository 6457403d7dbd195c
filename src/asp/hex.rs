//! Bytes as hexadecimal digits in lower case: digests, public keys and signatures.

/// The bytes, when the text is in the one spelling that is written.
pub(super) fn decode<const N: usize>(digits: &str) -> Option<[u8; N]> {
    if digits.len() != 2 * N {
        return None;
    }
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(bytes)
}

/// Writes the digits of the bytes.
pub(super) fn encode(bytes: &[u8], to: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        let digit = |half: u8| DIGITS[usize::from(half)];
        to.extend([digit(byte >> 4), digit(byte & 0xf)]);
    }
}
