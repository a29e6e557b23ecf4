//! Clients
