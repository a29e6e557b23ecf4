//! A streaming media-ingest server: phones upload photos in bulk, each request becomes a draft listing.
//!
//! [`app::App`] connects the rooms, which `ARCHITECTURE.md` shows. Dependencies point downwards only: `api` knows `ingest`,
//! which knows `imaging` and `publication`. The latter knows `media` and [`catalog`], which know nothing of each other.

pub mod allocator;
mod api;
pub mod app;
mod auth;
mod backup;
mod blocking;
#[cfg(test)]
#[path = "../tests/it/bucket.rs"]
mod bucket;
pub mod budget;
pub mod catalog;
pub mod cli;
pub mod commands;
#[cfg(test)]
#[path = "../tests/common/mod.rs"]
mod common;
pub mod config;
mod control;
pub mod disk;
#[cfg(test)]
mod docs;
mod error_chain;
mod events;
mod fetch;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod global_address;
pub mod imaging;
pub mod ingest;
mod jitter;
mod listings;
mod maintenance;
pub mod manual;
mod media;
pub mod model;
#[cfg(feature = "otlp")]
pub mod otlp;
mod outbound;
mod page_cache;
mod partial;
mod publication;
mod ratelimit;
mod recent_check;
pub mod reload;
mod renditions;
pub mod server;
mod stores;
pub mod supervisor;
mod sync;
pub mod telemetry;
mod tls;
mod upload_page;
mod uploads;
mod web;

pub use self::web::problem::ProblemKind;
