//! A map from names to values that is one sorted list: for what there is one of by source, label, shard or code.
//!
//! Promises: it is searched and iterated in the order of the names and read and written by serde as any map is; a name that
//! comes behind all others is added without moving anything. Everywhere else adding and removing move what lies behind, which
//! is nothing at the some thousand names that a gateway can have at most. It takes a tenth of the code of a `BTreeMap`, which
//! is compiled anew for every type of value. Out of scope: maps that grow with the traffic.

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use std::fmt;
use std::marker::PhantomData;

/// A map whose keys are names, owned or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByName<V, K = String> {
    /// In the order of the names, each of which is there once.
    entries: Vec<(K, V)>,
}

impl<V, K> ByName<V, K> {
    /// An empty one.
    pub const fn new() -> Self {
        Self { entries: vec![] }
    }

    /// How many names there are.
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Names and values, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, (K, V)> {
        self.entries.iter()
    }

    /// The same, to change the values.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.entries.iter_mut().map(|(name, value)| (&*name, value))
    }

    /// The names, in order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.entries.iter().map(|(name, _)| name)
    }

    /// The values, in the order of their names.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.iter().map(|(_, value)| value)
    }
}

impl<V, K: AsRef<str>> ByName<V, K> {
    /// Where a name is, or where it would have to be.
    fn place(&self, name: &str) -> Result<usize, usize> {
        // What comes in order goes to the end.
        match self.entries.last() {
            Some((last, _)) if last.as_ref() < name => Err(self.entries.len()),
            _ => self.entries.binary_search_by(|(known, _)| known.as_ref().cmp(name)),
        }
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&V> {
        self.place(name).ok().and_then(|at| self.entries.get(at)).map(|(_, value)| value)
    }

    /// The value of a name, to be changed.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut V> {
        self.place(name).ok().and_then(|at| self.entries.get_mut(at)).map(|(_, value)| value)
    }

    /// Whether there is a value of a name.
    pub fn contains_key(&self, name: &str) -> bool {
        self.place(name).is_ok()
    }

    /// Sets the value of a name, and answers the one before.
    pub fn insert(&mut self, name: K, value: V) -> Option<V> {
        match self.place(name.as_ref()) {
            Ok(at) => self.entries.get_mut(at).map(|(_, before)| std::mem::replace(before, value)),
            Err(at) => {
                self.entries.insert(at, (name, value));
                None
            }
        }
    }

    /// Takes a name out.
    pub fn remove(&mut self, name: &str) -> Option<V> {
        self.place(name).ok().map(|at| self.entries.remove(at).1)
    }

    /// The value of a name, which is made where there is none.
    pub fn at_or<'n>(&mut self, name: &'n str, make: impl FnOnce() -> V) -> &mut V
    where
        K: From<&'n str>,
    {
        let at = self.place(name).unwrap_or_else(|at| {
            self.entries.insert(at, (name.into(), make()));
            at
        });
        // There is an entry at `at`: it was found or added.
        #[allow(clippy::indexing_slicing)]
        &mut self.entries[at].1
    }

    /// The value of a name, which is the default where there was none.
    pub fn at<'n>(&mut self, name: &'n str) -> &mut V
    where
        K: From<&'n str>,
        V: Default,
    {
        self.at_or(name, V::default)
    }
}

impl<V, K> Default for ByName<V, K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V, K: AsRef<str>> FromIterator<(K, V)> for ByName<V, K> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut map = Self::new();
        for (name, value) in entries {
            map.insert(name, value);
        }
        map
    }
}

impl<V, K: AsRef<str>, const N: usize> From<[(K, V); N]> for ByName<V, K> {
    fn from(entries: [(K, V); N]) -> Self {
        entries.into_iter().collect()
    }
}

impl<V, K> IntoIterator for ByName<V, K> {
    type Item = (K, V);
    type IntoIter = std::vec::IntoIter<(K, V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

impl<'a, V, K> IntoIterator for &'a ByName<V, K> {
    type Item = &'a (K, V);
    type IntoIter = std::slice::Iter<'a, (K, V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<V: Serialize, K: Serialize> Serialize for ByName<V, K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.entries.iter().map(|(name, value)| (name, value)))
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for ByName<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Reader(PhantomData))
    }
}

struct Reader<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for Reader<V> {
    type Value = ByName<V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut map = ByName::new();
        while let Some((name, value)) = access.next_entry()? {
            map.insert(name, value);
        }
        Ok(map)
    }
}

#[cfg(test)]
impl<V, K: AsRef<str>> std::ops::Index<&str> for ByName<V, K> {
    type Output = V;

    fn index(&self, name: &str) -> &V {
        self.get(name).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn it_does_what_a_tree_does(steps in proptest::collection::vec(("[a-d]{0,2}", 0u8..5, any::<u8>()), 0..60)) {
            let (mut map, mut tree) = (ByName::<u8>::new(), BTreeMap::<String, u8>::new());
            for (name, step, value) in steps {
                match step {
                    0 => prop_assert_eq!(map.insert(name.clone(), value), tree.insert(name, value)),
                    1 => prop_assert_eq!(map.remove(&name), tree.remove(&name)),
                    2 => {
                        *map.at(&name) |= value;
                        *tree.entry(name).or_default() |= value;
                    }
                    3 => prop_assert_eq!(map.at_or(&name, || value), tree.entry(name).or_insert(value)),
                    _ => prop_assert_eq!(map.get_mut(&name), tree.get_mut(&name)),
                }
                prop_assert_eq!((map.len(), map.is_empty()), (tree.len(), tree.is_empty()));
            }
            prop_assert!(map.keys().eq(tree.keys()) && map.values().eq(tree.values()));
            prop_assert!(tree.iter().all(|(name, value)| map.contains_key(name) && map.get(name) == Some(value)));
            prop_assert!(map.iter_mut().map(|(name, value)| (name, &*value)).eq(&tree));
            let json = serde_json::to_string(&map).unwrap();
            prop_assert_eq!(&json, &serde_json::to_string(&tree).unwrap());
            prop_assert_eq!(&serde_json::from_str::<ByName<u8>>(&json).unwrap(), &map);
            let shuffled: ByName<u8> = map.clone().into_iter().rev().collect();
            prop_assert_eq!(shuffled, map);
        }
    }

    #[test]
    fn of_a_name_that_is_there_twice_the_last_counts() {
        let read: ByName<u8> = serde_json::from_str(r#"{"b":1,"a":2,"b":3}"#).unwrap();
        assert_eq!(read, [("a".to_owned(), 2), ("b".to_owned(), 3)].into());
        assert_eq!(serde_json::to_string(&ByName::<u8>::new()).unwrap(), "{}");
    }
}
