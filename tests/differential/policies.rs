//! Trust policies and trust stores, sound and unsound, about a sound signature; and what holds for whole images: no
//! signature, several, none that a statement is about.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::{Value, json};

use super::certificates::Template;
use super::clock::days;
use super::envelopes::{Draft, Format, Scheme};
use super::keys::{Key, Kind, pem};
use super::oracle::{Expected, Part};
use super::reviewed::Condition;
use super::trials::{Attached, Question, SCOPE, Statement, StoreType, image};

const LEAF: &str = "CN=signer,OU=build,O=acme,ST=WA,C=US";
const ROOT: &str = "CN=policy root,O=acme,ST=WA,C=US";

fn root() -> Vec<u8> {
    let key = Key::get(Kind::P384, 1);
    Template::ca(ROOT, ROOT, (days(-100), days(100))).sign(key, key)
}

/// A sound signature.
fn good(format: Format) -> Attached {
    signature(format, None)
}

/// A signature that has expired.
fn ended(format: Format) -> Attached {
    signature(format, Some(days(-1)))
}

fn signature(format: Format, expiry: Option<u64>) -> Attached {
    let (key, issuer) = (Key::get(Kind::P256, 0), Key::get(Kind::P384, 1));
    let leaf = Template::leaf(LEAF, ROOT, (days(-100), days(100))).sign(key, issuer);
    let payload = json!({ "targetArtifact": image() }).to_string().into_bytes();
    let draft =
        Draft { key, scheme: Scheme::X509, signing_time: days(-20), expiry, chain: vec![leaf, root()], payload };
    Attached::new(format.media_type(), draft.sign(format, None))
}

/// A signature whose bytes were changed.
fn broken() -> Attached {
    let mut signature = good(Format::Jws);
    let text = String::from_utf8(signature.envelope).unwrap();
    signature.envelope = text.replace("\"signature\":\"", "\"signature\":\"AAAA").into_bytes();
    signature
}

fn trusted() -> Statement {
    Statement::strict(vec![(StoreType::Ca, "acme".to_owned(), vec![root()])])
}

fn of_another() -> Statement {
    let key = Key::get(Kind::P256, 2);
    let name = "CN=other root,O=acme,ST=WA,C=US";
    let other = Template::ca(name, name, (days(-9), days(9))).sign(key, key);
    Statement::strict(vec![(StoreType::Ca, "other".to_owned(), vec![other])])
}

fn scoped(statement: Statement, scopes: &[&str]) -> Statement {
    Statement { scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(), ..statement }
}

fn level(level: &str) -> Statement {
    Statement { level: level.to_owned(), ..trusted() }
}

/// Refused for the trust policy, which ratifyd may find in any of its parts.
fn policy() -> Expected {
    Expected { reasons: [Part::Policy, Part::Authenticity, Part::Identity].into(), ..Expected::deny(Part::Policy) }
}

/// Questions about whole images.
pub fn images() -> Vec<Question> {
    let allow = Expected::allow;
    let ask = |name: &str, signatures: Vec<Attached>, statements: Vec<Statement>, expected: Expected| Question {
        statements,
        ..Question::new(name, signatures, trusted(), expected)
    };
    // Several signatures of which each is refused for a reason of its own.
    let several = || Expected { allows: Some(false), reasons: [Part::Expiry, Part::Integrity].into(), ..allow() };
    let (jws, cose) = (|| good(Format::Jws), || good(Format::Cose));
    let layers = |manifest: &mut Value| manifest["layers"] = json!([]);
    let two_layers = Attached { change: Some(layers), ..jws() };
    let mut questions = vec![
        ask("no signature", vec![], vec![trusted()], Expected::deny(Part::Absent)),
        ask("no signature, only logged", vec![], vec![level("audit")], Expected::deny(Part::Absent)),
        ask("no signature, skipped", vec![], vec![level("skip")], allow()),
        ask("a broken signature, skipped", vec![broken()], vec![level("skip")], allow()),
        ask("a broken signature, only logged", vec![broken()], vec![level("audit")], Expected::deny(Part::Integrity)),
        ask("two good", vec![jws(), cose()], vec![trusted()], allow()),
        ask("good, then broken", vec![jws(), broken()], vec![trusted()], allow()),
        ask("broken, then good", vec![broken(), cose()], vec![trusted()], allow()),
        ask("ended, broken, good", vec![ended(Format::Cose), broken(), jws()], vec![trusted()], allow()),
        ask("ended and broken", vec![ended(Format::Jws), broken()], vec![trusted()], several()),
        ask(
            "ended twice",
            vec![ended(Format::Jws), ended(Format::Cose)],
            vec![trusted()],
            Expected::deny(Part::Expiry),
        ),
        ask("no statement for it", vec![jws()], vec![scoped(trusted(), &["registry.example/acme/other"])], policy()),
        ask(
            "a statement for its namespace",
            vec![jws()],
            vec![scoped(trusted(), &["registry.example/acme"])],
            policy(),
        ),
        ask("a statement for all", vec![jws()], vec![scoped(trusted(), &["*"])], allow()),
        ask(
            "a statement for it before that for all",
            vec![jws()],
            vec![trusted(), scoped(of_another(), &["*"])],
            allow(),
        ),
        ask(
            "a statement for it after that for all",
            vec![jws()],
            vec![scoped(of_another(), &["*"]), trusted()],
            allow(),
        ),
        ask(
            "a statement that refuses it and one for all that would not",
            vec![jws()],
            vec![of_another(), scoped(trusted(), &["*"])],
            Expected::deny(Part::Authenticity),
        ),
        ask(
            "skipped, and one for all that would refuse",
            vec![],
            vec![level("skip"), scoped(of_another(), &["*"])],
            allow(),
        ),
        ask(
            "others skipped, and one for all",
            vec![],
            vec![scoped(level("skip"), &["registry.example/acme/other"]), scoped(trusted(), &["*"])],
            Expected::deny(Part::Absent),
        ),
        ask(
            "a statement with many scopes",
            vec![jws()],
            vec![scoped(trusted(), &["registry.example/acme/other", SCOPE])],
            allow(),
        ),
    ];
    for (name, signatures) in [("first", vec![two_layers.clone(), cose()]), ("last", vec![cose(), two_layers])] {
        questions.push(Question {
            conditions: vec![Condition::BrokenManifest],
            ..ask(&format!("a manifest without layers {name}"), signatures, vec![trusted()], Expected::unsure())
        });
    }
    questions
}

/// Questions about trust policies and trust stores.
pub fn documents() -> Vec<Question> {
    let mut questions = Vec::new();
    questions.extend(texts());
    questions.extend(stores());
    questions
}

/// A change in a document of one statement.
type Edit = fn(&mut Value);

fn texts() -> Vec<Question> {
    let base = || {
        json!({
            "version": "1.0",
            "trustPolicies": [{
                "name": "acme",
                "registryScopes": [SCOPE],
                "signatureVerification": { "level": "strict" },
                "trustStores": ["ca:acme"],
                "trustedIdentities": ["x509.subject: C=US, ST=WA, O=acme"],
            }],
        })
    };
    let refused = policy();
    let edits: Vec<(&str, Expected, Option<Condition>, Edit)> = vec![
        ("sound", Expected::allow(), None, |_| {}),
        ("another version", refused.clone(), None, |it| it["version"] = json!("2.0")),
        ("no version", refused.clone(), None, |it| drop(it.as_object_mut().unwrap().remove("version"))),
        ("no statement", refused.clone(), None, |it| it["trustPolicies"] = json!([])),
        ("a statement twice", refused.clone(), None, |it| {
            let one = it["trustPolicies"][0].clone();
            it["trustPolicies"].as_array_mut().unwrap().push(one);
        }),
        ("a name twice", refused.clone(), None, |it| {
            let mut one = it["trustPolicies"][0].clone();
            one["registryScopes"] = json!(["registry.example/other"]);
            it["trustPolicies"].as_array_mut().unwrap().push(one);
        }),
        ("a scope twice", refused.clone(), None, |it| {
            let mut one = it["trustPolicies"][0].clone();
            one["name"] = json!("other");
            it["trustPolicies"].as_array_mut().unwrap().push(one);
        }),
        ("no name", refused.clone(), None, |it| it["trustPolicies"][0]["name"] = json!("")),
        ("no scopes", refused.clone(), None, |it| it["trustPolicies"][0]["registryScopes"] = json!([])),
        ("all and one", refused.clone(), None, |it| it["trustPolicies"][0]["registryScopes"] = json!(["*", SCOPE])),
        ("a pattern", refused.clone(), None, |it| {
            it["trustPolicies"][0]["registryScopes"] = json!(["registry.example/acme/*"])
        }),
        ("a scope with a scheme", refused.clone(), None, |it| {
            it["trustPolicies"][0]["registryScopes"] = json!([SCOPE, "https://registry.example/acme/app"]);
        }),
        ("a scope with a tag", refused.clone(), None, |it| {
            it["trustPolicies"][0]["registryScopes"] = json!([SCOPE, "registry.example/acme/app:v1"]);
        }),
        ("no level", refused.clone(), None, |it| it["trustPolicies"][0]["signatureVerification"] = json!({})),
        ("another level", refused.clone(), None, |it| {
            it["trustPolicies"][0]["signatureVerification"]["level"] = json!("lax")
        }),
        ("a level in capitals", refused.clone(), None, |it| {
            it["trustPolicies"][0]["signatureVerification"]["level"] = json!("Strict")
        }),
        ("all skipped", Expected::allow(), Some(Condition::AllSkipped), |it| {
            it["trustPolicies"][0] = json!({
                "name": "acme", "registryScopes": ["*"], "signatureVerification": { "level": "skip" },
            });
        }),
        ("skipped, with trust stores", refused.clone(), None, |it| {
            it["trustPolicies"][0]["signatureVerification"]["level"] = json!("skip")
        }),
        ("skipped, with an override", refused.clone(), None, |it| {
            it["trustPolicies"][0] = json!({
                "name": "acme", "registryScopes": [SCOPE],
                "signatureVerification": { "level": "skip", "override": { "expiry": "log" } },
            });
        }),
        ("integrity overridden", refused.clone(), None, |it| {
            it["trustPolicies"][0]["signatureVerification"]["override"] = json!({ "integrity": "log" });
        }),
        ("an unknown override", refused.clone(), None, |it| {
            it["trustPolicies"][0]["signatureVerification"]["override"] = json!({ "any": "log" });
        }),
        ("an unknown action", refused.clone(), None, |it| {
            it["trustPolicies"][0]["signatureVerification"]["override"] = json!({ "expiry": "any" });
        }),
        ("expiry skipped", refused.clone(), None, |it| {
            it["trustPolicies"][0]["signatureVerification"]["override"] = json!({ "expiry": "skip" });
        }),
        ("authenticity skipped", refused.clone(), None, |it| {
            it["trustPolicies"][0]["signatureVerification"]["override"] = json!({ "authenticity": "skip" });
        }),
        ("timestamps never", refused.clone(), None, |it| {
            it["trustPolicies"][0]["signatureVerification"]["verifyTimestamp"] = json!("never");
        }),
        ("no trust store", refused.clone(), None, |it| it["trustPolicies"][0]["trustStores"] = json!([])),
        ("a store without a type", refused.clone(), None, |it| it["trustPolicies"][0]["trustStores"] = json!(["acme"])),
        ("a store of another type", refused.clone(), None, |it| {
            it["trustPolicies"][0]["trustStores"] = json!(["root:acme"])
        }),
        ("a store outside", refused.clone(), None, |it| it["trustPolicies"][0]["trustStores"] = json!(["ca:../acme"])),
        ("a store that is not there", Expected::deny(Part::Authenticity), None, |it| {
            it["trustPolicies"][0]["trustStores"] = json!(["ca:absent"]);
        }),
        ("a store that is not there beside one that is", Expected::deny(Part::Authenticity), None, |it| {
            it["trustPolicies"][0]["trustStores"] = json!(["ca:acme", "ca:absent"]);
        }),
        ("a store twice", Expected::allow(), None, |it| {
            it["trustPolicies"][0]["trustStores"] = json!(["ca:acme", "ca:acme"])
        }),
        ("only a store for timestamps", Expected::deny(Part::Authenticity), None, |it| {
            it["trustPolicies"][0]["trustStores"] = json!(["tsa:acme"]);
        }),
        ("nobody trusted", refused.clone(), None, |it| it["trustPolicies"][0]["trustedIdentities"] = json!([])),
        ("an empty identity", refused.clone(), None, |it| it["trustPolicies"][0]["trustedIdentities"] = json!([""])),
        ("all and one trusted", refused.clone(), None, |it| {
            it["trustPolicies"][0]["trustedIdentities"] = json!(["*", "x509.subject: C=US, ST=WA, O=acme"]);
        }),
        ("an identity without its country", refused.clone(), None, |it| {
            it["trustPolicies"][0]["trustedIdentities"] = json!(["x509.subject: ST=WA, O=acme"]);
        }),
        ("an identity without its organization", refused.clone(), None, |it| {
            it["trustPolicies"][0]["trustedIdentities"] = json!(["x509.subject: C=US, ST=WA"]);
        }),
        ("an identity with an attribute twice", refused.clone(), None, |it| {
            it["trustPolicies"][0]["trustedIdentities"] = json!(["x509.subject: C=US, ST=WA, O=acme, OU=a, OU=b"]);
        }),
        ("overlapping identities", refused.clone(), None, |it| {
            it["trustPolicies"][0]["trustedIdentities"] =
                json!(["x509.subject: C=US, ST=WA, O=acme", "x509.subject: C=US, ST=WA, O=acme, OU=build"]);
        }),
        ("an identity twice", refused.clone(), None, |it| {
            it["trustPolicies"][0]["trustedIdentities"] =
                json!(["x509.subject: C=US, ST=WA, O=acme", "x509.subject: O=acme, ST=WA, C=US"]);
        }),
        ("identities that cross", Expected::allow(), None, |it| {
            it["trustPolicies"][0]["trustedIdentities"] =
                json!(["x509.subject: C=US, ST=WA, O=acme, OU=build", "x509.subject: C=US, ST=WA, O=acme, CN=signer"]);
        }),
        (
            "an identity of another kind",
            Expected { reasons: [Part::Authenticity, Part::Identity].into(), ..Expected::deny(Part::Authenticity) },
            None,
            |it| {
                it["trustPolicies"][0]["trustedIdentities"] = json!(["did:web:acme.example"]);
            },
        ),
        ("an identity of another kind beside one", Expected::allow(), None, |it| {
            it["trustPolicies"][0]["trustedIdentities"] =
                json!(["x509.subject: C=US, ST=WA, O=acme", "did:web:acme.example"]);
        }),
        ("an identity without its kind", refused.clone(), None, |it| {
            it["trustPolicies"][0]["trustedIdentities"] = json!(["C=US, ST=WA, O=acme"]);
        }),
        ("an identity with attributes joined", refused.clone(), None, |it| {
            it["trustPolicies"][0]["trustedIdentities"] = json!(["x509.subject: C=US, ST=WA, O=acme+OU=build"]);
        }),
        ("an identity that ends in a comma", refused.clone(), None, |it| {
            it["trustPolicies"][0]["trustedIdentities"] = json!(["x509.subject: C=US, ST=WA, O=acme,"]);
        }),
        ("an identity with another case", Expected::deny(Part::Identity), None, |it| {
            it["trustPolicies"][0]["trustedIdentities"] = json!(["x509.subject: C=US, ST=WA, O=Acme"]);
        }),
        (
            "an identity with names of attributes in another case",
            refused.clone(),
            Some(Condition::AttributeCase),
            |it| {
                it["trustPolicies"][0]["trustedIdentities"] = json!(["x509.subject: c=US, st=WA, o=acme"]);
            },
        ),
        ("an unknown key", Expected::allow(), Some(Condition::UnknownKey), |it| {
            it["trustPolicies"][0]["any"] = json!(1)
        }),
        ("another case of a key", Expected::allow(), Some(Condition::UnknownKey), |it| {
            let statement = it["trustPolicies"][0].as_object_mut().unwrap();
            let stores = statement.remove("trustStores").unwrap();
            statement.insert("TrustStores".to_owned(), stores);
        }),
    ];
    let mut questions: Vec<Question> = edits
        .into_iter()
        .map(|(name, expected, condition, edit)| {
            let mut document = base();
            edit(&mut document);
            Question {
                policy: Some(document.to_string()),
                conditions: condition.into_iter().collect(),
                ..Question::new(format!("policy: {name}"), vec![good(Format::Jws)], trusted(), expected)
            }
        })
        .collect();
    let raw = |name: &str, policy: String, expected: Expected, condition: Option<Condition>| Question {
        policy: Some(policy),
        conditions: condition.into_iter().collect(),
        ..Question::new(format!("policy: {name}"), vec![good(Format::Jws)], trusted(), expected)
    };
    questions.push(raw("no JSON", "version: 1.0".to_owned(), refused.clone(), None));
    questions.push(raw("empty", String::new(), refused, None));
    questions.push(raw("a word after it", format!("{} x", base()), Expected::allow(), Some(Condition::TrailingText)));
    questions.push(raw(
        "a key twice",
        base().to_string().replacen("\"version\"", "\"version\":\"0\",\"version\"", 1),
        Expected::allow(),
        Some(Condition::KeyTwice),
    ));
    questions
}

/// What is done to notation's folder.
type Disturb = fn(&Path);

fn stores() -> Vec<Question> {
    let refused = Expected::deny(Part::Authenticity);
    let changes: Vec<(&str, Expected, Option<Condition>, Disturb)> = vec![
        ("in PEM", Expected::allow(), None, |folder| {
            fs::write(folder.join("truststore/x509/ca/acme/0.crt"), pem("CERTIFICATE", &root())).unwrap();
        }),
        ("with any file ending", Expected::allow(), Some(Condition::FileEnding), |folder| {
            let store = folder.join("truststore/x509/ca/acme");
            fs::rename(store.join("0.crt"), store.join("root.any")).unwrap();
        }),
        ("two certificates in one file", Expected::allow(), None, |folder| {
            let text = [of_another().stores[0].2[0].clone(), root()].map(|der| pem("CERTIFICATE", &der)).concat();
            fs::write(folder.join("truststore/x509/ca/acme/0.crt"), text).unwrap();
        }),
        ("words before a certificate", Expected::allow(), None, |folder| {
            let text = format!("subject=any\n{}", pem("CERTIFICATE", &root()));
            fs::write(folder.join("truststore/x509/ca/acme/0.crt"), text).unwrap();
        }),
        ("a file that is no certificate", refused.clone(), Some(Condition::FileEnding), |folder| {
            fs::write(folder.join("truststore/x509/ca/acme/note.txt"), "any").unwrap();
        }),
        ("an empty file", refused.clone(), None, |folder| {
            fs::write(folder.join("truststore/x509/ca/acme/empty.crt"), "").unwrap();
        }),
        ("a key", refused.clone(), Some(Condition::FileEnding), |folder| {
            fs::write(folder.join("truststore/x509/ca/acme/leaf.key"), Key::get(Kind::P256, 0).pem()).unwrap();
        }),
        ("a byte after a certificate", refused.clone(), None, |folder| {
            fs::write(folder.join("truststore/x509/ca/acme/0.crt"), [root(), vec![0]].concat()).unwrap();
        }),
        ("no file", refused.clone(), None, |folder| {
            fs::remove_file(folder.join("truststore/x509/ca/acme/0.crt")).unwrap();
        }),
        ("no folder", refused.clone(), None, |folder| {
            fs::remove_dir_all(folder.join("truststore")).unwrap();
        }),
        ("a link to a certificate", refused.clone(), None, |folder| {
            let store = folder.join("truststore/x509/ca/acme");
            fs::rename(store.join("0.crt"), folder.join("root.crt")).unwrap();
            symlink(folder.join("root.crt"), store.join("0.crt")).unwrap();
        }),
        ("a link to a store", refused.clone(), None, |folder| {
            let store = folder.join("truststore/x509/ca/acme");
            fs::rename(&store, folder.join("elsewhere")).unwrap();
            symlink(folder.join("elsewhere"), store).unwrap();
        }),
        ("a folder in it", refused.clone(), Some(Condition::Subfolder), |folder| {
            let below = folder.join("truststore/x509/ca/acme/below");
            fs::create_dir(&below).unwrap();
            fs::write(below.join("any.crt"), "any").unwrap();
        }),
        ("the older name of the policy and the newer", policy(), Some(Condition::PolicyName), |folder| {
            fs::copy(folder.join("trustpolicy.json"), folder.join("trustpolicy.oci.json")).unwrap();
            fs::write(folder.join("trustpolicy.json"), "any").unwrap();
        }),
        ("no policy", policy(), None, |folder| fs::remove_file(folder.join("trustpolicy.json")).unwrap()),
        ("a link to the policy", policy(), Some(Condition::PolicyLink), |folder| {
            fs::rename(folder.join("trustpolicy.json"), folder.join("any.json")).unwrap();
            symlink(folder.join("any.json"), folder.join("trustpolicy.json")).unwrap();
        }),
    ];
    changes
        .into_iter()
        .map(|(name, expected, condition, disturb)| Question {
            disturb: Some(disturb),
            conditions: condition.into_iter().collect(),
            ..Question::new(format!("store: {name}"), vec![good(Format::Cose)], trusted(), expected)
        })
        .collect()
}
