//! Judges a signature envelope, step by step in the order of the specification (trust store and trust policy
//! specification, "Signature Verification", "Steps"). Pure: bytes, trust and the moment in, finding out. What others must
//! be asked for, revocation and plugins, is left to [`super::NotationVerifier`], which brings their answers to
//! [`Sound`]. What cannot be checked is a fault, never a pass.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize;

use super::cose;
use super::envelope::{Algorithm, Demand, Envelope, Scheme};
use super::jws;
use super::timestamp::{self, Stamp};
use super::trust::Trust;
use crate::artifact::{Descriptor, Digest};
use crate::config::{Action, VerifyTimestamp};
use crate::json;
use crate::limits;
use crate::pki::{Certificate, chain, rfc3339};
use crate::report::{Failure, Fault, Logged, Outcome, Pass, Stage, Validation};
use crate::verdict;

/// Judges one envelope of a media type: whether it is a sound signature over `subject`, by a signer who is trusted,
/// and none of its certificates nor itself has expired, as far as the trust's level enforces that. For whoever has
/// nobody to ask: a certificate that could have been taken back, and a plugin that is demanded, are faults.
#[must_use]
pub fn verify_envelope(
    media_type: &str,
    bytes: &[u8],
    subject: &Descriptor,
    trust: &Trust,
    now: SystemTime,
) -> Outcome {
    match Sound::new(media_type, bytes, subject, trust, now).and_then(Sound::alone) {
        Ok(pass) => Outcome::Passed(pass),
        Err(outcome) => outcome,
    }
}

/// A signature that held in all that can be seen without asking anybody, but for the signer's identity.
#[derive(Debug)]
#[must_use]
pub(super) struct Sound<'a> {
    trust: &'a Trust,
    envelope: Envelope,
    leaf: Certificate,
    stamp: Option<Stamp>,
    logged: Vec<Logged>,
    /// The moments at which something enforced ceases to hold.
    ends: Vec<SystemTime>,
}

/// Why a validation does not hold.
#[derive(Debug)]
pub(super) enum Unmet {
    /// It was made, and came out badly.
    Failed(Stage, String),
    /// It could not be made.
    Fault(Fault),
}

impl Unmet {
    /// The same, said of who signed the timestamp.
    pub(super) fn of_timestamp(self) -> Self {
        let said = |cause: &dyn std::fmt::Display| format!("the timestamp's authority: {cause}");
        match self {
            Self::Failed(stage, cause) => Self::Failed(stage, said(&cause)),
            Self::Fault(fault) => Self::Fault(Fault::of(fault.class(), said(&fault))),
        }
    }
}

impl<'a> Sound<'a> {
    /// Checks all that bytes, trust and the moment can tell.
    ///
    /// # Errors
    /// The first enforced validation that does not hold.
    pub(super) fn new(
        media_type: &str,
        bytes: &[u8],
        subject: &Descriptor,
        trust: &'a Trust,
        now: SystemTime,
    ) -> Result<Self, Outcome> {
        let envelope = read(media_type, bytes, trust.self_signed())?;
        check_signature(&envelope).map_err(|cause| failed(Stage::Integrity, cause))?;
        chain::check_code_signing(&envelope.chain, trust.self_signed())
            .map_err(|cause| failed(Stage::Integrity, cause.to_string()))?;
        let annotations = check_payload(&envelope.payload, subject)?;
        let Some(leaf) = envelope.chain.first().cloned() else {
            return Err(failed(Stage::Form, "there is no certificate"));
        };
        let mut sound = Self { trust, envelope, leaf, stamp: None, logged: Vec::new(), ends: Vec::new() };
        sound.take(Validation::Authenticity, check_authenticity(&sound.envelope, trust).map(|()| None))?;
        check_annotations(trust, &annotations).map_err(|cause| failed(Stage::Metadata, cause))?;
        sound.take(Validation::Expiry, check_expiry(&sound.envelope, now))?;
        match check_time(&sound.envelope, trust, now) {
            Ok(Time { until, stamp }) => {
                sound.stamp = stamp;
                sound.take(Validation::AuthenticTimestamp, Ok(until))?;
            }
            Err(unmet) => sound.take(Validation::AuthenticTimestamp, Err(unmet))?,
        }
        Ok(sound)
    }

    /// Takes the answer to a validation, with the moment until which it holds.
    ///
    /// # Errors
    /// If it does not hold and is enforced.
    pub(super) fn take(
        &mut self,
        validation: Validation,
        answer: Result<Option<SystemTime>, Unmet>,
    ) -> Result<(), Outcome> {
        let unmet = match (self.action(validation), answer) {
            (Action::Enforce, Ok(until)) => {
                self.ends.extend(until);
                return Ok(());
            }
            (_, Ok(_)) | (Action::Skip, Err(_)) => return Ok(()),
            (Action::Enforce, Err(Unmet::Failed(stage, cause))) => return Err(failed(stage, cause)),
            (Action::Enforce, Err(Unmet::Fault(cause))) => return Err(Outcome::Fault { cause }),
            (Action::Log, Err(unmet)) => unmet,
        };
        let cause = match unmet {
            Unmet::Failed(_, cause) => shown(&cause),
            Unmet::Fault(cause) => cause.to_string(),
        };
        self.logged.push(Logged { validation, cause });
        Ok(())
    }

    /// What becomes of a validation that does not hold.
    pub(super) fn action(&self, validation: Validation) -> Action {
        let level = self.trust.level();
        match validation {
            Validation::Authenticity => level.authenticity,
            Validation::AuthenticTimestamp => level.authentic_timestamp,
            Validation::Expiry => level.expiry,
            Validation::Revocation => level.revocation,
        }
    }

    /// Checks who signed against the trusted identities; a plugin may do that instead.
    ///
    /// # Errors
    /// If nobody who is named, and that is enforced.
    pub(super) fn check_identity(&mut self) -> Result<(), Outcome> {
        let allowed = self.trust.identities().allow(&self.leaf.subject());
        let answer = allowed.map(|()| None).map_err(|cause| Unmet::Failed(Stage::Identity, cause));
        self.take(Validation::Authenticity, answer)
    }

    /// The plugin without which it must not be believed.
    pub(super) fn demand(&self) -> Option<&Demand> {
        self.envelope.demand.as_ref()
    }

    /// What it is judged by.
    pub(super) fn trust(&self) -> &'a Trust {
        self.trust
    }

    /// The envelope, of which everything that was signed is what the signer signed.
    pub(super) fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// The timestamp that tells when it was made at the latest, where one was asked for.
    pub(super) fn stamp(&self) -> Option<&Stamp> {
        self.stamp.as_ref()
    }

    /// When it was made at the latest, as someone trusted says.
    pub(super) fn signed_at(&self) -> Option<SystemTime> {
        match self.envelope.scheme {
            Scheme::X509 => self.stamp.as_ref().map(Stamp::latest),
            Scheme::SigningAuthority => Some(self.envelope.signing_time),
        }
    }

    /// Whether its chain leads to somebody who is trusted: whom its certificates name is then worth asking.
    pub(super) fn is_anchored(&self) -> bool {
        let Envelope { scheme, chain, .. } = &self.envelope;
        chain.iter().any(|certificate| self.trust.anchors(*scheme, certificate))
    }

    /// What it came to, once everybody was asked.
    pub(super) fn pass(self) -> Pass {
        let subject = self.leaf.subject().to_string();
        let is_trusted = !self.logged.iter().any(|logged| logged.validation == Validation::Authenticity);
        let mut words: Vec<&str> = self.logged.iter().map(|logged| logged.validation.as_str()).collect();
        words.dedup();
        let not_enforced =
            if words.is_empty() { String::new() } else { format!("; not enforced: {}", words.join(", ")) };
        Pass {
            detail: shown(&format!("signed by {subject}{not_enforced}")),
            // Anybody can make any number of keys that nobody trusts: all of them are one signer.
            signer: Some(if is_trusted { self.leaf.key_fingerprint() } else { UNTRUSTED.to_owned() }),
            identity: is_trusted.then_some(subject),
            valid_until: self.ends.iter().min().map(|end| seconds(*end)),
            logged: self.logged,
        }
    }

    fn alone(mut self) -> Result<Pass, Outcome> {
        if let Some(demand) = self.demand() {
            return Err(demanded(demand));
        }
        self.check_identity()?;
        if self.stamp.as_ref().is_some_and(|stamp| may_be_revoked(stamp.chain())) {
            self.take(Validation::AuthenticTimestamp, Err(not_asked()))?;
        }
        if may_be_revoked(&self.envelope.chain) {
            self.take(Validation::Revocation, Err(not_asked()))?;
        }
        Ok(self.pass())
    }
}

/// Whether anybody could say that a certificate of a chain was taken back. Nobody can of its root, not even where it
/// names whom to ask.
pub(super) fn may_be_revoked(chain: &[Certificate]) -> bool {
    chain.split_last().is_some_and(|(_, below)| below.iter().any(Certificate::may_be_revoked))
}

fn not_asked() -> Unmet {
    Unmet::Fault(Fault::new("whether a certificate was revoked was not asked"))
}

/// "An implementation MUST fail signature verification if it cannot perform the equivalent verification logic."
pub(super) fn demanded(demand: &Demand) -> Outcome {
    fault(format!("the signature demands the verification plugin {:?}, which is not available", demand.plugin))
}

/// The same where it is not run, because nobody who is trusted signed.
pub(super) fn not_hired(demand: &Demand) -> Outcome {
    let why = "which is not run for signers whom nobody trusts";
    fault(format!("the signature demands the verification plugin {:?}, {why}", demand.plugin))
}

/// "Validate signature envelope".
fn read(media_type: &str, bytes: &[u8], known: &[Certificate]) -> Result<Envelope, Outcome> {
    match media_type {
        JWS => jws::parse(bytes, known).map_err(|error| failed(Stage::Form, error.to_string())),
        COSE => cose::parse(bytes, known).map_err(|error| failed(Stage::Form, error.to_string())),
        other => Err(failed(Stage::Form, format!("media type {other:?} is no signature envelope: {JWS} or {COSE}"))),
    }
}

/// The signer's key alone says by which algorithm it signs ("Algorithm Selection"); what the envelope states must
/// be the same, or an attacker could choose.
fn check_signature(envelope: &Envelope) -> Result<(), String> {
    let leaf = envelope.chain.first().ok_or("there is no certificate")?;
    let subject = || leaf.subject();
    let key = leaf.key().map_err(|found| format!("certificate {}: {found} is not supported", subject()))?;
    let algorithm = Algorithm::of(key).ok_or_else(|| {
        format!("certificate {}: {key} must not sign: RSA of 2048, 3072 or 4096 bits, or EC", subject())
    })?;
    if envelope.algorithm != algorithm {
        return Err(format!(
            "the signature states algorithm {}, but the {key} key of {} signs by {algorithm}",
            envelope.algorithm,
            subject()
        ));
    }
    if leaf.signed(algorithm.primitive(), &envelope.signed, &envelope.signature) {
        Ok(())
    } else {
        Err(format!("the signature does not fit its content: it was changed, or not made by the key of {}", subject()))
    }
}

/// "Make sure the artifact's digest, media type and size match the ones present in the signature envelope."
/// Returns the annotations that the signer gave (user metadata).
fn check_payload(payload: &[u8], subject: &Descriptor) -> Result<BTreeMap<String, String>, Outcome> {
    let Payload { target_artifact: target } = json::from_slice(payload)
        .map_err(|cause| failed(Stage::Form, format!("the signed payload cannot be read: {cause}")))?;
    let differs = if target.digest != subject.digest {
        format!("digest {} instead of {}", target.digest, subject.digest)
    } else if target.media_type != subject.media_type {
        let found: String = target.media_type.chars().take(SHOWN_CHARS).collect();
        format!("media type {found:?} instead of {:?}", subject.media_type)
    } else if target.size != subject.size {
        format!("size {} instead of {}", target.size, subject.size)
    } else {
        return Ok(target.annotations);
    };
    Err(failed(Stage::Subject, format!("the signature speaks of another artifact: {differs}")))
}

/// The signed document ("Payload"). Members beside these are passed over, as notation does.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload {
    target_artifact: Target,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Target {
    media_type: String,
    digest: Digest,
    size: u64,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// "If present, verify the user provided metadata/custom annotations match".
fn check_annotations(trust: &Trust, found: &BTreeMap<String, String>) -> Result<(), String> {
    for (name, wanted) in trust.annotations() {
        match found.get(name) {
            Some(value) if value == wanted => {}
            Some(value) => {
                let value: String = value.chars().take(SHOWN_CHARS).collect();
                return Err(format!("the signature states {name} = {value:?}, and {wanted:?} is asked for"));
            }
            None => return Err(format!("the signature does not state {name} = {wanted:?}, which is asked for")),
        }
    }
    Ok(())
}

/// "Validate that certificate and certificate-chain lead to a trusted certificate": one of the chain, whose links
/// were checked, is trusted itself.
fn check_authenticity(envelope: &Envelope, trust: &Trust) -> Result<(), Unmet> {
    let scheme = envelope.scheme;
    if envelope.chain.iter().any(|certificate| trust.anchors(scheme, certificate)) {
        return Ok(());
    }
    let name = |certificate: Option<&Certificate>| certificate.map(|it| it.subject().to_string());
    let signer = name(envelope.chain.first()).unwrap_or_default();
    let root = name(envelope.chain.last()).unwrap_or_default();
    let why = if trust.has_anchors(scheme) {
        format!("neither its root {root} nor any certificate between is")
    } else {
        format!("no certificate is trusted for signing scheme {scheme}")
    };
    Err(Unmet::Failed(Stage::Authenticity, format!("the signer {signer} is not trusted: {why}")))
}

/// "Validate Expiry": expired from that moment on.
fn check_expiry(envelope: &Envelope, now: SystemTime) -> Result<Option<SystemTime>, Unmet> {
    match envelope.expiry {
        Some(expiry) if now >= expiry => {
            let (expiry, now) = (rfc3339(expiry), rfc3339(now));
            Err(Unmet::Failed(Stage::Expiry, format!("the signature expired at {expiry}, and it is {now}")))
        }
        expiry => Ok(expiry),
    }
}

/// That a signature was made while its certificates were valid.
struct Time {
    /// The moment until which that can be said.
    until: Option<SystemTime>,
    stamp: Option<Stamp>,
}

/// "Validate Authentic Timestamp".
fn check_time(envelope: &Envelope, trust: &Trust, now: SystemTime) -> Result<Time, Unmet> {
    let chain = &envelope.chain;
    let valid = |at| chain::check_validity(chain, at).map_err(|cause| Unmet::Failed(Stage::Expiry, cause.to_string()));
    if envelope.scheme == Scheme::SigningAuthority {
        valid(envelope.signing_time)?;
        return Ok(Time { until: None, stamp: None });
    }
    let is_asked = match trust.verify_timestamp() {
        VerifyTimestamp::Always => true,
        VerifyTimestamp::AfterCertExpiry => chain.iter().any(|certificate| now > certificate.not_after()),
    };
    match trust.timestamp_authorities().filter(|_| is_asked) {
        Some(authorities) => {
            let stamp = timestamp::check(envelope, authorities)?;
            Ok(Time { until: None, stamp: Some(stamp) })
        }
        // There is no other word for when it was made ("Certificate Requirements").
        None => {
            valid(now)?;
            Ok(Time { until: chain.iter().map(Certificate::not_after).min(), stamp: None })
        }
    }
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn failed(stage: Stage, cause: impl Into<String>) -> Outcome {
    Outcome::Failed(Failure { stage, cause: shown(&cause.into()) })
}

fn fault(cause: impl Into<String>) -> Outcome {
    Outcome::Fault { cause: Fault::new(shown(&cause.into())) }
}

/// A cause may quote what an attacker wrote: one short line of it.
pub(super) fn shown(cause: &str) -> String {
    match cause.char_indices().nth(limits::REASON_BYTES) {
        Some((end, _)) => verdict::printable(cause.get(..end).unwrap_or_default()),
        None => verdict::printable(cause),
    }
}

/// What stands for the keys of signers whom nobody trusts, where that is only logged.
const UNTRUSTED: &str = "untrusted";

/// The media type of JWS envelopes.
pub(super) const JWS: &str = "application/jose+json";

/// The media type of COSE envelopes.
const COSE: &str = "application/cose";

/// How much of a foreign value is shown.
const SHOWN_CHARS: usize = 100;

#[cfg(test)]
mod levels;

#[cfg(test)]
mod schemes;

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::pki::testing::{DAY, INTERMEDIATE, Key, Kind, LEAF, NOW, ROOT, Template, at, chain, chain_of, now};
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn judge(bytes: &[u8]) -> Outcome {
        verify_envelope(JWS, bytes, &subject(), &trust(), now())
    }

    #[track_caller]
    fn faulty(outcome: Outcome, expected: &str) {
        match outcome {
            Outcome::Fault { cause } => assert!(cause.to_string().contains(expected), "{cause}"),
            other => panic!("{expected:?}: {other:?}"),
        }
    }

    fn encode(certificates: &[Certificate]) -> Value {
        certificates.iter().map(|certificate| STANDARD.encode(certificate.der())).collect()
    }

    #[test]
    fn a_sound_signature_passes_with_its_signer_and_its_end() {
        let pass = passed(judge(&Draft::new().sign()));
        assert_eq!(pass.detail, "signed by CN=signer,OU=build,O=acme,L=Seattle,ST=WA,C=US");
        assert_eq!(pass.signer, Some(chain()[0].key_fingerprint()));
        assert_eq!(pass.valid_until, Some(NOW + 100 * DAY));
    }

    #[test]
    fn the_end_is_the_earliest_of_certificates_and_signature() {
        let expiring = |time: &str| Draft::new().critical("io.cncf.notary.expiry", json!(time)).sign();
        assert_eq!(passed(judge(&expiring("2027-01-16T08:00:00Z"))).valid_until, Some(NOW + DAY));
        assert_eq!(passed(judge(&expiring("2027-01-16T10:00:00.9+02:00"))).valid_until, Some(NOW + DAY));
        assert_eq!(passed(judge(&expiring("2037-01-16T08:00:00Z"))).valid_until, Some(NOW + 100 * DAY));
        let short = Template { not_after: NOW + 1, ..Template::ca(INTERMEDIATE, ROOT) };
        let chain = chain_of(&Template::leaf(LEAF, INTERMEDIATE), &short, &Template::ca(ROOT, ROOT));
        assert_eq!(passed(judge(&Draft::by(Kind::P256, "ES256", &chain).sign())).valid_until, Some(NOW + 1));
    }

    #[test]
    fn what_does_not_change_the_meaning_is_passed_over() {
        let draft = Draft::new();
        for (what, draft) in [
            ("unknown protected header", draft.clone().set("com.example.build", json!({"n": [1]}))),
            ("unknown unprotected header", draft.clone().unprotected("com.example.x", json!(1))),
            (
                "timestamp, as long as none is asked for",
                draft.clone().unprotected("io.cncf.notary.timestampSignature", json!("MAA=")),
            ),
            ("no signing agent", draft.clone().unprotected("io.cncf.notary.signingAgent", Value::Null)),
            ("signing agent of another form", draft.clone().unprotected("io.cncf.notary.signingAgent", json!([]))),
            (
                "signing time in the future",
                draft.clone().set("io.cncf.notary.signingTime", json!("2030-01-10T08:00:00Z")),
            ),
            (
                "annotations",
                draft.clone().payload(
                    &json!({"targetArtifact": {
                "mediaType": subject().media_type, "digest": DIGEST, "size": 401, "artifactType": "x",
                "annotations": {"io.wabbit-networks.buildId": "123"}}})
                    .to_string(),
                ),
            ),
        ] {
            passed(judge(&draft.sign()));
            let _ = what;
        }
        let pretty = serde_json::to_vec_pretty(&draft.members()).unwrap();
        passed(judge(&pretty));
    }

    #[test]
    fn members_of_the_envelope() {
        let change = |change: &dyn Fn(&mut Value)| {
            let mut members = Draft::new().members();
            change(&mut members);
            judge(members.to_string().as_bytes())
        };
        let text = String::from_utf8(Draft::new().sign()).unwrap();
        let insert = |extra: &str| judge(text.replacen('{', &format!("{{{extra},"), 1).as_bytes());
        for name in ["payload", "protected", "header", "signature"] {
            refused(
                change(&|all| drop(all.as_object_mut().unwrap().remove(name))),
                Stage::Form,
                &format!("missing field `{name}`"),
            );
            refused(
                change(&|all| all[name] = json!(7)),
                Stage::Form,
                "the JSON of the signature envelope cannot be read",
            );
            refused(insert(&format!("\"{name}\":\"\"")), Stage::Form, "is given twice");
        }
        refused(insert("\"signatures\":[]"), Stage::Form, "unknown field `signatures`");
        refused(insert("\"Payload\":\"\""), Stage::Form, "unknown field `Payload`");
        refused(judge(b""), Stage::Form, "cannot be read");
        refused(judge(b"[]"), Stage::Form, "cannot be read");
        refused(judge(format!("{text}{text}").as_bytes()), Stage::Form, "cannot be read");
        for name in ["payload", "protected", "signature"] {
            let padded = |all: &mut Value| {
                let bytes = URL_SAFE_NO_PAD.decode(all[name].as_str().unwrap()).unwrap();
                // Of a length that needs padding.
                let bytes = if bytes.len().is_multiple_of(3) { [bytes, vec![b' ']].concat() } else { bytes };
                all[name] = json!(URL_SAFE.encode(bytes));
            };
            refused(change(&padded), Stage::Form, "is not base64 as it must be");
            for bad in ["\n", " ", "+/", "A", "AB", "%"] {
                let append = |all: &mut Value| all[name] = json!(format!("AAAA{bad}"));
                refused(change(&append), Stage::Form, "is not base64 as it must be");
            }
        }
        refused(change(&|all| all["signature"] = json!("")), Stage::Integrity, "does not fit its content");
    }

    #[test]
    fn a_key_given_twice_is_refused_at_every_level() {
        let draft = Draft::new();
        let twice = |json: &str, extra: &str| json.replacen('{', &format!("{{{extra},"), 1);
        let protected = draft.clone().protected(&twice(&draft.protected, r#""alg":"ES256""#));
        refused(judge(&protected.sign()), Stage::Form, "the protected header of the signature envelope cannot be read");
        let payload = draft.clone().payload(&twice(&draft.payload, r#""targetArtifact":{}"#));
        refused(judge(&payload.sign()), Stage::Form, "\"targetArtifact\" is given twice");
        let nested = draft.payload.replacen(r#""size""#, r#""size":1,"size""#, 1);
        refused(judge(&draft.clone().payload(&nested).sign()), Stage::Form, "\"size\" is given twice");
        let text = String::from_utf8(draft.sign()).unwrap();
        let header = text.replacen(r#""x5c""#, r#""x5c":[],"x5c""#, 1);
        refused(judge(header.as_bytes()), Stage::Form, "\"x5c\" is given twice");
    }

    #[test]
    fn protected_headers() {
        let scheme = "io.cncf.notary.signingScheme";
        let (signing, expiry) = ("io.cncf.notary.signingTime", "io.cncf.notary.expiry");
        let draft = Draft::new;
        for (draft, expected) in [
            (draft().protected("[]"), "the protected header of the signature envelope cannot be read"),
            (draft().protected("{} {}"), "the protected header of the signature envelope cannot be read"),
            (draft().set("alg", Value::Null), "header alg is missing"),
            (draft().set("alg", json!(["ES256"])), "header alg of the signature envelope must be a string"),
            (draft().set("alg", json!("none")), "header alg of the signature envelope is \"none\""),
            (draft().set("alg", json!("HS256")), "header alg of the signature envelope is \"HS256\""),
            (draft().set("alg", json!("RS256")), "header alg of the signature envelope is \"RS256\""),
            (draft().set("alg", json!("es256")), "header alg of the signature envelope is \"es256\""),
            (draft().set("cty", Value::Null), "header cty is missing"),
            (
                draft().set("cty", json!("application/json")),
                "header cty of the signature envelope is \"application/json\"",
            ),
            (draft().set(scheme, Value::Null), "header io.cncf.notary.signingScheme is missing"),
            (draft().set(scheme, json!("notary.x509.other")), "is \"notary.x509.other\""),
            (draft().set(signing, Value::Null), "header io.cncf.notary.signingTime is missing"),
            (draft().set(signing, json!(1_800_000_000)), "must be a string"),
            (draft().set(signing, json!("2027-01-10 08:00:00Z")), "expected a time such as"),
            (
                draft().set("io.cncf.notary.authenticSigningTime", json!("2027-01-10T08:00:00Z")),
                "must not be given with signing scheme notary.x509",
            ),
            (
                draft().critical(expiry, json!("2027-01-10T08:00:00Z")),
                "not after its signing time 2027-01-10T08:00:00Z",
            ),
            (draft().critical(expiry, json!("2027-01-10T09:00:00+01:00")), "not after its signing time"),
            (draft().critical(expiry, json!("0001-01-01T00:00:00Z")), "not after its signing time"),
            (draft().critical(expiry, json!("tomorrow")), "expected a time such as"),
            (draft().critical(expiry, json!(7)), "must be a string"),
            (
                draft().set(expiry, json!("2027-01-16T08:00:00Z")),
                "header io.cncf.notary.expiry must be marked critical",
            ),
            (draft().set("crit", Value::Null), "header crit is missing"),
            (draft().set("crit", json!([])), "must be a list of header names, at least one"),
            (
                draft().set("crit", json!(["com.example.x"])),
                "header io.cncf.notary.signingScheme must be marked critical",
            ),
            (draft().set("crit", json!(scheme)), "must be a list of header names"),
            (draft().set("crit", json!([scheme, 1])), "must be a list of header names"),
            (draft().set("crit", json!([scheme, scheme])), "is marked critical twice"),
            (
                draft().set("crit", json!([scheme, "alg"])),
                "\"alg\" is marked critical, and this verifier does not know it",
            ),
            (draft().set("crit", json!([scheme, signing])), "is marked critical, and this verifier does not know it"),
            (draft().set("crit", json!([scheme, expiry])), "is marked critical, but is not given"),
            (
                draft().critical("com.example.x", json!(1)),
                "\"com.example.x\" is marked critical, and this verifier does not know it",
            ),
            (draft().critical("b64", json!(false)), "\"b64\" is marked critical, and this verifier does not know it"),
            (draft().set("x5c", json!([])), "\"x5c\" is given twice, protected and unprotected"),
            (draft().unprotected("alg", json!("ES256")), "\"alg\" is given twice, protected and unprotected"),
            (draft().unprotected("crit", json!([])), "\"crit\" is given twice, protected and unprotected"),
        ] {
            refused(judge(&draft.sign()), Stage::Form, expected);
        }
        let null = Draft::new();
        let null = null.clone().protected(&null.protected.replacen('{', &format!("{{\"{expiry}\":null,"), 1));
        refused(judge(&null.sign()), Stage::Form, "must be a string");
    }

    #[test]
    fn the_certificate_chain_of_the_envelope() {
        let chain = chain();
        let with = |x5c: Value| judge(&Draft::new().unprotected("x5c", x5c).sign());
        let stranger =
            Template::ca("CN=stranger", "CN=stranger").sign(Key::get(Kind::P256, 2), Key::get(Kind::P256, 2));
        refused(with(Value::Null), Stage::Form, "header x5c is missing");
        refused(with(json!([])), Stage::Form, "must be a list of certificates, at least one");
        refused(with(json!("x")), Stage::Form, "must be a list of certificates, at least one");
        refused(with(json!([null])), Stage::Form, "must be a list of certificates, at least one");
        refused(
            with(json!(["MAA="])),
            Stage::Form,
            "certificate 1 of the signature envelope: it is no X.509 certificate",
        );
        refused(
            with(json!([URL_SAFE_NO_PAD.encode(chain[0].der())])),
            Stage::Form,
            "x5c of the signature envelope is not base64",
        );
        let wrapped = STANDARD.encode(chain[0].der()).replacen('M', "M\n", 1);
        refused(with(json!([wrapped])), Stage::Form, "x5c of the signature envelope is not base64");

        let reversed: Vec<_> = chain.iter().rev().cloned().collect();
        refused(with(encode(&reversed)), Stage::Integrity, "does not fit its content");
        let swapped = [chain[0].clone(), chain[2].clone(), chain[1].clone()];
        refused(with(encode(&swapped)), Stage::Integrity, "but the next certificate in the chain is CN=intermediate");
        refused(with(encode(&chain[..1])), Stage::Integrity, "the root certificate is missing");
        refused(with(encode(&chain[..2])), Stage::Integrity, "the root certificate is missing");
        let more = [chain.clone(), vec![stranger.clone()]].concat();
        refused(with(encode(&more)), Stage::Integrity, "but the next certificate in the chain is CN=stranger");
        let before = [vec![stranger], chain.clone()].concat();
        refused(with(encode(&before)), Stage::Integrity, "does not fit its content");

        let length = |length: usize| with(encode(&vec![chain[0].clone(); length]));
        refused(length(limits::CHAIN_CERTIFICATES), Stage::Integrity, "but the next certificate in the chain is");
        refused(length(limits::CHAIN_CERTIFICATES + 1), Stage::Form, "has 17 certificates, the limit is 16");
    }

    #[test]
    fn a_signer_whose_certificate_breaks_the_rules_is_refused() {
        let server = Template::leaf(LEAF, INTERMEDIATE)
            .with(crate::pki::testing::purposes_of(false, &[const_oid::db::rfc5912::ID_KP_SERVER_AUTH]));
        let chain = chain_of(&server, &Template::ca(INTERMEDIATE, ROOT), &Template::ca(ROOT, ROOT));
        refused(judge(&Draft::by(Kind::P256, "ES256", &chain).sign()), Stage::Integrity, "must not say serverAuth");
    }

    #[test]
    fn size_at_the_limit_and_one_past_it() {
        let mut bytes = Draft::new().sign();
        let limit = usize::try_from(limits::ENVELOPE_BYTES).unwrap();
        bytes.resize(limit, b' ');
        passed(judge(&bytes));
        bytes.push(b' ');
        refused(judge(&bytes), Stage::Form, "has 1048577 bytes, the limit is 1048576");
    }

    #[test]
    fn a_cause_that_quotes_the_envelope_is_one_short_line() {
        for name in ["\\n\u{202e}\u{1b}".to_owned(), "x".repeat(100_000)] {
            match judge(format!("{{\"{name}\":1}}").as_bytes()) {
                Outcome::Failed(failure) => {
                    assert!(
                        failure.cause.len() <= limits::REASON_BYTES
                            && failure.cause == verdict::printable(&failure.cause)
                    );
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn the_signature_must_speak_of_this_artifact() {
        let of = |media_type: &str, digest: &str, size: u64| {
            json!({"targetArtifact": {"mediaType": media_type, "digest": digest, "size": size}}).to_string()
        };
        let manifest = subject().media_type;
        for (payload, expected) in [
            (of(&manifest, OTHER_DIGEST, 401), format!("digest {OTHER_DIGEST} instead of {DIGEST}")),
            (
                of("application/vnd.oci.image.index.v1+json", DIGEST, 401),
                "media type \"application/vnd.oci.image.index.v1+json\" instead of".into(),
            ),
            (of(&manifest, DIGEST, 402), "size 402 instead of 401".into()),
        ] {
            refused(judge(&Draft::new().payload(&payload).sign()), Stage::Subject, &expected);
        }
        for payload in [
            "",
            "{}",
            "[]",
            "x",
            r#"{"targetArtifact":null}"#,
            r#"{"targetartifact":{}}"#,
            &of(&manifest, "sha256:x", 401),
            &of(&manifest, DIGEST, 401).replace("401", "401.0"),
            &of(&manifest, DIGEST, 401).replace("401", "-1"),
            &of(&manifest, DIGEST, 401).replace("401", "\"401\""),
        ] {
            refused(judge(&Draft::new().payload(payload).sign()), Stage::Form, "the signed payload cannot be read");
        }
    }

    #[test]
    fn a_chain_without_a_trusted_certificate_is_refused() {
        let key = Key::get(Kind::P256, 2);
        let twin =
            Template { serial: x509_cert::serial_number::SerialNumber::new(&[2]).unwrap(), ..Template::ca(ROOT, ROOT) };
        let other = trust_in(&[twin.sign(key, key)], &["*"]);
        let outcome = verify_envelope(JWS, &Draft::new().sign(), &subject(), &other, now());
        refused(
            outcome,
            Stage::Authenticity,
            "the signer CN=signer,OU=build,O=acme,L=Seattle,ST=WA,C=US is not trusted: neither its root CN=root",
        );
    }

    #[test]
    fn a_trusted_intermediate_or_self_signed_signer_suffices() {
        let intermediate = trust_in(&chain()[..2], &[IDENTITY]);
        passed(verify_envelope(JWS, &Draft::new().sign(), &subject(), &intermediate, now()));
        let key = Key::get(Kind::P256, 0);
        let single = [Template::leaf(LEAF, LEAF).sign(key, key)];
        let bytes = Draft::by(Kind::P256, "ES256", &single).sign();
        passed(verify_envelope(JWS, &bytes, &subject(), &trust_in(&single, &[IDENTITY]), now()));
        refused(judge(&bytes), Stage::Authenticity, "is not trusted");
    }

    #[test]
    fn a_trusted_signer_of_another_identity_is_refused() {
        let other = trust_in(&chain(), &["x509.subject: C=US, ST=WA, O=acme, CN=other"]);
        let outcome = verify_envelope(JWS, &Draft::new().sign(), &subject(), &other, now());
        refused(
            outcome,
            Stage::Identity,
            "is none of the trusted identities: x509.subject: C=US, ST=WA, O=acme, CN=other",
        );
    }

    #[test]
    fn an_expired_signature_is_refused_from_its_expiry_on() {
        let bytes = Draft::new().critical("io.cncf.notary.expiry", json!("2027-01-15T08:00:00Z")).sign();
        let judge = |now| verify_envelope(JWS, &bytes, &subject(), &trust(), now);
        passed(judge(at(NOW) - std::time::Duration::from_nanos(1)));
        refused(
            judge(at(NOW)),
            Stage::Expiry,
            "the signature expired at 2027-01-15T08:00:00Z, and it is 2027-01-15T08:00:00Z",
        );
        refused(judge(at(NOW + DAY)), Stage::Expiry, "and it is 2027-01-16T08:00:00Z");
    }

    #[test]
    fn every_certificate_must_be_valid_now() {
        let bytes = Draft::new().sign();
        let judge = |now| verify_envelope(JWS, &bytes, &subject(), &trust(), now);
        passed(judge(at(NOW + 100 * DAY)));
        refused(
            judge(at(NOW + 100 * DAY + 1)),
            Stage::Expiry,
            "CN=signer,OU=build,O=acme,L=Seattle,ST=WA,C=US expired at 2027-04-25T08:00:00Z",
        );
        refused(judge(at(NOW - 100 * DAY - 1)), Stage::Expiry, "is valid from 2026-10-07T08:00:00Z");
        refused(judge(UNIX_EPOCH - std::time::Duration::from_secs(1)), Stage::Expiry, "and it is 1969-12-31T23:59:59Z");
    }

    #[test]
    fn a_layer_of_another_media_type_is_no_envelope() {
        let [(_, jws), (_, cose)] = Draft::new().both();
        for (media_type, bytes, expected) in [
            ("application/json", &jws, "media type \"application/json\" is no signature envelope"),
            ("", &jws, "media type \"\" is no signature envelope"),
            (COSE, &jws, "the signature envelope is no COSE_Sign1_Tagged"),
            (JWS, &cose, "the JSON of the signature envelope cannot be read"),
        ] {
            refused(verify_envelope(media_type, bytes, &subject(), &trust(), now()), Stage::Form, expected);
        }
    }

    #[test]
    fn a_demanded_verification_plugin_is_a_fault_once_the_signer_is_trusted() {
        let (plugin, version) = ("io.cncf.notary.verificationPlugin", "io.cncf.notary.verificationPluginMinVersion");
        let draft = Draft::new().critical(plugin, json!("com.example.plugin"));
        faulty(judge(&draft.sign()), "demands the verification plugin \"com.example.plugin\"");
        faulty(judge(&draft.clone().critical(version, json!("1.0.0")).sign()), "\"com.example.plugin\"");
        let nobody =
            trust_in(&[Template::ca(ROOT, ROOT).sign(Key::get(Kind::P256, 0), Key::get(Kind::P256, 0))], &["*"]);
        let outcome = verify_envelope(JWS, &draft.sign(), &subject(), &nobody, now());
        refused(outcome, Stage::Authenticity, "is not trusted");
        for (draft, expected) in [
            (Draft::new().set(plugin, json!("x")), "verificationPlugin must be marked critical"),
            (Draft::new().critical(plugin, json!(" ")), "must be the name of a plugin"),
            (Draft::new().critical(plugin, json!(7)), "must be a string"),
            (Draft::new().critical(version, json!("1.0.0")), "verificationPlugin is missing"),
        ] {
            refused(judge(&draft.sign()), Stage::Form, expected);
        }
    }

    #[test]
    fn no_byte_of_an_envelope_can_be_changed_but_the_unsigned_ones() {
        let bytes = Draft::new().sign();
        passed(judge(&bytes));
        let text = std::str::from_utf8(&bytes).unwrap();
        let agent = r#""io.cncf.notary.signingAgent":"notation-go/1.3.2""#;
        let unsigned = text.find(agent).map(|start| start..start + agent.len()).unwrap();
        for index in 0..bytes.len() {
            for change in [1, 2, 0x20, 0x80] {
                let mut changed = bytes.clone();
                changed[index] ^= change;
                if matches!(judge(&changed), Outcome::Passed(_)) {
                    assert!(unsigned.contains(&index), "byte {index} of {text}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_never_a_signature(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(matches!(judge(&bytes), Outcome::Failed(_)));
        }

        #[test]
        fn a_mutated_envelope_never_panics(edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..5)) {
            let mut bytes = Draft::new().sign();
            for (index, byte, kind) in edits {
                let index = index.index(bytes.len());
                match kind {
                    0 => bytes[index] = byte,
                    1 => bytes.insert(index, byte),
                    _ => drop(bytes.remove(index)),
                }
            }
            let _ = judge(&bytes);
        }

        #[test]
        fn a_certificate_of_arbitrary_der_never_panics(index in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
            let mut der = chain()[0].der().to_vec();
            let index = index.index(der.len());
            if cut { der.truncate(index) } else { der[index] = byte }
            let chain = [vec![STANDARD.encode(der)], chain()[1..].iter().map(|it| STANDARD.encode(it.der())).collect()].concat();
            let same = STANDARD.decode(&chain[0]).is_ok_and(|der| der == crate::pki::testing::chain()[0].der());
            let outcome = judge(&Draft::new().unprotected("x5c", json!(chain)).sign());
            prop_assert!(same || !matches!(outcome, Outcome::Passed(_)));
        }
    }
}
