//! Timestamp tokens for tests, made field by field: a test breaks one rule and keeps all others.

use const_oid::ObjectIdentifier;
use const_oid::db::{rfc5911, rfc5912};
use der::Encode;
use der::asn1::{Any, Null};
use spki::AlgorithmIdentifierOwned;

use crate::pki::Certificate;
use crate::pki::key::Hash;
use crate::pki::testing::{Key, Kind, Template, algorithm, purposes_of, tlv};

use super::ID_CT_TST_INFO;

pub(crate) const TSA: &str = "CN=stamps,O=tsa,C=US";
pub(crate) const TSA_INTERMEDIATE: &str = "CN=stamps intermediate,O=tsa,C=US";
pub(crate) const TSA_ROOT: &str = "CN=stamps root,O=tsa,C=US";

/// 2027-01-15T08:00:00Z, as a timestamp writes it.
pub(crate) const NOW_TEXT: &str = "20270115080000Z";

/// A timestamp authority's.
pub(crate) fn authority(subject: &str, issuer: &str) -> Template {
    Template::leaf(subject, issuer).with(purposes_of(true, &[rfc5912::ID_KP_TIME_STAMPING]))
}

/// An authority with a key of this kind, an intermediate and a root, valid 100 days before and after [`NOW_TEXT`].
pub(crate) fn authority_chain(kind: Kind) -> Vec<Certificate> {
    let [middle, root] = [1, 2].map(|number| Key::get(Kind::P256, number));
    vec![
        authority(TSA, TSA_INTERMEDIATE).sign(Key::get(kind, 0), middle),
        Template::ca(TSA_INTERMEDIATE, TSA_ROOT).sign(middle, root),
        Template::ca(TSA_ROOT, TSA_ROOT).sign(root, root),
    ]
}

/// A token to be made. Parts are DER where they are bytes.
#[derive(Clone)]
pub(crate) struct Token {
    /// Who signs: the key 0 of this kind.
    pub(crate) kind: Kind,
    pub(crate) signer: Certificate,
    pub(crate) certificates: Vec<Vec<u8>>,
    pub(crate) content_type: ObjectIdentifier,
    pub(crate) version: u8,
    pub(crate) signer_version: u8,
    pub(crate) signers: usize,
    /// The fields of TSTInfo.
    pub(crate) info: Info,
    /// What the signer states; the hash is what is used.
    pub(crate) digest: AlgorithmIdentifierOwned,
    pub(super) hash: Hash,
    pub(crate) algorithm: AlgorithmIdentifierOwned,
    /// By what it is signed in truth, if by something else.
    pub(crate) truth: Option<AlgorithmIdentifierOwned>,
    /// Whole attributes in place of those of the same kind; an empty one is left out.
    pub(crate) attributes: Vec<(ObjectIdentifier, Vec<u8>)>,
    /// The attributes stand in the opposite order.
    pub(crate) backwards: bool,
    /// The signer's name, in place of the certificate's.
    pub(crate) named: Option<Vec<u8>>,
    /// What stands behind the signature.
    pub(crate) unsigned: Vec<u8>,
}

#[derive(Clone)]
pub(crate) struct Info {
    pub(crate) version: u8,
    pub(crate) policy: ObjectIdentifier,
    pub(crate) imprint: Vec<u8>,
    pub(crate) time: Vec<u8>,
    /// Accuracy and what follows it.
    pub(crate) rest: Vec<u8>,
}

impl Token {
    /// By the authority of [`authority_chain`] with this key, over these bytes; the root is left out.
    pub(crate) fn by(kind: Kind, stamped: &[u8]) -> Self {
        let chain = authority_chain(kind);
        let hash = match kind {
            Kind::P384 | Kind::Rsa3072 => Hash::Sha384,
            Kind::P521 | Kind::Rsa4096 => Hash::Sha512,
            _ => Hash::Sha256,
        };
        let is_rsa = matches!(kind, Kind::Rsa2048 | Kind::Rsa3072 | Kind::Rsa4096);
        Self {
            kind,
            signer: chain[0].clone(),
            certificates: chain[..2].iter().map(|certificate| certificate.der().to_vec()).collect(),
            content_type: ID_CT_TST_INFO,
            version: 3,
            signer_version: 1,
            signers: 1,
            info: Info {
                version: 1,
                policy: ObjectIdentifier::new_unwrap("1.3.6.1.4.1.55555.2"),
                imprint: imprint(&identifier(Hash::Sha256), Hash::Sha256.digest(stamped).as_ref()),
                time: NOW_TEXT.as_bytes().to_vec(),
                rest: Vec::new(),
            },
            digest: identifier(hash),
            hash,
            algorithm: if is_rsa {
                algorithm(rfc5912::RSA_ENCRYPTION, Some(Any::from(Null)))
            } else {
                Key::get(kind, 0).certificate_algorithm()
            },
            truth: None,
            attributes: Vec::new(),
            backwards: false,
            named: None,
            unsigned: Vec::new(),
        }
    }

    /// By P-256.
    pub(crate) fn over(stamped: &[u8]) -> Self {
        Self::by(Kind::P256, stamped)
    }

    /// Stamped at this time.
    pub(crate) fn at(mut self, time: &str) -> Self {
        self.info.time = time.as_bytes().to_vec();
        self
    }

    /// With this behind the time.
    pub(crate) fn rest(mut self, rest: &[u8]) -> Self {
        self.info.rest = rest.to_vec();
        self
    }

    /// With these certificates.
    pub(crate) fn with(mut self, certificates: &[&Certificate]) -> Self {
        self.certificates = certificates.iter().map(|certificate| certificate.der().to_vec()).collect();
        self
    }

    /// With this value of an attribute.
    pub(crate) fn attribute(self, kind: ObjectIdentifier, value: &[u8]) -> Self {
        self.replace(kind, attribute(kind, value))
    }

    /// With this in an attribute's place.
    pub(crate) fn replace(mut self, kind: ObjectIdentifier, der: Vec<u8>) -> Self {
        self.attributes.retain(|(other, _)| *other != kind);
        self.attributes.push((kind, der));
        self
    }

    fn info(&self) -> Vec<u8> {
        let info = &self.info;
        let fields = [
            tlv(2, &[info.version]),
            info.policy.to_der().unwrap(),
            info.imprint.clone(),
            tlv(2, &[5]),
            tlv(0x18, &info.time),
            info.rest.clone(),
        ];
        tlv(0x30, &fields.concat())
    }

    fn signed_attributes(&self) -> Vec<Vec<u8>> {
        let info = self.info();
        let mut attributes = vec![
            (rfc5911::ID_CONTENT_TYPE, attribute(rfc5911::ID_CONTENT_TYPE, &self.content_type.to_der().unwrap())),
            (
                rfc5911::ID_MESSAGE_DIGEST,
                attribute(rfc5911::ID_MESSAGE_DIGEST, &tlv(4, self.hash.digest(&info).as_ref())),
            ),
            (
                rfc5911::ID_AA_SIGNING_CERTIFICATE_V_2,
                attribute(rfc5911::ID_AA_SIGNING_CERTIFICATE_V_2, &signing_certificate(&[&ess(&self.signer, &[])])),
            ),
        ];
        for (kind, der) in &self.attributes {
            attributes.retain(|(other, _)| other != kind);
            attributes.push((*kind, der.clone()));
        }
        let mut attributes: Vec<_> = attributes.into_iter().map(|(_, der)| der).filter(|der| !der.is_empty()).collect();
        attributes.sort();
        attributes
    }

    fn signer_info(&self) -> Vec<u8> {
        let mut attributes = self.signed_attributes();
        let signed = tlv(0x31, &attributes.concat());
        if self.backwards {
            attributes.reverse();
        }
        let truth = self.truth.clone().unwrap_or_else(|| match (self.algorithm.oid, self.hash) {
            (rfc5912::RSA_ENCRYPTION, Hash::Sha256) => algorithm(rfc5912::SHA_256_WITH_RSA_ENCRYPTION, None),
            (rfc5912::RSA_ENCRYPTION, Hash::Sha384) => algorithm(rfc5912::SHA_384_WITH_RSA_ENCRYPTION, None),
            (rfc5912::RSA_ENCRYPTION, Hash::Sha512) => algorithm(rfc5912::SHA_512_WITH_RSA_ENCRYPTION, None),
            _ => self.algorithm.clone(),
        });
        let signature = Key::get(self.kind, 0).sign_certificate(&truth, &signed);
        let has_attributes = !attributes.is_empty();
        let fields = [
            tlv(2, &[self.signer_version]),
            tlv(0x30, &self.named.clone().unwrap_or_else(|| issuer_and_serial(&self.signer))),
            self.digest.to_der().unwrap(),
            if has_attributes { tlv(0xa0, &attributes.concat()) } else { Vec::new() },
            self.algorithm.to_der().unwrap(),
            tlv(4, &signature),
            self.unsigned.clone(),
        ];
        tlv(0x30, &fields.concat())
    }

    /// The content of the signed data, its parts one by one.
    pub(crate) fn parts(&self) -> Vec<Vec<u8>> {
        let encapsulated = [self.content_type.to_der().unwrap(), tlv(0xa0, &tlv(4, &self.info()))].concat();
        vec![
            tlv(2, &[self.version]),
            tlv(0x31, &self.digest.to_der().unwrap()),
            tlv(0x30, &encapsulated),
            tlv(0xa0, &self.certificates.concat()),
            tlv(0x31, &vec![self.signer_info(); self.signers].concat()),
        ]
    }

    /// The token.
    pub(crate) fn sign(&self) -> Vec<u8> {
        signed_data(&self.parts())
    }
}

/// A ContentInfo of signed data.
pub(crate) fn signed_data(parts: &[Vec<u8>]) -> Vec<u8> {
    let data = tlv(0xa0, &tlv(0x30, &parts.concat()));
    tlv(0x30, &[rfc5911::ID_SIGNED_DATA.to_der().unwrap(), data].concat())
}

/// A hash function's identifier.
pub(super) fn identifier(hash: Hash) -> AlgorithmIdentifierOwned {
    let oid = match hash {
        Hash::Sha256 => rfc5912::ID_SHA_256,
        Hash::Sha384 => rfc5912::ID_SHA_384,
        Hash::Sha512 => rfc5912::ID_SHA_512,
    };
    algorithm(oid, Some(Any::from(Null)))
}

/// A MessageImprint.
pub(crate) fn imprint(hash: &AlgorithmIdentifierOwned, digest: &[u8]) -> Vec<u8> {
    tlv(0x30, &[hash.to_der().unwrap(), tlv(4, digest)].concat())
}

/// An attribute of one value.
pub(crate) fn attribute(kind: ObjectIdentifier, value: &[u8]) -> Vec<u8> {
    tlv(0x30, &[kind.to_der().unwrap(), tlv(0x31, value)].concat())
}

/// The value of signing-certificate-v2.
pub(crate) fn signing_certificate(named: &[&[u8]]) -> Vec<u8> {
    tlv(0x30, &tlv(0x30, &named.concat()))
}

/// An ESSCertIDv2 by SHA-256, with an IssuerSerial or nothing.
pub(crate) fn ess(certificate: &Certificate, issuer_serial: &[u8]) -> Vec<u8> {
    let digest = tlv(4, Hash::Sha256.digest(certificate.der()).as_ref());
    tlv(0x30, &[digest, issuer_serial.to_vec()].concat())
}

/// What names a certificate: its issuer and its serial number.
pub(crate) fn issuer_and_serial(certificate: &Certificate) -> Vec<u8> {
    [certificate.parts.issuer.clone(), tlv(2, certificate.serial())].concat()
}
