//! The URL of a database. Reads the parameters of libpq that the driver does not know. The password is never shown.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use tokio_postgres::config::{Host, SslMode};

/// How much of the certificate of a server is verified, as in libpq.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verify {
    /// Nothing: TLS protects only from listeners.
    Nothing,
    /// That a trusted authority signed it.
    Chain,
    /// Also that it has the name of the server.
    ChainAndName,
}

/// The address of a PostgreSQL database: `postgres://user:password@host:port/database?sslmode=…`.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl {
    pub(super) config: tokio_postgres::Config,
    pub(super) verify: Verify,
    /// A PEM file of trusted authorities, instead of those of the machine.
    pub(super) root_cert: Option<PathBuf>,
}

/// The text is no such URL. The error shows no part of it, because that may be the password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a database URL is postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=MODE")]
pub struct InvalidPostgresUrl;

impl FromStr for PostgresUrl {
    type Err = InvalidPostgresUrl;

    fn from_str(text: &str) -> Result<Self, InvalidPostgresUrl> {
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err(InvalidPostgresUrl);
        }
        let (base, query) = text.split_once('?').unwrap_or((text, ""));
        let (mut mode, mut root_cert, mut others) = ("prefer", None, Vec::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("sslmode", value)) => mode = value,
                Some(("sslrootcert", value)) => {
                    let path = percent_decode_str(value).decode_utf8().map_err(|_| InvalidPostgresUrl)?;
                    // In libpq, `system` stands for the authorities of the machine, which are the default here.
                    root_cert = Some(PathBuf::from(&*path)).filter(|path| path.as_os_str() != "system");
                }
                _ => others.push(pair),
            }
        }
        let rest = format!("{base}?{}", others.join("&"));
        let mut config: tokio_postgres::Config = rest.parse().map_err(|_| InvalidPostgresUrl)?;
        let (ssl_mode, verify) = match mode {
            "disable" => (SslMode::Disable, Verify::Nothing),
            "prefer" => (SslMode::Prefer, Verify::Nothing),
            // As in libpq: a root certificate in the URL demands that it is used.
            "require" if root_cert.is_some() => (SslMode::Require, Verify::Chain),
            "require" => (SslMode::Require, Verify::Nothing),
            "verify-ca" => (SslMode::Require, Verify::Chain),
            "verify-full" => (SslMode::Require, Verify::ChainAndName),
            _ => return Err(InvalidPostgresUrl),
        };
        config.ssl_mode(ssl_mode);
        if config.get_hosts().is_empty() {
            return Err(InvalidPostgresUrl);
        }
        Ok(Self { config, verify, root_cert })
    }
}

/// Shows hosts and database, without user and password.
impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("postgres://")?;
        let ports = self.config.get_ports();
        for (at, host) in self.config.get_hosts().iter().enumerate() {
            let separator = if at == 0 { "" } else { "," };
            match host {
                Host::Tcp(host) => write!(f, "{separator}{host}")?,
                Host::Unix(path) => write!(f, "{separator}{}", path.display())?,
            }
            if let Some(port) = ports.get(at).or(ports.first()) {
                write!(f, ":{port}")?;
            }
        }
        write!(f, "/{}", self.config.get_dbname().or(self.config.get_user()).unwrap_or_default())
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sslmode_has_the_meaning_of_libpq() {
        let parsed = |mode: &str| {
            let url: PostgresUrl = format!("postgres://u:p@h:1/d?connect_timeout=3{mode}").parse().unwrap();
            (url.config.get_ssl_mode(), url.verify, url.root_cert.is_some())
        };
        for (mode, expected) in [
            ("", (SslMode::Prefer, Verify::Nothing, false)),
            ("&sslmode=disable", (SslMode::Disable, Verify::Nothing, false)),
            ("&sslmode=require", (SslMode::Require, Verify::Nothing, false)),
            ("&sslmode=require&sslrootcert=/a%20b.pem", (SslMode::Require, Verify::Chain, true)),
            ("&sslmode=verify-ca", (SslMode::Require, Verify::Chain, false)),
            ("&sslrootcert=system&sslmode=verify-full", (SslMode::Require, Verify::ChainAndName, false)),
        ] {
            assert_eq!(parsed(mode), expected, "{mode}");
        }
        for bad in ["postgres://h/d?sslmode=allow", "mysql://h/d", "postgres:///d", "postgres://h:port/d"] {
            assert_eq!(bad.parse::<PostgresUrl>(), Err(InvalidPostgresUrl), "{bad}");
        }
    }

    #[test]
    fn url_is_shown_without_user_and_password() {
        let url: PostgresUrl =
            "postgresql://app:hunter2@a:5433,b:5434/shop?password=hunter3".parse().unwrap();
        assert_eq!(format!("{url} {url:?}"), "postgres://a:5433,b:5434/shop postgres://a:5433,b:5434/shop");
    }
}
