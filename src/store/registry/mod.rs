//! The store that reads from OCI registries over HTTP (OCI distribution specification 1.1), by the hosts that containerd
//! would ask. Every body is bounded while it streams and checked against its digest; what is immutable is remembered, and
//! lists of referrers for a few seconds. Made by `assemble`; decides nothing about what it reads.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

pub mod referrers;
mod transport;
mod door;
mod retry;
mod gate;
mod breaker;
pub mod auth;
pub mod credentials;
mod exchange;
mod clients;
pub mod push;
pub mod hosts;
mod tls;
pub mod redirect;
pub mod link;
pub mod disk;
mod flights;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::header::{HeaderName, HeaderValue};
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

pub use self::clients::Arrived;
use self::clients::Clients;
use self::credentials::Chain;
use self::disk::Disk;
use self::exchange::{Answer, Bound, Redirects};
use self::flights::Flights;
use self::hosts::Hosts;
use self::tls::Tls;
use self::transport::{Need, Question, Transport, Turn};
use crate::artifact::{Algorithm, Descriptor, Digest, Manifest};
use crate::cache::Cache;
use crate::config::Proxy;
use crate::json;
use crate::limits;
use crate::metrics::{self, Lookup, Metrics};
use crate::reference::{Reference, Repository};
use crate::store::{Error, Listed, Stale, Store, check, digest_of};

/// A store over all registries.
pub struct RegistryStore {
    transport: Transport,
    max_manifest_bytes: u64,
    max_blob_bytes: u64,
    /// Lists of referrers by repository and subject.
    lists: Cache<(Repository, Digest), Known>,
    remember_referrers: Duration,
    stale_referrers: Duration,
    lists_under_way: Flights<(Repository, Digest), Vec<Descriptor>>,
    /// Manifests and blobs. The repository is part of the key: what one repository holds says nothing of another.
    contents: Cache<(Repository, Descriptor), Bytes>,
    contents_under_way: Flights<(&'static str, Repository, Descriptor), Bytes>,
    disk: Option<Arc<Disk>>,
    metrics: Arc<Metrics>,
    /// What metrics were told of the weight of `contents`.
    told: AtomicU64,
}

/// A list of referrers, and when it was asked for.
#[derive(Clone)]
struct Known {
    candidates: Vec<Descriptor>,
    fetched: Instant,
}

/// What can be set.
#[derive(Clone)]
pub struct Options {
    /// containerd's folders of hosts.toml files, in their order; none: each registry is asked itself.
    pub host_folders: Vec<PathBuf>,
    /// Certificates, in PEM, that registries are judged by in place of the system's.
    pub ca: Option<String>,
    /// Who has credentials; without providers everybody is asked anonymously.
    pub credentials: Arc<Chain>,
    /// Where else credentials may be shown for a token: hosts, or the beginnings of URLs.
    pub allowed_realms: Vec<String>,
    /// How often a request is made in all, where its failure may pass.
    pub tries: u32,
    /// Speak http to every registry, not only to those on loopback.
    pub plain_http: bool,
    /// Sent as `User-Agent`; none: this program's name and version.
    pub user_agent: Option<String>,
    /// Largest manifest or index, in bytes; none: [`limits::MANIFEST_BYTES`], which is also the most.
    pub max_manifest_bytes: Option<u64>,
    /// Largest blob, in bytes; none: whatever its reader allows, which is asked anyway.
    pub max_blob_bytes: Option<u64>,
    /// How long a list of referrers is remembered; zero: not at all.
    pub remember_referrers: Duration,
    /// How long after it was asked for the last known list of referrers stands in where a registry cannot be reached;
    /// zero: never.
    pub stale_referrers: Duration,
    /// Through whom registries are asked; the environment is not looked at.
    pub proxy: Proxy,
    /// Most bytes of manifests and blobs in memory.
    pub memory: u64,
    /// Where they are remembered on disk, if anywhere.
    pub disk: Option<Arc<Disk>>,
    /// Where requests and what is remembered are counted.
    pub metrics: Arc<Metrics>,
    /// Who is told how far a body has come, if anybody.
    pub arrived: Option<Arrived>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            host_folders: Vec::new(),
            ca: None,
            credentials: Arc::new(Chain::new(Vec::new())),
            allowed_realms: Vec::new(),
            tries: limits::REQUEST_TRIES,
            plain_http: false,
            user_agent: None,
            max_manifest_bytes: None,
            max_blob_bytes: None,
            remember_referrers: limits::REMEMBER_REFERRERS,
            stale_referrers: Duration::ZERO,
            proxy: Proxy::default(),
            memory: limits::REMEMBERED_BYTES,
            disk: None,
            metrics: Arc::default(),
            arrived: None,
        }
    }
}

/// Why no store can be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadOptions {
    /// More than the bound.
    #[error("maxManifestBytes is {0}, at most {limit} is possible", limit = limits::MANIFEST_BYTES)]
    MaxManifestBytes(u64),
    /// Text that no header can carry.
    #[error("userAgent {0:?} has characters that a header cannot carry")]
    UserAgent(String),
    /// Certificates that cannot be read.
    #[error("{0}")]
    Ca(String),
}

impl RegistryStore {
    /// Makes a store; asks nobody yet.
    ///
    /// # Errors
    /// See [`BadOptions`].
    pub fn new(options: Options) -> Result<Self, BadOptions> {
        let max_manifest_bytes = options.max_manifest_bytes.unwrap_or(limits::MANIFEST_BYTES);
        if max_manifest_bytes > limits::MANIFEST_BYTES {
            return Err(BadOptions::MaxManifestBytes(max_manifest_bytes));
        }
        let user_agent = options.user_agent.as_deref().unwrap_or(USER_AGENT);
        if HeaderValue::from_str(user_agent).is_err() {
            return Err(BadOptions::UserAgent(user_agent.to_owned()));
        }
        let hosts =
            Hosts::new(options.host_folders, options.plain_http, options.ca.as_deref()).map_err(BadOptions::Ca)?;
        let clients = Clients::new(user_agent, Arc::new(options.proxy), Tls::default(), None);
        let clients = clients.telling(options.arrived);
        let realms = options.allowed_realms.into();
        let transport = Transport::new(
            hosts,
            clients,
            options.credentials,
            realms,
            options.plain_http,
            options.tries,
            Arc::clone(&options.metrics),
        );
        Ok(Self {
            transport,
            max_manifest_bytes,
            max_blob_bytes: options.max_blob_bytes.unwrap_or(u64::MAX),
            lists: Cache::new(
                limits::REMEMBERED_REFERRERS,
                Some(options.remember_referrers.max(options.stale_referrers)),
            ),
            remember_referrers: options.remember_referrers,
            stale_referrers: options.stale_referrers,
            lists_under_way: Flights::new(),
            contents: Cache::new(options.memory, None),
            contents_under_way: Flights::new(),
            disk: options.disk,
            metrics: options.metrics,
            told: AtomicU64::new(0),
        })
    }

    /// The list of referrers as it is now, asked for once however many want it.
    async fn list(&self, key: &(Repository, Digest), deadline: Instant) -> Result<Vec<Descriptor>, Error> {
        let (repository, subject) = key;
        let fetch = async {
            // Whoever was asking before may have it by now.
            if let Some(known) = self.lists.get(key, Instant::now())
                && known.fetched.elapsed() < self.remember_referrers
            {
                return Ok(known.candidates);
            }
            let listed = referrers::list(&self.transport, repository, subject, deadline).await;
            match &listed {
                Ok(candidates) => {
                    let weight = u64::try_from(candidates.len().max(1)).unwrap_or(u64::MAX);
                    let known = Known { candidates: candidates.clone(), fetched: Instant::now() };
                    self.lists.insert(key.clone(), known, weight, Instant::now());
                }
                Err(error) if error.is_outage() || matches!(error, Error::Throttled { .. }) => {}
                // The registry has spoken: what it said before is not to come back with its next outage.
                Err(_) => self.lists.remove(key),
            }
            listed
        };
        let what = format!("referrers of {subject} of {repository}");
        self.lists_under_way.ask(key.clone(), &what, deadline, fetch).await
    }

    /// The same where another list could stand in: early enough that what that one names can still be read.
    async fn list_soon(&self, key: &(Repository, Digest), deadline: Instant) -> Result<Vec<Descriptor>, Error> {
        let now = Instant::now();
        let margin =
            limits::STALE_MARGIN.min(deadline.saturating_duration_since(now).checked_div(2).unwrap_or_default());
        let soon = deadline.checked_sub(margin).unwrap_or(deadline);
        timeout_at(soon, self.list(key, soon)).await.unwrap_or_else(|_| {
            let seconds = soon.saturating_duration_since(now).as_secs();
            let what = format!("the referrers of {} in {}", key.1, key.0);
            Err(Error::Network { what, cause: format!("no whole answer within {seconds} s") })
        })
    }

    /// The bytes of what a descriptor names: remembered, in memory or on disk, or asked for below `kind`, once however
    /// many want them.
    async fn content(
        &self,
        repository: &Repository,
        kind: &'static str,
        descriptor: &Descriptor,
        limit: u64,
        deadline: Instant,
    ) -> Result<Bytes, Error> {
        let what = format!("{kind} {} of {repository}", descriptor.digest);
        if descriptor.size > limit {
            return Err(Error::TooLarge { what, limit, unit: "bytes" });
        }
        let key = (repository.clone(), descriptor.clone());
        let remembered =
            || self.contents.get(&key, Instant::now()).filter(|bytes| check(&what, descriptor, bytes).is_ok());
        if let Some(bytes) = remembered() {
            self.metrics.cache(metrics::Cache::Memory, Lookup::Hit);
            return Ok(bytes);
        }
        self.metrics.cache(metrics::Cache::Memory, Lookup::Miss);
        let fetch = async {
            // Whoever was asking before may have it by now.
            if let Some(bytes) = remembered() {
                return Ok(bytes);
            }
            if let Some(disk) = &self.disk
                && let Some(bytes) = disk.get(repository, descriptor, deadline).await
            {
                self.remember(&key, &bytes);
                return Ok(bytes);
            }
            let bytes = self.fetch(repository, kind, descriptor, deadline).await?;
            self.remember(&key, &bytes);
            if let Some(disk) = &self.disk {
                disk.put(repository, descriptor, &bytes);
            }
            Ok(bytes)
        };
        let flight = (kind, repository.clone(), descriptor.clone());
        self.contents_under_way.ask(flight, &what, deadline, fetch).await
    }

    /// What a descriptor names, from the first host that has it: checked.
    async fn fetch(
        &self,
        repository: &Repository,
        kind: &str,
        descriptor: &Descriptor,
        deadline: Instant,
    ) -> Result<Bytes, Error> {
        let mut turns = self.transport.hosts(repository, Need::Pull, deadline).await?;
        while let Some(turn) = turns.next() {
            match fetch(&turn, kind, descriptor).await {
                Ok(bytes) => return Ok(bytes),
                Err(error) => turns.failed(error),
            }
        }
        Err(turns.error())
    }

    fn remember(&self, key: &(Repository, Descriptor), bytes: &Bytes) {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if length <= limits::REMEMBERED_ENTRY_BYTES && key.1.media_type.len() <= limits::MEDIA_TYPE_BYTES {
            let weight = length.saturating_add(ENTRY_OVERHEAD);
            self.contents.insert(key.clone(), bytes.clone(), weight, Instant::now());
            self.tell_weight(self.contents.used());
        }
    }

    /// Tells by how much what is remembered has grown since it was told last.
    fn tell_weight(&self, now: u64) {
        let before = self.told.swap(now, Ordering::Relaxed);
        let [now, before] = [now, before].map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
        self.metrics.cache_grew(metrics::Cache::Memory, now.saturating_sub(before));
    }
}

impl Drop for RegistryStore {
    fn drop(&mut self) {
        self.tell_weight(0);
    }
}

#[async_trait]
impl Store for RegistryStore {
    async fn resolve(&self, reference: &Reference, deadline: Instant) -> Result<Descriptor, Error> {
        let repository = &reference.repository;
        let name = match (&reference.digest, &reference.tag) {
            (Some(digest), _) => digest.as_str(),
            (None, Some(tag)) => tag,
            (None, None) => "latest",
        };
        let need = if reference.digest.is_some() { Need::Pull } else { Need::Resolve };
        let mut turns = self.transport.hosts(repository, need, deadline).await?;
        while let Some(turn) = turns.next() {
            match named(&turn, name, reference.digest.as_ref(), self.max_manifest_bytes).await {
                Ok((descriptor, bytes)) => {
                    self.remember(&(repository.clone(), descriptor.clone()), &bytes);
                    return Ok(descriptor);
                }
                Err(error) => turns.failed(error),
            }
        }
        Err(turns.error())
    }

    async fn referrers(&self, repository: &Repository, subject: &Digest, deadline: Instant) -> Result<Listed, Error> {
        let key = (repository.clone(), subject.clone());
        let known = self.lists.get(&key, Instant::now());
        if let Some(known) = known.as_ref().filter(|known| known.fetched.elapsed() < self.remember_referrers) {
            self.metrics.cache(metrics::Cache::Lists, Lookup::Hit);
            return Ok(known.candidates.clone().into());
        }
        self.metrics.cache(metrics::Cache::Lists, Lookup::Miss);
        let Some(known) = known else { return self.list(&key, deadline).await.map(Listed::from) };
        let error = match self.list_soon(&key, deadline).await {
            Ok(list) => return Ok(list.into()),
            Err(error) => error,
        };
        let age = known.fetched.elapsed();
        let left = self.stale_referrers.saturating_sub(age);
        match error {
            cause if cause.is_outage() && !left.is_zero() => {
                self.metrics.cache(metrics::Cache::Lists, Lookup::Stale);
                Ok(Listed { candidates: known.candidates, stale: Some(Stale { age, left, cause }) })
            }
            error => Err(error),
        }
    }

    async fn manifest(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        deadline: Instant,
    ) -> Result<Bytes, Error> {
        self.content(repository, MANIFESTS, descriptor, self.max_manifest_bytes, deadline).await
    }

    async fn blob(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        limit: u64,
        deadline: Instant,
    ) -> Result<Bytes, Error> {
        self.content(repository, BLOBS, descriptor, limit.min(self.max_blob_bytes), deadline).await
    }
}

/// What a descriptor names, from one host.
async fn fetch(turn: &Turn<'_>, kind: &str, descriptor: &Descriptor) -> Result<Bytes, Error> {
    let is_manifest = kind == MANIFESTS;
    let accept = if is_manifest { MANIFEST_TYPES } else { "*/*" };
    let url = turn.url(kind, descriptor.digest.as_str());
    let question = Question { accept, bound: Bound::Exactly(descriptor.size), redirects: Redirects::Any };
    let answer = turn.get(url, question).await?;
    check(&answer.what, descriptor, &answer.body)?;
    // Only a manifest's media type is the registry's to know: blobs are bytes to it.
    if is_manifest {
        answer.check_type(descriptor)?;
    }
    Ok(answer.body)
}

/// What a tag or a digest names, from one host.
async fn named(turn: &Turn<'_>, name: &str, asked: Option<&Digest>, limit: u64) -> Result<(Descriptor, Bytes), Error> {
    let question = Question { accept: MANIFEST_TYPES, bound: Bound::AtMost(limit), redirects: Redirects::Any };
    let answer = turn.get(turn.url(MANIFESTS, name), question).await?;
    let digest = computed_digest(&answer, asked)?;
    let media_type = media_type(&answer)?;
    Manifest::parse(&media_type, &answer.body).map_err(|error| answer.malformed(error.to_string()))?;
    let size = u64::try_from(answer.body.len()).unwrap_or(u64::MAX);
    Ok((Descriptor { media_type, digest, size }, answer.body))
}

/// The digest of a body. It must be the one asked for, if one was, else the one that the registry states, if it does.
fn computed_digest(answer: &Answer, asked: Option<&Digest>) -> Result<Digest, Error> {
    let stated = answer.header(&DOCKER_CONTENT_DIGEST)?.and_then(|stated| stated.parse().ok());
    let found = |expected: &Digest| digest_of(expected.algorithm(), &answer.body);
    if let Some(expected) = asked.or(stated.as_ref())
        && found(expected) != *expected
    {
        let (what, expected) = (answer.what.clone(), expected.clone());
        return Err(Error::Digest { what, found: found(&expected), expected });
    }
    Ok(asked.cloned().unwrap_or_else(|| digest_of(Algorithm::Sha256, &answer.body)))
}

/// The media type of a manifest: the one that the registry states, else the body's own.
fn media_type(answer: &Answer) -> Result<String, Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Stated {
        media_type: Option<String>,
    }
    if let Some(stated) = answer.content_type()? {
        return Ok(stated);
    }
    let stated: Stated = json::from_slice(&answer.body)
        .map_err(|error| answer.malformed(format!("the manifest cannot be read: {error}")))?;
    stated.media_type.ok_or_else(|| answer.malformed("neither the answer nor the manifest states a media type"))
}

const MANIFESTS: &str = "manifests";
const BLOBS: &str = "blobs";

/// All that this project reads, in one `Accept`: a registry that has another type must say so instead of converting.
const MANIFEST_TYPES: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.oci.artifact.manifest.v1+json";

const USER_AGENT: &str = concat!("ratifyd/", env!("CARGO_PKG_VERSION"));

const DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// What one remembered manifest or blob costs at most besides its bytes: its key, twice.
const ENTRY_OVERHEAD: u64 = 2048;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::{ARTIFACT_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST, IMAGE_INDEX, IMAGE_MANIFEST};

    #[test]
    fn every_manifest_type_is_asked_for() {
        let types: Vec<&str> = MANIFEST_TYPES.split(", ").collect();
        assert_eq!(types, [IMAGE_INDEX, IMAGE_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST, ARTIFACT_MANIFEST]);
    }

    #[test]
    fn options_that_cannot_be_served_are_refused_by_name() {
        let refused = |options: Options| RegistryStore::new(options).err().map(|error| error.to_string());
        let manifest = |bytes| Options { max_manifest_bytes: Some(bytes), ..Options::default() };
        assert_eq!(refused(manifest(limits::MANIFEST_BYTES)), None);
        assert!(refused(manifest(limits::MANIFEST_BYTES + 1)).unwrap().contains("maxManifestBytes"));
        let agent = Options { user_agent: Some("a\r\nb".to_owned()), ..Options::default() };
        assert!(refused(agent).unwrap().contains("userAgent"));
    }
}
