//! What a user sees: the real binary on a free port, real HTTP clients, real photos.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod again;
mod bucket;
mod clients;
#[path = "../cluster/mod.rs"]
mod cluster;
mod corpus;
mod crash;
mod custody;
mod disk;
mod http2;
mod instances;
mod jpeg;
mod life;
mod many;
mod media;
mod metadata;
mod moving;
mod overload;
mod pictures;
mod pillow;
mod postgres;
mod protocol;
mod reconcile;
mod redis;
mod redis_server;
mod refusals;
mod s3;
mod slow;
mod soak;
mod streaming;
mod support;
mod tokens;
mod web;
