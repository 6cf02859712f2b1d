//! ratifyd: image verification for container nodes, without Kubernetes.
//!
//! The modules stand in the order of the story, from the doorways down to the words, and a module imports only
//! modules below its own line: `tests/layering.rs` reads this list and keeps it so. The makers, modules inside
//! `verifier` and `store`, rank between the executor and the seams; only `assemble` names them.

#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::as_conversions)
)]

// The doorways, one for each binary.
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "daemon")]
pub mod daemon;
#[cfg(feature = "shim")]
pub mod shim;

// containerd, as its clients see it.
#[cfg(feature = "containerd")]
pub mod containerd;

// Both ends of the socket.
#[cfg(feature = "daemon")]
pub mod service;
#[cfg(any(feature = "shim", feature = "cli"))]
pub mod client;

// What is in force on the node, and how it is put together.
#[cfg(feature = "daemon")]
pub mod live;
#[cfg(all(feature = "registry", feature = "notation", feature = "cosign"))]
pub mod assemble;

// Plugins as OCI artifacts: found, judged and kept before anybody needs them.
#[cfg(feature = "runner")]
pub mod plugin;

// The story of one pull: in scope, remembered or walked, decided.
#[cfg(feature = "core")]
pub mod admission;
#[cfg(feature = "core")]
pub mod memo;
#[cfg(feature = "core")]
pub mod executor;

// Seams and checked data.
#[cfg(feature = "core")]
pub mod policy;
#[cfg(feature = "core")]
pub mod verifier;
#[cfg(feature = "core")]
pub mod store;
#[cfg(feature = "notation")]
pub mod revocation;
#[cfg(all(feature = "registry", feature = "notation"))]
pub mod keyvault;
#[cfg(all(feature = "registry", feature = "cosign"))]
pub mod tuf;
#[cfg(feature = "cosign")]
pub mod sigstore;
#[cfg(feature = "pki")]
pub mod pki;
#[cfg(feature = "runner")]
pub mod runner;
#[cfg(feature = "registry")]
pub mod azure;
#[cfg(feature = "core")]
pub mod trust;
#[cfg(feature = "core")]
pub mod config;
#[cfg(feature = "wire")]
pub mod wire;
#[cfg(feature = "core")]
pub mod metrics;
#[cfg(feature = "core")]
pub mod cache;
#[cfg(feature = "core")]
pub mod room;

// Words: plain values; no async, no I/O, no clock.
#[cfg(feature = "core")]
pub mod report;
pub mod verdict;
#[cfg(feature = "core")]
pub mod scope;
#[cfg(feature = "core")]
pub mod reference;
pub mod artifact;
#[cfg(feature = "core")]
pub mod secret;
pub mod json;
pub mod limits;
