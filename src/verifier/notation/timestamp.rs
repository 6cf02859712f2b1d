//! The timestamp countersignature of an envelope: proof that the signature was made before some moment ("Timestamp
//! Countersignature Verification details").

use std::time::SystemTime;

use super::envelope::Envelope;
use super::verify::Unmet;
use crate::pki::Certificate;
use crate::report::{Fault, Stage};

/// A timestamp of a trusted authority.
#[derive(Debug)]
pub(super) struct Stamp {
    chain: Vec<Certificate>,
    latest: SystemTime,
}

impl Stamp {
    /// The authority's certificates, leaf first.
    pub(super) fn chain(&self) -> &[Certificate] {
        &self.chain
    }

    /// The latest moment at which it was made.
    pub(super) fn latest(&self) -> SystemTime {
        self.latest
    }
}

/// Checks that an envelope has a timestamp by one of these authorities, of a time at which all its certificates were
/// valid.
pub(super) fn check(envelope: &Envelope, _authorities: &[Certificate]) -> Result<Stamp, Unmet> {
    if envelope.timestamp.is_none() {
        let cause = "the signature has no timestamp countersignature, and the trust policy asks for one";
        return Err(Unmet::Failed(Stage::Expiry, cause.to_owned()));
    }
    Err(Unmet::Fault(Fault::new("timestamp countersignatures are not supported yet")))
}
