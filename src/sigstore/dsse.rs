//! DSSE envelopes and the in-toto statements in them, as Cosign 3 signs images and as all versions attest. Called by
//! whatever reads a signature. Never checks a signature, and never takes an envelope with several: which of them would
//! count is a question that two readers may answer in two ways.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

use crate::artifact::Digest;
use crate::json;

/// An envelope with exactly one signature. Nothing of it is known to be true yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// What the payload is.
    pub payload_type: String,
    /// What is signed, with its type.
    pub payload: Vec<u8>,
    /// The signature over [`Envelope::pae`].
    pub signature: Vec<u8>,
    /// What may help to find the key; nobody signed it, and it proves nothing.
    pub keyid: Option<String>,
}

/// An envelope as it is written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Written {
    payload_type: String,
    payload: String,
    signatures: Vec<WrittenSignature>,
}

#[derive(Deserialize)]
struct WrittenSignature {
    sig: String,
    #[serde(default)]
    keyid: Option<String>,
}

/// Why bytes are no envelope or statement that can be judged.
#[derive(Debug, thiserror::Error)]
pub enum BadEnvelope {
    /// Not JSON of the form that must stand there.
    #[error("the {part} is not JSON of the expected form: {cause}")]
    Json {
        /// Where.
        part: &'static str,
        /// What is wrong with it.
        cause: serde_json::Error,
    },
    /// Not base64.
    #[error("the {part} of the DSSE envelope is not base64: {cause}")]
    Base64 {
        /// Where.
        part: &'static str,
        /// What is wrong with it.
        cause: base64::DecodeError,
    },
    /// None, or more than one.
    #[error("the DSSE envelope has {0} signatures, expected one")]
    Signatures(usize),
    /// A payload of another kind.
    #[error("the DSSE envelope holds {0:?}, expected {PAYLOAD_TYPE:?}")]
    PayloadType(String),
    /// A statement of another kind.
    #[error("the statement is of type {0:?}, expected {V1:?} or {V0_1:?}")]
    StatementType(String),
}

impl Envelope {
    /// Parses an envelope. The caller has bounded its size.
    ///
    /// # Errors
    /// See [`BadEnvelope`].
    pub fn parse(bytes: &[u8]) -> Result<Self, BadEnvelope> {
        let written: Written =
            json::from_slice(bytes).map_err(|cause| BadEnvelope::Json { part: "DSSE envelope", cause })?;
        Self::of(written)
    }

    /// Decodes an envelope.
    ///
    /// # Errors
    /// See [`BadEnvelope`].
    pub fn of(written: Written) -> Result<Self, BadEnvelope> {
        let decode = |part, text: &str| STANDARD.decode(text).map_err(|cause| BadEnvelope::Base64 { part, cause });
        let [signature] = written.signatures.as_slice() else {
            return Err(BadEnvelope::Signatures(written.signatures.len()));
        };
        Ok(Self {
            payload: decode("payload", &written.payload)?,
            signature: decode("signature", &signature.sig)?,
            keyid: signature.keyid.clone().filter(|keyid| !keyid.is_empty()),
            payload_type: written.payload_type,
        })
    }

    /// What is signed: the pre-authentication encoding (DSSE, "Signature Definition").
    #[must_use]
    pub fn pae(&self) -> Vec<u8> {
        let Self { payload_type, payload, .. } = self;
        let mut encoded = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
        encoded.extend_from_slice(payload);
        encoded
    }
}

/// An in-toto statement: something that is said of some artifacts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// What kind of thing is said.
    pub predicate_type: String,
    /// Of what.
    pub subjects: Vec<Subject>,
}

/// An artifact that a statement speaks of.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Subject {
    /// Its name, where the signer gave one.
    #[serde(default)]
    pub name: String,
    /// Its digests: algorithm and lowercase hexadecimal digits.
    #[serde(default)]
    pub digest: BTreeMap<String, String>,
    /// What else the signer says of it.
    #[serde(default)]
    pub annotations: Option<BTreeMap<String, Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenStatement {
    #[serde(rename = "_type")]
    statement_type: String,
    #[serde(default)]
    subject: Vec<Subject>,
    predicate_type: String,
}

impl Statement {
    /// Reads the statement in an envelope.
    ///
    /// # Errors
    /// See [`BadEnvelope`].
    pub fn of(envelope: &Envelope) -> Result<Self, BadEnvelope> {
        if envelope.payload_type != PAYLOAD_TYPE {
            return Err(BadEnvelope::PayloadType(envelope.payload_type.clone()));
        }
        let written: WrittenStatement = json::from_slice_but(&envelope.payload, "predicate")
            .map_err(|cause| BadEnvelope::Json { part: "in-toto statement", cause })?;
        if written.statement_type != V1 && written.statement_type != V0_1 {
            return Err(BadEnvelope::StatementType(written.statement_type));
        }
        Ok(Self { predicate_type: written.predicate_type, subjects: written.subject })
    }

    /// The subject that is the artifact of a digest.
    #[must_use]
    pub fn names(&self, digest: &Digest) -> Option<&Subject> {
        let (algorithm, hex) = digest.as_str().split_once(':')?;
        self.subjects.iter().find(|subject| subject.digest.get(algorithm).is_some_and(|found| found == hex))
    }
}

/// The payload type of in-toto statements (in-toto, "Envelope layer").
const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// Statements as they are written now.
const V1: &str = "https://in-toto.io/Statement/v1";

/// Statements as they were written first; Cosign attests so.
const V0_1: &str = "https://in-toto.io/Statement/v0.1";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const DIGEST: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

    fn envelope(payload_type: &str, payload: &str) -> Envelope {
        let (payload_type, payload) = (payload_type.to_owned(), payload.as_bytes().to_vec());
        Envelope { payload_type, payload, signature: b"s".to_vec(), keyid: None }
    }

    fn statement(statement: &Value) -> Result<Statement, String> {
        Statement::of(&envelope(PAYLOAD_TYPE, &statement.to_string())).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_signed_is_the_encoding_of_the_specification() {
        // The example of DSSE's "Protocol".
        let envelope = envelope("http://example.com/HelloWorld", "hello world");
        assert_eq!(envelope.pae(), b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
        assert_eq!(self::envelope("", "").pae(), b"DSSEv1 0  0 ", "lengths of nothing");
        assert_eq!(self::envelope("é", "ü").pae(), "DSSEv1 2 é 2 ü".as_bytes(), "lengths are of bytes");
    }

    #[test]
    fn an_envelope_is_read_with_what_it_hints_at() {
        let read = |keyid: Value| {
            let signature = json!({ "sig": "c2ln", "keyid": keyid });
            let envelope = json!({ "payloadType": "t", "payload": "cGF5", "signatures": [signature] });
            Envelope::parse(envelope.to_string().as_bytes()).unwrap()
        };
        let expected =
            Envelope { payload_type: "t".into(), payload: b"pay".into(), signature: b"sig".into(), keyid: None };
        assert_eq!(read(json!("")), expected);
        assert_eq!(read(Value::Null), expected);
        assert_eq!(read(json!("k")), Envelope { keyid: Some("k".into()), ..expected });
    }

    #[test]
    fn an_envelope_of_several_signatures_or_of_none_is_refused() {
        for (signatures, expected) in [
            (json!([]), "has 0 signatures, expected one"),
            (json!([{ "sig": "c2ln" }, { "sig": "c2ln" }]), "has 2 signatures, expected one"),
            (json!([{ "keyid": "k" }]), "missing field `sig`"),
            (json!([{ "sig": "c2l" }]), "the signature of the DSSE envelope is not base64"),
        ] {
            let envelope = json!({ "payloadType": "t", "payload": "cGF5", "signatures": signatures });
            let found = Envelope::parse(envelope.to_string().as_bytes()).unwrap_err().to_string();
            assert!(found.contains(expected), "{expected}: {found}");
        }
        let twice = br#"{"payloadType":"t","payload":"","payload":"cGF5","signatures":[{"sig":"c2ln"}]}"#;
        assert!(Envelope::parse(twice).unwrap_err().to_string().contains("given twice"));
    }

    #[test]
    fn a_statement_names_artifacts_by_digest_alone() {
        let of = |kind: &str| {
            json!({
                "_type": kind, "predicateType": "https://example.com/p", "predicate": { "a": 1 },
                "subject": [{ "name": "web", "digest": { "sha512": "00", "sha256": &DIGEST[7..] }, "annotations": { "k": "v" } }, {}],
            })
        };
        for kind in [V1, V0_1] {
            let statement = statement(&of(kind)).unwrap();
            assert_eq!(statement.predicate_type, "https://example.com/p");
            assert_eq!(statement.subjects.len(), 2);
            let subject = statement.names(&DIGEST.parse().unwrap()).unwrap();
            assert_eq!(
                (subject.name.as_str(), subject.annotations.as_ref().unwrap()["k"].clone()),
                ("web", json!("v"))
            );
            let other = DIGEST.replace('4', "5").parse().unwrap();
            assert_eq!(statement.names(&other), None);
            let of_another_algorithm = format!("sha512:{}", "0".repeat(128)).parse().unwrap();
            assert_eq!(statement.names(&of_another_algorithm), None);
        }
    }

    #[test]
    fn what_is_no_statement_is_refused_by_name() {
        for (found, expected) in [
            (
                json!({ "_type": "https://in-toto.io/Link/v1", "predicateType": "p" }),
                "of type \"https://in-toto.io/Link/v1\"",
            ),
            (json!({ "predicateType": "p" }), "missing field `_type`"),
            (json!({ "_type": V1 }), "missing field `predicateType`"),
            (json!({ "_type": V1, "predicateType": "p", "subject": [{ "digest": "sha256:00" }] }), "in-toto statement"),
            (json!([]), "in-toto statement"),
        ] {
            let error = statement(&found).unwrap_err();
            assert!(error.contains(expected), "{expected}: {error}");
        }
        let other = Statement::of(&envelope("application/json", "{}")).unwrap_err().to_string();
        assert!(other.contains("holds \"application/json\""), "{other}");
    }
}
