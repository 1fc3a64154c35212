//! "Did you mean": the known name nearest to a mistyped one.

/// The name at the smallest edit distance from `typed`, if it is near enough to be meant. `-` and `_` count as the same.
pub(super) fn nearest<'a>(typed: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let typed = plain(typed);
    let far = typed.chars().count() / 3 + 1;
    names
        .into_iter()
        .map(|name| (distance(&typed, &plain(name)), name))
        .filter(|(d, _)| *d <= far)
        .min_by_key(|(d, _)| *d)
        .map(|(_, name)| name)
}

/// The sentence that goes behind an error, or nothing.
pub(super) fn hint<'a>(typed: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    nearest(typed, names).map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

fn plain(name: &str) -> String {
    name.to_lowercase().replace('-', "_")
}

/// Levenshtein's distance, one row at a time.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_offered_and_a_far_one_is_not() {
        let names = ["listen", "max_connections", "max_rooms"];
        assert_eq!(nearest("lisen", names), Some("listen"));
        assert_eq!(nearest("max-connections", names), Some("max_connections"));
        assert_eq!(nearest("MAX_ROOM", names), Some("max_rooms"));
        assert_eq!(nearest("tls_cert", names), None);
    }

    #[test]
    fn distances_are_levenshteins() {
        for (a, b, d) in [("", "", 0), ("", "ab", 2), ("kitten", "sitting", 3), ("flaw", "lawn", 2), ("same", "same", 0)] {
            assert_eq!(distance(a, b), d, "{a} {b}");
            assert_eq!(distance(b, a), d, "{b} {a}");
        }
    }
}
