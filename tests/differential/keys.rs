//! Keys of every type that may sign, made once a run, and what they sign: envelopes, certificates, anything for
//! openssl. Nothing here knows what a signature is about.

use std::sync::OnceLock;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _, RsaEncoding, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use const_oid::db::rfc5912;
use der::asn1::{Any, BitString, Null};
use spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

/// A type of key of the signature specification ("Algorithm Selection").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// RSA of 2048 bits.
    Rsa2048,
    /// RSA of 3072 bits.
    Rsa3072,
    /// RSA of 4096 bits.
    Rsa4096,
    /// The curve P-256.
    P256,
    /// The curve P-384.
    P384,
    /// The curve P-521.
    P521,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Rsa2048, Self::Rsa3072, Self::Rsa4096, Self::P256, Self::P384, Self::P521];

    /// The kind of the issuers of leaves of this kind: all kinds issue, and never their own.
    pub fn issuer(self) -> Self {
        Self::ALL[(self as usize + 1) % Self::ALL.len()]
    }

    /// What JWS calls its algorithm.
    pub fn jws(self) -> &'static str {
        ["PS256", "PS384", "PS512", "ES256", "ES384", "ES512"][self as usize]
    }

    /// What COSE calls its algorithm.
    pub fn cose(self) -> i64 {
        [-37, -38, -39, -7, -35, -36][self as usize]
    }
}

/// A key pair; the same kind and number is the same key all through a run.
pub struct Key {
    /// Its type.
    pub kind: Kind,
    pair: Pair,
}

enum Pair {
    Ec(EcdsaKeyPair, EcdsaKeyPair),
    Rsa(Box<RsaKeyPair>),
}

/// Of leaves, of issuers, and of others.
const NUMBERS: usize = 3;

impl Key {
    /// One of the keys of a kind.
    pub fn get(kind: Kind, number: usize) -> &'static Self {
        static KEYS: [[OnceLock<Key>; NUMBERS]; Kind::ALL.len()] =
            [const { [const { OnceLock::new() }; NUMBERS] }; Kind::ALL.len()];
        KEYS[kind as usize][number].get_or_init(|| Self::generate(kind))
    }

    fn generate(kind: Kind) -> Self {
        let ec = |fixed: &'static EcdsaSigningAlgorithm, asn1: &'static EcdsaSigningAlgorithm| {
            let document = EcdsaKeyPair::generate(fixed).unwrap().to_pkcs8v1().unwrap();
            let pair = |algorithm| EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref()).unwrap();
            Pair::Ec(pair(fixed), pair(asn1))
        };
        let rsa = |size| Pair::Rsa(Box::new(RsaKeyPair::generate(size).unwrap()));
        let pair = match kind {
            Kind::Rsa2048 => rsa(KeySize::Rsa2048),
            Kind::Rsa3072 => rsa(KeySize::Rsa3072),
            Kind::Rsa4096 => rsa(KeySize::Rsa4096),
            Kind::P256 => ec(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, &signature::ECDSA_P256_SHA256_ASN1_SIGNING),
            Kind::P384 => ec(&signature::ECDSA_P384_SHA384_FIXED_SIGNING, &signature::ECDSA_P384_SHA384_ASN1_SIGNING),
            Kind::P521 => ec(&signature::ECDSA_P521_SHA512_FIXED_SIGNING, &signature::ECDSA_P521_SHA512_ASN1_SIGNING),
        };
        Self { kind, pair }
    }

    /// The public key, as certificates have it.
    pub fn spki(&self) -> SubjectPublicKeyInfoOwned {
        let (oid, parameters, public) = match &self.pair {
            Pair::Ec(pair, _) => {
                let curve = match self.kind {
                    Kind::P256 => rfc5912::SECP_256_R_1,
                    Kind::P384 => rfc5912::SECP_384_R_1,
                    _ => rfc5912::SECP_521_R_1,
                };
                (rfc5912::ID_EC_PUBLIC_KEY, Any::from(curve), pair.public_key().as_ref())
            }
            Pair::Rsa(pair) => (rfc5912::RSA_ENCRYPTION, Any::from(Null), pair.public_key().as_ref()),
        };
        SubjectPublicKeyInfoOwned {
            algorithm: AlgorithmIdentifierOwned { oid, parameters: Some(parameters) },
            subject_public_key: BitString::from_bytes(public).unwrap(),
        }
    }

    /// Signs as envelopes are signed: RSA by PSS, ECDSA as `r || s`.
    pub fn sign_envelope(&self, message: &[u8]) -> Vec<u8> {
        match (&self.pair, self.kind) {
            (Pair::Ec(pair, _), _) => pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
            (Pair::Rsa(pair), Kind::Rsa2048) => rsa(pair, &signature::RSA_PSS_SHA256, message),
            (Pair::Rsa(pair), Kind::Rsa3072) => rsa(pair, &signature::RSA_PSS_SHA384, message),
            (Pair::Rsa(pair), _) => rsa(pair, &signature::RSA_PSS_SHA512, message),
        }
    }

    /// Signs as certificates are signed: RSA by PKCS #1, ECDSA in DER, by the hash of [`Self::algorithm`].
    pub fn sign_certificate(&self, message: &[u8]) -> Vec<u8> {
        match (&self.pair, self.kind) {
            (Pair::Ec(_, pair), _) => pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
            (Pair::Rsa(pair), Kind::Rsa2048) => rsa(pair, &signature::RSA_PKCS1_SHA256, message),
            (Pair::Rsa(pair), Kind::Rsa3072) => rsa(pair, &signature::RSA_PKCS1_SHA384, message),
            (Pair::Rsa(pair), _) => rsa(pair, &signature::RSA_PKCS1_SHA512, message),
        }
    }

    /// What certificates call the algorithm of [`Self::sign_certificate`].
    pub fn algorithm(&self) -> AlgorithmIdentifierOwned {
        let (oid, parameters) = match self.kind {
            Kind::Rsa2048 => (rfc5912::SHA_256_WITH_RSA_ENCRYPTION, Some(Any::from(Null))),
            Kind::Rsa3072 => (rfc5912::SHA_384_WITH_RSA_ENCRYPTION, Some(Any::from(Null))),
            Kind::Rsa4096 => (rfc5912::SHA_512_WITH_RSA_ENCRYPTION, Some(Any::from(Null))),
            Kind::P256 => (rfc5912::ECDSA_WITH_SHA_256, None),
            Kind::P384 => (rfc5912::ECDSA_WITH_SHA_384, None),
            Kind::P521 => (rfc5912::ECDSA_WITH_SHA_512, None),
        };
        AlgorithmIdentifierOwned { oid, parameters }
    }

    /// The private key in PEM, for openssl and notation.
    pub fn pem(&self) -> String {
        let der = match &self.pair {
            Pair::Ec(pair, _) => pair.to_pkcs8v1().unwrap().as_ref().to_vec(),
            Pair::Rsa(pair) => AsDer::<Pkcs8V1Der<'_>>::as_der(pair.as_ref()).unwrap().as_ref().to_vec(),
        };
        pem("PRIVATE KEY", &der)
    }
}

fn rsa(pair: &RsaKeyPair, encoding: &'static dyn RsaEncoding, message: &[u8]) -> Vec<u8> {
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(encoding, &SystemRandom::new(), message, &mut signature).unwrap();
    signature
}

/// DER as PEM.
pub fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = (0..text.len()).step_by(64).map(|at| &text[at..text.len().min(at + 64)]).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
