//! Whether certificates were taken back by who issued them: asks OCSP responders and fetches CRLs, over http alone, and
//! remembers what they said for as long as they allow. One for all verifiers of a process. What is asked and how
//! answers are judged is [`crate::pki`]'s; nothing here decides about an image.
//!
//! What is known is one look into memory. What is not is found out in a task of its own, once however many wait; what
//! ends soon and is of use is asked for ahead. All tasks end with the [`Revocation`].

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::SystemTime;

use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::config::{self, Proxy};
use crate::limits;
use crate::metrics::{Cache, Lookup, Metrics};
use crate::pki::crl::Status;
use crate::pki::{Certificate, rfc3339};
use crate::report::Fault;
use crate::verdict::Class;

mod ask;
mod disk;
mod flights;
mod folder;
mod memory;
mod search;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use flights::{Flights, NoAnswer};
use memory::{By, Due, Known, Memory, Pair};
use search::{Search, Searcher};

/// Knows, or asks, whether certificates were taken back.
pub struct Revocation {
    inner: Arc<Inner>,
    /// Asks ahead; begun with the first question.
    keeper: Mutex<Option<AbortHandle>>,
}

/// How it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// As configured.
    pub config: config::Revocation,
    /// Through whom.
    pub proxy: Proxy,
    /// Where answers are kept on disk, and at most how many bytes of them.
    pub disk: Option<(PathBuf, u64)>,
}

/// A chain of certificates that is asked about, leaf first, root last, whose links were checked. It leads to trust: its
/// certificates say whom to ask, and nobody is asked because a stranger says so.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The certificates.
    pub chain: &'a [Certificate],
    /// When something was signed, as someone trusted says: what was signed before a key went astray still holds.
    pub signed_at: Option<SystemTime>,
    /// The moment of the verdict.
    pub now: SystemTime,
    /// When the verdict is due.
    pub deadline: Instant,
}

/// Why a chain does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotGood {
    /// A certificate was taken back.
    Revoked(String),
    /// It could not be found out.
    Unknown(Fault),
}

/// What tells a certificate, with its issuer's key, from all others.
type Key = [u8; 32];

struct Inner {
    searcher: Searcher,
    memory: Memory,
    flights: Arc<Flights<Key, Result<Known, Fault>>>,
    metrics: Arc<Metrics>,
    /// Something is known that was not.
    news: Notify,
}

impl Revocation {
    /// One that remembers nothing yet.
    #[must_use]
    pub fn new(options: Options, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self::with(options, metrics))
    }

    fn with(options: Options, metrics: Arc<Metrics>) -> Self {
        let inner = Inner {
            searcher: Searcher::new(options, Arc::clone(&metrics)),
            memory: Memory::default(),
            flights: Flights::new(),
            metrics,
            news: Notify::new(),
        };
        Self { inner: Arc::new(inner), keeper: Mutex::default() }
    }

    /// Whether all certificates of a chain still stand, and the first moment at which that must be asked again.
    /// A certificate that names neither responder nor list cannot be taken back, and stands; so does the root, which
    /// nobody could take back. One that was taken back counts more than one that could not be asked about.
    ///
    /// # Errors
    /// See [`NotGood`].
    pub async fn check(&self, question: Question<'_>) -> Result<Option<SystemTime>, NotGood> {
        let deadline = question.deadline.checked_sub(limits::REQUEST_MARGIN).unwrap_or(question.deadline);
        self.inner.look(deadline).await?;
        let links = question.chain.iter().zip(question.chain.iter().skip(1));
        let mut answers = Vec::new();
        let mut waiting = Vec::new();
        for (certificate, issuer) in links {
            let key = certificate.id(issuer);
            match self.inner.memory.get(&key, question.now, Instant::now()) {
                Some(answer) => {
                    self.inner.metrics.cache(Cache::Revocation, Lookup::Hit);
                    answers.push((certificate, answer));
                }
                None if !self.inner.is_worth_asking(certificate) => {}
                None => {
                    self.inner.metrics.cache(Cache::Revocation, Lookup::Miss);
                    waiting.push(self.search(key, certificate, issuer, question.now, deadline));
                }
            }
        }
        answers.extend(futures_util::future::join_all(waiting).await);
        conclude(&answers, question.signed_at)
    }

    /// Waits for what is found out about one certificate.
    async fn search<'a>(
        &self,
        key: Key,
        certificate: &'a Certificate,
        issuer: &Certificate,
        now: SystemTime,
        deadline: Instant,
    ) -> (&'a Certificate, Result<Known, Fault>) {
        self.keep();
        let pair = || Arc::new(Pair { certificate: certificate.clone(), issuer: issuer.clone() });
        let search = || Arc::clone(&self.inner).search(key, Search { pair: pair(), now, newer_than: None });
        let answer = self.inner.flights.ask(key, deadline, search).await;
        let answer = answer.unwrap_or_else(|none| {
            Err(match none {
                NoAnswer::Time => Fault::of(Class::Time, "the time ran out while its issuer was asked"),
                NoAnswer::Defect => Fault::of(Class::Defect, "asking ended without an answer, a defect of ratifyd"),
            })
        });
        (certificate, answer)
    }

    /// Begins to ask ahead, if nobody does yet.
    fn keep(&self) {
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        if keeper.as_ref().is_none_or(AbortHandle::is_finished) {
            *keeper = Some(tokio::spawn(keep(Arc::downgrade(&self.inner))).abort_handle());
        }
    }
}

impl Inner {
    /// Looks at the operator's CRLs, where there are some. What was known before they changed is known no more.
    async fn look(&self, deadline: Instant) -> Result<(), NotGood> {
        let Some(folder) = &self.searcher.folder else { return Ok(()) };
        match timeout_at(deadline, folder.look()).await {
            Ok(true) => self.memory.clear(),
            Ok(false) => {}
            Err(_) => {
                let cause = "the time ran out while the folder of CRLs was read";
                return Err(NotGood::Unknown(Fault::of(Class::Time, cause)));
            }
        }
        Ok(())
    }

    /// Whether anybody could have taken it back: its issuer says where to ask, or the operator may have a list of it.
    fn is_worth_asking(&self, certificate: &Certificate) -> bool {
        self.searcher.folder.is_some() || certificate.may_be_revoked()
    }

    /// Finds out about a certificate and remembers it. What is known is not forgotten because nothing newer could be had.
    async fn search(self: Arc<Self>, key: Key, search: Search) -> Result<Known, Fault> {
        let begun = Instant::now();
        let found = match timeout(limits::REVOCATION_SEARCH, self.searcher.find(&search)).await {
            Ok(found) => found,
            Err(_) => Err(Fault::of(Class::Time, "the time ran out")),
        };
        if found.is_ok() || search.newer_than.is_none() {
            let now = search.now.checked_add(begun.elapsed()).unwrap_or(search.now);
            self.memory.put(key, &search.pair, found.clone(), now, Instant::now());
            self.news.notify_one();
        }
        found
    }

    /// Asks anew about what ends soon.
    fn ask_ahead(self: &Arc<Self>) {
        for Due { key, pair, until, now } in self.memory.due(Instant::now()) {
            let search = Search { pair: Arc::new(pair), now, newer_than: Some(until) };
            let inner = Arc::clone(self);
            drop(self.flights.join(key, || inner.search(key, search)));
        }
    }
}

/// Asks ahead for as long as anybody could want to know.
async fn keep(inner: Weak<Inner>) {
    loop {
        let Some(inner) = inner.upgrade() else { return };
        inner.ask_ahead();
        let now = Instant::now();
        let longest = now.checked_add(limits::PREFETCH_USED).unwrap_or(now);
        let next = inner.memory.next_due(now).unwrap_or(longest);
        tokio::select! {
            () = sleep_until(next) => {}
            () = inner.news.notified() => {}
        }
    }
}

/// All certificates must stand. Revoked beats unknown.
fn conclude(
    answers: &[(&Certificate, Result<Known, Fault>)],
    signed_at: Option<SystemTime>,
) -> Result<Option<SystemTime>, NotGood> {
    let mut unknown = None;
    let mut until = None;
    for (certificate, answer) in answers {
        match answer {
            Ok(Known { status: Status::Revoked(revoked), by, .. }) if revoked.counts(signed_at) => {
                let by = match by {
                    By::Ocsp => "by its OCSP responder",
                    By::Crl => "by its CRL",
                    By::Folder => "by a CRL in the folder",
                };
                let (subject, at, reason) = (certificate.subject(), rfc3339(revoked.at), revoked.reason.as_str());
                return Err(NotGood::Revoked(format!("certificate {subject} was revoked at {at} ({reason}), {by}")));
            }
            Ok(known) => until = Some(until.map_or(known.until, |until: SystemTime| until.min(known.until))),
            Err(fault) => {
                let cause = format!("whether certificate {} was revoked is not known: {fault}", certificate.subject());
                unknown = unknown.or(Some(Fault::of(fault.class(), cause)));
            }
        }
    }
    unknown.map_or(Ok(until), |fault| Err(NotGood::Unknown(fault)))
}

impl Default for Revocation {
    /// One that may ask nobody: what could have been taken back is not known to stand.
    fn default() -> Self {
        let config = config::Revocation { fetch: false, ..config::Revocation::default() };
        let options = Options { config, proxy: Proxy::default(), disk: None };
        Self::with(options, Arc::default())
    }
}

impl Drop for Revocation {
    fn drop(&mut self) {
        let keeper = self.keeper.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(keeper) = keeper.take() {
            keeper.abort();
        }
        self.inner.flights.end();
        self.inner.searcher.end();
    }
}

impl std::fmt::Debug for Revocation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Revocation").finish_non_exhaustive()
    }
}
