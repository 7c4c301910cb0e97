//! The query of a management call.
//!
//! Promises: decoded as forms are (`+` is a space, broken escapes stay as they are); an empty value is none; a parameter
//! that is unknown or given twice is named. Out of scope: anything of a URL but its query.

#[derive(Clone, Debug)]
pub struct Query(Vec<(String, String)>);

impl Query {
    pub fn parse(text: &str) -> Self {
        Self(form_urlencoded::parse(text.as_bytes()).into_owned().collect())
    }

    /// The value of `name`, where there is one that is not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        let value = self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        value.filter(|value| !value.is_empty())
    }

    pub fn text(&self, name: &str) -> Option<String> {
        self.get(name).map(Into::into)
    }

    /// What is wrong with the names, where only those of `known` may come, each once.
    pub fn problem(&self, known: &[&str]) -> Option<String> {
        self.0.iter().enumerate().find_map(|(at, (name, _))| {
            if !known.contains(&name.as_str()) {
                let name: String = name.chars().take(64).collect();
                let known = match known {
                    [] => "none is known here".into(),
                    known => format!("known here: {}", known.join(", ")),
                };
                return Some(format!("{name}: unknown parameter; {known}"));
            }
            self.0.iter().take(at).any(|(other, _)| other == name).then(|| format!("{name}: given twice"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_and_decoded() {
        let query = Query::parse("source=a%20b+c&limit=7&empty=&broken=%zz%4&caf%C3%A9=%ff&");
        for (name, value) in [
            ("source", Some("a b c")),
            ("limit", Some("7")),
            ("empty", None),
            ("none", None),
            ("broken", Some("%zz%4")),
            ("café", Some("\u{fffd}")),
        ] {
            assert_eq!(query.get(name), value, "{name}");
        }
    }

    #[test]
    fn names_that_are_unknown_or_come_twice_are_told() {
        for (text, problem) in [
            ("", None),
            ("&&", None),
            ("limit=1&source=&", None),
            ("limit=1&origin=a", Some("origin: unknown parameter; known here: source, limit")),
            ("Limit=1", Some("Limit: unknown parameter; known here: source, limit")),
            ("=1", Some(": unknown parameter; known here: source, limit")),
            ("limit=1&source=a&limit=1", Some("limit: given twice")),
        ] {
            assert_eq!(Query::parse(text).problem(&["source", "limit"]).as_deref(), problem, "{text}");
        }
        let problem = Query::parse("a=1").problem(&[]);
        assert_eq!(problem.as_deref(), Some("a: unknown parameter; none is known here"));
    }
}
