#![no_main]

vintedbot_ingest_fuzz::target!(range_header);
