//! TUF repositories, as written in the file: the name of a well-known one, or where one is and in what trust in it begins.

use std::path::{Path, PathBuf};

use url::{Host, Url};

use super::trust_store::path;
use super::vault::times;
use crate::config::file::decoder::{Decoder, Item, Table, quote};
use crate::config::{FirstRoot, TufInstance, TufMirror, TufSource};
use crate::limits;

/// A repository.
pub fn tuf(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<TufSource> {
    if item.as_text().is_some() {
        let first = FirstRoot::Of(decoder.choice(item, &TufInstance::ALL)?);
        let (refresh, max_age) = TufSource::TIMES;
        return Some(TufSource { first, mirror: None, target: TufSource::TARGET.to_owned(), refresh, max_age });
    }
    let mut table = decoder.table(item)?;
    let first = first_root(decoder, &mut table);
    let mirror = match table.optional("mirror") {
        Some(item) => mirror(decoder, &item).map(Some),
        // A file says what to trust there, and nothing of where that is.
        None if matches!(first, Some(FirstRoot::File(_))) => decoder.required(&mut table, "mirror").map(|_| None),
        None => Some(None),
    };
    let target = match table.optional("target") {
        Some(item) => target(decoder, &item),
        None => Some(TufSource::TARGET.to_owned()),
    };
    let times = times(decoder, &mut table, TufSource::TIMES);
    decoder.finish(table);
    let (refresh, max_age) = times?;
    Some(TufSource { first: first?, mirror: mirror?, target: target?, refresh, max_age })
}

fn first_root(decoder: &mut Decoder<'_>, table: &mut Table<'_>) -> Option<FirstRoot> {
    match (table.optional("instance"), table.optional("root")) {
        (Some(_), Some(root)) => {
            decoder.problems.push(&root.place(), "instance is given too: leave one of them out");
            None
        }
        (Some(instance), None) => decoder.choice(&instance, &TufInstance::ALL).map(FirstRoot::Of),
        (None, Some(root)) => path(decoder, &root).map(FirstRoot::File),
        (None, None) => {
            let hint = "root = \"/.../root.json\", or instance = \"public-good\" or \"github\"";
            decoder.problems.push_with_hint(table.place(), "it is not said in what trust begins", hint);
            None
        }
    }
}

fn mirror(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<TufMirror> {
    let text = decoder.string(item)?;
    if Path::new(&text).is_absolute() {
        return Some(TufMirror::Folder(PathBuf::from(text)));
    }
    let is_plain = |url: &Url| {
        url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none()
    };
    match Url::parse(&text) {
        Ok(url) if !is_plain(&url) => {
            decoder.problems.push(&item.place(), "a mirror's URL has no user, password, query or fragment");
            None
        }
        Ok(url) if url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url)) => {
            Some(TufMirror::Url(text))
        }
        _ => {
            let hint = "https://HOST/PATH, http to loopback, or the absolute path of a folder";
            decoder.problems.push_with_hint(&item.place(), format!("{} is not a mirror", quote(&text)), hint);
            None
        }
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// A path within the repository.
fn target(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<String> {
    let text = decoder.string(item)?;
    let is_part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    if text.len() > limits::PATH_BYTES || !text.split('/').all(is_part) {
        decoder.problems.push(&item.place(), format!("{} is not the path of a target", quote(&text)));
        return None;
    }
    Some(text)
}
