//! Entries of transparency logs: whether a log that is trusted has entered this signature, made by this signer over this
//! content. Called where a signature is verified. What is there of an entry must hold, all of it: a bad promise beside a
//! good proof is refused. Never asks a log.

use std::sync::Arc;
use std::time::SystemTime;

use super::dsse::Envelope;
use super::key::{Message, PublicKey};
use super::trusted_root::{Log, TrustedRoot, Validity};
use crate::artifact::hex;
use crate::pki::{Certificate, rfc3339};
use body::Body;
use checkpoint::Checkpoint;

mod body;
mod checkpoint;
mod entry;
mod merkle;

pub use body::BadBody;
pub use checkpoint::BadCheckpoint;
pub use entry::{LogEntry, Malformed};
pub use merkle::BadProof;

/// What an entry must be of.
#[derive(Clone, Copy, Debug)]
pub struct Entered<'a> {
    /// The signature.
    pub signature: &'a [u8],
    /// Who made it.
    pub by: SignedBy<'a>,
    /// Over what.
    pub content: What<'a>,
}

/// Who made a signature.
#[derive(Clone, Copy, Debug)]
pub enum SignedBy<'a> {
    /// The key of a certificate. The entry must hold the certificate.
    Certificate(&'a Certificate),
    /// A key. The entry must hold it, or a certificate for it.
    Key(&'a PublicKey),
}

/// What a signature is over.
#[derive(Clone, Copy, Debug)]
pub enum What<'a> {
    /// A message as such.
    Message(&'a Message<'a>),
    /// The payload of an envelope and its type.
    Dsse(&'a Envelope),
}

/// What a log bears witness to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// The log, for people.
    pub log: String,
    /// When the key that it signed with counts: every authentic time of the signature must be within.
    pub valid_for: Validity,
    /// When it entered the signature, by its own word: there is none but in a promise (Rekor 1). It is within
    /// `valid_for`.
    pub time: Option<SystemTime>,
}

/// Why an entry does not count.
#[derive(Debug, thiserror::Error)]
pub enum BadEntry {
    /// It is not of the form that it must be.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Its body cannot be read, or speaks of something else.
    #[error(transparent)]
    Body(#[from] BadBody),
    /// Its proof makes no tree.
    #[error(transparent)]
    Proof(#[from] BadProof),
    /// The checkpoint in its proof.
    #[error(transparent)]
    Checkpoint(#[from] BadCheckpoint),
    /// Of a log that is not trusted.
    #[error("it is of a log that is not trusted, {id}; trusted are {}", named(known))]
    UnknownLog {
        /// The log's identifier, in hexadecimal digits.
        id: String,
        /// The trusted ones.
        known: Vec<String>,
    },
    /// Nothing is there that the log signed.
    #[error("it has neither an inclusion promise nor an inclusion proof")]
    Unproven,
    /// An entry of Rekor 2 without a proof.
    #[error("it has no inclusion proof, which entries of type {kind} must have")]
    NoProof {
        /// Its kind and version.
        kind: String,
    },
    /// An entry of Rekor 2 with a promise: that version makes none.
    #[error("it has an inclusion promise, which entries of type {kind} cannot have")]
    Promised {
        /// Its kind and version.
        kind: String,
    },
    /// It says of itself to be of another kind than its body is.
    #[error("its kindVersion is {found:?}, but its body is of type {expected}")]
    Kind {
        /// What it says.
        found: String,
        /// What its body says.
        expected: String,
    },
    /// The promise is not the log's.
    #[error("its inclusion promise (SET) is not signed by {log} over this body, time, log and index")]
    Promise {
        /// The log.
        log: String,
    },
    /// The promise was made outside of the validity of the log's key.
    #[error("it was entered at {}, but the key of {log} is valid {valid_for}", rfc3339(*time))]
    NotValid {
        /// The log.
        log: String,
        /// When it was entered.
        time: SystemTime,
        /// When the key counts.
        valid_for: Validity,
    },
    /// Of Rekor 2, where an entry has one index.
    #[error("its logIndex is {found}, but that of its inclusion proof is {expected}")]
    Index {
        /// The entry's.
        found: u64,
        /// The proof's.
        expected: u64,
    },
    /// The proof is of another tree than the checkpoint.
    #[error("its inclusion proof is of a tree of {found} entries, its checkpoint of one of {expected}")]
    Size {
        /// The proof's.
        found: u64,
        /// The checkpoint's.
        expected: u64,
    },
    /// The proof is of another tree than the checkpoint, or it does not lead from this body to it.
    #[error("its {what} is {}, but its checkpoint says {}", hex(found), hex(expected))]
    Root {
        /// Which one.
        what: &'static str,
        /// What it is.
        found: [u8; 32],
        /// What the checkpoint says.
        expected: [u8; 32],
    },
}

fn named(known: &[String]) -> String {
    if known.is_empty() { "none".to_owned() } else { known.join(", ") }
}

impl LogEntry {
    /// Checks everything that is there: a log of these roots has promised or proven that it entered the body, and the body
    /// is of that signature, that signer and that content. Which of promise and proof must be there is the caller's to
    /// say, by the version of the bundle: here one of them is enough.
    ///
    /// # Errors
    /// See [`BadEntry`].
    pub fn check(&self, roots: &[Arc<TrustedRoot>], of: &Entered<'_>) -> Result<Witness, BadEntry> {
        let body = Body::parse(&self.body)?;
        let kind = body.kind();
        if let Some(found) = self.kind.as_ref().filter(|found| **found != kind) {
            return Err(BadEntry::Kind { found: found.clone(), expected: kind });
        }
        match (&self.promise, &self.proof) {
            (None, None) => return Err(BadEntry::Unproven),
            (Some(_), _) if body.is_of_rekor_2() => return Err(BadEntry::Promised { kind }),
            (_, None) if body.is_of_rekor_2() => return Err(BadEntry::NoProof { kind }),
            _ => {}
        }
        let witness = self.check_logs(roots, body.is_of_rekor_2())?;
        body.check(of)?;
        Ok(witness)
    }

    /// Checks it against the log that it names. Several may bear the name, of several roots or with several validities:
    /// one of them is enough.
    fn check_logs(&self, roots: &[Arc<TrustedRoot>], one_index: bool) -> Result<Witness, BadEntry> {
        let logs = || roots.iter().flat_map(|root| root.logs());
        let known = || logs().map(|log| log.name().to_owned()).collect();
        let mut outcome = Err(BadEntry::UnknownLog { id: hex(&self.log_id), known: known() });
        for log in logs().filter(|log| log.is(&self.log_id)) {
            outcome = self.check_log(log, one_index);
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    fn check_log(&self, log: &Log, one_index: bool) -> Result<Witness, BadEntry> {
        let time = match &self.promise {
            Some(promise) => Some(self.check_promise(log, promise)?),
            None => None,
        };
        if let Some(proof) = &self.proof {
            if one_index && proof.index != self.index {
                return Err(BadEntry::Index { found: self.index, expected: proof.index });
            }
            let checkpoint = Checkpoint::parse(&proof.checkpoint)?;
            checkpoint.check(log)?;
            if proof.size != checkpoint.size {
                return Err(BadEntry::Size { found: proof.size, expected: checkpoint.size });
            }
            let root = merkle::root(&self.body, proof.index, proof.size, &proof.hashes)?;
            for (what, found) in [("rootHash", proof.root), ("body's way through the inclusion proof", root)] {
                if found != checkpoint.root {
                    return Err(BadEntry::Root { what, found, expected: checkpoint.root });
                }
            }
        }
        Ok(Witness { log: log.name().to_owned(), valid_for: log.valid_for(), time })
    }

    /// Checks the promise of a log to enter the body (SignedEntryTimestamp): it signs body, time, log and index as
    /// canonical JSON (RFC 8785; Rekor, "Signed Entry Timestamp").
    fn check_promise(&self, log: &Log, promise: &[u8]) -> Result<SystemTime, BadEntry> {
        let signed = self.promised();
        if !log.key().signed(&Message::Bytes(signed.as_bytes()), promise) {
            return Err(BadEntry::Promise { log: log.name().to_owned() });
        }
        if !log.valid_for().covers(self.time) {
            let (log, valid_for) = (log.name().to_owned(), log.valid_for());
            return Err(BadEntry::NotValid { log, time: self.time, valid_for });
        }
        Ok(self.time)
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::{Value, json};

    use super::super::testing::*;
    use super::super::testing::{hex, sha256};
    use super::*;
    use crate::limits;
    use crate::pki::testing::*;

    const MESSAGE: &[u8] = b"what is signed";

    fn root(draft: &RootDraft) -> Vec<Arc<TrustedRoot>> {
        vec![Arc::new(TrustedRoot::parse(&draft.bytes()).unwrap())]
    }

    fn known(logs: &[&TestLog]) -> Vec<Arc<TrustedRoot>> {
        root(&logs.iter().fold(RootDraft::default(), |draft, log| draft.log(log)))
    }

    /// A signature of a key over [`MESSAGE`], which need not be one: nobody checks it here.
    struct Signed {
        signature: Vec<u8>,
        key: &'static Key,
        public: PublicKey,
    }

    fn signed() -> Signed {
        let key = Key::get(Kind::P256, 2);
        Signed { signature: key.sign(MESSAGE), key, public: PublicKey::from_der(&key.der()).unwrap() }
    }

    impl Signed {
        /// As Rekor 1 and Rekor 2 enter it.
        fn body(&self, rekor: Rekor) -> Value {
            match rekor {
                Rekor::V1 => bodies::hashedrekord_001(&self.signature, By::Key(self.key), MESSAGE),
                Rekor::V2 => bodies::hashedrekord_002(&self.signature, By::Key(self.key), MESSAGE),
            }
        }

        fn judge(&self, entry: &Value, roots: &[Arc<TrustedRoot>]) -> Result<Witness, BadEntry> {
            let content = What::Message(&Message::Bytes(MESSAGE));
            let of = Entered { signature: &self.signature, by: SignedBy::Key(&self.public), content };
            LogEntry::parse(entry)?.check(roots, &of)
        }

        fn problem(&self, entry: &Value, roots: &[Arc<TrustedRoot>]) -> String {
            self.judge(entry, roots).unwrap_err().to_string()
        }
    }

    fn without(entry: &Value, field: &str) -> Value {
        let mut entry = entry.clone();
        entry.as_object_mut().unwrap().remove(field);
        entry
    }

    fn with(entry: &Value, pointer: &str, value: Value) -> Value {
        let mut entry = entry.clone();
        *entry.pointer_mut(pointer).unwrap() = value;
        entry
    }

    #[test]
    fn entries_of_both_versions_are_taken_and_only_a_promise_tells_a_time() {
        let signed = signed();
        let (v1, v2) = (TestLog::v1(), TestLog::v2());
        let roots = known(&[&v1, &v2]);
        let entry = v1.enter(&signed.body(Rekor::V1));
        let witness = signed.judge(&entry, &roots).unwrap();
        assert_eq!((witness.log.as_str(), witness.time), ("https://rekor.example", Some(at(ENTERED))));
        let promise_alone = signed.judge(&without(&entry, "inclusionProof"), &roots).unwrap();
        assert_eq!(promise_alone, witness);
        let proof_alone = signed.judge(&without(&entry, "inclusionPromise"), &roots).unwrap();
        assert_eq!(proof_alone, Witness { time: None, ..witness });
        let witness = signed.judge(&v2.enter(&signed.body(Rekor::V2)), &roots).unwrap();
        assert_eq!((witness.log.as_str(), witness.time), ("https://log2026-1.rekor.example", None));
        assert_eq!(witness.valid_for, Validity { start: Some(at(NOW - 100 * DAY)), end: None });
    }

    #[test]
    fn entries_of_logs_with_every_kind_of_key_and_of_trees_of_every_shape_are_taken() {
        let signed = signed();
        for kind in [Kind::P256, Kind::P384, Kind::P521, Kind::Rsa2048, Kind::Ed25519] {
            for log in [TestLog::v1(), TestLog::v2()] {
                let log = log.with_key(Key::get(kind, 0));
                let found = signed.judge(&log.enter(&signed.body(log.rekor)), &known(&[&log]));
                assert!(found.is_ok(), "{kind:?} {:?}: {found:?}", log.rekor);
            }
        }
        for (before, after) in [(0, 0), (0, 1), (1, 0), (4, 0), (0, 7), (5, 11)] {
            for log in [TestLog::v1(), TestLog::v2()] {
                let log = log.sized(before, after);
                assert!(signed.judge(&log.enter(&signed.body(log.rekor)), &known(&[&log])).is_ok(), "{before} {after}");
            }
        }
    }

    #[test]
    fn numbers_may_be_written_as_such_and_zeros_left_out() {
        let signed = signed();
        let log = TestLog::v2().sized(0, 0);
        let entry = log.enter(&signed.body(Rekor::V2));
        let plain = with(&with(&entry, "/logIndex", json!(0)), "/inclusionProof/treeSize", json!(1));
        let mut bare = without(&plain, "logIndex");
        bare["inclusionProof"].as_object_mut().unwrap().remove("logIndex");
        bare["inclusionProof"]["hashes"] = json!(null);
        bare["inclusionPromise"] = json!(null);
        for entry in [plain, bare] {
            assert!(signed.judge(&entry, &known(&[&log])).is_ok(), "{entry}");
        }
    }

    #[test]
    fn an_older_signatures_annotation_is_an_entry_with_a_promise() {
        let (signed, log) = (signed(), TestLog::v1());
        let judge = |annotation: &Value| {
            let message = Message::Sha256(sha256(MESSAGE));
            let by = SignedBy::Key(&signed.public);
            let of = Entered { signature: &signed.signature, by, content: What::Message(&message) };
            let entry = LogEntry::from_legacy(annotation.to_string().as_bytes())?;
            assert!(entry.has_promise() && !entry.has_proof());
            entry.check(&known(&[&log]), &of)
        };
        let annotation = log.annotation(&signed.body(Rekor::V1), ENTERED);
        assert_eq!(judge(&annotation).unwrap().time, Some(at(ENTERED)));
        for (pointer, value) in [
            ("/Payload/integratedTime", json!(ENTERED + 1)),
            ("/Payload/logIndex", json!(1004)),
            ("/SignedEntryTimestamp", json!(base64(log.key.sign(b"x")))),
        ] {
            let found = judge(&with(&annotation, pointer, value)).unwrap_err();
            assert!(matches!(found, BadEntry::Promise { .. }), "{pointer}: {found}");
        }
        let other = with(&annotation, "/Payload/logID", json!(hex([7; 32])));
        assert!(matches!(judge(&other), Err(BadEntry::UnknownLog { .. })));
    }

    #[test]
    fn an_entry_of_a_log_that_is_not_trusted_is_refused_and_named() {
        let signed = signed();
        for log in [TestLog::v1(), TestLog::v2()] {
            let entry = log.enter(&signed.body(log.rekor));
            let others =
                [TestLog::v1().with_key(Key::get(Kind::P256, 1)), TestLog::v2().with_host("log2026-2.example")];
            let found = signed.problem(&entry, &known(&[&others[0], &others[1]]));
            let (id, known) = (hex(log.id()), "https://rekor.example, https://log2026-2.example");
            assert_eq!(found, format!("it is of a log that is not trusted, {id}; trusted are {known}"));
            assert!(signed.problem(&entry, &[]).ends_with("trusted are none"));
            let certificates = CtLog { key: log.key, host: log.host.clone() };
            let found = signed.problem(&entry, &root(&RootDraft::default().ct_log(&certificates)));
            assert!(found.ends_with("trusted are none"), "{found}");
        }
    }

    #[test]
    fn an_entry_that_claims_another_log_is_refused() {
        let signed = signed();
        let (log, other) = (TestLog::v1(), TestLog::v1().with_key(Key::get(Kind::P256, 1)));
        let roots = known(&[&log, &other]);
        let entry = with(&log.enter(&signed.body(Rekor::V1)), "/logId/keyId", json!(base64(other.id())));
        assert!(matches!(signed.judge(&entry, &roots), Err(BadEntry::Promise { .. })));
        let proof_alone = without(&entry, "inclusionPromise");
        assert!(matches!(
            signed.judge(&proof_alone, &roots),
            Err(BadEntry::Checkpoint(BadCheckpoint::Unsigned { .. }))
        ));
    }

    #[test]
    fn any_changed_byte_of_body_promise_proof_or_checkpoint_is_refused() {
        let signed = signed();
        for log in [TestLog::v1(), TestLog::v2()] {
            let roots = known(&[&log]);
            let whole = log.enter(&signed.body(log.rekor));
            let proof_alone = without(&whole, "inclusionPromise");
            let mut places = vec!["/logId/keyId", "/canonicalizedBody", "/inclusionProof/rootHash"];
            places.extend(["/inclusionProof/hashes/0", "/inclusionProof/hashes/1", "/inclusionProof/hashes/2"]);
            for entry in [whole, proof_alone] {
                let promise = entry.pointer("/inclusionPromise/signedEntryTimestamp").map(|_| PROMISE);
                for place in places.iter().copied().chain(promise) {
                    let bytes = STANDARD.decode(entry.pointer(place).unwrap().as_str().unwrap()).unwrap();
                    for at in 0..bytes.len() {
                        let mut bytes = bytes.clone();
                        bytes[at] ^= 1;
                        let changed = with(&entry, place, json!(base64(bytes)));
                        assert!(signed.judge(&changed, &roots).is_err(), "{place} {at} {:?}", log.rekor);
                    }
                }
            }
        }
    }

    const PROMISE: &str = "/inclusionPromise/signedEntryTimestamp";
    const ENVELOPE: &str = "/inclusionProof/checkpoint/envelope";

    #[test]
    fn a_promise_binds_body_time_log_and_index() {
        let (signed, log) = (signed(), TestLog::v1());
        let entry = log.enter(&signed.body(Rekor::V1));
        for (pointer, value) in [
            ("/integratedTime", json!((ENTERED + 1).to_string())),
            ("/integratedTime", json!("0")),
            ("/logIndex", json!("1004")),
            ("/logIndex", json!("3")),
            (PROMISE, json!(base64(log.promise(b"another body", ENTERED)))),
            (PROMISE, json!(base64(log.key.sign(MESSAGE)))),
        ] {
            let found = signed.judge(&with(&entry, pointer, value.clone()), &known(&[&log])).unwrap_err();
            assert!(matches!(found, BadEntry::Promise { .. }), "{pointer} {value}: {found}");
        }
    }

    #[test]
    fn a_bad_promise_beside_a_good_proof_is_refused_and_so_is_a_bad_proof_beside_a_good_promise() {
        let (signed, log) = (signed(), TestLog::v1());
        let (entry, roots) = (log.enter(&signed.body(Rekor::V1)), known(&[&log]));
        let bad_promise = with(&entry, PROMISE, json!(base64(log.key.sign(b"x"))));
        assert!(signed.judge(&without(&bad_promise, "inclusionPromise"), &roots).is_ok());
        assert!(matches!(signed.judge(&bad_promise, &roots), Err(BadEntry::Promise { .. })));
        let bad_proof = with(&entry, "/inclusionProof/hashes/0", json!(base64([7; 32])));
        assert!(signed.judge(&without(&bad_proof, "inclusionProof"), &roots).is_ok());
        assert!(matches!(signed.judge(&bad_proof, &roots), Err(BadEntry::Root { .. })));
    }

    #[test]
    fn a_promise_from_outside_of_the_validity_of_the_logs_key_is_refused() {
        let (signed, log) = (signed(), TestLog::v1());
        let of = |start, end| {
            let mut draft = RootDraft::default().log(&log);
            draft.logs[0]["publicKey"]["validFor"] = valid_for(start, Some(end));
            root(&draft)
        };
        let entry = log.enter(&signed.body(Rekor::V1));
        assert!(signed.judge(&entry, &of(ENTERED, ENTERED)).is_ok());
        for (start, end) in [(ENTERED - 10, ENTERED - 1), (ENTERED + 1, ENTERED + 10)] {
            let found = signed.problem(&entry, &of(start, end));
            assert!(found.starts_with("it was entered at 2027-01-15T07:00:00Z, but the key of https://rek"), "{found}");
        }
        // The same log in two roots: one validity that covers the time is enough.
        let both = [of(ENTERED + 1, ENTERED + 10), of(ENTERED - 10, ENTERED)].concat();
        let witness = signed.judge(&entry, &both).unwrap();
        assert_eq!(witness.valid_for.end, Some(at(ENTERED)));
    }

    #[test]
    fn a_proof_of_another_entry_tree_or_log_is_refused() {
        let signed = signed();
        for log in [TestLog::v1(), TestLog::v2()] {
            let entry = without(&log.enter(&signed.body(log.rekor)), "inclusionPromise");
            let roots = known(&[&log]);
            // Another entry of the same tree.
            let mut other_body = signed.body(log.rekor);
            other_body["spec"]["more"] = json!(true);
            let other = log.enter(&other_body);
            let swapped = with(&entry, "/inclusionProof", other["inclusionProof"].clone());
            assert!(matches!(signed.judge(&swapped, &roots), Err(BadEntry::Root { .. })), "{:?}", log.rekor);
            // A checkpoint of the same log about another tree.
            let later = with(&entry, ENVELOPE, json!(log.checkpoint(8, &[7; 32])));
            let found = signed.problem(&later, &roots);
            assert_eq!(found, "its inclusion proof is of a tree of 7 entries, its checkpoint of one of 8");
            let same_size = with(&entry, ENVELOPE, json!(log.checkpoint(7, &[7; 32])));
            assert!(matches!(signed.judge(&same_size, &roots), Err(BadEntry::Root { what: "rootHash", .. })));
            // A checkpoint that another log signed about the very tree.
            let hash: [u8; 32] = STANDARD
                .decode(entry.pointer("/inclusionProof/rootHash").unwrap().as_str().unwrap())
                .unwrap()
                .try_into()
                .unwrap();
            let foreign = log.clone().with_key(Key::get(Kind::P384, 1)).checkpoint(7, &hash);
            let found = signed.problem(&with(&entry, ENVELOPE, json!(foreign)), &roots);
            assert!(found.starts_with("its checkpoint is not signed by https://"), "{found}");
            // What the log never signed.
            let found = signed.problem(&with(&entry, "/inclusionProof/treeSize", json!("3")), &roots);
            assert_eq!(found, "its inclusion proof is of a tree of 3 entries, its checkpoint of one of 7");
        }
    }

    #[test]
    fn the_index_of_a_proof_is_that_of_the_tree() {
        let signed = signed();
        let log = TestLog::v1();
        let entry = without(&log.enter(&signed.body(Rekor::V1)), "inclusionPromise");
        // In Rekor 1 the index of the entry counts the older shards too.
        assert_eq!((&entry["logIndex"], &entry["inclusionProof"]["logIndex"]), (&json!("1003"), &json!("3")));
        let found = signed.judge(&with(&entry, "/inclusionProof/logIndex", json!("2")), &known(&[&log]));
        assert!(matches!(found, Err(BadEntry::Root { .. })));
        let found = signed.problem(&with(&entry, "/inclusionProof/logIndex", json!("7")), &known(&[&log]));
        assert_eq!(found, "its inclusion proof is of entry 7 in a tree of 7");

        let log = TestLog::v2();
        let entry = log.enter(&signed.body(Rekor::V2));
        let found = signed.problem(&with(&entry, "/logIndex", json!("4")), &known(&[&log]));
        assert_eq!(found, "its logIndex is 4, but that of its inclusion proof is 3");
    }

    #[test]
    fn an_entry_without_anything_that_the_log_signed_is_refused() {
        let signed = signed();
        for log in [TestLog::v1(), TestLog::v2()] {
            let entry = without(&log.enter(&signed.body(log.rekor)), "inclusionProof");
            let bare = without(&entry, "inclusionPromise");
            assert!(matches!(signed.judge(&bare, &known(&[&log])), Err(BadEntry::Unproven)));
            let empty = json!({"signedEntryTimestamp": ""});
            let mut emptied = bare.clone();
            emptied["inclusionPromise"] = empty;
            assert!(matches!(signed.judge(&emptied, &known(&[&log])), Err(BadEntry::Unproven)));
        }
    }

    #[test]
    fn entries_of_rekor_2_have_a_proof_and_no_promise() {
        let signed = signed();
        // A log of version 1 that signs whatever it is given.
        let log = TestLog::v1();
        let entry = log.enter(&signed.body(Rekor::V2));
        let found = signed.problem(&entry, &known(&[&log]));
        assert_eq!(found, "it has an inclusion promise, which entries of type hashedrekord 0.0.2 cannot have");
        let log = TestLog::v2();
        let mut entry = log.enter(&signed.body(Rekor::V2));
        entry["integratedTime"] = json!(ENTERED.to_string());
        assert_eq!(signed.judge(&entry, &known(&[&log])).unwrap().time, None, "a time that nobody signed");
        let promise = json!({"signedEntryTimestamp": base64(log.promise(b"x", ENTERED))});
        let mut promised = without(&entry, "inclusionProof");
        promised["inclusionPromise"] = promise;
        assert!(matches!(signed.judge(&promised, &known(&[&log])), Err(BadEntry::Promised { .. })));
    }

    #[test]
    fn the_kind_beside_the_body_must_be_the_bodys() {
        let (signed, log) = (signed(), TestLog::v1());
        let entry = log.enter(&signed.body(Rekor::V1));
        let found = signed.problem(&with(&entry, "/kindVersion/version", json!("0.0.2")), &known(&[&log]));
        assert_eq!(found, "its kindVersion is \"hashedrekord 0.0.2\", but its body is of type hashedrekord 0.0.1");
        let found = signed.problem(&with(&entry, "/kindVersion/kind", json!("dsse")), &known(&[&log]));
        assert_eq!(found, "its kindVersion is \"dsse 0.0.1\", but its body is of type hashedrekord 0.0.1");
    }

    #[test]
    fn a_good_entry_of_another_signature_is_refused() {
        let (signed, log) = (signed(), TestLog::v1());
        let roots = known(&[&log]);
        let other = Signed { signature: signed.key.sign(MESSAGE), ..self::signed() };
        let entry = log.enter(&other.body(Rekor::V1));
        assert!(other.judge(&entry, &roots).is_ok());
        assert!(signed.problem(&entry, &roots).starts_with("it is of another signature: "));
    }

    #[test]
    fn an_entry_that_cannot_be_read_is_refused_by_the_field_that_is_wrong() {
        let (signed, log) = (signed(), TestLog::v1());
        let entry = log.enter(&signed.body(Rekor::V1));
        for (pointer, value, expected) in [
            ("/logId", json!(null), "it has no logId"),
            ("/logId/keyId", json!("AAAA"), "its logId.keyId has 3 bytes, expected 32"),
            ("/logId/keyId", json!("!"), "its logId.keyId is not base64"),
            ("/kindVersion", json!(null), "it has no kindVersion"),
            ("/canonicalizedBody", json!(""), "it has no canonicalizedBody"),
            ("/canonicalizedBody", json!("e30"), "its canonicalizedBody is not base64"),
            ("/canonicalizedBody", json!("e30="), "its body is not JSON of the expected form: missing field"),
            ("/logIndex", json!("-1"), "expected a whole number from 0 to 2^63 - 1"),
            ("/logIndex", json!("+1"), "expected a whole number from 0 to 2^63 - 1"),
            ("/logIndex", json!(""), "expected a whole number from 0 to 2^63 - 1"),
            ("/logIndex", json!("9223372036854775808"), "expected a whole number from 0 to 2^63 - 1"),
            ("/logIndex", json!(-1), "it is not of the expected form"),
            ("/logIndex", json!(1.0), "it is not of the expected form"),
            ("/integratedTime", json!("soon"), "expected a whole number from 0 to 2^63 - 1"),
            ("/inclusionPromise/signedEntryTimestamp", json!("!"), "its signedEntryTimestamp is not base64"),
            ("/inclusionProof/rootHash", json!(null), "it has no inclusionProof.rootHash"),
            ("/inclusionProof/rootHash", json!("AAAA"), "its inclusionProof.rootHash has 3 bytes, expected 32"),
            ("/inclusionProof/hashes/1", json!("AAAA"), "its inclusionProof.hashes has 3 bytes, expected 32"),
            ("/inclusionProof/checkpoint", json!(null), "it has no inclusionProof.checkpoint"),
            ("/inclusionProof/checkpoint/envelope", json!(""), "its checkpoint cannot be read: no empty line"),
        ] {
            let mut entry = entry.clone();
            *entry.pointer_mut(pointer).unwrap() = value.clone();
            let bare = if pointer.starts_with("/inclusionProof") { without(&entry, "inclusionPromise") } else { entry };
            let found = signed.problem(&bare, &known(&[&log]));
            assert!(found.contains(expected), "{pointer} {value}: {found}");
        }
        for annotation in [json!({}), json!({"SignedEntryTimestamp": "AAAA"})] {
            assert!(matches!(LogEntry::from_legacy(annotation.to_string().as_bytes()), Err(Malformed::Json(_))));
        }
        let mut annotation = log.annotation(&signed.body(Rekor::V1), ENTERED);
        for id in ["", "7", &hex([7; 31]), &hex([7; 33]), &hex([0xab; 32]).to_uppercase(), &"g".repeat(64)] {
            annotation["Payload"]["logID"] = json!(id);
            let found = LogEntry::from_legacy(annotation.to_string().as_bytes()).unwrap_err().to_string();
            assert!(found.contains("expected 64 lowercase hexadecimal digits"), "{found}");
        }
        let twice = br#"{"SignedEntryTimestamp":"","SignedEntryTimestamp":"","Payload":{}}"#;
        assert!(LogEntry::from_legacy(twice).unwrap_err().to_string().contains("is given twice"));
    }

    #[test]
    fn sizes_at_the_limit_and_one_past_it() {
        let (signed, log) = (signed(), TestLog::v1());
        let mut body = signed.body(Rekor::V1);
        let of = |body: &Value| log.enter(body);
        body["x"] = json!("");
        let filling = limits::LOG_BODY_BYTES - body.to_string().len();
        body["x"] = json!("x".repeat(filling));
        assert!(signed.judge(&of(&body), &known(&[&log])).is_ok());
        body["x"] = json!("x".repeat(filling + 1));
        let found = signed.judge(&of(&body), &known(&[&log])).unwrap_err();
        assert!(matches!(found, BadEntry::Malformed(Malformed::Body(found)) if found == limits::LOG_BODY_BYTES + 1));
        let found = LogEntry::from_legacy(log.annotation(&body, ENTERED).to_string().as_bytes()).unwrap_err();
        assert!(matches!(found, Malformed::Body(_)));

        let hashes = |count: usize| {
            let entry = log.enter(&signed.body(Rekor::V1));
            LogEntry::parse(&with(&entry, "/inclusionProof/hashes", json!(vec![base64([7; 32]); count])))
        };
        assert!(hashes(limits::LOG_PROOF_HASHES).is_ok());
        assert!(matches!(hashes(limits::LOG_PROOF_HASHES + 1), Err(Malformed::Hashes(65))));
    }

    #[test]
    fn two_entries_at_one_place_of_one_log_are_the_same() {
        let (signed, log) = (signed(), TestLog::v1());
        let read = |entry: &Value| LogEntry::parse(entry).unwrap();
        let one = log.enter(&signed.body(Rekor::V1));
        let again = with(&one, "/integratedTime", json!("5"));
        assert!(read(&one).is_same_as(&read(&again)));
        assert!(!read(&one).is_same_as(&read(&with(&one, "/logIndex", json!("1004")))));
        assert!(!read(&one).is_same_as(&read(&with(&one, "/logId/keyId", json!(base64([7; 32]))))));
    }
}
