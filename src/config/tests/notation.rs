//! Trust policies and trust stores: each constraint of the specification ("Trust Policy Constraints") at its limit and
//! one past it, and what Ratify v1 and v2 call them.

use serde_json::{Value, json};

use super::*;
use crate::config::tests::formats::meaning;

/// Trust stores, one line each.
pub fn sources(notation: &Notation) -> Vec<String> {
    let line = |store: &TrustStore| {
        let shown = |material: &KeyMaterial| match material {
            KeyMaterial::Path(path) => path.value.display().to_string(),
            KeyMaterial::Inline(pem) => pem.value.clone(),
            KeyMaterial::Vault(vault) => vault.value.url.clone(),
        };
        let material: Vec<String> = store.material.iter().map(shown).collect();
        let name = store.name.as_deref().unwrap_or("(any)");
        format!("{}:{name} {}", store.store_type.as_str(), material.join(","))
    };
    notation.stores.iter().map(line).collect()
}

/// A statement that has no problem.
fn statement() -> Value {
    json!({
        "name": "acme",
        "registryScopes": ["registry.example/acme/app"],
        "signatureVerification": { "level": "strict" },
        "trustStores": ["ca:acme"],
        "trustedIdentities": ["x509.subject: C=US, ST=WA, O=acme"],
    })
}

fn document(statements: &[Value]) -> Value {
    json!({ "version": "1.0", "trustPolicies": statements })
}

fn read_document(document: &Value) -> Result<Vec<Statement>, Vec<String>> {
    trust_policy("p.json", &document.to_string()).map_err(|problems| problems.lines())
}

/// The problems of a document, from their keys on.
fn problems_of(document: &Value) -> Vec<String> {
    let problems = read_document(document).expect_err(&format!("no problem in {document}"));
    let after_place = |line: &String| line.splitn(4, ':').nth(3).unwrap().trim_start().to_owned();
    problems.iter().map(after_place).collect()
}

/// The problems of one statement with a value put in.
fn with(pointer: &str, value: &Value) -> Result<Vec<Statement>, Vec<String>> {
    let mut statement = statement();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    statement.pointer_mut(parent).unwrap()[key] = value.clone();
    let document = document(&[statement]);
    read_document(&document).map_err(|_| problems_of(&document))
}

#[track_caller]
fn refused(pointer: &str, value: &Value, expected: &str) {
    let found = with(pointer, value).expect_err(&format!("{pointer} = {value}"));
    let at = format!("trustPolicies[0]{}", pointer.replace('/', "."));
    assert!(found.len() == 1 && found[0].starts_with(&at) && found[0].contains(expected), "{value}: {found:?}");
}

fn of_skip(mut more: Value) -> Value {
    let mut statement = json!({
        "name": "unsigned",
        "registryScopes": ["registry.example/unsigned/app"],
        "signatureVerification": { "level": "skip" },
    });
    statement.as_object_mut().unwrap().append(more.as_object_mut().unwrap());
    statement
}

#[test]
fn documents_of_the_specification_are_read() {
    let audit = |name: &str, scopes: &[&str], stores: &[&str], verification: Value| {
        json!({
            "name": name, "registryScopes": scopes, "signatureVerification": verification, "trustStores": stores,
            "trustedIdentities": ["x509.subject: C=US, ST=WA, L=Seattle, O=acme-rockets.io, OU=Finance, CN=SecureBuilder"],
        })
    };
    let found = read_document(&document(&[
        audit(
            "wabbit-networks-images",
            &["registry.acme-rockets.io/software/net-monitor", "registry.acme-rockets.io/software/net-logger"],
            &["ca:wabbit-networks", "tsa:trusted-tsa"],
            json!({ "level": "strict", "verifyTimestamp": "afterCertExpiry" }),
        ),
        of_skip(json!({})),
        audit(
            "use-expired-image",
            &["registry.acme-rockets.io/software/legacy/metrics"],
            &["ca:acme-rockets"],
            json!({ "level": "strict", "override": { "expiry": "log", "revocation": "skip" } }),
        ),
        audit("global", &["*"], &["ca:acme-rockets", "ca:acme-rockets-ca2"], json!({ "level": "audit" })),
    ]))
    .unwrap();
    let [first, skip, expired, global] = found.as_slice() else { panic!("{found:?}") };
    let asks = |statement: &Statement| match &statement.asks {
        Asks::Signature { level, verify_timestamp, .. } => (*level, *verify_timestamp),
        Asks::Nothing => panic!("{statement:?}"),
    };
    assert_eq!(asks(first), (Level::STRICT, VerifyTimestamp::AfterCertExpiry));
    assert_eq!(skip.asks, Asks::Nothing);
    let custom = Level { expiry: Action::Log, revocation: Action::Skip, ..Level::STRICT };
    assert_eq!(asks(expired), (custom, VerifyTimestamp::Always));
    assert_eq!(asks(global), (Level::AUDIT, VerifyTimestamp::Always));
    assert_eq!(global.scopes, RegistryScopes::Any);
    let stores: Vec<String> = global.stores().iter().map(|store| store.value.to_string()).collect();
    assert_eq!(stores, ["ca:acme-rockets", "ca:acme-rockets-ca2"]);
}

#[test]
fn the_version_must_be_1_0() {
    for version in [json!("1.1"), json!("1"), json!(""), json!("1.0 ")] {
        let mut document = document(&[statement()]);
        document["version"] = version;
        let found = problems_of(&document);
        assert!(found.len() == 1 && found[0].starts_with("version: unknown value"), "{found:?}");
    }
    let mut document = document(&[statement()]);
    document["version"] = json!(1.0);
    assert_eq!(problems_of(&document), ["version: expected a string, found a float"]);
    document.as_object_mut().unwrap().remove("version");
    assert_eq!(problems_of(&document), ["version: required key is missing"]);
}

#[test]
fn a_document_has_a_statement() {
    assert_eq!(problems_of(&document(&[])), ["trustPolicies: must not be empty"]);
    assert_eq!(problems_of(&json!({ "version": "1.0" })), ["trustPolicies: required key is missing"]);
}

#[test]
fn names_of_statements_are_there_and_unique() {
    refused("/name", &json!(""), "must not be empty");
    refused("/name", &json!(null), "expected a string");
    let mut second = statement();
    second["registryScopes"] = json!(["registry.example/other"]);
    let found = problems_of(&document(&[statement(), second.clone()]));
    assert_eq!(found, ["trustPolicies[1].name: name \"acme\" is taken by trustPolicies[0].name in line 1"]);
    second["name"] = json!("Acme");
    assert!(read_document(&document(&[statement(), second])).is_ok(), "names are told apart by case, as notation does");
}

#[test]
fn scopes_are_at_least_one() {
    refused("/registryScopes", &json!([]), "must not be empty");
    let mut document = document(&[statement()]);
    document["trustPolicies"][0].as_object_mut().unwrap().remove("registryScopes");
    assert_eq!(problems_of(&document), ["trustPolicies[0].registryScopes: required key is missing"]);
}

#[test]
fn scopes_are_whole_repositories_with_their_registry() {
    for good in [
        "registry.example/a",
        "registry.example:5000/a/b/c",
        "localhost/a",
        "localhost:5000/a",
        "127.0.0.1:5000/a",
        // What notation calls a local scope, and what to it is a registry of one label.
        "local/my-layout",
        "docker.io/library/nginx",
    ] {
        assert!(with("/registryScopes", &json!([good])).is_ok(), "{good}");
    }
    for (bad, expected) in [
        ("registry.example", "names no repository below the registry"),
        ("", "names no repository below the registry"),
        ("registry.example/", "names no repository"),
        ("/a", "is not a host"),
        ("registry.example/A", "cannot stand in a repository's path"),
        ("registry.example/a:1", "has a tag or a digest"),
        ("registry.example/a@sha256:0", "has a tag or a digest"),
        ("https://registry.example/a", "has no port between 1 and 65535"),
        ("registry.example/*", "has an asterisk"),
        ("*.example/a", "has an asterisk"),
        ("**", "has an asterisk"),
        (" *", "has an asterisk"),
        ("registry.example/a ", "cannot stand in a repository's path"),
        ("registry_example/a", "is not a host"),
    ] {
        let found = with("/registryScopes", &json!([bad])).unwrap_err();
        let at = "trustPolicies[0].registryScopes[0]: ";
        assert!(found.len() == 1 && found[0].starts_with(at) && found[0].contains(expected), "{bad}: {found:?}");
        assert!(found[0].contains("registry.example/team/app, or \"*\" alone"), "{found:?}");
    }
}

#[test]
fn the_global_scope_stands_alone_and_once() {
    let found = with("/registryScopes", &json!(["registry.example/a", "*"])).unwrap_err();
    assert_eq!(found, ["trustPolicies[0].registryScopes[1]: \"*\" must stand alone: it makes the others mean nothing"]);
    let mut first = statement();
    first["registryScopes"] = json!(["*"]);
    let mut second = first.clone();
    second["name"] = json!("second");
    let found = problems_of(&document(&[first, second]));
    assert_eq!(
        found,
        ["trustPolicies[1].registryScopes[0]: \"*\" is taken by trustPolicies[0].registryScopes[0] in line 1"]
    );
}

#[test]
fn a_repository_is_in_one_statement_whatever_way_it_is_written() {
    for (one, other) in [
        ("registry.example/a", "registry.example/a"),
        ("registry.example/a", "REGISTRY.example./a"),
        ("registry.example/a", "registry.example:443/a"),
        ("docker.io/library/nginx", "index.docker.io/nginx"),
        ("acme/web", "acme:443/web"),
    ] {
        let mut first = statement();
        first["registryScopes"] = json!([one]);
        let mut second = statement();
        second["name"] = json!("second");
        second["registryScopes"] = json!(["registry.example/b", other]);
        let found = problems_of(&document(&[first.clone(), second]));
        let at = "trustPolicies[1].registryScopes[1]: ";
        assert!(found.len() == 1 && found[0].starts_with(at) && found[0].contains("is taken by"), "{found:?}");
        first["registryScopes"] = json!([one, other]);
        assert!(problems_of(&document(&[first]))[0].contains("is taken by trustPolicies[0].registryScopes[0]"));
    }
    assert!(with("/registryScopes", &json!(["registry.example/a", "registry.example/a/b"])).is_ok());
}

#[test]
fn levels_are_strict_permissive_audit_and_skip() {
    for (word, expected) in [("strict", Level::STRICT), ("permissive", Level::PERMISSIVE), ("audit", Level::AUDIT)] {
        let found = with("/signatureVerification/level", &json!(word)).unwrap();
        assert!(matches!(found[0].asks, Asks::Signature { level, .. } if level == expected), "{found:?}");
    }
    for bad in ["", "Strict", "custom", "none"] {
        refused("/signatureVerification/level", &json!(bad), "unknown value");
    }
    let found = with("/signatureVerification", &json!({})).unwrap_err();
    assert_eq!(found, ["trustPolicies[0].signatureVerification.level: required key is missing"]);
}

#[test]
fn only_some_validations_can_be_overridden_and_only_revocation_skipped() {
    let overridden = |key: &str, value: &str| with("/signatureVerification/override", &json!({ key: value }));
    for key in ["authenticity", "authenticTimestamp", "expiry", "revocation"] {
        for (value, is_taken) in [("enforce", true), ("log", true), ("skip", key == "revocation"), ("", false)] {
            let found = overridden(key, value);
            assert_eq!(found.is_ok(), is_taken, "{key} {value}: {found:?}");
        }
    }
    for value in ["enforce", "log", "skip"] {
        let found = overridden("integrity", value).unwrap_err();
        let at = "trustPolicies[0].signatureVerification.override.integrity";
        assert_eq!(found, [format!("{at}: integrity is always enforced")]);
    }
    assert!(overridden("authenticTimeStamp", "log").unwrap_err()[0].contains("did you mean \"authenticTimestamp\"?"));
    assert!(with("/signatureVerification/override", &json!({})).is_ok());
}

#[test]
fn overrides_change_what_they_name_and_nothing_else() {
    let verification = json!({ "level": "audit", "override": { "authenticity": "enforce", "revocation": "skip" } });
    let found = with("/signatureVerification", &verification).unwrap();
    let expected = Level { authenticity: Action::Enforce, revocation: Action::Skip, ..Level::AUDIT };
    assert!(matches!(found[0].asks, Asks::Signature { level, .. } if level == expected), "{found:?}");
}

#[test]
fn level_skip_cannot_be_customised_nor_be_global_nor_name_whom_to_trust() {
    let one = |more: Value| document(&[of_skip(more)]);
    for more in [
        json!({}),
        json!({ "trustStores": [], "trustedIdentities": null }),
        json!({ "signatureVerification": { "level": "skip", "override": {}, "verifyTimestamp": "always" } }),
    ] {
        assert!(read_document(&one(more)).is_ok());
    }
    let verification = json!({ "level": "skip", "override": { "expiry": "log" } });
    assert_eq!(
        problems_of(&one(json!({ "signatureVerification": verification }))),
        ["trustPolicies[0].signatureVerification.override: level \"skip\" cannot be customised: nothing is verified"]
    );
    let found = problems_of(&one(json!({ "registryScopes": ["*"] })));
    assert!(found[0].contains("signatureVerification.level: level \"skip\" cannot be used with the scope \"*\""));
    for (key, value) in [("trustStores", json!(["ca:acme"])), ("trustedIdentities", json!(["*"]))] {
        let found = problems_of(&one(json!({ key: value })));
        assert!(found[0].contains(&format!("{key}: level \"skip\" verifies nothing")), "{found:?}");
    }
}

#[test]
fn timestamps_are_verified_always_or_after_a_certificate_has_expired() {
    for (word, expected) in [("always", VerifyTimestamp::Always), ("afterCertExpiry", VerifyTimestamp::AfterCertExpiry)]
    {
        let found = with("/signatureVerification/verifyTimestamp", &json!(word)).unwrap();
        assert!(matches!(found[0].asks, Asks::Signature { verify_timestamp, .. } if verify_timestamp == expected));
    }
    for bad in ["", "never", "aftercertexpiry"] {
        refused("/signatureVerification/verifyTimestamp", &json!(bad), "unknown value");
    }
}

#[test]
fn trust_stores_are_a_type_and_a_name() {
    for good in ["ca:acme", "signingAuthority:a", "ca:A-z_0.9", "ca:...", "ca:-"] {
        assert!(with("/trustStores", &json!([good])).is_ok(), "{good}");
    }
    for (bad, expected) in [
        ("acme", "is not a trust store (TYPE:NAME"),
        ("", "is not a trust store (TYPE:NAME"),
        ("CA:acme", "is not a type of trust stores"),
        ("x509:acme", "is not a type of trust stores"),
        (":acme", "is not a type of trust stores"),
        ("ca:", "is not a trust store's name"),
        ("ca:a b", "is not a trust store's name"),
        ("ca:a/b", "is not a trust store's name"),
        ("ca:a:b", "is not a trust store's name"),
        ("ca:.", "is not a trust store's name"),
        ("ca:..", "is not a trust store's name"),
        ("ca:\u{e9}", "is not a trust store's name"),
    ] {
        let found = with("/trustStores", &json!([bad])).unwrap_err();
        let at = "trustPolicies[0].trustStores[0]: ";
        assert!(found.len() == 1 && found[0].starts_with(at) && found[0].contains(expected), "{bad}: {found:?}");
    }
}

#[test]
fn what_is_verified_names_a_trust_store_that_vouches_for_signers_and_an_identity() {
    refused("/trustStores", &json!([]), "must not be empty");
    refused("/trustedIdentities", &json!([]), "must not be empty");
    refused("/trustStores", &json!(["tsa:stamps"]), "no trust store vouches for signers");
    assert!(with("/trustStores", &json!(["tsa:stamps", "signingAuthority:acme"])).is_ok());
    for key in ["trustStores", "trustedIdentities"] {
        refused(&format!("/{key}"), &json!(null), "required key is missing (only level \"skip\" does without it)");
        let mut document = document(&[statement()]);
        document["trustPolicies"][0].as_object_mut().unwrap().remove(key);
        assert!(problems_of(&document)[0].contains(&format!("{key}: required key is missing")));
    }
    let found = with("/trustStores", &json!(["ca:acme", "ca:acme"])).unwrap();
    assert_eq!(found[0].stores().len(), 1, "one that is named twice is one");
}

#[test]
fn keys_that_are_not_known_are_refused_and_those_for_blobs_by_name() {
    let found = with("/globalPolicy", &json!(true)).unwrap_err();
    let why = "it belongs to trust policies for blobs; images have registryScopes";
    assert_eq!(found, [format!("trustPolicies[0].globalPolicy: {why}")]);
    let found = with("/truststores", &json!(["ca:acme"])).unwrap_err();
    assert!(found[0].contains("did you mean \"trustStores\"?"), "{found:?}");
    for pointer in ["/x", "/signatureVerification/x", "/signatureVerification/override"] {
        assert!(with(pointer, &json!({ "x": 1 })).unwrap_err()[0].contains("unknown key"), "{pointer}");
    }
}

#[test]
fn all_problems_of_a_document_come_at_once_each_with_its_place() {
    let text = r#"{
  "version": "2.0",
  "trustPolicies": [
    { "name": "", "registryScopes": ["a"],
      "signatureVerification": { "level": "strickt", "verifyTimestamp": "no" },
      "trustStores": ["acme"], "trustedIdentities": [] },
    7
  ],
  "trustPolicies": []
}"#;
    let problems = trust_policy("/etc/p.json", text).unwrap_err().lines();
    assert!(problems[0].starts_with("/etc/p.json:9:3: key \"trustPolicies\" is given twice"), "{problems:?}");
    let text = text.replace(",\n  \"trustPolicies\": []", "");
    let places: Vec<String> = trust_policy("/etc/p.json", &text)
        .unwrap_err()
        .lines()
        .iter()
        .map(|line| line.strip_prefix("/etc/p.json:").unwrap().split(": ").take(2).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        places,
        [
            "2:14 version",
            "4:15 trustPolicies[0].name",
            "4:38 trustPolicies[0].registryScopes[0]",
            "5:43 trustPolicies[0].signatureVerification.level",
            "5:73 trustPolicies[0].signatureVerification.verifyTimestamp",
            "7:5 trustPolicies[1]",
        ]
    );
}

#[test]
fn a_document_on_disk_is_one_strict_json_value() {
    let good = document(&[statement()]).to_string();
    assert!(trust_policy("policy", &good).is_ok(), "whatever its name");
    for bad in ["", "[]", "null", "{", &format!("{good} {{}}"), &format!("\u{feff}{good}"), &format!("// a\n{good}")] {
        assert!(trust_policy("p.json", bad).is_err(), "{bad}");
    }
}

/// Parameters with a document, in TOML; their store is `ca:acme`.
fn with_document(more: &str) -> String {
    let statement = "{ name = \"x\", registryScopes = [\"a.io/b\"], signatureVerification = { level = \"audit\" }, \
                     trustStores = [\"ca:acme\"], trustedIdentities = [\"*\"] }";
    verifier(&format!("trustPolicyDoc = {{ version = \"1.0\", trustPolicies = [{statement}] }}{more}"))
}

fn notation(text: &str) -> Notation {
    let config = good(text);
    let VerifierKind::Notation(notation) = &checks(&config.executors[0]).verifiers[0].kind else {
        panic!("no notation verifier")
    };
    notation.clone()
}

const ACME: &str = ", certificates = [{ name = \"acme\", files = [\"/a\"] }]";

#[test]
fn a_document_may_stand_in_the_configuration() {
    let found = notation(&with_document(ACME));
    let TrustPolicySource::Statements(statements) = &found.policy else { panic!("{found:?}") };
    assert_eq!((statements.len(), sources(&found)), (1, vec!["ca:acme /a".to_owned()]));
    let twice = with_document(ACME).replace("\"a.io/b\"", "\"a.io/b\", \"A.io/b\"");
    let shown = problems(&twice);
    assert!(shown[0].contains("trustPolicyDoc.trustPolicies[0].registryScopes[1]: a.io/b is taken by"), "{shown:?}");
}

#[test]
fn a_trust_store_that_nobody_defines_is_a_mistake_with_its_place() {
    let at = "executors[0].verifiers[0].parameters.trustPolicyDoc.trustPolicies[0].trustStores[0]";
    for (more, hint) in [
        ("", "add { type = \"ca\", name = \"acme\", files = [...] } to certificates"),
        (
            ", certificates = [{ files = [\"/a\"] }, { type = \"tsa\", name = \"acme\", files = [\"/a\"] }]",
            "there is ca:ratify, tsa:acme",
        ),
    ] {
        let found = problems(&with_document(more));
        let expected = format!("{at}: nothing defines the trust store \"ca:acme\" ({hint})");
        assert!(found.len() == 1 && found[0].ends_with(&expected), "{found:?}");
    }
    assert_eq!(sources(&notation(&with_document(", verificationCerts = [\"/a\", \"/b\"]"))), ["ca:(any) /a,/b"]);
    let timestamps =
        with_document(", verificationCerts = [\"/a\"]").replace("[\"ca:acme\"]", "[\"ca:x\", \"tsa:acme\"]");
    let found = problems(&timestamps);
    assert!(found[0].contains("nothing defines the trust store \"tsa:acme\""), "{found:?}");
}

#[test]
fn a_store_of_the_name_goes_before_one_that_answers_to_any() {
    let found = notation(&with_document(&format!("{ACME}, verificationCerts = [\"/any\"]")));
    let name = |name: &str| StoreName { store_type: StoreType::Ca, name: name.to_owned() };
    let found = |wanted: &str| found.find(&name(wanted)).unwrap().name.clone();
    assert_eq!((found("acme"), found("other")), (Some("acme".to_owned()), None));
}

const PROVIDERS: &str = "keyManagementProviders = [\
    { name = \"one\", type = \"inline\", parameters = { contentType = \"certificate\", value = \"PEM 1\" } }, \
    { name = \"ns/two\", type = \"inline\", parameters = { contentType = \"certificate\", value = \"PEM 2\" } }]\n";

#[test]
fn ratify_v1_s_stores_name_key_management_providers() {
    let found = notation(&format!(
        "{PROVIDERS}{}",
        with_document(
            ", verificationCertStores = { ca = { acme = [\"one\", \"ns/two\"], b = [\"one\"] }, tsa = { t = [\"ns/two\"] } }"
        )
    ));
    assert_eq!(sources(&found), ["ca:acme PEM 1,PEM 2", "ca:b PEM 1", "tsa:t PEM 2"]);
    let legacy =
        format!("{PROVIDERS}{}", with_document(", verificationCertStores = { acme = [\"one\"], tsa = [\"one\"] }"));
    assert_eq!(sources(&notation(&legacy)), ["ca:acme PEM 1", "ca:tsa PEM 1"]);
}

#[test]
fn what_ratify_v1_s_stores_cannot_mean_is_refused() {
    let with = |stores: &str| {
        let text = format!("{PROVIDERS}{}", with_document(&format!(", verificationCertStores = {stores}{ACME}")));
        problems(&text)
    };
    for (stores, expected) in [
        ("{}", "verificationCertStores: must not be empty"),
        ("{ ca = { a = [] } }", "verificationCertStores.ca.a: must not be empty"),
        ("{ ca = { a = [\"on\"] } }", "no key management provider is named \"on\" (did you mean \"one\"?)"),
        ("{ ca = { a = [\"two\"] } }", "no key management provider is named \"two\" (known: ns/two, one)"),
        ("{ ca = { \"a/b\" = [\"one\"] } }", "\"a/b\" is not a trust store's name"),
        ("{ ca = { a = [\"one\"] }, b = [\"one\"] }", "verificationCertStores.b: unknown key"),
        ("{ CA = { a = [\"one\"] } }", "verificationCertStores.CA: unknown key"),
        ("7", "verificationCertStores: expected a table"),
    ] {
        let found = with(stores);
        assert!(found.len() == 1 && found[0].contains(expected), "{stores}: {found:?}");
    }
    let alone = problems(&with_document(", verificationCertStores = { acme = [\"one\"] }"));
    assert!(alone[0].contains("no key management provider is named \"one\" (keyManagementProviders defines none)"));
}

#[test]
fn key_management_providers_are_named_once_and_hold_certificates() {
    let provider = |name: &str, kind: &str, parameters: &str| {
        format!(
            "keyManagementProviders = [{{ name = {name:?}, type = {kind:?}, parameters = {{ {parameters} }} }}]\n{}",
            executor("")
        )
    };
    let certificate = "contentType = \"certificate\", value = \"PEM\"";
    good(&provider(&"n".repeat(limits::PROVIDER_NAME_BYTES), "inline", certificate));
    for (text, expected) in [
        (
            provider(&"n".repeat(limits::PROVIDER_NAME_BYTES + 1), "inline", certificate),
            "is not a key management provider's name",
        ),
        (provider("", "inline", certificate), "is not a key management provider's name"),
        (provider("a b", "inline", certificate), "is not a key management provider's name"),
        (provider("a", "inlin", certificate), "did you mean \"inline\"?"),
        (
            provider("a", "azurekeyvault", "vaultURI = \"x\", certificates = [{ name = \"r\" }]"),
            "\"x\" is not a key vault's URL",
        ),
        (provider("a", "inline", "contentType = \"certificate\""), "parameters.value: required key is missing"),
        (
            provider("a", "inline", "contentType = \"certificate\", value = \"-----BEGIN PRIVATE KEY-----\""),
            "a private key has no place here",
        ),
    ] {
        let found = problems(&text);
        assert!(found.len() == 1 && found[0].contains(expected), "{text}: {found:?}");
    }
    let twice = format!("{}{}", PROVIDERS.replace("ns/two", "one"), executor(""));
    assert!(problems(&twice)[0].contains("name \"one\" is taken by keyManagementProviders[0].name in line 1"));
}

#[test]
fn the_policy_of_a_folder_or_a_file_is_named_by_an_absolute_path() {
    let found = notation(&verifier("notationConfig = \"${DIR}/notation\""));
    assert!(matches!(&found.policy, TrustPolicySource::Folder(path) if path.value.ends_with("trust/notation")));
    let found = notation(&verifier(&format!("trustPolicyFile = \"/p.json\"{ACME}")));
    assert!(matches!(&found.policy, TrustPolicySource::File(path) if path.value.ends_with("p.json")));
    // Whether it names a store is known once it is read.
    assert!(notation(&verifier("trustPolicyFile = \"/p.json\"")).stores.is_empty());
    for key in ["notationConfig", "trustPolicyFile"] {
        let found = problems(&verifier(&format!("{key} = \"p\"")));
        assert!(found[0].ends_with(&format!("parameters.{key}: \"p\" is not an absolute path")), "{found:?}");
    }
}

#[test]
fn a_policy_is_written_in_one_way() {
    for (parameters, key, why) in [
        (format!("notationConfig = \"/n\"{ACME}"), "certificates", "with its own trust policy and trust stores"),
        ("notationConfig = \"/n\", trustPolicyFile = \"/p\"".to_owned(), "trustPolicyFile", "its own trust policy"),
        ("notationConfig = \"/n\", scopes = [\"*\"]".to_owned(), "scopes", "its own trust policy"),
        (
            format!("trustPolicyFile = \"/p\", trustedIdentities = [\"*\"]{ACME}"),
            "trustedIdentities",
            "in its statements",
        ),
        (
            format!("trustPolicyFile = \"/p\", signatureVerification = {{ level = \"audit\" }}{ACME}"),
            "signatureVerification",
            "in its statements",
        ),
    ] {
        let found = problems(&verifier(&parameters));
        let at = format!("parameters.{key}: ");
        assert!(found.len() == 1 && found[0].contains(&at) && found[0].contains(why), "{found:?}");
    }
    let found = problems(&with_document(&format!(", trustPolicyFile = \"/p\"{ACME}")));
    assert!(found[0].contains("parameters.trustPolicyFile: trustPolicyDoc says this"), "{found:?}");
}

#[test]
fn ratify_v2_s_own_keys_make_one_statement() {
    let found = notation(&verifier(&format!(
        "{CERTIFICATES}, scopes = [\"A.io/b\", \"a.io/c\"], signatureVerification = {{ level = \"permissive\", \
         override = {{ revocation = \"enforce\" }}, verifyTimestamp = \"afterCertExpiry\" }}"
    )));
    let TrustPolicySource::Implied(Statement { scopes, asks, .. }) = &found.policy else { panic!("{found:?}") };
    let RegistryScopes::Repositories(repositories) = scopes else { panic!("{scopes:?}") };
    assert_eq!(repositories.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a.io/b", "a.io/c"]);
    let Asks::Signature { level, verify_timestamp, .. } = asks else { panic!("{asks:?}") };
    assert_eq!(*level, Level { revocation: Action::Enforce, ..Level::PERMISSIVE });
    assert_eq!(*verify_timestamp, VerifyTimestamp::AfterCertExpiry);
    let skip = problems(&verifier(&format!("{CERTIFICATES}, signatureVerification = {{ level = \"skip\" }}")));
    assert!(skip[0].contains("level \"skip\" leaves this verifier nothing to verify"), "{skip:?}");
    let found = problems(&verifier(&format!("{CERTIFICATES}, scopes = [\"a.io/*\"]")));
    assert!(found[0].contains("parameters.scopes[0]: \"a.io/*\" is not a registry scope"), "{found:?}");
}

#[test]
fn trust_stores_of_the_configuration_have_a_type_and_a_name() {
    let text = |keys: &str| verifier(&format!("certificates = [{{ {keys}, files = [\"/a\"] }}]"));
    let taken = notation(&text("type = \"signingAuthority\", name = \"A.b_c-9\""));
    assert_eq!(sources(&taken), ["signingAuthority:A.b_c-9 /a"]);
    for (keys, expected) in [
        ("type = \"CA\"", "unknown value \"CA\" (did you mean \"ca\"?)"),
        ("name = \"\"", "\"\" is not a trust store's name"),
        ("name = \"..\"", "\"..\" is not a trust store's name"),
        ("name = \"a/b\"", "\"a/b\" is not a trust store's name"),
    ] {
        let found = problems(&text(keys));
        assert!(found.len() == 1 && found[0].contains(expected), "{keys}: {found:?}");
    }
}

#[test]
fn metadata_that_is_asked_for_is_text_as_written() {
    let text = |metadata: &str| verifier(&format!("userMetadata = {metadata}, {CERTIFICATES}"));
    let found = notation(&text("{ \"io.wabbit-networks.buildId\" = \"123\", b = \"\" }"));
    assert_eq!(found.user_metadata["io.wabbit-networks.buildId"], "123");
    for (metadata, expected) in [
        ("{ a = 1 }", "userMetadata.a: expected a string"),
        ("{ a = \"${WORD}\" }", "variables are not put in here"),
        ("[]", "userMetadata: expected a table"),
    ] {
        assert!(problems(&text(metadata))[0].contains(expected), "{metadata}");
    }
}

#[test]
fn what_a_policy_means_does_not_depend_on_how_it_is_written() {
    let short = good(&with_document(ACME));
    let long = good(&with_document(ACME).replace("a.io/b", "A.io:443/b").replace(
        "{ level = \"audit\" }",
        "{ level = \"strict\", verifyTimestamp = \"always\", override = { authenticity = \"log\", \
         authenticTimestamp = \"log\", expiry = \"log\", revocation = \"log\" } }",
    ));
    assert_eq!(meaning(&short), meaning(&long));
}
