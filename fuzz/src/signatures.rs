//! Certificates, names and signature envelopes: nothing passes but what was signed by whom the trust names, and what
//! passes keeps every rule that can be told from the outside.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ratify::artifact::{Descriptor, IMAGE_MANIFEST};
use ratify::limits;
use ratify::pki::chain::{check_code_signing, check_validity};
use ratify::pki::name::{AttributeType, Value as NameValue, parse as parse_name};
use ratify::pki::{Certificate, KeyKind, anchors_from_pem, parse_rfc3339, rfc3339};
use ratify::report::{Outcome, Pass};
use ratify::verifier::notation::{Trust, verify_envelope};
use serde_json::{Value, json};

use super::made::{COMMON_NAME, Draft, OF_CA, OF_LEAF, known_key, name as made_name, sign_jws};
use super::{assert_one_line, parts, text_of};

const JWS: &str = "application/jose+json";

/// The moment of every verdict here, 2027-01-15T08:00:00Z.
pub(super) const NOW: u64 = 1_800_000_000;

pub(super) fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

/// One certificate in DER: kept byte by byte, described in printable words.
pub fn certificate(data: &[u8]) -> bool {
    let certificate = match Certificate::from_der(data) {
        Ok(certificate) => certificate,
        Err(error) => {
            assert_one_line(&error.to_string());
            return false;
        }
    };
    assert!(certificate.der() == data && data.len() <= limits::CERTIFICATE_BYTES);
    assert!(Certificate::from_der(&[data, &[0]].concat()).is_err());
    for name in [certificate.subject(), certificate.issuer()] {
        let shown = name.to_string();
        assert_one_line(&shown);
        assert!(shown.chars().count() <= 303, "{shown}");
    }
    let _ = (rfc3339(certificate.not_before()), rfc3339(certificate.not_after()));
    assert_eq!(certificate.key_fingerprint().len(), "spki-sha256:".len() + 64);
    let (is_ca, is_self_signed) = (certificate.is_ca(), certificate.is_self_signed());
    let alone = [certificate];
    if check_code_signing(&alone, &[]).inspect_err(|violation| assert_one_line(&violation.to_string())).is_ok() {
        assert!(is_self_signed && !is_ca);
    }
    let _ = check_validity(&alone, now()).inspect_err(|violation| assert_one_line(&violation.to_string()));
    let trust = Trust::new(alone.to_vec(), &["*".to_owned()]);
    assert_eq!(trust.is_ok(), is_ca || is_self_signed);
    true
}

/// A bundle of certificates: all of them or none.
pub fn pem(data: &[u8]) -> bool {
    const BEGIN: &[u8] = b"-----BEGIN ";
    let certificates = match anchors_from_pem(data) {
        Ok(certificates) => certificates,
        Err(error) => {
            assert_one_line(&error.to_string());
            return false;
        }
    };
    let blocks = data.windows(BEGIN.len()).filter(|window| *window == BEGIN).count();
    assert!(blocks == certificates.len() && blocks > 0, "{blocks} blocks, {} certificates", certificates.len());
    let written: String = certificates
        .iter()
        .map(|it| format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(it.der())))
        .collect();
    assert_eq!(anchors_from_pem(written.as_bytes()).as_ref(), Ok(&certificates));
    true
}

/// A chain of certificates, leaf first: each part is a subject, an issuer and extensions in DER, each on a line of its
/// own but the last. All signatures are true, so that the rules behind them are reached.
pub fn chain(data: &[u8]) -> bool {
    let drafts: Vec<_> = parts(data).into_iter().map(|part| part.splitn(3, |byte| *byte == b'\n').collect()).collect();
    let line = |draft: &Vec<&[u8]>, index: usize| draft.get(index).map(|line| line.to_vec()).unwrap_or_default();
    let named = |draft, index| made_name(&[(COMMON_NAME, &line(draft, index))]);
    let made = drafts
        .iter()
        .map(|draft| Certificate::from_der(&Draft::known(&named(draft, 0), &named(draft, 1), &line(draft, 2)).sign()));
    let Ok(chain) = made.collect::<Result<Vec<_>, _>>() else { return false };
    if let Err(violation) = check_code_signing(&chain, &[]) {
        assert_one_line(&violation.to_string());
        return false;
    }
    assert!(chain.len() <= limits::CHAIN_CERTIFICATES);
    let says = |draft: &Vec<&[u8]>, extension: u8| draft[2].windows(3).any(|bytes| bytes == [0x55, 0x1d, extension]);
    let (key_usage, basic_constraints) = (0x0f, 0x13);
    assert!(drafts.iter().all(|draft| says(draft, key_usage)));
    assert!(drafts.iter().skip(1).all(|draft| says(draft, basic_constraints)));
    assert!(!chain[0].is_ca() && chain.iter().skip(1).all(Certificate::is_ca));
    assert!(chain.windows(2).all(|pair| pair[0].issuer() == pair[1].subject() && !pair[0].is_self_signed()));
    assert!(chain.last().is_some_and(Certificate::is_self_signed));
    let backwards: Vec<_> = chain.iter().rev().cloned().collect();
    for wrong in [&chain[1..], &chain[..chain.len() - 1], &backwards] {
        assert!(wrong.len() == chain.len() && chain.len() == 1 || check_code_signing(wrong, &[]).is_err());
    }
    true
}

/// A signature algorithm, a public key and a signature, all in DER, in a certificate that names itself as issuer:
/// a key is of a kind that is taken, and no signature from elsewhere is its own.
pub fn public_key(data: &[u8]) -> bool {
    let parts = parts(data);
    let part = |index: usize| parts.get(index).copied().unwrap_or_default();
    let name = made_name(&[(COMMON_NAME, b"self")]);
    let draft = Draft { algorithm: part(0), key: part(1), ..Draft::known(&name, &name, OF_LEAF) };
    let Ok(certificate) = Certificate::from_der(&draft.signed(part(2))) else { return false };
    assert!(!certificate.is_self_signed());
    assert!(check_code_signing(std::slice::from_ref(&certificate), &[]).is_err());
    match certificate.key() {
        Ok(KeyKind::Rsa { bits }) => assert!((2048..=8192).contains(&bits), "{bits}"),
        Ok(KeyKind::Ec(_)) => {}
        Err(found) => {
            assert_one_line(&found);
            return false;
        }
    }
    true
}

/// A distinguished name as an operator writes it: written by the same rules it is itself.
pub fn name(data: &[u8]) -> bool {
    let text = String::from_utf8_lossy(data);
    let attributes = match parse_name(&text) {
        Ok(attributes) => attributes,
        Err(error) => {
            assert_one_line(&error.to_string());
            return false;
        }
    };
    assert!(attributes.iter().all(|(_, value)| !value.is_empty() && !value.contains('\0')));
    let write = |(kind, value): &(AttributeType, String)| format!("{kind}={}", NameValue::Text(value.clone()));
    let written: Vec<String> = attributes.iter().map(write).collect();
    assert_eq!(parse_name(&written.join(",")).as_ref(), Ok(&attributes), "{written:?}");
    true
}

/// Trusted identities, one on each line: they let the signer of [`ours`] pass exactly when one of them names
/// attributes of that signer alone.
pub fn identity(data: &[u8]) -> bool {
    let lines: Vec<String> = String::from_utf8_lossy(data).split('\n').map(str::to_owned).collect();
    let trust = match Trust::new(ours().anchors.clone(), &lines) {
        Ok(trust) => trust,
        Err(error) => {
            assert!(!error.0.is_empty());
            assert_one_line(&error.to_string());
            return false;
        }
    };
    let outcome = verify_envelope(JWS, &ours().envelope, &subject(), &trust, now());
    let names_it = lines.iter().any(|line| names_signer(line));
    assert_eq!(matches!(outcome, Outcome::Passed(_)), names_it, "{outcome:?}");
    assert_told(&outcome);
    true
}

/// Whether an identity names our signer.
fn names_signer(identity: &str) -> bool {
    let Some(name) = identity.strip_prefix("x509.subject:") else { return identity == "*" };
    let of_signer = |kind: &AttributeType, value: &str| {
        SIGNER.iter().any(|(_, known, text)| *kind == AttributeType::Known(known) && value == *text)
    };
    parse_name(name).unwrap().iter().all(|(kind, value)| of_signer(kind, value))
}

/// A moment as RFC 3339 writes it: written again it is the same second.
pub fn time(data: &[u8]) -> bool {
    let Some(at) = str::from_utf8(data).ok().and_then(parse_rfc3339) else { return false };
    let shown = rfc3339(at);
    let Some(again) = parse_rfc3339(&shown) else {
        // Its year in UTC has not four digits.
        assert!(shown.contains("no calendar"), "{shown}");
        return true;
    };
    let apart = at.duration_since(again).unwrap_or_else(|later| later.duration());
    assert!(apart < Duration::from_secs(1), "{apart:?}");
    true
}

/// A signature envelope against the roots of real ones: none but those passes, down to each signed byte.
pub fn envelope(data: &[u8]) -> bool {
    let [chain, single] = real();
    let mut taken = false;
    for real in [chain, single] {
        let outcome = verify_envelope(JWS, data, &real.subject, &real.trust, now());
        assert_told(&outcome);
        if let Outcome::Passed(pass) = &outcome {
            let found: Value = serde_json::from_slice(data).unwrap();
            for part in ["payload", "protected", "signature"] {
                assert_eq!(found[part], real.envelope[part], "{part}");
            }
            assert_eq!(found["header"]["x5c"], real.envelope["header"]["x5c"]);
            assert!(pass.valid_until.is_some_and(|end| end > NOW));
            taken = true;
        }
    }
    taken
}

/// Says what an outcome says in one printable line.
pub(super) fn assert_told(outcome: &Outcome) {
    let told = match outcome {
        Outcome::Passed(pass) => pass.detail.clone(),
        Outcome::Failed(failure) => failure.cause.clone(),
        Outcome::Skipped { cause } => cause.clone(),
        Outcome::Fault { cause } => cause.to_string(),
    };
    assert_one_line(&told);
    assert!(told.chars().count() <= limits::REASON_BYTES, "{told}");
}

/// An envelope that must pass.
pub(super) struct Real {
    envelope: Value,
    pub(super) subject: Descriptor,
    pub(super) trust: Trust,
}

/// Those of the notation tool.
pub(super) fn real() -> &'static [Real; 2] {
    static REAL: OnceLock<[Real; 2]> = OnceLock::new();
    let read = |envelope: &[u8], anchors: &[u8], identity: &str| Real {
        envelope: serde_json::from_slice(envelope).unwrap(),
        subject: Descriptor::parse(include_bytes!("../../tests/fixtures/notation/subject.json")).unwrap(),
        trust: Trust::new(anchors_from_pem(anchors).unwrap(), &[identity.to_owned()]).unwrap(),
    };
    REAL.get_or_init(|| {
        [
            read(
                include_bytes!("../../tests/fixtures/notation/chain.jws"),
                include_bytes!("../../tests/fixtures/notation/chain.pem"),
                "x509.subject: C=US, ST=WA, O=acme",
            ),
            read(
                include_bytes!("../../tests/fixtures/notation/single.jws"),
                include_bytes!("../../tests/fixtures/notation/single.pem"),
                "*",
            ),
        ]
    })
}

/// A protected header, a payload, an unprotected header and an identity, signed by the signer of [`ours`]. In the
/// unprotected header `"@"` stands for the true chain. What passes is about [`subject`], of a scheme and of headers
/// that are known, not expired, by the identity that was asked for.
pub fn signed(data: &[u8]) -> bool {
    let parts = parts(data);
    let part = |index: usize| parts.get(index).copied().unwrap_or_default();
    let identity = text_of(&parts, 3);
    let trust = Trust::new(ours().anchors.clone(), &[identity.to_owned()]);
    let is_named = trust.is_ok();
    let trust = trust.unwrap_or_else(|_| ours().trust.clone());
    let envelope = seal(part(0), part(1), text_of(&parts, 2));
    let outcome = verify_envelope(JWS, &envelope, &subject(), &trust, now());
    assert_told(&outcome);
    let Outcome::Passed(pass) = outcome else { return false };
    assert!(!is_named || names_signer(identity));
    assert_passes(part(0), part(1), &envelope, &pass);
    true
}

/// Holds the signed parts of an envelope that passed against the rules, by an ordinary reader.
fn assert_passes(protected: &[u8], payload: &[u8], envelope: &[u8], pass: &Pass) {
    let [protected, payload, envelope] =
        [protected, payload, envelope].map(|part| serde_json::from_slice::<Value>(part).unwrap());
    assert_eq!(serde_json::from_value::<Descriptor>(payload["targetArtifact"].clone()).unwrap(), subject());
    assert_eq!(protected["alg"], "ES256");
    assert_eq!(protected["cty"], "application/vnd.cncf.notary.payload.v1+json");
    assert_eq!(protected["io.cncf.notary.signingScheme"], "notary.x509");
    let critical: Vec<&str> = protected["crit"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    let expiry = "io.cncf.notary.expiry";
    assert!(critical.contains(&"io.cncf.notary.signingScheme"));
    assert!(critical.iter().all(|name| protected.get(name).is_some()));
    assert_eq!(critical.len(), 1 + usize::from(protected.get(expiry).is_some()));
    let plugin = "io.cncf.notary.verificationPlugin";
    assert!(["io.cncf.notary.authenticSigningTime", plugin].iter().all(|name| protected.get(name).is_none()));
    if let Some(expiry) = protected.get(expiry) {
        let expiry = parse_rfc3339(expiry.as_str().unwrap()).unwrap();
        let signing = parse_rfc3339(protected["io.cncf.notary.signingTime"].as_str().unwrap()).unwrap();
        assert!(expiry > now() && expiry > signing);
        let end = expiry.duration_since(UNIX_EPOCH).unwrap().as_secs();
        assert!(pass.valid_until.is_some_and(|until| until <= end));
    }
    assert!(pass.valid_until.is_some_and(|until| until >= NOW));
    assert_eq!(pass.signer, Some(ours().anchors[0].key_fingerprint()));
    assert_eq!(envelope["header"]["x5c"], json!(ours().x5c));
}

/// A signer, whom the known key makes: its trust, its chain and an envelope of it.
pub(super) struct Ours {
    pub(super) anchors: Vec<Certificate>,
    pub(super) x5c: Vec<String>,
    trust: Trust,
    envelope: Vec<u8>,
}

/// The subject of our signer: types below 2.5.4, their names, and texts.
const SIGNER: [(u8, &str, &str); 5] =
    [(6, "C", "US"), (8, "ST", "WA"), (10, "O", "acme"), (11, "OU", "a, b\\c"), (COMMON_NAME, "CN", "signer")];

pub(super) fn ours() -> &'static Ours {
    static OURS: OnceLock<Ours> = OnceLock::new();
    OURS.get_or_init(|| {
        let root_name = made_name(&[(COMMON_NAME, b"root")]);
        let leaf_name = made_name(&SIGNER.map(|(kind, _, text)| (kind, text.as_bytes())));
        let leaf = Draft::known(&leaf_name, &root_name, OF_LEAF).sign();
        let root = Draft::known(&root_name, &root_name, OF_CA).sign();
        let anchors = vec![Certificate::from_der(&root).unwrap()];
        assert!(root.windows(known_key().len()).any(|window| window == known_key()));
        let x5c = vec![STANDARD.encode(leaf), STANDARD.encode(root)];
        let trust = Trust::new(anchors.clone(), &["*".to_owned()]).unwrap();
        let envelope = seal_with(PROTECTED.as_bytes(), payload().as_bytes(), &json!({ "x5c": x5c }).to_string());
        Ours { anchors, x5c, trust, envelope }
    })
}

const PROTECTED: &str = r#"{"alg":"ES256","cty":"application/vnd.cncf.notary.payload.v1+json",
    "crit":["io.cncf.notary.signingScheme"],"io.cncf.notary.signingScheme":"notary.x509",
    "io.cncf.notary.signingTime":"2027-01-10T08:00:00Z"}"#;

fn payload() -> String {
    json!({ "targetArtifact": subject() }).to_string()
}

/// What our envelopes speak of.
pub(super) fn subject() -> Descriptor {
    let digest = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a".parse().unwrap();
    Descriptor { media_type: IMAGE_MANIFEST.to_owned(), digest, size: 401 }
}

fn seal(protected: &[u8], payload: &[u8], header: &str) -> Vec<u8> {
    seal_with(protected, payload, &header.replace("\"@\"", &json!(ours().x5c).to_string()))
}

/// The envelope of these parts; the unprotected header goes in as it is, whatever it is.
fn seal_with(protected: &[u8], payload: &[u8], header: &str) -> Vec<u8> {
    let (protected, payload) = (URL_SAFE_NO_PAD.encode(protected), URL_SAFE_NO_PAD.encode(payload));
    let signature = URL_SAFE_NO_PAD.encode(sign_jws(format!("{protected}.{payload}").as_bytes()));
    format!(r#"{{"payload":"{payload}","protected":"{protected}","header":{header},"signature":"{signature}"}}"#).into()
}
