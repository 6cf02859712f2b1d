//! Answers a host's challenges: shows credentials, or a token that its realm gives for them. What worked is remembered, so
//! that later requests show it at once. Which credentials there are is `credentials`' business, whom they may be shown to
//! is `realm`'s.

pub mod challenge;
pub mod realm;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use serde::Deserialize;
use tokio::sync::MutexGuard;
use tokio::time::{Instant, timeout};
use url::form_urlencoded;

use super::credentials::{Chain, Credential, Found, Wanted};
use super::exchange::{Again, Answer, Bound, Exchange, Failed, Get, Redirects, what};
use crate::cache::Cache;
use crate::json;
use crate::limits;
use crate::secret::Secret;
use crate::store::Error;
use challenge::Challenge;

/// What is shown to one host.
pub(super) struct Keys {
    /// The host's own URL, and its name for those who have credentials.
    host: Url,
    name: String,
    chain: Arc<Chain>,
    allowed_realms: Arc<[String]>,
    exchange: Exchange,
    /// What the host wanted to see last, for repositories of which it has not said yet.
    scheme: Mutex<Option<Scheme>>,
    /// What it wanted to see last by repository; none: nothing.
    schemes: Cache<Arc<str>, Option<Scheme>>,
    /// Whether it has answered at all; until then whoever asks holds the other.
    met: AtomicBool,
    first: tokio::sync::Mutex<()>,
    tokens: Cache<Scope, Token>,
    /// The scope that the host named last, by repository: a mirror may have it at a path of its own.
    named: Cache<Arc<str>, String>,
    /// One lock for each token that is being fetched.
    fetching: Mutex<HashMap<Scope, Arc<tokio::sync::Mutex<()>>>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Scheme {
    Basic,
    Bearer { realm: Url, service: Option<String> },
}

/// What a token is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Scope {
    realm: String,
    service: Option<String>,
    scope: String,
}

#[derive(Clone)]
struct Token {
    header: HeaderValue,
    until: Instant,
}

/// The first request to a host. Dropped, the next one is, or none any more if the host was heard.
struct Meeting<'a> {
    met: &'a AtomicBool,
    heard: bool,
    _held: MutexGuard<'a, ()>,
}

impl Drop for Meeting<'_> {
    fn drop(&mut self) {
        self.met.fetch_or(self.heard, Ordering::Relaxed);
    }
}

/// What was shown, in a header and in words that hold no secret.
pub(super) struct Shown {
    header: Option<HeaderValue>,
    words: String,
}

impl Keys {
    pub(super) fn new(host: Url, chain: Arc<Chain>, allowed_realms: Arc<[String]>, exchange: Exchange) -> Self {
        let name = host.authority().to_owned();
        let (tokens, schemes) = (Cache::new(limits::TOKENS_BYTES, None), Cache::new(limits::TOKENS, None));
        let named = Cache::new(limits::SCOPES_BYTES, None);
        let (scheme, fetching) = (Mutex::default(), Mutex::default());
        let (met, first) = (AtomicBool::new(false), tokio::sync::Mutex::default());
        Self { host, name, chain, allowed_realms, exchange, scheme, schemes, met, first, tokens, named, fetching }
    }

    /// Sends a request with what the host is known to want, and once more with what it then says that it wants.
    pub(super) async fn run(&self, get: &Get, headers: &HeaderMap) -> Result<Answer, Failed> {
        let mut meeting = self.meet().await;
        let known = self.known(get);
        let first = self.first(get, known.as_ref()).await?;
        let answer = self.exchange.run(get, &with(headers, first.header.as_ref())).await;
        if let Some(meeting) = &mut meeting {
            meeting.heard = !answer.as_ref().is_err_and(|failed| failed.error.is_outage());
        }
        let failed = match answer {
            Err(failed) if matches!(failed.error, Error::Refused { status: 401, .. }) => failed,
            Err(failed) => {
                // Amazon's registry says so of a password that has ended: the next request shows another.
                if first.header.is_some() && matches!(failed.error, Error::Refused { .. }) {
                    self.chain.refused(&self.wanted(get));
                }
                return Err(told(failed, &first));
            }
            answer => {
                if known.is_some() && first.header.is_none() {
                    self.learn(get, None);
                }
                return answer;
            }
        };
        let Some((scheme, scope)) = choose(&failed.challenges) else {
            let words = format!("{}, and does not say what it wants to see", first.words);
            return Err(told(failed, &Shown { words, ..first }));
        };
        let lengths = failed.challenges.iter().map(Challenge::len);
        if lengths.max().unwrap_or_default() > limits::CHALLENGE_BYTES {
            return Err(refused(get, "what it wants to see is too long to be read".to_owned()));
        }
        let scheme = match scheme {
            Choice::Basic => Scheme::Basic,
            Choice::Bearer { realm, service } => {
                let url =
                    Url::parse(&realm).map_err(|error| refused(get, format!("its realm cannot be read: {error}")))?;
                Scheme::Bearer { realm: url, service }
            }
        };
        if let Some(scope) = &scope {
            let weight = u64::try_from(get.repository.len().saturating_add(scope.len())).unwrap_or(u64::MAX);
            self.named.insert(Arc::clone(&get.repository), scope.clone(), weight, Instant::now());
        }
        // What was shown has ended, or never was enough: find it out anew, once.
        let second = self.show(get, &scheme, scope.as_deref(), first.header.as_ref()).await?;
        if second.header.is_none() {
            return Err(told(failed, &second));
        }
        self.learn(get, Some(scheme));
        drop(meeting);
        self.exchange.run(get, &with(headers, second.header.as_ref())).await.map_err(|failed| {
            if matches!(failed.error, Error::Refused { .. }) {
                self.chain.refused(&self.wanted(get));
            }
            told(failed, &second)
        })
    }

    /// What the host is known to want for a repository.
    fn known(&self, get: &Get) -> Option<Scheme> {
        let host_wide = || self.scheme.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.schemes.get(&get.repository, Instant::now()).unwrap_or_else(host_wide)
    }

    fn learn(&self, get: &Get, scheme: Option<Scheme>) {
        if scheme.is_some() {
            self.scheme.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&scheme);
        }
        self.schemes.insert(Arc::clone(&get.repository), scheme, 1, Instant::now());
    }

    /// What to show at once. It is no more than a guess: a realm may have moved, and not all repositories are private.
    /// Where there is nothing to show, the host says itself what it wants to see.
    async fn first(&self, get: &Get, known: Option<&Scheme>) -> Result<Shown, Failed> {
        let nothing = Shown { header: None, words: "it was shown nothing".to_owned() };
        let Some(scheme) = known else { return Ok(nothing) };
        let named = self.named.get(&get.repository, Instant::now());
        match self.show(get, scheme, named.as_deref(), None).await {
            Err(failed) if failed.again != Again::No => {
                // One that throttles is there. Of one that is not, the next try hears whether it still is the one to ask.
                if failed.again == Again::Soon {
                    self.learn(get, None);
                }
                Err(failed)
            }
            shown => Ok(shown.unwrap_or(nothing)),
        }
    }

    /// The first request to a host tells what it wants to see, so that the others need not find out too. They wait for it,
    /// though not for long: it may be about something that takes its time.
    async fn meet(&self) -> Option<Meeting<'_>> {
        if self.met.load(Ordering::Relaxed) {
            return None;
        }
        let held = timeout(limits::FIRST_ANSWER, self.first.lock()).await.ok()?;
        (!self.met.load(Ordering::Relaxed)).then_some(Meeting { met: &self.met, heard: false, _held: held })
    }

    /// Sends a request to another host, to which nothing is shown.
    pub(super) async fn run_elsewhere(&self, get: &Get) -> Result<Answer, Failed> {
        self.exchange.run(get, &HeaderMap::new()).await
    }

    fn wanted<'a>(&'a self, get: &'a Get) -> Wanted<'a> {
        Wanted { host: &self.name, path: &get.repository, is_mirror: get.is_mirror }
    }

    /// What to show a host that wants to see `scheme`, and has refused what is in `refused`.
    async fn show(
        &self,
        get: &Get,
        scheme: &Scheme,
        scope: Option<&str>,
        refused: Option<&HeaderValue>,
    ) -> Result<Shown, Failed> {
        match scheme {
            Scheme::Basic => {
                if refused.is_some() {
                    self.chain.refused(&self.wanted(get));
                }
                let found = self.chain.find(&self.wanted(get), get.deadline).await;
                let header = match &found.credential {
                    Some(Credential::Basic { username, password }) => Some(basic(username, password)),
                    Some(Credential::Bearer(token)) => Some(bearer(token)),
                    Some(Credential::Identity(_)) | None => None,
                };
                Ok(Shown { header: header.flatten(), words: self.words(&found) })
            }
            Scheme::Bearer { realm, service } => self.token(get, realm, service.as_ref(), scope, refused).await,
        }
    }

    /// What was or was not shown, in words.
    fn words(&self, found: &Found) -> String {
        let name = &self.name;
        // Not the user: some put their token there too.
        let mut words = match &found.provider {
            None => format!("no credentials for {name} are configured"),
            Some(provider) => format!("it was shown the credentials that {provider} has for {name}"),
        };
        for trouble in &found.troubles {
            words += &format!("; {trouble}");
        }
        words
    }

    /// A token for a repository: kept, or fetched once for all who wait.
    async fn token(
        &self,
        get: &Get,
        realm: &Url,
        service: Option<&String>,
        scope: Option<&str>,
        refused: Option<&HeaderValue>,
    ) -> Result<Shown, Failed> {
        let key = Scope::of(realm, service, &scopes(get, scope));
        // One that another request has fetched since is not the one that was refused.
        let is_good = |token: &Token| token.until > Instant::now() && refused != Some(&token.header);
        let kept = || self.tokens.get(&key, Instant::now()).filter(is_good);
        let shown =
            |token: Token| Shown { header: Some(token.header), words: "it was shown a token of its realm".to_owned() };
        if let Some(token) = kept() {
            return Ok(shown(token));
        }
        let lock = {
            let mut fetching = self.fetching.lock().unwrap_or_else(PoisonError::into_inner);
            fetching.retain(|_, lock| Arc::strong_count(lock) > 1);
            Arc::clone(fetching.entry(key.clone()).or_default())
        };
        let _one_at_a_time = lock.lock().await;
        if let Some(token) = kept() {
            return Ok(shown(token));
        }
        if refused.is_some() {
            self.chain.refused(&self.wanted(get));
        }
        let found = self.chain.find(&self.wanted(get), get.deadline).await;
        if let Some(Credential::Bearer(token)) = &found.credential {
            return Ok(Shown { header: bearer(token), words: self.words(&found) });
        }
        let token = self.fetch(get, realm, &key, &found).await?;
        self.exchange.metrics.token_fetched(&self.name);
        self.tokens.insert(key.clone(), token.clone(), key.weight(&token), Instant::now());
        Ok(Shown { header: Some(token.header), words: self.words(&found) })
    }

    async fn fetch(&self, get: &Get, realm: &Url, key: &Scope, found: &Found) -> Result<Token, Failed> {
        let may = match &found.credential {
            None => realm::may_be_asked(&self.host, realm),
            Some(_) => realm::may_see_credentials(&self.host, realm, &self.allowed_realms),
        };
        may.map_err(|cause| refused(get, cause))?;
        let fields = || {
            let mut fields = form_urlencoded::Serializer::new(String::new());
            if let Some(service) = &key.service {
                fields.append_pair("service", service);
            }
            fields
        };
        let (mut url, mut form, mut headers) = (realm.clone(), None, HeaderMap::new());
        match &found.credential {
            Some(Credential::Identity(token)) => {
                let mut fields = fields();
                fields.append_pair("grant_type", "refresh_token").append_pair("client_id", "ratifyd");
                fields.append_pair("scope", &key.scope).append_pair("refresh_token", token.expose());
                form = Some(Arc::new(Secret::new(fields.finish())));
            }
            credential => {
                let mut pairs = url.query_pairs_mut();
                if let Some(service) = &key.service {
                    pairs.append_pair("service", service);
                }
                key.scope.split(' ').for_each(|scope| {
                    pairs.append_pair("scope", scope);
                });
                if let Some(Credential::Basic { username, password }) = credential {
                    pairs.append_pair("account", username);
                    headers.extend(basic(username, password).map(|value| (AUTHORIZATION, value)));
                }
            }
        }
        let (what, bound) = (what(&url), Bound::AtMost(limits::TOKEN_ANSWER_BYTES));
        let ask = Get { url, accept: "application/json", bound, redirects: Redirects::Never, form, ..get.clone() };
        let shown = Shown { header: None, words: self.words(found) };
        let asked = Instant::now();
        let answer = self.exchange.run(&ask, &headers).await.map_err(|failed| {
            if matches!(failed.error, Error::Refused { .. }) {
                self.chain.refused(&self.wanted(get));
            }
            // Whether a realm is there or speaks TLS says nothing of the host, and that it has no token nothing of what was
            // asked for.
            let failed = Failed { for_http: false, tells_nothing: true, ..told(failed, &shown) };
            match failed.error {
                Error::NotFound { what } => Failed { error: no_token(what, 404), ..failed },
                Error::Status { what, status, .. } if status < 500 => {
                    Failed { error: no_token(what, status), ..failed }
                }
                _ => failed,
            }
        })?;
        read(&answer.body, asked).map_err(|cause| Error::Malformed { what, cause }.into())
    }
}

impl Scope {
    fn of(realm: &Url, service: Option<&String>, scope: &str) -> Self {
        Self { realm: realm.to_string(), service: service.cloned(), scope: scope.to_owned() }
    }

    /// What it takes to keep a token for this, in bytes.
    fn weight(&self, token: &Token) -> u64 {
        let parts =
            [self.realm.len(), self.service.as_ref().map_or(0, String::len), self.scope.len(), token.header.len()];
        u64::try_from(parts.into_iter().fold(TOKEN_OVERHEAD, usize::saturating_add)).unwrap_or(u64::MAX)
    }
}

/// What an entry takes beside its texts, in bytes.
const TOKEN_OVERHEAD: usize = 256;

enum Choice {
    Basic,
    Bearer { realm: String, service: Option<String> },
}

/// A token where one is given, else a password; and the scope that is asked for.
fn choose(challenges: &[Challenge]) -> Option<(Choice, Option<String>)> {
    let bearer = challenges.iter().find_map(|challenge| match challenge {
        Challenge::Bearer { realm, service, scope } => {
            Some((Choice::Bearer { realm: realm.clone(), service: service.clone() }, scope.clone()))
        }
        Challenge::Basic => None,
    });
    bearer.or_else(|| challenges.contains(&Challenge::Basic).then_some((Choice::Basic, None)))
}

/// The scopes of a token: reading this repository, and what else the host names for it.
fn scopes(get: &Get, named: Option<&str>) -> String {
    let own = format!("repository:{}:pull", get.repository);
    match named {
        Some(named) if !named.is_empty() && named != own => format!("{own} {named}"),
        _ => own,
    }
}

/// A realm's answer (distribution specification, "Token Authentication").
fn read(body: &[u8], asked: Instant) -> Result<Token, String> {
    #[derive(Deserialize)]
    struct Given {
        token: Option<String>,
        access_token: Option<String>,
        expires_in: Option<u64>,
    }
    let given: Given = json::from_slice(body).map_err(|_| "the realm's answer cannot be read".to_owned())?;
    let text = given.token.filter(|text| !text.is_empty()).or(given.access_token).filter(|text| !text.is_empty());
    let text = Secret::new(text.ok_or("the realm's answer holds no token")?);
    let header = bearer(&text).ok_or("the realm's token has characters that a header cannot carry")?;
    let lives = given.expires_in.map_or(limits::TOKEN_LIFETIME, Duration::from_secs).min(limits::TOKEN_LIFETIME_MAX);
    // A tenth early: it has to arrive.
    let until = asked.checked_add(lives.mul_f64(0.9)).unwrap_or(asked);
    Ok(Token { header, until })
}

fn with(headers: &HeaderMap, shown: Option<&HeaderValue>) -> HeaderMap {
    let mut headers = headers.clone();
    if let Some(shown) = shown {
        headers.insert(AUTHORIZATION, shown.clone());
    }
    headers
}

fn basic(username: &str, password: &Secret) -> Option<HeaderValue> {
    let pair = Secret::new(format!("{username}:{}", password.expose()));
    sensitive(&Secret::new(format!("Basic {}", STANDARD.encode(pair.expose()))))
}

fn bearer(token: &Secret) -> Option<HeaderValue> {
    sensitive(&Secret::new(format!("Bearer {}", token.expose())))
}

fn sensitive(text: &Secret) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text.expose()).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The same failure; a refusal says what was shown.
fn told(mut failed: Failed, to: &Shown) -> Failed {
    if let Error::Refused { shown, .. } = &mut failed.error
        && shown.is_empty()
    {
        shown.clone_from(&to.words);
    }
    failed
}

fn no_token(what: String, status: u16) -> Error {
    Error::Malformed { what, cause: format!("the realm answers with status {status} instead of a token") }
}

/// A request that is not made because nothing can be shown.
fn refused(get: &Get, cause: String) -> Failed {
    Error::Refused { what: what(&get.url), status: 401, said: String::new(), shown: cause }.into()
}
