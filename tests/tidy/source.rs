//! Rust sources as the rules need them: without comments and literals, as words, as paths, as functions.

use std::fs;
use std::path::{Path, PathBuf};

use super::{LAYERS, LOADTEST_LAYERS, layer_of};

/// A file, as it is and as the rules need it. All forms have the same lines.
pub(crate) struct Source {
    /// From the package's root, with `/`.
    pub(crate) path: String,
    /// As it is.
    pub(crate) text: String,
    /// Comments and the contents of literals blanked.
    pub(crate) code: String,
    /// `code` without what only tests see.
    pub(crate) shipped: String,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Source {
        let code = if has_extension(path, "rs") { code_of(text) } else { text.into() };
        Source { path: path.into(), text: text.into(), shipped: without_tests(&code), code }
    }

    pub(crate) fn is_rust(&self) -> bool {
        has_extension(&self.path, "rs")
    }

    /// The layers of the crate that the file belongs to.
    pub(crate) fn layers(&self) -> &'static [(&'static str, u8)] {
        if self.path.starts_with("loadtest/") { LOADTEST_LAYERS } else { LAYERS }
    }

    /// The top module that the file belongs to.
    pub(crate) fn module(&self) -> Option<&str> {
        let inside = self.inside();
        let inside = inside.strip_prefix("src/")?;
        inside.split('/').next()?.strip_suffix(".rs").or_else(|| inside.split('/').next())
    }

    /// The top module that a path written in this file leads to, if it leads out of the file's own directory.
    pub(crate) fn target_of(&self, path: &str) -> Option<String> {
        let mut parts = path.split("::");
        let root = parts.next()?;
        let target = parts.find(|part| *part != "super")?;
        let known = layer_of(self.layers(), target).is_some();
        let leads_out = match root {
            "crate" | "tickerd" => known,
            // Modules of the same name in the same directory are meant first; `super::hub` in `reactor` is not the hub.
            "super" => known && self.up_to_the_top(path),
            _ => false,
        };
        leads_out.then(|| target.to_owned())
    }

    /// Whether the `super`s of a path climb out of every directory below `src`.
    fn up_to_the_top(&self, path: &str) -> bool {
        let below_src = self.inside().matches('/').count(); // src/x/y.rs is crate::x::y: two `super`s to the crate
        let depth = if self.path.ends_with("/mod.rs") { below_src - 1 } else { below_src };
        path.split("::").filter(|part| *part == "super").count() >= depth
    }

    /// Its path within its crate.
    fn inside(&self) -> &str {
        self.path.strip_prefix("loadtest/").unwrap_or(&self.path)
    }

    pub(crate) fn fault(&self, line: usize, what: impl std::fmt::Display) -> String {
        format!("{}:{line}: {what}", self.path)
    }
}

fn has_extension(path: &str, extension: &str) -> bool {
    Path::new(path).extension().is_some_and(|is| is == extension)
}

pub(crate) fn sources_under(root: &Path) -> Vec<Source> {
    let mut found = Vec::new();
    for top in ["src", "benches", "tests", "loadtest", "systemd"] {
        walk(&root.join(top), &mut found);
    }
    let read = |path: PathBuf| {
        let relative = path.strip_prefix(root).expect("the walk began there").to_string_lossy().replace('\\', "/");
        Some(Source::new(&relative, &fs::read_to_string(&path).ok()?)) // what is not UTF-8 is no source
    };
    found.sort();
    found.into_iter().filter_map(read).collect()
}

fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries {
        let path = entry.expect("a directory can be read to its end").path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_dir() && !name.starts_with(['.', '_']) && name != "target" {
            walk(&path, found);
        } else if [".rs", ".py", ".js", ".ts", ".sh", "run"].iter().any(|end| name.ends_with(end)) {
            found.push(path);
        }
    }
}

/// The text with comments and the contents of string and character literals turned to spaces, line by line the same.
fn code_of(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = at + blank_len(&bytes[at..], out.last().copied()).unwrap_or(0);
        if end == at {
            out.push(bytes[at]);
            at += 1;
        } else {
            out.extend(bytes[at..end].iter().map(|byte| if *byte == b'\n' { b'\n' } else { b' ' }));
            at = end;
        }
    }
    String::from_utf8(out).expect("whole comments and literals were blanked, so no character was cut")
}

/// How long the comment or literal is that `rest` begins with.
fn blank_len(rest: &[u8], before: Option<u8>) -> Option<usize> {
    let in_word = before.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    match rest {
        [b'/', b'/', ..] => Some(rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len())),
        [b'/', b'*', ..] => Some(block_comment_len(rest)),
        [b'"', ..] => Some(quoted_len(rest, b'"')),
        [b'r', b'"' | b'#', ..] if !in_word || before == Some(b'b') => raw_string_len(rest),
        [b'\'', b'\\', ..] => Some(quoted_len(rest, b'\'')),
        // A character, not a lifetime: its closing quote follows one character, of up to four bytes.
        [b'\'', ..] => (2..=5)
            .find(|len| rest.get(*len) == Some(&b'\'') && std::str::from_utf8(&rest[1..*len]).is_ok_and(|s| s.chars().count() == 1))
            .map(|len| len + 1),
        _ => None,
    }
}

fn block_comment_len(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn quoted_len(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

fn raw_string_len(rest: &[u8]) -> Option<usize> {
    let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return None; // `r#type`
    }
    let close = [&b"\""[..], &b"#".repeat(hashes)].concat();
    let body = 2 + hashes;
    let end = rest[body..].windows(close.len()).position(|window| window == close);
    Some(end.map_or(rest.len(), |end| body + end + close.len()))
}

/// The code with every item under `#[cfg(test)]` blanked.
fn without_tests(code: &str) -> String {
    let mut out = code.as_bytes().to_vec();
    for (start, _) in code.match_indices("#[cfg(test)]") {
        let end = start + item_len(&code[start..]);
        out[start..end].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
    }
    String::from_utf8(out).expect("whole items were blanked, so no character was cut")
}

/// Up to the `;` or the closing brace that ends the item which `code` begins with.
fn item_len(code: &str) -> usize {
    let mut depth = 0;
    for (at, byte) in code.bytes().enumerate() {
        match byte {
            b'{' | b'(' | b'[' => depth += 1,
            b'}' if depth == 1 => return at + 1,
            b'}' | b')' | b']' => depth -= 1,
            b';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// Every word of the code with its line.
pub(crate) fn words(code: &str) -> Vec<(usize, &str)> {
    let is_gap = |c: char| !(c.is_alphanumeric() || c == '_');
    let lines = code.lines().enumerate();
    lines.flat_map(|(at, line)| line.split(is_gap).filter(|word| !word.is_empty()).map(move |word| (at + 1, word))).collect()
}

/// Words, `::`, and every other character but spaces, each with its line.
fn tokens(code: &str) -> Vec<(usize, &str)> {
    let mut tokens = Vec::new();
    for (at, line) in code.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let word = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
            let len = if rest.starts_with("::") { 2 } else { word.max(first.len_utf8()) };
            tokens.push((at + 1, &rest[..len]));
            rest = rest[len..].trim_start();
        }
    }
    tokens
}

/// Every path of two or more parts with its line; `a::{b, c::d}` gives `a::b` and `a::c::d`.
pub(crate) fn paths(code: &str) -> Vec<(usize, String)> {
    let tokens = tokens(code);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        at = if is_word(tokens[at].1) { path_at(&tokens, at, "", &mut found) } else { at + 1 };
    }
    found
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphanumeric() || c == '_')
}

/// Reads the path at `at`, which lies in `prefix`, and says where it ends.
fn path_at(tokens: &[(usize, &str)], mut at: usize, prefix: &str, found: &mut Vec<(usize, String)>) -> usize {
    let token = |at: usize| tokens.get(at).map_or("", |(_, token)| *token);
    let line = tokens[at].0;
    let mut path = format!("{prefix}{}", token(at));
    while token(at + 1) == "::" && is_word(token(at + 2)) {
        at += 2;
        path = format!("{path}::{}", token(at));
    }
    if token(at + 1) == "::" && token(at + 2) == "{" {
        at += 3;
        while at < tokens.len() && token(at) != "}" {
            at = if is_word(token(at)) { path_at(tokens, at, &format!("{path}::"), found) } else { at + 1 };
        }
        return at + 1;
    }
    if path.contains("::") {
        found.push((line, path));
    }
    let renamed = !prefix.is_empty() && token(at + 1) == "as";
    at + if renamed { 3 } else { 1 }
}

/// Every function that has a body: its name and how many lines it is long.
pub(crate) fn functions(code: &str) -> Vec<(String, usize)> {
    let tokens = tokens(code);
    let heads = tokens.windows(2).enumerate().filter(|(_, pair)| pair[0].1 == "fn" && is_word(pair[1].1));
    let sized = heads.filter_map(|(at, pair)| Some((pair[1].1.to_owned(), last_line(&tokens[at..])? - pair[0].0 + 1)));
    sized.collect()
}

/// The line of the brace that closes the body of the function which `tokens` begins with.
fn last_line(tokens: &[(usize, &str)]) -> Option<usize> {
    let (mut brackets, mut braces) = (0, 0);
    for (line, token) in tokens {
        match *token {
            "(" | "[" => brackets += 1,
            ")" | "]" => brackets -= 1,
            ";" if brackets == 0 && braces == 0 => return None, // a declaration
            "{" => braces += 1,
            "}" if braces == 1 => return Some(*line),
            "}" => braces -= 1,
            _ => {}
        }
    }
    None
}

#[test]
fn comments_and_literals_are_blanked() {
    let text = r##"let a = "fn \" x"; let b = r#"un"safe"#; let c = '"'; let d = '\''; /* a /* b */ c */ fn g<'a>(é: &'a str) {} // é"##;
    let code = code_of(text);
    assert!(code.contains("fn g<'a>(é: &'a str) {}"), "{code}");
    let gone = ["un", "safe", "x", "c */", "\""];
    assert!(gone.iter().all(|gone| !words(&code).iter().any(|(_, word)| word == gone)) && !code.contains('"'), "{code}");
    assert_eq!(code_of("a\n/* x\ny */\nb").lines().count(), 4);
}

#[test]
fn paths_are_expanded() {
    let code = "use a::{b, c::{d as e, f}, g::*};\nh::i::<J>(k);";
    let found: Vec<_> = paths(code).into_iter().map(|(line, path)| format!("{line} {path}")).collect();
    assert_eq!(found, ["1 a::b", "1 a::c::d", "1 a::c::f", "1 a::g", "2 h::i"]);
}
