//! Settings that are refused, and names that are nearly settings.

use std::net::TcpListener;
use std::sync::Arc;

use crate::support::{Server, binary};

const KEY: &str = "a key for this test, of 32 bytes or more";

/// Runs the binary to its end, with these settings and this `.env` file. If it accepts them it ends, too, with 1, because its
/// port is in use.
fn run(arguments: &[&str], settings: &[(&str, &str)], dotenv: &str) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(".env"), dotenv).unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = binary(dir.path());
    command.env("PORT", taken.local_addr().unwrap().port().to_string());
    let output = command.args(arguments).envs(settings.iter().copied()).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn dotenv_line_that_does_not_parse_stops_every_command_with_its_number() {
    for arguments in [&[][..], &["serve"], &["check-config"], &["token", "issue", "--user", "7"]] {
        let dotenv = "# of the app\nENV=prod\nAUTH_REQUIRED=\"true\nSECRET_KEY=hunter2\n";
        let (code, errors) = run(arguments, &[], dotenv);
        assert_eq!(code, Some(2), "{arguments:?}");
        assert!(
            errors.starts_with(".env line 3 does not parse: ") && errors.contains("AUTH_REQUIRED"),
            "{errors}"
        );
        assert!(errors.lines().count() == 1 && !errors.contains("hunter2"), "{errors}");
    }
}

#[test]
fn missing_real_key_is_refused_with_one_line_where_required() {
    for (settings, name) in [
        (&[("AUTH_REQUIRED", "true")][..], "SECRET_KEY"),
        (&[("AUTH_REQUIRED", "true"), ("SECRET_KEY", "dev-secret")], "SECRET_KEY"),
        (&[("AUTH_REQUIRED", "yes"), ("SECRET_KEY", "change-me")], "SECRET_KEY"),
        (&[("ENV", "prod")], "SECRET_KEY"),
        (&[("ENV", "prod"), ("SECRET_KEY", "…")], "SECRET_KEY"),
        (&[("ENV", "prod"), ("SECRET_KEY", "short-but-of-our-own")], "SECRET_KEY"),
        (
            &[("ENV", "prod"), ("SECRET_KEY", KEY), ("SECRET_KEY_PREVIOUS", "short-one")],
            "SECRET_KEY_PREVIOUS",
        ),
        (&[("SECRET_KEY", KEY), ("SECRET_KEY_PREVIOUS", "dev-secret")], "SECRET_KEY_PREVIOUS"),
    ] {
        for arguments in [&[][..], &["check-config"]] {
            let (code, errors) = run(arguments, settings, "");
            assert_eq!(code, Some(2), "{settings:?}");
            assert!(errors.starts_with(&format!("{name}=")) && errors.lines().count() == 1, "{errors}");
            assert!(
                settings.iter().all(|(_, value)| value.len() < 9 || !errors.contains(&format!("={value:?}")))
            );
        }
    }
    let (code, errors) = run(&["check-config"], &[("ENV", "prod"), ("SECRET_KEY", KEY)], "");
    assert_eq!((code, errors.as_str()), (Some(0), ""));
}

#[test]
fn name_that_is_nearly_a_setting_fails_check_config() {
    let environment = [("AUTH_REQUIERD", "true"), ("HOSTNAME", "vps"), ("WORKER", "1"), ("AWS_REGION", "eu")];
    let (code, errors) = run(&["check-config"], &environment, "APP_PORT=1\nMAX_DIM=1200\n");
    assert_eq!(code, Some(2));
    assert_eq!(errors.lines().count(), 2, "{errors}");
    assert!(errors.contains(".env line 2: MAX_DIM is not a setting"), "{errors}");
    assert!(errors.contains("environment: AUTH_REQUIERD is not a setting"), "{errors}");
    assert!(
        errors.contains("did you mean AUTH_REQUIRED?") && errors.contains("did you mean MAX_DIM_PX?"),
        "{errors}"
    );
    // If the setting is present, too, the other name belongs to another program.
    let both = [("S3_ENDPOINT", "http://minio"), ("S3_ENDPOINT_URL", "http://minio")];
    assert_eq!(run(&["check-config"], &both, ""), (Some(0), String::new()));
    assert_eq!(run(&["check-config"], &both[..1], "").0, Some(2));
    // The warning appears with the errors, because it may be their cause.
    let (code, errors) = run(&[], &[("ENV", "prod"), ("SECRET_KYE", KEY)], "");
    assert_eq!(code, Some(2));
    assert!(errors.starts_with("SECRET_KEY=") && errors.contains("did you mean SECRET_KEY?"), "{errors}");
}

#[test]
fn name_that_is_nearly_a_setting_gives_a_warning_at_the_start() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    std::fs::write(dir.path().join(".env"), "MAX_DIM=1200\nAPP_PORT=1\n").unwrap();
    let server = Server::start_in(dir, &[("AUTH_REQUIERD", "true"), ("HOSTNAME", "vps")]);
    let log = server.output();
    let warnings: Vec<&String> = log.iter().filter(|line| line.contains("is not a setting")).collect();
    assert_eq!(warnings.len(), 2, "{log:?}");
    assert!(warnings.iter().all(|line| line.contains("WARN")), "{warnings:?}");
    assert!(log.last().unwrap().ends_with("MAX_DIM=1600 | JPEG_QUALITY=80"), "{log:?}");
}
