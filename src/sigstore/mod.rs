//! Sigstore: what `cosign` signs and attests, as values and pure checks. Called by the Cosign verifier and by
//! `ratifyctl verify-bundle`. Never opens a file, asks no clock and no network.

use aws_lc_rs::digest;

pub mod bundle;
pub mod certificate;
pub mod dsse;
pub mod identity;
pub mod key;
pub mod log;
pub mod sct;
pub mod tag;
#[cfg(test)]
pub(crate) mod testing;
mod times;
pub mod trusted_root;
pub mod verify;

/// The SHA-256 of some parts, one after the other.
fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    parts.iter().for_each(|part| context.update(part));
    let mut hash = [0; 32];
    hash.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
    hash
}
