//! A sender replica. Scaled by starting more of them; nothing else to configure.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    chassis::boot::run("sender", sender::start::start)
}
