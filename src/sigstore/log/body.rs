//! What a log keeps of a signature: the bodies of entries of the kinds hashedrekord, dsse and intoto, as Rekor 1 and 2
//! write them (Rekor, "pkg/types"; Rekor 2, "Record types"). Called once a log has vouched for the bytes. Never believes
//! the log: signature, signer and content must be those that are being verified.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::super::dsse::Envelope;
use super::super::key::{BadKey, Message};
use super::super::sha256;
use super::{Entered, SignedBy, What};
use crate::artifact::hex;
use crate::pki::{self, BadBundle, BadCertificate, Certificate, fingerprint};

mod written;

/// A body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Body {
    kind: String,
    is_of_rekor_2: bool,
    signature: Signature,
    verifier: Verifier,
    content: Content,
}

/// Which signature was entered.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Signature {
    /// These bytes.
    Of(Vec<u8>),
    /// That of the envelope with this SHA-256, in hexadecimal digits.
    InEnvelope(String),
}

/// Who made it, in DER.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verifier {
    Certificate(Vec<u8>),
    Key(Vec<u8>),
}

/// What it is over.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    /// A message with this hash, in hexadecimal digits. Of an envelope it is the encoding that is signed.
    Message(Hash, String),
    /// An envelope whose payload has this SHA-256, in hexadecimal digits. The oldest entries do not say it.
    Payload { hash: Option<String>, payload_type: Option<String> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

/// Why a body does not count.
#[derive(Debug, thiserror::Error)]
pub enum BadBody {
    /// Not JSON of the form that must stand there.
    #[error("its body is not JSON of the expected form: {0}")]
    Json(#[from] serde_json::Error),
    /// Of a kind that is not taken.
    #[error("its body is of type {0:?}, supported are {supported}", supported = written::KINDS.join(", "))]
    Kind(String),
    /// Not base64.
    #[error("its body's {field} is not base64: {cause}")]
    Base64 {
        /// Where.
        field: &'static str,
        /// What is wrong with it.
        cause: base64::DecodeError,
    },
    /// None, or more than one.
    #[error("its body has {0} signatures, expected one")]
    Signatures(usize),
    /// A hash function that is not taken.
    #[error("its body has a digest by {0:?}, which is not supported")]
    Hash(String),
    /// No key and no certificate that can be read.
    #[error("its body's verifier is neither a public key nor a certificate: {0}")]
    Verifier(String),
    /// It speaks of another kind of content.
    #[error("it is of type {kind}, which cannot be of {content}")]
    Content {
        /// The body's kind.
        kind: String,
        /// What is being verified.
        content: &'static str,
    },
    /// Only a SHA-256 is known of what was signed, and the body has another hash.
    #[error("its body has a digest by SHA-384 or SHA-512, and of what was signed only the SHA-256 is known")]
    OtherHash,
    /// It speaks of something else.
    #[error("it is of another {what}: {found:?}, expected {expected:?}")]
    Other {
        /// What differs.
        what: &'static str,
        /// What is there.
        found: String,
        /// What is being verified.
        expected: String,
    },
}

impl From<BadKey> for BadBody {
    fn from(error: BadKey) -> Self {
        Self::Verifier(error.to_string())
    }
}

impl From<BadCertificate> for BadBody {
    fn from(error: BadCertificate) -> Self {
        Self::Verifier(error.to_string())
    }
}

impl From<BadBundle> for BadBody {
    fn from(error: BadBundle) -> Self {
        Self::Verifier(error.to_string())
    }
}

impl Body {
    /// Reads a body.
    ///
    /// # Errors
    /// See [`BadBody`].
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, BadBody> {
        let (kind, is_of_rekor_2, (signature, verifier, content)) = written::read(bytes)?;
        Ok(Self { kind, is_of_rekor_2, signature, verifier, content })
    }

    /// Its kind and version.
    pub(super) fn kind(&self) -> String {
        self.kind.clone()
    }

    /// Whether Rekor 2 alone writes such bodies.
    pub(super) fn is_of_rekor_2(&self) -> bool {
        self.is_of_rekor_2
    }

    /// Checks that it is of that signature, that signer and that content.
    ///
    /// # Errors
    /// See [`BadBody`].
    pub(super) fn check(&self, of: &Entered<'_>) -> Result<(), BadBody> {
        self.check_content(&of.content)?;
        self.check_signature(of)?;
        self.verifier.check(&of.by)
    }

    fn check_content(&self, content: &What<'_>) -> Result<(), BadBody> {
        match (&self.content, content) {
            (Content::Message(hash, found), What::Message(message)) => same("content", found, hash.of(message)?),
            (Content::Message(hash, found), What::Dsse(envelope)) => {
                same("content", found, hash.of(&Message::Bytes(&envelope.pae()))?)
            }
            (Content::Payload { hash, payload_type }, What::Dsse(envelope)) => {
                if let Some(found) = payload_type {
                    same("payload type", found, envelope.payload_type.clone())?;
                }
                hash.as_ref().map_or(Ok(()), |found| same("payload", found, hex(&sha256(&[&envelope.payload]))))
            }
            (Content::Payload { .. }, What::Message(_)) => {
                Err(BadBody::Content { kind: self.kind.clone(), content: "a signature without an envelope" })
            }
        }
    }

    fn check_signature(&self, of: &Entered<'_>) -> Result<(), BadBody> {
        match (&self.signature, &of.content) {
            (Signature::Of(found), _) => same("signature", &STANDARD.encode(found), STANDARD.encode(of.signature)),
            (Signature::InEnvelope(found), What::Dsse(envelope)) if envelope.signature == of.signature => {
                same("envelope", found, hex(&sha256(&[written(envelope).as_bytes()])))
            }
            (Signature::InEnvelope(_), _) => {
                Err(BadBody::Content { kind: self.kind.clone(), content: "a signature outside of an envelope" })
            }
        }
    }
}

/// An envelope as Cosign has always written it: of the oldest entries the hash of it is all that binds the signature.
fn written(envelope: &Envelope) -> String {
    let (payload, signature) = (STANDARD.encode(&envelope.payload), STANDARD.encode(&envelope.signature));
    let payload_type = Value::from(envelope.payload_type.as_str());
    let keyid = Value::from(envelope.keyid.as_deref().unwrap_or_default());
    format!(
        r#"{{"payloadType":{payload_type},"payload":"{payload}","signatures":[{{"keyid":{keyid},"sig":"{signature}"}}]}}"#
    )
}

impl Verifier {
    /// Checks that it is the signer. A certificate must be the same one, byte by byte: the log is there to show whom it
    /// names. Of a key the log may hold a certificate.
    fn check(&self, by: &SignedBy<'_>) -> Result<(), BadBody> {
        match (self, by) {
            (Self::Certificate(found), SignedBy::Certificate(expected)) => {
                same("certificate", &hex(&sha256(&[found])), hex(&sha256(&[expected.der()])))
            }
            (Self::Key(found), SignedBy::Certificate(_)) => Err(BadBody::Other {
                what: "signer",
                found: format!("the key {}", fingerprint(found)),
                expected: "the certificate of the signature".to_owned(),
            }),
            (Self::Certificate(found), SignedBy::Key(expected)) => {
                let found = Certificate::from_der(found)?.key_fingerprint();
                same("key", &found, expected.fingerprint())
            }
            (Self::Key(found), SignedBy::Key(expected)) => same("key", &fingerprint(found), expected.fingerprint()),
        }
    }

    /// The key, or the first certificate, of some PEM in base64.
    fn from_pem(field: &'static str, encoded: &str) -> Result<Self, BadBody> {
        let pem = decode(field, encoded)?;
        match pki::blocks(&pem, "PUBLIC KEY") {
            Ok(keys) => match <[_; 1]>::try_from(keys) {
                Ok([(_, key)]) => Ok(Self::Key(key)),
                Err(keys) => Err(BadKey::Count(keys.len()).into()),
            },
            Err(BadBundle::Label { .. }) => {
                let certificates = pki::blocks(&pem, "CERTIFICATE")?;
                let leaf = certificates.into_iter().next().ok_or(BadBundle::Empty)?;
                Ok(Self::Certificate(leaf.1))
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Hash {
    /// The hash function of a name that Rekor 1 or 2 gives it.
    fn by_name(name: &str) -> Result<Self, BadBody> {
        match name {
            "sha256" | "SHA2_256" => Ok(Self::Sha256),
            "sha384" | "SHA2_384" => Ok(Self::Sha384),
            "sha512" | "SHA2_512" => Ok(Self::Sha512),
            _ => Err(BadBody::Hash(short(name))),
        }
    }

    /// What it makes of a message, in hexadecimal digits.
    fn of(self, message: &Message<'_>) -> Result<String, BadBody> {
        let function = match self {
            Self::Sha256 => return Ok(hex(&message.sha256())),
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        };
        match message {
            Message::Bytes(bytes) => Ok(hex(digest::digest(function, bytes).as_ref())),
            Message::Sha256(_) => Err(BadBody::OtherHash),
        }
    }
}

fn same(what: &'static str, found: &str, expected: String) -> Result<(), BadBody> {
    if *found == expected { Ok(()) } else { Err(BadBody::Other { what, found: short(found), expected }) }
}

fn decode(field: &'static str, text: &str) -> Result<Vec<u8>, BadBody> {
    STANDARD.decode(text).map_err(|cause| BadBody::Base64 { field, cause })
}

/// What others wrote, cut to what a message can hold.
fn short(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

/// How many characters are shown of what stands in a body: a SHA-512 fits.
const SHOWN: usize = 128;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::key::PublicKey;
    use super::super::super::testing::*;
    use super::super::super::testing::{hex, sha256};
    use super::*;
    use crate::pki::testing::*;

    const MESSAGE: &[u8] = b"what is signed";

    fn key() -> &'static Key {
        Key::get(Kind::P256, 0)
    }

    fn public(key: &Key) -> PublicKey {
        PublicKey::from_der(&key.der()).unwrap()
    }

    /// For [`key`].
    fn certificate() -> Certificate {
        chain().remove(0)
    }

    fn envelope() -> Envelope {
        let (payload_type, payload) = ("application/vnd.in-toto+json".to_owned(), b"{\"a\":1}".to_vec());
        Envelope { payload_type, payload, signature: vec![5; 70], keyid: None }
    }

    fn parse(body: &Value) -> Result<Body, BadBody> {
        Body::parse(body.to_string().as_bytes())
    }

    fn judge(body: &Value, signature: &[u8], by: SignedBy<'_>, content: What<'_>) -> Result<(), BadBody> {
        parse(body)?.check(&Entered { signature, by, content })
    }

    fn problem(body: &Value, signature: &[u8], by: SignedBy<'_>, content: What<'_>) -> String {
        judge(body, signature, by, content).unwrap_err().to_string()
    }

    /// Every kind of body over an envelope.
    fn of_envelope(envelope: &Envelope, by: By<'_>) -> [Value; 6] {
        [
            bodies::hashedrekord_001(&envelope.signature, by, &envelope.pae()),
            bodies::hashedrekord_002(&envelope.signature, by, &envelope.pae()),
            bodies::dsse_001(envelope, by),
            bodies::dsse_002(envelope, by),
            bodies::intoto_001(envelope, by),
            bodies::intoto_002(envelope, by),
        ]
    }

    /// Every kind of body over a message.
    fn of_message(signature: &[u8], by: By<'_>) -> [Value; 2] {
        [bodies::hashedrekord_001(signature, by, MESSAGE), bodies::hashedrekord_002(signature, by, MESSAGE)]
    }

    #[test]
    fn bodies_of_every_kind_are_of_their_own_signature_signer_and_content() {
        let (envelope, certificate, public) = (envelope(), certificate(), public(key()));
        for (entered, by) in [
            (By::Key(key()), SignedBy::Key(&public)),
            (By::Certificate(&certificate), SignedBy::Certificate(&certificate)),
            // Of a key, the log may hold a certificate.
            (By::Certificate(&certificate), SignedBy::Key(&public)),
        ] {
            for body in of_envelope(&envelope, entered) {
                judge(&body, &envelope.signature, by, What::Dsse(&envelope)).unwrap();
            }
            for body in of_message(&[5; 70], entered) {
                judge(&body, &[5; 70], by, What::Message(&Message::Bytes(MESSAGE))).unwrap();
                judge(&body, &[5; 70], by, What::Message(&Message::Sha256(sha256(MESSAGE)))).unwrap();
            }
        }
    }

    #[test]
    fn another_signature_is_refused() {
        let (envelope, public) = (envelope(), public(key()));
        let by = SignedBy::Key(&public);
        let other = Envelope { signature: vec![6; 70], ..envelope.clone() };
        for body in of_envelope(&envelope, By::Key(key())) {
            let found = problem(&body, &other.signature, by, What::Dsse(&other));
            assert!(found.contains("another signature") || found.contains("another envelope"), "{found}");
        }
        for body in of_message(&[5; 70], By::Key(key())) {
            let found = problem(&body, &[5; 69], by, What::Message(&Message::Bytes(MESSAGE)));
            assert!(found.starts_with("it is of another signature: \"BQUF"), "{found}");
        }
        // The signature of the oldest entries stands in the envelope alone.
        let body = bodies::intoto_001(&envelope, By::Key(key()));
        assert!(matches!(judge(&body, &[6; 70], by, What::Dsse(&envelope)), Err(BadBody::Content { .. })));
    }

    #[test]
    fn another_signer_is_refused() {
        let (envelope, certificate) = (envelope(), certificate());
        let (own, other) = (public(key()), public(Key::get(Kind::P256, 1)));
        let renewed = Template::leaf(LEAF, INTERMEDIATE).serial(9).sign(key(), Key::get(Kind::P256, 1));
        assert_eq!(renewed.key_fingerprint(), certificate.key_fingerprint());
        for (entered, by, expected) in [
            (By::Key(key()), SignedBy::Key(&other), "another key"),
            (By::Certificate(&certificate), SignedBy::Key(&other), "another key"),
            (By::Certificate(&renewed), SignedBy::Certificate(&certificate), "another certificate"),
            // The log shows nobody whom the key belongs to.
            (By::Key(key()), SignedBy::Certificate(&certificate), "another signer"),
        ] {
            for body in of_envelope(&envelope, entered) {
                let found = problem(&body, &envelope.signature, by, What::Dsse(&envelope));
                assert!(found.starts_with(&format!("it is of {expected}: ")), "{found}");
            }
            for body in of_message(&[5; 70], entered) {
                let found = problem(&body, &[5; 70], by, What::Message(&Message::Bytes(MESSAGE)));
                assert!(found.starts_with(&format!("it is of {expected}: ")), "{found}");
            }
        }
        assert!(matches!(own.fingerprint(), found if found != other.fingerprint()));
    }

    #[test]
    fn other_content_is_refused() {
        let (envelope, public) = (envelope(), public(key()));
        let by = SignedBy::Key(&public);
        let other = Envelope { payload: b"{\"a\":2}".to_vec(), ..envelope.clone() };
        for body in of_envelope(&envelope, By::Key(key())) {
            let found = problem(&body, &envelope.signature, by, What::Dsse(&other));
            assert!(found.contains("another content") || found.contains("another payload"), "{found}");
        }
        for body in of_message(&[5; 70], By::Key(key())) {
            for message in [Message::Bytes(b"another"), Message::Sha256([7; 32])] {
                let found = problem(&body, &[5; 70], by, What::Message(&message));
                assert!(found.starts_with("it is of another content: "), "{found}");
            }
        }
        // Where the body says the payload's type, or its hash covers it.
        let retyped = Envelope { payload_type: "text/plain".to_owned(), ..envelope.clone() };
        for body in of_envelope(&envelope, By::Key(key())) {
            let found = judge(&body, &envelope.signature, by, What::Dsse(&retyped));
            let tells = !body["kind"].as_str().unwrap().starts_with("dsse");
            assert_eq!(found.is_err(), tells, "{body}");
        }
    }

    #[test]
    fn an_entry_of_an_envelope_is_none_of_a_bare_signature() {
        let (envelope, public) = (envelope(), public(key()));
        for body in &of_envelope(&envelope, By::Key(key()))[2..] {
            let content = What::Message(&Message::Bytes(&envelope.payload));
            let found = problem(body, &envelope.signature, SignedBy::Key(&public), content);
            assert!(found.ends_with("which cannot be of a signature without an envelope"), "{found}");
        }
        // The payload is not what an envelope's signature is over.
        let body = bodies::hashedrekord_002(&envelope.signature, By::Key(key()), &envelope.payload);
        assert!(judge(&body, &envelope.signature, SignedBy::Key(&public), What::Dsse(&envelope)).is_err());
    }

    #[test]
    fn larger_digests_are_compared_where_the_bytes_are_there() {
        let public = public(key());
        let by = SignedBy::Key(&public);
        for (one, two, function) in [("sha384", "SHA2_384", &digest::SHA384), ("sha512", "SHA2_512", &digest::SHA512)] {
            let hash = digest::digest(function, MESSAGE);
            let [mut first, mut second] = of_message(&[5; 70], By::Key(key()));
            first["spec"]["data"]["hash"] = json!({"algorithm": one, "value": hex(hash.as_ref())});
            second["spec"]["hashedRekordV002"]["data"] = json!({"algorithm": two, "digest": base64(hash)});
            for body in [first, second] {
                judge(&body, &[5; 70], by, What::Message(&Message::Bytes(MESSAGE))).unwrap();
                assert!(judge(&body, &[5; 70], by, What::Message(&Message::Bytes(b"another"))).is_err());
                let known = What::Message(&Message::Sha256(sha256(MESSAGE)));
                assert!(matches!(judge(&body, &[5; 70], by, known), Err(BadBody::OtherHash)));
            }
        }
    }

    #[test]
    fn the_oldest_entries_need_not_say_the_payload() {
        let (envelope, public) = (envelope(), public(key()));
        let by = SignedBy::Key(&public);
        let mut body = bodies::intoto_001(&envelope, By::Key(key()));
        body["spec"]["content"].as_object_mut().unwrap().remove("payloadHash");
        judge(&body, &envelope.signature, by, What::Dsse(&envelope)).unwrap();
        let other = Envelope { payload: b"{\"a\":2}".to_vec(), ..envelope.clone() };
        assert!(judge(&body, &envelope.signature, by, What::Dsse(&other)).is_err());
        let hinted = Envelope { keyid: Some("k".to_owned()), ..envelope.clone() };
        assert!(judge(&body, &envelope.signature, by, What::Dsse(&hinted)).is_err());
        let body = bodies::intoto_001(&hinted, By::Key(key()));
        judge(&body, &envelope.signature, by, What::Dsse(&hinted)).unwrap();
    }

    #[test]
    fn a_chain_in_a_body_is_of_its_first_certificate() {
        let leaf = certificate();
        let chain: String = chain().iter().map(|it| pem("CERTIFICATE", it.der())).collect();
        let mut body = bodies::hashedrekord_001(&[5; 70], By::Certificate(&leaf), MESSAGE);
        body["spec"]["signature"]["publicKey"]["content"] = json!(base64(chain));
        let content = What::Message(&Message::Bytes(MESSAGE));
        judge(&body, &[5; 70], SignedBy::Certificate(&leaf), content).unwrap();
    }

    #[test]
    fn bodies_that_cannot_be_read_are_refused_with_the_reason() {
        let (envelope, by) = (envelope(), By::Key(key()));
        let [first, second, dsse, dsse_2, intoto, intoto_2] = of_envelope(&envelope, by);
        let both = json!({"publicKey": {"rawBytes": "AAAA"}, "x509Certificate": {"rawBytes": "AAAA"}});
        let two_keys = base64(by.pem().repeat(2));
        let private = base64(pem("PRIVATE KEY", b"secret"));
        for (body, pointer, value, expected) in [
            (&first, "/kind", json!("rekord"), "of type \"rekord 0.0.1\", supported are hashedrekord 0.0.1, "),
            (&first, "/apiVersion", json!("0.0.3"), "of type \"hashedrekord 0.0.3\""),
            (&first, "/apiVersion", json!("0.0.2"), "missing field `hashedRekordV002`"),
            (&second, "/apiVersion", json!("0.0.1"), "missing field `signature`"),
            (&second, "/kind", json!("dsse"), "missing field `dsseV002`"),
            (&first, "/spec", json!(null), "not JSON of the expected form"),
            (&first, "/spec/signature/content", json!("!"), "signature.content is not base64"),
            (&first, "/spec/signature/publicKey/content", json!("!"), "publicKey.content is not base64"),
            (&first, "/spec/signature/publicKey/content", json!(""), "there are 0 keys in it"),
            (&first, "/spec/signature/publicKey/content", json!(two_keys), "there are 2 keys in it"),
            (&first, "/spec/signature/publicKey/content", json!(private), "a private key stands here"),
            (&first, "/spec/data/hash/algorithm", json!("md5"), "digest by \"md5\""),
            (&second, "/spec/hashedRekordV002/data/algorithm", json!("SHA3_256"), "digest by \"SHA3_256\""),
            (&second, "/spec/hashedRekordV002/data/digest", json!("!"), "data.digest is not base64"),
            (&second, "/spec/hashedRekordV002/signature/verifier", json!({}), "nothing is there"),
            (&second, "/spec/hashedRekordV002/signature/verifier", both, "both are there"),
            (&dsse, "/spec/signatures", json!([]), "has 0 signatures, expected one"),
            (&dsse, "/spec/signatures", json!([dsse["spec"]["signatures"][0], dsse["spec"]["signatures"][0]]), "has 2"),
            (&dsse, "/spec/payloadHash/algorithm", json!("sha512"), "digest by \"sha512\""),
            (&dsse_2, "/spec/dsseV002/signatures", json!([]), "has 0 signatures, expected one"),
            (&dsse_2, "/spec/dsseV002/payloadHash/algorithm", json!("SHA2_512"), "digest by \"SHA2_512\""),
            (&intoto, "/spec/content/hash/algorithm", json!("sha512"), "digest by \"sha512\""),
            (&intoto, "/spec/publicKey", json!("!"), "publicKey is not base64"),
            (&intoto_2, "/spec/content/envelope/signatures", json!([]), "has 0 signatures, expected one"),
            (&intoto_2, "/spec/content/envelope/signatures/0/sig", json!(base64("!")), "sig is not base64"),
        ] {
            let mut body = body.clone();
            *body.pointer_mut(pointer).unwrap() = value;
            let found = parse(&body).unwrap_err().to_string();
            assert!(found.contains(expected), "{pointer}: {found}");
        }
        let twice = first.to_string().replacen("\"kind\":", "\"kind\":\"dsse\",\"kind\":", 1);
        assert!(Body::parse(twice.as_bytes()).unwrap_err().to_string().contains("\"kind\" is given twice"));
        let long = "x".repeat(10_000);
        let mut body = first.clone();
        body["kind"] = json!(long);
        assert!(parse(&body).unwrap_err().to_string().len() < 400);
    }
}
