//! Identities that are shown as a prefix and a UUID.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{InvalidName, from_text, shorten};

/// Declares an identity that is shown as a prefix and a UUID, so that it says what it names.
macro_rules! prefixed_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u128);

        impl $name {
            /// Whether its UUID is of version 7, as those have to be that clients choose.
            #[must_use]
            pub fn is_version_7(self) -> bool {
                self.0 >> 76 & 0xf == 7
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{}", $prefix, uuid::Uuid::from_u128(self.0).hyphenated())
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                let uuid = text.strip_prefix($prefix).and_then(|rest| {
                    let uuid = uuid::Uuid::try_parse(rest).ok()?;
                    let mut spelt = uuid::Uuid::encode_buffer();
                    (uuid.hyphenated().encode_lower(&mut spelt) == rest).then_some(uuid)
                });
                let uuid = uuid.ok_or_else(|| InvalidName {
                    what: "id",
                    name: shorten(text),
                    rule: concat!("must be `", $prefix, "` and a UUID in lower case"),
                })?;
                Ok(Self(uuid.as_u128()))
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                from_text(from)
            }
        }
    };
}
prefixed_id! {
    /// Identity of an API key: a UUID of version 7, shown as `key_…`. Not a secret.
    KeyId, "key_"
}

prefixed_id! {
    /// Identity of a grant between organisations: a UUID of version 7, shown as `grt_…`.
    GrantId, "grt_"
}

prefixed_id! {
    /// Identity of an agent: a UUID of version 7, shown as `agt_…`. It outlives deregistration.
    AgentId, "agt_"
}

prefixed_id! {
    /// Identity of a session of agents: a UUID of version 7, shown as `ses_…`.
    SessionId, "ses_"
}

prefixed_id! {
    /// Identity of a message within a session: a UUID of version 7 that its sender chose, shown as
    /// `msg_…`. The same id answers the same result.
    MessageId, "msg_"
}

prefixed_id! {
    /// Identity of a commitment between agents: a UUID of version 7, shown as `cmt_…`.
    CommitmentId, "cmt_"
}

prefixed_id! {
    /// Identity of a dispute about a commitment: a UUID of version 7, shown as `dsp_…`.
    DisputeId, "dsp_"
}

prefixed_id! {
    /// Identity of money that an operator books in or out: a UUID of version 7 that the operator
    /// chose, shown as `pay_…`. The same id answers the same result.
    PaymentId, "pay_"
}

prefixed_id! {
    /// Identity of a listing on the market: a UUID of version 7, shown as `lst_…`.
    ListingId, "lst_"
}

prefixed_id! {
    /// Identity of a subscription to a listing: a UUID of version 7, shown as `sub_…`.
    SubscriptionId, "sub_"
}

prefixed_id! {
    /// Identity of a call of a tool: a UUID of version 7 that its caller chose, shown as `tcl_…`.
    /// The same id answers the same result.
    CallId, "tcl_"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back_with_their_prefix_and_in_one_spelling_only() {
        let id = KeyId(0x0199_0000_0000_7000_8000_0000_0000_00ff);
        let text = id.to_string();
        assert_eq!(text, "key_01990000-0000-7000-8000-0000000000ff");
        assert_eq!(text.parse(), Ok(id));
        for wrong in [
            &text[4..],
            &text.to_uppercase(),
            &text.replace('-', ""),
            "key_",
            &text.replace("key_", "grt_"),
        ] {
            assert!(wrong.parse::<KeyId>().is_err(), "{wrong}");
        }
    }
}
