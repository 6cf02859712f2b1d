//! Verifiers and what they trust, as written in the file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::config::file::decoder::{Decoder, Item, Table, quote, suggest};
use crate::config::{KeyMaterial, Notation, Spanned, Verifier, VerifierKind};
use crate::limits;

/// Types of verifiers that exist.
const TYPES: [&str; 1] = ["notation"];

/// Types that Ratify v2 has and that come with a later version.
const LATER_TYPES: [&str; 1] = ["cosign"];

/// The verifiers of an executor.
pub struct Verifiers {
    /// All of them, unless one has a problem.
    pub all: Option<Vec<Verifier>>,
    /// Their names, also of those with problems: policy rules may name them.
    pub names: Vec<Spanned<String>>,
}

/// The verifiers of an executor.
pub fn verifiers(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<Verifiers> {
    let items = decoder.filled_array(item)?;
    let mut names = Vec::new();
    let all: Vec<_> = items.iter().map(|item| verifier(decoder, item, &mut names)).collect();
    Some(Verifiers { all: all.into_iter().collect(), names })
}

fn verifier(decoder: &mut Decoder<'_>, item: &Item<'_>, names: &mut Vec<Spanned<String>>) -> Option<Verifier> {
    let mut table = decoder.table(item)?;
    let name = match decoder.required(&mut table, "name") {
        Some(item) => name(decoder, &item, names),
        None => None,
    };
    let known_type = match decoder.required(&mut table, "type") {
        Some(item) => known_type(decoder, &item),
        None => None,
    };
    let parameters = match known_type {
        Some(()) => decoder.required(&mut table, "parameters"),
        None => {
            // The parameters of a type that is not known cannot be judged.
            table.optional("parameters");
            None
        }
    };
    decoder.finish(table);
    let kind = parameters.and_then(|parameters| notation(decoder, &parameters)).map(VerifierKind::Notation);
    Some(Verifier { name: name?, kind: kind? })
}

fn name(decoder: &mut Decoder<'_>, item: &Item<'_>, names: &mut Vec<Spanned<String>>) -> Option<String> {
    let name = decoder.string(item)?;
    let of_name = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.len() > limits::VERIFIER_NAME_BYTES || !name.chars().all(of_name) {
        let hint = format!("1 to {} letters, digits, dots, underscores and hyphens", limits::VERIFIER_NAME_BYTES);
        decoder.problems.push_with_hint(&item.place(), format!("{} is not a verifier's name", quote(&name)), hint);
        return None;
    }
    if let Some(first) = names.iter().find(|first| first.value == name) {
        let message = format!("name {name:?} is taken by {} in line {}", first.place.path, first.place.line);
        decoder.problems.push(&item.place(), message);
        return None;
    }
    names.push(Spanned { value: name.clone(), place: item.place() });
    Some(name)
}

fn known_type(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<()> {
    let found = decoder.string(item)?;
    if TYPES.contains(&found.as_str()) {
        return Some(());
    }
    if LATER_TYPES.contains(&found.as_str()) {
        let message =
            format!("verifier type {found:?} is not available in this version: it comes with a later release");
        decoder.problems.push(&item.place(), message);
    } else {
        let message = format!("unknown verifier type {}", quote(&found));
        decoder.problems.push_with_hint(&item.place(), message, suggest(&found, &TYPES, "known"));
    }
    None
}

fn notation(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<Notation> {
    let mut table = decoder.table(item)?;
    let authorities = match decoder.required(&mut table, "certificates") {
        Some(item) => certificates(decoder, &item),
        None => None,
    };
    let identities = match table.optional("trustedIdentities") {
        Some(item) => identities(decoder, &item),
        // As in Ratify v2. The certificates are the operator's own choice, so this trusts all that they issue.
        None => Some(vec![Spanned { value: "*".to_owned(), place: table.place_of("trustedIdentities") }]),
    };
    if let Some(item) = table.optional("scopes") {
        scopes(decoder, &item);
    }
    let plugin_config = match table.optional("pluginConfig") {
        Some(item) => plugin_config(decoder, &item),
        None => Some(BTreeMap::new()),
    };
    decoder.finish(table);
    Some(Notation {
        certificate_authorities: authorities?,
        trusted_identities: identities?,
        plugin_config: plugin_config?,
    })
}

/// What plugins are told: names and texts.
fn plugin_config(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<BTreeMap<String, String>> {
    let members = decoder.members(item)?;
    if members.len() > limits::PLUGIN_CONFIG {
        decoder.problems.push(&item.place(), format!("more than {} pairs", limits::PLUGIN_CONFIG));
        return None;
    }
    let pairs: Vec<_> =
        members.into_iter().map(|(name, value)| decoder.string(&value).map(|value| (name, value))).collect();
    pairs.into_iter().collect()
}

fn identities(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<Vec<Spanned<String>>> {
    let items = decoder.array(item)?;
    if items.is_empty() {
        // Ratify v2 reads an empty list as everybody, which is not what it looks like.
        let hint = "write [\"*\"] to trust every identity that the certificates vouch for";
        decoder.problems.push_with_hint(&item.place(), "must not be empty", hint);
        return None;
    }
    let identities: Vec<_> = items.iter().map(|item| decoder.literal(item)).collect();
    identities.into_iter().collect()
}

/// Ratify v2 hands these to the trust policy that it makes up; there, `["*"]` is the default. Anything narrower
/// is a restriction that belongs to the executor.
fn scopes(decoder: &mut Decoder<'_>, item: &Item<'_>) {
    let Some(items) = decoder.array(item) else { return };
    let texts: Vec<_> = items.iter().map(Item::as_text).collect();
    if texts != [Some("*")] {
        let hint = "leave it out: the executor's own scopes say where the verifier counts";
        decoder.problems.push_with_hint(&item.place(), "only [\"*\"] is supported here", hint);
    }
}

/// The types of Notation's trust stores.
#[derive(Clone, Copy)]
enum StoreType {
    Ca,
    Tsa,
    SigningAuthority,
}

fn certificates(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<Vec<KeyMaterial>> {
    let items = decoder.filled_array(item)?;
    let sources: Vec<_> = items.iter().map(|item| trust_store(decoder, item)).collect();
    let sources: Option<Vec<_>> = sources.into_iter().collect();
    sources.map(|sources| sources.into_iter().flatten().collect())
}

fn trust_store(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<Vec<KeyMaterial>> {
    let mut table = decoder.table(item)?;
    let store_type = match table.optional("type") {
        Some(item) => store_type(decoder, &item),
        None => Some(()),
    };
    let material = key_material(decoder, &mut table);
    decoder.finish(table);
    store_type.and(material)
}

/// Ignoring a trust store of another type would judge signatures by other rules than were asked for.
fn store_type(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<()> {
    let types = [("ca", StoreType::Ca), ("tsa", StoreType::Tsa), ("signingAuthority", StoreType::SigningAuthority)];
    let refusal = match decoder.choice(item, &types)? {
        StoreType::Ca => return Some(()),
        StoreType::Tsa => "trust stores of type \"tsa\" are not supported yet: timestamps come with a later release",
        StoreType::SigningAuthority => {
            "trust stores of type \"signingAuthority\" are not supported yet: they come with a later release"
        }
    };
    decoder.problems.push(&item.place(), refusal);
    None
}

fn key_material(decoder: &mut Decoder<'_>, table: &mut Table<'_>) -> Option<Vec<KeyMaterial>> {
    let elsewhere = decoder.refused(table, "azurekeyvault", "azurekeyvault is not available in this version");
    let files_item = table.optional("files");
    let inline_item = table.optional("inline");
    if files_item.is_none() && inline_item.is_none() {
        if !elsewhere {
            decoder.problems.push_with_hint(table.place(), "names no certificates", "add files or inline");
        }
        return None;
    }
    let files = files_item.map_or_else(|| Some(Vec::new()), |item| files(decoder, &item));
    let inline = inline_item.map_or_else(|| Some(Vec::new()), |item| inline(decoder, &item).map(|inline| vec![inline]));
    let mut material = files?;
    material.extend(inline?);
    Some(material)
}

fn files(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<Vec<KeyMaterial>> {
    let items = decoder.filled_array(item)?;
    let files: Vec<_> = items.iter().map(|item| file(decoder, item)).collect();
    files.into_iter().collect()
}

fn file(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<KeyMaterial> {
    let text = decoder.string(item)?;
    // A relative path would name another file for whoever is started elsewhere.
    if !Path::new(&text).is_absolute() {
        decoder.problems.push(&item.place(), format!("{} is not an absolute path", quote(&text)));
        return None;
    }
    Some(KeyMaterial::File(Spanned { value: PathBuf::from(text), place: item.place() }))
}

fn inline(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<KeyMaterial> {
    if !item.is_table() {
        return pem(decoder, item);
    }
    let mut table = decoder.table(item)?;
    let certs = decoder.required(&mut table, "certs");
    decoder.refused(&mut table, "keys", "keys have no use here: a notation verifier trusts certificates");
    decoder.finish(table);
    certs.and_then(|item| pem(decoder, &item))
}

/// Certificates are public, and are shown with the configuration; a private key among them must not be.
fn pem(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<KeyMaterial> {
    let pem = decoder.literal(item)?;
    if pem.value.contains("PRIVATE KEY-----") {
        decoder.problems.push(&pem.place, "a private key has no place here: a notation verifier trusts certificates");
        return None;
    }
    Some(KeyMaterial::Inline(pem))
}
