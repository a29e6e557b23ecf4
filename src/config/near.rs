//! Names that are nearly those of a setting, so that a misspelt setting does not silently keep its default.
//!
//! Each source has its own rule. A `.env` file is written for this program and the app next to it. The process environment
//! contains many variables of other programs, so there a near name needs several words, and each must correspond to a word of
//! the setting. `AUTH_REQUIERD`, `MAX_DIM` and `HEADER_TIMEOUT_MS` are near in both sources; `WORKER` and `MAX_CONN` only in a
//! `.env` file; `HOSTNAME`, `DB_PORT` and `AWS_REGION` in neither.

use strsim::osa_distance;

use super::SETTINGS;

/// Units in the names of settings, and units that a misspelt name may have instead.
const UNITS: &[&str] = &[
    "BYTES", "KB", "KIB", "MB", "MIB", "GB", "GIB", "PX", "PIXEL", "PIXELS", "MS", "SEC", "SECS", "SECOND",
    "SECONDS", "MINUTE", "MINUTES", "HOUR", "HOURS", "DAY", "DAYS",
];

/// Most edits of a near name, over all words.
const MAX_EDITS: usize = 2;

/// Returns the setting that a name in a `.env` file resembles, or `None` for a setting itself or an unrelated name.
pub(super) fn in_dotenv(name: &str) -> Option<&'static str> {
    nearest(name, |name, setting| match (name.words.as_slice(), setting.words.as_slice()) {
        ([word], [wanted]) => single_word(word, wanted),
        (_, [_]) => None,
        _ => several_words(name, setting).or_else(|| abbreviation(name, setting)),
    })
}

/// Returns the setting that a name in the process environment resembles.
pub(super) fn in_environment(name: &str) -> Option<&'static str> {
    nearest(name, |name, setting| if setting.words.len() > 1 { several_words(name, setting) } else { None })
}

/// Returns whether a setting has this name.
pub(super) fn is_setting(name: &str) -> bool {
    SETTINGS.iter().any(|setting| setting.name == name)
}

/// A name in upper case, split at every character that is neither a letter nor a digit.
struct Name {
    words: Vec<String>,
}

impl Name {
    fn new(name: &str) -> Self {
        let words = name.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
        Self { words: words.map(str::to_uppercase).collect() }
    }

    fn sorted(&self) -> Vec<&str> {
        let mut words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        words.sort_unstable();
        words
    }
}

/// Returns the setting at the least distance, or the first of several in the table.
fn nearest(name: &str, distance: impl Fn(&Name, &Name) -> Option<usize>) -> Option<&'static str> {
    // A name of more than 64 bytes is longer than any setting with its edits.
    if name.len() > 64 || is_setting(name) {
        return None;
    }
    let name = Name::new(name);
    let distances = SETTINGS
        .iter()
        .filter_map(|setting| Some((distance(&name, &Name::new(setting.name))?, setting.name)));
    distances.min_by_key(|(distance, _)| *distance).map(|(_, setting)| setting)
}

/// Returns the distance of a name to a setting of one word. Short words resemble too many others: `POST` is not `PORT`.
fn single_word(word: &str, wanted: &str) -> Option<usize> {
    let edits = osa_distance(word, wanted);
    let is_swap = || {
        let sorted = |word: &str| {
            let mut bytes = word.as_bytes().to_vec();
            bytes.sort_unstable();
            bytes
        };
        sorted(word) == sorted(wanted)
    };
    (edits == 0 || edits == 1 && (wanted.len() > 5 || is_swap())).then_some(edits)
}

/// Returns the distance of a name to a setting of several words. Other separators, misspelt words, another order, missing words
/// at the end and another unit are near.
fn several_words(name: &Name, setting: &Name) -> Option<usize> {
    if name.words.concat() == setting.words.concat() {
        return Some(0);
    }
    misspelt(&name.words, &setting.words)
        .or_else(|| misspelt(&name.sorted(), &setting.sorted()))
        .or_else(|| start_or_other_unit(&name.words, &setting.words).then_some(1))
}

/// Returns the edits between two names with equally many words, if each word is near to its counterpart.
fn misspelt(name: &[impl AsRef<str>], setting: &[impl AsRef<str>]) -> Option<usize> {
    if name.len() != setting.len() {
        return None;
    }
    let edits = name.iter().zip(setting).map(|(word, wanted)| word_edits(word.as_ref(), wanted.as_ref()));
    edits.sum::<Option<usize>>().filter(|edits| *edits <= MAX_EDITS)
}

fn word_edits(word: &str, wanted: &str) -> Option<usize> {
    let allowed = match wanted.len() {
        0..=2 => 0,
        3..=6 => 1,
        _ => 2,
    };
    let edits = osa_distance(word, wanted);
    let is_plural = || singular(word) == singular(wanted);
    if edits <= allowed { Some(edits) } else { is_plural().then_some(1) }
}

/// Returns `PROXY` for `PROXIES`, and `ORIGIN` for `ORIGINS`.
fn singular(word: &str) -> String {
    match word.strip_suffix("IES") {
        Some(stem) => format!("{stem}Y"),
        None => word.strip_suffix('S').unwrap_or(word).to_owned(),
    }
}

/// Returns whether a name has the first words of a setting, at least two, or is a setting with another unit.
fn start_or_other_unit(name: &[String], setting: &[String]) -> bool {
    let is_start = name.len() > 1 && name.len() < setting.len() && setting.starts_with(name);
    let stem = |words: &[String]| {
        let (unit, stem) = words.split_last()?;
        (stem.len() > 1 && UNITS.contains(&unit.as_str())).then(|| stem.to_vec())
    };
    is_start || stem(setting).is_some_and(|wanted| stem(name) == Some(wanted))
}

/// Returns the distance of a name whose words abbreviate those of a setting: `AUTH_REQ`, `MAX_CONN`.
fn abbreviation(name: &Name, setting: &Name) -> Option<usize> {
    let is_short =
        |(word, wanted): (&String, &String)| word == wanted || word.len() > 2 && wanted.starts_with(word);
    let is_near =
        name.words.len() == setting.words.len() && name.words.iter().zip(&setting.words).all(is_short);
    is_near.then_some(MAX_EDITS + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_name_is_recognised_in_both_sources() {
        for (name, setting) in [
            ("AUTH_REQUIERD", "AUTH_REQUIRED"),
            ("AUTH_REQUIRE", "AUTH_REQUIRED"),
            ("AUHT_REQUIERD", "AUTH_REQUIRED"),
            ("AUTHREQUIRED", "AUTH_REQUIRED"),
            ("AUTH-REQUIRED", "AUTH_REQUIRED"),
            ("auth_required", "AUTH_REQUIRED"),
            ("_AUTH__REQUIRED_", "AUTH_REQUIRED"),
            ("REQUIRE_AUTH", "AUTH_REQUIRED"),
            ("SECRET_KYE", "SECRET_KEY"),
            ("SECERT_KEY", "SECRET_KEY"),
            ("SECRET_KEYS", "SECRET_KEY"),
            ("SECRET_KEY_PREVIUOS", "SECRET_KEY_PREVIOUS"),
            ("SECRETS_KEY_PREVIOUS", "SECRET_KEY_PREVIOUS"),
            ("MAX_DIM", "MAX_DIM_PX"),
            ("MAX_DIMPX", "MAX_DIM_PX"),
            ("MAX_DIM_PIXELS", "MAX_DIM_PX"),
            ("MAX_FILE", "MAX_FILE_SIZE_MB"),
            ("MAX_FILE_SIZE_BYTES", "MAX_FILE_SIZE_MB"),
            ("MAX_UPLOAD", "MAX_UPLOADS"),
            ("HEADER_TIMEOUT", "HEADER_TIMEOUT_SECONDS"),
            ("HEADER_TIMEOUT_MS", "HEADER_TIMEOUT_SECONDS"),
            ("RATE_LIMIT_UPLOADS", "RATE_LIMIT_UPLOAD"),
            ("UPLOAD_RATE_LIMIT", "RATE_LIMIT_UPLOAD"),
            ("CORS_ORIGIN", "CORS_ORIGINS"),
            ("TRUSTED_PROXY", "TRUSTED_PROXIES"),
            ("ALLOWED_MIME_PREFIX", "ALLOWED_MIME_PREFIXES"),
            ("DATABASE_URI", "DATABASE_URL"),
            ("STRIP_GSP", "STRIP_GPS"),
        ] {
            assert_eq!(in_dotenv(name), Some(setting), "{name}");
            assert_eq!(in_environment(name), Some(setting), "{name}");
        }
    }

    #[test]
    fn names_of_one_word_and_abbreviations_are_near_only_in_dotenv() {
        for (name, setting) in [
            ("WORKER", "WORKERS"),
            ("PROT", "PORT"),
            ("port", "PORT"),
            ("EVN", "ENV"),
            ("MAX_CONN", "MAX_CONNECTIONS"),
            ("AUTH_REQ", "AUTH_REQUIRED"),
        ] {
            assert_eq!(in_dotenv(name), Some(setting), "{name}");
            assert_eq!(in_environment(name), None, "{name}");
        }
    }

    #[test]
    fn setting_or_name_of_something_else_is_not_near() {
        for setting in SETTINGS {
            assert_eq!((in_dotenv(setting.name), in_environment(setting.name)), (None, None));
        }
        for name in [
            "PATH",
            "HOME",
            "HOSTNAME",
            "HOSTS",
            "HOSTTYPE",
            "LOGNAME",
            "PWD",
            "OLDPWD",
            "SHLVL",
            "TERM",
            "LANG",
            "TZ",
            "USER",
            "SHELL",
            "EDITOR",
            "TMPDIR",
            "PORTS",
            "POST",
            "ENVIRONMENT",
            "ENV_FILE",
            "NODE_ENV",
            "RAILS_ENV",
            "FLASK_ENV",
            "APP_ENV",
            "DB_HOST",
            "DB_PORT",
            "DB_URL",
            "HTTP_PORT",
            "SMTP_HOST",
            "POSTGRES_PASSWORD",
            "POSTGRES_PORT",
            "REDIS_HOST",
            "REDIS_PORT",
            "REDIS_PASSWORD",
            "KUBERNETES_SERVICE_HOST",
            "AWS_REGION",
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_SESSION_TOKEN",
            "R2_SECRET_KEY",
            "R2_BUCKET",
            "SECRET_KEY_BASE",
            "DJANGO_SECRET_KEY",
            "JWT_SECRET",
            "WEB_CONCURRENCY",
            "GUNICORN_WORKERS",
            "LOG_FORMAT",
            "LOG_FILE",
            "RUST_LOG",
            "RUST_BACKTRACE",
            "DATABASE_NAME",
            "DATABASE_HOST",
            "DATABASE_USER",
            "S3_HOST",
            "MEDIA_URL",
            "MEMORY_LIMIT",
            "TRUSTED_HOSTS",
            "AUTH_TOKEN",
            "AUTH_URL",
            "SENTRY_DSN",
            "SYSTEMD_EXEC_PID",
            "INVOCATION_ID",
            "JOURNAL_STREAM",
            "XDG_RUNTIME_DIR",
            "DBUS_SESSION_BUS_ADDRESS",
            "SSH_CONNECTION",
            "NO_PROXY",
            "HTTPS_PROXY",
            "LS_COLORS",
            "MAIL",
            "DEBUG",
            "ALLOWED_HOSTS",
            "_",
            "",
            "MIN_DIM_PX",
            "UNKNOWN_OF_THE_OLD_BACKEND",
        ] {
            assert_eq!((in_dotenv(name), in_environment(name)), (None, None), "{name}");
        }
        assert_eq!(in_dotenv(&"MAX_DIM_".repeat(10_000)), None);
    }
}
