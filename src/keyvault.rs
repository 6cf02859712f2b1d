//! Trusted certificates and public keys from an Azure Key Vault: read when they are first needed and again at an interval, in a thread of
//! its own, so that no pull waits for a vault. What was taken out of the vault, or disabled there, is trusted no more from
//! the next reading on; a vault that cannot be reached leaves what was last read in force, for a while. Nothing here
//! decides what a certificate is trusted for.

use std::fmt;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::azure::{Entra, Who};
use crate::config::Proxy;
use crate::limits;

mod jwk;
mod rest;

pub use rest::{Contents, Item};

use rest::{Rest, Unread};

/// What is asked of a vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Its URL, such as `https://NAME.vault.azure.net`.
    pub url: String,
    /// Who asks.
    pub who: Who,
    /// The certificates that are trusted.
    pub certificates: Vec<Item>,
    /// The keys that are trusted.
    pub keys: Vec<Item>,
    /// How often they are read.
    pub refresh: Duration,
    /// How long they are trusted when they cannot be read again.
    pub max_age: Duration,
}

/// A vault and what was last read of it. The thread that reads it ends soon after this is dropped.
pub struct Vault {
    url: String,
    state: Arc<Shared>,
    /// Dropped with it: then the thread ends.
    _stop: Sender<()>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    read: Condvar,
}

#[derive(Default)]
struct State {
    /// What is trusted, and since when it was last known to be so.
    held: Option<(Arc<Contents>, Instant)>,
    /// Why it could not be read, if so.
    problem: Option<String>,
    /// Grows whenever what is trusted changes, or whether it can be read.
    revision: u64,
    /// Whether it was tried at all.
    tried: bool,
}

impl Vault {
    /// Begins to read a vault.
    #[must_use]
    pub fn open(options: Options, environment: &dyn Fn(&str) -> Option<String>, proxy: Proxy) -> Self {
        let entra = Entra::new(&options.who, rest::audience(&options.url), environment, proxy);
        Self::over(entra, options)
    }

    fn over(entra: Entra, options: Options) -> Self {
        let (stop, stopped) = channel();
        let (url, state) = (options.url.clone(), Arc::<Shared>::default());
        let shared = Arc::clone(&state);
        let work = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = match runtime {
                Ok(runtime) => runtime,
                Err(error) => return shared.take(&options, Err(Unread::Unreachable(error.to_string()))),
            };
            let rest = Rest::new(entra, &options.url);
            loop {
                let read = runtime.block_on(rest.contents(&options.certificates, &options.keys));
                let next = if read.is_ok() { options.refresh } else { options.refresh.min(limits::REMOTE_RETRY) };
                shared.take(&options, read);
                match stopped.recv_timeout(next) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        };
        if let Err(error) = std::thread::Builder::new().name("keyvault".to_owned()).spawn(work) {
            let mut state = state.lock();
            (state.tried, state.problem) = (true, Some(format!("no thread can be made: {error}")));
        }
        Self { url, state, _stop: stop }
    }

    /// What is trusted, and the revision that it is. Waits for the first reading for at most
    /// [`limits::REMOTE_FIRST`]; blocks.
    ///
    /// # Errors
    /// Why there are none.
    pub fn contents(&self) -> (Result<Arc<Contents>, String>, u64) {
        let state = self.state.lock();
        let (state, _) = self
            .state
            .read
            .wait_timeout_while(state, limits::REMOTE_FIRST, |state| !state.tried)
            .unwrap_or_else(PoisonError::into_inner);
        let contents = match (&state.held, &state.problem) {
            (Some((contents, _)), _) => Ok(Arc::clone(contents)),
            (None, Some(problem)) => Err(problem.clone()),
            (None, None) => Err(format!("key vault {} has not answered yet", self.url)),
        };
        (contents, state.revision)
    }

    /// Which revision of what is trusted is in force: another one is to be asked for anew.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.state.lock().revision
    }

    /// Why it could not be read the last time, if so.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.state.lock().problem.clone()
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what a reading brought.
    fn take(&self, options: &Options, read: Result<Contents, Unread>) {
        let (now, url) = (Instant::now(), &options.url);
        let mut state = self.lock();
        let before = state.held.take();
        state.tried = true;
        let was_well = state.problem.is_none();
        let was = before.as_ref().map(|(contents, _)| Arc::clone(contents));
        (state.held, state.problem) = match read {
            Ok(contents) => (Some((Arc::new(contents), now)), None),
            Err(Unread::Gone(cause)) => (None, Some(format!("key vault {url}: {cause}"))),
            Err(Unread::Unreachable(cause)) => {
                let held = before.filter(|(_, since)| now.saturating_duration_since(*since) < options.max_age);
                (held, Some(format!("key vault {url} cannot be read: {cause}")))
            }
        };
        if let Some(problem) = &state.problem {
            warn!("{problem}");
        }
        let is = state.held.as_ref().map(|(contents, _)| Arc::clone(contents));
        if is != was || state.problem.is_none() != was_well || state.revision == 0 {
            state.revision = state.revision.saturating_add(1);
            let (certificates, keys) = is.map_or((0, 0), |is| (is.certificates.len(), is.keys.len()));
            info!(vault = url, certificates, keys, "trust from a key vault");
        }
        drop(state);
        self.read.notify_all();
    }
}

#[cfg(test)]
mod tests;
