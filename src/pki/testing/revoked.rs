//! CRLs and OCSP responses for tests, made field by field.

use aws_lc_rs::digest;
use const_oid::ObjectIdentifier;
use const_oid::db::rfc5280;
use der::Encode;
use x509_cert::ext::Extension;
use x509_cert::name::RdnSequence;
use x509_cert::serial_number::SerialNumber;

use super::{KEY_CERT_SIGN, Key, Template, extension, usage_of};
use crate::pki::{Certificate, element};

pub(crate) const OCSP: &str = "1.3.6.1.5.5.7.48.1";
pub(crate) const CRL_SIGN: usize = 6;

impl Template {
    pub(crate) fn serial(self, serial: u8) -> Self {
        Self { serial: SerialNumber::new(&[serial]).unwrap(), ..self }
    }

    /// An authority that signs lists too.
    pub(crate) fn lists(self) -> Self {
        self.with(usage_of(true, &[KEY_CERT_SIGN, CRL_SIGN]))
    }
}

/// authorityInfoAccess with these methods and URLs.
pub(crate) fn access_of(access: &[(&str, &str)]) -> Extension {
    let described: Vec<u8> = access
        .iter()
        .flat_map(|(method, url)| {
            let method = ObjectIdentifier::new_unwrap(method).to_der().unwrap();
            element::write(0x30, &[&method, &element::write(0x86, &[url.as_bytes()])])
        })
        .collect();
    extension(rfc5280::ID_PE_AUTHORITY_INFO_ACCESS, false, &element::write(0x30, &[&described]))
}

/// cRLDistributionPoints, each with these URLs.
pub(crate) fn points_of(points: &[&[&str]]) -> Extension {
    extension(rfc5280::ID_CE_CRL_DISTRIBUTION_POINTS, false, &points_der(points))
}

/// freshestCRL with one place.
pub(crate) fn freshest_of(urls: &[&str]) -> Extension {
    extension(rfc5280::ID_CE_FRESHEST_CRL, false, &points_der(&[urls]))
}

fn points_der(points: &[&[&str]]) -> Vec<u8> {
    let points: Vec<u8> = points.iter().flat_map(|urls| element::write(0x30, &[&name_of(urls)])).collect();
    element::write(0x30, &[&points])
}

/// A distribution point's name.
pub(crate) fn name_of(urls: &[&str]) -> Vec<u8> {
    let names: Vec<u8> = urls.iter().flat_map(|url| element::write(0x86, &[url.as_bytes()])).collect();
    element::write(0xa0, &[&element::write(0xa0, &[&names])])
}

pub(crate) fn integer_of(oid: ObjectIdentifier, critical: bool, number: u8) -> Extension {
    extension(oid, critical, &[2, 1, number])
}

pub(crate) fn scope_of(content: &[&[u8]]) -> Extension {
    extension(rfc5280::ID_CE_ISSUING_DISTRIBUTION_POINT, true, &element::write(0x30, content))
}

/// A moment as GeneralizedTime.
pub(crate) fn time_of(seconds: u64) -> Vec<u8> {
    let text = crate::pki::rfc3339(super::at(seconds)).replace(['-', ':', 'T'], "");
    element::write(0x18, &[text.as_bytes()])
}

fn extensions_der(extensions: &[Extension]) -> Vec<u8> {
    let all: Vec<u8> = extensions.iter().flat_map(|extension| extension.to_der().unwrap()).collect();
    element::write(0x30, &[&all])
}

/// A list to be made.
#[derive(Clone)]
pub(crate) struct CrlDraft {
    pub(crate) issuer: String,
    pub(crate) this_update: u64,
    pub(crate) next_update: Option<u64>,
    pub(crate) version: Option<u8>,
    pub(crate) extensions: Vec<Extension>,
    pub(crate) entries: Vec<u8>,
}

impl CrlDraft {
    /// An empty list number 5, made a day ago and good for a day.
    pub(crate) fn new(issuer: &str) -> Self {
        let day = super::DAY;
        Self {
            issuer: issuer.to_owned(),
            this_update: super::NOW - day,
            next_update: Some(super::NOW + day),
            version: Some(1),
            extensions: vec![integer_of(rfc5280::ID_CE_CRL_NUMBER, false, 5)],
            entries: Vec::new(),
        }
    }

    /// One of changes since list number 5.
    pub(crate) fn delta(issuer: &str) -> Self {
        Self::new(issuer).with(integer_of(rfc5280::ID_CE_CRL_NUMBER, false, 6)).with(integer_of(
            rfc5280::ID_CE_DELTA_CRL_INDICATOR,
            true,
            5,
        ))
    }

    pub(crate) fn with(mut self, extension: Extension) -> Self {
        self.extensions.retain(|other| other.extn_id != extension.extn_id);
        self.extensions.push(extension);
        self
    }

    pub(crate) fn until(self, next_update: u64) -> Self {
        Self { next_update: Some(next_update), ..self }
    }

    /// Lists a certificate, revoked an hour ago.
    pub(crate) fn revoke(self, serial: u8, reason: Option<u8>, invalid_from: Option<u64>) -> Self {
        let mut extensions = Vec::new();
        extensions.extend(reason.map(|reason| extension(rfc5280::ID_CE_CRL_REASONS, false, &[10, 1, reason])));
        let date = |seconds| extension(rfc5280::ID_CE_INVALIDITY_DATE, false, &time_of(seconds));
        extensions.extend(invalid_from.map(date));
        self.entry(&[serial], &extensions)
    }

    pub(crate) fn entry(mut self, serial: &[u8], extensions: &[Extension]) -> Self {
        let serial = element::write(2, &[serial]);
        let extensions = if extensions.is_empty() { Vec::new() } else { extensions_der(extensions) };
        self.entries.extend(element::write(0x30, &[&serial, &time_of(super::NOW - 3600), &extensions]));
        self
    }

    pub(crate) fn sign(&self, key: &Key) -> Vec<u8> {
        let algorithm = key.certificate_algorithm();
        let version = self.version.map(|version| vec![2, 1, version]).unwrap_or_default();
        let issuer: RdnSequence = self.issuer.parse().unwrap();
        let entries = if self.entries.is_empty() { Vec::new() } else { element::write(0x30, &[&self.entries]) };
        let extensions = if self.extensions.is_empty() {
            Vec::new()
        } else {
            element::write(0xa0, &[&extensions_der(&self.extensions)])
        };
        let tbs = element::write(
            0x30,
            &[
                &version,
                &algorithm.to_der().unwrap(),
                &issuer.to_der().unwrap(),
                &time_of(self.this_update),
                &self.next_update.map(time_of).unwrap_or_default(),
                &entries,
                &extensions,
            ],
        );
        signed(&tbs, key, &[])
    }
}

/// A signed part with its algorithm and signature, and what follows.
fn signed(tbs: &[u8], key: &Key, rest: &[u8]) -> Vec<u8> {
    let algorithm = key.certificate_algorithm();
    let signature = key.sign_certificate(&algorithm, tbs);
    element::write(0x30, &[tbs, &algorithm.to_der().unwrap(), &element::write(3, &[&[0], &signature]), rest])
}

/// An OCSP response to be made.
#[derive(Clone)]
pub(crate) struct OcspDraft<'a> {
    pub(crate) certificate: &'a Certificate,
    pub(crate) issuer: &'a Certificate,
    /// Whose name it bears.
    pub(crate) responder: &'a Certificate,
    /// Names who answers by key.
    pub(crate) by_key: bool,
    pub(crate) sha256: bool,
    /// CertStatus, in DER.
    pub(crate) status: Vec<u8>,
    pub(crate) this_update: u64,
    pub(crate) next_update: Option<u64>,
    pub(crate) single_extensions: Vec<Extension>,
    pub(crate) extensions: Vec<Extension>,
    pub(crate) certificates: Vec<Certificate>,
}

impl<'a> OcspDraft<'a> {
    /// The issuer's word that a certificate stands, given a day ago and good for a day.
    pub(crate) fn new(certificate: &'a Certificate, issuer: &'a Certificate) -> Self {
        Self {
            certificate,
            issuer,
            responder: issuer,
            by_key: false,
            sha256: false,
            status: vec![0x80, 0],
            this_update: super::NOW - super::DAY,
            next_update: Some(super::NOW + super::DAY),
            single_extensions: Vec::new(),
            extensions: Vec::new(),
            certificates: Vec::new(),
        }
    }

    pub(crate) fn revoked(self, reason: Option<u8>) -> Self {
        let reason = reason.map(|reason| element::write(0xa0, &[&[10, 1, reason]])).unwrap_or_default();
        Self { status: element::write(0xa1, &[&time_of(super::NOW - 3600), &reason]), ..self }
    }

    pub(crate) fn unknown(self) -> Self {
        Self { status: vec![0x82, 0], ..self }
    }

    /// Given in the issuer's place.
    pub(crate) fn by(self, delegate: &'a Certificate) -> Self {
        Self { responder: delegate, certificates: vec![delegate.clone()], ..self }
    }

    pub(crate) fn sign(&self, key: &Key) -> Vec<u8> {
        let certificates: Vec<u8> = self.certificates.iter().flat_map(|it| it.der().to_vec()).collect();
        self.sign_beside(&certificates, key)
    }

    /// The same with these bytes for its certificates.
    pub(crate) fn sign_beside(&self, certificates: &[u8], key: &Key) -> Vec<u8> {
        let responder = if self.by_key {
            let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, key_of(self.responder));
            element::write(0xa2, &[&element::write(4, &[hash.as_ref()])])
        } else {
            element::write(0xa1, &[self.responder.subject_der()])
        };
        let optional = |tag, extensions: &[Extension]| {
            if extensions.is_empty() { Vec::new() } else { element::write(tag, &[&extensions_der(extensions)]) }
        };
        let single = element::write(
            0x30,
            &[
                &self.id(),
                &self.status,
                &time_of(self.this_update),
                &self.next_update.map(|time| element::write(0xa0, &[&time_of(time)])).unwrap_or_default(),
                &optional(0xa1, &self.single_extensions),
            ],
        );
        let tbs = element::write(
            0x30,
            &[
                &responder,
                &time_of(self.this_update),
                &element::write(0x30, &[&single]),
                &optional(0xa1, &self.extensions),
            ],
        );
        let certificates = if certificates.is_empty() {
            Vec::new()
        } else {
            element::write(0xa0, &[&element::write(0x30, &[certificates])])
        };
        let basic = signed(&tbs, key, &certificates);
        let kind = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.1").to_der().unwrap();
        let bytes = element::write(0x30, &[&kind, &element::write(4, &[&basic])]);
        element::write(0x30, &[&[10, 1, 0], &element::write(0xa0, &[&bytes])])
    }

    fn id(&self) -> Vec<u8> {
        let (oid, algorithm) = if self.sha256 {
            ("2.16.840.1.101.3.4.2.1", &digest::SHA256)
        } else {
            ("1.3.14.3.2.26", &digest::SHA1_FOR_LEGACY_USE_ONLY)
        };
        let oid = ObjectIdentifier::new_unwrap(oid).to_der().unwrap();
        let hash = |bytes: &[u8]| element::write(4, &[digest::digest(algorithm, bytes).as_ref()]);
        element::write(
            0x30,
            &[
                &element::write(0x30, &[&oid, &[5, 0]]),
                &hash(self.issuer.subject_der()),
                &hash(key_of(self.issuer)),
                &element::write(2, &[self.certificate.serial()]),
            ],
        )
    }
}

fn key_of(certificate: &Certificate) -> &[u8] {
    certificate.parts.key.bits.raw_bytes()
}
