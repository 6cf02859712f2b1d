//! Elements of DER one by one, for what is too large to be read into a tree or must be kept byte by byte. Called by the
//! readers of certificates, CRLs and OCSP. Knows no structure of its own.

use const_oid::ObjectIdentifier;
use der::asn1::{AnyRef, BitString};
use der::{Decode, ErrorKind, Header, Length, Reader, SliceReader, Tag, TagNumber};

/// The elements of a list, for what is read at every pull: a reader that looks at a tag and a length once, and at no byte
/// of the content.
#[derive(Clone, Copy, Debug)]
pub(super) struct Elements<'a>(&'a [u8]);

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
    /// All of it: tag, length and content.
    pub(super) der: &'a [u8],
}

impl<'a> Element<'a> {
    /// What it is a list of.
    pub(super) fn elements(&self) -> Elements<'a> {
        Elements(self.content)
    }
}

impl<'a> Elements<'a> {
    /// Those in a list's content.
    pub(super) fn new(content: &'a [u8]) -> Self {
        Self(content)
    }

    /// Those of one list that some DER is.
    pub(super) fn of(der: &'a [u8], list: Tag) -> der::Result<Self> {
        let mut outer = Self(der);
        let list = outer.expect(list)?;
        outer.finish(list.elements())
    }

    /// Whether none is left.
    pub(super) fn is_finished(&self) -> bool {
        self.0.is_empty()
    }

    /// A value, once none is left.
    pub(super) fn finish<T>(self, value: T) -> der::Result<T> {
        if self.0.is_empty() {
            return Ok(value);
        }
        Err(ErrorKind::Overlength.into())
    }

    /// The next one, with a length in the one form that DER allows (X.690, sections 8.1.3 and 10.1).
    pub(super) fn read(&mut self) -> der::Result<Element<'a>> {
        let bytes = self.0;
        let cut = || der::Error::incomplete(Length::try_from(bytes.len()).unwrap_or(Length::MAX));
        let [tag, first, rest @ ..] = bytes else { return Err(cut()) };
        if tag & LONG_TAG == LONG_TAG {
            return Err(ErrorKind::TagNumberInvalid.into());
        }
        let (length, rest) = match first {
            0..=0x7f => (usize::from(*first), rest),
            0x81..=0x84 => {
                let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f)).ok_or_else(cut)?;
                let length = digits.iter().fold(0, |number, digit| number << 8 | usize::from(*digit));
                let is_shortest = length > 0x7f && digits.first() != Some(&0);
                (if is_shortest { length } else { return Err(ErrorKind::Overlength.into()) }, rest)
            }
            0x80 => return Err(ErrorKind::IndefiniteLength.into()),
            _ => return Err(ErrorKind::Overlength.into()),
        };
        let (content, rest) = rest.split_at_checked(length).ok_or_else(cut)?;
        let (der, _) = bytes.split_at_checked(bytes.len() - rest.len()).ok_or_else(cut)?;
        self.0 = rest;
        Ok(Element { tag: *tag, content, der })
    }

    /// The next one, which must have this tag.
    pub(super) fn expect(&mut self, tag: Tag) -> der::Result<Element<'a>> {
        let element = self.read()?;
        if element.tag == tag.octet() {
            return Ok(element);
        }
        Err(Tag::try_from(element.tag)?.unexpected_error(Some(tag)))
    }

    /// The next one, if it has this tag.
    pub(super) fn optional(&mut self, tag: Tag) -> der::Result<Option<Element<'a>>> {
        if self.0.first() == Some(&tag.octet()) { self.read().map(Some) } else { Ok(None) }
    }

    /// The content of an object identifier, however long it or one of its numbers is: the type for object identifiers
    /// holds 39 bytes, and no UUID (X.667). No number has zeros before it (X.690, section 8.19.2).
    pub(super) fn oid(&mut self) -> der::Result<&'a [u8]> {
        let oid = self.expect(Tag::ObjectIdentifier)?.content;
        let mut numbers = oid.split_inclusive(|byte| byte & MORE == 0);
        let is_whole = oid.last().is_some_and(|last| last & MORE == 0);
        if is_whole && numbers.all(|number| number.first() != Some(&MORE)) {
            return Ok(oid);
        }
        Err(Tag::ObjectIdentifier.value_error())
    }

    /// Whatever is next.
    pub(super) fn any(&mut self) -> der::Result<AnyRef<'a>> {
        let element = self.read()?;
        AnyRef::new(Tag::try_from(element.tag)?, element.content)
    }

    /// A string of bits.
    pub(super) fn bits(&mut self) -> der::Result<BitString> {
        bits(self.expect(Tag::BitString)?)
    }
}

/// The bits in an element, be its tag theirs or one in place of it.
pub(super) fn bits(element: Element<'_>) -> der::Result<BitString> {
    let (unused, bits) = element.content.split_first().ok_or_else(|| Tag::BitString.length_error())?;
    BitString::new(*unused, bits)
}

/// An object identifier's content as people write it.
pub(super) fn dotted(oid: &[u8]) -> String {
    let mut written = String::new();
    for number in oid.split_inclusive(|byte| byte & MORE == 0) {
        let value = number
            .iter()
            .try_fold(0_u128, |value, byte| value.checked_mul(u128::from(MORE))?.checked_add(u128::from(byte & !MORE)));
        written += &match value {
            None => ".(a number of more than 128 bits)".to_owned(),
            // The first two are one (X.690, section 8.19.4).
            Some(two) if written.is_empty() => format!("{}.{}", (two / 40).min(2), two - (two / 40).min(2) * 40),
            Some(value) => format!(".{value}"),
        };
    }
    written
}

/// The bit of an object identifier's byte that says that its number goes on.
const MORE: u8 = 0x80;

/// The bits of a tag that say that its number follows.
const LONG_TAG: u8 = 0x1f;

/// The next element: its tag and its content.
pub(super) fn read<'a>(from: &mut SliceReader<'a>) -> der::Result<(Tag, &'a [u8])> {
    let header = Header::decode(from)?;
    Ok((header.tag, from.read_slice(header.length)?))
}

/// The content of the next element, which must have that tag.
pub(super) fn expect<'a>(from: &mut SliceReader<'a>, tag: Tag) -> der::Result<&'a [u8]> {
    let (found, content) = read(from)?;
    found.assert_eq(tag)?;
    Ok(content)
}

/// The content of the next element, if it has that tag.
pub(super) fn optional<'a>(from: &mut SliceReader<'a>, tag: Tag) -> der::Result<Option<&'a [u8]>> {
    let is_there = !from.is_finished() && from.peek_tag()? == tag;
    if is_there { expect(from, tag).map(Some) } else { Ok(None) }
}

/// The content of the one element in some bytes.
pub(super) fn only(bytes: &[u8], tag: Tag) -> der::Result<&[u8]> {
    let mut reader = SliceReader::new(bytes)?;
    let content = expect(&mut reader, tag)?;
    reader.finish(content)
}

/// A context-specific tag around other elements.
pub(super) fn around(number: TagNumber) -> Tag {
    Tag::ContextSpecific { constructed: true, number }
}

/// A context-specific tag in place of another.
pub(super) fn instead(number: TagNumber) -> Tag {
    Tag::ContextSpecific { constructed: false, number }
}

/// An extension, as certificates, CRLs and OCSP have them (RFC 5280, section 4.1).
#[derive(Clone, Copy, Debug)]
pub(super) struct Extension<'a> {
    /// The content of its object identifier.
    pub(super) oid: &'a [u8],
    pub(super) critical: bool,
    pub(super) value: &'a [u8],
}

impl<'a> Extension<'a> {
    /// The next one of a list.
    pub(super) fn read(list: &mut Elements<'a>) -> der::Result<Self> {
        let mut members = list.expect(Tag::Sequence)?.elements();
        let oid = members.oid()?;
        // X.690, section 11.1.
        let critical = match members.optional(Tag::Boolean)?.map(|critical| critical.content) {
            None | Some([0]) => false,
            Some([0xff]) => true,
            Some(_) => return Err(Tag::Boolean.value_error()),
        };
        let value = members.expect(Tag::OctetString)?.content;
        members.finish(Self { oid, critical, value })
    }

    /// Whether it is of this kind.
    pub(super) fn is(&self, kind: ObjectIdentifier) -> bool {
        self.oid == kind.as_bytes()
    }

    /// Its identifier, for people.
    pub(super) fn name(&self) -> String {
        dotted(self.oid)
    }
}

/// An element of a tag around some parts.
pub(super) fn write(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut element = vec![tag];
    match u8::try_from(content.len()) {
        Ok(short @ 0..=0x7f) => element.push(short),
        _ => {
            let length = content.len().to_be_bytes();
            let length: Vec<u8> = length.into_iter().skip_while(|byte| *byte == 0).collect();
            element.push(0x80 | u8::try_from(length.len()).unwrap_or(0));
            element.extend(length);
        }
    }
    element.extend(content);
    element
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_read_one_after_the_other() {
        let long = write(4, &[&[7; 200]]);
        let bytes = [vec![0x30, 2, 5, 0, 6, 3, 0x2a, 3, 4, 3, 2, 1, 0x80], long.clone(), vec![0x81, 0]].concat();
        let mut elements = Elements(&bytes);
        assert_eq!(
            elements.expect(Tag::Sequence).map(|list| (list.content, list.der)),
            Ok((&bytes[2..4], &bytes[..4]))
        );
        assert_eq!(elements.oid(), Ok(&[0x2a, 3, 4][..]));
        assert_eq!(elements.bits(), BitString::new(1, [0x80]));
        assert!(elements.optional(Tag::Null).unwrap().is_none());
        assert_eq!(elements.any().map(|any| (any.value().len(), der::Tagged::tag(&any))), Ok((200, Tag::OctetString)));
        assert!(elements.finish(()).is_err() && !elements.is_finished());
        assert!(elements.optional(instead(TagNumber::N1)).unwrap().is_some());
        assert!(elements.finish(()).is_ok() && elements.is_finished() && elements.read().is_err());
        assert_eq!(Elements::of(&long, Tag::OctetString).map(|of| of.0.len()), Ok(200));
        assert!(Elements::of(&long, Tag::Sequence).is_err());
        assert!(Elements::of(&[&long[..], &[0]].concat(), Tag::OctetString).is_err());
    }

    #[test]
    fn an_element_is_read_as_strictly_as_by_the_der_crate() {
        let content = vec![0; 0x1_0000];
        let heads: [&[u8]; 19] = [
            &[],
            &[4],
            &[4, 0],
            &[4, 0x7f],
            &[4, 0x80],
            &[4, 0x81],
            &[4, 0x81, 0],
            &[4, 0x81, 0x7f],
            &[4, 0x81, 0x80],
            &[4, 0x82, 0],
            &[4, 0x82, 0, 0x80],
            &[4, 0x82, 1, 0],
            &[4, 0x83, 0, 1, 0],
            &[4, 0x83, 1, 0, 0],
            &[4, 0x83, 1, 0, 1],
            &[4, 0x84, 0, 0, 1, 0],
            &[4, 0x84, 0xff, 0xff, 0xff, 0xff],
            &[4, 0x85, 0, 0, 0, 1, 0],
            &[0x1f, 1, 0],
        ];
        for head in heads {
            for content in [&[][..], &content[..0x7f], &content[..0x80], &content[..0x100], &content] {
                let bytes = [head, content].concat();
                let mut reader = SliceReader::new(&bytes).unwrap();
                let theirs = super::read(&mut reader).map(|(_, content)| content).ok();
                let mut elements = Elements(&bytes);
                assert_eq!(elements.any().map(AnyRef::value).ok(), theirs, "{head:02x?}, {}", content.len());
            }
        }
        for (octets, good) in [
            (&[3, 1, 0][..], true),
            (&[3, 2, 7, 0x80], true),
            (&[3, 0], false),
            (&[3, 1, 1], false),
            (&[3, 2, 8, 0], false),
        ] {
            assert_eq!(Elements(octets).bits().is_ok(), good, "{octets:02x?}");
            assert_eq!(BitString::from_der(octets).is_ok(), good, "{octets:02x?}");
        }
    }

    #[test]
    fn object_identifiers_of_any_length_are_read_and_written() {
        let uuid = [&[0x69, 0x83][..], &[0xff; 17], &[0x7f]].concat();
        let longer = [&[0x69][..], &[0xff; 19], &[0x7f]].concat();
        for (oid, expected) in [
            (&[0x2a][..], "1.2"),
            (&[39], "0.39"),
            (&[0x2b, 6, 1, 4, 1, 0x83, 0xb2, 3, 1], "1.3.6.1.4.1.55555.1"),
            (&[0x55, 29, 15], "2.5.29.15"),
            (&[0x88, 0x37, 0], "2.999.0"),
            (&uuid, "2.25.340282366920938463463374607431768211455"),
            (&longer, "2.25.(a number of more than 128 bits)"),
            (&[0x2b; 60], &format!("1.3{}", ".43".repeat(59))),
        ] {
            assert_eq!(Elements(&write(6, &[oid])).oid(), Ok(oid), "{expected}");
            assert_eq!(dotted(oid), expected);
        }
        for broken in [&[][..], &[0x2a, 0x81], &[0x80, 1], &[0x2a, 0x80, 1], &[0x2a, 0x81, 1, 0x80, 0x81, 1]] {
            assert!(Elements(&write(6, &[broken])).oid().is_err(), "{broken:02x?}");
        }
    }

    #[test]
    fn an_extension_is_critical_or_not_and_nothing_between() {
        let read = |critical: &[u8]| {
            let extension = write(0x30, &[&[6, 1, 0x2a], critical, &[4, 1, 7]]);
            let mut list = Elements(&extension);
            Extension::read(&mut list).map(|read| {
                assert!(list.is_finished() && read.oid == [0x2a] && read.value == [7]);
                read.critical
            })
        };
        assert_eq!([&[][..], &[1, 1, 0], &[1, 1, 0xff]].map(read), [Ok(false), Ok(false), Ok(true)]);
        for broken in [&[1, 0][..], &[1, 1, 1], &[1, 1, 0x7f], &[1, 2, 0, 0], &[1, 2, 0xff, 0xff], &[5, 0]] {
            assert!(read(broken).is_err(), "{broken:02x?}");
        }
    }

    #[test]
    fn elements_are_written_with_the_shortest_length() {
        for (length, head) in
            [(0, vec![4, 0]), (127, vec![4, 127]), (128, vec![4, 0x81, 128]), (256, vec![4, 0x82, 1, 0])]
        {
            let element = write(4, &[&vec![7; length]]);
            assert!(element.starts_with(&head) && element.len() == head.len() + length, "{length}");
            assert_eq!(only(&element, Tag::OctetString).map(<[u8]>::len), Ok(length));
        }
    }
}
