//! Public keys and signature algorithms of certificates and of CMS: which ones are taken, and the primitive that checks
//! them. Called by [`Certificate`](super::Certificate), by the chain rules and for timestamps. Never guesses: an algorithm, a curve or
//! parameters that are not in these tables are refused by name.

use std::fmt;

use aws_lc_rs::digest::{self, Digest};
use aws_lc_rs::signature::{self, VerificationAlgorithm};
use const_oid::ObjectIdentifier;
use const_oid::db::{DB, rfc5912};
use der::asn1::{AnyRef, UintRef};
use der::{Decode, Encode, Reader, SliceReader, TagMode, TagNumber};
use spki::{AlgorithmIdentifierOwned, AlgorithmIdentifierRef, SubjectPublicKeyInfoOwned};

/// The kind and size of a public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// RSA, of 2048 to 8192 bits.
    Rsa {
        /// The size of the modulus.
        bits: usize,
    },
    /// An elliptic curve by its name.
    Ec(Curve),
}

/// A named curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Curve {
    /// secp256r1.
    P256,
    /// secp384r1.
    P384,
    /// secp521r1.
    P521,
}

impl KeyKind {
    /// The kind of a public key in DER (SubjectPublicKeyInfo), and the key itself.
    ///
    /// # Errors
    /// What it is instead, in words, when it is none that is taken.
    pub fn of(spki: &[u8]) -> Result<(Self, Vec<u8>), String> {
        let spki =
            SubjectPublicKeyInfoOwned::from_der(spki).map_err(|error| format!("no public key in DER: {error}"))?;
        Ok((kind(&spki)?, spki.subject_public_key.as_bytes().unwrap_or_default().to_vec()))
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa { bits } => write!(f, "RSA-{bits}"),
            Self::Ec(Curve::P256) => f.write_str("EC P-256"),
            Self::Ec(Curve::P384) => f.write_str("EC P-384"),
            Self::Ec(Curve::P521) => f.write_str("EC P-521"),
        }
    }
}

/// The kind of a public key; what it is instead, in words, when it is none that is taken
/// (Notary Project, "Algorithm Selection" and "Certificate Requirements").
pub(super) fn kind(spki: &SubjectPublicKeyInfoOwned) -> Result<KeyKind, String> {
    let bytes = spki.subject_public_key.as_bytes().unwrap_or_default();
    let parameters = spki.algorithm.parameters.as_ref();
    match spki.algorithm.oid {
        rfc5912::RSA_ENCRYPTION => {
            if !parameters.is_some_and(der::asn1::Any::is_null) {
                return Err("an RSA key without NULL parameters".to_owned());
            }
            let bits = rsa_bits(bytes).map_err(|_| "an RSA key that cannot be read".to_owned())?;
            if (MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits) {
                Ok(KeyKind::Rsa { bits })
            } else {
                Err(format!("an RSA key of {bits} bits"))
            }
        }
        rfc5912::ID_EC_PUBLIC_KEY => {
            let named = parameters.and_then(|parameters| parameters.decode_as::<ObjectIdentifier>().ok());
            let (curve, coordinate) = match named {
                Some(rfc5912::SECP_256_R_1) => (Curve::P256, 32),
                Some(rfc5912::SECP_384_R_1) => (Curve::P384, 48),
                Some(rfc5912::SECP_521_R_1) => (Curve::P521, 66),
                Some(other) => return Err(format!("an EC key on {}", name(other))),
                None => return Err("an EC key without a named curve".to_owned()),
            };
            // The uncompressed form (RFC 5480, section 2.2): it alone must be supported, and it alone is one encoding.
            if bytes.first() != Some(&4) || bytes.len() != 1 + 2 * coordinate {
                return Err("an EC key that is no uncompressed point".to_owned());
            }
            Ok(KeyKind::Ec(curve))
        }
        other => Err(format!("a key of type {}", name(other))),
    }
}

/// The size of an RSA modulus (RFC 8017, appendix A.1.1).
fn rsa_bits(bytes: &[u8]) -> der::Result<usize> {
    let mut reader = SliceReader::new(bytes)?;
    let bits = reader.sequence(|reader| {
        let modulus: UintRef<'_> = reader.decode()?;
        let _exponent: UintRef<'_> = reader.decode()?;
        let modulus = modulus.as_bytes();
        let unused = modulus.first().map_or(0, |byte| byte.leading_zeros());
        Ok((modulus.len() * 8).saturating_sub(usize::try_from(unused).unwrap_or(0)))
    })?;
    reader.finish(bits)
}

/// A hash function that is taken. SHA-1 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    /// The hash function that an identifier names; its name when it is none that is taken.
    pub(super) fn of(algorithm: &AlgorithmIdentifierRef<'_>) -> Result<Self, String> {
        plain_hash(algorithm).map(|(hash, _)| hash).ok_or_else(|| name(algorithm.oid))
    }

    /// What it makes of a message.
    pub(super) fn digest(self, message: &[u8]) -> Digest {
        let function = match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        };
        digest::digest(function, message)
    }
}

/// A certificate's signature algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Pkcs1(Hash),
    Pss(Hash),
    Ecdsa(Hash),
}

/// The primitive for a certificate's signature, by the algorithm it states and the issuer's key; what is wrong
/// with the algorithm, in words, when it is none that is taken. SHA-1 is none (Notary Project,
/// "Certificate Requirements", "Other requirements").
pub(super) fn primitive(
    algorithm: &AlgorithmIdentifierOwned,
    issuer: KeyKind,
) -> Result<&'static dyn VerificationAlgorithm, String> {
    of_scheme(scheme(algorithm)?, issuer)
        .ok_or_else(|| format!("{}, but its issuer's key is {issuer}", name(algorithm.oid)))
}

/// The primitive for the signature of CMS by the algorithm it states and the signer's key. RSA as such (RFC 3370,
/// section 3.2) signs by PKCS #1 with the hash function that the signer states for the content.
pub(super) fn signer_primitive(
    algorithm: &AlgorithmIdentifierOwned,
    hash: Hash,
    signer: KeyKind,
) -> Result<&'static dyn VerificationAlgorithm, String> {
    let is_rsa = algorithm.oid == rfc5912::RSA_ENCRYPTION;
    let scheme = if is_rsa && has_no_parameters(algorithm) { Scheme::Pkcs1(hash) } else { scheme(algorithm)? };
    of_scheme(scheme, signer).ok_or_else(|| format!("{}, but the signer's key is {signer}", name(algorithm.oid)))
}

fn of_scheme(scheme: Scheme, key: KeyKind) -> Option<&'static dyn VerificationAlgorithm> {
    use {Curve::*, Hash::*, KeyKind::*, Scheme::*};
    Some(match (scheme, key) {
        (Pkcs1(Sha256), Rsa { .. }) => &signature::RSA_PKCS1_2048_8192_SHA256,
        (Pkcs1(Sha384), Rsa { .. }) => &signature::RSA_PKCS1_2048_8192_SHA384,
        (Pkcs1(Sha512), Rsa { .. }) => &signature::RSA_PKCS1_2048_8192_SHA512,
        (Pss(Sha256), Rsa { .. }) => &signature::RSA_PSS_2048_8192_SHA256,
        (Pss(Sha384), Rsa { .. }) => &signature::RSA_PSS_2048_8192_SHA384,
        (Pss(Sha512), Rsa { .. }) => &signature::RSA_PSS_2048_8192_SHA512,
        (Ecdsa(Sha256), Ec(P256)) => &signature::ECDSA_P256_SHA256_ASN1,
        (Ecdsa(Sha384), Ec(P256)) => &signature::ECDSA_P256_SHA384_ASN1,
        (Ecdsa(Sha512), Ec(P256)) => &signature::ECDSA_P256_SHA512_ASN1,
        (Ecdsa(Sha256), Ec(P384)) => &signature::ECDSA_P384_SHA256_ASN1,
        (Ecdsa(Sha384), Ec(P384)) => &signature::ECDSA_P384_SHA384_ASN1,
        (Ecdsa(Sha512), Ec(P384)) => &signature::ECDSA_P384_SHA512_ASN1,
        (Ecdsa(Sha256), Ec(P521)) => &signature::ECDSA_P521_SHA256_ASN1,
        (Ecdsa(Sha384), Ec(P521)) => &signature::ECDSA_P521_SHA384_ASN1,
        (Ecdsa(Sha512), Ec(P521)) => &signature::ECDSA_P521_SHA512_ASN1,
        (Pkcs1(_) | Pss(_), Ec(_)) | (Ecdsa(_), Rsa { .. }) => return None,
    })
}

fn scheme(algorithm: &AlgorithmIdentifierOwned) -> Result<Scheme, String> {
    let scheme = match algorithm.oid {
        rfc5912::SHA_256_WITH_RSA_ENCRYPTION => Scheme::Pkcs1(Hash::Sha256),
        rfc5912::SHA_384_WITH_RSA_ENCRYPTION => Scheme::Pkcs1(Hash::Sha384),
        rfc5912::SHA_512_WITH_RSA_ENCRYPTION => Scheme::Pkcs1(Hash::Sha512),
        rfc5912::ECDSA_WITH_SHA_256 => Scheme::Ecdsa(Hash::Sha256),
        rfc5912::ECDSA_WITH_SHA_384 => Scheme::Ecdsa(Hash::Sha384),
        rfc5912::ECDSA_WITH_SHA_512 => Scheme::Ecdsa(Hash::Sha512),
        rfc5912::ID_RSASSA_PSS => {
            return pss_hash(algorithm).map(Scheme::Pss).ok_or_else(|| {
                "RSASSA-PSS with parameters other than one of SHA-256, SHA-384, SHA-512 throughout".to_owned()
            });
        }
        other => return Err(name(other)),
    };
    if has_no_parameters(algorithm) { Ok(scheme) } else { Err(format!("{} with parameters", name(algorithm.oid))) }
}

/// Absent for ECDSA (RFC 5758, section 3.2), NULL for RSA (RFC 4055, section 5), where some leave it out.
fn has_no_parameters(algorithm: &AlgorithmIdentifierOwned) -> bool {
    algorithm.parameters.as_ref().is_none_or(der::asn1::Any::is_null)
}

/// The hash function of RSASSA-PSS parameters (RFC 4055, section 3.1) that are consistent: one function for message
/// and mask, a salt of its length, the one trailer. Everything left out would mean SHA-1.
fn pss_hash(algorithm: &AlgorithmIdentifierOwned) -> Option<Hash> {
    let bytes = algorithm.parameters.as_ref()?.to_der().ok()?;
    let mut reader = SliceReader::new(&bytes).ok()?;
    let (message, mask, salt, trailer) = reader
        .sequence(|reader| {
            Ok((
                reader.context_specific::<AlgorithmIdentifierRef<'_>>(TagNumber::N0, TagMode::Explicit)?,
                reader.context_specific::<AlgorithmIdentifierRef<'_>>(TagNumber::N1, TagMode::Explicit)?,
                reader.context_specific::<u8>(TagNumber::N2, TagMode::Explicit)?,
                reader.context_specific::<u8>(TagNumber::N3, TagMode::Explicit)?,
            ))
        })
        .ok()?;
    let (hash, salt_length) = plain_hash(&message?)?;
    let mask = mask.filter(|mask| mask.oid == rfc5912::ID_MGF_1)?.parameters?;
    let mask = AlgorithmIdentifierRef::from_der(&mask.to_der().ok()?).ok().and_then(|mask| plain_hash(&mask))?;
    (mask.0 == hash && salt == Some(salt_length) && trailer.is_none_or(|trailer| trailer == 1)).then_some(hash)
}

/// A hash function without parameters, and the length of what it yields.
fn plain_hash(algorithm: &AlgorithmIdentifierRef<'_>) -> Option<(Hash, u8)> {
    if algorithm.parameters.is_some_and(|parameters| parameters != AnyRef::NULL) {
        return None;
    }
    match algorithm.oid {
        rfc5912::ID_SHA_256 => Some((Hash::Sha256, 32)),
        rfc5912::ID_SHA_384 => Some((Hash::Sha384, 48)),
        rfc5912::ID_SHA_512 => Some((Hash::Sha512, 64)),
        _ => None,
    }
}

/// The name of an algorithm or a curve, where one is known.
fn name(oid: ObjectIdentifier) -> String {
    DB.by_oid(&oid).map_or_else(|| oid.to_string(), str::to_owned)
}

/// Smallest RSA key, in bits (Notary Project, "Certificate Requirements", "Key Length").
const MIN_RSA_BITS: usize = 2048;

/// Largest RSA key, in bits: what aws-lc checks.
const MAX_RSA_BITS: usize = 8192;
