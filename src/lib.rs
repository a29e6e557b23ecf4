//! scaffolding
#![deny(missing_docs)]
pub mod budget;
pub mod catalog;
pub mod config;
pub mod imaging;
pub mod media;
pub mod model;
pub mod ratelimit;
