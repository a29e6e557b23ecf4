#![no_main]

vintedbot_ingest_fuzz::target!(exif_orientation);
