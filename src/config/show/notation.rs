//! Writes the parameters of a Notation verifier: its trust policy, and its trust stores by type and name.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::{unexpanded, vault};
use crate::config::{
    Action, Asks, KeyMaterial, Level, Named, Notation, RegistryScopes, Spanned, Statement, TrustPolicySource,
    TrustStore, VerifyTimestamp,
};

/// The parameters.
pub(super) fn table(notation: &Notation) -> NotationTable<'_> {
    let mut table = NotationTable { allow_skip: notation.allow_skip, ..NotationTable::default() };
    table.user_metadata = Some(&notation.user_metadata).filter(|metadata| !metadata.is_empty());
    for store in &notation.stores {
        match &store.name {
            Some(name) => {
                table.certificates.extend(store.material.iter().map(|material| source(store, name, material)))
            }
            None => table.verification_certs.extend(store.material.iter().filter_map(path_of)),
        }
    }
    match &notation.policy {
        TrustPolicySource::Folder(path) => table.notation_config = Some(shown(&path.value)),
        TrustPolicySource::File(path) => table.trust_policy_file = Some(shown(&path.value)),
        TrustPolicySource::Statements(statements) => {
            let trust_policies = statements.iter().map(statement).collect();
            table.trust_policy_doc = Some(DocumentTable { version: "1.0", trust_policies });
        }
        TrustPolicySource::Implied(implied) => {
            let StatementTable { registry_scopes, signature_verification, trusted_identities, .. } = statement(implied);
            table.scopes = Some(registry_scopes);
            table.trusted_identities = trusted_identities;
            table.signature_verification = Some(signature_verification);
        }
    }
    table
}

fn source<'a>(store: &TrustStore, name: &'a str, material: &'a KeyMaterial) -> CertificatesTable<'a> {
    let (inline, azurekeyvault) = match material {
        KeyMaterial::Path(_) => (None, None),
        KeyMaterial::Inline(pem) => (Some(pem.value.as_str()), None),
        KeyMaterial::Vault(vault) => (None, Some(vault::table(&vault.value))),
    };
    let (store_type, files) = (store.store_type.as_str(), path_of(material).map(|path| [path]));
    CertificatesTable { r#type: store_type, name, files, inline, azurekeyvault }
}

fn path_of(material: &KeyMaterial) -> Option<String> {
    match material {
        KeyMaterial::Path(path) => Some(shown(&path.value)),
        KeyMaterial::Inline(_) | KeyMaterial::Vault(_) => None,
    }
}

fn shown(path: &Path) -> String {
    unexpanded(&path.to_string_lossy())
}

fn statement(statement: &Statement) -> StatementTable<'_> {
    let registry_scopes = match &statement.scopes {
        RegistryScopes::Any => vec!["*".to_owned()],
        RegistryScopes::Repositories(repositories) => repositories.iter().map(ToString::to_string).collect(),
    };
    let table = StatementTable { name: &statement.name.value, registry_scopes, ..StatementTable::default() };
    match &statement.asks {
        Asks::Nothing => {
            let skip = VerificationTable { level: "skip", ..VerificationTable::default() };
            StatementTable { signature_verification: skip, ..table }
        }
        Asks::Signature { level, verify_timestamp, stores, identities } => StatementTable {
            signature_verification: verification(*level, *verify_timestamp),
            trust_stores: match stores {
                Named::All => None,
                Named::These(stores) => Some(stores.iter().map(|store| store.value.to_string()).collect()),
            },
            trusted_identities: Some(identities.iter().map(|Spanned { value, .. }| value.as_str()).collect()),
            ..table
        },
    }
}

/// A level by its name, or else as what it changes of `strict`.
fn verification(level: Level, verify_timestamp: VerifyTimestamp) -> VerificationTable {
    let named = [("strict", Level::STRICT), ("permissive", Level::PERMISSIVE), ("audit", Level::AUDIT)];
    let found = named.into_iter().find(|(_, known)| *known == level).map(|(name, _)| name);
    let verify_timestamp = match verify_timestamp {
        VerifyTimestamp::Always => "always",
        VerifyTimestamp::AfterCertExpiry => "afterCertExpiry",
    };
    let actions = [
        ("authenticity", level.authenticity),
        ("authenticTimestamp", level.authentic_timestamp),
        ("expiry", level.expiry),
        ("revocation", level.revocation),
    ];
    let overridden = actions.into_iter().filter(|(_, action)| *action != Action::Enforce);
    let overridden =
        overridden.map(|(validation, action)| (validation, if action == Action::Log { "log" } else { "skip" }));
    VerificationTable {
        level: found.unwrap_or("strict"),
        r#override: found.is_none().then(|| overridden.collect()),
        verify_timestamp: Some(verify_timestamp),
    }
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NotationTable<'a> {
    allow_skip: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    notation_config: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trust_policy_file: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    verification_certs: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scopes: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trusted_identities: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature_verification: Option<VerificationTable>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_metadata: Option<&'a BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    certificates: Vec<CertificatesTable<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trust_policy_doc: Option<DocumentTable<'a>>,
}

#[derive(Serialize)]
struct CertificatesTable<'a> {
    r#type: &'static str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<[String; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inline: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    azurekeyvault: Option<vault::VaultTable<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DocumentTable<'a> {
    version: &'static str,
    trust_policies: Vec<StatementTable<'a>>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct StatementTable<'a> {
    name: &'a str,
    registry_scopes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trust_stores: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trusted_identities: Option<Vec<&'a str>>,
    signature_verification: VerificationTable,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct VerificationTable {
    level: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    verify_timestamp: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#override: Option<BTreeMap<&'static str, &'static str>>,
}
