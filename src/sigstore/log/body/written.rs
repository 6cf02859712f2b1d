//! The six forms of bodies, as Rekor 1 and 2 write them. Called by [`super::Body`]. Fields that are not here are passed over;
//! of each body only the record of its own kind is read.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::{DeserializeOwned, Error as _};
use serde_json::Value;

use super::{BadBody, Content, Hash, Signature, Verifier, decode, short};
use crate::artifact::hex;
use crate::json;

/// The signature in a body, who made it, and over what.
pub(super) type Parts = (Signature, Verifier, Content);

/// Reads a body: its kind and version, whether Rekor 2 alone writes such ones, and what it says.
///
/// # Errors
/// See [`BadBody`].
pub(super) fn read(bytes: &[u8]) -> Result<(String, bool, Parts), BadBody> {
    let Head { api_version, kind, spec } = json::from_slice(bytes)?;
    let kind = format!("{kind} {api_version}");
    let (is_of_rekor_2, parts) = match kind.as_str() {
        HASHEDREKORD_1 => (false, hashedrekord_1(spec)?),
        HASHEDREKORD_2 => (true, hashedrekord_2(&spec)?),
        DSSE_1 => (false, dsse_1(spec)?),
        DSSE_2 => (true, dsse_2(&spec)?),
        INTOTO_1 => (false, intoto_1(spec)?),
        INTOTO_2 => (false, intoto_2(spec)?),
        _ => return Err(BadBody::Kind(short(&kind))),
    };
    Ok((kind, is_of_rekor_2, parts))
}

fn hashedrekord_1(spec: Value) -> Result<Parts, BadBody> {
    let HashedRekord1 { signature, data } = HashedRekord1::deserialize(spec)?;
    let verifier = Verifier::from_pem("signature.publicKey.content", &signature.public_key.content)?;
    let content = Content::Message(Hash::by_name(&data.hash.algorithm)?, data.hash.value);
    Ok((Signature::Of(decode("signature.content", &signature.content)?), verifier, content))
}

fn hashedrekord_2(spec: &Value) -> Result<Parts, BadBody> {
    let HashedRekord2 { data, signature } = record(spec, "hashedRekordV002")?;
    let digest = hex(&decode("data.digest", &data.digest)?);
    let content = Content::Message(Hash::by_name(&data.algorithm)?, digest);
    let (signature, verifier) = signature.read()?;
    Ok((signature, verifier, content))
}

fn dsse_1(spec: Value) -> Result<Parts, BadBody> {
    let Dsse1 { signatures, payload_hash } = Dsse1::deserialize(spec)?;
    let [signature] = <[_; 1]>::try_from(signatures).map_err(|all| BadBody::Signatures(all.len()))?;
    let verifier = Verifier::from_pem("signatures.verifier", &signature.verifier)?;
    let signature = Signature::Of(decode("signatures.signature", &signature.signature)?);
    Ok((signature, verifier, payload_hash.read()?))
}

fn dsse_2(spec: &Value) -> Result<Parts, BadBody> {
    let Dsse2 { payload_hash, signatures } = record(spec, "dsseV002")?;
    let [signature] = <[_; 1]>::try_from(signatures).map_err(|all| BadBody::Signatures(all.len()))?;
    let (signature, verifier) = signature.read()?;
    if Hash::by_name(&payload_hash.algorithm)? != Hash::Sha256 {
        return Err(BadBody::Hash(short(&payload_hash.algorithm)));
    }
    let hash = Some(hex(&decode("payloadHash.digest", &payload_hash.digest)?));
    Ok((signature, verifier, Content::Payload { hash, payload_type: None }))
}

fn intoto_1(spec: Value) -> Result<Parts, BadBody> {
    let Intoto1 { content, public_key } = Intoto1::deserialize(spec)?;
    let verifier = Verifier::from_pem("publicKey", &public_key)?;
    let payload = match content.payload_hash {
        Some(hash) => hash.read()?,
        None => Content::Payload { hash: None, payload_type: None },
    };
    Ok((Signature::InEnvelope(content.hash.sha256()?), verifier, payload))
}

fn intoto_2(spec: Value) -> Result<Parts, BadBody> {
    let content = Intoto2::deserialize(spec)?.content;
    let Envelope2 { payload_type, signatures } = content.envelope;
    let [signature] = <[_; 1]>::try_from(signatures).map_err(|all| BadBody::Signatures(all.len()))?;
    let verifier = Verifier::from_pem("content.envelope.signatures.publicKey", &signature.public_key)?;
    // In base64 twice: what is signed is itself text in the envelope.
    let text = decode(SIG, &signature.sig)?;
    let signature = STANDARD.decode(text).map_err(|cause| BadBody::Base64 { field: SIG, cause })?;
    let payload = Content::Payload { hash: Some(content.payload_hash.sha256()?), payload_type: Some(payload_type) };
    Ok((Signature::Of(signature), verifier, payload))
}

const SIG: &str = "content.envelope.signatures.sig";

/// The record of a body of Rekor 2, which stands under a name of its own.
fn record<T: DeserializeOwned>(spec: &Value, name: &'static str) -> Result<T, BadBody> {
    let record = spec.get(name).ok_or_else(|| serde_json::Error::missing_field(name))?;
    Ok(T::deserialize(record)?)
}

/// What all bodies have.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    api_version: String,
    kind: String,
    spec: Value,
}

#[derive(Deserialize)]
struct HashedRekord1 {
    signature: Signature1,
    data: Data1,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Signature1 {
    content: String,
    public_key: PublicKey1,
}

#[derive(Deserialize)]
struct PublicKey1 {
    content: String,
}

#[derive(Deserialize)]
struct Data1 {
    hash: Hash1,
}

/// A digest as Rekor 1 writes it, in hexadecimal digits.
#[derive(Deserialize)]
struct Hash1 {
    algorithm: String,
    value: String,
}

impl Hash1 {
    fn sha256(self) -> Result<String, BadBody> {
        if self.algorithm == "sha256" { Ok(self.value) } else { Err(BadBody::Hash(short(&self.algorithm))) }
    }

    /// Of a payload.
    fn read(self) -> Result<Content, BadBody> {
        Ok(Content::Payload { hash: Some(self.sha256()?), payload_type: None })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Dsse1 {
    signatures: Vec<DsseSignature1>,
    payload_hash: Hash1,
}

#[derive(Deserialize)]
struct DsseSignature1 {
    signature: String,
    verifier: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Intoto1 {
    content: IntotoContent1,
    public_key: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IntotoContent1 {
    hash: Hash1,
    payload_hash: Option<Hash1>,
}

#[derive(Deserialize)]
struct Intoto2 {
    content: IntotoContent2,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IntotoContent2 {
    envelope: Envelope2,
    payload_hash: Hash1,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope2 {
    payload_type: String,
    signatures: Vec<EnvelopeSignature2>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EnvelopeSignature2 {
    public_key: String,
    sig: String,
}

#[derive(Deserialize)]
struct HashedRekord2 {
    data: Data2,
    signature: Signature2,
}

/// A digest as Rekor 2 writes it, in base64.
#[derive(Deserialize)]
struct Data2 {
    algorithm: String,
    digest: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Dsse2 {
    payload_hash: Data2,
    signatures: Vec<Signature2>,
}

#[derive(Deserialize)]
struct Signature2 {
    content: String,
    verifier: Verifier2,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Verifier2 {
    public_key: Option<Raw>,
    x509_certificate: Option<Raw>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    raw_bytes: String,
}

impl Signature2 {
    fn read(&self) -> Result<(Signature, Verifier), BadBody> {
        let verifier = match (&self.verifier.public_key, &self.verifier.x509_certificate) {
            (Some(key), None) => Verifier::Key(decode("signature.verifier.publicKey", &key.raw_bytes)?),
            (None, Some(certificate)) => {
                Verifier::Certificate(decode("signature.verifier.x509Certificate", &certificate.raw_bytes)?)
            }
            (Some(_), Some(_)) => return Err(BadBody::Verifier("both are there".to_owned())),
            (None, None) => return Err(BadBody::Verifier("nothing is there".to_owned())),
        };
        Ok((Signature::Of(decode("signature.content", &self.content)?), verifier))
    }
}

const HASHEDREKORD_1: &str = "hashedrekord 0.0.1";
const HASHEDREKORD_2: &str = "hashedrekord 0.0.2";
const DSSE_1: &str = "dsse 0.0.1";
const DSSE_2: &str = "dsse 0.0.2";
const INTOTO_1: &str = "intoto 0.0.1";
const INTOTO_2: &str = "intoto 0.0.2";

/// The kinds of bodies that are taken.
pub(super) const KINDS: [&str; 6] = [HASHEDREKORD_1, HASHEDREKORD_2, DSSE_1, DSSE_2, INTOTO_1, INTOTO_2];
