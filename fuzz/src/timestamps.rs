//! Timestamp tokens: none passes but by an authority that is trusted and over the bytes that it stamped, and what passes
//! says what was signed.

use std::sync::OnceLock;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use ratify::limits;
use ratify::pki::timestamp::{BadTimestamp, Timestamp, verify};
use ratify::pki::{Certificate, anchors_from_pem};

use super::made::{COMMON_NAME, Draft, ECDSA_WITH_SHA256, OF_CA, OF_TSA, SEQUENCE, SET, element, name, sign_der};
use super::{assert_one_line, parts};

/// A token against the roots of real ones: none but those passes, down to each signed byte.
pub fn timestamp(data: &[u8]) -> bool {
    const STAMPED: &[u8] = include_bytes!("../../tests/fixtures/timestamp/stamped");
    const TOKENS: [&[u8]; 3] = [
        include_bytes!("../../tests/fixtures/timestamp/rsa-2048.tst"),
        include_bytes!("../../tests/fixtures/timestamp/p-256.tst"),
        include_bytes!("../../tests/fixtures/timestamp/baseline.tst"),
    ];
    const ROOTS: [&[u8]; 2] = [
        include_bytes!("../../tests/fixtures/timestamp/rsa-2048.pem"),
        include_bytes!("../../tests/fixtures/timestamp/p-256.pem"),
    ];
    static REAL: OnceLock<(Vec<Certificate>, Vec<Timestamp>)> = OnceLock::new();
    let (anchors, real) = REAL.get_or_init(|| {
        let anchors: Vec<_> = ROOTS.into_iter().flat_map(|root| anchors_from_pem(root).unwrap()).collect();
        let real = TOKENS.map(|token| verify(token, STAMPED, &anchors).unwrap()).to_vec();
        (anchors, real)
    });
    let Some(found) = told(verify(data, STAMPED, anchors)) else { return false };
    assert!(real.contains(&found), "{found:?}");
    assert_eq!(verify(data, b"something else", anchors), Err(BadTimestamp::Imprint));
    assert!(verify(data, STAMPED, &[]).is_err());
    true
}

/// What a token says (TSTInfo), one more signed attribute, and what stands behind the signature, all in DER. All
/// signatures are true, so that what is behind them is reached. What is stamped is the word "stamped".
pub fn stamp(data: &[u8]) -> bool {
    let parts = parts(data);
    let part = |index: usize| parts.get(index).copied().unwrap_or_default();
    let token = token(part(0), part(1), part(2));
    let anchors = std::slice::from_ref(&authority()[1]);
    let Some(found) = told(verify(&token, b"stamped", anchors)) else { return false };
    assert!(token.len() <= limits::TIMESTAMP_BYTES);
    assert_eq!(&found.chain, authority());
    let range = found.latest.duration_since(found.earliest).unwrap();
    assert!(range <= 2 * Duration::from_secs(1 << 31), "{range:?}");
    let hash = digest(&SHA256, b"stamped");
    // Hash functions other than SHA-256 are taken too.
    assert!(part(0).len() > 90 || part(0).windows(32).any(|bytes| bytes == hash.as_ref()));
    assert_eq!(verify(&token, b"something else", anchors), Err(BadTimestamp::Imprint));
    true
}

fn told(found: Result<Timestamp, BadTimestamp>) -> Option<Timestamp> {
    found.inspect_err(|error| assert_one_line(&error.to_string())).ok()
}

/// An authority and its root, both of the key that everybody has.
fn authority() -> &'static Vec<Certificate> {
    static AUTHORITY: OnceLock<Vec<Certificate>> = OnceLock::new();
    AUTHORITY.get_or_init(|| {
        let [leaf, root] = names();
        [Draft::known(&leaf, &root, OF_TSA), Draft::known(&root, &root, OF_CA)]
            .map(|draft| Certificate::from_der(&draft.sign()).unwrap())
            .to_vec()
    })
}

fn names() -> [Vec<u8>; 2] {
    [&b"stamps"[..], b"root"].map(|text| name(&[(COMMON_NAME, text)]))
}

/// RFC 5652, section 5.
fn token(info: &[u8], attribute: &[u8], unsigned: &[u8]) -> Vec<u8> {
    let of = |oid: &[u8], value: &[u8]| element(SEQUENCE, &[&element(OID, &[oid]), &element(SET, &[value])]);
    let certificate = authority()[0].der();
    let named = element(SEQUENCE, &[&element(OCTETS, &[digest(&SHA256, certificate).as_ref()])]);
    let mut attributes = [
        of(CONTENT_TYPE, &element(OID, &[TST_INFO])),
        of(MESSAGE_DIGEST, &element(OCTETS, &[digest(&SHA256, info).as_ref()])),
        of(SIGNING_CERTIFICATE_V2, &element(SEQUENCE, &[&element(SEQUENCE, &[&named])])),
        attribute.to_vec(),
    ];
    attributes.sort();
    let attributes = attributes.concat();
    let sha256 = element(SEQUENCE, &[&element(OID, &[ID_SHA256])]);
    let [_, issuer] = names();
    let signer = element(
        SEQUENCE,
        &[
            &[2, 1, 1],
            &element(SEQUENCE, &[&issuer, &[2, 1, 1]]),
            &sha256,
            &element(0xa0, &[&attributes]),
            &ECDSA_WITH_SHA256,
            &element(OCTETS, &[&sign_der(&element(SET, &[&attributes]))]),
            unsigned,
        ],
    );
    let content = element(SEQUENCE, &[&element(OID, &[TST_INFO]), &element(0xa0, &[&element(OCTETS, &[info])])]);
    let certificates = element(0xa0, &[certificate]);
    let data = [&[2, 1, 3], &element(SET, &[&sha256])[..], &content, &certificates, &element(SET, &[&signer])];
    element(SEQUENCE, &[&element(OID, &[SIGNED_DATA]), &element(0xa0, &[&element(SEQUENCE, &data)])])
}

const OID: u8 = 0x06;
const OCTETS: u8 = 0x04;

const ID_SHA256: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x02\x01";
const SIGNED_DATA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02";
const CONTENT_TYPE: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x03";
const MESSAGE_DIGEST: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x04";
const TST_INFO: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x01\x04";
const SIGNING_CERTIFICATE_V2: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x02\x2f";
