//! Bytes as hexadecimal digits in lower case: digests, public keys and signatures.

/// Value of each digit; [`NO_DIGIT`] for every other byte.
const VALUES: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let mut value = 0;
    while value < 16 {
        values[DIGITS[value as usize] as usize] = value;
        value += 1;
    }
    values
};
const DIGITS: &[u8; 16] = b"0123456789abcdef";
const NO_DIGIT: u8 = 0xff;

/// The bytes, when the text is in the one spelling that is written. Replays read millions of
/// digests, so no digit is branched on.
pub(super) fn decode<const N: usize>(digits: &str) -> Option<[u8; N]> {
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    let mut seen = 0;
    for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        let (high, low) = (VALUES[usize::from(pair[0])], VALUES[usize::from(pair[1])]);
        seen |= high | low;
        *byte = high << 4 | low & 0xf;
    }
    (seen < 16).then_some(bytes)
}

/// Writes the digits of the bytes.
pub(super) fn encode(bytes: &[u8], to: &mut Vec<u8>) {
    for byte in bytes {
        let digit = |half: u8| DIGITS[usize::from(half)];
        to.extend([digit(byte >> 4), digit(byte & 0xf)]);
    }
}
