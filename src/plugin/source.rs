//! A plugin that is followed under its reference: resolved at an interval, judged, fetched, and only then used. A new
//! digest counts once it has passed every check, and until then the one before it does; one that cannot be asked for
//! again runs on. Runs in a thread of its own ([`Remote`]), so that no pull waits for it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{Mutex, OnceCell};
use tokio::time::Instant;
use tracing::{info, warn};

use super::CREATED;
use super::kept::{History, Kept, Record};
use super::select::{self, Found, Platform, Wanted};
use crate::artifact::{Algorithm, Descriptor, Digest, hex};
use crate::config::{Plugins, RegistryStore, Remember, Revocation};
use crate::executor::{Executor, Judged};
use crate::limits;
use crate::reference::Reference;
use crate::report::Fault;
use crate::store::{self, Store, digest_of};
use crate::trust::remote::{Remote, Terms, Unread};
use crate::verdict::Conclusion;

/// What is asked for. Two plugins with the same options are one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The artifact.
    pub reference: Reference,
    /// The name of the program's file in it, where that is asked for.
    pub title: Option<String>,
    /// The plugin's own name.
    pub name: String,
    /// Why it may be run.
    pub vouched: Vouched,
    /// How often it is asked for.
    pub refresh: Duration,
    /// Largest program, in bytes.
    pub max_bytes: u64,
    /// Where it is kept; none: with this process.
    pub folder: Option<PathBuf>,
    /// How its registry is asked.
    pub store: RegistryStore,
    /// What else of the configuration decides how it is judged and asked for.
    pub settings: Settings,
}

/// What of a configuration a judge and a store are made by, besides what is theirs alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// How it is found out whether certificates were revoked.
    pub revocation: Revocation,
    /// How plugins are run.
    pub plugins: Plugins,
    /// How long answers are remembered.
    pub remember: Remember,
}

/// Why a plugin may be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vouched {
    /// It satisfies the policy of an executor.
    By {
        /// The executor's name.
        executor: String,
        /// What all its trust came to.
        trust: [u8; 32],
        /// What kind of artifacts it lists for plugins.
        types: Vec<String>,
    },
    /// Its digest stands in the configuration.
    Pinned,
    /// The configuration allows what nobody vouches for.
    Nobody,
}

impl Vouched {
    /// In one word, for status, log and metrics.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::By { .. } => "verified",
            Self::Pinned => "pinned",
            Self::Nobody => "unverified",
        }
    }

    /// Names it in records: another one makes what was taken before not count.
    fn mark(&self) -> String {
        match self {
            Self::By { trust, types, .. } => named(&format!("{}\n{}", hex(trust), types.join(","))),
            Self::Pinned | Self::Nobody => self.word().to_owned(),
        }
    }
}

/// A plugin in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// The program.
    pub path: PathBuf,
    /// Its digest.
    pub program: Digest,
    /// The artifact that it came in.
    pub artifact: Digest,
}

/// A plugin that is followed.
pub type Source = Remote<Installed>;

/// Begins to follow a plugin. `store` is where it is fetched from, `judge` whose policy it must satisfy where the options
/// say so. Both are used in a thread of their own, and by nobody else: connections belong to a thread's runtime. Blocks on
/// the folder alone.
#[must_use]
pub fn open(options: Options, store: Arc<dyn Store>, judge: Option<Arc<Executor>>) -> Source {
    let what = format!("plugin {}", options.reference);
    let terms = Terms { what, refresh: options.refresh, max_age: limits::PLUGIN_KEPT };
    let reader = Reader { options, store, judge, kept: OnceCell::new(), unfit: Mutex::new(None) };
    let before = reader.before();
    Remote::open(terms, before, async move || reader.read().await)
}

struct Reader {
    options: Options,
    store: Arc<dyn Store>,
    judge: Option<Arc<Executor>>,
    kept: OnceCell<Kept>,
    /// A program that was fetched and is none, so that it is not fetched again, and why.
    unfit: Mutex<Option<(Digest, String)>>,
}

/// One large program is in memory at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

impl Reader {
    /// Where it is kept. A folder that was mended counts with the next reading.
    async fn kept(&self) -> Result<&Kept, String> {
        self.kept.get_or_try_init(async || Kept::open(self.options.folder.as_deref())).await
    }

    /// What an earlier process used, if it was taken by the same trust and is still whole.
    fn before(&self) -> Option<(Installed, Duration)> {
        let kept = Kept::open(self.options.folder.as_deref()).ok()?;
        let record = kept.record(&self.name()).ok()??;
        // A moment that is still to come says nothing of how old it is.
        let age = SystemTime::now().duration_since(UNIX_EPOCH.checked_add(Duration::from_secs(record.at))?);
        let found = kept.has(&self.options.name, &record.program);
        let before = found.then(|| (self.installed(&kept, &record), age.unwrap_or_default()));
        // It lasts as long as this.
        let _ = self.kept.set(kept);
        before
    }

    async fn read(&self) -> Result<Installed, Unread> {
        let kept = self.kept().await.map_err(Unread::Refused)?;
        let in_force = kept.record(&self.name()).map_err(Unread::Refused)?;
        let now = SystemTime::now();
        match (self.follow(kept, in_force.as_ref(), now).await, in_force) {
            (Ok(record), _) => {
                self.tell(&record);
                Ok(self.installed(kept, &record))
            }
            (Err(cause), None) => Err(Unread::Refused(cause)),
            // Whatever the tag names now: what is in force must still be vouched for.
            (Err(cause), Some(in_force)) => match self.vouched_for(&in_force.artifact, now, deadline()).await {
                Err(Refusal { cause: withdrawn, is_certain: true }) => {
                    // Nor is it run by a process that starts when nobody can be asked.
                    let forgotten = kept.forget(&self.name()).err();
                    let told = [Some(cause), Some(withdrawn), forgotten].into_iter().flatten();
                    Err(Unread::Gone(told.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join("; ")))
                }
                Ok(()) | Err(Refusal { is_certain: false, .. }) => {
                    kept.touch(&self.name());
                    // Its file may be spoilt, and the tag does not lead to it any more.
                    let cause = match self.fetch_again(kept, &in_force, deadline()).await {
                        Ok(()) => format!("{cause}; {} is used on", in_force.artifact.digest),
                        Err(lost) if lost == cause => cause,
                        Err(lost) => format!("{cause}; {} is not there any more: {lost}", in_force.artifact.digest),
                    };
                    Err(Unread::Refused(cause))
                }
            },
        }
    }

    /// Goes where the reference leads, and takes what is there if it passes every check.
    async fn follow(&self, kept: &Kept, in_force: Option<&Record>, now: SystemTime) -> Result<Record, String> {
        let (reference, deadline) = (&self.options.reference, deadline());
        let artifact = self.store.resolve(reference, deadline).await.map_err(told)?;
        let history = kept.history(&self.history())?;
        // A digest in the configuration is the operator's word; what is in force here goes nowhere.
        let moves = reference.digest.is_none() && in_force.is_none_or(|record| record.artifact != artifact);
        if moves {
            never_back(&history, &artifact.digest)?;
        }
        let found = self.find(&artifact, deadline).await?;
        self.is_plugin(&artifact.digest, &found)?;
        self.vouched_for(&artifact, now, deadline).await.map_err(|refusal| refusal.cause)?;
        if moves {
            never_older(&history, &artifact.digest, &found)?;
        }
        self.fetch(kept, &found.program).await?;
        // Before it is in force: what was is never forgotten. Who stays where it is moves nobody else back.
        if moves || history.seen.is_empty() {
            let history = history.with(&artifact.digest, found.annotations.get(CREATED), now);
            kept.keep_history(&self.history(), &history)?;
        }
        let before = in_force.and_then(|record| {
            if record.program == found.program.digest { record.before.clone() } else { Some(record.program.clone()) }
        });
        let at = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let record = Record { reference: reference.to_string(), artifact, program: found.program.digest, before, at };
        kept.keep(&self.name(), &record)?;
        Ok(record)
    }

    /// The program in an artifact.
    async fn find(&self, artifact: &Descriptor, deadline: Instant) -> Result<Found, String> {
        let Options { reference: Reference { repository, .. }, title, name, vouched, .. } = &self.options;
        let last = repository.path().rsplit('/').next().unwrap_or_default();
        let wanted = Wanted { title: title.as_deref(), names: [name, last], strict: *vouched != Vouched::Nobody };
        let found = select::find(self.store.as_ref(), repository, artifact, &wanted, &Platform::own(), deadline).await;
        found.map_err(|error| format!("{}: {error}", artifact.digest))
    }

    /// Has what is in force lie there whole.
    async fn fetch_again(&self, kept: &Kept, in_force: &Record, deadline: Instant) -> Result<(), String> {
        if kept.has(&self.options.name, &in_force.program) {
            return Ok(());
        }
        let found = self.find(&in_force.artifact, deadline).await?;
        if found.program.digest != in_force.program {
            return Err(format!("its program was {}, and {} is there now", in_force.program, found.program.digest));
        }
        self.fetch(kept, &found.program).await
    }

    /// Whether it is of a kind that its executor takes for plugins.
    fn is_plugin(&self, digest: &Digest, found: &Found) -> Result<(), String> {
        match &self.options.vouched {
            Vouched::By { executor, types, .. } if !types.contains(&found.artifact_type) => Err(format!(
                "{digest} is an artifact of type {:?}, and pluginTypes of executor {executor:?} has: {}",
                found.artifact_type,
                types.join(", ")
            )),
            Vouched::By { .. } | Vouched::Pinned | Vouched::Nobody => Ok(()),
        }
    }

    /// Whether somebody vouches for an artifact, as the configuration asks.
    async fn vouched_for(&self, artifact: &Descriptor, now: SystemTime, deadline: Instant) -> Result<(), Refusal> {
        let Vouched::By { executor: name, .. } = &self.options.vouched else { return Ok(()) };
        let Some(judge) = &self.judge else {
            return Err(Refusal { cause: format!("executor {name:?} is not there to judge it"), is_certain: false });
        };
        if now < limits::built_at() {
            let cause = "the clock stands before the day on which ratifyd was built: set it".to_owned();
            return Err(Refusal { cause, is_certain: false });
        }
        let repository = &self.options.reference.repository;
        let Judged { conclusion, .. } = judge.judge(repository, artifact.clone(), now, deadline).await;
        let digest = &artifact.digest;
        match conclusion {
            Conclusion::Satisfied(_) => Ok(()),
            Conclusion::Exempt(cause) => {
                let cause = format!(
                    "{digest} is not verified by executor {name:?} but exempt, which is not enough for a plugin: {cause}"
                );
                Err(Refusal { cause, is_certain: true })
            }
            Conclusion::Refused(deny) => {
                let cause = format!("{digest} is refused by executor {name:?}: {}", deny.cause());
                Err(Refusal { cause, is_certain: deny.is_verified() })
            }
        }
    }

    /// Fetches a program, unless it is there.
    async fn fetch(&self, kept: &Kept, program: &Descriptor) -> Result<(), String> {
        let digest = &program.digest;
        if digest.algorithm() != Algorithm::Sha256 {
            return Err(format!("its program is named by {digest}, and only sha256 is taken"));
        }
        if kept.has(&self.options.name, digest) {
            return Ok(());
        }
        let mut unfit = self.unfit.lock().await;
        if let Some((_, cause)) = unfit.as_ref().filter(|(known, _)| known == digest) {
            return Err(cause.clone());
        }
        let _alone = ONE_AT_A_TIME.lock().await;
        let repository = &self.options.reference.repository;
        let bytes = self.store.blob(repository, program, self.options.max_bytes, deadline()).await.map_err(told)?;
        if let Err(cause) = select::check_program(&bytes) {
            let cause = format!("{digest}: {cause}");
            *unfit = Some((digest.clone(), cause.clone()));
            return Err(cause);
        }
        kept.put(&self.options.name, digest, &bytes)
    }

    fn tell(&self, Record { artifact, program, .. }: &Record) {
        let (plugin, how) = (&self.options.reference, self.options.vouched.word());
        let artifact = &artifact.digest;
        if self.options.vouched == Vouched::Nobody {
            warn!(%plugin, %artifact, %program, "plugin is used UNVERIFIED, as allowUnverified says");
        } else {
            info!(%plugin, %artifact, %program, how, "plugin is current");
        }
    }

    fn installed(&self, kept: &Kept, Record { artifact, program, .. }: &Record) -> Installed {
        let path = kept.path(&self.options.name, program);
        Installed { path, program: program.clone(), artifact: artifact.digest.clone() }
    }

    /// The name of its history: one for a tag, also for the one that is meant where none is written.
    fn history(&self) -> String {
        let Reference { repository, tag, digest } = &self.options.reference;
        match (tag, digest) {
            (None, None) => named(&format!("{repository}:latest")),
            _ => named(&self.options.reference.to_string()),
        }
    }

    /// The name of its record: one for each plugin and trust, so that what was taken by another one never counts.
    fn name(&self) -> String {
        let Options { reference, title, name, vouched, .. } = &self.options;
        named(&format!("{reference}\n{}\n{name}\n{}", title.as_deref().unwrap_or_default(), vouched.mark()))
    }
}

/// Why nobody vouches for an artifact.
struct Refusal {
    cause: String,
    /// Whether that was found out, and not merely not found out.
    is_certain: bool,
}

/// When all that is asked now must be there.
fn deadline() -> Instant {
    Instant::now().checked_add(limits::PLUGIN_FETCH_TIMEOUT).unwrap_or_else(Instant::now)
}

/// A tag that names again what it named before what it names now goes back.
fn never_back(History { seen, .. }: &History, found: &Digest) -> Result<(), String> {
    match seen.split_last() {
        Some((last, before)) if last != found && before.contains(found) => {
            Err(format!("it names {found} again, which {last} has replaced: a tag never goes back; {ANEW}"))
        }
        Some(_) | None => Ok(()),
    }
}

/// A tag that names what was made before what was taken last goes back, and so may what does not say when it was made.
fn never_older(History { seen, created }: &History, digest: &Digest, found: &Found) -> Result<(), String> {
    let moment = |text: &String| humantime::parse_rfc3339(text).ok();
    let (Some(last), Some(before)) = (seen.last(), created.as_ref().and_then(moment)) else { return Ok(()) };
    if last == digest {
        return Ok(());
    }
    match found.annotations.get(CREATED).and_then(moment) {
        Some(at) if at < before => Err(format!(
            "it names {digest}, which was made before {last}, the one that was taken last: a tag never goes back; {ANEW}"
        )),
        None => Err(format!(
            "it names {digest}, which does not say when it was made ({CREATED}, such as 2026-01-31T00:00:00Z), as {last} does, \
             the one that was taken last: a tag never goes back; {ANEW}"
        )),
        Some(_) => Ok(()),
    }
}

const ANEW: &str = "push it anew, or pin it by its digest";

/// A name for a text, of digits alone.
fn named(text: &str) -> String {
    digest_of(Algorithm::Sha256, text.as_bytes()).hex().to_owned()
}

fn told(error: store::Error) -> String {
    Fault::from(error).to_string()
}
