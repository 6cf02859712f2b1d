//! Fulcio's certificates, and those of an operator's own authority: what they must be, what they claim, and which path
//! leads from them to somebody trusted. Called by [`super::verify`]. Knows no time of its own: every path is asked for at a
//! moment.

use const_oid::ObjectIdentifier;
use der::Decode as _;
use der::asn1::Utf8StringRef;

use super::identity::{self, Extension};
use crate::pki::chain::Violation;
use crate::pki::{AlternativeName, Certificate};

/// What a keyless signer's certificate claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// Who signed.
    pub subject: String,
    /// Who vouched for them.
    pub issuer: Option<String>,
    /// What else is said of them.
    pub extensions: Vec<(Extension, String)>,
}

/// Why a certificate is none that may sign.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSigner {
    /// A rule for all certificates.
    #[error(transparent)]
    Rule(#[from] Violation),
    /// An authority's.
    #[error("the signer's certificate is an authority's")]
    Authority,
    /// It may not sign.
    #[error("the signer's certificate: its keyUsage does not say digitalSignature")]
    Usage,
    /// It may not sign code.
    #[error("the signer's certificate: its extendedKeyUsage does not say codeSigning")]
    Purpose,
    /// Not one name (Fulcio, section 7.3).
    #[error("the signer's certificate names {0} signers in its subjectAltName, expected one")]
    Names(usize),
    /// A name of another kind.
    #[error(
        "the signer's certificate names its signer by {0}, expected an e-mail address, a URI, a DNS name or a user name"
    )]
    Name(&'static str),
    /// An extension whose content is not what it must be.
    #[error("the signer's certificate: its extension {0} is no text")]
    Extension(ObjectIdentifier),
}

impl Claims {
    /// What a certificate of Fulcio's claims, if it is one (Fulcio, section 7.3).
    ///
    /// # Errors
    /// Why it is none.
    pub fn of(certificate: &Certificate) -> Result<Self, BadSigner> {
        check(certificate, true)?;
        let names = certificate.alternative_names()?;
        let [name] = names.as_slice() else { return Err(BadSigner::Names(names.len())) };
        let subject = identity::text(name).ok_or(BadSigner::Name(match name {
            AlternativeName::Unread(kind) => kind,
            _ => "an otherName of another type",
        }))?;
        if subject.is_empty() {
            return Err(BadSigner::Name("an empty text"));
        }
        let issuer = match utf8(certificate, ISSUER_V2)? {
            Some(issuer) => Some(issuer),
            None => raw(certificate, ISSUER_V1)?,
        };
        let mut extensions = Vec::new();
        for extension in Extension::all() {
            let value = match extension.oid() {
                Some((oid, true)) => raw(certificate, oid)?,
                Some((oid, false)) => utf8(certificate, oid)?,
                None => None,
            };
            extensions.extend(value.map(|value| (extension, value)));
        }
        Ok(Self { subject: subject.clone(), issuer, extensions })
    }

    /// What is said of one thing.
    #[must_use]
    pub fn extension(&self, extension: Extension) -> Option<&str> {
        self.extensions.iter().find(|(found, _)| *found == extension).map(|(_, value)| value.as_str())
    }
}

/// Checks that a certificate may sign code. Fulcio's must say so; others must not say otherwise.
pub(super) fn check(certificate: &Certificate, must_say: bool) -> Result<(), BadSigner> {
    if certificate.is_ca() {
        return Err(BadSigner::Authority);
    }
    if !certificate.signs()?.unwrap_or(!must_say) {
        return Err(BadSigner::Usage);
    }
    if !certificate.signs_code()?.unwrap_or(!must_say) {
        return Err(BadSigner::Purpose);
    }
    Ok(())
}

/// Text as it is.
fn raw(certificate: &Certificate, oid: ObjectIdentifier) -> Result<Option<String>, BadSigner> {
    let Some(content) = certificate.extension_content(oid) else { return Ok(None) };
    str::from_utf8(content).map(|text| Some(text.to_owned())).map_err(|_| BadSigner::Extension(oid))
}

/// A UTF8String in DER.
fn utf8(certificate: &Certificate, oid: ObjectIdentifier) -> Result<Option<String>, BadSigner> {
    let Some(content) = certificate.extension_content(oid) else { return Ok(None) };
    let text = Utf8StringRef::from_der(content).map_err(|_| BadSigner::Extension(oid))?;
    Ok(Some(text.as_str().to_owned()))
}

/// The issuer of the identity's token, as a UTF8String.
const ISSUER_V2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1.8");

/// The same as it is, which older certificates have alone.
const ISSUER_V1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1.1");
