//! Settings from environment variables, declared once.
//!
//! [`settings!`](crate::settings) makes the struct, its loader and the table from which
//! `.env.example` and the documentation are written. All faults are reported together. Reading
//! `.env` files is the command line's business; this sees only the environment.

mod macros;
mod table;
mod value;

use std::collections::BTreeMap;
use std::fmt;

use config::{Config, Environment};

pub use table::{env_example, markdown};
pub use value::{SettingValue, Within};

/// Exit status for settings that cannot be used (`EX_USAGE`).
pub const EXIT_USAGE: u8 = 64;

/// Where settings come from. A variable that is empty or blank counts as absent.
#[derive(Clone)]
pub struct Source {
    layers: Config,
    keys: Vec<String>,
}

impl fmt::Debug for Source {
    /// Names only: values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

impl Source {
    /// The environment of this process. Variables that are not UTF-8 are passed over.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the environment"
    )]
    pub fn from_env() -> Self {
        let pairs = std::env::vars_os()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
        Self::from_pairs(pairs)
    }

    /// The given variables and nothing else; for tests.
    pub fn from_pairs<K: Into<String>, V: Into<String>>(
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let pairs: BTreeMap<String, String> = pairs
            .into_iter()
            .map(|(key, value)| (key.into(), value.into()))
            .collect();
        let keys = pairs.keys().cloned().collect();
        let variables = Environment::default().source(Some(pairs.into_iter().collect()));
        let layers = Config::builder()
            .add_source(variables)
            .build()
            .unwrap_or_default();
        Self { layers, keys }
    }

    /// The value of `key`, without surrounding blanks.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<String> {
        let value = self.layers.get_string(&key.to_lowercase()).ok()?;
        let value = value.trim();
        (!value.is_empty()).then(|| value.to_owned())
    }
}

/// One row of the table of settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettingDoc {
    /// The environment variable.
    pub key: &'static str,
    /// The default as it would be written in `.env`; `None` when there is none.
    pub default: Option<&'static str>,
    /// Whether a process refuses to start without it.
    pub required: bool,
    /// Whether the value must not be shown.
    pub secret: bool,
    /// What may be written, for example `whole number`.
    pub kind: &'static str,
    /// The bounds as declared, if any, for example `1..=10_000`.
    pub bounds: Option<&'static str>,
    /// What it is for and why the default is what it is; lines separated by `\n`.
    pub reason: &'static str,
}

/// A group of settings: anything made by [`settings!`](crate::settings), or a tuple of such.
pub trait Settings: Sized {
    /// Reads and checks all settings of the group.
    ///
    /// # Errors
    /// Every fault of the group, not only the first.
    fn from_source(source: &Source) -> Result<Self, Faults>;

    /// The table of the group.
    fn docs() -> Vec<SettingDoc>;
}

macro_rules! settings_tuple {
    ($($group:ident $name:ident),+) => {
        impl<$($group: Settings),+> Settings for ($($group,)+) {
            fn from_source(source: &Source) -> Result<Self, Faults> {
                let mut faults = Faults::default();
                $(let $name = faults.keep($group::from_source(source));)+
                match ($($name,)+) {
                    ($(Some($name),)+) => Ok(($($name,)+)),
                    _ => Err(faults),
                }
            }

            fn docs() -> Vec<SettingDoc> {
                [$($group::docs()),+].concat()
            }
        }
    };
}
settings_tuple!(A a, B b);
settings_tuple!(A a, B b, C c);
settings_tuple!(A a, B b, C c, D d);

/// One setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The environment variable.
    pub key: String,
    /// What is wrong with it; never contains a secret.
    pub cause: String,
}

impl Fault {
    /// A fault of `key`, also for checks that compare several settings.
    pub fn new(key: impl Into<String>, cause: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            cause: cause.into(),
        }
    }
}

/// Everything that is wrong with the settings, one line each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl Faults {
    /// Keeps the faults of one group and passes its value on.
    pub fn keep<T>(&mut self, group: Result<T, Self>) -> Option<T> {
        group.map_err(|faults| self.0.extend(faults.0)).ok()
    }

    /// Adds one fault.
    pub fn push(&mut self, fault: Fault) {
        self.0.push(fault);
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Fault { key, cause }) in self.0.iter().enumerate() {
            let end = if index + 1 == self.0.len() { "" } else { "\n" };
            write!(f, "{key}: {cause}{end}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// Reads one setting; used by [`settings!`](crate::settings). A fault is pushed, not returned.
#[doc(hidden)]
pub fn read<T: SettingValue>(
    source: &Source,
    doc: &SettingDoc,
    check: impl FnOnce(&T) -> Result<(), String>,
    faults: &mut Faults,
) -> Option<T> {
    let text = source
        .get(doc.key)
        .or_else(|| doc.default.map(str::to_owned));
    let parsed = match text {
        Some(text) => T::parse(&text).and_then(|value| check(&value).map(|()| value)),
        None => T::absent().ok_or_else(|| format!("is required, a {}", T::KIND)),
    };
    parsed
        .map_err(|cause| faults.push(Fault::new(doc.key, cause)))
        .ok()
}

#[cfg(test)]
mod tests;
