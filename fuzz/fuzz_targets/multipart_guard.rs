#![no_main]

vintedbot_ingest_fuzz::target!(multipart_guard);
