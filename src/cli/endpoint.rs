//! Where a client command connects to: `http://host:port/path`, `ws://…`.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A URL without TLS, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// Host and port as the `Host` header has them.
    pub(super) authority: String,
    host: String,
    port: u16,
    /// Path and query.
    pub(super) path: String,
}

impl Endpoint {
    /// Reads a URL of that scheme. Without a path it means `path_default`.
    pub(super) fn parse(url: &str, scheme: &str, path_default: &str) -> Result<Endpoint, String> {
        let bad =
            |why: &str| format!("`{url}` is no address to connect to: {why}; write such as `{scheme}://127.0.0.1:8080{path_default}`");
        let rest =
            url.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://")).ok_or_else(|| bad(&format!("it is not {scheme}://")))?;
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if url.bytes().any(|byte| !byte.is_ascii_graphic()) || url.contains('#') || !(path.is_empty() || path.starts_with('/')) {
            return Err(bad("it has characters that a request line cannot have"));
        }
        if authority.contains('@') {
            return Err(bad("it has a user name; the token comes by --token-file or TICKERD_TOKEN"));
        }
        let (host, port) = split_port(authority).ok_or_else(|| bad("its host or port cannot be read"))?;
        let path = if matches!(path, "" | "/") { path_default } else { path };
        Ok(Endpoint { authority: authority.to_owned(), host: host.to_owned(), port, path: path.to_owned() })
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

fn split_port(authority: &str) -> Option<(&str, u16)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(v6) => {
            let (host, rest) = v6.split_once(']')?;
            (host, if rest.is_empty() { "80" } else { rest.strip_prefix(':')? })
        }
        None => authority.split_once(':').unwrap_or((authority, "80")),
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
        assert_eq!(parts("http://[::1]"), ("::1".to_owned(), 80, "/v1/publish".to_owned()));
    }

    #[test]
    fn what_is_no_url_of_the_scheme_is_named() {
        let bad = [
            "",
            "127.0.0.1:8080",
            "https://h",
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
