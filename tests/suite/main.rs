//! The suites: each file holds one, and its tests are named as sentences.
#![cfg(test)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "all of this crate is tests, its helpers too"
)]

mod access;
mod audit;
mod audit_hash;
mod audit_logs;
mod batch;
mod canary;
mod cli;
mod contract;
mod crypt;
mod emergency;
mod errors;
mod faults;
mod first_steps;
mod keys;
mod layering;
mod life;
mod limits;
mod matrix;
mod memory;
mod outside;
mod papers;
mod pieces;
mod policy;
mod pressure;
mod records;
mod roots;
mod shared;
mod sinks;
mod streams;
mod tokens;
mod witness;
