//! The suites: each file holds one, and its tests are named as sentences.
#![cfg(test)]

mod first_steps;
mod layering;
mod memory;
mod papers;
