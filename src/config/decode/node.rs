//! What the daemon keeps on disk, where it tells its counters and how it runs plugins, as written in the file.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::decode::duration;
use crate::config::file::decoder::{Decoder, Item, Table, quote};
use crate::config::{Cache, Confinement, Folder, Listen, Metrics, Plugins, Revocation};
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

/// How it is found out whether certificates were revoked.
pub fn revocation(decoder: &mut Decoder<'_>, table: &mut Table<'_>) -> Option<Revocation> {
    let default = Revocation::default();
    let fetch = match table.optional("fetch") {
        Some(item) => decoder.boolean(&item),
        None => Some(default.fetch),
    };
    let ocsp_timeout = wait(decoder, table, "ocspTimeout", default.ocsp_timeout);
    let crl_timeout = wait(decoder, table, "crlTimeout", default.crl_timeout);
    let max_crl_bytes = match table.optional("maxCrlBytes") {
        Some(item) => decoder.integer(&item, 1..=limits::CRL_BYTES),
        None => Some(default.max_crl_bytes),
    };
    let crl_folder = match table.optional("crlFolder") {
        Some(item) => match folder(decoder, &item)? {
            Folder::At(path) => Some(Some(path)),
            Folder::None | Folder::Systemd => Some(None),
        },
        None => Some(None),
    };
    Some(Revocation {
        fetch: fetch?,
        ocsp_timeout: ocsp_timeout?,
        crl_timeout: crl_timeout?,
        max_crl_bytes: max_crl_bytes?,
        crl_folder: crl_folder?,
    })
}

/// How long somebody is waited for.
fn wait(decoder: &mut Decoder<'_>, table: &mut Table<'_>, key: &'static str, default: Duration) -> Option<Duration> {
    match table.optional(key) {
        Some(item) => duration(decoder, &item, limits::REVOCATION_TIMEOUT_MAX),
        None => Some(default),
    }
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

/// Where plugins are, and how they are run.
pub fn plugins(decoder: &mut Decoder<'_>, table: &mut Table<'_>) -> Option<Plugins> {
    let default = Plugins::default();
    let path = path(decoder, table, "path", default.path);
    let kept = self::path(decoder, table, "kept", default.kept);
    let user = match table.optional("user") {
        Some(item) => user(decoder, &item),
        None => Some(default.user),
    };
    let socket = self::path(decoder, table, "socket", default.socket);
    let timeout = match table.optional("timeout") {
        Some(item) => duration(decoder, &item, limits::PLUGIN_TIMEOUT_MAX),
        None => Some(default.timeout),
    };
    let sandbox = match table.optional("sandbox") {
        Some(item) => decoder.choice(&item, &SANDBOX),
        None => Some(default.sandbox),
    };
    Some(Plugins { path: path?, kept: kept?, user: user?, socket: socket?, timeout: timeout?, sandbox: sandbox? })
}

const SANDBOX: [(&str, Confinement); 2] = [("best-effort", Confinement::BestEffort), ("strict", Confinement::Strict)];

fn path(decoder: &mut Decoder<'_>, table: &mut Table<'_>, key: &'static str, default: PathBuf) -> Option<PathBuf> {
    let Some(item) = table.optional(key) else { return Some(default) };
    let text = decoder.string(&item)?;
    absolute(decoder, &item, &text)
}

/// A user that can be one: neither root nor nothing.
fn user(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<String> {
    let name = decoder.string(item)?;
    let of_name = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.len() > limits::USER_NAME_BYTES || !name.chars().all(of_name) {
        decoder.problems.push(&item.place(), format!("{} is not a user's name or number", quote(&name)));
    } else if name == "root" || name.parse() == Ok(0_u32) {
        let message = "plugins must not run as root: name a user of their own";
        decoder.problems.push(&item.place(), message);
    } else {
        return Some(name);
    }
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
