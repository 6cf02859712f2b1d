//! Public keys as a key vault writes them, JSON Web Keys (RFC 7517; RFC 7518, section 6), as SubjectPublicKeyInfo. Called by
//! the reader of a vault. Says nothing of whether such a key is taken.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

/// A key as written. Those in hardware have a type of their own.
#[derive(Deserialize)]
pub(super) struct Jwk {
    kty: String,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
}

impl Jwk {
    /// The key in DER (RFC 5280, section 4.1.2.7).
    pub(super) fn to_der(&self) -> Result<Vec<u8>, String> {
        match self.kty.as_str() {
            "EC" | "EC-HSM" => self.curve(),
            "RSA" | "RSA-HSM" => self.rsa(),
            other => Err(format!("it is of type {other:?}; taken are EC and RSA")),
        }
    }

    /// RFC 5480, section 2.
    fn curve(&self) -> Result<Vec<u8>, String> {
        let (oid, length) = match self.crv.as_deref() {
            Some("P-256") => (P256, 32),
            Some("P-384") => (P384, 48),
            Some("P-521") => (P521, 66),
            other => {
                return Err(format!("its curve is {:?}; taken are P-256, P-384 and P-521", other.unwrap_or_default()));
            }
        };
        let [x, y] = [("x", &self.x), ("y", &self.y)].map(|(name, part)| bytes(name, part.as_deref()));
        let (x, y) = (x?, y?);
        if x.len() != length || y.len() != length {
            return Err(format!("its coordinates have {} and {} bytes instead of {length}", x.len(), y.len()));
        }
        let point = [&[0, UNCOMPRESSED], x.as_slice(), y.as_slice()].concat();
        let algorithm = [EC_PUBLIC_KEY, oid].concat();
        Ok(value(SEQUENCE, &[value(SEQUENCE, &algorithm), value(BIT_STRING, &point)].concat()))
    }

    /// RFC 8017, appendix A.1.1, and RFC 3279, section 2.3.1.
    fn rsa(&self) -> Result<Vec<u8>, String> {
        let [n, e] = [("n", &self.n), ("e", &self.e)].map(|(name, part)| bytes(name, part.as_deref()));
        let key = value(SEQUENCE, &[unsigned(&n?), unsigned(&e?)].concat());
        let bits = [&[0], key.as_slice()].concat();
        Ok(value(SEQUENCE, &[value(SEQUENCE, RSA_ENCRYPTION), value(BIT_STRING, &bits)].concat()))
    }
}

fn bytes(name: &str, part: Option<&str>) -> Result<Vec<u8>, String> {
    let part = part.ok_or_else(|| format!("its {name} is missing"))?;
    URL_SAFE_NO_PAD.decode(part.trim_end_matches('=')).map_err(|error| format!("its {name} is not base64: {error}"))
}

/// A positive INTEGER.
fn unsigned(bytes: &[u8]) -> Vec<u8> {
    let first = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    let digits = bytes.get(first..).unwrap_or_default();
    let sign: &[u8] = if digits.first().is_none_or(|byte| *byte >= 0x80) { &[0] } else { &[] };
    value(INTEGER, &[sign, digits].concat())
}

/// A value in DER: tag, length, content.
fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let digits =
        length.iter().position(|byte| *byte != 0).map_or(&[][..], |first| length.get(first..).unwrap_or_default());
    let mut der = vec![tag];
    match (digits, u8::try_from(digits.len())) {
        ([], _) => der.push(0),
        ([short], _) if *short < 0x80 => der.push(*short),
        (long, count) => {
            der.push(0x80 | count.unwrap_or_default());
            der.extend_from_slice(long);
        }
    }
    der.extend_from_slice(content);
    der
}

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
/// How a point begins whose coordinates are both there (SEC 1, section 2.3.3).
const UNCOMPRESSED: u8 = 0x04;

/// Object identifiers in DER: id-ecPublicKey and the curves, and rsaEncryption with its NULL.
const EC_PUBLIC_KEY: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
const P521: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23];
const RSA_ENCRYPTION: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::testing::{Key, Kind, LEAF, Template};
    use serde_json::json;

    fn jwk(value: serde_json::Value) -> Result<Vec<u8>, String> {
        serde_json::from_value::<Jwk>(value).unwrap().to_der()
    }

    fn spki(kind: Kind) -> Vec<u8> {
        let key = Key::get(kind, 0);
        Template::leaf(LEAF, LEAF).sign(key, key).key_der().to_vec()
    }

    #[test]
    fn a_key_of_a_vault_is_the_key_that_a_certificate_has() {
        for (kind, curve, length) in [(Kind::P256, "P-256", 32), (Kind::P384, "P-384", 48), (Kind::P521, "P-521", 66)] {
            let der = spki(kind);
            let (x, y) = der[der.len() - 2 * length..].split_at(length);
            let [x, y] = [x, y].map(|part| URL_SAFE_NO_PAD.encode(part));
            for kty in ["EC", "EC-HSM"] {
                assert_eq!(jwk(json!({ "kty": kty, "crv": curve, "x": x, "y": y, "kid": "k" })), Ok(der.clone()));
            }
        }
        let der = spki(Kind::Rsa2048);
        // A modulus of 2048 bits, then the exponent 65537.
        let at = der.len() - 5 - 256;
        let (n, e) = (URL_SAFE_NO_PAD.encode(&der[at..at + 256]), URL_SAFE_NO_PAD.encode([1, 0, 1]));
        assert_eq!(jwk(json!({ "kty": "RSA-HSM", "n": n, "e": e })), Ok(der));
    }

    #[test]
    fn what_is_no_key_that_can_be_written_is_refused_by_name() {
        for (value, cause) in [
            (json!({ "kty": "oct" }), "it is of type \"oct\""),
            (json!({ "kty": "EC", "crv": "P-256K", "x": "AA", "y": "AA" }), "its curve is \"P-256K\""),
            (json!({ "kty": "EC", "crv": "P-256", "x": "AA", "y": "AA" }), "1 and 1 bytes instead of 32"),
            (json!({ "kty": "EC", "crv": "P-256", "x": "AA" }), "its y is missing"),
            (json!({ "kty": "RSA", "n": "!", "e": "AQAB" }), "its n is not base64"),
        ] {
            let found = jwk(value.clone()).unwrap_err();
            assert!(found.contains(cause), "{value}: {found}");
        }
    }
}
