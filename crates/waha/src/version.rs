//! Versions of WAHA and what follows from them.

use std::fmt;
use std::str::FromStr;

use models::worker::{Capabilities, Engine};

use crate::server::Tier;

/// A version, `YYYY.M.BUILD`, ordered by its three numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u32, pub u32, pub u32);

/// Webhooks of the free edition are signed. It came "somewhere in 2025"; this is the first
/// version in which it was seen, so that nothing unsigned is ever waited for in vain.
const WEBHOOK_HMAC: Version = Version(2026, 2, 1);
/// The caller may choose message ids.
const OWN_MESSAGE_IDS: Version = Version(2026, 4, 3);
/// Everything of Plus moved into the free edition.
const UNITED: Version = Version(2026, 6, 1);

/// A text that is no version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a version of WAHA (YYYY.M.BUILD)")]
pub struct NotAVersion;

impl FromStr for Version {
    type Err = NotAVersion;

    /// Takes `2026.6.1`, and what may follow the third number after a dash or a plus sign.
    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let plain = text.split(['-', '+']).next().unwrap_or_default();
        let numbers: Result<Vec<u32>, _> = plain.trim().split('.').map(str::parse).collect();
        match numbers.as_deref() {
            Ok(&[year, month, build]) => Ok(Self(year, month, build)),
            _ => Err(NotAVersion),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// What a server can do (contract, section 1).
pub fn capabilities(version: Version, engine: Engine, tier: Tier) -> Capabilities {
    let full = tier == Tier::Plus || version >= UNITED;
    Capabilities {
        multi_session: full,
        media: full,
        own_message_ids: version >= OWN_MESSAGE_IDS
            && matches!(engine, Engine::Noweb | Engine::Gows),
        webhook_hmac: tier == Tier::Plus || version >= WEBHOOK_HMAC,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        let version = |text: &str| text.parse::<Version>();
        assert!(version("2024.10.8").unwrap() > version("2024.9.12").unwrap());
        assert_eq!(version("2026.6.1-beta"), Ok(Version(2026, 6, 1)));
        for wrong in [
            "",
            "2026",
            "2026.6",
            "2026.6.1.2",
            "latest",
            "2026.6.x",
            "-1.2.3",
        ] {
            assert_eq!(version(wrong), Err(NotAVersion), "{wrong}");
        }
        assert_eq!(Version(2026, 6, 1).to_string(), "2026.6.1");
    }

    #[test]
    fn capabilities_follow_the_table() {
        // version, engine, tier: several sessions, media, own ids, signed webhooks
        for (version, engine, tier, able) in [
            (
                "2024.10.8",
                Engine::Noweb,
                Tier::Core,
                [false, false, false, false],
            ),
            (
                "2024.10.8",
                Engine::Noweb,
                Tier::Plus,
                [true, true, false, true],
            ),
            (
                "2026.2.1",
                Engine::Noweb,
                Tier::Core,
                [false, false, false, true],
            ),
            (
                "2026.4.3",
                Engine::Gows,
                Tier::Core,
                [false, false, true, true],
            ),
            (
                "2026.4.3",
                Engine::Webjs,
                Tier::Core,
                [false, false, false, true],
            ),
            (
                "2026.6.1",
                Engine::Webjs,
                Tier::Core,
                [true, true, false, true],
            ),
            (
                "2026.10.1",
                Engine::Noweb,
                Tier::Core,
                [true, true, true, true],
            ),
        ] {
            let seen = capabilities(version.parse().unwrap(), engine, tier);
            let seen = [
                seen.multi_session,
                seen.media,
                seen.own_message_ids,
                seen.webhook_hmac,
            ];
            assert_eq!(seen, able, "{version} {engine} {tier:?}");
        }
    }
}
