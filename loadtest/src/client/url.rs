//! Where a server is.

use std::net::{SocketAddr, ToSocketAddrs};

/// `ws://host:port/path` or `wss://…`, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// With TLS.
    pub is_tls: bool,
    /// The host without its port, as a certificate has it.
    pub name: String,
    /// For the `Host` header.
    pub host: String,
    /// Of the upgrade request.
    pub path: String,
    /// The first address of the host.
    pub address: SocketAddr,
}

impl Url {
    /// Reads and resolves a URL. The error says what is wrong with it.
    pub fn parse(url: &str) -> Result<Url, String> {
        let schemes = [("ws://", false, 80), ("wss://", true, 443)];
        let read = schemes.iter().find_map(|(scheme, is_tls, port)| Some((url.strip_prefix(scheme)?, *is_tls, *port)));
        let (rest, is_tls, port) = read.ok_or_else(|| format!("`{url}` does not begin with ws:// or wss://: give ws://host:port/path"))?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        if host.is_empty() || rest.bytes().any(|byte| byte.is_ascii_control() || byte == b' ') {
            return Err(format!("`{url}` has no host, or spaces: give ws://host:port/path"));
        }
        let with_port = if has_port(host) { host.to_owned() } else { format!("{host}:{port}") };
        let mut addresses =
            with_port.to_socket_addrs().map_err(|error| format!("`{url}`: the address of `{with_port}` is not known: {error}"))?;
        let address = addresses.next().ok_or_else(|| format!("`{url}`: `{with_port}` has no address"))?;
        let name = with_port.rsplit_once(':').map_or(host, |(name, _)| name).trim_matches(['[', ']']).to_owned();
        Ok(Url { is_tls, name, host: host.to_owned(), path: format!("/{path}"), address })
    }
}

fn has_port(host: &str) -> bool {
    host.rsplit_once(':').is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read() {
        let url = Url::parse("ws://127.0.0.1:81/v1/ws?a=b").expect("is good");
        assert_eq!(
            (url.host.as_str(), url.path.as_str(), url.address.to_string().as_str()),
            ("127.0.0.1:81", "/v1/ws?a=b", "127.0.0.1:81")
        );
        let url = Url::parse("ws://[::1]").expect("is good");
        assert_eq!((url.path.as_str(), url.address.to_string().as_str()), ("/", "[::1]:80"));
    }

    #[test]
    fn urls_with_tls_have_a_name_and_a_port_of_their_own() {
        let read = |url: &str| Url::parse(url).map(|url| (url.is_tls, url.name, url.address.port())).expect(url);
        assert_eq!(read("wss://127.0.0.1/v1/ws"), (true, "127.0.0.1".into(), 443));
        assert_eq!(read("wss://[::1]:8443/"), (true, "::1".into(), 8443));
        assert_eq!(read("ws://127.0.0.1/"), (false, "127.0.0.1".into(), 80));
    }

    #[test]
    fn other_schemes_and_no_host_are_refused() {
        for url in ["wsss://a/", "http://a/", "ws:///a", "ws://a b/", "ws://127.0.0.1:99999/"] {
            let error = Url::parse(url).expect_err(url);
            assert!(error.contains(url), "{error}");
        }
    }
}
