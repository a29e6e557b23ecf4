//! End-to-end tests: the real binary on a free port, real HTTP clients, real photos.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod architecture;
mod backup;
mod backup_load;
mod backup_online;
mod bit_rot;
mod bucket;
#[path = "../cluster/mod.rs"]
mod cluster;
#[path = "../common/mod.rs"]
mod common;
mod connections;
mod corpus;
mod crash;
mod deduplication;
mod dependencies;
mod disk;
mod erasure;
mod events;
mod facts;
mod fairness;
mod fetch;
mod forms;
mod healthcheck;
mod http2;
mod http_clients;
mod idempotency;
mod instances;
mod jpeg;
mod js_client;
mod lifecycle;
mod listings;
mod log;
mod maintenance;
mod manual;
mod many_drafts;
mod media;
mod metadata;
mod migrate_store;
mod model;
mod monitoring;
mod old_versions;
mod openapi;
mod overload;
mod pictures;
mod pillow;
mod postgres;
mod problems;
mod prometheus_server;
mod protocol;
mod quota;
mod recipes;
mod reconcile;
mod redis;
mod redis_server;
mod refusals;
mod reload;
mod renditions;
mod renditions_eager;
mod restarts;
mod resumable_forms;
mod s3;
mod settings;
mod slow_clients;
mod soak;
mod streaming;
mod support;
mod tokens;
#[cfg(feature = "otlp")]
mod traces;
mod upload_leftovers;
mod upload_page;
mod uploads;
mod web;
mod webhook;
