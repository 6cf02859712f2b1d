//! From a repository to the hosts that have it, in the order of the host's files, and on to the next one where one cannot
//! help. Knows URLs, nothing of manifests.

use std::sync::{Arc, Mutex, PoisonError};

use reqwest::Url;
use tokio::time::{Instant, timeout_at};

use super::auth::Keys;
use super::clients::Clients;
use super::credentials::Chain;
use super::door::Door;
use super::exchange::{Answer, Bound, Exchange, Get, Redirects};
use super::hosts::{Capabilities, Host, Hosts};
use super::redirect::{self, Place};
use super::tls::Tls;
use crate::cache::Cache;
use crate::limits;
use crate::metrics::Metrics;
use crate::reference::Repository;
use crate::store::Error;

/// The ways to all registries.
pub(super) struct Transport {
    hosts: Arc<Hosts>,
    clients: Arc<Clients>,
    chain: Arc<Chain>,
    allowed_realms: Arc<[String]>,
    plain_http: bool,
    tries: u32,
    metrics: Arc<Metrics>,
    /// The doors by their base, one for each way of reaching it, whatever registry it is asked for: what bounds its
    /// requests lives in it.
    doors: Cache<String, Vec<Arc<Door>>>,
    routes: Cache<String, Route>,
    making: Mutex<()>,
    looking: tokio::sync::Mutex<()>,
}

/// The hosts of a registry as their files were when they were looked at.
#[derive(Clone)]
struct Route {
    ways: Arc<[Way]>,
    looked: Instant,
}

/// A host, as one registry is asked for at it.
#[derive(Clone)]
struct Way {
    door: Arc<Door>,
    is_origin: bool,
    capabilities: Capabilities,
}

/// What a host must be good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// To know what a tag names.
    Resolve,
    /// To have what a digest names.
    Pull,
    /// To know what refers to a digest.
    Referrers,
}

/// The hosts that are asked, one after the other, until one helps.
pub(super) struct Turns<'a> {
    registry: &'a str,
    path: Arc<str>,
    ways: std::vec::IntoIter<Way>,
    deadline: Instant,
    failed: Option<Error>,
}

/// One host's turn.
pub(super) struct Turn<'a> {
    way: Way,
    registry: &'a str,
    path: Arc<str>,
    deadline: Instant,
    /// Whether another host is left to be asked.
    pub(super) spare: bool,
}

/// What is asked of a host.
pub(super) struct Question {
    pub(super) accept: &'static str,
    pub(super) bound: Bound,
    pub(super) redirects: Redirects,
}

impl Transport {
    pub(super) fn new(
        hosts: Hosts,
        clients: Clients,
        chain: Arc<Chain>,
        allowed_realms: Arc<[String]>,
        plain_http: bool,
        tries: u32,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            hosts: Arc::new(hosts),
            clients: Arc::new(clients),
            chain,
            allowed_realms,
            plain_http,
            tries,
            metrics,
            doors: Cache::new(limits::REGISTRIES, None),
            routes: Cache::new(limits::REGISTRIES, None),
            making: Mutex::default(),
            looking: tokio::sync::Mutex::default(),
        }
    }

    /// The hosts that are good for something, in their order.
    ///
    /// # Errors
    /// Their files cannot be read, or none is good for it.
    pub(super) async fn hosts<'a>(
        &self,
        repository: &'a Repository,
        need: Need,
        deadline: Instant,
    ) -> Result<Turns<'a>, Error> {
        let registry = repository.registry();
        let ways = self
            .route(registry, deadline)
            .await
            .map_err(|cause| Error::Malformed { what: format!("hosts of {registry}"), cause })?;
        let good: Vec<_> = ways.iter().filter(|way| need.is_met_by(&way.capabilities)).cloned().collect();
        // Files older than the capability name none; whoever resolves tags is trusted with lists too.
        let good = if good.is_empty() && need == Need::Referrers {
            ways.iter().filter(|way| way.capabilities.resolve).cloned().collect()
        } else {
            good
        };
        let deadline = deadline.checked_sub(limits::REQUEST_MARGIN).unwrap_or(deadline);
        Ok(Turns { registry, path: repository.path().into(), ways: good.into_iter(), deadline, failed: None })
    }

    /// What the files say of a registry; they are looked at by one request at a time.
    async fn route(&self, registry: &str, deadline: Instant) -> Result<Arc<[Way]>, String> {
        let key = registry.to_owned();
        let fresh = || {
            let now = Instant::now();
            let known = self.routes.get(&key, now);
            known.filter(|route| now.saturating_duration_since(route.looked) < limits::HOSTS_LOOK)
        };
        if let Some(route) = fresh() {
            return Ok(route.ways);
        }
        let late = |_| "their files were not read in time".to_owned();
        let _one_at_a_time = timeout_at(deadline, self.looking.lock()).await.map_err(late)?;
        if let Some(route) = fresh() {
            return Ok(route.ways);
        }
        let now = Instant::now();
        let hosts = {
            let (hosts, registry) = (Arc::clone(&self.hosts), key.clone());
            let read = tokio::task::spawn_blocking(move || hosts.of(&registry));
            let read = timeout_at(deadline, read).await.map_err(late)?;
            read.unwrap_or_else(|error| Err(format!("reading them ended without an answer: {error}")))?
        };
        let ways: Arc<[Way]> = hosts.into_iter().map(|host| self.way(host)).collect();
        self.routes.insert(key, Route { ways: Arc::clone(&ways), looked: now }, 1, now);
        Ok(ways)
    }

    fn way(&self, host: Host) -> Way {
        let (is_origin, capabilities) = (host.is_origin, host.capabilities);
        Way { is_origin, capabilities, door: self.door(host) }
    }

    /// The door to a host: the one that is there, unless its file has changed.
    fn door(&self, host: Host) -> Arc<Door> {
        // Two at once make one door.
        let _one_at_a_time = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let (key, now) = (host.base.to_string(), Instant::now());
        let mut doors = self.doors.get(&key, now).unwrap_or_default();
        if let Some(door) = doors.iter().find(|door| door.reaches(&host)) {
            return Arc::clone(door);
        }
        let clients = if host.tls == Tls::default() && host.dial_timeout.is_none() {
            Arc::clone(&self.clients)
        } else {
            Arc::new(self.clients.with(host.tls.clone(), host.dial_timeout))
        };
        // This machine is asked over http without anybody's word.
        let is_told = host.base.scheme() == "http" && redirect::place(&host.base) != Place::ThisMachine;
        let metrics = Arc::clone(&self.metrics);
        let exchange = Exchange { clients, plain_http: self.plain_http || is_told, metrics };
        let keys = Keys::new(host.base.clone(), Arc::clone(&self.chain), Arc::clone(&self.allowed_realms), exchange);
        let door = Arc::new(Door::new(host, keys, self.tries, &self.metrics));
        doors.insert(0, Arc::clone(&door));
        doors.truncate(limits::DOORS);
        self.doors.insert(key, doors, 1, now);
        door
    }
}

impl Need {
    fn is_met_by(self, capabilities: &Capabilities) -> bool {
        match self {
            // As in containerd: what a tag names is read there too.
            Self::Resolve => capabilities.resolve && capabilities.pull,
            Self::Pull => capabilities.pull,
            Self::Referrers => capabilities.referrers,
        }
    }
}

impl<'a> Turns<'a> {
    /// The next host, if one is left.
    pub(super) fn next(&mut self) -> Option<Turn<'a>> {
        let way = self.ways.next()?;
        let spare = !self.ways.as_slice().is_empty();
        let deadline = if spare {
            let now = Instant::now();
            let share =
                self.deadline.saturating_duration_since(now).checked_div(limits::SPARE_SHARE).unwrap_or_default();
            now.checked_add(share).unwrap_or(self.deadline)
        } else {
            self.deadline
        };
        Some(Turn { way, registry: self.registry, path: Arc::clone(&self.path), deadline, spare })
    }

    /// A host could not help. That it has no such thing is the least telling of all reasons; what a host answered tells
    /// more than that another could not be reached, and must not look like an outage.
    pub(super) fn failed(&mut self, error: Error) {
        let rank = |error: &Error| match error {
            Error::NotFound { .. } => 0,
            error if error.is_outage() => 1,
            _ => 2,
        };
        if self.failed.as_ref().is_none_or(|known| rank(known) < rank(&error)) {
            self.failed = Some(error);
        }
    }

    /// Why nobody helped.
    pub(super) fn error(self) -> Error {
        let cause = "no host that its files name is good for this (capabilities)".to_owned();
        self.failed.unwrap_or_else(|| Error::Malformed { what: format!("hosts of {}", self.registry), cause })
    }
}

impl Turn<'_> {
    /// The URL of something in the repository (OCI distribution specification, "Endpoints").
    pub(super) fn url(&self, kind: &str, name: &str) -> Url {
        let mut url = self.way.door.base().clone();
        url.set_path(&format!("{}/{}/{kind}/{name}", url.path().trim_end_matches('/'), self.path));
        if !self.way.is_origin {
            // So that a mirror of many registries knows which one is meant.
            url.query_pairs_mut().append_pair("ns", self.registry);
        }
        url
    }

    /// Asks this host.
    pub(super) async fn get(&self, url: Url, question: Question) -> Result<Answer, Error> {
        let Question { accept, bound, redirects } = question;
        let (repository, deadline, spare) = (Arc::clone(&self.path), self.deadline, self.spare);
        let is_mirror = !self.way.is_origin;
        let get = Get { url, repository, accept, bound, redirects, form: None, deadline, is_mirror, spare };
        self.way.door.get(get).await
    }
}
