//! Reading JSON into this project's own types with as little code as can be.
//!
//! Promises: what `serde_json::from_str` reads is read, to the same values, and of what cannot be read the same mistake is told.
//! Two forms that nobody writes are left out: a list in place of a struct, and numbers as the keys of a map. Reason: serde's
//! derived code for the first, and the reading of a key, are compiled for every struct; they came to a twentieth of the Worker.
//! Out of scope: writing.

use alloc::borrow::Cow;
use core::fmt;
use serde::de::value::StrDeserializer;
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor,
};

/// Reads a whole text.
pub fn from_str<'de, T: Deserialize<'de>>(text: &'de str) -> serde_json::Result<T> {
    let mut json = serde_json::Deserializer::from_str(text);
    let value = T::deserialize(Lean(&mut json))?;
    json.end()?;
    Ok(value)
}

/// Stands before a deserializer, a visitor or what gives it access to parts, so that all of a text goes through [`Lean`].
struct Lean<T>(T);

/// Passes on what has no parts.
macro_rules! forward {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.0.$method(visitor)
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Lean<D> {
    type Error = D::Error;

    forward! {
        deserialize_any deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8
        deserialize_u16 deserialize_u32 deserialize_u64 deserialize_f32 deserialize_f64 deserialize_char deserialize_str
        deserialize_string deserialize_bytes deserialize_byte_buf deserialize_unit deserialize_identifier
        deserialize_ignored_any
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_option(Lean(visitor))
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_unit_struct(name, visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, D::Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_seq(Lean(visitor))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, D::Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(Lean(visitor))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_enum(name, variants, Lean(visitor))
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Lean<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Lean(deserializer))
    }
}

/// What has parts; each visitor has the methods for its own form, and the others say that the form is another.
impl<'de, V: Visitor<'de>> Visitor<'de> for Lean<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.0.visit_some(Lean(deserializer))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        self.0.visit_seq(Lean(access))
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Lean(access))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        self.0.visit_enum(Lean(access))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Lean<A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.0.next_element_seed(Lean(seed))
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Lean<A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        let Some(key) = self.0.next_key_seed(Key)? else { return Ok(None) };
        seed.deserialize(StrDeserializer::new(&key)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.0.next_value_seed(Lean(seed))
    }
}

/// Reads a key or the name of a variant, once for all types.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E: Error>(self, key: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(key))
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(key.to_owned()))
    }
}

/// Reads the fields of a variant.
struct Fields<V>(V);

impl<'de, V: Visitor<'de>> DeserializeSeed<'de> for Fields<V> {
    type Value = V::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        deserializer.deserialize_map(Lean(self.0))
    }
}

impl<'de, A: EnumAccess<'de>> EnumAccess<'de> for Lean<A> {
    type Error = A::Error;
    type Variant = Lean<A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self::Variant), A::Error> {
        let (variant, access) = self.0.variant_seed(Key)?;
        Ok((seed.deserialize(StrDeserializer::new(&variant))?, Lean(access)))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Lean<A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.0.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        self.0.newtype_variant_seed(Lean(seed))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.0.tuple_variant(len, Lean(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, A::Error> {
        // Its own way to the fields would take a list for them, too.
        self.0.newtype_variant_seed(Fields(visitor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::fmt::Debug;
    use serde_json::Value;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        name: String,
        kinds: Vec<Kind>,
        #[serde(default)]
        inner: Option<Box<Outer>>,
        #[serde(default)]
        pair: Option<(u8, Named)>,
        #[serde(default)]
        any: Value,
    }

    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        Unit,
        Newtype(u8),
        Tuple(u8, i64),
        Fields { at: f64, named: Named },
    }

    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Named(String);

    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Flat {
        own: bool,
        #[serde(flatten)]
        rest: Rest,
    }

    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Rest {
        a: Named,
        b: Option<u64>,
    }

    /// What is read, or what is said of a text that cannot be. The place within the text is that of the part, and not said.
    fn both<T: Debug + PartialEq + for<'de> Deserialize<'de>>(text: &str) -> (Result<T, String>, Result<T, String>) {
        let said = |error: serde_json::Error| error.to_string().split(" at line ").next().unwrap().to_owned();
        (from_str(text).map_err(said), serde_json::from_str(text).map_err(said))
    }

    #[test]
    fn it_reads_and_refuses_what_serde_json_does() {
        let kinds = r#"["unit",{"unit":null},{"newtype":3},{"tuple":[1,-2]},{"fields":{"at":1.5,"named":"x"}}]"#;
        let good = format!(
            r#"{{"name":"n","kinds":{kinds},"inner":{{"name":"\u00e9","kinds":[],"inner":null}},"pair":[1,"p"],"any":{{"a":[1]}}}} "#
        );
        let (read, expected) = both::<Outer>(&good);
        assert_eq!(read, expected);
        assert_eq!(read.unwrap().kinds.len(), 5);
        for bad in [
            "",
            "{",
            "7",
            "null",
            r#"{"name":"n"}"#,
            r#"{"name":7,"kinds":[]}"#,
            r#"{"name":"n","kinds":{}}"#,
            r#"{"name":"n","kinds":["other"]}"#,
            r#"{"name":"n","kinds":[{"other":1}]}"#,
            r#"{"name":"n","kinds":[{"newtype":300}]}"#,
            r#"{"name":"n","kinds":["newtype"]}"#,
            r#"{"name":"n","kinds":[{"tuple":[1]}]}"#,
            r#"{"name":"n","kinds":[{"fields":{"at":1}}]}"#,
            r#"{"name":"n","kinds":[],"name":"n"}"#,
            r#"{"name":"n","kinds":[],"other":1}"#,
            r#"{"name":"n","kinds":[],"pair":[1]}"#,
            r#"{"name":"n","kinds":[],}"#,
            r#"{"name":"n","kinds":[]} x"#,
            r#"{"na\u006de":"n","kinds":[],"k\n":1}"#,
        ] {
            let (read, expected) = both::<Outer>(bad);
            assert_eq!(read, expected, "{bad}");
            assert!(read.is_err(), "{bad}");
        }
        for flat in [r#"{"own":true,"a":"x","b":null}"#, r#"{"a":"x","own":true,"c":1}"#, r#"{"own":true}"#] {
            let (read, expected) = both::<Flat>(flat);
            assert_eq!(read, expected, "{flat}");
        }
    }

    #[test]
    fn a_list_is_no_struct() {
        let (read, serde) = both::<Rest>(r#"["x",1]"#);
        assert_eq!(read, Err("invalid type: sequence, expected struct Rest".into()));
        assert!(serde.is_ok());
    }
}
