//! Reads a COSE envelope (Notary Project, "COSE Sign1 Signature Envelope"; RFC 9052, section 4.2). Called by
//! [`super::verify`]. Never checks a signature or a time against the clock, and never takes a document that two readers
//! could read in two ways: a label given twice, a length left open, a header in two places.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Number, Value};

use super::cbor::{self, Item, Label, Map};
use super::claims::{self, CHAIN_EXPECTED, CRITICAL_EXPECTED, Claims, Protected, TIMESTAMP, short, unexpected};
use super::envelope::{Algorithm, BadEnvelope, Envelope};
use crate::limits;
use crate::pki::Certificate;

/// Parses an envelope.
///
/// Unknown protected headers that are not critical and unknown unprotected headers are passed over, as notation does.
///
/// Certificates that are `known` are not read anew.
///
/// # Errors
/// See [`BadEnvelope`].
pub(super) fn parse(bytes: &[u8], known: &[Certificate]) -> Result<Envelope, BadEnvelope> {
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limits::ENVELOPE_BYTES {
        return Err(BadEnvelope::TooLarge(bytes.len()));
    }
    if !bytes.starts_with(&SIGN1_TAGGED) {
        return Err(BadEnvelope::NotSign1);
    }
    let parts = match read("the CBOR", bytes)? {
        Item::Tagged(_, parts) => *parts,
        _ => return Err(BadEnvelope::NotSign1),
    };
    let Item::List(parts) = parts else { return Err(BadEnvelope::NotSign1) };
    let [Item::Bytes(written), Item::Map(unprotected), Item::Bytes(payload), Item::Bytes(signature)] = parts.as_slice()
    else {
        return Err(BadEnvelope::NotSign1);
    };
    let Item::Map(protected) = read("the protected header", written)? else {
        return Err(BadEnvelope::Header { name: "protected", expected: "a map" });
    };
    // RFC 9052, section 3.
    if let Some(label) = unprotected.labels().find(|label| protected.get(*label).is_some()) {
        return Err(BadEnvelope::TwoHeaders(short(&label.to_string())));
    }
    let algorithm = algorithm(&protected)?;
    check_content_type(&protected)?;
    let Claims { scheme, signing_time, expiry, demand } = Claims::read(&protected)?;
    Ok(Envelope {
        algorithm,
        chain: chain(&protected, unprotected, known)?,
        signed: signed(written, payload),
        signature: (*signature).to_owned(),
        payload: (*payload).to_owned(),
        scheme,
        signing_time,
        expiry,
        demand,
        timestamp: timestamp(unprotected)?,
    })
}

fn read<'a>(part: &'static str, bytes: &'a [u8]) -> Result<Item<'a>, BadEnvelope> {
    cbor::read(bytes).map_err(|cause| BadEnvelope::Cbor { part, cause })
}

/// What the signature covers (RFC 9052, section 4.4): the protected header's bytes as they came.
fn signed(protected: &[u8], payload: &[u8]) -> Vec<u8> {
    let string = |bytes: &[u8]| [head(2, bytes.len()), bytes.to_vec()].concat();
    let context = "Signature1";
    let empty: &[u8] = &[];
    [
        head(4, 4),
        [head(3, context.len()), context.as_bytes().to_vec()].concat(),
        string(protected),
        string(empty),
        string(payload),
    ]
    .concat()
}

/// The first bytes of an item of a major type, in the shortest form (RFC 8949, section 4.2.1).
fn head(major: u8, argument: usize) -> Vec<u8> {
    let first = |info: u8| major << 5 | info;
    match u8::try_from(argument) {
        Ok(byte @ 0..24) => vec![first(byte)],
        Ok(byte) => vec![first(24), byte],
        Err(_) => match (u16::try_from(argument), u32::try_from(argument)) {
            (Ok(number), _) => [&[first(25)], number.to_be_bytes().as_slice()].concat(),
            (_, Ok(number)) => [&[first(26)], number.to_be_bytes().as_slice()].concat(),
            _ => [&[first(27)], argument.to_be_bytes().as_slice()].concat(),
        },
    }
}

/// "Supported `alg` header values".
fn algorithm(protected: &Map<'_>) -> Result<Algorithm, BadEnvelope> {
    match protected.get(ALGORITHM).ok_or(BadEnvelope::Missing("alg"))? {
        Item::Integer(number) => ALGORITHMS
            .iter()
            .find(|(known, _)| known == number)
            .map(|(_, algorithm)| *algorithm)
            .ok_or_else(|| unexpected("alg", &number.to_string(), "-37, -38, -39, -7, -35 or -36")),
        _ => Err(BadEnvelope::Header { name: "alg", expected: "an integer" }),
    }
}

fn check_content_type(protected: &Map<'_>) -> Result<(), BadEnvelope> {
    match protected.get(CONTENT_TYPE).ok_or(BadEnvelope::Missing("content type"))? {
        Item::Text(text) => claims::check_content_type("content type", text),
        _ => Err(BadEnvelope::Header { name: "content type", expected: "text" }),
    }
}

/// The certificates in `x5chain`, which may be protected too ("Unprotected Headers").
fn chain(protected: &Map<'_>, unprotected: &Map<'_>, known: &[Certificate]) -> Result<Vec<Certificate>, BadEnvelope> {
    let malformed = || BadEnvelope::Header { name: "x5chain", expected: CHAIN_EXPECTED };
    let given = unprotected.get(CHAIN).or(protected.get(CHAIN)).ok_or(BadEnvelope::Missing("x5chain"))?;
    let Item::List(given) = given else { return Err(malformed()) };
    claims::chain("x5chain", given, known, |item| match item {
        Item::Bytes(der) => Ok(Cow::Borrowed(*der)),
        _ => Err(malformed()),
    })
}

fn timestamp(unprotected: &Map<'_>) -> Result<Option<Vec<u8>>, BadEnvelope> {
    match unprotected.get(Label::Text(TIMESTAMP)) {
        None => Ok(None),
        Some(Item::Bytes(token)) => Ok(Some((*token).to_owned())),
        Some(_) => Err(BadEnvelope::Header { name: TIMESTAMP, expected: "bytes" }),
    }
}

impl Protected for Map<'_> {
    fn critical(&self) -> Result<Vec<&str>, BadEnvelope> {
        let malformed = || BadEnvelope::Header { name: "crit", expected: CRITICAL_EXPECTED };
        let Item::List(labels) = self.get(CRITICAL).ok_or(BadEnvelope::Missing("crit"))? else {
            return Err(malformed());
        };
        if labels.is_empty() {
            return Err(malformed());
        }
        let mut names = Vec::new();
        for label in labels {
            match label {
                Item::Text(name) => names.push(*name),
                // The only number that is known and may stand here ("MUST only contain parameters apart from integer
                // labels in the range of 0 to 8").
                Item::Integer(number) if Label::Integer(*number) == CHAIN => {
                    self.get(CHAIN).ok_or_else(|| BadEnvelope::AbsentCritical("x5chain".to_owned()))?;
                }
                Item::Integer(number) => return Err(BadEnvelope::UnknownCritical(number.to_string())),
                _ => return Err(malformed()),
            }
        }
        Ok(names)
    }

    fn text(&self, name: &'static str) -> Result<Option<&str>, BadEnvelope> {
        match self.get(Label::Text(name)) {
            None => Ok(None),
            Some(Item::Text(text)) => Ok(Some(text)),
            Some(_) => Err(BadEnvelope::Header { name, expected: "text" }),
        }
    }

    /// Seconds since 1970 under tag 1 (RFC 8949, section 3.4.2). Fractions "SHOULD NOT be used", so they may.
    fn time(&self, name: &'static str) -> Result<Option<SystemTime>, BadEnvelope> {
        let malformed = || BadEnvelope::Header { name, expected: "a time in seconds since 1970 under tag 1" };
        let Some(item) = self.get(Label::Text(name)) else { return Ok(None) };
        let Item::Tagged(1, seconds) = item else { return Err(malformed()) };
        let (is_early, since) = match **seconds {
            Item::Integer(seconds) => (seconds < 0, Some(Duration::from_secs(seconds.unsigned_abs()))),
            Item::Float(seconds) => (seconds < 0.0, Duration::try_from_secs_f64(seconds.abs()).ok()),
            _ => (false, None),
        };
        let since = since.filter(|since| *since < YEAR_10000).ok_or_else(malformed)?;
        let at = if is_early { UNIX_EPOCH.checked_sub(since) } else { UNIX_EPOCH.checked_add(since) };
        at.map(Some).ok_or_else(malformed)
    }

    fn attribute(&self, name: &str) -> Result<Option<Value>, BadEnvelope> {
        let foreign = || BadEnvelope::Attribute(short(name));
        Ok(Some(match self.get(Label::Text(name)) {
            None => return Ok(None),
            Some(Item::Integer(number)) => Value::from(*number),
            Some(Item::Float(number)) => Value::Number(Number::from_f64(*number).ok_or_else(foreign)?),
            Some(Item::Text(text)) => Value::from(*text),
            Some(Item::Bool(bool)) => Value::from(*bool),
            Some(Item::Null) => Value::Null,
            Some(Item::Bytes(_) | Item::List(_) | Item::Map(_) | Item::Tagged(..) | Item::Simple(_)) => {
                return Err(foreign());
            }
        }))
    }
}

/// How a COSE_Sign1_Tagged begins: tag 18 and a list of four, in the one form that notation takes.
const SIGN1_TAGGED: [u8; 2] = [0xd2, 0x84];

// RFC 9052, section 3.1, and RFC 9360, section 2.
const ALGORITHM: Label<'static> = Label::Integer(1);
const CRITICAL: Label<'static> = Label::Integer(2);
const CONTENT_TYPE: Label<'static> = Label::Integer(3);
const CHAIN: Label<'static> = Label::Integer(33);

/// "Mapping of the Notary Project signature approved algorithms to COSE `alg` header parameter values".
const ALGORITHMS: [(i64, Algorithm); 6] = [
    (-37, Algorithm::Ps256),
    (-38, Algorithm::Ps384),
    (-39, Algorithm::Ps512),
    (-7, Algorithm::Es256),
    (-35, Algorithm::Es384),
    (-36, Algorithm::Es512),
];

/// From here on a year has more than four digits, and JWS could not write it.
const YEAR_10000: Duration = Duration::from_secs(253_402_300_800);

#[cfg(test)]
mod tests {
    use super::super::testing::cbor::{bytes, head, int, list, map, tag, text, time};
    use super::super::testing::{Cose, subject, trust};
    use super::super::verify_envelope;
    use crate::limits;
    use crate::pki::testing::{chain, now};
    use crate::report::{Outcome, Stage};
    use proptest::prelude::*;

    const SIGNING: &str = "io.cncf.notary.signingTime";
    const EXPIRY: &str = "io.cncf.notary.expiry";

    fn judge(envelope: &[u8]) -> Outcome {
        verify_envelope("application/cose", envelope, &subject(), &trust(), now())
    }

    #[track_caller]
    fn passes(draft: &Cose) {
        let outcome = judge(&draft.sign());
        assert!(matches!(outcome, Outcome::Passed(_)), "{outcome:?}");
    }

    #[track_caller]
    fn refused(envelope: &[u8], stage: Stage, expected: &str) {
        match judge(envelope) {
            Outcome::Failed(failure) => {
                assert!(failure.stage == stage && failure.cause.contains(expected), "{expected:?}: {failure:?}");
            }
            other => panic!("{expected:?}: {other:?}"),
        }
    }

    #[test]
    fn what_does_not_change_the_meaning_is_passed_over() {
        let agent = text("io.cncf.notary.signingAgent");
        for draft in [
            Cose::new(),
            Cose::new().set(text("com.example.x"), list(&[int(1), tag(5, &map(&[(int(1), bytes(b"x"))]))])),
            Cose::new().set(int(16), text("application/x")),
            Cose::new().unprotected(text("com.example.x"), vec![0xf7]),
            Cose::new().unprotected(agent.clone(), None),
            Cose::new().unprotected(agent, list(&[])),
            Cose::new().unprotected(text("io.cncf.notary.timestampSignature"), bytes(b"x")),
        ] {
            passes(&draft);
        }
        // Longer than it must be written: what is signed has the shortest form of its length (RFC 9052, section 9).
        let draft = Cose::new();
        let [protected, unprotected] = draft.headers();
        let [_, unprotected, payload, signature] = draft.parts(&protected, &unprotected);
        let length = u16::try_from(protected.len()).unwrap().to_be_bytes();
        let long = [&[0x5a, 0, 0], length.as_slice(), &protected].concat();
        let outcome = judge(&[vec![0xd2, 0x84], long, unprotected, payload, signature].concat());
        assert!(matches!(outcome, Outcome::Passed(_)), "{outcome:?}");
    }

    #[test]
    fn the_envelope_is_a_tagged_list_of_four() {
        let draft = Cose::new();
        let [protected, unprotected] = draft.headers();
        let parts = draft.parts(&protected, &unprotected);
        let envelope = |tag: u64, parts: &[Vec<u8>]| [head(6, tag), list(parts)].concat();
        assert!(matches!(judge(&envelope(18, &parts)), Outcome::Passed(_)));
        let no_sign1 = "is no COSE_Sign1_Tagged";
        let with = |index: usize, part: Vec<u8>| {
            let mut parts = parts.to_vec();
            parts[index] = part;
            envelope(18, &parts)
        };
        for (bytes, expected) in [
            (Vec::new(), no_sign1),
            (list(&parts), no_sign1),
            (envelope(17, &parts), no_sign1),
            (envelope(98, &parts), no_sign1),
            (tag(18, &envelope(18, &parts)), no_sign1),
            (tag(55799, &envelope(18, &parts)), no_sign1),
            (envelope(18, &parts[..3]), no_sign1),
            (envelope(18, &[&parts[..], &[int(0)]].concat()), no_sign1),
            // Longer than it must be written, which notation does not take.
            ([vec![0xd8, 18], list(&parts)].concat(), no_sign1),
            ([vec![0xd2, 0x98, 4], parts.concat()].concat(), no_sign1),
            ([vec![0xd2, 0x9f], parts.concat(), vec![0xff]].concat(), no_sign1),
            (with(0, map(&[])), no_sign1),
            (with(1, bytes(&unprotected)), no_sign1),
            (with(2, text("{}")), no_sign1),
            // A detached payload.
            (with(2, vec![0xf6]), no_sign1),
            (with(3, text("")), no_sign1),
            (with(3, vec![0xf6]), no_sign1),
            (with(3, tag(2, &bytes(b"x"))), no_sign1),
            (with(0, bytes(b"")), "the protected header of the signature envelope cannot be read: it ends too early"),
            (with(0, bytes(&list(&[]))), "header protected of the signature envelope must be a map"),
            (with(0, bytes(&[protected.clone(), vec![0]].concat())), "1 bytes follow after its end"),
            (
                [envelope(18, &parts), vec![0]].concat(),
                "the CBOR of the signature envelope cannot be read: 1 bytes follow",
            ),
            (envelope(18, &parts)[..500].to_vec(), "it ends too early"),
        ] {
            refused(&bytes, Stage::Form, expected);
        }
        refused(&with(3, bytes(b"")), Stage::Integrity, "does not fit its content");
        refused(&with(2, bytes(b"")), Stage::Integrity, "does not fit its content");
        refused(&with(0, bytes(&draft.clone().set(text("x"), int(1)).headers()[0])), Stage::Integrity, "does not fit");
    }

    #[test]
    fn an_indefinite_length_and_a_label_given_twice_are_refused_in_both_headers() {
        let draft = Cose::new();
        let [protected, unprotected] = draft.headers();
        let open = |map: &[u8]| [&[0xbf], &map[1..], &[0xff]].concat();
        let more = |map: &[u8], pair: &[u8]| [&[map[0] + 1], &map[1..], pair].concat();
        for (protected, unprotected, expected) in [
            (
                open(&protected),
                unprotected.clone(),
                "protected header of the signature envelope cannot be read: it has an item of indefinite",
            ),
            (
                protected.clone(),
                open(&unprotected),
                "the CBOR of the signature envelope cannot be read: it has an item of indefinite",
            ),
            (more(&protected, &[int(1), int(-7)].concat()), unprotected.clone(), "label \"1\" is given twice"),
            (more(&protected, &[vec![0x18, 1], int(-7)].concat()), unprotected.clone(), "label \"1\" is given twice"),
            (more(&protected, &[text(SIGNING), int(0)].concat()), unprotected.clone(), "signingTime\" is given twice"),
            (protected.clone(), more(&unprotected, &[int(33), list(&[])].concat()), "label \"33\" is given twice"),
            (more(&protected, &[bytes(b"x"), int(0)].concat()), unprotected.clone(), "neither an integer nor text"),
            (protected.clone(), more(&unprotected, &[vec![0xf6], int(0)].concat()), "neither an integer nor text"),
        ] {
            refused(&draft.sign_with(&protected, &unprotected), Stage::Form, expected);
        }
    }

    #[test]
    fn a_header_stands_in_one_place() {
        for (label, shown) in [(int(1), "1"), (int(2), "2"), (int(3), "3"), (text(SIGNING), SIGNING)] {
            let draft = Cose::new().unprotected(label, int(-7));
            refused(&draft.sign(), Stage::Form, &format!("header {shown:?} is given twice, protected and unprotected"));
        }
        let certificates = Cose::new().header(&int(33));
        let both = Cose::new().set(int(33), certificates);
        refused(&both.sign(), Stage::Form, "header \"33\" is given twice, protected and unprotected");
    }

    #[test]
    fn the_chain_may_be_protected_and_critical_instead() {
        let certificates = Cose::new().header(&int(33));
        let draft = Cose::new().unprotected(int(33), None).set(int(33), certificates);
        passes(&draft);
        passes(&draft.critical(&[int(33)]));
        refused(
            &Cose::new().critical(&[int(33)]).sign(),
            Stage::Form,
            "\"x5chain\" is marked critical, but is not given",
        );
    }

    #[test]
    fn protected_headers() {
        let draft = Cose::new;
        let crit = "header crit of the signature envelope must be a list of header names, at least one";
        let content = "header content type of the signature envelope";
        for (draft, expected) in [
            (draft().set(int(1), None), "header alg is missing"),
            (draft().set(int(1), text("ES256")), "header alg of the signature envelope must be an integer"),
            (draft().set(int(1), int(-8)), "header alg of the signature envelope is \"-8\", expected -37"),
            (draft().set(int(1), int(5)), "header alg of the signature envelope is \"5\""),
            (draft().set(int(1), int(7)), "header alg of the signature envelope is \"7\""),
            (draft().set(int(1), int(-257)), "header alg of the signature envelope is \"-257\""),
            (draft().set(int(1), tag(1, &int(-7))), "header alg of the signature envelope must be an integer"),
            (draft().set(int(3), None), "header content type is missing"),
            (draft().set(int(3), int(50)), "header content type of the signature envelope must be text"),
            (draft().set(int(3), text("application/json")), content),
            (draft().set(int(3), text("application/vnd.cncf.notary.payload.v1+json ")), content),
            (draft().set(text("io.cncf.notary.signingScheme"), bytes(b"notary.x509")), "must be text"),
            (draft().set(text("io.cncf.notary.verificationPlugin"), int(1)), "must be text"),
            (draft().set(int(2), None), "header crit is missing"),
            (draft().set(int(2), list(&[])), crit),
            (draft().set(int(2), text("io.cncf.notary.signingScheme")), crit),
            (draft().critical(&[bytes(b"x")]), crit),
            (draft().critical(&[int(1)]), "header \"1\" is marked critical, and this verifier does not know it"),
            (draft().critical(&[int(3)]), "header \"3\" is marked critical, and this verifier does not know it"),
            (draft().set(int(99), int(0)).critical(&[int(99)]), "header \"99\" is marked critical, and this verifier"),
            (
                draft().set(text("x"), int(0)).critical(&[text("x")]),
                "header \"x\" is marked critical, and this verifier",
            ),
        ] {
            refused(&draft.sign(), Stage::Form, expected);
        }
        // A plugin is given names alone.
        let plugin = text("io.cncf.notary.verificationPlugin");
        let draft = draft().set(plugin.clone(), text("p")).set(int(99), int(0)).critical(&[plugin.clone(), int(99)]);
        refused(&draft.sign(), Stage::Form, "header \"99\" is marked critical");
        for value in
            [bytes(b"x"), list(&[]), map(&[]), tag(1, &int(0)), vec![0xf7], vec![0xf9, 0x7e, 0], vec![0xf9, 0x7c, 0]]
        {
            let draft =
                Cose::new().set(plugin.clone(), text("p")).set(text("x"), value).critical(&[plugin.clone(), text("x")]);
            refused(&draft.sign(), Stage::Form, "critical header \"x\" must be text, a number, true, false or null");
        }
    }

    #[test]
    fn a_time_is_a_number_of_seconds_under_tag_1() {
        let malformed = "must be a time in seconds since 1970 under tag 1";
        let float = |number: f64| [vec![0xfb], number.to_be_bytes().to_vec()].concat();
        let signed_at = |item: Vec<u8>| Cose::new().set(text(SIGNING), item);
        let last = 253_402_300_799;
        for good in [
            time("2027-01-10T08:00:00Z"),
            tag(1, &int(0)),
            tag(1, &int(-1)),
            tag(1, &int(last)),
            tag(1, &int(-last)),
            tag(1, &float(1.5)),
            tag(1, &float(-0.0)),
            tag(1, &float(-1.5)),
            tag(1, &[0xfa, 0x4e, 0xd6, 0x93, 0xa4]),
            tag(1, &[0xf9, 0x7b, 0xff]),
        ] {
            passes(&signed_at(good));
        }
        for bad in [
            int(1_800_000_000),
            text("2027-01-10T08:00:00Z"),
            tag(0, &text("2027-01-10T08:00:00Z")),
            tag(2, &int(1_800_000_000)),
            tag(1, &tag(1, &int(0))),
            tag(1, &text("0")),
            tag(1, &[0xf6]),
            tag(1, &int(last + 1)),
            tag(1, &int(-last - 1)),
            tag(1, &int(i64::MAX)),
            tag(1, &int(i64::MIN)),
            tag(1, &float(f64::NAN)),
            tag(1, &float(f64::INFINITY)),
            tag(1, &float(f64::NEG_INFINITY)),
            tag(1, &float(253_402_300_800.0)),
            tag(1, &float(1e300)),
        ] {
            refused(&signed_at(bad.clone()).sign(), Stage::Form, malformed);
            let expiring = Cose::new().set(text(EXPIRY), bad).critical(&[text(EXPIRY)]);
            refused(&expiring.sign(), Stage::Form, malformed);
        }
        // The fraction counts: half a second after the signing time, and at it.
        let expiring = |seconds: f64| {
            signed_at(tag(1, &float(1_900_000_000.25)))
                .set(text(EXPIRY), tag(1, &float(seconds)))
                .critical(&[text(EXPIRY)])
        };
        passes(&expiring(1_900_000_000.5));
        refused(&expiring(1_900_000_000.25).sign(), Stage::Form, "which is not after its signing time");
    }

    #[test]
    fn the_certificate_chain_of_the_envelope() {
        let chain: Vec<Vec<u8>> = chain().iter().map(|certificate| bytes(certificate.der())).collect();
        let with = |item: Option<Vec<u8>>| Cose::new().unprotected(int(33), item).sign();
        let malformed = "header x5chain of the signature envelope must be a list of certificates, at least one";
        refused(&with(None), Stage::Form, "header x5chain is missing");
        refused(&with(Some(list(&[]))), Stage::Form, malformed);
        // RFC 9360 allows this for one certificate, the specification does not.
        refused(&with(Some(chain[0].clone())), Stage::Form, malformed);
        refused(&with(Some(list(&[text("x")]))), Stage::Form, malformed);
        refused(&with(Some(list(&[bytes(b"0\0")]))), Stage::Form, "certificate 1 of the signature envelope");
        refused(&with(Some(list(&chain[..2]))), Stage::Integrity, "the root certificate is missing");
        refused(&with(Some(list(&[&chain[2..], &chain[..2]].concat()))), Stage::Integrity, "does not fit its content");
        let many = |length: usize| with(Some(list(&vec![chain[0].clone(); length])));
        refused(&many(limits::CHAIN_CERTIFICATES), Stage::Integrity, "but the next certificate in the chain is");
        refused(&many(limits::CHAIN_CERTIFICATES + 1), Stage::Form, "has 17 certificates, the limit is 16");
    }

    #[test]
    fn a_timestamp_is_bytes() {
        for other in [text("AQID"), list(&[]), vec![0xf6]] {
            let draft = Cose::new().unprotected(text("io.cncf.notary.timestampSignature"), other);
            refused(
                &draft.sign(),
                Stage::Form,
                "header io.cncf.notary.timestampSignature of the signature envelope must be bytes",
            );
        }
    }

    #[test]
    fn size_at_the_limit_and_one_past_it() {
        let limit = usize::try_from(limits::ENVELOPE_BYTES).unwrap();
        let of = |filling: usize| Cose::new().unprotected(text("x"), bytes(&vec![0; filling])).sign();
        let filling = limit - of(100_000).len() + 100_000;
        assert_eq!(of(filling).len(), limit);
        assert!(matches!(judge(&of(filling)), Outcome::Passed(_)));
        refused(&of(filling + 1), Stage::Form, "has 1048577 bytes, the limit is 1048576");
    }

    #[test]
    fn no_byte_of_an_envelope_can_be_changed_but_the_unsigned_ones() {
        let envelope = Cose::new().sign();
        assert!(matches!(judge(&envelope), Outcome::Passed(_)));
        let agent = [text("io.cncf.notary.signingAgent"), text("notation-go/1.3.2")].concat();
        let unsigned = envelope.windows(agent.len()).position(|window| window == agent).unwrap();
        let unsigned = unsigned..unsigned + agent.len();
        for index in 0..envelope.len() {
            for bits in 1..=u8::MAX {
                if index % 7 != 0 && ![0x01, 0x20, 0x80].contains(&bits) {
                    continue;
                }
                let mut changed = envelope.clone();
                changed[index] ^= bits;
                if matches!(judge(&changed), Outcome::Passed(_)) {
                    assert!(unsigned.contains(&index), "byte {index}, bits {bits:02x}");
                }
            }
        }
        for length in 0..envelope.len() {
            assert!(matches!(judge(&envelope[..length]), Outcome::Failed(_)), "cut to {length}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_never_a_signature(content in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(matches!(judge(&content), Outcome::Failed(_)));
            prop_assert!(matches!(judge(&[&[0xd2, 0x84], content.as_slice()].concat()), Outcome::Failed(_)));
        }

        #[test]
        fn a_mutated_envelope_never_panics(edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..5)) {
            let mut bytes = Cose::new().sign();
            for (index, byte, kind) in edits {
                let index = index.index(bytes.len());
                match kind {
                    0 => bytes[index] = byte,
                    1 => bytes.insert(index, byte),
                    _ => drop(bytes.remove(index)),
                }
            }
            let _ = judge(&bytes);
        }

        #[test]
        fn a_mutated_header_that_is_signed_never_panics(index in any::<prop::sample::Index>(), byte in any::<u8>(), is_protected in any::<bool>()) {
            let draft = Cose::new();
            let mut headers = draft.headers();
            let header = &mut headers[usize::from(!is_protected)];
            let index = index.index(header.len());
            header[index] = byte;
            let _ = judge(&draft.sign_with(&headers[0], &headers[1]));
        }
    }
}
