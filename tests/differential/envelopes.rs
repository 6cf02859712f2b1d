//! Signature envelopes, made member by member: as notation would make them, unless something in them was changed.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::cbor::Cbor;
use super::clock::rfc3339;
use super::keys::Key;

/// How an envelope is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// JSON.
    Jws,
    /// CBOR.
    Cose,
}

impl Format {
    /// The media type of its envelopes.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Jws => "application/jose+json",
            Self::Cose => "application/cose",
        }
    }
}

/// By which rules it is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// By the signer.
    X509,
    /// By a service that signs for others.
    SigningAuthority,
}

pub const SCHEME: &str = "io.cncf.notary.signingScheme";
pub const SIGNING_TIME: &str = "io.cncf.notary.signingTime";
pub const AUTHENTIC_TIME: &str = "io.cncf.notary.authenticSigningTime";
pub const EXPIRY: &str = "io.cncf.notary.expiry";
pub const TIMESTAMP: &str = "io.cncf.notary.timestampSignature";
pub const AGENT: &str = "io.cncf.notary.signingAgent";
pub const PAYLOAD_TYPE: &str = "application/vnd.cncf.notary.payload.v1+json";

/// Makes a timestamp over a signature.
pub type Stamping<'a> = &'a dyn Fn(&[u8]) -> Vec<u8>;

/// What an envelope is to say, in any format.
#[derive(Clone)]
pub struct Draft {
    /// Who signs.
    pub key: &'static Key,
    /// The scheme.
    pub scheme: Scheme,
    /// When it was signed, as it says.
    pub signing_time: u64,
    /// When it ends.
    pub expiry: Option<u64>,
    /// The certificates.
    pub chain: Vec<Vec<u8>>,
    /// The payload.
    pub payload: Vec<u8>,
}

impl Draft {
    fn scheme(&self) -> &'static str {
        match self.scheme {
            Scheme::X509 => "notary.x509",
            Scheme::SigningAuthority => "notary.x509.signingAuthority",
        }
    }

    fn time(&self) -> &'static str {
        match self.scheme {
            Scheme::X509 => SIGNING_TIME,
            Scheme::SigningAuthority => AUTHENTIC_TIME,
        }
    }

    fn critical(&self) -> Vec<&'static str> {
        let authentic = (self.scheme == Scheme::SigningAuthority).then_some(AUTHENTIC_TIME);
        [SCHEME].into_iter().chain(authentic).chain(self.expiry.map(|_| EXPIRY)).collect()
    }

    /// As JWS.
    pub fn jws(&self) -> Jws {
        let mut protected = vec![
            ("alg".to_owned(), json!(self.key.kind.jws())),
            ("crit".to_owned(), json!(self.critical())),
            ("cty".to_owned(), json!(PAYLOAD_TYPE)),
            (SCHEME.to_owned(), json!(self.scheme())),
            (self.time().to_owned(), json!(rfc3339(self.signing_time))),
        ];
        protected.extend(self.expiry.map(|expiry| (EXPIRY.to_owned(), json!(rfc3339(expiry)))));
        let chain: Vec<String> = self.chain.iter().map(|der| STANDARD.encode(der)).collect();
        Jws {
            key: self.key,
            payload: self.payload.clone(),
            protected,
            header: vec![("x5c".to_owned(), json!(chain)), (AGENT.to_owned(), json!("notation-go/1.3.2"))],
            more: Vec::new(),
        }
    }

    /// As COSE.
    pub fn cose(&self) -> Cose {
        let time = |seconds: u64| Cbor::Tag(1, Box::new(Cbor::Int(i64::try_from(seconds).unwrap())));
        let mut protected = vec![
            (Cbor::Int(1), Cbor::Int(self.key.kind.cose())),
            (Cbor::Int(2), Cbor::List(self.critical().into_iter().map(Cbor::text).collect())),
            (Cbor::Int(3), Cbor::text(PAYLOAD_TYPE)),
            (Cbor::text(SCHEME), Cbor::text(self.scheme())),
            (Cbor::text(self.time()), time(self.signing_time)),
        ];
        protected.extend(self.expiry.map(|expiry| (Cbor::text(EXPIRY), time(expiry))));
        let chain = self.chain.iter().map(|der| Cbor::Bytes(der.clone())).collect();
        Cose {
            key: self.key,
            payload: self.payload.clone(),
            protected,
            unprotected: vec![(Cbor::Int(33), Cbor::List(chain)), (Cbor::text(AGENT), Cbor::text("notation-go/1.3.2"))],
            tag: Some(18),
        }
    }

    /// Signed in a format, with a timestamp over the signature where one is given.
    pub fn sign(&self, format: Format, timestamp: Option<Stamping<'_>>) -> Vec<u8> {
        match format {
            Format::Jws => {
                let mut jws = self.jws();
                let signature = jws.signature();
                let token = timestamp.map(|timestamp| STANDARD.encode(timestamp(&signature)));
                jws.header.extend(token.map(|token| (TIMESTAMP.to_owned(), json!(token))));
                jws.encode(&signature)
            }
            Format::Cose => {
                let mut cose = self.cose();
                let signature = cose.signature();
                let token = timestamp.map(|timestamp| Cbor::Bytes(timestamp(&signature)));
                cose.unprotected.extend(token.map(|token| (Cbor::text(TIMESTAMP), token)));
                cose.encode(&signature)
            }
        }
    }
}

/// A JWS envelope to be signed. Members may be given twice.
#[derive(Clone)]
pub struct Jws {
    /// Who signs.
    pub key: &'static Key,
    /// The payload.
    pub payload: Vec<u8>,
    /// The protected header.
    pub protected: Vec<(String, Value)>,
    /// The unprotected header.
    pub header: Vec<(String, Value)>,
    /// More members.
    pub more: Vec<(String, Value)>,
}

impl Jws {
    /// Sets a protected header; null takes it out.
    pub fn set(&mut self, name: &str, value: Value) {
        set(&mut self.protected, name, value);
    }

    /// Sets an unprotected header; null takes it out.
    pub fn set_header(&mut self, name: &str, value: Value) {
        set(&mut self.header, name, value);
    }

    /// Sets a protected header and names it under `crit`.
    pub fn set_critical(&mut self, name: &str, value: Value) {
        self.set(name, value);
        let critical = &mut self.protected.iter_mut().find(|(key, _)| key == "crit").unwrap().1;
        critical.as_array_mut().unwrap().push(json!(name));
    }

    fn parts(&self) -> [String; 2] {
        [object(&self.protected).as_bytes(), &self.payload].map(|bytes| URL_SAFE_NO_PAD.encode(bytes))
    }

    /// The signature over it.
    pub fn signature(&self) -> Vec<u8> {
        self.key.sign_envelope(self.parts().join(".").as_bytes())
    }

    /// With a signature.
    pub fn encode(&self, signature: &[u8]) -> Vec<u8> {
        let [protected, payload] = self.parts();
        let header = object(&self.header);
        let more: String =
            self.more.iter().map(|(name, value)| format!(",{}:{value}", Value::String(name.clone()))).collect();
        let signature = URL_SAFE_NO_PAD.encode(signature);
        format!(
            r#"{{"payload":"{payload}","protected":"{protected}","header":{header},"signature":"{signature}"{more}}}"#
        )
        .into_bytes()
    }
}

fn set(members: &mut Vec<(String, Value)>, name: &str, value: Value) {
    members.retain(|(key, _)| key != name);
    if !value.is_null() {
        members.push((name.to_owned(), value));
    }
}

/// An object with its members in this order, given twice or not.
fn object(members: &[(String, Value)]) -> String {
    let members: Vec<String> =
        members.iter().map(|(name, value)| format!("{}:{value}", Value::String(name.clone()))).collect();
    format!("{{{}}}", members.join(","))
}

/// A COSE envelope to be signed. Headers may be given twice.
#[derive(Clone)]
pub struct Cose {
    /// Who signs.
    pub key: &'static Key,
    /// The payload.
    pub payload: Vec<u8>,
    /// The protected header.
    pub protected: Vec<(Cbor, Cbor)>,
    /// The unprotected header.
    pub unprotected: Vec<(Cbor, Cbor)>,
    /// The tag around it.
    pub tag: Option<u64>,
}

impl Cose {
    /// Sets a protected header; null takes it out.
    pub fn set(&mut self, label: impl Into<Cbor>, value: Cbor) {
        set_label(&mut self.protected, label.into(), value);
    }

    /// Sets an unprotected header; null takes it out.
    pub fn set_unprotected(&mut self, label: impl Into<Cbor>, value: Cbor) {
        set_label(&mut self.unprotected, label.into(), value);
    }

    /// Sets a protected header and names it under `crit`.
    pub fn set_critical(&mut self, label: impl Into<Cbor>, value: Cbor) {
        let label = label.into();
        self.set(label.clone(), value);
        let critical = &mut self.protected.iter_mut().find(|(key, _)| *key == Cbor::Int(2)).unwrap().1;
        let Cbor::List(names) = critical else { unreachable!() };
        names.push(label);
    }

    /// The signature over it (RFC 9052, section 4.4).
    pub fn signature(&self) -> Vec<u8> {
        let parts = [
            Cbor::text("Signature1"),
            Cbor::Bytes(Cbor::Map(self.protected.clone()).encode()),
            Cbor::Bytes(Vec::new()),
            Cbor::Bytes(self.payload.clone()),
        ];
        self.key.sign_envelope(&Cbor::List(parts.to_vec()).encode())
    }

    /// With a signature.
    pub fn encode(&self, signature: &[u8]) -> Vec<u8> {
        self.wrap(self.parts(signature))
    }

    /// The four parts.
    pub fn parts(&self, signature: &[u8]) -> Vec<Cbor> {
        vec![
            Cbor::Bytes(Cbor::Map(self.protected.clone()).encode()),
            Cbor::Map(self.unprotected.clone()),
            Cbor::Bytes(self.payload.clone()),
            Cbor::Bytes(signature.to_vec()),
        ]
    }

    /// The parts as an envelope.
    pub fn wrap(&self, parts: Vec<Cbor>) -> Vec<u8> {
        let list = Cbor::List(parts);
        self.tag.map_or(list.clone(), |tag| Cbor::Tag(tag, Box::new(list))).encode()
    }
}

fn set_label(headers: &mut Vec<(Cbor, Cbor)>, label: Cbor, value: Cbor) {
    headers.retain(|(key, _)| *key != label);
    if value != Cbor::Null {
        headers.push((label, value));
    }
}
