//! Whole configurations: what an operator writes, and every line that comes back.

use proptest::prelude::*;

use super::*;
use crate::config::{Config, Mode, VerifierKind};

mod cosign;
mod credentials;
mod formats;
mod notation;
mod plugin;
mod schema;
mod show;
mod vault;

const CERTIFICATES: &str = "certificates = [{ files = [\"/t/ca.pem\"] }]";

fn environment(name: &str) -> Option<String> {
    match name {
        "DIR" => Some("/etc/trust".to_owned()),
        "WORD" => Some("hunter2".to_owned()),
        "HOSTILE" => Some("x\"]\nmode = \"allow\"".to_owned()),
        "LONG" => Some("/".repeat(limits::EXPANDED_BYTES)),
        _ => None,
    }
}

fn read(text: &str) -> Result<Config, Problems> {
    parse("c.toml", text, &environment)
}

/// The problem lines, without the file's name. JSON and YAML have the same.
fn problems(text: &str) -> Vec<String> {
    match read(text) {
        Ok(config) => panic!("no problem in {text}\n{config:?}"),
        Err(problems) => {
            formats::say_the_same(text, &problems);
            problems.to_string().lines().map(|line| line.strip_prefix("c.toml:").unwrap().to_owned()).collect()
        }
    }
}

/// The configuration, and the same one from JSON and YAML, and from what is shown of it.
fn good(text: &str) -> Config {
    let config = read(text).unwrap_or_else(|problems| panic!("{problems}\nin\n{text}"));
    formats::mean_the_same(text, &config);
    show::reads_back(&config);
    config
}

fn checks(executor: &Executor) -> &Checks {
    match &executor.mode {
        Mode::Enforce(checks) | Mode::Audit(checks) => checks,
        mode @ (Mode::Allow | Mode::Deny) => panic!("{mode:?}"),
    }
}

/// An executor with these keys besides its scope and one verifier `v`; they stand in line 2.
fn executor(keys: &str) -> String {
    format!(
        "[[executors]]\n{keys}\nscopes = [\"a.io\"]\n[[executors.verifiers]]\nname = \"v\"\ntype = \"notation\"\nparameters.{CERTIFICATES}\n"
    )
}

/// An executor whose one verifier has these parameters; they stand in line 6.
fn verifier(parameters: &str) -> String {
    format!(
        "[[executors]]\nscopes = [\"a.io\"]\n[[executors.verifiers]]\nname = \"v\"\ntype = \"notation\"\n\
         parameters = {{ {parameters} }}\n"
    )
}

/// An executor with one store of these parameters; they stand in line 2 from column 53.
fn store(parameters: &str) -> String {
    executor(&format!("stores = [{{ type = \"registry-store\", parameters = {{ {parameters} }} }}]"))
}

/// An executor with verifiers `a`, `b` and `c`, and this policy in the last line, from column 23.
fn policy(policy: &str) -> String {
    let verifier = |name| format!("{{ name = \"{name}\", type = \"notation\", parameters = {{ {CERTIFICATES} }} }}");
    let verifiers = ["a", "b", "c"].map(verifier).join(", ");
    format!(
        "[[executors]]\nscopes = [\"a.io\"]\nverifiers = [{verifiers}]\n[executors.policyEnforcer]\n\
         type = \"threshold-policy\"\nparameters.policy = {{ {policy} }}\n"
    )
}

#[test]
fn what_is_left_out_has_its_default() {
    let config = good(&executor(""));
    assert_eq!(config.unmatched, Unmatched::Deny);
    assert!(config.access.uids.is_empty());
    assert_eq!(config.remember.allow, Duration::from_secs(300));
    assert_eq!(config.remember.deny, Duration::from_secs(10));
    assert_eq!(config.remember.referrers, Duration::from_secs(10));
    assert_eq!(config.log, Log { format: LogFormat::Text, level: LogLevel::Info });
    assert_eq!(config.proxy, Proxy::default());
    let [executor] = config.executors.as_slice() else { panic!("{config:?}") };
    assert!(matches!(executor.mode, Mode::Enforce(_)));
    assert!(executor.digests.is_empty());
    let Store::Registry(store) = &executor.store else { panic!("{:?}", executor.store) };
    assert_eq!(*store, RegistryStore::default());
    assert_eq!((store.max_blob_bytes, store.max_manifest_bytes), (32 << 20, 4 << 20));
    let checks = checks(executor);
    assert_eq!(checks.concurrency, limits::CONCURRENCY);
    let leaf = Rule { verifier: Some("v".to_owned()), threshold: 0, rules: Vec::new() };
    assert_eq!(checks.policy, Rule { verifier: None, threshold: 1, rules: vec![leaf] });
    let VerifierKind::Notation(notation) = &checks.verifiers[0].kind else { panic!("no notation verifier") };
    let TrustPolicySource::Implied(Statement { scopes, asks, .. }) = &notation.policy else { panic!("{notation:?}") };
    let Asks::Signature { level, verify_timestamp, stores, identities } = asks else { panic!("{asks:?}") };
    assert_eq!((scopes, stores, *level), (&RegistryScopes::Any, &Named::All, Level::STRICT));
    assert_eq!((*verify_timestamp, identities[0].value.as_str()), (VerifyTimestamp::Always, "*"));
    assert!(!notation.allow_skip && notation.user_metadata.is_empty());
}

#[test]
fn every_key_is_taken() {
    let digest = format!("sha256:{}", "0a".repeat(32));
    let config = good(&format!(
        r#"
        unmatched = "allow"
        access = {{ uids = [1000, 0] }}
        remember = {{ allow = "1h 30m", deny = "0s", referrers = "500ms" }}
        log = {{ format = "json", level = "debug" }}
        proxy = {{ https = "u:${{WORD}}@proxy:3128", http = "https://proxy", no = ["*.Internal:5000", "10.0.0.0/8"] }}
        [[executors]]
        scopes = ["a.io/x/*", "*.b.io"]
        mode = "audit"
        digests = ["{digest}"]
        concurrency = 3
        verifiers = [{{ name = "v.1_x-Y", type = "notation", parameters = {{
            certificates = [
                {{ type = "ca", files = ["${{DIR}}/a.pem", "/b"], inline = "PEM 1" }},
                {{ type = "tsa", name = "stamps", inline = {{ certs = "PEM 2" }} }}],
            trustedIdentities = ["x509.subject: C=US"],
            signatureVerification = {{ level = "audit" }}, userMetadata = {{ build = "1" }}, allowSkip = true,
            scopes = ["*"] }} }}]
        stores = [{{ type = "registry-store", parameters = {{ plainHttp = true, configPath = ":${{DIR}}:/b:", caBase64 = "UEVNCg==", userAgent = "me/1", maxBlobBytes = 1,
            maxManifestBytes = 2, allowCosignTag = true,
            credential = {{ provider = "static", username = "", password = "" }} }} }}]
        policyEnforcer = {{ type = "threshold-policy", parameters = {{ policy = {{ rules = [
            {{ verifierName = "v.1_x-Y" }}] }} }} }}
        [[executors]]
        scopes = ["c.io"]
        mode = "allow"
        [[executors]]
        scopes = ["d.io"]
        mode = "deny"
        verifiers = []
        "#
    ));
    assert_eq!(config.unmatched, Unmatched::Allow);
    assert_eq!(config.access.uids, BTreeSet::from([0, 1000]));
    assert_eq!(config.remember.allow, Duration::from_secs(5400));
    assert_eq!((config.remember.deny, config.remember.referrers), (Duration::ZERO, Duration::from_millis(500)));
    assert_eq!(config.log, Log { format: LogFormat::Json, level: LogLevel::Debug });
    let proxy = &config.proxy;
    assert_eq!(proxy.https.as_ref().unwrap().secret().as_str(), "http://u:hunter2@proxy:3128/");
    assert_eq!(proxy.http.as_ref().unwrap().to_string(), "https://proxy");
    assert_eq!(proxy.no.iter().map(Direct::to_string).collect::<Vec<_>>(), ["*.internal:5000", "10.0.0.0/8"]);
    let [audit, allow, deny] = config.executors.as_slice() else { panic!("{config:?}") };
    assert!(matches!((&audit.mode, &allow.mode, &deny.mode), (Mode::Audit(_), Mode::Allow, Mode::Deny)));
    assert_eq!(audit.digests.first().unwrap().as_str(), digest);
    assert_eq!(
        audit.store,
        Store::Registry(RegistryStore {
            plain_http: true,
            config_path: vec!["/etc/trust".into(), "/b".into()],
            ca: Some("PEM\n".to_owned()),
            user_agent: Some("me/1".to_owned()),
            max_blob_bytes: 1,
            max_manifest_bytes: 2,
            credentials: Vec::new(),
            allowed_realms: Vec::new(),
            cosign_tags: true,
        })
    );
    assert_eq!(
        audit.scopes[1],
        Spanned {
            value: "*.b.io".to_owned(),
            place: Place { line: 8, column: 31, path: "executors[0].scopes[1]".to_owned() }
        }
    );
    let checks = checks(audit);
    assert_eq!((checks.concurrency, checks.verifiers[0].name.as_str()), (3, "v.1_x-Y"));
    let VerifierKind::Notation(notation) = &checks.verifiers[0].kind else { panic!("no notation verifier") };
    assert_eq!(notation::sources(notation), ["ca:ratify /etc/trust/a.pem,/b,PEM 1", "tsa:stamps PEM 2"]);
    let TrustPolicySource::Implied(Statement { scopes, asks, .. }) = &notation.policy else { panic!("{notation:?}") };
    assert_eq!(*scopes, RegistryScopes::Any);
    let Asks::Signature { level, identities, .. } = asks else { panic!("{asks:?}") };
    assert_eq!((*level, identities[0].value.as_str()), (Level::AUDIT, "x509.subject: C=US"));
    assert_eq!((notation.allow_skip, notation.user_metadata["build"].as_str()), (true, "1"));
}

#[test]
fn all_problems_come_at_once_each_with_its_place_and_mend() {
    let text = r#"unmached = "deny"
unmatched = "maybe"

[[executors]]
scopes = ["ghcr.io", 7]
mode = "enforced"
concurency = 4
digests = ["sha256:1"]

  [[executors.verifiers]]
  name = "né v"
  type = "notaton"
  parameters = { whatever = 1 }

  [[executors.verifiers]]
  type = "notation"
  parameters.certificates = [{ type = "ca", fils = ["/a"] }, { files = ["a.pem", "${NOPE}/${DIR}/${NADA}"] }]
  parameters.truestedIdentities = []
"#;
    assert_eq!(
        problems(text),
        [
            r#"1:1: unmached: unknown key (did you mean "unmatched"?)"#,
            r#"2:13: unmatched: unknown value "maybe" (known: allow, deny)"#,
            "5:22: executors[0].scopes[1]: expected a string, found an integer",
            r#"6:8: executors[0].mode: unknown value "enforced" (did you mean "enforce"?)"#,
            r#"7:1: executors[0].concurency: unknown key (did you mean "concurrency"?)"#,
            "8:12: executors[0].digests[0]: \"sha256:1\" is not a digest: expected sha256: and 64, or sha512: and 128, \
             lowercase hexadecimal digits",
            "11:10: executors[0].verifiers[0].name: \"né v\" is not a verifier's name (1 to 64 letters, digits, dots, \
             underscores and hyphens)",
            r#"12:10: executors[0].verifiers[0].type: unknown verifier type "notaton" (did you mean "notation"?)"#,
            "15:3: executors[0].verifiers[1].name: required key is missing",
            "17:30: executors[0].verifiers[1].parameters.certificates[0]: names no certificates (add files, inline or azurekeyvault)",
            r#"17:45: executors[0].verifiers[1].parameters.certificates[0].fils: unknown key (did you mean "files"?)"#,
            "17:73: executors[0].verifiers[1].parameters.certificates[1].files[0]: \"a.pem\" is not an absolute path",
            "17:82: executors[0].verifiers[1].parameters.certificates[1].files[1]: environment variable NADA is not \
             defined (write $${ for a plain ${)",
            "17:82: executors[0].verifiers[1].parameters.certificates[1].files[1]: environment variable NOPE is not \
             defined (write $${ for a plain ${)",
            "18:14: executors[0].verifiers[1].parameters.truestedIdentities: unknown key (did you mean \
             \"trustedIdentities\"?)",
        ]
    );
}

/// Ratify v2's sample, its JSON written as TOML.
const RATIFY_V2_SAMPLE: &str = r#"[[executors]]
scopes = ["ghcr.io"]

[[executors.verifiers]]
name = "notation-1"
type = "notation"
parameters.certificates = [{ files = ["${CERTIFICATE_PATH}"] }]

[[executors.verifiers]]
name = "cosign-1"
type = "cosign"
[[executors.verifiers.parameters.trustPolicies]]
certificateIdentity = "test@example.com"
certificateOIDCIssuer = "https://github.com/login/oauth"

[[executors.stores]]
type = "registry-store"
[executors.stores.parameters]
credential = { provider = "static", username = "", password = "" }
allowCosignTag = true

[executors.policyEnforcer]
type = "threshold-policy"
[executors.policyEnforcer.parameters.policy]
rules = [{ verifierName = "cosign-1" }, { verifierName = "notation-1" }]
threshold = 1
"#;

#[test]
fn ratify_v2_s_sample_is_taken_as_it_is() {
    assert_eq!(
        problems(RATIFY_V2_SAMPLE),
        ["7:39: executors[0].verifiers[0].parameters.certificates[0].files[0]: environment variable \
             CERTIFICATE_PATH is not defined (write $${ for a plain ${)",]
    );
    let config = good(&RATIFY_V2_SAMPLE.replace("CERTIFICATE_PATH", "DIR"));
    let VerifierKind::Cosign(cosign) = &checks(&config.executors[0]).verifiers[1].kind else {
        panic!("no cosign verifier")
    };
    let CosignSigners::Keyless(identities) = &cosign.policies[0].signers else { panic!("{cosign:?}") };
    let IdentityMatch::Exact(subject) = &identities[0].subject else { panic!("{identities:?}") };
    assert_eq!(subject.value, "test@example.com");
    let Store::Registry(store) = &config.executors[0].store else { panic!("no registry") };
    assert!(store.cosign_tags);
}

#[test]
fn the_example_has_no_problem() {
    let config = good(include_str!("../../packaging/config.toml"));
    let modes: Vec<_> = config
        .executors
        .iter()
        .map(|executor| match executor.mode {
            Mode::Enforce(_) => "enforce",
            Mode::Audit(_) => "audit",
            Mode::Allow => "allow",
            Mode::Deny => "deny",
        })
        .collect();
    assert_eq!(modes, ["enforce", "enforce", "audit", "allow"]);
    // What it writes out as a default is the default.
    assert_eq!((&config.remember, &config.log, &config.access), (&<_>::default(), &<_>::default(), &<_>::default()));
    assert_eq!(config.unmatched, Unmatched::Deny);
    let enforced = &config.executors[0];
    assert_eq!(enforced.store, Store::default());
    assert_eq!(checks(enforced).concurrency, limits::CONCURRENCY);
    assert_eq!((checks(enforced).policy.threshold, checks(enforced).policy.rules.len()), (1, 1));
}

#[test]
fn a_proxy_that_is_none_is_refused_without_a_word_of_it() {
    for (proxy, place) in [
        (r#"https = "http://u:hunter2""#, "1:15: proxy.https: is not a proxy's URL (for example"),
        (r#"http = "socks5://u:hunter2@proxy""#, "1:14: proxy.http: is not a proxy's URL (for example"),
        (r#"no = ["a", "10.*"]"#, "1:18: proxy.no[1]: \"10.*\" names no hosts (a host with all below it"),
        (r#"no = "a""#, "1:12: proxy.no: expected an array, found a string"),
        (r#"all = "a""#, "1:7: proxy.all: unknown key (known here: http, https, no)"),
    ] {
        let found = problems(&format!("proxy.{proxy}\n{}", executor("")));
        assert!(found.len() == 1 && !found[0].contains("hunter2"), "{found:?}");
        assert!(found[0].starts_with(place), "{found:?}");
    }
}

#[test]
fn the_environments_proxies_count_for_the_keys_that_are_left_out() {
    let environment = |name: &str| match name {
        "HTTPS_PROXY" => Some("http://env:1".to_owned()),
        "http_proxy" => Some("http://env:2".to_owned()),
        "NO_PROXY" => Some("a.io,.b.io".to_owned()),
        _ => None,
    };
    let come_to = |keys: &str| {
        let proxy = parse("c.toml", &format!("{keys}\n{}", executor("")), &environment).unwrap().proxy;
        let shown = |proxy: &Option<ProxyUrl>| proxy.as_ref().map(ProxyUrl::to_string).unwrap_or_default();
        (shown(&proxy.https), shown(&proxy.http), proxy.no.len())
    };
    let [one, two] = ["http://env:1", "http://env:2"].map(str::to_owned);
    assert_eq!(come_to(""), (one.clone(), two.clone(), 2));
    assert_eq!(come_to("proxy.https = \"file:3\""), ("http://file:3".to_owned(), two.clone(), 2));
    assert_eq!(come_to("proxy.http = \"\""), (one.clone(), String::new(), 2));
    assert_eq!(come_to("proxy.no = []"), (one, two, 0));
}

#[test]
fn a_proxy_of_the_environment_that_is_none_is_a_problem_unless_the_file_has_its_key() {
    let environment = |name: &str| (name == "HTTPS_PROXY").then(|| "http://u:hunter2".to_owned());
    let read = |keys: &str| parse("c.toml", &format!("{keys}{}", executor("")), &environment);
    let line = "c.toml:1:1: proxy.https: environment variable HTTPS_PROXY is not a proxy's URL (for example ";
    let problems = read("").unwrap_err().to_string();
    assert!(problems.starts_with(line) && !problems.contains("hunter2"), "{problems}");
    assert!(read("proxy.https = \"\"\n").is_ok());
}

#[test]
fn executors_that_would_check_nothing_are_refused() {
    for (text, expected) in [
        ("", "1:1: executors: required key is missing"),
        ("executors = []", "1:13: executors: must not be empty"),
        ("executors = [{ mode = \"deny\" }]", "1:14: executors[0].scopes: required key is missing"),
        ("executors = [{ mode = \"deny\", scopes = [] }]", "1:40: executors[0].scopes: must not be empty"),
        ("executors = [{ scopes = [\"a\"] }]", "1:14: executors[0].verifiers: required key is missing"),
        (
            "executors = [{ mode = \"audit\", scopes = [\"a\"] }]",
            "1:14: executors[0].verifiers: required key is missing",
        ),
        ("executors = [{ scopes = [\"a\"], verifiers = [] }]", "1:44: executors[0].verifiers: must not be empty"),
        (
            "executors = [{ mode = \"alow\", scopes = [\"a\"] }]",
            "1:23: executors[0].mode: unknown value \"alow\" (did you mean \"allow\"?)",
        ),
        ("executors = {}", "1:13: executors: expected an array, found a table"),
        ("executors = [1.5]", "1:14: executors[0]: expected a table, found a float"),
    ] {
        assert_eq!(problems(text), [expected], "{text}");
    }
}

#[test]
fn the_checks_of_an_executor_that_asks_nobody_are_still_checked() {
    let text = executor("mode = \"allow\"");
    assert!(matches!(good(&text).executors[0].mode, Mode::Allow));
    assert_eq!(
        problems(&text.replace("notation", "natation")),
        ["6:8: executors[0].verifiers[0].type: unknown verifier type \"natation\" (did you mean \"notation\"?)"]
    );
    assert_eq!(
        problems("executors = [{ mode = \"allow\", scopes = [\"a\"], concurrency = 0 }]"),
        ["1:62: executors[0].concurrency: 0 is out of range (1 to 64)"]
    );
}

#[test]
fn a_scope_belongs_to_one_executor() {
    let text = "[[executors]]\nscopes = [\"a.io\", \"b.io\", \"a.io\"]\nmode = \"deny\"\n\
                [[executors]]\nscopes = [\"b.io\"]\nmode = \"allow\"\n";
    assert_eq!(
        problems(text),
        [
            "2:27: executors[0].scopes[2]: \"a.io\" is taken by executors[0].scopes[0] in line 2",
            "5:11: executors[1].scopes[0]: \"b.io\" is taken by executors[0].scopes[1] in line 2",
        ]
    );
}

#[test]
fn a_verifier_s_name_is_unique_in_its_executor() {
    let twice = policy("rules = [{ verifierName = \"a\" }, { verifierName = \"b\" }]").replace("\"c\"", "\"a\"");
    let shown = problems(&twice);
    assert_eq!(shown.len(), 1, "{shown:?}");
    assert!(
        shown[0].ends_with(
            "executors[0].verifiers[2].name: name \"a\" is taken by executors[0].verifiers[0].name in line 3"
        ),
        "{shown:?}"
    );
    good(&format!("{}{}", executor(""), executor("").replace("a.io", "b.io")));
}

#[test]
fn names_of_verifiers_at_the_limit_and_one_past_it() {
    let named = |name: &str| executor("").replace("name = \"v\"", &format!("name = {name:?}"));
    good(&named(&"v".repeat(limits::VERIFIER_NAME_BYTES)));
    for bad in ["", "a b", "a/b", &"v".repeat(limits::VERIFIER_NAME_BYTES + 1)] {
        assert!(problems(&named(bad))[0].contains("is not a verifier's name"), "{bad}");
    }
}

#[test]
fn what_a_notation_verifier_cannot_heed_is_refused_by_its_key() {
    for (text, column, key, message) in [
        ("", 14, ".certificates", "required key is missing".to_owned()),
        ("certificates = []", 31, ".certificates", "must not be empty".to_owned()),
        ("certificates = [{ files = [] }]", 42, ".certificates[0].files", "must not be empty".to_owned()),
        (
            "certificates = [{ inline = { certs = \"PEM\", keys = \"PEM\" } }]",
            60,
            ".certificates[0].inline.keys",
            "keys have no use here: a notation verifier trusts certificates".to_owned(),
        ),
        (
            "certificates = [{ inline = \"-----BEGIN EC PRIVATE KEY-----\" }]",
            43,
            ".certificates[0].inline",
            "a private key has no place here: a verifier trusts certificates and public keys".to_owned(),
        ),
        (
            "certificates = [{ inline = true }]",
            43,
            ".certificates[0].inline",
            "expected a string, found a boolean".to_owned(),
        ),
        (
            &format!("trustedIdentities = [], {CERTIFICATES}"),
            36,
            ".trustedIdentities",
            "must not be empty (write [\"*\"] to trust every identity that the certificates vouch for)".to_owned(),
        ),
    ] {
        let expected = format!("6:{column}: executors[0].verifiers[0].parameters{key}: {message}");
        assert_eq!(problems(&verifier(text)), [expected], "{text}");
    }
}

#[test]
fn what_a_store_cannot_heed_is_refused_by_its_key() {
    let at = "executors[0].stores[0].parameters";
    for (text, expected) in [
        ("credential = { username = \"\" }", format!("2:66: {at}.credential.provider: required key is missing")),
        (
            "caPem = \"-----BEGIN PRIVATE KEY-----\"",
            format!("2:61: {at}.caPem: a private key stands here; only certificates belong here"),
        ),
        (
            "configPath = \"/a:b\"",
            format!(
                "2:66: {at}.configPath: \"b\" is not an absolute path (folders are joined by colons; \"\" means none)"
            ),
        ),
        (
            "configPath = [\"/a\", \"b\"]",
            format!(
                "2:73: {at}.configPath[1]: \"b\" is not an absolute path (folders are joined by colons; \"\" means none)"
            ),
        ),
        ("maxBlobBytes = 0", format!("2:68: {at}.maxBlobBytes: 0 is out of range (1 to 33554432)")),
        ("maxBlobBytes = 33554433", format!("2:68: {at}.maxBlobBytes: 33554433 is out of range (1 to 33554432)")),
        ("maxManifestBytes = -1", format!("2:72: {at}.maxManifestBytes: -1 is out of range (1 to 4194304)")),
        ("maxManifestBytes = 4194305", format!("2:72: {at}.maxManifestBytes: 4194305 is out of range (1 to 4194304)")),
        ("plainHTTP = true", format!("2:53: {at}.plainHTTP: unknown key (did you mean \"plainHttp\"?)")),
        ("plainHttp = \"no\"", format!("2:65: {at}.plainHttp: expected a boolean, found a string")),
        (
            "userAgent = \"a\\r\\nx: y\"",
            format!("2:65: {at}.userAgent: \"a\\r\\nx: y\" is not a user agent (up to 256 printable ASCII characters)"),
        ),
    ] {
        assert_eq!(problems(&store(text)), [expected], "{text}");
    }
    good(&store("maxBlobBytes = 33554432, maxManifestBytes = 4194304, allowCosignTag = false, userAgent = \"\""));
    good(&store(&format!("userAgent = \"{}\"", "a".repeat(limits::USER_AGENT_BYTES))));
    assert_eq!(problems(&store(&format!("userAgent = \"{}\"", "a".repeat(limits::USER_AGENT_BYTES + 1)))).len(), 1);
}

/// The registry store of the first executor.
fn registry(config: &Config) -> &RegistryStore {
    match &config.executors[0].store {
        Store::Registry(store) => store,
        other => panic!("{other:?}"),
    }
}

#[test]
fn folders_of_hosts_files_are_joined_by_colons_or_in_an_array_and_may_be_none() {
    let folders = |text: &str| {
        let config = good(&store(text));
        registry(&config).config_path.iter().map(|path| path.display().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(folders(""), ["/etc/containerd/certs.d", "/etc/docker/certs.d"]);
    assert_eq!(folders("configPath = \"/a:/b::\""), ["/a", "/b"]);
    assert_eq!(folders("configPath = [\"/a:/b\", \"/c\"]"), ["/a", "/b", "/c"]);
    for none in ["\"\"", "[]", "[\"\"]", "\":\""] {
        assert_eq!(folders(&format!("configPath = {none}")), [""; 0], "{none}");
    }
}

#[test]
fn certificates_are_pem_or_base64_of_it_and_pem_goes_before() {
    let ca = |text: &str| registry(&good(&store(text))).ca.clone();
    assert_eq!(ca(""), None);
    assert_eq!(ca("caPem = \"\", caBase64 = \"\""), None);
    assert_eq!(ca("caPem = \"PEM\", caBase64 = \"Cg==\"").as_deref(), Some("PEM"));
    assert_eq!(ca("caPem = \"\", caBase64 = \"UE\\r\\nVN\"").as_deref(), Some("PEM"));
    for bad in ["x", "UEVN=", "UE VN"] {
        let shown = problems(&store(&format!("caBase64 = \"{bad}\"")));
        assert!(matches!(shown.as_slice(), [one] if one.contains("caBase64: it is not base64")), "{shown:?}");
    }
}

#[test]
fn an_oci_layout_can_stand_in_for_the_registry() {
    let stores = "stores = [{ type = \"filesystem-oci-store\", parameters = { path = \"${DIR}/layout\" } }]";
    let config = good(&executor(stores));
    let Store::Layout(path) = &config.executors[0].store else { panic!("{config:?}") };
    assert_eq!(path.value.to_str(), Some("/etc/trust/layout"));
}

#[test]
fn content_on_disk_is_where_systemd_says_unless_the_file_says_otherwise() {
    let cache = |text: &str| good(&format!("{}[cache]\n{text}", executor(""))).cache;
    assert_eq!(cache(""), Cache::default());
    assert_eq!(cache("path = \"\"").path, Folder::None);
    assert_eq!(cache("path = \"/var/cache/x\"").path, Folder::At("/var/cache/x".into()));
    assert_eq!((cache("disk = 0").disk, cache("memory = 0").memory), (0, 0));
    let most = cache(&format!("disk = {}\nmemory = {}", limits::DISK_BYTES_MAX, limits::REMEMBERED_BYTES_MAX));
    assert_eq!((most.disk, most.memory), (limits::DISK_BYTES_MAX, limits::REMEMBERED_BYTES_MAX));
    for (text, expected) in [
        (format!("disk = {}", limits::DISK_BYTES_MAX + 1), "is out of range"),
        (format!("memory = {}", limits::REMEMBERED_BYTES_MAX + 1), "is out of range"),
        ("disk = -1".to_owned(), "is out of range"),
        ("path = \"cache\"".to_owned(), "\"cache\" is not an absolute path"),
        ("size = 1".to_owned(), "unknown key"),
    ] {
        let found = problems(&format!("{}[cache]\n{text}", executor("")));
        assert!(found.len() == 1 && found[0].contains(expected), "{text}: {found:?}");
    }
}

#[test]
fn revocation_is_asked_within_its_bounds() {
    let of = |text: &str| good(&format!("{}[revocation]\n{text}\n", executor(""))).revocation;
    assert_eq!(of(""), Revocation::default());
    let all = of("fetch = false\nocspTimeout = \"30s\"\ncrlTimeout = \"1ms\"\nmaxCrlBytes = 1\ncrlFolder = \"/c\"");
    let expected = Revocation {
        fetch: false,
        ocsp_timeout: Duration::from_secs(30),
        crl_timeout: Duration::from_millis(1),
        max_crl_bytes: 1,
        crl_folder: Some("/c".into()),
    };
    assert_eq!((all, of("maxCrlBytes = 33554432")), (expected, Revocation::default()));
    for (text, expected) in [
        ("ocspTimeout = \"30s 1ns\"", "revocation.ocspTimeout: \"30s 1ns\" is above the limit of 30s"),
        ("maxCrlBytes = 33554433", "revocation.maxCrlBytes"),
        ("maxCrlBytes = 0", "revocation.maxCrlBytes"),
        ("crlFolder = \"crls\"", "revocation.crlFolder: \"crls\" is not an absolute path"),
        ("fetch = \"no\"", "revocation.fetch"),
        ("ocsp = true", "revocation.ocsp"),
    ] {
        let found = problems(&format!("{}[revocation]\n{text}\n", executor("")));
        assert!(found.len() == 1 && found[0].contains(expected), "{text}: {found:?}");
    }
}

#[test]
fn plugins_lie_in_an_absolute_folder_and_never_run_as_root() {
    let plugins = |text: &str| good(&format!("{}[plugins]\n{text}", executor(""))).plugins;
    assert_eq!(plugins(""), Plugins::default());
    let given = plugins(
        "path = \"/opt/plugins\"\nkept = \"/opt/kept\"\nuser = \"nobody\"\nsocket = \"/run/p.sock\"\ntimeout = \"30s\"\nsandbox = \"strict\"",
    );
    let expected = Plugins {
        path: "/opt/plugins".into(),
        kept: "/opt/kept".into(),
        user: "nobody".to_owned(),
        socket: "/run/p.sock".into(),
        timeout: Duration::from_secs(30),
        sandbox: Confinement::Strict,
    };
    assert_eq!(given, expected);
    for (text, expected) in [
        ("path = \"plugins\"", "plugins.path: \"plugins\" is not an absolute path"),
        ("kept = \"kept\"", "plugins.kept: \"kept\" is not an absolute path"),
        ("socket = \"\"", "plugins.socket: \"\" is not an absolute path"),
        ("user = \"root\"", "plugins.user: plugins must not run as root"),
        ("user = \"00\"", "plugins.user: plugins must not run as root"),
        ("user = \"\"", "plugins.user: \"\" is not a user's name or number"),
        ("user = \"a:b\"", "plugins.user: \"a:b\" is not a user's name or number"),
        ("user = 65534", "plugins.user: expected a string"),
        ("timeout = \"31s\"", "plugins.timeout: \"31s\" is above the limit of 30s"),
        ("folder = \"/x\"", "plugins.folder: unknown key"),
        ("sandbox = \"none\"", "plugins.sandbox: unknown value \"none\""),
    ] {
        let found = problems(&format!("{}[plugins]\n{text}", executor("")));
        assert!(found.len() == 1 && found[0].contains(expected), "{text}: {found:?}");
    }
}

#[test]
fn what_plugins_are_told_is_texts_by_names_and_not_too_many() {
    let told = |pairs: &str| format!("parameters.pluginConfig = {{ {pairs} }}");
    let config = good(&(executor("") + &told("aws-region = \"eu\", \"key 2\" = \"$${x}\"")));
    let Mode::Enforce(checks) = &config.executors[0].mode else { panic!("{config:?}") };
    let VerifierKind::Notation(notation) = &checks.verifiers[0].kind else { panic!("no notation verifier") };
    let pairs: Vec<_> = notation.plugin_config.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(pairs, [("aws-region", "eu"), ("key 2", "${x}")]);
    let many = |number: usize| told(&(0..number).map(|key| format!("k{key} = \"\"")).collect::<Vec<_>>().join(", "));
    good(&(executor("") + &many(limits::PLUGIN_CONFIG)));
    for (text, expected) in [
        (many(limits::PLUGIN_CONFIG + 1), "pluginConfig: more than 64 pairs"),
        (told("a = 1"), "pluginConfig.a: expected a string"),
        ("parameters.pluginConfig = \"x\"".to_owned(), "pluginConfig: expected a table"),
    ] {
        let found = problems(&(executor("") + &text));
        assert!(found.len() == 1 && found[0].contains(expected), "{text}: {found:?}");
    }
}

#[test]
fn metrics_are_told_on_this_machine_alone() {
    let listen = |text: &str| good(&format!("{}[metrics]\nlisten = {text:?}", executor(""))).metrics.listen;
    assert_eq!(listen(""), None);
    for address in ["127.0.0.1:9464", "127.9.9.9:1", "[::1]:9464"] {
        assert_eq!(listen(address), Some(Listen::Tcp(address.parse().unwrap())));
    }
    assert_eq!(listen("unix:/run/m.sock"), Some(Listen::Unix("/run/m.sock".into())));
    for (text, expected) in [
        ("0.0.0.0:9464", "is no address of loopback"),
        ("[::]:9464", "is no address of loopback"),
        ("10.0.0.1:9464", "is no address of loopback"),
        ("[::ffff:127.0.0.1]:9464", "is no address of loopback"),
        ("localhost:9464", "is neither an address with a port nor unix:PATH"),
        ("127.0.0.1", "is neither an address with a port nor unix:PATH"),
        (":9464", "is neither an address with a port nor unix:PATH"),
        ("unix:m.sock", "is not an absolute path"),
    ] {
        let found = problems(&format!("{}[metrics]\nlisten = {text:?}", executor("")));
        assert!(found.len() == 1 && found[0].contains(expected), "{text}: {found:?}");
    }
}

#[test]
fn the_last_known_list_is_not_used_unless_the_file_says_so_and_for_a_day_at_most() {
    let stale = |text: &str| good(&format!("{}[remember]\n{text}", executor(""))).remember.stale_referrers;
    assert_eq!(stale(""), Duration::ZERO);
    assert_eq!(stale("staleReferrers = \"24h\""), limits::STALE_REFERRERS_MAX);
    let found = problems(&format!("{}[remember]\nstaleReferrers = \"24h 1s\"", executor("")));
    assert!(found[0].contains("is above the limit"), "{found:?}");
}

#[test]
fn one_store_per_executor_of_a_known_type() {
    for (stores, expected) in [
        ("[]", "2:10: executors[0].stores: must not be empty"),
        (
            "[{ type = \"registry-store\" }, { type = \"registry-store\" }]",
            "2:40: executors[0].stores[1]: only one store per executor is supported yet (split the executor: its \
             scopes say which store answers)",
        ),
        (
            "[{ type = \"registry-store\", scopes = [\"a.io\"] }]",
            "2:38: executors[0].stores[0].scopes: a store's own scopes are not supported yet: the executor's scopes \
             hold",
        ),
        ("[{ type = \"filesystem-oci-store\" }]", "2:11: executors[0].stores[0].parameters: required key is missing"),
        (
            "[{ type = \"filesystem-oci-store\", parameters = {} }]",
            "2:57: executors[0].stores[0].parameters.path: required key is missing",
        ),
        (
            "[{ type = \"filesystem-oci-store\", parameters = { path = \"layout\" } }]",
            "2:66: executors[0].stores[0].parameters.path: \"layout\" is not an absolute path",
        ),
        (
            "[{ type = \"filesystem-oci-store\", parameters = { path = \"/a\", plainHttp = true } }]",
            "2:72: executors[0].stores[0].parameters.plainHttp: unknown key (known here: path)",
        ),
        (
            "[{ type = \"oras\" }]",
            "2:20: executors[0].stores[0].type: unknown store type \"oras\" (known: filesystem-oci-store, plugin, registry-store)",
        ),
        ("[{}]", "2:11: executors[0].stores[0].type: required key is missing"),
    ] {
        assert_eq!(problems(&executor(&format!("stores = {stores}"))), [expected], "{stores}");
    }
}

#[test]
fn a_threshold_of_zero_is_all_at_every_level() {
    let config = good(&policy(
        "rules = [{ verifierName = \"a\", rules = [{ verifierName = \"b\" }] }, \
         { threshold = 1, rules = [{ verifierName = \"b\" }, { verifierName = \"c\" }] }], threshold = 0",
    ));
    let leaf = |name: &str| Rule { verifier: Some(name.to_owned()), threshold: 0, rules: Vec::new() };
    let a = Rule { verifier: Some("a".to_owned()), threshold: 1, rules: vec![leaf("b")] };
    let group = Rule { verifier: None, threshold: 1, rules: vec![leaf("b"), leaf("c")] };
    assert_eq!(checks(&config.executors[0]).policy, Rule { verifier: None, threshold: 2, rules: vec![a, group] });
}

#[test]
fn policies_that_decide_nothing_or_cannot_hold_are_refused() {
    let three = "{ verifierName = \"a\" }, { verifierName = \"b\" }, { verifierName = \"c\" }";
    let at = "executors[0].policyEnforcer.parameters.policy";
    for (text, expected) in [
        (String::new(), vec![format!("6:21: {at}: the policy has no rules")]),
        ("threshold = 1".to_owned(), vec![format!("6:21: {at}: the policy has no rules")]),
        ("rules = []".to_owned(), vec![format!("6:31: {at}.rules: must not be empty")]),
        (
            format!("rules = [{three}, {{ rules = [{{ threshold = 0 }}] }}]"),
            vec![format!("6:115: {at}.rules[3].rules[0]: the rule has neither verifierName nor rules")],
        ),
        (
            format!("rules = [{three}, {{ verifier = \"a\" }}]"),
            vec![
                format!("6:104: {at}.rules[3]: the rule has neither verifierName nor rules"),
                format!("6:106: {at}.rules[3].verifier: unknown key (did you mean \"verifierName\"?)"),
            ],
        ),
        (
            format!("threshold = 4, rules = [{three}]"),
            vec![format!("6:35: {at}.threshold: 4 is out of range (0 to 3)")],
        ),
        (
            format!("threshold = -1, rules = [{three}]"),
            vec![format!("6:35: {at}.threshold: -1 is out of range (0 to 3)")],
        ),
        (
            "threshold = 3, rules = [{ verifierName = \"d\" }, { verifierName = \"b\", threshold = 1 }]".to_owned(),
            vec![
                format!("6:35: {at}.threshold: 3 is out of range (0 to 2)"),
                format!("6:64: {at}.rules[0].verifierName: no verifier is named \"d\" (listed: a, b, c)"),
                format!("6:105: {at}.rules[1].threshold: 1 is out of range (0 to 0)"),
            ],
        ),
        (
            format!("verifierName = \"a\", rules = [{three}]"),
            vec![format!("6:23: {at}.verifierName: the root of a policy names no verifier: write a rule for it")],
        ),
        (
            format!("rules = [{three}, {{ verifierName = \"${{DIR}}\" }}]"),
            vec![format!(
                "6:121: {at}.rules[3].verifierName: variables are not put in here: patterns, policies and PEM stand as \
                 written"
            )],
        ),
    ] {
        assert_eq!(problems(&policy(&text)), expected, "{text}");
    }
    let unused = problems(&policy("rules = [{ verifierName = \"a\" }, { verifierName = \"c\" }]"));
    assert_eq!(unused.len(), 1, "{unused:?}");
    assert!(
        unused[0].ends_with(&format!(
            "executors[0].verifiers[1].name: no rule names verifier \"b\" (add a rule to {at}, or remove the verifier)"
        )),
        "{unused:?}"
    );
    let other = policy("rules = []").replace("threshold-policy", "rego");
    assert_eq!(
        problems(&other),
        ["5:8: executors[0].policyEnforcer.type: unknown value \"rego\" (known: threshold-policy)"]
    );
}

#[test]
fn rules_at_the_limit_and_one_past_it() {
    let rules = |count: usize| {
        let leaves = vec!["{ verifierName = \"a\" }"; count - 3].join(", ");
        policy(&format!("rules = [{{ verifierName = \"b\" }}, {{ verifierName = \"c\" }}, {{ rules = [{leaves}] }}]"))
    };
    good(&rules(limits::POLICY_RULES));
    assert_eq!(
        problems(&rules(limits::POLICY_RULES + 1)),
        ["6:21: executors[0].policyEnforcer.parameters.policy: the policy has 65 rules, the limit is 64"]
    );
    let listed = |count: usize| {
        let verifier =
            |n: usize| format!("{{ name = \"v{n}\", type = \"notation\", parameters = {{ {CERTIFICATES} }} }}");
        let verifiers: Vec<_> = (0..count).map(verifier).collect();
        format!("executors = [{{ scopes = [\"a\"], verifiers = [{}] }}]", verifiers.join(", "))
    };
    assert_eq!(checks(&good(&listed(limits::POLICY_RULES)).executors[0]).policy.threshold, limits::POLICY_RULES);
    assert_eq!(
        problems(&listed(limits::POLICY_RULES + 1)),
        ["1:44: executors[0].verifiers: the policy has 65 rules, the limit is 64"]
    );
}

#[test]
fn levels_of_rules_at_the_limit_and_one_past_it() {
    let nested = |levels: usize| {
        let inner =
            (1..levels).fold("{ verifierName = \"a\" }".to_owned(), |inner, _| format!("{{ rules = [{inner}] }}"));
        policy(&format!("rules = [{inner}, {{ verifierName = \"b\" }}, {{ verifierName = \"c\" }}]"))
    };
    good(&nested(limits::DEPTH));
    let shown = problems(&nested(limits::DEPTH + 1));
    assert_eq!(shown.len(), 1, "{shown:?}");
    assert!(shown[0].ends_with("the policy is deeper than the limit of 8 levels"), "{shown:?}");
}

#[test]
fn durations_at_their_limits_and_past_them() {
    let remember = |text: &str| format!("remember = {{ {text} }}\n{}", executor(""));
    good(&remember("allow = \"24h\", deny = \"10m\", referrers = \"10m\""));
    assert_eq!(
        problems(&remember("allow = \"24h 1ns\", deny = \"601s\", referrers = \"11m\"")),
        [
            "1:22: remember.allow: \"24h 1ns\" is above the limit of 1day",
            "1:40: remember.deny: \"601s\" is above the limit of 10m",
            "1:60: remember.referrers: \"11m\" is above the limit of 10m",
        ]
    );
    for bad in ["\"\"", "\"5\"", "\"-1s\"", "\"5 fortnights\"", "\"99999999999999999999y\""] {
        assert!(problems(&remember(&format!("deny = {bad}")))[0].contains("is not a duration (for example"), "{bad}");
    }
    assert_eq!(problems(&remember("deny = 5")), ["1:21: remember.deny: expected a string, found an integer"]);
}

#[test]
fn numbers_at_their_limits_and_past_them() {
    for good_value in ["1", "64"] {
        good(&executor(&format!("concurrency = {good_value}")));
    }
    for bad in ["0", "65", "-1"] {
        assert!(problems(&executor(&format!("concurrency = {bad}")))[0].contains("out of range (1 to 64)"), "{bad}");
    }
    let access = |uid: &str| format!("access.uids = [{uid}]\n{}", executor(""));
    assert!(good(&access("4294967294")).access.uids.contains(&4_294_967_294));
    for bad in ["4294967295", "-1"] {
        assert_eq!(problems(&access(bad)), [format!("1:16: access.uids[0]: {bad} is out of range (0 to 4294967294)")]);
    }
}

#[test]
fn variables_are_put_in_after_parsing_and_not_into_patterns_policies_and_pem() {
    let config = good(&verifier("certificates = [{ files = [\"${DIR}/$${DIR}/a b.pem\"] }]"));
    let VerifierKind::Notation(notation) = &checks(&config.executors[0]).verifiers[0].kind else {
        panic!("no notation verifier")
    };
    assert_eq!(notation::sources(notation), ["ca:ratify /etc/trust/${DIR}/a b.pem"]);
    let config = good(&executor("mode = \"deny\"").replace("/t/ca.pem", "/${HOSTILE}"));
    assert_eq!(config.executors[0].mode, Mode::Deny, "a value adds no key");
    for text in [
        executor("").replace("a.io", "${DIR}"),
        verifier(&format!("trustedIdentities = [\"${{DIR}}\"], {CERTIFICATES}")),
        verifier("certificates = [{ inline = \"${DIR}\" }]"),
        verifier("certificates = [{ inline = { certs = \"$${DIR}\" } }]"),
    ] {
        let shown = problems(&text);
        assert_eq!(shown.len(), 1, "{shown:?}");
        assert!(shown[0].contains("variables are not put in here"), "{shown:?}");
    }
}

#[test]
fn an_expanded_string_at_the_limit_and_one_past_it() {
    let files = |path: &str| verifier(&format!("certificates = [{{ files = [\"{path}\"] }}]"));
    good(&files("${LONG}"));
    assert!(problems(&files("${LONG}/"))[0].ends_with("longer than the limit of 4096 bytes"));
}

#[test]
fn a_text_at_the_limit_is_read_and_one_past_it_is_refused() {
    let mut text = executor("");
    let filler = usize::try_from(limits::CONFIG_BYTES).unwrap() - text.len();
    text.push_str(&"#".repeat(filler));
    good(&text);
    text.push('#');
    assert_eq!(problems(&text), ["1:1: larger than the limit of 1048576 bytes"]);
}

#[test]
fn the_bytes_of_a_configuration_depend_on_its_meaning_alone() {
    let bytes = |text: &str| serde_json::to_string(&good(text)).unwrap();
    let first = bytes(&executor(""));
    assert_eq!(bytes(&format!("# moved\n\n{}", executor("mode = \"enforce\"\nconcurrency = 8"))), first);
    for other in
        ["mode = \"audit\"", "concurrency = 7", "stores = [{ type = \"registry-store\", parameters.plainHttp = true }]"]
    {
        assert_ne!(bytes(&executor(other)), first, "{other}");
    }
    assert_ne!(bytes(&executor("").replace("/t/ca.pem", "/t/cb.pem")), first);
    assert_ne!(bytes(&format!("unmatched = \"allow\"\n{}", executor(""))), first);
}

#[test]
fn syntax_errors_come_with_their_places_and_without_what_is_written_there() {
    let shown = problems("a = hunter2\nb = 1\nb = 2\n[[executors]\n");
    assert!(shown.len() >= 3, "{shown:?}");
    assert!(
        shown[0].starts_with("1:5: ") && shown.iter().any(|line| line == "3:1: key \"b\" is given twice"),
        "{shown:?}"
    );
    assert!(!shown.join("\n").contains("hunter2"), "{shown:?}");
}

#[test]
fn strange_keys_are_shown_on_one_line() {
    let shown = problems(&format!("\"a\\nb.c\" = 1\n\"\" = 1\n{}", executor("")));
    assert!(shown[0].starts_with("1:1: \"a\\nb.c\": unknown key (known here: access, cache, executors, "), "{shown:?}");
    assert!(shown[1].starts_with("2:1: \"\": unknown key"), "{shown:?}");
    assert_eq!(shown.len(), 2);
    let shown = problems(&format!("{} = 1\n{}", "k".repeat(10_000), executor("")));
    assert!(shown[0].len() < 300, "{shown:?}");
}

/// Pieces of configurations: well formed, half formed, and wrong.
fn piece() -> impl Strategy<Value = String> {
    let words = "[[executors]]|[executors.verifiers]|[[executors.verifiers]]|[executors.policyEnforcer]|scopes = |\
                 verifiers = |mode = |\"allow\"|name = |type = |\"notation\"|parameters.certificates = |files = |rules = |\
                 threshold = |verifierName = |stores = |[|]|{|}|,|\n|1|-1|\"${DIR}\"|\"${\"|'''|\"\"\"|\"|#|=|.|true|0x|1.5|\
                 1979-05-27|\u{e9}|\u{feff}|\r\n|\\u|inf|a|[[a]]|[a]|[a.b]|a.b = |remember.allow = ";
    let words: Vec<String> = words.split('|').map(str::to_owned).collect();
    prop_oneof![9 => proptest::sample::select(words), 1 => ".{0,8}".prop_map(|text: String| text)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_text_stops_the_parser_and_no_refusal_is_without_a_problem(
        pieces in proptest::collection::vec(piece(), 0..40),
    ) {
        let text = pieces.concat();
        if let Err(problems) = read(&text) {
            let shown = problems.to_string();
            prop_assert!(!problems.is_empty());
            for line in shown.lines() {
                prop_assert!(line.starts_with("c.toml:"), "{shown}");
            }
        }
    }

    #[test]
    fn a_configuration_with_a_slip_in_it_never_stops_the_parser(at in 0_usize..2000, piece in piece()) {
        let mut text = include_str!("../../packaging/config.toml").to_owned();
        let at = (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.insert_str(at, &piece);
        if let Err(problems) = read(&text) {
            prop_assert!(!problems.is_empty());
        }
    }
}
