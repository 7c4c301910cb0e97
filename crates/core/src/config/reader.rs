//! Reads a JSON table key by key and collects every problem, so that an operator repairs a configuration in one go.
//!
//! Promises: a problem names the full key (`sources[0].destination.url`) and what was expected; an unknown key is a
//! problem too, because a misspelt `secrets` must not mean "no secrets". Out of scope: what the values mean together.

use serde_json::{Map, Value};
use std::cell::RefCell;

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct ConfigProblem {
    pub key: String,
    pub problem: String,
}

pub(super) type Problems = RefCell<Vec<ConfigProblem>>;

pub(super) struct Table<'a> {
    path: String,
    map: &'a Map<String, Value>,
    read: RefCell<Vec<&'static str>>,
    problems: &'a Problems,
}

impl<'a> Table<'a> {
    /// `None`, with a problem, where `value` is not a table.
    pub(super) fn new(path: &str, value: &'a Value, problems: &'a Problems) -> Option<Self> {
        if let Value::Object(map) = value {
            return Some(Self { path: path.into(), map, read: RefCell::default(), problems });
        }
        report(problems, path, format!("expected a table, found {}", kind(value)));
        None
    }

    pub(super) fn path(&self, key: &str) -> String {
        if self.path.is_empty() { key.into() } else { format!("{}.{key}", self.path) }
    }

    pub(super) fn problem(&self, key: &str, problem: impl Into<String>) {
        report(self.problems, &self.path(key), problem.into());
    }

    /// The value of `key`, which counts as read from here on.
    pub(super) fn value(&self, key: &'static str) -> Option<&'a Value> {
        self.read.borrow_mut().push(key);
        self.map.get(key).filter(|value| !value.is_null())
    }

    fn expect<T>(&self, key: &'static str, expected: &str, take: impl Fn(&'a Value) -> Option<T>) -> Option<T> {
        let value = self.value(key)?;
        let taken = take(value);
        if taken.is_none() {
            self.problem(key, format!("expected {expected}, found {}", kind(value)));
        }
        taken
    }

    /// A string that is not empty.
    pub(super) fn text(&self, key: &'static str) -> Option<&'a str> {
        self.expect(key, "a string that is not empty", |value| value.as_str().filter(|text| !text.is_empty()))
    }

    pub(super) fn required_text(&self, key: &'static str) -> Option<&'a str> {
        if self.map.get(key).is_none_or(Value::is_null) {
            self.read.borrow_mut().push(key);
            self.problem(key, "is missing");
            return None;
        }
        self.text(key)
    }

    pub(super) fn flag(&self, key: &'static str, default: bool) -> bool {
        self.expect(key, "true or false", Value::as_bool).unwrap_or(default)
    }

    /// A whole number within `least..=most`.
    pub(super) fn number(&self, key: &'static str, least: u64, most: u64) -> Option<u64> {
        self.expect(key, &format!("a whole number from {least} to {most}"), |value| {
            value.as_u64().filter(|number| (least..=most).contains(number))
        })
    }

    pub(super) fn list(&self, key: &'static str) -> Option<&'a [Value]> {
        self.expect(key, "a list", |value| value.as_array().map(Vec::as_slice))
    }

    /// What each string of a list means; one that is empty, no string or without a meaning is reported with its position.
    pub(super) fn texts_as<T>(&self, key: &'static str, read: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        let list = self.list(key).unwrap_or_default().iter().enumerate();
        let texts = list.filter_map(|(index, value)| {
            let text = value.as_str().filter(|text| !text.is_empty());
            let text = text.ok_or_else(|| format!("expected a string that is not empty, found {}", kind(value)));
            text.and_then(&read).map_err(|problem| self.problem(&format!("{key}[{index}]"), problem)).ok()
        });
        texts.collect()
    }

    pub(super) fn texts(&self, key: &'static str) -> Vec<String> {
        self.texts_as(key, |text| Ok(text.to_owned()))
    }

    /// A table of strings under names that are the operator's, in the order of the names; what is no string, or empty, is
    /// reported with its name.
    pub(super) fn pairs(&self, key: &'static str) -> Vec<(&'a str, &'a str)> {
        let Some(map) = self.expect(key, "a table", Value::as_object) else { return vec![] };
        let pairs = map.iter().filter_map(|(name, value)| {
            let text = value.as_str().filter(|text| !text.is_empty());
            if text.is_none() {
                let found = kind(value);
                self.problem(&format!("{key}.{name}"), format!("expected a string that is not empty, found {found}"));
            }
            Some((name.as_str(), text?))
        });
        pairs.collect()
    }

    /// Reads a table of this one; `None` where it is left out, or is no table.
    pub(super) fn section<T>(&self, key: &'static str, read: impl FnOnce(&Table<'a>) -> T) -> Option<T> {
        self.nested(key, self.value(key)?, read)
    }

    /// Reads a table that stands in a list of this one; `key` as in `secrets[0]`.
    pub(super) fn nested<T>(&self, key: &str, value: &'a Value, read: impl FnOnce(&Table<'a>) -> T) -> Option<T> {
        let table = Table::new(&self.path(key), value, self.problems)?;
        let taken = read(&table);
        table.finish();
        Some(taken)
    }

    /// Reports every key that was not read.
    pub(super) fn finish(self) {
        let read = self.read.borrow();
        for key in self.map.keys().filter(|key| !read.contains(&key.as_str())) {
            let known = read.join(", ");
            self.problem(key, format!("unknown key; known here: {known}"));
        }
    }
}

pub(super) fn report(problems: &Problems, key: &str, problem: String) {
    problems
        .borrow_mut()
        .push(ConfigProblem { key: if key.is_empty() { "GATEWAY".into() } else { key.into() }, problem });
}

/// What a value is, in words; the value itself is not shown, because it might be a secret in the wrong place.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number out of range or of another kind",
        Value::String(text) if text.is_empty() => "an empty string",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table",
    }
}
