//! Certificates in DER, each made as its template says: also such as no authority would issue.

use std::collections::HashMap;
use std::fs;
use std::process::Command;
use std::str::FromStr as _;
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5280;
use der::Encode as _;
use der::asn1::{BitString, GeneralizedTime, OctetString, UtcTime};
use spki::AlgorithmIdentifierOwned;
use x509_cert::ext::Extension;
use x509_cert::name::RdnSequence;
use x509_cert::serial_number::SerialNumber;
use x509_cert::time::{Time, Validity};
use x509_cert::{TbsCertificate, Version};

use super::common::tools::run;
use super::keys::Key;

/// What a certificate states, and how a key signs it.
pub type Signing = (AlgorithmIdentifierOwned, fn(&Key, &[u8]) -> Vec<u8>);

/// A certificate to be made.
#[derive(Clone)]
pub struct Template {
    /// The version.
    pub version: Version,
    /// The subject, in the order of RFC 4514: most specific first.
    pub subject: String,
    /// The issuer likewise.
    pub issuer: String,
    /// The serial number.
    pub serial: u32,
    /// In seconds since 1970, as all times here.
    pub not_before: u64,
    /// The last moment.
    pub not_after: u64,
    /// The extensions.
    pub extensions: Vec<Extension>,
    /// The signature algorithm that it states, and who signs by it; none: the issuer's usual one.
    pub signed: Option<Signing>,
}

impl Template {
    /// An authority's.
    pub fn ca(subject: &str, issuer: &str, (not_before, not_after): (u64, u64)) -> Self {
        let extensions = vec![constraints(true, true, None), usage(true, &[KEY_CERT_SIGN, CRL_SIGN])];
        Self {
            version: Version::V3,
            subject: subject.to_owned(),
            issuer: issuer.to_owned(),
            serial: 1,
            not_before,
            not_after,
            extensions,
            signed: None,
        }
    }

    /// A code signer's.
    pub fn leaf(subject: &str, issuer: &str, validity: (u64, u64)) -> Self {
        let extensions = vec![usage(true, &[DIGITAL_SIGNATURE]), purposes(false, &[CODE_SIGNING])];
        Self { extensions, ..Self::ca(subject, issuer, validity) }
    }

    /// With this extension in place of the one of its kind.
    pub fn with(mut self, extension: Extension) -> Self {
        self.extensions.retain(|other| other.extn_id != extension.extn_id);
        self.extensions.push(extension);
        self
    }

    /// Without any extension of this kind.
    pub fn without(mut self, oid: ObjectIdentifier) -> Self {
        self.extensions.retain(|other| other.extn_id != oid);
        self
    }

    /// The certificate for the key `subject`, signed by `issuer`. Made twice, it is one and the same: signatures by
    /// EC keys are random, and a root must be what a trust store holds.
    pub fn sign(&self, subject: &Key, issuer: &Key) -> Vec<u8> {
        static MADE: LazyLock<Mutex<HashMap<Vec<u8>, Vec<u8>>>> = LazyLock::new(Mutex::default);
        let usual: Signing = (issuer.algorithm(), Key::sign_certificate);
        let (algorithm, sign) = self.signed.clone().unwrap_or(usual);
        let tbs = TbsCertificate {
            version: self.version,
            serial_number: SerialNumber::new(&self.serial.to_be_bytes()).unwrap(),
            signature: algorithm.clone(),
            issuer: RdnSequence::from_str(&self.issuer).unwrap(),
            validity: Validity { not_before: time(self.not_before), not_after: time(self.not_after) },
            subject: RdnSequence::from_str(&self.subject).unwrap(),
            subject_public_key_info: subject.spki(),
            issuer_unique_id: None,
            subject_unique_id: None,
            extensions: (!self.extensions.is_empty()).then(|| self.extensions.clone()),
        };
        let bytes = tbs.to_der().unwrap();
        let name = [bytes.clone(), issuer.spki().to_der().unwrap()].concat();
        if let Some(made) = MADE.lock().unwrap().get(&name) {
            return made.clone();
        }
        let signature = BitString::from_bytes(&sign(issuer, &bytes)).unwrap();
        let certificate = x509_cert::Certificate { tbs_certificate: tbs, signature_algorithm: algorithm, signature };
        let der = certificate.to_der().unwrap();
        MADE.lock().unwrap().entry(name).or_insert(der).clone()
    }
}

/// RSA with SHA-1, which openssl alone still signs by.
pub fn sha1() -> Signing {
    let algorithm = AlgorithmIdentifierOwned {
        oid: ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.5"),
        parameters: Some(der::asn1::Any::from(der::asn1::Null)),
    };
    (algorithm, |key, message| {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("key"), key.pem()).unwrap();
        fs::write(folder.path().join("message"), message).unwrap();
        let mut openssl = Command::new("openssl");
        openssl.current_dir(&folder).args(["dgst", "-sha1", "-sign", "key", "-out", "signature", "message"]);
        run(&mut openssl).success();
        fs::read(folder.path().join("signature")).unwrap()
    })
}

fn time(seconds: u64) -> Time {
    let since = Duration::from_secs(seconds);
    UtcTime::from_unix_duration(since)
        .map_or_else(|_| Time::GeneralTime(GeneralizedTime::from_unix_duration(since).unwrap()), Time::UtcTime)
}

/// Tag, length and content.
pub fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut bytes = vec![tag];
    match length {
        0..=0x7f => bytes.push(u8::try_from(length).unwrap()),
        0x80..=0xff => bytes.extend([0x81, u8::try_from(length).unwrap()]),
        _ => {
            bytes.push(0x82);
            bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
    }
    [bytes, content.to_vec()].concat()
}

/// An extension.
pub fn extension(oid: ObjectIdentifier, critical: bool, content: &[u8]) -> Extension {
    Extension { extn_id: oid, critical, extn_value: OctetString::new(content).unwrap() }
}

/// `basicConstraints`
pub fn constraints(critical: bool, ca: bool, path_length: Option<u8>) -> Extension {
    let mut content = if ca { vec![1, 1, 0xff] } else { Vec::new() };
    content.extend(path_length.into_iter().flat_map(|length| [2, 1, length]));
    extension(rfc5280::ID_CE_BASIC_CONSTRAINTS, critical, &tlv(0x30, &content))
}

pub const DIGITAL_SIGNATURE: usize = 0;
pub const KEY_ENCIPHERMENT: usize = 2;
pub const KEY_CERT_SIGN: usize = 5;
pub const CRL_SIGN: usize = 6;

/// `keyUsage`, its bits by their numbers (RFC 5280, section 4.2.1.3).
pub fn usage(critical: bool, bits: &[usize]) -> Extension {
    let mut byte = 0_u8;
    for bit in bits {
        byte |= 0x80 >> bit;
    }
    let unused = u8::try_from(7 - bits.iter().max().unwrap_or(&0)).unwrap();
    extension(rfc5280::ID_CE_KEY_USAGE, critical, &[3, 2, unused, byte])
}

pub const CODE_SIGNING: &str = "1.3.6.1.5.5.7.3.3";
pub const TIME_STAMPING: &str = "1.3.6.1.5.5.7.3.8";
pub const OCSP_SIGNING: &str = "1.3.6.1.5.5.7.3.9";
pub const ANY_PURPOSE: &str = "2.5.29.37.0";

/// `extendedKeyUsage`
pub fn purposes(critical: bool, purposes: &[&str]) -> Extension {
    let content: Vec<u8> = purposes.iter().flat_map(|purpose| oid(purpose)).collect();
    extension(rfc5280::ID_CE_EXT_KEY_USAGE, critical, &tlv(0x30, &content))
}

/// An object identifier in DER.
pub fn oid(text: &str) -> Vec<u8> {
    ObjectIdentifier::new_unwrap(text).to_der().unwrap()
}

/// `authorityInfoAccess` that names these OCSP responders.
pub fn responders(urls: &[String]) -> Extension {
    let access = |url: &String| tlv(0x30, &[oid("1.3.6.1.5.5.7.48.1"), tlv(0x86, url.as_bytes())].concat());
    extension(
        rfc5280::ID_PE_AUTHORITY_INFO_ACCESS,
        false,
        &tlv(0x30, &urls.iter().flat_map(access).collect::<Vec<_>>()),
    )
}

/// `cRLDistributionPoints`, one for each of these.
pub fn lists(urls: &[String]) -> Extension {
    let point = |url: &String| tlv(0x30, &tlv(0xa0, &tlv(0xa0, &tlv(0x86, url.as_bytes()))));
    extension(
        rfc5280::ID_CE_CRL_DISTRIBUTION_POINTS,
        false,
        &tlv(0x30, &urls.iter().flat_map(point).collect::<Vec<_>>()),
    )
}
