//! Whom Sigstore is trusted for: the logs and authorities of a `trusted_root.json` (Sigstore, "protobuf-specs",
//! `dev.sigstore.trustroot.v1.TrustedRoot`), as a file holds it or TUF hands it out. Called when trust is put together.
//! Never fetches one, and never takes an entry that contradicts itself: what it cannot use it names.

use std::fmt;
use std::time::SystemTime;

use super::key::PublicKey;
use super::sha256;
use crate::pki::{Certificate, rfc3339};
use crate::{json, limits};
use written::{Ids, Written, WrittenAuthority, all};

mod written;

/// The logs and authorities that are trusted. At least one of them is there.
#[derive(Clone, Debug)]
pub struct TrustedRoot {
    logs: Vec<Log>,
    ct_logs: Vec<Log>,
    authorities: Vec<Authority>,
    timestamp_authorities: Vec<Authority>,
    passed_over: Vec<String>,
}

/// A log: of signatures (Rekor) or of certificates.
#[derive(Clone, Debug)]
pub struct Log {
    url: String,
    operator: String,
    key: PublicKey,
    ids: Vec<[u8; 32]>,
    origins: Vec<String>,
    valid_for: Validity,
}

/// Who issues certificates: to signers (Fulcio), or to what signs timestamps.
#[derive(Clone, Debug)]
pub struct Authority {
    uri: String,
    operator: String,
    chain: Vec<Certificate>,
    valid_for: Validity,
}

/// From when to when a key or a chain counts; both moments are within. A side that is not there has no end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first moment.
    pub start: Option<SystemTime>,
    /// The last one.
    pub end: Option<SystemTime>,
}

impl TrustedRoot {
    /// Reads a `trusted_root.json`.
    ///
    /// # Errors
    /// See [`BadRoot`]. A log or an authority of a kind that is not taken is none: see [`Self::passed_over`].
    pub fn parse(bytes: &[u8]) -> Result<Self, BadRoot> {
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limits::TRUST_FILE_BYTES {
            return Err(BadRoot::TooLarge(bytes.len()));
        }
        let written: Written = json::from_slice(bytes).map_err(BadRoot::Json)?;
        match written.media_type.as_deref() {
            Some(found) if MEDIA_TYPES.contains(&found) => {}
            found => return Err(BadRoot::MediaType(found.unwrap_or_default().to_owned())),
        }
        let mut passed_over = Vec::new();
        let root = Self {
            logs: all("tlogs", written.tlogs, &mut passed_over, |log| log.read(Ids::Rekor))?,
            ct_logs: all("ctlogs", written.ctlogs, &mut passed_over, |log| log.read(Ids::CertificateLog))?,
            authorities: all(
                "certificateAuthorities",
                written.certificate_authorities,
                &mut passed_over,
                WrittenAuthority::read,
            )?,
            timestamp_authorities: all(
                "timestampAuthorities",
                written.timestamp_authorities,
                &mut passed_over,
                WrittenAuthority::read,
            )?,
            passed_over,
        };
        let found = [root.logs.len(), root.ct_logs.len(), root.authorities.len(), root.timestamp_authorities.len()];
        if found == [0; 4] { Err(BadRoot::Empty(root.passed_over)) } else { Ok(root) }
    }

    /// The logs of signatures, as they stand in the document.
    #[must_use]
    pub fn logs(&self) -> &[Log] {
        &self.logs
    }

    /// The logs of certificates.
    #[must_use]
    pub fn ct_logs(&self) -> &[Log] {
        &self.ct_logs
    }

    /// Who issues certificates to signers.
    #[must_use]
    pub fn authorities(&self) -> &[Authority] {
        &self.authorities
    }

    /// Who signs timestamps.
    #[must_use]
    pub fn timestamp_authorities(&self) -> &[Authority] {
        &self.timestamp_authorities
    }

    /// What stands in the document and is of a kind that is not taken, each with its place, for people.
    #[must_use]
    pub fn passed_over(&self) -> &[String] {
        &self.passed_over
    }
}

impl Log {
    /// Its name for people: its address.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.url
    }

    /// Who runs it, where the document says so.
    #[must_use]
    pub fn operator(&self) -> &str {
        &self.operator
    }

    /// What it signs with.
    #[must_use]
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// When its key counts.
    #[must_use]
    pub fn valid_for(&self) -> Validity {
        self.valid_for
    }

    /// Whether it is the log of an identifier: of its key, or of its key and the name under which it signs checkpoints.
    #[must_use]
    pub fn is(&self, id: &[u8]) -> bool {
        self.ids.iter().any(|own| own == id)
    }

    /// The hash of its key.
    pub(super) fn key_id(&self) -> [u8; 32] {
        sha256(&[self.key.der()])
    }

    /// The names under which it may sign checkpoints.
    pub(super) fn origins(&self) -> &[String] {
        &self.origins
    }
}

impl Authority {
    /// Its name for people: its address, or else the subject of the last certificate.
    #[must_use]
    pub fn name(&self) -> String {
        match self.chain.last() {
            Some(root) if self.uri.is_empty() => root.subject().to_string(),
            _ => self.uri.clone(),
        }
    }

    /// Who runs it, where the document says so.
    #[must_use]
    pub fn operator(&self) -> &str {
        &self.operator
    }

    /// Its certificates; the last one is the anchor. There is at least one.
    #[must_use]
    pub fn chain(&self) -> &[Certificate] {
        &self.chain
    }

    /// When the chain counts. Its certificates have validities of their own.
    #[must_use]
    pub fn valid_for(&self) -> Validity {
        self.valid_for
    }
}

impl Validity {
    /// Whether a moment is within.
    #[must_use]
    pub fn covers(&self, at: SystemTime) -> bool {
        self.start.is_none_or(|start| start <= at) && self.end.is_none_or(|end| at <= end)
    }
}

impl fmt::Display for Validity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.start, self.end) {
            (None, None) => f.write_str("always"),
            (Some(start), None) => write!(f, "from {}", rfc3339(start)),
            (None, Some(end)) => write!(f, "until {}", rfc3339(end)),
            (Some(start), Some(end)) => write!(f, "from {} until {}", rfc3339(start), rfc3339(end)),
        }
    }
}

/// Why bytes are no trusted root.
#[derive(Debug, thiserror::Error)]
pub enum BadRoot {
    /// More than [`limits::TRUST_FILE_BYTES`].
    #[error("it has {0} bytes, the limit is {limit}", limit = limits::TRUST_FILE_BYTES)]
    TooLarge(usize),
    /// Not JSON of the form that must stand there.
    #[error("it is not JSON of the expected form: {0}")]
    Json(serde_json::Error),
    /// Another document.
    #[error("its mediaType is {0:?}, expected one of {known}", known = MEDIA_TYPES.join(", "))]
    MediaType(String),
    /// More than [`limits::TRUSTED_ROOT_ENTRIES`] in one list.
    #[error("{list} has {found} entries, the limit is {limit}", limit = limits::TRUSTED_ROOT_ENTRIES)]
    TooMany {
        /// Which list.
        list: &'static str,
        /// How many it has.
        found: usize,
    },
    /// An entry that is damaged or contradicts itself.
    #[error("{place}: {problem}")]
    Entry {
        /// Which one.
        place: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Nothing of it can be used.
    #[error("there is no log and no authority in it that can be used{}", passed(.0))]
    Empty(Vec<String>),
}

fn passed(over: &[String]) -> String {
    over.iter().map(|entry| format!("; passed over: {entry}")).collect()
}

/// The key ID of a log's checkpoints, not cut (C2SP, "signed-note", "Signatures"; "protobuf-specs",
/// `TransparencyLogInstance.checkpoint_key_id`).
pub(super) fn checkpoint_key_id(key: &PublicKey, origin: &str) -> [u8; 32] {
    let name = [origin.as_bytes(), b"\n"].concat();
    match key.ed25519() {
        Some(point) => sha256(&[&name, &[1], point]),
        None if key.is_rsa() => sha256(&[&name, b"\xffPKIX-RSA-PKCS#1v1.5", key.der()]),
        None => sha256(&[key.der()]),
    }
}

/// The forms of the document that are taken ("protobuf-specs", `TrustedRoot.media_type`).
const MEDIA_TYPES: [&str; 3] = [
    "application/vnd.dev.sigstore.trustedroot.v0.2+json",
    "application/vnd.dev.sigstore.trustedroot.v0.1+json",
    "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
];

/// How much of a key ID stands before a signature in a note.
pub(super) const KEY_ID_BYTES: usize = 4;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::*;
    use super::written::origins;
    use super::*;
    use crate::pki::testing::*;

    fn parse(root: &Value) -> Result<TrustedRoot, BadRoot> {
        TrustedRoot::parse(&serde_json::to_vec(root).unwrap())
    }

    fn problem(root: &Value) -> String {
        parse(root).unwrap_err().to_string()
    }

    /// One of each.
    fn root() -> Value {
        let draft = RootDraft::default().log(&TestLog::v1()).log(&TestLog::v2()).ct_log(&CtLog::new());
        draft.authority(&chain()[1..]).timestamp_authority(&chain()).json()
    }

    #[test]
    fn all_logs_and_authorities_are_read() {
        let mut written = root();
        written["tlogs"][1]["publicKey"]["validFor"]["end"] = json!("2027-12-31T23:59:59.999Z");
        let root = parse(&written).unwrap();
        let [v1, v2] = root.logs() else { panic!("{root:?}") };
        assert_eq!((v1.name(), v1.operator()), ("https://rekor.example", ""));
        assert_eq!((v2.name(), v2.operator()), ("https://log2026-1.rekor.example", "example"));
        assert_eq!(v1.key().der(), TestLog::v1().key.der());
        assert!(v1.is(&TestLog::v1().id()) && !v1.is(&TestLog::v2().id()) && !v1.is(&[]));
        assert!(v2.is(&TestLog::v2().id()) && !v2.is(&TestLog::v2().id()[..4]));
        assert_eq!(v2.origins(), ["log2026-1.rekor.example"]);
        assert_eq!(root.ct_logs().len(), 1);
        assert!(root.ct_logs()[0].is(&CtLog::new().id()) && root.ct_logs()[0].origins().is_empty());
        assert_eq!(root.authorities()[0].name(), "https://fulcio.example");
        assert_eq!(root.authorities()[0].chain(), &chain()[1..]);
        assert_eq!(root.timestamp_authorities()[0].chain(), &chain());
        assert_eq!(root.passed_over(), [""; 0]);
        assert_eq!(v1.valid_for(), Validity { start: Some(at(NOW - 100 * DAY)), end: None });
        assert_eq!(v2.valid_for().to_string(), "from 2026-10-07T08:00:00Z until 2027-12-31T23:59:59Z");
    }

    #[test]
    fn the_three_forms_of_the_document_are_taken_and_no_other() {
        for name in MEDIA_TYPES {
            let mut root = root();
            root["mediaType"] = json!(name);
            assert!(parse(&root).is_ok(), "{name}");
        }
        for other in [json!(null), json!(""), json!("application/vnd.dev.sigstore.trustedroot.v0.3+json")] {
            let mut root = root();
            root["mediaType"] = other.clone();
            let found = problem(&root);
            assert!(found.contains("its mediaType is") && found.contains("v0.2+json"), "{found}");
        }
        assert!(problem(&json!([])).contains("not JSON of the expected form"));
        assert!(problem(&json!({"tlogs": {}})).contains("not JSON of the expected form"));
    }

    #[test]
    fn fields_of_later_documents_are_passed_over_and_fields_given_twice_are_not() {
        let mut later = root();
        later["witnesses"] = json!([{"a": 1}]);
        later["tlogs"][0]["publicKey"]["later"] = json!(true);
        later["ctlogs"] = json!(null);
        assert!(parse(&later).unwrap().ct_logs().is_empty());
        let text = String::from_utf8(serde_json::to_vec(&root()).unwrap()).unwrap();
        let twice = text.replacen("\"tlogs\":", "\"tlogs\":[],\"tlogs\":", 1);
        let found = TrustedRoot::parse(twice.as_bytes()).unwrap_err().to_string();
        assert!(found.contains("\"tlogs\" is given twice"), "{found}");
    }

    #[test]
    fn a_root_with_nothing_in_it_is_an_error() {
        let media_type = json!(MEDIA_TYPES[0]);
        let empty = problem(&json!({"mediaType": media_type}));
        assert_eq!(empty, "there is no log and no authority in it that can be used");
        let mut log = TestLog::v1().instance();
        log["publicKey"]["keyDetails"] = json!("ML_DSA_65");
        let found = problem(&json!({"mediaType": media_type, "tlogs": [log], "ctlogs": []}));
        assert!(found.contains("passed over: tlogs[0]: its publicKey.keyDetails \"ML_DSA_65\""), "{found}");
    }

    #[test]
    fn what_is_of_another_kind_is_passed_over_with_a_note() {
        let mut root = root();
        root["tlogs"][1]["publicKey"]["keyDetails"] = json!("PKIX_ED25519_PH");
        root["ctlogs"][0]["hashAlgorithm"] = json!("SHA2_512");
        let key = Key::get(Kind::Ed25519, 1);
        let later = Template::ca(ROOT, ROOT).sign(key, key);
        root["certificateAuthorities"].as_array_mut().unwrap().push(authority("https://later.example", &[later]));
        let root = parse(&root).unwrap();
        assert_eq!((root.logs().len(), root.ct_logs().len(), root.authorities().len()), (1, 0, 1));
        let notes = root.passed_over().join("\n");
        for expected in [
            "tlogs[1]: its publicKey.keyDetails \"PKIX_ED25519_PH\" are not supported",
            "ctlogs[0]: its hashAlgorithm is \"SHA2_512\"",
            "certificateAuthorities[1]: certChain.certificates[0] has a key of type",
        ] {
            assert!(notes.contains(expected), "{expected}: {notes}");
        }
    }

    #[test]
    fn keys_of_all_kinds_are_read_by_their_details() {
        for kind in [Kind::P256, Kind::P384, Kind::P521, Kind::Rsa2048, Kind::Rsa3072, Kind::Rsa4096, Kind::Ed25519] {
            for log in [TestLog::v1(), TestLog::v2()] {
                let log = log.with_key(Key::get(kind, 1));
                let root = parse(&RootDraft::default().log(&log).json()).unwrap();
                assert!(root.logs()[0].is(&log.id()), "{kind:?} {:?}", log.rekor);
            }
        }
        // The older form of RSA keys.
        let key = Key::get(Kind::Rsa4096, 0);
        let mut log = CtLog { key, host: "ctfe.example".to_owned() }.instance();
        log["publicKey"]["rawBytes"] = json!(base64(key.spki().subject_public_key.raw_bytes()));
        log["publicKey"]["keyDetails"] = json!("PKCS1_RSA_PKCS1V5");
        let root = parse(&json!({"mediaType": MEDIA_TYPES[0], "ctlogs": [log]})).unwrap();
        assert_eq!(root.ct_logs()[0].key().der(), key.der());
    }

    #[test]
    fn a_damaged_entry_refuses_the_root_and_says_where_it_stands() {
        let other_key = json!(base64(Key::get(Kind::P256, 2).der()));
        let p384 = json!(base64(Key::get(Kind::P384, 0).der()));
        for (pointer, value, expected) in [
            ("/tlogs/0/publicKey", json!(null), "tlogs[0]: it has no publicKey"),
            ("/tlogs/0/publicKey/rawBytes", json!(null), "tlogs[0]: publicKey.rawBytes: there is nothing in it"),
            ("/tlogs/0/publicKey/rawBytes", json!("!"), "publicKey.rawBytes: it is not base64"),
            ("/tlogs/0/publicKey/rawBytes", json!("AAAA"), "publicKey.rawBytes: it is no public key in DER"),
            ("/tlogs/0/publicKey/rawBytes", p384, "it is EC P-384, but keyDetails say PKIX_ECDSA_P256_SHA_256"),
            ("/tlogs/0/publicKey/rawBytes", other_key.clone(), "tlogs[0]: logId.keyId is "),
            ("/ctlogs/0/publicKey/rawBytes", other_key, "ctlogs[0]: logId.keyId is "),
            ("/tlogs/0/logId", json!(null), "tlogs[0]: it has no logId"),
            ("/tlogs/0/logId/keyId", json!("AAAA"), "logId.keyId is AAAA, but its publicKey makes it "),
            ("/tlogs/1/baseUrl", json!("https://log2026-2.rekor.example"), "tlogs[1]: logId.keyId is "),
            ("/tlogs/1/checkpointKeyId/keyId", json!("AAAAAA=="), "tlogs[1]: checkpointKeyId.keyId is AAAAAA=="),
            ("/tlogs/0/publicKey/validFor/start", json!("2026"), "publicKey.validFor.start is \"2026\""),
            ("/tlogs/0/publicKey/validFor/end", json!("2001-01-01T00:00:00Z"), "ends before it begins"),
            ("/certificateAuthorities/0/certChain", json!(null), "certChain has 0 certificates"),
            ("/certificateAuthorities/0/certChain/certificates/1/rawBytes", json!("AAAA"), "certificates[1]: it is no"),
            ("/timestampAuthorities/0/certChain/certificates/0/rawBytes", json!(""), "[0].rawBytes: there is nothing"),
            ("/timestampAuthorities/0/validFor/start", json!("never"), "timestampAuthorities[0]: validFor.start is"),
        ] {
            let mut root = root();
            match root.pointer_mut(pointer) {
                Some(place) => *place = value,
                None => {
                    let (parent, name) = pointer.rsplit_once('/').unwrap();
                    root.pointer_mut(parent).unwrap()[name] = value;
                }
            }
            let found = problem(&root);
            assert!(found.contains(expected), "{pointer}: {found}");
        }
    }

    #[test]
    fn a_log_may_be_named_by_the_key_id_of_its_checkpoints_alone() {
        let mut log = TestLog::v2().instance();
        log["logId"] = json!(null);
        let root = parse(&json!({"mediaType": MEDIA_TYPES[0], "tlogs": [log]})).unwrap();
        assert!(root.logs()[0].is(&TestLog::v2().id()));
        let mut log = TestLog::v2().instance();
        log["checkpointKeyId"]["keyId"] = json!(base64(TestLog::v2().id()));
        assert!(parse(&json!({"mediaType": MEDIA_TYPES[0], "tlogs": [log]})).is_ok());
        let mut log = CtLog::new().instance();
        log["checkpointKeyId"] = log["logId"].take();
        assert!(problem(&json!({"mediaType": MEDIA_TYPES[0], "ctlogs": [log]})).contains("ctlogs[0]: it has no logId"));
    }

    #[test]
    fn a_log_signs_under_the_host_of_its_address_or_the_address_without_its_scheme() {
        for (url, expected) in [
            ("https://log.example", vec!["log.example"]),
            ("https://log.example/", vec!["log.example"]),
            ("log.example", vec!["log.example"]),
            ("http://log.example:3003", vec!["log.example:3003", "log.example"]),
            ("https://log.example:443/a/b/", vec!["log.example:443/a/b", "log.example:443", "log.example"]),
            ("https://log.example/a", vec!["log.example/a", "log.example"]),
            ("", vec![]),
            ("https://", vec![]),
        ] {
            assert_eq!(origins(url), expected, "{url}");
        }
    }

    #[test]
    fn both_ends_of_a_validity_are_within() {
        let range = Validity { start: Some(at(100)), end: Some(at(200)) };
        for (moment, expected) in [(99, false), (100, true), (200, true), (201, false)] {
            assert_eq!(range.covers(at(moment)), expected, "{moment}");
        }
        assert!(Validity { start: None, end: None }.covers(at(0)));
    }

    #[test]
    fn an_authority_without_an_address_is_named_by_its_last_certificate() {
        let mut root = root();
        root["certificateAuthorities"][0]["uri"] = json!(null);
        assert_eq!(parse(&root).unwrap().authorities()[0].name(), chain()[2].subject().to_string());
    }

    #[test]
    fn sizes_at_the_limit_and_one_past_it() {
        let mut bytes = serde_json::to_vec(&root()).unwrap();
        let limit = usize::try_from(limits::TRUST_FILE_BYTES).unwrap();
        bytes.resize(limit, b' ');
        assert!(TrustedRoot::parse(&bytes).is_ok());
        bytes.push(b' ');
        assert!(matches!(TrustedRoot::parse(&bytes), Err(BadRoot::TooLarge(found)) if found == limit + 1));

        let logs = |count: usize| json!({"mediaType": MEDIA_TYPES[0], "ctlogs": vec![CtLog::new().instance(); count]});
        assert_eq!(parse(&logs(limits::TRUSTED_ROOT_ENTRIES)).unwrap().ct_logs().len(), limits::TRUSTED_ROOT_ENTRIES);
        let found = problem(&logs(limits::TRUSTED_ROOT_ENTRIES + 1));
        assert_eq!(found, "ctlogs has 129 entries, the limit is 128");

        let chains = |count: usize| {
            let chain = vec![chain().remove(2); count];
            json!({"mediaType": MEDIA_TYPES[0], "certificateAuthorities": [authority("https://a.example", &chain)]})
        };
        assert!(parse(&chains(limits::CHAIN_CERTIFICATES)).is_ok());
        assert!(problem(&chains(limits::CHAIN_CERTIFICATES + 1)).contains("has 17 certificates, expected 1 to 16"));
    }
}
