//! Which numbers were named already.

use std::collections::HashSet;

use models::phone::PhoneKey;

/// How many sets there are. A prime, so that numbers that follow each other, or have the same
/// last digits, fall into all of them.
const SHARDS: usize = 61;

/// The numbers of one campaign. A set that grows lives twice for a moment; sixty-one small ones
/// grow one at a time, so that the moment never costs more than a sixtieth of the whole. The
/// hashes are the standard ones, keyed by chance: whoever chooses the numbers cannot choose
/// collisions, and next to a look into memory that is far away they cost nothing.
#[derive(Debug)]
pub(super) struct Seen(Box<[HashSet<u64>]>);

impl Seen {
    /// Nobody yet; nothing is allocated for many.
    pub(super) fn new() -> Self {
        Self(Box::default())
    }

    /// Adds a number; whether it is new.
    pub(super) fn insert(&mut self, number: PhoneKey) -> bool {
        if self.0.is_empty() {
            self.0 = std::iter::repeat_with(HashSet::new).take(SHARDS).collect();
        }
        let key = number.get();
        // The remainder is below sixty-one, whatever the width of a pointer.
        let shard = (key % SHARDS as u64) as usize;
        self.0[shard].insert(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_number_is_new_once(numbers in prop::collection::vec("[0-9]{6,8}", 0..200)) {
            let (mut seen, mut wanted) = (Seen::new(), HashSet::new());
            for number in numbers {
                if let Ok(number) = number.parse::<PhoneKey>() {
                    prop_assert_eq!(seen.insert(number), wanted.insert(number));
                }
            }
        }
    }
}
