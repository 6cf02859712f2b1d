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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::Trust;
    use super::super::testing::*;
    use super::super::verify::verify_envelope;
    use crate::config::{Action, Level, StoreType, VerifyTimestamp};
    use crate::pki::testing::{DAY, INTERMEDIATE, Kind, LEAF, NOW, ROOT, Template, at, chain, chain_of, tlv};
    use crate::pki::timestamp::testing::{Token, authority_chain};
    use crate::pki::{Certificate, parse_rfc3339};
    use crate::report::{Outcome, Stage, Validation};

    /// Trust in the signer and in the timestamp authority.
    fn trust() -> Trust {
        let stores =
            vec![(StoreType::Ca, chain().split_off(2)), (StoreType::Tsa, authority_chain(Kind::P256).split_off(2))];
        Trust::of(stores, &[IDENTITY.to_owned()]).unwrap()
    }

    fn judge(envelope: &[u8], trust: &Trust, now: u64) -> Outcome {
        verify_envelope("application/jose+json", envelope, &subject(), trust, at(now))
    }

    #[track_caller]
    fn refused(outcome: Outcome, expected: &str) {
        match outcome {
            Outcome::Failed(failure) => {
                assert!(
                    failure.stage == Stage::Expiry && failure.cause.contains(expected),
                    "{expected:?}: {failure:?}"
                );
            }
            other => panic!("{expected:?}: {other:?}"),
        }
    }

    /// Long after all certificates have ended.
    const LATER: u64 = NOW + 1000 * DAY;

    #[test]
    fn a_stamped_signature_outlives_its_certificates_and_those_of_the_authority() {
        let envelope = stamped(&Draft::new(), Token::over);
        for now in [NOW, LATER] {
            assert_eq!(passed(judge(&envelope, &trust(), now)).valid_until, None);
        }
        let without = super::super::testing::trust();
        assert_eq!(passed(judge(&envelope, &without, NOW)).valid_until, Some(NOW + 100 * DAY));
        refused(judge(&envelope, &without, LATER), "expired at");
    }

    #[test]
    fn after_certificates_ended_alone_a_timestamp_may_be_asked_for() {
        let trust = trust().at(Level::STRICT, VerifyTimestamp::AfterCertExpiry);
        let bare = Draft::new().sign();
        let end = NOW + 100 * DAY;
        for now in [NOW, end] {
            assert_eq!(passed(judge(&bare, &trust, now)).valid_until, Some(end), "until it is asked for");
        }
        refused(judge(&bare, &trust, end + 1), "the signature has no timestamp countersignature");
        let early = NOW - 101 * DAY;
        refused(judge(&bare, &trust, early), "is valid from");
        let envelope = stamped(&Draft::new(), Token::over);
        assert_eq!(passed(judge(&envelope, &trust, end)).valid_until, Some(end));
        assert_eq!(passed(judge(&envelope, &trust, end + 1)).valid_until, None);
        let broken = stamped(&Draft::new(), |_| Token::over(b"something else"));
        assert_eq!(passed(judge(&broken, &trust, end)).valid_until, Some(end));
        refused(judge(&broken, &trust, end + 1), "does not count: it stamps something else");
    }

    #[test]
    fn a_signature_without_a_timestamp_is_refused_where_one_is_asked_for() {
        for draft in [Draft::new(), Draft::new().unprotected(HEADER, json!(""))] {
            refused(
                judge(&draft.sign(), &trust(), NOW),
                "has no timestamp countersignature, and the trust policy asks",
            );
        }
    }

    #[test]
    fn a_timestamp_that_does_not_hold_is_refused_with_its_cause() {
        let draft = Draft::new();
        refused(
            judge(&stamped(&draft, |_| Token::over(b"another signature")), &trust(), NOW),
            "the timestamp countersignature does not count: it stamps something else than this signature",
        );
        let garbage = draft.clone().unprotected(HEADER, json!("MAA=")).sign();
        refused(judge(&garbage, &trust(), NOW), "does not count: it cannot be read as signed data");
        let stranger = vec![(StoreType::Ca, chain().split_off(2)), (StoreType::Tsa, chain().split_off(2))];
        let stranger = Trust::of(stranger, &[IDENTITY.to_owned()]).unwrap();
        let envelope = stamped(&draft, Token::over);
        refused(judge(&envelope, &stranger, NOW), "its authority CN=stamps,O=tsa,C=US is not trusted");
    }

    #[test]
    fn every_certificate_of_the_signer_is_valid_over_the_whole_range() {
        let tight = |template: Template| Template { not_before: NOW - 10, not_after: NOW + 10, ..template };
        let (leaf, middle, root) =
            (Template::leaf(LEAF, INTERMEDIATE), Template::ca(INTERMEDIATE, ROOT), Template::ca(ROOT, ROOT));
        let chains: [Vec<Certificate>; 3] = [
            chain_of(&tight(leaf.clone()), &middle, &root),
            chain_of(&leaf, &tight(middle.clone()), &root),
            chain_of(&leaf, &middle, &tight(root)),
        ];
        for signer in &chains {
            let stores = vec![
                (StoreType::Ca, vec![signer[2].clone()]),
                (StoreType::Tsa, authority_chain(Kind::P256).split_off(2)),
            ];
            let trust = Trust::of(stores, &[IDENTITY.to_owned()]).unwrap();
            let outcome = |time: &str, seconds: u8| {
                let draft = Draft::by(Kind::P256, "ES256", signer);
                let accuracy = tlv(0x30, &[2, 1, seconds]);
                let envelope = stamped(&draft, |signature| Token::over(signature).at(time).rest(&accuracy));
                judge(&envelope, &trust, LATER)
            };
            for (time, seconds) in [
                ("20270115080000Z", 0),
                ("20270115080000Z", 10),
                ("20270115080010Z", 0),
                ("20270115075950Z", 0),
                ("20270115080005Z", 5),
            ] {
                assert_eq!(passed(outcome(time, seconds)).valid_until, None, "{time} {seconds}");
            }
            let (early, late) = ("by its timestamp, and certificate", "expired at 2027-01-15T08:00:10Z");
            refused(outcome("20270115080000Z", 11), early);
            refused(outcome("20270115080001Z", 10), late);
            refused(outcome("20270115075959Z", 10), "is valid from 2027-01-15T07:59:50Z");
            refused(outcome("20270115080010.001Z", 0), late);
            refused(outcome("20270115075949.999Z", 0), early);
        }
    }

    #[test]
    fn a_level_that_only_logs_says_what_did_not_hold() {
        let level = Level { authentic_timestamp: Action::Log, ..Level::STRICT };
        let pass = passed(judge(&Draft::new().sign(), &trust().at(level, VerifyTimestamp::Always), LATER));
        assert_eq!(pass.logged.len(), 1);
        assert_eq!(pass.logged[0].validation, Validation::AuthenticTimestamp);
        assert!(pass.logged[0].cause.contains("has no timestamp countersignature"), "{:?}", pass.logged);
        let level = Level { authentic_timestamp: Action::Skip, ..Level::STRICT };
        let pass = passed(judge(&Draft::new().sign(), &trust().at(level, VerifyTimestamp::Always), NOW));
        assert_eq!(pass.logged, []);
    }

    #[test]
    fn timestamps_by_every_kind_of_key_over_signatures_by_every_kind_of_key() {
        let authorities = [Kind::P256, Kind::P384, Kind::P521, Kind::Rsa2048, Kind::Rsa3072, Kind::Rsa4096];
        let algorithms = ["ES256", "ES384", "ES512", "PS256", "PS384", "PS512"];
        for (signer, algorithm) in authorities.into_iter().zip(algorithms) {
            let draft = Draft::by(signer, algorithm, &chain_for(signer));
            for authority in authorities {
                let envelope = stamped(&draft, |signature| Token::by(authority, signature));
                passed(judge(&envelope, &trust(), LATER));
            }
        }
    }

    /// A timestamp cannot be put before a signature's own certificates, nor be taken from another signature.
    #[test]
    fn the_signers_own_word_for_the_time_counts_for_nothing() {
        let draft = Draft::new().set("io.cncf.notary.signingTime", Value::from("2020-01-01T00:00:00Z"));
        passed(judge(&stamped(&draft, Token::over), &trust(), LATER));
        let early = |signature: &[u8]| Token::over(signature).at("20261006080000Z");
        assert_eq!(parse_rfc3339("2026-10-07T08:00:00Z"), Some(at(NOW - 100 * DAY)));
        refused(judge(&stamped(&Draft::new(), early), &trust(), NOW), "its authority, at the stamped time");
    }
}
