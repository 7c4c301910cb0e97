//! Delivery identifiers.
//!
//! Promises: 26 characters, sortable by the time of receipt, unguessable enough to be an idempotency key, and made
//! from time and randomness that the caller passes in. The form is ULID's: 48 bits of milliseconds, 80 random bits,
//! Crockford's base 32. Out of scope: monotonic order within one millisecond.

/// Crockford's base 32: no I, L, O, U (<https://www.crockford.com/base32.html>).
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Characters of an identifier: 128 bits in groups of five, rounded up.
pub const ID_LENGTH: usize = 26;

/// Makes an identifier.
///
/// `now_ms`: milliseconds since the Unix epoch, of which the low 48 bits count (enough until the year 10889).
/// `random`: 80 bits from the platform's generator.
pub fn delivery_id(now_ms: u64, random: [u8; 10]) -> String {
    let mut bits = u128::from(now_ms) << 80;
    for (place, byte) in (0..10u32).rev().zip(random) {
        bits |= u128::from(byte) << place.saturating_mul(8);
    }
    (0..26u32)
        .rev()
        .map(|group| {
            let value = (bits >> group.saturating_mul(5)) & 31;
            // `value` has five bits and the alphabet 32 letters; the fallback is there for the compiler.
            usize::try_from(value).ok().and_then(|index| ALPHABET.get(index)).map_or('0', |letter| char::from(*letter))
        })
        .collect()
}

/// Whether `text` has the form of an identifier: what a path or a cursor names is checked before it is looked up.
pub fn is_delivery_id(text: &str) -> bool {
    text.len() == ID_LENGTH && text.bytes().all(|byte| ALPHABET.contains(&byte))
}

/// The 16 bytes of an identifier; `None` where it is none.
pub fn id_bytes(id: &str) -> Option<[u8; 16]> {
    if id.len() != ID_LENGTH {
        return None;
    }
    id.bytes()
        .try_fold(0u128, |bits, letter| {
            let value = ALPHABET.iter().position(|known| *known == letter)?;
            Some(bits.checked_mul(32)?.saturating_add(u128::try_from(value).ok()?))
        })
        .map(u128::to_be_bytes)
}

/// The identifier of 16 bytes.
pub fn id_from_bytes(bytes: [u8; 16]) -> String {
    delivery_id(time_of(bytes), bytes.last_chunk().copied().unwrap_or_default())
}

/// When the delivery of an identifier was received, in milliseconds since the epoch.
pub fn id_time_ms(id: &str) -> Option<u64> {
    id_bytes(id).map(time_of)
}

fn time_of(bytes: [u8; 16]) -> u64 {
    u64::try_from(u128::from_be_bytes(bytes) >> 80).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn matches_the_published_example_of_the_form() {
        // The time part of the example in the ULID specification: 1469918176385 ms.
        assert_eq!(&delivery_id(1_469_918_176_385, [0; 10])[..10], "01ARYZ6S41");
    }

    #[test]
    fn all_ones_is_the_largest_identifier() {
        assert_eq!(delivery_id((1 << 48) - 1, [0xff; 10]), "7ZZZZZZZZZZZZZZZZZZZZZZZZZ");
    }

    proptest! {
        #[test]
        fn sorts_by_time_and_is_recognised(a in 0u64..1 << 48, b in 0u64..1 << 48, r in any::<[u8; 10]>(), s in any::<[u8; 10]>()) {
            let (x, y) = (delivery_id(a, r), delivery_id(b, s));
            prop_assert!(is_delivery_id(&x));
            prop_assert_eq!(id_bytes(&x).map(id_from_bytes), Some(x.clone()));
            prop_assert_eq!(id_time_ms(&x), Some(a));
            if a != b {
                prop_assert_eq!(a < b, x < y);
            }
        }
    }
}
