//! Cosign verifiers, as written and as refused.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;
use crate::config::{Cosign, FirstRoot, RootSource, TufInstance, TufMirror, TufSource};

fn written(parameters: &str) -> String {
    format!(
        "[[executors]]\nscopes = [\"a.io\"]\n[[executors.verifiers]]\nname = \"v\"\ntype = \"cosign\"\n\
         [executors.verifiers.parameters]\n{parameters}\n"
    )
}

fn policy(keys: &str) -> String {
    written(&format!("trustPolicies = [{{ {keys} }}]"))
}

fn taken(text: &str) -> Cosign {
    let config = good(text);
    match &checks(&config.executors[0]).verifiers[0].kind {
        VerifierKind::Cosign(cosign) => cosign.clone(),
        other => panic!("{other:?}"),
    }
}

const ROOTS: &str = "trustedRoots = [{ name = \"public\", file = \"/r.json\" }]\n";

fn rooted(keys: &str) -> String {
    written(&format!("{ROOTS}trustPolicies = [{{ {keys} }}]"))
}

/// What is asked for beside a signature: log, certificate log, timestamp.
fn asks(text: &str) -> [bool; 3] {
    let policy = taken(text).policies.remove(0);
    [policy.log, policy.sct, policy.timestamp]
}

/// The sources of a policy's keys, with their names.
fn keys(text: &str) -> Vec<String> {
    let CosignSigners::Keys(keys) = taken(text).policies.remove(0).signers else { panic!("no keys in {text}") };
    let source = |key: &crate::config::CosignKeys| {
        let of = key.name.as_ref().map_or_else(String::new, |name| format!("{name}: "));
        match &key.material {
            KeyMaterial::Path(path) => format!("{of}{}", path.value.display()),
            KeyMaterial::Inline(pem) => format!("{of}inline {}", pem.value),
            KeyMaterial::Vault(vault) => {
                let names: Vec<_> = vault.value.keys.iter().map(|key| key.name.as_str()).collect();
                format!("{of}vault {}", names.join(","))
            }
        }
    };
    keys.iter().map(source).collect()
}

const VAULT: &str = "{ vaultURL = \"https://acme.vault.azure.net\", keys = [{ name = \"x\" }] }";

#[test]
fn keys_are_taken_in_ratifys_forms_of_both_versions() {
    let v2 = |keys: &str| policy(&format!("ignoreTLog = true, keys = {keys}"));
    assert_eq!(keys(&v2("{ files = [\"/a.pub\", \"/b.pub\"] }")), ["/a.pub", "/b.pub"]);
    assert_eq!(keys(&v2("{ inline = { keys = \"PEM\" } }")), ["inline PEM"]);
    assert_eq!(keys(&v2("{ inline = \"PEM\", name = \"release\" }")), ["release: inline PEM"]);
    assert_eq!(keys(&v2(&format!("{{ azurekeyvault = {VAULT} }}"))), ["vault x"]);
    let listed = "[{ file = \"/a.pub\" }, { name = \"bob\", file = \"/b.pub\" }]";
    assert_eq!(keys(&policy(&format!("tLogVerify = false, keys = {listed}"))), ["/a.pub", "bob: /b.pub"]);
    assert_eq!(keys(&written("key = \"/cosign.pub\"")), ["/cosign.pub"]);
    let providers = "[[keyManagementProviders]]\nname = \"ns/k\"\ntype = \"inline\"\n\
         parameters = { contentType = \"key\", value = \"PEM\" }\n\
         [[keyManagementProviders]]\nname = \"v\"\ntype = \"azurekeyvault\"\n\
         parameters = { vaultURI = \"https://acme.vault.azure.net\", certificates = [{ name = \"c\" }], keys = [{ name = \
         \"x\", version = \"1\" }, { name = \"y\" }] }\n";
    let provided = |keys: &str| format!("{providers}{}", policy(&format!("tLogVerify = false, keys = [{keys}]")));
    assert_eq!(keys(&provided("{ provider = \"ns/k\" }, { provider = \"v\" }")), ["inline PEM", "vault x,y"]);
    assert_eq!(keys(&provided("{ provider = \"v\", name = \"x\", version = \"1\" }")), ["vault x"]);
    for (key, cause) in [
        ("{ provider = \"v\", name = \"x\" }", "the provider has no key \"x\" of that version"),
        ("{ provider = \"v\", version = \"1\" }", "a version needs the key's name too"),
        ("{ provider = \"ns/k\", name = \"x\" }", "the keys of an inline provider have no names"),
        ("{ provider = \"w\" }", "no key management provider is named \"w\""),
    ] {
        let found = problems(&provided(key));
        assert!(found.len() == 1 && found[0].contains(cause), "{key}: {found:?}");
    }
}

#[test]
fn with_keys_and_no_log_nothing_else_is_asked_for() {
    let keys = "keys = { files = [\"/a\"] }";
    assert_eq!(asks(&policy(&format!("{keys}, ignoreTLog = true"))), [false, false, false]);
    assert_eq!(asks(&written("key = \"/a\"")), [false, false, false]);
    assert_eq!(asks(&rooted(keys)), [true, false, true]);
    assert_eq!(asks(&rooted(&format!("{keys}, tLogVerify = true"))), [true, false, false]);
    assert_eq!(asks(&rooted(&format!("{keys}, ignoreObserverTimestamps = true"))), [true, false, false]);
    let both = format!("{keys}, ignoreTLog = true, ignoreObserverTimestamps = false");
    assert_eq!(asks(&rooted(&both)), [false, false, true]);
    for text in [policy(keys), policy(&both), policy(&format!("{keys}, tLogVerify = true"))] {
        let found = problems(&text);
        let cause = "a log or a timestamp authority must vouch for the signature, but no trusted root says which (set \
                     ignoreTLog = true where the key";
        assert!(found.len() == 1 && found[0].contains(cause), "{found:?}");
    }
}

#[test]
fn of_a_certificate_logs_and_a_time_are_asked_for_unless_they_are_left_out_by_name() {
    let identity = "certificateIdentity = \"a@b.io\", certificateOIDCIssuer = \"https://issuer.io\"";
    assert_eq!(asks(&policy(identity)), [true, true, true]);
    assert_eq!(asks(&policy(&format!("{identity}, ignoreTLog = true, ignoreCTLog = true"))), [false, false, true]);
    // Ratify v2 hears it of keys alone.
    assert_eq!(asks(&policy(&format!("{identity}, ignoreObserverTimestamps = true"))), [true, true, true]);
    let keyless =
        "keyless = { ctLogVerify = false, certificateIdentityRegExp = \"a.*\", certificateOIDCIssuer = \"i\" }";
    assert_eq!(asks(&policy(keyless)), [true, false, true]);
    let chain = "certificateChain = { roots = [\"/r\"] }, certificateIdentity = \"a@b.io\"";
    assert_eq!(asks(&policy(&format!("{chain}, ignoreTLog = true"))), [false, false, false]);
    assert_eq!(asks(&rooted(chain)), [true, false, false]);
}

#[test]
fn what_names_nobody_or_everybody_is_refused_with_its_mend() {
    let identity = "certificateIdentity = \"a@b.io\"";
    let issuer = "certificateOIDCIssuer = \"https://issuer.io\"";
    let keys = "keys = { files = [\"/a\"] }";
    for (text, cause) in [
        (policy(""), "the trust policy trusts nobody (add keys, or certificateIdentity"),
        (
            policy(identity),
            "an identity without its issuer is anybody's who calls himself so (add certificateOIDCIssuer",
        ),
        (policy(issuer), "an issuer without an identity is everybody whom it knows (add certificateIdentity"),
        (
            policy(&format!("{identity}, {issuer}, certificateIdentityRegex = \"a\"")),
            "certificateIdentity is given too",
        ),
        (
            policy(&format!("{identity}, {issuer}, certificateOIDCIssuerRegex = \"a\"")),
            "certificateOIDCIssuer is given too",
        ),
        (policy(&format!("{identity}, {issuer}, {keys}, ignoreTLog = true")), "both keys and an identity are named"),
        (policy("keyless = {}"), "names nobody"),
        (policy(&format!("keyless = {{ {identity} }}")), "an identity without its issuer"),
        (policy("certificateExtensions = { repository = \"a\" }"), "certificateExtensions alone name nobody"),
        (policy(&format!("certificateSubject = \"CN=x\", {issuer}")), "have no subject that names the signer"),
        (policy("certificateChain = { roots = [\"/r\"] }, ignoreTLog = true"), "trusts nobody"),
        (
            policy(&format!("certificateChain = {{ roots = [\"/r\"] }}, ignoreTLog = true, {identity}, {issuer}")),
            "name no OIDC issuer",
        ),
        (
            policy(&format!("certificateChain = {{ roots = [\"/r\"] }}, {keys}, ignoreTLog = true")),
            "keys have no certificates",
        ),
        (policy(&format!("identities = [{{ {identity}, {issuer} }}], {identity}, {issuer}")), "in two ways: keep one"),
        (
            policy(&format!("{keys}, ignoreTLog = true, rekorURL = \"https://rekor.io\"")),
            "no log is asked over the network: leave it out",
        ),
        (written("key = \"/a\"\nrekorURL = \"https://rekor.io\""), "no log is asked over the network"),
        (written(&format!("key = \"/a\"\ntrustPolicies = [{{ {keys}, ignoreTLog = true }}]")), "key is given too"),
        (policy(&format!("{keys}, ignoreTLog = true, tLogVerify = false")), "tLogVerify is given too"),
        (policy(&format!("{keys}, ignoreTLog = true, version = \"2.0.0\"")), "unknown value \"2.0.0\""),
        (
            policy(&format!("{identity}, {issuer}, trustedRoots = [\"x\"]")),
            "no trusted root is named \"x\" (trustedRoots of the verifier defines none)",
        ),
        (
            written("predicateTypes = [\"https://sigstore.dev/cosign/sign/v1\"]\nkey = \"/a\""),
            "this is the predicate of signatures",
        ),
        (
            policy("ignoreTLog = true, keys = { inline = \"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\" }"),
            "a private key has no place here",
        ),
        (
            policy(
                "ignoreTLog = true, keys = { azurekeyvault = { vaultURL = \"https://acme.vault.azure.net\", certificates = [{ name = \"x\" }] } }",
            ),
            "certificates have no use here",
        ),
    ] {
        let found = problems(&text);
        assert!(found.iter().any(|line| line.contains(cause)), "{cause}: {found:?}\n{text}");
    }
}

#[test]
fn trust_policies_must_differ_in_name() {
    let two = |first: &str, second: &str| {
        let keys = "keys = { files = [\"/a\"] }, ignoreTLog = true";
        written(&format!("trustPolicies = [{{ {first}{keys} }}, {{ {second}{keys} }}]"))
    };
    good(&two("scopes = [\"a.io\"], ", "scopes = [\"a.io/b\"], "));
    good(&two("name = \"x\", scopes = [\"a.io\"], ", ""));
    let found = problems(&two("name = \"x\", ", "name = \"x\", scopes = [\"a.io\"], "));
    assert!(found.len() == 1 && found[0].contains("is taken by"), "{found:?}");
}

#[test]
fn how_many_signatures_are_judged_at_the_limit_and_one_past_it() {
    let most = |most: usize| written(&format!("maxSignatures = {most}\nkey = \"/a\""));
    assert_eq!(taken(&most(limits::SIGNATURES_MAX)).max_signatures, limits::SIGNATURES_MAX);
    for wrong in [0, limits::SIGNATURES_MAX + 1] {
        assert!(problems(&most(wrong))[0].contains("is out of range (1 to 1000)"));
    }
    assert_eq!(taken(&written("key = \"/a\"")).max_signatures, limits::SIGNATURES);
}

#[test]
fn whether_tags_are_looked_at_is_said_in_either_version_s_word() {
    let tags = |keys: &str| {
        let store = format!("[[executors.stores]]\ntype = \"registry-store\"\nparameters = {{ {keys} }}\n");
        let config = good(&format!("{}{store}", written("key = \"/a\"")));
        match &config.executors[0].store {
            Store::Registry(store) => store.cosign_tags,
            other => panic!("{other:?}"),
        }
    };
    assert!(tags(""));
    assert!(tags("allowCosignTag = true") && tags("cosignEnabled = true"));
    assert!(!tags("allowCosignTag = false") && !tags("cosignEnabled = false"));
}

/// The TUF repository that a trusted root comes from.
fn repository(tuf: &str) -> TufSource {
    let text = written(&format!("trustedRoots = [{{ name = \"r\", tuf = {tuf} }}]\ntrustPolicies = [{{ {KEYLESS} }}]"));
    match taken(&text).trusted_roots.remove(0).source {
        RootSource::Tuf(tuf) => tuf.value,
        RootSource::File(file) => panic!("{file:?}"),
    }
}

#[test]
fn a_trusted_root_comes_from_a_tuf_repository_that_is_known_or_said_to_be_trusted() {
    let known = repository("\"public-good\"");
    assert_eq!((known.first.clone(), known.mirror.clone()), (FirstRoot::Of(TufInstance::PublicGood), None));
    assert_eq!(known.target, "trusted_root.json");
    assert_eq!((known.refresh, known.max_age), TufSource::TIMES);
    assert_eq!(repository("{ instance = \"public-good\" }"), known);
    let mirrored = repository("{ instance = \"github\", mirror = \"https://tuf.acme.example/github\" }");
    assert_eq!(mirrored.first, FirstRoot::Of(TufInstance::GitHub));
    assert_eq!(mirrored.mirror, Some(TufMirror::Url("https://tuf.acme.example/github".to_owned())));
    let own = repository(
        "{ root = \"/root.json\", mirror = \"/srv/tuf\", target = \"keys/root.json\", refreshInterval = \"1m\", \
         maxTrustAge = \"1m\" }",
    );
    assert!(matches!(&own.first, FirstRoot::File(path) if path.value == Path::new("/root.json")), "{own:?}");
    assert_eq!(own.mirror, Some(TufMirror::Folder(PathBuf::from("/srv/tuf"))));
    assert_eq!(own.target, "keys/root.json");
    assert_eq!((own.refresh, own.max_age), (Duration::from_secs(60), Duration::from_secs(60)));
    for loopback in ["http://127.0.0.1:8080/tuf", "http://localhost/tuf", "http://[::1]/tuf"] {
        let found = repository(&format!("{{ root = \"/root.json\", mirror = {loopback:?} }}"));
        assert_eq!(found.mirror, Some(TufMirror::Url(loopback.to_owned())));
    }
}

#[test]
fn what_is_no_tuf_repository_is_refused_by_its_key() {
    let of =
        |tuf: &str| written(&format!("trustedRoots = [{{ name = \"r\", {tuf} }}]\ntrustPolicies = [{{ {KEYLESS} }}]"));
    let own = |more: &str| of(&format!("tuf = {{ root = \"/root.json\", mirror = \"/m\", {more} }}"));
    let mirror = |text: &str| of(&format!("tuf = {{ root = \"/root.json\", mirror = {text:?} }}"));
    let mut wrong = Vec::new();
    for (text, cause) in [
        (of("tuf = \"staging\""), "tuf: unknown value \"staging\""),
        (of("tuf = {}"), "it is not said in what trust begins (root = "),
        (of("tuf = { mirror = \"/m\" }"), "it is not said in what trust begins"),
        (of("tuf = { root = \"/root.json\" }"), "mirror: required key is missing"),
        (of("tuf = { instance = \"github\", root = \"/r\", mirror = \"/m\" }"), "root: instance is given too"),
        (of("tuf = { instance = \"staging\" }"), "instance: unknown value \"staging\""),
        (of("tuf = { root = \"root.json\", mirror = \"/m\" }"), "root: \"root.json\" is not an absolute path"),
        (of("tuf = \"github\", file = \"/r.json\""), "tuf: file is given too"),
        (mirror("http://tuf.acme.example"), "is not a mirror (https://HOST/PATH, http to loopback, or"),
        (mirror("ftp://tuf.acme.example"), "is not a mirror"),
        (mirror("srv/tuf"), "is not a mirror"),
        (mirror("https://a:b@tuf.acme.example"), "a mirror's URL has no user, password, query or fragment"),
        (mirror("https://tuf.acme.example/?a"), "a mirror's URL has no user, password, query or fragment"),
        (own("target = \"../root.json\""), "target: \"../root.json\" is not the path of a target"),
        (own("target = \"/root.json\""), "is not the path of a target"),
        (own("target = \"\""), "is not the path of a target"),
        (own("refreshInterval = \"59s\""), "less than 1m"),
        (own("maxTrustAge = \"31days\""), "is above the limit of 30days"),
        (own("refreshInterval = \"30days\", maxTrustAge = \"1h\""), "refreshInterval: longer than maxTrustAge, 1h"),
        (own("maxTrustAge = \"59m\""), "maxTrustAge: shorter than refreshInterval, 1h"),
        (own("extra = 1"), "extra"),
    ] {
        let found = problems(&text);
        if found.len() != 1 || !found[0].contains(cause) {
            wrong.push(format!("{cause}: {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const KEYLESS: &str = "certificateIdentity = \"a@b.io\", certificateOIDCIssuer = \"https://issuer.io\"";
