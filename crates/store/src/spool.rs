//! Recipients between upload and ledger: set down while they come in, copied when all are there.
//!
//! A client may be slow, and a transaction must not wait for one; and a campaign may have more
//! recipients than anybody wants in memory. So each is kept in a short form, up to a bound in
//! memory and beyond it in a file that has no name, and that the system takes back when the
//! process lets go of it, however it ends.
//!
//! Always true: what comes out is what went in, in its order, or an error.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use models::phone::PhoneKey;

use crate::StoreError;

/// Bytes of a block, about: recipients are never torn apart, so the last of it may cross this.
/// Blocks are of one size and never grow, so that memory that one gives back fits the next.
const BLOCK: usize = 64 * 1_024;
/// Set in a recipient's integer when variables follow; far above every number.
const VARIABLES: u64 = 1 << 63;

/// The recipients of one campaign.
pub struct Spool {
    memory_bytes_max: usize,
    directory: PathBuf,
    /// The first blocks.
    held: VecDeque<Vec<u8>>,
    held_bytes: usize,
    /// Those behind them.
    file: Option<File>,
    /// The lengths of the blocks in the file.
    filed: VecDeque<usize>,
    /// The last block, not yet full.
    pending: Vec<u8>,
    rows: usize,
}

impl Spool {
    /// An empty one, with at most about `memory_bytes_max` in memory and the rest in a file in
    /// `directory`. Nothing is allocated or opened before it is needed.
    pub fn new(memory_bytes_max: usize, directory: &Path) -> Self {
        Self {
            memory_bytes_max,
            directory: directory.to_owned(),
            held: VecDeque::new(),
            held_bytes: 0,
            file: None,
            filed: VecDeque::new(),
            pending: Vec::new(),
            rows: 0,
        }
    }

    /// Sees whether files can be made in a directory.
    ///
    /// # Errors
    /// Why not.
    pub fn probe(directory: &Path) -> Result<(), StoreError> {
        let made = tempfile::tempfile_in(directory).and_then(|mut file| file.write_all(b"x"));
        made.map_err(StoreError::Spool)
    }

    /// Adds a recipient; its own variables as the text of a JSON object of strings. May wait for
    /// the disk.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn push(&mut self, number: PhoneKey, variables: Option<&str>) -> Result<(), StoreError> {
        let Some(variables) = variables else {
            self.pending.extend(number.get().to_le_bytes());
            return self.pushed();
        };
        let length = u32::try_from(variables.len())
            .map_err(|_| StoreError::Spool(io::ErrorKind::FileTooLarge.into()))?;
        let key = number.get() | VARIABLES;
        self.pending.extend(key.to_le_bytes());
        self.pending.extend(length.to_le_bytes());
        self.pending.extend_from_slice(variables.as_bytes());
        self.pushed()
    }

    fn pushed(&mut self) -> Result<(), StoreError> {
        self.rows += 1;
        if self.pending.len() >= BLOCK {
            self.hand_on().map_err(StoreError::Spool)?;
        }
        Ok(())
    }

    /// Puts a full block aside.
    fn hand_on(&mut self) -> io::Result<()> {
        let length = self.pending.len();
        if self.file.is_none() && self.held_bytes + length <= self.memory_bytes_max {
            let next = Vec::with_capacity(BLOCK + BLOCK / 16);
            self.held
                .push_back(std::mem::replace(&mut self.pending, next));
            self.held_bytes += length;
            return Ok(());
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(tempfile::tempfile_in(&self.directory)?),
        };
        file.write_all(&self.pending)?;
        self.filed.push_back(length);
        self.pending.clear();
        Ok(())
    }

    /// How many recipients there are.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Whether some of it is in a file.
    pub fn is_on_disk(&self) -> bool {
        self.file.is_some()
    }

    /// All of it, if it is less than a block.
    pub(crate) fn little(&self) -> Option<&[u8]> {
        (self.held.is_empty() && self.file.is_none()).then_some(&self.pending)
    }

    /// To read it from its beginning. May wait for the disk.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn into_rows(mut self) -> Result<Rows, StoreError> {
        let file = self.file.as_mut();
        let rewound = file.map_or(Ok(()), Seek::rewind);
        rewound.map_err(StoreError::Spool)?;
        Ok(Rows {
            spool: self,
            block: Vec::new(),
            at: 0,
        })
    }
}

impl fmt::Debug for Spool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spool")
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

/// A recipient that comes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpooledRow<'a> {
    /// Whose number.
    pub number: PhoneKey,
    /// Its own variables, as the text of a JSON object of strings.
    pub variables: Option<&'a str>,
}

/// The recipients of a spool, one after the other.
#[derive(Debug)]
pub struct Rows {
    /// What is left of it; its `rows` are those that are to come.
    spool: Spool,
    /// The block that is being read, and where.
    block: Vec<u8>,
    at: usize,
}

impl Rows {
    /// The next one; `None` behind the last. May wait for the disk.
    ///
    /// # Errors
    /// When the disk does not give back what it took.
    pub fn take_next(&mut self) -> Result<Option<SpooledRow<'_>>, StoreError> {
        if self.spool.rows == 0 {
            return Ok(None);
        }
        if self.at >= self.block.len() {
            self.turn().map_err(StoreError::Spool)?;
        }
        let (row, length) = row(&self.block[self.at..]).ok_or_else(damaged)?;
        self.at += length;
        self.spool.rows -= 1;
        Ok(Some(row))
    }

    /// Takes the next block: those in memory, those of the file, the last one.
    fn turn(&mut self) -> io::Result<()> {
        self.at = 0;
        if let Some(held) = self.spool.held.pop_front() {
            self.block = held;
            return Ok(());
        }
        match (&mut self.spool.file, self.spool.filed.pop_front()) {
            (Some(file), Some(length)) => {
                self.block.resize(length, 0);
                file.read_exact(&mut self.block)
            }
            _ => {
                self.block = std::mem::take(&mut self.spool.pending);
                Ok(())
            }
        }
    }
}

/// All rows of a block.
pub(crate) fn rows_of(mut block: &[u8]) -> Result<Vec<SpooledRow<'_>>, StoreError> {
    let mut found = Vec::new();
    while !block.is_empty() {
        let (row, length) = row(block).ok_or_else(damaged)?;
        found.push(row);
        block = &block[length..];
    }
    Ok(found)
}

/// The row that `bytes` begin with, and how many it takes.
fn row(bytes: &[u8]) -> Option<(SpooledRow<'_>, usize)> {
    let (key, rest) = bytes.split_first_chunk()?;
    let key = u64::from_le_bytes(*key);
    let number = PhoneKey::from_integer(key & !VARIABLES)?;
    if key & VARIABLES == 0 {
        let variables = None;
        return Some((SpooledRow { number, variables }, size_of::<u64>()));
    }
    let (length, rest) = rest.split_first_chunk()?;
    let length = u32::from_le_bytes(*length) as usize;
    let variables = Some(std::str::from_utf8(rest.get(..length)?).ok()?);
    let whole = size_of::<u64>() + size_of::<u32>() + length;
    Some((SpooledRow { number, variables }, whole))
}

fn damaged() -> StoreError {
    StoreError::Spool(io::ErrorKind::InvalidData.into())
}

/// Where files go when nobody says where.
pub fn default_directory() -> PathBuf {
    std::env::temp_dir()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(n: usize) -> (PhoneKey, Option<String>) {
        let number = format!("216{n:08}").parse().unwrap();
        let variables = match n % 3 {
            0 => None,
            1 => Some(format!("{{\"n\":\"{n}\"}}")),
            _ => Some(format!("{{\"n\":\"{}\"}}", "ä".repeat(n % 700))),
        };
        (number, variables)
    }

    fn check(rows: usize, memory: usize, on_disk: bool) {
        let directory = tempfile::tempdir().unwrap();
        let mut spool = Spool::new(memory, directory.path());
        for n in 0..rows {
            let (number, variables) = numbered(n);
            spool.push(number, variables.as_deref()).unwrap();
        }
        assert_eq!((spool.len(), spool.is_on_disk()), (rows, on_disk));
        let named = std::fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(named, 0, "a spool's file must have no name");
        let mut read = spool.into_rows().unwrap();
        for n in 0..rows {
            let (number, variables) = numbered(n);
            let variables = variables.as_deref();
            assert_eq!(
                read.take_next().unwrap(),
                Some(SpooledRow { number, variables }),
                "{n}"
            );
        }
        assert_eq!(read.take_next().unwrap(), None);
    }

    #[test]
    fn what_comes_out_is_what_went_in() {
        check(0, 1_000_000, false);
        check(1, 1_000_000, false);
        check(20_000, 100_000_000, false);
        check(20_000, 1_000_000, true);
    }

    #[test]
    fn little_is_read_where_it_is() {
        let mut spool = Spool::new(1_000_000, &default_directory());
        for n in 0..100 {
            let (number, variables) = numbered(n);
            spool.push(number, variables.as_deref()).unwrap();
        }
        let rows = rows_of(spool.little().unwrap()).unwrap();
        for (n, row) in rows.iter().enumerate() {
            let (number, variables) = numbered(n);
            let variables = variables.as_deref();
            assert_eq!(*row, SpooledRow { number, variables });
        }
        assert_eq!(rows.len(), 100);
    }

    #[test]
    fn a_variable_longer_than_a_block() {
        let long = "x".repeat(3 * BLOCK);
        let mut spool = Spool::new(BLOCK, &default_directory());
        let (number, _) = numbered(7);
        for _ in 0..3 {
            spool.push(number, Some(&long)).unwrap();
        }
        let mut rows = spool.into_rows().unwrap();
        for _ in 0..3 {
            let variables = Some(long.as_str());
            assert_eq!(
                rows.take_next().unwrap(),
                Some(SpooledRow { number, variables })
            );
        }
    }

    #[test]
    fn a_disk_that_takes_nothing_or_gives_less_back_is_an_error() {
        let gone = tempfile::tempdir().unwrap().path().join("gone");
        assert!(Spool::probe(&gone).is_err());
        let mut spool = Spool::new(BLOCK, &gone);
        let (number, _) = numbered(1);
        let fault = (0..BLOCK).find_map(|_| spool.push(number, None).err());
        assert!(matches!(fault, Some(StoreError::Spool(_))), "{fault:?}");

        let mut spool = Spool::new(BLOCK, &default_directory());
        spool.push(number, None).unwrap();
        spool.rows = 2;
        let mut rows = spool.into_rows().unwrap();
        assert!(rows.take_next().unwrap().is_some());
        assert!(matches!(rows.take_next(), Err(StoreError::Spool(_))));
        assert!(rows_of(&[1; 12]).is_err());
    }
}
