//! Signatures that demand a plugin, and what plugins answer.

use std::os::unix::fs::symlink;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::testing::{Draft, passed, refused, trust_in, verify_by};
use super::super::verify::JWS;
use super::super::{NotationVerifier, Trust};
use super::*;
use crate::config::{Action, Level, VerifyTimestamp};
use crate::pki::testing::{Key, Kind, ROOT, Template, chain};
use crate::report::{Logged, Validation};
use crate::runner::testing::{Programs, chmod, lacks_root, runner};
use crate::verdict::Class;

const NAME: &str = "com.example.plugin";
const IDENTITY: &str = "SIGNATURE_VERIFIER.TRUSTED_IDENTITY";
const REVOCATION: &str = "SIGNATURE_VERIFIER.REVOCATION_CHECK";
const NOBODY_HERE: &str = "x509.subject: C=US, ST=WA, O=somebody else";

fn metadata(capabilities: &[&str]) -> Value {
    json!({
        "name": NAME, "description": "A plugin for tests", "version": "1.2.3", "url": "https://plugin.example",
        "supportedContractVersions": ["1.0"], "capabilities": capabilities,
    })
}

fn answer(identity: Option<bool>, revocation: Option<bool>) -> Value {
    let mut results = serde_json::Map::new();
    for (capability, success) in [(IDENTITY, identity), (REVOCATION, revocation)] {
        if let Some(success) = success {
            results.insert(capability.to_owned(), json!({ "success": success, "reason": "the plugin's word" }));
        }
    }
    json!({ "verificationResults": results, "processedAttributes": null })
}

/// A script that answers so, and keeps what it was asked and how often.
fn script(folder: &Path, metadata: &str, answer: &str) -> String {
    format!(
        "#!/bin/sh\necho $1 >>{0}/log\ncat >{0}/$1\ncase $1 in\nget-plugin-metadata) cat <<'END'\n{metadata}\nEND\n;;\n\
         verify-signature) {answer}\n;;\nesac\n",
        folder.display()
    )
}

fn prints(answer: &Value) -> String {
    format!("cat <<'END'\n{answer}\nEND")
}

/// A folder of plugins and one that they may write to.
struct Site {
    programs: Programs,
    open: PathBuf,
}

impl Site {
    fn new() -> Self {
        let programs = Programs::new();
        let open = programs.open_folder();
        Self { programs, open }
    }

    fn with(metadata: &Value, answer: &Value) -> Self {
        let site = Self::new();
        site.put(&metadata.to_string(), &prints(answer));
        site
    }

    fn put(&self, metadata: &str, answer: &str) -> PathBuf {
        self.programs.put(&format!("{NAME}/notation-{NAME}"), &script(&self.open, metadata, answer))
    }

    fn plugins(&self) -> Plugins {
        let config = BTreeMap::from([("region".to_owned(), "eu".to_owned())]);
        Plugins::new(self.programs.folder().to_owned(), Arc::new(runner(Duration::from_secs(20))), config)
    }

    fn asked(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.open.join("log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    fn request(&self, command: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.open.join(command)).unwrap()).unwrap()
    }

    async fn verify(&self, trust: Trust) -> Outcome {
        verify(&NotationVerifier::new("acme".into(), trust, Arc::default()).with_plugins(self.plugins())).await
    }
}

/// Judges a signature that demands the plugin.
async fn verify(verifier: &NotationVerifier) -> Outcome {
    let envelope = Draft::new().critical("io.cncf.notary.verificationPlugin", NAME.into()).sign();
    verify_by(verifier, Ok(envelope.into()), &[JWS]).await
}

fn trust(identity: &str) -> Trust {
    trust_in(&chain(), &[identity])
}

#[track_caller]
fn faulty(outcome: Outcome, words: &str) -> Class {
    match outcome {
        Outcome::Fault { cause } => {
            assert!(cause.to_string().contains(words), "{words:?}: {cause}");
            cause.class()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_plugin_is_asked_what_the_specification_says_and_answers_for_identity_and_revocation() {
    if lacks_root() {
        return;
    }
    let site =
        Site::with(&metadata(&[REVOCATION, IDENTITY, "SIGNATURE_GENERATOR.RAW"]), &answer(Some(true), Some(true)));
    // Our own check of identity would refuse this one: the plugin's takes its place.
    passed(site.verify(trust(NOBODY_HERE)).await);
    assert_eq!(site.asked(), ["get-plugin-metadata", "verify-signature"]);
    assert_eq!(site.request("get-plugin-metadata"), json!({ "pluginConfig": { "region": "eu" } }));
    let mut request = site.request("verify-signature");
    let certificates = request["signature"]["certificateChain"].take();
    let expected: Vec<String> = {
        use base64::Engine as _;
        let encode =
            |certificate: &crate::pki::Certificate| base64::engine::general_purpose::STANDARD.encode(certificate.der());
        chain().iter().map(encode).collect()
    };
    assert_eq!(certificates, json!(expected));
    let expected = json!({
        "contractVersion": "1.0",
        "signature": {
            "criticalAttributes": {
                "contentType": "application/vnd.cncf.notary.payload.v1+json",
                "signingScheme": "notary.x509",
                "verificationPlugin": NAME,
                "extendedAttributes": {},
            },
            "unprocessedAttributes": [],
            "certificateChain": null,
        },
        "trustPolicy": { "trustedIdentities": [NOBODY_HERE], "signatureVerification": [IDENTITY, REVOCATION] },
        "pluginConfig": { "region": "eu" },
    });
    assert_eq!(request, expected);
}

#[tokio::test]
async fn identities_of_other_kinds_are_the_plugins_to_judge_and_nobody_elses() {
    if lacks_root() {
        return;
    }
    let arn = "arn:aws:signer:eu-west-1:123456789012:/signing-profiles/acme";
    let site = Site::with(&metadata(&[IDENTITY]), &answer(Some(true), None));
    passed(site.verify(trust(arn)).await);
    assert_eq!(site.request("verify-signature")["trustPolicy"]["trustedIdentities"], json!([arn]));
    let site = Site::with(&metadata(&[REVOCATION]), &answer(None, Some(true)));
    refused(site.verify(trust(arn)).await, Stage::Identity, "is none of the trusted identities: arn:aws:signer");
}

#[tokio::test]
async fn a_strangers_signature_starts_no_program_whatever_the_level_lets_pass() {
    if lacks_root() {
        return;
    }
    let key = Key::get(Kind::P256, 0);
    let nobody = trust_in(&[Template::ca(ROOT, ROOT).sign(key, key)], &["*"]);
    let site = Site::with(&metadata(&[IDENTITY]), &answer(Some(true), None));
    faulty(
        site.verify(nobody.at(Level::AUDIT, VerifyTimestamp::Always)).await,
        "is not run for signers whom nobody trusts",
    );
    assert!(site.asked().is_empty());
}

#[tokio::test]
async fn each_check_is_the_plugins_only_where_it_can_make_it() {
    if lacks_root() {
        return;
    }
    let site = Site::with(&metadata(&[IDENTITY]), &answer(Some(true), None));
    passed(site.verify(trust(NOBODY_HERE)).await);
    assert_eq!(site.request("verify-signature")["trustPolicy"]["signatureVerification"], json!([IDENTITY]));

    let site = Site::with(&metadata(&[REVOCATION]), &answer(None, Some(true)));
    refused(site.verify(trust(NOBODY_HERE)).await, Stage::Identity, "none of the trusted identities");
    assert_eq!(site.asked(), ["get-plugin-metadata"]);
    passed(site.verify(trust("*")).await);
    assert_eq!(site.request("verify-signature")["trustPolicy"]["signatureVerification"], json!([REVOCATION]));
}

#[tokio::test]
async fn a_trusted_plugin_makes_no_untrusted_signer_trusted() {
    if lacks_root() {
        return;
    }
    let site = Site::with(&metadata(&[IDENTITY, REVOCATION]), &answer(Some(true), Some(true)));
    let others = include_bytes!("../../../../tests/fixtures/notation/single.pem");
    let others = crate::pki::anchors_from_pem(others).unwrap();
    refused(site.verify(trust_in(&others, &["*"])).await, Stage::Authenticity, "is not trusted");
    assert_eq!(site.asked(), [""; 0]);
}

#[tokio::test]
async fn what_a_plugin_denies_is_denied_or_only_logged_as_the_level_says() {
    if lacks_root() {
        return;
    }
    let both = metadata(&[IDENTITY, REVOCATION]);
    let at = |level| trust("*").at(level, VerifyTimestamp::Always);
    let identity = Site::with(&both, &answer(Some(false), Some(true)));
    let words = "plugin com.example.plugin: the plugin's word";
    refused(identity.verify(at(Level::STRICT)).await, Stage::Identity, words);
    refused(identity.verify(at(Level::PERMISSIVE)).await, Stage::Identity, words);
    let logged = |validation| vec![Logged { validation, cause: words.to_owned() }];
    let pass = passed(identity.verify(at(Level::AUDIT)).await);
    assert_eq!((pass.logged, pass.identity), (logged(Validation::Authenticity), None));

    let revocation = Site::with(&both, &answer(Some(true), Some(false)));
    refused(revocation.verify(at(Level::STRICT)).await, Stage::Revocation, words);
    assert_eq!(passed(revocation.verify(at(Level::PERMISSIVE)).await).logged, logged(Validation::Revocation));

    // What is to be skipped is not asked.
    let skip = Level { revocation: Action::Skip, ..Level::STRICT };
    let asked = Site::with(&both, &answer(Some(true), None));
    passed(asked.verify(at(skip)).await);
    assert_eq!(asked.request("verify-signature")["trustPolicy"]["signatureVerification"], json!([IDENTITY]));
    let nothing = Site::with(&metadata(&[REVOCATION]), &answer(None, None));
    passed(nothing.verify(at(skip)).await);
    assert_eq!(nothing.asked(), ["get-plugin-metadata"]);
}

#[tokio::test]
async fn an_answer_that_leaves_something_open_or_cannot_be_read_is_a_fault_at_every_level() {
    if lacks_root() {
        return;
    }
    let good = answer(Some(true), Some(true)).to_string();
    for (printed, words) in [
        (answer(Some(true), None).to_string(), "it does not answer SIGNATURE_VERIFIER.REVOCATION_CHECK"),
        (answer(None, Some(true)).to_string(), "it does not answer SIGNATURE_VERIFIER.TRUSTED_IDENTITY"),
        ("{}".to_owned(), "it does not answer"),
        (r#"{"verificationResults":null,"processedAttributes":[]}"#.to_owned(), "it does not answer"),
        (
            good.replace("}}", r#"},"SIGNATURE_VERIFIER.MORE":{"success":true}}"#),
            r#"it answers "SIGNATURE_VERIFIER.MORE", which it was not asked"#,
        ),
        (good.replace("true", "\"true\""), "its answer cannot be read"),
        (good.replace("\"success\":true", "\"Success\":true"), "its answer cannot be read"),
        (
            format!(r#"{{"verificationResults":{{"{IDENTITY}":[true],"{REVOCATION}":[true]}}}}"#),
            "its answer cannot be read",
        ),
        (r#"[{},[]]"#.to_owned(), "its answer cannot be read"),
        (good[..good.len() / 2].to_owned(), "its answer cannot be read"),
        (format!("{good}{good}"), "its answer cannot be read"),
        (format!("starting up\n{good}"), "its answer cannot be read"),
        (format!(r#"{{"verificationResults":{{}},{}"#, &good[1..]), "its answer cannot be read"),
        (String::new(), "its answer cannot be read"),
    ] {
        let site = Site::new();
        let path = site.put(&metadata(&[IDENTITY, REVOCATION]).to_string(), &format!("cat <<'END'\n{printed}\nEND"));
        for level in [Level::STRICT, Level::AUDIT] {
            let outcome = site.verify(trust("*").at(level, VerifyTimestamp::Always)).await;
            faulty(outcome, &format!("plugin {}: {words}", path.display()));
        }
    }
}

#[tokio::test]
async fn a_plugin_that_breaks_is_a_fault_in_its_own_words() {
    if lacks_root() {
        return;
    }
    let error =
        |code| format!("printf '%s\\n' '{{\"errorCode\":\"{code}\",\"errorMessage\":\"one\\ntwo\"}}' >&2; exit 1");
    for (does, words, class) in [
        (error("VALIDATION_ERROR"), "verify-signature: VALIDATION_ERROR: one two", Class::Unchecked),
        (error("THROTTLED"), "THROTTLED: one two", Class::Throttled),
        (error("TIMEOUT"), "TIMEOUT: one two", Class::Time),
        (error("ACCESS_DENIED"), "ACCESS_DENIED: one two", Class::Refused),
        ("echo first >&2; echo last >&2; echo >&2; exit 1".to_owned(), "exit code 1: last", Class::Unchecked),
        ("exit 7".to_owned(), "exit code 7: no word on stderr", Class::Unchecked),
        ("kill -SEGV $$".to_owned(), "signal 11", Class::Unchecked),
        (format!("{}; kill -9 $$", prints(&answer(Some(true), None))), "signal 9", Class::Unchecked),
    ] {
        let site = Site::new();
        site.put(&metadata(&[IDENTITY]).to_string(), &does.replace("END;", "END\n"));
        assert_eq!(faulty(site.verify(trust("*")).await, words), class, "{does}");
    }
}

#[tokio::test]
async fn a_plugin_that_is_not_what_the_signature_asks_for_refuses_it_with_its_path() {
    if lacks_root() {
        return;
    }
    let edited = |member: &str, value: Value| {
        let mut metadata = metadata(&[IDENTITY]);
        metadata[member] = value;
        metadata
    };
    for (metadata, words) in [
        (
            metadata(&[]),
            "it can do neither SIGNATURE_VERIFIER.TRUSTED_IDENTITY nor SIGNATURE_VERIFIER.REVOCATION_CHECK",
        ),
        (metadata(&["SIGNATURE_GENERATOR.ENVELOPE"]), "it can do neither"),
        (edited("name", json!("other")), r#"it says that its name is "other": its file must be notation-other"#),
        (edited("version", json!("v1.2.3")), r#"its version "v1.2.3" is not SemVer"#),
        (edited("version", json!("1.2")), r#"its version "1.2" is not SemVer"#),
        (edited("supportedContractVersions", json!(["1.1", "2.0"])), "it speaks contract version 1.1, 2.0"),
        (edited("supportedContractVersions", json!([])), "it speaks contract version"),
        (edited("url", json!("")), "its metadata has an empty url"),
        (edited("description", json!(null)), "its metadata cannot be read"),
    ] {
        let site = Site::with(&metadata, &answer(Some(true), None));
        let path = site.programs.folder().join(NAME).join(format!("notation-{NAME}"));
        refused(site.verify(trust("*")).await, Stage::Plugin, &format!("plugin {}: {words}", path.display()));
        assert_eq!(site.asked(), ["get-plugin-metadata"]);
    }
}

#[tokio::test]
async fn a_plugin_that_is_not_there_or_must_not_be_run_refuses_the_signature_and_says_what_to_do() {
    if lacks_root() {
        return;
    }
    let site = Site::new();
    let folder = site.programs.folder().display().to_string();
    let missing = format!("plugin \"{NAME}\", which is not installed: put notation-{NAME} into {folder}");
    refused(site.verify(trust("*")).await, Stage::Plugin, &missing);
    let path = site.put(&metadata(&[IDENTITY]).to_string(), &prints(&answer(Some(true), None)));
    passed(site.verify(trust("*")).await);
    chmod(&path, 0o757);
    refused(site.verify(trust("*")).await, Stage::Plugin, "can be written by everybody (mode 0757); chmod go-w");
    chmod(&path, 0o755);
    let moved = path.with_file_name("moved");
    std::fs::rename(&path, &moved).unwrap();
    symlink(&moved, &path).unwrap();
    refused(site.verify(trust("*")).await, Stage::Plugin, "is a symbolic link");
}

#[tokio::test]
async fn a_plugin_lies_in_a_folder_of_its_name_as_for_notation_or_beside_others_as_for_ratify() {
    if lacks_root() {
        return;
    }
    let site = Site::new();
    let text = script(&site.open, &metadata(&[IDENTITY]).to_string(), &prints(&answer(Some(true), None)));
    let path = site.programs.put(&format!("notation-{NAME}"), &text);
    passed(site.verify(trust("*")).await);
    let files = files_of(site.programs.folder()).unwrap();
    assert_eq!(files, [path, site.open.join("notation-open")]);
    // notation's own place comes first.
    site.put(&metadata(&[IDENTITY]).to_string(), &prints(&answer(Some(false), None)));
    refused(site.verify(trust("*")).await, Stage::Identity, "the plugin's word");
}

#[tokio::test]
async fn a_plugin_is_asked_for_its_metadata_once_for_each_state_of_its_file() {
    if lacks_root() {
        return;
    }
    let site = Site::with(&metadata(&[IDENTITY]), &answer(Some(true), None));
    let plugins = site.plugins();
    let verifier = NotationVerifier::new("acme".into(), trust("*"), Arc::default()).with_plugins(plugins);
    passed(verify(&verifier).await);
    // Until a file system's clock has ticked, a change might not show, and nothing is taken as known.
    tokio::time::sleep(Duration::from_millis(150)).await;
    passed(verify(&verifier).await);
    let asked = || site.asked().iter().filter(|command| *command == "get-plugin-metadata").count();
    let known = asked();
    passed(verify(&verifier).await);
    assert_eq!(asked(), known);
    site.put(&metadata(&[]).to_string(), &prints(&answer(Some(true), None)));
    refused(verify(&verifier).await, Stage::Plugin, "it can do neither");
}

fn demand(plugin: &str, min_version: Option<&str>, attributes: Value) -> Demand {
    Demand {
        plugin: plugin.to_owned(),
        min_version: min_version.map(str::to_owned),
        attributes: serde_json::from_value(attributes).unwrap(),
    }
}

#[tokio::test]
async fn no_name_leads_out_of_the_folder() {
    let plugins = Plugins::new("/".into(), Arc::new(runner(Duration::from_secs(1))), BTreeMap::new());
    let longest = "x".repeat(limits::PLUGIN_NAME_BYTES);
    for name in
        ["", ".", "..", "../x", "a/b", "/etc/passwd", ".hidden", "a b", "a\nb", "a\0b", "ä", &format!("{longest}x")]
    {
        let outcome = plugins.hire(&demand(name, None, json!({})), Instant::now()).await.unwrap_err();
        refused(outcome, Stage::Plugin, "which is no name");
    }
    for name in ["a", "com.example.plugin", "A_b-1..c", &longest] {
        let outcome = plugins.hire(&demand(name, None, json!({})), Instant::now()).await.unwrap_err();
        refused(outcome, Stage::Plugin, "which is not installed");
    }
}

#[tokio::test]
async fn the_least_version_is_by_the_precedence_of_semver() {
    if lacks_root() {
        return;
    }
    let site = Site::with(&metadata(&[IDENTITY]), &answer(Some(true), None));
    let plugins = site.plugins();
    let hire = async |least: &str| {
        plugins.hire(&demand(NAME, Some(least), json!({})), Instant::now() + Duration::from_secs(20)).await
    };
    for least in ["1.2.3", "1.2.2", "0.9.9", "1.2.3-rc.1", "1.2.3+build.9", "1.2.3-99999999999.a"] {
        assert!(hire(least).await.is_ok(), "{least}");
    }
    for least in ["1.2.4", "1.10.0", "2.0.0-alpha", "1.2.4-0"] {
        let words = format!("it has version 1.2.3, and the signature asks for {least} or later");
        refused(hire(least).await.unwrap_err(), Stage::Plugin, &words);
    }
    for least in ["", "1", "v1.0.0", "1.0.0 ", "01.0.0", "1.0.0-01"] {
        refused(hire(least).await.unwrap_err(), Stage::Plugin, "which is not SemVer");
    }
}

#[tokio::test]
async fn critical_attributes_go_to_the_plugin_and_all_of_them_must_be_processed() {
    if lacks_root() {
        return;
    }
    let site = Site::new();
    let printed = answer(Some(true), None).to_string();
    let envelope = super::super::jws::parse(&Draft::new().sign(), &[]).unwrap();
    let demand =
        demand(NAME, Some("1.0.0"), json!({ "com.example.a": "x", "com.example.b": null, "com.example.c": 7 }));
    let checks = BTreeSet::from([Capability::TrustedIdentity]);
    let identities = ["*".to_owned()];
    let question = Question { envelope: &envelope, demand: &demand, identities: &identities, checks: &checks };
    let all = r#"["com.example.c","com.example.a","com.example.b"]"#;
    for (processed, left) in [
        (all, None),
        (r#"["com.example.a","com.example.b","com.example.c","com.example.more"]"#, None),
        (r#"["com.example.a","com.example.c"]"#, Some("com.example.b")),
        (r#"["com.example.A","com.example.b","com.example.c",7]"#, Some("com.example.a")),
        ("[]", Some("com.example.a")),
        ("null", Some("com.example.a")),
    ] {
        let printed = printed.replace("\"processedAttributes\":null", &format!("\"processedAttributes\":{processed}"));
        site.put(&metadata(&[IDENTITY]).to_string(), &format!("cat <<'END'\n{printed}\nEND"));
        let plugins = site.plugins();
        let deadline = Instant::now() + Duration::from_secs(20);
        let hired = plugins.hire(&demand, deadline).await.unwrap();
        let found = plugins.verify(&hired, question, deadline).await;
        match left {
            None => assert!(matches!(found.unwrap().checks.as_slice(), [(Capability::TrustedIdentity, Ok(()))])),
            Some(left) => refused(found.unwrap_err(), Stage::Plugin, &format!("critical attribute {left:?}")),
        }
    }
    let request = site.request("verify-signature");
    assert_eq!(
        request["signature"]["unprocessedAttributes"],
        json!(["com.example.a", "com.example.b", "com.example.c"])
    );
    let attributes = &request["signature"]["criticalAttributes"];
    assert_eq!(
        attributes["extendedAttributes"],
        json!({ "com.example.a": "x", "com.example.b": null, "com.example.c": 7 })
    );
    assert_eq!(attributes["verificationPluginMinVersion"], "1.0.0");
}

#[test]
fn a_folder_with_too_many_entries_is_not_looked_through() {
    let programs = Programs::new();
    let fill = |number: usize| std::fs::write(programs.folder().join(format!("notation-{number}")), "").unwrap();
    (0..limits::PLUGIN_ENTRIES).for_each(fill);
    assert_eq!(files_of(programs.folder()).map(|files| files.len()), Ok(limits::PLUGIN_ENTRIES));
    fill(limits::PLUGIN_ENTRIES);
    assert!(files_of(programs.folder()).unwrap_err().contains("more than 256 entries"));
    assert_eq!(files_of(Path::new("/nonexistent")), Ok(Vec::new()));
}
