//! Signatures that demand a verification plugin, and plugins of all kinds: what they can do, what they say, by which
//! level that counts; and plugins that are not what they must be. Both judges run the same program from the same folder:
//! notation by itself, ratifyd by its runner, as another user.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::authorities::{authorities, serials};
use super::cbor::Cbor;
use super::certificates::{Template, responders};
use super::clock::days;
use super::common::plugins::{IDENTITY, REVOCATION, metadata, script};
use super::envelopes::{Draft, Format, PAYLOAD_TYPE, Scheme};
use super::keys::{Key, Kind};
use super::oracle::{Expected, Part};
use super::reviewed::Condition;
use super::trials::{Attached, Question, Statement, StoreType, image};

/// The plugin that signatures demand.
const NAME: &str = "com.example.judge";

/// Its version.
const VERSION: &str = "1.2.3";

/// An attribute that it alone understands.
const TICKET: &str = "com.example.ticket";

const PLUGIN: &str = "io.cncf.notary.verificationPlugin";
const MIN_VERSION: &str = "io.cncf.notary.verificationPluginMinVersion";

const LEAF: &str = "CN=signer,O=acme,ST=WA,C=US";
const NOBODY_HERE: &str = "x509.subject: C=US, ST=WA, O=nobody";

/// All questions: what a plugin can do and says, with each level, identity and revocation; in every form of a signature
/// or, if that is too much, each in one; and what is unusual.
pub fn questions(is_complete: bool) -> Vec<Question> {
    let mut questions = Vec::new();
    for (number, case) in Case::all().iter().enumerate() {
        let each = (0..FORMS.len()).filter(|form| is_complete || *form == (number + number / 4) % FORMS.len());
        questions.extend(each.map(|form| case.question(FORMS[form])));
    }
    for odd in odds() {
        questions.extend([Format::Jws, Format::Cose].map(|format| odd.question(format)));
    }
    questions
}

const FORMS: [(Format, Scheme); 4] = [
    (Format::Jws, Scheme::X509),
    (Format::Cose, Scheme::X509),
    (Format::Jws, Scheme::SigningAuthority),
    (Format::Cose, Scheme::SigningAuthority),
];

/// What a plugin says of identity and revocation: none where it cannot tell.
type Says = (Option<bool>, Option<bool>);

const YES: Says = (Some(true), Some(true));

/// A plugin that answers what it is asked, and says that it has processed these attributes.
fn answers(version: &str, (identity, revocation): Says, processed: &[&str]) -> String {
    let result = |success: &bool| json!({ "success": success, "reason": "it is friday" });
    let cans = [(IDENTITY, identity), (REVOCATION, revocation)];
    let capabilities: Vec<&str> = cans.iter().filter(|(_, says)| says.is_some()).map(|(name, _)| *name).collect();
    let mut does = "results=".to_owned();
    for (name, says) in cans.iter().filter_map(|(name, says)| Some((name, says.as_ref()?))) {
        let result = result(says);
        does += &format!(
            "\ncase $request in *'\"{name}\"'*) results=\"$results${{results:+,}}\"'\"{name}\":{result}' ;; esac"
        );
    }
    does += &format!(
        "\nprintf '{{\"verificationResults\":{{%s}},\"processedAttributes\":%s}}' \"$results\" '{}'",
        json!(processed)
    );
    script(&metadata(NAME, version, &capabilities), &does)
}

/// A plugin that can tell all, and prints this whatever it is asked.
fn prints(answer: &str) -> String {
    does(&format!("printf '%s' '{answer}'"))
}

/// A plugin that can tell all, and does this whatever it is asked.
fn does(what: &str) -> String {
    script(&metadata(NAME, VERSION, &[IDENTITY, REVOCATION]), what)
}

/// What it prints that says yes to all.
fn yes() -> Value {
    let result = json!({ "success": true });
    json!({ "verificationResults": { IDENTITY: result, REVOCATION: result }, "processedAttributes": [] })
}

/// Signs with the demand for the plugin `name`, of a version if one is given, and with attributes that are critical.
fn sign(draft: &Draft, format: Format, name: &str, min: Option<&str>, attributes: &[(&str, Value)]) -> Attached {
    let envelope = match format {
        Format::Jws => {
            let mut jws = draft.jws();
            jws.set_critical(PLUGIN, json!(name));
            min.into_iter().for_each(|min| jws.set_critical(MIN_VERSION, json!(min)));
            for (name, value) in attributes {
                // Null would take it out.
                jws.set_critical(name, json!(true));
                jws.protected.last_mut().unwrap().1 = value.clone();
            }
            jws.encode(&jws.signature())
        }
        Format::Cose => {
            let mut cose = draft.cose();
            cose.set_critical(PLUGIN, Cbor::text(name));
            min.into_iter().for_each(|min| cose.set_critical(MIN_VERSION, Cbor::text(min)));
            for (name, value) in attributes {
                cose.set_critical(*name, Cbor::Int(1));
                cose.protected.last_mut().unwrap().1 = cbor(value);
            }
            cose.encode(&cose.signature())
        }
    };
    Attached::new(format.media_type(), envelope)
}

fn cbor(value: &Value) -> Cbor {
    match value {
        Value::Null => Cbor::Null,
        Value::Bool(value) => Cbor::Raw(vec![if *value { 0xf5 } else { 0xf4 }]),
        Value::Number(number) => Cbor::Int(number.as_i64().unwrap()),
        Value::String(text) => Cbor::text(text),
        Value::Array(values) => Cbor::List(values.iter().map(cbor).collect()),
        Value::Object(members) => {
            Cbor::Map(members.iter().map(|(name, value)| (Cbor::text(name), cbor(value))).collect())
        }
    }
}

/// A sound signature, of which its issuer says what this serial number stands for.
fn draft(scheme: Scheme, serial: u32) -> Draft {
    let key = Key::get(Kind::P256, 0);
    let issuer = authorities().issuer(key.kind.issuer());
    let leaf = Template { serial, ..Template::leaf(LEAF, &issuer.name, (days(-100), days(100))) }
        .with(responders(std::slice::from_ref(&issuer.responder)))
        .sign(key, issuer.key);
    let root = Template::ca(&issuer.name, &issuer.name, (days(-200), days(200))).sign(issuer.key, issuer.key);
    let mut target = image();
    target["annotations"] = json!({ "build": "7" });
    let payload = json!({ "targetArtifact": target }).to_string().into_bytes();
    Draft { key, scheme, signing_time: days(-20), expiry: None, chain: vec![leaf, root], payload }
}

/// Strict, for whoever has a certificate by this root.
fn trusted(root: &[u8]) -> Statement {
    let store = |kind| (kind, "acme".to_owned(), vec![root.to_vec()]);
    Statement::strict(vec![store(StoreType::Ca), store(StoreType::SigningAuthority)])
}

/// One choice of everything that decides together with a plugin.
struct Case {
    says: Says,
    level: (&'static str, &'static [(&'static str, &'static str)]),
    /// Whether the signer is one of the trusted identities.
    is_named: bool,
    /// Whether its issuer has taken its certificate back.
    is_revoked: bool,
}

const LEVELS: [(&str, &[(&str, &str)]); 7] = [
    ("strict", &[]),
    ("permissive", &[]),
    ("audit", &[]),
    ("skip", &[]),
    ("strict", &[("authenticity", "log")]),
    ("strict", &[("revocation", "log")]),
    ("strict", &[("revocation", "skip")]),
];

impl Case {
    fn all() -> Vec<Self> {
        let mut all = Vec::new();
        let words = [None, Some(true), Some(false)];
        let says = words.into_iter().flat_map(|identity| words.map(|revocation| (identity, revocation)));
        // One that can tell nothing is no verification plugin.
        for says in says.filter(|says| *says != (None, None)) {
            for level in LEVELS {
                for (is_named, is_revoked) in [(true, false), (false, false), (true, true), (false, true)] {
                    all.push(Self { says, level, is_named, is_revoked });
                }
            }
        }
        all
    }

    fn question(&self, (format, scheme): (Format, Scheme)) -> Question {
        let Self { says: (identity, revocation), level: (level, overrides), is_named, is_revoked } = self;
        let draft = draft(scheme, if *is_revoked { serials::REVOKED } else { serials::GOOD });
        let statement = Statement {
            level: (*level).to_owned(),
            overrides: overrides.iter().map(|(name, action)| ((*name).to_owned(), (*action).to_owned())).collect(),
            identities: vec![if *is_named { "x509.subject: C=US, ST=WA, O=acme" } else { NOBODY_HERE }.to_owned()],
            ..trusted(&draft.chain[1])
        };
        let name = format!(
            "plugin: identity {identity:?}, revocation {revocation:?}, {level} {overrides:?}, named {is_named}, revoked \
             {is_revoked}, {format:?} {scheme:?}"
        );
        let signature = sign(&draft, format, NAME, Some("1.0.0"), &[]);
        Question {
            plugin: Some((NAME.to_owned(), answers(VERSION, self.says, &[]))),
            ..Question::new(name, vec![signature], statement, self.expected())
        }
    }

    /// The plugin's word counts in place of what everybody can see.
    fn expected(&self) -> Expected {
        if self.level.0 == "skip" {
            return Expected::allow();
        }
        let (identity, revocation) = self.says;
        let fails = [
            (Part::Identity, identity.is_none() && !self.is_named),
            (Part::Revocation, revocation.is_none() && self.is_revoked),
            (Part::Identity, identity == Some(false)),
            (Part::Revocation, revocation == Some(false)),
        ];
        let fails: Vec<Part> = fails.into_iter().filter(|(_, fails)| *fails).map(|(part, _)| part).collect();
        let by = |action| fails.iter().copied().filter(|part| self.action(*part) == action).collect::<Vec<_>>();
        match by("enforce").as_slice() {
            [] => {
                let word = |part| if part == Part::Identity { Part::Authenticity } else { part };
                Expected { logged: by("log").into_iter().map(word).collect(), ..Expected::allow() }
            }
            [part, ..] => Expected { reasons: by("enforce").into_iter().collect(), ..Expected::deny(*part) },
        }
    }

    fn action(&self, part: Part) -> &'static str {
        let (level, overrides) = self.level;
        let (name, permissive) = match part {
            Part::Identity => ("authenticity", "enforce"),
            _ => ("revocation", "log"),
        };
        let own = overrides.iter().find(|(other, _)| *other == name).map(|(_, action)| *action);
        own.unwrap_or(match level {
            "strict" => "enforce",
            "permissive" => permissive,
            _ => "log",
        })
    }
}

/// Something unusual about a signature that demands a plugin, or about the plugin.
struct Odd {
    name: String,
    /// The name under which the plugin is demanded and installed.
    plugin_name: &'static str,
    plugin: Option<String>,
    min_version: Option<&'static str>,
    attributes: Vec<(&'static str, Value)>,
    /// The level, and what becomes of revocation by an override.
    level: (&'static str, Option<&'static str>),
    identities: &'static [&'static str],
    metadata: Option<&'static str>,
    draft: fn(&mut Draft),
    is_stranger: bool,
    /// Whether a sound signature that demands nothing is there too.
    has_other: bool,
    disturb: Option<fn(&Path)>,
    expected: Expected,
    condition: Option<Condition>,
}

impl Odd {
    fn new(name: impl Into<String>, plugin: Option<String>, expected: Expected) -> Self {
        Self {
            name: name.into(),
            plugin_name: NAME,
            plugin,
            min_version: None,
            attributes: Vec::new(),
            level: ("strict", None),
            identities: &["*"],
            metadata: None,
            draft: |_| {},
            is_stranger: false,
            has_other: false,
            disturb: None,
            expected,
            condition: None,
        }
    }

    fn known(self, condition: Condition) -> Self {
        Self { condition: Some(condition), ..self }
    }

    fn question(&self, format: Format) -> Question {
        let mut draft = draft(Scheme::X509, serials::GOOD);
        (self.draft)(&mut draft);
        let mut signatures = vec![sign(&draft, format, self.plugin_name, self.min_version, &self.attributes)];
        if self.has_other {
            signatures.push(Attached::new(format.media_type(), draft.sign(format, None)));
        }
        let root = if self.is_stranger { stranger() } else { draft.chain[1].clone() };
        let (level, revocation) = self.level;
        let statement = Statement {
            level: level.to_owned(),
            overrides: revocation.iter().map(|action| ("revocation".to_owned(), (*action).to_owned())).collect(),
            identities: self.identities.iter().map(|identity| (*identity).to_owned()).collect(),
            ..trusted(&root)
        };
        Question {
            metadata: self.metadata.iter().map(|value| ("build".to_owned(), (*value).to_owned())).collect(),
            plugin: self.plugin.clone().map(|text| (self.plugin_name.to_owned(), text)),
            disturb: self.disturb,
            conditions: self.condition.into_iter().collect(),
            ..Question::new(format!("{format:?}: plugin: {}", self.name), signatures, statement, self.expected.clone())
        }
    }
}

/// The root of somebody else.
fn stranger() -> Vec<u8> {
    let (name, key) = ("CN=other root,O=acme,ST=WA,C=US", Key::get(Kind::P256, 2));
    Template::ca(name, name, (days(-9), days(9))).sign(key, key)
}

fn odds() -> Vec<Odd> {
    [demands(), versions(), attributes(), metadatas(), replies(), breaks(), programs(), names()]
        .into_iter()
        .flatten()
        .collect()
}

/// Refused because of the plugin; the envelope itself may already tell.
fn refused() -> Expected {
    Expected { reasons: [Part::Plugin, Part::Integrity].into(), ..Expected::deny(Part::Plugin) }
}

fn allow() -> Expected {
    Expected::allow()
}

fn logs(part: Part) -> Expected {
    Expected { logged: [part].into(), ..allow() }
}

fn good() -> Option<String> {
    Some(answers(VERSION, YES, &[]))
}

/// What else there is about a signature that demands a plugin.
fn demands() -> Vec<Odd> {
    let no = || Some(answers(VERSION, (Some(false), Some(true)), &[]));
    let team = does(&format!(
        "case $request in *'\"trustedIdentities\":[\"com.example:team\"]'*) word=true ;; *) word=false ;; esac\n\
         printf '{{\"verificationResults\":{{\"{IDENTITY}\":{{\"success\":%s}},\"{REVOCATION}\":{{\"success\":true}}}},\
         \"processedAttributes\":[]}}' $word"
    ));
    vec![
        Odd::new("not there", None, refused()),
        Odd { level: ("audit", None), ..Odd::new("not there, audit", None, refused()) },
        Odd { level: ("skip", None), ..Odd::new("not there, skip", None, allow()) },
        Odd { has_other: true, ..Odd::new("not there, and another signature", None, allow()) },
        Odd { has_other: true, ..Odd::new("says no, and another signature", no(), allow()) },
        Odd::new("there", good(), allow()),
        Odd {
            draft: |draft| draft.expiry = Some(days(-1)),
            ..Odd::new("of a signature that has ended", good(), Expected::deny(Part::Expiry))
        },
        Odd {
            draft: |draft| {
                draft.payload = String::from_utf8_lossy(&draft.payload).replace("sha256:", "sha256:0").into()
            },
            ..Odd::new(
                "of a signature over something else",
                good(),
                Expected { reasons: [Part::Subject, Part::Integrity].into(), ..Expected::deny(Part::Subject) },
            )
        },
        Odd { metadata: Some("7"), ..Odd::new("of a signature that states it", good(), allow()) },
        Odd {
            metadata: Some("8"),
            ..Odd::new("of a signature that states something else", good(), Expected::deny(Part::Metadata))
        },
        Odd {
            is_stranger: true,
            ..Odd::new("of a signer whom nobody trusts", good(), Expected::deny(Part::Authenticity))
        },
        Odd {
            level: ("audit", None),
            is_stranger: true,
            ..Odd::new("of a stranger, audit", good(), logs(Part::Authenticity))
        }
        .known(Condition::StrangersPlugin),
        // Whom it trusts is for the plugin alone to understand.
        Odd {
            identities: &["com.example:team"],
            ..Odd::new("for an identity of its own", Some(team.clone()), allow())
        },
        Odd {
            identities: &["com.example:other"],
            ..Odd::new("for another identity of its own", Some(team), Expected::deny(Part::Identity))
        },
        Odd {
            identities: &["com.example:team"],
            ..Odd::new(
                "for an identity of its own, which it cannot tell",
                Some(answers(VERSION, (None, Some(true)), &[])),
                Expected { reasons: [Part::Authenticity, Part::Identity].into(), ..Expected::deny(Part::Authenticity) },
            )
        },
        is_told(),
    ]
}

/// A plugin that says yes only where it is told all that there is to be told.
fn is_told() -> Odd {
    let chain: Vec<String> = draft(Scheme::X509, serials::GOOD).chain.iter().map(|der| STANDARD.encode(der)).collect();
    let told = [
        r#""contractVersion":"1.0""#.to_owned(),
        format!(r#""contentType":"{PAYLOAD_TYPE}""#),
        r#""signingScheme":"notary.x509""#.to_owned(),
        format!(r#""extendedAttributes":{{"{TICKET}":"42"}}"#),
        format!(r#""unprocessedAttributes":["{TICKET}"]"#),
        format!(r#""certificateChain":{}"#, json!(chain)),
        r#""trustedIdentities":["*"]"#.to_owned(),
        format!(r#""signatureVerification":["{IDENTITY}","{REVOCATION}"]"#),
    ];
    let lacks: String =
        told.iter().map(|told| format!("case $request in *'{told}'*) ;; *) exit 1 ;; esac\n")).collect();
    let mut answer = yes();
    answer["processedAttributes"] = json!([TICKET]);
    Odd {
        attributes: vec![(TICKET, json!("42"))],
        ..Odd::new("is told all", Some(does(&format!("{lacks}printf '%s' '{answer}'"))), allow())
    }
}

fn versions() -> Vec<Odd> {
    let table = [
        ("1.2.3", "1.2.3", true),
        ("1.2.3", "1.2.4", false),
        ("1.10.0", "1.9.0", true),
        ("1.2.3", "1.2.3-rc.1", true),
        ("1.2.3-rc.1", "1.2.3", false),
        ("1.2.3-rc.2", "1.2.3-rc.10", false),
        ("1.2.3-alpha", "1.2.3-1", true),
        ("1.2.3+one", "1.2.3+two", true),
        ("1.2.3", "1.2", false),
        ("1.2.3", "v1.2.3", false),
        ("1.2.3", "01.2.3", false),
        ("1.2.3", "", false),
        ("v1.2.3", "1.2.3", false),
        ("1.2", "1.2.0", false),
    ];
    let ask = |(version, min, serves): (&str, &'static str, bool)| Odd {
        min_version: Some(min),
        ..Odd::new(
            format!("version {version:?}, of which {min:?} is asked for"),
            Some(answers(version, YES, &[])),
            if serves { allow() } else { refused() },
        )
    };
    let unasked = Odd::new("version \"1\", of which none is asked for", Some(answers("1", YES, &[])), refused());
    table.into_iter().map(ask).chain([unasked]).collect()
}

/// Attributes that the plugin alone understands.
fn attributes() -> Vec<Odd> {
    let one = || vec![(TICKET, json!("42"))];
    let two = || vec![(TICKET, json!("42")), ("com.example.more", json!(7))];
    let with = |name: &str, attributes, processed: &[&str], expected| Odd {
        attributes,
        ..Odd::new(format!("attributes: {name}"), Some(answers(VERSION, YES, processed)), expected)
    };
    let alone = |name: &str, processed: &[&str], expected| Odd {
        level: ("strict", Some("skip")),
        attributes: one(),
        ..Odd::new(format!("attributes: {name}"), Some(answers(VERSION, (None, Some(true)), processed)), expected)
    };
    let mut odds = vec![
        with("processed", one(), &[TICKET], allow()),
        with("processed in another order", two(), &["com.example.more", TICKET], allow()),
        with("more processed than there are", one(), &[TICKET, "com.example.more"], allow()),
        with("unprocessed", one(), &[], refused()),
        Odd { level: ("audit", None), ..with("unprocessed, audit", one(), &[], refused()) },
        with("one of two processed", two(), &[TICKET], refused()),
        with("processed by a name in capitals", one(), &["com.example.Ticket"], refused()),
        alone("processed, with no check to make", &[TICKET], allow()),
        alone("unprocessed, with no check to make", &[], allow()).known(Condition::NothingToCheck),
        with(
            "of the specification's own names",
            vec![("io.cncf.notary.other", json!("42"))],
            &["io.cncf.notary.other"],
            allow(),
        )
        .known(Condition::ReservedAttribute),
    ];
    for value in [json!(""), json!("ä\"\\"), json!(-7), json!(true), json!(null)] {
        odds.push(with(&format!("of value {value}"), vec![(TICKET, value)], &[TICKET], allow()));
    }
    odds.push(with("a list", vec![(TICKET, json!([1]))], &[TICKET], allow()).known(Condition::ComplexAttribute));
    odds
}

/// What a plugin says of itself.
fn metadatas() -> Vec<Odd> {
    let says = |name: &str, member: &str, value: Value, expected| {
        let mut metadata: Value = serde_json::from_str(&metadata(NAME, VERSION, &[IDENTITY, REVOCATION])).unwrap();
        metadata[member] = value;
        Odd::new(
            format!("metadata: {name}"),
            Some(script(&metadata.to_string(), &format!("echo '{}'", yes()))),
            expected,
        )
    };
    let whole = |name: &str, metadata: &str, expected| {
        Odd::new(format!("metadata: {name}"), Some(script(metadata, &format!("echo '{}'", yes()))), expected)
    };
    let sound = metadata(NAME, VERSION, &[IDENTITY, REVOCATION]);
    vec![
        says("of signing alone", "capabilities", json!(["SIGNATURE_GENERATOR.RAW"]), refused()),
        says("of nothing", "capabilities", json!([]), refused()),
        says("of no list", "capabilities", json!(null), refused()),
        says("of signing too", "capabilities", json!(["SIGNATURE_GENERATOR.RAW", IDENTITY, REVOCATION]), allow()),
        says("of something new too", "capabilities", json!(["ANY.NEW", REVOCATION, IDENTITY]), allow()),
        says("another name", "name", json!("com.example.other"), refused()),
        says("the name in capitals", "name", json!("com.example.Judge"), refused()),
        says("another contract", "supportedContractVersions", json!(["2.0"]), refused()),
        says("a newer contract", "supportedContractVersions", json!(["1.1"]), refused()),
        says("two contracts", "supportedContractVersions", json!(["2.0", "1.0"]), allow()),
        says("no contract", "supportedContractVersions", json!([]), refused()),
        says("no description", "description", json!(""), refused()),
        says("no address", "url", json!(null), refused()),
        says("no version", "version", json!(null), refused()),
        says("a version that is a number", "version", json!(1), refused()),
        says("more than is known", "more", json!("any"), allow()),
        whole("no JSON", "any", refused()),
        whole("nothing", "", refused()),
        whole("two answers", &format!("{sound}{sound}"), refused()),
        whole("words before it", &format!("any {sound}"), refused()),
        whole("a name in capitals", &sound.replace("\"version\"", "\"Version\""), allow()).known(Condition::AnswerForm),
        whole("a member twice", &sound.replace("\"version\"", "\"version\":\"0.1.0\",\"version\""), allow())
            .known(Condition::AnswerForm),
    ]
}

/// What a plugin says of a signature.
fn replies() -> Vec<Odd> {
    let prints =
        |name: &str, answer: &str, expected| Odd::new(format!("answer: {name}"), Some(prints(answer)), expected);
    let edited = |edit: fn(&mut Value)| {
        let mut answer = yes();
        edit(&mut answer);
        answer.to_string()
    };
    let audit = |odd: Odd| Odd { name: format!("{}, audit", odd.name), level: ("audit", None), ..odd };
    let results = |it: &mut Value, name: &str, value: Value| it["verificationResults"][name] = value;
    let no_identity = edited(|it| drop(it["verificationResults"].as_object_mut().unwrap().remove(IDENTITY)));
    let no_revocation = edited(|it| drop(it["verificationResults"].as_object_mut().unwrap().remove(REVOCATION)));
    let null = edited(|it| it["verificationResults"][IDENTITY] = json!(null));
    let wordless = edited(|it| it["verificationResults"][IDENTITY] = json!({ "success": false }));
    let open = edited(|it| it["verificationResults"][IDENTITY] = json!({ "reason": "any" }));
    let mut more = yes();
    results(&mut more, "ANY.NEW", json!({ "success": false }));
    let sound = yes().to_string();
    let mut odds = vec![
        prints("yes", &sound, allow()),
        prints("no, without a word", &wordless, Expected::deny(Part::Identity)),
        audit(prints("no, without a word", &wordless, logs(Part::Authenticity))),
        prints("neither yes nor no", &open, Expected::deny(Part::Identity)),
        audit(prints("neither yes nor no", &open, logs(Part::Authenticity))).known(Condition::NoSuccess),
        prints("more than was asked", &more.to_string(), allow()).known(Condition::AnswersMore),
        prints("nothing processed, in no list", &edited(|it| it["processedAttributes"] = json!(null)), allow()),
        prints("more members", &edited(|it| it["more"] = json!(1)), allow()),
        prints("a name in capitals", &sound.replace("success", "Success"), allow()).known(Condition::AnswerForm),
        prints("yes after no", &sound.replace("\"success\"", "\"success\":false,\"success\""), allow())
            .known(Condition::AnswerForm),
    ];
    for (name, answer) in [
        ("nothing of identity", no_identity.as_str()),
        ("nothing of revocation", &no_revocation),
        ("null of identity", &null),
        ("an empty object", "{}"),
        ("no object", "[]"),
        ("yes in a text", &sound.replace("true", "\"true\"")),
        ("a list of results", r#"{"verificationResults":[],"processedAttributes":[]}"#),
        ("half of it", &sound[..sound.len() / 2]),
        ("two of them", &format!("{sound}{sound}")),
        ("words before it", &format!("any {sound}")),
        ("no JSON", "any"),
        ("nothing", ""),
    ] {
        odds.push(prints(name, answer, refused()));
        odds.push(audit(prints(name, answer, refused())));
    }
    odds
}

/// Plugins that give no answer.
fn breaks() -> Vec<Odd> {
    let error = |code: &str| format!("echo '{{\"errorCode\":\"{code}\",\"errorMessage\":\"any\"}}' >&2; exit 1");
    let answer = format!("printf '%s' '{}'", yes());
    let mut odds = vec![Odd::new("warns, and answers", Some(does(&format!("echo any >&2; {answer}"))), allow())];
    for (name, what) in [
        ("fails without a word", "exit 1".to_owned()),
        ("fails with words", "echo any >&2; exit 1".to_owned()),
        ("fails by the contract", error("ERROR")),
        ("is throttled", error("THROTTLED")),
        ("answers and fails", format!("{answer}; exit 1")),
        ("answers and fails otherwise", format!("{answer}; exit 7")),
        ("answers and is killed", format!("{answer}; kill -9 $$")),
    ] {
        for level in ["strict", "audit"] {
            odds.push(Odd {
                level: (level, None),
                ..Odd::new(format!("{name}, {level}"), Some(does(&what)), refused())
            });
        }
    }
    odds
}

fn program(notation: &Path) -> PathBuf {
    notation.join(format!("plugins/{NAME}/notation-{NAME}"))
}

/// Programs that are not as they must be.
fn programs() -> Vec<Odd> {
    fn mode(notation: &Path, mode: u32) {
        fs::set_permissions(program(notation), Permissions::from_mode(mode)).unwrap();
    }
    let with = |name: &str, expected, disturb| Odd { disturb: Some(disturb), ..Odd::new(name, good(), expected) };
    vec![
        with("a link to a program", allow(), |notation: &Path| {
            let path = program(notation);
            fs::rename(&path, path.with_file_name("any")).unwrap();
            symlink(path.with_file_name("any"), path).unwrap();
        })
        .known(Condition::PluginLink),
        with("a link that leads nowhere", refused(), |notation| {
            fs::remove_file(program(notation)).unwrap();
            symlink("any", program(notation)).unwrap();
        }),
        with("a folder", refused(), |notation| {
            fs::remove_file(program(notation)).unwrap();
            fs::create_dir(program(notation)).unwrap();
        }),
        with("a program that nobody may run", refused(), |notation| mode(notation, 0o644)),
        with("a program that root alone may run", allow(), |notation| mode(notation, 0o700))
            .known(Condition::PluginPermissions),
        with("a program that everybody may write", allow(), |notation| mode(notation, 0o757))
            .known(Condition::PluginPermissions),
        with("no program", refused(), |notation| fs::write(program(notation), [0; 64]).unwrap()),
        with("a program without its interpreter", refused(), |notation| {
            fs::write(program(notation), "#!/nonexistent\n").unwrap();
        }),
        with("in a file of another name", refused(), |notation| {
            fs::rename(program(notation), program(notation).with_file_name(NAME)).unwrap();
        }),
    ]
}

/// Names of plugins, which the envelope chooses.
fn names() -> Vec<Odd> {
    let named = |name: &'static str, expected| Odd {
        plugin_name: name,
        ..Odd::new(format!("of the name {name:?}"), Some(answers(VERSION, YES, &[]).replace(NAME, name)), expected)
    };
    vec![
        named("a", allow()),
        named("A_b-1..c", allow()),
        Odd { plugin: None, ..named("", refused()) },
        Odd { plugin: None, ..named(" ", refused()) },
        Odd { plugin: None, ..named("..", refused()) },
        Odd { plugin: None, ..named("../judge", refused()) },
        Odd { plugin: None, ..named("/bin/true", refused()) },
        named(".hidden", allow()).known(Condition::PluginName),
        named("two words", allow()).known(Condition::PluginName),
    ]
}
