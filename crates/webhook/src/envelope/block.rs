//! 64 bytes of a text as masks: bit `n` of a mask speaks of byte `n`.
//!
//! Promises: a mask costs a few vector instructions where the target is wasm with `simd128`, as the Worker is
//! (docs/adr/0007-envelopes-by-vector-instructions.md). Elsewhere it is a look at each byte, which says the same and is slow.
//! Out of scope: what the bytes mean, which is [`super::skip_container`]'s.

pub(super) use masks::Block;

/// Bytes in a block: as many as a word has bits.
pub(super) const BLOCK_BYTES: usize = 64;

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod masks {
    use super::BLOCK_BYTES;
    use core::arch::wasm32::{
        i8x16_lt, i8x16_min, i8x16_splat, i64x2, u8x16_bitmask, u8x16_eq, u8x16_splat, v128, v128_any_true, v128_or,
    };

    pub(in crate::envelope) struct Block([v128; 4]);

    impl Block {
        #[inline]
        pub(in crate::envelope) fn new(bytes: &[u8; BLOCK_BYTES]) -> Self {
            let mut lanes = [u8x16_splat(0); 4];
            for (lane, bytes) in lanes.iter_mut().zip(bytes.as_chunks::<16>().0) {
                // Both halves become one load.
                if let ([low, high], _) = bytes.as_chunks() {
                    *lane = i64x2(i64::from_le_bytes(*low), i64::from_le_bytes(*high));
                }
            }
            Self(lanes)
        }

        #[inline]
        pub(in crate::envelope) fn equal(&self, wanted: u8) -> u64 {
            gather(self.0.map(|lane| u8x16_eq(lane, u8x16_splat(wanted))))
        }

        /// Which bytes are brackets: with bit 0x20 set there are only two of them.
        #[inline]
        pub(in crate::envelope) fn brackets(&self) -> u64 {
            gather(self.0.map(|lane| {
                let lane = v128_or(lane, u8x16_splat(0x20));
                v128_or(u8x16_eq(lane, u8x16_splat(b'{')), u8x16_eq(lane, u8x16_splat(b'}')))
            }))
        }

        /// Whether all bytes are ASCII, none is below 0x20 and none is a backslash.
        #[inline]
        pub(in crate::envelope) fn is_plain(&self) -> bool {
            let [a, b, c, d] = self.0;
            let least = i8x16_min(i8x16_min(a, b), i8x16_min(c, d));
            let [a, b, c, d] = self.0.map(|lane| u8x16_eq(lane, u8x16_splat(b'\\')));
            !v128_any_true(v128_or(v128_or(v128_or(a, b), v128_or(c, d)), special(least)))
        }

        pub(in crate::envelope) fn controls(&self) -> u64 {
            gather(self.0.map(special)) & !gather(self.0)
        }

        pub(in crate::envelope) fn is_ascii(&self) -> bool {
            gather(self.0) == 0
        }
    }

    /// Which bytes are below 0x20 or not ASCII: as signed numbers, these are negative.
    #[inline]
    fn special(lane: v128) -> v128 {
        i8x16_lt(lane, i8x16_splat(0x20))
    }

    /// The high bits of all bytes.
    #[inline]
    fn gather(lanes: [v128; 4]) -> u64 {
        let [a, b, c, d] = lanes.map(|lane| u32::from(u8x16_bitmask(lane)));
        u64::from(a | b << 16) | u64::from(c | d << 16) << 32
    }
}

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
mod masks {
    use super::BLOCK_BYTES;

    pub(in crate::envelope) struct Block([u8; BLOCK_BYTES]);

    impl Block {
        pub(in crate::envelope) fn new(bytes: &[u8; BLOCK_BYTES]) -> Self {
            Self(*bytes)
        }

        pub(in crate::envelope) fn equal(&self, wanted: u8) -> u64 {
            self.mask(|byte| byte == wanted)
        }

        pub(in crate::envelope) fn brackets(&self) -> u64 {
            self.mask(|byte| matches!(byte, b'{' | b'}' | b'[' | b']'))
        }

        pub(in crate::envelope) fn is_plain(&self) -> bool {
            self.mask(|byte| byte < 0x20 || byte == b'\\' || !byte.is_ascii()) == 0
        }

        pub(in crate::envelope) fn controls(&self) -> u64 {
            self.mask(|byte| byte < 0x20)
        }

        pub(in crate::envelope) fn is_ascii(&self) -> bool {
            self.0.is_ascii()
        }

        fn mask(&self, is_set: impl Fn(u8) -> bool) -> u64 {
            self.0.iter().rev().fold(0, |mask, byte| mask << 1 | u64::from(is_set(*byte)))
        }
    }
}
