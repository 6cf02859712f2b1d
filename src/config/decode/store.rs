//! Stores, as written in the file: for now one registry store per executor.

use crate::config::RegistryStore;
use crate::config::decode::credentials;
use crate::config::file::decoder::{Decoder, Item, Table, quote, suggest};
use crate::limits;

/// The stores of an executor, of which there is one. `any_host`: the executor answers for every host.
pub fn stores(decoder: &mut Decoder<'_>, item: &Item<'_>, any_host: bool) -> Option<RegistryStore> {
    let items = decoder.filled_array(item)?;
    let stores: Vec<_> = items.iter().map(|item| store(decoder, item, any_host)).collect();
    for surplus in items.iter().skip(1) {
        let hint = "split the executor: its scopes say which store answers";
        decoder.problems.push_with_hint(&surplus.place(), "only one store per executor is supported yet", hint);
    }
    stores.into_iter().next().flatten()
}

fn store(decoder: &mut Decoder<'_>, item: &Item<'_>, any_host: bool) -> Option<RegistryStore> {
    let mut table = decoder.table(item)?;
    let known_type = match decoder.required(&mut table, "type") {
        Some(item) => known_type(decoder, &item),
        None => None,
    };
    decoder.refused(&mut table, "scopes", "a store's own scopes are not supported yet: the executor's scopes hold");
    let parameters = table.optional("parameters");
    decoder.finish(table);
    known_type?;
    match parameters {
        Some(item) => {
            let mut table = decoder.table(&item)?;
            let store = registry(decoder, &mut table, any_host);
            decoder.finish(table);
            store
        }
        None => Some(RegistryStore::default()),
    }
}

fn known_type(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<()> {
    match decoder.string(item)?.as_str() {
        "registry-store" => Some(()),
        "filesystem-oci-store" => {
            let message = "store type \"filesystem-oci-store\" is not available in this version";
            decoder.problems.push(&item.place(), message);
            None
        }
        other => {
            let hint = suggest(other, &["registry-store"], "known");
            decoder.problems.push_with_hint(&item.place(), format!("unknown store type {}", quote(other)), hint);
            None
        }
    }
}

fn registry(decoder: &mut Decoder<'_>, table: &mut Table<'_>, any_host: bool) -> Option<RegistryStore> {
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
    // Says that Cosign signatures are also looked for under their tag. Only a Cosign verifier could make
    // something of them, so either value is fine without one.
    if let Some(item) = table.optional("allowCosignTag") {
        decoder.boolean(&item);
    }
    let own_roots = "a registry's own certificate authorities are not available in this version";
    decoder.refused(table, "caPem", own_roots);
    decoder.refused(table, "caBase64", own_roots);
    let credentials = credentials::credentials(decoder, table, any_host);
    let allowed_realms = credentials::realms(decoder, table);
    Some(RegistryStore {
        plain_http: plain_http?,
        user_agent: user_agent?,
        max_blob_bytes: max_blob_bytes?,
        max_manifest_bytes: max_manifest_bytes?,
        credentials: credentials?,
        allowed_realms: allowed_realms?,
    })
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
