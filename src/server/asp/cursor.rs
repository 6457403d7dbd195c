//! Cursors: places in lists, as clients hand them back.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::broker::asp::AspError;

/// A place as text.
pub(super) fn encode(place: &impl Serialize) -> String {
    let json = serde_json::to_vec(place).expect("places have string keys");
    URL_SAFE_NO_PAD.encode(json)
}

/// A place from its text.
///
/// # Errors
/// [`AspError::Cursor`] where it is none that [`encode`] gave for such a list.
pub(super) fn decode<T: DeserializeOwned>(text: &str) -> Result<T, AspError> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok();
    let place = bytes.and_then(|json| serde_json::from_slice(&json).ok());
    place.ok_or_else(|| {
        let shown = text.chars().take(64).flat_map(char::escape_debug);
        AspError::Cursor(shown.collect())
    })
}
