//! Timestamp tokens (RFC 3161) of any moment, made here: openssl's authority knows only the present one. Those that
//! openssl makes are in [`super::authorities`].

use aws_lc_rs::digest::{Algorithm, SHA256, SHA384, SHA512, digest};
use der::{Decode as _, Encode as _};

use super::certificates::{TIME_STAMPING, Template, oid, purposes, tlv};
use super::clock::{days, generalized};
use super::keys::{Key, Kind};

/// An authority for timestamps.
#[derive(Clone)]
pub struct Stamper {
    /// Its key.
    pub key: &'static Key,
    /// Its certificate, then its root's.
    pub chain: Vec<Vec<u8>>,
}

/// The name of an authority's root.
pub const ROOT: &str = "CN=time root,O=acme time,ST=WA,C=US";

impl Stamper {
    /// The root's key.
    pub fn root_key() -> &'static Key {
        Key::get(Kind::P384, 2)
    }

    /// The root's certificate.
    pub fn root() -> Vec<u8> {
        Template::ca(ROOT, ROOT, (days(-2000), days(2000))).sign(Self::root_key(), Self::root_key())
    }

    /// One whose certificate is this under the root, with a key of its own.
    pub fn of(kind: Kind, change: impl Fn(Template) -> Template) -> Self {
        let key = Key::get(kind, 2);
        let template = Template::leaf("CN=time,O=acme time,ST=WA,C=US", ROOT, (days(-1000), days(1000)))
            .with(purposes(true, &[TIME_STAMPING]));
        Self { key, chain: vec![change(template).sign(key, Self::root_key()), Self::root()] }
    }

    /// One under another root, of the same name.
    pub fn stranger() -> Self {
        let root_key = Key::get(Kind::P256, 2);
        let root = Template::ca(ROOT, ROOT, (days(-2000), days(2000))).sign(root_key, root_key);
        let key = Key::get(Kind::P521, 2);
        let leaf = Template::leaf("CN=time,O=acme time,ST=WA,C=US", ROOT, (days(-1000), days(1000)))
            .with(purposes(true, &[TIME_STAMPING]))
            .sign(key, root_key);
        Self { key, chain: vec![leaf, root] }
    }
}

/// What a token says.
#[derive(Clone)]
pub struct Token {
    /// The moment.
    pub at: u64,
    /// How exact that is, in seconds.
    pub accuracy: Option<u8>,
    /// Whether it names its certificate (`signing-certificate-v2`).
    pub names_certificate: bool,
    /// Whether it brings its certificates.
    pub has_certificates: bool,
}

impl Token {
    /// A good one.
    pub fn at(at: u64) -> Self {
        Self { at, accuracy: None, names_certificate: true, has_certificates: true }
    }

    /// Over this signature, by an authority.
    pub fn over(&self, signature: &[u8], stamper: &Stamper) -> Vec<u8> {
        let info = self.info(signature);
        let leaf = &stamper.chain[0];
        let (hash, name) = hash(stamper.key.kind);
        let attributes = self.attributes(&info, hash, leaf);
        let signed = tlv(0x31, &attributes);
        let parsed = x509_cert::Certificate::from_der(leaf).unwrap().tbs_certificate;
        let issuer = [parsed.issuer.to_der().unwrap(), parsed.serial_number.to_der().unwrap()].concat();
        let signer = [
            vec![2, 1, 1],
            tlv(0x30, &issuer),
            algorithm(name),
            tlv(0xa0, &attributes),
            stamper.key.algorithm().to_der().unwrap(),
            tlv(4, &stamper.key.sign_certificate(&signed)),
        ];
        let certificates = if self.has_certificates { tlv(0xa0, &stamper.chain.concat()) } else { Vec::new() };
        let content = [oid(TST_INFO), tlv(0xa0, &tlv(4, &info))].concat();
        let data = [
            vec![2, 1, 3],
            tlv(0x31, &algorithm(name)),
            tlv(0x30, &content),
            certificates,
            tlv(0x31, &tlv(0x30, &signer.concat())),
        ];
        tlv(0x30, &[oid(SIGNED_DATA), tlv(0xa0, &tlv(0x30, &data.concat()))].concat())
    }

    fn info(&self, signature: &[u8]) -> Vec<u8> {
        let imprint = [algorithm(SHA_256), tlv(4, digest(&SHA256, signature).as_ref())].concat();
        let accuracy = self.accuracy.map_or(Vec::new(), |seconds| tlv(0x30, &[2, 1, seconds]));
        let parts = [
            vec![2, 1, 1],
            oid("1.3.6.1.4.1.55555.1"),
            tlv(0x30, &imprint),
            vec![2, 1, 7],
            tlv(0x18, generalized(self.at).as_bytes()),
            accuracy,
        ];
        tlv(0x30, &parts.concat())
    }

    fn attributes(&self, info: &[u8], hash: &'static Algorithm, leaf: &[u8]) -> Vec<u8> {
        let attribute = |name: &str, value: &[u8]| tlv(0x30, &[oid(name), tlv(0x31, value)].concat());
        let certificate = tlv(0x30, &tlv(0x30, &tlv(0x30, &tlv(4, digest(&SHA256, leaf).as_ref()))));
        let mut attributes = vec![
            attribute("1.2.840.113549.1.9.3", &oid(TST_INFO)),
            attribute("1.2.840.113549.1.9.4", &tlv(4, digest(hash, info).as_ref())),
        ];
        if self.names_certificate {
            attributes.push(attribute("1.2.840.113549.1.9.16.2.47", &certificate));
        }
        // DER: the members of a set in the order of their bytes.
        attributes.sort();
        attributes.concat()
    }
}

fn algorithm(hash: &str) -> Vec<u8> {
    tlv(0x30, &oid(hash))
}

/// What a key's signatures in certificates hash by.
fn hash(kind: Kind) -> (&'static Algorithm, &'static str) {
    match kind {
        Kind::Rsa2048 | Kind::P256 => (&SHA256, SHA_256),
        Kind::Rsa3072 | Kind::P384 => (&SHA384, "2.16.840.1.101.3.4.2.2"),
        Kind::Rsa4096 | Kind::P521 => (&SHA512, "2.16.840.1.101.3.4.2.3"),
    }
}

const SHA_256: &str = "2.16.840.1.101.3.4.2.1";
const SIGNED_DATA: &str = "1.2.840.113549.1.7.2";
const TST_INFO: &str = "1.2.840.113549.1.9.16.1.4";
