//! Settings from the environment and from `.env`; the environment wins.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::Context;

/// What the caller has set. Names that we do not know are handed to the services as they are.
#[derive(Clone, Default)]
pub(crate) struct Settings {
    /// Only what stands in `.env` (or was set by code) and not in the environment.
    own: BTreeMap<String, String>,
}

impl Settings {
    /// Reads `.env` in the current directory, if there is one.
    pub(crate) fn load() -> anyhow::Result<Self> {
        let text = match fs::read_to_string(Path::new(".env")) {
            Ok(text) => text,
            Err(cause) if cause.kind() == ErrorKind::NotFound => String::new(),
            Err(cause) => return Err(cause).context("cannot read .env"),
        };
        let mut own = crate::env_file::parse(&text).context(".env is at fault")?;
        own.retain(|name, _| std::env::var_os(name).is_none());
        Ok(Self { own })
    }

    /// Sets a value over whatever the environment says.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.own.insert(name.to_owned(), value.to_owned());
    }

    /// The value of a setting; an empty one counts as absent.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        let own = self.own.get(name).cloned();
        own.or_else(|| std::env::var(name).ok())
            .filter(|value| !value.is_empty())
    }

    /// What a child needs besides our environment, which it inherits.
    pub(crate) fn for_children(&self) -> Vec<(String, String)> {
        self.own
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }
}

impl std::fmt::Debug for Settings {
    /// Names only: values may be secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.own.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_wins_over_the_environment_and_secrets_stay_hidden() {
        let mut settings = Settings::default();
        assert_eq!(settings.get("PATH"), std::env::var("PATH").ok());
        settings.set("PATH", "elsewhere");
        settings.set("EMPTY", "");
        assert_eq!(settings.get("PATH").as_deref(), Some("elsewhere"));
        assert_eq!(settings.get("EMPTY"), None);
        assert!(!format!("{settings:?}").contains("elsewhere"));
    }
}
