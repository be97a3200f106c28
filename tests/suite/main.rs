//! The suites: each file holds one, and its tests are named as sentences.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "all of this crate is tests, its helpers too"
)]

mod access;
mod batch;
mod cli;
mod contract;
mod crypt;
mod errors;
mod first_steps;
mod keys;
mod layering;
mod records;
mod streams;
