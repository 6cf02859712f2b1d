//! Judges one signature or attestation of Cosign's, whatever its form: that it says what is asked for of this image, that
//! somebody trusted signed it, and that it states what it must. Pure: bytes, trust and moment in, finding out.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

use crate::artifact::{Annotations, Digest, Layer};
use crate::config::DockerReference;
use crate::json;
use crate::limits;
use crate::pki::{self, Certificate};
use crate::reference::Repository;
use crate::report::{Failure, Pass, Stage};
use crate::sigstore::bundle::{Content, Material, Signature};
use crate::sigstore::dsse::{Envelope, Statement};
use crate::sigstore::key::Message;
use crate::sigstore::log::LogEntry;
use crate::sigstore::verify::{Signers, Trust, Unmet, Verified, verify};

use super::form::{Form, Wants};
use super::names::{Rewrites, check_reference};
use super::simple::SimpleSigning;

/// What is asked of a signature, and of what.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Who is trusted.
    pub trust: &'a Trust,
    /// What must be stated.
    pub annotations: &'a BTreeMap<String, String>,
    /// What is asked for.
    pub wants: &'a Wants,
    /// Whether the name that is stated counts.
    pub docker_reference: DockerReference,
    /// Under which names images were signed.
    pub remap: &'a Rewrites,
    /// The image's repository.
    pub repository: &'a Repository,
    /// The image.
    pub subject: &'a Digest,
    /// The moment of the verdict.
    pub now: SystemTime,
}

/// Judges what one layer holds, by its bytes and its annotations.
///
/// # Errors
/// Why it does not count.
pub fn judge(form: Form, layer: &Layer, bytes: &[u8], question: Question<'_>) -> Result<Pass, Failure> {
    match form {
        Form::Bundle => statement(&Signature::from_bundle(bytes).map_err(of_form)?, question),
        Form::Envelope => {
            let envelope = Envelope::parse(bytes).map_err(of_form)?;
            statement(&annotated(Content::Dsse(envelope), layer, question.trust)?, question)
        }
        Form::SimpleSigning => simple_signing(layer, bytes, question),
    }
}

/// A signature of the older form.
fn simple_signing(layer: &Layer, bytes: &[u8], question: Question<'_>) -> Result<Pass, Failure> {
    let payload = SimpleSigning::parse(bytes).map_err(of_form)?;
    if payload.digest != question.subject.as_str() {
        return Err(failure(Stage::Subject, format!("it signs {}, not this image", payload.digest)));
    }
    let written =
        annotation(layer, SIGNATURE).ok_or_else(|| of_form("the layer has no signature in its annotations"))?;
    let signature =
        STANDARD.decode(written).map_err(|error| of_form(format!("the signature is not base64: {error}")))?;
    let signature = annotated(Content::Message { digest: None, signature }, layer, question.trust)?;
    let verified = verify(&signature, &Message::Bytes(bytes), question.trust, question.now).map_err(unmet)?;
    let Question { repository, remap, docker_reference, .. } = question;
    check_reference(&payload.docker_reference, repository, remap, docker_reference)
        .map_err(|cause| failure(Stage::Metadata, cause))?;
    check_annotations(question.annotations, |name| payload.optional.get(name))?;
    Ok(pass(verified, String::new()))
}

/// An in-toto statement in an envelope: a signature of the newer form, or an attestation.
fn statement(signature: &Signature, question: Question<'_>) -> Result<Pass, Failure> {
    let Content::Dsse(envelope) = &signature.content else {
        return Err(of_form("the bundle signs a file, and says nothing of an image"));
    };
    let statement = Statement::of(envelope).map_err(of_form)?;
    question.wants.check(&statement.predicate_type).map_err(of_form)?;
    let Some(subject) = statement.names(question.subject) else {
        let named = statement.subjects.first().and_then(|subject| subject.digest.iter().next());
        let named = named.map_or_else(|| "nothing".to_owned(), |(algorithm, hex)| format!("{algorithm}:{hex}"));
        return Err(failure(Stage::Subject, format!("it speaks of {named}, not of this image")));
    };
    let verified =
        verify(signature, &Message::Bytes(&envelope.payload), question.trust, question.now).map_err(unmet)?;
    check_annotations(question.annotations, |name| subject.annotations.as_ref().and_then(|stated| stated.get(name)))?;
    let said = match question.wants {
        Wants::Signature => String::new(),
        Wants::Attestation(_) => format!("attests {:?}, ", statement.predicate_type),
    };
    Ok(pass(verified, said))
}

/// A signature of an older form with what stands beside it in annotations (Cosign, "Signature Specification": "Properties").
fn annotated(content: Content, layer: &Layer, trust: &Trust) -> Result<Signature, Failure> {
    let material = match (&trust.signers, annotation(layer, CERTIFICATE)) {
        // A key that is known needs nobody who vouches for it.
        (Signers::Keys(_), _) | (_, None) => Material::Key { hint: None },
        (Signers::Keyless(_) | Signers::Chain { .. }, Some(pem)) => {
            let leaf = certificates(pem)?.into_iter().next();
            let leaf = leaf.ok_or_else(|| of_form("there is no certificate in its annotation"))?;
            let chain = annotation(layer, CHAIN).map_or_else(|| Ok(Vec::new()), certificates)?;
            Material::Certificate { leaf, chain }
        }
    };
    let is_asked = !matches!(trust.signers, Signers::Keys(_)) || trust.log || trust.observer_time;
    if !is_asked {
        return Ok(Signature { content, material, entries: Vec::new(), timestamps: Vec::new() });
    }
    let entry = |written: &str| LogEntry::from_legacy(written.as_bytes()).map_err(of_form);
    let entries = annotation(layer, LOG_ENTRY).map(entry).transpose()?.into_iter().collect();
    let timestamps = annotation(layer, TIMESTAMP).map(timestamp).transpose()?.into_iter().collect();
    Ok(Signature { content, material, entries, timestamps })
}

fn certificates(pem: &str) -> Result<Vec<Certificate>, Failure> {
    let bad = |cause: &dyn Display| of_form(format!("the annotated certificate: {cause}"));
    let blocks = pki::blocks(pem.as_bytes(), "CERTIFICATE").map_err(|error| bad(&error))?;
    if blocks.len() > limits::CHAIN_CERTIFICATES {
        return Err(bad(&format_args!("there are {}, the limit is {}", blocks.len(), limits::CHAIN_CERTIFICATES)));
    }
    blocks.iter().map(|(_, der)| Certificate::from_der(der).map_err(|error| bad(&error))).collect()
}

fn timestamp(written: &str) -> Result<Vec<u8>, Failure> {
    #[derive(Deserialize)]
    struct Written {
        #[serde(rename = "SignedRFC3161Timestamp")]
        timestamp: String,
    }
    let bad = |cause: String| of_form(format!("the annotated timestamp cannot be read: {cause}"));
    let written: Written = json::from_slice(written.as_bytes()).map_err(|error| bad(error.to_string()))?;
    STANDARD.decode(written.timestamp).map_err(|error| bad(error.to_string()))
}

/// An annotation that says something.
fn annotation<'a>(layer: &'a Layer, name: &str) -> Option<&'a str> {
    let annotations: &Annotations = &layer.annotations;
    annotations.get(name).map(String::as_str).filter(|text| !text.trim().is_empty())
}

const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
const CHAIN: &str = "dev.sigstore.cosign/chain";
const LOG_ENTRY: &str = "dev.sigstore.cosign/bundle";
const TIMESTAMP: &str = "dev.sigstore.cosign/rfc3161timestamp";

/// That all is stated that must be.
fn check_annotations<'a>(
    wanted: &BTreeMap<String, String>,
    stated: impl Fn(&str) -> Option<&'a Value>,
) -> Result<(), Failure> {
    for (name, expected) in wanted {
        let found = match stated(name) {
            Some(Value::String(found)) if found == expected => continue,
            Some(found) => format!("it states {name} = {found}"),
            None => format!("it does not state {name}"),
        };
        return Err(failure(Stage::Metadata, format!("{found}, expected {expected:?}")));
    }
    Ok(())
}

fn pass(verified: Verified, said: String) -> Pass {
    let Verified { signer, identity, detail, valid_until } = verified;
    let seconds = |end: SystemTime| end.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Pass {
        detail: said + &detail,
        signer: Some(signer),
        identity,
        valid_until: valid_until.map(seconds),
        logged: Vec::new(),
    }
}

fn unmet(unmet: Unmet) -> Failure {
    let Unmet { stage, cause } = unmet;
    failure(stage, cause)
}

fn of_form(cause: impl ToString) -> Failure {
    failure(Stage::Form, cause.to_string())
}

fn failure(stage: Stage, cause: String) -> Failure {
    Failure { stage, cause: crate::verdict::brief(&cause) }
}
