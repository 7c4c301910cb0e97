//! JSON pointers (RFC 6901): which value of a body is meant.
//!
//! Promise: a parsed pointer is well formed and bounded. `-` (the element after the last) is refused, because it never names a
//! value. The empty pointer is refused, because the hash of the body stands for the whole document.

use alloc::borrow::Cow;

/// Deepest pointer that is taken; identifiers lie near the top.
pub const MAX_POINTER_TOKENS: usize = 16;
pub const MAX_POINTER_BYTES: usize = 512;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonPointer {
    tokens: Vec<ReferenceToken>,
}

/// One step: a member's name, and an element's index where it reads as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReferenceToken {
    pub(crate) key: Cow<'static, str>,
    pub(crate) index: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PointerFault {
    #[error("must begin with \"/\", as in \"/id\" or \"/channel/time\"")]
    NoSlash,
    #[error("has a \"~\" that is neither \"~0\" nor \"~1\"")]
    Escape,
    #[error("has the step \"-\", which never names a value")]
    AfterLast,
    #[error("has more than {MAX_POINTER_TOKENS} steps or {MAX_POINTER_BYTES} bytes")]
    TooLong,
}

impl JsonPointer {
    pub fn parse(text: &str) -> Result<Self, PointerFault> {
        let steps = text.strip_prefix('/').ok_or(PointerFault::NoSlash)?;
        if text.len() > MAX_POINTER_BYTES || steps.split('/').count() > MAX_POINTER_TOKENS {
            return Err(PointerFault::TooLong);
        }
        let tokens = steps.split('/').map(ReferenceToken::parse).collect::<Result<_, _>>()?;
        Ok(Self { tokens })
    }

    /// A pointer to a member of the document or of its members.
    pub(crate) fn of_keys(keys: &[&'static str]) -> Self {
        Self { tokens: keys.iter().map(|key| ReferenceToken::of_key(key)).collect() }
    }

    pub(crate) fn tokens(&self) -> &[ReferenceToken] {
        &self.tokens
    }
}

impl ReferenceToken {
    pub(crate) const fn of_key(key: &'static str) -> Self {
        Self { key: Cow::Borrowed(key), index: None }
    }

    fn parse(step: &str) -> Result<Self, PointerFault> {
        if step == "-" {
            return Err(PointerFault::AfterLast);
        }
        if step.split('~').skip(1).any(|after| !after.starts_with(['0', '1'])) {
            return Err(PointerFault::Escape);
        }
        let key = step.replace("~1", "/").replace("~0", "~");
        // RFC 6901, section 4: digits without a leading zero.
        let digits = key.bytes().all(|byte| byte.is_ascii_digit()) && (key == "0" || !key.starts_with('0'));
        let index = if digits { key.parse().ok() } else { None };
        Ok(Self { key: Cow::Owned(key), index })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_unescaped_and_indices_recognised() {
        let pointer = JsonPointer::parse("/a~1b~0c/0/01/x").unwrap();
        let steps: Vec<(&str, Option<u64>)> = pointer.tokens().iter().map(|t| (&*t.key, t.index)).collect();
        assert_eq!(steps, [("a/b~c", None), ("0", Some(0)), ("01", None), ("x", None)]);
    }

    #[test]
    fn unusable_pointers_are_named() {
        assert_eq!(JsonPointer::parse(""), Err(PointerFault::NoSlash));
        assert_eq!(JsonPointer::parse("id"), Err(PointerFault::NoSlash));
        assert_eq!(JsonPointer::parse("/a~2"), Err(PointerFault::Escape));
        assert_eq!(JsonPointer::parse("/a~"), Err(PointerFault::Escape));
        assert_eq!(JsonPointer::parse("/a/-"), Err(PointerFault::AfterLast));
        assert_eq!(JsonPointer::parse(&"/a".repeat(17)), Err(PointerFault::TooLong));
        assert_eq!(JsonPointer::parse(&format!("/{}", "a".repeat(512))), Err(PointerFault::TooLong));
    }
}
