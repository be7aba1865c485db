//! How often a message makes the sender allocate.
//!
//! Allocations are counted a thread at a time, so the replica that is counted runs on one thread
//! of its own, and the workers, the servers' clients of the scene and all other tests are not in
//! its count. How busy the machine is changes little: the timers of the replica are slow here.
//! After a change that is worth its cost, run
//! `cargo test -p sender --test it allocations -- --nocapture` and put the printed count, with a
//! quarter of head-room, below.

use allocation_counter::measure;
use models::template::{Template, Variables};
use tokio::runtime::{Builder, Runtime};
use waha::messages::{Letter, new_message_id, text_body};
use waha_sim::Options;

use crate::scene::{Scene, phone};

/// Of one message from its claim to its conclusion: three ledger statements, one HTTP request,
/// all timers and wakes between.
const PER_MESSAGE_MAX: u64 = 225;

/// Timers that fire as seldom as they may: what they allocate is not a message's.
const SLOW: &[(&str, &str)] = &[
    ("HEARTBEAT_SECONDS", "60"),
    ("REPLICA_DEAD_AFTER_SECONDS", "600"),
    ("LANE_WATCH_SECONDS", "2"),
];

/// Says `messages` messages with a new replica, and counts all that its life allocates.
fn life(surroundings: &Runtime, scene: &Scene, first: i64, messages: i32) -> u64 {
    let process = surroundings.block_on(async { scene.process("counted", SLOW) });
    let shutdown = process.shutdown.clone();
    let alone = Builder::new_current_thread().enable_all().build().unwrap();
    std::thread::scope(|threads| {
        let replica = threads.spawn(move || {
            let run = || alone.block_on(sender::start::start(process)).unwrap();
            measure(run).count_total
        });
        surroundings.block_on(async {
            scene.campaign(&phone(1), first, messages).await;
            scene.all_ended().await;
        });
        shutdown.request();
        replica.join().unwrap()
    })
}

#[test]
fn a_message_allocates_no_more_than_it_did() {
    let surroundings = Runtime::new().unwrap();
    let options = Options {
        workers: 1,
        time_scale: 0.02,
        send_delay_ms: (0, 0),
        ..Options::default()
    };
    let scene = surroundings.block_on(async {
        let scene = Scene::new(options, 0, 0).await;
        scene.session(1, &phone(1)).await;
        scene.own_ids().await;
        scene
    });
    let (few, many) = (50, 250);
    let of_few = life(&surroundings, &scene, 49_000_000_000, few);
    let of_many = life(&surroundings, &scene, 49_000_001_000, many);
    let said = surroundings.block_on(scene.messages_with(2));
    assert_eq!(said, i64::from(few + many), "every message is SENT");
    let per_message = (of_many - of_few) / u64::try_from(many - few).unwrap();
    println!("{per_message} allocations a message, {of_few} for a life with {few}");
    assert!(
        per_message <= PER_MESSAGE_MAX,
        "a message costs {per_message} allocations, at most {PER_MESSAGE_MAX} are allowed; how to \
         measure anew stands in the head of this file"
    );
    let _inside = surroundings.enter();
    drop(scene);
}

#[test]
fn the_pure_parts_allocate_what_they_return() {
    let template = Template::parse("hello {{name}}, {{order}} is on its way", false).unwrap();
    let pairs = [("name", "Amina"), ("order", "4711")];
    let own: Variables = pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    let shared = Variables::new();
    let to = phone(7);
    let letter = Letter {
        session: "21642108077",
        to: &to,
        id: Some("3EB00001AB0304050607FF"),
    };
    let count = |what: &dyn Fn()| measure(what).count_total;
    let parts: [(&str, u64, &dyn Fn()); 3] = [
        ("the text", 1, &|| drop(template.render(&own, &shared))),
        ("a message id", 1, &|| drop(new_message_id([7; 9]))),
        ("a body", 3, &|| drop(text_body(letter, "hello"))),
    ];
    for (name, most, part) in parts {
        let counted = count(part);
        println!("{name}: {counted} allocations");
        assert!(
            counted <= most,
            "{name}: {counted} allocations, at most {most} are allowed"
        );
    }
}
