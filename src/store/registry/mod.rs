//! The store that reads from OCI registries over HTTP (OCI distribution specification 1.1), anonymously. Every body
//! is bounded while it streams and checked against its digest; what is immutable is remembered, and lists of
//! referrers for a few seconds. Made by `assemble`; decides nothing about what it reads.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

pub mod credentials;
pub mod referrers;
mod transport;
pub mod redirect;
pub mod link;
mod cache;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::header::{HeaderName, HeaderValue};
use serde::Deserialize;
use tokio::time::Instant;

use self::cache::Cache;
use self::transport::{Answer, Bound, Get, Transport, what};
use crate::artifact::{Algorithm, Descriptor, Digest, Manifest};
use crate::config::Proxy;
use crate::json;
use crate::limits;
use crate::reference::{Reference, Repository};
use crate::store::{Error, Store, check, digest_of};

/// A store over all registries.
pub struct RegistryStore {
    transport: Transport,
    max_manifest_bytes: u64,
    max_blob_bytes: u64,
    /// Lists of referrers by repository and subject.
    lists: Cache<(Repository, Digest), Vec<Descriptor>>,
    /// Manifests and blobs. The repository is part of the key: what one repository holds says nothing of another.
    contents: Cache<(Repository, Descriptor), Bytes>,
}

/// What can be set.
#[derive(Clone, Debug)]
pub struct Options {
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
    /// Through whom registries are asked; the environment is not looked at.
    pub proxy: Proxy,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            plain_http: false,
            user_agent: None,
            max_manifest_bytes: None,
            max_blob_bytes: None,
            remember_referrers: limits::REMEMBER_REFERRERS,
            proxy: Proxy::default(),
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
        Ok(Self {
            transport: Transport::new(user_agent, options.plain_http, options.proxy),
            max_manifest_bytes,
            max_blob_bytes: options.max_blob_bytes.unwrap_or(u64::MAX),
            lists: Cache::new(limits::REMEMBERED_REFERRERS, Some(options.remember_referrers)),
            contents: Cache::new(limits::REMEMBERED_BYTES, None),
        })
    }

    /// The bytes of what a descriptor names: remembered, or asked for below `kind`.
    async fn content(
        &self,
        repository: &Repository,
        kind: &str,
        descriptor: &Descriptor,
        limit: u64,
        deadline: Instant,
    ) -> Result<Bytes, Error> {
        let url = self.transport.url(repository, kind, descriptor.digest.as_str())?;
        let what = what(&url);
        if descriptor.size > limit {
            return Err(Error::TooLarge { what, limit, unit: "bytes" });
        }
        let key = (repository.clone(), descriptor.clone());
        if let Some(bytes) = self.contents.get(&key, Instant::now())
            && check(&what, descriptor, &bytes).is_ok()
        {
            return Ok(bytes);
        }
        let is_manifest = kind == MANIFESTS;
        let accept = if is_manifest { MANIFEST_TYPES } else { "*/*" };
        let get = Get { url, accept, bound: Bound::Exactly(descriptor.size), only_to: None };
        let answer = self.transport.get(repository, get).await?;
        check(&answer.what, descriptor, &answer.body)?;
        // Only a manifest's media type is the registry's to know: blobs are bytes to it.
        if is_manifest {
            answer.check_type(descriptor)?;
        }
        self.remember(key, &answer.body);
        Ok(answer.body)
    }

    fn remember(&self, key: (Repository, Descriptor), bytes: &Bytes) {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if length <= limits::REMEMBERED_ENTRY_BYTES && key.1.media_type.len() <= limits::MEDIA_TYPE_BYTES {
            self.contents.insert(key, bytes.clone(), length.saturating_add(ENTRY_OVERHEAD), Instant::now());
        }
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
        let url = self.transport.url(repository, MANIFESTS, name)?;
        let bound = Bound::AtMost(self.max_manifest_bytes);
        let answer = self.transport.get(repository, Get { url, accept: MANIFEST_TYPES, bound, only_to: None }).await?;
        let digest = computed_digest(&answer, reference.digest.as_ref())?;
        let media_type = media_type(&answer)?;
        Manifest::parse(&media_type, &answer.body).map_err(|error| answer.malformed(error.to_string()))?;
        let size = u64::try_from(answer.body.len()).unwrap_or(u64::MAX);
        let descriptor = Descriptor { media_type, digest, size };
        self.remember((repository.clone(), descriptor.clone()), &answer.body);
        Ok(descriptor)
    }

    async fn referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
        deadline: Instant,
    ) -> Result<Vec<Descriptor>, Error> {
        let key = (repository.clone(), subject.clone());
        if let Some(list) = self.lists.get(&key, Instant::now()) {
            return Ok(list);
        }
        let list = referrers::list(&self.transport, repository, subject).await?;
        let weight = u64::try_from(list.len().max(1)).unwrap_or(u64::MAX);
        self.lists.insert(key, list.clone(), weight, Instant::now());
        Ok(list)
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
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

const USER_AGENT: &str = concat!("ratifyd/", env!("CARGO_PKG_VERSION"));

const DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// What one remembered manifest or blob costs at most besides its bytes: its key, twice.
const ENTRY_OVERHEAD: u64 = 2048;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::{DOCKER_LIST, DOCKER_MANIFEST, IMAGE_INDEX, IMAGE_MANIFEST};

    #[test]
    fn every_manifest_type_is_asked_for() {
        let types: Vec<&str> = MANIFEST_TYPES.split(", ").collect();
        assert_eq!(types, [IMAGE_INDEX, IMAGE_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST]);
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
