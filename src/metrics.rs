//! What the daemon counts: verdicts, steps, requests, memories, reloads. Plain atomics, no I/O and no rules; nothing that
//! is decided looks at them. Counted by `live`, `assemble` and the registry store; `daemon` serves the text.
//!
//! No label holds what others write, but for the hosts of registries, and of those at most [`limits::REGISTRIES`] are
//! told apart: image names choose the hosts. No image name, repository, digest or secret is ever a label.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::limits;
use crate::report::Validation;
use crate::verdict::{Class, Token};

/// The counters of one process.
pub struct Metrics {
    registry: Registry,
    hosts: Mutex<HashSet<String>>,
    verdicts: Family<Labels<3>, Counter>,
    durations: Family<Labels<1>, Histogram, fn() -> Histogram>,
    requests: Family<Labels<2>, Counter>,
    tokens: Family<Labels<1>, Counter>,
    retries: Family<Labels<1>, Counter>,
    breakers: Family<Labels<1>, Gauge>,
    caches: Family<Labels<2>, Counter>,
    cache_bytes: Family<Labels<1>, Gauge>,
    reloads: Family<Labels<1>, Counter>,
    not_enforced: Family<Labels<1>, Counter>,
    revocations: Family<Labels<2>, Counter>,
    trust_read: Gauge,
    /// Asked when the text is made: a root may become current without anything that changes.
    roots: Mutex<Vec<(String, AsOf)>>,
    root_times: Family<Labels<1>, Gauge>,
    /// Names of plugins, what they are fetched from, and why they may be run.
    plugins: Mutex<Vec<(String, String, &'static str, AsOf)>>,
    plugin_times: Family<Labels<3>, Gauge>,
}

/// Tells the moment at which something was last known to be so.
pub type AsOf = Arc<dyn Fn() -> Option<SystemTime> + Send + Sync>;

/// A part of a verification that takes time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A list of referrers.
    List,
    /// A manifest.
    Manifest,
    /// A blob.
    Blob,
    /// One verifier's look at one referrer, with the blobs that it reads.
    Verify,
    /// A pull, from question to answer.
    Whole,
}

/// A memory of facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// Lists of referrers, in memory.
    Lists,
    /// Manifests and blobs, in memory.
    Memory,
    /// Manifests and blobs, on disk.
    Disk,
    /// Whether certificates were revoked, in memory.
    Revocation,
    /// CRLs and OCSP responses, on disk.
    RevocationDisk,
}

/// What asking a memory brought, or giving it something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// It was there.
    Hit,
    /// It was not.
    Miss,
    /// It was there and not what its digest says; it is gone now.
    Damaged,
    /// The memory could not be read or written.
    Failed,
    /// It was too old, and used all the same: the registry could not be reached.
    Stale,
}

type Labels<const N: usize> = [(&'static str, Cow<'static, str>); N];

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Counters at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("ratifyd"),
            hosts: Mutex::default(),
            verdicts: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            requests: Family::default(),
            tokens: Family::default(),
            retries: Family::default(),
            breakers: Family::default(),
            caches: Family::default(),
            cache_bytes: Family::default(),
            reloads: Family::default(),
            not_enforced: Family::default(),
            revocations: Family::default(),
            trust_read: Gauge::default(),
            roots: Mutex::default(),
            root_times: Family::default(),
            plugins: Mutex::default(),
            plugin_times: Family::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("verdicts", "Answers to pulls", self.verdicts.clone());
        registry.register("verification_duration_seconds", "Time that a step took", self.durations.clone());
        registry.register("registry_requests", "Requests to registries", self.requests.clone());
        registry.register("tokens_fetched", "Tokens fetched for registries", self.tokens.clone());
        registry.register("retries", "Requests to registries made again", self.retries.clone());
        registry.register("breaker_open", "Whether a registry is not asked for a while", self.breakers.clone());
        registry.register("cache", "Questions to what is remembered", self.caches.clone());
        registry.register("cache_bytes", "Bytes remembered", self.cache_bytes.clone());
        registry.register("reloads", "Readings of configuration and trust", self.reloads.clone());
        let help = "Failed validations that the configuration only logs";
        registry.register("validations_not_enforced", help, self.not_enforced.clone());
        let help = "Questions to others whether a certificate was revoked";
        registry.register("revocation_requests", help, self.revocations.clone());
        let help = "When trust was last found current and whole, in seconds since 1970";
        registry.register("trust_read_timestamp_seconds", help, self.trust_read.clone());
        let help = "When a trusted root was last known to be the one that counts, in seconds since 1970";
        registry.register("trusted_root_timestamp_seconds", help, self.root_times.clone());
        let help = "When a fetched plugin was last found to be the one that counts, in seconds since 1970";
        registry.register("plugin_timestamp_seconds", help, self.plugin_times.clone());
    }

    /// A part of a check that did not hold, and that the configuration only logs.
    pub fn not_enforced(&self, validation: Validation) {
        self.not_enforced.get_or_create(&[("validation", Cow::Borrowed(validation.as_str()))]).inc();
    }

    /// A question to others about revocation, and what came of it: one of few words.
    pub fn revocation(&self, method: &'static str, result: &'static str) {
        self.revocations.get_or_create(&[("method", Cow::Borrowed(method)), ("result", Cow::Borrowed(result))]).inc();
    }

    /// An answer to a pull.
    pub fn verdict(&self, token: Token, class: Class, remembered: bool) {
        let answer = if remembered { "remembered" } else { "fresh" };
        let labels = [
            ("token", Cow::Borrowed(token.as_str())),
            ("cause", Cow::Borrowed(class.as_str())),
            ("answer", Cow::Borrowed(answer)),
        ];
        self.verdicts.get_or_create(&labels).inc();
    }

    /// A step that ended.
    pub fn took(&self, step: Step, duration: Duration) {
        self.durations.get_or_create(&[("step", Cow::Borrowed(step.as_str()))]).observe(duration.as_secs_f64());
    }

    /// A request to a registry, and the status of its answer; none where there was no answer.
    pub fn request(&self, host: &str, status: Option<u16>) {
        self.requests.get_or_create(&[("host", self.host(host)), ("status", status_label(status))]).inc();
    }

    /// A token that was fetched for a registry.
    pub fn token_fetched(&self, host: &str) {
        self.tokens.get_or_create(&[("host", self.host(host))]).inc();
    }

    /// A request to a registry that is made again.
    pub fn retried(&self, host: &str) {
        self.retries.get_or_create(&[("host", self.host(host))]).inc();
    }

    /// Whether a registry is not asked for a while. Hosts past the bound are not told apart, so nothing is said of them.
    pub fn breaker(&self, host: &str, open: bool) {
        let host = self.host(host);
        if host != OTHER {
            self.breakers.get_or_create(&[("host", host)]).set(i64::from(open));
        }
    }

    /// A question to a memory.
    pub fn cache(&self, cache: Cache, lookup: Lookup) {
        let labels = [("kind", Cow::Borrowed(cache.as_str())), ("result", Cow::Borrowed(lookup.as_str()))];
        self.caches.get_or_create(&labels).inc();
    }

    /// By how much what a memory holds has changed, in bytes.
    pub fn cache_grew(&self, cache: Cache, bytes: i64) {
        self.cache_bytes.get_or_create(&[("kind", Cow::Borrowed(cache.as_str()))]).inc_by(bytes);
    }

    /// A reading of configuration and trust, and whether all of it could be taken.
    pub fn reload(&self, good: bool) {
        let result = if good { "good" } else { "bad" };
        self.reloads.get_or_create(&[("result", Cow::Borrowed(result))]).inc();
    }

    /// Trust was found current and whole.
    pub fn trust_current(&self, now: SystemTime) {
        self.trust_read.set(seconds(now));
    }

    /// The trusted roots in force, by their configured names.
    pub fn trusted_roots(&self, roots: Vec<(String, AsOf)>) {
        *self.roots.lock().unwrap_or_else(PoisonError::into_inner) = roots;
    }

    /// The plugins that are fetched: their names, from what, and why they may be run.
    pub fn plugins(&self, plugins: Vec<(String, String, &'static str, AsOf)>) {
        *self.plugins.lock().unwrap_or_else(PoisonError::into_inner) = plugins;
    }

    /// All of it, in the text format of OpenMetrics 1.0.
    ///
    /// # Errors
    /// None that is known: text can always be written to memory.
    pub fn text(&self) -> Result<String, fmt::Error> {
        // Held to the end: of two who read at once neither finds the times that the other is about to write.
        let roots = self.roots.lock().unwrap_or_else(PoisonError::into_inner);
        self.root_times.clear();
        for (name, as_of) in roots.iter() {
            if let Some(at) = as_of() {
                self.root_times.get_or_create(&[("root", Cow::Owned(name.clone()))]).set(seconds(at));
            }
        }
        let plugins = self.plugins.lock().unwrap_or_else(PoisonError::into_inner);
        self.plugin_times.clear();
        for (name, source, trust, as_of) in plugins.iter() {
            if let Some(at) = as_of() {
                let (name, source) = (Cow::Owned(name.clone()), Cow::Owned(source.clone()));
                let labels = [("plugin", name), ("source", source), ("trust", Cow::Borrowed(*trust))];
                self.plugin_times.get_or_create(&labels).set(seconds(at));
            }
        }
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// A host as a label, without whom its URL names.
    fn host(&self, host: &str) -> Cow<'static, str> {
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if !hosts.contains(host) {
            let full = u64::try_from(hosts.len()).is_ok_and(|known| known >= limits::REGISTRIES);
            if full || host.len() > limits::NAME_BYTES {
                return Cow::Borrowed(OTHER);
            }
            hosts.insert(host.to_owned());
        }
        Cow::Owned(host.to_owned())
    }
}

impl Step {
    fn as_str(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Manifest => "manifest",
            Self::Blob => "blob",
            Self::Verify => "verify",
            Self::Whole => "whole",
        }
    }
}

impl Cache {
    fn as_str(self) -> &'static str {
        match self {
            Self::Lists => "lists",
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Revocation => "revocation",
            Self::RevocationDisk => "revocation_disk",
        }
    }
}

impl Lookup {
    fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Damaged => "damaged",
            Self::Failed => "failed",
            Self::Stale => "stale",
        }
    }
}

/// Since 1970.
fn seconds(at: SystemTime) -> i64 {
    let seconds = at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

/// A status as a label: as it is where registries use it, else its class. A registry chooses the number.
fn status_label(status: Option<u16>) -> Cow<'static, str> {
    match status {
        None => Cow::Borrowed("none"),
        Some(known) if STATUSES.contains(&known) => Cow::Owned(known.to_string()),
        Some(200..=299) => Cow::Borrowed("2xx"),
        Some(300..=399) => Cow::Borrowed("3xx"),
        Some(400..=499) => Cow::Borrowed("4xx"),
        Some(500..=599) => Cow::Borrowed("5xx"),
        Some(_) => Cow::Borrowed(OTHER),
    }
}

/// The statuses that are told apart.
const STATUSES: [u16; 15] = [200, 301, 302, 303, 307, 308, 401, 403, 404, 406, 429, 500, 502, 503, 504];

/// What is not told apart.
const OTHER: &str = "other";

/// Upper ends of the buckets of durations, in seconds: a remembered list takes microseconds, and after 30 s
/// ([`limits::CALL_TIMEOUT`]) everything has ended.
const BUCKETS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 8.0, 30.0];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_thousand_hosts_make_no_more_series_than_the_bound() {
        let metrics = Metrics::new();
        for number in 0..10_000 {
            let host = format!("r{number}.example");
            metrics.request(&host, Some(200));
            metrics.token_fetched(&host);
            metrics.retried(&host);
            metrics.breaker(&host, true);
        }
        let text = metrics.text().unwrap();
        let series = |name: &str| text.lines().filter(|line| line.starts_with(&format!("ratifyd_{name}{{"))).count();
        let bound = usize::try_from(limits::REGISTRIES).unwrap();
        for name in ["registry_requests_total", "tokens_fetched_total", "retries_total"] {
            assert_eq!(series(name), bound + 1, "{name}");
        }
        assert_eq!(series("breaker_open"), bound);
        let rest = 10_000 - bound;
        assert!(text.contains(&format!("ratifyd_retries_total{{host=\"other\"}} {rest}\n")), "{text}");
    }

    #[test]
    fn a_user_and_password_of_a_hosts_url_are_not_told() {
        let metrics = Metrics::new();
        metrics.request("user:p@ss@r.example:5000", Some(200));
        let text = metrics.text().unwrap();
        assert!(text.contains("{host=\"r.example:5000\",status=\"200\"} 1\n"), "{text}");
    }

    #[test]
    fn a_registry_that_makes_up_statuses_makes_no_more_series_than_there_are_classes() {
        let metrics = Metrics::new();
        for status in 0..=999 {
            metrics.request("r.example", Some(status));
        }
        metrics.request("r.example", None);
        let text = metrics.text().unwrap();
        let series = text.lines().filter(|line| line.starts_with("ratifyd_registry_requests_total{")).count();
        assert_eq!(series, STATUSES.len() + 6);
        assert!(text.contains("ratifyd_registry_requests_total{host=\"r.example\",status=\"429\"} 1\n"), "{text}");
        assert!(text.contains("ratifyd_registry_requests_total{host=\"r.example\",status=\"none\"} 1\n"), "{text}");
    }

    #[test]
    fn what_is_counted_stands_in_the_text() {
        let metrics = Metrics::new();
        metrics.verdict(Token::Denied, Class::Policy, false);
        metrics.verdict(Token::Denied, Class::Policy, true);
        metrics.took(Step::Whole, Duration::from_millis(3));
        metrics.cache(Cache::Disk, Lookup::Damaged);
        metrics.cache_grew(Cache::Memory, 100);
        metrics.cache_grew(Cache::Memory, -60);
        metrics.reload(true);
        metrics.breaker("r.example", true);
        metrics.breaker("r.example", false);
        metrics.trust_current(UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        metrics.trusted_roots(vec![("gone".to_owned(), Arc::new(|| Some(UNIX_EPOCH)))]);
        metrics.text().unwrap();
        let as_of = UNIX_EPOCH + Duration::from_secs(1_600_000_000);
        metrics.trusted_roots(vec![("public".to_owned(), Arc::new(move || Some(as_of)))]);
        metrics.plugins(vec![("sbom".to_owned(), "r.io/sbom".to_owned(), "unverified", Arc::new(move || Some(as_of)))]);
        let text = metrics.text().unwrap();
        assert!(!text.contains("gone"), "{text}");
        for line in [
            "ratifyd_trusted_root_timestamp_seconds{root=\"public\"} 1600000000",
            "ratifyd_plugin_timestamp_seconds{plugin=\"sbom\",source=\"r.io/sbom\",trust=\"unverified\"} 1600000000",
            "ratifyd_verdicts_total{token=\"DENIED\",cause=\"policy\",answer=\"fresh\"} 1",
            "ratifyd_verdicts_total{token=\"DENIED\",cause=\"policy\",answer=\"remembered\"} 1",
            "ratifyd_verification_duration_seconds_count{step=\"whole\"} 1",
            "ratifyd_verification_duration_seconds_bucket{le=\"0.005\",step=\"whole\"} 1",
            "ratifyd_cache_total{kind=\"disk\",result=\"damaged\"} 1",
            "ratifyd_cache_bytes{kind=\"memory\"} 40",
            "ratifyd_reloads_total{result=\"good\"} 1",
            "ratifyd_breaker_open{host=\"r.example\"} 0",
            "ratifyd_trust_read_timestamp_seconds 1700000000",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }
}
