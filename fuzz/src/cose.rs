//! Signature envelopes in COSE: nothing passes but what was signed by whom the trust names, read here by an ordinary
//! reader of CBOR.

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ratify::artifact::Descriptor;
use ratify::report::Outcome;
use ratify::verifier::notation::{Trust, verify_envelope};
use serde_json::Value;

use super::made::sign_jws;
use super::parts;
use super::signatures::{NOW, assert_told, now, ours, real, subject};

const MEDIA_TYPE: &str = "application/cose";

/// An item of CBOR (RFC 8949).
#[derive(Clone, Debug, PartialEq)]
enum Item {
    Integer(i128),
    Bytes(Vec<u8>),
    Text(String),
    List(Vec<Item>),
    Map(Vec<(Item, Item)>),
    Tagged(u64, Box<Item>),
    Other,
}

impl Item {
    /// The next item of bytes that are known to be CBOR.
    fn read(bytes: &mut &[u8]) -> Self {
        let mut take = |length: usize| {
            let (taken, rest) = bytes.split_at(length);
            *bytes = rest;
            taken
        };
        let first = take(1)[0];
        let length = match first & 0x1f {
            info @ 24..=27 => 1 << (info - 24),
            _ => 0,
        };
        let argument = match length {
            0 => u64::from(first & 0x1f),
            length => take(length).iter().fold(0, |number, byte| number << 8 | u64::from(*byte)),
        };
        match first >> 5 {
            0 => Self::Integer(argument.into()),
            1 => Self::Integer(-1 - i128::from(argument)),
            2 => Self::Bytes(take(argument.try_into().unwrap()).to_vec()),
            3 => Self::Text(String::from_utf8(take(argument.try_into().unwrap()).to_vec()).unwrap()),
            4 => Self::List((0..argument).map(|_| Self::read(bytes)).collect()),
            5 => Self::Map((0..argument).map(|_| (Self::read(bytes), Self::read(bytes))).collect()),
            6 => Self::Tagged(argument, Box::new(Self::read(bytes))),
            _ => Self::Other,
        }
    }

    fn whole(mut bytes: &[u8]) -> Self {
        let item = Self::read(&mut bytes);
        assert!(bytes.is_empty());
        item
    }

    fn get(&self, label: &Self) -> Option<&Self> {
        let Self::Map(pairs) = self else { panic!("no map: {self:?}") };
        let mut found = pairs.iter().filter(|(other, _)| other == label);
        let first = found.next().map(|(_, value)| value);
        assert!(found.next().is_none(), "{label:?} is given twice");
        first
    }
}

fn text(text: &str) -> Item {
    Item::Text(text.to_owned())
}

/// The four parts of an envelope that passed: protected header, its bytes, unprotected header, payload, signature.
struct Envelope {
    protected: Item,
    written: Vec<u8>,
    unprotected: Item,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

impl Envelope {
    fn read(data: &[u8]) -> Self {
        let Item::Tagged(18, parts) = Item::whole(data) else { panic!("no COSE_Sign1") };
        let Item::List(parts) = *parts else { panic!("no COSE_Sign1") };
        let [Item::Bytes(written), unprotected @ Item::Map(_), Item::Bytes(payload), Item::Bytes(signature)] =
            <[Item; 4]>::try_from(parts).unwrap()
        else {
            panic!("no COSE_Sign1");
        };
        Self { protected: Item::whole(&written), written, unprotected, payload, signature }
    }

    /// The certificates, wherever they stand.
    fn chain(&self) -> &Item {
        let label = Item::Integer(33);
        let (one, other) = (self.protected.get(&label), self.unprotected.get(&label));
        assert!(one.is_none() || other.is_none());
        one.or(other).unwrap()
    }
}

/// A signature envelope against the roots of real ones: none but those passes, down to each signed byte.
pub fn cose(data: &[u8]) -> bool {
    static REAL: OnceLock<[Envelope; 2]> = OnceLock::new();
    let envelopes = REAL.get_or_init(|| {
        [
            Envelope::read(include_bytes!("../../tests/fixtures/notation/chain.cose")),
            Envelope::read(include_bytes!("../../tests/fixtures/notation/single.cose")),
        ]
    });
    let mut taken = false;
    for (real, envelope) in real().iter().zip(envelopes) {
        let outcome = verify_envelope(MEDIA_TYPE, data, &real.subject, &real.trust, now());
        assert_told(&outcome);
        if let Outcome::Passed(pass) = &outcome {
            let found = Envelope::read(data);
            assert_eq!(found.written, envelope.written);
            assert!(found.payload == envelope.payload && found.signature == envelope.signature);
            assert_eq!(found.chain(), envelope.chain());
            assert!(pass.valid_until.is_some_and(|end| end > NOW));
            taken = true;
        }
    }
    taken
}

/// A protected header, a payload and an unprotected header, signed by the known signer. In the headers the text `@`
/// stands for the true chain. What passes is of a scheme and of headers that are known, and not expired.
pub fn cose_signed(data: &[u8]) -> bool {
    let parts = parts(data);
    let part = |index: usize| parts.get(index).copied().unwrap_or_default();
    let [protected, unprotected] = [0, 2].map(|index| with_chain(part(index)));
    let envelope = seal(&protected, part(1), &unprotected);
    let trust = Trust::new(ours().anchors.clone(), &["*".to_owned()]).unwrap();
    let outcome = verify_envelope(MEDIA_TYPE, &envelope, &subject(), &trust, now());
    assert_told(&outcome);
    let Outcome::Passed(pass) = outcome else { return false };
    let found = Envelope::read(&envelope);
    let payload: Value = serde_json::from_slice(&found.payload).unwrap();
    assert_eq!(serde_json::from_value::<Descriptor>(payload["targetArtifact"].clone()).unwrap(), subject());
    let header = |label: Item| found.protected.get(&label);
    assert_eq!(header(Item::Integer(1)), Some(&Item::Integer(-7)));
    assert_eq!(header(Item::Integer(3)), Some(&text("application/vnd.cncf.notary.payload.v1+json")));
    assert_eq!(header(text("io.cncf.notary.signingScheme")), Some(&text("notary.x509")));
    let Some(Item::List(critical)) = header(Item::Integer(2)) else { panic!("no critical headers") };
    let expiry = text("io.cncf.notary.expiry");
    assert!(critical.contains(&text("io.cncf.notary.signingScheme")));
    assert!(critical.iter().all(|label| found.protected.get(label).is_some()));
    assert_eq!(critical.contains(&expiry), header(expiry).is_some());
    for absent in ["authenticSigningTime", "verificationPlugin", "verificationPluginMinVersion"] {
        assert!(header(text(&format!("io.cncf.notary.{absent}"))).is_none());
    }
    assert!(matches!(header(text("io.cncf.notary.signingTime")), Some(Item::Tagged(1, _))));
    assert!(pass.valid_until.is_some_and(|until| until >= NOW));
    assert_eq!(pass.signer, Some(ours().anchors[0].key_fingerprint()));
    assert_eq!(*found.chain(), Item::whole(&chain()));
    true
}

/// The envelope of these parts (RFC 9052, sections 4.2 and 4.4).
fn seal(protected: &[u8], payload: &[u8], unprotected: &[u8]) -> Vec<u8> {
    let (protected, payload) = (string(protected), string(payload));
    let signed = [b"\x84\x6aSignature1".as_slice(), &protected, b"\x40", &payload].concat();
    [b"\xd2\x84", protected.as_slice(), unprotected, &payload, &string(&sign_jws(&signed))].concat()
}

fn with_chain(header: &[u8]) -> Vec<u8> {
    match header.windows(2).position(|window| window == b"\x61@") {
        Some(at) => [&header[..at], &chain(), &header[at + 2..]].concat(),
        None => header.to_vec(),
    }
}

/// Our signer's certificates, in CBOR.
fn chain() -> Vec<u8> {
    let certificates = ours().x5c.iter().flat_map(|text| string(&STANDARD.decode(text).unwrap()));
    std::iter::once(0x82).chain(certificates).collect()
}

/// A byte string in the shortest form.
fn string(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    let head = match bytes.len() {
        0..24 => vec![0x40 | length[3]],
        24..0x100 => vec![0x58, length[3]],
        0x100..0x1_0000 => vec![0x59, length[2], length[3]],
        _ => [&[0x5a], length.as_slice()].concat(),
    };
    [&head, bytes].concat()
}
