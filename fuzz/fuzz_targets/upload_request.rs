#![no_main]

vintedbot_ingest_fuzz::target!(upload_request);
