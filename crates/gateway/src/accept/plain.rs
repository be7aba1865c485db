//! One recipient in the form that nearly all have, read without a single allocation.
//!
//! Always true: what is read here is exactly what [`super::recipient()`] would read, and whatever
//! is not plain, or wrong in any way, is left to it. So a fault has one wording, and this may
//! give up as soon as anything is unusual.

use models::phone::PhoneKey;
use models::template::is_name;

use super::recipient::VALUE_CHARS_MAX;

/// Variables of one recipient that are read here.
const PAIRS_MAX: usize = 16;
/// Digits of a whole number that every integer type holds.
const INTEGER_DIGITS_MAX: usize = 18;

/// A recipient without a fault.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plain<'a> {
    /// The number.
    pub(super) number: PhoneKey,
    /// The recipient's own variables.
    pub(super) own: Pairs<'a>,
}

/// Variables in the order of their names, each once; the values need no escaping.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pairs<'a> {
    pairs: [(&'a str, &'a str); PAIRS_MAX],
    count: usize,
}

impl<'a> Pairs<'a> {
    const NONE: Self = Self {
        pairs: [("", ""); PAIRS_MAX],
        count: 0,
    };

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    fn all(&self) -> &[(&'a str, &'a str)] {
        &self.pairs[..self.count]
    }

    /// How long their values are together.
    pub(super) fn bytes(&self) -> usize {
        self.all().iter().map(|(_, value)| value.len()).sum()
    }

    /// Whether there is one of this name that says something.
    pub(super) fn says(&self, name: &str) -> bool {
        let says = |(own, value): &(&str, &str)| *own == name && !value.trim().is_empty();
        self.all().iter().any(says)
    }

    /// Whether there is one of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.all().iter().any(|(own, _)| *own == name)
    }

    /// Keeps the order; `None` for one too many, or one that is there.
    fn insert(&mut self, name: &'a str, value: &'a str) -> Option<()> {
        let at = self.all().partition_point(|(other, _)| *other < name);
        let repeated = self.all().get(at).is_some_and(|(other, _)| *other == name);
        if self.count == PAIRS_MAX || repeated {
            return None;
        }
        self.pairs.copy_within(at..self.count, at + 1);
        self.pairs[at] = (name, value);
        self.count += 1;
        Some(())
    }

    /// As the text of a JSON object of strings, behind what `json` holds.
    pub(super) fn write(&self, json: &mut String) {
        let mut before = "{\"";
        for (name, value) in self.all() {
            for part in [before, name, "\":\"", value, "\""] {
                json.push_str(part);
            }
            before = ",\"";
        }
        json.push('}');
    }
}

/// The recipient that `text` is, blanks around it aside.
pub(super) fn whole(text: &str) -> Option<Plain<'_>> {
    let mut cursor = Cursor { text, at: 0 };
    let plain = cursor.recipient()?;
    cursor.blanks();
    (cursor.at == text.len()).then_some(plain)
}

/// The recipient that `text` begins with, and how long it is.
pub(super) fn first(text: &str) -> Option<(Plain<'_>, usize)> {
    let mut cursor = Cursor { text, at: 0 };
    let plain = cursor.recipient()?;
    Some((plain, cursor.at))
}

/// Where we are in a text of JSON.
struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn peek(&mut self) -> Option<u8> {
        self.blanks();
        self.text.as_bytes().get(self.at).copied()
    }

    /// What JSON calls white space, and nothing else.
    fn blanks(&mut self) {
        let rest = &self.text.as_bytes()[self.at..];
        let blank = |byte: &&u8| matches!(**byte, b' ' | b'\t' | b'\n' | b'\r');
        self.at += rest.iter().take_while(blank).count();
    }

    fn eat(&mut self, byte: u8) -> Option<()> {
        let found = self.peek()? == byte;
        self.at += usize::from(found);
        found.then_some(())
    }

    fn recipient(&mut self) -> Option<Plain<'a>> {
        if self.peek()? == b'"' {
            let number = self.string()?.parse().ok()?;
            let own = Pairs::NONE;
            return Some(Plain { number, own });
        }
        let (mut number, mut own) = (None, None);
        self.members(|cursor, name| match name {
            "number" if number.is_none() => {
                number = Some(cursor.string()?.parse().ok()?);
                Some(())
            }
            "variables" if own.is_none() => {
                own = Some(cursor.pairs()?);
                Some(())
            }
            _ => None,
        })?;
        Some(Plain {
            number: number?,
            own: own.unwrap_or(Pairs::NONE),
        })
    }

    fn pairs(&mut self) -> Option<Pairs<'a>> {
        let mut pairs = Pairs::NONE;
        self.members(|cursor, name| {
            let value = cursor.value()?;
            is_name(name).then_some(())?;
            pairs.insert(name, value)
        })?;
        Some(pairs)
    }

    /// An object; `member` is called at each value.
    fn members(&mut self, mut member: impl FnMut(&mut Self, &'a str) -> Option<()>) -> Option<()> {
        self.eat(b'{')?;
        if self.peek()? == b'}' {
            return self.eat(b'}');
        }
        loop {
            let name = self.string()?;
            self.eat(b':')?;
            member(self, name)?;
            if self.peek()? == b'}' {
                return self.eat(b'}');
            }
            self.eat(b',')?;
        }
    }

    /// A string without escapes.
    fn string(&mut self) -> Option<&'a str> {
        self.eat(b'"')?;
        let rest = self.text.get(self.at..)?;
        let plain = |byte: &u8| !matches!(*byte, b'"' | b'\\' | 0..=0x1f);
        let length = rest.bytes().take_while(plain).count();
        self.at += length;
        let text = rest.get(..length)?;
        // Not `eat`: a control character is no blank here.
        let closed = rest.as_bytes().get(length) == Some(&b'"');
        self.at += usize::from(closed);
        closed.then_some(text)
    }

    /// A variable's value, as the text that it becomes.
    fn value(&mut self) -> Option<&'a str> {
        match self.peek()? {
            b'"' => {
                // No text has more characters than bytes.
                self.string().filter(|text| text.len() <= VALUE_CHARS_MAX)
            }
            b't' => self.word("true"),
            b'f' => self.word("false"),
            _ => self.integer(),
        }
    }

    fn word(&mut self, word: &'a str) -> Option<&'a str> {
        let found = self.text.get(self.at..)?.starts_with(word);
        self.at += word.len();
        found.then_some(word)
    }

    /// A whole number that is written as we write it.
    fn integer(&mut self) -> Option<&'a str> {
        let rest = self.text.get(self.at..)?;
        let sign = usize::from(rest.starts_with('-'));
        let digits = rest
            .bytes()
            .skip(sign)
            .take_while(u8::is_ascii_digit)
            .count();
        let text = rest.get(..sign + digits)?;
        let leading_zero = text.as_bytes().get(sign) == Some(&b'0');
        let usual = if leading_zero {
            text == "0"
        } else {
            digits > 0
        };
        let ends = !matches!(rest.as_bytes().get(sign + digits), Some(b'.' | b'e' | b'E'));
        self.at += text.len();
        (usual && ends && digits <= INTEGER_DIGITS_MAX).then_some(text)
    }
}
