//! Signatures with one thing about them that is unusual, or wrong: in the envelope, in the certificates, in the
//! payload, in the manifest. Each is made in every envelope that can have it.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use const_oid::db::rfc5280;
use serde_json::{Value, json};
use x509_cert::Version;

use super::cbor::Cbor;
use super::certificates::{
    ANY_PURPOSE, CODE_SIGNING, CRL_SIGN, DIGITAL_SIGNATURE, KEY_CERT_SIGN, KEY_ENCIPHERMENT, OCSP_SIGNING,
    TIME_STAMPING, Template, constraints, extension, oid, purposes, sha1, tlv, usage,
};
use super::clock::{days, rfc3339};
use super::envelopes::{
    AGENT, AUTHENTIC_TIME, Cose, Draft, EXPIRY, Format, Jws, PAYLOAD_TYPE, SCHEME, SIGNING_TIME, Scheme, TIMESTAMP,
};
use super::keys::{Key, Kind};
use super::oracle::{Expected, Part};
use super::reviewed::Condition;
use super::trials::{Attached, Question, Statement, StoreType, image};

/// What notation says of a mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    Allow,
    Deny(Part),
    /// It cannot read the payload, and finds that out sooner in JWS than in COSE.
    NoPayload,
}

use Says::{Allow, Deny};

const INTEGRITY: Says = Deny(Part::Integrity);

/// What is done to a sound signature.
enum Change {
    /// To its certificates: the templates of leaf, issuer and root.
    Certificates(fn(&mut [Template; 3])),
    /// To all that it says, in every envelope.
    Draft(fn(&mut Draft)),
    Jws(fn(&mut Jws)),
    /// To the envelope's bytes, by what it was made of and its signature.
    JwsBytes(fn(&Jws, &[u8]) -> Vec<u8>),
    Cose(fn(&mut Cose)),
    CoseBytes(fn(&Cose, &[u8]) -> Vec<u8>),
    /// To how it is attached.
    Attached(fn(&mut Attached)),
}

/// One thing that is unusual or wrong.
struct Mistake {
    name: &'static str,
    says: Says,
    change: Change,
    condition: Option<Condition>,
}

/// All questions.
pub fn questions() -> Vec<Question> {
    let mistakes = [certificates(), drafts(), jws(), cose(), attached()].concat_all();
    let formats = |change: &Change| match change {
        Change::Jws(_) | Change::JwsBytes(_) => vec![Format::Jws],
        Change::Cose(_) | Change::CoseBytes(_) => vec![Format::Cose],
        _ => vec![Format::Jws, Format::Cose],
    };
    let questions =
        mistakes.iter().flat_map(|mistake| formats(&mistake.change).into_iter().map(|format| mistake.question(format)));
    questions.collect()
}

trait ConcatAll {
    fn concat_all(self) -> Vec<Mistake>;
}

impl<const N: usize> ConcatAll for [Vec<Mistake>; N] {
    fn concat_all(self) -> Vec<Mistake> {
        self.into_iter().flatten().collect()
    }
}

fn plain(name: &'static str, says: Says, change: Change) -> Mistake {
    Mistake { name, says, change, condition: None }
}

/// A mistake of which the judges differ.
fn known(condition: Condition, name: &'static str, says: Says, change: Change) -> Mistake {
    Mistake { name, says, change, condition: Some(condition) }
}

const LEAF: &str = "CN=signer,O=acme,ST=WA,C=US";
const ISSUER: &str = "CN=intermediate,O=acme,ST=WA,C=US";
const ROOT: &str = "CN=mistaken root,O=acme,ST=WA,C=US";

fn keys() -> [&'static Key; 3] {
    [Key::get(Kind::P256, 0), Key::get(Kind::Rsa2048, 1), Key::get(Kind::P384, 1)]
}

fn templates() -> [Template; 3] {
    let validity = (days(-100), days(100));
    [Template::leaf(LEAF, ISSUER, validity), Template::ca(ISSUER, ROOT, validity), Template::ca(ROOT, ROOT, validity)]
}

fn chain(templates: &[Template; 3]) -> Vec<Vec<u8>> {
    let [leaf, issuer, root] = keys();
    vec![templates[0].sign(leaf, issuer), templates[1].sign(issuer, root), templates[2].sign(root, root)]
}

impl Mistake {
    fn question(&self, format: Format) -> Question {
        let mut templates = templates();
        if let Change::Certificates(change) = self.change {
            change(&mut templates);
        }
        let chain = chain(&templates);
        let root = chain[2].clone();
        let payload = json!({ "targetArtifact": image() }).to_string().into_bytes();
        let mut draft =
            Draft { key: keys()[0], scheme: Scheme::X509, signing_time: days(-20), expiry: None, chain, payload };
        if let Change::Draft(change) = self.change {
            change(&mut draft);
        }
        let envelope = match (&self.change, format) {
            (Change::Jws(change), _) => {
                let mut jws = draft.jws();
                change(&mut jws);
                jws.encode(&jws.signature())
            }
            (Change::JwsBytes(change), _) => change(&draft.jws(), &draft.jws().signature()),
            (Change::Cose(change), _) => {
                let mut cose = draft.cose();
                change(&mut cose);
                cose.encode(&cose.signature())
            }
            (Change::CoseBytes(change), _) => change(&draft.cose(), &draft.cose().signature()),
            _ => draft.sign(format, None),
        };
        let mut attached = Attached::new(format.media_type(), envelope);
        if let Change::Attached(change) = self.change {
            change(&mut attached);
        }
        let store = |kind| (kind, "acme".to_owned(), vec![root.clone()]);
        let expected = match self.says {
            Allow => Expected::allow(),
            Says::NoPayload if format == Format::Jws => Expected::deny(Part::Integrity),
            Says::NoPayload => {
                Expected { reasons: [Part::Subject, Part::Integrity].into(), ..Expected::deny(Part::Subject) }
            }
            // What cannot be read at all is told in many ways.
            Deny(Part::Subject) => {
                Expected { reasons: [Part::Subject, Part::Integrity].into(), ..Expected::deny(Part::Subject) }
            }
            Deny(Part::Absent) => {
                Expected { reasons: [Part::Absent, Part::Integrity].into(), ..Expected::deny(Part::Absent) }
            }
            Deny(Part::Plugin) => {
                Expected { reasons: [Part::Plugin, Part::Integrity].into(), ..Expected::deny(Part::Plugin) }
            }
            Deny(part) => Expected::deny(part),
        };
        let stores = vec![store(StoreType::Ca), store(StoreType::SigningAuthority)];
        let name = format!("{format:?}: {}", self.name);
        Question {
            conditions: self.condition.into_iter().collect(),
            ..Question::new(name, vec![attached], Statement::strict(stores), expected)
        }
    }
}

fn certificates() -> Vec<Mistake> {
    use Change::Certificates as C;
    vec![
        plain("nothing is wrong", Allow, C(|_| {})),
        plain("leaf without keyUsage", INTEGRITY, C(|all| all[0] = without(&all[0], rfc5280::ID_CE_KEY_USAGE))),
        plain("leaf with keyUsage not critical", INTEGRITY, C(|all| put(all, 0, usage(false, &[DIGITAL_SIGNATURE])))),
        plain(
            "leaf with keyEncipherment",
            INTEGRITY,
            C(|all| put(all, 0, usage(true, &[DIGITAL_SIGNATURE, KEY_ENCIPHERMENT]))),
        ),
        plain(
            "leaf with keyCertSign",
            INTEGRITY,
            C(|all| put(all, 0, usage(true, &[DIGITAL_SIGNATURE, KEY_CERT_SIGN]))),
        ),
        plain("leaf with cRLSign", INTEGRITY, C(|all| put(all, 0, usage(true, &[DIGITAL_SIGNATURE, CRL_SIGN])))),
        plain("leaf with contentCommitment", Allow, C(|all| put(all, 0, usage(true, &[DIGITAL_SIGNATURE, 1])))),
        plain("leaf with contentCommitment alone", INTEGRITY, C(|all| put(all, 0, usage(true, &[1])))),
        plain("leaf without extendedKeyUsage", Allow, C(|all| all[0] = without(&all[0], rfc5280::ID_CE_EXT_KEY_USAGE))),
        plain("leaf with extendedKeyUsage critical", Allow, C(|all| put(all, 0, purposes(true, &[CODE_SIGNING])))),
        plain("leaf for serverAuth", INTEGRITY, C(|all| put(all, 0, purposes(false, &["1.3.6.1.5.5.7.3.1"])))),
        plain(
            "leaf for clientAuth too",
            INTEGRITY,
            C(|all| put(all, 0, purposes(false, &[CODE_SIGNING, "1.3.6.1.5.5.7.3.2"]))),
        ),
        plain("leaf for emailProtection", INTEGRITY, C(|all| put(all, 0, purposes(false, &["1.3.6.1.5.5.7.3.4"])))),
        plain(
            "leaf for timeStamping too",
            INTEGRITY,
            C(|all| put(all, 0, purposes(false, &[CODE_SIGNING, TIME_STAMPING]))),
        ),
        plain("leaf for OCSPSigning", INTEGRITY, C(|all| put(all, 0, purposes(false, &[OCSP_SIGNING])))),
        known(Condition::AnyPurpose, "leaf for anything", Allow, C(|all| put(all, 0, purposes(false, &[ANY_PURPOSE])))),
        plain(
            "leaf for an unknown purpose",
            Allow,
            C(|all| put(all, 0, purposes(false, &["1.3.6.1.4.1.311.10.3.12"]))),
        ),
        plain("leaf with basicConstraints", Allow, C(|all| put(all, 0, constraints(false, false, None)))),
        plain("leaf with basicConstraints critical", Allow, C(|all| put(all, 0, constraints(true, false, None)))),
        plain("leaf that is an authority", INTEGRITY, C(|all| put(all, 0, constraints(true, true, None)))),
        plain(
            "leaf of version 1 without extensions",
            INTEGRITY,
            C(|all| {
                all[0].version = Version::V1;
                all[0].extensions.clear();
            }),
        ),
        plain("leaf without extensions", INTEGRITY, C(|all| all[0].extensions.clear())),
        plain("leaf of version 1 with extensions", INTEGRITY, C(|all| all[0].version = Version::V1)),
        plain("leaf of version 2", INTEGRITY, C(|all| all[0].version = Version::V2)),
        plain("leaf signed by SHA-1", INTEGRITY, C(|all| all[0].signed = Some(sha1()))),
        plain(
            "leaf with a critical extension that nobody knows",
            Allow,
            C(|all| {
                put(all, 0, extension(der::asn1::ObjectIdentifier::new_unwrap("1.3.6.1.4.1.55555.9"), true, &[5, 0]));
            }),
        ),
        plain(
            "leaf with an extension twice",
            INTEGRITY,
            C(|all| {
                all[0].extensions.push(usage(true, &[DIGITAL_SIGNATURE]));
            }),
        ),
        plain("leaf of another issuer's name", INTEGRITY, C(|all| all[0].issuer = ROOT.to_owned())),
        plain(
            "leaf with the same name as its issuer",
            Allow,
            C(|all| {
                all[0].subject = ISSUER.to_owned();
            }),
        ),
        plain(
            "issuer without basicConstraints",
            INTEGRITY,
            C(|all| all[1] = without(&all[1], rfc5280::ID_CE_BASIC_CONSTRAINTS)),
        ),
        known(
            Condition::BasicConstraintsNotCritical,
            "issuer with basicConstraints not critical",
            Allow,
            C(|all| put(all, 1, constraints(false, true, None))),
        ),
        plain("issuer that is no authority", INTEGRITY, C(|all| put(all, 1, constraints(true, false, None)))),
        plain("issuer without keyUsage", INTEGRITY, C(|all| all[1] = without(&all[1], rfc5280::ID_CE_KEY_USAGE))),
        plain("issuer with keyUsage not critical", INTEGRITY, C(|all| put(all, 1, usage(false, &[KEY_CERT_SIGN])))),
        plain("issuer without keyCertSign", INTEGRITY, C(|all| put(all, 1, usage(true, &[CRL_SIGN])))),
        plain(
            "issuer with digitalSignature too",
            Allow,
            C(|all| put(all, 1, usage(true, &[DIGITAL_SIGNATURE, KEY_CERT_SIGN]))),
        ),
        plain("issuer for serverAuth", Allow, C(|all| put(all, 1, purposes(true, &["1.3.6.1.5.5.7.3.1"])))),
        plain("issuer with path length 0", Allow, C(|all| put(all, 1, constraints(true, true, Some(0))))),
        plain("root with path length 0", INTEGRITY, C(|all| put(all, 2, constraints(true, true, Some(0))))),
        plain("root with path length 1", Allow, C(|all| put(all, 2, constraints(true, true, Some(1))))),
        plain("root without keyUsage", INTEGRITY, C(|all| all[2] = without(&all[2], rfc5280::ID_CE_KEY_USAGE))),
        plain(
            "root of version 1",
            INTEGRITY,
            C(|all| {
                all[2].version = Version::V1;
                all[2].extensions.clear();
            }),
        ),
        plain(
            "issuer with name constraints that forbid the leaf",
            Allow,
            C(|all| {
                let name = "2.5.29.30";
                let directory =
                    tlv(0xa4, &tlv(0x30, &tlv(0x31, &tlv(0x30, &[oid("2.5.4.6"), tlv(0x13, b"US")].concat()))));
                let content = tlv(0x30, &tlv(0xa1, &tlv(0x30, &directory)));
                put(all, 1, extension(der::asn1::ObjectIdentifier::new_unwrap(name), true, &content));
            }),
        ),
    ]
}

fn put(all: &mut [Template; 3], number: usize, extension: x509_cert::ext::Extension) {
    all[number] = all[number].clone().with(extension);
}

fn without(template: &Template, oid: der::asn1::ObjectIdentifier) -> Template {
    template.clone().without(oid)
}

fn payload(text: impl ToString) -> Vec<u8> {
    text.to_string().into_bytes()
}

fn target(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut target = image();
    change(&mut target);
    payload(json!({ "targetArtifact": target }))
}

fn drafts() -> Vec<Mistake> {
    use Change::Draft as D;
    vec![
        plain(
            "payload of another digest",
            Deny(Part::Subject),
            D(|it| {
                it.payload = target(|target| target["digest"] = json!(format!("sha256:{}", "9f".repeat(32))));
            }),
        ),
        plain(
            "payload of another size",
            Deny(Part::Subject),
            D(|it| it.payload = target(|target| target["size"] = json!(1))),
        ),
        plain(
            "payload of another media type",
            Deny(Part::Subject),
            D(|it| {
                it.payload = target(|target| target["mediaType"] = json!("application/vnd.oci.image.index.v1+json"));
            }),
        ),
        plain("payload without a target", Deny(Part::Subject), D(|it| it.payload = payload("{}"))),
        plain(
            "payload with more in its target",
            Allow,
            D(|it| {
                it.payload = target(|target| {
                    target["artifactType"] = json!("any/type");
                    target["urls"] = json!(["http://any.example"]);
                    target["platform"] = json!({ "os": "linux", "architecture": "arm64" });
                    target["unknown"] = json!(1);
                });
            }),
        ),
        plain(
            "payload with more beside its target",
            Allow,
            D(|it| {
                it.payload = payload(json!({ "targetArtifact": image(), "more": { "targetArtifact": 1 } }));
            }),
        ),
        known(
            Condition::DuplicateMember,
            "payload with its target twice",
            Allow,
            D(|it| {
                let other = json!({ "mediaType": "x/y", "digest": "sha256:00", "size": 1 });
                it.payload = payload(format!(r#"{{"targetArtifact":{other},"targetArtifact":{}}}"#, image()));
            }),
        ),
        known(
            Condition::MemberCase,
            "payload with a capital",
            Allow,
            D(|it| {
                it.payload = payload(json!({ "TargetArtifact": image() }));
            }),
        ),
        plain("payload with a word after it", Deny(Part::Subject), D(|it| it.payload.extend(b" x"))),
        plain("payload that is no JSON", Says::NoPayload, D(|it| it.payload = payload("hello"))),
        plain("payload with a space after it", Allow, D(|it| it.payload.extend(b" \n"))),
        plain("empty payload", INTEGRITY, D(|it| it.payload.clear())),
        plain("certificates reversed", INTEGRITY, D(|it| it.chain.reverse())),
        plain("certificates without the root", INTEGRITY, D(|it| it.chain.truncate(2))),
        plain("certificates without issuers", INTEGRITY, D(|it| it.chain.truncate(1))),
        plain(
            "certificates without the intermediate",
            INTEGRITY,
            D(|it| {
                it.chain.remove(1);
            }),
        ),
        plain("leaf twice", INTEGRITY, D(|it| it.chain.insert(0, it.chain[0].clone()))),
        plain("root twice", INTEGRITY, D(|it| it.chain.push(it.chain[2].clone()))),
        plain(
            "a certificate too many at the end",
            INTEGRITY,
            D(|it| {
                let key = Key::get(Kind::P256, 2);
                it.chain.push(Template::ca("CN=any", "CN=any", (days(-9), days(9))).sign(key, key));
            }),
        ),
        plain(
            "a certificate too many between",
            INTEGRITY,
            D(|it| {
                let key = Key::get(Kind::P256, 2);
                it.chain.insert(1, Template::ca("CN=any", "CN=any", (days(-9), days(9))).sign(key, key));
            }),
        ),
        plain("no certificate", INTEGRITY, D(|it| it.chain.clear())),
        plain("a certificate that is none", INTEGRITY, D(|it| it.chain[1] = b"any".to_vec())),
        plain("a byte after a certificate", INTEGRITY, D(|it| it.chain[0].push(0))),
        plain("signed by another key", INTEGRITY, D(|it| it.key = Key::get(Kind::P256, 2))),
        plain("signed by the issuer's key", INTEGRITY, D(|it| it.key = keys()[1])),
        plain("signed in the future", Allow, D(|it| it.signing_time = days(50))),
        plain("signed before the certificates", Allow, D(|it| it.signing_time = days(-500))),
        plain("ends with its signing time", INTEGRITY, D(|it| it.expiry = Some(it.signing_time))),
        plain("ends before its signing time", INTEGRITY, D(|it| it.expiry = Some(it.signing_time - 1))),
        plain("ends in the year 9999", Allow, D(|it| it.expiry = Some(253_402_300_799))),
        plain("by a signing authority", Allow, D(|it| it.scheme = Scheme::SigningAuthority)),
    ]
}

fn jws() -> Vec<Mistake> {
    use Change::{Jws as J, JwsBytes as B};
    let mut mistakes = vec![
        plain("no alg", INTEGRITY, J(|it| it.set("alg", Value::Null))),
        plain("alg none", INTEGRITY, J(|it| it.set("alg", json!("none")))),
        plain("alg HS256", INTEGRITY, J(|it| it.set("alg", json!("HS256")))),
        plain("alg RS256", INTEGRITY, J(|it| it.set("alg", json!("RS256")))),
        plain("alg of a longer hash", INTEGRITY, J(|it| it.set("alg", json!("ES384")))),
        plain("alg of another key type", INTEGRITY, J(|it| it.set("alg", json!("PS256")))),
        plain("alg is a number", INTEGRITY, J(|it| it.set("alg", json!(-7)))),
        plain("no cty", INTEGRITY, J(|it| it.set("cty", Value::Null))),
        plain("another cty", INTEGRITY, J(|it| it.set("cty", json!("application/json")))),
        plain("cty in capitals", INTEGRITY, J(|it| it.set("cty", json!(PAYLOAD_TYPE.to_uppercase())))),
        plain("no crit", INTEGRITY, J(|it| it.set("crit", Value::Null))),
        plain("empty crit", INTEGRITY, J(|it| it.set("crit", json!([])))),
        plain(
            "crit without the scheme",
            INTEGRITY,
            J(|it| {
                it.set("crit", json!(["any"]));
                it.set("any", json!(1));
            }),
        ),
        plain("crit with what is not there", INTEGRITY, J(|it| it.set("crit", json!([SCHEME, "any"])))),
        plain("crit with a name twice", INTEGRITY, J(|it| it.set("crit", json!([SCHEME, SCHEME])))),
        plain("crit with alg", INTEGRITY, J(|it| it.set("crit", json!([SCHEME, "alg"])))),
        plain("crit with the signing time", INTEGRITY, J(|it| it.set("crit", json!([SCHEME, SIGNING_TIME])))),
        known(
            Condition::UnknownCritical,
            "crit with what nobody knows",
            Allow,
            J(|it| it.set_critical("any", json!(1))),
        ),
        plain("crit is a string", INTEGRITY, J(|it| it.set("crit", json!(SCHEME)))),
        plain("no scheme", INTEGRITY, J(|it| it.set(SCHEME, Value::Null))),
        plain("another scheme", INTEGRITY, J(|it| it.set(SCHEME, json!("notary.x509.other")))),
        plain("no signing time", INTEGRITY, J(|it| it.set(SIGNING_TIME, Value::Null))),
        plain("a signing time in words", INTEGRITY, J(|it| it.set(SIGNING_TIME, json!("yesterday")))),
        plain("a signing time that is a number", INTEGRITY, J(|it| it.set(SIGNING_TIME, json!(1)))),
        plain("a signing time with a fraction", Allow, J(|it| it.set(SIGNING_TIME, json!("2026-01-01T00:00:00.5Z")))),
        plain("a signing time with an offset", Allow, J(|it| it.set(SIGNING_TIME, json!("2026-01-01T00:00:00+01:00")))),
        plain(
            "a signing time without an offset",
            INTEGRITY,
            J(|it| it.set(SIGNING_TIME, json!("2026-01-01T00:00:00"))),
        ),
        plain("a signing time that was no day", INTEGRITY, J(|it| it.set(SIGNING_TIME, json!("2026-02-30T00:00:00Z")))),
        plain(
            "a signing time in small letters",
            INTEGRITY,
            J(|it| it.set(SIGNING_TIME, json!("2026-01-01t00:00:00z"))),
        ),
        plain(
            "an authentic time without a signing authority",
            INTEGRITY,
            J(|it| {
                it.set_critical(AUTHENTIC_TIME, json!(rfc3339(days(-20))));
            }),
        ),
        plain(
            "a signing authority without an authentic time",
            INTEGRITY,
            J(|it| {
                it.set(SCHEME, json!("notary.x509.signingAuthority"));
                it.set(SIGNING_TIME, Value::Null);
            }),
        ),
        plain(
            "a signing authority with both times",
            INTEGRITY,
            J(|it| {
                it.set(SCHEME, json!("notary.x509.signingAuthority"));
                it.set_critical(AUTHENTIC_TIME, json!(rfc3339(days(-20))));
            }),
        ),
        plain(
            "a signing authority whose time is not critical",
            INTEGRITY,
            J(|it| {
                it.set(SCHEME, json!("notary.x509.signingAuthority"));
                it.set(SIGNING_TIME, Value::Null);
                it.set(AUTHENTIC_TIME, json!(rfc3339(days(-20))));
            }),
        ),
        plain("expiry not critical", INTEGRITY, J(|it| it.set(EXPIRY, json!(rfc3339(days(9)))))),
        plain("expiry in words", INTEGRITY, J(|it| it.set_critical(EXPIRY, json!("soon")))),
        plain("an unknown protected header", Allow, J(|it| it.set("any", json!({ "x": 1 })))),
        known(
            Condition::DuplicateMember,
            "a protected header twice",
            Allow,
            J(|it| {
                it.protected.insert(0, (SIGNING_TIME.to_owned(), json!(rfc3339(days(-30)))));
            }),
        ),
        known(
            Condition::MemberCase,
            "a protected header with a capital",
            Allow,
            J(|it| {
                it.set("cty", Value::Null);
                it.set("Cty", json!(PAYLOAD_TYPE));
            }),
        ),
        plain(
            "a plugin that is not there",
            Deny(Part::Plugin),
            J(|it| {
                it.set_critical("io.cncf.notary.verificationPlugin", json!("absent"));
            }),
        ),
        plain(
            "a plugin that is not there, not critical",
            Deny(Part::Plugin),
            J(|it| {
                it.set("io.cncf.notary.verificationPlugin", json!("absent"));
            }),
        ),
        plain(
            "a plugin without a name",
            Deny(Part::Plugin),
            J(|it| {
                it.set_critical("io.cncf.notary.verificationPlugin", json!(""));
            }),
        ),
        plain(
            "a plugin that is a number",
            Deny(Part::Plugin),
            J(|it| {
                it.set_critical("io.cncf.notary.verificationPlugin", json!(1));
            }),
        ),
        known(
            Condition::PluginVersionAlone,
            "a plugin's version without a plugin",
            Allow,
            J(|it| {
                it.set_critical("io.cncf.notary.verificationPluginMinVersion", json!("1.0.0"));
            }),
        ),
        plain("unknown unprotected headers", Allow, J(|it| it.set_header("any", json!([1])))),
        plain("another agent", Allow, J(|it| it.set_header(AGENT, json!("any\nthing")))),
        plain("no agent", Allow, J(|it| it.set_header(AGENT, Value::Null))),
        known(Condition::Agent, "an agent that is no text", INTEGRITY, J(|it| it.set_header(AGENT, json!(1)))),
        plain("an empty timestamp", Allow, J(|it| it.set_header(TIMESTAMP, json!("")))),
        plain("a timestamp that is no base64", INTEGRITY, J(|it| it.set_header(TIMESTAMP, json!("?")))),
        plain("no x5c", INTEGRITY, J(|it| it.set_header("x5c", Value::Null))),
        plain("x5c is a string", INTEGRITY, J(|it| it.set_header("x5c", json!(it.header[0].1[0].clone())))),
        plain("x5c by the other alphabet", INTEGRITY, J(|it| recode(it, |der| URL_SAFE_NO_PAD.encode(der) + "-_"))),
        plain("x5c without padding", INTEGRITY, J(|it| recode(it, |der| STANDARD_NO_PAD.encode(pad(der))))),
        known(
            Condition::Base64Whitespace,
            "x5c with line breaks",
            Allow,
            J(|it| {
                recode(it, |der| STANDARD.encode(der).replacen("MII", "MI\r\nI", 1));
            }),
        ),
        known(Condition::HeaderTwice, "x5c protected too", Allow, J(|it| it.set("x5c", it.header[0].1.clone()))),
        known(Condition::HeaderTwice, "alg unprotected too", Allow, J(|it| it.set_header("alg", json!("ES512")))),
        known(Condition::UnknownMember, "an unknown member", Allow, J(|it| it.more.push(("any".to_owned(), json!(1))))),
        known(
            Condition::DuplicateMember,
            "a member twice",
            Allow,
            J(|it| {
                let payload = URL_SAFE_NO_PAD.encode(&it.payload);
                it.more.push(("payload".to_owned(), json!(payload)));
            }),
        ),
        plain(
            "signatures of the general form",
            INTEGRITY,
            B(|it, signature| {
                let flat: Value = serde_json::from_slice(&it.encode(signature)).unwrap();
                let one =
                    json!({ "protected": flat["protected"], "header": flat["header"], "signature": flat["signature"] });
                payload(json!({ "payload": flat["payload"], "signatures": [one] }))
            }),
        ),
        plain(
            "the compact form",
            INTEGRITY,
            B(|it, signature| {
                let flat: Value = serde_json::from_slice(&it.encode(signature)).unwrap();
                let part = |name: &str| flat[name].as_str().unwrap().to_owned();
                payload([part("protected"), part("payload"), part("signature")].join("."))
            }),
        ),
        plain("a space after it", Allow, B(|it, signature| [it.encode(signature), b" \n".to_vec()].concat())),
        plain("a word after it", INTEGRITY, B(|it, signature| [it.encode(signature), b"{}".to_vec()].concat())),
        plain("cut short", INTEGRITY, B(|it, signature| it.encode(signature)[..900].to_vec())),
        plain("no bytes", INTEGRITY, B(|_, _| Vec::new())),
        plain("an empty signature", INTEGRITY, B(|it, _| it.encode(&[]))),
        plain("a signature that was changed", INTEGRITY, B(|it, signature| it.encode(&flipped(signature)))),
        plain("a signature that is too long", INTEGRITY, B(|it, signature| it.encode(&[signature, &[0]].concat()))),
        known(
            Condition::MemberCase,
            "members with capitals",
            Allow,
            B(|it, signature| replaced(it, signature, r#""payload":"#, r#""Payload":"#)),
        ),
        plain(
            "padding after the signature",
            INTEGRITY,
            B(|it, signature| {
                replaced(it, signature, &URL_SAFE_NO_PAD.encode(signature), &(URL_SAFE_NO_PAD.encode(signature) + "=="))
            }),
        ),
        known(
            Condition::Base64Bits,
            "bits in the signature that say nothing",
            Allow,
            B(|it, signature| {
                let text = URL_SAFE_NO_PAD.encode(signature);
                replaced(it, signature, &text, &loose(&text))
            }),
        ),
    ];
    mistakes.push(known(
        Condition::NullMember,
        "expiry of null",
        Allow,
        J(|it| it.protected.push((EXPIRY.to_owned(), Value::Null))),
    ));
    mistakes
}

/// Text of base64 for the same bytes whose last digit has another bit.
fn loose(text: &str) -> String {
    const DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let last = DIGITS.find(text.chars().last().unwrap()).unwrap();
    format!("{}{}", &text[..text.len() - 1], &DIGITS[last + 1..last + 2])
}

fn flipped(signature: &[u8]) -> Vec<u8> {
    let mut signature = signature.to_vec();
    signature[9] ^= 1;
    signature
}

fn replaced(jws: &Jws, signature: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = String::from_utf8(jws.encode(signature)).unwrap();
    assert!(text.contains(from));
    text.replacen(from, to, 1).into_bytes()
}

fn recode(jws: &mut Jws, code: fn(&[u8]) -> String) {
    let chain = jws.header[0].1.as_array().unwrap();
    let ders = chain.iter().map(|text| STANDARD.decode(text.as_str().unwrap()).unwrap());
    let texts: Vec<String> = ders.map(|der| code(&der)).collect();
    jws.set_header("x5c", json!(texts));
}

/// Bytes whose base64 needs padding.
fn pad(der: &[u8]) -> Vec<u8> {
    let mut der = der.to_vec();
    while der.len().is_multiple_of(3) {
        der.push(0);
    }
    der
}

fn cose() -> Vec<Mistake> {
    use Change::{Cose as C, CoseBytes as B};
    vec![
        plain("no alg", INTEGRITY, C(|it| it.set(1, Cbor::Null))),
        plain("alg of a longer hash", INTEGRITY, C(|it| it.set(1, Cbor::Int(-35)))),
        plain("alg of another key type", INTEGRITY, C(|it| it.set(1, Cbor::Int(-37)))),
        plain("alg HMAC", INTEGRITY, C(|it| it.set(1, Cbor::Int(5)))),
        plain("alg as text", INTEGRITY, C(|it| it.set(1, Cbor::text("ES256")))),
        plain("no content type", INTEGRITY, C(|it| it.set(3, Cbor::Null))),
        plain("another content type", INTEGRITY, C(|it| it.set(3, Cbor::text("application/json")))),
        plain("a content type by number", INTEGRITY, C(|it| it.set(3, Cbor::Int(50)))),
        plain("no crit", INTEGRITY, C(|it| it.set(2, Cbor::Null))),
        plain("empty crit", INTEGRITY, C(|it| it.set(2, Cbor::List(vec![])))),
        plain(
            "crit without the scheme",
            INTEGRITY,
            C(|it| {
                it.set(2, Cbor::List(vec![Cbor::text("any")]));
                it.set("any", Cbor::Int(1));
            }),
        ),
        plain(
            "crit with what is not there",
            INTEGRITY,
            C(|it| {
                it.set(2, Cbor::List(vec![Cbor::text(SCHEME), Cbor::text("any")]));
            }),
        ),
        known(
            Condition::CriticalTwice,
            "crit with a name twice",
            Allow,
            C(|it| {
                it.set(2, Cbor::List(vec![Cbor::text(SCHEME), Cbor::text(SCHEME)]));
            }),
        ),
        known(
            Condition::CriticalStandard,
            "crit with alg",
            Allow,
            C(|it| it.set(2, Cbor::List(vec![Cbor::text(SCHEME), Cbor::Int(1)]))),
        ),
        known(
            Condition::CriticalStandard,
            "crit with the signing time",
            Allow,
            C(|it| {
                it.set(2, Cbor::List(vec![Cbor::text(SCHEME), Cbor::text(SIGNING_TIME)]));
            }),
        ),
        known(
            Condition::UnknownCritical,
            "crit with what nobody knows",
            Allow,
            C(|it| it.set_critical("any", Cbor::Int(1))),
        ),
        known(
            Condition::UnknownCritical,
            "crit with a number that nobody knows",
            Allow,
            C(|it| it.set_critical(-70_000, Cbor::Int(1))),
        ),
        plain("no scheme", INTEGRITY, C(|it| it.set(SCHEME, Cbor::Null))),
        plain("another scheme", INTEGRITY, C(|it| it.set(SCHEME, Cbor::text("notary.x509.other")))),
        plain("no signing time", INTEGRITY, C(|it| it.set(SIGNING_TIME, Cbor::Null))),
        plain("a signing time without its tag", INTEGRITY, C(|it| it.set(SIGNING_TIME, Cbor::Int(1_700_000_000)))),
        plain(
            "a signing time as text",
            INTEGRITY,
            C(|it| {
                it.set(SIGNING_TIME, Cbor::Tag(0, Box::new(Cbor::text("2026-01-01T00:00:00Z"))));
            }),
        ),
        plain(
            "a signing time with a fraction",
            Allow,
            C(|it| {
                // 1700000000.5 in double precision.
                it.set(
                    SIGNING_TIME,
                    Cbor::Tag(1, Box::new(Cbor::Raw([&[0xfb][..], &1_700_000_000.5_f64.to_be_bytes()].concat()))),
                );
            }),
        ),
        plain("a signing time before 1970", Allow, C(|it| it.set(SIGNING_TIME, Cbor::Tag(1, Box::new(Cbor::Int(-5)))))),
        known(
            Condition::MisplacedTime,
            "an authentic time without a signing authority",
            Allow,
            C(|it| {
                it.set_critical(AUTHENTIC_TIME, Cbor::Tag(1, Box::new(Cbor::Int(1_700_000_000))));
            }),
        ),
        plain(
            "a signing authority without an authentic time",
            INTEGRITY,
            C(|it| {
                it.set(SCHEME, Cbor::text("notary.x509.signingAuthority"));
                it.set(SIGNING_TIME, Cbor::Null);
            }),
        ),
        plain(
            "a signing authority whose time is not critical",
            INTEGRITY,
            C(|it| {
                it.set(SCHEME, Cbor::text("notary.x509.signingAuthority"));
                it.set(SIGNING_TIME, Cbor::Null);
                it.set(AUTHENTIC_TIME, Cbor::Tag(1, Box::new(Cbor::Int(1_700_000_000))));
            }),
        ),
        known(
            Condition::MisplacedTime,
            "a signing authority with both times",
            Allow,
            C(|it| {
                it.set(SCHEME, Cbor::text("notary.x509.signingAuthority"));
                let at = i64::try_from(days(-20)).unwrap();
                it.set_critical(AUTHENTIC_TIME, Cbor::Tag(1, Box::new(Cbor::Int(at))));
            }),
        ),
        plain(
            "expiry not critical",
            INTEGRITY,
            C(|it| {
                let at = i64::try_from(days(9)).unwrap();
                it.set(EXPIRY, Cbor::Tag(1, Box::new(Cbor::Int(at))));
            }),
        ),
        plain(
            "expiry without its tag",
            INTEGRITY,
            C(|it| {
                let at = i64::try_from(days(9)).unwrap();
                it.set_critical(EXPIRY, Cbor::Int(at));
            }),
        ),
        plain("an unknown protected header", Allow, C(|it| it.set("any", Cbor::List(vec![Cbor::Int(1)])))),
        plain("an unknown protected header by number", Allow, C(|it| it.set(-70_000, Cbor::Int(1)))),
        plain(
            "a protected header twice",
            INTEGRITY,
            C(|it| {
                it.protected.push((Cbor::text(SCHEME), Cbor::text("notary.x509")));
            }),
        ),
        plain(
            "a plugin that is not there",
            Deny(Part::Plugin),
            C(|it| {
                it.set_critical("io.cncf.notary.verificationPlugin", Cbor::text("absent"));
            }),
        ),
        plain("unknown unprotected headers", Allow, C(|it| it.set_unprotected("any", Cbor::Int(1)))),
        plain("a key's name", Allow, C(|it| it.set_unprotected(4, Cbor::Bytes(vec![1])))),
        plain("an agent that is no text", Allow, C(|it| it.set_unprotected(AGENT, Cbor::Int(1)))),
        known(
            Condition::TimestampForm,
            "a timestamp that is no bytes",
            Allow,
            C(|it| it.set_unprotected(TIMESTAMP, Cbor::Int(1))),
        ),
        plain("no certificates", INTEGRITY, C(|it| it.set_unprotected(33, Cbor::Null))),
        plain(
            "one certificate that is no list",
            INTEGRITY,
            C(|it| {
                let Cbor::List(chain) = &it.unprotected[0].1 else { unreachable!() };
                it.set_unprotected(33, chain[0].clone());
            }),
        ),
        known(
            Condition::ProtectedCertificates,
            "certificates protected instead",
            INTEGRITY,
            C(|it| {
                let chain = it.unprotected[0].1.clone();
                it.set_unprotected(33, Cbor::Null);
                it.set(33, chain);
            }),
        ),
        known(
            Condition::HeaderTwice,
            "certificates protected too",
            Allow,
            C(|it| it.set(33, it.unprotected[0].1.clone())),
        ),
        known(Condition::HeaderTwice, "alg unprotected too", Allow, C(|it| it.set_unprotected(1, Cbor::Int(-7)))),
        plain("untagged", INTEGRITY, C(|it| it.tag = None)),
        plain("another tag", INTEGRITY, C(|it| it.tag = Some(98))),
        plain(
            "a tag of any CBOR before it",
            INTEGRITY,
            B(|it, signature| [&[0xd9, 0xd9, 0xf7][..], &it.encode(signature)].concat()),
        ),
        plain("a byte after it", INTEGRITY, B(|it, signature| [it.encode(signature), vec![0]].concat())),
        plain("cut short", INTEGRITY, B(|it, signature| it.encode(signature)[..900].to_vec())),
        plain("no bytes", INTEGRITY, B(|_, _| Vec::new())),
        plain("an empty signature", INTEGRITY, B(|it, _| it.encode(&[]))),
        plain("a signature that was changed", INTEGRITY, B(|it, signature| it.encode(&flipped(signature)))),
        plain("a signature that is too long", INTEGRITY, B(|it, signature| it.encode(&[signature, &[0]].concat()))),
        plain("three parts", INTEGRITY, B(|it, signature| it.wrap(it.parts(signature)[..3].to_vec()))),
        plain("five parts", INTEGRITY, B(|it, signature| it.wrap([it.parts(signature), vec![Cbor::Null]].concat()))),
        plain(
            "no payload",
            INTEGRITY,
            B(|it, signature| {
                let mut parts = it.parts(signature);
                parts[2] = Cbor::Null;
                it.wrap(parts)
            }),
        ),
        plain(
            "the protected header not wrapped",
            INTEGRITY,
            B(|it, signature| {
                let mut parts = it.parts(signature);
                parts[0] = Cbor::Map(it.protected.clone());
                it.wrap(parts)
            }),
        ),
        plain(
            "a list without its length",
            INTEGRITY,
            B(|it, signature| {
                let parts = it.parts(signature).iter().flat_map(Cbor::encode).collect::<Vec<_>>();
                [&[0xd2, 0x9f][..], &parts, &[0xff]].concat()
            }),
        ),
        plain(
            "a length longer than it must be",
            INTEGRITY,
            B(|it, signature| {
                let parts = it.parts(signature).iter().flat_map(Cbor::encode).collect::<Vec<_>>();
                [&[0xd2, 0x98, 4][..], &parts].concat()
            }),
        ),
    ]
}

fn attached() -> Vec<Mistake> {
    use Change::Attached as A;
    vec![
        plain("another media type", INTEGRITY, A(|it| it.media_type = "application/octet-stream".to_owned())),
        plain(
            "the other envelope's media type",
            INTEGRITY,
            A(|it| {
                it.media_type = match it.media_type.as_str() {
                    "application/cose" => "application/jose+json".to_owned(),
                    _ => "application/cose".to_owned(),
                };
            }),
        ),
        known(Condition::ArtifactType, "a manifest with artifactType", Deny(Part::Absent), A(|it| it.legacy = false)),
        plain(
            "a manifest of another type",
            Deny(Part::Absent),
            A(|it| {
                it.change = Some(|manifest| manifest["config"]["mediaType"] = json!("application/vnd.any"));
            }),
        ),
        plain(
            "a manifest with both types",
            Allow,
            A(|it| {
                it.change = Some(|manifest| manifest["artifactType"] = json!("application/vnd.cncf.notary.signature"));
            }),
        ),
        plain(
            "a manifest without annotations",
            Allow,
            A(|it| {
                it.change = Some(|manifest| drop(manifest.as_object_mut().unwrap().remove("annotations")));
            }),
        ),
        plain(
            "a manifest with two layers",
            Deny(Part::Absent),
            A(|it| {
                it.change = Some(|manifest| {
                    let layer = manifest["layers"][0].clone();
                    manifest["layers"].as_array_mut().unwrap().push(layer);
                });
            }),
        ),
        plain(
            "a manifest without layers",
            Deny(Part::Absent),
            A(|it| {
                it.change = Some(|manifest| manifest["layers"] = json!([]));
            }),
        ),
    ]
}
