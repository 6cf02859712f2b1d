//! Extensions of certificates that say who somebody is: alternative names, and those that only some readers know. Called
//! by verifiers that compare identities. Never compares anything.

use const_oid::ObjectIdentifier;
use der::{Tag, Tagged};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::Certificate;
use super::chain::Violation;

/// A name in a certificate's subjectAltName (RFC 5280, section 4.2.1.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlternativeName {
    /// An e-mail address.
    Email(String),
    /// A URI.
    Uri(String),
    /// A DNS name.
    Dns(String),
    /// Text of a type that somebody else defined.
    Other {
        /// The type.
        kind: ObjectIdentifier,
        /// The text.
        value: String,
    },
    /// Of a form that is not read: which.
    Unread(&'static str),
}

impl Certificate {
    /// The names in its subjectAltName, in their order; none where it has no such extension.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn alternative_names(&self) -> Result<Vec<AlternativeName>, Violation> {
        let names = self.known::<SubjectAltName>("subjectAltName")?;
        Ok(names.map(|(_, names)| names.0.iter().map(AlternativeName::of).collect()).unwrap_or_default())
    }

    /// The content of an extension.
    #[must_use]
    pub fn extension_content(&self, kind: ObjectIdentifier) -> Option<&[u8]> {
        self.extension(kind).map(|extension| extension.value)
    }
}

impl AlternativeName {
    fn of(name: &GeneralName) -> Self {
        match name {
            GeneralName::Rfc822Name(text) => Self::Email(text.to_string()),
            GeneralName::UniformResourceIdentifier(text) => Self::Uri(text.to_string()),
            GeneralName::DnsName(text) => Self::Dns(text.to_string()),
            GeneralName::OtherName(other) => {
                let text = str::from_utf8(other.value.value()).ok().filter(|_| other.value.tag() == Tag::Utf8String);
                text.map_or(Self::Unread("otherName"), |text| Self::Other {
                    kind: other.type_id,
                    value: text.to_owned(),
                })
            }
            GeneralName::DirectoryName(_) => Self::Unread("directoryName"),
            GeneralName::EdiPartyName(_) => Self::Unread("ediPartyName"),
            GeneralName::IpAddress(_) => Self::Unread("iPAddress"),
            GeneralName::RegisteredId(_) => Self::Unread("registeredID"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use const_oid::db::rfc5280;

    fn names(content: &[u8]) -> Result<Vec<AlternativeName>, Violation> {
        let template = Template::leaf(LEAF, LEAF).with(extension(rfc5280::ID_CE_SUBJECT_ALT_NAME, true, content));
        template.sign(Key::get(Kind::P256, 0), Key::get(Kind::P256, 0)).alternative_names()
    }

    #[test]
    fn alternative_names_are_read_in_their_order() {
        let oid = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1.7");
        let other = |tag| tlv(0xa0, &[der::Encode::to_der(&oid).unwrap(), tlv(0xa0, &tlv(tag, b"x"))].concat());
        let content = [
            tlv(0x81, b"a@example.com"),
            tlv(0x86, b"https://example.com/"),
            tlv(0x82, b"example.com"),
            other(0x0c),
            other(0x16),
            tlv(0x87, &[127, 0, 0, 1]),
        ];
        assert_eq!(
            names(&tlv(0x30, &content.concat())).unwrap(),
            [
                AlternativeName::Email("a@example.com".into()),
                AlternativeName::Uri("https://example.com/".into()),
                AlternativeName::Dns("example.com".into()),
                AlternativeName::Other { kind: oid, value: "x".into() },
                AlternativeName::Unread("otherName"),
                AlternativeName::Unread("iPAddress"),
            ]
        );
        assert_eq!(chain()[0].alternative_names(), Ok(Vec::new()));
        assert!(names(b"x").is_err());
        assert!(names(&tlv(0x30, &tlv(0x81, b"\xff@example.com"))).is_err(), "no IA5String");
    }
}
