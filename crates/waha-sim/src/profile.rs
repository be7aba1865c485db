//! What a simulated worker claims to be: version, engine, tier, and what follows from them.

use std::fmt;
use std::str::FromStr;

use crate::StartError;

/// A WAHA version `YYYY.M.BUILD`, ordered as three integers (contract section 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    year: u16,
    month: u16,
    build: u16,
}

impl Version {
    /// The version of the given year, month and build number.
    pub const fn new(year: u16, month: u16, build: u16) -> Self {
        Self { year, month, build }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.year, self.month, self.build)
    }
}

impl FromStr for Version {
    type Err = StartError;

    fn from_str(text: &str) -> Result<Self, StartError> {
        let refuse = || StartError::Version(text.to_owned());
        let parts: Vec<u16> = text
            .trim()
            .split('.')
            .map(|part| part.parse().map_err(|_| refuse()))
            .collect::<Result<_, _>>()?;
        match parts[..] {
            [year, month, build] => Ok(Self { year, month, build }),
            _ => Err(refuse()),
        }
    }
}

/// The WhatsApp engine that a worker runs; it shapes answers and acks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Engine {
    /// Baileys, over a plain WebSocket.
    Noweb,
    /// whatsmeow behind gRPC.
    Gows,
    /// A browser.
    Webjs,
}

impl Engine {
    /// The name as WAHA spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Noweb => "NOWEB",
            Self::Gows => "GOWS",
            Self::Webjs => "WEBJS",
        }
    }
}

impl FromStr for Engine {
    type Err = StartError;

    fn from_str(text: &str) -> Result<Self, StartError> {
        match text.trim().to_ascii_uppercase().as_str() {
            "NOWEB" => Ok(Self::Noweb),
            "GOWS" => Ok(Self::Gows),
            "WEBJS" => Ok(Self::Webjs),
            _ => Err(StartError::Engine(text.to_owned())),
        }
    }
}

/// The edition that a worker reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tier {
    /// The free image.
    Core,
    /// The paid image of the days before 2026.6.1.
    Plus,
}

impl Tier {
    /// The name as WAHA spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Core => "CORE",
            Self::Plus => "PLUS",
        }
    }
}

/// Version, engine and tier of one worker. Every difference between personalities is a method here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Profile {
    pub(crate) version: Version,
    pub(crate) engine: Engine,
    pub(crate) tier: Tier,
}

impl Profile {
    fn since(&self, year: u16, month: u16, build: u16) -> bool {
        self.version >= Version::new(year, month, build)
    }

    /// The 2024 Core: no key check, one webhook attempt, other error texts and shorter waits.
    pub(crate) fn ancient(&self) -> bool {
        !self.since(2025, 1, 0)
    }

    pub(crate) fn key_enforced(&self) -> bool {
        self.since(2025, 6, 5)
    }

    pub(crate) fn key_in_query(&self) -> bool {
        self.since(2026, 4, 3)
    }

    /// Many sessions, media, idempotent start. The opposite is the "old Core" personality.
    pub(crate) fn many_sessions(&self) -> bool {
        self.tier == Tier::Plus || self.since(2026, 6, 1)
    }

    pub(crate) fn own_ids(&self) -> bool {
        self.since(2026, 4, 3) && self.engine != Engine::Webjs
    }

    /// HMAC, retries and custom headers on webhooks.
    pub(crate) fn signed_hooks(&self) -> bool {
        self.tier == Tier::Plus || self.since(2025, 6, 5)
    }

    pub(crate) fn envelope_ids(&self) -> bool {
        self.since(2025, 3, 1)
    }

    pub(crate) fn status_history(&self) -> bool {
        self.since(2025, 9, 4)
    }

    pub(crate) fn group_acks_apart(&self) -> bool {
        self.since(2025, 12, 2)
    }

    pub(crate) fn status_data(&self) -> bool {
        self.since(2026, 7, 1)
    }

    pub(crate) fn shows_timelock(&self) -> bool {
        self.since(2026, 7, 2)
    }

    /// `me.messageCapping`, and the timelock and capping endpoints.
    pub(crate) fn limit_endpoints(&self) -> bool {
        self.since(2026, 8, 0)
    }

    /// WEBJS 2025.6.5 answered 201 with an empty body.
    pub(crate) fn empty_send_answer(&self) -> bool {
        self.engine == Engine::Webjs && self.version == Version::new(2025, 6, 5)
    }

    /// How long stop and restart take before `time_scale`, in milliseconds.
    pub(crate) fn stop_millis(&self) -> u64 {
        match (self.many_sessions(), self.engine) {
            (false, _) => 3_000,
            (true, Engine::Gows) => 0,
            (true, Engine::Noweb | Engine::Webjs) => 1_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_integers() {
        let table = [
            ("2026.10.1", "2026.9.9", true),
            ("2026.6.1", "2026.6.1", true),
            ("2026.2.10", "2026.6.1", false),
            ("2024.10.8", "2025.1.0", false),
        ];
        for (left, right, at_least) in table {
            let left: Version = left.parse().unwrap();
            let right: Version = right.parse().unwrap();
            assert_eq!(left >= right, at_least, "{left} >= {right}");
        }
        for bad in ["", "2026", "2026.8", "2026.8.x", "2026.8.2.1", "v2026.8.2"] {
            assert!(bad.parse::<Version>().is_err(), "{bad}");
        }
    }

    #[test]
    fn personalities_follow_from_version_and_tier() {
        // version, tier, ancient, key, many, own ids, limits
        let table = [
            ("2024.10.8", Tier::Core, true, false, false, false, false),
            ("2026.2.1", Tier::Core, false, true, false, false, false),
            ("2026.2.1", Tier::Plus, false, true, true, false, false),
            ("2026.4.3", Tier::Core, false, true, false, true, false),
            ("2026.6.1", Tier::Core, false, true, true, true, false),
            ("2026.8.2", Tier::Core, false, true, true, true, true),
        ];
        for (version, tier, ancient, key, many, ids, limits) in table {
            let version = version.parse().unwrap();
            let p = Profile {
                version,
                engine: Engine::Noweb,
                tier,
            };
            let got = (
                p.ancient(),
                p.key_enforced(),
                p.many_sessions(),
                p.own_ids(),
            );
            assert_eq!(got, (ancient, key, many, ids), "{version}");
            assert_eq!(p.limit_endpoints(), limits, "{version}");
        }
        let version = Version::new(2026, 8, 2);
        assert!(
            !Profile {
                version,
                engine: Engine::Webjs,
                tier: Tier::Core
            }
            .own_ids()
        );
    }
}
