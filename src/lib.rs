//! ratifyd: image verification for container nodes, without Kubernetes.
//!
//! The modules stand in the order of the story, from the doorways down to the words. A module imports only
//! modules below it; `tests/layering.rs` reads this list and keeps it so.

#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::as_conversions)
)]

// seams and checked data
#[cfg(feature = "core")]
pub mod verifier;
#[cfg(feature = "core")]
pub mod store;
#[cfg(feature = "notation")]
pub mod pki;

// words: plain values; no async, no I/O, no clock
pub mod verdict;
pub mod report;
#[cfg(feature = "core")]
pub mod reference;
pub mod artifact;
pub mod json;
pub mod limits;
