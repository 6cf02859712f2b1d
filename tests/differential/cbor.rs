//! As much of CBOR (RFC 8949) as envelopes need, written and never read.

/// A data item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cbor {
    /// An integer.
    Int(i64),
    /// A byte string.
    Bytes(Vec<u8>),
    /// A text string.
    Text(String),
    /// An array.
    List(Vec<Cbor>),
    /// A map, its keys in this order, given twice or not.
    Map(Vec<(Cbor, Cbor)>),
    /// A tagged item.
    Tag(u64, Box<Cbor>),
    /// Null.
    Null,
    /// These very bytes.
    Raw(Vec<u8>),
}

impl From<&str> for Cbor {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<i64> for Cbor {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl Cbor {
    /// A text string.
    pub fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    /// In the shortest form.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Int(number) => match u64::try_from(*number) {
                Ok(number) => head(0, number),
                Err(_) => head(1, u64::try_from(-1 - number).unwrap()),
            },
            Self::Bytes(bytes) => [head(2, length(bytes)), bytes.clone()].concat(),
            Self::Text(text) => [head(3, length(text.as_bytes())), text.clone().into_bytes()].concat(),
            Self::List(items) => {
                let mut bytes = head(4, length(items));
                bytes.extend(items.iter().flat_map(Self::encode));
                bytes
            }
            Self::Map(members) => {
                let mut bytes = head(5, length(members));
                bytes.extend(members.iter().flat_map(|(key, value)| [key.encode(), value.encode()].concat()));
                bytes
            }
            Self::Tag(tag, item) => [head(6, *tag), item.encode()].concat(),
            Self::Null => vec![0xf6],
            Self::Raw(bytes) => bytes.clone(),
        }
    }
}

fn length<T>(items: &[T]) -> u64 {
    u64::try_from(items.len()).unwrap()
}

fn head(major: u8, number: u64) -> Vec<u8> {
    let major = major << 5;
    if let Ok(number) = u8::try_from(number) {
        return if number < 24 { vec![major | number] } else { vec![major | 24, number] };
    }
    if let Ok(number) = u16::try_from(number) {
        return [&[major | 25][..], &number.to_be_bytes()].concat();
    }
    if let Ok(number) = u32::try_from(number) {
        return [&[major | 26][..], &number.to_be_bytes()].concat();
    }
    [&[major | 27][..], &number.to_be_bytes()].concat()
}
