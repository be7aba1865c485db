//! Where a list goes on: opaque to clients, so that it can change without breaking one.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use models::ids::{CampaignId, WorkerId};
use models::phone::PhoneNumber;
use store::sessions::SessionCursor;
use time::OffsetDateTime;

/// A place in a list.
pub trait Place: Sized {
    /// As text, before it is made opaque.
    fn write(&self) -> String;
    /// Back from text.
    fn read(text: &str) -> Option<Self>;
}

/// The cursor of a place.
pub fn encode(place: &impl Place) -> String {
    URL_SAFE_NO_PAD.encode(place.write())
}

/// The place of a cursor; `None` when it is not one of this list's.
pub fn decode<P: Place>(cursor: &str) -> Option<P> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    P::read(std::str::from_utf8(&bytes).ok()?)
}

macro_rules! plain {
    ($prefix:literal: $type:ty) => {
        impl Place for $type {
            fn write(&self) -> String {
                format!(concat!($prefix, "{}"), self)
            }

            fn read(text: &str) -> Option<Self> {
                text.strip_prefix($prefix)?.parse().ok()
            }
        }
    };
}
plain!("c": CampaignId);
plain!("w": WorkerId);
plain!("p": PhoneNumber);

/// A message's place in its campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ordinal(pub i32);

impl Place for Ordinal {
    fn write(&self) -> String {
        format!("o{}", self.0)
    }

    fn read(text: &str) -> Option<Self> {
        text.strip_prefix('o')?.parse().ok().map(Self)
    }
}

impl Place for SessionCursor {
    fn write(&self) -> String {
        format!("s{}.{}", self.0.unix_timestamp_nanos(), self.1)
    }

    fn read(text: &str) -> Option<Self> {
        let (nanos, phone) = text.strip_prefix('s')?.split_once('.')?;
        let at = OffsetDateTime::from_unix_timestamp_nanos(nanos.parse().ok()?).ok()?;
        // What PostgreSQL can hold, and any clock that ever wrote one of these rows.
        (1970..9_000).contains(&at.year()).then_some(())?;
        Some((at, phone.parse().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<P: Place + PartialEq + std::fmt::Debug>(place: P) {
        assert_eq!(decode(&encode(&place)).as_ref(), Some(&place));
    }

    #[test]
    fn cursors_read_back() {
        check(CampaignId::new(uuid::Uuid::from_u128(7)));
        check(WorkerId::new(uuid::Uuid::from_u128(8)));
        check("21642108101".parse::<PhoneNumber>().unwrap());
        check(Ordinal(99_999));
        check((OffsetDateTime::UNIX_EPOCH, "123456".parse().unwrap()));
    }

    #[test]
    fn others_are_refused() {
        let of_another_list = encode(&Ordinal(1));
        assert_eq!(decode::<CampaignId>(&of_another_list), None);
        for wrong in [
            "",
            "!",
            "AAAA",
            "_w",
            "\u{e9}",
            "czk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OS4xMjM0NTY",
        ] {
            assert_eq!(decode::<SessionCursor>(wrong), None, "{wrong}");
            assert_eq!(decode::<Ordinal>(wrong), None, "{wrong}");
        }
    }
}
