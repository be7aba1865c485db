//! The status machine of a session (contract section 5.1), pure.

/// A session's status as WAHA reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Status {
    Stopped,
    Starting,
    ScanQrCode,
    PasskeyRequired,
    Working,
    Failed,
    /// A status no client knows, for tests of tolerance.
    Odd,
}

impl Status {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Stopped => "STOPPED",
            Self::Starting => "STARTING",
            Self::ScanQrCode => "SCAN_QR_CODE",
            Self::PasskeyRequired => "PASSKEY_REQUIRED",
            Self::Working => "WORKING",
            Self::Failed => "FAILED",
            Self::Odd => "HIBERNATING",
        }
    }
}

/// What the session holds of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Login {
    None,
    Valid,
    /// The phone logged us out; the stale credentials are still stored.
    Revoked,
}

/// What can happen to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Start,
    Stop,
    /// The engine reached WhatsApp and showed its credentials.
    Connected,
    /// A person scanned the QR or typed the code.
    Scanned,
    QrExpired,
    /// The socket closed while a QR was shown.
    Closed,
    /// The engine noticed that its link is gone.
    LinkLost,
    /// The phone removed this device.
    LoggedOut,
    PasskeyAsked,
    OddlyHeld,
}

/// QR codes shown before the session gives up.
pub(crate) const QR_SHOWN_MAX: u8 = 6;

/// Milliseconds that the n-th QR lives (n from 1).
pub(crate) const fn qr_life_millis(shown: u8) -> u64 {
    if shown <= 1 { 60_000 } else { 20_000 }
}

/// Where `event` leads from `from`; None when it means nothing there.
pub(crate) fn step(from: Status, event: Event, login: Login, qr_shown: u8) -> Option<Status> {
    use Event as E;
    use Status as S;
    match (from, event) {
        (S::Stopped | S::Failed, E::Start) => Some(S::Starting),
        (S::Stopped, _) | (_, E::Start) => None,
        (_, E::Stop) => Some(S::Stopped),
        (S::Starting, E::Connected) => Some(match login {
            Login::None => S::ScanQrCode,
            Login::Valid => S::Working,
            Login::Revoked => S::Failed,
        }),
        (S::ScanQrCode | S::PasskeyRequired, E::Scanned) => Some(S::Starting),
        (S::ScanQrCode, E::QrExpired) if qr_shown < QR_SHOWN_MAX => Some(S::ScanQrCode),
        (S::ScanQrCode, E::QrExpired | E::Closed) => Some(S::Failed),
        (S::ScanQrCode, E::PasskeyAsked) => Some(S::PasskeyRequired),
        (S::Working, E::LinkLost) => Some(S::Starting),
        (S::Working | S::Starting | S::Odd, E::LoggedOut) => Some(S::Failed),
        (_, E::OddlyHeld) => Some(S::Odd),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Event as E, Login as L, Status as S, *};

    #[test]
    fn every_move_is_the_contracts() {
        let table = [
            (S::Stopped, E::Start, L::None, 0, Some(S::Starting)),
            (S::Failed, E::Start, L::Valid, 0, Some(S::Starting)),
            (S::Working, E::Start, L::Valid, 0, None),
            (S::Starting, E::Connected, L::None, 0, Some(S::ScanQrCode)),
            (S::Starting, E::Connected, L::Valid, 0, Some(S::Working)),
            (S::Starting, E::Connected, L::Revoked, 0, Some(S::Failed)),
            (S::ScanQrCode, E::Scanned, L::Valid, 1, Some(S::Starting)),
            (S::ScanQrCode, E::QrExpired, L::None, 1, Some(S::ScanQrCode)),
            (S::ScanQrCode, E::QrExpired, L::None, 5, Some(S::ScanQrCode)),
            (S::ScanQrCode, E::QrExpired, L::None, 6, Some(S::Failed)),
            (S::ScanQrCode, E::Closed, L::None, 1, Some(S::Failed)),
            (S::ScanQrCode, E::LoggedOut, L::None, 1, None),
            (
                S::ScanQrCode,
                E::PasskeyAsked,
                L::None,
                1,
                Some(S::PasskeyRequired),
            ),
            (S::Working, E::LinkLost, L::Valid, 0, Some(S::Starting)),
            (S::Working, E::LoggedOut, L::Revoked, 0, Some(S::Failed)),
            (S::Working, E::Scanned, L::Valid, 0, None),
            (S::Failed, E::Stop, L::Revoked, 0, Some(S::Stopped)),
            (S::Stopped, E::Stop, L::Valid, 0, None),
            (S::Stopped, E::Connected, L::Valid, 0, None),
        ];
        for (from, event, login, shown, to) in table {
            assert_eq!(
                step(from, event, login, shown),
                to,
                "{from:?} {event:?} {login:?}"
            );
        }
    }

    #[test]
    fn unscanned_codes_last_160_seconds_in_all() {
        let lives: u64 = (1..=QR_SHOWN_MAX).map(qr_life_millis).sum();
        assert_eq!(lives, 160_000);
    }
}
