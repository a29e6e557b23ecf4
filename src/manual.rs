//! Man pages and completions, made from the arguments and the settings.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

pub use clap_complete::Shell;

use crate::config;

/// A part of the manual.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Manual {
    /// The man page of the program, on stdout.
    Page,
    /// The man pages of the program and of each command, in this directory.
    Pages(PathBuf),
    /// The completions of a shell, on stdout.
    Completions(Shell),
}

impl Manual {
    /// Writes this part of the manual of a program that takes these arguments.
    ///
    /// # Errors
    /// The directory does not exist or cannot be written. A reader of stdout that is gone is no error.
    pub fn write(&self, arguments: clap::Command) -> io::Result<()> {
        match self {
            Self::Page => print(&page(arguments)?),
            Self::Pages(directory) => pages(arguments, directory),
            Self::Completions(shell) => print(&completions(arguments, *shell)),
        }
    }
}

fn print(text: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

fn completions(mut arguments: clap::Command, shell: Shell) -> Vec<u8> {
    let name = arguments.get_name().to_owned();
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut arguments, name.clone(), &mut text);
    // clap_complete 4.6.11 writes the hyphen of the name in two ways, so that no command gets its options:
    // https://github.com/clap-rs/clap/issues/6421
    let text = String::from_utf8_lossy(&text);
    text.replace(&name.replace('-', "__subcmd__"), &name.replace('-', "__")).into_bytes()
}

fn pages(arguments: clap::Command, directory: &Path) -> io::Result<()> {
    clap_mangen::generate_to(arguments.clone(), directory)?;
    // The one of the program lacks the settings.
    let name = format!("{}.1", arguments.get_name());
    std::fs::write(directory.join(name), page(arguments)?)
}

/// The page of the program: what clap knows, the exit codes and the settings.
fn page(arguments: clap::Command) -> io::Result<Vec<u8>> {
    let man = Man::new(arguments.disable_help_subcommand(true));
    let mut text = Vec::new();
    man.render(&mut text)?;
    let mut own = Roff::default();
    own.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in [
        ("0", "The command succeeded, or the server was stopped by SIGTERM or SIGINT."),
        (
            "1",
            "The command failed or found problems, or the server could not start. Another try may succeed.",
        ),
        ("2", "Arguments or settings are not valid."),
    ] {
        own.control("TP", []);
        own.text([bold(code)]);
        own.text([roman(meaning)]);
    }
    own.control("SH", ["ENVIRONMENT"]);
    // Lines stay as they are in `--help`.
    own.control("nf", []);
    for line in config::help().lines() {
        own.text([roman(line)]);
    }
    own.control("fi", []);
    own.to_writer(&mut text)?;
    Ok(text)
}
