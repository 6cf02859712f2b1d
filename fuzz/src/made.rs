//! Certificates and signatures made of an input's parts, signed by a key that everybody has: an attacker signs what
//! they like with a key of their own, so what is behind a signature must be reached too.

use std::sync::OnceLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
};

/// One element of DER.
pub(super) fn element(tag: u8, content: &[&[u8]]) -> Vec<u8> {
    let content = content.concat();
    let length = content.len().to_be_bytes();
    let digits = &length[length.iter().take_while(|byte| **byte == 0).count()..];
    let mut der = vec![tag];
    if content.len() >= 0x80 {
        der.push(0x80 | u8::try_from(digits.len()).unwrap());
        der.extend_from_slice(digits);
    } else {
        der.push(u8::try_from(content.len()).unwrap());
    }
    der.extend_from_slice(&content);
    der
}

pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;
const BIT_STRING: u8 = 0x03;
const UTF8_STRING: u8 = 0x0c;

/// A certificate to be made.
pub(super) struct Draft<'a> {
    /// Names in DER.
    pub(super) subject: &'a [u8],
    pub(super) issuer: &'a [u8],
    /// The AlgorithmIdentifier of its signature, in DER.
    pub(super) algorithm: &'a [u8],
    /// The SubjectPublicKeyInfo, in DER.
    pub(super) key: &'a [u8],
    /// The Extensions, one after the other, in DER; empty: none.
    pub(super) extensions: &'a [u8],
}

impl<'a> Draft<'a> {
    /// One of the known key, which signs it too.
    pub(super) fn known(subject: &'a [u8], issuer: &'a [u8], extensions: &'a [u8]) -> Self {
        Self { subject, issuer, algorithm: &ECDSA_WITH_SHA256, key: known_key(), extensions }
    }

    /// The certificate, signed.
    pub(super) fn sign(&self) -> Vec<u8> {
        let tbs = self.tbs();
        let signature = sign_der(&tbs);
        self.with(&tbs, &signature)
    }

    /// The certificate with a signature from elsewhere.
    pub(super) fn signed(&self, signature: &[u8]) -> Vec<u8> {
        self.with(&self.tbs(), signature)
    }

    fn with(&self, tbs: &[u8], signature: &[u8]) -> Vec<u8> {
        element(SEQUENCE, &[tbs, self.algorithm, &element(BIT_STRING, &[&[0], signature])])
    }

    /// What is signed (RFC 5280, section 4.1).
    pub(super) fn tbs(&self) -> Vec<u8> {
        let extensions = match self.extensions {
            [] => Vec::new(),
            extensions => element(0xa3, &[&element(SEQUENCE, &[extensions])]),
        };
        let validity = element(SEQUENCE, &[b"\x17\x0d260101000000Z", b"\x18\x0f21000101000000Z"]);
        let version_and_serial = b"\xa0\x03\x02\x01\x02\x02\x01\x01";
        let names = [version_and_serial, self.algorithm, self.issuer, &validity, self.subject];
        element(SEQUENCE, &[&names.concat(), self.key, &extensions])
    }
}

/// A signed part of this content, with the known key's signature, and what follows it (RFC 5280, section 5.1; RFC 6960,
/// section 4.2.1).
pub(super) fn sealed(content: &[u8], rest: &[u8]) -> Vec<u8> {
    let tbs = element(SEQUENCE, &[content]);
    let signature = sign(&ECDSA_P256_SHA256_ASN1_SIGNING, &tbs);
    element(SEQUENCE, &[&tbs, &ECDSA_WITH_SHA256, &element(BIT_STRING, &[&[0], &signature]), rest])
}

/// A name of attributes, each the last arcs of its type below 2.5.4 and its text.
pub(super) fn name(attributes: &[(u8, &[u8])]) -> Vec<u8> {
    let attributes = attributes.iter().map(|(kind, text)| {
        let kind = [0x06, 0x03, 0x55, 0x04, *kind];
        element(SET, &[&element(SEQUENCE, &[&kind, &element(UTF8_STRING, &[text])])])
    });
    element(SEQUENCE, &[&attributes.collect::<Vec<_>>().concat()])
}

/// The type of commonName, below 2.5.4.
pub(super) const COMMON_NAME: u8 = 3;

/// basicConstraints that say cA, and keyUsage that says keyCertSign.
pub(super) const OF_CA: &[u8] =
    b"\x30\x0f\x06\x03\x55\x1d\x13\x01\x01\xff\x04\x05\x30\x03\x01\x01\xff\x30\x0e\x06\x03\x55\x1d\x0f\x01\x01\xff\x04\x04\x03\x02\x02\x04";

/// keyUsage that says digitalSignature.
pub(super) const OF_LEAF: &[u8] = b"\x30\x0e\x06\x03\x55\x1d\x0f\x01\x01\xff\x04\x04\x03\x02\x07\x80";

/// keyUsage that says digitalSignature, and extendedKeyUsage that says timeStamping.
pub(super) const OF_TSA: &[u8] =
    b"\x30\x0e\x06\x03\x55\x1d\x0f\x01\x01\xff\x04\x04\x03\x02\x07\x80\x30\x16\x06\x03\x55\x1d\x25\x01\x01\xff\x04\x0c\x30\x0a\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x08";

/// A signature as certificates and CMS have it (RFC 3279, section 2.2.3).
pub(super) fn sign_der(message: &[u8]) -> Vec<u8> {
    sign(&ECDSA_P256_SHA256_ASN1_SIGNING, message)
}

/// A signature of JWS by ES256 (RFC 7518, section 3.4).
pub(super) fn sign_jws(message: &[u8]) -> Vec<u8> {
    sign(&ECDSA_P256_SHA256_FIXED_SIGNING, message)
}

fn sign(algorithm: &'static EcdsaSigningAlgorithm, message: &[u8]) -> Vec<u8> {
    let key = EcdsaKeyPair::from_private_key_and_public_key(algorithm, &PRIVATE, &PUBLIC).unwrap();
    key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
}

/// The SubjectPublicKeyInfo of the known key.
pub(super) fn known_key() -> &'static [u8] {
    static KEY: OnceLock<Vec<u8>> = OnceLock::new();
    KEY.get_or_init(|| element(SEQUENCE, &[&EC_P256, &element(BIT_STRING, &[&[0], &PUBLIC])]))
}

/// The AlgorithmIdentifier of an EC key on secp256r1.
const EC_P256: [u8; 21] = *b"\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";

/// The AlgorithmIdentifier of ecdsa-with-SHA256.
pub(super) const ECDSA_WITH_SHA256: [u8; 12] = *b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02";

/// The key of RFC 6979, appendix A.2.5: public, and so trusted by nobody.
const PRIVATE: [u8; 32] = *b"\xc9\xaf\xa9\xd8\x45\xba\x75\x16\x6b\x5c\x21\x57\x67\xb1\xd6\x93\x4e\x50\xc3\xdb\x36\xe8\x9b\x12\x7b\x8a\x62\x2b\x12\x0f\x67\x21";
const PUBLIC: [u8; 65] = *b"\x04\
    \x60\xfe\xd4\xba\x25\x5a\x9d\x31\xc9\x61\xeb\x74\xc6\x35\x6d\x68\xc0\x49\xb8\x92\x3b\x61\xfa\x6c\xe6\x69\x62\x2e\x60\xf2\x9f\xb6\
    \x79\x03\xfe\x10\x08\xb8\xbc\x99\xa4\x1a\xe9\xe9\x56\x28\xbc\x64\xf2\xf1\xb2\x0c\x2d\x7e\x9f\x51\x77\xa3\xc2\x94\xd4\x46\x22\x99";
