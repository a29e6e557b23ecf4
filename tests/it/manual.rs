//! Man pages and completions.

use crate::support::binary;

/// Runs the binary without settings that work, and returns its stdout.
fn stdout(arguments: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(".env"), "this line does not parse\n").unwrap();
    let output = binary(dir.path()).args(arguments).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn man_page_has_commands_exit_codes_and_settings() {
    let page = stdout(&["man"]);
    assert!(page.contains(".TH vintedbot-ingest 1"), "{page}");
    for part in ["vintedbot\\-ingest\\-fsck(1)", "EXIT STATUS", "ENVIRONMENT", "MEDIA_ROOT="] {
        assert!(page.contains(part), "{part} in {page}");
    }
}

#[test]
fn man_directory_gets_a_page_of_every_command() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(stdout(&["man", "--directory", dir.path().to_str().unwrap()]), "");
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    assert_eq!(read("vintedbot-ingest.1"), stdout(&["man"]));
    // Each command that the page of the program names has its own page, and so have commands of commands.
    let page = read("vintedbot-ingest.1").replace('\\', "");
    let named: Vec<&str> = page.lines().filter_map(|line| line.strip_suffix("(1)")).collect();
    assert!(named.len() > 10, "{named:?}");
    for name in named.iter().chain(&["vintedbot-ingest-token-issue"]) {
        assert!(read(&format!("{name}.1")).contains("SYNOPSIS"), "{name}");
    }
}

#[test]
fn man_directory_that_does_not_exist_fails_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let output = binary(dir.path()).args(["man", "--directory", "missing"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("cannot be written: No such file"), "{errors}");
}

#[test]
fn completions_of_each_shell_name_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let text = stdout(&["completions", shell]);
        for command in ["check-config", "migrate-store", "healthcheck", "completions"] {
            assert!(text.contains(command), "{command} for {shell}");
        }
    }
}

#[test]
fn bash_completes_a_command_and_an_option() {
    // As bash calls it: the program, the word, and the word before it.
    let script = stdout(&["completions", "bash"])
        + "\nfunction=$(complete -p vintedbot-ingest | sed 's/.*-F \\([^ ]*\\).*/\\1/')\n\
           COMP_WORDS=(vintedbot-ingest fsck --qu); COMP_CWORD=2\n\
           $function vintedbot-ingest --qu fsck; echo \"${COMPREPLY[*]}\"\n\
           COMP_WORDS=(vintedbot-ingest heal); COMP_CWORD=1\n\
           $function vintedbot-ingest heal vintedbot-ingest; echo \"${COMPREPLY[*]}\"\n";
    let output = std::process::Command::new("bash").args(["--norc", "-c", &script]).output();
    let output = output.expect("bash runs");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "--quick\nhealthcheck\n");
}
