//! Trusted files from a repository of The Update Framework, as Sigstore hands out its keys. The crate `sigstore-tuf` judges
//! what the repository says (TUF specification, section 5); here is what it is asked by: a bounded transport, a cache on
//! disk that is judged anew at each start, and when. Nothing of this is done in the path of a pull.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};
use sigstore_trust_root::{SIGSTORE_GITHUB_TRUSTED_ROOT, SIGSTORE_PRODUCTION_TRUSTED_ROOT, SigstoreInstance};
use sigstore_tuf::transport::FetchFuture;
use sigstore_tuf::{Error, FileStore, MetadataStore, Repository, StoreRepository, Updater, UpdaterConfig};
use tracing::warn;
use url::Url;

use crate::config::Proxy;
use crate::limits;
use crate::trust::remote::{Remote, Terms, Unread};

/// What is asked of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Where it is.
    pub mirror: Mirror,
    /// The metadata in which trust begins, a `root.json`; each later root is signed by the one before it.
    pub root: Vec<u8>,
    /// The file that is wanted.
    pub target: String,
    /// How often it is asked for.
    pub refresh: Duration,
    /// How long the file is trusted when it cannot be asked for again.
    pub max_age: Duration,
    /// The folder that outlives this process, if there is one.
    pub cache: Option<PathBuf>,
}

/// Where a repository is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mirror {
    /// At a URL.
    Url(Url),
    /// In a folder, as an air-gapped node gets it: the metadata, and the targets in `targets`.
    Folder(PathBuf),
}

/// A repository whose first root comes with this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Sigstore's public one.
    PublicGood,
    /// GitHub's, for its attestations.
    GitHub,
}

impl Known {
    /// Where it is.
    #[must_use]
    pub fn url(self) -> &'static str {
        self.instance().tuf_url()
    }

    /// Its first root.
    #[must_use]
    pub fn root(self) -> &'static [u8] {
        self.instance().tuf_root()
    }

    /// The trusted root that it handed out when this program was made: for whoever must not ask.
    #[must_use]
    pub fn trusted_root(self) -> &'static [u8] {
        match self {
            Self::PublicGood => SIGSTORE_PRODUCTION_TRUSTED_ROOT.as_bytes(),
            Self::GitHub => SIGSTORE_GITHUB_TRUSTED_ROOT.as_bytes(),
        }
    }

    fn instance(self) -> SigstoreInstance {
        match self {
            Self::PublicGood => SigstoreInstance::PublicGood,
            Self::GitHub => SigstoreInstance::GitHub,
        }
    }
}

/// A file of a repository.
pub type Target = Remote<Vec<u8>>;

/// Begins to read a file of a repository. Blocks on the cache alone.
#[must_use]
pub fn open(options: Options, proxy: Proxy) -> Target {
    let what = format!("TUF repository {}", options.mirror);
    let terms = Terms { what, refresh: options.refresh, max_age: options.max_age };
    let cache = options.cache.as_ref().map(|folder| Cache { folder: folder.join(name(&options)) });
    let kept = cache.as_ref().and_then(|cache| cache.kept(&options));
    let reader = Reader { client: client(proxy), options, cache };
    Remote::open(terms, kept, async move || reader.read().await)
}

impl std::fmt::Display for Mirror {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Url(url) => url.fmt(f),
            Self::Folder(folder) => folder.display().fmt(f),
        }
    }
}

/// Asks one repository.
struct Reader {
    options: Options,
    client: Result<Client, String>,
    cache: Option<Cache>,
}

impl Reader {
    async fn read(&self) -> Result<Vec<u8>, Unread> {
        let now = SystemTime::now();
        let at = timestamp(now).map_err(Unread::Unreachable)?;
        let updater = match (&self.options.mirror, &self.client) {
            (Mirror::Folder(folder), _) => {
                Updater::new(StoreRepository::new(FileStore::new(folder)), &self.options.root)
            }
            (Mirror::Url(url), Ok(client)) => {
                Updater::new(Web { base: slashed(url), client: client.clone() }, &self.options.root)
            }
            (Mirror::Url(_), Err(cause)) => return Err(Unread::Unreachable(cause.clone())),
        };
        let updater = updater.map_err(|error| Unread::Gone(format!("its first root: {}", chain(&error))))?;
        let mut updater = updater.with_config(bounds());
        if let Some(cache) = &self.cache {
            updater = updater.with_store(cache.store());
        }
        let bytes = fetch(&mut updater, &self.options.target, at).await?;
        if let Some(cache) = &self.cache {
            cache.refreshed(now);
        }
        Ok(bytes)
    }
}

/// The file, once the repository's metadata was followed to it.
async fn fetch(updater: &mut Updater, target: &str, at: Timestamp) -> Result<Vec<u8>, Unread> {
    // A signature that does not hold, an older version or an expired one is what somebody in the middle would bring: what
    // was trusted before is not touched by it.
    let unreachable = |error: Error| Unread::Unreachable(chain(&error));
    updater.refresh(at).await.map_err(unreachable)?;
    match updater.get_target(target, at).await {
        Ok(bytes) => Ok(bytes),
        Err(Error::TargetNotFound(_)) => Err(Unread::Gone(format!("it no longer lists {target}"))),
        Err(error) => Err(unreachable(error)),
    }
}

fn bounds() -> UpdaterConfig {
    let mut bounds = UpdaterConfig::default();
    (bounds.root_max_length, bounds.target_max_length) = (limits::TUF_ROOT_BYTES, limits::TUF_TARGET_BYTES);
    bounds
}

/// What an earlier process has read.
struct Cache {
    folder: PathBuf,
}

impl Cache {
    fn store(&self) -> Store {
        Store(FileStore::new(&self.folder))
    }

    /// The file as it was last read, and how long ago. All of it is judged anew, as of that moment.
    fn kept(&self, options: &Options) -> Option<(Vec<u8>, Duration)> {
        let text = fs::read_to_string(self.folder.join(REFRESHED)).ok()?;
        let at = UNIX_EPOCH.checked_add(Duration::from_secs(text.trim().parse().ok()?))?;
        // A moment that is still to come says nothing of how old it is.
        let age = SystemTime::now().duration_since(at).ok()?;
        let at = timestamp(at).ok()?;
        let judge = async {
            let updater = Updater::new(StoreRepository::new(self.store()), &options.root).ok()?;
            let mut updater = updater.with_config(bounds()).with_store(self.store());
            fetch(&mut updater, &options.target, at).await.ok()
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().ok()?;
        Some((runtime.block_on(judge)?, age))
    }

    fn refreshed(&self, now: SystemTime) {
        let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if let Err(error) = self.store().store(REFRESHED, seconds.to_string().as_bytes()) {
            warn!("a TUF repository is not kept on disk: {}", chain(&error));
        }
    }
}

/// A folder that is written to. One of each version of a snapshot would fill it; the newest alone is asked for again.
struct Store(FileStore);

impl MetadataStore for Store {
    fn load(&self, name: &str) -> sigstore_tuf::Result<Option<Vec<u8>>> {
        self.0.load(name)
    }

    fn store(&self, name: &str, bytes: &[u8]) -> sigstore_tuf::Result<()> {
        if name.ends_with(".snapshot.json") { Ok(()) } else { self.0.store(name, bytes) }
    }
}

/// A repository on the web.
struct Web {
    /// With a slash at its end.
    base: Url,
    client: Client,
}

impl Web {
    async fn get(&self, path: &str, limit: u64) -> sigstore_tuf::Result<Option<Vec<u8>>> {
        let url = self.base.join(path).map_err(|error| Error::transport(format!("{path:?}: {error}")))?;
        let broken = |error: reqwest::Error| Error::transport(format!("GET {url}: {}", deepest(&error)));
        let too_large = || Error::transport(format!("GET {url}: more than the limit of {limit} bytes"));
        let mut response = self.client.get(url.clone()).send().await.map_err(broken)?;
        match response.status() {
            StatusCode::OK => {}
            // Object stores answer so for what is not there.
            StatusCode::NOT_FOUND | StatusCode::FORBIDDEN => return Ok(None),
            status => return Err(Error::transport(format!("GET {url}: the answer has status {}", status.as_u16()))),
        }
        if response.content_length().is_some_and(|length| length > limit) {
            return Err(too_large());
        }
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(broken)? {
            body.extend_from_slice(&part);
            if u64::try_from(body.len()).unwrap_or(u64::MAX) > limit {
                return Err(too_large());
            }
        }
        Ok(Some(body))
    }
}

impl Repository for Web {
    fn fetch_metadata<'a>(&'a self, name: &'a str, max_length: u64) -> FetchFuture<'a> {
        Box::pin(self.get(name, max_length))
    }

    fn fetch_target<'a>(&'a self, path: &'a str, max_length: u64) -> FetchFuture<'a> {
        Box::pin(async move { self.get(&format!("targets/{path}"), max_length).await })
    }
}

fn client(proxy: Proxy) -> Result<Client, String> {
    let builder = Client::builder()
        .user_agent(concat!("ratifyd/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::limited(limits::REDIRECTS))
        .proxy(reqwest::Proxy::custom(move |url| proxy.of(url).map(|proxy| proxy.secret().clone())))
        .connect_timeout(limits::CONNECT_TIMEOUT)
        .timeout(limits::TUF_TIMEOUT)
        .pool_max_idle_per_host(0);
    builder.build().map_err(|error| format!("no client can be made: {}", deepest(&error)))
}

fn slashed(url: &Url) -> Url {
    let mut url = url.clone();
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    url
}

/// The folder of a repository within the cache: another first root is another repository.
fn name(options: &Options) -> String {
    let text = [options.mirror.to_string().as_bytes(), b"\0", options.target.as_bytes(), b"\0", &options.root].concat();
    digest(&SHA256, &text).as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn timestamp(at: SystemTime) -> Result<Timestamp, String> {
    Timestamp::try_from(at).map_err(|error| format!("the clock: {error}"))
}

/// An error and what is behind it.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// What is behind an error of the client, whose own words repeat the URL.
fn deepest(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).last().map(ToString::to_string).unwrap_or_default()
}

/// When the repository was last read, in seconds since 1970.
const REFRESHED: &str = "refreshed";

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
