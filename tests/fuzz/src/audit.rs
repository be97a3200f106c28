//! The reading side of the audit log, as the sidecar has it, without the writer.

pub mod prove;
pub mod reader;
pub mod verify;
