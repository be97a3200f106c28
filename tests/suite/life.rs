//! How a sidecar ends, in order or at any moment, and what is there when it starts again.

mod drain;
mod kill;
mod known;
mod usage;
