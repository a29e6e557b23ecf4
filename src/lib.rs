//! A streaming media-ingest server: phones upload photos in bulk, each request becomes a draft listing.
//!
//! [`app::App`] joins the rooms; `ARCHITECTURE.md` has the picture. Dependencies point downwards only: `api` knows `ingest`,
//! which knows `imaging` and `publication`. The latter knows [`media`] and [`catalog`], which know nothing of each other.

mod allocator;
pub mod api;
pub mod app;
pub mod auth;
pub mod backup;
mod blocking;
pub mod budget;
pub mod catalog;
pub mod cli;
pub mod commands;
#[cfg(test)]
#[path = "../tests/common/mod.rs"]
mod common;
pub mod config;
pub mod disk;
#[cfg(test)]
mod docs;
pub mod error_chain;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod imaging;
pub mod ingest;
pub mod jitter;
pub mod maintenance;
pub mod media;
pub mod model;
pub mod publication;
pub mod ratelimit;
pub mod server;
pub mod stores;
mod sync;
pub mod telemetry;
pub mod tls;
pub mod web;
