//! Keypod: a key management and encryption sidecar.
//!
//! The layers, top to bottom; an arrow runs down only (the test `layering` holds this):
//!
//! ```text
//! cli ─┐
//!      ├─> app ─> http ─> service ─> limits, policy, emergency, keyring, envelope
//!                  http ─> identity ─> policy::Identity, root, clock
//! config, telemetry         emergency ─> policy::Permit, clock
//!                           keyring ─> policy::Permit, root, store, envelope, clock
//!                           everything ─> secret, names
//! ```

#![warn(missing_docs)]

#[cfg(test)]
mod alone;
pub mod app;
pub mod audit;
pub mod cli;
pub mod clock;
pub mod config;
pub mod emergency;
pub mod envelope;
pub mod error_chain;
pub mod file;
mod flight;
pub mod http;
pub mod identity;
pub mod keyring;
pub mod limits;
pub mod names;
pub mod policy;
pub mod process;
pub mod root;
pub mod secret;
pub mod service;
pub mod sinks;
pub mod store;
pub mod telemetry;
mod tls;
mod unreached;
pub mod witness;
