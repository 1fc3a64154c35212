//! What browsers are given: the client, the dashboard and the API documents, as files that are part of the program. No I/O.

use std::io::Write;
use std::sync::OnceLock;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::wire::http::{Request, write_response};

/// A file of `src/web`.
#[derive(Debug)]
pub(super) struct Page {
    path: &'static str,
    content_type: &'static str,
    body: &'static [u8],
    /// The same, compressed when it is first asked for.
    zipped: OnceLock<Vec<u8>>,
}

const fn page_of(path: &'static str, content_type: &'static str, body: &'static [u8]) -> Page {
    Page { path, content_type, body, zipped: OnceLock::new() }
}

const SCRIPT: &str = "text/javascript; charset=utf-8";
/// RFC 9512.
const YAML: &str = "application/yaml";

static PAGES: [Page; 21] = [
    page_of("/", "text/html; charset=utf-8", include_bytes!("../web/dashboard/index.html")),
    page_of("/dashboard.js", SCRIPT, include_bytes!("../web/dashboard/dashboard.js")),
    page_of("/plots.js", SCRIPT, include_bytes!("../web/dashboard/plots.js")),
    page_of("/dashboard.css", "text/css; charset=utf-8", include_bytes!("../web/dashboard/dashboard.css")),
    page_of("/session.js", SCRIPT, include_bytes!("../web/dashboard/session.js")),
    page_of("/operator", "text/html; charset=utf-8", include_bytes!("../web/dashboard/operator.html")),
    page_of("/operator.js", SCRIPT, include_bytes!("../web/dashboard/operator.js")),
    page_of("/operator.css", "text/css; charset=utf-8", include_bytes!("../web/dashboard/operator.css")),
    page_of("/figures.js", SCRIPT, include_bytes!("../web/dashboard/figures.js")),
    page_of("/charts.js", SCRIPT, include_bytes!("../web/dashboard/charts.js")),
    page_of("/poll.js", SCRIPT, include_bytes!("../web/dashboard/poll.js")),
    page_of("/icon.svg", "image/svg+xml", include_bytes!("../web/dashboard/icon.svg")),
    page_of("/client.js", SCRIPT, include_bytes!("../web/client.js")),
    page_of("/client-fallback.js", SCRIPT, include_bytes!("../web/client-fallback.js")),
    page_of("/client-tabs.js", SCRIPT, include_bytes!("../web/client-tabs.js")),
    page_of("/client-digest.js", SCRIPT, include_bytes!("../web/client-digest.js")),
    page_of("/client-relay.js", SCRIPT, include_bytes!("../web/client-relay.js")),
    page_of("/react.js", SCRIPT, include_bytes!("../web/react.js")),
    page_of("/client.d.ts", "text/plain; charset=utf-8", include_bytes!("../web/client.d.ts")),
    page_of("/asyncapi.yaml", YAML, include_bytes!("../web/asyncapi.yaml")),
    page_of("/openapi.yaml", YAML, include_bytes!("../web/openapi.yaml")),
];

/// Everything comes from here, and nothing is inline: text that gets into a page as markup runs nothing.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page at that path.
pub(super) fn page(path: &str) -> Option<&'static Page> {
    PAGES.iter().find(|page| page.path == path)
}

impl Page {
    /// Appends the answer to a GET. A browser keeps the page, and asks each time whether it is still the same.
    pub(super) fn write(&self, request: &Request<'_>, keep_alive: bool, out: &mut Vec<u8>) {
        let is_zipped = request.accepts_gzip();
        let etag = format!("\"{:016x}{}\"", fnv1a(self.body), if is_zipped { "-gz" } else { "" });
        let is_known = request.values("if-none-match").any(|tags| names(tags, &etag));
        let mut headers = vec![
            ("ETag", &*etag),
            ("Vary", "Accept-Encoding"),
            ("Cache-Control", "no-cache"),
            ("Content-Security-Policy", POLICY),
            ("Referrer-Policy", "no-referrer"),
            // Nothing in it is anybody's: pages of all origins may load the client.
            ("Access-Control-Allow-Origin", "*"),
            ("Cross-Origin-Resource-Policy", "cross-origin"),
        ];
        if is_zipped && !is_known {
            headers.push(("Content-Encoding", "gzip"));
        }
        let body = if is_zipped { self.zipped() } else { self.body };
        write_response(out, if is_known { 304 } else { 200 }, self.content_type, keep_alive, &headers, body);
    }

    fn zipped(&self) -> &[u8] {
        self.zipped.get_or_init(|| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            let written = encoder.write_all(self.body).and_then(|()| encoder.finish());
            written.expect("writing to a Vec does not fail")
        })
    }
}

/// Whether a list of entity tags has this one (RFC 9110 section 13.1.2). Proxies that compress make a tag weak.
fn names(tags: &[u8], etag: &str) -> bool {
    let tags = tags.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    tags.map(|tag| tag.strip_prefix(b"W/").unwrap_or(tag)).any(|tag| tag == b"*" || tag == etag.as_bytes())
}

/// The 64-bit FNV-1a hash: it tells two versions of a file apart, and need not do more.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::wire::http::{Head, parse_head};

    fn get(page: &Page, headers: &str) -> String {
        let text = format!("GET {} HTTP/1.1\r\nHost: x\r\n{headers}\r\n", page.path);
        let Ok(Head::Complete { request, .. }) = parse_head(text.as_bytes()) else { panic!("{text}") };
        let mut out = Vec::new();
        page.write(&request, true, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_page_is_given_once_and_then_known_by_its_tag() {
        let page = page("/client.js").unwrap();
        let answer = get(page, "");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with(std::str::from_utf8(page.body).unwrap()));
        let tag = answer.lines().find_map(|line| line.strip_prefix("ETag: ")).unwrap();
        for known in [tag.to_owned(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".to_owned()] {
            let answer = get(page, &format!("If-None-Match: {known}\r\n"));
            assert!(answer.starts_with("HTTP/1.1 304 ") && answer.ends_with("\r\n\r\n"), "{known}");
        }
        assert!(get(page, "If-None-Match: \"other\"\r\n").starts_with("HTTP/1.1 200 "));
    }

    /// Half a page's time on a slow line; a cache between must not mix the two up.
    #[test]
    fn a_page_is_compressed_for_those_who_take_that() {
        let page = page("/client.js").unwrap();
        let answer = |headers: &str| {
            let text = format!("GET {} HTTP/1.1\r\nHost: x\r\n{headers}\r\n", page.path);
            let Ok(Head::Complete { request, .. }) = parse_head(text.as_bytes()) else { panic!("{text}") };
            let mut out = Vec::new();
            page.write(&request, true, &mut out);
            let at = out.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
            (String::from_utf8(out[..at].to_vec()).unwrap(), out[at..].to_vec())
        };
        for accepted in ["gzip", "br, GZIP;q=0.5", "*", "deflate\r\nAccept-Encoding: gzip"] {
            let (head, body) = answer(&format!("Accept-Encoding: {accepted}\r\n"));
            assert!(head.contains("Content-Encoding: gzip\r\n") && head.contains("Vary: Accept-Encoding\r\n"), "{head}");
            assert!(body.len() < page.body.len() / 2 && head.contains(&format!("Content-Length: {}\r\n", body.len())));
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut plain).unwrap();
            assert_eq!(plain, page.body);
            let tag = head.lines().find_map(|line| line.strip_prefix("ETag: ")).unwrap();
            let (head, body) = answer(&format!("Accept-Encoding: gzip\r\nIf-None-Match: {tag}\r\n"));
            assert!(head.starts_with("HTTP/1.1 304 ") && !head.contains("Content-Encoding") && body.is_empty());
            assert!(answer(&format!("If-None-Match: {tag}\r\n")).0.starts_with("HTTP/1.1 200 "), "it is another form's");
        }
        for accepted in ["", "Accept-Encoding: br\r\n", "Accept-Encoding: gzip;q=0\r\n", "Accept-Encoding: *, gzip;q=0.0\r\n"] {
            let (head, body) = answer(accepted);
            assert!(!head.contains("Content-Encoding") && head.contains("Vary: Accept-Encoding\r\n") && body == page.body, "{accepted}");
        }
    }

    #[test]
    fn each_page_has_a_tag_of_its_own() {
        let mut tags: Vec<_> = PAGES.iter().map(|page| fnv1a(page.body)).collect();
        tags.sort_unstable();
        tags.dedup();
        assert_eq!(tags.len(), PAGES.len());
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8, "the reference's own example");
    }
}
