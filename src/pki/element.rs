//! Elements of DER one by one, for what is too large to be read into a tree or must be kept byte by byte. Called by the
//! readers of CRLs and OCSP. Knows no structure of its own.

use der::{Decode, Header, Reader, SliceReader, Tag, TagNumber};

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
    pub(super) fn read(list: &mut SliceReader<'a>) -> der::Result<Self> {
        let mut extension = SliceReader::new(expect(list, Tag::Sequence)?)?;
        let oid = expect(&mut extension, Tag::ObjectIdentifier)?;
        let critical = optional(&mut extension, Tag::Boolean)?.is_some_and(|content| content != [0]);
        let value = expect(&mut extension, Tag::OctetString)?;
        extension.finish(Self { oid, critical, value })
    }

    /// Its identifier, for people.
    pub(super) fn name(&self) -> String {
        const_oid::ObjectIdentifier::from_bytes(self.oid)
            .map_or_else(|_| "that cannot be read".to_owned(), |oid| oid.to_string())
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
