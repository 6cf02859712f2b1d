//! Sigstore: what `cosign` signs and attests, as values and pure checks. Called by the Cosign verifier and by
//! `ratifyctl verify-bundle`. Never opens a file, asks no clock and no network.

pub mod bundle;
pub mod certificate;
pub mod dsse;
pub mod identity;
pub mod key;
pub mod log;
