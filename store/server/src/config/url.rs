//! The URLs of flags: `http`, `https` (host and port) and `unix`, `unixs` (a socket file), checked as etcd checks them.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    Http,
    Https,
    Unix,
    /// TLS over a socket file.
    Unixs,
}

impl Scheme {
    pub fn is_tls(self) -> bool {
        matches!(self, Scheme::Https | Scheme::Unixs)
    }

    fn name(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
            Scheme::Unix => "unix",
            Scheme::Unixs => "unixs",
        }
    }
}

/// A URL without path, query or user. `Display` gives back what was parsed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Url {
    scheme: Scheme,
    /// `host:port`, or the path of a socket file.
    address: String,
}

/// Why a URL of a flag is refused; the texts are etcd's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("URL scheme must be http, https, unix, or unixs: {0}")]
    Scheme(String),
    #[error("URL address does not have the form \"host:port\": {0}")]
    HostPort(String),
    #[error("URL must not contain a path: {0}")]
    Path(String),
    #[error("expected IP in URL for binding ({0})")]
    NotBindable(Url),
    #[error("unexpected empty host ({0})")]
    EmptyHost(Url),
}

impl Url {
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    pub fn is_tls(&self) -> bool {
        self.scheme.is_tls()
    }

    /// `host:port` as written, or the path of a socket file.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The socket file of a `unix` or `unixs` URL.
    pub fn socket_file(&self) -> Option<PathBuf> {
        matches!(self.scheme, Scheme::Unix | Scheme::Unixs).then(|| PathBuf::from(&self.address))
    }

    /// Host without brackets, and port; `None` for socket files.
    pub fn host_port(&self) -> Option<(&str, u16)> {
        match self.scheme {
            Scheme::Http | Scheme::Https => split_host_port(&self.address),
            Scheme::Unix | Scheme::Unixs => None,
        }
    }

    /// Refuses a host that cannot be bound for certain: only addresses and `localhost` are.
    ///
    /// # Errors
    /// [`Error::NotBindable`].
    pub fn check_bindable(&self) -> Result<(), Error> {
        match self.host_port() {
            Some((host, _)) if host != "localhost" && host.parse::<IpAddr>().is_err() => {
                Err(Error::NotBindable(self.clone()))
            }
            _ => Ok(()),
        }
    }

    /// Refuses an advertised URL that nobody could reach.
    ///
    /// # Errors
    /// [`Error::EmptyHost`].
    pub fn check_reachable(&self) -> Result<(), Error> {
        match self.host_port() {
            Some(("", _)) => Err(Error::EmptyHost(self.clone())),
            _ => Ok(()),
        }
    }
}

fn split_host_port(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let port = port.parse().ok()?;
    match host.strip_prefix('[') {
        Some(inner) => Some((inner.strip_suffix(']')?, port)),
        None if host.contains(':') => None,
        None => Some((host, port)),
    }
}

impl FromStr for Url {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        let Some((scheme, rest)) = text.split_once(":") else { return Err(Error::Scheme(text.to_owned())) };
        let scheme = match scheme {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            "unix" => Scheme::Unix,
            "unixs" => Scheme::Unixs,
            _ => return Err(Error::Scheme(text.to_owned())),
        };
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        if matches!(scheme, Scheme::Unix | Scheme::Unixs) {
            return match rest {
                "" => Err(Error::HostPort(text.to_owned())),
                path => Ok(Url { scheme, address: path.to_owned() }),
            };
        }
        let (address, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if address.contains('@') || split_host_port(address).is_none() {
            return Err(Error::HostPort(text.to_owned()));
        }
        if !path.is_empty() {
            return Err(Error::Path(text.to_owned()));
        }
        Ok(Url { scheme, address: address.to_owned() })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.name(), self.address)
    }
}

/// Parses `url,url`; sorted and without repetitions, as etcd keeps them. An empty text is an empty list.
///
/// # Errors
/// The first URL that is refused.
pub fn parse_list(text: &str) -> Result<Vec<Url>, Error> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let mut urls = text.split(',').map(str::parse).collect::<Result<Vec<Url>, _>>()?;
    urls.sort();
    urls.dedup();
    Ok(urls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_accepted_and_refused_as_etcd_does() {
        for (text, expected) in [
            ("http://127.0.0.1:2379", Ok(Some(("127.0.0.1", 2379)))),
            (" https://[::1]:2379", Ok(Some(("::1", 2379)))),
            ("unix://localhost:20000", Ok(None)),
            ("unix:///tmp/s", Ok(None)),
            ("foo", Err("URL scheme must be http, https, unix, or unixs: foo")),
            ("ftp://127.0.0.1:1", Err("URL scheme must be http, https, unix, or unixs: ftp://127.0.0.1:1")),
            ("http://127.0.0.1", Err("URL address does not have the form \"host:port\": http://127.0.0.1")),
            ("http://a:b@h:1", Err("URL address does not have the form \"host:port\": http://a:b@h:1")),
            ("http://127.0.0.1:1/p", Err("URL must not contain a path: http://127.0.0.1:1/p")),
            ("http://::1:1", Err("URL address does not have the form \"host:port\": http://::1:1")),
        ] {
            let found = text.parse::<Url>();
            match (&found, expected) {
                (Ok(url), Ok(expected)) => {
                    assert_eq!(url.host_port(), expected, "{text}");
                    assert_eq!(url.to_string(), text.trim(), "{text}");
                }
                (Err(error), Err(expected)) => assert_eq!(error.to_string(), expected),
                _ => panic!("{text}: {found:?}"),
            }
        }
    }

    #[test]
    fn only_addresses_and_localhost_can_be_bound() {
        for (text, bindable) in [
            ("http://localhost:1", true),
            ("http://0.0.0.0:1", true),
            ("http://[::]:1", true),
            ("unix://a:1", true),
            ("http://example.com:1", false),
            ("http://:1", false),
        ] {
            assert_eq!(text.parse::<Url>().unwrap().check_bindable().is_ok(), bindable, "{text}");
        }
    }

    #[test]
    fn lists_are_sorted_and_hold_each_url_once() {
        let urls = parse_list("http://b:1,http://a:1,http://b:1").unwrap();
        assert_eq!(urls.iter().map(Url::to_string).collect::<Vec<_>>(), ["http://a:1", "http://b:1"]);
        assert!(parse_list(",http://a:1").is_err());
        assert_eq!(parse_list(""), Ok(Vec::new()));
    }
}
