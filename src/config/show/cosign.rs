//! Writes the parameters of a Cosign verifier, in Ratify v2's words.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use super::{unexpanded, vault};
use crate::config::{
    CertificateIdentity, Cosign, CosignKeys, CosignPolicy, CosignSigners, DockerReference, FirstRoot, IdentityMatch,
    KeyMaterial, NamedRoot, Rewrite, RootSource, Spanned, TufMirror, TufSource,
};

/// The parameters.
pub(super) fn table(cosign: &Cosign) -> CosignTable<'_> {
    CosignTable {
        docker_reference: match cosign.docker_reference {
            DockerReference::Exact => "exact",
            DockerReference::Repository => "repository",
            DockerReference::Ignore => "ignore",
        },
        max_signatures: cosign.max_signatures,
        predicate_types: &cosign.predicate_types,
        trusted_roots: cosign.trusted_roots.iter().map(root).collect(),
        remap: cosign.remap.iter().map(rewrite).collect(),
        signature_repository: cosign.signature_repository.iter().map(rewrite).collect(),
        trust_policies: cosign.policies.iter().map(policy).collect(),
    }
}

fn root(root: &NamedRoot) -> RootTable<'_> {
    let (file, tuf) = match &root.source {
        RootSource::File(path) => (Some(unexpanded(&path.value.to_string_lossy())), None),
        RootSource::Tuf(tuf) => (None, Some(repository(&tuf.value))),
    };
    RootTable { name: &root.name.value, file, tuf }
}

fn repository(tuf: &TufSource) -> TufTable<'_> {
    let (instance, root) = match &tuf.first {
        FirstRoot::Of(instance) => (Some(instance.as_str()), None),
        FirstRoot::File(path) => (None, Some(unexpanded(&path.value.to_string_lossy()))),
    };
    let mirror = tuf.mirror.as_ref().map(|mirror| match mirror {
        TufMirror::Url(url) => unexpanded(url),
        TufMirror::Folder(path) => unexpanded(&path.to_string_lossy()),
    });
    TufTable {
        instance,
        root,
        mirror,
        target: &tuf.target,
        refresh_interval: humantime::format_duration(tuf.refresh).to_string(),
        max_trust_age: humantime::format_duration(tuf.max_age).to_string(),
    }
}

fn rewrite(rewrite: &Rewrite) -> RewriteTable<'_> {
    RewriteTable { from: &rewrite.from.value, to: &rewrite.to.value }
}

fn policy(policy: &CosignPolicy) -> PolicyTable<'_> {
    let is_keyed = matches!(policy.signers, CosignSigners::Keys(_));
    let (keys, chain, identities) = match &policy.signers {
        CosignSigners::Keys(keys) => (keys.iter().map(key).collect(), None, Vec::new()),
        CosignSigners::Keyless(identities) => (Vec::new(), None, identities.iter().map(identity).collect()),
        CosignSigners::Chain { roots, intermediates, identities } => {
            let chain = ChainTable { roots: paths(roots), intermediates: paths(intermediates) };
            (Vec::new(), Some(chain), identities.iter().map(identity).collect())
        }
    };
    PolicyTable {
        name: policy.name.as_ref().map(|name| name.value.as_str()),
        scopes: policy.scopes.iter().map(|scope| scope.value.as_str()).collect(),
        ignore_tlog: !policy.log,
        ignore_ct_log: (!is_keyed).then_some(!policy.sct),
        ignore_observer_timestamps: is_keyed.then_some(!policy.timestamp),
        trusted_roots: policy
            .trusted_roots
            .as_ref()
            .map(|names| names.iter().map(|name| name.value.as_str()).collect()),
        annotations: &policy.annotations,
        keys,
        certificate_chain: chain,
        identities,
    }
}

fn paths(files: &[Spanned<PathBuf>]) -> Vec<String> {
    files.iter().map(|file| unexpanded(&file.value.to_string_lossy())).collect()
}

fn path_of(material: &KeyMaterial) -> Option<String> {
    match material {
        KeyMaterial::Path(path) => Some(unexpanded(&path.value.to_string_lossy())),
        KeyMaterial::Inline(_) | KeyMaterial::Vault(_) => None,
    }
}

fn key(key: &CosignKeys) -> KeyTable<'_> {
    let (inline, azurekeyvault) = match &key.material {
        KeyMaterial::Path(_) => (None, None),
        KeyMaterial::Inline(pem) => (Some(pem.value.as_str()), None),
        KeyMaterial::Vault(vault) => (None, Some(vault::table(&vault.value))),
    };
    KeyTable { name: key.name.as_deref(), file: path_of(&key.material), inline, azurekeyvault }
}

fn identity(identity: &CertificateIdentity) -> IdentityTable<'_> {
    let mut table = IdentityTable::default();
    match &identity.subject {
        IdentityMatch::Exact(text) => table.certificate_identity = Some(&text.value),
        IdentityMatch::Pattern(text) => table.certificate_identity_regex = Some(&text.value),
        IdentityMatch::Distinguished(text) => table.certificate_subject = Some(&text.value),
    }
    match &identity.issuer {
        Some(IdentityMatch::Exact(text)) => table.certificate_oidc_issuer = Some(&text.value),
        Some(IdentityMatch::Pattern(text)) => table.certificate_oidc_issuer_regex = Some(&text.value),
        Some(IdentityMatch::Distinguished(_)) | None => {}
    }
    table.certificate_extensions =
        identity.extensions.iter().map(|(name, text)| (name.as_str(), text.value.as_str())).collect();
    table
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CosignTable<'a> {
    docker_reference: &'static str,
    max_signatures: usize,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    predicate_types: &'a [String],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    trusted_roots: Vec<RootTable<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    remap: Vec<RewriteTable<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    signature_repository: Vec<RewriteTable<'a>>,
    trust_policies: Vec<PolicyTable<'a>>,
}

#[derive(Serialize)]
struct RootTable<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tuf: Option<TufTable<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TufTable<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    root: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mirror: Option<String>,
    target: &'a str,
    refresh_interval: String,
    max_trust_age: String,
}

#[derive(Serialize)]
struct RewriteTable<'a> {
    from: &'a str,
    to: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PolicyTable<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    scopes: Vec<&'a str>,
    #[serde(rename = "ignoreTLog")]
    ignore_tlog: bool,
    #[serde(rename = "ignoreCTLog", skip_serializing_if = "Option::is_none")]
    ignore_ct_log: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ignore_observer_timestamps: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trusted_roots: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    keys: Vec<KeyTable<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate_chain: Option<ChainTable>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    identities: Vec<IdentityTable<'a>>,
}

#[derive(Serialize)]
struct ChainTable {
    roots: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    intermediates: Vec<String>,
}

#[derive(Serialize)]
struct KeyTable<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inline: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    azurekeyvault: Option<vault::VaultTable<'a>>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct IdentityTable<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate_identity: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate_identity_regex: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate_subject: Option<&'a str>,
    #[serde(rename = "certificateOIDCIssuer", skip_serializing_if = "Option::is_none")]
    certificate_oidc_issuer: Option<&'a str>,
    #[serde(rename = "certificateOIDCIssuerRegex", skip_serializing_if = "Option::is_none")]
    certificate_oidc_issuer_regex: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    certificate_extensions: BTreeMap<&'a str, &'a str>,
}
