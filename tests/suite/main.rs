//! The suites: each file holds one, and its tests are named as sentences.
#![cfg(test)]

mod canary;
mod faults;
mod first_steps;
mod layering;
mod life;
mod memory;
mod outside;
mod pieces;
mod pressure;
