//! The door to one host: everything that a request passes through on its way there. Retries inside the deadline, a bound
//! on how many requests are under way, the breaker, credentials, and then the exchange.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use reqwest::Url;
use reqwest::header::{self, HeaderMap, HeaderValue};
use tokio::time::{Instant, sleep_until, timeout_at};
use tower::retry::Retry;
use tower::{Service, ServiceExt as _};

use super::auth::Keys;
use super::breaker::{Breaker, Leave, Why};
use super::exchange::{Again, Answer, Failed, Get, what};
use super::gate::{Gate, Turn};
use super::hosts::{Capabilities, Host};
use super::retry::{Patience, jitter};
use crate::cache::Cache;
use crate::limits;
use crate::metrics::Metrics;
use crate::store::Error;

/// The way to one host.
pub(super) struct Door {
    host: Host,
    /// Set once a host that is asked over https first has turned out to speak http.
    is_http: AtomicBool,
    stack: Retry<Patience, Guarded>,
}

impl Door {
    pub(super) fn new(host: Host, keys: Keys, tries: u32, metrics: &Arc<Metrics>) -> Self {
        let (headers, name) = (headers(&host), host.base.authority());
        let inner = Inner {
            gate: Gate::new(),
            breaker: Breaker::default(),
            repositories: Cache::new(limits::TOKENS, None),
            keys,
            headers,
            name: name.to_owned(),
            base: host.base.clone(),
            or_http: host.or_http.clone(),
            metrics: Arc::clone(metrics),
        };
        let guarded = Guarded { inner: Arc::new(inner) };
        let stack = Retry::new(Patience::new(name, tries, Arc::clone(metrics)), guarded);
        Self { host, is_http: AtomicBool::new(false), stack }
    }

    /// Whether this is the way to a host. What it is asked for does not matter: a mirror of one registry may be
    /// another one itself.
    pub(super) fn reaches(&self, host: &Host) -> bool {
        let as_asked = |host: &Host| Host { is_origin: true, capabilities: Capabilities::ALL, ..host.clone() };
        as_asked(&self.host) == as_asked(host)
    }

    /// Where its API lies.
    pub(super) fn base(&self) -> &Url {
        self.host.or_http.as_ref().filter(|_| self.is_http.load(Ordering::Relaxed)).unwrap_or(&self.host.base)
    }

    /// Asks, by the request's deadline. Dropping the future ends the request and frees its place.
    pub(super) async fn get(&self, get: Get) -> Result<Answer, Error> {
        let failed = match self.ask(get.clone()).await {
            Ok(answer) => return Ok(answer),
            Err(failed) => failed,
        };
        if let Some(url) = self.over_http(&get.url).filter(|_| failed.for_http) {
            self.is_http.store(true, Ordering::Relaxed);
            return self.ask(Get { url, ..get }).await.map_err(|failed| failed.error);
        }
        if matches!(failed.error, Error::Status { status: 400, .. }) {
            // Whoever spoke http may speak TLS by now.
            self.is_http.store(false, Ordering::Relaxed);
        }
        Err(failed.error)
    }

    async fn ask(&self, get: Get) -> Result<Answer, Failed> {
        let (url, deadline) = (get.url.clone(), get.deadline);
        match timeout_at(deadline, self.stack.clone().oneshot(get)).await {
            Ok(answer) => answer,
            Err(_) => Err(late(&url).into()),
        }
    }

    /// Where a URL of this host lies over http, if its file says http and it was asked over https first.
    fn over_http(&self, url: &Url) -> Option<Url> {
        let base = self.host.or_http.as_ref().filter(|base| base.scheme() != url.scheme())?;
        let mut url = url.clone();
        url.set_scheme(base.scheme()).ok()?;
        url.set_port(base.port()).ok()?;
        Some(url)
    }
}

/// What the host's file wants to have sent along. What it is asked for is ours to say.
fn headers(host: &Host) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in &host.headers {
        if let Ok(mut value) = HeaderValue::from_str(value.expose())
            && ![header::ACCEPT, header::ACCEPT_ENCODING, header::HOST].contains(name)
        {
            value.set_sensitive(true);
            headers.append(name.clone(), value);
        }
    }
    headers
}

fn late(url: &Url) -> Error {
    Error::Network { what: what(url), cause: "no answer in time".to_owned() }
}

fn no_turn(url: &Url, limit: usize) -> Error {
    let requests = if limit == 1 { "the one request".to_owned() } else { format!("all {limit} requests") };
    let cause = format!("it had no turn in time: {requests} to it at once were those of pulls that came before");
    Error::Network { what: what(url), cause }
}

/// Waits for a turn, asks the breaker, then the host.
#[derive(Clone)]
struct Guarded {
    inner: Arc<Inner>,
}

struct Inner {
    gate: Arc<Gate>,
    breaker: Breaker,
    /// What is known of each repository: one that the registry cannot serve says nothing of the others.
    repositories: Cache<Arc<str>, Arc<Breaker>>,
    keys: Keys,
    headers: HeaderMap,
    name: String,
    base: Url,
    or_http: Option<Url>,
    metrics: Arc<Metrics>,
}

impl Service<Get> for Guarded {
    type Response = Answer;
    type Error = Failed;
    type Future = BoxFuture<'static, Result<Answer, Failed>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, get: Get) -> Self::Future {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move { inner.run(get).await })
    }
}

impl Inner {
    async fn run(&self, get: Get) -> Result<Answer, Failed> {
        let repository = self.repository(&get);
        let turn = self.turn(&get, &repository).await?;
        let pass = Pass { breaker: &self.breaker, repository: &repository, told: false };
        let answer = if self.is_here(&get.url) {
            self.keys.run(&get, &self.headers).await
        } else {
            self.keys.run_elsewhere(&get).await.map_err(Failed::elsewhere)
        };
        let may_be_http = self.or_http.is_some() && get.url.origin() == self.base.origin();
        let answer = answer.map_err(|failed| Failed { for_http: failed.for_http && may_be_http, ..failed });
        pass.tell(answer.as_ref().err());
        match &answer {
            Err(Failed { again: Again::Throttled(_), .. }) => turn.throttled(),
            _ => turn.answered(),
        }
        self.metrics.breaker(&self.name, self.breaker.is_open());
        answer
    }

    /// Waits until the host may be asked and a place is free. Nobody keeps a place while the host is left alone.
    async fn turn(&self, get: &Get, repository: &Breaker) -> Result<Turn, Failed> {
        let refused = |why| Failed::from(not_asked(&get.url, why));
        loop {
            match self.look(repository, get) {
                Leave::Go => {}
                // Not all at the same moment.
                Leave::Wait(then) => {
                    sleep_until(then.checked_add(jitter(limits::RETRY_PAUSE)).unwrap_or(then)).await;
                    continue;
                }
                Leave::Refused(why) => return Err(refused(why)),
            }
            let Ok(turn) = timeout_at(get.deadline, self.gate.turn(get.deadline)).await else {
                return Err(no_turn(&get.url, self.gate.limit()).into());
            };
            match self.ask(repository, get) {
                Leave::Go => return Ok(turn),
                Leave::Wait(_) => {}
                Leave::Refused(why) => return Err(refused(why)),
            }
        }
    }

    fn repository(&self, get: &Get) -> Arc<Breaker> {
        let now = Instant::now();
        self.repositories.get(&get.repository, now).unwrap_or_else(|| {
            let breaker = Arc::new(Breaker::default());
            self.repositories.insert(Arc::clone(&get.repository), Arc::clone(&breaker), 1, now);
            breaker
        })
    }

    /// What the host's breaker says, and if that is to go, the repository's.
    fn look(&self, repository: &Breaker, get: &Get) -> Leave {
        let now = Instant::now();
        match self.breaker.look(now, get.deadline, get.spare) {
            Leave::Go => repository.look(now, get.deadline, get.spare),
            leave => leave,
        }
    }

    /// The same for a request that goes at once if it may.
    fn ask(&self, repository: &Breaker, get: &Get) -> Leave {
        let now = Instant::now();
        match self.breaker.ask(now, get.deadline, get.spare) {
            Leave::Go => {}
            leave => return leave,
        }
        let leave = repository.ask(now, get.deadline, get.spare);
        if leave != Leave::Go {
            // It was to try whether the host is back, and does not.
            self.breaker.abandoned();
        }
        leave
    }

    /// Whether a URL lies at this host: the pages of a list lie where its first one was redirected to.
    fn is_here(&self, url: &Url) -> bool {
        [Some(&self.base), self.or_http.as_ref()].into_iter().flatten().any(|base| base.origin() == url.origin())
    }
}

/// Tells both breakers how a request went, if only that it was given up.
struct Pass<'a> {
    breaker: &'a Breaker,
    repository: &'a Breaker,
    told: bool,
}

impl Pass<'_> {
    fn tell(mut self, failed: Option<&Failed>) {
        self.told = true;
        let now = Instant::now();
        match failed {
            None => {
                self.breaker.well();
                self.repository.well();
            }
            Some(failed) if matches!(failed.again, Again::Throttled(_)) => {
                self.breaker.failed(failed, now);
                self.repository.abandoned();
            }
            Some(failed) if failed.tells_nothing => {
                self.breaker.abandoned();
                self.repository.abandoned();
            }
            // The host is there; it is this repository that it cannot serve.
            Some(failed) if matches!(failed.error, Error::Status { status: 500.., .. }) => {
                self.breaker.well();
                self.repository.failed(failed, now);
            }
            Some(failed) => {
                self.breaker.failed(failed, now);
                if failed.error.is_outage() {
                    self.repository.abandoned();
                } else {
                    self.repository.well();
                }
            }
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if !self.told {
            self.breaker.abandoned();
            self.repository.abandoned();
        }
    }
}

fn not_asked(url: &Url, why: Why) -> Error {
    let what = what(url);
    match why {
        Why::Quiet(remains) => Error::Throttled { what, said: String::new(), after: Some(remains) },
        Why::Open(cause, remains) => {
            let host = url.authority();
            let cause = format!(
                "{host} fails again and again and is asked again in {:.1} s; last: {cause}",
                remains.as_secs_f64()
            );
            Error::Network { what, cause }
        }
    }
}
