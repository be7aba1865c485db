//! Runs each hot pure function a known number of times, for callgrind to count its instructions.
//!
//! Prints one line a case, in the order in which they run: its name and its rounds. What happens
//! outside [`costs_measured_region`] is preparation and is not counted; `tests/it` starts this
//! program under valgrind and holds the counts against bounds. Absent on purpose: clocks, threads,
//! and anything that depends on what else the machine does.

mod cases;

/// The region that callgrind counts, found by its name. Never inlined, so that it has one.
#[inline(never)]
fn costs_measured_region(case: &mut dyn FnMut(), rounds: u32) {
    for _ in 0..rounds {
        case();
    }
}

fn main() {
    for (name, rounds, prepare) in cases::CASES {
        let mut case = prepare();
        // What is made on first use is made here.
        case();
        println!("{name} {rounds}");
        costs_measured_region(&mut *case, *rounds);
    }
}
