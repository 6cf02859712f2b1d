//! What a process has once, whatever configuration is in force: its counters, content on disk, and what is known of
//! revoked certificates. `live` keeps it from one reading to the next; tools have none on disk.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::remotes::Remotes;
use crate::config::{Cache, Config, Folder, Plugins};
use crate::limits;
use crate::metrics::Metrics;
use crate::revocation::{Options, Revocation};
use crate::store::registry::disk::Disk;

/// What outlives a configuration.
#[derive(Default)]
pub struct Shared {
    metrics: Arc<Metrics>,
    remotes: Arc<Remotes>,
    on_disk: Option<OnDisk>,
    revocation: Mutex<Option<(Options, Arc<Revocation>)>>,
}

#[derive(Default)]
struct OnDisk {
    /// The folder that systemd gives, if it does.
    given: Option<PathBuf>,
    open: Mutex<Option<(PathBuf, u64, Arc<Disk>)>>,
}

impl Shared {
    /// That of the daemon, which may keep content on disk. `environment` tells the folder that systemd gives it
    /// (`CacheDirectory=`, systemd.exec(5): the first of several).
    #[must_use]
    pub fn of_daemon(environment: &dyn Fn(&str) -> Option<String>) -> Self {
        let folders = environment("CACHE_DIRECTORY");
        let first =
            folders.as_deref().and_then(|folders| folders.split(':').next()).filter(|path| path.starts_with('/'));
        let on_disk = OnDisk { given: first.map(PathBuf::from), open: Mutex::default() };
        Self { on_disk: Some(on_disk), ..Self::default() }
    }

    /// The counters.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Trust from elsewhere.
    pub(super) fn remotes(&self) -> &Arc<Remotes> {
        &self.remotes
    }

    /// Has trust from elsewhere read again, and waits a while for it; blocks.
    pub fn read_remotes_again(&self) {
        self.remotes.read_again();
    }

    /// Content on disk, as configured: the same as before where it is to be the same.
    pub(super) fn disk(&self, cache: &Cache) -> Option<Arc<Disk>> {
        let on_disk = self.on_disk.as_ref()?;
        let folder = match &cache.path {
            Folder::Systemd => on_disk.given.as_ref().map(|given| given.join("content")),
            Folder::None => None,
            Folder::At(path) => Some(path.clone()),
        };
        let folder = folder.filter(|_| cache.disk > 0);
        let mut open = on_disk.open.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(folder) = folder else {
            *open = None;
            return None;
        };
        match &*open {
            Some((before, capacity, disk)) if *before == folder && *capacity == cache.disk => Some(Arc::clone(disk)),
            _ => {
                let disk = Disk::open(&folder, cache.disk, Arc::clone(&self.metrics));
                *open = Some((folder, cache.disk, Arc::clone(&disk)));
                Some(disk)
            }
        }
    }
}

impl Shared {
    /// The folder for what TUF repositories said, if one outlives this process.
    pub(super) fn tuf_cache(&self, cache: &Cache) -> Option<PathBuf> {
        let folder = match &cache.path {
            Folder::Systemd => self.on_disk.as_ref()?.given.clone(),
            Folder::None => None,
            Folder::At(path) => Some(path.clone()),
        };
        folder.filter(|_| self.on_disk.is_some() && cache.disk > 0).map(|folder| folder.join("tuf"))
    }

    /// The folder for plugins that are fetched, if one outlives this process.
    pub(super) fn plugins(&self, plugins: &Plugins) -> Option<PathBuf> {
        self.on_disk.as_ref().map(|_| plugins.kept.clone())
    }

    /// Who knows whether certificates were revoked, as configured: the same as before where it is to be the same.
    pub(super) fn revocation(&self, config: &Config) -> Arc<Revocation> {
        let folder = self.on_disk.as_ref().and_then(|on_disk| match &config.cache.path {
            Folder::Systemd => on_disk.given.clone(),
            Folder::None => None,
            Folder::At(path) => Some(path.clone()),
        });
        let capacity = config.cache.disk.min(limits::REVOCATION_DISK_BYTES);
        let disk = folder.filter(|_| capacity > 0).map(|folder| (folder.join("revocation"), capacity));
        let options = Options { config: config.revocation.clone(), proxy: config.proxy.clone(), disk };
        let mut known = self.revocation.lock().unwrap_or_else(PoisonError::into_inner);
        match &*known {
            Some((before, revocation)) if *before == options => Arc::clone(revocation),
            _ => {
                let revocation = Revocation::new(options.clone(), Arc::clone(&self.metrics));
                *known = Some((options, Arc::clone(&revocation)));
                revocation
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn daemon(given: Option<&str>) -> Shared {
        let given = given.map(str::to_owned);
        Shared::of_daemon(&move |name| given.clone().filter(|_| name == "CACHE_DIRECTORY"))
    }

    #[test]
    fn content_is_kept_where_systemd_says_unless_configured_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let given = folder.path().to_str().unwrap().to_owned();
        let (here, default) = (Folder::At(folder.path().join("here")), Cache::default());
        let cache = |path: &Folder, disk| Cache { path: path.clone(), disk, memory: 0 };
        let at = |shared: &Shared, cache: &Cache| shared.disk(cache).map(|disk| format!("{disk:?}"));
        assert!(at(&daemon(Some(&given)), &default).unwrap().contains(&format!("{given}/content")));
        assert!(at(&daemon(Some(&format!("{given}:/other"))), &default).unwrap().contains(&format!("{given}/content")));
        assert!(at(&daemon(None), &cache(&here, 1 << 20)).unwrap().contains("/here"));
        for (shared, cache) in [
            (daemon(None), default.clone()),
            (daemon(Some("relative")), default.clone()),
            (daemon(Some(&given)), cache(&Folder::None, 1 << 20)),
            (daemon(Some(&given)), cache(&here, 0)),
            (Shared::default(), cache(&here, 1 << 20)),
        ] {
            assert_eq!(at(&shared, &cache), None, "{cache:?}");
        }
    }

    #[test]
    fn a_reload_goes_on_with_what_is_known_of_revoked_certificates_unless_it_is_asked_in_another_way() {
        let shared = daemon(None);
        let config = |more: &str| {
            let text = format!("executors = [{{ scopes = [\"*\"], mode = \"deny\" }}]\n{more}");
            crate::config::parse("config.toml", &text, &|_| None).unwrap()
        };
        let [first, again] = ["", ""].map(|more| shared.revocation(&config(more)));
        assert!(Arc::ptr_eq(&first, &again));
        for more in ["revocation.fetch = false", "proxy.http = \"http://proxy.example\"", "cache.path = \"/var/other\""]
        {
            assert!(!Arc::ptr_eq(&first, &shared.revocation(&config(more))), "{more}");
        }
    }

    #[test]
    fn a_reload_goes_on_with_the_same_content_on_disk() {
        let folder = tempfile::tempdir().unwrap();
        let shared = daemon(None);
        let cache = |disk| Cache { path: Folder::At(folder.path().to_owned()), disk, memory: 0 };
        let [first, again, smaller] = [2 << 20, 2 << 20, 1 << 20].map(|bytes| shared.disk(&cache(bytes)).unwrap());
        assert!(Arc::ptr_eq(&first, &again) && !Arc::ptr_eq(&first, &smaller));
    }
}
