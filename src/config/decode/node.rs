//! What the daemon keeps on disk and where it tells its counters, as written in the file.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::config::file::decoder::{Decoder, Item, Table, quote};
use crate::config::{Cache, Folder, Listen, Metrics};
use crate::limits;

/// What is remembered by digest.
pub fn cache(decoder: &mut Decoder<'_>, table: &mut Table<'_>) -> Option<Cache> {
    let default = Cache::default();
    let path = match table.optional("path") {
        Some(item) => folder(decoder, &item),
        None => Some(default.path),
    };
    let disk = bytes(decoder, table, "disk", default.disk, limits::DISK_BYTES_MAX);
    let memory = bytes(decoder, table, "memory", default.memory, limits::REMEMBERED_BYTES_MAX);
    Some(Cache { path: path?, disk: disk?, memory: memory? })
}

fn bytes(decoder: &mut Decoder<'_>, table: &mut Table<'_>, key: &'static str, default: u64, most: u64) -> Option<u64> {
    match table.optional(key) {
        Some(item) => decoder.integer(&item, 0..=most),
        None => Some(default),
    }
}

fn folder(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<Folder> {
    let text = decoder.string(item)?;
    if text.is_empty() {
        return Some(Folder::None);
    }
    absolute(decoder, item, &text).map(Folder::At)
}

/// An absolute path.
pub fn absolute(decoder: &mut Decoder<'_>, item: &Item<'_>, text: &str) -> Option<PathBuf> {
    if Path::new(text).is_absolute() && !text.contains('\0') {
        return Some(PathBuf::from(text));
    }
    decoder.problems.push(&item.place(), format!("{} is not an absolute path", quote(text)));
    None
}

/// Where counters are told.
pub fn metrics(decoder: &mut Decoder<'_>, table: &mut Table<'_>) -> Option<Metrics> {
    let Some(item) = table.optional("listen") else { return Some(Metrics::default()) };
    let text = decoder.string(&item)?;
    if text.is_empty() {
        return Some(Metrics { listen: None });
    }
    if let Some(path) = text.strip_prefix("unix:") {
        return absolute(decoder, &item, path).map(|path| Metrics { listen: Some(Listen::Unix(path)) });
    }
    let message = match text.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => {
            return Some(Metrics { listen: Some(Listen::Tcp(address)) });
        }
        Ok(_) => {
            format!("{} is no address of loopback: whoever reaches another one could read the metrics", quote(&text))
        }
        Err(_) => format!("{} is neither an address with a port nor unix:PATH", quote(&text)),
    };
    decoder.problems.push_with_hint(&item.place(), message, "\"127.0.0.1:9464\", \"[::1]:9464\" or \"unix:/PATH\"");
    None
}
