//! Near matches for a misspelt name, by edit distance.
//!
//! Promise: at most three names, the nearest first. Out of scope: which names there are.

const MAX_SUGGESTIONS: usize = 3;

/// Longer names are not compared, because the work grows with the product of the lengths.
const MAX_CHARS: usize = 200;

/// Up to three of `candidates` that look like `wanted`. At most a third of the characters may differ.
pub(crate) fn matches<'a>(wanted: &str, candidates: impl Iterator<Item = &'a str>) -> Vec<String> {
    let wanted = wanted.to_ascii_lowercase();
    let limit = wanted.chars().count().div_ceil(3);
    let fits = |name: &str| name.chars().count() <= MAX_CHARS;
    if !fits(&wanted) {
        return Vec::new();
    }
    let distance = |name: &'a str| (strsim::levenshtein(&wanted, &name.to_ascii_lowercase()), name);
    let mut found: Vec<_> = candidates.filter(|name| fits(name)).map(distance).collect();
    found.retain(|(distance, _)| *distance <= limit);
    found.sort_unstable();
    found.dedup();
    found.into_iter().take(MAX_SUGGESTIONS).map(|(_, name)| name.to_owned()).collect()
}

/// `; did you mean …?`, or nothing.
pub(crate) fn hint(near: &[String]) -> String {
    if near.is_empty() { String::new() } else { format!("; did you mean {}?", near.join(" or ")) }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn the_nearest_come_first_and_strangers_do_not_come_at_all() {
        let names = ["call:created", "call:answered", "chat:created", "user:login", "call:created"];
        for (wanted, expected) in [
            ("call:craeted", vec!["call:created"]),
            ("cal:created", vec!["call:created", "chat:created"]),
            ("CALL:CREATED", vec!["call:created", "chat:created"]),
            ("zzz", vec![]),
            (&"c".repeat(201), vec![]),
        ] {
            assert_eq!(matches(wanted, names.into_iter()), expected, "{wanted}");
        }
    }
}
