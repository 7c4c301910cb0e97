//! `xtask circles`: no two files of a crate need each other.
//!
//! Promises: the files of each crate are read as a graph of who names whom by `crate::`, `super::` and `self::`; every circle is
//! told with the files in it. What a parent passes on of its children (`pub use`) is no need, and tests may look at anything.
//! Out of scope: macros, JavaScript.

use anyhow::{Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::project;

/// Files by their module path (`""` is the crate's root), and whom each of them names.
type Graph = BTreeMap<String, BTreeSet<String>>;

/// Looks through all crates.
///
/// # Errors
/// Names every circle.
pub(crate) fn run() -> Result<()> {
    let root = project::root();
    let mut sources = vec![root.join("src"), root.join("xtask/src"), root.join("tools/demo/src")];
    for entry in fs::read_dir(root.join("crates"))? {
        sources.push(entry?.path().join("src"));
    }
    let mut circles = vec![];
    for source in sources {
        let mut files = BTreeMap::new();
        collect(&source, "", &mut files)?;
        let name = source.strip_prefix(&root)?.display().to_string();
        circles.extend(circles_of(&graph(&files)).into_iter().map(|circle| format!("{name}: {}", circle.join(" ↔ "))));
    }
    if !circles.is_empty() {
        bail!("{} circles of files:\n  {}", circles.len(), circles.join("\n  "));
    }
    println!("circles: none");
    Ok(())
}

fn collect(folder: &Path, module: &str, files: &mut BTreeMap<String, String>) -> Result<()> {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    entries.sort();
    for path in entries {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let below = |name: &str| if module.is_empty() { name.to_owned() } else { format!("{module}::{name}") };
        match stem.as_str() {
            "tests" | "testing" => {}
            _ if path.is_dir() => collect(&path, &below(&stem), files)?,
            _ if path.extension().is_none_or(|extension| extension != "rs") => {}
            "mod" | "lib" | "main" => {
                files.insert(module.to_owned(), fs::read_to_string(&path)?);
            }
            _ => {
                files.insert(below(&stem), fs::read_to_string(&path)?);
            }
        }
    }
    Ok(())
}

fn graph(files: &BTreeMap<String, String>) -> Graph {
    let needs = |(module, text): (&String, &String)| {
        let named = paths(text).into_iter().filter_map(|(path, is_passed_on)| {
            let target = resolve(module, &path, files)?;
            let is_child = module.is_empty() || target.starts_with(&format!("{module}::"));
            (target != *module && !(is_passed_on && is_child)).then_some(target)
        });
        (module.clone(), named.collect())
    };
    files.iter().map(needs).collect()
}

/// The file that a path leads to: its longest beginning that is a module.
fn resolve(module: &str, path: &[String], files: &BTreeMap<String, String>) -> Option<String> {
    let own = || module.split("::").filter(|part| !part.is_empty()).map(ToOwned::to_owned).collect::<Vec<_>>();
    let mut at = vec![];
    let mut rest = path.iter().peekable();
    match rest.next()?.as_str() {
        "crate" => {}
        "self" => at = own(),
        "super" => {
            at = own();
            at.pop()?;
            while rest.next_if(|part| *part == "super").is_some() {
                at.pop()?;
            }
        }
        _ => return None,
    }
    for part in rest {
        let mut next = at.clone();
        next.push(part.clone());
        if !files.contains_key(&next.join("::")) {
            break;
        }
        at = next;
    }
    let found = at.join("::");
    files.contains_key(&found).then_some(found)
}

/// Every path that begins in this crate, and whether it is passed on by `pub use`.
fn paths(text: &str) -> Vec<(Vec<String>, bool)> {
    let code: Vec<&str> = text.split("\n#[cfg(test)]").next().unwrap_or_default().lines().collect();
    let code = code.into_iter().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut found = vec![];
    let mut rest = code.as_str();
    while let Some(start) = ["crate::", "super::", "self::"].iter().filter_map(|root| rest.find(root)).min() {
        let (before, from) = rest.split_at(start);
        let is_path = !before
            .ends_with(|before: char| before.is_alphanumeric() || before == '_' || before == ':' || before == '$');
        let line = before.rsplit('\n').next().unwrap_or_default().trim_start();
        let is_passed_on =
            line.starts_with("pub use") || line.starts_with("pub(crate) use") || line.starts_with("pub(super) use");
        if is_path {
            expand(from, &mut vec![], &mut |path| found.push((path, is_passed_on)));
        }
        rest = from.get("super::".len().min(from.len())..).unwrap_or_default();
    }
    found
}

/// Calls `found` for every path of a tree such as `crate::a::{b, c::d}`; what is left behind it.
fn expand<'t>(text: &'t str, before: &mut Vec<String>, found: &mut dyn FnMut(Vec<String>)) -> &'t str {
    let mut rest = text.trim_start();
    let depth = before.len();
    loop {
        let end = rest.find(|part: char| !(part.is_alphanumeric() || part == '_')).unwrap_or(rest.len());
        let (part, behind) = rest.split_at(end);
        if !part.is_empty() {
            before.push(part.to_owned());
        }
        match behind.strip_prefix("::") {
            Some(next) if next.starts_with('{') => {
                rest = next.get(1..).unwrap_or_default();
                loop {
                    rest = expand(rest, before, found).trim_start();
                    match rest.strip_prefix(',') {
                        Some(next) => rest = next.trim_start(),
                        None => break,
                    }
                    if rest.starts_with('}') {
                        break;
                    }
                }
                before.truncate(depth);
                return rest.strip_prefix('}').unwrap_or(rest);
            }
            Some(next) => rest = next,
            None => {
                found(before.clone());
                before.truncate(depth);
                // `as name`, generics and the like: up to what ends this path in a list.
                let end = behind.find([',', '}', ';']).unwrap_or(behind.len());
                return behind.get(end..).unwrap_or_default();
            }
        }
    }
}

/// The sets of files that need each other, each with more than one.
fn circles_of(graph: &Graph) -> Vec<Vec<String>> {
    let reach: BTreeMap<&String, BTreeSet<&String>> = graph.keys().map(|from| (from, reachable(graph, from))).collect();
    let mut seen = BTreeSet::new();
    let mut circles = vec![];
    for (from, to) in &reach {
        let circle: Vec<String> = to
            .iter()
            .filter(|other| reach.get(*other).is_some_and(|back| back.contains(*from)))
            .map(|name| shown(name))
            .collect();
        if circle.len() > 1 && seen.insert(circle.clone()) {
            circles.push(circle);
        }
    }
    circles
}

fn shown(module: &str) -> String {
    if module.is_empty() { "the crate's root".into() } else { module.into() }
}

fn reachable<'g>(graph: &'g Graph, from: &'g String) -> BTreeSet<&'g String> {
    let mut found = BTreeSet::new();
    let mut open = vec![from];
    while let Some(next) = open.pop() {
        for to in graph.get(next).into_iter().flatten() {
            if found.insert(to) {
                open.push(to);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circles(files: &[(&str, &str)]) -> Vec<Vec<String>> {
        circles_of(&graph(&files.iter().map(|(module, text)| ((*module).to_owned(), (*text).to_owned())).collect()))
    }

    #[test]
    fn files_that_need_each_other_are_told() {
        for (a, b) in [
            ("use crate::b::B;", "use crate::a::A;"),
            ("use super::b::B;", "fn f() { crate::a::f() }"),
            ("use crate::{c, b::{B, C}};", "use super::a;"),
            ("pub use crate::b::B;", "use crate::a::A;"),
        ] {
            assert_eq!(circles(&[("", ""), ("a", a), ("b", b), ("c", "")]), [["a", "b"]], "{a} {b}");
        }
        assert_eq!(circles(&[("a", "use self::b::B;"), ("a::b", "use super::A;")]), [["a", "a::b"]]);
        assert_eq!(
            circles(&[("a", "use crate::b;"), ("b", "use crate::c;"), ("c", "use crate::a;")]),
            [["a", "b", "c"]]
        );
    }

    #[test]
    fn what_is_no_circle_is_not() {
        for (a, b) in [
            ("use crate::b::B;", "// use crate::a::A;"),
            ("use crate::b::B;", "fn f() {}\n#[cfg(test)]\nmod tests { use crate::a::A; }"),
            ("use crate::b::B;", "use other_crate::a::A;"),
            ("use crate::a::A;", ""),
        ] {
            assert!(circles(&[("", ""), ("a", a), ("b", b)]).is_empty(), "{a} {b}");
        }
        // A parent passes its child on, and the child needs the parent.
        assert!(circles(&[("a", "mod b;\npub use self::b::B;"), ("a::b", "use super::A;")]).is_empty());
    }
}
