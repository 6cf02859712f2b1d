//! The parameters of verifiers and stores that are plugins, as written in the file: which one, what it judges, and how it
//! is run. What it is told itself is handed on as it stands.

use std::time::Duration;

use crate::config::decode::{credentials, duration, store};
use crate::config::file::decoder::{Decoder, Item, Table, quote};
use crate::config::{PluginProgram, PluginSource, PluginVerifier, RegistryStore, Spanned};
use crate::limits;
use crate::reference::Reference;

/// The parameters of a verifier. `name` is its own: the plugin is called so unless it is said.
pub fn of_verifier(decoder: &mut Decoder<'_>, item: &Item<'_>, name: Option<&str>) -> Option<PluginVerifier> {
    let mut table = decoder.table(item)?;
    let called = name.map(|name| Spanned { value: name.to_owned(), place: item.place() });
    let named = match table.optional("plugin") {
        Some(item) => file_name(decoder, &item),
        None => called,
    };
    let artifact_types = decoder
        .required(&mut table, "artifactTypes")
        .and_then(|item| names(decoder, &item, is_type, "an artifact type"));
    let program = program(decoder, &mut table, named);
    decoder.finish(table);
    Some(PluginVerifier { artifact_types: artifact_types?, program: program? })
}

/// The parameters of a store, which has no name of its own.
pub fn of_store(decoder: &mut Decoder<'_>, table: &mut Table<'_>) -> Option<PluginProgram> {
    let named = decoder.required(table, "plugin").and_then(|item| file_name(decoder, &item));
    program(decoder, table, named)
}

/// What is said of each plugin besides its name.
fn program(decoder: &mut Decoder<'_>, table: &mut Table<'_>, named: Option<Spanned<String>>) -> Option<PluginProgram> {
    let source = match table.optional("source") {
        Some(item) => source(decoder, &item).map(|source| Some(Box::new(source))),
        None => Some(None),
    };
    let config = match table.optional("config") {
        Some(item) => decoder.object(&item),
        None => Some(serde_json::Map::new()),
    };
    let environment = match table.optional("environment").filter(|item| !item.is_empty_array()) {
        Some(item) => names(decoder, &item, is_variable, "an environment variable's name that a plugin may get"),
        None => Some(Vec::new()),
    };
    let network = match table.optional("network") {
        Some(item) => decoder.boolean(&item),
        None => Some(false),
    };
    Some(PluginProgram {
        plugin: named?,
        source: source?,
        config: config?,
        environment: environment?,
        network: network?,
    })
}

fn file_name(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<Spanned<String>> {
    decoder.literal(item).filter(|plugin| is_file_name(decoder, plugin))
}

/// What kinds of artifacts are plugins.
pub fn types(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<Vec<String>> {
    let types = names(decoder, item, is_type, "an artifact type")?;
    if types.len() > limits::PLUGIN_TYPES {
        decoder.problems.push(&item.place(), format!("more than the limit of {}", limits::PLUGIN_TYPES));
        return None;
    }
    Some(types)
}

/// Which types of artifacts an executor takes for plugins: by name, so that no application is one.
pub fn plugin_types(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<Vec<String>> {
    let types = types(decoder, item)?;
    if types.iter().any(|named| named == "*") {
        let cause = "\"*\" is not taken here: name the types of artifacts that are plugins";
        decoder.problems.push(&item.place(), cause.to_owned());
        return None;
    }
    Some(types)
}

/// Where a plugin is fetched from, and why it may be run.
fn source(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<PluginSource> {
    let mut table = decoder.table(item)?;
    let artifact = decoder.required(&mut table, "artifact").and_then(|item| artifact(decoder, &item));
    let trust = match table.optional("trust") {
        Some(item) => decoder.literal(&item).map(Some),
        None => Some(None),
    };
    let allow_unverified = match table.optional("allowUnverified") {
        Some(item) => decoder.boolean(&item),
        None => Some(false),
    };
    let title = match table.optional("title") {
        Some(item) => decoder.literal(&item).map(|title| Some(title.value)),
        None => Some(None),
    };
    let refresh = match table.optional("refreshInterval") {
        Some(item) => refresh(decoder, &item),
        None => Some(limits::PLUGIN_REFRESH),
    };
    let max_bytes = match table.optional("maxBytes") {
        Some(item) => decoder.integer(&item, 1..=limits::PLUGIN_FILE_BYTES),
        None => Some(limits::PLUGIN_FETCH_BYTES),
    };
    let store = registry(decoder, &mut table);
    decoder.finish(table);
    let ((artifact, reference), trust, allow_unverified) = (artifact?, trust?, allow_unverified?);
    if trust.is_none() && reference.digest.is_none() && !allow_unverified {
        let hint = "trust = \"EXECUTOR\" has it verified by that executor's policy, artifact = \"NAME@DIGEST\" pins it; allowUnverified = true runs whatever lies there";
        decoder.problems.push_with_hint(&item.place(), "nothing vouches for this plugin", hint);
        return None;
    }
    if let Some(trust) = trust.as_ref().filter(|_| allow_unverified) {
        let message = "allowUnverified is given with trust: leave one of them out";
        decoder.problems.push(&trust.place, message);
        return None;
    }
    Some(PluginSource {
        artifact,
        reference,
        title: title?,
        trust,
        allow_unverified,
        refresh: refresh?,
        max_bytes: max_bytes?,
        store: store?,
    })
}

/// How the registry is asked: as the parameters of a registry store say, and with the credentials of `authProvider`, as in
/// Ratify v1. None where neither is given.
fn registry(decoder: &mut Decoder<'_>, table: &mut Table<'_>) -> Option<Option<RegistryStore>> {
    let store = match table.optional("store") {
        Some(item) => {
            let mut inner = decoder.table(&item)?;
            let store = store::registry(decoder, &mut inner, false);
            decoder.finish(inner);
            Some(store?)
        }
        None => None,
    };
    let Some(item) = table.optional("authProvider") else { return Some(store) };
    let credentials = credentials::source(decoder, &item, false)?.into_iter().collect();
    Some(Some(RegistryStore { credentials, ..store.unwrap_or_default() }))
}

fn artifact(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<(Spanned<String>, Reference)> {
    let value = decoder.string(item)?;
    match Reference::with_host(&value) {
        Ok(reference) => Some((Spanned { value, place: item.place() }, reference)),
        Err(error) => {
            decoder.problems.push(&item.place(), error.to_string());
            None
        }
    }
}

fn refresh(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<Duration> {
    let [least, most] = limits::PLUGIN_REFRESH_RANGE;
    let refresh = duration(decoder, item, most)?;
    if refresh < least {
        let message = format!("it is below the least, {}", humantime::format_duration(least));
        decoder.problems.push(&item.place(), message);
        return None;
    }
    Some(refresh)
}

fn names(decoder: &mut Decoder<'_>, item: &Item<'_>, is: fn(&str) -> bool, what: &str) -> Option<Vec<String>> {
    let items = decoder.filled_array(item)?;
    if items.len() > limits::PLUGIN_CONFIG {
        decoder.problems.push(&item.place(), format!("more than the limit of {}", limits::PLUGIN_CONFIG));
        return None;
    }
    let mut name = |item: &Item<'_>| {
        let name = decoder.literal(item)?;
        if !is(&name.value) {
            decoder.problems.push(&name.place, format!("{} is not {what}", quote(&name.value)));
            return None;
        }
        Some(name.value)
    };
    let names: Vec<_> = items.iter().map(&mut name).collect();
    names.into_iter().collect()
}

fn is_file_name(decoder: &mut Decoder<'_>, plugin: &Spanned<String>) -> bool {
    let of_name = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let Spanned { value, place } = plugin;
    let is = !value.is_empty()
        && value.len() <= limits::PLUGIN_NAME_BYTES
        && !value.starts_with('.')
        && value.chars().all(of_name);
    if !is {
        let message =
            format!("{} is not a plugin's file name: letters, digits, dots, underscores and hyphens", quote(value));
        decoder.problems.push(place, message);
    }
    is
}

fn is_type(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= limits::NAME_BYTES
        && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',')
}

/// Variables by which a program is made to run something else are none of them.
fn is_variable(name: &str) -> bool {
    let of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_name = !name.is_empty() && name.len() <= limits::NAME_BYTES && name.chars().all(of_name);
    is_name
        && !["LD_", "RATIFY", "DYLD_"].iter().any(|own| name.starts_with(own))
        && !["PATH", "HOME", "TMPDIR", "BASH_ENV", "ENV", "IFS"].contains(&name)
}
