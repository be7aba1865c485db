//! Recipients between upload and ledger: set down while they come in, copied when all are there.
//!
//! A client may be slow, and a transaction must not wait for one; and a campaign may have more
//! recipients than anybody wants in memory. So each is kept in a short form, up to a bound in
//! memory and beyond it in a file that has no name, and that the system takes back when the
//! process lets go of it, however it ends.
//!
//! Always true: what comes out is what went in, in its order, or an error.

use std::fmt;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use models::phone::PhoneKey;
use tempfile::SpooledTempFile;

use crate::StoreError;

/// Bytes that are gathered before they go to the file, and read from it at once.
const BLOCK: usize = 64 * 1_024;
/// Set in a recipient's integer when variables follow; far above every number.
const VARIABLES: u64 = 1 << 63;

/// The recipients of one campaign.
pub struct Spool {
    /// The latest, not yet handed on.
    pending: Vec<u8>,
    /// Those before, in memory or on disk.
    kept: SpooledTempFile,
    kept_bytes: u64,
    rows: usize,
}

impl Spool {
    /// An empty one, with at most about `memory_bytes_max` in memory and the rest in `directory`.
    /// Nothing is allocated or opened before it is needed.
    pub fn new(memory_bytes_max: usize, directory: &Path) -> Self {
        Self {
            pending: Vec::new(),
            kept: tempfile::spooled_tempfile_in(memory_bytes_max, directory),
            kept_bytes: 0,
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
        self.pending
            .extend((number.get() | VARIABLES).to_le_bytes());
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

    fn hand_on(&mut self) -> io::Result<()> {
        self.kept.write_all(&self.pending)?;
        self.kept_bytes += self.pending.len() as u64;
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
        self.kept.is_rolled()
    }

    /// All of it, if it is so little that none was ever handed on.
    pub(crate) fn little(&self) -> Option<&[u8]> {
        (self.kept_bytes == 0).then_some(&self.pending)
    }

    /// To read it from its beginning. May wait for the disk.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn into_rows(mut self) -> Result<Rows, StoreError> {
        let rewound = self.kept.flush().and_then(|()| self.kept.rewind());
        rewound.map_err(StoreError::Spool)?;
        Ok(Rows {
            source: self
                .kept
                .take(self.kept_bytes)
                .chain(io::Cursor::new(self.pending)),
            block: Vec::new(),
            at: 0,
            left: self.rows,
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
pub struct Rows {
    source: io::Chain<io::Take<SpooledTempFile>, io::Cursor<Vec<u8>>>,
    /// What was read from it and, up to `at`, handed out.
    block: Vec<u8>,
    at: usize,
    left: usize,
}

impl Rows {
    /// The next one; `None` behind the last. May wait for the disk.
    ///
    /// # Errors
    /// When the disk does not give back what it took.
    pub fn next(&mut self) -> Result<Option<SpooledRow<'_>>, StoreError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let length = loop {
            match row(&self.block[self.at..]) {
                Decoded::Row(_, length) => break length,
                Decoded::Needs(bytes) => self.fill(bytes).map_err(StoreError::Spool)?,
                Decoded::Damaged => return Err(damaged()),
            }
        };
        let from = self.at;
        self.at += length;
        match row(&self.block[from..self.at]) {
            Decoded::Row(row, _) => Ok(Some(row)),
            Decoded::Needs(_) | Decoded::Damaged => Err(damaged()),
        }
    }

    /// Reads until `wanted` bytes lie ahead.
    fn fill(&mut self, wanted: usize) -> io::Result<()> {
        self.block.drain(..self.at);
        self.at = 0;
        let missing = wanted.max(BLOCK).saturating_sub(self.block.len()) as u64;
        let source = &mut self.source;
        source.take(missing).read_to_end(&mut self.block)?;
        if self.block.len() < wanted {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows")
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

/// All rows of a block that ends with a row.
pub(crate) fn rows_of(mut block: &[u8]) -> Result<Vec<SpooledRow<'_>>, StoreError> {
    let mut found = Vec::new();
    while !block.is_empty() {
        let Decoded::Row(row, length) = row(block) else {
            return Err(damaged());
        };
        found.push(row);
        block = &block[length..];
    }
    Ok(found)
}

enum Decoded<'a> {
    /// A row, and how many bytes it is long.
    Row(SpooledRow<'a>, usize),
    /// It needs at least so many bytes.
    Needs(usize),
    /// It is none.
    Damaged,
}

fn row(bytes: &[u8]) -> Decoded<'_> {
    let Some((key, rest)) = bytes.split_first_chunk() else {
        return Decoded::Needs(size_of::<u64>());
    };
    let key = u64::from_le_bytes(*key);
    let Some(number) = PhoneKey::from_integer(key & !VARIABLES) else {
        return Decoded::Damaged;
    };
    if key & VARIABLES == 0 {
        let row = SpooledRow {
            number,
            variables: None,
        };
        return Decoded::Row(row, size_of::<u64>());
    }
    let head = size_of::<u64>() + size_of::<u32>();
    let Some((length, rest)) = rest.split_first_chunk() else {
        return Decoded::Needs(head);
    };
    let length = u32::from_le_bytes(*length) as usize;
    let Some(text) = rest.get(..length) else {
        return Decoded::Needs(head + length);
    };
    match std::str::from_utf8(text) {
        Ok(text) => {
            let row = SpooledRow {
                number,
                variables: Some(text),
            };
            Decoded::Row(row, head + length)
        }
        Err(_) => Decoded::Damaged,
    }
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
                read.next().unwrap(),
                Some(SpooledRow { number, variables }),
                "{n}"
            );
        }
        assert_eq!(read.next().unwrap(), None);
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
            assert_eq!(rows.next().unwrap(), Some(SpooledRow { number, variables }));
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
        assert!(rows.next().unwrap().is_some());
        assert!(matches!(rows.next(), Err(StoreError::Spool(_))));
        assert!(rows_of(&[1; 12]).is_err());
    }
}
