//! Pages of lists: how long they may be, and cursors, the places where they end, as clients hand
//! them back.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::asp::{Knot, Links};
use crate::broker::BrokerError;
use crate::broker::asp::AspError;
use crate::types::Offset;

/// Most entries of a page of any list about agents.
pub(super) const MAX_PAGE: u32 = 1000;

/// How many entries a page may have, as somebody asks for it.
///
/// # Errors
/// [`AspError::PageLimit`] outside of 1 to [`MAX_PAGE`].
pub(super) fn page_limit(asked: u32) -> Result<usize, AspError> {
    if !(1..=MAX_PAGE).contains(&asked) {
        let most = MAX_PAGE;
        return Err(AspError::PageLimit { asked, most });
    }
    Ok(asked as usize)
}

/// A record of a thread that a client hands back, as far as it is one: a client is not believed
/// that says where to read.
///
/// - `text`: the cursor.
/// - `newest`: the last record that may be meant.
/// - `links`: what the record at an offset says of those before it in the thread; none where it is
///   in another one, or is none of its kind.
///
/// # Errors
/// [`AspError::Cursor`] where it is none; else what reading it met.
pub(super) fn checked(
    text: &str,
    from: Knot,
    newest: Option<Offset>,
    links: impl FnOnce(Offset) -> Result<Option<Links>, BrokerError>,
) -> Result<Knot, BrokerError> {
    let forged = || BrokerError::from(AspError::cursor(text));
    if newest.is_none_or(|newest| from.offset > newest) {
        return Err(forged());
    }
    match links(from.offset)? {
        Some(links) if links.number() == from.number => Ok(from),
        _ => Err(forged()),
    }
}

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
    place.ok_or_else(|| AspError::cursor(text))
}
