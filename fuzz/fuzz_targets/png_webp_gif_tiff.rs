#![no_main]

vintedbot_ingest_fuzz::target!(png_webp_gif_tiff);
