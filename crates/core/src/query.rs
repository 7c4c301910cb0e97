//! Reads the query of a management call.
//!
//! Promises: percent-decoding of names and values, the first of repeated names wins, `+` is a space, broken escapes stay
//! as they are. Out of scope: anything of a URL but its query (the `url` crate would add 77 KB of tables to the Worker).

/// Splits a path with query, as `/api/dead-letters?limit=2`, into path and query.
pub fn split(path_and_query: &str) -> (&str, Query<'_>) {
    match path_and_query.split_once('?') {
        Some((path, query)) => (path, Query(query)),
        None => (path_and_query, Query("")),
    }
}

/// A query string, read on demand.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a>(pub &'a str);

impl Query<'_> {
    /// The decoded value of `name`, where there is one that is not empty.
    pub fn get(&self, name: &str) -> Option<String> {
        self.0
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .find(|(key, _)| decode(key) == name)
            .map(|(_, value)| decode(value))
            .filter(|value| !value.is_empty())
    }

    /// The number that `name` gives, within `1..=most`; `default` where there is none.
    ///
    /// Errors: the text, where it is not a number of that range.
    pub fn count(&self, name: &str, default: u32, most: u32) -> Result<u32, String> {
        match self.get(name) {
            None => Ok(default),
            Some(text) => text.parse().ok().filter(|n| (1..=most).contains(n)).ok_or(text),
        }
    }
}

/// Percent-decodes `text`; bytes that are not UTF-8 become U+FFFD.
pub fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let mut ahead = rest.clone();
                let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
                match (digit(ahead.next()), digit(ahead.next())) {
                    (Some(high), Some(low)) => {
                        bytes.push(u8::try_from(high.saturating_mul(16).saturating_add(low)).unwrap_or(b'%'));
                        rest = ahead;
                    }
                    _ => bytes.push(b'%'),
                }
            }
            byte => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_are_found_and_decoded() {
        let (path, query) = split("/api/x?source=a%20b+c&limit=7&source=later&empty=&broken=%zz%4");
        assert_eq!(path, "/api/x");
        assert_eq!(query.get("source").as_deref(), Some("a b c"));
        assert_eq!(query.get("empty"), None);
        assert_eq!(query.get("none"), None);
        assert_eq!(query.get("broken").as_deref(), Some("%zz%4"));
        assert_eq!(query.count("limit", 50, 100), Ok(7));
        assert_eq!(query.count("none", 50, 100), Ok(50));
        assert_eq!(query.count("source", 50, 100), Err("a b c".into()));
        assert_eq!(split("/x?limit=0").1.count("limit", 50, 100), Err("0".into()));
    }

    proptest! {
        #[test]
        fn any_text_survives_encoding(text in ".*") {
            let digits: Vec<String> = text.bytes().map(|b| format!("%{b:02x}")).collect();
            let encoded = digits.concat();
            prop_assert_eq!(decode(&encoded), text);
        }
    }
}
