//! Logs on stderr: sentences for people, or one flat JSON object a line for machines.

use std::io;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::SettingValue;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// A sentence with its fields, for a terminal.
    Human,
    /// One flat JSON object a line.
    Json,
}

impl SettingValue for LogFormat {
    const KIND: &'static str = "human or json";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            _ => Err(format!("{text:?} is neither human nor json")),
        }
    }
}

/// Which log lines are written, in the filter language of `tracing-subscriber`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLevel(String);

impl SettingValue for LogLevel {
    const KIND: &'static str = "level, or filter such as info,sender=debug";

    fn parse(text: &str) -> Result<Self, String> {
        match EnvFilter::builder().parse(text) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(cause) => Err(format!("{text:?} is not a log filter: {cause}")),
        }
    }
}

crate::settings! {
    /// How a process speaks.
    pub struct TelemetrySettings {
        /// How log lines look: `human` for a terminal, `json` (one flat object a line) for a
        /// collector.
        "LOG_FORMAT" => format: LogFormat = "human";
        /// Which lines are written: error, warn, info, debug, trace, or a filter such as
        /// `info,sender=debug`. At info a message leaves no line of its own. lapin is silent by
        /// default, because we report what happens to its connections ourselves, once.
        "LOG_LEVEL" => level: LogLevel = "info,lapin=off";
    }
}

/// Installs the log writer. A second call changes nothing.
pub fn init(settings: &TelemetrySettings) {
    let filter = EnvFilter::new(&settings.level.0);
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    let installed = match settings.format {
        LogFormat::Human => lines.finish().try_init(),
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .finish()
            .try_init(),
    };
    if installed.is_err() {
        tracing::debug!("the log writer was already installed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Settings, Source};

    fn load(format: &str, level: &str) -> Result<TelemetrySettings, crate::config::Faults> {
        let pairs = [("LOG_FORMAT", format), ("LOG_LEVEL", level)];
        TelemetrySettings::from_source(&Source::from_pairs(pairs))
    }

    #[test]
    fn twice_is_harmless() {
        init(&load("json", "warn").unwrap());
        init(&load("human", "info,chassis=debug").unwrap());
    }

    #[test]
    fn nonsense_is_refused() {
        let faults = load("xml", "info,=====").unwrap_err();
        assert_eq!(faults.0.len(), 2, "{faults}");
    }
}
