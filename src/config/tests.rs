use super::*;

fn load(pairs: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    Settings::load(&Source::from_pairs(pairs.iter().copied()))
}

#[test]
fn defaults_are_those_of_the_contract() {
    let settings = load(&[]).unwrap();
    assert_eq!(settings.listen.to_string(), "127.0.0.1:8000");
    assert_eq!(settings.database, Database::Sled(PathBuf::from("data/db")));
    assert_eq!(settings.media_root, PathBuf::from("data/uploads"));
    assert_eq!(settings.media_base_url, "/media");
    assert_eq!(settings.max_uploads_per_request, 20);
    assert_eq!(settings.max_file_bytes, 15 << 20);
    assert_eq!(settings.jpeg_quality, 80);
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
fn every_bad_value_is_reported_at_once_by_name_value_and_what_is_accepted() {
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
fn lists_are_json_or_comma_separated() {
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
fn quotas_are_read_as_the_old_backend_wrote_them() {
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

#[test]
fn upload_quota_is_read_in_mib_and_auto_follows_the_upload_limit() {
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
fn production_refuses_the_default_secret_and_never_prints_another() {
    let error = load(&[("ENV", "prod")]).err().unwrap().to_string();
    assert!(error.starts_with("SECRET_KEY="), "{error}");
    assert!(load(&[("ENV", "prod"), ("SECRET_KEY", "hunter2")]).is_ok());
    for (url, shown) in [
        ("postgresql://app:hunter2@db.example/prod?sslmode=allow", "\"postgresql://…@db.example/prod\""),
        ("postgresql://app:hunter2@db.example/prod?sslmode=on&password=hunter2", "…@db.example/prod\""),
        ("postgres://app:hunter2", "\"postgres://…\""),
        ("postgres://db.example/prod?password=hunter2&sslmode=on", "\"postgres://…\""),
    ] {
        let error = load(&[("DATABASE_URL", url)]).err().unwrap().to_string();
        assert!(error.contains(shown) && !error.contains("hunter2"), "{error}");
    }
    let settings = load(&[("DATABASE_URL", "postgresql://app:hunter2@db.example:5433/prod")]).unwrap();
    assert_eq!(format!("{0} {0:?}", settings.database).matches("hunter2").count(), 0);
    assert_eq!(settings.database.to_string(), "postgres://db.example:5433/prod");
}

#[test]
fn media_is_not_served_over_the_api() {
    for base in ["/api", "/api/v1/listings", "/metrics"] {
        assert!(load(&[("MEDIA_BASE_URL", base)]).is_err(), "{base}");
    }
    for base in ["/media", "/static/photos/", "https://cdn.example/api"] {
        assert!(load(&[("MEDIA_BASE_URL", base)]).is_ok(), "{base}");
    }
}

#[test]
fn redis_is_named_by_a_url() {
    assert_eq!(load(&[]).unwrap().redis_url, None);
    for url in ["redis://cache/0", "rediss://user:pass@cache.example:6380/1"] {
        assert_eq!(load(&[("REDIS_URL", url)]).unwrap().redis_url.as_deref(), Some(url));
    }
    for bad in ["cache:6379", "http://cache", "redis://cache/x"] {
        assert!(load(&[("REDIS_URL", bad)]).is_err(), "{bad}");
    }
}

#[test]
fn a_bucket_is_asked_for_where_it_is_needed() {
    let named =
        load(&[("S3_BUCKET", "x"), ("S3_ENDPOINT_URL", "of no effect"), ("S3_SECRET_KEY", "k")]).unwrap();
    assert_eq!(named.media_storage, MediaStorage::Local);
    let MediaStorage::S3(bucket) = load(&[
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
        panic!("s3 was asked for")
    };
    assert_eq!(bucket.endpoint.as_deref(), Some("http://minio:9000"));
    assert_eq!(bucket.keys, Some(("me".to_owned(), "hunter2".to_owned())));
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
fn an_empty_value_is_as_good_as_none() {
    assert_eq!(load(&[("PORT", "  ")]).unwrap().listen.port(), 8000);
}

#[test]
fn the_environment_wins_over_the_dotenv_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(".env");
    std::fs::write(&file, "MAX_DIM_PX=1200\nUNKNOWN_OF_THE_OLD_BACKEND=1\nCORS_ORIGINS=[\"https://a.example\", \"https://b.example\"]\n").unwrap();
    let settings = Settings::load(&Source::from_process(&file).unwrap()).unwrap();
    assert_eq!(settings.max_dim_px, 1200);
    assert_eq!(
        settings.cors_origins,
        CorsOrigins::Exact(vec!["https://a.example".into(), "https://b.example".into()])
    );
}
