use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::imaging::Effort;
use crate::media::BucketSettings;
use crate::media::s3::S3Keys;

fn load(pairs: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    Settings::load(&Source::from_pairs(pairs.iter().copied()))
}

#[test]
fn unset_settings_have_the_defaults_of_the_contract() {
    let settings = load(&[]).unwrap();
    assert_eq!(settings.listen.to_string(), "127.0.0.1:8000");
    assert_eq!(settings.database, Database::Sled(PathBuf::from("data/db")));
    assert_eq!(settings.media_root, PathBuf::from("data/uploads"));
    assert_eq!(settings.media_base_url, "/media");
    assert_eq!(settings.max_uploads_per_request, 20);
    assert_eq!(settings.max_file_bytes, 15 << 20);
    assert_eq!(settings.jpeg_quality, 80);
    assert_eq!(settings.jpeg_effort, Effort::Standard);
    assert!(settings.strip_gps);
    assert_eq!(settings.max_dim_px, 1600);
    assert_eq!(settings.max_pixels, 120_000_000);
    assert_eq!(settings.memory_budget_bytes, 256 << 20);
    assert_eq!(settings.cors_origins, CorsOrigins::Any);
    assert_eq!(settings.allowed_mime_prefixes, ["image/"]);
    assert!(settings.trusted_proxies.is_empty());
    let upload = settings.rate_limit_upload.unwrap();
    assert_eq!((upload.burst, upload.window), (10, Duration::from_secs(60)));
}

#[test]
fn upload_page_is_on_in_dev_unless_the_setting_says_otherwise() {
    let prod = [("ENV", "prod"), ("SECRET_KEY", "of-our-own-and-of-32-bytes-or-more")];
    let page = |pairs: &[(&str, &str)]| load(pairs).map(|settings| settings.upload_page).ok();
    assert_eq!((page(&[]), page(&prod)), (Some(true), Some(false)));
    assert_eq!(page(&[("UPLOAD_PAGE", "false")]), Some(false));
    assert_eq!(page(&[&prod[..], &[("UPLOAD_PAGE", "true")]].concat()), Some(true));
    assert_eq!(page(&[("UPLOAD_PAGE", "dev")]), None);
}

#[test]
fn all_bad_values_are_reported_together_with_name_value_and_accepted_values() {
    let SettingsError(errors) =
        load(&[("PORT", "http"), ("JPEG_QUALITY", "96"), ("RATE_LIMIT_GLOBAL", "many"), ("ENV", "staging")])
            .err()
            .unwrap();
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(lines.len(), 4);
    assert!(lines.contains(&r#"JPEG_QUALITY="96" is not valid: accepted is 1..95"#.to_owned()), "{lines:?}");
    assert!(lines.iter().all(|line| !line.contains('\n')));
}

#[test]
fn errors_of_all_checks_are_in_the_order_of_the_table() {
    let bad = [("JPEG_QUALITY", "x"), ("ENV", "prod"), ("SECRET_KEY", "short"), ("PORT", "x"), ("HOST", "x")];
    assert_eq!(refused(&bad), ["HOST", "PORT", "SECRET_KEY", "JPEG_QUALITY"]);
}

#[test]
fn value_that_does_not_parse_does_not_hide_the_errors_of_rules() {
    assert_eq!(
        refused(&[("ENV", "staging"), ("AUTH_REQUIRED", "true"), ("RATE_LIMIT_UPLOAD", "x")]),
        ["ENV", "SECRET_KEY", "RATE_LIMIT_UPLOAD"]
    );
    assert_eq!(
        refused(&[("MEDIA_STORAGE", "s3"), ("S3_ACCESS_KEY", "me"), ("S3_PRESIGN_SECONDS", "x")]),
        ["S3_BUCKET", "S3_SECRET_KEY", "S3_PRESIGN_SECONDS"]
    );
}

#[test]
fn range_in_the_words_of_a_row_equals_that_of_its_parser() {
    let mut ranges = 0;
    for setting in SETTINGS {
        let words = setting.accepts();
        let Some((least, most)) = words.trim_start_matches("auto or ").split_once("..") else { continue };
        let (Ok(least), Ok(most)) = (least.parse::<u64>(), most.parse::<u64>()) else { continue };
        let is_accepted = |value: i128| refused(&[(setting.name, &value.to_string())]).is_empty();
        let (least, most) = (i128::from(least), i128::from(most));
        assert!(is_accepted(least) && is_accepted(most), "{}", setting.name);
        assert!(!is_accepted(least - 1) && !is_accepted(most + 1), "{}", setting.name);
        ranges += 1;
    }
    assert!(ranges > 20, "{ranges}");
}

#[test]
fn list_is_json_or_comma_separated() {
    for value in [r#"["https://a.example","https://b.example"]"#, "https://a.example, https://b.example"] {
        let settings = load(&[("CORS_ORIGINS", value)]).unwrap();
        assert_eq!(
            settings.cors_origins,
            CorsOrigins::Exact(vec!["https://a.example".into(), "https://b.example".into()])
        );
    }
    assert!(load(&[("CORS_ORIGINS", "https://a.example/path")]).is_err());
    assert!(load(&[("CORS_ORIGINS", "[1]")]).is_err());
}

#[test]
fn quotas_in_the_spellings_of_the_old_backend_parse() {
    let seconds = |value| {
        load(&[("RATE_LIMIT_UPLOAD", value)])
            .unwrap()
            .rate_limit_upload
            .map(|q| (q.burst, q.window.as_secs()))
    };
    assert_eq!(seconds("5/second"), Some((5, 1)));
    assert_eq!(seconds("10 per minute"), Some((10, 60)));
    assert_eq!(seconds("100/2hours"), Some((100, 7200)));
    assert_eq!(seconds("off"), None);
    for bad in ["0/minute", "10/", "/minute", "10/fortnight", "-1/second", "10/0minutes"] {
        assert!(load(&[("RATE_LIMIT_UPLOAD", bad)]).is_err(), "{bad}");
    }
}

const KEY: &str = "0123456789abcdef0123456789abcdef";

/// Returns the names of the settings that are refused.
fn refused(pairs: &[(&str, &str)]) -> Vec<&'static str> {
    load(pairs)
        .err()
        .map_or(Vec::new(), |SettingsError(errors)| errors.iter().map(|error| error.name).collect())
}

#[test]
fn upload_quota_is_in_mib_and_auto_follows_the_upload_limit() {
    let quota =
        |pairs: &[(&str, &str)]| load(pairs).unwrap().upload_quota.map(|q| (q.burst, q.window.as_secs()));
    let default = Some((2048 << 10, 86_400));
    assert_eq!(quota(&[]), default);
    assert_eq!(quota(&[("RATE_LIMIT_UPLOAD", "off")]), None);
    assert_eq!(quota(&[("RATE_LIMIT_UPLOAD", "1000/second"), ("UPLOAD_QUOTA", "auto")]), default);
    assert_eq!(quota(&[("UPLOAD_QUOTA", "off")]), None);
    for spelling in ["3MB/2hours", "3 mb per 2 hours"] {
        assert_eq!(quota(&[("RATE_LIMIT_UPLOAD", "off"), ("UPLOAD_QUOTA", spelling)]), Some((3072, 7200)));
    }
    assert_eq!(quota(&[("UPLOAD_QUOTA", "1000000MB/second")]), Some((1_024_000_000, 1)));
    for bad in
        ["2048/day", "0MB/day", "MB/day", "2048MB", "-1MB/day", "1.5MB/day", "1000001MB/day", "2048GB/day"]
    {
        let error = load(&[("UPLOAD_QUOTA", bad)]).err().unwrap().to_string();
        assert!(error.starts_with("UPLOAD_QUOTA=") && error.contains("NMB/day"), "{error}");
    }
}

#[test]
fn public_secret_key_is_refused_where_tokens_matter() {
    for public in ["", "dev-secret", "changeme", "…", "your-secret-key", &"x".repeat(40)] {
        let key = ("SECRET_KEY", public);
        assert_eq!(refused(&[key, ("ENV", "prod")]), ["SECRET_KEY"], "{public}");
        assert_eq!(refused(&[key, ("AUTH_REQUIRED", "true")]), ["SECRET_KEY"], "{public}");
        let provider =
            [("JWKS_FILE", "jwks.json"), ("JWT_ISSUER", "https://id.example"), ("JWT_AUDIENCE", "photos")];
        assert_eq!(refused(&[&[key][..], &provider].concat()), ["SECRET_KEY"], "{public}");
        assert_eq!(refused(&[key]), [""; 0], "{public}");
        assert!(load(&[key]).unwrap().has_public_secret_key(), "{public}");
    }
    assert!(!load(&[("SECRET_KEY", "hunter2")]).unwrap().has_public_secret_key());
}

#[test]
fn secret_key_of_less_than_32_bytes_is_refused_with_env_prod() {
    let with =
        |env: &str, key: &str| refused(&[("ENV", env), ("SECRET_KEY", key), ("AUTH_REQUIRED", "true")]);
    assert_eq!(with("prod", &KEY[1..]), ["SECRET_KEY"]);
    assert_eq!(with("prod", &format!("  {}  ", &KEY[1..])), ["SECRET_KEY"], "white space does not count");
    assert_eq!(with("prod", KEY), [""; 0]);
    assert_eq!(with("prod", &"é7".repeat(11)), [""; 0], "bytes count, not characters");
    assert_eq!(with("dev", "hunter2"), [""; 0]);
}

#[test]
fn previous_secret_key_follows_the_rules_of_the_key() {
    let with = |env: &str, previous: &str| {
        refused(&[("ENV", env), ("SECRET_KEY", KEY), ("SECRET_KEY_PREVIOUS", previous)])
    };
    for env in ["dev", "prod"] {
        for public in ["dev-secret", "change-me", "…", &"x".repeat(40)] {
            assert_eq!(with(env, public), ["SECRET_KEY_PREVIOUS"], "{env} {public}");
        }
        assert_eq!(with(env, ""), [""; 0]);
        assert_eq!(with(env, "a previous key of more than 32 bytes"), [""; 0]);
    }
    assert_eq!(with("prod", "hunter2"), ["SECRET_KEY_PREVIOUS"]);
    assert_eq!(with("dev", "hunter2"), [""; 0]);
    assert_eq!(load(&[]).unwrap().secret_key_previous, None);
    let previous = load(&[("SECRET_KEY_PREVIOUS", "hunter2")]).unwrap().secret_key_previous;
    assert_eq!(previous.as_deref(), Some("hunter2"));
}

#[test]
fn error_shows_a_value_without_its_secret_part() {
    for (name, value, shown) in [
        (
            "DATABASE_URL",
            "postgresql://app:hunter2@db.example/prod?sslmode=allow",
            "\"postgresql://…@db.example/prod\"",
        ),
        (
            "DATABASE_URL",
            "postgresql://app:hunter2@db.example/prod?sslmode=on&password=hunter2",
            "…@db.example/prod\"",
        ),
        ("DATABASE_URL", "postgres://app:hunter2", "\"postgres://…\""),
        ("DATABASE_URL", "postgres://db.example/prod?password=hunter2&sslmode=on", "\"postgres://…\""),
        ("DATABASE_URL", "host=db.example password=hunter2", "\"…\""),
        ("REDIS_URL", ":hunter2@cache.example:6379", "\"…@cache.example:6379\""),
        ("REDIS_URL", "http://cache.example/hunter2", "\"http://…\""),
        ("REDIS_URL", "hunter2", "\"…\""),
        ("MEDIA_BASE_URL", "ftp://me:hunter2@cdn.example", "\"ftp://…@cdn.example\""),
        ("CORS_ORIGINS", "https://me:hunter2@app.example/x", "\"https://…@app.example/x\""),
        ("PORT", "https://me:hunter2@app.example", "\"https://…@app.example\""),
    ] {
        let error = load(&[(name, value)]).err().unwrap().to_string();
        assert!(error.contains(shown) && !error.contains("hunter2"), "{error}");
    }
    for name in ["SECRET_KEY", "SECRET_KEY_PREVIOUS"] {
        let error = load(&[("ENV", "prod"), (name, "hunter2")]).err().unwrap().to_string();
        assert!(
            error.contains(&format!("{name}=\"…\" is not valid")) && !error.contains("hunter2"),
            "{error}"
        );
    }
    let settings = load(&[("DATABASE_URL", "postgresql://app:hunter2@db.example:5433/prod")]).unwrap();
    assert_eq!(format!("{0} {0:?}", settings.database).matches("hunter2").count(), 0);
    assert_eq!(settings.database.to_string(), "postgres://db.example:5433/prod");
}

#[test]
fn media_base_url_that_hides_the_api_is_refused() {
    for base in ["/api", "/api/v1/listings", "/metrics"] {
        assert!(load(&[("MEDIA_BASE_URL", base)]).is_err(), "{base}");
    }
    for base in ["/media", "/static/photos/", "https://cdn.example/api"] {
        assert!(load(&[("MEDIA_BASE_URL", base)]).is_ok(), "{base}");
    }
}

#[test]
fn redis_url_of_another_scheme_or_form_is_refused() {
    assert_eq!(load(&[]).unwrap().redis_url, None);
    for url in ["redis://cache/0", "rediss://user:pass@cache.example:6380/1"] {
        assert_eq!(load(&[("REDIS_URL", url)]).unwrap().redis_url.as_deref(), Some(url));
    }
    for bad in ["cache:6379", "http://cache", "redis://cache/x"] {
        assert!(load(&[("REDIS_URL", bad)]).is_err(), "{bad}");
    }
}

#[test]
fn bucket_is_checked_only_with_media_storage_s3() {
    let named =
        load(&[("S3_BUCKET", "x"), ("S3_ENDPOINT_URL", "of no effect"), ("S3_SECRET_KEY", "k")]).unwrap();
    assert_eq!(named.media_storage, MediaStorage::Local);
    let MediaStorage::Bucket(BucketSettings::S3(bucket)) = load(&[
        ("MEDIA_STORAGE", "s3"),
        ("S3_BUCKET", "photos"),
        ("S3_ENDPOINT_URL", "http://minio:9000/"),
        ("S3_ACCESS_KEY", "me"),
        ("S3_SECRET_KEY", "hunter2"),
        ("S3_PRESIGN_SECONDS", "600"),
    ])
    .unwrap()
    .media_storage
    else {
        panic!("MEDIA_STORAGE=s3 gives S3 settings")
    };
    assert_eq!(bucket.endpoint.as_deref(), Some("http://minio:9000"));
    assert_eq!(bucket.keys, Some(S3Keys::new("me".to_owned(), "hunter2".to_owned())));
    assert_eq!((bucket.region.as_deref(), bucket.presigned_for), (None, Duration::from_secs(600)));
    assert!(!format!("{bucket:?}").contains("hunter2"));
    for (bad, name) in [
        (&[][..], "S3_BUCKET"),
        (&[("S3_BUCKET", "a/b")], "S3_BUCKET"),
        (&[("S3_BUCKET", "photos"), ("S3_ENDPOINT_URL", "minio:9000")], "S3_ENDPOINT_URL"),
        (&[("S3_BUCKET", "photos"), ("S3_ACCESS_KEY", "me")], "S3_SECRET_KEY"),
        (&[("S3_BUCKET", "photos"), ("S3_SECRET_KEY", "hunter2")], "S3_SECRET_KEY"),
        (&[("S3_BUCKET", "photos"), ("S3_PRESIGN_SECONDS", "604801")], "S3_PRESIGN_SECONDS"),
    ] {
        let SettingsError(errors) = load(&[bad, &[("MEDIA_STORAGE", "s3")]].concat()).err().unwrap();
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].starts_with(&format!("{name}=")) && !lines[0].contains("hunter2"), "{lines:?}");
    }
    assert!(load(&[("MEDIA_STORAGE", "gcs")]).is_err());
}

#[test]
fn empty_value_gives_the_default() {
    assert_eq!(load(&[("PORT", "  ")]).unwrap().listen.port(), 8000);
}

fn from_dotenv(text: impl AsRef<[u8]>) -> Result<Source, String> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(".env"), text).unwrap();
    Source::from_process(&dir.path().join(".env"))
}

#[test]
fn dotenv_file_of_the_old_backend_parses() {
    let source = from_dotenv(concat!(
        "MAX_DIM_PX=1200\nUNKNOWN_OF_THE_OLD_BACKEND=${HOME}/x\nexport BARE_NAME\n",
        "FOREIGN='several\nlines'\nCORS_ORIGINS='[\"https://a.example\",\n \"https://b.example\"]'\n",
    ));
    let settings = Settings::load(&source.unwrap()).unwrap();
    assert_eq!(settings.max_dim_px, 1200);
    assert_eq!(
        settings.cors_origins,
        CorsOrigins::Exact(vec!["https://a.example".into(), "https://b.example".into()])
    );
}

#[test]
fn misread_dotenv_line_is_an_error_with_its_number() {
    for (text, expected) in [
        ("ENV=prod\nAUTH_REQUIRED=\"true", ".env line 2 does not parse: the quote"),
        ("ENV=prod\nAUTH_REQUIRED true", ".env line 2 does not parse: it is not NAME=value"),
        // python-dotenv reads the rest without a warning.
        ("\nAUTH_REQUIRED", ".env line 2 does not parse: AUTH_REQUIRED has no value"),
        ("export AUTH_REQUIRED # =true", ".env line 1 does not parse: AUTH_REQUIRED has no value"),
        ("AUTH_REQUIERD", ".env line 1 does not parse: AUTH_REQUIERD has no value"),
        ("AUTH_REQUIRED:true", ".env line 1 does not parse: AUTH_REQUIRED:true has no value"),
        ("SECRET_KEY=\"hunter2\nDEBUG=\"", ".env line 1 does not parse: the value of SECRET_KEY runs over"),
        (
            "X=1\nNOTE='hunter2\nAUTH_REQUIRED = true\n'",
            ".env line 2 does not parse: the value of NOTE contains the line of AUTH_REQUIRED",
        ),
        ("'X\nAUTH_REQUIRED=true\n'=1", ".env line 1 does not parse: a quoted name runs over"),
        (
            "DATABASE_URL=sled:${HOME}/hunter2",
            ".env line 1 does not parse: ${…} in the value of DATABASE_URL",
        ),
        ("SECRET_KEY='${hunter2:-hunter2}'", ".env line 1 does not parse: ${…} in the value of SECRET_KEY"),
    ] {
        let error = from_dotenv(text).unwrap_err();
        assert!(error.starts_with(expected) && !error.contains("hunter2"), "{text}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    let error = from_dotenv(b"A=1\r\nB=2\r\nC=\xFF\r\n").unwrap_err();
    assert_eq!(error, ".env line 3 does not parse: it is not UTF-8");
    assert_eq!(from_dotenv("a b\nX='\n").unwrap_err().lines().count(), 2);
}

#[test]
fn unreadable_dotenv_file_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(".env");
    assert!(Source::from_process(&path).is_ok());
    std::os::unix::fs::symlink(dir.path().join("gone"), &path).unwrap();
    assert!(Source::from_process(&path).unwrap_err().contains("cannot be read"));
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(Source::from_process(&path).unwrap_err().contains("cannot be read"));
}

#[test]
fn origins_that_may_be_fetched_are_wildcards_of_https_and_names() {
    let allowed = |value: &str| load(&[("FETCH_ALLOW", value)]).map(|settings| settings.fetch_allow);
    assert_eq!(load(&[]).unwrap().fetch_allow, allowed("https://*").unwrap());
    assert!(!load(&[]).unwrap().fetch_enabled);
    allowed(r#"["https://*.example.com", "http://10.0.0.5:9000"]"#).unwrap();
    for bad in ["[]", "*", "http://*", "https://*:8443", "example.com", "https://a.example/path"] {
        assert_eq!(refused(&[("FETCH_ALLOW", bad)]), ["FETCH_ALLOW"], "{bad}");
    }
}

#[test]
fn identity_provider_has_one_source_of_keys_an_issuer_and_an_audience() {
    const URL: (&str, &str) = ("JWKS_URL", "https://id.example/certs");
    const FILE: (&str, &str) = ("JWKS_FILE", "jwks.json");
    const KEY_OF_OUR_OWN: (&str, &str) = ("SECRET_KEY", "of our own");
    const WHO: [(&str, &str); 3] =
        [("JWT_ISSUER", "https://id.example"), KEY_OF_OUR_OWN, ("JWT_AUDIENCE", "photos")];
    const PROD: [(&str, &str); 2] = [("ENV", "prod"), ("SECRET_KEY", "of-our-own-and-of-32-bytes-or-more")];
    let loaded = |pairs: &[&[(&str, &str)]]| load(&pairs.concat()).map(|settings| settings.provider);
    assert_eq!(loaded(&[&WHO]).unwrap(), None);
    let provider = loaded(&[&[URL], &WHO]).unwrap().unwrap();
    assert_eq!((provider.issuer.as_str(), provider.audience.as_str()), ("https://id.example", "photos"));
    assert_eq!(provider.keys, KeySource::Url("https://id.example/certs".parse().unwrap()));
    let file = loaded(&[&[FILE], &WHO]).unwrap().unwrap();
    assert_eq!(file.keys, KeySource::File("jwks.json".into()));
    for url in ["http://127.0.0.1:9/", "http://[::1]/certs", "http://localhost:8080/certs", URL.1] {
        assert!(loaded(&[&[("JWKS_URL", url)], &WHO]).is_ok(), "{url}");
        assert_eq!(loaded(&[&[("JWKS_URL", url)], &WHO, &PROD]).is_ok(), url == URL.1, "{url}");
    }
    let with_url = |url| loaded(&[&[("JWKS_URL", url)], &WHO]).unwrap_err().to_string();
    for url in
        ["http://id.example/", "http://10.0.0.1/", "http://localhost.example/", "ftp://127.0.0.1/", "certs"]
    {
        assert!(with_url(url).starts_with("JWKS_URL="), "{url}");
    }
    assert!(!with_url("https://name:word@id.example/").contains("word"));
    let refused = |pairs: &[&[(&str, &str)]]| loaded(pairs).unwrap_err().to_string();
    assert!(refused(&[&[URL, FILE], &WHO]).starts_with("JWKS_FILE="));
    assert!(refused(&[&[URL], &WHO[..2]]).starts_with("JWT_AUDIENCE="));
    assert!(refused(&[&[FILE], &WHO[1..]]).starts_with("JWT_ISSUER="));
    let both = refused(&[&[URL, KEY_OF_OUR_OWN]]);
    assert!(both.contains("JWT_ISSUER=") && both.contains("JWT_AUDIENCE="), "{both}");
}
