//! The headers of a request, wherever they come from.
//!
//! Promise: names are compared without regard to case, and a header that was sent several times is one value. Out of scope: which
//! of them are kept.

use alloc::borrow::Cow;

/// The headers of a request.
pub trait HeaderSource {
    /// The value of a header, by its name in lower case; `None` where it is absent.
    ///
    /// A header that was sent several times is one value, joined with ", " (as in JavaScript's `Headers`); bytes that
    /// are not UTF-8 may arrive as U+FFFD, which no signature contains.
    fn get(&self, name: &str) -> Option<Cow<'_, str>>;
}

/// Pairs of name and value in the order of arrival; names of any case.
impl<N: AsRef<str>, V: AsRef<str>> HeaderSource for [(N, V)] {
    fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        let mut values =
            self.iter().filter(|(key, _)| key.as_ref().eq_ignore_ascii_case(name)).map(|(_, v)| v.as_ref());
        let first = Cow::Borrowed(values.next()?);
        Some(values.fold(first, |joined, value| Cow::Owned(format!("{joined}, {value}"))))
    }
}
