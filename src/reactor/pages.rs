//! What browsers are given: the client, the dashboard and the API documents, as files that are part of the program. No I/O.

use crate::wire::http::{Request, write_response};

/// A file of `src/web`.
#[derive(Debug)]
pub(super) struct Page {
    path: &'static str,
    content_type: &'static str,
    body: &'static [u8],
}

const SCRIPT: &str = "text/javascript; charset=utf-8";
/// RFC 9512.
const YAML: &str = "application/yaml";

static PAGES: &[Page] = &[
    Page { path: "/", content_type: "text/html; charset=utf-8", body: include_bytes!("../web/dashboard/index.html") },
    Page { path: "/dashboard.js", content_type: SCRIPT, body: include_bytes!("../web/dashboard/dashboard.js") },
    Page { path: "/plots.js", content_type: SCRIPT, body: include_bytes!("../web/dashboard/plots.js") },
    Page { path: "/dashboard.css", content_type: "text/css; charset=utf-8", body: include_bytes!("../web/dashboard/dashboard.css") },
    Page { path: "/icon.svg", content_type: "image/svg+xml", body: include_bytes!("../web/dashboard/icon.svg") },
    Page { path: "/client.js", content_type: SCRIPT, body: include_bytes!("../web/client.js") },
    Page { path: "/react.js", content_type: SCRIPT, body: include_bytes!("../web/react.js") },
    Page { path: "/client.d.ts", content_type: "text/plain; charset=utf-8", body: include_bytes!("../web/client.d.ts") },
    Page { path: "/asyncapi.yaml", content_type: YAML, body: include_bytes!("../web/asyncapi.yaml") },
    Page { path: "/openapi.yaml", content_type: YAML, body: include_bytes!("../web/openapi.yaml") },
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
        let etag = format!("\"{:016x}\"", fnv1a(self.body));
        let is_known = request.values("if-none-match").any(|tags| names(tags, &etag));
        let headers = [
            ("ETag", &*etag),
            ("Cache-Control", "no-cache"),
            ("Content-Security-Policy", POLICY),
            ("Referrer-Policy", "no-referrer"),
            // Nothing in it is anybody's: pages of all origins may load the client.
            ("Access-Control-Allow-Origin", "*"),
            ("Cross-Origin-Resource-Policy", "cross-origin"),
        ];
        write_response(out, if is_known { 304 } else { 200 }, self.content_type, keep_alive, &headers, self.body);
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

    #[test]
    fn each_page_has_a_tag_of_its_own() {
        let mut tags: Vec<_> = PAGES.iter().map(|page| fnv1a(page.body)).collect();
        tags.sort_unstable();
        tags.dedup();
        assert_eq!(tags.len(), PAGES.len());
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8, "the reference's own example");
    }
}
