//! Whole histories of lanes, ledger and workers under virtual time, from seeds alone.
//!
//! What decides is the real code: [`policy::lane`], [`policy::outcome`], [`policy::settle`] and
//! [`policy::receipt`]. Modelled around it, step by step as the sender and the store do it: claims
//! and conclusions with their fence, one message in flight a number, the lease on speaking, the
//! taking over of lanes, settling, receipts; a worker that accepts, refuses, stammers, answers
//! late or never, and reports twice, early or not at all. Replicas are killed at any point, and
//! suspended; workers are killed and forget; the ledger goes away, and answers get lost after their
//! commit. Not modelled: the
//! broker (a lost job only costs time), sessions and their placement, cancelling, media.
//!
//! [`check`] knows nothing of how any of it works. To play one seed alone:
//! `HISTORY_SEED=42 cargo test -p policy --test it history`.

mod check;
mod figures;
mod flight;
mod ledger;
mod mutation;
mod replica;
mod statements;
mod worker;
mod world;

use std::time::Instant;

use figures::Figures;
use mutation::Mutation;
use world::World;

/// Histories in one run of the tests; at least 10,000 must fit into a minute.
const HISTORIES: u64 = 12_000;
/// A mutation that is not found within so many histories is not found.
const PATIENCE: u64 = 6_000;

/// Plays the history of a seed and judges it.
fn play(seed: u64, mutation: Option<Mutation>) -> Result<Figures, String> {
    let mut world = World::new(seed, mutation);
    world.run();
    check::judge(&world)
        .map(|()| world.figures())
        .map_err(|fault| format!("seed {seed}: {fault}\n{}", world.story()))
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "how long the real machine takes is the figure"
)]
fn every_history_keeps_every_promise() {
    let only = option_env!("HISTORY_SEED").and_then(|seed| seed.parse().ok());
    let seeds: Vec<u64> = only.map_or_else(|| (0..HISTORIES).collect(), |seed| vec![seed]);
    let began = Instant::now();
    let half = seeds.len() / 2;
    let play_all = |seeds: &[u64]| {
        let mut all = Figures::default();
        for seed in seeds {
            match play(*seed, None) {
                Ok(figures) => all.add(figures),
                Err(fault) => panic!("{fault}\nto repeat: HISTORY_SEED={seed}"),
            }
        }
        all
    };
    let mut all = Figures::default();
    std::thread::scope(|scope| {
        let halves = [&seeds[..half], &seeds[half..]];
        let threads = halves.map(|seeds| scope.spawn(move || play_all(seeds)));
        for thread in threads {
            all.add(thread.join().unwrap());
        }
    });
    println!(
        "{} histories in {:.1} s: {all:?}",
        seeds.len(),
        began.elapsed().as_secs_f64()
    );
    if only.is_none() {
        assert!(all.is_varied(), "too little happened to judge by: {all:?}");
    }
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "how long the real machine takes is the figure"
)]
fn every_mutation_is_found() {
    for mutation in Mutation::ALL {
        let began = Instant::now();
        let found = (0..PATIENCE).find_map(|seed| Some((seed, play(seed, Some(mutation)).err()?)));
        let Some((seed, fault)) = found else {
            panic!("{mutation:?} was not found in {PATIENCE} histories");
        };
        let verdict = fault.lines().next().unwrap_or_default();
        println!(
            "{mutation:?}: found after {} histories, {:.2} s: {verdict}",
            seed + 1,
            began.elapsed().as_secs_f64()
        );
    }
}
