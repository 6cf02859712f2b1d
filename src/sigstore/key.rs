//! Public keys that sign by themselves, and the algorithms they sign with (Sigstore, "Algorithm Registry"; Cosign's own
//! for older signatures). Called by everything in Sigstore that checks a signature. Never guesses: a key that is not in
//! the tables is refused by name.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{self, Digest};
use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};

use crate::pki::{self, BadBundle, Certificate, Curve, KeyKind};

/// A public key that is taken: ECDSA on P-256, P-384 or P-521, RSA of 2048 to 4096 bits, Ed25519. A copy costs next to
/// nothing.
#[derive(Clone, Debug)]
pub struct PublicKey {
    /// SubjectPublicKeyInfo.
    der: Arc<[u8]>,
    /// What stands in it.
    key: Arc<[u8]>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Of(KeyKind),
    Ed25519,
}

/// What a signature is over.
#[derive(Clone, Copy, Debug)]
pub enum Message<'a> {
    /// These bytes.
    Bytes(&'a [u8]),
    /// Bytes that are not here, of which this is the SHA-256. Algorithms that need another hash cannot be checked.
    Sha256([u8; 32]),
}

impl Message<'_> {
    /// Its SHA-256.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        match self {
            Self::Bytes(bytes) => super::sha256(&[bytes]),
            Self::Sha256(hash) => *hash,
        }
    }
}

/// Why bytes are no key that is taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// Not PEM as it must be.
    #[error("{0}")]
    Pem(#[from] BadBundle),
    /// Not exactly one block.
    #[error("there are {0} keys in it: expected one -----BEGIN PUBLIC KEY----- block")]
    Count(usize),
    /// Of a kind or a size that is not taken.
    #[error("it is {0}; taken are ECDSA on P-256, P-384 and P-521, RSA of 2048 to 4096 bits, and Ed25519")]
    Kind(String),
}

impl PublicKey {
    /// The one public key of a PEM file, as `cosign generate-key-pair` writes `cosign.pub`.
    ///
    /// # Errors
    /// See [`BadKey`].
    pub fn from_pem(bytes: &[u8]) -> Result<Self, BadKey> {
        let blocks = pki::blocks(bytes, "PUBLIC KEY")?;
        match blocks.as_slice() {
            [(_, der)] => Self::from_der(der),
            other => Err(BadKey::Count(other.len())),
        }
    }

    /// A key in DER (SubjectPublicKeyInfo, RFC 5280, section 4.1.2.7).
    ///
    /// # Errors
    /// See [`BadKey`].
    pub fn from_der(der: &[u8]) -> Result<Self, BadKey> {
        let (kind, key) = match der.strip_prefix(ED25519).filter(|key| key.len() == ED25519_KEY_BYTES) {
            Some(key) => (Kind::Ed25519, key.to_vec()),
            None => {
                let (kind, key) = KeyKind::of(der).map_err(BadKey::Kind)?;
                (Kind::Of(kind), key)
            }
        };
        match kind {
            Kind::Of(KeyKind::Rsa { bits }) if bits > MAX_RSA_BITS => {
                Err(BadKey::Kind(format!("an RSA key of {bits} bits")))
            }
            kind => Ok(Self { der: der.into(), key: key.into(), kind }),
        }
    }

    /// The key of a certificate.
    ///
    /// # Errors
    /// See [`BadKey`].
    pub fn of(certificate: &Certificate) -> Result<Self, BadKey> {
        Self::from_der(certificate.key_der())
    }

    /// Its bytes: SubjectPublicKeyInfo.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// What tells it from all others, the same as [`Certificate::key_fingerprint`] of a certificate for it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        pki::fingerprint(&self.der)
    }

    /// Whether it made a signature.
    #[must_use]
    pub fn signed(&self, message: &Message<'_>, signature: &[u8]) -> bool {
        let key = || UnparsedPublicKey::new(&signature::ED25519, &self.key);
        match (self.kind, message) {
            (Kind::Ed25519, Message::Bytes(bytes)) => key().verify(bytes, signature).is_ok(),
            (Kind::Ed25519, Message::Sha256(_)) => false,
            (Kind::Of(kind), message) => {
                algorithms(kind).iter().any(|algorithm| self.by(algorithm, message, signature))
            }
        }
    }

    /// The point of an Ed25519 key.
    pub(super) fn ed25519(&self) -> Option<&[u8]> {
        (self.kind == Kind::Ed25519).then_some(&*self.key)
    }

    /// Whether it is an RSA key.
    pub(super) fn is_rsa(&self) -> bool {
        matches!(self.kind, Kind::Of(KeyKind::Rsa { .. }))
    }

    fn by(&self, algorithm: &Algorithm, message: &Message<'_>, signature: &[u8]) -> bool {
        let digest = match message {
            Message::Bytes(bytes) => digest::digest(algorithm.hash, bytes),
            // Fails where the algorithm has another hash than the one that is known.
            Message::Sha256(hash) if *algorithm.hash == digest::SHA256 => {
                match Digest::import_less_safe(hash, algorithm.hash) {
                    Ok(digest) => digest,
                    Err(_) => return false,
                }
            }
            Message::Sha256(_) => return false,
        };
        UnparsedPublicKey::new(algorithm.primitive, &self.key).verify_digest(&digest, signature).is_ok()
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.der == other.der
    }
}

impl Eq for PublicKey {}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Of(kind) => kind.fmt(f),
            Kind::Ed25519 => f.write_str("Ed25519"),
        }
    }
}

/// A way in which a key may have signed.
struct Algorithm {
    primitive: &'static dyn VerificationAlgorithm,
    hash: &'static digest::Algorithm,
}

/// The ways in which a key may sign. Cosign before version 3 signed with SHA-256 by every key.
fn algorithms(kind: KeyKind) -> &'static [Algorithm] {
    match kind {
        KeyKind::Rsa { .. } => &RSA,
        KeyKind::Ec(Curve::P256) => &P256,
        KeyKind::Ec(Curve::P384) => &P384,
        KeyKind::Ec(Curve::P521) => &P521,
    }
}

static RSA: [Algorithm; 2] = [
    Algorithm { primitive: &signature::RSA_PKCS1_2048_8192_SHA256, hash: &digest::SHA256 },
    Algorithm { primitive: &signature::RSA_PSS_2048_8192_SHA256, hash: &digest::SHA256 },
];
static P256: [Algorithm; 1] = [Algorithm { primitive: &signature::ECDSA_P256_SHA256_ASN1, hash: &digest::SHA256 }];
static P384: [Algorithm; 2] = [
    Algorithm { primitive: &signature::ECDSA_P384_SHA384_ASN1, hash: &digest::SHA384 },
    Algorithm { primitive: &signature::ECDSA_P384_SHA256_ASN1, hash: &digest::SHA256 },
];
static P521: [Algorithm; 2] = [
    Algorithm { primitive: &signature::ECDSA_P521_SHA512_ASN1, hash: &digest::SHA512 },
    Algorithm { primitive: &signature::ECDSA_P521_SHA256_ASN1, hash: &digest::SHA256 },
];

/// How an Ed25519 key in DER begins (RFC 8410, section 4): its algorithm, then a BIT STRING.
const ED25519: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

const ED25519_KEY_BYTES: usize = 32;

/// The largest RSA key of the registry of algorithms, in bits.
const MAX_RSA_BITS: usize = 4096;

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P521_SHA256_ASN1_SIGNING, ECDSA_P521_SHA384_ASN1_SIGNING, EcdsaKeyPair,
        EcdsaSigningAlgorithm, KeyPair as _,
    };
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use const_oid::db::rfc5912;
    use der::Encode as _;
    use der::asn1::{Any, BitString, Null};
    use spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

    use super::super::testing::sha256;
    use super::super::testing::*;
    use super::*;
    use crate::pki::testing::Kind;
    use crate::pki::testing::*;

    const MESSAGE: &[u8] = b"what is signed";

    fn public(key: &Key) -> PublicKey {
        PublicKey::from_der(&key.der()).unwrap()
    }

    fn known() -> Message<'static> {
        Message::Sha256(sha256(MESSAGE))
    }

    /// A new key and its signature.
    fn made(algorithm: &'static EcdsaSigningAlgorithm) -> (PublicKey, Vec<u8>) {
        let pair = EcdsaKeyPair::generate(algorithm).unwrap();
        let der: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        let signature = pair.sign(&SystemRandom::new(), MESSAGE).unwrap();
        (PublicKey::from_der(der.as_ref()).unwrap(), signature.as_ref().to_vec())
    }

    /// `openssl dgst -sha... -sign` made these over [`MESSAGE`].
    const P256_KEY: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEW8wkO8K/XLlqgtoyxMHju0Z1E7Sr8CswT0QoxjflMqVMF5RTYl0OHYbXYO3KihcK1WfFur/+LTCLGhOg4UFwXQ==";
    const P256: [(&str, &str, bool); 3] = [
        (
            "SHA-256",
            "MEUCIQDoSOLzKCz4gBXBUN8ITTqEBScjlNTadODUi4gEcJRQoAIgK34/ogCy/qkpoAhjHpnKQkk1xkWPbs8fNBXcdqFisnc=",
            true,
        ),
        (
            "SHA-384",
            "MEUCIQDeXgk5kign9lEXR7z6+OwK/5ruMs1h1q1KUYvMeO7z1QIgXHYfqCvKm6oBL3V76FeDsZ1bC/2h2XnhwbtT2X6pRO8=",
            false,
        ),
        (
            "SHA-512",
            "MEYCIQD8ZEPQS388Sgtr6UoqasczM2egUT9uo5MR6LnEQQmQ+AIhANE+yqWeFEEzMMsW6pws76TizOG/Xb9+42TcKhDSskkK",
            false,
        ),
    ];
    const P384_KEY: &str = "MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEvjsLvSEnSP8aXWJJLHx/RKq2Ybb8v6OccWiEyR8gpER1p5Jxro6GyjKwATu5E/xKIlo/dMgr2QJFwsUWGJp8iG8zX4LPmGVUAu639N8WGFkW+5A8awGQCdR+MNlUO0yd";
    const P384: [(&str, &str, bool); 3] = [
        (
            "SHA-256",
            "MGUCMQCbAMAHhE7nbwA4z/xkoDe7p1tmJCCcwAQ9nVOWC8pDt5Ym/fapLUxya+0FwyM8/GsCMAQNVuTArK8d4jrE/0S8OImb+J7MYHJ+jDaMWyXEwCvPR0iiZ6pzw5ZuzVOHACwuhQ==",
            true,
        ),
        (
            "SHA-384",
            "MGQCMH4pHxqCAadDh3Y4oDCe81S/0McHTkAuiVjGA8rO90xEUwO2uN2VpKagKNiDHOEKNQIwU+q+GgAAkT7819FJ9nwd2zlMuE5IYlHQKNxdIvkg0Z5v/Lg7eMOfjO5Fajd/Mr+T",
            true,
        ),
        (
            "SHA-512",
            "MGQCMCH0LCd/n5M0x7H5pRK4/KDOIchTjsIEFb+PZ+XH8xwGNK5tcQINfiG3EzqIi6PvdQIwPKk0aRnSE29oo18fOBVYzh7Cf7KR1r0FPIiC6P/eq7o5SyEhAADBJ+xBV3SJYm+z",
            false,
        ),
    ];

    #[test]
    fn curves_sign_with_the_hash_of_their_size_or_with_sha_256_and_no_other() {
        for (key, signatures) in [(P256_KEY, P256), (P384_KEY, P384)] {
            let key = PublicKey::from_der(&STANDARD.decode(key).unwrap()).unwrap();
            for (hash, signature, expected) in signatures {
                let signature = STANDARD.decode(signature).unwrap();
                assert_eq!(key.signed(&Message::Bytes(MESSAGE), &signature), expected, "{key} {hash}");
                assert_eq!(key.signed(&known(), &signature), hash == "SHA-256", "{key} {hash} by its digest");
            }
        }
        let key = Key::get(Kind::P521, 0);
        let signature = key.sign(MESSAGE);
        assert!(public(key).signed(&Message::Bytes(MESSAGE), &signature), "P-521 with SHA-512");
        assert!(!public(key).signed(&known(), &signature), "its SHA-512 is not known");
        let (key, signature) = made(&ECDSA_P521_SHA256_ASN1_SIGNING);
        assert!(key.signed(&Message::Bytes(MESSAGE), &signature) && key.signed(&known(), &signature));
        let (key, signature) = made(&ECDSA_P521_SHA384_ASN1_SIGNING);
        assert!(!key.signed(&Message::Bytes(MESSAGE), &signature), "P-521 with SHA-384");
    }

    #[test]
    fn ecdsa_signatures_are_in_der_and_nothing_else() {
        let (key, signature) = made(&ECDSA_P256_SHA256_FIXED_SIGNING);
        assert!(!key.signed(&Message::Bytes(MESSAGE), &signature), "r || s");
        let key = Key::get(Kind::P256, 0);
        let signature = key.sign(MESSAGE);
        assert!(public(key).signed(&Message::Bytes(MESSAGE), &signature));
        let longer = [signature.as_slice(), &[0]].concat();
        for other in [&longer, &signature[..signature.len() - 1], &[]] {
            assert!(!public(key).signed(&Message::Bytes(MESSAGE), other));
        }
    }

    #[test]
    fn rsa_signs_by_pkcs_1_and_by_pss_with_sha_256_alone() {
        let scheme = |hash, length| pss(hash, rfc5912::ID_MGF_1, hash, Some(length), None);
        let pkcs1 = |oid| algorithm(oid, Some(Any::from(Null)));
        for kind in [Kind::Rsa2048, Kind::Rsa3072, Kind::Rsa4096] {
            let key = Key::get(kind, 0);
            for (algorithm, expected) in [
                (pkcs1(rfc5912::SHA_256_WITH_RSA_ENCRYPTION), true),
                (pkcs1(rfc5912::SHA_384_WITH_RSA_ENCRYPTION), false),
                (pkcs1(rfc5912::SHA_512_WITH_RSA_ENCRYPTION), false),
                (scheme(rfc5912::ID_SHA_256, 32), true),
                (scheme(rfc5912::ID_SHA_384, 48), false),
                (scheme(rfc5912::ID_SHA_512, 64), false),
            ] {
                let signature = key.sign_certificate(&algorithm, MESSAGE);
                let found = public(key).signed(&Message::Bytes(MESSAGE), &signature);
                assert_eq!(found, expected, "{kind:?} {}", algorithm.oid);
                assert_eq!(public(key).signed(&known(), &signature), expected, "{kind:?} {}", algorithm.oid);
            }
        }
    }

    #[test]
    fn ed25519_signs_bytes_and_not_a_digest() {
        let key = Key::get(Kind::Ed25519, 0);
        let signature = key.sign(MESSAGE);
        assert!(public(key).signed(&Message::Bytes(MESSAGE), &signature));
        assert!(!public(key).signed(&known(), &signature));
        let of_digest = key.sign(&sha256(MESSAGE));
        assert!(!public(key).signed(&known(), &of_digest) && !public(key).signed(&Message::Bytes(MESSAGE), &of_digest));
    }

    #[test]
    fn a_signature_of_another_key_or_message_is_none() {
        for kind in [Kind::P256, Kind::P384, Kind::P521, Kind::Rsa2048, Kind::Ed25519] {
            let (key, other) = (Key::get(kind, 0), Key::get(kind, 1));
            let signature = key.sign(MESSAGE);
            assert!(public(key).signed(&Message::Bytes(MESSAGE), &signature), "{kind:?}");
            assert!(!public(other).signed(&Message::Bytes(MESSAGE), &signature), "{kind:?}");
            assert!(!public(key).signed(&Message::Bytes(b"another"), &signature), "{kind:?}");
            assert!(!public(key).signed(&Message::Sha256([7; 32]), &signature), "{kind:?}");
            for at in 0..signature.len() {
                let mut changed = signature.clone();
                changed[at] ^= 1;
                assert!(!public(key).signed(&Message::Bytes(MESSAGE), &changed), "{kind:?} {at}");
            }
        }
    }

    /// An RSA key whose modulus has so many bits.
    fn rsa_of(bits: usize) -> Vec<u8> {
        let mut modulus = vec![0xff; bits.div_ceil(8)];
        modulus[0] = 0xff >> (modulus.len() * 8 - bits);
        let unsigned = if modulus[0] & 0x80 == 0 { modulus } else { [vec![0], modulus].concat() };
        let key = tlv(0x30, &[tlv(2, &unsigned), tlv(2, &[1, 0, 1])].concat());
        let algorithm = AlgorithmIdentifierOwned { oid: rfc5912::RSA_ENCRYPTION, parameters: Some(Any::from(Null)) };
        let subject_public_key = BitString::from_bytes(&key).unwrap();
        SubjectPublicKeyInfoOwned { algorithm, subject_public_key }.to_der().unwrap()
    }

    #[test]
    fn rsa_keys_at_the_limits_and_one_bit_past_them() {
        for (bits, expected) in [(2047, false), (2048, true), (4096, true), (4097, false), (8192, false), (8193, false)]
        {
            let found = PublicKey::from_der(&rsa_of(bits));
            assert_eq!(found.is_ok(), expected, "{bits}");
            if let Err(error) = found {
                let said = error.to_string();
                assert!(said.starts_with(&format!("it is an RSA key of {bits} bits; taken are ")), "{said}");
            }
        }
    }

    #[test]
    fn keys_of_all_kinds_are_read_and_named() {
        for (kind, expected) in [
            (Kind::P256, "EC P-256"),
            (Kind::P384, "EC P-384"),
            (Kind::P521, "EC P-521"),
            (Kind::Rsa2048, "RSA-2048"),
            (Kind::Rsa4096, "RSA-4096"),
            (Kind::Ed25519, "Ed25519"),
        ] {
            let der = Key::get(kind, 0).der();
            let key = PublicKey::from_pem(pem("PUBLIC KEY", &der).as_bytes()).unwrap();
            assert_eq!((key.to_string().as_str(), key.der()), (expected, der.as_slice()));
            assert_eq!(key, PublicKey::from_der(&der).unwrap());
            assert_eq!(key.fingerprint(), pki::fingerprint(&der));
        }
        let certificate = chain().remove(0);
        let key = PublicKey::of(&certificate).unwrap();
        assert_eq!(key.fingerprint(), certificate.key_fingerprint());
        let by_ed25519 = Key::get(Kind::Ed25519, 0);
        let certificate = Template::leaf(LEAF, LEAF).sign(by_ed25519, by_ed25519);
        assert_eq!(PublicKey::of(&certificate).unwrap().to_string(), "Ed25519");
    }

    #[test]
    fn a_file_with_two_keys_or_none_is_refused() {
        let block = pem("PUBLIC KEY", &Key::get(Kind::P256, 0).der());
        assert!(PublicKey::from_pem(format!("a comment\n{block}").as_bytes()).is_ok());
        assert_eq!(PublicKey::from_pem(block.repeat(2).as_bytes()), Err(BadKey::Count(2)));
        assert_eq!(PublicKey::from_pem(b""), Err(BadKey::Count(0)));
        let found = PublicKey::from_pem(pem("CERTIFICATE", chain()[0].der()).as_bytes()).unwrap_err().to_string();
        assert_eq!(found, "line 1: a block of \"CERTIFICATE\" stands here, expected only PUBLIC KEY");
    }

    #[test]
    fn a_private_key_is_refused_for_what_it_is() {
        for label in ["PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY"]
        {
            let found = PublicKey::from_pem(pem(label, b"secret").as_bytes()).unwrap_err();
            assert_eq!(found, BadKey::Pem(BadBundle::PrivateKey { line: 1 }), "{label}");
        }
    }

    #[test]
    fn keys_that_are_not_taken_are_refused_by_name() {
        let curve = |oid: &str| {
            let algorithm = AlgorithmIdentifierOwned {
                oid: rfc5912::ID_EC_PUBLIC_KEY,
                parameters: Some(Any::from(const_oid::ObjectIdentifier::new_unwrap(oid))),
            };
            let subject_public_key = BitString::from_bytes(&[4; 65]).unwrap();
            SubjectPublicKeyInfoOwned { algorithm, subject_public_key }.to_der().unwrap()
        };
        let ed25519 = Key::get(Kind::Ed25519, 0).der();
        let mut x25519 = ed25519.clone();
        x25519[8] = 0x6e;
        for (der, expected) in [
            (curve("1.3.132.0.10"), "an EC key on "),
            (curve("1.2.840.10045.3.1.1"), "an EC key on "),
            (x25519, "a key of type "),
            (ed25519[..ed25519.len() - 1].to_vec(), "no public key in DER"),
            ([ed25519.as_slice(), &[0]].concat(), "no public key in DER"),
            (b"\x30\x00".to_vec(), "no public key in DER"),
            (Vec::new(), "no public key in DER"),
        ] {
            let found = PublicKey::from_der(&der).unwrap_err().to_string();
            assert!(found.starts_with(&format!("it is {expected}")) && found.contains("taken are ECDSA"), "{found}");
        }
    }
}
