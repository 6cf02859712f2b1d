//! Key vaults, as written and as refused.

use std::time::Duration;

use super::*;
use crate::config::{AzureVault, VaultItem};

fn vault(keys: &str) -> String {
    verifier(&format!("certificates = [{{ azurekeyvault = {{ {keys} }} }}]"))
}

fn read_vault(keys: &str) -> AzureVault {
    let config = good(&vault(keys));
    let Mode::Enforce(checks) = &config.executors[0].mode else { panic!("{config:?}") };
    let VerifierKind::Notation(notation) = &checks.verifiers[0].kind else { panic!("no notation verifier") };
    match &notation.stores[0].material[0] {
        KeyMaterial::Vault(vault) => vault.value.clone(),
        other => panic!("{other:?}"),
    }
}

fn item(name: &str, version: Option<&str>, versions: usize) -> VaultItem {
    VaultItem { name: name.to_owned(), version: version.map(str::to_owned), versions }
}

#[test]
fn a_vault_is_taken_by_ratifys_keys_of_both_versions() {
    let found = read_vault("vaultURL = \"https://acme.vault.azure.net/\", certificates = [{ name = \"root\" }]");
    assert_eq!(found.url, "https://acme.vault.azure.net");
    assert_eq!((found.client_id, found.tenant_id), (None, None));
    assert_eq!(found.certificates, [item("root", None, 1)]);
    assert_eq!((found.refresh, found.max_age), (Duration::from_secs(600), Duration::from_secs(86_400)));
    let found = read_vault(
        "vaultURI = \"https://acme.vault.usgovcloudapi.net\", tenantID = \"t-1\", clientID = \"\", refreshInterval = \"1m\", \
         maxTrustAge = \"1m\", certificates = [{ name = \"a\", version = \"\", versions = 3 }, { name = \"b\", version = \"0a1\" }]",
    );
    assert_eq!((found.client_id, found.tenant_id.as_deref()), (None, Some("t-1")));
    assert_eq!(found.certificates, [item("a", None, 3), item("b", Some("0a1"), 1)]);
    assert_eq!((found.refresh, found.max_age), (Duration::from_secs(60), Duration::from_secs(60)));
}

#[test]
fn what_is_no_vault_is_refused_by_its_key() {
    let url = "vaultURL = \"https://acme.vault.azure.net\"";
    let root = "certificates = [{ name = \"root\" }]";
    for (keys, expected) in [
        (root.to_owned(), "vaultURL: required key is missing"),
        (url.to_owned(), "certificates: required key is missing"),
        (format!("{url}, vaultURI = \"https://acme.vault.azure.net\", {root}"), "vaultURL is given too"),
        (format!("{url}, certificates = []"), "must not be empty"),
        (format!("{url}, {root}, keys = [{{ name = \"k\" }}]"), "keys have no use here"),
        (format!("{url}, certificates = [{{ name = \"a/b\" }}]"), "\"a/b\" is no name that a key vault has"),
        (format!("{url}, certificates = [{{ name = \"a\", version = \"../b\" }}]"), "is no name that a key vault has"),
        (format!("{url}, certificates = [{{ name = \"a\", version = \"1\", versions = 2 }}]"), "a version is given"),
        (format!("{url}, certificates = [{{ name = \"a\", versions = 0 }}]"), "versions"),
        (format!("{url}, certificates = [{{ name = \"a\", versions = 33 }}]"), "versions"),
        (format!("{url}, {root}, refreshInterval = \"59s\""), "less than 1m"),
        (format!("{url}, {root}, maxTrustAge = \"31days\""), "is above the limit of 30days"),
        (
            format!("{url}, {root}, refreshInterval = \"61m\", maxTrustAge = \"1h\""),
            "refreshInterval: longer than maxTrustAge, 1h",
        ),
        (format!("{url}, {root}, refreshInterval = \"30days\""), "refreshInterval: longer than maxTrustAge, 1day"),
        (format!("{url}, {root}, maxTrustAge = \"9m\""), "maxTrustAge: shorter than refreshInterval, 10m"),
        (format!("{url}, {root}, tenantID = \"a/b\""), "\"a/b\" is not an id"),
    ] {
        let found = problems(&vault(&keys));
        assert!(found.iter().any(|problem| problem.contains(expected)), "{expected}: {found:?}");
    }
    for host in [
        "http://acme.vault.azure.net",
        "https://acme.vault.azure.net.example",
        "https://vault.azure.net",
        "https://a.b.vault.azure.net",
        "https://acme.vault.azure.net:443",
        "https://acme.vault.azure.net/keys",
        "https://user@acme.vault.azure.net",
        "acme.vault.azure.net",
    ] {
        let found = problems(&vault(&format!("vaultURL = \"{host}\", {root}")));
        assert!(found.iter().any(|problem| problem.contains("is not a key vault's URL")), "{host}: {found:?}");
    }
}

#[test]
fn as_many_certificates_as_may_be_named_are_and_one_more_is_not() {
    let named = |count: usize| {
        let items: Vec<String> = (0..count).map(|number| format!("{{ name = \"c{number}\" }}")).collect();
        vault(&format!("vaultURL = \"https://acme.vault.azure.net\", certificates = [{}]", items.join(", ")))
    };
    good(&named(limits::VAULT_ITEMS));
    assert!(problems(&named(limits::VAULT_ITEMS + 1))[0].contains("more than 32 entries"));
}
