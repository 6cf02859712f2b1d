//! Whom a Cosign verifier trusts, as written in the file: keys in the forms of Ratify v2 and v1, and identities of
//! certificates. Opens nothing.

use std::collections::BTreeMap;

use crate::config::decode::trust_store::{
    Content, Providers, inline as inline_material, material, path, vault_material,
};
use crate::config::file::decoder::{Decoder, Item, Table, quote};
use crate::config::{CertificateIdentity, CosignKeys, IdentityMatch, KeyMaterial, Place, Spanned};
use crate::limits;

/// `keys`: a table as Ratify v2 has it, or a list as Ratify v1 has it.
pub fn keys(decoder: &mut Decoder<'_>, item: &Item<'_>, providers: &Providers) -> Option<Vec<CosignKeys>> {
    if item.is_table() {
        return key_table(decoder, item);
    }
    let items = decoder.filled_array(item)?;
    let keys: Vec<_> = items.iter().map(|item| key(decoder, item, providers)).collect();
    keys.into_iter().collect()
}

/// Ratify v2's `keys`, and a name for all of them.
fn key_table(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<Vec<CosignKeys>> {
    let mut table = decoder.table(item)?;
    let name = match table.optional("name") {
        Some(item) => key_name(decoder, &item).map(Some),
        None => Some(None),
    };
    let material = material(decoder, &mut table, Content::Keys);
    decoder.finish(table);
    let name = name?;
    Some(material?.into_iter().map(|material| CosignKeys { name: name.clone(), material }).collect())
}

/// An item of Ratify v1's `keys`: a file, or what a key management provider has. That a file has a name is this project's
/// own, and so are keys in the item itself.
fn key(decoder: &mut Decoder<'_>, item: &Item<'_>, providers: &Providers) -> Option<CosignKeys> {
    let mut table = decoder.table(item)?;
    let name = match given(&mut table, "name") {
        Some(item) => key_name(decoder, &item).map(Some),
        None => Some(None),
    };
    let file = table.optional("file").map(Source::File);
    let provider = table.optional("provider").map(Source::Provider);
    let inline = table.optional("inline").map(Source::Inline);
    let vault = table.optional("azurekeyvault").map(Source::Vault);
    let version = given(&mut table, "version");
    let place = table.place().clone();
    decoder.finish(table);
    let mut sources = [file, provider, inline, vault].into_iter().flatten();
    let (source, other) = (sources.next(), sources.next());
    if other.is_some() {
        decoder.problems.push(&place, "the key is named in two ways: keep one");
        return None;
    }
    if let (Some(version), false) = (&version, matches!(source, Some(Source::Provider(_)))) {
        decoder.problems.push(&version.place(), "only the keys of a provider have versions");
        return None;
    }
    let name = name?;
    let (name, material) = match source {
        Some(Source::File(item)) => return key_of_file(decoder, &item, name),
        Some(Source::Inline(item)) => (name, inline_material(decoder, &item, Content::Keys)?),
        Some(Source::Vault(item)) => (name, vault_material(decoder, &item, Content::Keys)?),
        Some(Source::Provider(item)) => {
            let version = match version {
                Some(item) => Some(decoder.literal(&item)?.value),
                None => None,
            };
            let found = providers.find(decoder, &item, Content::Keys)?;
            (None, picked(decoder, &place, found, name.as_deref(), version.as_deref())?)
        }
        None => {
            decoder.problems.push_with_hint(&place, "names no key", "add file, inline, azurekeyvault or provider");
            return None;
        }
    };
    Some(CosignKeys { name, material })
}

/// Where a key is.
enum Source<'a> {
    File(Item<'a>),
    Provider(Item<'a>),
    Inline(Item<'a>),
    Vault(Item<'a>),
}

/// A value that is there and not empty, as Go's configuration has it.
fn given<'a>(table: &mut Table<'a>, key: &'static str) -> Option<Item<'a>> {
    table.optional(key).filter(|item| item.as_text() != Some(""))
}

/// The key in a file.
pub fn key_of_file(decoder: &mut Decoder<'_>, item: &Item<'_>, name: Option<String>) -> Option<CosignKeys> {
    path(decoder, item).map(|path| CosignKeys { name, material: KeyMaterial::Path(path) })
}

/// Of what a provider has, the key of a name and a version.
fn picked(
    decoder: &mut Decoder<'_>,
    place: &Place,
    found: KeyMaterial,
    name: Option<&str>,
    version: Option<&str>,
) -> Option<KeyMaterial> {
    let Some(name) = name else {
        if version.is_some() {
            decoder.problems.push(place, "a version needs the key's name too");
            return None;
        }
        return Some(found);
    };
    match found {
        KeyMaterial::Vault(mut vault) => {
            vault.value.keys.retain(|key| key.name == name && key.version.as_deref() == version);
            if vault.value.keys.is_empty() {
                let message = format!("the provider has no key {} of that version", quote(name));
                decoder.problems.push_with_hint(place, message, "its own keys must name it in the same way");
                return None;
            }
            Some(KeyMaterial::Vault(vault))
        }
        KeyMaterial::Inline(_) | KeyMaterial::Path(_) => {
            decoder.problems.push(place, "the keys of an inline provider have no names: leave name out");
            None
        }
    }
}

fn key_name(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<String> {
    let name = decoder.literal(item)?;
    if name.value.is_empty() || name.value.len() > limits::KEY_NAME_BYTES {
        let hint = format!("1 to {} bytes", limits::KEY_NAME_BYTES);
        decoder.problems.push_with_hint(&name.place, format!("{} is not a key's name", quote(&name.value)), hint);
        return None;
    }
    Some(name.value)
}

/// The identities of a policy: Ratify v2's keys, Ratify v1's `keyless`, or this project's `identities`. `own`: under an
/// authority of the operator's own, whose certificates name no issuer of identities.
pub fn identities(decoder: &mut Decoder<'_>, table: &mut Table<'_>, own: bool) -> Option<Vec<CertificateIdentity>> {
    let several = table.optional("identities");
    let keyless = table.optional("keyless").filter(|item| !item.is_null());
    let of_policy = identity(decoder, table, &V2, own)?;
    let of_keyless = match keyless {
        Some(item) => {
            let mut keyless = decoder.table(&item)?;
            // Read with what the policy asks for.
            keyless.optional("ctLogVerify");
            let found = identity(decoder, &mut keyless, &V1, own);
            decoder.finish(keyless);
            if matches!(found, Some(None)) {
                names_nobody(decoder, &item.place(), own);
                return None;
            }
            found?
        }
        None => None,
    };
    let of_several = match several {
        Some(item) => {
            let items = decoder.filled_array(&item)?;
            let found: Vec<_> = items.iter().map(|item| one(decoder, item, own)).collect();
            found.into_iter().collect::<Option<Vec<_>>>()?
        }
        None => Vec::new(),
    };
    let ways = [of_policy.is_some(), of_keyless.is_some(), !of_several.is_empty()];
    if ways.into_iter().filter(|given| *given).count() > 1 {
        decoder.problems.push(table.place(), "identities are named in two ways: keep one");
        return None;
    }
    Some(of_policy.into_iter().chain(of_keyless).chain(of_several).collect())
}

/// One item of `identities`.
fn one(decoder: &mut Decoder<'_>, item: &Item<'_>, own: bool) -> Option<CertificateIdentity> {
    let mut table = decoder.table(item)?;
    let found = identity(decoder, &mut table, &V2, own);
    decoder.finish(table);
    let found = found?;
    if found.is_none() {
        names_nobody(decoder, &item.place(), own);
    }
    found
}

fn names_nobody(decoder: &mut Decoder<'_>, place: &Place, own: bool) {
    let hint = if own { OWN } else { "add certificateIdentity and certificateOIDCIssuer" };
    decoder.problems.push_with_hint(place, "names nobody", hint);
}

const OWN: &str = "add certificateIdentity or certificateSubject";

/// What the parts of an identity are called.
struct Words {
    identity: &'static str,
    identity_pattern: &'static str,
    issuer: &'static str,
    issuer_pattern: &'static str,
}

const V2: Words = Words {
    identity: "certificateIdentity",
    identity_pattern: "certificateIdentityRegex",
    issuer: "certificateOIDCIssuer",
    issuer_pattern: "certificateOIDCIssuerRegex",
};

const V1: Words = Words {
    identity: "certificateIdentity",
    identity_pattern: "certificateIdentityRegExp",
    issuer: "certificateOIDCIssuer",
    issuer_pattern: "certificateOIDCIssuerRegExp",
};

/// The identity that a table names. Inner none: none.
fn identity(
    decoder: &mut Decoder<'_>,
    table: &mut Table<'_>,
    words: &Words,
    own: bool,
) -> Option<Option<CertificateIdentity>> {
    let subject = either(decoder, table, words.identity, words.identity_pattern);
    let distinguished = match given(table, "certificateSubject") {
        Some(item) => decoder.literal(&item).map(Some),
        None => Some(None),
    };
    let issuer = either(decoder, table, words.issuer, words.issuer_pattern);
    let extensions = match table.optional("certificateExtensions") {
        Some(item) => extensions(decoder, &item),
        None => Some(BTreeMap::new()),
    };
    let (subject, distinguished, issuer, extensions) = (subject?, distinguished?, issuer?, extensions?);
    let place = table.place().clone();
    let mut refuse = |message: &str, hint: &str| {
        decoder.problems.push_with_hint(&place, message, hint);
        None
    };
    let subject = match (subject, distinguished) {
        (Some(_), Some(_)) => {
            return refuse("both certificateIdentity and certificateSubject are given", "keep one of them");
        }
        (Some(subject), None) => Some(subject),
        (None, Some(subject)) if own => Some(IdentityMatch::Distinguished(subject)),
        (None, Some(_)) => {
            let hint = "it names signers under an own certificateChain";
            return refuse("certificates of a trusted root have no subject that names the signer", hint);
        }
        (None, None) => None,
    };
    match (subject, issuer) {
        (Some(subject), None) if own && extensions.is_empty() => {
            Some(Some(CertificateIdentity { subject, issuer: None, extensions }))
        }
        (Some(_), _) if own => refuse(
            "certificates of an own certificateChain name no OIDC issuer and have no extensions of Fulcio's",
            "name the signer alone",
        ),
        (Some(subject), issuer @ Some(_)) => Some(Some(CertificateIdentity { subject, issuer, extensions })),
        (Some(_), None) => refuse(
            "an identity without its issuer is anybody's who calls himself so",
            "add certificateOIDCIssuer, or certificateOIDCIssuerRegex",
        ),
        (None, Some(_)) => refuse(
            "an issuer without an identity is everybody whom it knows",
            "add certificateIdentity, or certificateIdentityRegex",
        ),
        (None, None) if extensions.is_empty() => Some(None),
        (None, None) => refuse("certificateExtensions alone name nobody", "add the identity and its issuer"),
    }
}

/// A text or a pattern, not both. Inner none: neither. Empty is not given, as in both versions of Ratify. Whether a pattern
/// says anything is known where it is compiled.
fn either(
    decoder: &mut Decoder<'_>,
    table: &mut Table<'_>,
    exact: &'static str,
    pattern: &'static str,
) -> Option<Option<IdentityMatch>> {
    match (given(table, exact), given(table, pattern)) {
        (Some(_), Some(other)) => {
            decoder.problems.push(&other.place(), format!("{exact} is given too: leave one of them out"));
            None
        }
        (Some(item), None) => decoder.literal(&item).map(|text| Some(IdentityMatch::Exact(text))),
        (None, Some(item)) => decoder.literal(&item).map(|text| Some(IdentityMatch::Pattern(text))),
        (None, None) => Some(None),
    }
}

/// What else a certificate must say.
fn extensions(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<BTreeMap<String, Spanned<String>>> {
    let entries = decoder.entries(item)?;
    let entries: Vec<_> =
        entries.iter().map(|(name, item)| Some((name.value.clone(), decoder.literal(item)?))).collect();
    entries.into_iter().collect()
}
