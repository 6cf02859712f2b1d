//! Azure Key Vaults, as written in the file: Ratify v2's keys, and v1's names for two of them.

use std::time::Duration;

use super::duration;
use super::trust_store::Content;
use crate::config::file::decoder::{Decoder, Item, Table, quote};
use crate::config::{AzureVault, VaultItem};
use crate::limits;

/// Which entries of a vault may be named.
#[derive(Clone, Copy)]
pub enum Entries {
    /// Those of one kind.
    Of(Content),
    /// Those of both kinds.
    Any,
}

/// A vault, and what of it is trusted; at least one entry.
pub fn vault(decoder: &mut Decoder<'_>, item: &Item<'_>, entries: Entries) -> Option<AzureVault> {
    let mut table = decoder.table(item)?;
    let url = url(decoder, &mut table);
    let client_id = id(decoder, &mut table, "clientID");
    let tenant_id = id(decoder, &mut table, "tenantID");
    let named = named(decoder, &mut table, entries);
    let times = times(decoder, &mut table, AzureVault::DEFAULT);
    decoder.finish(table);
    let ((certificates, keys), (refresh, max_age)) = (named?, times?);
    Some(AzureVault { url: url?, client_id: client_id?, tenant_id: tenant_id?, certificates, keys, refresh, max_age })
}

/// The certificates and keys that are named.
fn named(
    decoder: &mut Decoder<'_>,
    table: &mut Table<'_>,
    entries: Entries,
) -> Option<(Vec<VaultItem>, Vec<VaultItem>)> {
    let is_refused = match entries {
        Entries::Of(content @ Content::Certificates) => decoder.refused(table, "keys", content.no_other()),
        Entries::Of(content @ Content::Keys) => decoder.refused(table, "certificates", content.no_other()),
        Entries::Any => false,
    };
    let mut of = |key: &'static str, is_needed: bool, table: &mut Table<'_>| {
        let item = if is_needed { Some(decoder.required(table, key)?) } else { table.optional(key) };
        match item {
            Some(item) => items(decoder, &item),
            None => Some(Vec::new()),
        }
    };
    let found = match entries {
        Entries::Of(Content::Certificates) => (of("certificates", true, table)?, Vec::new()),
        Entries::Of(Content::Keys) => (Vec::new(), of("keys", true, table)?),
        Entries::Any => {
            let (certificates, keys) = (of("certificates", false, table), of("keys", false, table));
            (certificates?, keys?)
        }
    };
    if found.0.is_empty() && found.1.is_empty() {
        decoder.problems.push_with_hint(table.place(), "names nothing", "add certificates or keys");
        return None;
    }
    (!is_refused).then_some(found)
}

/// The token that is shown there opens every vault that the identity may read: it goes to Azure's own hosts alone.
fn url(decoder: &mut Decoder<'_>, table: &mut Table<'_>) -> Option<String> {
    let item = match (table.optional("vaultURI"), table.optional("vaultURL")) {
        (Some(older), Some(_)) => {
            decoder.problems.push(&older.place(), "vaultURL is given too: leave one of them out");
            return None;
        }
        (Some(item), None) => item,
        (None, _) => decoder.required(table, "vaultURL")?,
    };
    let text = decoder.string(&item)?;
    let is_name =
        |name: &str| (3..=24).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let host = text.strip_prefix("https://").map(|rest| rest.strip_suffix('/').unwrap_or(rest));
    let known =
        host.and_then(|host| host.split_once('.')).filter(|(name, cloud)| is_name(name) && CLOUDS.contains(cloud));
    match known {
        Some((name, cloud)) => Some(format!("https://{name}.{cloud}")),
        None => {
            let hint = format!("https://NAME.DOMAIN, where DOMAIN is one of {}", CLOUDS.join(", "));
            decoder.problems.push_with_hint(&item.place(), format!("{} is not a key vault's URL", quote(&text)), hint);
            None
        }
    }
}

/// Outer none: it is not one; inner none: it is not given.
fn id(decoder: &mut Decoder<'_>, table: &mut Table<'_>, key: &'static str) -> Option<Option<String>> {
    let Some(item) = table.optional(key).filter(|item| !item.is_null()) else { return Some(None) };
    let text = decoder.string(&item)?;
    if text.is_empty() {
        return Some(None);
    }
    let is_id = text.len() <= 253 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
    if !is_id {
        decoder.problems.push(&item.place(), format!("{} is not an id", quote(&text)));
    }
    is_id.then_some(Some(text))
}

fn items(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<Vec<VaultItem>> {
    let items = decoder.filled_array(item)?;
    if items.len() > limits::VAULT_ITEMS {
        decoder.problems.push(&item.place(), format!("more than {} entries", limits::VAULT_ITEMS));
        return None;
    }
    let items: Vec<_> = items.iter().map(|item| one(decoder, item)).collect();
    items.into_iter().collect()
}

fn one(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<VaultItem> {
    let mut table = decoder.table(item)?;
    let name = match decoder.required(&mut table, "name") {
        Some(item) => word(decoder, &item, b'-'),
        None => None,
    };
    let version = match table.optional("version").filter(|item| !item.is_null() && item.as_text() != Some("")) {
        Some(item) => word(decoder, &item, b'0').map(Some),
        None => Some(None),
    };
    let most = u64::try_from(limits::VAULT_ITEMS).unwrap_or(u64::MAX);
    let versions = match table.optional("versions") {
        Some(item) if matches!(version, Some(Some(_))) => {
            decoder.problems.push(&item.place(), "a version is given: there is no other one to look for");
            None
        }
        Some(item) => decoder.integer(&item, 1..=most),
        None => Some(1),
    };
    decoder.finish(table);
    Some(VaultItem { name: name?, version: version?, versions: usize::try_from(versions?).ok()? })
}

/// Letters and digits, and one other character.
fn word(decoder: &mut Decoder<'_>, item: &Item<'_>, other: u8) -> Option<String> {
    let text = decoder.string(item)?;
    let is_word = (1..=127).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == other);
    if !is_word {
        decoder.problems.push(&item.place(), format!("{} is no name that a key vault has", quote(&text)));
    }
    is_word.then_some(text)
}

/// How often trust from elsewhere is read, and how long it counts when it cannot be read again; each where it is not
/// written as in `default`. It is read again before it is too old.
pub(super) fn times(
    decoder: &mut Decoder<'_>,
    table: &mut Table<'_>,
    default: (Duration, Duration),
) -> Option<(Duration, Duration)> {
    let (interval, age) = (table.optional("refreshInterval"), table.optional("maxTrustAge"));
    let refresh = time(decoder, interval.as_ref(), limits::VAULT_REFRESH_MIN, default.0);
    let max_age = time(decoder, age.as_ref(), Duration::ZERO, default.1);
    let (refresh, max_age) = (refresh?, max_age?);
    if refresh <= max_age {
        return Some((refresh, max_age));
    }
    let [shown_refresh, shown_age] = [refresh, max_age].map(humantime::format_duration);
    match (&interval, &age) {
        (Some(item), _) => decoder.problems.push(&item.place(), format!("longer than maxTrustAge, {shown_age}")),
        (None, Some(item)) => {
            decoder.problems.push(&item.place(), format!("shorter than refreshInterval, {shown_refresh}"));
        }
        // The defaults are not.
        (None, None) => {}
    }
    None
}

/// A time of at least `least`; `default` where there is none.
fn time(decoder: &mut Decoder<'_>, item: Option<&Item<'_>>, least: Duration, default: Duration) -> Option<Duration> {
    let Some(item) = item else { return Some(default) };
    let time = duration(decoder, item, limits::TRUST_AGE_MAX)?;
    if time < least {
        let message = format!("less than {}", humantime::format_duration(least));
        decoder.problems.push(&item.place(), message);
        return None;
    }
    Some(time)
}

/// The domains of Azure's clouds.
pub const CLOUDS: [&str; 3] = ["vault.azure.net", "vault.azure.cn", "vault.usgovcloudapi.net"];
