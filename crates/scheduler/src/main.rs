//! A scheduler replica. Any number of them share the work.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    chassis::boot::run("scheduler", scheduler::start::start)
}
