//! Stores, as written in the file: one per executor, a registry store, an OCI layout or a plugin.

use std::path::PathBuf;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::PAD;

use crate::config::decode::node::absolute;
use crate::config::decode::{credentials, plugin};
use crate::config::file::decoder::{Decoder, Item, Table, quote, suggest};
use crate::config::{RegistryStore, Spanned, Store};
use crate::limits;

/// The stores of an executor, of which there is one. `any_host`: the executor answers for every host.
pub fn stores(decoder: &mut Decoder<'_>, item: &Item<'_>, any_host: bool) -> Option<Store> {
    let items = decoder.filled_array(item)?;
    let stores: Vec<_> = items.iter().map(|item| store(decoder, item, any_host)).collect();
    for surplus in items.iter().skip(1) {
        let hint = "split the executor: its scopes say which store answers";
        decoder.problems.push_with_hint(&surplus.place(), "only one store per executor is supported yet", hint);
    }
    stores.into_iter().next().flatten()
}

fn store(decoder: &mut Decoder<'_>, item: &Item<'_>, any_host: bool) -> Option<Store> {
    let mut table = decoder.table(item)?;
    let known_type = match decoder.required(&mut table, "type") {
        Some(item) => known_type(decoder, &item),
        None => None,
    };
    decoder.refused(&mut table, "scopes", "a store's own scopes are not supported yet: the executor's scopes hold");
    let parameters = match known_type {
        Some(Kind::Layout | Kind::Plugin) => decoder.required(&mut table, "parameters"),
        Some(Kind::Registry) | None => table.optional("parameters"),
    };
    decoder.finish(table);
    match (known_type?, parameters) {
        (Kind::Registry, None) => Some(Store::default()),
        (Kind::Layout | Kind::Plugin, None) => None,
        (kind, Some(item)) => {
            let mut table = decoder.table(&item)?;
            let store = match kind {
                Kind::Registry => registry(decoder, &mut table, any_host).map(Store::Registry),
                Kind::Layout => layout(decoder, &mut table),
                Kind::Plugin => plugin::of_store(decoder, &mut table).map(Store::Plugin),
            };
            decoder.finish(table);
            store
        }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Registry,
    Layout,
    Plugin,
}

const KINDS: [(&str, Kind); 3] =
    [("registry-store", Kind::Registry), ("filesystem-oci-store", Kind::Layout), ("plugin", Kind::Plugin)];

fn layout(decoder: &mut Decoder<'_>, table: &mut Table<'_>) -> Option<Store> {
    let item = decoder.required(table, "path")?;
    let text = decoder.string(&item)?;
    let value = absolute(decoder, &item, &text)?;
    Some(Store::Layout(Spanned { value, place: item.place() }))
}

fn known_type(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<Kind> {
    let found = decoder.string(item)?;
    let known = KINDS.iter().find(|(name, _)| *name == found).map(|(_, known)| *known);
    if known.is_none() {
        let hint = suggest(&found, &KINDS.map(|(name, _)| name), "known");
        decoder.problems.push_with_hint(&item.place(), format!("unknown store type {}", quote(&found)), hint);
    }
    known
}

/// The parameters of a registry store. `any_host`: image names choose the host.
pub fn registry(decoder: &mut Decoder<'_>, table: &mut Table<'_>, any_host: bool) -> Option<RegistryStore> {
    let default = RegistryStore::default();
    let plain_http = match table.optional("plainHttp") {
        Some(item) => decoder.boolean(&item),
        None => Some(default.plain_http),
    };
    let user_agent = match table.optional("userAgent") {
        Some(item) => user_agent(decoder, &item),
        None => Some(default.user_agent),
    };
    let mut size = |key, max| match table.optional(key) {
        Some(item) => decoder.integer(&item, 1..=max),
        None => Some(max),
    };
    let max_blob_bytes = size("maxBlobBytes", default.max_blob_bytes);
    let max_manifest_bytes = size("maxManifestBytes", default.max_manifest_bytes);
    let cosign_tags = match (table.optional("allowCosignTag"), table.optional("cosignEnabled")) {
        (Some(_), Some(older)) => {
            decoder.problems.push(&older.place(), "allowCosignTag is given too: leave one of them out");
            None
        }
        (Some(item), None) | (None, Some(item)) => decoder.boolean(&item),
        (None, None) => Some(default.cosign_tags),
    };
    let config_path = match table.optional("configPath") {
        Some(item) => config_path(decoder, &item),
        None => Some(default.config_path),
    };
    let ca = ca(decoder, table);
    let credentials = credentials::credentials(decoder, table, any_host);
    let allowed_realms = credentials::realms(decoder, table);
    Some(RegistryStore {
        plain_http: plain_http?,
        config_path: config_path?,
        ca: ca?,
        user_agent: user_agent?,
        max_blob_bytes: max_blob_bytes?,
        max_manifest_bytes: max_manifest_bytes?,
        credentials: credentials?,
        allowed_realms: allowed_realms?,
        cosign_tags: cosign_tags?,
    })
}

/// Folders as containerd writes them, joined by colons, or as an array of such texts. An empty text is none.
fn config_path(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<Vec<PathBuf>> {
    let items = if item.as_text().is_some() { vec![item.clone()] } else { decoder.array(item)? };
    let mut folders = Some(Vec::new());
    for item in &items {
        let text = decoder.string(item);
        let parts: Vec<&str> = text.iter().flat_map(|text| text.split(':')).filter(|part| !part.is_empty()).collect();
        if let Some(part) = parts.iter().find(|part| !part.starts_with('/')) {
            let message = format!("{} is not an absolute path", quote(part));
            decoder.problems.push_with_hint(&item.place(), message, "folders are joined by colons; \"\" means none");
            folders = None;
        }
        match (&mut folders, text.is_some()) {
            (Some(folders), true) => folders.extend(parts.into_iter().map(PathBuf::from)),
            _ => folders = None,
        }
    }
    folders
}

/// Certificates in PEM, or that in base64. Empty ones are none and `caPem` goes before, as in Ratify v2.
fn ca(decoder: &mut Decoder<'_>, table: &mut Table<'_>) -> Option<Option<String>> {
    let pem = match table.optional("caPem") {
        Some(item) => pem(decoder, &item).map(Some),
        None => Some(None),
    };
    let base64 = match table.optional("caBase64") {
        Some(item) => base64(decoder, &item).map(Some),
        None => Some(None),
    };
    Some([pem?, base64?].into_iter().flatten().find(|pem| !pem.is_empty()))
}

fn pem(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<String> {
    let pem = decoder.literal(item)?.value;
    if pem.contains("PRIVATE KEY-----") {
        decoder.problems.push(&item.place(), "a private key stands here; only certificates belong here");
        return None;
    }
    Some(pem)
}

/// Standard base64 with padding, lines broken or not, as Go reads it.
fn base64(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<String> {
    let text = decoder.literal(item)?.value.replace(['\r', '\n'], "");
    let engine = GeneralPurpose::new(&alphabet::STANDARD, PAD.with_decode_allow_trailing_bits(true));
    match engine.decode(text) {
        // PEM is ASCII; what stands around it does not count.
        Ok(pem) => Some(String::from_utf8_lossy(&pem).into_owned()),
        Err(error) => {
            decoder.problems.push(&item.place(), format!("it is not base64: {error}"));
            None
        }
    }
}

/// A user agent fit for a header (RFC 9110, section 10.1.5). An empty one is the default, as in Ratify v2.
fn user_agent(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<Option<String>> {
    let text = decoder.string(item)?;
    if text.len() > limits::USER_AGENT_BYTES || !text.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) {
        let hint = format!("up to {} printable ASCII characters", limits::USER_AGENT_BYTES);
        decoder.problems.push_with_hint(&item.place(), format!("{} is not a user agent", quote(&text)), hint);
        return None;
    }
    Some(Some(text).filter(|text| !text.is_empty()))
}
