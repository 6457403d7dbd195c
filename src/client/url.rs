//! Where a broker is: `npayload://HOST:PORT`, or `npayload+tls://HOST:PORT`.

use std::fmt;
use std::str::FromStr;

/// Port of a broker when the URL names none.
pub const DEFAULT_PORT: u16 = 7400;

/// Address of a broker.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BrokerUrl {
    /// Host name or address, IPv6 without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Whether it is spoken to over TLS: `npayload+tls://`.
    pub tls: bool,
}

impl BrokerUrl {
    /// Whether what is sent there stays on this machine, as far as the name tells.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let address = self.host.parse::<std::net::IpAddr>();
        address.map_or(self.host == "localhost", |address| address.is_loopback())
    }
}

impl FromStr for BrokerUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        let invalid = |why| InvalidUrl {
            url: text.to_owned(),
            why,
        };
        let (rest, tls) = match text.strip_prefix("npayload+tls://") {
            Some(rest) => (rest, true),
            None => {
                let rest = text.strip_prefix("npayload://");
                let why = "it does not start with npayload:// or npayload+tls://";
                (rest.ok_or(invalid(why))?, false)
            }
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = if let Some(rest) = rest.strip_prefix('[') {
            let (host, after) = rest.split_once(']').ok_or(invalid("a `]` is missing"))?;
            (host, after)
        } else {
            rest.split_at(rest.find(':').unwrap_or(rest.len()))
        };
        if host.is_empty() || host.contains(['/', '@', ' ', '?', '#']) {
            return Err(invalid("there must be a host after the `://`"));
        }
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => DEFAULT_PORT,
            Some(number) => number
                .parse()
                .map_err(|_| invalid("the port must be a number below 65536"))?,
            None => return Err(invalid("only `:PORT` may follow the host")),
        };
        Ok(Self {
            host: host.to_owned(),
            port,
            tls,
        })
    }
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "npayload+tls" } else { "npayload" };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

/// A text that is not the address of a broker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{url}` is not npayload://HOST:PORT: {why}")]
pub struct InvalidUrl {
    /// The text.
    pub url: String,
    /// What is wrong with it.
    pub why: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loopback_address_is_told_from_one_that_others_listen_at() {
        let is_loopback = |text: &str| text.parse::<BrokerUrl>().unwrap().is_loopback();
        for local in [
            "npayload://localhost",
            "npayload://127.8.0.1:9",
            "npayload://[::1]",
        ] {
            assert!(is_loopback(local), "{local}");
        }
        for far in [
            "npayload://10.0.0.1",
            "npayload://localhost.example",
            "npayload://[::2]",
        ] {
            assert!(!is_loopback(far), "{far}");
        }
    }

    #[test]
    fn a_url_names_host_and_port() {
        let read = |text: &str| text.parse::<BrokerUrl>().map(|url| url.to_string());
        for (text, wanted) in [
            ("npayload://localhost", "npayload://localhost:7400"),
            ("npayload://10.0.0.1:1234/", "npayload://10.0.0.1:1234"),
            ("npayload://[::1]:9", "npayload://[::1]:9"),
            ("npayload://[::1]", "npayload://[::1]:7400"),
            ("npayload+tls://a.b", "npayload+tls://a.b:7400"),
            ("npayload+tls://[::1]:9/", "npayload+tls://[::1]:9"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(wanted));
        }
        for bad in [
            "",
            "localhost:7400",
            "http://x",
            "npayload://",
            "npayload://:7400",
            "npayload://x:",
            "npayload://x:65536",
            "npayload://x:1/y",
            "npayload://u@x",
            "npayload://[::1",
            "npayload+tls://",
            "npayload+ssl://x",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
