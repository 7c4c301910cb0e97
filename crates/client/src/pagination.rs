//! Lists in pages: the vendor's three styles, read to the end or not at all.
//!
//! Promise: a list that does not end within [`MAX_PAGES`], repeats itself or points to another host is an error, never a
//! shorter list. The reconciler would take what is missing for deleted. Out of scope: what the entities mean.

use crate::auth::TokenSource;
use crate::call::ApiCall;
use crate::client::Client;
use crate::error::Error;
use crate::json::{self, Object};
use crate::transport::{Runtime, Transport};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The page size that is asked for, the largest that the vendor's lists allow.
pub const PAGE_SIZE: usize = 100;

/// 20,000 entities at 100 a page are far more subscriptions or event types than an organisation has.
pub const MAX_PAGES: u32 = 200;

const TOO_LONG: &str = "it has more than 200 pages";

/// A list of several pages can shift under the reader. It is read this often when its total does not fit.
const MAX_READINGS: u32 = 3;

/// How a list names its next page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageStyle {
    /// `pageSize` and `pageNumber` in the request, `pageCount` in the answer.
    PageNumber,
    /// `pageSize` and `page` in the request, `totalPageCount` in the answer.
    Page,
    /// `nextUri` in the answer until the last page.
    NextUri,
}

type NextPage = Result<Option<String>, &'static str>;

/// The path of a page of the list at `path`, by its number from 1 where the style has one.
fn page(style: PageStyle, path: &str, number: u32) -> String {
    match style {
        PageStyle::PageNumber => format!("{path}?pageSize={PAGE_SIZE}&pageNumber={number}"),
        PageStyle::Page => format!("{path}?pageSize={PAGE_SIZE}&page={number}"),
        PageStyle::NextUri => format!("{path}?pageSize={PAGE_SIZE}"),
    }
}

/// The path of the page after page `number` of the list at `path`, which held that many `entities`. `None` after the last
/// page, and an error says why there is none.
fn next(style: PageStyle, api_url: &str, path: &str, number: u32, envelope: &Object, entities: usize) -> NextPage {
    let count = match style {
        PageStyle::PageNumber => "pageCount",
        PageStyle::Page => "totalPageCount",
        PageStyle::NextUri => return next_uri(api_url, envelope),
    };
    // Without a count the list goes on as long as its pages are full.
    let count = envelope.get(count).and_then(Value::as_u64);
    match count.map_or(entities >= PAGE_SIZE, |count| u64::from(number) < count) {
        false => Ok(None),
        true if number >= MAX_PAGES => Err(TOO_LONG),
        true => Ok(Some(page(style, path, number.saturating_add(1)))),
    }
}

/// `nextUri` is a path or a URL of the same API. Any other would send the token elsewhere.
fn next_uri(api_url: &str, envelope: &Object) -> NextPage {
    match json::text(envelope, "nextUri").unwrap_or_default() {
        "" => Ok(None),
        uri => match uri.strip_prefix(api_url).unwrap_or(uri) {
            path if path.starts_with('/') && !path.starts_with("//") && !path.contains('\\') => {
                Ok(Some(path.to_owned()))
            }
            _ => Err("its nextUri points to another host"),
        },
    }
}

/// The objects of one page. An answer without `entities` is no page.
fn entities(envelope: &mut Object) -> Option<Vec<Object>> {
    let Some(Value::Array(values)) = envelope.remove("entities") else { return None };
    let object = |value| if let Value::Object(object) = value { Some(object) } else { None };
    Some(values.into_iter().filter_map(object).collect())
}

impl<T: Transport, R: Runtime, A: TokenSource> Client<T, R, A> {
    /// All entities of a list, each once (by `id`, else by name, else as a whole), in the order of first appearance.
    pub(crate) async fn list(&self, style: PageStyle, path: &str, needs: &'static str) -> Result<Vec<Object>, Error> {
        let mut all: Vec<Object> = Vec::new();
        // The index in `all` by key.
        let mut indices = BTreeMap::new();
        for _ in 0..MAX_READINGS {
            let (read, pages, total) = self.read_list(style, path, needs).await?;
            let count = read.len();
            let mut seen = BTreeSet::new();
            for object in read {
                let named = json::text(&object, "id").or(json::text(&object, "name"));
                let key = named.map_or_else(|| Value::Object(object.clone()).to_string(), str::to_owned);
                if let Some(known) = indices.get(&key).and_then(|index: &usize| all.get_mut(*index)) {
                    *known = object;
                } else {
                    indices.insert(key.clone(), all.len());
                    all.push(object);
                }
                seen.insert(key);
            }
            // An insert or delete while pages were read made one entity come twice or not at all. The list is read again,
            // and both readings count.
            let shifted = pages > 1 && (seen.len() != count || total.is_some_and(|total| total != seen.len()));
            if !shifted {
                break;
            }
        }
        Ok(all)
    }

    /// One reading, as entities, number of pages, and the `total` that the last page named.
    async fn read_list(
        &self,
        style: PageStyle,
        path: &str,
        needs: &'static str,
    ) -> Result<(Vec<Object>, u32, Option<usize>), Error> {
        let broken = |what| Error::Paging { path: path.to_owned(), what };
        let mut all = Vec::new();
        let mut current = page(style, path, 1);
        let mut number = 1_u32;
        loop {
            let answer = self.call(&ApiCall::get(current.clone(), needs)).await?;
            let mut envelope = answer.object("a list")?;
            let page_entities = entities(&mut envelope).ok_or_else(|| answer.unreadable("a list with entities"))?;
            let count = page_entities.len();
            all.extend(page_entities);
            match next(style, self.api_url(), path, number, &envelope, count).map_err(broken)? {
                None => {
                    let total = envelope.get("total").and_then(Value::as_u64);
                    return Ok((all, number, total.and_then(|total| usize::try_from(total).ok())));
                }
                Some(following) if following == current => return Err(broken("its nextUri repeats itself")),
                Some(_) if number >= MAX_PAGES => return Err(broken(TOO_LONG)),
                Some(following) => current = following,
            }
            number = number.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{NextPage, PageStyle, next, page};
    use crate::json::object;

    fn after(style: PageStyle, number: u32, envelope: &str, entities: usize) -> NextPage {
        next(style, "https://api.example.com", "/list", number, &object(envelope.as_bytes()).unwrap(), entities)
    }

    #[test]
    fn pages_go_on_by_their_count_and_without_one_while_they_are_full() {
        assert_eq!(page(PageStyle::Page, "/list", 1), "/list?pageSize=100&page=1");
        let page = |query: &str| Ok(Some(format!("/list?pageSize=100&{query}")));
        for (style, number, envelope, entities, expected) in [
            (PageStyle::Page, 1, r#"{"totalPageCount":2}"#, 1, page("page=2")),
            (PageStyle::Page, 2, r#"{"totalPageCount":2}"#, 100, Ok(None)),
            (PageStyle::PageNumber, 1, r#"{"pageCount":2}"#, 1, page("pageNumber=2")),
            (PageStyle::PageNumber, 1, r#"{"pageCount":0}"#, 0, Ok(None)),
            (PageStyle::Page, 1, "{}", 99, Ok(None)),
            (PageStyle::Page, 1, "{}", 100, page("page=2")),
            (PageStyle::Page, 200, r#"{"totalPageCount":200}"#, 1, Ok(None)),
            (PageStyle::Page, 200, r#"{"totalPageCount":201}"#, 1, Err("it has more than 200 pages")),
        ] {
            assert_eq!(after(style, number, envelope, entities), expected, "{style:?} {number} {envelope}");
        }
    }

    #[test]
    fn a_next_uri_stays_with_the_api() {
        let elsewhere = Err("its nextUri points to another host");
        for (uri, expected) in [
            (r#""/api/v2/x?pageNumber=2""#, Ok(Some("/api/v2/x?pageNumber=2".to_owned()))),
            (r#""https://api.example.com/api/v2/x""#, Ok(Some("/api/v2/x".to_owned()))),
            (r#""""#, Ok(None)),
            ("null", Ok(None)),
            (r#""https://evil.example/x""#, elsewhere.clone()),
            (r#""//evil.example/x""#, elsewhere.clone()),
            (r#""https://api.example.com.evil.example/x""#, elsewhere.clone()),
            (r#""https://api.example.com@evil.example/""#, elsewhere.clone()),
            (r#""/\\evil.example""#, elsewhere),
        ] {
            assert_eq!(after(PageStyle::NextUri, 1, &format!(r#"{{"nextUri":{uri}}}"#), 1), expected, "{uri}");
        }
        assert_eq!(after(PageStyle::NextUri, 1, "{}", 1), Ok(None));
    }
}
