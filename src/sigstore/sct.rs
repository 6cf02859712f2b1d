//! Signed certificate timestamps in a signer's certificate (RFC 6962): whether a log of certificates that is trusted knows
//! of it. Called where a certificate is judged. Never asks a log.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::key::Message;
use super::sha256;
use super::trusted_root::{Log, TrustedRoot, Validity};
use crate::artifact::hex;
use crate::limits;
use crate::pki::{Certificate, Precertificate, rfc3339};

/// Why no log of certificates is known to know of a certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSct {
    /// None is there.
    #[error("the certificate has no signed certificate timestamp (SCT) in it")]
    Missing,
    /// What is there cannot be read.
    #[error("the certificate's signed certificate timestamps (SCT) cannot be read: {0}")]
    Malformed(String),
    /// More than [`limits::SCTS`].
    #[error("the certificate has more than {limit} signed certificate timestamps (SCT)", limit = limits::SCTS)]
    TooMany,
    /// All are of logs that are not trusted.
    #[error(
        "the certificate's signed certificate timestamp (SCT) is of a log that is not trusted, {}; trusted are {}",
        found.join(", "), if known.is_empty() { "none".to_owned() } else { known.join(", ") }
    )]
    UnknownLog {
        /// The identifiers of the logs, in hexadecimal digits.
        found: Vec<String>,
        /// The trusted ones.
        known: Vec<String>,
    },
    /// A trusted log's, of a form that is not taken.
    #[error("the certificate's signed certificate timestamp (SCT) of {log} is {found}")]
    Unsupported {
        /// The log.
        log: String,
        /// What it is.
        found: String,
    },
    /// A trusted log's, from outside of the validity of its key.
    #[error(
        "the certificate's signed certificate timestamp (SCT) is of {}, but the key of {log} is valid {valid_for}",
        rfc3339(*time)
    )]
    NotValid {
        /// The log.
        log: String,
        /// When it was made.
        time: SystemTime,
        /// When the key counts.
        valid_for: Validity,
    },
    /// It bears a trusted log's identifier and is not the log's, or it is of another certificate.
    #[error(
        "the certificate's signed certificate timestamp (SCT) is not signed by {log} over this certificate and issuer"
    )]
    Signature {
        /// The log.
        log: String,
    },
}

/// Checks that a log of these roots has given an SCT for a certificate that `issuer` made: one that holds is enough.
///
/// # Errors
/// See [`BadSct`]: of several the one that comes closest to a good one.
pub fn check(leaf: &Certificate, issuer: &Certificate, roots: &[Arc<TrustedRoot>]) -> Result<(), BadSct> {
    let precertificate = leaf.precertificate().map_err(|error| BadSct::Malformed(error.to_string()))?;
    let precertificate = precertificate.ok_or(BadSct::Missing)?;
    let scts = list(&precertificate.scts)?;
    let logs = || roots.iter().flat_map(|root| root.ct_logs());
    let mut closest = BadSct::UnknownLog {
        found: scts.iter().map(|sct| hex(sct.log_id)).collect(),
        known: logs().map(|log| log.name().to_owned()).collect(),
    };
    for sct in &scts {
        for log in logs().filter(|log| log.is(sct.log_id)) {
            match sct.check(log, &precertificate, issuer) {
                Ok(()) => return Ok(()),
                Err(found) if found.rank() > closest.rank() => closest = found,
                Err(_) => {}
            }
        }
    }
    Err(closest)
}

impl BadSct {
    /// How close it comes to a good one.
    fn rank(&self) -> u8 {
        match self {
            Self::Missing | Self::Malformed(_) | Self::TooMany => 0,
            Self::UnknownLog { .. } => 1,
            Self::Unsupported { .. } => 2,
            Self::NotValid { .. } => 3,
            Self::Signature { .. } => 4,
        }
    }
}

/// A timestamp as it is written (section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sct<'a> {
    version: u8,
    log_id: &'a [u8],
    /// Milliseconds since 1970.
    timestamp: u64,
    extensions: &'a [u8],
    /// Of hash and signature (RFC 5246, section 7.4.1.4.1).
    algorithm: [u8; 2],
    signature: &'a [u8],
}

impl<'a> Sct<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        let (log_id, rest) = rest.split_at_checked(LOG_ID_BYTES)?;
        let (timestamp, rest) = rest.split_first_chunk::<8>()?;
        let (extensions, rest) = sized(rest)?;
        let (algorithm, rest) = rest.split_first_chunk::<2>()?;
        let (signature, rest) = sized(rest)?;
        let timestamp = u64::from_be_bytes(*timestamp);
        let sct = Self { version: *version, log_id, timestamp, extensions, algorithm: *algorithm, signature };
        rest.is_empty().then_some(sct)
    }

    fn check(&self, log: &Log, precertificate: &Precertificate, issuer: &Certificate) -> Result<(), BadSct> {
        let name = || log.name().to_owned();
        let unsupported = |found: String| BadSct::Unsupported { log: name(), found };
        if self.version != V1 {
            return Err(unsupported(format!("of version {}, supported is 1", u16::from(self.version) + 1)));
        }
        let expected = if log.key().is_rsa() { SHA256_RSA } else { SHA256_ECDSA };
        if self.algorithm != expected {
            let [hash, signature] = self.algorithm;
            return Err(unsupported(format!("signed by algorithm {hash}.{signature} with a key of {}", log.key())));
        }
        let time = UNIX_EPOCH.checked_add(Duration::from_millis(self.timestamp));
        let time = time.ok_or_else(|| unsupported("of a time that no clock shows".to_owned()))?;
        let signed = self.signed(precertificate, issuer);
        let signed = signed.ok_or_else(|| unsupported("over more than a log takes".to_owned()))?;
        if !log.key().signed(&Message::Bytes(&signed), self.signature) {
            return Err(BadSct::Signature { log: name() });
        }
        if !log.valid_for().covers(time) {
            return Err(BadSct::NotValid { log: name(), time, valid_for: log.valid_for() });
        }
        Ok(())
    }

    /// What the log signed (section 3.2).
    fn signed(&self, precertificate: &Precertificate, issuer: &Certificate) -> Option<Vec<u8>> {
        let tbs = &precertificate.tbs;
        let [0, length @ ..] = u32::try_from(tbs.len()).ok()?.to_be_bytes() else { return None };
        let extensions = u16::try_from(self.extensions.len()).ok()?.to_be_bytes();
        let parts: [&[u8]; 8] = [
            &[self.version, CERTIFICATE_TIMESTAMP],
            &self.timestamp.to_be_bytes(),
            &PRECERT_ENTRY,
            &sha256(&[issuer.key_der()]),
            &length,
            tbs,
            &extensions,
            self.extensions,
        ];
        Some(parts.concat())
    }
}

/// The timestamps of a list (section 3.3).
fn list(bytes: &[u8]) -> Result<Vec<Sct<'_>>, BadSct> {
    let malformed = |what: &str| BadSct::Malformed(what.to_owned());
    let (mut rest, []) = sized(bytes).ok_or_else(|| malformed("the list is cut short"))? else {
        return Err(malformed("bytes follow the list"));
    };
    let mut scts = Vec::new();
    while !rest.is_empty() {
        if scts.len() >= limits::SCTS {
            return Err(BadSct::TooMany);
        }
        let sct;
        (sct, rest) = sized(rest).ok_or_else(|| malformed("one of the list is cut short"))?;
        scts.push(Sct::read(sct).ok_or_else(|| malformed("one of the list is of another form"))?);
    }
    if scts.is_empty() { Err(BadSct::Missing) } else { Ok(scts) }
}

/// Bytes behind their number in two bytes, and what follows (RFC 5246, section 4.3).
fn sized(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(u16::from_be_bytes(*length).into())
}

const LOG_ID_BYTES: usize = 32;

/// The version of RFC 6962.
const V1: u8 = 0;

/// The kind of signature that an SCT is.
const CERTIFICATE_TIMESTAMP: u8 = 0;

/// The kind of entry that an SCT in a certificate is of.
const PRECERT_ENTRY: [u8; 2] = [0, 1];

/// SHA-256 with ECDSA and with RSA, the two that logs sign with (section 2.1.4).
const SHA256_ECDSA: [u8; 2] = [4, 3];
const SHA256_RSA: [u8; 2] = [4, 1];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::hex;
    use super::super::testing::*;
    use super::*;
    use crate::pki::testing::*;

    fn root(draft: &RootDraft) -> Vec<Arc<TrustedRoot>> {
        vec![Arc::new(TrustedRoot::parse(&draft.bytes()).unwrap())]
    }

    fn known(log: &CtLog) -> Vec<Arc<TrustedRoot>> {
        root(&RootDraft::default().ct_log(log))
    }

    fn keys() -> [&'static Key; 2] {
        [Key::get(Kind::P256, 0), Key::get(Kind::P256, 2)]
    }

    fn issuer() -> Certificate {
        let [_, key] = keys();
        Template::ca(ROOT, ROOT).sign(key, key)
    }

    /// A leaf with SCTs that are made of what will be signed.
    fn leaf(scts: impl FnOnce(&[u8]) -> Vec<Vec<u8>>) -> Certificate {
        let [key, authority] = keys();
        issue(&Template::leaf(LEAF, ROOT), key, authority, scts)
    }

    fn judge(leaf: &Certificate, log: &CtLog) -> Result<(), BadSct> {
        check(leaf, &issuer(), &known(log))
    }

    #[test]
    fn the_sct_of_a_trusted_log_is_taken_by_every_kind_of_key() {
        let [key, authority] = keys();
        for kind in [Kind::P256, Kind::P384, Kind::P521, Kind::Rsa2048, Kind::Rsa4096] {
            let log = CtLog { key: Key::get(kind, 1), ..CtLog::new() };
            let leaf = log.issue(&Template::leaf(LEAF, ROOT), key, authority);
            assert_eq!(judge(&leaf, &log), Ok(()), "{kind:?}");
        }
    }

    #[test]
    fn a_certificate_without_an_sct_is_refused() {
        let [key, authority] = keys();
        let plain = Template::leaf(LEAF, ROOT).sign(key, authority);
        assert_eq!(judge(&plain, &CtLog::new()), Err(BadSct::Missing));
        assert_eq!(judge(&leaf(|_| Vec::new()), &CtLog::new()), Err(BadSct::Missing));
    }

    #[test]
    fn an_sct_of_a_log_that_is_not_trusted_is_refused_and_named() {
        let [_, authority] = keys();
        let foreign = CtLog { key: Key::get(Kind::P256, 2), ..CtLog::new() };
        let leaf = leaf(|tbs| vec![foreign.sct(tbs, authority, ENTERED)]);
        let found = judge(&leaf, &CtLog::new()).unwrap_err();
        let known = vec!["https://ctfe.example".to_owned()];
        assert_eq!(found, BadSct::UnknownLog { found: vec![hex(foreign.id())], known });
        // A root without such logs, and a Rekor log of the same key.
        let rekor = TestLog::v1().with_key(foreign.key);
        let found = check(&leaf, &issuer(), &root(&RootDraft::default().log(&rekor))).unwrap_err().to_string();
        assert!(found.ends_with("trusted are none"), "{found}");
        assert!(matches!(check(&leaf, &issuer(), &[]), Err(BadSct::UnknownLog { .. })));
    }

    #[test]
    fn an_sct_over_another_certificate_issuer_or_time_is_refused() {
        let ([key, authority], log) = (keys(), CtLog::new());
        let signature = Err(BadSct::Signature { log: "https://ctfe.example".to_owned() });
        let other_tbs = leaf(|_| vec![log.sct(b"another", authority, ENTERED)]);
        assert_eq!(judge(&other_tbs, &log), signature);
        let other_issuer = leaf(|tbs| vec![log.sct(tbs, key, ENTERED)]);
        assert_eq!(judge(&other_issuer, &log), signature);
        let moved = leaf(|tbs| {
            let mut sct = log.sct(tbs, authority, ENTERED);
            sct[40] ^= 1;
            vec![sct]
        });
        assert_eq!(judge(&moved, &log), signature);
        let good = log.issue(&Template::leaf(LEAF, ROOT), key, authority);
        let other = Template::ca(ROOT, ROOT).sign(key, key);
        assert_eq!(check(&good, &other, &known(&log)), signature);
    }

    #[test]
    fn any_changed_byte_of_an_sct_or_of_the_certificate_is_refused() {
        let ([_, authority], log) = (keys(), CtLog::new());
        let known = known(&log);
        let mut size = 0;
        leaf(|tbs| {
            size = log.sct(tbs, authority, ENTERED).len();
            Vec::new()
        });
        for at in 0..size {
            let changed = leaf(|tbs| {
                let mut sct = log.sct(tbs, authority, ENTERED);
                if let Some(byte) = sct.get_mut(at) {
                    *byte ^= 1;
                } else {
                    sct.pop();
                }
                vec![sct]
            });
            assert!(check(&changed, &issuer(), &known).is_err(), "{at}");
        }
        let [key, authority] = keys();
        let good = log.issue(&Template::leaf(LEAF, ROOT), key, authority);
        let precertificate = good.precertificate().unwrap().unwrap();
        let known = known[0].ct_logs()[0].clone();
        let [sct] = list(&precertificate.scts).unwrap()[..] else { panic!() };
        for at in 0..precertificate.tbs.len() {
            let mut changed = precertificate.clone();
            changed.tbs[at] ^= 1;
            assert!(sct.check(&known, &changed, &issuer()).is_err(), "{at}");
        }
        assert_eq!(sct.check(&known, &precertificate, &issuer()), Ok(()));
    }

    #[test]
    fn the_time_of_an_sct_must_be_within_the_validity_of_the_logs_key() {
        let ([_, authority], log) = (keys(), CtLog::new());
        let of = |start, end| {
            let mut draft = RootDraft::default().ct_log(&log);
            draft.ct_logs[0]["publicKey"]["validFor"] = valid_for(start, Some(end));
            root(&draft)
        };
        let leaf = leaf(|tbs| vec![log.sct(tbs, authority, ENTERED)]);
        for (start, end, expected) in
            [(ENTERED, ENTERED, true), (ENTERED - 10, ENTERED - 1, false), (ENTERED + 1, ENTERED + 10, false)]
        {
            let found = check(&leaf, &issuer(), &of(start, end));
            assert_eq!(found.is_ok(), expected, "{found:?}");
            assert!(expected || matches!(found, Err(BadSct::NotValid { time, .. }) if time == at(ENTERED)));
        }
        // The same log twice: one validity that covers the time is enough.
        let both = [of(ENTERED + 1, ENTERED + 10), of(ENTERED - 10, ENTERED)].concat();
        assert_eq!(check(&leaf, &issuer(), &both), Ok(()));
    }

    #[test]
    fn one_good_sct_is_enough_and_else_the_closest_one_is_told() {
        let ([_, authority], log) = (keys(), CtLog::new());
        let foreign = CtLog { key: Key::get(Kind::P256, 2), ..CtLog::new() };
        let bad = log.sct(b"another", authority, ENTERED);
        let both =
            leaf(|tbs| vec![foreign.sct(tbs, authority, ENTERED), bad.clone(), log.sct(tbs, authority, ENTERED)]);
        assert_eq!(judge(&both, &log), Ok(()));
        let none = leaf(|tbs| vec![bad.clone(), foreign.sct(tbs, authority, ENTERED)]);
        assert!(matches!(judge(&none, &log), Err(BadSct::Signature { .. })));
    }

    #[test]
    fn scts_of_other_versions_and_algorithms_are_refused_by_name() {
        let ([_, authority], log) = (keys(), CtLog::new());
        let changed = |at: usize, byte: u8| {
            leaf(|tbs| {
                let mut sct = log.sct(tbs, authority, ENTERED);
                sct[at] = byte;
                vec![sct]
            })
        };
        for (at, byte, expected) in [
            (0, 1, "is of version 2, supported is 1"),
            (0, 255, "is of version 256, supported is 1"),
            (43, 6, "is signed by algorithm 6.3 with a key of EC P-256"),
            (44, 1, "is signed by algorithm 4.1 with a key of EC P-256"),
        ] {
            let found = judge(&changed(at, byte), &log).unwrap_err().to_string();
            assert!(found.ends_with(expected), "{found}");
        }
    }

    #[test]
    fn a_list_that_is_damaged_is_refused() {
        let ([key, authority], log) = (keys(), CtLog::new());
        let good = log.sct(b"x", authority, ENTERED);
        let framed = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes(), bytes].concat();
        let long = [good.as_slice(), b"x"].concat();
        for (list, expected) in [
            (vec![], "the list is cut short"),
            (vec![0, 1], "the list is cut short"),
            (vec![0, 0, 0], "bytes follow the list"),
            (framed(&[0]), "one of the list is cut short"),
            (framed(&[0, 2, 0]), "one of the list is cut short"),
            (framed(&framed(&[])), "one of the list is of another form"),
            (framed(&framed(&good[..good.len() - 1])), "one of the list is of another form"),
            (framed(&framed(&long)), "one of the list is of another form"),
        ] {
            let extension = extension(SCT_LIST, false, &tlv(4, &list));
            let leaf = Template::leaf(LEAF, ROOT).with(extension).sign(key, authority);
            assert_eq!(judge(&leaf, &log), Err(BadSct::Malformed(expected.to_owned())), "{list:02x?}");
        }
        let leaf = Template::leaf(LEAF, ROOT).with(extension(SCT_LIST, false, b"x")).sign(key, authority);
        assert!(matches!(judge(&leaf, &log), Err(BadSct::Malformed(_))));
    }

    #[test]
    fn scts_at_the_limit_and_one_past_it() {
        let ([_, authority], log) = (keys(), CtLog::new());
        let of = |count: usize| leaf(|tbs| vec![log.sct(tbs, authority, ENTERED); count]);
        assert_eq!(judge(&of(limits::SCTS), &log), Ok(()));
        assert_eq!(judge(&of(limits::SCTS + 1), &log), Err(BadSct::TooMany));
    }

    #[test]
    fn extensions_of_an_sct_are_signed_too() {
        let ([_, authority], log) = (keys(), CtLog::new());
        let with = |tbs: &[u8], extensions: &[u8]| {
            let sct = log.sct(tbs, authority, ENTERED);
            // The signature is over no extensions.
            let length = (extensions.len() as u16).to_be_bytes();
            [&sct[..41], &length, extensions, &sct[43..]].concat()
        };
        assert_eq!(judge(&leaf(|tbs| vec![with(tbs, b"")]), &log), Ok(()));
        assert!(matches!(judge(&leaf(|tbs| vec![with(tbs, b"x")]), &log), Err(BadSct::Signature { .. })));
    }

    #[test]
    fn the_trusted_roots_id_of_the_log_must_be_its_keys() {
        let mut draft = RootDraft::default().ct_log(&CtLog::new());
        draft.ct_logs[0]["logId"]["keyId"] = json!(base64([7; 32]));
        assert!(TrustedRoot::parse(&draft.bytes()).is_err());
    }
}
