//! Certificates for tests, made field by field: a test breaks one rule and keeps all others. Keys are made once.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::{LazyLock, Mutex, OnceLock};
use std::time::{Duration, SystemTime};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RsaEncoding, RsaKeyPair,
};
use const_oid::ObjectIdentifier;
use const_oid::db::{rfc5280, rfc5912, rfc8410};
use der::asn1::{Any, BitString, Null, OctetString, UtcTime};
use der::{Decode, Encode};
use spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use x509_cert::ext::Extension;
use x509_cert::name::RdnSequence;
use x509_cert::serial_number::SerialNumber;
use x509_cert::time::{Time, Validity};
use x509_cert::{TbsCertificate, Version};

use crate::pki::Certificate;

/// The moment at which tests verify.
pub fn now() -> SystemTime {
    at(1_800_000_000)
}

pub fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

pub const DAY: u64 = 24 * 60 * 60;
pub const NOW: u64 = 1_800_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    P256,
    P384,
    P521,
    Rsa2048,
    Rsa3072,
    Rsa4096,
    Ed25519,
}

/// A key pair. `Key::get(kind, 0)` and `Key::get(kind, 1)` are two keys, and always the same ones in one run.
pub struct Key {
    pub kind: Kind,
    pair: Pair,
}

enum Pair {
    Ec { pkcs8: Vec<u8>, public: Vec<u8> },
    Rsa(Box<RsaKeyPair>),
    Ed(Ed25519KeyPair),
}

const KINDS: usize = 7;
const KEYS_OF_A_KIND: usize = 3;

impl Key {
    pub fn get(kind: Kind, number: usize) -> &'static Self {
        static KEYS: [[OnceLock<Key>; KEYS_OF_A_KIND]; KINDS] =
            [const { [const { OnceLock::new() }; KEYS_OF_A_KIND] }; KINDS];
        KEYS[kind as usize][number].get_or_init(|| Self::generate(kind))
    }

    fn generate(kind: Kind) -> Self {
        let ec = |algorithm: &'static EcdsaSigningAlgorithm| {
            let pair = EcdsaKeyPair::generate(algorithm).unwrap();
            Pair::Ec {
                pkcs8: pair.to_pkcs8v1().unwrap().as_ref().to_vec(),
                public: pair.public_key().as_ref().to_vec(),
            }
        };
        let rsa = |size| Pair::Rsa(Box::new(RsaKeyPair::generate(size).unwrap()));
        let pair = match kind {
            Kind::P256 => ec(&signature::ECDSA_P256_SHA256_ASN1_SIGNING),
            Kind::P384 => ec(&signature::ECDSA_P384_SHA384_ASN1_SIGNING),
            Kind::P521 => ec(&signature::ECDSA_P521_SHA512_ASN1_SIGNING),
            Kind::Rsa2048 => rsa(KeySize::Rsa2048),
            Kind::Rsa3072 => rsa(KeySize::Rsa3072),
            Kind::Rsa4096 => rsa(KeySize::Rsa4096),
            Kind::Ed25519 => Pair::Ed(Ed25519KeyPair::generate().unwrap()),
        };
        Self { kind, pair }
    }

    pub fn spki(&self) -> SubjectPublicKeyInfoOwned {
        let (oid, parameters, public) = match &self.pair {
            Pair::Ec { public, .. } => {
                let curve = match self.kind {
                    Kind::P256 => rfc5912::SECP_256_R_1,
                    Kind::P384 => rfc5912::SECP_384_R_1,
                    _ => rfc5912::SECP_521_R_1,
                };
                (rfc5912::ID_EC_PUBLIC_KEY, Some(Any::from(curve)), public.as_slice())
            }
            Pair::Rsa(pair) => (rfc5912::RSA_ENCRYPTION, Some(Any::from(Null)), pair.public_key().as_ref()),
            Pair::Ed(pair) => (rfc8410::ID_ED_25519, None, pair.public_key().as_ref()),
        };
        SubjectPublicKeyInfoOwned {
            algorithm: AlgorithmIdentifierOwned { oid, parameters },
            subject_public_key: BitString::from_bytes(public).unwrap(),
        }
    }

    /// Signs as in certificates: RSA by PKCS #1, ECDSA in DER.
    pub fn sign_certificate(&self, algorithm: &AlgorithmIdentifierOwned, message: &[u8]) -> Vec<u8> {
        match (self.kind, algorithm.oid) {
            (Kind::P256, _) => self.ecdsa(&signature::ECDSA_P256_SHA256_ASN1_SIGNING, message),
            (Kind::P384, _) => self.ecdsa(&signature::ECDSA_P384_SHA384_ASN1_SIGNING, message),
            (Kind::P521, rfc5912::ECDSA_WITH_SHA_384) => {
                self.ecdsa(&signature::ECDSA_P521_SHA384_ASN1_SIGNING, message)
            }
            (Kind::P521, _) => self.ecdsa(&signature::ECDSA_P521_SHA512_ASN1_SIGNING, message),
            (Kind::Ed25519, _) => match &self.pair {
                Pair::Ed(pair) => pair.sign(message).as_ref().to_vec(),
                _ => unreachable!(),
            },
            (_, rfc5912::SHA_384_WITH_RSA_ENCRYPTION) => self.rsa(&signature::RSA_PKCS1_SHA384, message),
            (_, rfc5912::SHA_512_WITH_RSA_ENCRYPTION) => self.rsa(&signature::RSA_PKCS1_SHA512, message),
            (_, rfc5912::ID_RSASSA_PSS) => match pss_salt(algorithm) {
                Some(48) => self.rsa(&signature::RSA_PSS_SHA384, message),
                Some(64) => self.rsa(&signature::RSA_PSS_SHA512, message),
                _ => self.rsa(&signature::RSA_PSS_SHA256, message),
            },
            _ => self.rsa(&signature::RSA_PKCS1_SHA256, message),
        }
    }

    /// Signs as in JWS, by the algorithm of the key: RSA by PSS, ECDSA as `r || s`.
    pub fn sign_jws(&self, message: &[u8]) -> Vec<u8> {
        match self.kind {
            Kind::P256 => self.ecdsa(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, message),
            Kind::P384 => self.ecdsa(&signature::ECDSA_P384_SHA384_FIXED_SIGNING, message),
            Kind::P521 => self.ecdsa(&signature::ECDSA_P521_SHA512_FIXED_SIGNING, message),
            Kind::Rsa2048 => self.rsa(&signature::RSA_PSS_SHA256, message),
            Kind::Rsa3072 => self.rsa(&signature::RSA_PSS_SHA384, message),
            Kind::Rsa4096 => self.rsa(&signature::RSA_PSS_SHA512, message),
            Kind::Ed25519 => unreachable!("no JWS algorithm of the specification"),
        }
    }

    fn ecdsa(&self, algorithm: &'static EcdsaSigningAlgorithm, message: &[u8]) -> Vec<u8> {
        let Pair::Ec { pkcs8, .. } = &self.pair else { unreachable!() };
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8).unwrap();
        pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
    }

    fn rsa(&self, encoding: &'static dyn RsaEncoding, message: &[u8]) -> Vec<u8> {
        let Pair::Rsa(pair) = &self.pair else { unreachable!() };
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(encoding, &SystemRandom::new(), message, &mut signature).unwrap();
        signature
    }

    /// The usual signature algorithm of a certificate that this key signs.
    pub fn certificate_algorithm(&self) -> AlgorithmIdentifierOwned {
        match self.kind {
            Kind::P256 => algorithm(rfc5912::ECDSA_WITH_SHA_256, None),
            Kind::P384 => algorithm(rfc5912::ECDSA_WITH_SHA_384, None),
            Kind::P521 => algorithm(rfc5912::ECDSA_WITH_SHA_512, None),
            Kind::Ed25519 => algorithm(rfc8410::ID_ED_25519, None),
            _ => algorithm(rfc5912::SHA_256_WITH_RSA_ENCRYPTION, Some(Any::from(Null))),
        }
    }
}

pub fn algorithm(oid: ObjectIdentifier, parameters: Option<Any>) -> AlgorithmIdentifierOwned {
    AlgorithmIdentifierOwned { oid, parameters }
}

/// RSASSA-PSS parameters; `salt` and `trailer` may be left out.
pub fn pss(
    hash: ObjectIdentifier,
    mask: ObjectIdentifier,
    mask_hash: ObjectIdentifier,
    salt: Option<u8>,
    trailer: Option<u8>,
) -> AlgorithmIdentifierOwned {
    let explicit = |number: u8, content: Vec<u8>| tlv(0xa0 | number, &content);
    let hash = algorithm(hash, Some(Any::from(Null))).to_der().unwrap();
    let mask_hash = algorithm(mask_hash, Some(Any::from(Null))).to_der().unwrap();
    let mask = algorithm(mask, Some(Any::from_der(&mask_hash).unwrap())).to_der().unwrap();
    let mut content = [explicit(0, hash), explicit(1, mask)].concat();
    content.extend(salt.into_iter().flat_map(|salt| explicit(2, salt.to_der().unwrap())));
    content.extend(trailer.into_iter().flat_map(|trailer| explicit(3, trailer.to_der().unwrap())));
    algorithm(rfc5912::ID_RSASSA_PSS, Some(Any::from_der(&tlv(0x30, &content)).unwrap()))
}

fn pss_salt(algorithm: &AlgorithmIdentifierOwned) -> Option<u8> {
    // The salt length is the only INTEGER under [2].
    let bytes = algorithm.parameters.as_ref()?.value();
    bytes.windows(5).find(|window| window.starts_with(&[0xa2, 3, 2, 1])).map(|window| window[4])
}

/// Tag, length and content.
pub fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    match content.len() {
        short @ 0..=0x7f => bytes.push(short as u8),
        byte @ 0x80..=0xff => bytes.extend([0x81, byte as u8]),
        long @ 0x100..=0xffff => {
            bytes.push(0x82);
            bytes.extend((long as u16).to_be_bytes());
        }
        longer => {
            bytes.push(0x83);
            bytes.extend(&(longer as u32).to_be_bytes()[1..]);
        }
    }
    [bytes, content.to_vec()].concat()
}

/// A certificate to be made.
#[derive(Clone)]
pub struct Template {
    pub version: Version,
    pub subject: String,
    pub issuer: String,
    pub serial: SerialNumber,
    pub not_before: u64,
    pub not_after: u64,
    pub extensions: Vec<Extension>,
    /// The signature algorithm around the signed part.
    pub outer: Option<AlgorithmIdentifierOwned>,
    /// The one in it.
    pub inner: Option<AlgorithmIdentifierOwned>,
    /// Changes the subject's key.
    pub spki: Option<SubjectPublicKeyInfoOwned>,
}

pub const ROOT: &str = "CN=root,O=acme,ST=WA,C=US";
pub const INTERMEDIATE: &str = "CN=intermediate,O=acme,ST=WA,C=US";
pub const LEAF: &str = "CN=signer,OU=build,O=acme,L=Seattle,ST=WA,C=US";

impl Template {
    fn new(subject: &str, issuer: &str, extensions: Vec<Extension>) -> Self {
        Self {
            version: Version::V3,
            subject: subject.to_owned(),
            issuer: issuer.to_owned(),
            serial: SerialNumber::new(&[1]).unwrap(),
            not_before: NOW - 100 * DAY,
            not_after: NOW + 100 * DAY,
            extensions,
            outer: None,
            inner: None,
            spki: None,
        }
    }

    /// A certificate authority's.
    pub fn ca(subject: &str, issuer: &str) -> Self {
        Self::new(subject, issuer, vec![constraints_of(true, true, None), usage_of(true, &[KEY_CERT_SIGN])])
    }

    /// A code signer's.
    pub fn leaf(subject: &str, issuer: &str) -> Self {
        Self::new(subject, issuer, vec![usage_of(true, &[DIGITAL_SIGNATURE])])
    }

    /// Replaces the extension of the same identifier.
    pub fn with(mut self, extension: Extension) -> Self {
        self.extensions.retain(|other| other.extn_id != extension.extn_id);
        self.extensions.push(extension);
        self
    }

    pub fn without(mut self, oid: ObjectIdentifier) -> Self {
        self.extensions.retain(|other| other.extn_id != oid);
        self
    }

    /// The certificate in DER, for the key of `subject`, signed by `issuer`.
    pub fn der(&self, subject: &Key, issuer: &Key) -> Vec<u8> {
        let outer = self.outer.clone().unwrap_or_else(|| issuer.certificate_algorithm());
        let time = |seconds| Time::UtcTime(UtcTime::from_unix_duration(Duration::from_secs(seconds)).unwrap());
        let tbs = TbsCertificate {
            version: self.version,
            serial_number: self.serial.clone(),
            signature: self.inner.clone().unwrap_or_else(|| outer.clone()),
            issuer: name(&self.issuer),
            validity: Validity { not_before: time(self.not_before), not_after: time(self.not_after) },
            subject: name(&self.subject),
            subject_public_key_info: self.spki.clone().unwrap_or_else(|| subject.spki()),
            issuer_unique_id: None,
            subject_unique_id: None,
            extensions: (!self.extensions.is_empty()).then(|| self.extensions.clone()),
        };
        // ECDSA signatures are random: the same certificate made twice is one and the same, as a root is in life.
        static MADE: LazyLock<Mutex<HashMap<Vec<u8>, Vec<u8>>>> = LazyLock::new(Mutex::default);
        let tbs_der = tbs.to_der().unwrap();
        let made = [tbs_der.clone(), outer.to_der().unwrap(), issuer.spki().to_der().unwrap()].concat();
        let sign = || {
            let signature = BitString::from_bytes(&issuer.sign_certificate(&outer, &tbs_der)).unwrap();
            x509_cert::Certificate { tbs_certificate: tbs, signature_algorithm: outer.clone(), signature }
                .to_der()
                .unwrap()
        };
        MADE.lock().unwrap().entry(made).or_insert_with(sign).clone()
    }

    pub fn sign(&self, subject: &Key, issuer: &Key) -> Certificate {
        Certificate::from_der(&self.der(subject, issuer)).unwrap()
    }
}

/// A name in the form of RFC 4514; a signer's certificate of Fulcio's has an empty one.
fn name(text: &str) -> RdnSequence {
    if text.is_empty() { RdnSequence::default() } else { RdnSequence::from_str(text).unwrap() }
}

pub fn extension(oid: ObjectIdentifier, critical: bool, content: &[u8]) -> Extension {
    Extension { extn_id: oid, critical, extn_value: OctetString::new(content).unwrap() }
}

pub fn constraints_of(critical: bool, ca: bool, path_length: Option<u8>) -> Extension {
    let mut content = if ca { vec![1, 1, 0xff] } else { Vec::new() };
    content.extend(path_length.into_iter().flat_map(|length| length.to_der().unwrap()));
    extension(rfc5280::ID_CE_BASIC_CONSTRAINTS, critical, &tlv(0x30, &content))
}

pub const DIGITAL_SIGNATURE: usize = 0;
pub const KEY_CERT_SIGN: usize = 5;

/// Bits as RFC 5280, section 4.2.1.3, numbers them.
pub fn usage_of(critical: bool, bits: &[usize]) -> Extension {
    let mut bytes = [0_u8; 2];
    for bit in bits {
        bytes[bit / 8] |= 0x80 >> (bit % 8);
    }
    let last = bits.iter().max().copied().unwrap_or(0);
    let content = [vec![7 - (last % 8) as u8], bytes[..=last / 8].to_vec()].concat();
    extension(rfc5280::ID_CE_KEY_USAGE, critical, &tlv(3, &content))
}

pub fn purposes_of(critical: bool, purposes: &[ObjectIdentifier]) -> Extension {
    let content: Vec<u8> = purposes.iter().flat_map(|purpose| purpose.to_der().unwrap()).collect();
    extension(rfc5280::ID_CE_EXT_KEY_USAGE, critical, &tlv(0x30, &content))
}

pub fn leaf() -> Template {
    Template::leaf(LEAF, INTERMEDIATE)
}

pub fn intermediate() -> Template {
    Template::ca(INTERMEDIATE, ROOT)
}

pub fn root() -> Template {
    Template::ca(ROOT, ROOT)
}

/// Leaf, intermediate and root, all EC P-256, valid 100 days before and after [`NOW`].
pub fn chain() -> Vec<Certificate> {
    chain_of(&leaf(), &intermediate(), &root())
}

/// The same of other templates, with the keys 0, 1 and 2.
pub fn chain_of(leaf: &Template, intermediate: &Template, root: &Template) -> Vec<Certificate> {
    let [leaf_key, intermediate_key, root_key] = [0, 1, 2].map(|number| Key::get(Kind::P256, number));
    vec![
        leaf.sign(leaf_key, intermediate_key),
        intermediate.sign(intermediate_key, root_key),
        root.sign(root_key, root_key),
    ]
}
