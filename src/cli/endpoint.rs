//! Where a client command connects to: `http://host:port/path`, `ws://…`.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A URL, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// Host and port as the `Host` header has them.
    pub(super) authority: String,
    host: String,
    port: u16,
    /// Path and query.
    pub(super) path: String,
    /// It is `https` or `wss`.
    pub(super) is_tls: bool,
}

impl Endpoint {
    /// Reads a URL of that scheme, or of the same with an `s`. Without a path it means `path_default`.
    pub(super) fn parse(url: &str, scheme: &str, path_default: &str) -> Result<Endpoint, String> {
        let bad =
            |why: &str| format!("`{url}` is no address to connect to: {why}; write such as `{scheme}://127.0.0.1:8080{path_default}`");
        let after_scheme = url.strip_prefix(scheme).unwrap_or_default();
        let (is_tls, rest) = match (after_scheme.strip_prefix("://"), after_scheme.strip_prefix("s://")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => return Err(bad(&format!("it is neither {scheme}:// nor {scheme}s://"))),
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if url.bytes().any(|byte| !byte.is_ascii_graphic()) || url.contains('#') || !(path.is_empty() || path.starts_with('/')) {
            return Err(bad("it has characters that a request line cannot have"));
        }
        if authority.contains('@') {
            return Err(bad("it has a user name; the token comes by --token-file or TICKERD_TOKEN"));
        }
        let (host, port) =
            split_port(authority, if is_tls { "443" } else { "80" }).ok_or_else(|| bad("its host or port cannot be read"))?;
        let path = if matches!(path, "" | "/") { path_default } else { path };
        Ok(Endpoint { authority: authority.to_owned(), host: host.to_owned(), port, path: path.to_owned(), is_tls })
    }

    /// The host alone, an IPv6 address without its brackets.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Connects to the first of the host's addresses that answers in time.
    pub(super) fn connect(&self) -> io::Result<TcpStream> {
        let mut last = io::Error::other("the host has no address");
        for address in (self.host.as_str(), self.port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                Err(e) => last = e,
            }
        }
        Err(last)
    }
}

fn split_port<'a>(authority: &'a str, default: &'a str) -> Option<(&'a str, u16)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(v6) => {
            let (host, rest) = v6.split_once(']')?;
            (host, if rest.is_empty() { default } else { rest.strip_prefix(':')? })
        }
        None => authority.split_once(':').unwrap_or((authority, default)),
    };
    (!host.is_empty()).then_some(host).zip(port.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(url: &str) -> (String, u16, String) {
        let endpoint = Endpoint::parse(url, "http", "/v1/publish").unwrap();
        (endpoint.host, endpoint.port, endpoint.path)
    }

    #[test]
    fn a_url_is_taken_apart() {
        assert_eq!(parts("http://127.0.0.1:8080"), ("127.0.0.1".to_owned(), 8080, "/v1/publish".to_owned()));
        assert_eq!(parts("http://desk.example/"), ("desk.example".to_owned(), 80, "/v1/publish".to_owned()));
        assert_eq!(parts("http://[::1]:81/x?y=z"), ("::1".to_owned(), 81, "/x?y=z".to_owned()));
        assert_eq!(parts("https://desk.example"), ("desk.example".to_owned(), 443, "/v1/publish".to_owned()));
        assert_eq!(parts("http://[::1]"), ("::1".to_owned(), 80, "/v1/publish".to_owned()));
    }

    #[test]
    fn what_is_no_url_of_the_scheme_is_named() {
        let bad = [
            "",
            "127.0.0.1:8080",
            "httpss://h",
            "ws://h",
            "http:/h",
            "http://",
            "http://:80",
            "http://h:x",
            "http://h:70000",
            "http://u:p@h",
            "http://h/ x",
            "http://h/\r\nX: y",
            "http://[::1",
            "http://h/#a",
            "http://h?x",
        ];
        for url in bad {
            let message = Endpoint::parse(url, "http", "/v1/publish").unwrap_err();
            assert!(message.contains(url) && message.contains("http://127.0.0.1:8080/v1/publish"), "{message}");
        }
    }
}
