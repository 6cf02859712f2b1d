//! Verifiers and stores that are plugins, as written and as refused.

use serde_json::json;

use super::*;
use crate::config::{PluginProgram, PluginVerifier};

#[test]
fn a_plugin_with_a_source_says_who_vouches_for_it() {
    let types = "artifactTypes = [\"a/b\"]";
    let source = |source: &str| taken(&format!("{types}\nsource = {{ {source} }}")).program.source.unwrap();
    let trusted = source("artifact = \"r.io/plugins/sbom:v1\", trust = \"plugins\"");
    let trust = trusted.trust.map(|trust| trust.value);
    assert_eq!((trust.as_deref(), trusted.allow_unverified, trusted.store), (Some("plugins"), false, None));
    assert_eq!((trusted.refresh, trusted.max_bytes), (limits::PLUGIN_REFRESH, limits::PLUGIN_FETCH_BYTES));
    let pinned = source(&format!("artifact = \"r.io/p@sha256:{}\", title = \"sbom\"", "0a".repeat(32)));
    assert!(pinned.reference.digest.is_some() && pinned.title.as_deref() == Some("sbom"));
    let open = source("artifact = \"r.io/p\", allowUnverified = true, authProvider = { provider = \"dockerConfig\" }");
    assert!(open.allow_unverified && open.store.unwrap().credentials.len() == 1);
    let both = source(
        "artifact = \"r.io/p\", allowUnverified = true, store = { plainHttp = true }, authProvider = { provider = \"static\", \
         username = \"u\", password = \"p\", registries = [\"r.io\"] }",
    );
    let store = both.store.unwrap();
    assert!(store.plain_http && matches!(store.credentials[..], [crate::config::CredentialSource::Static { .. }]));
}

#[test]
fn a_source_that_nobody_vouches_for_or_that_cannot_be_asked_is_refused() {
    let types = "artifactTypes = [\"a/b\"]";
    for (source, cause) in [
        ("{}", "source.artifact"),
        ("{ artifact = \"r.io/p:v1\" }", "nothing vouches for this plugin"),
        ("{ artifact = \"r.io/p:v1\", allowUnverified = false }", "nothing vouches for this plugin"),
        ("{ artifact = \"r.io/p\", trust = \"x\", allowUnverified = true }", "allowUnverified is given with trust"),
        ("{ artifact = \"p:v1\", allowUnverified = true }", "source.artifact"),
        ("{ artifact = \"r.io/P\", allowUnverified = true }", "source.artifact"),
        ("{ artifact = \"r.io/p\", allowUnverified = true, refreshInterval = \"9s\" }", "it is below the least, 10s"),
        ("{ artifact = \"r.io/p\", allowUnverified = true, refreshInterval = \"31d\" }", "above the limit of"),
        ("{ artifact = \"r.io/p\", allowUnverified = true, maxBytes = 0 }", "source.maxBytes"),
        ("{ artifact = \"r.io/p\", allowUnverified = true, maxBytes = 268435457 }", "source.maxBytes"),
        ("{ artifact = \"r.io/p\", allowUnverified = true, authProvider = { provider = \"k8Secrets\" } }", "k8Secrets"),
    ] {
        let found = problems(&written(&format!("{types}\nsource = {source}")));
        assert!(found.iter().any(|line| line.contains(cause)), "{cause}: {found:?}");
    }
    let two = format!("{}\n[[executors]]\nname = \"a\"\nscopes = [\"b.io\"]\nmode = \"deny\"", written(types));
    let found = problems(&two.replace("scopes = [\"a.io\"]", "scopes = [\"a.io\"]\nname = \"a\""));
    assert!(found.iter().any(|line| line.contains("name \"a\" is taken by executors[0].name")), "{found:?}");
    for (plugin_types, cause) in [("[]", "pluginTypes"), ("[\"a/b\", \"*\"]", "\"*\" is not taken here")] {
        let more = format!("scopes = [\"a.io\"]\npluginTypes = {plugin_types}");
        let found = problems(&written(types).replace("scopes = [\"a.io\"]", &more));
        assert!(found.iter().any(|line| line.contains("pluginTypes") && line.contains(cause)), "{found:?}");
    }
}

fn written(parameters: &str) -> String {
    format!(
        "[[executors]]\nscopes = [\"a.io\"]\n[[executors.verifiers]]\nname = \"sbom\"\ntype = \"plugin\"\n\
         [executors.verifiers.parameters]\n{parameters}\n"
    )
}

fn taken(parameters: &str) -> PluginVerifier {
    match &checks(&good(&written(parameters)).executors[0]).verifiers[0].kind {
        VerifierKind::Plugin(plugin) => plugin.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_plugin_is_named_as_its_verifier_and_told_what_is_written() {
    let least = taken("artifactTypes = [\"application/spdx+json\"]");
    let PluginProgram { plugin, network, environment, .. } = &least.program;
    assert_eq!((plugin.value.as_str(), *network, environment.len()), ("sbom", false, 0));
    assert_eq!(least.artifact_types, ["application/spdx+json"]);
    let whole = taken(
        "plugin = \"ratify-sbom\"\nartifactTypes = [\"*\"]\nnetwork = true\nenvironment = [\"HTTPS_PROXY\"]\n\
         config = { disallowedLicenses = [\"AGPL\"], maximumAge = \"24h\", deep = { a = 1, b = true } }",
    );
    let told = json!({ "disallowedLicenses": ["AGPL"], "maximumAge": "24h", "deep": { "a": 1, "b": true } });
    let whole = whole.program;
    assert_eq!((whole.plugin.value.as_str(), serde_json::Value::Object(whole.config)), ("ratify-sbom", told));
    assert_eq!((whole.network, whole.environment), (true, vec!["HTTPS_PROXY".to_owned()]));
}

fn with_store(parameters: &str) -> String {
    executor(&format!("stores = [{{ type = \"plugin\", {parameters} }}]"))
}

#[test]
fn a_store_can_be_a_plugin_and_is_told_what_is_written() {
    let taken = |parameters: &str| match &good(&with_store(parameters)).executors[0].store {
        Store::Plugin(program) => program.clone(),
        other => panic!("{other:?}"),
    };
    let least = taken("parameters = { plugin = \"evidence\" }");
    assert_eq!((least.plugin.value.as_str(), least.network, least.environment.len()), ("evidence", false, 0));
    let whole = taken(
        "parameters = { plugin = \"evidence\", network = true, environment = [\"TOKEN\"], config = { endpoint = \"e.io\" } }",
    );
    assert_eq!(serde_json::Value::Object(whole.config), json!({ "endpoint": "e.io" }));
    assert_eq!((whole.network, whole.environment), (true, vec!["TOKEN".to_owned()]));
}

#[test]
fn a_store_can_be_a_plugin_that_is_fetched() {
    let artifact = "r.io/plugins/evidence:v1";
    let source = |keys: &str| {
        with_store(&format!("parameters = {{ plugin = \"evidence\", source = {{ artifact = \"{artifact}\"{keys} }} }}"))
    };
    let Store::Plugin(program) = good(&source(", allowUnverified = true")).executors[0].store.clone() else { panic!() };
    assert_eq!(program.source.unwrap().artifact.value, artifact);
    let found = problems(&source(""));
    assert!(found[0].contains("stores[0].parameters.source: nothing vouches for this plugin"), "{found:?}");
}

#[test]
fn a_store_that_is_no_plugin_is_refused() {
    for (parameters, cause) in [
        ("", "stores[0].parameters: required key is missing"),
        ("parameters = {}", "stores[0].parameters.plugin: required key is missing"),
        ("parameters = { plugin = \"a/b\" }", "is not a plugin's file name"),
        ("parameters = { plugin = \"a\", artifactTypes = [\"b\"] }", "artifactTypes: unknown key"),
        (
            "parameters = { plugin = \"a\", environment = [\"RATIFY_STORE_ARGS\"] }",
            "is not an environment variable's name",
        ),
        ("parameters = { plugin = \"a\", path = \"/x\" }", "path: unknown key"),
    ] {
        let found = problems(&with_store(parameters).replace(", }", " }"));
        assert!(found.iter().any(|line| line.contains(cause)), "{cause}: {found:?}");
    }
}

#[test]
fn what_is_no_plugin_no_type_and_no_variable_is_refused() {
    let types = "artifactTypes = [\"a/b\"]";
    for (parameters, cause) in [
        (String::new(), "artifactTypes"),
        ("artifactTypes = []".to_owned(), "must not be empty"),
        ("artifactTypes = [\"a/b,c/d\"]".to_owned(), "is not an artifact type"),
        (format!("{types}\nplugin = \"../sbom\""), "is not a plugin's file name"),
        (format!("{types}\nplugin = \".sbom\""), "is not a plugin's file name"),
        (format!("{types}\nplugin = \"\""), "is not a plugin's file name"),
        (
            format!("{types}\nenvironment = [\"LD_PRELOAD\"]"),
            "is not an environment variable's name that a plugin may get",
        ),
        (format!("{types}\nenvironment = [\"RATIFY_VERIFIER_SUBJECT\"]"), "is not an environment variable's name"),
        (format!("{types}\nenvironment = [\"A=B\"]"), "is not an environment variable's name"),
        (format!("{types}\nconfig = []"), "expected a table"),
        (format!("{types}\nconfig = {{ a = 1.5 }}"), "expected a string, a whole number"),
        (format!("{types}\nnetwork = \"yes\""), "network"),
        (format!("{types}\nsource = \"x\""), "source"),
    ] {
        let found = problems(&written(&parameters));
        assert!(found.iter().any(|line| line.contains(cause)), "{cause}: {found:?}");
    }
}
