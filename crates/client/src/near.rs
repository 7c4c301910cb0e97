//! Near matches for a misspelt name, by edit distance.

/// How many suggestions are worth reading.
const MAX_SUGGESTIONS: usize = 3;

/// Longer names are not compared: the work grows with the product of the lengths.
const MAX_CHARS: usize = 200;

/// Up to three of `candidates` that look like `wanted`, nearest first; at most a third of the characters may differ.
pub(crate) fn matches<'a>(wanted: &str, candidates: impl Iterator<Item = &'a str>) -> Vec<String> {
    let wanted: Vec<char> = wanted.to_ascii_lowercase().chars().collect();
    if wanted.len() > MAX_CHARS {
        return Vec::new();
    }
    let limit = wanted.len().div_ceil(3);
    // Kept in order as they are found: the library's sort would be a hundred times this code.
    let mut found: Vec<(usize, &str)> = Vec::new();
    for candidate in candidates {
        let entry = (distance(&wanted, &candidate.to_ascii_lowercase()), candidate);
        if entry.0 <= limit
            && let Err(place) = found.binary_search(&entry)
        {
            found.insert(place, entry);
        }
    }
    found.into_iter().take(MAX_SUGGESTIONS).map(|(_, name)| name.to_owned()).collect()
}

/// `; did you mean …?`, or nothing.
pub(crate) fn hint(near: &[String]) -> String {
    if near.is_empty() { String::new() } else { format!("; did you mean {}?", near.join(" or ")) }
}

/// Levenshtein distance, one row at a time.
fn distance(wanted: &[char], candidate: &str) -> usize {
    let mut row: Vec<usize> = (0..=wanted.len()).collect();
    for (line, other) in candidate.chars().enumerate().take(MAX_CHARS) {
        let mut diagonal = line;
        let mut left = line.saturating_add(1);
        let mut next = Vec::with_capacity(row.len());
        next.push(left);
        for (own, above) in wanted.iter().zip(row.iter().skip(1)) {
            let changed = diagonal.saturating_add(usize::from(*own != other));
            let cheapest = changed.min(left.saturating_add(1)).min(above.saturating_add(1));
            diagonal = *above;
            left = cheapest;
            next.push(cheapest);
        }
        row = next;
    }
    row.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::{distance, matches};

    #[test]
    fn distances_are_those_of_the_textbook() {
        for (a, b, expected) in [
            ("kitten", "sitting", 3),
            ("", "abc", 3),
            ("abc", "", 3),
            ("flaw", "lawn", 2),
            ("é", "e", 1),
            ("same", "same", 0),
        ] {
            assert_eq!(distance(&a.chars().collect::<Vec<_>>(), b), expected, "{a} {b}");
        }
    }

    #[test]
    fn the_nearest_come_first_and_strangers_do_not_come_at_all() {
        let names = ["call:created", "call:answered", "chat:created", "user:login"];
        assert_eq!(matches("call:craeted", names.into_iter()), ["call:created"]);
        assert_eq!(matches("cal:created", names.into_iter()), ["call:created", "chat:created"]);
        assert!(matches("zzz", names.into_iter()).is_empty());
    }
}
