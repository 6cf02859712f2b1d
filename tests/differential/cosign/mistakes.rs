//! One thing wrong in a signature that is good otherwise: of each form that can have it, with the cause that ratifyd must
//! tell. What cosign makes of it stands beside it.

use const_oid::db::rfc5912;
use serde_json::{Value, json};

use super::super::clock::DAY;
use super::super::common::registries::{Image, sha256};
use super::super::keyless::{Draft, Form, Kept, Made, SIGNATURE, each_validity, entries};
use super::super::keys;
use super::choices::{Base, Evidence, Stamper, leaf_from};
use super::{Asks, Condition, Make, Match, Question};
use crate::pki::rfc3339;
use crate::pki::testing::{Key, Kind, Template, at, constraints_of, purposes_of, tlv, usage_of};
use crate::sigstore::testing::bundles::{
    FULCIO_INTERMEDIATE, FULCIO_ROOT, ISSUER, Keyless, SIGNER, alternative_names, fulcio, fulcio_extension, fulcio_leaf,
};
use crate::sigstore::testing::{CtLog, TestLog, authority, base64, scts_extension};

/// Steps of making a question; each may be changed.
#[derive(Clone)]
struct Mistake {
    name: &'static str,
    bases: &'static [(Form, Evidence)],
    /// Whether cosign allows it.
    allows: bool,
    /// What ratifyd's cause must say, if it refuses.
    cause: &'static str,
    condition: Option<Condition>,
    base: fn(&mut Base),
    draft: fn(&mut Draft),
    made: fn(&mut Question, &Image, &Base),
    root: fn(&mut Value, u64),
    asks: fn(&mut Asks),
}

const V03: (Form, Evidence) = (Form::Bundle("0.3"), Evidence::V1(Kept::All));
const V03_V2: (Form, Evidence) = (Form::Bundle("0.3"), Evidence::V2);
const V03_STAMP: (Form, Evidence) = (Form::Bundle("0.3"), Evidence::Stamp);
const V03_BOTH: (Form, Evidence) = (Form::Bundle("0.3"), Evidence::V1Stamped(Kept::All));
const V01: (Form, Evidence) = (Form::Bundle("0.1"), Evidence::V1(Kept::Promise));
const V02: (Form, Evidence) = (Form::Bundle("0.2"), Evidence::V1(Kept::All));
const TAG: (Form, Evidence) = (Form::Tag, Evidence::V1(Kept::Promise));
const TAG_STAMP: (Form, Evidence) = (Form::Tag, Evidence::Stamp);
const TAG_BOTH: (Form, Evidence) = (Form::Tag, Evidence::V1Stamped(Kept::Promise));
const REFERRER: (Form, Evidence) = (Form::Referrer, Evidence::V1(Kept::Promise));

/// Everything, bundles, and what is older.
const ALL: &[(Form, Evidence)] = &[V03, TAG, V01, V02, V03_V2, REFERRER];
const BUNDLES: &[(Form, Evidence)] = &[V03, V01, V02, V03_V2];
const OLD: &[(Form, Evidence)] = &[TAG, REFERRER];
const STAMPED: &[(Form, Evidence)] = &[V03_V2, TAG_STAMP, V03_STAMP];
const BOTH: &[(Form, Evidence)] = &[V03_BOTH, TAG_BOTH];

/// How many bases of a mistake are taken where not all are.
const FEW: usize = 2;

/// The questions.
pub fn questions(is_complete: bool) -> Vec<Make> {
    let keys: &[Kind] = if is_complete { &[Kind::P256, Kind::Rsa2048, Kind::Rsa4096] } else { &[Kind::P256] };
    let mut questions: Vec<Make> = Vec::new();
    for mistake in mistakes() {
        let few = if is_complete { mistake.bases.len() } else { FEW };
        for base in mistake.bases.iter().take(few) {
            for key in keys {
                let mistake = mistake.clone();
                questions.push(Box::new(move |image| mistake.question(*base, *key, image)));
            }
        }
    }
    questions
}

impl Mistake {
    fn question(&self, (form, evidence): (Form, Evidence), key: Kind, image: &Image) -> Question {
        let mut base = Base::of(form, evidence, keys::Kind::P256);
        base.keyless.key = Key::get(key, 2);
        let whole = base.clone();
        (self.base)(&mut base);
        let mut question = base.question(image, self.draft);
        // What is trusted was agreed upon before anything went wrong.
        question.root = whole.question(image, |_| {}).root;
        (self.made)(&mut question, image, &base);
        (self.root)(&mut question.root, base.keyless.at);
        (self.asks)(&mut question.asks);
        question.name = format!("{} ({form:?} with {evidence:?} by {key:?})", self.name);
        question.condition = self.condition;
        question.cause = self.cause;
        question.allows = self.allows;
        question
    }

    fn base(self, base: fn(&mut Base)) -> Self {
        Self { base, ..self }
    }

    fn draft(self, draft: fn(&mut Draft)) -> Self {
        Self { draft, ..self }
    }

    fn made(self, made: fn(&mut Question, &Image, &Base)) -> Self {
        Self { made, ..self }
    }

    fn root(self, root: fn(&mut Value, u64)) -> Self {
        Self { root, ..self }
    }

    fn asks(self, asks: fn(&mut Asks)) -> Self {
        Self { asks, ..self }
    }

    /// cosign allows it, and why ratifyd does not is reviewed.
    fn stricter(self, condition: Condition) -> Self {
        Self { condition: Some(condition), allows: true, ..self }
    }

    /// cosign refuses it, and why ratifyd does not is reviewed.
    fn looser(self, condition: Condition) -> Self {
        Self { condition: Some(condition), allows: false, ..self }
    }
}

fn wrong(name: &'static str, bases: &'static [(Form, Evidence)], cause: &'static str) -> Mistake {
    Mistake {
        name,
        bases,
        allows: false,
        cause,
        condition: None,
        base: |_| {},
        draft: |_| {},
        made: |_, _, _| {},
        root: |_, _| {},
        asks: |_| {},
    }
}

fn right(name: &'static str, bases: &'static [(Form, Evidence)]) -> Mistake {
    Mistake { allows: true, ..wrong(name, bases, "") }
}

fn mistakes() -> Vec<Mistake> {
    [identities(), times(), certificates(), scts(), entries_and_checkpoints(), stamps(), contents(), forms()].concat()
}

const SAID: &str = "the signer is \"signer@example.com\"";
const VOUCHED: &str = "the identity was vouched for by \"https://accounts.example.com\"";

fn identities() -> Vec<Mistake> {
    vec![
        right("the identity as a pattern", ALL).asks(|asks| asks.identity = Match::Pattern("[a-z]+@example[.]com")),
        wrong("another identity", ALL, SAID).asks(|asks| asks.identity = Match::Exact("other@example.com")),
        wrong("an identity of which the certificate's is a part", ALL, SAID)
            .asks(|asks| asks.identity = Match::Exact("signer@example.com.evil.example")),
        wrong("an identity that is a part of the certificate's", ALL, SAID)
            .asks(|asks| asks.identity = Match::Exact("signer@example")),
        wrong("a pattern that matches a part of the certificate's identity", ALL, SAID)
            .asks(|asks| asks.identity = Match::Pattern("signer@example"))
            .stricter(Condition::PartialPattern),
        wrong("an identity in other letters", ALL, SAID)
            .asks(|asks| asks.identity = Match::Exact("Signer@example.com")),
        wrong("another issuer", ALL, VOUCHED).asks(|asks| asks.issuer = Match::Exact("https://evil.example")),
        wrong("an issuer that is a part of the certificate's", ALL, VOUCHED)
            .asks(|asks| asks.issuer = Match::Exact("https://accounts.example")),
        wrong("a pattern that matches a part of the certificate's issuer", ALL, VOUCHED)
            .asks(|asks| asks.issuer = Match::Pattern("accounts[.]example"))
            .stricter(Condition::PartialPattern),
        right("the repository that is asked for", ALL)
            .base(of_repository)
            .asks(|asks| asks.repository = Some("acme/web")),
        wrong("another repository", ALL, "is \"acme/web\"")
            .base(of_repository)
            .asks(|asks| asks.repository = Some("acme/api")),
        wrong("no repository", ALL, "the certificate does not say").asks(|asks| asks.repository = Some("acme/web")),
        right("an issuer in the older extension alone", ALL)
            .base(|base| base.keyless.leaf = base.keyless.leaf.clone().without(fulcio_extension(8, b"").extn_id)),
        right("an issuer in the newer extension alone", BUNDLES).base(without_older_issuer),
        right("an issuer in the newer extension alone", OLD).base(without_older_issuer).looser(Condition::OlderIssuer),
        wrong("two issuers, the newer one another", BUNDLES, EVIL).base(with_newer_issuer),
        wrong("two issuers, the newer one another", OLD, EVIL).base(with_newer_issuer).stricter(Condition::OlderIssuer),
        wrong("no issuer", ALL, "does not say who vouched").base(|base| {
            let leaf = base.keyless.leaf.clone().without(fulcio_extension(1, b"").extn_id);
            base.keyless.leaf = leaf.without(fulcio_extension(8, b"").extn_id);
        }),
    ]
}

const EVIL: &str = "the identity was vouched for by \"https://evil.example\"";

fn without_older_issuer(base: &mut Base) {
    base.keyless.leaf = base.keyless.leaf.clone().without(fulcio_extension(1, b"").extn_id);
}

fn with_newer_issuer(base: &mut Base) {
    let issuer = fulcio_extension(8, &tlv(0x0c, b"https://evil.example"));
    base.keyless.leaf = base.keyless.leaf.clone().with(issuer);
}

fn of_repository(base: &mut Base) {
    base.keyless.leaf = base.keyless.leaf.clone().with(fulcio_extension(5, b"acme/web"));
}

/// Moments of entries, timestamps and certificates.
fn times() -> Vec<Mistake> {
    vec![
        wrong("entered before the certificate begins", &[V03, TAG, V01, V02, REFERRER], "is valid from")
            .base(|base| base.keyless.leaf = leaf_from(base.keyless.at, 60)),
        wrong(
            "entered after the certificate has ended",
            &[V03, TAG, V01, V02, REFERRER],
            "certificate (empty name) expired at",
        )
        .base(|base| base.keyless.leaf = leaf_from(base.keyless.at, -700)),
        right("entered at the last moment of the certificate", &[V03, TAG])
            .base(|base| base.keyless.leaf = leaf_from(base.keyless.at, -600)),
        wrong("stamped before the certificate begins", STAMPED, "is valid from")
            .base(|base| base.keyless.leaf = leaf_from(base.keyless.at, 120)),
        wrong("stamped after the certificate has ended", STAMPED, "certificate (empty name) expired at")
            .base(|base| base.keyless.stamps = vec![base.stamper.stamp(base.keyless.at + 3600)]),
        wrong(
            "stamped after the certificate has ended, and entered before",
            BOTH,
            "certificate (empty name) expired at",
        )
        .base(|base| base.keyless.stamps = vec![base.stamper.stamp(base.keyless.at + 3600)]),
        wrong("the same, and cosign is not told of timestamps", BOTH, "certificate (empty name) expired at")
            .base(|base| base.keyless.stamps = vec![base.stamper.stamp(base.keyless.at + 3600)])
            .asks(|asks| asks.stamps = false)
            .stricter(Condition::UnaskedStamp),
        wrong("nobody says when, and the certificate has ended", &[V03, TAG], "the signer's certificate expired at")
            .base(|base| base.keyless.logs.clear())
            .asks(|asks| asks.ignore_log = true),
        wrong(
            "nobody says when, and the certificate is still valid",
            &[(Form::Bundle("0.3"), Evidence::Nothing), (Form::Tag, Evidence::Nothing)],
            "the signer's certificate counts until",
        )
        .stricter(Condition::ValidNow),
        wrong(
            "a proof tells no time",
            &[(Form::Bundle("0.3"), Evidence::V1(Kept::Proof))],
            "says when the signature was made",
        ),
        wrong("an entry of Rekor 2 tells no time", &[V03_V2], "says when the signature was made")
            .base(|base| base.keyless.stamps.clear())
            .asks(|asks| asks.stamps = false),
        wrong("the authority no longer counted", ALL, "and authority https://fulcio.example counts")
            .root(|root, at| ended(&mut root["certificateAuthorities"], at)),
        wrong(
            "the authority's intermediate certificate had ended",
            ALL,
            "certificate CN=fulcio intermediate,O=acme expired at",
        )
        .root(|root, at| fulcio_with(root, at, |template, at| template.not_after = at - DAY)),
    ]
}

/// Ends everything in a part of a trusted root the day before a moment.
fn ended(part: &mut Value, moment: u64) {
    each_validity(part, &mut |validity| validity["end"] = json!(rfc3339(at(moment - DAY))));
}

/// Another intermediate certificate for Fulcio's in a trusted root.
fn fulcio_with(root: &mut Value, moment: u64, change: fn(&mut Template, u64)) {
    let mut template = Template::ca(FULCIO_INTERMEDIATE, FULCIO_ROOT)
        .with(purposes_of(false, &[rfc5912::ID_KP_CODE_SIGNING]))
        .with(constraints_of(true, true, Some(0)));
    (template.not_before, template.not_after) = (moment - 100 * DAY, moment + 100 * DAY);
    change(&mut template, moment);
    let [root_key, middle] = [0, 1].map(|number| Key::get(Kind::P384, number));
    let chain = vec![template.sign(middle, root_key), fulcio(moment).remove(1)];
    let validity = root["certificateAuthorities"][0]["validFor"].clone();
    root["certificateAuthorities"] = json!([authority("https://fulcio.example", &chain)]);
    root["certificateAuthorities"][0]["validFor"] = validity;
}

fn certificates() -> Vec<Mistake> {
    let leaf = |name, cause, base| wrong(name, ALL, cause).base(base);
    vec![
        wrong("an authority that nobody knows", ALL, "no trusted authority leads to it").base(|base| {
            base.keyless.issuer = Key::get(Kind::P384, 2);
            base.keyless.leaf.issuer = "CN=another,O=acme".to_owned();
        }),
        wrong("an authority that nobody knows by the name of one", ALL, "its signature was not made by the key of")
            .base(|base| base.keyless.issuer = Key::get(Kind::P384, 2)),
        leaf("a certificate that is not for signing code", "does not say codeSigning", |base| {
            let leaf = base.keyless.leaf.clone();
            base.keyless.leaf = leaf.with(purposes_of(false, &[rfc5912::ID_KP_TIME_STAMPING]));
        }),
        leaf("a certificate without a purpose", "does not say codeSigning", |base| {
            base.keyless.leaf = base.keyless.leaf.clone().without(purposes_of(false, &[]).extn_id);
        })
        .stricter(Condition::SignersCertificate),
        leaf("a certificate that may not sign", "does not say digitalSignature", |base| {
            base.keyless.leaf = base.keyless.leaf.clone().with(usage_of(true, &[2]));
        })
        .stricter(Condition::SignersCertificate),
        leaf("a certificate that names nobody", "names 0 signers", |base| {
            base.keyless.leaf = base.keyless.leaf.clone().without(alternative_names(&[]).extn_id);
        }),
        wrong("a certificate that names two", BUNDLES, "names 2 signers").base(|base| names_two(base, false)),
        wrong("a certificate that names two", OLD, "names 2 signers")
            .base(|base| names_two(base, false))
            .stricter(Condition::SignersCertificate),
        leaf("a certificate that names two, the first one as is asked", "names 2 signers", |base| {
            names_two(base, true)
        })
        .stricter(Condition::SignersCertificate),
        leaf("a certificate of an authority", "is an authority's", |base| {
            base.keyless.leaf = base.keyless.leaf.clone().with(constraints_of(true, true, None));
        })
        .stricter(Condition::SignersCertificate),
        wrong(
            "a trusted root without the authority's intermediate certificate",
            BUNDLES,
            "no trusted authority leads to it",
        )
        .root(without_intermediate),
        right("the same where it comes with the signature", &[V01, V02])
            .made(with_intermediate)
            .root(without_intermediate)
            .looser(Condition::GivenIntermediate),
        right("the same where it comes in an annotation", OLD)
            .root(without_intermediate)
            .looser(Condition::GivenIntermediate),
        wrong("an intermediate certificate that the trusted root replaces", &[V01, V02], REPLACED)
            .made(with_intermediate)
            .root(|root, at| fulcio_with(root, at, replaced)),
        wrong("the same where it comes in an annotation", OLD, REPLACED)
            .root(|root, at| fulcio_with(root, at, replaced)),
    ]
}

const REPLACED: &str = "no trusted authority leads to it";

fn replaced(template: &mut Template, _: u64) {
    template.subject = "CN=fulcio intermediate 2,O=acme".to_owned();
}

fn with_intermediate(question: &mut Question, _: &Image, base: &Base) {
    let chain = &mut bundle(question)["verificationMaterial"]["x509CertificateChain"]["certificates"];
    let intermediate = base64(fulcio(base.keyless.at)[0].der());
    chain.as_array_mut().unwrap().push(json!({ "rawBytes": intermediate }));
}

fn names_two(base: &mut Base, is_first: bool) {
    let mut names = [b"other@example.com".as_slice(), SIGNER.as_bytes()].map(|name| tlv(0x81, name));
    if is_first {
        names.reverse();
    }
    base.keyless.leaf = base.keyless.leaf.clone().with(alternative_names(&names));
}

fn without_intermediate(root: &mut Value, _: u64) {
    let chain = &mut root["certificateAuthorities"][0]["certChain"]["certificates"];
    chain.as_array_mut().unwrap().remove(0);
}

fn scts() -> Vec<Mistake> {
    vec![
        wrong("no SCT", ALL, "has no signed certificate timestamp").base(|base| base.keyless.ct_log = None),
        right("no SCT, and none is asked for", ALL)
            .base(|base| base.keyless.ct_log = None)
            .asks(|asks| asks.ignore_sct = true),
        wrong("an SCT of a log that nobody knows", ALL, "is of a log that is not trusted").base(|base| {
            base.keyless.ct_log = Some(CtLog { key: Key::get(Kind::P256, 0), ..CtLog::new() });
        }),
        right("an SCT of a stranger beside a good one", ALL).base(|base| {
            let strange = CtLog { key: Key::get(Kind::P256, 0), ..CtLog::new() };
            two_scts(base, &strange, &CtLog::new());
        }),
        wrong("an SCT of another certificate", ALL, "over this certificate and issuer").draft(|draft| {
            let other = Keyless::at(draft.keyless.at).with(|leaf| leaf.with(fulcio_extension(5, b"another")));
            let sct = sct_of(&other, &CtLog::new());
            draft.keyless.leaf = draft.keyless.leaf.clone().with(scts_extension(&[sct]));
        }),
        wrong("an SCT by another authority's key", ALL, "over this certificate and issuer").draft(|draft| {
            let keyless = Keyless { issuer: Key::get(Kind::P384, 2), ..Keyless::at(draft.keyless.at) };
            let sct = sct_of(&keyless, &CtLog::new());
            draft.keyless.leaf = draft.keyless.leaf.clone().with(scts_extension(&[sct]));
        }),
        wrong("a log of certificates that no longer counted", ALL, "but the key of https://ctfe.example is valid")
            .root(|root, at| ended(&mut root["ctlogs"], at)),
        wrong("a trusted root without a log of certificates", ALL, "is of a log that is not trusted")
            .root(|root, _| root["ctlogs"] = json!([])),
    ]
}

fn sct_of(keyless: &Keyless, log: &CtLog) -> Vec<u8> {
    use der::{Decode as _, Encode as _};
    let Keyless { leaf, key, issuer, at, .. } = keyless;
    let before = x509_cert::Certificate::from_der(&leaf.der(key, issuer)).unwrap();
    log.sct(&before.tbs_certificate.to_der().unwrap(), issuer, *at)
}

fn two_scts(base: &mut Base, one: &CtLog, other: &CtLog) {
    let scts = [one, other].map(|log| sct_of(&base.keyless, log));
    base.keyless.leaf = base.keyless.leaf.clone().with(scts_extension(&scts));
    base.keyless.ct_log = None;
}

fn bundle(question: &mut Question) -> &mut Value {
    question.signatures[0].bundle()
}

/// The entry of a bundle, changed.
fn entry(question: &mut Question) -> &mut Value {
    &mut entries(bundle(question))[0]
}

/// Another signature of the same signer, of another image.
fn another(image: &Image, base: &Base) -> Made {
    let mut draft = Draft::of(image, base.form, base.keyless.clone());
    draft.digest = sha256(b"another image");
    draft.make()
}

/// An annotation of the older form that holds JSON, changed.
fn annotation(question: &mut Question, name: &str, change: impl FnOnce(&mut Value)) {
    let Made::Layer { annotations, .. } = &mut question.signatures[0] else { panic!("it is no layer") };
    let mut value: Value = serde_json::from_str(annotations[name].as_str().unwrap()).unwrap();
    change(&mut value);
    annotations[name] = json!(value.to_string());
}

const LOG_ENTRY: &str = "dev.sigstore.cosign/bundle";

fn entries_and_checkpoints() -> Vec<Mistake> {
    let v1: &[_] = &[V03, V02];
    let promised: &[_] = &[V03, V01, V02];
    let proven: &[_] = &[V03, V03_V2, V02];
    vec![
        wrong("no entry", BUNDLES, "no transparency log has the signature, and the policy asks for one")
            .base(|base| {
                base.keyless.logs.clear();
                base.keyless.stamps = vec![base.stamper.stamp(base.keyless.at + 60)];
            })
            .asks(|asks| {
                asks.ignore_log = false;
                asks.stamps = true
            }),
        wrong("no entry in an annotation", OLD, "no transparency log has the signature, and the policy asks for one")
            .base(|base| {
                base.keyless.logs.clear();
                base.keyless.stamps = vec![base.stamper.stamp(base.keyless.at + 60)];
            })
            .asks(|asks| {
                asks.ignore_log = false;
                asks.stamps = true
            }),
        wrong("the entry of another signature", BUNDLES, "it is of another").made(|question, image, base| {
            let mut other = another(image, base);
            *entry(question) = entries(other.bundle())[0].clone();
        }),
        wrong("the entry of another signature in an annotation", OLD, "it is of another").made(
            |question, image, base| {
                let Made::Layer { annotations: other, .. } = another(image, base) else { unreachable!() };
                let Made::Layer { annotations, .. } = &mut question.signatures[0] else { unreachable!() };
                annotations[LOG_ENTRY] = other[LOG_ENTRY].clone();
            },
        ),
        wrong("the promise of another entry", promised, "its inclusion promise (SET) is not signed by").made(
            |question, image, base| {
                let mut other = another(image, base);
                entry(question)["inclusionPromise"] = entries(other.bundle())[0]["inclusionPromise"].clone();
            },
        ),
        wrong("the proof of another entry", proven, "body's way through the inclusion proof is").made(
            |question, image, base| {
                let mut other = another(image, base);
                entry(question)["inclusionProof"] = entries(other.bundle())[0]["inclusionProof"].clone();
            },
        ),
        wrong("the promise of another entry in an annotation", OLD, "its inclusion promise (SET) is not signed by")
            .made(|question, image, base| {
                let Made::Layer { annotations: other, .. } = another(image, base) else { unreachable!() };
                let other: Value = serde_json::from_str(other[LOG_ENTRY].as_str().unwrap()).unwrap();
                annotation(question, LOG_ENTRY, |it| {
                    it["SignedEntryTimestamp"] = other["SignedEntryTimestamp"].clone()
                });
            }),
        wrong("another time than was promised", promised, "its inclusion promise (SET) is not signed by")
            .made(|question, _, base| entry(question)["integratedTime"] = json!((base.keyless.at + 1).to_string())),
        wrong("another time than was promised in an annotation", OLD, "its inclusion promise (SET) is not signed by")
            .made(|question, _, base| {
                let time = base.keyless.at + 1;
                annotation(question, LOG_ENTRY, |it| it["Payload"]["integratedTime"] = json!(time));
            }),
        wrong("another index than was promised", promised, "its inclusion promise (SET) is not signed by")
            .made(|question, _, _| entry(question)["logIndex"] = json!("7")),
        wrong("another index than is proven", v1, "body's way through the inclusion proof is")
            .made(|question, _, _| entry(question)["inclusionProof"]["logIndex"] = json!("2")),
        wrong("two indexes of one entry", &[V03_V2], "its logIndex is 3, but that of its inclusion proof is 2")
            .made(|question, _, _| entry(question)["inclusionProof"]["logIndex"] = json!("2"))
            .stricter(Condition::ProofFields),
        wrong("another index in both places", &[V03_V2], "body's way through the inclusion proof is").made(
            |question, _, _| {
                entry(question)["logIndex"] = json!("2");
                entry(question)["inclusionProof"]["logIndex"] = json!("2");
            },
        ),
        wrong("another size of the tree than is proven", proven, "its inclusion proof is of a tree of")
            .made(|question, _, _| entry(question)["inclusionProof"]["treeSize"] = json!("8"))
            .stricter(Condition::ProofFields),
        wrong("another hash in the proof", proven, "body's way through the inclusion proof is").made(
            |question, _, _| {
                entry(question)["inclusionProof"]["hashes"][0] = json!(base64([7; 32]));
            },
        ),
        wrong("another root hash than the checkpoint's", v1, "its rootHash is").made(other_root_hash),
        wrong("another root hash than the checkpoint's", &[V03_V2], "its rootHash is")
            .made(other_root_hash)
            .stricter(Condition::ProofFields),
        wrong("a checkpoint of another log", proven, "its checkpoint is").made(|question, _, base| {
            let log = base.keyless.logs[0].clone().with_key(Key::get(Kind::P256, 1)).with_host("other.example");
            resigned(question, &log);
        }),
        wrong("a checkpoint by another key in the log's name", proven, "its checkpoint").made(|question, _, base| {
            let log = base.keyless.logs[0].clone().with_key(Key::get(Kind::P256, 1));
            resigned(question, &log);
        }),
        wrong("a checkpoint that nobody signed", proven, "its checkpoint cannot be read").made(|question, _, _| {
            let note = &mut entry(question)["inclusionProof"]["checkpoint"]["envelope"];
            let text = note.as_str().unwrap().split("\n\n").next().unwrap().to_owned();
            *note = json!(format!("{text}\n\n"));
        }),
        wrong("a log that nobody knows", ALL, "it is of a log that is not trusted").root(|root, _| {
            let key = if root["tlogs"][0]["checkpointKeyId"].is_null() { TestLog::v1() } else { TestLog::v2() };
            root["tlogs"] = json!([key.with_key(Key::get(Kind::P256, 1)).instance()]);
        }),
        wrong("a trusted root without a log", ALL, "it is of a log that is not trusted")
            .root(|root, _| root["tlogs"] = json!([])),
        wrong(
            "a log whose key no longer counted",
            &[V03, TAG, V01, V02, REFERRER],
            "but the key of https://rekor.example",
        )
        .root(|root, at| ended(&mut root["tlogs"], at)),
        wrong(
            "a log that tells no time, whose key no longer counted",
            &[V03_V2],
            "and log https://log2026-1.rekor.example counts",
        )
        .root(|root, at| ended(&mut root["tlogs"], at))
        .stricter(Condition::LogEnded),
        wrong("a log that nobody knows beside one that has it", v1, "it is of a log that is not trusted")
            .base(|base| base.keyless.logs.push(TestLog::v1().with_key(Key::get(Kind::P256, 1))))
            .stricter(Condition::StrangeEntry),
        wrong("an entry twice", BUNDLES, "one log entry twice").made(|question, _, _| {
            let first = entry(question).clone();
            bundle(question)["verificationMaterial"]["tlogEntries"].as_array_mut().unwrap().push(first);
        }),
        wrong("an entry of another kind than it says", BUNDLES, "its kindVersion is")
            .made(|question, _, _| entry(question)["kindVersion"]["kind"] = json!("intoto"))
            .stricter(Condition::KindVersion),
        wrong("an entry with neither promise nor proof", BUNDLES, "in each log entry, and this one has not").made(
            |question, _, _| {
                let entry = entry(question).as_object_mut().unwrap();
                entry.remove("inclusionPromise");
                entry.remove("inclusionProof");
            },
        ),
        right("a bad entry, and no log is asked for", &[V03_BOTH, TAG_BOTH])
            .made(|question, _, _| match &mut question.signatures[0] {
                Made::Bundle { bundle, .. } => entries(bundle)[0]["logIndex"] = json!("7"),
                Made::Layer { .. } => annotation(question, LOG_ENTRY, |it| it["Payload"]["logIndex"] = json!(7)),
            })
            .asks(|asks| asks.ignore_log = true),
    ]
}

fn other_root_hash(question: &mut Question, _: &Image, _: &Base) {
    entry(question)["inclusionProof"]["rootHash"] = json!(base64([7; 32]));
}

/// The checkpoint of an entry as another log would sign it.
fn resigned(question: &mut Question, log: &TestLog) {
    let proof = &mut entry(question)["inclusionProof"];
    let size: usize = proof["treeSize"].as_str().unwrap().parse().unwrap();
    let root = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, proof["rootHash"].as_str().unwrap());
    proof["checkpoint"]["envelope"] = json!(log.checkpoint(size, &root.unwrap().try_into().unwrap()));
}

fn stamps() -> Vec<Mistake> {
    let bad = "a timestamp with the signature does not count";
    vec![
        wrong("a timestamp over something else", STAMPED, bad).base(|base| {
            let stamp = base.stamper.stamp(base.keyless.at + 60);
            base.keyless.stamps = vec![std::rc::Rc::new(move |_| stamp(b"something else"))];
        }),
        wrong("a timestamp by somebody unknown", STAMPED, bad)
            .base(|base| base.keyless.stamps = vec![Stamper::stranger().stamp(base.keyless.at + 60)]),
        right("a timestamp by somebody unknown beside a good one", &[V03_V2, V03_STAMP])
            .base(|base| base.keyless.stamps.push(Stamper::stranger().stamp(base.keyless.at + 60))),
        wrong("a trusted root without a timestamp authority", STAMPED, "says when the signature was made")
            .root(|root, _| root["timestampAuthorities"] = json!([])),
        wrong("a timestamp authority that no longer counted", STAMPED, bad)
            .root(|root, at| ended(&mut root["timestampAuthorities"], at)),
        wrong("a timestamp that cannot be read", STAMPED, bad)
            .base(|base| base.keyless.stamps = vec![std::rc::Rc::new(|_| b"no timestamp".to_vec())]),
        wrong("a timestamp over something else beside a good entry", BOTH, bad)
            .base(|base| {
                let stamp = base.stamper.stamp(base.keyless.at + 60);
                base.keyless.stamps = vec![std::rc::Rc::new(move |_| stamp(b"something else"))];
            })
            .asks(|asks| asks.stamps = false)
            .stricter(Condition::UnaskedStamp),
    ]
}

fn contents() -> Vec<Mistake> {
    vec![
        wrong("a signature of another image", BUNDLES, "not of this image")
            .draft(|draft| draft.digest = sha256(b"another image")),
        wrong("a payload of another image", OLD, "not this image")
            .draft(|draft| draft.digest = sha256(b"another image")),
        wrong("a payload of another name", OLD, "it was signed as registry.example/other")
            .draft(|draft| draft.name = "registry.example/other".to_owned())
            .stricter(Condition::DockerReference),
        wrong(
            "an attestation in place of a signature",
            &[V03, V03_V2],
            "it is an attestation (\"https://spdx.dev/Document\")",
        )
        .draft(|draft| draft.predicate_type = "https://spdx.dev/Document".to_owned())
        .stricter(Condition::Attestation),
        wrong("the same whose manifest calls it a signature", &[V03, V03_V2], "it is an attestation")
            .draft(|draft| draft.predicate_type = "https://spdx.dev/Document".to_owned())
            .made(|question, _, _| {
                if let Made::Bundle { predicate_type, .. } = &mut question.signatures[0] {
                    *predicate_type = SIGNATURE.to_owned();
                }
            })
            .stricter(Condition::Attestation),
        wrong("an unknown predicate", &[V03, V03_V2], "it is an attestation (\"https://example.com/signed\")")
            .draft(|draft| draft.predicate_type = "https://example.com/signed".to_owned())
            .stricter(Condition::Attestation),
        wrong("an older attestation in place of a signature", &[V01, V02], "it is an attestation")
            .draft(|draft| draft.predicate_type = "https://spdx.dev/Document".to_owned()),
        wrong("two signatures in an envelope", BUNDLES, "a DSSE envelope with more or less than one signature").made(
            |question, _, _| {
                let signatures = bundle(question)["dsseEnvelope"]["signatures"].as_array_mut().unwrap();
                signatures.push(signatures[0].clone());
            },
        ),
        wrong("no signature in an envelope", BUNDLES, "a DSSE envelope with more or less than one signature")
            .made(|question, _, _| bundle(question)["dsseEnvelope"]["signatures"] = json!([])),
        wrong("a statement that was changed after it was signed", BUNDLES, "was not made over this content").made(
            |question, image, base| {
                let mut before = another(image, base);
                let payload = bundle(question)["dsseEnvelope"]["payload"].clone();
                before.bundle()["dsseEnvelope"]["payload"] = payload;
                question.signatures = vec![before];
            },
        ),
        wrong("a payload that was changed after it was signed", OLD, "was not made over this content").made(
            |question, _, _| {
                let Made::Layer { payload, .. } = &mut question.signatures[0] else { unreachable!() };
                *payload = String::from_utf8(payload.clone()).unwrap().replace("null", "{}").into_bytes();
            },
        ),
        wrong("a payload of another type", OLD, "the simple signing payload is of type")
            .made(|question, _, base| {
                let Made::Layer { payload, .. } = &mut question.signatures[0] else { unreachable!() };
                let other = String::from_utf8(payload.clone()).unwrap().replace("cosign container", "atomic container");
                *payload = other.clone().into_bytes();
                signed_anew(question, base, other.as_bytes());
            })
            .stricter(Condition::PayloadType),
        wrong("an envelope of another payload type", BUNDLES, "the DSSE envelope holds \"text/plain\"").made(
            |question, _, _| {
                bundle(question)["dsseEnvelope"]["payloadType"] = json!("text/plain");
            },
        ),
        wrong("a bundle of a file", &[V03, V03_V2], "the bundle signs a file").made(|question, image, base| {
            *bundle(question) = base.keyless.message(image.descriptor().as_bytes());
        }),
        right("a strange signature beside a good one", ALL).made(|question, image, base| {
            if base.form == Form::Bundle("0.3") {
                let stranger = Keyless { issuer: Key::get(Kind::P384, 2), ..base.keyless.clone() };
                question.signatures.insert(0, Draft::of(image, base.form, stranger).make());
            }
        }),
    ]
}

/// A layer's signature and its entry, over another payload.
fn signed_anew(question: &mut Question, base: &Base, payload: &[u8]) {
    use crate::sigstore::testing::{By, bodies};
    let certificate = base.keyless.certificate();
    let signature = base.keyless.key.sign(payload);
    let body = bodies::hashedrekord_001(&signature, By::Certificate(&certificate), payload);
    let entry = base.keyless.logs[0].annotation(&body, base.keyless.at).to_string();
    let Made::Layer { annotations, .. } = &mut question.signatures[0] else { unreachable!() };
    annotations["dev.cosignproject.cosign/signature"] = json!(base64(&signature));
    annotations["dev.sigstore.cosign/certificate"] =
        json!(crate::sigstore::testing::pem("CERTIFICATE", certificate.der()));
    annotations[LOG_ENTRY] = json!(entry);
}

fn forms() -> Vec<Mistake> {
    vec![
        wrong(
            "a chain where version 0.3 has one certificate",
            &[V03, V03_V2],
            "one certificate and no x509CertificateChain",
        )
        .made(|question, _, _| {
            let material = bundle(question)["verificationMaterial"].as_object_mut().unwrap();
            let certificate = material.remove("certificate").unwrap();
            material.insert("x509CertificateChain".to_owned(), json!({ "certificates": [certificate] }));
        }),
        wrong("a version that is to come", &[V03, V03_V2], "the bundle states media type").made(|question, _, _| {
            bundle(question)["mediaType"] = json!("application/vnd.dev.sigstore.bundle.v0.4+json");
        }),
        wrong("a member that nobody knows", BUNDLES, "unknown field")
            .made(|question, _, _| bundle(question)["extra"] = json!(1)),
        wrong("a key in place of the certificate", &[V03, V03_V2], "the signature brings no certificate").made(
            |question, _, _| {
                bundle(question)["verificationMaterial"]["certificate"] = Value::Null;
                bundle(question)["verificationMaterial"]["publicKey"] = json!({ "hint": "a key" });
            },
        ),
        wrong("no promise in version 0.1", &[V01], "an inclusionPromise in each log entry").made(|question, _, _| {
            entry(question)["inclusionPromise"] = Value::Null;
        }),
        wrong("no proof in version 0.2", &[V02], "an inclusionProof in each log entry").made(|question, _, _| {
            entry(question)["inclusionProof"] = Value::Null;
        }),
        wrong("no certificate in an annotation", OLD, "the signature brings no certificate").made(|question, _, _| {
            let Made::Layer { annotations, .. } = &mut question.signatures[0] else { unreachable!() };
            annotations.as_object_mut().unwrap().remove("dev.sigstore.cosign/certificate");
        }),
        right("no chain in an annotation", OLD).made(|question, _, _| {
            let Made::Layer { annotations, .. } = &mut question.signatures[0] else { unreachable!() };
            annotations.as_object_mut().unwrap().remove("dev.sigstore.cosign/chain");
        }),
        wrong("another signature in an annotation", OLD, "was not made over this content").made(
            |question, image, base| {
                let Made::Layer { annotations: other, .. } = another(image, base) else { unreachable!() };
                let Made::Layer { annotations, .. } = &mut question.signatures[0] else { unreachable!() };
                let name = "dev.cosignproject.cosign/signature";
                annotations[name] = other[name].clone();
            },
        ),
        right("a name as leaf_from makes it", &[V03]).base(|base| base.keyless.leaf = fulcio_leaf(base.keyless.at)),
        right("the issuer as a pattern", ALL).asks(|asks| asks.issuer = Match::Pattern(ISSUER)),
    ]
}
