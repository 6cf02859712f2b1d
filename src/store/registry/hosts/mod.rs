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
            Some(pem) => {
                Tls { system_roots: false, roots: tls::roots("caPem or caBase64", pem.as_bytes())?, ..Tls::default() }
            }
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

/// The files that the folder of a registry rests on: its hosts.toml, and the certificates and keys that this, or without
/// it Docker's naming, points to. For whoever wants to know who can read them; what cannot be read here names no others.
#[must_use]
pub fn files_of(folder: &Path) -> Vec<PathBuf> {
    let path = folder.join(FILE);
    let content = read_bounded(&path, limits::HOSTS_BYTES).ok().flatten();
    let parsed = content.as_ref().filter(|content| !content.is_empty()).and_then(|content| file::parse(content).ok());
    let entries = parsed.or_else(|| certificates_in(folder).ok()).map(|file| file.entries).unwrap_or_default();
    let tls = entries.into_iter().flat_map(|entry| {
        let clients = entry.clients.into_iter().flat_map(|(certificate, key)| [certificate, key]);
        entry.ca.unwrap_or_default().into_iter().chain(clients)
    });
    let mut files: Vec<PathBuf> = content.map(|_| path).into_iter().chain(tls.map(|file| folder.join(file))).collect();
    files.sort();
    files.dedup();
    files
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The folders of a test.
    struct Site {
        folder: tempfile::TempDir,
    }

    impl Site {
        fn new() -> Self {
            Self { folder: tempfile::tempdir().unwrap() }
        }

        fn path(&self, path: &str) -> PathBuf {
            self.folder.path().join(path)
        }

        fn put(&self, path: &str, content: impl AsRef<[u8]>) {
            fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
            fs::write(self.path(path), content).unwrap();
        }

        /// What is found in folders of this site.
        fn hosts(&self, folders: &[&str]) -> Hosts {
            Hosts::new(folders.iter().map(|folder| self.path(folder)).collect(), false, None).unwrap()
        }

        /// The hosts of `registry.example`, found in the folder `a`.
        fn found(&self) -> Vec<Host> {
            self.hosts(&["a"]).of("registry.example").unwrap()
        }

        fn error(&self) -> String {
            self.hosts(&["a"]).of("registry.example").unwrap_err()
        }
    }

    fn bases(hosts: &[Host]) -> Vec<&str> {
        hosts.iter().map(|host| host.base.as_str()).collect()
    }

    /// A certificate that signs itself, and its key.
    fn certificate() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["registry.example".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    /// Where a registry without any file is asked: scheme as in containerd, whether anybody's certificate will do, and
    /// whether http follows.
    fn without_files(registry: &str, plain_http: bool) -> String {
        let [host] = Hosts::new(Vec::new(), plain_http, None).unwrap().of(registry).unwrap().try_into().unwrap();
        assert!(host.is_origin && host.capabilities == Capabilities::ALL && host.headers.is_empty(), "{host:?}");
        let skip = if host.tls.skip_verify { " skip" } else { "" };
        let or_http = host.or_http.map(|url| format!(" or {url}")).unwrap_or_default();
        format!("{}{skip}{or_http}", host.base)
    }

    #[test]
    fn without_files_a_registry_is_asked_where_containerd_asks_it() {
        for (registry, expected) in [
            ("docker.io", "https://registry-1.docker.io/v2"),
            ("ghcr.io", "https://ghcr.io/v2"),
            ("registry.example:80", "https://registry.example:80/v2"),
            ("registry.example:5000", "https://registry.example:5000/v2"),
            ("localhost", "https://localhost/v2 skip"),
            ("localhost:80", "http://localhost/v2"),
            ("localhost:5000", "https://localhost:5000/v2 skip or http://localhost:5000/v2"),
            ("127.9.9.9:5000", "https://127.9.9.9:5000/v2 skip or http://127.9.9.9:5000/v2"),
            ("[::1]:5000", "https://[::1]:5000/v2 skip or http://[::1]:5000/v2"),
            ("[::1]", "https://[::1]/v2"),
            ("localhost.example:5000", "https://localhost.example:5000/v2"),
        ] {
            assert_eq!(without_files(registry, false), expected, "{registry}");
        }
        for (registry, expected) in [
            ("docker.io", "https://registry-1.docker.io/v2"),
            ("registry.example:5000", "http://registry.example:5000/v2"),
            ("localhost", "http://localhost/v2"),
            ("localhost:5000", "http://localhost:5000/v2"),
        ] {
            assert_eq!(without_files(registry, true), expected, "{registry}");
        }
    }

    #[test]
    fn the_first_folder_that_there_is_counts_and_no_other() {
        let site = Site::new();
        let found = |registry: &str| {
            let hosts = site.hosts(&["missing", "a", "b"]).of(registry).unwrap();
            hosts[0].base.host_str().unwrap().to_owned()
        };
        let names = [
            "b/_default",
            "b/r.example:5000",
            "b/r.example_5000_",
            "a/_default",
            "a/r.example:5000",
            "a/r.example_5000_",
        ];
        assert_eq!(found("r.example:5000"), "r.example");
        for (number, name) in names.iter().enumerate() {
            site.put(&format!("{name}/hosts.toml"), format!("[host.m{number}]"));
            assert_eq!(found("r.example:5000"), format!("m{number}"), "{name}");
        }
        assert_eq!(found("r.example"), "m3");
        site.put("a/docker.io/hosts.toml", "[host.hub]");
        assert_eq!(found("docker.io"), "hub");
        site.put("a/[::1]_5000_/hosts.toml", "[host.v6]");
        assert_eq!(found("[::1]:5000"), "v6");
        fs::create_dir(site.path("a/empty")).unwrap();
        assert_eq!(found("empty"), "empty");
    }

    #[test]
    fn mirrors_come_first_and_are_told_for_whom_they_are_asked() {
        let site = Site::new();
        site.put("a/docker.io/hosts.toml", "[host.'http://m.example:5000']\n[host.'registry-1.docker.io/x']\n");
        let hosts = site.hosts(&["a"]).of("docker.io").unwrap();
        assert_eq!(
            bases(&hosts),
            ["http://m.example:5000/v2", "https://registry-1.docker.io/x/v2", "https://registry-1.docker.io/v2"]
        );
        assert_eq!(hosts.iter().map(|host| host.is_origin).collect::<Vec<_>>(), [false, true, true]);
        site.put("a/_default/hosts.toml", "server = 'https://m.example'");
        let hosts = site.hosts(&["a"]).of("registry.example").unwrap();
        assert_eq!((bases(&hosts), hosts[0].is_origin), (vec!["https://m.example/v2"], false));
        assert!(site.hosts(&["a"]).of("m.example").unwrap()[0].is_origin);
    }

    #[test]
    fn of_a_server_without_a_name_only_what_its_connection_needs_is_taken() {
        let site = Site::new();
        site.put(
            "a/registry.example/hosts.toml",
            "capabilities = ['pull']\noverride_path = true\nskip_verify = true\ndial_timeout = '2s'\nheader.x = 'y'",
        );
        let [host] = site.found().try_into().unwrap();
        assert_eq!((host.base.as_str(), host.capabilities), ("https://registry.example/v2", Capabilities::ALL));
        assert_eq!((host.tls.skip_verify, host.dial_timeout), (true, Some(Duration::from_secs(2))));
        assert_eq!(host.headers[0].0, "x");
        site.put("a/registry.example/hosts.toml", "server = 'registry.example'\ncapabilities = ['pull']");
        assert_eq!(site.found()[0].capabilities, Capabilities { pull: true, resolve: false, referrers: false });
        // Loopback is taken at its word, whatever the file says.
        site.put("a/localhost:5000/hosts.toml", "skip_verify = false");
        assert!(site.hosts(&["a"]).of("localhost:5000").unwrap()[0].tls.skip_verify);
    }

    #[test]
    fn http_with_settings_for_tls_is_tried_over_https_first() {
        let site = Site::new();
        for (text, expected) in [
            ("server = 'http://m:5000'", ("http://m:5000/v2", None)),
            ("server = 'http://m:5000'\nskip_verify = false", ("https://m:5000/v2", Some("http://m:5000/v2"))),
            ("server = 'http://m/x'\nca = []", ("https://m/x/v2", Some("http://m/x/v2"))),
            ("server = 'http://m:443'\nca = []", ("https://m/v2", Some("http://m:443/v2"))),
            ("server = 'http://m:80'\nca = []", ("http://m/v2", None)),
            ("server = 'http://m'\nclient = []", ("http://m/v2", None)),
            ("server = 'https://m'\nca = []", ("https://m/v2", None)),
        ] {
            site.put("a/registry.example/hosts.toml", text);
            let [host] = site.found().try_into().unwrap();
            assert_eq!((host.base.as_str(), host.or_http.as_ref().map(Url::as_str)), expected, "{text}");
        }
    }

    #[test]
    fn dockers_certificates_count_where_no_hosts_file_is_or_a_broken_one() {
        let site = Site::new();
        let (certificate, key) = certificate();
        for name in ["b.crt", "a.crt", "ours.cert"] {
            site.put(&format!("a/registry.example/{name}"), &certificate);
        }
        site.put("a/registry.example/ours.key", &key);
        site.put("a/registry.example/both.cert", format!("{certificate}{key}"));
        site.put("a/registry.example/other.key", "no key");
        fs::create_dir(site.path("a/registry.example/folder.crt")).unwrap();
        let found = || {
            let [host] = site.found().try_into().unwrap();
            (host.base.to_string(), host.tls.roots.len(), host.tls.clients.len())
        };
        let with = ("https://registry.example/v2".to_owned(), 2, 2);
        assert_eq!(found(), with);
        for content in ["", "server = 1"] {
            site.put("a/registry.example/hosts.toml", content);
            assert_eq!(found(), with, "{content:?}");
        }
        for content in [" ", "server = 'registry.example'"] {
            site.put("a/registry.example/hosts.toml", content);
            assert_eq!(found(), ("https://registry.example/v2".to_owned(), 0, 0), "{content:?}");
        }
        site.put("a/registry.example/hosts.toml", "");
        site.put("a/registry.example/ours.key", certificate);
        assert!(site.error().contains("ours.key: it holds no private key"), "{}", site.error());
    }

    #[test]
    fn files_are_found_from_the_folder_and_what_is_wrong_with_one_names_it() {
        let site = Site::new();
        let (certificate, key) = certificate();
        site.put("a/registry.example/ca.pem", &certificate);
        site.put("elsewhere.pem", &certificate);
        site.put("a/registry.example/key.pem", key);
        let file = |text: &str| site.put("a/registry.example/hosts.toml", text);
        file(&format!("ca = ['ca.pem', '{}']\nclient = [['ca.pem', 'key.pem']]", site.path("elsewhere.pem").display()));
        let tls = &site.found()[0].tls;
        assert_eq!((tls.roots.len(), tls.clients.len(), tls.system_roots), (2, 1, true));
        assert_eq!(site.found(), site.found());
        site.put("a/registry.example/broken.pem", "-----BEGIN CERTIFICATE-----\nhunter2\n");
        site.put("a/registry.example/empty.pem", "nothing");
        site.put("a/registry.example/x.pem", vec![b'x'; usize::try_from(limits::TLS_FILE_BYTES).unwrap() + 1]);
        fs::create_dir(site.path("a/registry.example/folder")).unwrap();
        for (text, expected) in [
            ("ca = 'none.pem'", "a/registry.example/none.pem: "),
            ("ca = 'broken.pem'", "a/registry.example/broken.pem: it is not PEM"),
            ("ca = 'empty.pem'", "a/registry.example/empty.pem: it holds no certificate"),
            ("ca = 'x.pem'", "a/registry.example/x.pem: it is larger than the limit of 1048576 bytes"),
            ("ca = 'folder'", "a/registry.example/folder: it is not a regular file"),
            ("client = 'ca.pem'", "a/registry.example/ca.pem: it holds no private key"),
            ("client = [['ca.pem', 'none.key']]", "a/registry.example/none.key: "),
            ("[host.m]\nca = 'empty.pem'", "a/registry.example/empty.pem: it holds no certificate"),
        ] {
            file(text);
            let error = site.error();
            assert!(error.contains(expected) && !error.contains("hunter2"), "{text}: {error}");
        }
    }

    #[test]
    fn hosts_files_are_bounded_and_a_pipe_does_not_hold_us_up() {
        let site = Site::new();
        let limit = usize::try_from(limits::HOSTS_BYTES).unwrap();
        site.put("a/registry.example/hosts.toml", "#".repeat(limit));
        assert_eq!(site.found().len(), 1);
        site.put("a/registry.example/hosts.toml", "#".repeat(limit + 1));
        assert!(site.error().contains("hosts.toml: it is larger than the limit of 65536 bytes"));
        fs::remove_file(site.path("a/registry.example/hosts.toml")).unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        let path = site.path("a/registry.example/hosts.toml");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(site.error().contains("hosts.toml: it is not a regular file"));
        fs::remove_file(path).unwrap();
        for number in 0..limits::TLS_FILES {
            site.put(&format!("a/registry.example/{number}.crt"), certificate().0);
        }
        assert_eq!(site.found()[0].tls.roots.len(), limits::TLS_FILES);
        site.put("a/registry.example/one.crt", "more");
        assert!(site.error().contains("more than 64 certificates"));
    }

    #[test]
    fn what_stands_in_a_folders_place_is_an_error() {
        let site = Site::new();
        site.put("a/registry.example", "");
        assert!(site.error().ends_with("a/registry.example: it is not a folder"));
        site.put("a/_default", "");
        let hosts = Hosts::new(vec![site.path("a/_default")], false, None).unwrap();
        assert!(hosts.of("registry.example").unwrap_err().contains("a/_default/registry.example: "));
    }

    #[test]
    fn a_file_that_names_nobody_who_can_be_asked_is_an_error() {
        let site = Site::new();
        site.put("a/registry.example/hosts.toml", "server = 'httpx://m'");
        assert!(site.error().ends_with("hosts.toml: it names no host that can be asked"));
    }

    #[test]
    fn each_warning_is_given_once_and_past_the_limit_anew() {
        let site = Site::new();
        site.put("a/registry.example/hosts.toml", "[host.m]\nskip_verify = true\ncapabilities = ['pull', 'x']");
        let hosts = site.hosts(&["a"]);
        for _ in 0..2 {
            hosts.of("registry.example").unwrap();
            let told = hosts.told.lock().unwrap().clone();
            assert_eq!(told.len(), 2);
            assert!(told.iter().any(|text| text.contains("hosts.toml: skip_verify is set for m")), "{told:?}");
        }
        site.put("a/registry.example/hosts.toml", "server = 1");
        hosts.of("registry.example").unwrap();
        assert!(hosts.told.lock().unwrap().iter().any(|text| text.contains("hosts.toml: line 1: server is no string")));
        while hosts.told.lock().unwrap().len() < limits::HOSTS_WARNINGS {
            let number = hosts.told.lock().unwrap().len();
            hosts.warn(number.to_string());
        }
        hosts.warn("one more".to_owned());
        assert_eq!(hosts.told.lock().unwrap().len(), 1);
    }

    #[test]
    fn certificates_of_the_store_count_in_place_of_the_systems_and_those_of_a_file_besides() {
        let site = Site::new();
        site.put("a/registry.example/ca.crt", certificate().0);
        let own = certificate().0;
        let hosts = Hosts::new(vec![site.path("a")], false, Some(&own)).unwrap();
        let roots = |registry: &str| {
            let tls = hosts.of(registry).unwrap().remove(0).tls;
            (tls.system_roots, tls.roots.len())
        };
        assert_eq!((roots("registry.example"), roots("other.example")), ((false, 2), (false, 1)));
        let error = Hosts::new(Vec::new(), false, Some("x")).unwrap_err();
        assert_eq!(error, "caPem or caBase64: it holds no certificate in PEM");
    }

    #[test]
    fn a_file_that_only_root_reads_comes_with_its_mend() {
        let shown = unread(Path::new("/etc/docker/certs.d/a/b.key"), &io::ErrorKind::PermissionDenied.into());
        assert!(shown.starts_with("/etc/docker/certs.d/a/b.key: permission denied; let the group"), "{shown}");
        assert!(shown.contains("LoadCredential="), "{shown}");
    }
}
