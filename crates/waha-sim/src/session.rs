//! A session of a worker: its record, its moves, and the timers that moves start.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::events;
use crate::hooks::Hook;
use crate::rng::Rng;
use crate::sim::{Cx, WorkerState};
use crate::status::{self, Event, Login, Status};
use crate::store::Stored;

/// Connecting takes this long, before `time_scale`; recorded as 0.8 s.
const LINK_STEP_MILLIS: u64 = 800;
/// A lost link goes unnoticed for this long: the session says WORKING and cannot send.
const LINK_LIE_MILLIS: u64 = 2_000;
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

pub(crate) struct Session {
    pub(crate) name: Arc<str>,
    pub(crate) status: Status,
    /// As given; null until something was.
    pub(crate) config: Value,
    pub(crate) hooks: Vec<Arc<Hook>>,
    pub(crate) login: Login,
    /// `digits@c.us` of the account, kept when the login is lost.
    pub(crate) me: Option<Arc<str>>,
    pub(crate) history: VecDeque<(Status, i64)>,
    /// Number of the present run; acks of an earlier run never come.
    pub(crate) run: u64,
    /// Number of the present status; timers of an earlier one do nothing.
    pub(crate) epoch: u64,
    pub(crate) qr: String,
    pub(crate) qr_shown: u8,
    /// The number that asked for a pairing code.
    pub(crate) code_for: Option<String>,
    /// The link is gone and the engine has not noticed.
    pub(crate) link_down: bool,
    /// How long the next connecting takes, when not as usual.
    pub(crate) outage: Option<Duration>,
    /// Started last on this worker, so started again at boot.
    pub(crate) assigned: bool,
    pub(crate) presence: Option<&'static str>,
    pub(crate) activity: Option<i64>,
    pub(crate) timelock: Value,
    pub(crate) capping: Value,
    /// People who wrote first: reachout limits do not concern them.
    pub(crate) friends: HashSet<String>,
    pub(crate) store: HashMap<String, Stored>,
    pub(crate) store_order: VecDeque<String>,
}

impl Session {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            status: Status::Stopped,
            config: Value::Null,
            hooks: Vec::new(),
            login: Login::None,
            me: None,
            history: VecDeque::new(),
            run: 0,
            epoch: 0,
            qr: String::new(),
            qr_shown: 0,
            code_for: None,
            link_down: false,
            outage: None,
            assigned: false,
            presence: None,
            activity: None,
            timelock: Value::Null,
            capping: Value::Null,
            friends: HashSet::new(),
            store: HashMap::new(),
            store_order: VecDeque::new(),
        }
    }

    pub(crate) fn running(&self) -> bool {
        self.status != Status::Stopped
    }

    /// Forgets the account.
    pub(crate) fn wipe(&mut self) {
        self.login = Login::None;
        self.me = None;
        self.timelock = Value::Null;
        self.capping = Value::Null;
        self.friends.clear();
        self.store.clear();
        self.store_order.clear();
    }

    /// The account as WAHA shows it, or null.
    pub(crate) fn me_view(&self, cx: &Cx) -> Value {
        let profile = cx.profile();
        let Some(id) = &self.me else {
            return Value::Null;
        };
        if !self.running() && !profile.many_sessions() {
            return Value::Null;
        }
        let mut me = json!({"id": &**id, "pushName": "Simulated Sender"});
        if !profile.ancient() {
            me["lid"] = json!(lid(id));
        }
        if profile.shows_timelock() {
            me["reachoutTimelock"] = self.timelock.clone();
        }
        if profile.limit_endpoints() {
            me["messageCapping"] = self.capping.clone();
        }
        me
    }

    /// The session object of contract section 5.2.
    pub(crate) fn view(&self, cx: &Cx) -> Value {
        let profile = cx.profile();
        let mut view = json!({
            "name": &*self.name,
            "status": self.status.name(),
            "config": self.config,
            "me": self.me_view(cx),
        });
        if !profile.ancient() {
            view["presence"] = json!(self.presence);
            view["timestamps"] = json!({"activity": self.activity});
        }
        if profile.many_sessions() {
            view["assignedWorker"] = json!(self.assigned.then(|| cx.worker().id()));
        }
        view
    }

    /// The part `engine` that only the single-session call adds.
    pub(crate) fn engine_view(&self, cx: &Cx) -> Value {
        let profile = cx.profile();
        if !self.running() {
            return json!({});
        }
        match profile.engine {
            crate::profile::Engine::Gows => json!({
                "engine": "GOWS",
                "grpc": {"client": "READY", "stream": "READY"},
                "gows": {"found": true, "connected": self.status == Status::Working},
            }),
            engine => json!({"engine": engine.name()}),
        }
    }
}

/// Fourteen digits made from a name or number, as WhatsApp's hidden ids look.
pub(crate) fn lid(id: &str) -> String {
    let mix = |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte));
    let word = Rng::new(0x11D, id.bytes().fold(0, mix)).next();
    format!("{}@lid", 10_000_000_000_000 + word % 89_999_999_999_999)
}

/// Lets `event` happen to the session. False when it means nothing in the present status.
pub(crate) fn happen(cx: &Cx, state: &mut WorkerState, name: &str, event: Event) -> bool {
    let Some(session) = state.sessions.get(name) else {
        return false;
    };
    let next = status::step(session.status, event, session.login, session.qr_shown);
    let Some(next) = next else { return false };
    enter(cx, state, name, next);
    true
}

fn enter(cx: &Cx, state: &mut WorkerState, name: &str, next: Status) {
    let tick = state.tick();
    let qr = match next {
        Status::ScanQrCode => Some(qr_text(&mut state.rng)),
        _ => None,
    };
    let Some(session) = state.sessions.get_mut(name) else {
        return;
    };
    let was_running = session.running();
    session.epoch = tick;
    session.status = next;
    session.link_down = false;
    if was_running != session.running() {
        session.run = tick;
        session.qr_shown = 0;
        session.history.clear();
    }
    let mut timer = None;
    match next {
        Status::Starting => {
            let pause = session
                .outage
                .take()
                .unwrap_or_else(|| cx.wait(LINK_STEP_MILLIS));
            timer = Some((pause, Event::Connected));
        }
        Status::ScanQrCode => {
            session.qr = qr.unwrap_or_default();
            session.qr_shown += 1;
            let life = status::qr_life_millis(session.qr_shown);
            timer = Some((cx.wait(life), Event::QrExpired));
        }
        Status::Working => {
            session.qr_shown = 0;
            session.code_for = None;
        }
        Status::Stopped => session.presence = None,
        Status::PasskeyRequired | Status::Failed | Status::Odd => {}
    }
    session.history.push_back((next, cx.sim.clock.millis()));
    if session.history.len() > 3 {
        session.history.pop_front();
    }
    if let Some((pause, event)) = timer {
        arm(cx, name, tick, (pause, event));
    }
    events::session_status(cx, state, name, Value::Null);
}

/// Lets `event` happen after a pause, if the session is still in the status numbered `epoch`.
fn arm(cx: &Cx, name: &str, epoch: u64, (pause, event): (Duration, Event)) {
    let name = name.to_owned();
    cx.later(pause, move |cx| {
        let mut state = cx.lock();
        if state
            .sessions
            .get(&name)
            .is_some_and(|session| session.epoch == epoch)
        {
            happen(cx, &mut state, &name, event);
        }
    });
}

/// Cuts the session's link for `outage`. NOWEB and WEBJS notice after two seconds of claiming
/// WORKING; GOWS at once. False when the session is not WORKING.
pub(crate) fn drop_link(cx: &Cx, state: &mut WorkerState, name: &str, outage: Duration) -> bool {
    let Some(session) = state.sessions.get_mut(name) else {
        return false;
    };
    if session.status != Status::Working {
        return false;
    }
    session.outage = Some(outage);
    if cx.profile().engine == crate::profile::Engine::Gows {
        return happen(cx, state, name, Event::LinkLost);
    }
    session.link_down = true;
    let epoch = session.epoch;
    arm(cx, name, epoch, (cx.wait(LINK_LIE_MILLIS), Event::LinkLost));
    true
}

/// A QR's content as WhatsApp forms it: a reference and three keys.
fn qr_text(rng: &mut Rng) -> String {
    let mut part = |length| rng.text(BASE64, length);
    format!("2@{},{}=,{}=,{}=", part(60), part(43), part(43), part(43))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hidden_id_has_fourteen_digits_whatever_it_is_made_from() {
        for id in ["", "1", "123456789012345@c.us", &"z".repeat(54)] {
            let lid = lid(id);
            let digits = lid.strip_suffix("@lid").unwrap();
            assert!(digits.len() == 14 && digits.parse::<u64>().is_ok(), "{lid}");
        }
    }
}
