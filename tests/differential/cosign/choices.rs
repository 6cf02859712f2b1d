//! What is good: each kind of evidence in each form, by each kind of key, under each kind of log, timestamp authority and
//! name. A run takes each kind of evidence with some of all others; a complete one takes it with each of them.

use std::rc::Rc;

use super::super::common::registries::Image;
use super::super::keyless::{Draft, Form, Kept, now, root, yesterday};
use super::super::{keys, tokens};
use super::{Asks, Condition, Make, Match, Question};
use crate::pki::Certificate;
use crate::pki::testing::{Key, Kind, Template, tlv};
use crate::sigstore::testing::TestLog;
use crate::sigstore::testing::bundles::{ISSUER, Keyless, SIGNER, Stamp, alternative_names, fulcio_leaf, response};

/// What says when a signature was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// An entry of Rekor 1, and what of it is there.
    V1(Kept),
    /// The same with a timestamp.
    V1Stamped(Kept),
    /// An entry of Rekor 2 with a timestamp.
    V2,
    /// A timestamp alone.
    Stamp,
    /// Nothing.
    Nothing,
}

/// All that may be good.
pub const EVIDENCE: [(Form, Evidence); 13] = [
    (Form::Bundle("0.3"), Evidence::V1(Kept::All)),
    (Form::Bundle("0.3"), Evidence::V2),
    (Form::Bundle("0.3"), Evidence::V1Stamped(Kept::All)),
    (Form::Bundle("0.3"), Evidence::V1Stamped(Kept::Proof)),
    (Form::Bundle("0.3"), Evidence::Stamp),
    (Form::Bundle("0.2"), Evidence::V1(Kept::All)),
    (Form::Bundle("0.2"), Evidence::V2),
    (Form::Bundle("0.1"), Evidence::V1(Kept::All)),
    (Form::Bundle("0.1"), Evidence::V1(Kept::Promise)),
    (Form::Tag, Evidence::V1(Kept::Promise)),
    (Form::Tag, Evidence::V1Stamped(Kept::Promise)),
    (Form::Tag, Evidence::Stamp),
    (Form::Referrer, Evidence::V1(Kept::Promise)),
];

/// The keys that sign.
const KEYS: [Kind; 7] =
    [Kind::P256, Kind::P384, Kind::P521, Kind::Rsa2048, Kind::Rsa3072, Kind::Rsa4096, Kind::Ed25519];

/// The keys of logs.
const LOG_KEYS: [Kind; 4] = [Kind::P256, Kind::P384, Kind::Ed25519, Kind::Rsa2048];

/// The keys of timestamp authorities.
const STAMP_KEYS: [keys::Kind; 4] = [keys::Kind::P256, keys::Kind::Rsa2048, keys::Kind::P384, keys::Kind::Rsa4096];

/// How a signer is named.
const NAMES: [(u8, &str); 4] = [
    (0x81, SIGNER),
    (0x86, "https://github.com/acme/web/.github/workflows/release.yml@refs/tags/v1"),
    (0x82, "release.acme.example"),
    (0xa0, "release"),
];

/// The questions.
pub fn questions(is_complete: bool) -> Vec<Make> {
    let mut questions: Vec<Make> = Vec::new();
    let mut turn = 0;
    for (form, evidence) in EVIDENCE {
        for key in KEYS {
            let others = if is_complete { 0..4 } else { turn..turn + 1 };
            for other in others {
                // Keys and the rest take turns, so that each meets each somewhere.
                if is_complete || turn % 3 == 0 {
                    let choice = Choice { form, evidence, key, other: other % 4 };
                    questions.push(Box::new(move |image| choice.question(image)));
                }
            }
            turn += 1;
        }
    }
    questions
}

#[derive(Clone, Copy, Debug)]
struct Choice {
    form: Form,
    evidence: Evidence,
    key: Kind,
    other: usize,
}

impl Choice {
    fn question(self, image: &Image) -> Question {
        let Self { form, evidence, key, other } = self;
        let (tag, name) = NAMES[other];
        let log_key = LOG_KEYS[other];
        let mut base = Base::of(form, evidence, STAMP_KEYS[other]);
        base.keyless.key = Key::get(key, 2);
        for log in &mut base.keyless.logs {
            *log = log.clone().with_key(Key::get(log_key, 0));
        }
        base.keyless.leaf = base.keyless.leaf.with(alternative_names(&[general_name(tag, name)]));
        let mut question = base.question(image, |_| {});
        question.name = format!("{form:?} with {evidence:?} by {key:?}, log {log_key:?}, {name}");
        question.condition = self.condition();
        question.allows = question.condition.is_none();
        question.asks.identity = if other % 2 == 0 { Match::Exact(name) } else { Match::Pattern(name) };
        question.asks.issuer =
            if other < 2 { Match::Exact(ISSUER) } else { Match::Pattern("https://.*[.]example[.]com") };
        question
    }
}

impl Choice {
    /// What of it cosign does not take.
    fn condition(self) -> Option<Condition> {
        let Self { form, evidence, key, other } = self;
        let is_bundle = matches!(form, Form::Bundle(_));
        let is_logged = !matches!(evidence, Evidence::Stamp | Evidence::Nothing);
        let has_promise = is_logged && !matches!(evidence, Evidence::V2 | Evidence::V1Stamped(Kept::Proof));
        if has_promise && LOG_KEYS[other] != Kind::P256 {
            return Some(Condition::PromiseKey);
        }
        if evidence == Evidence::V1Stamped(Kept::Proof) && LOG_KEYS[other] == Kind::P384 {
            return Some(Condition::CheckpointKey);
        }
        if is_bundle && NAMES[other].0 == 0x82 {
            return Some(Condition::DnsName);
        }
        match key {
            Kind::Ed25519 if evidence == Evidence::V2 || (!is_bundle && is_logged) => Some(Condition::Ed25519Entry),
            Kind::P384 | Kind::P521 if !is_bundle => Some(Condition::HashOfCurve),
            _ => None,
        }
    }
}

/// A GeneralName by its tag; an otherName is one of Fulcio's user names.
fn general_name(tag: u8, name: &str) -> Vec<u8> {
    if tag != 0xa0 {
        return tlv(tag, name.as_bytes());
    }
    let user_name = tlv(6, &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x83, 0xbf, 0x30, 0x01, 0x07]);
    tlv(tag, &[user_name, tlv(0xa0, &tlv(0x0c, name.as_bytes()))].concat())
}

/// A good signature, from which mistakes begin.
#[derive(Clone)]
pub struct Base {
    pub form: Form,
    pub evidence: Evidence,
    pub keyless: Keyless,
    pub stamper: Stamper,
}

/// Who stamps, and when.
#[derive(Clone)]
pub struct Stamper(Rc<tokens::Stamper>);

impl Stamper {
    /// One with a key of this kind.
    pub fn of(kind: keys::Kind) -> Self {
        Self(Rc::new(tokens::Stamper::of(kind, |template| template)))
    }

    /// One whom nobody knows.
    pub fn stranger() -> Self {
        Self(Rc::new(tokens::Stamper::stranger()))
    }

    /// Its certificates, root last.
    pub fn chain(&self) -> Vec<Certificate> {
        self.0.chain.iter().map(|der| Certificate::from_der(der).unwrap()).collect()
    }

    /// Its word at a moment.
    pub fn stamp(&self, at: u64) -> Stamp {
        let stamper = Rc::clone(&self.0);
        Rc::new(move |signature| response(&tokens::Token::at(at).over(signature, &stamper)))
    }
}

impl Base {
    pub fn of(form: Form, evidence: Evidence, stamp_key: keys::Kind) -> Self {
        let at = if evidence == Evidence::Nothing { now() } else { yesterday() };
        let logs = match evidence {
            Evidence::V1(_) | Evidence::V1Stamped(_) => vec![TestLog::v1()],
            Evidence::V2 => vec![TestLog::v2()],
            Evidence::Stamp | Evidence::Nothing => Vec::new(),
        };
        let stamper = Stamper::of(stamp_key);
        let mut keyless = Keyless::at(at).logged(&logs);
        if matches!(evidence, Evidence::V1Stamped(_) | Evidence::V2 | Evidence::Stamp) {
            keyless.stamps.push(stamper.stamp(at + 60));
        }
        Self { form, evidence, keyless, stamper }
    }

    /// A question about it, whose parts are changed one after the other by what it is called with.
    pub fn question(&self, image: &Image, change: impl FnOnce(&mut Draft)) -> Question {
        let Self { form, evidence, keyless, stamper, .. } = self;
        // Whatever is known to a trusted root that knows all.
        let known = keyless.root().timestamp_authority(&stamper.chain());
        let mut draft = Draft::of(image, *form, keyless.clone());
        if let Evidence::V1(kept) | Evidence::V1Stamped(kept) = evidence {
            draft.kept = *kept;
        }
        change(&mut draft);
        Question {
            name: String::new(),
            signatures: vec![draft.make()],
            root: root(&known, keyless.at),
            asks: Asks {
                identity: Match::Exact(SIGNER),
                issuer: Match::Exact(ISSUER),
                repository: None,
                ignore_log: keyless.logs.is_empty(),
                ignore_sct: false,
                stamps: !keyless.stamps.is_empty(),
            },
            allows: true,
            cause: "",
            condition: None::<Condition>,
        }
    }
}

/// A signer's certificate that begins so many seconds after a moment.
pub fn leaf_from(moment: u64, begins: i64) -> Template {
    let start = moment.checked_add_signed(begins).unwrap();
    Template { not_before: start, not_after: start + 600, ..fulcio_leaf(moment) }
}
