//! The timestamp countersignature of an envelope: proof that the signature was made before some moment ("Timestamp
//! Countersignature Verification details"). Called by [`super::verify`] where the trust policy asks for one; what a
//! timestamp must be is [`crate::pki::timestamp`]'s. Never asks whether the authority's certificates were taken back.

use std::time::SystemTime;

use super::envelope::Envelope;
use super::verify::Unmet;
use crate::pki::timestamp::{self, Timestamp};
use crate::pki::{Certificate, rfc3339};
use crate::report::Stage;

/// A timestamp of a trusted authority.
#[derive(Debug)]
pub(super) struct Stamp(Timestamp);

impl Stamp {
    /// The authority's certificates, leaf first.
    pub(super) fn chain(&self) -> &[Certificate] {
        &self.0.chain
    }

    /// The latest moment at which it was made.
    pub(super) fn latest(&self) -> SystemTime {
        self.0.latest
    }
}

/// Checks that an envelope has a timestamp by one of these authorities, of a time at which all its certificates were
/// valid. What it says of the past holds for good: that a certificate expires later changes nothing of it.
pub(super) fn check(envelope: &Envelope, authorities: &[Certificate]) -> Result<Stamp, Unmet> {
    let Some(token) = envelope.timestamp.as_deref().filter(|token| !token.is_empty()) else {
        let cause = "the signature has no timestamp countersignature, and the trust policy asks for one";
        return Err(failed(cause.to_owned()));
    };
    let timestamp = timestamp::verify(token, &envelope.signature, authorities)
        .map_err(|cause| failed(format!("the timestamp countersignature does not count: {cause}")))?;
    envelope.chain.iter().try_for_each(|certificate| check_valid(certificate, &timestamp))?;
    Ok(Stamp(timestamp))
}

/// "Validate that the time range from `timeStampLowerLimit` to `timeStampUpperLimit` is entirely within the signing
/// certificate chain's validity period."
fn check_valid(certificate: &Certificate, timestamp: &Timestamp) -> Result<(), Unmet> {
    let Timestamp { earliest, latest, .. } = *timestamp;
    let (not_before, not_after) = (certificate.not_before(), certificate.not_after());
    let subject = certificate.subject();
    if earliest < not_before {
        let (earliest, not_before) = (rfc3339(earliest), rfc3339(not_before));
        return Err(failed(format!(
            "the signature may have been made at {earliest} by its timestamp, and certificate {subject} is valid from {not_before}"
        )));
    }
    if latest > not_after {
        let (latest, not_after) = (rfc3339(latest), rfc3339(not_after));
        return Err(failed(format!(
            "the signature may have been made at {latest} by its timestamp, and certificate {subject} expired at {not_after}"
        )));
    }
    Ok(())
}

fn failed(cause: String) -> Unmet {
    Unmet::Failed(Stage::Expiry, cause)
}
