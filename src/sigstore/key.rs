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
