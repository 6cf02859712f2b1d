//! Trust from elsewhere in this process, key vaults, TUF repositories and plugins: one reader for each set of options, whatever
//! configuration is in force, so that a reload asks nobody again.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::{Assembly, environment};
use crate::azure::Who;
use crate::config::{AzureIdentity, AzureVault, Place, Proxy, VaultItem};
use crate::executor::Executor;
use crate::keyvault::{self, Contents, Item};
use crate::limits;
use crate::metrics::AsOf;
use crate::plugin::source::{self, Installed, Source};
use crate::sigstore::trusted_root::TrustedRoot;
use crate::store::Store;
use crate::trust::remote::{Asked, Remote, Revision};
use crate::tuf;

/// A source, and which revision of it was taken.
#[derive(Clone)]
pub struct Taken {
    /// It is read for as long as somebody holds it.
    _source: Arc<dyn Any + Send + Sync>,
    revision: Revision,
}

impl Taken {
    /// Whether what was taken is what is trusted.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.revision.is_current()
    }
}

impl fmt::Debug for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Taken").field(&self.revision).finish()
    }
}

/// A trusted root in force.
#[derive(Clone)]
pub struct Root {
    /// Its configured name.
    pub name: String,
    /// Where it is from.
    pub source: String,
    /// When it was last known to be the one that counts: of a file, when it was written.
    pub as_of: AsOf,
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Root").field("name", &self.name).field("source", &self.source).finish_non_exhaustive()
    }
}

/// The sources that anybody holds.
#[derive(Default)]
pub(super) struct Remotes {
    vaults: Known<keyvault::Options, Contents>,
    targets: Known<tuf::Options, Vec<u8>>,
    plugins: Known<source::Options, Installed>,
}

impl Remotes {
    /// The key vault of these options.
    pub(super) fn vault(&self, vault: &AzureVault, proxy: &Proxy) -> Arc<keyvault::Vault> {
        self.vaults.get(options(vault), proxy, |options, proxy| keyvault::open(options, &environment, proxy))
    }

    /// The file of a TUF repository, a trusted root of Sigstore.
    pub(super) fn target(&self, options: tuf::Options, proxy: &Proxy) -> Arc<tuf::Target> {
        let check = |bytes: &[u8]| TrustedRoot::parse(bytes).map(drop).map_err(|cause| cause.to_string());
        self.targets.get(options, proxy, |options, proxy| tuf::open(options, proxy, check))
    }

    /// A plugin that is followed.
    pub(super) fn plugin(
        &self,
        options: source::Options,
        proxy: &Proxy,
        store: Arc<dyn Store>,
        judge: Option<Arc<Executor>>,
    ) -> Arc<Source> {
        self.plugins.get(options, proxy, |options, _| source::open(options, store, judge))
    }

    /// Has all of them read again, and waits for that for at most [`limits::REMOTE_FIRST`] in all; blocks.
    pub(super) fn read_again(&self) {
        let (vaults, targets, plugins) = (self.vaults.ask(), self.targets.ask(), self.plugins.ask());
        let deadline = Instant::now().checked_add(limits::REMOTE_FIRST);
        let left = || deadline.map_or(Duration::ZERO, |deadline| deadline.saturating_duration_since(Instant::now()));
        vaults.iter().for_each(|(vault, asked)| vault.await_reading(*asked, left()));
        targets.iter().for_each(|(target, asked)| target.await_reading(*asked, left()));
        plugins.iter().for_each(|(plugin, asked)| plugin.await_reading(*asked, left()));
    }
}

/// Sources of one kind, by what is asked of them and through which proxy.
struct Known<O, T>(Mutex<Vec<Open<O, T>>>);

/// What is asked, through which proxy, and what it came to.
type Open<O, T> = (O, Proxy, Weak<Remote<T>>);

impl<O, T> Default for Known<O, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<O, T: PartialEq + Send + Sync + 'static> Known<O, T> {
    /// Asks each for another reading.
    fn ask(&self) -> Vec<(Arc<Remote<T>>, Asked)> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let remotes = known.iter().filter_map(|(_, _, remote)| remote.upgrade());
        remotes.map(|remote| (Arc::clone(&remote), remote.ask())).collect()
    }
}

impl<O: Clone + PartialEq, T> Known<O, T> {
    fn get(&self, options: O, proxy: &Proxy, open: impl FnOnce(O, Proxy) -> Remote<T>) -> Arc<Remote<T>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(_, _, remote)| remote.strong_count() > 0);
        let same = known.iter().find(|(other, through, _)| *other == options && through == proxy);
        if let Some(remote) = same.and_then(|(_, _, remote)| remote.upgrade()) {
            return remote;
        }
        let remote = Arc::new(open(options.clone(), proxy.clone()));
        known.push((options, proxy.clone(), Arc::downgrade(&remote)));
        remote
    }
}

impl Assembly {
    /// What a source holds. It is taken anew when that changes.
    ///
    /// # Errors
    /// Why nothing is trusted; it is told at `place`, as is that something in force could not be read again.
    pub(super) fn take<T: PartialEq + Send + Sync + 'static>(
        &mut self,
        source: &Arc<Remote<T>>,
        place: &Place,
    ) -> Result<Arc<T>, String> {
        let now = source.now();
        self.take_now(source, now, place)
    }

    /// The same of a source that was asked already.
    pub(super) fn take_now<T: PartialEq + Send + Sync + 'static>(
        &mut self,
        source: &Arc<Remote<T>>,
        (value, revision): (Result<Arc<T>, String>, Revision),
        place: &Place,
    ) -> Result<Arc<T>, String> {
        self.taken.push(Taken { _source: Arc::<Remote<T>>::clone(source), revision });
        let problem = value.as_ref().err().cloned().or_else(|| source.problem());
        problem.into_iter().for_each(|problem| self.trust_problems.push(place, problem));
        value
    }
}

fn options(vault: &AzureVault) -> keyvault::Options {
    let AzureVault { url, client_id, tenant_id, certificates, keys, refresh, max_age } = vault.clone();
    let item = |VaultItem { name, version, versions }| Item { name, version, versions };
    keyvault::Options {
        url,
        // As in Ratify v2: workload identity where it is set up, else the machine's own.
        who: Who { identity: AzureIdentity::Any, client_id, tenant_id },
        certificates: certificates.into_iter().map(item).collect(),
        keys: keys.into_iter().map(item).collect(),
        refresh,
        max_age,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sigstore::testing::bundles::Keyless;
    use crate::tuf::testing::{LATER, Repo, TARGET};
    use crate::tuf::{Mirror, Options};

    #[test]
    fn a_trusted_root_that_this_version_cannot_read_leaves_the_last_good_one_in_force_also_after_a_restart() {
        let good = Keyless::new().root().bytes();
        let repo = Repo::of(&good);
        let cache = tempfile::tempdir().unwrap();
        let options = Options {
            mirror: Mirror::Folder(repo.folder.path().to_owned()),
            root: repo.first_root.clone(),
            target: TARGET.to_owned(),
            refresh: Duration::from_secs(3600),
            max_age: Duration::from_secs(3600),
            cache: Some(cache.path().to_owned()),
        };
        let remotes = Remotes::default();
        let target = remotes.target(options.clone(), &Proxy::default());
        assert_eq!(target.now().0.as_deref(), Ok(&good));
        repo.publish(2, b"{ \"mediaType\": \"one of tomorrow\" }", LATER);
        let read = |target: &tuf::Target| target.await_reading(target.ask(), Duration::from_secs(60));
        read(&target);
        assert_eq!(target.now().0.as_deref(), Ok(&good));
        let problem = target.problem().unwrap();
        assert!(problem.contains("cannot be read: trusted_root.json: ") && problem.contains("tomorrow"), "{problem}");
        let again = Remotes::default().target(options, &Proxy::default());
        read(&again);
        assert_eq!(again.now().0.as_deref(), Ok(&good));
        repo.publish(3, &good, LATER);
        read(&again);
        assert_eq!((again.now().0.as_deref(), again.problem()), (Ok(&good), None));
    }
}
