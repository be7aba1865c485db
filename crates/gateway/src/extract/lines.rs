//! The lines of a stream, cut out of pieces that end anywhere.

use crate::problem::{Kind, Problem};

/// The longest line.
const LINE_BYTES_MAX: usize = 1_024 * 1_024;

/// What is left of the pieces so far.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// A line whose end has not come yet.
    begun: Vec<u8>,
    count: usize,
}

impl Lines {
    /// Cuts the next piece; `each` gets every line that is complete by now, with its end, and
    /// which one it is, from 1. Lines of nothing but blanks are left out.
    pub(super) fn feed(
        &mut self,
        mut piece: &[u8],
        each: &mut impl FnMut(usize, &[u8]) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        while let Some(end) = memchr::memchr(b'\n', piece) {
            let (line, rest) = piece.split_at(end + 1);
            piece = rest;
            if self.begun.is_empty() {
                self.complete(line, each)?;
            } else {
                let begun = self.join(line)?;
                self.complete(&begun, each)?;
            }
        }
        self.begun = self.join(piece)?;
        Ok(())
    }

    /// The stream is over: its last line needs no end.
    pub(super) fn end(
        &mut self,
        each: &mut impl FnMut(usize, &[u8]) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        let last = std::mem::take(&mut self.begun);
        if last.is_empty() {
            return Ok(());
        }
        self.complete(&last, each)
    }

    /// What was begun and what goes on with it.
    fn join(&mut self, more: &[u8]) -> Result<Vec<u8>, Problem> {
        let mut begun = std::mem::take(&mut self.begun);
        self.check(begun.len() + more.len())?;
        begun.extend_from_slice(more);
        Ok(begun)
    }

    fn check(&self, length: usize) -> Result<(), Problem> {
        if length <= LINE_BYTES_MAX {
            return Ok(());
        }
        let line = self.count + 1;
        let detail = format!("line {line} has more than {LINE_BYTES_MAX} bytes");
        Err(Problem::new(Kind::BodyTooLarge, detail))
    }

    fn complete(
        &mut self,
        line: &[u8],
        each: &mut impl FnMut(usize, &[u8]) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        self.check(line.len())?;
        self.count += 1;
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        each(self.count, line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(pieces: &[&[u8]]) -> Result<Vec<(usize, String)>, Problem> {
        let mut found = Vec::new();
        let mut keep = |number, line: &[u8]| {
            found.push((number, String::from_utf8_lossy(line).into_owned()));
            Ok(())
        };
        let mut lines = Lines::default();
        for piece in pieces {
            lines.feed(piece, &mut keep)?;
        }
        lines.end(&mut keep)?;
        Ok(found)
    }

    #[test]
    fn blank_lines_are_counted_and_left_out() {
        let found = cut(&[b"a\n\n \r\nb", b"c\r\n", b"d"]).unwrap();
        let wanted = [(1, "a\n"), (4, "bc\r\n"), (5, "d")];
        let wanted = wanted.map(|(number, line)| (number, line.to_owned()));
        assert_eq!(found, wanted);
    }

    #[test]
    fn a_line_may_not_be_too_long_wherever_it_is_cut() {
        let long = vec![b'x'; LINE_BYTES_MAX];
        for pieces in [
            &[&b"\n"[..], &long, b"x"] as &[&[u8]],
            &[b"\n", &long, b"x\n"],
            &[b"\n", b"x", &long],
            &[b"\nx", &long, b"\n"],
        ] {
            let problem = cut(pieces).unwrap_err();
            assert_eq!(problem.kind, Kind::BodyTooLarge);
            assert!(
                problem.detail.starts_with("line 2 has"),
                "{}",
                problem.detail
            );
        }
        assert_eq!(cut(&[b"\n", &long]).unwrap().len(), 1);
    }

    proptest! {
        #[test]
        fn where_pieces_end_makes_no_difference(
            text in "[ab \n\r]{0,60}", ends in prop::collection::vec(0_usize..60, 0..6),
        ) {
            let mut ends = ends;
            ends.retain(|end| *end <= text.len());
            ends.sort_unstable();
            let (mut pieces, mut from) = (Vec::new(), 0);
            for end in ends {
                pieces.push(&text.as_bytes()[from..end]);
                from = end;
            }
            pieces.push(&text.as_bytes()[from..]);
            prop_assert_eq!(cut(&pieces).unwrap(), cut(&[text.as_bytes()]).unwrap());
        }
    }
}
