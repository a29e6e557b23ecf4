//! Documents made from the settings table: the end of `--help`, and the files that `make docs` writes.

use std::fmt::Write as _;

use super::{SETTINGS, Setting};

/// Columns of `--help` and of `.env.example`.
const WIDTH: usize = 100;

/// Returns the settings as the end of `--help` lists them.
pub(crate) fn help() -> String {
    let mut help =
        "Settings (environment variables, or lines of a .env file in the working directory):\n".to_owned();
    for group in groups() {
        let _infallible = writeln!(help, "\n{}:", group[0].group);
        for setting in group {
            let _infallible = writeln!(help, "  {}={}", setting.name, setting.shown_default());
            help += &wrapped(&description(setting), "      ");
        }
    }
    help
}

/// Returns the rows under each heading, at least one.
fn groups() -> impl Iterator<Item = &'static [Setting]> {
    SETTINGS.chunk_by(|one, next| one.group == next.group)
}

fn description(setting: &Setting) -> String {
    format!("{} Accepts {}.", setting.help, setting.accepts())
}

/// Wraps a text at [`WIDTH`] characters, with `start` before each line.
fn wrapped(text: &str, start: &str) -> String {
    let (mut lines, mut line) = (String::new(), start.to_owned());
    for word in text.split(' ') {
        if line.len() > start.len() && line.len() + 1 + word.len() > WIDTH {
            lines += line.trim_end();
            lines.push('\n');
            line = start.to_owned();
        }
        if line.len() > start.len() {
            line.push(' ');
        }
        line += word;
    }
    lines + &line + "\n"
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::dotenv;
    use super::*;

    /// The line of docs/settings.md before the generated part.
    const MARK: &str = "<!-- From here on generated from src/config/table.rs. `make docs` writes it. -->\n";

    const EXAMPLE_HEAD: &str = concat!(
        "# Every setting with its default. Copy this file to .env, and uncomment the lines to change.\n",
        "# Generated from src/config/table.rs. `make docs` writes it.\n",
    );

    /// Returns the tables of docs/settings.md.
    fn markdown() -> String {
        let mut text = String::new();
        for group in groups() {
            let _infallible = write!(
                text,
                "\n## {}\n\n| name | default | accepts | meaning |\n|---|---|---|---|\n",
                group[0].group
            );
            for setting in group {
                let code = |text: &str| format!("`{text}`");
                let default =
                    if setting.default.is_empty() { "none".to_owned() } else { code(setting.default) };
                let cells = [code(setting.name), default, setting.accepts(), setting.help.to_owned()];
                let _infallible =
                    writeln!(text, "| {} |", cells.map(|cell| cell.replace('|', "\\|")).join(" | "));
            }
        }
        text
    }

    /// Returns `.env.example`: every setting with its default, commented out.
    fn example() -> String {
        let mut text = EXAMPLE_HEAD.to_owned();
        for group in groups() {
            let _infallible = writeln!(text, "\n# --- {} ---", group[0].group);
            for setting in group {
                let _infallible = write!(
                    text,
                    "\n{}#{}={}\n",
                    wrapped(&description(setting), "# "),
                    setting.name,
                    setting.default
                );
            }
        }
        text
    }

    /// Compares a file with the document, or writes the file if `UPDATE_DOCS` is set.
    fn assert_generated(name: &str, document: impl Fn(&str) -> String) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        let expected = document(&found);
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&path, expected).unwrap();
        } else {
            assert!(found == expected, "{name} differs from the settings table; `make docs` writes it anew");
        }
    }

    #[test]
    fn docs_settings_md_has_the_table() {
        assert_generated("docs/settings.md", |found| {
            let (by_hand, _) = found.split_once(MARK).expect("docs/settings.md has the mark");
            by_hand.to_owned() + MARK + &markdown()
        });
    }

    #[test]
    fn env_example_has_every_setting() {
        assert_generated(".env.example", |_| example());
    }

    #[test]
    fn uncommented_env_example_sets_the_defaults() {
        let is_setting = |line: &&str| line.starts_with('#') && !line.starts_with("# ");
        let text: String =
            example().lines().filter(is_setting).map(|line| format!("{}\n", &line[1..])).collect();
        let values = dotenv::parse(&text).unwrap();
        let values: Vec<_> =
            values.iter().map(|value| (value.name.as_str(), value.value.as_deref())).collect();
        let defaults: Vec<_> = SETTINGS.iter().map(|setting| (setting.name, Some(setting.default))).collect();
        assert_eq!(values, defaults);
    }

    #[test]
    fn help_of_every_setting_is_whole_sentences() {
        for Setting { name, help, .. } in SETTINGS {
            assert!(help.ends_with('.') && !help.contains("  ") && help.len() > 10, "{name}: {help}");
        }
    }

    #[test]
    fn lines_of_help_fit_the_width() {
        for line in help().lines().filter(|line| line.starts_with("      ")) {
            assert!(line.len() <= WIDTH, "{line}");
        }
        assert_eq!(wrapped("a bc", "# "), "# a bc\n");
        let long = "x".repeat(WIDTH);
        assert_eq!(wrapped(&format!("a {long} b"), ""), format!("a\n{long}\nb\n"));
    }
}
