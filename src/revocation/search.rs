//! How it is found out about one certificate: by the operator's CRLs, else by its OCSP responders in turn, else by its
//! CRLs in turn (trust policy specification, "Certificate Revocation Evaluation"). Runs in a task of its own, begun by
//! [`super::Revocation`].

use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use url::Url;

use super::ask::{Asker, askable};
use super::disk::Disk;
use super::flights::Flights;
use super::folder::Folder;
use super::memory::{By, Known, Pair};
use super::{Key, Options};
use crate::limits;
use crate::metrics::Metrics;
use crate::pki::crl::{self, BadCrl, Crl, Judged, Status, Subject};
use crate::pki::ocsp::{self, Answer};
use crate::pki::{Coverage, Point, sha256};
use crate::report::Fault;
use crate::verdict::Class;

/// Whoever can find out.
pub(super) struct Searcher {
    options: Options,
    metrics: Arc<Metrics>,
    asker: Arc<Asker>,
    pub(super) folder: Option<Arc<Folder>>,
    disk: Option<Arc<Disk>>,
    /// CRLs that are being fetched, by their URLs: many certificates share one.
    lists: Arc<Flights<Key, Result<Bytes, Fault>>>,
    ocsp_seats: Arc<Semaphore>,
    crl_seats: Arc<Semaphore>,
}

/// What is to be found out.
#[derive(Clone)]
pub(super) struct Search {
    pub(super) pair: Arc<Pair>,
    pub(super) now: SystemTime,
    /// What is known counts until then, and something newer is wanted.
    pub(super) newer_than: Option<SystemTime>,
}

impl Searcher {
    pub(super) fn new(options: Options, metrics: Arc<Metrics>) -> Self {
        let asker = Arc::new(Asker::new(options.proxy.clone()));
        let folder = options.config.crl_folder.clone();
        let limit = options.config.max_crl_bytes;
        let disk = options.disk.clone().filter(|_| options.config.fetch);
        let (lists, ocsp_seats) = (Flights::new(), Arc::new(Semaphore::new(limits::OCSP_REQUESTS)));
        Self {
            asker,
            folder: folder.map(|path| Folder::new(path, limit)),
            disk: disk.map(|(path, capacity)| Disk::new(path, capacity, limit, Arc::clone(&metrics))),
            lists,
            ocsp_seats,
            crl_seats: Arc::new(Semaphore::new(limits::CRL_REQUESTS)),
            options,
            metrics,
        }
    }

    /// Ends what is under way.
    pub(super) fn end(&self) {
        self.lists.end();
    }

    /// Finds out about a certificate.
    pub(super) async fn find(&self, search: &Search) -> Result<Known, Fault> {
        let mut causes = Causes::default();
        if let Some(folder) = &self.folder {
            match folder.judge(Arc::clone(&search.pair), search.now).await {
                Ok(Some(known)) => return Ok(known),
                Ok(None) => {}
                Err(fault) => causes.add(&fault),
            }
        }
        let certificate = &search.pair.certificate;
        let unreadable = |error| Fault::of(Class::Malformed, error);
        let (responders, points) =
            (certificate.responders().map_err(unreadable)?, certificate.points().map_err(unreadable)?);
        if responders.is_empty() && points.is_empty() && causes.is_empty() {
            let until = search.now.checked_add(limits::IRREVOCABLE_KEPT).unwrap_or(search.now);
            return Ok(Known { status: Status::Good, by: By::Folder, until });
        }
        if !self.options.config.fetch {
            causes.add(&Fault::new("nobody may be asked (revocation.fetch = false), and no CRL in a folder says it"));
            return Err(causes.fault());
        }
        match self.by_responders(search, &responders).await {
            Ok(Some(known)) => return Ok(known),
            Ok(None) => {}
            Err(fault) => causes.add(&fault),
        }
        match self.by_points(search, &points).await {
            Ok(Some(known)) => Ok(known),
            Ok(None) => Err(causes.fault()),
            Err(fault) => {
                causes.add(&fault);
                Err(causes.fault())
            }
        }
    }

    /// Asks responders in turn until one says something, be it that it does not know: "each URL is invoked in sequential
    /// order". None: there are none.
    async fn by_responders(&self, search: &Search, responders: &[String]) -> Result<Option<Known>, Fault> {
        let mut causes = Causes::default();
        for text in responders.iter().take(limits::REVOCATION_URLS) {
            let answer = match askable(text) {
                Ok(url) => self.by_responder(search, &url).await,
                Err(cause) => Err(Fault::new(cause)),
            };
            let status = match &answer {
                Ok(Answer { status, .. }) => *status,
                Err(fault) => {
                    causes.add_of("OCSP", text, fault);
                    continue;
                }
            };
            let until = answer.map_or(search.now, |answer| answer.until);
            let status = match status {
                ocsp::Status::Good => Status::Good,
                ocsp::Status::Revoked(revoked) => Status::Revoked(revoked),
                ocsp::Status::Unknown => {
                    causes.add_of("OCSP", text, &Fault::new("the responder does not know of the certificate"));
                    break;
                }
            };
            return Ok(Some(Known { status, by: By::Ocsp, until }));
        }
        if responders.is_empty() { Ok(None) } else { Err(causes.fault()) }
    }

    /// Asks one responder, unless its last answer is on disk.
    async fn by_responder(&self, search: &Search, url: &Url) -> Result<Answer, Fault> {
        let Pair { certificate, issuer } = &*search.pair;
        let name = name_of("ocsp", url, &certificate.id(issuer));
        if let Some(disk) = &self.disk
            && let Some(bytes) = disk.get(name).await
            && let Ok(answer) = self.judge_answer(search, &bytes).await
            && search.newer_than.is_none_or(|end| answer.until > end)
        {
            return Ok(answer);
        }
        let _seat = self.ocsp_seats.acquire().await.map_err(|error| Fault::of(Class::Defect, error))?;
        let asked = self.asker.ocsp(url, ocsp::request(certificate, issuer), self.options.config.ocsp_timeout).await;
        let answer = match &asked {
            Ok(bytes) => self.judge_answer(search, bytes).await,
            Err(fault) => Err(fault.clone()),
        };
        self.metrics.revocation(
            "ocsp",
            match &answer {
                Ok(Answer { status: ocsp::Status::Good, .. }) => "good",
                Ok(Answer { status: ocsp::Status::Revoked(_), .. }) => "revoked",
                Ok(Answer { status: ocsp::Status::Unknown, .. }) => "unknown",
                Err(fault) => fault.class().as_str(),
            },
        );
        if let (Ok(_), Ok(bytes), Some(disk)) = (&answer, asked, &self.disk) {
            disk.put(name, bytes);
        }
        answer
    }

    /// What an answer says. Who answered in the issuer's place must not have been taken back: "if id-pkix-ocsp-nocheck is
    /// not present on the OCSP signing certificate then revocation checking must be performed using CRLs".
    async fn judge_answer(&self, search: &Search, bytes: &[u8]) -> Result<Answer, Fault> {
        let Pair { certificate, issuer } = &*search.pair;
        let bad = |error: &dyn std::fmt::Display| Fault::of(Class::Malformed, error);
        let answer = ocsp::judge(bytes, certificate, issuer, search.now).map_err(|error| bad(&error))?;
        let Some(delegate) = &answer.delegate else { return Ok(answer) };
        let subject = delegate.subject();
        let unclear =
            |why: &dyn std::fmt::Display| Fault::new(format!("the certificate of who answered, {subject}: {why}"));
        let points = delegate.points().map_err(|error| unclear(&error))?;
        if points.is_empty() && !delegate.may_be_revoked() {
            return Ok(answer);
        }
        let pair = Pair { certificate: delegate.clone(), issuer: issuer.clone() };
        let search = Search { pair: Arc::new(pair), newer_than: None, ..search.clone() };
        match self.by_points(&search, &points).await {
            Ok(Some(Known { status: Status::Good, until, .. })) => {
                Ok(Answer { until: until.min(answer.until), ..answer })
            }
            Ok(Some(Known { status: Status::Revoked(_), .. })) => Err(unclear(&"it was revoked")),
            Ok(None) => Err(unclear(&"it names no CRL, and does not say that it need not be asked about")),
            Err(fault) => Err(unclear(&fault)),
        }
    }

    /// Asks for lists in turn until all reasons are covered: as a rule by the first. None: there are none.
    async fn by_points(&self, search: &Search, points: &[Point]) -> Result<Option<Known>, Fault> {
        let (mut causes, mut coverage, mut until) = (Causes::default(), Coverage::none(), None);
        for point in points.iter().take(limits::REVOCATION_URLS) {
            match self.by_point(search, point).await {
                Ok(judged) => {
                    let end = search.end_of(&judged);
                    let end = until.map_or(end, |until: SystemTime| until.min(end));
                    until = Some(end);
                    coverage = coverage.and(judged.coverage);
                    if matches!(judged.status, Status::Revoked(_)) || coverage.is_whole() {
                        return Ok(Some(Known { status: judged.status, by: By::Crl, until: end }));
                    }
                }
                Err(fault) => causes.add(&fault),
            }
        }
        if points.is_empty() {
            return Ok(None);
        }
        if causes.is_empty() {
            causes.add(&Fault::new("its CRLs do not cover all reasons"));
        }
        Err(causes.fault())
    }

    /// Asks for the list of one place, by its URLs in turn.
    async fn by_point(&self, search: &Search, point: &Point) -> Result<Judged, Fault> {
        if point.is_indirect() {
            return Err(Fault::new("it names an indirect CRL, which is not supported"));
        }
        let mut causes = Causes::default();
        for text in point.urls().take(limits::REVOCATION_URLS) {
            let judged = match askable(text) {
                Ok(url) => self.by_list(search, point, &url).await,
                Err(cause) => Err(Fault::new(cause)),
            };
            match judged {
                Ok(judged) => return Ok(judged),
                Err(fault) => causes.add_of("CRL", text, &fault),
            }
        }
        if causes.is_empty() {
            causes.add(&Fault::new("it names a CRL without a URL"));
        }
        Err(causes.fault())
    }

    /// The list of one URL: from disk while no newer one is there, else fetched, else from disk while it counts.
    async fn by_list(&self, search: &Search, point: &Point, url: &Url) -> Result<Judged, Fault> {
        let name = self.name_of_list(search, url);
        let stored = self.stored(&name).await;
        if let Some(Stored { bytes, fresh_until, .. }) = stored.as_ref().filter(|stored| stored.is_wanted(search))
            && let Ok(judged) = self.judge_list(search, point, bytes.clone()).await
            && judged.fresh_until.min(*fresh_until) >= search.now
        {
            return Ok(judged);
        }
        let fetched = self.fetch(url).await;
        let judged = match &fetched {
            Ok(bytes) => self.judge_list(search, point, bytes.clone()).await,
            Err(fault) => Err(fault.clone()),
        };
        self.count("crl", &judged);
        match (judged, fetched, stored) {
            (Ok(judged), fetched, _) => {
                self.store(name, fetched.ok());
                Ok(judged)
            }
            (Err(fault), _, Some(stored)) if search.newer_than.is_none() => {
                self.judge_list(search, point, stored.bytes).await.map_err(|_| fault)
            }
            (Err(fault), ..) => Err(fault),
        }
    }

    /// What a list says, with the list of changes since that it asks for.
    async fn judge_list(&self, search: &Search, point: &Point, base: Bytes) -> Result<Judged, Fault> {
        let places = match judge(search, point, base.clone(), None).await? {
            Ok(judged) => return Ok(judged),
            Err(BadCrl::NeedsDelta(places)) => places,
            Err(error) => return Err(Fault::of(Class::Malformed, error)),
        };
        let mut causes = Causes::default();
        for text in places.iter().flat_map(Point::urls).take(limits::REVOCATION_URLS) {
            let judged = match askable(text) {
                Ok(url) => self.by_delta(search, point, &base, &url).await,
                Err(cause) => Err(Fault::new(cause)),
            };
            match judged {
                Ok(judged) => return Ok(judged),
                Err(fault) => causes.add_of("delta CRL", text, &fault),
            }
        }
        if causes.is_empty() {
            causes.add(&Fault::new("it names a delta CRL without a URL"));
        }
        Err(causes.fault())
    }

    async fn by_delta(&self, search: &Search, point: &Point, base: &Bytes, url: &Url) -> Result<Judged, Fault> {
        let name = self.name_of_list(search, url);
        if let Some(stored) = self.stored(&name).await.filter(|stored| stored.is_wanted(search))
            && let Ok(judged) = judge(search, point, base.clone(), Some(stored.bytes)).await?
        {
            return Ok(judged);
        }
        let fetched = self.fetch(url).await;
        let judged = match &fetched {
            Ok(delta) => judge(search, point, base.clone(), Some(delta.clone()))
                .await?
                .map_err(|error| Fault::of(Class::Malformed, error)),
            Err(fault) => Err(fault.clone()),
        };
        self.count("delta", &judged);
        if judged.is_ok() {
            self.store(name, fetched.ok());
        }
        judged
    }

    /// Fetches a CRL, once however many want it.
    async fn fetch(&self, url: &Url) -> Result<Bytes, Fault> {
        let (asker, seats, config) = (Arc::clone(&self.asker), Arc::clone(&self.crl_seats), &self.options.config);
        let (limit, wait, target) = (config.max_crl_bytes, config.crl_timeout, url.clone());
        let search = move || async move {
            let _seat = seats.acquire_owned().await.map_err(|error| Fault::of(Class::Defect, error))?;
            asker.list(&target, limit, wait).await
        };
        let deadline = Instant::now().checked_add(limits::REVOCATION_SEARCH).unwrap_or_else(Instant::now);
        let answer = self.lists.ask(name_of("fetch", url, &[]), deadline, search).await;
        answer.unwrap_or_else(|_| Err(Fault::of(Class::Time, "the time ran out")))
    }

    fn count(&self, method: &'static str, judged: &Result<Judged, Fault>) {
        self.metrics.revocation(
            method,
            match judged {
                Ok(Judged { status: Status::Good, .. }) => "good",
                Ok(Judged { status: Status::Revoked(_), .. }) => "revoked",
                Err(fault) => fault.class().as_str(),
            },
        );
    }

    /// One name for the list of a URL and an issuer's key: all certificates of one issuer share it.
    fn name_of_list(&self, search: &Search, url: &Url) -> Key {
        name_of("crl", url, search.pair.issuer.key_fingerprint().as_bytes())
    }

    async fn stored(&self, name: &Key) -> Option<Stored> {
        let bytes = self.disk.as_ref()?.get(*name).await?;
        let list = Crl::parse(&bytes).ok()?;
        let fresh_until = list.fresh_until();
        Some(Stored { bytes, fresh_until })
    }

    fn store(&self, name: Key, bytes: Option<Bytes>) {
        if let (Some(disk), Some(bytes)) = (&self.disk, bytes) {
            disk.put(name, bytes);
        }
    }
}

impl Search {
    /// Until when an answer is kept. One whose successor is due, or that has expired, is kept for a while only.
    fn end_of(&self, judged: &Judged) -> SystemTime {
        if judged.fresh_until > self.now {
            return judged.fresh_until;
        }
        let soon = self.now.checked_add(limits::REVOCATION_OLD_KEPT).unwrap_or(self.now);
        if judged.until > self.now { soon.min(judged.until) } else { soon }
    }
}

/// A list on disk.
struct Stored {
    bytes: Bytes,
    fresh_until: SystemTime,
}

impl Stored {
    /// Whether nothing newer is wanted.
    fn is_wanted(&self, search: &Search) -> bool {
        self.fresh_until >= search.now && search.newer_than.is_none_or(|end| self.fresh_until > end)
    }
}

/// Judges a list where it holds nobody up: a large one takes a second.
async fn judge(
    search: &Search,
    point: &Point,
    base: Bytes,
    delta: Option<Bytes>,
) -> Result<Result<Judged, BadCrl>, Fault> {
    let (pair, points, now) = (Arc::clone(&search.pair), [point.clone()], search.now);
    let judged = tokio::task::spawn_blocking(move || {
        let subject = Subject { certificate: &pair.certificate, issuer: &pair.issuer, points: &points };
        let base = Crl::parse(&base)?;
        let delta = delta.as_deref().map(Crl::parse).transpose()?;
        crl::judge(&base, delta.as_ref(), subject, now)
    });
    judged.await.map_err(|error| Fault::of(Class::Defect, error))
}

/// A name for what a URL says, about whom.
fn name_of(kind: &str, url: &Url, whom: &[u8]) -> Key {
    let mut context = Context::new(&SHA256);
    for part in [kind.as_bytes(), url.as_str().as_bytes(), whom] {
        context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        context.update(part);
    }
    sha256(context)
}

/// Why several tries came to nothing.
#[derive(Default)]
struct Causes {
    words: Vec<String>,
    class: Option<Class>,
}

impl Causes {
    fn add(&mut self, fault: &Fault) {
        self.words.push(fault.to_string());
        self.class = Some(fault.class());
    }

    fn add_of(&mut self, what: &str, url: &str, fault: &Fault) {
        let shown: String = url.chars().take(SHOWN_CHARS).collect();
        self.add(&Fault::of(fault.class(), format!("{what} {shown}: {fault}")));
    }

    fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// All of them; of the kind of the last.
    fn fault(self) -> Fault {
        Fault::of(self.class.unwrap_or(Class::Unchecked), self.words.join("; "))
    }
}

/// How much of a URL is shown.
const SHOWN_CHARS: usize = 200;
