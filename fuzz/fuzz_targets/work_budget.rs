#![no_main]

#[global_allocator]
static ALLOCATOR: vintedbot_ingest_fuzz::Counting = vintedbot_ingest_fuzz::Counting;

vintedbot_ingest_fuzz::target!(work_budget);
