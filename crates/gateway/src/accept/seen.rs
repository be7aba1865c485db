//! Which numbers were named already.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use models::phone::PhoneKey;

/// Numbers that a page has room for: four kilobytes.
const SLOTS: usize = 512;
/// A page that holds so many is split; a fuller one would make looks long.
const FULL: usize = SLOTS * 7 / 8;
/// What no number's integer is.
const EMPTY: u64 = 0;
/// Bits of a hash that choose among pages, at most: enough for the most recipients that a
/// campaign may have, many times over.
const DEPTH_MAX: u32 = 32;

/// The numbers of one campaign: pages of one size behind a directory, of which one is split when
/// it is full. So the memory is 10 to 18 bytes a number, and growing never moves more than a page:
/// a set in one piece needs twice its size and half as much again while it grows. The hashes are
/// the standard ones, keyed by chance: whoever chooses the numbers cannot choose collisions.
#[derive(Debug)]
pub(super) struct Seen {
    hashes: RandomState,
    pages: Vec<Page>,
    /// Which page it is for the first `depth` bits of a hash.
    directory: Vec<u32>,
    depth: u32,
}

#[derive(Debug)]
struct Page {
    slots: Box<[u64; SLOTS]>,
    count: usize,
    /// How many bits of a hash all of its numbers share.
    depth: u32,
}

impl Page {
    fn new(depth: u32) -> Self {
        Self {
            slots: Box::new([EMPTY; SLOTS]),
            count: 0,
            depth,
        }
    }

    /// Adds a number unless it is there; whether it was not. There must be an empty slot.
    fn insert(&mut self, key: u64, hash: u64) -> bool {
        // The lowest bits: those that choose the page are the highest.
        let mut at = hash as usize % SLOTS;
        while self.slots[at] != EMPTY {
            if self.slots[at] == key {
                return false;
            }
            at = (at + 1) % SLOTS;
        }
        self.slots[at] = key;
        self.count += 1;
        true
    }
}

impl Seen {
    /// Nobody yet.
    pub(super) fn new() -> Self {
        Self {
            hashes: RandomState::new(),
            pages: Vec::new(),
            directory: Vec::new(),
            depth: 0,
        }
    }

    /// Adds a number; whether it is new.
    pub(super) fn insert(&mut self, number: PhoneKey) -> bool {
        if self.pages.is_empty() {
            self.pages.push(Page::new(0));
            self.directory.push(0);
        }
        let key = number.get();
        let hash = self.hashes.hash_one(key);
        let mut page = self.page_of(hash);
        while self.pages[page].count >= FULL && self.pages[page].depth < DEPTH_MAX {
            self.split(page, hash);
            page = self.page_of(hash);
        }
        self.pages[page].insert(key, hash)
    }

    fn page_of(&self, hash: u64) -> usize {
        self.directory[place(hash, self.depth)] as usize
    }

    /// Gives the upper half of a page's numbers a page of their own; `hash` is of one of them.
    fn split(&mut self, page: usize, hash: u64) {
        if self.pages[page].depth == self.depth {
            let twice = self.directory.iter().flat_map(|page| [*page, *page]);
            self.directory = twice.collect();
            self.depth += 1;
        }
        let depth = self.pages[page].depth + 1;
        let old = std::mem::replace(&mut self.pages[page], Page::new(depth));
        let (mut upper, lower) = (Page::new(depth), &mut self.pages[page]);
        for key in old.slots.iter().copied().filter(|key| *key != EMPTY) {
            let hash = self.hashes.hash_one(key);
            let half = if place(hash, depth) % 2 == 1 {
                &mut upper
            } else {
                &mut *lower
            };
            half.insert(key, hash);
        }
        let new = u32::try_from(self.pages.len()).unwrap_or(u32::MAX);
        self.pages.push(upper);
        // All places of the directory that begin with the bits of the upper half.
        let width = 1_usize << (self.depth - depth);
        let from = (place(hash, depth) | 1) * width;
        self.directory[from..from + width].fill(new);
    }
}

/// The first `depth` bits of a hash, as a number.
fn place(hash: u64, depth: u32) -> usize {
    hash.checked_shr(u64::BITS - depth).unwrap_or(0) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_of_many_is_new_once_and_pages_are_well_filled() {
        let mut seen = Seen::new();
        let number = |n: u32| format!("216{n:08}").parse().unwrap();
        for n in 0..100_000 {
            assert!(seen.insert(number(n)), "{n}");
        }
        for n in (0..100_000).step_by(7) {
            assert!(!seen.insert(number(n)), "{n}");
        }
        let count: usize = seen.pages.iter().map(|page| page.count).sum();
        assert_eq!(count, 100_000);
        let bytes = seen.pages.len() * size_of::<[u64; SLOTS]>() + seen.directory.len() * 4;
        assert!(bytes < 24 * count, "{bytes}");
    }

    proptest! {
        #[test]
        fn it_is_a_set(numbers in prop::collection::vec(100_000_u32..103_000, 0..6_000)) {
            let (mut seen, mut wanted) = (Seen::new(), HashSet::new());
            for number in numbers {
                let key = number.to_string().parse().unwrap();
                prop_assert_eq!(seen.insert(key), wanted.insert(number));
            }
        }
    }
}
