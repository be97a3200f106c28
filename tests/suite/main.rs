//! The suites: each file holds one, and its tests are named as sentences.

mod errors;
mod first_steps;
mod layering;
