//! The type of a row of the settings table, and the macro that makes the table and [`Settings`](super::Settings) from rows.

use super::source::Source;
use super::{SettingError, SettingsError};

/// One row of the settings table.
#[derive(Clone, Copy)]
pub struct Setting {
    /// Name of the environment variable.
    pub name: &'static str,
    /// Value if the variable is unset or empty; empty for none.
    pub default: &'static str,
    /// What the setting does, in whole sentences.
    pub help: &'static str,
    /// Group heading in `--help`.
    pub(super) group: &'static str,
    pub(super) secret: Secret,
    pub(super) accepts: fn() -> String,
}

/// The part of a value that an error must not show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Secret {
    /// User and password of a URL. Every row hides these, because a URL may be in the wrong variable.
    UserInfo,
    /// All of a URL except its scheme and host, because its parameters may contain a password.
    AllButHost,
    Everything,
}

impl Setting {
    /// Returns the accepted values in words, derived from the type and range of the row.
    pub(crate) fn accepts(&self) -> String {
        (self.accepts)()
    }

    /// Returns the default, or `none` if it is empty.
    pub(crate) fn shown_default(&self) -> &'static str {
        if self.default.is_empty() { "none" } else { self.default }
    }

    pub(super) const fn with_secret(self, secret: Secret) -> Self {
        Self { secret, ..self }
    }

    /// Returns the part of a value that a log may show.
    fn showable(&self, value: &str) -> String {
        let scheme = value.split_once("://").map_or(String::new(), |(scheme, _)| format!("{scheme}://"));
        let host = value.rsplit_once('@').map(|(_, host)| host.split('?').next().unwrap_or_default());
        match (self.secret, host) {
            (Secret::Everything, _) => "…".to_owned(),
            (Secret::AllButHost, None) => format!("{scheme}…"),
            (Secret::AllButHost, Some(host)) => format!("{scheme}…@{host}"),
            (Secret::UserInfo, Some(host)) if !scheme.is_empty() => format!("{scheme}…@{host}"),
            (Secret::UserInfo, _) => value.to_owned(),
        }
    }
}

/// A row together with its parser.
pub(super) struct Row<T> {
    pub(super) setting: Setting,
    /// Parses a text, or returns `None` if it is not accepted.
    pub(super) parse: fn(&str) -> Option<T>,
}

/// Reads rows from a source, and collects their errors.
pub(super) struct Reader<'s> {
    source: &'s Source,
    errors: Vec<SettingError>,
}

impl<'s> Reader<'s> {
    pub(super) fn new(source: &'s Source) -> Self {
        Self { source, errors: Vec::new() }
    }

    /// Returns the value of a row. For a text that is not accepted it returns `None` and records an error.
    pub(super) fn read<T>(&mut self, row: &Row<T>) -> Option<T> {
        let value = (row.parse)(self.source.get(row.setting.name).unwrap_or(row.setting.default));
        if value.is_none() {
            self.reject(row);
        }
        value
    }

    /// Adds the error that the value of this row is not accepted.
    pub(super) fn reject<T>(&mut self, row: &Row<T>) {
        let setting = &row.setting;
        // The default is public, so the error shows all of it.
        let value =
            self.source.get(setting.name).map_or(setting.default.to_owned(), |value| setting.showable(value));
        self.errors.push(SettingError { name: setting.name, value, accepts: setting.accepts() });
    }

    /// Returns the settings if there is no error, otherwise all errors in the order of `rows`.
    pub(super) fn finish<S>(mut self, settings: Option<S>, rows: &[Setting]) -> Result<S, SettingsError> {
        match settings {
            Some(settings) if self.errors.is_empty() => Ok(settings),
            _ => {
                self.errors.sort_by_key(|error| rows.iter().position(|row| row.name == error.name));
                Err(SettingsError(self.errors))
            }
        }
    }
}

/// Makes the table of settings, and [`Settings`](super::Settings) from it. A row is
///
/// ```text
/// pub FIELD: TYPE = NAME("DEFAULT", KIND), "Help.";
/// ```
///
/// It declares a field of the settings, the variable `NAME`, and the lines in `--help`, `docs/settings.md` and `.env.example`.
/// A third argument is the part of a value that is [`Secret`]. A row with `let` instead of `pub` declares no field: only
/// [`combine`](super::combine::combine) reads it, to make the fields under `combined`.
macro_rules! settings {
    (
        combined { $( $(#[$combined_doc:meta])+ $combined:ident: $combined_type:ty; )+ }
        $( $group:literal { $(
            $(pub $field:ident)? $(let $input:ident)?: $type:ty =
                $name:ident($default:literal, $kind:expr $(, $secret:expr)?), $help:literal;
        )+ } )+
    ) => {
        /// All settings, parsed and checked.
        #[derive(Clone)]
        pub struct Settings {
            $( $(#[$combined_doc])+ pub $combined: $combined_type, )+
            $($( $( #[doc = $help] pub $field: $type, )? )+)+
        }

        pub(super) struct Combined {
            $( pub(super) $combined: $combined_type, )+
        }

        /// The value of each row by itself, or `None` if its text is not accepted.
        pub(super) struct Parsed {
            $($( $(pub(super) $field)? $(pub(super) $input)?: Option<$type>, )+)+
        }

        $($(
            pub(super) const $name: Row<$type> = Row {
                setting: Setting {
                    name: stringify!($name),
                    default: $default,
                    help: $help,
                    group: $group,
                    secret: Secret::UserInfo,
                    accepts: || Kind::<$type>::accepts(&$kind),
                }$(.with_secret($secret))?,
                parse: |text| Kind::<$type>::parse(&$kind, text),
            };
        )+)+

        /// Every setting, in the order in which `--help` shows them.
        pub const SETTINGS: &[Setting] = &[$($( $name.setting, )+)+];

        impl Parsed {
            pub(super) fn read(reader: &mut Reader<'_>) -> Self {
                Self { $($( $($field)? $($input)?: reader.read(&$name), )+)+ }
            }

            /// Returns the settings, unless a row lacks its value.
            pub(super) fn with(self, combined: Combined) -> Option<Settings> {
                Some(Settings {
                    $( $combined: combined.$combined, )+
                    $($( $( $field: self.$field?, )? )+)+
                })
            }
        }
    };
}

pub(super) use settings;
