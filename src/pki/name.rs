//! Distinguished names: the subject of a certificate as typed attributes, and the text form in which an operator
//! writes one (RFC 4514). Called by the chain rules for their messages and by verifiers that compare identities.
//! Never compares names itself, never guesses at a value whose string type it does not read.

use std::fmt;

use const_oid::ObjectIdentifier;
use const_oid::db::rfc4519;
use der::asn1::AnyRef;
use der::{Tag, Tagged};

use super::element::{Elements, dotted};
use crate::verdict;

/// The type of a name's attribute.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AttributeType {
    /// One that can be written and compared: its name in [`KNOWN`].
    Known(&'static str),
    /// Any other: the content of its object identifier.
    Other(Vec<u8>),
}

impl AttributeType {
    /// `C`, countryName.
    pub const COUNTRY: Self = Self::Known("C");
    /// `ST` or `S`, stateOrProvinceName.
    pub const STATE: Self = Self::Known("ST");
    /// `O`, organizationName.
    pub const ORGANIZATION: Self = Self::Known("O");

    /// The type that a short name stands for; case does not matter (RFC 4514, section 2.3, and RFC 4512,
    /// section 2.5). `S` is `ST` (Notary Project, "Trusted Identities Constraints").
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        let name = if name.eq_ignore_ascii_case("S") { "ST" } else { name };
        KNOWN.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(known, _)| Self::Known(known))
    }

    fn by_oid(oid: &[u8]) -> Self {
        let known = KNOWN.iter().find(|(_, known)| known.as_bytes() == oid);
        known.map_or_else(|| Self::Other(oid.to_vec()), |(name, _)| Self::Known(name))
    }
}

impl fmt::Display for AttributeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(name) => f.write_str(name),
            Self::Other(oid) => f.write_str(&dotted(oid)),
        }
    }
}

/// The value of a certificate's attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Text: UTF8String, or PrintableString, IA5String or NumericString in ASCII, whichever characters of it those may hold.
    Text(String),
    /// A string type whose meaning differs between readers (TeletexString, BMPString), or no string: the tag's name.
    Unreadable(String),
}

/// A certificate's subject or issuer. Attributes of multi-valued RDNs stand one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(Vec<(AttributeType, Value)>);

impl Name {
    /// A name in DER that [`check`] has found to be one.
    pub(super) fn checked(der: &[u8]) -> Self {
        let mut attributes = Vec::with_capacity(KNOWN.len());
        // It was walked over before.
        let _ = walk(der, |kind, value| attributes.push(attribute(kind, value)));
        Self(attributes)
    }

    /// The attributes, in the order of the certificate.
    #[must_use]
    pub fn attributes(&self) -> &[(AttributeType, Value)] {
        &self.0
    }
}

/// As RFC 4514 writes it, the last attribute first; for people: cut when long, without control characters.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("(empty name)");
        }
        let attributes: Vec<String> = self.0.iter().rev().map(|(kind, value)| format!("{kind}={value}")).collect();
        let text = verdict::printable(&attributes.join(","));
        match text.char_indices().nth(SHOWN_CHARS) {
            Some((end, _)) => write!(f, "{}...", text.get(..end).unwrap_or_default()),
            None => f.write_str(&text),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(&escaped(text)),
            Self::Unreadable(tag) => write!(f, "({tag})"),
        }
    }
}

/// Text of a value with the escapes of RFC 4514, section 2.4.
fn escaped(text: &str) -> String {
    let last = text.chars().count().saturating_sub(1);
    let mut written = String::with_capacity(text.len());
    for (index, c) in text.chars().enumerate() {
        let at_edge = (index == 0 && (c == '#' || c == ' ')) || (index == last && c == ' ');
        if at_edge || matches!(c, '"' | '+' | ',' | ';' | '<' | '>' | '\\') {
            written.push('\\');
        }
        written.push(c);
    }
    written
}

/// Whether some DER is a name.
pub(super) fn check(der: &[u8]) -> der::Result<()> {
    walk(der, |_, _| {})
}

/// Tells the attributes of a name in DER (RFC 5280, section 4.1.2.4).
fn walk(der: &[u8], mut tell: impl FnMut(&[u8], AnyRef<'_>)) -> der::Result<()> {
    let mut sets = Elements::of(der, Tag::Sequence)?;
    while !sets.is_finished() {
        // Not sorted, which would take the square of their number: nobody asks for their order.
        let mut members = sets.expect(Tag::Set)?.elements();
        while !members.is_finished() {
            let mut member = members.expect(Tag::Sequence)?.elements();
            let (kind, value) = (member.oid()?, member.any()?);
            member.finish(())?;
            tell(kind, value);
        }
    }
    Ok(())
}

fn attribute(kind: &[u8], written: AnyRef<'_>) -> (AttributeType, Value) {
    let bytes = written.value();
    let text = match written.tag() {
        Tag::Utf8String => std::str::from_utf8(bytes).ok(),
        Tag::PrintableString | Tag::Ia5String | Tag::NumericString if bytes.is_ascii() => {
            std::str::from_utf8(bytes).ok()
        }
        _ => None,
    };
    let value = text.map_or_else(|| Value::Unreadable(written.tag().to_string()), |text| Value::Text(text.to_owned()));
    (AttributeType::by_oid(kind), value)
}

/// Why text is no distinguished name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// No `TYPE=VALUE` where one must stand.
    #[error("expected TYPE=VALUE at {0:?}")]
    NoAttribute(String),
    /// Not one of [`KNOWN`].
    #[error("{0:?} is not an attribute type that can be compared: use {known}", known = known_names())]
    UnknownType(String),
    /// Nothing after the equal sign.
    #[error("{0} has no value")]
    NoValue(AttributeType),
    /// `A=x+B=y`.
    #[error(
        "{0}: several attributes joined by + are not supported: separate them by commas, or escape a + in a value as \\+"
    )]
    MultiValued(AttributeType),
    /// `A=#0c0178`.
    #[error("{0}: a value in hexadecimal DER (#...) is not supported: write it as text, or escape the # as \\#")]
    HexValue(AttributeType),
    /// A character that must be escaped.
    #[error("{kind}: {found:?} must be escaped as \\{found}")]
    Unescaped {
        /// The attribute.
        kind: AttributeType,
        /// The character.
        found: char,
    },
    /// A backslash before something that needs none, or two hexadecimal digits that are not there.
    #[error("{0}: a backslash must be followed by one of {ESCAPABLE:?} or by two hexadecimal digits")]
    BadEscape(AttributeType),
    /// Escaped bytes that are not UTF-8, or NUL.
    #[error("{0}: the value is not text")]
    NotText(AttributeType),
    /// An attribute type is there twice.
    #[error("{0} is given twice")]
    Duplicate(AttributeType),
}

/// Parses a distinguished name as RFC 4514 writes it: attributes separated by commas, white space around types
/// and values passed over unless escaped. Only types in [`KNOWN`], each once, one attribute in each RDN, no hexadecimal
/// values.
///
/// # Errors
/// The first place that is not of that form.
pub fn parse(text: &str) -> Result<Vec<(AttributeType, String)>, BadName> {
    let mut attributes = Vec::new();
    let mut rest = Some(text);
    while let Some(text) = rest {
        let (written, after) = text.split_once('=').ok_or_else(|| BadName::NoAttribute(short(text)))?;
        let kind = AttributeType::by_name(written.trim()).ok_or_else(|| BadName::UnknownType(short(written.trim())))?;
        let (value, next) = value(&kind, after)?;
        if attributes.iter().any(|(other, _)| *other == kind) {
            return Err(BadName::Duplicate(kind));
        }
        attributes.push((kind, value));
        rest = next;
    }
    Ok(attributes)
}

/// Reads one value up to the comma that ends it, and gives what follows the comma.
fn value<'a>(kind: &AttributeType, text: &'a str) -> Result<(String, Option<&'a str>), BadName> {
    let bad = |why: fn(AttributeType) -> BadName| why(kind.clone());
    let text = text.trim_start_matches(' ');
    if text.starts_with('#') {
        return Err(bad(BadName::HexValue));
    }
    let mut bytes = Vec::new();
    // Spaces at the end do not belong to the value, unless escaped.
    let mut end = 0;
    let mut rest = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            ',' => {
                rest = Some(chars.as_str());
                break;
            }
            '+' => return Err(bad(BadName::MultiValued)),
            ';' | '"' | '<' | '>' => return Err(BadName::Unescaped { kind: kind.clone(), found: c }),
            '\\' => {
                bytes.push(unescape(&mut chars).ok_or_else(|| bad(BadName::BadEscape))?);
                end = bytes.len();
            }
            ' ' => bytes.push(b' '),
            _ => {
                bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                end = bytes.len();
            }
        }
    }
    bytes.truncate(end);
    let value = String::from_utf8(bytes).map_err(|_| bad(BadName::NotText))?;
    if value.contains('\0') {
        return Err(bad(BadName::NotText));
    }
    if value.is_empty() {
        return Err(bad(BadName::NoValue));
    }
    Ok((value, rest))
}

/// The byte that follows a backslash stands for.
fn unescape(chars: &mut std::str::Chars<'_>) -> Option<u8> {
    let first = chars.next()?;
    if ESCAPABLE.contains(first) {
        return u8::try_from(first).ok();
    }
    let byte = first.to_digit(16)? * 16 + chars.next()?.to_digit(16)?;
    u8::try_from(byte).ok()
}

fn short(text: &str) -> String {
    text.chars().take(SHOWN_CHARS).collect()
}

fn known_names() -> String {
    KNOWN.map(|(name, _)| name).join(", ")
}

/// The types that can be written in an identity: those that notation knows.
pub const KNOWN: [(&str, ObjectIdentifier); 9] = [
    ("C", rfc4519::C),
    ("ST", rfc4519::ST),
    ("L", rfc4519::L),
    ("O", rfc4519::O),
    ("OU", rfc4519::OU),
    ("CN", rfc4519::CN),
    ("SERIALNUMBER", rfc4519::SERIAL_NUMBER),
    ("STREET", rfc4519::STREET),
    ("POSTALCODE", rfc4519::POSTAL_CODE),
];

/// What a backslash may stand before (RFC 4514, section 3: `special`, `escape`, space, sharp and equals).
const ESCAPABLE: &str = " \"#+,;<=>\\";

/// How much of a name is shown.
const SHOWN_CHARS: usize = 300;

#[cfg(test)]
mod tests {
    use super::super::element::write;
    use super::*;
    use der::Encode;

    fn name(attributes: &[(ObjectIdentifier, Tag, &[u8])]) -> Name {
        let sets: Vec<_> = attributes.iter().map(|one| set(&[attribute(one)])).collect();
        read(&sets).unwrap()
    }

    fn attribute((oid, tag, bytes): &(ObjectIdentifier, Tag, &[u8])) -> Vec<u8> {
        write(0x30, &[&oid.to_der().unwrap(), &write(tag.octet(), &[bytes])])
    }

    fn set(attributes: &[Vec<u8>]) -> Vec<u8> {
        write(0x31, &[&attributes.concat()])
    }

    fn read(sets: &[Vec<u8>]) -> der::Result<Name> {
        let der = write(0x30, &[&sets.concat()]);
        check(&der).map(|()| Name::checked(&der))
    }

    #[test]
    fn names_are_read_as_rfc_4514_writes_them() {
        let known = |name| AttributeType::by_name(name).unwrap();
        for (text, expected) in [
            ("C=US", vec![("C", "US")]),
            (" C = US , ST= WA,O =acme ", vec![("C", "US"), ("ST", "WA"), ("O", "acme")]),
            ("c=US,s=WA", vec![("C", "US"), ("ST", "WA")]),
            (r"O=Acme\, Inc.", vec![("O", "Acme, Inc.")]),
            (r"O=a\;b\\c\+d\#e\=f", vec![("O", r"a;b\c+d#e=f")]),
            (r"O=\ a \ ,OU=\20b", vec![("O", " a  "), ("OU", " b")]),
            (r"O=\#x", vec![("O", "#x")]),
            (r"CN=J\C3\BCrgen", vec![("CN", "Jürgen")]),
            ("CN=Jürgen=x", vec![("CN", "Jürgen=x")]),
        ] {
            let expected: Vec<_> = expected.into_iter().map(|(kind, value)| (known(kind), value.to_owned())).collect();
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        use AttributeType as Type;
        for (text, expected) in [
            ("", BadName::NoAttribute(String::new())),
            ("C=US,", BadName::NoAttribute(String::new())),
            ("C=US,,O=x", BadName::UnknownType(",O".into())),
            ("acme", BadName::NoAttribute("acme".into())),
            ("=US", BadName::UnknownType(String::new())),
            ("DC=example", BadName::UnknownType("DC".into())),
            ("2.5.4.6=US", BadName::UnknownType("2.5.4.6".into())),
            ("C=", BadName::NoValue(Type::COUNTRY)),
            ("C=  ,O=x", BadName::NoValue(Type::COUNTRY)),
            ("C=US+O=x", BadName::MultiValued(Type::COUNTRY)),
            ("O=#0c0178", BadName::HexValue(Type::ORGANIZATION)),
            ("O= #0c0178", BadName::HexValue(Type::ORGANIZATION)),
            ("O=a;C=US", BadName::Unescaped { kind: Type::ORGANIZATION, found: ';' }),
            ("O=\"a\"", BadName::Unescaped { kind: Type::ORGANIZATION, found: '"' }),
            ("O=a<b", BadName::Unescaped { kind: Type::ORGANIZATION, found: '<' }),
            (r"O=a\", BadName::BadEscape(Type::ORGANIZATION)),
            (r"O=a\x", BadName::BadEscape(Type::ORGANIZATION)),
            (r"O=a\4", BadName::BadEscape(Type::ORGANIZATION)),
            (r"O=a\+4\4é", BadName::BadEscape(Type::ORGANIZATION)),
            (r"O=\ff", BadName::NotText(Type::ORGANIZATION)),
            (r"O=a\00", BadName::NotText(Type::ORGANIZATION)),
            ("O=a,C=US,o=b", BadName::Duplicate(Type::ORGANIZATION)),
            ("ST=WA,S=WA", BadName::Duplicate(Type::STATE)),
        ] {
            assert_eq!(parse(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn string_types_that_differ_between_readers_are_not_read() {
        let name = name(&[
            (rfc4519::C, Tag::PrintableString, b"US"),
            (rfc4519::O, Tag::Utf8String, "Jürgen".as_bytes()),
            (rfc4519::OU, Tag::TeletexString, b"x"),
            (rfc4519::L, Tag::BmpString, &[0, 0x61]),
            (rfc4519::ST, Tag::Utf8String, b"\xff"),
            (rfc4519::CN, Tag::PrintableString, b"\xe9"),
            (rfc4519::DC, Tag::Ia5String, b"example"),
        ]);
        let text = |text: &str| Value::Text(text.into());
        let unreadable = |tag: Tag| Value::Unreadable(tag.to_string());
        assert_eq!(
            name.attributes(),
            [
                (AttributeType::COUNTRY, text("US")),
                (AttributeType::ORGANIZATION, text("Jürgen")),
                (AttributeType::Known("OU"), unreadable(Tag::TeletexString)),
                (AttributeType::Known("L"), unreadable(Tag::BmpString)),
                (AttributeType::STATE, unreadable(Tag::Utf8String)),
                (AttributeType::Known("CN"), unreadable(Tag::PrintableString)),
                (AttributeType::Other(rfc4519::DC.as_bytes().to_vec()), text("example")),
            ]
        );
    }

    #[test]
    fn attributes_of_any_type_are_taken() {
        // 2.25 and a UUID (X.667), and one of more bytes than the type for object identifiers holds.
        let uuid = [&[0x69, 0x83][..], &[0xff; 17], &[0x7f]].concat();
        for (oid, shown) in [
            (&uuid[..], "2.25.340282366920938463463374607431768211455=x"),
            (&[0x2b; 50], &format!("1.3{}=x", ".43".repeat(49))),
        ] {
            let found = read(&[set(&[write(0x30, &[&write(6, &[oid]), &write(12, &[b"x"])])])]).unwrap();
            assert_eq!(found.attributes(), [(AttributeType::Other(oid.to_vec()), Value::Text("x".into()))]);
            assert_eq!(found.to_string(), shown);
        }
    }

    #[test]
    fn attributes_of_one_relative_name_stand_as_in_the_certificate_and_none_is_dropped() {
        let written = [(rfc4519::C, Tag::PrintableString, &b"US"[..]), (rfc4519::OU, Tag::Utf8String, b"build")];
        let [country, unit] = written.each_ref().map(attribute);
        for (members, order) in [([&country, &unit], [0, 1]), ([&unit, &country], [1, 0]), ([&unit, &unit], [1, 1])] {
            let expected = name(&order.map(|index| written[index]));
            assert_eq!(read(&[set(&members.map(Clone::clone))]).unwrap(), expected);
        }
        let apart = read(&[set(&[]), set(std::slice::from_ref(&country)), set(std::slice::from_ref(&unit))]).unwrap();
        assert_eq!(apart, name(&written));
        // Elements of other kinds, and bytes behind the last one.
        for broken in [
            country.clone(),
            set(&[unit[2..].to_vec()]),
            set(&[write(0x30, &[&unit[2..], &[5, 0]])]),
            [set(std::slice::from_ref(&country)), vec![0]].concat(),
            set(&[country, vec![5, 0]]),
        ] {
            assert!(read(std::slice::from_ref(&broken)).is_err(), "{broken:02x?}");
        }
    }

    #[test]
    fn a_name_is_shown_on_one_short_line() {
        let shown = name(&[
            (rfc4519::C, Tag::PrintableString, b"US"),
            (rfc4519::O, Tag::Utf8String, "Acme, Inc.\n\u{202e}".as_bytes()),
            (rfc4519::CN, Tag::Utf8String, b" x "),
        ]);
        assert_eq!(shown.to_string(), r"CN=\ x\ ,O=Acme\, Inc.  ,C=US");
        let long = name(&[(rfc4519::O, Tag::Utf8String, "é".repeat(10_000).as_bytes())]).to_string();
        assert!(long.chars().count() == SHOWN_CHARS + 3 && long.ends_with("..."));
        assert_eq!(name(&[]).to_string(), "(empty name)");
    }
}
