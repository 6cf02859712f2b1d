//! Sigstore's bundles and the statements in DSSE envelopes: what is read keeps every rule that can be told from the outside,
//! and nothing is believed for which nobody is trusted.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ratify::artifact::Digest;
use ratify::limits;
use ratify::sigstore::bundle::{Content, Material, Signature};
use ratify::sigstore::dsse::{Envelope, Statement};
use ratify::sigstore::identity::{Identity, Matcher};
use ratify::sigstore::key::Message;
use ratify::sigstore::verify::{Signers, Trust, verify};

/// A bundle: within its bounds, and refused where nobody is trusted, whatever is asked for.
pub fn bundle(data: &[u8]) -> bool {
    let signature = match Signature::from_bundle(data) {
        Ok(signature) => signature,
        Err(error) => {
            told(&error);
            return false;
        }
    };
    assert!(signature.entries.len() <= limits::LOG_ENTRIES && signature.timestamps.len() <= limits::TIMESTAMPS);
    assert!(!signature.content.signature().is_empty());
    match &signature.material {
        Material::Key { hint } => assert!(hint.as_ref().is_none_or(|hint| hint.len() <= limits::KEY_HINT_BYTES)),
        Material::Certificate { chain, .. } => assert!(chain.len() < limits::CHAIN_CERTIFICATES),
    }
    if let Content::Dsse(envelope) = &signature.content {
        held(envelope);
    }
    let anybody = || Matcher::pattern("[ -~]+").unwrap();
    let identities = vec![Identity::new(anybody(), anybody())];
    let chain = Signers::Chain { roots: Vec::new(), intermediates: Vec::new(), identities: Vec::new() };
    for signers in [Signers::Keyless(identities), Signers::Keys(Vec::new()), chain] {
        let trust = Trust { signers, roots: Vec::new(), log: false, sct: false, observer_time: false };
        assert!(verify(&signature, &Message::Bytes(b"x"), &trust, now()).is_err());
    }
    true
}

/// What is wrong is told. The parser quotes names of fields as they are; whoever shows it makes one printable line of it
/// (`ratify::verdict::reason_line`).
fn told(error: &dyn std::fmt::Display) {
    assert!(!error.to_string().is_empty());
}

/// An envelope and the statement in it: what is signed tells both apart, and a subject is named by whole digests alone.
pub fn dsse(data: &[u8]) -> bool {
    let envelope = match Envelope::parse(data) {
        Ok(envelope) => envelope,
        Err(error) => {
            told(&error);
            return false;
        }
    };
    held(&envelope);
    let statement = match Statement::of(&envelope) {
        Ok(statement) => statement,
        Err(error) => {
            told(&error);
            return false;
        }
    };
    for digest in statement.subjects.iter().flat_map(|subject| &subject.digest) {
        let Ok(digest) = format!("{}:{}", digest.0, digest.1).parse::<Digest>() else { continue };
        let subject = statement.names(&digest).unwrap();
        assert_eq!(subject.digest[digest.as_str().split(':').next().unwrap()], digest.hex());
    }
    let another = format!("sha256:{}", "0".repeat(64)).parse::<Digest>().unwrap();
    let zero = "0".repeat(64);
    assert_eq!(
        statement.names(&another).is_some(),
        statement.subjects.iter().any(|subject| subject.digest.get("sha256") == Some(&zero))
    );
    true
}

/// What is signed can be taken apart again in one way only.
fn held(envelope: &Envelope) {
    let pae = envelope.pae();
    let rest = pae.strip_prefix(b"DSSEv1 ").unwrap();
    let (kind, rest) = sized(rest);
    assert_eq!(kind, envelope.payload_type.as_bytes());
    let (payload, rest) = sized(rest.strip_prefix(b" ").unwrap());
    assert!(payload == envelope.payload && rest.is_empty());
}

/// A length in decimal digits, a space, so many bytes; and what follows.
fn sized(bytes: &[u8]) -> (&[u8], &[u8]) {
    let space = bytes.iter().position(|byte| *byte == b' ').unwrap();
    let length: usize = str::from_utf8(&bytes[..space]).unwrap().parse().unwrap();
    bytes[space + 1..].split_at(length)
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(super::signatures::NOW)
}
