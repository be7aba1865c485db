//! `wahacast-gateway` serves the API; `wahacast-gateway migrate` brings the database to this
//! version, writes the first delays, and ends.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[expect(
    clippy::print_stderr,
    reason = "a wrong command line is answered where it was typed"
)]
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => chassis::boot::run("wahacast-gateway", gateway::run),
        ["migrate"] => chassis::boot::run("wahacast-gateway migrate", gateway::server::migrate),
        _ => {
            eprintln!("usage: wahacast-gateway [migrate]");
            ExitCode::from(chassis::config::EXIT_USAGE)
        }
    }
}
