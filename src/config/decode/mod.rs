//! From the file as written to the effective configuration: which keys there are, their defaults and their
//! bounds. Called by `config::parse` alone; every `None` has left a problem behind.

mod cosign;
mod cosign_signers;
mod credentials;
mod node;
mod notation;
mod plugin;
mod policy;
mod proxy;
mod store;
mod trust_policy;
mod trust_store;
mod tuf;
mod vault;
mod verifier;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub use trust_policy::trust_policy;

use crate::artifact::{Digest, PLUGIN};
use crate::config::decode::trust_store::Providers;
use crate::config::file::decoder::{Decoder, Item, Table, quote};
use crate::config::{
    Access, Checks, Config, Executor, Log, LogFormat, LogLevel, Mode, Place, Remember, Spanned, Store, Unmatched,
};
use crate::limits;

/// The whole file.
pub fn config(decoder: &mut Decoder<'_>, root: &Item<'_>) -> Option<Config> {
    let mut table = decoder.table(root)?;
    let unmatched = match table.optional("unmatched") {
        Some(item) => decoder.choice(&item, &[("deny", Unmatched::Deny), ("allow", Unmatched::Allow)]),
        None => Some(Unmatched::Deny),
    };
    let providers = match table.optional("keyManagementProviders") {
        Some(item) => trust_store::providers(decoder, &item),
        None => Providers::default(),
    };
    let executors = match decoder.required(&mut table, "executors") {
        Some(item) => executors(decoder, &item, &providers),
        None => None,
    };
    let access = optional(decoder, &mut table, "access", access);
    let remember = optional(decoder, &mut table, "remember", remember);
    let log = optional(decoder, &mut table, "log", log);
    let proxy = proxy::proxy(decoder, &mut table);
    let cache = optional(decoder, &mut table, "cache", node::cache);
    let metrics = optional(decoder, &mut table, "metrics", node::metrics);
    let revocation = optional(decoder, &mut table, "revocation", node::revocation);
    let plugins = optional(decoder, &mut table, "plugins", node::plugins);
    decoder.finish(table);
    Some(Config {
        unmatched: unmatched?,
        executors: executors?,
        access: access?,
        remember: remember?,
        log: log?,
        proxy: proxy?,
        cache: cache?,
        metrics: metrics?,
        revocation: revocation?,
        plugins: plugins?,
    })
}

/// The table of a key that may be left out, and is then its default.
fn optional<'a, T: Default>(
    decoder: &mut Decoder<'_>,
    table: &mut Table<'a>,
    key: &'static str,
    decode: impl Fn(&mut Decoder<'_>, &mut Table<'a>) -> Option<T>,
) -> Option<T> {
    let Some(item) = table.optional(key) else { return Some(T::default()) };
    let mut inner = decoder.table(&item)?;
    let value = decode(decoder, &mut inner);
    decoder.finish(inner);
    value
}

fn access(decoder: &mut Decoder<'_>, table: &mut Table<'_>) -> Option<Access> {
    let Some(item) = table.optional("uids") else { return Some(Access::default()) };
    let mut uids = BTreeSet::new();
    for uid in decoder.array(&item)? {
        // The last id is no user: it stands for "none" (chown(2)).
        let uid = decoder.integer(&uid, 0..=u64::from(u32::MAX - 1));
        uids.extend(uid.and_then(|uid| u32::try_from(uid).ok()));
    }
    Some(Access { uids })
}

fn remember(decoder: &mut Decoder<'_>, table: &mut Table<'_>) -> Option<Remember> {
    let default = Remember::default();
    let mut take = |key, default, max| match table.optional(key) {
        Some(item) => duration(decoder, &item, max),
        None => Some(default),
    };
    let allow = take("allow", default.allow, limits::REMEMBER_ALLOW_MAX);
    let deny = take("deny", default.deny, limits::REMEMBER_DENY_MAX);
    let referrers = take("referrers", default.referrers, limits::REMEMBER_REFERRERS_MAX);
    let stale_referrers = take("staleReferrers", default.stale_referrers, limits::STALE_REFERRERS_MAX);
    Some(Remember { allow: allow?, deny: deny?, referrers: referrers?, stale_referrers: stale_referrers? })
}

fn duration(decoder: &mut Decoder<'_>, item: &Item<'_>, max: Duration) -> Option<Duration> {
    let text = decoder.string(item)?;
    match humantime::parse_duration(&text) {
        Ok(duration) if duration <= max => Some(duration),
        Ok(_) => {
            let message = format!("{} is above the limit of {}", quote(&text), humantime::format_duration(max));
            decoder.problems.push(&item.place(), message);
            None
        }
        Err(_) => {
            let message = format!("{} is not a duration", quote(&text));
            decoder.problems.push_with_hint(&item.place(), message, "for example \"90s\", \"5m\" or \"1h 30m\"");
            None
        }
    }
}

fn log(decoder: &mut Decoder<'_>, table: &mut Table<'_>) -> Option<Log> {
    let default = Log::default();
    let format = match table.optional("format") {
        Some(item) => decoder.choice(&item, &[("text", LogFormat::Text), ("json", LogFormat::Json)]),
        None => Some(default.format),
    };
    let level = match table.optional("level") {
        Some(item) => decoder.choice(&item, &LEVELS),
        None => Some(default.level),
    };
    Some(Log { format: format?, level: level? })
}

const LEVELS: [(&str, LogLevel); 5] = [
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];

fn executors(decoder: &mut Decoder<'_>, item: &Item<'_>, providers: &Providers) -> Option<Vec<Executor>> {
    let items = decoder.filled_array(item)?;
    let mut seen = Seen::default();
    let executors: Vec<_> = items.iter().map(|item| executor(decoder, item, providers, &mut seen)).collect();
    executors.into_iter().collect()
}

/// The scopes of all executors so far, and where each stands.
type Scopes = BTreeMap<String, Place>;

/// What no two executors have.
#[derive(Default)]
struct Seen {
    scopes: Scopes,
    names: Vec<Spanned<String>>,
}

/// The modes, as words.
#[derive(Clone, Copy)]
enum ModeWord {
    Enforce,
    Audit,
    Allow,
    Deny,
}

const MODES: [(&str, ModeWord); 4] =
    [("enforce", ModeWord::Enforce), ("audit", ModeWord::Audit), ("allow", ModeWord::Allow), ("deny", ModeWord::Deny)];

fn executor(decoder: &mut Decoder<'_>, item: &Item<'_>, providers: &Providers, seen: &mut Seen) -> Option<Executor> {
    let mut table = decoder.table(item)?;
    let scopes = match decoder.required(&mut table, "scopes") {
        Some(item) => scopes(decoder, &item, &mut seen.scopes),
        None => None,
    };
    let word = match table.optional("mode") {
        Some(item) => decoder.choice(&item, &MODES),
        None => Some(ModeWord::Enforce),
    };
    let name = match table.optional("name") {
        Some(item) => {
            let place = item.place();
            verifier::name(decoder, &item, &mut seen.names, "executor").map(|value| Some(Spanned { value, place }))
        }
        None => Some(None),
    };
    let plugin_types = match table.optional("pluginTypes") {
        Some(item) => plugin::plugin_types(decoder, &item),
        None => Some(vec![PLUGIN.to_owned()]),
    };
    let digests = match table.optional("digests") {
        Some(item) => digests(decoder, &item),
        None => Some(BTreeSet::new()),
    };
    let store = match table.optional("stores") {
        Some(item) => {
            let any_host = scopes.iter().flatten().any(|scope| scope.value == "*");
            store::stores(decoder, &item, any_host)
        }
        None => Some(Store::default()),
    };
    let concurrency = match table.optional("concurrency") {
        Some(item) => {
            let max = u64::try_from(limits::CONCURRENCY_MAX).unwrap_or(u64::MAX);
            decoder.integer(&item, 1..=max).and_then(|value| usize::try_from(value).ok())
        }
        None => Some(limits::CONCURRENCY),
    };
    let checks = match word {
        Some(ModeWord::Enforce | ModeWord::Audit) => checks(decoder, &mut table, providers, concurrency),
        // Whoever sets the mode to allow or deny for a while leaves the checks where they are; they stay checked.
        _ if has_checks(&mut table) => checks(decoder, &mut table, providers, concurrency),
        _ => None,
    };
    decoder.finish(table);
    let mode = match word? {
        ModeWord::Enforce => Mode::Enforce(checks?),
        ModeWord::Audit => Mode::Audit(checks?),
        ModeWord::Allow => Mode::Allow,
        ModeWord::Deny => Mode::Deny,
    };
    concurrency?;
    Some(Executor { scopes: scopes?, mode, digests: digests?, store: store?, name: name?, plugin_types: plugin_types? })
}

/// Whether anything is written that [`checks`] could take.
fn has_checks(table: &mut Table<'_>) -> bool {
    let has_policy = table.optional("policyEnforcer").is_some();
    table.optional("verifiers").is_some_and(|verifiers| !verifiers.is_empty_array()) || has_policy
}

fn checks(
    decoder: &mut Decoder<'_>,
    table: &mut Table<'_>,
    providers: &Providers,
    concurrency: Option<usize>,
) -> Option<Checks> {
    let item = decoder.required(table, "verifiers");
    let verifiers = item.as_ref().and_then(|item| verifier::verifiers(decoder, item, providers));
    let policy = match (table.optional("policyEnforcer"), &verifiers) {
        (Some(item), Some(verifiers)) => policy::enforcer(decoder, &item, &verifiers.names),
        (None, Some(verifiers)) => item.as_ref().and_then(|item| policy::all(decoder, item, &verifiers.names)),
        (_, None) => None,
    };
    Some(Checks { verifiers: verifiers?.all?, policy: policy?, concurrency: concurrency? })
}

fn scopes(decoder: &mut Decoder<'_>, item: &Item<'_>, seen: &mut Scopes) -> Option<Vec<Spanned<String>>> {
    let items = decoder.filled_array(item)?;
    let mut scopes = Vec::with_capacity(items.len());
    for item in &items {
        let scope = decoder.literal(item);
        if let Some(scope) = &scope {
            if let Some(first) = seen.get(&scope.value) {
                let message = format!("{} is taken by {} in line {}", quote(&scope.value), first.path, first.line);
                decoder.problems.push(&scope.place, message);
            } else {
                seen.insert(scope.value.clone(), scope.place.clone());
            }
        }
        scopes.push(scope);
    }
    scopes.into_iter().collect()
}

fn digests(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<BTreeSet<Digest>> {
    let mut digests = BTreeSet::new();
    for item in decoder.array(item)? {
        match decoder.string(&item).map(|text| text.parse::<Digest>()) {
            Some(Ok(digest)) => {
                digests.insert(digest);
            }
            Some(Err(error)) => decoder.problems.push(&item.place(), error.to_string()),
            None => {}
        }
    }
    Some(digests)
}
