//! What a user sees: the real binary on a free port, real HTTP clients, real photos.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod again;
mod backup;
mod bucket;
mod clients;
#[path = "../cluster/mod.rs"]
mod cluster;
mod connections;
mod corpus;
mod crash;
mod dependencies;
mod disk;
mod fairness;
mod forms;
mod http2;
mod instances;
mod jpeg;
mod life;
mod log;
mod many;
mod media;
mod metadata;
mod migrate_store;
mod openapi;
mod overload;
mod pictures;
mod pillow;
mod postgres;
mod problems;
mod protocol;
mod quota;
mod reconcile;
mod redis;
mod redis_server;
mod refusals;
mod rot;
mod s3;
mod settings;
mod slow;
mod soak;
mod streaming;
mod support;
mod tokens;
mod web;
