//! 64 bytes of a text as masks: bit `n` of a mask speaks of byte `n`.
//!
//! Promises: a mask costs a few vector instructions where the target is wasm with `simd128`, as the Worker is, and
//! arithmetic on eight words elsewhere. Out of scope: what the bytes mean, which is [`super::skip_container`]'s.

use lanes::{ByteLane, eq, gather, load, or, special, splat};

/// Bytes in a block: as many as a word has bits.
pub(super) const BLOCK_BYTES: usize = 64;

pub(super) struct Block([ByteLane; BLOCK_BYTES / size_of::<ByteLane>()]);

impl Block {
    #[inline]
    pub(super) fn new(bytes: &[u8; BLOCK_BYTES]) -> Self {
        Self(load(bytes))
    }

    /// Which bytes are `wanted`.
    #[inline]
    pub(super) fn equal(&self, wanted: u8) -> u64 {
        gather(self.0.map(|lane| eq(lane, splat(wanted))))
    }

    /// Which bytes are brackets: with bit 0x20 set there are only two of them.
    #[inline]
    pub(super) fn brackets(&self) -> u64 {
        gather(self.0.map(|lane| {
            let lane = or(lane, splat(0x20));
            or(eq(lane, splat(b'{')), eq(lane, splat(b'}')))
        }))
    }

    /// Whether all bytes are ASCII, none is below 0x20 and none is a backslash.
    #[inline]
    pub(super) fn is_plain(&self) -> bool {
        lanes::is_plain(self.0)
    }

    /// Which bytes are below 0x20.
    pub(super) fn controls(&self) -> u64 {
        gather(self.0.map(special)) & !gather(self.0)
    }

    pub(super) fn is_ascii(&self) -> bool {
        gather(self.0) == 0
    }
}

/// Sixteen bytes at a time. The high bit of a byte is the answer for it.
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod lanes {
    use core::arch::wasm32::{i8x16_lt, i8x16_min, i8x16_splat, i64x2, u8x16_bitmask, v128_any_true};
    pub(super) use core::arch::wasm32::{u8x16_eq as eq, u8x16_splat as splat, v128 as ByteLane, v128_or as or};

    use crate::envelope::block::BLOCK_BYTES;

    #[inline]
    pub(super) fn load(bytes: &[u8; BLOCK_BYTES]) -> [ByteLane; 4] {
        let mut lanes = [splat(0); 4];
        for (lane, bytes) in lanes.iter_mut().zip(bytes.as_chunks::<16>().0) {
            // Both halves become one load.
            if let ([low, high], _) = bytes.as_chunks() {
                *lane = i64x2(i64::from_le_bytes(*low), i64::from_le_bytes(*high));
            }
        }
        lanes
    }

    /// Which bytes are below 0x20 or not ASCII: as signed numbers, these are negative.
    #[inline]
    pub(super) fn special(lane: ByteLane) -> ByteLane {
        i8x16_lt(lane, i8x16_splat(0x20))
    }

    #[inline]
    pub(super) fn is_plain(lanes: [ByteLane; 4]) -> bool {
        let backslash = splat(b'\\');
        let [a, b, c, d] = lanes;
        let least = i8x16_min(i8x16_min(a, b), i8x16_min(c, d));
        let [a, b, c, d] = lanes.map(|lane| eq(lane, backslash));
        !v128_any_true(or(or(or(a, b), or(c, d)), special(least)))
    }

    /// The answers for all bytes.
    #[inline]
    pub(super) fn gather(lanes: [ByteLane; 4]) -> u64 {
        let [a, b, c, d] = lanes.map(|lane| u32::from(u8x16_bitmask(lane)));
        u64::from(a | b << 16) | u64::from(c | d << 16) << 32
    }
}

/// Eight bytes at a time. The high bit of a byte is the answer for it.
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
mod lanes {
    use crate::envelope::block::BLOCK_BYTES;

    pub(super) type ByteLane = u64;

    const HIGH_BITS: ByteLane = 0x8080_8080_8080_8080;

    #[inline]
    pub(super) fn load(bytes: &[u8; BLOCK_BYTES]) -> [ByteLane; 8] {
        let mut lanes = [0; 8];
        for (lane, bytes) in lanes.iter_mut().zip(bytes.as_chunks().0) {
            *lane = ByteLane::from_le_bytes(*bytes);
        }
        lanes
    }

    #[inline]
    pub(super) fn splat(byte: u8) -> ByteLane {
        ByteLane::from_le_bytes([byte; 8])
    }

    #[inline]
    pub(super) fn or(left: ByteLane, right: ByteLane) -> ByteLane {
        left | right
    }

    #[inline]
    pub(super) fn eq(left: ByteLane, right: ByteLane) -> ByteLane {
        let differs = left ^ right;
        // No carry leaves a byte.
        !((differs & !HIGH_BITS).wrapping_add(!HIGH_BITS) | differs)
    }

    /// Which bytes are below 0x20 or not ASCII.
    #[inline]
    pub(super) fn special(lane: ByteLane) -> ByteLane {
        eq(lane & splat(0xe0), 0) | lane
    }

    #[inline]
    pub(super) fn is_plain(lanes: [ByteLane; 8]) -> bool {
        let found = |lane| or(eq(lane, splat(b'\\')), special(lane));
        lanes.into_iter().fold(0, |all, lane| or(all, found(lane))) & HIGH_BITS == 0
    }

    /// The answers for all bytes.
    #[inline]
    pub(super) fn gather(lanes: [ByteLane; 8]) -> u64 {
        // The product brings the eight answers together in its highest byte.
        let together = |lane: ByteLane| ((lane & HIGH_BITS) >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        lanes.into_iter().rev().fold(0, |mask, lane| mask << 8 | together(lane))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn masks_say_of_each_byte_what_a_look_at_it_says(bytes in proptest::collection::vec(
            prop_oneof![any::<u8>(), proptest::sample::select(b"{}[]\\\"|\x1f \x7f\xff\xdb\xdd\x5a".to_vec())], BLOCK_BYTES)
        ) {
            let slow = |is_set: fn(u8) -> bool| {
                bytes.iter().enumerate().fold(0u64, |mask, (n, byte)| mask | u64::from(is_set(*byte)) << n)
            };
            let block = Block::new(bytes.as_slice().try_into().unwrap());
            for byte in 0..=255 {
                let expected = bytes.iter().enumerate().fold(0, |mask, (n, b)| mask | u64::from(*b == byte) << n);
                prop_assert_eq!(block.equal(byte), expected);
            }
            prop_assert_eq!(block.brackets(), slow(|byte| b"[]{}".contains(&byte)));
            prop_assert_eq!(block.controls(), slow(|byte| byte < 0x20));
            prop_assert_eq!(block.is_ascii(), bytes.is_ascii());
            prop_assert_eq!(block.is_plain(), slow(|byte| byte < 0x20 || byte == b'\\' || !byte.is_ascii()) == 0);
        }

        #[test]
        fn blocks_are_plain_unless_one_byte_is_not(at in 0..BLOCK_BYTES, byte in any::<u8>()) {
            let mut bytes = [b'a'; BLOCK_BYTES];
            bytes[at] = byte;
            let block = Block::new(&bytes);
            prop_assert_eq!(block.is_plain(), (0x20..0x80).contains(&byte) && byte != b'\\');
            prop_assert_eq!(block.is_ascii(), byte.is_ascii());
        }
    }
}
