//! The sender's settings.

use std::time::Duration;

use chassis::config::{Fault, Faults, SettingValue};
use policy::outcome::Rests;
use policy::settle::OnUnknown;
use secrecy::SecretString;

/// [`OnUnknown`] as a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WhenUnknown(pub OnUnknown);

impl SettingValue for WhenUnknown {
    const KIND: &'static str = "hold or resend";

    fn parse(text: &str) -> Result<Self, String> {
        let known = OnUnknown::from_name(text);
        known
            .map(Self)
            .ok_or_else(|| format!("{text:?} is neither hold nor resend"))
    }
}

chassis::settings! {
    /// What a sender replica must know.
    pub struct SenderSettings {
        /// The ledger: `postgres://user:password@host:port/database`, and `?statements=unnamed`
        /// behind it where a pooler in transaction mode stands between.
        "DATABASE_URL" => database_url: SecretString;
        /// The broker: `amqp://user:password@host:port/vhost`.
        "AMQP_URL" => amqp_url: SecretString;
        /// Messages that a sender may say in a row while others wait on its worker. Long enough
        /// to make the switch worth its delay, short enough that nobody waits for minutes.
        "SENDER_TURN_MESSAGES" => turn_messages: u32 = 30, 1..=10_000;
        /// Seconds that chance adds to each message delay, at most. Evenly spaced messages look
        /// like a machine; jitter only ever adds, so the delay stays a least gap.
        "MESSAGE_DELAY_JITTER" => jitter_max: Duration = 15, 0.0..=3_600.0;
        /// Seconds between a replica's heartbeats.
        "HEARTBEAT_SECONDS" => heartbeat_every: Duration = 2, 0.1..=60.0;
        /// Seconds without a heartbeat after which a replica counts as dead and its lanes are
        /// taken over. At least four heartbeats, so that one that is lost does no harm; must be
        /// the same for all services.
        "REPLICA_DEAD_AFTER_SECONDS" => dead_after: Duration = 10, 1.0..=600.0;
        /// Seconds between two looks at the lanes: how late a cancel or a changed delay
        /// is noticed, at most.
        "LANE_WATCH_SECONDS" => watch_every: Duration = 1, 0.1..=2.0;
        /// A lane in which nobody may speak for as many seconds is parked: it keeps its owner and
        /// gives up its memory until its moment comes or something wakes it. Longer than usual
        /// gaps, because opening it again costs the database a look at its numbers.
        "LANE_PARK_SECONDS" => park_after: Duration = 60, 1.0..=86_400.0;
        /// Requests to workers under way at once. Bounds memory and sockets of a replica; each
        /// needs about 30 kB.
        "SENDS_IN_FLIGHT_MAX" => sends_in_flight_max: u32 = 2_048, 1..=65_536;
        /// Seconds to wait for the answer to a text. Longer than NOWEB itself waits for WhatsApp
        /// (120): giving up sooner means looking for what would have been told.
        "SEND_TIMEOUT_SECONDS" => send_timeout: Duration = 130, 1.0..=600.0;
        /// Seconds that a number rests at first when its session cannot send; doubled each time.
        "NUMBER_REST_SECONDS" => number_rest: Duration = 5, 0.1..=3_600.0;
        /// The longest of those rests. A session that comes back ends its rest at once, so this
        /// only bounds how often one that does not is tried.
        "NUMBER_REST_SECONDS_MAX" => number_rest_max: Duration = 60, 0.1..=86_400.0;
        /// Seconds that a number rests at first when WhatsApp keeps it from starting chats (errors
        /// 463 and 475); doubled each time. Long, because trying again soon makes it worse.
        "RESTRICTED_REST_SECONDS" => restricted_rest: Duration = 3600, 1.0..=604_800.0;
        /// The longest of those rests.
        "RESTRICTED_REST_SECONDS_MAX" => restricted_rest_max: Duration = 86400, 1.0..=604_800.0;
        /// Seconds between two attempts on a worker that refuses, at most; they begin at one.
        /// Bounds how late a worker's return is noticed.
        "LANE_REST_SECONDS_MAX" => lane_rest_max: Duration = 30, 1.0..=3_600.0;
        /// Seconds for which a worker that does not answer is asked what became of a message. One
        /// that is away for longer may never come back, and then the message is UNKNOWN.
        "SETTLE_SECONDS_MAX" => settle_max: Duration = 600, 0.0..=86_400.0;
        /// Seconds after which a worker that answered a send with an error is done with it: what it
        /// does not know of then was not said.
        "SETTLE_QUIET_SECONDS" => settle_quiet: Duration = 10, 0.0..=600.0;
        /// The same for a worker that did not answer at all, and half as much again for a file.
        /// WAHA waits up to 15 seconds for the session and NOWEB 120 for WhatsApp: less, and a
        /// message may leave again while its worker is still saying it.
        "SETTLE_SILENT_SECONDS" => settle_silent: Duration = 150, 0.0..=3_600.0;
        /// What to do with a message that may have been heard and of which nobody can tell: `hold`
        /// it as UNKNOWN for a person to settle, or `resend` it at the risk that somebody hears it
        /// twice.
        "ON_UNKNOWN" => on_unknown: WhenUnknown = "hold";
        /// Accepted messages without any ack, at least, for a number whose acks stopped coming.
        /// Enough that people whose phones are off do not make it look silent.
        "SILENCE_MESSAGES" => silence_messages: u32 = 20, 1..=100_000;
        /// Seconds since the first of those, at least.
        "SILENCE_SECONDS" => silence_after: Duration = 600, 1.0..=604_800.0;
        /// Seconds that a silent number rests before one message goes as a probe; doubled each
        /// time. An ack ends the rest at once.
        "SILENCE_REST_SECONDS" => silence_rest: Duration = 60, 1.0..=86_400.0;
        /// The longest of those rests.
        "SILENCE_REST_SECONDS_MAX" => silence_rest_max: Duration = 3600, 1.0..=604_800.0;
        /// Jobs taken from the broker before they are acknowledged.
        "JOB_PREFETCH" => job_prefetch: u16 = 32, 1..=300;
        /// Connections that write claims and conclusions at once, each for lanes of its own. Each
        /// keeps at most one core of PostgreSQL busy, and none while the disk takes its commit in;
        /// more make groups smaller and only help while PostgreSQL has cores to spare.
        "LEDGER_WRITERS" => ledger_writers: u32 = 2, 1..=32;
        /// Connections to the ledger, beside one that is the heartbeat's own. `LEDGER_WRITERS` of
        /// them write; the others read rosters and lanes.
        "SENDER_DATABASE_CONNECTIONS" => database_connections: usize = 6, 2..=100;
    }
}

impl SenderSettings {
    /// How long refusals make numbers and lanes rest.
    pub fn rests(&self) -> Rests {
        Rests {
            number_min: self.number_rest,
            number_max: self.number_rest_max,
            restricted_min: self.restricted_rest,
            restricted_max: self.restricted_rest_max,
            lane_max: self.lane_rest_max,
            ..Rests::default()
        }
    }

    /// How long before its moment a parked lane is opened again: time for two looks, and to read
    /// it, so that it is not late.
    pub fn open_ahead(&self) -> Duration {
        (2 * self.watch_every + Duration::from_secs(1)).min(self.park_after / 2)
    }

    /// How long the answer to a file is waited for: the worker downloads it first.
    pub fn media_timeout(&self) -> Duration {
        self.send_timeout * 3 / 2
    }

    /// The longest that a worker which does not answer may be at a request.
    pub fn silent_horizon(&self, media: bool) -> Duration {
        if media {
            self.media_timeout().max(self.settle_silent * 3 / 2)
        } else {
            self.send_timeout.max(self.settle_silent)
        }
    }

    /// Checks what no single setting can.
    ///
    /// # Errors
    /// A replica would be taken for dead because one heartbeat was late, or would have no
    /// connection to read by.
    pub fn check(&self) -> Result<(), Faults> {
        let mut faults = Vec::new();
        if self.dead_after < 4 * self.heartbeat_every {
            let cause =
                "must be at least four times HEARTBEAT_SECONDS, so that a lost one does no harm";
            faults.push(Fault::new("REPLICA_DEAD_AFTER_SECONDS", cause));
        }
        if self.ledger_writers as usize >= self.database_connections {
            let cause = "must be less than SENDER_DATABASE_CONNECTIONS: lanes are read by \
                the others";
            faults.push(Fault::new("LEDGER_WRITERS", cause));
        }
        if faults.is_empty() {
            Ok(())
        } else {
            Err(Faults(faults))
        }
    }
}

#[cfg(test)]
mod tests {
    use chassis::config::{Settings, Source};

    use super::*;

    fn faults(pairs: &[(&str, &str)]) -> String {
        let urls = [("DATABASE_URL", "postgres://a"), ("AMQP_URL", "amqp://a")];
        let given = urls.iter().chain(pairs).copied();
        let settings = SenderSettings::from_source(&Source::from_pairs(given)).unwrap();
        settings
            .check()
            .err()
            .map(|f| f.to_string())
            .unwrap_or_default()
    }

    #[test]
    fn what_does_not_go_together_is_refused_by_name() {
        assert_eq!(faults(&[]), "");
        let told = faults(&[("LEDGER_WRITERS", "6"), ("HEARTBEAT_SECONDS", "4")]);
        assert!(told.contains("LEDGER_WRITERS") && told.contains("REPLICA_DEAD_AFTER_SECONDS"));
    }
}
