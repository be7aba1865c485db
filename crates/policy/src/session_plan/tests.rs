//! Every situation has its step, and every walk of steps its end.

use super::*;
use proptest::prelude::*;

use SessionStatus::{Failed, PasskeyRequired, Queued, ScanQrCode, Starting, Stopped, Working};

const RUNNING: Situation = Situation {
    wanted: SessionWanted::Running,
    seen: Seen::Present(Working),
    ours: true,
    logout: false,
    live: true,
    attempts: 0,
    restarts: 0,
};

fn check(wanted: SessionWanted, seen: Seen, change: impl Fn(&mut Situation), step: Step) {
    let mut now = Situation {
        wanted,
        seen,
        ..RUNNING
    };
    change(&mut now);
    assert_eq!(next_step(&now), step, "{now:?}");
}

#[test]
fn what_is_wanted_running() {
    let running = |seen, step| check(SessionWanted::Running, seen, |_| {}, step);
    running(Seen::Absent, Step::Create);
    running(Seen::Present(Stopped), Step::Start);
    running(Seen::Present(Starting), Step::Wait(Wait::Connecting));
    running(Seen::Present(Queued), Step::Wait(Wait::Connecting));
    running(Seen::Present(ScanQrCode), Step::Wait(Wait::Linking));
    running(Seen::Present(PasskeyRequired), Step::Wait(Wait::Linking));
    running(Seen::Present(Working), Step::Done);
    running(Seen::Present(Failed), Step::Restart);
    running(Seen::Puzzling, Step::Wait(Wait::Puzzled));
}

#[test]
fn what_is_wanted_stopped_or_gone() {
    for (seen, stopped, gone) in [
        (Seen::Absent, Step::Done, Step::Forget),
        (Seen::Present(Stopped), Step::Done, Step::Delete),
        (Seen::Present(Starting), Step::Stop, Step::Delete),
        (Seen::Present(ScanQrCode), Step::Stop, Step::Delete),
        (Seen::Present(PasskeyRequired), Step::Stop, Step::Delete),
        (Seen::Present(Working), Step::Stop, Step::Logout),
        (Seen::Present(Failed), Step::Stop, Step::Delete),
        (Seen::Puzzling, Step::Stop, Step::Delete),
    ] {
        check(SessionWanted::Stopped, seen, |_| {}, stopped);
        check(SessionWanted::Gone, seen, |_| {}, gone);
    }
}

#[test]
fn exceptions() {
    let running = SessionWanted::Running;
    let seen = Seen::Present;
    check(
        running,
        seen(Working),
        |now| now.ours = false,
        Step::Configure,
    );
    check(
        running,
        seen(Stopped),
        |now| now.ours = false,
        Step::Configure,
    );
    check(
        running,
        seen(Stopped),
        |now| now.live = false,
        Step::TakeLiveSlot,
    );
    check(
        running,
        Seen::Absent,
        |now| now.live = false,
        Step::TakeLiveSlot,
    );
    check(
        running,
        seen(Working),
        |now| now.logout = true,
        Step::Logout,
    );
    check(running, Seen::Absent, |now| now.logout = true, Step::Create);
    let failed_again = Step::Wait(Wait::Relinking);
    check(
        running,
        seen(Failed),
        |now| now.restarts = RESTARTS_MAX,
        failed_again,
    );
}

#[test]
fn exceptions_on_the_way_out() {
    let seen = Seen::Present;
    let stopped = SessionWanted::Stopped;
    check(
        stopped,
        seen(Stopped),
        |now| now.logout = true,
        Step::Logout,
    );
    check(
        stopped,
        seen(Working),
        |now| now.logout = true,
        Step::Logout,
    );
    check(stopped, Seen::Absent, |now| now.logout = true, Step::Done);
    let gone = SessionWanted::Gone;
    check(
        gone,
        seen(Working),
        |now| now.attempts = LOGOUTS_MAX,
        Step::Delete,
    );
    check(gone, seen(Working), |now| now.live = false, Step::Logout);
}

#[test]
fn waits_grow_with_their_age_and_are_bounded() {
    let look = |wait: Wait, seconds| wait.look_again_in(Duration::from_secs(seconds));
    assert_eq!(look(Wait::Connecting, 0), Some(Duration::from_millis(500)));
    assert_eq!(look(Wait::Connecting, 8), Some(Duration::from_secs(4)));
    assert_eq!(look(Wait::Connecting, 9_999), Some(Duration::from_secs(30)));
    assert_eq!(look(Wait::Linking, 9_999), Some(Duration::from_secs(20)));
    assert_eq!(look(Wait::Relinking, 0), None);
}

/// A WAHA of a few lines: one session, calls that take effect, and time that passes.
#[derive(Debug, Clone)]
struct Tiny {
    now: Situation,
    linked: bool,
    /// WhatsApp refuses it: it fails whenever it connects.
    refused: bool,
    calls: Vec<Step>,
}

impl Tiny {
    fn present(&mut self, status: SessionStatus) {
        self.now.seen = Seen::Present(status);
    }

    /// What a worker does on its own between two looks.
    fn time_passes(&mut self) {
        if self.now.seen == Seen::Present(Starting) {
            let next = match (self.refused, self.linked) {
                (true, _) => Failed,
                (false, true) => Working,
                (false, false) => ScanQrCode,
            };
            self.present(next);
        }
        if self.now.seen == Seen::Present(Working) {
            self.now.restarts = 0;
        }
    }

    fn running(&self) -> bool {
        !matches!(self.now.seen, Seen::Absent | Seen::Present(Stopped))
    }

    fn call(&mut self, step: Step) {
        let running = self.running();
        match step {
            Step::TakeLiveSlot => self.now.live = true,
            Step::Create => {
                assert_eq!(self.now.seen, Seen::Absent, "made twice");
                self.present(Starting);
                (self.now.ours, self.now.logout, self.linked) = (true, false, false);
            }
            Step::Configure => {
                self.now.ours = true;
                if running {
                    self.present(Starting);
                }
            }
            Step::Start => self.present(Starting),
            Step::Restart => {
                self.now.restarts += 1;
                self.present(Starting);
            }
            Step::Stop => self.present(Stopped),
            Step::Logout => {
                (self.linked, self.now.logout) = (false, false);
                self.refused = false;
                if running {
                    self.present(Starting);
                }
            }
            Step::Delete => {
                self.now.seen = Seen::Absent;
                self.linked = false;
            }
            Step::Forget | Step::Wait(_) | Step::Done => return,
        }
        self.calls.push(step);
    }

    /// Steps until nothing is left to do but to wait for a person; how it ended.
    fn settle(&mut self) -> Step {
        for _ in 0..12 {
            let step = next_step(&self.now);
            match step {
                Step::Done | Step::Forget => return step,
                Step::Wait(Wait::Linking | Wait::Relinking | Wait::Puzzled) => return step,
                step => self.call(step),
            }
            self.time_passes();
        }
        panic!("goes round in circles: {self:?}");
    }
}

fn any_situation() -> impl Strategy<Value = Situation> {
    let wanted = prop::sample::select(SessionWanted::ALL);
    let seen = prop_oneof![
        1 => Just(Seen::Absent),
        1 => Just(Seen::Puzzling),
        8 => prop::sample::select(SessionStatus::ALL).prop_map(Seen::Present),
    ];
    (wanted, seen, any::<[bool; 3]>(), 0..9_u32, 0..3_u32).prop_map(
        |(wanted, seen, [ours, logout, live], attempts, restarts)| Situation {
            wanted,
            seen,
            ours,
            logout,
            live,
            attempts,
            restarts,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_situation_comes_to_its_end(
        mut now in any_situation(), linked: bool, refused: bool,
    ) {
        // QUEUED is no status of a worker's.
        if now.seen == Seen::Present(Queued) {
            now.seen = Seen::Present(Starting);
        }
        let was_logout = now.logout;
        let mut tiny = Tiny { now, linked, refused, calls: Vec::new() };
        let end = tiny.settle();
        match now.wanted {
            SessionWanted::Gone => prop_assert_eq!(end, Step::Forget),
            SessionWanted::Stopped => {
                prop_assert_eq!(end, Step::Done);
                prop_assert!(!tiny.running());
                prop_assert!(tiny.now.seen == Seen::Absent || !tiny.now.logout);
            }
            SessionWanted::Running => {
                prop_assert!(tiny.now.live);
                prop_assert!(tiny.now.ours && (!tiny.now.logout));
                let working = tiny.now.seen == Seen::Present(Working);
                prop_assert_eq!(working, end == Step::Done);
            }
        }
        let restarts = tiny.calls.iter().filter(|step| **step == Step::Restart).count();
        prop_assert!(restarts <= RESTARTS_MAX as usize);
        if now.wanted == SessionWanted::Running && !was_logout {
            prop_assert!(!tiny.calls.contains(&Step::Logout), "lost its login: {:?}", tiny.calls);
        }
        if now.wanted != SessionWanted::Gone {
            prop_assert!(!tiny.calls.contains(&Step::Delete));
        }
    }

    #[test]
    fn what_works_and_is_wanted_is_left_in_peace(now in any_situation()) {
        let now = Situation {
            wanted: SessionWanted::Running, seen: Seen::Present(Working), logout: false, ..now
        };
        let step = next_step(&now);
        prop_assert!(
            matches!(step, Step::Done | Step::TakeLiveSlot | Step::Configure),
            "{:?}", step
        );
        prop_assert_eq!(step == Step::Done, now.ours && now.live);
    }
}
