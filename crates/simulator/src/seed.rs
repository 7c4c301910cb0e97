//! Reproducible randomness: the same seed gives the same choices. No cryptographic use.

use fastrand::Rng;

/// The generator of item `index` of `seed`. What one delivery draws does not depend on what was sent next to it.
pub(crate) fn of_item(seed: u64, index: u64) -> Rng {
    // An odd factor keeps the items of one seed apart.
    Rng::with_seed(seed ^ index.wrapping_mul(0xD1B5_4A32_D192_ED03)).fork()
}

/// The next identifier, in the form of a version 4 UUID.
pub(crate) fn uuid(rng: &mut Rng) -> String {
    uuid::Builder::from_random_bytes(rng.u128(..).to_be_bytes()).into_uuid().to_string()
}

/// One of `items`, as probable as its weight; the first one where no weight is above 0.
pub(crate) fn weighted<T: Copy>(rng: &mut Rng, items: &[(T, u32)]) -> Option<T> {
    let mut at = rng.u64(..items.iter().map(|(_, weight)| u64::from(*weight)).sum::<u64>().max(1));
    let chosen = items.iter().find(|(_, weight)| match at.checked_sub(u64::from(*weight)) {
        Some(behind) => {
            at = behind;
            false
        }
        None => true,
    });
    chosen.or(items.first()).map(|(item, _)| *item)
}

#[cfg(test)]
mod tests {
    use super::{of_item, uuid, weighted};

    #[test]
    fn the_same_seed_gives_the_same_ids_and_another_item_gives_others() {
        assert_eq!(uuid(&mut of_item(7, 3)), uuid(&mut of_item(7, 3)));
        assert_ne!(uuid(&mut of_item(7, 3)), uuid(&mut of_item(7, 4)));
    }

    #[test]
    fn items_are_chosen_by_their_weights() {
        let mut rng = of_item(5, 0);
        let drawn = (0..10_000).filter(|_| weighted(&mut rng, &[('a', 3), ('b', 0), ('c', 1)]) == Some('c')).count();
        assert!((2_300..2_700).contains(&drawn), "{drawn}");
        assert!((0..100).all(|_| weighted(&mut rng, &[('a', 0), ('b', 1)]) == Some('b')));
    }
}
