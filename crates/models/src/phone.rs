//! Phone numbers as the guide's users write them, kept as digits.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A phone number. Invariant: 6 to 15 ASCII digits, no plus sign, no leading `00`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PhoneNumber(Box<str>);

/// The fewest digits of a number (`42108077` has eight; short national numbers have six).
pub const DIGITS_MIN: usize = 6;
/// The most digits of a number: E.164.
pub const DIGITS_MAX: usize = 15;
/// Longest text that is looked at; more cannot be a number however it is written.
const TEXT_MAX: usize = 64;

/// Why a text is not a phone number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PhoneError {
    /// Nothing was given.
    #[error("is empty")]
    Empty,
    /// A letter stands in it.
    #[error("has a letter in it")]
    Letter,
    /// Another character that is not part of any notation of numbers.
    #[error("has the character {0:?} in it")]
    Character(char),
    /// A plus sign elsewhere than in front.
    #[error("has a plus sign that is not in front")]
    Plus,
    /// Two zeros where the country code should be, behind a plus sign or two other zeros.
    #[error("has 00 behind its + or 00")]
    Zeros,
    /// Too few digits.
    #[error("has {0} digits; a number has {DIGITS_MIN} to {DIGITS_MAX}")]
    Short(usize),
    /// Too many digits.
    #[error("has more than {DIGITS_MAX} digits; a number has {DIGITS_MIN} to {DIGITS_MAX}")]
    Long,
}

impl PhoneNumber {
    /// The digits, country code first where one was given.
    pub fn digits(&self) -> &str {
        &self.0
    }

    /// The same number, as one integer.
    pub fn key(&self) -> PhoneKey {
        of_digits(self.0.as_bytes())
    }

    /// For logs: the first two and the last two digits.
    pub fn masked(&self) -> Masked<'_> {
        Masked(&self.0)
    }
}

impl FromStr for PhoneNumber {
    type Err = PhoneError;

    fn from_str(text: &str) -> Result<Self, PhoneError> {
        text.parse().map(PhoneKey::number)
    }
}

/// A phone number as one integer: its digits behind a 1, which keeps leading zeros apart. For
/// where there are many of them: eight bytes and no allocation each.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PhoneKey(u64);

impl PhoneKey {
    /// The integer, below 2 * 10^15.
    pub fn get(self) -> u64 {
        self.0
    }

    /// The number of an integer, if it is one's.
    pub fn from_integer(key: u64) -> Option<Self> {
        let key = Self(key);
        let digits = key.digits();
        let digits = digits.as_bytes();
        let lengths = DIGITS_MIN..=DIGITS_MAX;
        let fits = lengths.contains(&digits.len()) && !digits.starts_with(b"00");
        (fits && of_digits(digits) == key).then_some(key)
    }

    /// Its digits, on the stack.
    pub fn digits(self) -> Digits {
        let (mut ascii, mut at, mut rest) = ([b'0'; KEY_DIGITS_MAX], KEY_DIGITS_MAX, self.0);
        while rest > 9 && at > 0 {
            at -= 1;
            // A remainder of ten is one digit.
            ascii[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        Digits { ascii, at }
    }

    /// The same number, as a text.
    pub fn number(self) -> PhoneNumber {
        let digits = self.digits();
        let digits = digits.as_bytes().iter().map(|digit| char::from(*digit));
        PhoneNumber(digits.collect::<String>().into_boxed_str())
    }
}

/// The most digits of any 64-bit integer.
const KEY_DIGITS_MAX: usize = 20;

/// The digits of a [`PhoneKey`].
#[derive(Clone, Copy)]
pub struct Digits {
    ascii: [u8; KEY_DIGITS_MAX],
    at: usize,
}

impl Digits {
    /// In ASCII.
    pub fn as_bytes(&self) -> &[u8] {
        &self.ascii[self.at..]
    }
}

fn of_digits(digits: &[u8]) -> PhoneKey {
    let integer = |key: u64, digit: &u8| key.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
    PhoneKey(digits.iter().fold(1, integer))
}

impl FromStr for PhoneKey {
    type Err = PhoneError;

    fn from_str(text: &str) -> Result<Self, PhoneError> {
        if text.len() > TEXT_MAX {
            return Err(PhoneError::Long);
        }
        let text = text.trim();
        if text.is_empty() {
            return Err(PhoneError::Empty);
        }
        let (plus, rest) = match text.strip_prefix('+') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mut digits, mut count) = ([0; TEXT_MAX], 0);
        for c in rest.chars() {
            match c {
                '0'..='9' => {
                    digits[count] = c as u8;
                    count += 1;
                }
                ' ' | '.' | '-' | '(' | ')' => {}
                '+' => return Err(PhoneError::Plus),
                c if c.is_alphabetic() => return Err(PhoneError::Letter),
                c => return Err(PhoneError::Character(c)),
            }
        }
        let digits = &digits[..count];
        let digits = if plus {
            digits
        } else {
            digits.strip_prefix(b"00").unwrap_or(digits)
        };
        if digits.starts_with(b"00") {
            return Err(PhoneError::Zeros);
        }
        match digits.len() {
            n if n < DIGITS_MIN => Err(PhoneError::Short(n)),
            n if n > DIGITS_MAX => Err(PhoneError::Long),
            _ => Ok(of_digits(digits)),
        }
    }
}

/// Masked, like that of a number.
impl fmt::Debug for PhoneKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.number(), f)
    }
}

impl fmt::Display for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Masked, so that a number cannot reach a log through `{:?}`.
impl fmt::Debug for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.masked(), f)
    }
}

impl Serialize for PhoneNumber {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for PhoneNumber {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// A number as logs may show it: `42****77`.
#[derive(Clone, Copy)]
pub struct Masked<'a>(&'a str);

impl fmt::Display for Masked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0;
        write!(f, "{}****{}", &digits[..2], &digits[digits.len() - 2..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, wanted: Result<&str, PhoneError>) {
        let got: Result<PhoneNumber, _> = text.parse();
        assert_eq!(
            got.as_ref().map(PhoneNumber::digits).map_err(Clone::clone),
            wanted,
            "{text:?}"
        );
    }

    #[test]
    fn notations_of_the_guide_and_of_people() {
        check("42108077", Ok("42108077"));
        check("+216 42 108 101", Ok("21642108101"));
        check("0021642108101", Ok("21642108101"));
        check("(216) 42-108.101", Ok("21642108101"));
        check(" 123456 ", Ok("123456"));
        check("", Err(PhoneError::Empty));
        check("abc", Err(PhoneError::Letter));
        check("not a number; 12", Err(PhoneError::Letter));
        check("12345", Err(PhoneError::Short(5)));
        check("1234567890123456", Err(PhoneError::Long));
        check("12+345678", Err(PhoneError::Plus));
        check("+0012345678", Err(PhoneError::Zeros));
        check("00 00 12345678", Err(PhoneError::Zeros));
        check("0001234567", Ok("01234567"));
        check("123456#", Err(PhoneError::Character('#')));
        check("٤٢١٠٨٠٧٧", Err(PhoneError::Character('٤')));
    }

    #[test]
    fn debug_never_shows_a_number() {
        let number: PhoneNumber = "21642108101".parse().unwrap();
        assert_eq!(format!("{number:?}"), "21****01");
    }

    proptest! {
        #[test]
        fn what_is_kept_parses_to_itself(text in "\\PC{0,24}|[+]?[0-9 ().-]{4,22}") {
            if let Ok(number) = text.parse::<PhoneNumber>() {
                prop_assert!(number.digits().bytes().all(|b| b.is_ascii_digit()));
                prop_assert!((DIGITS_MIN..=DIGITS_MAX).contains(&number.digits().len()));
                let plus: PhoneNumber = format!("+{number}").parse().unwrap();
                prop_assert_eq!(&plus, &number);
                let again: PhoneNumber = number.digits().parse().unwrap();
                prop_assert_eq!(&again, &number);
                let key: PhoneKey = text.parse().unwrap();
                prop_assert_eq!(number.key(), key);
                prop_assert_eq!(key.number(), number);
                prop_assert_eq!(PhoneKey::from_integer(key.get()), Some(key));
            }
        }

        #[test]
        fn only_integers_of_numbers_are_keys(integer in any::<u64>(), shift in 0_u32..64) {
            if let Some(key) = PhoneKey::from_integer(integer >> shift) {
                let again: PhoneKey = key.number().digits().parse().unwrap();
                prop_assert_eq!(again, key);
            }
        }
    }
}
