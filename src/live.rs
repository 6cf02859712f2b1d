//! What is in force on this node now: the configuration and trust as they are on disk, the verdicts remembered,
//! and what was decided lately.
//!
//! There is no watcher: before each decision the files are compared with the stamps taken when they were read, so
//! a trust file that changed or vanished counts at the very next pull. A configuration that cannot be read leaves
//! the last good one in force; trust is always read anew. Pulls in flight finish under the rules they started with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use tokio::sync::broadcast;
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use crate::admission::{Admission, Decision, Pull, Verdicts};
use crate::artifact::{Descriptor, hex};
use crate::assemble::{self, Assembled, Fetched, Root, Shared, Taken};
use crate::config::{Config, Proxy, ProxyUrl};
use crate::limits;
use crate::memo::Memo;
use crate::metrics::{Metrics, Step};
use crate::reference::Reference;
use crate::trust::Stamp;
use crate::verdict::{Class, Conclusion, Token};

mod looks;
mod recent;

pub use recent::Record;

/// The node's state, shared by all who ask.
pub struct Live {
    path: PathBuf,
    force: ArcSwap<InForce>,
    /// Held while files are read, so that they are read once however many noticed a change.
    reading: Mutex<()>,
    looks: Arc<looks::Looks<Arc<InForce>>>,
    verdicts: Arc<Verdicts>,
    recent: recent::Recent,
    counts: BTreeMap<&'static str, AtomicU64>,
    not_enforced: AtomicU64,
    shared: Shared,
    started: Instant,
}

/// One reading of the files.
pub struct InForce {
    /// Ready to decide; or why nothing can be decided, for an operator to mend.
    pub admission: Result<Arc<Admission>, String>,
    /// The configuration that is in force, if any ever was.
    pub config: Option<Arc<Config>>,
    /// Whether the configuration file as it was read is in force.
    pub config_current: bool,
    /// What is wrong with configuration and trust, one problem each.
    pub problems: Vec<String>,
    /// What is good to know of configuration and trust, and is no problem.
    pub notes: Vec<String>,
    /// Where the files lie, by their own names and at the end of links: what changes there is worth a look.
    pub folders: Vec<PathBuf>,
    stamps: Vec<(PathBuf, Stamp)>,
    taken: Vec<Taken>,
    /// The trusted roots of Sigstore in force.
    pub roots: Vec<Root>,
    /// The plugins that are fetched.
    pub fetched: Vec<Fetched>,
}

impl InForce {
    /// Whether another reading came to the same, so that its stores may go on.
    fn means_the_same_as(&self, other: &Self) -> bool {
        let generation =
            |force: &Self| force.admission.as_ref().map(|admission| admission.generation).map_err(String::clone);
        let rest = |force: &Self| {
            let config = force.config.as_ref()?;
            // A password is no part of the generation, and its store must know the new one.
            let stores: Vec<_> = config.executors.iter().map(|executor| executor.store.clone()).collect();
            Some((config.proxy.clone(), config.cache.clone(), config.metrics.clone(), config.plugins.clone(), stores))
        };
        generation(self) == generation(other)
            && rest(self) == rest(other)
            && self.problems == other.problems
            && self.notes == other.notes
            && self.config_current == other.config_current
    }

    /// In the place of a reading that came to no end: what was in force before may have changed, and must not go on
    /// deciding as if nothing had happened.
    fn without_an_answer() -> Arc<Self> {
        let cause =
            "reading configuration and trust ended without an answer: a defect of ratifyd, see its log".to_owned();
        Arc::new(Self {
            admission: Err(cause.clone()),
            config: None,
            config_current: false,
            problems: vec![cause],
            notes: Vec::new(),
            folders: Vec::new(),
            stamps: Vec::new(),
            taken: Vec::new(),
            roots: Vec::new(),
            fetched: Vec::new(),
        })
    }

    /// Whether a file, or what a key vault holds, changed since it was read.
    fn is_stale(&self) -> bool {
        self.taken.iter().any(|taken| !taken.is_current())
            || self.stamps.iter().any(|(path, stamp)| !stamp.is_current(path))
    }
}

impl Live {
    /// Reads the configuration and all that it names. Never fails: what cannot be read is in the problems, and
    /// pulls are answered accordingly. Blocks on files.
    #[must_use]
    pub fn open(path: &Path) -> Arc<Self> {
        let shared = Shared::of_daemon(&assemble::environment);
        let force = read(path, None, &shared, true);
        tell(path, &force);
        trust_read(&shared, &force);
        Arc::new(Self {
            path: path.to_owned(),
            force: ArcSwap::from_pointee(force),
            reading: Mutex::new(()),
            looks: Arc::default(),
            verdicts: Memo::new(limits::MEMO_ENTRIES),
            recent: recent::Recent::default(),
            counts: Token::ALL.map(|token| (token.as_str(), AtomicU64::new(0))).into(),
            not_enforced: AtomicU64::new(0),
            shared,
            started: Instant::now(),
        })
    }

    /// What is in force now; read again first if a file changed. A file system that hangs takes one thread, and those
    /// who ask have their deadlines.
    pub async fn current(self: &Arc<Self>) -> Arc<InForce> {
        let live = Arc::clone(self);
        self.looks.ask(move || live.look()).await.unwrap_or_else(InForce::without_an_answer)
    }

    /// Looks whether a file has changed. Blocks on files.
    fn look(&self) -> Arc<InForce> {
        let force = self.force.load_full();
        if force.is_stale() {
            return self.read_again(false);
        }
        trust_read(&self.shared, &force);
        force
    }

    /// Reads all files again, changed or not, and has trust from elsewhere read again before.
    pub async fn reload(self: &Arc<Self>) -> Arc<InForce> {
        let live = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || {
            live.shared.read_remotes_again();
            live.read_again(true)
        });
        read.await.unwrap_or_else(|_| InForce::without_an_answer())
    }

    /// Forgets remembered verdicts, and with new stores all lists, and content in memory. Content on disk stays: it is
    /// what its digest says, whenever it came.
    pub async fn flush(self: &Arc<Self>) -> usize {
        self.reload().await;
        self.verdicts.flush()
    }

    /// Reads the files again, if they have changed since or `whatever` they are. Blocks on files.
    fn read_again(&self, whatever: bool) -> Arc<InForce> {
        let _one_at_a_time = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.force.load_full();
        if whatever || before.is_stale() {
            let mut force = read(&self.path, before.config.clone(), &self.shared, whatever);
            trust_read(&self.shared, &force);
            if !whatever && force.means_the_same_as(&before) {
                // What was put together before goes on, with all that it remembers; only the stamps are new.
                force.admission.clone_from(&before.admission);
            } else {
                self.shared.metrics().reload(force.problems.is_empty());
                tell(&self.path, &force);
            }
            self.force.store(Arc::new(force));
        }
        self.force.load_full()
    }

    /// Decides one pull under what is in force now, counts it and keeps it for [`Live::explain`]. Whether the answer is
    /// enforced is only kept: whatever decides is not told.
    pub async fn decide(
        self: &Arc<Self>,
        name: &str,
        descriptor: Descriptor,
        enforced: bool,
        deadline: Instant,
    ) -> Decision {
        let (now, start) = (SystemTime::now(), Instant::now());
        let decision = self.judge(name, &descriptor, now, deadline).await;
        self.shared.metrics().verdict(decision.verdict.token(), decision.class, decision.remembered);
        self.shared.metrics().took(Step::Whole, start.elapsed());
        if let Some(count) = self.counts.get(decision.verdict.token().as_str()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        if !enforced && !decision.verdict.token().allows() {
            self.not_enforced.fetch_add(1, Ordering::Relaxed);
        }
        // A remembered verdict is kept as it was given first, with its report.
        if !decision.remembered {
            self.recent.keep(Record::new(name, descriptor, now, enforced, &decision));
        }
        decision
    }

    async fn judge(
        self: &Arc<Self>,
        name: &str,
        descriptor: &Descriptor,
        now: SystemTime,
        deadline: Instant,
    ) -> Decision {
        let Ok(force) = timeout_at(deadline, self.current()).await else {
            let cause = "the time ran out while configuration and trust files were read";
            return Decision::unverified(Class::Time, Conclusion::unavailable(cause), false);
        };
        let admission = match &force.admission {
            Ok(admission) => admission,
            Err(cause) => return Decision::unverified(Class::Configuration, Conclusion::misconfigured(cause), false),
        };
        let reference = match Reference::with_host(name) {
            Ok(reference) => reference,
            Err(error) => return Decision::unverified(Class::Name, Conclusion::denied(error.to_string()), false),
        };
        if let Some(named) = reference.digest.filter(|named| *named != descriptor.digest) {
            let cause = format!("the name asks for {named}, but {} would be pulled", descriptor.digest);
            return Decision::unverified(Class::Name, Conclusion::denied(cause), false);
        }
        let pull = Pull { repository: reference.repository, descriptor: descriptor.clone() };
        admission.decide(&self.verdicts, &pull, now, deadline).await
    }

    /// A recent verdict, by its id.
    #[must_use]
    pub fn explain(&self, id: &str) -> Option<Arc<Record>> {
        self.recent.find(id)
    }

    /// The verdicts that are kept, oldest first, and a receiver of each one that comes after them.
    #[must_use]
    pub fn watch(&self) -> (Vec<Arc<Record>>, broadcast::Receiver<Arc<Record>>) {
        self.recent.watch()
    }

    /// The counters.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        self.shared.metrics()
    }

    /// The configuration file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Since when this process decides.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Verdicts since then, by token.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.counts.iter().map(|(token, count)| (*token, count.load(Ordering::Relaxed)))
    }

    /// Refusals since then that whoever asked let pass.
    #[must_use]
    pub fn not_enforced(&self) -> u64 {
        self.not_enforced.load(Ordering::Relaxed)
    }

    /// How many verdicts are remembered now.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.verdicts.kept()
    }
}

/// Reads the configuration and all that it names; `last_good` stays in force where the new one cannot be read. `waits`:
/// for what is fetched for the first time, as nobody does whose pull is held up.
fn read(path: &Path, last_good: Option<Arc<Config>>, shared: &Shared, waits: bool) -> InForce {
    let config_stamp = (path.to_owned(), Stamp::of(path));
    let (fresh, problems) = match assemble::load(path)
        .and_then(|config| Ok((assemble::assemble_with(&config, path, shared, waits)?, config)))
    {
        Ok((assembled, config)) => (Some((assembled, Arc::new(config))), Vec::new()),
        Err(problems) => (None, problems.lines()),
    };
    let config_current = fresh.is_some();
    let in_force = fresh.or_else(|| {
        last_good.and_then(|config| Some((assemble::assemble_with(&config, path, shared, waits).ok()?, config)))
    });
    let Some((assembled, config)) = in_force else {
        let stamps = vec![config_stamp];
        return InForce {
            admission: Err(first_of(&problems)),
            config: None,
            config_current,
            problems,
            notes: Vec::new(),
            folders: stamps.iter().flat_map(|(path, _)| folders_of(path)).collect(),
            stamps,
            taken: Vec::new(),
            roots: Vec::new(),
            fetched: Vec::new(),
        };
    };
    let Assembled { admission, mut stamps, taken, roots, fetched, problems: trust_problems, notes } = assembled;
    stamps.push(config_stamp);
    InForce {
        admission: Ok(Arc::new(admission)),
        config: Some(config),
        config_current,
        problems: problems.into_iter().chain(trust_problems).collect(),
        notes,
        folders: stamps.iter().flat_map(|(path, _)| folders_of(path)).collect(),
        stamps,
        taken,
        roots,
        fetched,
    }
}

/// Trust was looked at, and where nothing is wrong with it, that is counted.
fn trust_read(shared: &Shared, force: &InForce) {
    let roots = force.roots.iter().map(|root| (root.name.clone(), Arc::clone(&root.as_of)));
    shared.metrics().trusted_roots(roots.collect());
    let fetched = force
        .fetched
        .iter()
        .map(|Fetched { name, source, trust, as_of, .. }| (name.clone(), source.clone(), *trust, Arc::clone(as_of)));
    shared.metrics().plugins(fetched.collect());
    if force.problems.is_empty() && force.admission.is_ok() {
        shared.metrics().trust_current(SystemTime::now());
    }
}

/// The folder in which a path lies, the one in which it leads, and itself where it is a folder.
fn folders_of(path: &Path) -> Vec<PathBuf> {
    let named = std::path::absolute(path).ok();
    let physical = path.canonicalize().ok();
    let itself = physical.clone().filter(|path| path.is_dir());
    let folders = [named, physical].into_iter().flatten();
    folders.filter_map(|path| path.parent().map(Path::to_owned)).chain(itself).collect()
}

fn first_of(problems: &[String]) -> String {
    match problems {
        [] => "the configuration cannot be read".to_owned(),
        [only] => only.clone(),
        [first, rest @ ..] => format!("{first} (and {} more problems; ratifyctl config check lists them)", rest.len()),
    }
}

fn tell(path: &Path, force: &InForce) {
    for problem in force.problems.iter().chain(&force.notes) {
        warn!(config = %path.display(), "{problem}");
    }
    if let Some(Proxy { https, http, no }) = force.config.as_ref().map(|config| &config.proxy)
        && (https.is_some() || http.is_some())
    {
        let shown = |proxy: &Option<ProxyUrl>| proxy.as_ref().map(ToString::to_string);
        let no: Vec<_> = no.iter().map(ToString::to_string).collect();
        info!(https = shown(https), http = shown(http), no = no.join(","), "registries are asked through a proxy");
    }
    match &force.admission {
        Ok(admission) => info!(
            config = %path.display(),
            current = force.config_current,
            generation = hex(&admission.generation),
            "configuration and trust in force"
        ),
        Err(_) => warn!(config = %path.display(), "nothing in force: every pull is answered MISCONFIGURED"),
    }
}
