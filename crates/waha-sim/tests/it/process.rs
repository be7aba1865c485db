//! The binary: its one line, and its end.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

#[test]
fn it_says_where_it_is_and_stops_on_sigterm() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_waha-sim"))
        .args([
            "--workers",
            "2",
            "--engine",
            "GOWS,WEBJS",
            "--version",
            "2026.8.2,2026.7.2",
        ])
        .args([
            "--api-key",
            "k",
            "--ack-delay-ms",
            "5..10",
            "--time-scale",
            "0.1",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let ready: Value = serde_json::from_str(&line).unwrap();
    let port = ready["port"].as_u64().unwrap();
    assert_eq!(
        ready["workers"][1]["url"],
        format!("http://127.0.0.1:{port}/w/2")
    );
    assert_eq!(
        ready["workers"][1]["control"],
        format!("http://127.0.0.1:{port}/control/2")
    );
    assert_eq!(ready["workers"][1]["api_key"], "k-2");
    assert!(std::net::TcpStream::connect(("127.0.0.1", port as u16)).is_ok());

    let asked = Instant::now();
    let kill = Command::new("kill")
        .arg(child.id().to_string())
        .status()
        .unwrap();
    assert!(kill.success());
    assert!(child.wait().unwrap().success());
    assert!(asked.elapsed() < Duration::from_secs(5));
}

#[test]
fn it_refuses_nonsense_with_a_reason() {
    for wrong in [
        ["--engine", "BAILEYS"],
        ["--version", "latest"],
        ["--send-delay-ms", "9..1"],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_waha-sim"))
            .args(wrong)
            .output()
            .unwrap();
        assert!(
            !output.status.success() && output.stdout.is_empty(),
            "{wrong:?}"
        );
        assert!(!output.stderr.is_empty(), "{wrong:?}");
    }
}
