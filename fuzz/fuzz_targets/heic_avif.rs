#![no_main]

vintedbot_ingest_fuzz::target!(heic_avif);
