//! Reads CBOR (RFC 8949) that others wrote, strictly: called by [`super::cose`]. One item and nothing after it, lengths
//! stated in advance, labels that are integers or text and given once at every level. Never copies a string, and never
//! takes what two readers could read in two ways.

use std::fmt;

use crate::limits;

/// A data item.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Item<'a> {
    /// Major types 0 and 1.
    Integer(i64),
    /// Major type 2.
    Bytes(&'a [u8]),
    /// Major type 3.
    Text(&'a str),
    /// Major type 4.
    List(Vec<Item<'a>>),
    /// Major type 5.
    Map(Map<'a>),
    /// Major type 6.
    Tagged(u64, Box<Item<'a>>),
    /// `true` or `false`.
    Bool(bool),
    /// `null`.
    Null,
    /// A number of 16, 32 or 64 bits.
    Float(f64),
    /// `undefined`, or a simple value without a meaning.
    Simple(u8),
}

/// What stands before a value of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Label<'a> {
    /// A number.
    Integer(i64),
    /// A name.
    Text(&'a str),
}

impl fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(number) => write!(f, "{number}"),
            Self::Text(name) => f.write_str(name),
        }
    }
}

/// A map, in the order in which it was written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Map<'a>(Vec<(Label<'a>, Item<'a>)>);

impl<'a> Map<'a> {
    /// The value of a label.
    pub(super) fn get(&self, label: Label<'_>) -> Option<&Item<'a>> {
        self.0.iter().find(|(other, _)| *other == label).map(|(_, value)| value)
    }

    /// All labels.
    pub(super) fn labels(&self) -> impl Iterator<Item = Label<'a>> {
        self.0.iter().map(|(label, _)| *label)
    }
}

/// Why bytes are no CBOR, or none that is taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadCbor {
    /// An item is longer than what is there.
    #[error("it ends too early")]
    Short,
    /// More than one item.
    #[error("{0} bytes follow after its end")]
    Trailing(usize),
    /// A length that only an end marker tells (RFC 8949, section 3.2).
    #[error("it has an item of indefinite length")]
    Indefinite,
    /// An initial byte, or a simple value, that means nothing (RFC 8949, section 3).
    #[error("it has an item that is not well-formed")]
    Malformed,
    /// An integer outside the range of 64 bits with a sign.
    #[error("it has an integer of more than 64 bits")]
    Integer,
    /// Text that is not UTF-8.
    #[error("it has text that is not UTF-8")]
    Text,
    /// A label that is neither an integer nor text.
    #[error("it has a label that is neither an integer nor text")]
    Label,
    /// A label twice in one map.
    #[error("label {0:?} is given twice")]
    Duplicate(String),
    /// More than [`limits::CBOR_DEPTH`].
    #[error("it is nested deeper than {limit} levels", limit = limits::CBOR_DEPTH)]
    TooDeep,
    /// More than [`limits::CBOR_ITEMS`].
    #[error("it has more than {limit} items", limit = limits::CBOR_ITEMS)]
    TooMany,
}

/// Reads bytes that are one item.
pub(super) fn read(bytes: &[u8]) -> Result<Item<'_>, BadCbor> {
    let mut reader = Reader { rest: bytes, items: 0 };
    let item = reader.item(limits::CBOR_DEPTH)?;
    match reader.rest.len() {
        0 => Ok(item),
        more => Err(BadCbor::Trailing(more)),
    }
}

struct Reader<'a> {
    rest: &'a [u8],
    items: usize,
}

impl<'a> Reader<'a> {
    /// The next item; `depth` levels may follow below its own.
    fn item(&mut self, depth: usize) -> Result<Item<'a>, BadCbor> {
        self.items = self.items.saturating_add(1);
        if self.items > limits::CBOR_ITEMS {
            return Err(BadCbor::TooMany);
        }
        let first = self.take(1)?.first().copied().unwrap_or_default();
        let (major, info) = (first >> 5, first & 0x1f);
        let argument = self.argument(info)?;
        let below = || depth.checked_sub(1).ok_or(BadCbor::TooDeep);
        Ok(match major {
            0 => Item::Integer(i64::try_from(argument).map_err(|_| BadCbor::Integer)?),
            // -1 minus the argument.
            1 => Item::Integer(!i64::try_from(argument).map_err(|_| BadCbor::Integer)?),
            2 => Item::Bytes(self.string(argument)?),
            3 => Item::Text(str::from_utf8(self.string(argument)?).map_err(|_| BadCbor::Text)?),
            4 => {
                let below = below()?;
                Item::List((0..argument).map(|_| self.item(below)).collect::<Result<_, _>>()?)
            }
            5 => Item::Map(self.map(argument, below()?)?),
            6 => Item::Tagged(argument, Box::new(self.item(below()?)?)),
            _ => simple(info, argument)?,
        })
    }

    /// What an initial byte says by its low bits, or by the bytes that follow it.
    fn argument(&mut self, info: u8) -> Result<u64, BadCbor> {
        let length = match info {
            0..24 => return Ok(info.into()),
            24 => 1,
            25 => 2,
            26 => 4,
            27 => 8,
            31 => return Err(BadCbor::Indefinite),
            _ => return Err(BadCbor::Malformed),
        };
        Ok(self.take(length)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn string(&mut self, length: u64) -> Result<&'a [u8], BadCbor> {
        self.take(usize::try_from(length).map_err(|_| BadCbor::Short)?)
    }

    fn map(&mut self, pairs: u64, depth: usize) -> Result<Map<'a>, BadCbor> {
        let mut map = Map(Vec::new());
        for _ in 0..pairs {
            let label = match self.item(depth)? {
                Item::Integer(number) => Label::Integer(number),
                Item::Text(name) => Label::Text(name),
                _ => return Err(BadCbor::Label),
            };
            if map.get(label).is_some() {
                return Err(BadCbor::Duplicate(label.to_string().chars().take(SHOWN_CHARS).collect()));
            }
            let value = self.item(depth)?;
            map.0.push((label, value));
        }
        Ok(map)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], BadCbor> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(BadCbor::Short)?;
        self.rest = rest;
        Ok(taken)
    }
}

/// An item of major type 7 (RFC 8949, section 3.3).
fn simple<'a>(info: u8, argument: u64) -> Result<Item<'a>, BadCbor> {
    let narrow = |argument: u64| u32::try_from(argument).map_err(|_| BadCbor::Malformed);
    Ok(match (info, argument) {
        (20, _) => Item::Bool(false),
        (21, _) => Item::Bool(true),
        (22, _) => Item::Null,
        (25, bits) => Item::Float(half(narrow(bits)?)),
        (26, bits) => Item::Float(f32::from_bits(narrow(bits)?).into()),
        (27, bits) => Item::Float(f64::from_bits(bits)),
        // These have a shorter form, and only that.
        (24, 0..32) => return Err(BadCbor::Malformed),
        (_, value) => Item::Simple(u8::try_from(value).map_err(|_| BadCbor::Malformed)?),
    })
}

/// A number of 16 bits (RFC 8949, appendix D).
fn half(bits: u32) -> f64 {
    let (exponent, fraction) = (bits >> 10 & 0x1f, f64::from(bits & 0x3ff));
    let value = match exponent {
        0 => fraction * f64::exp2(-24.0),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        exponent => (fraction + 1024.0) * f64::exp2(f64::from(exponent) - 25.0),
    };
    if bits & 0x8000 == 0 { value } else { -value }
}

/// How much of a foreign label is shown.
const SHOWN_CHARS: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bytes as RFC 8949 shows them.
    fn hex(digits: &str) -> Vec<u8> {
        let digits: Vec<char> = digits.chars().filter(|c| !c.is_whitespace()).collect();
        digits.chunks(2).map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap()).collect()
    }

    #[test]
    fn the_examples_of_the_rfc_are_read() {
        let list = |items: &[i64]| Item::List(items.iter().map(|number| Item::Integer(*number)).collect());
        for (bytes, expected) in [
            ("00", Item::Integer(0)),
            ("17", Item::Integer(23)),
            ("1818", Item::Integer(24)),
            ("1903e8", Item::Integer(1000)),
            ("1a000f4240", Item::Integer(1_000_000)),
            ("1b7fffffffffffffff", Item::Integer(i64::MAX)),
            ("20", Item::Integer(-1)),
            ("3903e7", Item::Integer(-1000)),
            ("3b7fffffffffffffff", Item::Integer(i64::MIN)),
            ("40", Item::Bytes(b"")),
            ("4401020304", Item::Bytes(&[1, 2, 3, 4])),
            ("6449455446", Item::Text("IETF")),
            ("62c3bc", Item::Text("\u{fc}")),
            ("80", list(&[])),
            ("83010203", list(&[1, 2, 3])),
            ("a0", Item::Map(Map(vec![]))),
            (
                "a2616101 0203",
                Item::Map(Map(vec![(Label::Text("a"), Item::Integer(1)), (Label::Integer(2), Item::Integer(3))])),
            ),
            ("c11a514b67b0", Item::Tagged(1, Box::new(Item::Integer(1_363_896_240)))),
            ("c1fb41d452d9ec200000", Item::Tagged(1, Box::new(Item::Float(1_363_896_240.5)))),
            ("f4", Item::Bool(false)),
            ("f5", Item::Bool(true)),
            ("f6", Item::Null),
            ("f7", Item::Simple(23)),
            ("f0", Item::Simple(16)),
            ("f8ff", Item::Simple(255)),
            ("f90000", Item::Float(0.0)),
            ("f93c00", Item::Float(1.0)),
            ("f97bff", Item::Float(65504.0)),
            ("f90001", Item::Float(5.960_464_477_539_063e-8)),
            ("f90400", Item::Float(0.000_061_035_156_25)),
            ("f9c400", Item::Float(-4.0)),
            ("f97c00", Item::Float(f64::INFINITY)),
            ("f9fc00", Item::Float(f64::NEG_INFINITY)),
            ("fa47c35000", Item::Float(100_000.0)),
            ("fb3ff199999999999a", Item::Float(1.1)),
        ] {
            assert_eq!(read(&hex(bytes)), Ok(expected), "{bytes}");
        }
        assert!(matches!(read(&hex("f97e00")), Ok(Item::Float(number)) if number.is_nan()));
        // A length may be written longer than it must be: it is the same length.
        assert_eq!(read(&hex("1b0000000000000001")), Ok(Item::Integer(1)));
        assert_eq!(read(&hex("5800")), Ok(Item::Bytes(b"")));
    }

    #[test]
    fn what_is_not_one_well_formed_item_is_refused() {
        for (bytes, expected) in [
            ("", BadCbor::Short),
            ("18", BadCbor::Short),
            ("1a000000", BadCbor::Short),
            ("4401020", BadCbor::Short),
            ("5bffffffffffffffff", BadCbor::Short),
            ("8201", BadCbor::Short),
            ("9bffffffffffffffff", BadCbor::Short),
            ("a101", BadCbor::Short),
            ("bbffffffffffffffff", BadCbor::Short),
            ("c1", BadCbor::Short),
            ("f9", BadCbor::Short),
            ("0000", BadCbor::Trailing(1)),
            ("80a0a0", BadCbor::Trailing(2)),
            ("1c", BadCbor::Malformed),
            ("5d", BadCbor::Malformed),
            ("fe", BadCbor::Malformed),
            ("f814", BadCbor::Malformed),
            ("f81f", BadCbor::Malformed),
            ("1b8000000000000000", BadCbor::Integer),
            ("3b8000000000000000", BadCbor::Integer),
            ("62ff00", BadCbor::Text),
            ("61c3", BadCbor::Text),
        ] {
            let bytes = hex(&if bytes.len() % 2 == 0 { bytes.to_owned() } else { format!("{bytes}0") });
            assert_eq!(read(&bytes[..bytes.len()]).unwrap_err(), expected, "{bytes:02x?}");
        }
    }

    #[test]
    fn an_indefinite_length_is_refused_wherever_it_stands() {
        for bytes in ["5f4100ff", "7f6161ff", "9fff", "bfff", "819f01ff", "a1015f4100ff", "c19fff", "ff", "81ff"] {
            assert_eq!(read(&hex(bytes)).unwrap_err(), BadCbor::Indefinite, "{bytes}");
        }
    }

    #[test]
    fn a_label_given_twice_is_refused_at_every_level() {
        let twice = |label: &str| BadCbor::Duplicate(label.to_owned());
        for (bytes, expected) in [
            ("a201000101", twice("1")),
            ("a2616100616101", twice("a")),
            // The same label, once written longer.
            ("a20100180101", twice("1")),
            ("a2200038 0001", twice("-1")),
            ("81a201000100", twice("1")),
            ("a101a201000100", twice("1")),
            ("c1a201000100", twice("1")),
        ] {
            assert_eq!(read(&hex(bytes)).unwrap_err(), expected, "{bytes}");
        }
        assert!(read(&hex("a20100613100")).is_ok(), "1 and \"1\" are two labels");
        assert!(read(&hex("82a10100a10100")).is_ok(), "two maps");
    }

    #[test]
    fn a_label_is_an_integer_or_text() {
        for bytes in ["a14000", "a18000", "a1a000", "a1c10000", "a1f400", "a1f600", "a1f93c0000"] {
            assert_eq!(read(&hex(bytes)).unwrap_err(), BadCbor::Label, "{bytes}");
        }
    }

    #[test]
    fn depth_at_the_limit_and_one_past_it() {
        for (outer, inner) in [("81", "00"), ("a100", "00"), ("c1", "00"), ("81", "80")] {
            let nested = |levels: usize| hex(&format!("{}{inner}", outer.repeat(levels)));
            let levels = limits::CBOR_DEPTH - usize::from(inner == "80");
            assert!(read(&nested(levels)).is_ok(), "{outer} {inner}");
            assert_eq!(read(&nested(levels + 1)).unwrap_err(), BadCbor::TooDeep, "{outer} {inner}");
            assert_eq!(read(&nested(100_000)).unwrap_err(), BadCbor::TooDeep, "{outer} {inner}");
        }
    }

    #[test]
    fn items_at_the_limit_and_one_past_it() {
        let list =
            |items: usize| [vec![0x99], u16::try_from(items).unwrap().to_be_bytes().to_vec(), vec![0; items]].concat();
        assert!(read(&list(limits::CBOR_ITEMS - 1)).is_ok());
        assert_eq!(read(&list(limits::CBOR_ITEMS)).unwrap_err(), BadCbor::TooMany);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }
    }
}
