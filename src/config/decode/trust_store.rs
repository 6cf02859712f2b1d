//! Trust stores and where their certificates come from, as written in the file: Ratify v2's `certificates`, Ratify v1's
//! `verificationCerts` and `verificationCertStores` with the key management providers that these name. Public keys come
//! from the same places. Opens nothing.

use std::path::{Path, PathBuf};

use crate::config::decode::vault::{self, vault};
use crate::config::file::decoder::{Decoder, Item, Table, quote, suggest};
use crate::config::{AzureVault, KeyMaterial, Spanned, StoreType, TrustStore};
use crate::limits;

/// Key management providers by their names.
#[derive(Default)]
pub struct Providers(Vec<Provider>);

struct Provider {
    name: Spanned<String>,
    /// None: it has a problem.
    provided: Option<Provided>,
}

/// What a provider has.
enum Provided {
    /// One kind of things, in the configuration.
    Inline(Content, KeyMaterial),
    /// Entries of a key vault, which may be of both kinds.
    Vault(Spanned<AzureVault>),
}

/// What is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Certificates, as Notation does.
    Certificates,
    /// Public keys, as Cosign does.
    Keys,
}

impl Content {
    fn as_str(self) -> &'static str {
        match self {
            Self::Certificates => "certificates",
            Self::Keys => "keys",
        }
    }

    /// Why the other kind has no place.
    pub fn no_other(self) -> &'static str {
        match self {
            Self::Certificates => "keys have no use here: a notation verifier trusts certificates",
            Self::Keys => "certificates have no use here: name the keys that are trusted",
        }
    }
}

/// `certificates`: one trust store or a part of one in each item.
pub fn certificates(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<Vec<TrustStore>> {
    let items = decoder.filled_array(item)?;
    let stores: Vec<_> = items.iter().map(|item| trust_store(decoder, item)).collect();
    stores.into_iter().collect()
}

fn trust_store(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<TrustStore> {
    let mut table = decoder.table(item)?;
    let store_type = match table.optional("type") {
        Some(item) => decoder.choice(&item, &StoreType::ALL.map(|store_type| (store_type.as_str(), store_type))),
        None => Some(StoreType::Ca),
    };
    let name = match table.optional("name") {
        Some(item) => store_name(decoder, &item),
        None => Some(UNNAMED.to_owned()),
    };
    let material = material(decoder, &mut table, Content::Certificates);
    decoder.finish(table);
    Some(TrustStore { store_type: store_type?, name: Some(name?), material: material? })
}

/// The name by which a statement finds a trust store that has none of its own: the one that Ratify v2 gives it.
const UNNAMED: &str = "ratify";

fn store_name(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<String> {
    let name = decoder.literal(item)?.value;
    if !is_store_name(&name) {
        let message = format!("{} is not a trust store's name", quote(&name));
        decoder.problems.push_with_hint(&item.place(), message, STORE_NAME);
        return None;
    }
    Some(name)
}

/// Whether a trust store may have this name: notation makes a folder of it.
pub fn is_store_name(name: &str) -> bool {
    let of_name = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    !name.is_empty() && name.chars().all(of_name) && !matches!(name, "." | "..")
}

/// What [`is_store_name`] takes, in words.
pub const STORE_NAME: &str = "letters, digits, dots, underscores and hyphens";

/// `verificationCerts`: files and folders. Ratify v1 has them answer to every trust store that a document names. Here they
/// vouch for signers alone: what vouches for timestamps says so.
pub fn verification_certs(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<Vec<TrustStore>> {
    let material = files(decoder, item)?;
    Some(vec![TrustStore { store_type: StoreType::Ca, name: None, material }])
}

/// `verificationCertStores`: names of providers by type and name of the store. The older form has no types, and means
/// `ca`.
pub fn verification_cert_stores(
    decoder: &mut Decoder<'_>,
    item: &Item<'_>,
    providers: &Providers,
) -> Option<Vec<TrustStore>> {
    let entries = decoder.entries(item)?;
    if entries.is_empty() {
        decoder.problems.push(&item.place(), "must not be empty");
        return None;
    }
    if entries.iter().all(|(_, item)| item.is_array()) {
        return named_stores(decoder, item, StoreType::Ca, providers);
    }
    let mut table = decoder.table(item)?;
    let mut stores = Vec::new();
    let mut is_whole = true;
    for store_type in StoreType::ALL {
        let Some(item) = table.optional(store_type.as_str()) else { continue };
        match named_stores(decoder, &item, store_type, providers) {
            Some(found) => stores.extend(found),
            None => is_whole = false,
        }
    }
    decoder.finish(table);
    is_whole.then_some(stores)
}

fn named_stores(
    decoder: &mut Decoder<'_>,
    item: &Item<'_>,
    store_type: StoreType,
    providers: &Providers,
) -> Option<Vec<TrustStore>> {
    let entries = decoder.entries(item)?;
    let stores: Vec<_> = entries
        .iter()
        .map(|(name, item)| {
            let is_name = is_store_name(&name.value);
            if !is_name {
                let message = format!("{} is not a trust store's name", quote(&name.value));
                decoder.problems.push_with_hint(&name.place, message, STORE_NAME);
            }
            let items = decoder.filled_array(item)?;
            let material: Vec<_> =
                items.iter().map(|item| providers.find(decoder, item, Content::Certificates)).collect();
            let material = material.into_iter().collect::<Option<Vec<_>>>()?;
            is_name.then(|| TrustStore { store_type, name: Some(name.value.clone()), material })
        })
        .collect();
    stores.into_iter().collect()
}

/// `keyManagementProviders`: Ratify v1's resources of that kind.
pub fn providers(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Providers {
    let mut providers = Providers::default();
    for item in decoder.array(item).unwrap_or_default() {
        providers.add(decoder, &item);
    }
    providers
}

impl Providers {
    fn add(&mut self, decoder: &mut Decoder<'_>, item: &Item<'_>) {
        let Some(mut table) = decoder.table(item) else { return };
        let name = match decoder.required(&mut table, "name") {
            Some(item) => self.name(decoder, &item),
            None => None,
        };
        let provider_type = match decoder.required(&mut table, "type") {
            Some(item) => {
                decoder.choice(&item, &[("inline", ProviderType::Inline), ("azurekeyvault", ProviderType::Vault)])
            }
            None => None,
        };
        let provided = match provider_type {
            Some(provider_type) => decoder.required(&mut table, "parameters").and_then(|item| match provider_type {
                ProviderType::Inline => inline_parameters(decoder, &item),
                ProviderType::Vault => vault(decoder, &item, vault::Entries::Any)
                    .map(|value| Provided::Vault(Spanned { value, place: item.place() })),
            }),
            None => {
                // The parameters of a type that is not known cannot be judged.
                table.optional("parameters");
                None
            }
        };
        decoder.finish(table);
        self.0.extend(name.map(|name| Provider { name, provided }));
    }

    fn name(&self, decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<Spanned<String>> {
        let name = decoder.literal(item)?;
        let of_name = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
        if name.value.is_empty() || name.value.len() > limits::PROVIDER_NAME_BYTES || !name.value.chars().all(of_name) {
            let hint =
                format!("1 to {} {STORE_NAME}, with a namespace and a slash before them", limits::PROVIDER_NAME_BYTES);
            let message = format!("{} is not a key management provider's name", quote(&name.value));
            decoder.problems.push_with_hint(&name.place, message, hint);
            return None;
        }
        if let Some(first) = self.0.iter().find(|first| first.name.value == name.value) {
            let Spanned { place: first, .. } = &first.name;
            let message = format!("name {:?} is taken by {} in line {}", name.value, first.path, first.line);
            decoder.problems.push(&name.place, message);
            return None;
        }
        Some(name)
    }

    /// What the provider that an item names has of this kind.
    pub fn find(&self, decoder: &mut Decoder<'_>, item: &Item<'_>, content: Content) -> Option<KeyMaterial> {
        let name = decoder.literal(item)?;
        let Some(provider) = self.0.iter().find(|provider| provider.name.value == name.value) else {
            let known: Vec<&str> = self.0.iter().map(|provider| provider.name.value.as_str()).collect();
            let hint = if known.is_empty() {
                "keyManagementProviders defines none".to_owned()
            } else {
                suggest(&name.value, &known, "known")
            };
            let message = format!("no key management provider is named {}", quote(&name.value));
            decoder.problems.push_with_hint(&name.place, message, hint);
            return None;
        };
        let found = match provider.provided.as_ref()? {
            Provided::Inline(found, material) => (*found == content).then(|| material.clone()),
            Provided::Vault(vault) => {
                let Spanned { mut value, place } = vault.clone();
                let (wanted, other) = match content {
                    Content::Certificates => (&value.certificates, &mut value.keys),
                    Content::Keys => (&value.keys, &mut value.certificates),
                };
                let is_there = !wanted.is_empty();
                other.clear();
                is_there.then_some(KeyMaterial::Vault(Spanned { value, place }))
            }
        };
        if found.is_none() {
            let message = format!("key management provider {} has no {}", quote(&name.value), content.as_str());
            decoder.problems.push(&name.place, message);
        }
        found
    }
}

#[derive(Clone, Copy)]
enum ProviderType {
    Inline,
    Vault,
}

/// Certificates or a key in Ratify v1's words.
fn inline_parameters(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<Provided> {
    let mut table = decoder.table(item)?;
    let content = match decoder.required(&mut table, "contentType") {
        Some(item) => decoder.choice(&item, &[("certificate", Content::Certificates), ("key", Content::Keys)]),
        None => None,
    };
    let value = decoder.required(&mut table, "value").and_then(|item| pem(decoder, &item));
    decoder.finish(table);
    Some(Provided::Inline(content?, value?))
}

/// Ratify v2's sources of certificates or of keys: at least one.
pub fn material(decoder: &mut Decoder<'_>, table: &mut Table<'_>, content: Content) -> Option<Vec<KeyMaterial>> {
    let vault_item = table.optional("azurekeyvault");
    let (files_item, inline_item) = (table.optional("files"), table.optional("inline"));
    if files_item.is_none() && inline_item.is_none() && vault_item.is_none() {
        let message = format!("names no {}", content.as_str());
        decoder.problems.push_with_hint(table.place(), message, "add files, inline or azurekeyvault");
        return None;
    }
    let vault = vault_item
        .map_or_else(|| Some(Vec::new()), |item| vault_material(decoder, &item, content).map(|vault| vec![vault]));
    let files = files_item.map_or_else(|| Some(Vec::new()), |item| files(decoder, &item));
    let inline =
        inline_item.map_or_else(|| Some(Vec::new()), |item| inline(decoder, &item, content).map(|inline| vec![inline]));
    let mut material = files?;
    material.extend(inline?);
    material.extend(vault?);
    Some(material)
}

/// Entries of a key vault.
pub fn vault_material(decoder: &mut Decoder<'_>, item: &Item<'_>, content: Content) -> Option<KeyMaterial> {
    let entries = vault::Entries::Of(content);
    vault(decoder, item, entries).map(|value| KeyMaterial::Vault(Spanned { value, place: item.place() }))
}

/// Absolute paths of files and folders.
pub fn files(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<Vec<KeyMaterial>> {
    let items = decoder.filled_array(item)?;
    let files: Vec<_> = items.iter().map(|item| path(decoder, item).map(KeyMaterial::Path)).collect();
    files.into_iter().collect()
}

/// An absolute path.
pub fn path(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<Spanned<PathBuf>> {
    let text = decoder.string(item)?;
    // A relative path would name another file for whoever is started elsewhere.
    if !Path::new(&text).is_absolute() {
        decoder.problems.push(&item.place(), format!("{} is not an absolute path", quote(&text)));
        return None;
    }
    Some(Spanned { value: PathBuf::from(text), place: item.place() })
}

/// PEM in the configuration itself, as text or as Ratify v2 has it.
pub fn inline(decoder: &mut Decoder<'_>, item: &Item<'_>, content: Content) -> Option<KeyMaterial> {
    if !item.is_table() {
        return pem(decoder, item);
    }
    let mut table = decoder.table(item)?;
    let (wanted, other) = match content {
        Content::Certificates => ("certs", "keys"),
        Content::Keys => ("keys", "certs"),
    };
    let found = decoder.required(&mut table, wanted);
    decoder.refused(&mut table, other, content.no_other());
    decoder.finish(table);
    found.and_then(|item| pem(decoder, &item))
}

/// Certificates and public keys are shown with the configuration; a private key among them must not be.
fn pem(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<KeyMaterial> {
    let pem = decoder.literal(item)?;
    if pem.value.contains("PRIVATE KEY-----") {
        let message = "a private key has no place here: a verifier trusts certificates and public keys";
        decoder.problems.push(&pem.place, message);
        return None;
    }
    Some(KeyMaterial::Inline(pem))
}
