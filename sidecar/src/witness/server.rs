//! A small witness: it cosigns what leads on from what it has cosigned before, and refuses everything else.
//!
//! Logs are learned by their certificates (`POST /add-log`), or named by the operator. It speaks plain HTTP on loopback or
//! a Unix socket: TLS is for who stands in front. Nothing is taken before a signature by a known key was verified, and
//! everything that is taken is bounded: bodies, connections, time, chains.

mod listen;
mod witness;

pub use listen::{Address, ListenError, serve};
pub use witness::{Witness, WitnessError, WitnessSettings};
