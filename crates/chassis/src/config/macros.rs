//! The declaration of settings.

/// Declares a group of settings.
///
/// ```
/// chassis::settings! {
///     /// How the sender takes turns.
///     pub struct TurnSettings {
///         /// Messages that a sender may send in a row while others wait.
///         "SENDER_TURN_MESSAGES" => turn_messages: u32 = 30, 1..=10_000;
///         /// Seconds between two looks at the lanes.
///         "SENDER_POLL_SECONDS" => poll: std::time::Duration = 1, 0.05..=60.0;
///         /// Where the ledger is. Required: it has no default.
///         "DATABASE_URL" => database_url: secrecy::SecretString;
///         /// The name shown to people; none by default.
///         "REPLICA_NAME" => name: Option<String>;
///     }
/// }
/// # use chassis::config::{Source, Settings};
/// let source = Source::from_pairs([("DATABASE_URL", "postgres://localhost/app")]);
/// let settings = TurnSettings::from_source(&source).unwrap();
/// assert_eq!(settings.turn_messages, 30);
/// assert_eq!(TurnSettings::SETTINGS.len(), 4);
/// ```
///
/// A row is `"KEY" => field: Type = default, bounds;` where default and bounds may be left out.
/// Without a default the setting is required, unless its type is `Option`. The doc comment is the
/// reason in the table. Bounds are a range of the type itself, of seconds for a `Duration`, and of
/// the length for text.
#[macro_export]
macro_rules! settings {
    (
        $(#[$meta:meta])*
        $vis:vis struct $group:ident {
            $(
                $(#[doc = $doc:literal])+
                $key:literal => $field:ident : $ty:ty $(= $default:literal)? $(, $bounds:expr)?;
            )+
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone)]
        $vis struct $group {
            $( $(#[doc = $doc])+ pub $field: $ty, )+
        }

        impl $group {
            /// The table of these settings, in the order of declaration.
            $vis const SETTINGS: &'static [$crate::config::SettingDoc] = &[$(
                $crate::config::SettingDoc {
                    key: $key,
                    default: $crate::settings!(@default $($default)?),
                    required: $crate::settings!(@default $($default)?).is_none()
                        && !<$ty as $crate::config::SettingValue>::OPTIONAL,
                    secret: <$ty as $crate::config::SettingValue>::SECRET,
                    kind: <$ty as $crate::config::SettingValue>::KIND,
                    bounds: $crate::settings!(@bounds $($bounds)?),
                    reason: $crate::settings!(@reason $($doc)+),
                },
            )+];
        }

        impl $crate::config::Settings for $group {
            fn from_source(
                source: &$crate::config::Source,
            ) -> ::std::result::Result<Self, $crate::config::Faults> {
                let mut faults = $crate::config::Faults::default();
                let mut rows = Self::SETTINGS.iter();
                $(
                    let $field = rows.next().and_then(|row| {
                        let check = |_value: &$ty| -> ::std::result::Result<(), String> {
                            $( $crate::config::Within::within(_value, &$bounds)?; )?
                            Ok(())
                        };
                        $crate::config::read::<$ty>(source, row, check, &mut faults)
                    });
                )+
                match ($($field,)+) {
                    ($(Some($field),)+) => Ok(Self { $($field),+ }),
                    _ => Err(faults),
                }
            }

            fn docs() -> Vec<$crate::config::SettingDoc> {
                Self::SETTINGS.to_vec()
            }
        }
    };
    (@default) => { None::<&'static str> };
    (@default $default:literal) => { Some(concat!($default)) };
    (@bounds) => { None::<&'static str> };
    (@bounds $bounds:expr) => { Some(stringify!($bounds)) };
    (@reason $first:literal $($more:literal)*) => { concat!($first $(, "\n", $more)*) };
}
