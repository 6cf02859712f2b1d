//! Where the repositories of a registry are read: from the mirrors that a hosts.toml of containerd names, in its
//! order, then from the registry itself. The lookup, the defaults and the rules for plain http are containerd's
//! (`core/remotes/docker/config`). Reads files, asks nobody; who may be asked for what is decided by whoever asks.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::Url;
use reqwest::header::HeaderName;
use rustix::fs::{Mode, OFlags};
use zeroize::Zeroizing;

use self::file::{Address, Entry, HostsFile, Scheme};
use super::tls::{self, Tls};
use crate::limits;
use crate::reference::DOCKER_HUB;
use crate::secret::Secret;

pub mod file;
mod order;

pub use self::file::Capabilities;

/// One place where repositories of a registry can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// `scheme://host[:port]` and the path below which the API lies, `/v2` unless the file says otherwise. It may end
    /// in a slash.
    pub base: Url,
    /// Whether this is the registry itself; a mirror is told with `?ns=` for which registry it is asked.
    pub is_origin: bool,
    /// What it may be asked for.
    pub capabilities: Capabilities,
    /// What is sent along with each request. `Authorization` may be among them.
    pub headers: Vec<(HeaderName, Secret)>,
    /// How it is reached over TLS.
    pub tls: Tls,
    /// Longest wait for a connection; none: the usual one.
    pub dial_timeout: Option<Duration>,
    /// The same place over http, where the file says http and has settings for TLS too: it is then asked over https
    /// first, and over http if it does not speak TLS.
    pub or_http: Option<Url>,
}

/// Finds the hosts of each registry.
#[derive(Debug)]
pub struct Hosts {
    folders: Vec<PathBuf>,
    plain_http: bool,
    tls: Tls,
    /// The warnings so far: each is logged once.
    told: Mutex<BTreeSet<String>>,
}

impl Hosts {
    /// Looks into these folders, in their order; none: no file is read. `plain_http` is for the registries themselves,
    /// not for their mirrors. The certificates of `ca`, in PEM, count in place of the system's.
    ///
    /// # Errors
    /// What is wrong with `ca`.
    pub fn new(folders: Vec<PathBuf>, plain_http: bool, ca: Option<&str>) -> Result<Self, String> {
        let tls = match ca {
            Some(pem) => Tls { system_roots: false, roots: tls::roots("caPem", pem.as_bytes())?, ..Tls::default() },
            None => Tls::default(),
        };
        Ok(Self { folders, plain_http, tls, told: Mutex::default() })
    }

    /// The hosts of a registry, in the order in which they are asked: at least one. Reads files, so it may block.
    ///
    /// # Errors
    /// A file that is there and cannot be read, or is no certificate or key: which one, and the mend. What is wrong
    /// with a hosts.toml alone is a warning, and containerd's way out is taken.
    pub fn of(&self, registry: &str) -> Result<Vec<Host>, String> {
        let Some(folder) = self.folder_of(registry)? else {
            return Ok(vec![self.host(registry, Path::new(""), Entry::default())?]);
        };
        let file = self.read(&folder)?;
        let entries = file.entries.into_iter();
        let hosts = entries.map(|entry| self.host(registry, &folder, entry)).collect::<Result<Vec<_>, _>>()?;
        if hosts.is_empty() {
            return Err(format!("{}: it names no host that can be asked", folder.join(FILE).display()));
        }
        Ok(hosts)
    }

    /// The first folder that there is: in each of ours that of the registry, then `_default`.
    fn folder_of(&self, registry: &str) -> Result<Option<PathBuf>, String> {
        // containerd takes the last colon for the port's, in an IPv6 address without one too.
        let other = registry.rsplit_once(':').filter(|(host, _)| !host.is_empty());
        let other = other.map(|(host, port)| format!("{host}_{port}_"));
        for folder in &self.folders {
            for name in other.as_deref().into_iter().chain([registry, "_default"]) {
                let path = folder.join(name);
                match fs::metadata(&path) {
                    Ok(metadata) if metadata.is_dir() => return Ok(Some(path)),
                    Ok(_) => return Err(format!("{}: it is not a folder", path.display())),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(unread(&path, &error)),
                }
            }
        }
        Ok(None)
    }

    fn read(&self, folder: &Path) -> Result<HostsFile, String> {
        let path = folder.join(FILE);
        let content = read_bounded(&path, limits::HOSTS_BYTES)?.unwrap_or_default();
        if content.is_empty() {
            return certificates_in(folder);
        }
        match file::parse(&content) {
            Ok(file) => {
                for note in &file.notes {
                    self.warn(format!("{}: {note}", path.display()));
                }
                Ok(file)
            }
            Err(cause) => {
                self.warn(format!(
                    "{}: {cause}; as in containerd none of it holds: the registry itself is asked, no mirror, with the \
                     certificates that lie beside the file",
                    path.display()
                ));
                certificates_in(folder)
            }
        }
    }

    fn host(&self, registry: &str, folder: &Path, entry: Entry) -> Result<Host, String> {
        let (address, capabilities, skip_verify) = match entry.address {
            Some(address) => (address, entry.capabilities, entry.skip_verify),
            None => {
                let (address, skip_verify) = origin(registry, self.plain_http);
                // What the file says of a server that it does not name counts for its connection alone.
                (address, Capabilities::ALL, skip_verify.or(entry.skip_verify))
            }
        };
        let is_tls_set = entry.ca.is_some() || !entry.clients.is_empty() || skip_verify.is_some();
        let is_either = address.scheme == Scheme::Http && is_tls_set && port(&address.host) != Some("80");
        let scheme = if is_either { Scheme::Https } else { address.scheme };
        if skip_verify == Some(true) && entry.skip_verify == Some(true) {
            self.warn(format!(
                "{}: skip_verify is set for {}: whoever answers there is taken for it; name its certificate as ca \
                 instead",
                folder.join(FILE).display(),
                address.host
            ));
        }
        Ok(Host {
            base: address.url(scheme)?,
            is_origin: address.host == registry || (registry == DOCKER_HUB && address.host == DOCKER_HUB_HOST),
            capabilities,
            headers: entry.headers,
            tls: self.tls(folder, entry.ca.unwrap_or_default(), entry.clients, skip_verify)?,
            dial_timeout: entry.dial_timeout,
            or_http: if is_either { Some(address.url(Scheme::Http)?) } else { None },
        })
    }

    fn tls(
        &self,
        folder: &Path,
        ca: Vec<PathBuf>,
        clients: Vec<(PathBuf, PathBuf)>,
        skip_verify: Option<bool>,
    ) -> Result<Tls, String> {
        let mut tls = Tls { skip_verify: skip_verify.unwrap_or_default(), ..self.tls.clone() };
        for path in ca {
            let path = folder.join(path);
            tls.roots.extend(tls::roots(&path.display().to_string(), &read_tls(&path)?)?);
        }
        for (certificate, key) in clients {
            let (certificate, key) = (folder.join(certificate), folder.join(key));
            let certificate = (certificate.display().to_string(), read_tls(&certificate)?);
            let key = (key.display().to_string(), Zeroizing::new(read_tls(&key)?));
            tls.clients.push(tls::client((&certificate.0, &certificate.1), (&key.0, &key.1))?);
        }
        Ok(tls)
    }

    fn warn(&self, text: String) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= limits::HOSTS_WARNINGS {
            told.clear();
        }
        if !told.contains(&text) {
            tracing::warn!("{text}");
            told.insert(text);
        }
    }
}

/// Where a registry itself is, and whether anybody's certificate will do there: containerd takes loopback at its word.
fn origin(registry: &str, plain_http: bool) -> (Address, Option<bool>) {
    let at = |scheme, host: &str| Address { scheme, host: host.to_owned(), path: "/v2".to_owned() };
    let port = port(registry);
    match registry {
        DOCKER_HUB => (at(Scheme::Https, DOCKER_HUB_HOST), None),
        _ if plain_http => (at(Scheme::Http, registry), None),
        _ if !is_loopback(registry) => (at(Scheme::Https, registry), None),
        _ if port.is_none_or(|port| port == "443") => (at(Scheme::Https, registry), Some(true)),
        // Which of both is spoken there is found out, unless it is the port of http.
        _ => (at(Scheme::Http, registry), (port != Some("80")).then_some(true)),
    }
}

/// Whether containerd takes a host for this machine (`docker.IsLocalhost`). An IPv6 address without a port is none to
/// it: brackets are taken off together with the port.
fn is_loopback(host: &str) -> bool {
    let host = match port(host) {
        Some(_) => host.rsplit_once(':').map_or(host, |(host, _)| host.trim_matches(['[', ']'])),
        None => host,
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The port that is written in a host.
fn port(host: &str) -> Option<&str> {
    let (_, after_address) = host.rsplit_once(']').unwrap_or(("", host));
    after_address.rsplit_once(':').map(|(_, port)| port)
}

/// Docker's layout: certificate authorities end in `.crt`, a client's certificate in `.cert`, and its key, if it is
/// not in the same file, in `.key`.
fn certificates_in(folder: &Path) -> Result<HostsFile, String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| unread(folder, &error))? {
        let entry = entry.map_err(|error| unread(folder, &error))?;
        let is_folder = entry.file_type().map_err(|error| unread(folder, &error))?.is_dir();
        let name = PathBuf::from(entry.file_name());
        let is_certificate = name.extension().is_some_and(|ending| ending == "crt" || ending == "cert");
        if is_folder || !is_certificate {
            continue;
        }
        if names.len() == limits::TLS_FILES {
            return Err(format!("{}: it holds more than {} certificates", folder.display(), limits::TLS_FILES));
        }
        names.push(name);
    }
    names.sort();
    let mut server = Entry::default();
    for name in names {
        if name.extension().is_some_and(|ending| ending == "crt") {
            server.ca.get_or_insert_default().push(name);
            continue;
        }
        let key = name.with_extension("key");
        let has_key = folder.join(&key).try_exists().map_err(|error| unread(&folder.join(&key), &error))?;
        server.clients.push((name.clone(), if has_key { key } else { name }));
    }
    Ok(HostsFile { entries: vec![server], notes: Vec::new() })
}

/// A file of certificates or keys, which must be there.
fn read_tls(path: &Path) -> Result<Vec<u8>, String> {
    let content = read_bounded(path, limits::TLS_FILE_BYTES)?;
    content.ok_or_else(|| unread(path, &io::ErrorKind::NotFound.into()))
}

/// A regular file of at most so many bytes; none if there is none.
fn read_bounded(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, String> {
    // Without O_NONBLOCK, opening a named pipe would wait for a writer.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = match rustix::fs::open(path, flags, Mode::empty()).map_err(io::Error::from) {
        Ok(file) => File::from(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unread(path, &error)),
    };
    if !file.metadata().map_err(|error| unread(path, &error))?.is_file() {
        return Err(format!("{}: it is not a regular file", path.display()));
    }
    let mut content = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut content).map_err(|error| unread(path, &error))?;
    if u64::try_from(content.len()).is_ok_and(|length| length > limit) {
        return Err(format!("{}: it is larger than the limit of {limit} bytes", path.display()));
    }
    Ok(Some(content))
}

/// Why something cannot be read, and the mend.
fn unread(path: &Path, error: &io::Error) -> String {
    let mend = match error.kind() {
        io::ErrorKind::NotFound => "; create it, or name another file",
        io::ErrorKind::PermissionDenied => {
            "; let the group of the user that ratifyd runs as read it (chgrp, chmod g+r), or set configPath to a \
             folder of its own that names copies handed over by systemd (LoadCredential=)"
        }
        _ => "",
    };
    format!("{}: {error}{mend}", path.display())
}

/// The name of a hosts file in a registry's folder.
const FILE: &str = "hosts.toml";

/// Docker Hub's registry has a host of its own.
const DOCKER_HUB_HOST: &str = "registry-1.docker.io";
