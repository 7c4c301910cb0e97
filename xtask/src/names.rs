//! The names of functions in the finished wasm, which stack traces show: what a reader needs, no longer than needed.
//!
//! What this repository's own code is called stays whole, without placeholders of generic arguments. What is compiled in from
//! elsewhere has no name: an own function stands above or below it in the trace, and `xtask names` tells the rest from the list that
//! is written beside the wasm ([`Named::list`]). For measurements such functions can keep a short name, of type or module and
//! function (`Vec::push`, `<Vec as Drop>::drop`). The numbers that wasm-opt puts behind names that occur twice go in any case;
//! nothing resolves a function by its name.
//!
//! Out of scope: every other section, which is passed on byte for byte.

use std::collections::HashSet;
use std::fmt::Write;

use anyhow::{Context, Result, ensure};

/// Crates of this repository, whose paths stay.
const OWN: [&str; 2] = ["genesys_", "gateway_"];

const CUSTOM_SECTION: u8 = 0;
const FUNCTION_NAMES: u8 = 1;
const PREAMBLE_BYTES: usize = 8;

/// Which functions keep a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    Own,
    All,
}

/// A module with the names that are worth their bytes.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) wasm: Vec<u8>,
    /// Every function, as `index name` and a line end, with the whole name.
    pub(crate) list: String,
}

/// `wasm` with short names. `before` holds the names that the functions had before wasm-opt.
///
/// # Errors
/// `wasm` is not a module that can be read.
pub(crate) fn shorten(wasm: &[u8], before: &HashSet<String>, keep: Keep) -> Result<Named> {
    let mut list = String::new();
    let mut out = wasm.get(..PREAMBLE_BYTES).context("a module begins with eight bytes")?.to_vec();
    let mut rest = Bytes(&wasm[PREAMBLE_BYTES..]);
    while !rest.0.is_empty() {
        let whole = rest.0;
        let id = rest.byte()?;
        let mut section = Bytes(rest.sized()?);
        if id == CUSTOM_SECTION && section.sized()? == b"name" {
            let mut names = vec![];
            put_sized(&mut names, b"name");
            while !section.0.is_empty() {
                let (kind, content) = (section.byte()?, section.sized()?);
                names.push(kind);
                if kind == FUNCTION_NAMES {
                    put_sized(&mut names, &function_names(content, before, keep, &mut list)?);
                } else {
                    put_sized(&mut names, content);
                }
            }
            out.push(CUSTOM_SECTION);
            put_sized(&mut out, &names);
        } else {
            out.extend(&whole[..whole.len() - rest.0.len()]);
        }
    }
    Ok(Named { wasm: out, list })
}

fn function_names(content: &[u8], before: &HashSet<String>, keep: Keep, list: &mut String) -> Result<Vec<u8>> {
    let mut read = Bytes(content);
    let (mut kept, mut names) = (0, vec![]);
    for _ in 0..read.number()? {
        let index = read.number()?;
        let name = std::str::from_utf8(read.sized()?).context("the name of a function is UTF-8")?;
        let name = without_number(name, before);
        writeln!(list, "{index} {name}")?;
        let short = short(name);
        if keep == Keep::All || is_own(&short) {
            kept += 1;
            put_number(&mut names, index);
            put_sized(&mut names, short.as_bytes());
        }
    }
    ensure!(read.0.is_empty(), "the names of functions are followed by something else");
    let mut out = vec![];
    put_number(&mut out, kept);
    out.extend(names);
    Ok(out)
}

/// Whether a short name has a path of this repository in it. Generic arguments are gone from it: `Vec<gateway_core::Row>` is not own.
fn is_own(short: &str) -> bool {
    short.split(|character| !is_of_name(character)).any(|part| OWN.iter().any(|own| part.starts_with(own)))
}

/// `drop_12` → `drop`, where it is wasm-opt that has appended the number.
fn without_number<'n>(name: &'n str, before: &HashSet<String>) -> &'n str {
    match name.rsplit_once('_') {
        Some((plain, number))
            if number.bytes().all(|byte| byte.is_ascii_digit()) && !before.contains(name) && before.contains(plain) =>
        {
            plain
        }
        _ => name,
    }
}

/// `<alloc::vec::Vec<T,A> as core::ops::drop::Drop>::drop` → `<Vec as Drop>::drop`.
fn short(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        if is_of_name(first) {
            let end = path_end(rest);
            let (path, behind) = rest.split_at(end);
            let path = without_hashes(path);
            // `::<impl …>` and `::{{closure}}` are parts of the path, not arguments.
            let arguments =
                if behind.starts_with("::<impl ") { None } else { behind.strip_prefix("::<").map(|_| &behind[2..]) };
            let arguments = arguments.or(Some(behind).filter(|behind| behind.starts_with('<')));
            out.push_str(shortest(&path, arguments.is_none() && behind.starts_with("::")));
            rest = arguments.map_or(behind, |arguments| &arguments[closing(arguments)..]);
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    out
}

fn is_of_name(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Where `a::b[0123]::c` ends.
fn path_end(text: &str) -> usize {
    let mut end = 0;
    loop {
        let rest = &text[end..];
        let name = rest.find(|character| !is_of_name(character)).unwrap_or(rest.len());
        end += name;
        let rest = &text[end..];
        if let Some(hash) = rest.strip_prefix('[').and_then(|hash| hash.find(']')).filter(|_| name > 0) {
            end += hash + 2;
        }
        match text[end..].strip_prefix("::") {
            Some(next) if next.starts_with(is_of_name) => end += 2,
            _ => return end,
        }
    }
}

/// `core[c5930c85a12de822]::fmt` → `core::fmt`.
fn without_hashes(path: &str) -> String {
    let mut parts = path.split(['[', ']']);
    parts.by_ref().step_by(2).collect()
}

fn shortest(path: &str, has_more: bool) -> &str {
    if OWN.iter().any(|own| path.starts_with(own)) {
        return path;
    }
    let type_name = path.split("::").find(|segment| segment.starts_with(char::is_uppercase));
    if let Some(type_name) = type_name {
        return &path[path.find(type_name).unwrap_or_default()..];
    }
    let mut starts = path.rmatch_indices("::").map(|(at, separator)| at + separator.len());
    let last = starts.next();
    let start = if has_more { last } else { starts.next().or(last.map(|_| 0)) };
    &path[start.unwrap_or(0)..]
}

/// The length of `<…>` at the beginning of `text`.
fn closing(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut previous = ' ';
    for (at, character) in text.char_indices() {
        match character {
            '<' => depth += 1,
            '>' if previous != '-' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
        previous = character;
    }
    text.len()
}

/// What is left to read of a module.
struct Bytes<'b>(&'b [u8]);

impl<'b> Bytes<'b> {
    fn byte(&mut self) -> Result<u8> {
        let (first, rest) = self.0.split_first().context("the module ends too early")?;
        self.0 = rest;
        Ok(*first)
    }

    /// LEB128.
    fn number(&mut self) -> Result<u32> {
        let mut number = 0_u32;
        for shift in (0..u32::BITS).step_by(7) {
            let byte = self.byte()?;
            number |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        anyhow::bail!("a number of the module is too long")
    }

    /// A length and so many bytes.
    fn sized(&mut self) -> Result<&'b [u8]> {
        let length = self.number()? as usize;
        let (content, rest) = self.0.split_at_checked(length).context("the module ends too early")?;
        self.0 = rest;
        Ok(content)
    }
}

fn put_number(out: &mut Vec<u8>, mut number: u32) {
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

fn put_sized(out: &mut Vec<u8>, content: &[u8]) {
    put_number(out, u32::try_from(content.len()).unwrap_or(u32::MAX));
    out.extend(content);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_foreign_loses_its_path_and_its_arguments() {
        for (long, expected) in [
            ("core::fmt::write", "fmt::write"),
            ("core[c5930c85a12de822]::fmt::float::to_exact::<f64>", "float::to_exact"),
            ("alloc::vec::Vec<T,A>::push", "Vec::push"),
            ("<alloc::vec::Vec<T,A> as core::ops::drop::Drop>::drop", "<Vec as Drop>::drop"),
            (
                "<&mut serde_json::de::Deserializer<R> as serde_core::de::Deserializer>::deserialize_str",
                "<&mut Deserializer as Deserializer>::deserialize_str",
            ),
            ("core::ops::function::FnOnce::call_once{{vtable.shim}}", "FnOnce::call_once{{vtable.shim}}"),
            ("core::ptr::drop_in_place<alloc::boxed::Box<dyn core::ops::Fn(a::B) -> c::D+x::Y>>", "ptr::drop_in_place"),
            (
                "alloc::btree::remove::<impl alloc::btree::node::Handle<A,B<C>>>::remove_kv",
                "remove::<impl Handle>::remove_kv",
            ),
            ("main", "main"),
            ("a::b", "a::b"),
            ("std::alloc::rust_oom::{{closure}}", "rust_oom::{{closure}}"),
            ("intounderlyingsink_write externref shim", "intounderlyingsink_write externref shim"),
        ] {
            assert_eq!(short(long), expected);
        }
    }

    #[test]
    fn what_is_this_repositorys_own_keeps_its_path() {
        for own in [
            "genesys_webhook_gateway::api::route::{{closure}}",
            "genesys_client::auth::oauth::OAuthTokens<T,R>::no_answer",
            "<gateway_core::audit::Draft as core::clone::Clone>::clone",
        ] {
            let expected = own.replace("<T,R>", "").replace("core::clone::Clone", "Clone");
            assert_eq!(short(own), expected);
        }
    }

    #[test]
    fn own_is_what_this_repository_has_written() {
        for own in [
            "genesys_webhook_gateway::api::route::{{closure}}",
            "<&S as genesys_client::auth::TokenSource>::token",
            "<gateway_core::audit::Draft as Clone>::clone",
            "pagination::<impl genesys_client::client::Client>::list",
        ] {
            assert!(is_own(own), "{own}");
        }
        for foreign in ["fmt::write", "<Vec as Drop>::drop", "not_genesys_client::f", "main", ""] {
            assert!(!is_own(foreign), "{foreign}");
        }
    }

    #[test]
    fn only_numbers_of_wasm_opt_are_cut_off() {
        let before = HashSet::from(["drop".to_owned(), "v_1".to_owned(), "v".to_owned()]);
        assert_eq!(without_number("drop_12", &before), "drop");
        for name in ["v_1", "other_3", "drop_x", "drop"] {
            assert_eq!(without_number(name, &before), name);
        }
    }

    #[test]
    fn only_the_names_of_functions_change() {
        let mut functions = vec![2];
        for (index, name) in [(0, "a::b::C<T>::d_"), (1, "gateway_core::f<T>")] {
            put_number(&mut functions, index);
            put_sized(&mut functions, name.as_bytes());
        }
        let mut section = vec![];
        put_sized(&mut section, b"name");
        section.extend([0, 2, 1, b'm', FUNCTION_NAMES]);
        put_sized(&mut section, &functions);
        let mut wasm = b"\0asm\x01\0\0\0".to_vec();
        wasm.extend([7, 1, 9]);
        let head = wasm.len();
        wasm.push(CUSTOM_SECTION);
        put_sized(&mut wasm, &section);
        wasm.extend([11, 2, 1, 2]);

        let own = [&[1, 15][..], b"gateway_core::f", &[11, 2, 1, 2]].concat();
        for (keep, end) in
            [(Keep::All, [&[2, 0, 5][..], b"C::d_", &own].concat()), (Keep::Own, [&[1], &own[..]].concat())]
        {
            let Named { wasm: out, list } = shorten(&wasm, &HashSet::new(), keep).unwrap();
            assert_eq!(out[..head], wasm[..head]);
            assert!(out.ends_with(&end), "{out:?}");
            assert_eq!(list, "0 a::b::C<T>::d_\n1 gateway_core::f<T>\n");
        }
        assert!(shorten(&wasm[..wasm.len() - 1], &HashSet::new(), Keep::All).is_err(), "a module that is cut off");
    }
}
