//! Which containers are open, and how many.
//!
//! Promise: constant memory. Out of scope: what is in them.

/// Most containers inside each other. Genesys' deepest events have about 10; a bit each is kept in one word.
pub const MAX_NESTING: u32 = 128;

/// The open containers: a bit each, set for objects, the innermost lowest.
#[derive(Clone, Copy, Default)]
pub(super) struct Nesting {
    objects: u128,
    pub(super) depth: u32,
}

impl Nesting {
    pub(super) fn open(&mut self, object: bool) -> Option<()> {
        if self.depth >= MAX_NESTING {
            return None;
        }
        self.objects = self.objects << 1 | u128::from(object);
        self.depth = self.depth.saturating_add(1);
        Some(())
    }

    pub(super) fn close(&mut self) {
        self.objects >>= 1;
        self.depth = self.depth.saturating_sub(1);
    }

    /// Whether the innermost container is an object; `None` outside of all.
    pub(super) fn innermost(&self) -> Option<bool> {
        (self.depth > 0).then_some(self.objects & 1 == 1)
    }

    /// The depth at which the innermost container itself stands.
    pub(super) fn outer(&self) -> u32 {
        self.depth.saturating_sub(1)
    }
}
