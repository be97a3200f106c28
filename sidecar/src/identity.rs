//! Says who is calling: from what a connection and a request's headers present to a [`crate::policy::Caller`].
//!
//! Depends on [`crate::names`], [`crate::clock`] and the type of a caller. It never decides what a caller may do.

pub mod issuers;
