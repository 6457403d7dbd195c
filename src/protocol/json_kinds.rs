//! Declares a family of requests that have JSON bodies, and their answers, from one list of kinds.

/// Makes an enum of requests and one of answers out of a list of kinds, and how both are read and
/// written. A module that uses it has a function `json`, which reads one body.
macro_rules! json_kinds {
    (
        $(#[$request_doc:meta])* $requests:ident;
        $(#[$response_doc:meta])* $responses:ident;
        $($(#[$doc:meta])* $kind:ident($request:ident) -> $response:ident;)*
    ) => {
        $(#[$request_doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub enum $requests {
            $($(#[$doc])* $kind($request),)*
        }

        $(#[$response_doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub enum $responses {
            $($(#[$doc])* $kind($response),)*
        }

        json_kinds!(@side $requests, "Its kind."; $($kind)*);
        json_kinds!(@side $responses, "The kind of the request it answers."; $($kind)*);
    };
    (@side $name:ident, $kind_doc:literal; $($kind:ident)*) => {
        impl $name {
            #[doc = $kind_doc]
            #[must_use]
            pub fn kind(&self) -> crate::protocol::Kind {
                match self {
                    $(Self::$kind(_) => crate::protocol::Kind::$kind,)*
                }
            }

            /// Reads a body; `None` for a kind of another family.
            pub(super) fn decode(
                kind: crate::protocol::Kind,
                body: &[u8],
            ) -> Option<Result<Self, crate::protocol::BodyError>> {
                match kind {
                    $(crate::protocol::Kind::$kind => Some(json(body).map(Self::$kind)),)*
                    _ => None,
                }
            }

            pub(super) fn encode(&self, dst: &mut bytes::BytesMut) {
                match self {
                    $(Self::$kind(body) => crate::protocol::request::put_json(body, dst),)*
                }
            }
        }
    };
}

pub(super) use json_kinds;
