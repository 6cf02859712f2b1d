//! Checkpoints: a log's signed word of how large its tree is and which hash it has (C2SP, "tlog-checkpoint" and
//! "signed-note"; Rekor 1 signs them in a form of its own). Called for the proof of a log's entry. Never takes a name on a
//! line for who signed it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::key::Message;
use super::super::trusted_root::{KEY_ID_BYTES, Log, checkpoint_key_id};
use crate::limits;

/// A checkpoint as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Checkpoint<'a> {
    /// What is signed.
    text: &'a str,
    /// The log's name for itself.
    origin: &'a str,
    /// How many leaves its tree has.
    pub(super) size: u64,
    /// The tree's hash.
    pub(super) root: [u8; 32],
    signatures: Vec<Line<'a>>,
}

/// A signature below it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line<'a> {
    name: &'a str,
    key_id: [u8; KEY_ID_BYTES],
    signature: Vec<u8>,
}

/// Why a checkpoint does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCheckpoint {
    /// More than [`limits::CHECKPOINT_BYTES`].
    #[error("its checkpoint has {0} bytes, the limit is {limit}", limit = limits::CHECKPOINT_BYTES)]
    TooLarge(usize),
    /// More than [`limits::CHECKPOINT_SIGNATURES`].
    #[error("its checkpoint has more than {limit} signatures", limit = limits::CHECKPOINT_SIGNATURES)]
    TooManySignatures,
    /// Not a signed note with a checkpoint in it.
    #[error("its checkpoint cannot be read: {0}")]
    Form(&'static str),
    /// Another log's.
    #[error("its checkpoint is of {found:?}, expected {}", quoted(expected))]
    Origin {
        /// The name in it.
        found: String,
        /// The names of the log that the entry is of.
        expected: Vec<String>,
    },
    /// Nobody signed it who is known to speak for the log.
    #[error("its checkpoint is not signed by {log}: it has signatures of {}", quoted(found))]
    Unsigned {
        /// The log.
        log: String,
        /// The names on its lines.
        found: Vec<String>,
    },
    /// A signature that bears the log's name and key is not by the key.
    #[error("its checkpoint has a signature that claims the key of {log} and is not by it")]
    Signature {
        /// The log.
        log: String,
    },
}

fn quoted(names: &[String]) -> String {
    if names.is_empty() {
        return "nobody".to_owned();
    }
    names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
}

impl<'a> Checkpoint<'a> {
    /// Parses a checkpoint with its signatures.
    ///
    /// # Errors
    /// See [`BadCheckpoint`].
    pub(super) fn parse(note: &'a str) -> Result<Self, BadCheckpoint> {
        if note.len() > limits::CHECKPOINT_BYTES {
            return Err(BadCheckpoint::TooLarge(note.len()));
        }
        if note.chars().any(|c| c.is_control() && c != '\n') {
            return Err(BadCheckpoint::Form("there are control characters in it"));
        }
        // The last empty line stands between text and signatures; the text keeps its own line feed.
        let split = note.rfind("\n\n").ok_or(BadCheckpoint::Form("no empty line before its signatures"))?;
        let (text, rest) = note.split_at_checked(split.saturating_add(1)).unwrap_or((note, ""));
        let mut lines = text.lines();
        let origin = lines.next().filter(|line| !line.is_empty()).ok_or(BadCheckpoint::Form("it names no log"))?;
        let size = lines.next().and_then(decimal).ok_or(BadCheckpoint::Form("its second line is no tree size"))?;
        let root = lines.next().and_then(|line| STANDARD.decode(line).ok()).and_then(|hash| hash.try_into().ok());
        let root = root.ok_or(BadCheckpoint::Form("its third line is no root hash"))?;
        if lines.any(str::is_empty) {
            return Err(BadCheckpoint::Form("there is an empty line in its text"));
        }
        let lines = rest.strip_prefix('\n').and_then(|rest| rest.strip_suffix('\n'));
        let lines = lines.ok_or(BadCheckpoint::Form("its last line does not end"))?;
        let mut signatures = Vec::new();
        for line in lines.split('\n') {
            if signatures.len() >= limits::CHECKPOINT_SIGNATURES {
                return Err(BadCheckpoint::TooManySignatures);
            }
            signatures.push(Line::parse(line).ok_or(BadCheckpoint::Form("a line below its text is no signature"))?);
        }
        Ok(Self { text, origin, size, root, signatures })
    }

    /// Checks that a log signed it. Lines of others, of witnesses and of keys that it had or will have, are passed over;
    /// every one that bears its name and key must hold.
    ///
    /// # Errors
    /// See [`BadCheckpoint`].
    pub(super) fn check(&self, log: &Log) -> Result<(), BadCheckpoint> {
        let is_own = |line: &&Line<'_>| match self.is_of_rekor_1() {
            // Rekor 1 calls itself by the name of its machine, and its key ID is of the key alone.
            true => log.key_id().starts_with(&line.key_id),
            false => line.name == self.origin && checkpoint_key_id(log.key(), line.name).starts_with(&line.key_id),
        };
        if !self.is_of_rekor_1() && !log.origins().iter().any(|origin| origin == self.origin) {
            return Err(BadCheckpoint::Origin { found: self.origin.to_owned(), expected: log.origins().to_vec() });
        }
        let mut own = self.signatures.iter().filter(is_own).peekable();
        if own.peek().is_none() {
            let found = self.signatures.iter().map(|line| line.name.to_owned()).collect();
            return Err(BadCheckpoint::Unsigned { log: log.name().to_owned(), found });
        }
        let message = Message::Bytes(self.text.as_bytes());
        if own.all(|line| log.key().signed(&message, &line.signature)) {
            Ok(())
        } else {
            Err(BadCheckpoint::Signature { log: log.name().to_owned() })
        }
    }

    /// Whether its origin is of Rekor 1: a name and the number of a tree.
    fn is_of_rekor_1(&self) -> bool {
        self.origin.rsplit_once(" - ").is_some_and(|(_, tree)| decimal(tree).is_some())
    }
}

impl<'a> Line<'a> {
    /// A dash, a name, and in base64 a key ID and the signature ("signed-note", "Format").
    fn parse(line: &'a str) -> Option<Self> {
        let (name, encoded) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
        let bytes = STANDARD.decode(encoded).ok()?;
        let (key_id, signature) = bytes.split_first_chunk::<KEY_ID_BYTES>()?;
        let has_all = !name.is_empty() && !signature.is_empty();
        has_all.then(|| Self { name, key_id: *key_id, signature: signature.to_vec() })
    }
}

/// A number as decimal digits without leading zeros.
fn decimal(text: &str) -> Option<u64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain)
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::*;
    use super::super::super::trusted_root::TrustedRoot;
    use super::*;
    use crate::pki::testing::*;

    fn known(log: &TestLog) -> Log {
        TrustedRoot::parse(&RootDraft::default().log(log).bytes()).unwrap().logs()[0].clone()
    }

    fn check(note: &str, log: &TestLog) -> Result<(), BadCheckpoint> {
        Checkpoint::parse(note)?.check(&known(log))
    }

    /// A note whose text is signed by a log.
    fn signed(log: &TestLog, text: &str) -> String {
        format!("{text}\n{}", log.note_signature(text))
    }

    #[test]
    fn checkpoints_of_both_versions_and_all_keys_are_taken() {
        for log in [TestLog::v1(), TestLog::v2()] {
            for kind in [Kind::P256, Kind::P384, Kind::P521, Kind::Rsa2048, Kind::Ed25519] {
                let log = log.clone().with_key(Key::get(kind, 0));
                let note = log.checkpoint(7, &[5; 32]);
                let checkpoint = Checkpoint::parse(&note).unwrap();
                assert_eq!((checkpoint.size, checkpoint.root), (7, [5; 32]));
                assert_eq!(checkpoint.check(&known(&log)), Ok(()), "{kind:?} {:?}", log.rekor);
                let other = log.clone().with_key(Key::get(kind, 1));
                let found = checkpoint.check(&known(&other)).unwrap_err().to_string();
                assert!(found.contains("is not signed by https://") && found.contains(&log.host), "{found}");
            }
        }
    }

    #[test]
    fn any_changed_byte_is_refused() {
        for log in [TestLog::v1(), TestLog::v2()] {
            let note = log.checkpoint(7, &[5; 32]);
            let known = known(&log);
            // The name on a line of Rekor 1 says nothing.
            let name = match log.rekor {
                Rekor::V1 => note.find('\u{2014}').map(|dash| dash + 4..dash + 4 + log.host.len()),
                Rekor::V2 => None,
            };
            for at in (0..note.len()).filter(|at| !name.as_ref().is_some_and(|name| name.contains(at))) {
                let mut changed = note.clone().into_bytes();
                changed[at] ^= 1;
                let Ok(changed) = String::from_utf8(changed) else { continue };
                let result = Checkpoint::parse(&changed).and_then(|checkpoint| checkpoint.check(&known));
                assert!(result.is_err(), "{at}: {changed}");
            }
        }
    }

    #[test]
    fn signatures_of_witnesses_are_passed_over_wherever_they_stand() {
        let log = TestLog::v2();
        let note = log.checkpoint(7, &[5; 32]);
        let witness = format!("\u{2014} witness.example {}\n", base64([9; 80]));
        let (text, own) = note.split_once("\n\n").unwrap();
        assert_eq!(check(&format!("{text}\n\n{own}{witness}"), &log), Ok(()));
        assert_eq!(check(&format!("{text}\n\n{witness}{own}"), &log), Ok(()));
        let found = check(&format!("{text}\n\n{witness}"), &log).unwrap_err();
        let (log, found_by) = ("https://log2026-1.rekor.example".to_owned(), vec!["witness.example".to_owned()]);
        assert_eq!(found, BadCheckpoint::Unsigned { log, found: found_by });
    }

    #[test]
    fn a_line_that_claims_the_logs_key_must_hold_even_beside_a_good_one() {
        for log in [TestLog::v1(), TestLog::v2()] {
            let note = log.checkpoint(7, &[5; 32]);
            let forged = log.note_signature("another text\n");
            assert!(matches!(check(&format!("{note}{forged}"), &log), Err(BadCheckpoint::Signature { .. })));
        }
    }

    #[test]
    fn the_origin_of_rekor_2_must_be_the_logs() {
        let (log, key) = (TestLog::v2(), TestLog::v2().key);
        // Another log of the same key.
        let other = TestLog::v2().with_host("log2026-2.rekor.example").checkpoint(7, &[5; 32]);
        let found = check(&other, &log).unwrap_err().to_string();
        let expected =
            "its checkpoint is of \"log2026-2.rekor.example\", expected \"log2026-1.rekor.example\"".to_owned();
        assert_eq!(found, expected);
        // The log's name as origin, another name on the line.
        let text = format!("{}\n7\n{}\n", log.host, base64([5; 32]));
        let line = TestLog::v2().with_host("other.example").note_signature(&text);
        assert!(matches!(check(&format!("{text}\n{line}"), &log), Err(BadCheckpoint::Unsigned { .. })));
        // The key ID of Rekor 1 does not count for Rekor 2.
        let hint = [&sha256(&key.der())[..4], &key.sign(text.as_bytes())].concat();
        let line = format!("\u{2014} {} {}\n", log.host, base64(hint));
        assert!(matches!(check(&format!("{text}\n{line}"), &log), Err(BadCheckpoint::Unsigned { .. })));
    }

    #[test]
    fn lines_after_the_root_hash_are_signed_and_passed_over() {
        let log = TestLog::v2();
        let text = format!("{}\n7\n{}\nTimestamp: 1\nmore\n", log.host, base64([5; 32]));
        assert_eq!(check(&signed(&log, &text), &log), Ok(()));
    }

    #[test]
    fn what_is_no_checkpoint_is_refused_with_its_reason() {
        let (log, hash) = (TestLog::v2(), base64([5; 32]));
        let host = &log.host;
        for (note, expected) in [
            (String::new(), "no empty line"),
            ("\n\n".to_owned(), "it names no log"),
            (signed(&log, &format!("\n7\n{hash}\n")), "it names no log"),
            (signed(&log, &format!("{host}\n")), "no tree size"),
            (signed(&log, &format!("{host}\n07\n{hash}\n")), "no tree size"),
            (signed(&log, &format!("{host}\n+7\n{hash}\n")), "no tree size"),
            (signed(&log, &format!("{host}\n18446744073709551616\n{hash}\n")), "no tree size"),
            (signed(&log, &format!("{host}\n7\n")), "no root hash"),
            (signed(&log, &format!("{host}\n7\nAAAA\n")), "no root hash"),
            (signed(&log, &format!("{host}\n7\n{hash}\n\nx\n")), "an empty line in its text"),
            (signed(&log, &format!("{host}\n7\n{hash}\nx\ty\n")), "control characters"),
            (signed(&log, &format!("{host}\r\n7\n{hash}\n")), "control characters"),
            (format!("{host}\n7\n{hash}\n\n"), "its last line does not end"),
            (format!("{host}\n7\n{hash}\n\n\n"), "an empty line in its text"),
            (format!("{host}\n7\n{hash}\n\nx\n"), "no signature"),
            (format!("{host}\n7\n{hash}\n\n\u{2014} {host} AAAAAA==\n"), "no signature"),
            (format!("{host}\n7\n{hash}\n\n\u{2014}  AAAAAAAA\n"), "no signature"),
            (format!("{host}\n7\n{hash}\n\n\u{2014} {host} !\n"), "no signature"),
            (log.checkpoint(7, &[5; 32]).trim_end().to_owned(), "its last line does not end"),
        ] {
            let found = Checkpoint::parse(&note).map(|it| format!("{it:?}")).unwrap_err().to_string();
            assert!(found.contains(expected), "{note:?}: {found}");
        }
    }

    #[test]
    fn sizes_at_the_limit_and_one_past_it() {
        let log = TestLog::v2();
        let of =
            |filling: usize| signed(&log, &format!("{}\n7\n{}\n{}\n", log.host, base64([5; 32]), "x".repeat(filling)));
        let filling = limits::CHECKPOINT_BYTES - of(0).len();
        assert_eq!(check(&of(filling), &log), Ok(()));
        let past = limits::CHECKPOINT_BYTES + 1;
        assert_eq!(check(&of(filling + 1), &log), Err(BadCheckpoint::TooLarge(past)));

        let lines = |count: usize| log.checkpoint(7, &[5; 32]) + &"\u{2014} w AAAAAAAA\n".repeat(count - 1);
        assert_eq!(check(&lines(limits::CHECKPOINT_SIGNATURES), &log), Ok(()));
        assert_eq!(check(&lines(limits::CHECKPOINT_SIGNATURES + 1), &log), Err(BadCheckpoint::TooManySignatures));
    }
}
