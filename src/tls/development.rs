//! Certificates for development: a CA of one's own, and what it issues.
//!
//! Not for production: the CA's key lies in the same directory, without a password.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::types::Timestamp;

/// What to make, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevelopmentOptions {
    /// The directory; made when missing, for its owner alone.
    pub dir: PathBuf,
    /// Host names and addresses of the broker, at least one.
    pub names: Vec<String>,
    /// Names of clients that get a certificate; a file name each.
    pub clients: Vec<String>,
    /// How long everything is valid, 1 to 3,650 days.
    pub days: u16,
}

/// What was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DevelopmentFiles {
    /// The CA's certificate, made now or found.
    pub ca: PathBuf,
    /// The broker's certificate and key; none where the directory had them already.
    pub server: Option<(PathBuf, PathBuf)>,
    /// Certificate and key of each client, in the order in which they were named.
    pub clients: Vec<(PathBuf, PathBuf)>,
}

/// Why nothing was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DevelopmentError {
    /// A file is in the way. Nothing is ever written over.
    #[error("{} exists already, and is not written over", .path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// There is a CA, and nothing to be issued by it.
    #[error("{} holds a CA already", .dir.display())]
    NothingToDo {
        /// The directory.
        dir: PathBuf,
    },
    /// A name is no host name, address, or name of a file.
    #[error("`{name}`: {why}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The time of validity is out of range.
    #[error("{days} days: must be from 1 to {MAX_DAYS}")]
    Days {
        /// What was asked for.
        days: u16,
    },
    /// The operating system refused.
    #[error("{action} {}", .path.display())]
    Io {
        /// Reads as "while …".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The certificates could not be made.
    #[error("making certificates")]
    Make(#[from] rcgen::Error),
}

/// Ten years.
const MAX_DAYS: u16 = 3650;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

impl DevelopmentFiles {
    /// Makes a CA and a certificate for the broker, and one for each client. Where the directory
    /// has a CA already, it only issues certificates of further clients.
    ///
    /// Every file is new and readable by its owner alone. All names are checked and all files are
    /// looked for before the first is written.
    ///
    /// # Errors
    /// [`DevelopmentError`].
    pub fn make(options: &DevelopmentOptions, now: Timestamp) -> Result<Self, DevelopmentError> {
        if !(1..=MAX_DAYS).contains(&options.days) {
            return Err(DevelopmentError::Days { days: options.days });
        }
        options.names.iter().try_for_each(|name| check_host(name))?;
        for client in &options.clients {
            check_client(client)?;
        }
        let path = |name: &str| options.dir.join(name);
        let (ca, ca_key) = (path("ca.pem"), path("ca-key.pem"));
        let has_ca = ca.exists() && ca_key.exists();
        if has_ca && options.clients.is_empty() {
            let dir = options.dir.clone();
            return Err(DevelopmentError::NothingToDo { dir });
        }
        let server = (path("server.pem"), path("server-key.pem"));
        let client = |name: &String| {
            let key = path(&format!("client-{name}-key.pem"));
            (path(&format!("client-{name}.pem")), key)
        };
        let clients: Vec<_> = options.clients.iter().map(client).collect();
        let mut wanted: Vec<&PathBuf> = clients.iter().flat_map(|(a, b)| [a, b]).collect();
        if !has_ca {
            wanted.extend([&ca, &ca_key, &server.0, &server.1]);
        }
        if let Some(path) = wanted.into_iter().find(|path| path.exists()) {
            let path = path.clone();
            return Err(DevelopmentError::Exists { path });
        }
        let validity = Validity::new(now, options.days);
        make_dir(&options.dir)?;
        let issuer = if has_ca {
            let key = KeyPair::from_pem(&read(&ca_key)?)?;
            Issuer::from_ca_cert_pem(&read(&ca)?, key)?
        } else {
            let key = KeyPair::generate()?;
            let params = validity.ca()?;
            let certificate = params.self_signed(&key)?;
            write(&ca_key, &key.serialize_pem())?;
            write(&ca, &certificate.pem())?;
            Issuer::new(params, key)
        };
        let issue = |params: CertificateParams, (cert, key_path): &(PathBuf, PathBuf)| {
            let key = KeyPair::generate()?;
            let certificate = params.signed_by(&key, &issuer)?;
            write(key_path, &key.serialize_pem())?;
            write(cert, &certificate.pem())
        };
        let mut made = Self {
            ca,
            ..Self::default()
        };
        if !has_ca {
            let params = validity.server(&options.names)?;
            issue(params, &server)?;
            made.server = Some(server);
        }
        for (name, files) in options.clients.iter().zip(clients) {
            issue(validity.client(name)?, &files)?;
            made.clients.push(files);
        }
        Ok(made)
    }
}

/// From the day before, for clocks that are behind, to so many days ahead.
struct Validity {
    from: (i32, u8, u8),
    to: (i32, u8, u8),
}

impl Validity {
    fn new(now: Timestamp, days: u16) -> Self {
        Self {
            from: date(now.saturating_add_ms(-DAY_MS)),
            to: date(now.saturating_add_ms(DAY_MS * (i64::from(days) + 1))),
        }
    }

    fn params(
        &self,
        names: &[String],
        common_name: &str,
    ) -> Result<CertificateParams, rcgen::Error> {
        let mut params = CertificateParams::new(names)?;
        let (year, month, day) = self.from;
        params.not_before = rcgen::date_time_ymd(year, month, day);
        let (year, month, day) = self.to;
        params.not_after = rcgen::date_time_ymd(year, month, day);
        params.distinguished_name = rcgen::DistinguishedName::new();
        let subject = &mut params.distinguished_name;
        subject.push(DnType::OrganizationName, "npayload development");
        subject.push(DnType::CommonName, common_name);
        Ok(params)
    }

    fn ca(&self) -> Result<CertificateParams, rcgen::Error> {
        // A name of its own, so that a certificate of another directory's CA is told as that, and
        // not as a signature that does not match.
        let id = uuid::Uuid::new_v4().simple().to_string();
        let mut params = self.params(&[], &format!("npayload development CA {}", &id[..8]))?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(params)
    }

    fn server(&self, names: &[String]) -> Result<CertificateParams, rcgen::Error> {
        let first = names.first().map_or("npayload", String::as_str);
        let mut params = self.params(names, first)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        Ok(params)
    }

    fn client(&self, name: &str) -> Result<CertificateParams, rcgen::Error> {
        let mut params = self.params(&[], name)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        Ok(params)
    }
}

fn date(time: Timestamp) -> (i32, u8, u8) {
    let time = jiff::Timestamp::from_millisecond(time.0).unwrap_or_default();
    let date = time.to_zoned(jiff::tz::TimeZone::UTC).date();
    let positive = |number: i8| number.unsigned_abs();
    (
        date.year().into(),
        positive(date.month()),
        positive(date.day()),
    )
}

fn check_host(name: &str) -> Result<(), DevelopmentError> {
    let is_label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    let plain = name.strip_prefix("*.").unwrap_or(name);
    if name.parse::<IpAddr>().is_ok() || (name.len() <= 253 && plain.split('.').all(is_label)) {
        return Ok(());
    }
    Err(DevelopmentError::Name {
        name: name.to_owned(),
        why: "it is neither a host name nor an address",
    })
}

fn check_client(name: &str) -> Result<(), DevelopmentError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if (1..=64).contains(&name.len()) && name.bytes().all(is_plain) && !name.starts_with('.') {
        return Ok(());
    }
    Err(DevelopmentError::Name {
        name: name.to_owned(),
        why: "a client's name is 1 to 64 letters, digits, `-`, `_` and `.`, without a `.` in front",
    })
}

fn make_dir(dir: &Path) -> Result<(), DevelopmentError> {
    if dir.is_dir() {
        return Ok(());
    }
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .create(dir)
        .map_err(|source| failed("making", dir, source))
}

/// A new file that only its owner may read.
fn write(path: &Path, text: &str) -> Result<(), DevelopmentError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let path = path.to_owned();
            return Err(DevelopmentError::Exists { path });
        }
        opened => opened.map_err(|source| failed("making", path, source))?,
    };
    file.write_all(text.as_bytes())
        .map_err(|source| failed("writing", path, source))
}

fn read(path: &Path) -> Result<String, DevelopmentError> {
    std::fs::read_to_string(path).map_err(|source| failed("reading", path, source))
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> DevelopmentError {
    let path = path.to_owned();
    DevelopmentError::Io {
        action,
        path,
        source,
    }
}
