//! What is measured: one round of each case is what one message, one placement or one webhook
//! costs.

#![expect(clippy::unwrap_used, reason = "nobody but a test starts it")]

use std::hint::black_box;
use std::time::Duration;

use models::outcome::{Blame, Refusal, SendOutcome};
use models::phone::PhoneNumber;
use models::template::{Template, Variables};
use models::worker::{WorkerHealth, WorkerState};
use policy::lane::{Lane, Moment, Next};
use policy::outcome::{Rests, judge};
use policy::placement::{Room, choose};

/// One thing that is done over and over.
type Case = Box<dyn FnMut()>;

/// Name, rounds, and what prepares the case.
type Entry = (&'static str, u32, fn() -> Case);

/// All of them, in the order in which they run.
pub(crate) const CASES: &[Entry] = &[
    ("lane_alone", 1_000, || waiting(1)),
    ("lane_100_waiting", 500, || waiting(100)),
    ("lane_10000_waiting", 200, || waiting(10_000)),
    ("lane_100_idle", 1_000, || among_idle(100)),
    ("lane_10000_idle", 1_000, || among_idle(10_000)),
    ("placement_100", 200, || placement(100)),
    ("judge_accepted", 2_000, || judging(accepted)),
    ("judge_refused", 2_000, || judging(refused)),
    ("answer_accepted", 500, || answer(201, ACCEPTED)),
    ("answer_refused", 500, || answer(422, NOT_WORKING)),
    ("template", 2_000, template),
    ("phone", 2_000, phone),
    ("webhook_ack", 500, || webhook(ACK)),
    ("webhook_plain_ack", 2_000, || plain_ack(ACK)),
    ("send_body", 2_000, send_body),
];

/// As recorded from WAHA 2026.2.1 with NOWEB, with other numbers and texts.
const ACK: &str = include_str!("recorded/ack.json");
const ACCEPTED: &str = include_str!("recorded/accepted.json");
const NOT_WORKING: &str = include_str!("recorded/not_working.json");

const MESSAGE_DELAY: Moment = Duration::from_secs(30);
const SWITCH_DELAY: Duration = Duration::from_secs(1);
const TURN_MESSAGES: u32 = 30;
/// How long a worker takes to answer.
const ANSWER: Duration = Duration::from_millis(300);

/// One message on a lane where each of `speakers` has something to say: sleep until somebody may
/// speak, begin, end, wait again.
fn waiting(speakers: u32) -> Case {
    let mut lane = Lane::new(TURN_MESSAGES, None);
    for speaker in 0..speakers {
        // As a running lane has them: spread over the message delay.
        let ready_at = MESSAGE_DELAY * speaker / speakers;
        lane.wait(speaker, ready_at, SWITCH_DELAY);
    }
    let mut now = Duration::ZERO;
    Box::new(move || one_message(&mut lane, &mut now))
}

/// The same with one speaker, on a lane that knows many others who have nothing to say.
fn among_idle(speakers: u32) -> Case {
    let mut lane = Lane::new(TURN_MESSAGES, None);
    for speaker in 0..speakers {
        lane.wait(speaker, Duration::ZERO, SWITCH_DELAY);
    }
    for speaker in (0..speakers).filter(|speaker| *speaker != speakers / 2) {
        lane.silence(speaker);
    }
    let mut now = Duration::ZERO;
    Box::new(move || one_message(&mut lane, &mut now))
}

fn one_message(lane: &mut Lane<u32>, now: &mut Moment) {
    loop {
        match black_box(lane.next(*now)) {
            Next::Speak(speaker) => {
                lane.begin(speaker);
                // While it speaks the lane is asked once more, as the task does.
                black_box(lane.next(*now));
                *now += ANSWER;
                lane.end(speaker, Some(*now));
                lane.wait(speaker, *now + MESSAGE_DELAY, SWITCH_DELAY);
                return;
            }
            Next::At(moment) => *now = moment,
            Next::Quiet => panic!("somebody always waits"),
        }
    }
}

fn placement(workers: i32) -> Case {
    let room = |number: i32| Room {
        id: format!("{number:032x}").parse().unwrap(),
        state: WorkerState::Active,
        health: WorkerHealth::Up,
        placed: number % 50,
        slots: 50,
        live: number % 50,
        max_live: 50,
    };
    let fleet: Vec<_> = (0..workers).map(room).collect();
    Box::new(move || {
        black_box(choose(black_box(&fleet)));
    })
}

fn judging(outcome: fn() -> SendOutcome) -> Case {
    let rests = Rests::default();
    Box::new(move || {
        black_box(judge(black_box(outcome()), &rests, 3, 0, 0.5));
    })
}

fn accepted() -> SendOutcome {
    SendOutcome::Accepted {
        message_id: Some("3EB00001AB0304050607FF".to_owned()),
    }
}

fn refused() -> SendOutcome {
    SendOutcome::Refused(Refusal {
        blame: Blame::Number,
        code: "time_locked",
        detail: "Error: 463".to_owned(),
    })
}

fn answer(status: u16, body: &'static str) -> Case {
    Box::new(move || {
        let outcome = waha::answer::of_text(black_box(status), body.as_bytes().to_vec());
        assert!(black_box(outcome).is_some(), "a status of HTTP");
    })
}

fn template() -> Case {
    let source = "Hello {{name}}, your order {{order}} from {{shop}} is on its way to {{city}}. \
        Reply STOP if you do not want to hear from us.";
    let template = Template::parse(source, false).unwrap();
    let own = variables(&[("name", "Amina"), ("order", "4711"), ("city", "Sousse")]);
    let shared = variables(&[("shop", "Zitouna"), ("name", "friend")]);
    Box::new(move || {
        let text = template.render(black_box(&own), black_box(&shared));
        assert!(black_box(text).is_ok(), "every variable is given");
    })
}

fn variables(pairs: &[(&str, &str)]) -> Variables {
    let owned = pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    owned.collect()
}

fn phone() -> Case {
    Box::new(|| {
        let number: Result<PhoneNumber, _> = black_box("+216 42 108 101").parse();
        assert!(black_box(number).is_ok(), "a number");
    })
}

fn webhook(body: &'static str) -> Case {
    Box::new(move || {
        let envelope = waha::webhook::parse(black_box(body.as_bytes()));
        assert!(black_box(envelope).is_ok(), "an event");
    })
}

fn plain_ack(body: &'static str) -> Case {
    Box::new(move || {
        let ack = waha::webhook::plain_ack(black_box(body.as_bytes()));
        assert!(black_box(ack).is_some(), "an ack");
    })
}

fn send_body() -> Case {
    let to: PhoneNumber = "21642108101".parse().unwrap();
    let text = "Hello Amina, your order 4711 from \"Zitouna\" is on its way to Sousse.\nBye!";
    Box::new(move || {
        let letter = waha::messages::Letter {
            session: "21642108077",
            to: &to,
            id: Some("3EB00001AB0304050607FF"),
        };
        black_box(waha::messages::text_body(letter, black_box(text)));
    })
}
