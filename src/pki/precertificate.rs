//! What a log of certificates signed before a certificate was made: its signed part without the log's own answer
//! (RFC 6962, section 3.2). Called where SCTs are checked. Cuts bytes, and never encodes again what was parsed.

use const_oid::ObjectIdentifier;
use der::Tag;

use super::Certificate;
use super::element::{self, Elements, Extension};

/// A certificate as a log saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Precertificate {
    /// What would have been signed (TBSCertificate) without the extension.
    pub tbs: Vec<u8>,
    /// What the extension holds (SignedCertificateTimestampList; section 3.3).
    pub scts: Vec<u8>,
}

impl Certificate {
    /// What a log saw of it; nothing where it has no SCTs in it.
    ///
    /// # Errors
    /// The extension is not of the form that it must be.
    pub fn precertificate(&self) -> der::Result<Option<Precertificate>> {
        let Some(extension) = self.extension(SCT_LIST) else { return Ok(None) };
        let scts = element::only(extension.value, Tag::OctetString)?.to_vec();
        let mut fields = Elements::of(&self.parts.tbs, Tag::Sequence)?;
        let mut parts = Vec::new();
        while !fields.is_finished() {
            let field = fields.read()?;
            parts.push(if field.tag == EXTENSIONS { without_scts(field.content)? } else { field.der.to_vec() });
        }
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        Ok(Some(Precertificate { tbs: element::write(SEQUENCE, &parts), scts }))
    }
}

/// The field of a certificate's extensions with this content, but for the one; nothing where no other is left, because
/// there is no such field without one (RFC 5280, section 4.1).
fn without_scts(content: &[u8]) -> der::Result<Vec<u8>> {
    let mut list = Elements::of(content, Tag::Sequence)?;
    let mut kept = Vec::new();
    while !list.is_finished() {
        let extension = list.read()?;
        if !Extension::read(&mut Elements::new(extension.der))?.is(SCT_LIST) {
            kept.push(extension.der);
        }
    }
    if kept.is_empty() {
        return Ok(Vec::new());
    }
    Ok(element::write(EXTENSIONS, &[&element::write(SEQUENCE, &kept)]))
}

/// The extension with SCTs (RFC 6962, section 3.3).
const SCT_LIST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.11129.2.4.2");

/// The tag of a certificate's extensions.
const EXTENSIONS: u8 = 0xa3;

const SEQUENCE: u8 = 0x30;

#[cfg(test)]
mod tests {
    use const_oid::db::rfc5280;
    use der::{Decode as _, Encode as _};

    use super::super::testing::*;
    use super::*;

    fn scts(content: &[u8]) -> x509_cert::ext::Extension {
        extension(SCT_LIST, false, &tlv(4, content))
    }

    fn tbs_of(template: &Template) -> Vec<u8> {
        let key = Key::get(Kind::P256, 0);
        x509_cert::Certificate::from_der(&template.der(key, key)).unwrap().tbs_certificate.to_der().unwrap()
    }

    #[test]
    fn the_signed_part_is_that_of_the_certificate_without_the_extension() {
        let key = Key::get(Kind::P256, 0);
        let vendor = |number: u8, size: usize| {
            let oid = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.55555").push_arc(number.into()).unwrap();
            extension(oid, number == 2, &vec![number; size])
        };
        // Lengths of one, two and three bytes; the extension as first, in the middle, and last.
        for size in [0, 100, 120, 250, 1000] {
            let plain = Template::leaf(LEAF, LEAF).with(vendor(1, size)).with(vendor(2, 3));
            for place in 0..=plain.extensions.len() {
                let mut template = plain.clone();
                template.extensions.insert(place, scts(&vec![7; size]));
                let found = template.sign(key, key).precertificate().unwrap().unwrap();
                assert_eq!(found.tbs, tbs_of(&plain), "{size} {place}");
                assert_eq!(found.scts, vec![7; size]);
            }
        }
    }

    #[test]
    fn a_certificate_without_scts_has_no_such_part() {
        assert_eq!(chain()[0].precertificate(), Ok(None));
    }

    #[test]
    fn where_no_other_extension_is_left_the_field_goes() {
        let key = Key::get(Kind::P256, 0);
        let bare = Template::leaf(LEAF, LEAF).without(rfc5280::ID_CE_KEY_USAGE);
        let found = bare.clone().with(scts(b"x")).sign(key, key).precertificate().unwrap().unwrap();
        assert_eq!(found.tbs, tbs_of(&bare));
    }

    #[test]
    fn an_extension_that_holds_no_octet_string_is_refused() {
        let key = Key::get(Kind::P256, 0);
        for content in [&b""[..], b"\x30\x00", b"\x04\x02x", b"\x04\x00\x04\x00"] {
            let certificate = Template::leaf(LEAF, LEAF).with(extension(SCT_LIST, false, content)).sign(key, key);
            assert!(certificate.precertificate().is_err(), "{content:02x?}");
        }
    }
}
