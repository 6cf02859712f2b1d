//! Trusted files from a repository of The Update Framework, as Sigstore hands out its keys. The crate `sigstore-tuf` judges
//! what the repository says (TUF specification, section 5); here is what it is asked by: a bounded transport, a cache on
//! disk that is judged anew at each start, and when. Nothing of this is done in the path of a pull.

use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};
use sigstore_trust_root::{SIGSTORE_GITHUB_TRUSTED_ROOT, SIGSTORE_PRODUCTION_TRUSTED_ROOT, SigstoreInstance};
use sigstore_tuf::transport::FetchFuture;
use sigstore_tuf::{Error, Repository, StoreRepository, Updater, UpdaterConfig};
use url::Url;

use crate::config::Proxy;
use crate::limits;
use crate::trust::remote::{Remote, Terms, Unread};
use crate::trust::{self, Untrusted};

mod cache;

use cache::Cache;

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

/// Why a file is of no use, if so.
pub type Check = fn(&[u8]) -> Result<(), String>;

/// Begins to read a file of a repository. One that `check` refuses is not taken: the one before it goes on. Blocks on the
/// cache alone.
#[must_use]
pub fn open(options: Options, proxy: Proxy, check: Check) -> Target {
    let what = format!("TUF repository {}", options.mirror);
    let terms = Terms { what, refresh: options.refresh, max_age: options.max_age };
    let reader = Reader::new(options, proxy, check);
    let kept = reader.kept();
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
    check: Check,
    client: Result<Client, String>,
    cache: Arc<Cache>,
}

impl Reader {
    fn new(options: Options, proxy: Proxy, check: Check) -> Self {
        let cache = Cache::new(options.cache.as_ref().map(|folder| folder.join(name(&options))));
        Self { client: client(proxy), options, check, cache }
    }

    /// The file as an earlier process has last read it, and how long ago. All of it is judged anew, as of that moment.
    fn kept(&self) -> Option<(Vec<u8>, Duration)> {
        let (files, at) = self.cache.files().kept()?;
        // A moment that is still to come says nothing of how old it is.
        let age = SystemTime::now().duration_since(at).ok()?;
        let at = timestamp(at).ok()?;
        let judge = async {
            let updater = Updater::new(StoreRepository::new(files.clone()), &self.options.root).ok()?;
            let mut updater = updater.with_config(bounds()).with_store(files);
            self.fetch(&mut updater, at).await.ok()
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().ok()?;
        Some((runtime.block_on(judge)?, age))
    }

    async fn read(&self) -> Result<Vec<u8>, Unread> {
        let now = SystemTime::now();
        let at = timestamp(now).map_err(Unread::Unreachable)?;
        let updater = match (&self.options.mirror, &self.client) {
            (Mirror::Folder(folder), _) => Updater::new(Folder(folder.clone()), &self.options.root),
            (Mirror::Url(url), Ok(client)) => {
                Updater::new(Web { base: slashed(url), client: client.clone() }, &self.options.root)
            }
            (Mirror::Url(_), Err(cause)) => return Err(Unread::Unreachable(cause.clone())),
        };
        let updater = updater.map_err(|error| Unread::Gone(format!("its first root: {}", chain(&error))))?;
        let files = self.cache.files();
        let mut updater = updater.with_config(bounds()).with_store(files.clone());
        let found = self.fetch(&mut updater, at).await;
        // That a file is no longer listed was read to the end too, and must not be forgotten.
        if let Ok(_) | Err(Unread::Gone(_)) = &found {
            files.keep(now, updater.trusted().root().version);
        }
        found
    }

    /// The file, once the repository's metadata was followed to it.
    async fn fetch(&self, updater: &mut Updater, at: Timestamp) -> Result<Vec<u8>, Unread> {
        let target = &self.options.target;
        // A signature that does not hold, an older version or an expired one is what somebody in the middle would bring:
        // what was trusted before is not touched by it.
        let unreachable = |error: Error| Unread::Unreachable(chain(&error));
        updater.refresh(at).await.map_err(unreachable)?;
        let bytes = match updater.get_target(target, at).await {
            Ok(bytes) => bytes,
            Err(Error::TargetNotFound(_)) => return Err(Unread::Gone(format!("it no longer lists {target}"))),
            Err(error) => return Err(unreachable(error)),
        };
        // Nor by what is good and this version of the program cannot read.
        (self.check)(&bytes).map_err(|cause| Unread::Unreachable(format!("{target}: {cause}")))?;
        Ok(bytes)
    }
}

fn bounds() -> UpdaterConfig {
    let mut bounds = UpdaterConfig::default();
    (bounds.root_max_length, bounds.target_max_length) = (limits::TUF_ROOT_BYTES, limits::TUF_TARGET_BYTES);
    bounds.targets_max_length = limits::TUF_METADATA_BYTES;
    bounds
}

/// A repository in a folder. Whoever wrote it need not be trusted, any more than a server; links are followed, as tools
/// that write repositories make them.
struct Folder(PathBuf);

impl Folder {
    fn get(&self, name: &str, limit: u64) -> sigstore_tuf::Result<Option<Vec<u8>>> {
        if !Path::new(name).components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(Error::transport(format!("{name:?} does not lie in {}", self.0.display())));
        }
        match trust::read_untrusted(&self.0.join(name), limit) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Untrusted::Io { error, .. }) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::transport(error.to_string())),
        }
    }
}

impl Repository for Folder {
    fn fetch_metadata<'a>(&'a self, name: &'a str, max_length: u64) -> FetchFuture<'a> {
        Box::pin(async move { self.get(name, max_length) })
    }

    fn fetch_target<'a>(&'a self, path: &'a str, max_length: u64) -> FetchFuture<'a> {
        Box::pin(async move { self.get(&format!("targets/{path}"), max_length) })
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

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
