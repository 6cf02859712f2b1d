//! Challenges and tokens: what is shown to whom, how often it is asked for, and what is said when it is not enough.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use ratify::limits;
use ratify::secret::Secret;
use ratify::store::registry::credentials::{Chain, Credential, Provider, Wanted};
use ratify::store::registry::{Options, RegistryStore};
use ratify::store::{Error, Store as _};
use tokio::time::Instant;

use crate::common::registry::{Registry, Reply, Request, describe};
use crate::{BLOB, REPO, by};

const PASSWORD: &str = "hunter2-s3cret";

/// Has one credential for everybody, and counts how often it is asked.
struct Fixed(Credential, Arc<AtomicUsize>);

#[async_trait]
impl Provider for Fixed {
    fn name(&self) -> &str {
        "fixed"
    }

    async fn credential(&self, _: &Wanted<'_>, _: Instant) -> Result<Option<Credential>, String> {
        self.1.fetch_add(1, Ordering::SeqCst);
        Ok(Some(self.0.clone()))
    }

    fn refused(&self, _: &Wanted<'_>) {}
}

/// Cannot tell.
struct Broken;

#[async_trait]
impl Provider for Broken {
    fn name(&self) -> &str {
        "broken"
    }

    async fn credential(&self, _: &Wanted<'_>, _: Instant) -> Result<Option<Credential>, String> {
        Err("the helper docker-credential-x ended with status 1".to_owned())
    }

    fn refused(&self, _: &Wanted<'_>) {}
}

fn alice() -> Credential {
    Credential::Basic { username: "alice".to_owned(), password: Secret::new(PASSWORD.to_owned()) }
}

fn options(providers: Vec<Box<dyn Provider>>) -> Options {
    Options {
        credentials: Arc::new(Chain::new(providers)),
        remember_referrers: Duration::ZERO,
        tries: 1,
        ..Options::default()
    }
}

fn store(credential: Option<Credential>) -> RegistryStore {
    let provider = |credential| Box::new(Fixed(credential, Arc::default())) as Box<dyn Provider>;
    RegistryStore::new(options(credential.map(provider).into_iter().collect())).unwrap()
}

/// What a registry says to those who show no token.
fn challenge(realm: &str, path: &str) -> Reply {
    let scope = format!("repository:{path}:pull");
    let field = format!(r#"Bearer realm="{realm}",service="test",scope="{scope}""#);
    Reply::status(401).header("WWW-Authenticate", &field)
}

fn token(name: &str, lives: u64) -> Reply {
    Reply::ok("application/json", format!(r#"{{"token":"{name}","expires_in":{lives}}}"#))
}

/// A registry that gives tokens `t1`, `t2`, ... of so many seconds at `/token`, and wants the latest one shown.
async fn registry_with_tokens(lives: u64) -> Registry {
    let registry = Registry::start().await;
    let (host, mut given) = (registry.host().to_owned(), 0);
    registry.judge(move |request: &Request| {
        if request.target.starts_with("/token") {
            given += 1;
            return Some(token(&format!("t{given}"), lives));
        }
        let expected = format!("Bearer t{given}");
        (request.authorization != expected).then(|| challenge(&format!("http://{host}/token"), "acme/web"))
    });
    registry
}

fn tokens(registry: &Registry) -> Vec<Request> {
    registry.requests().into_iter().filter(|request| request.target.starts_with("/token")).collect()
}

#[tokio::test]
async fn a_public_repository_of_a_registry_with_tokens_is_read_without_credentials() {
    let registry = registry_with_tokens(300).await;
    let (blob, store) = (registry.blob(REPO, "text/plain", b"hello"), store(None));
    store.blob(&registry.repository(REPO), &blob, BLOB, by()).await.unwrap();
    let token = tokens(&registry).remove(0);
    assert_eq!(token.target, "/token?service=test&scope=repository%3Aacme%2Fweb%3Apull");
    assert_eq!(token.authorization, "");
}

#[tokio::test]
async fn a_token_is_fetched_once_for_all_who_wait_and_shown_at_once_from_then_on() {
    let registry = registry_with_tokens(300).await;
    let (store, repository) = (store(Some(alice())), registry.repository(REPO));
    let blobs: Vec<_> = (0..20).map(|n| registry.blob(REPO, "text/plain", format!("{n}").as_bytes())).collect();
    store.blob(&repository, &blobs[0], BLOB, by()).await.unwrap();
    registry.forget();
    let reads = blobs.iter().skip(1).map(|blob| store.blob(&repository, blob, BLOB, by()));
    assert!(futures_util::future::join_all(reads).await.iter().all(Result::is_ok));
    assert_eq!((registry.requests().len(), tokens(&registry).len()), (19, 0));
}

#[tokio::test]
async fn fifty_at_once_who_all_need_a_token_ask_for_one() {
    let registry = registry_with_tokens(300).await;
    let (store, repository) = (store(Some(alice())), registry.repository(REPO));
    let blobs: Vec<_> = (0..50).map(|n| registry.blob(REPO, "text/plain", format!("{n}").as_bytes())).collect();
    let reads = blobs.iter().map(|blob| store.blob(&repository, blob, BLOB, by()));
    for read in futures_util::future::join_all(reads).await {
        read.unwrap();
    }
    assert_eq!(tokens(&registry).len(), 1);
}

#[tokio::test]
async fn of_many_first_requests_one_finds_out_what_the_registry_wants_to_see() {
    let registry = registry_with_tokens(300).await;
    let blobs: Vec<_> = (0..20).map(|n| registry.blob(REPO, "text/plain", format!("{n}").as_bytes())).collect();
    let (store, repository) = (store(None), registry.repository(REPO));
    let reads = blobs.iter().map(|blob| store.blob(&repository, blob, BLOB, by()));
    assert!(futures_util::future::join_all(reads).await.iter().all(Result::is_ok));
    let shown_nothing = registry.requests().iter().filter(|it| it.authorization.is_empty()).count();
    assert_eq!(shown_nothing - registry.count("/token"), 1);
    assert_eq!(registry.count("/blobs/"), blobs.len() + 1);
}

#[tokio::test]
async fn a_token_that_ends_is_fetched_again_before_it_is_refused() {
    let registry = registry_with_tokens(300).await;
    let (store, repository) = (store(None), registry.repository(REPO));
    let blobs = ["a", "b", "c"].map(|text| registry.blob(REPO, "text/plain", text.as_bytes()));
    store.blob(&repository, &blobs[0], BLOB, by()).await.unwrap();
    let pass = async |seconds| {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(seconds)).await;
        tokio::time::resume();
    };
    pass(269).await;
    store.blob(&repository, &blobs[1], BLOB, by()).await.unwrap();
    assert_eq!(tokens(&registry).len(), 1);
    pass(2).await;
    registry.forget();
    store.blob(&repository, &blobs[2], BLOB, by()).await.unwrap();
    assert_eq!((registry.requests().len(), tokens(&registry).len()), (2, 1), "no request was refused");
}

#[tokio::test]
async fn a_token_that_is_refused_early_is_fetched_anew_once_and_no_more() {
    let registry = registry_with_tokens(300).await;
    let (store, repository) = (store(None), registry.repository(REPO));
    let blobs = ["a", "b"].map(|text| registry.blob(REPO, "text/plain", text.as_bytes()));
    store.blob(&repository, &blobs[0], BLOB, by()).await.unwrap();
    let host = registry.host().to_owned();
    // The registry has forgotten its tokens, and then forgets each new one.
    registry.judge(move |request| {
        let is_token = request.target.starts_with("/token");
        Some(if is_token { token("other", 300) } else { challenge(&format!("http://{host}/token"), "acme/web") })
    });
    registry.forget();
    let error = store.blob(&repository, &blobs[1], BLOB, by()).await.unwrap_err();
    assert!(matches!(error, Error::Refused { status: 401, .. }), "{error}");
    assert_eq!((registry.requests().len(), tokens(&registry).len()), (3, 1));
    let authorization: Vec<_> = registry.requests().into_iter().map(|request| request.authorization).collect();
    assert_eq!(authorization, ["Bearer t1", "", "Bearer other"]);
}

#[tokio::test]
async fn user_and_password_are_shown_to_the_realm_and_the_token_to_the_registry() {
    let registry = registry_with_tokens(300).await;
    let (blob, store) = (registry.blob(REPO, "text/plain", b"hello"), store(Some(alice())));
    store.blob(&registry.repository(REPO), &blob, BLOB, by()).await.unwrap();
    let shown: Vec<_> = registry.requests().into_iter().map(|r| (r.target, r.authorization)).collect();
    // base64 of alice:hunter2-s3cret
    assert_eq!(shown[0].1, "");
    assert_eq!(shown[1].1, "Basic YWxpY2U6aHVudGVyMi1zM2NyZXQ=");
    assert!(shown[1].0.ends_with("&account=alice"), "{}", shown[1].0);
    assert_eq!(shown[2].1, "Bearer t1");
}

#[tokio::test]
async fn an_identity_token_is_posted_to_the_realm_as_a_refresh_token() {
    let registry = registry_with_tokens(300).await;
    let store = store(Some(Credential::Identity(Secret::new("re/fresh+".to_owned()))));
    let blob = registry.blob(REPO, "text/plain", b"hello");
    store.blob(&registry.repository(REPO), &blob, BLOB, by()).await.unwrap();
    let token = tokens(&registry).remove(0);
    assert!(token.head.starts_with("post /token http/1.1"), "{}", token.head);
    let body = "service=test&grant_type=refresh_token&client_id=ratifyd&scope=repository%3Aacme%2Fweb%3Apull&refresh_token=re%2Ffresh%2B";
    assert_eq!((token.body.as_str(), token.authorization.as_str()), (body, ""));
}

#[tokio::test]
async fn a_registry_token_is_shown_as_it_is() {
    let registry = Registry::start().await;
    let host = registry.host().to_owned();
    registry.judge(move |request| {
        let shown = request.authorization == "Bearer given";
        (!shown).then(|| challenge(&format!("http://{host}/token"), "acme/web"))
    });
    let (blob, store) =
        (registry.blob(REPO, "text/plain", b"hello"), store(Some(Credential::Bearer(Secret::new("given".to_owned())))));
    store.blob(&registry.repository(REPO), &blob, BLOB, by()).await.unwrap();
    assert_eq!(tokens(&registry).len(), 0);
}

#[tokio::test]
async fn of_several_challenges_a_token_is_preferred_and_basic_is_understood_too() {
    let registry = Registry::start().await;
    let host = registry.host().to_owned();
    registry.judge(move |request| match request.authorization.as_str() {
        "Bearer t" => None,
        _ if request.target.starts_with("/token") => Some(token("t", 60)),
        _ => Some(
            challenge(&format!("http://{host}/token"), "acme/web").header("WWW-Authenticate", r#"Basic realm="x""#),
        ),
    });
    let blobs = ["a", "b"].map(|text| registry.blob(REPO, "text/plain", text.as_bytes()));
    store(Some(alice())).blob(&registry.repository(REPO), &blobs[0], BLOB, by()).await.unwrap();

    registry.judge(|request| {
        let is_shown = request.authorization.starts_with("Basic ");
        (!is_shown).then(|| Reply::status(401).header("WWW-Authenticate", r#"Basic realm="x""#))
    });
    registry.forget();
    let store = store(Some(alice()));
    for blob in &blobs {
        store.blob(&registry.repository(REPO), blob, BLOB, by()).await.unwrap();
    }
    assert_eq!(registry.requests().len(), 3, "the second time it is shown at once");
}

#[tokio::test]
async fn credentials_go_to_no_realm_elsewhere_and_the_error_says_how_to_allow_it() {
    let (registry, elsewhere) = (Registry::start().await, Registry::start().await);
    let blob = registry.blob(REPO, "text/plain", b"hello");
    for realm in ["https://evil.example/token", "http://169.254.169.254/token", "https://user:pass@evil.example/"] {
        let realm = realm.to_owned();
        registry.judge(move |_| Some(challenge(&realm, "acme/web")));
        let error = store(Some(alice())).blob(&registry.repository(REPO), &blob, BLOB, by()).await.unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("realm") && !text.contains(PASSWORD) && !text.contains("pass@"), "{text}");
    }
    assert_eq!(elsewhere.requests().len(), 0);
}

#[tokio::test]
async fn a_redirect_shows_neither_token_nor_password_to_another_host() {
    let (registry, objects) = (registry_with_tokens(300).await, Registry::start().await);
    let blob = describe("text/plain", b"hello");
    let (host, target) = (registry.host().to_owned(), format!("http://{}/object", objects.host()));
    registry.judge(move |request| match request.authorization.as_str() {
        _ if request.target.starts_with("/token") => Some(token("t", 60)),
        "Bearer t" => Some(Reply::redirect(307, &target)),
        _ => Some(challenge(&format!("http://{host}/token"), "acme/web")),
    });
    objects.reply("/object", Reply::ok("application/octet-stream", "hello"));
    store(Some(alice())).blob(&registry.repository(REPO), &blob, BLOB, by()).await.unwrap();
    assert_eq!(objects.requests()[0].authorization, "");
}

#[tokio::test]
async fn what_is_refused_says_what_was_shown_and_no_secret() {
    let registry = Registry::start().await;
    let host = registry.host().to_owned();
    let blob = registry.blob(REPO, "text/plain", b"hello");
    registry.judge(|_| Some(Reply::status(401).header("WWW-Authenticate", "Basic")));
    let read = async |providers: Vec<Box<dyn Provider>>| {
        let store = RegistryStore::new(options(providers)).unwrap();
        let error = store.blob(&registry.repository(REPO), &blob, BLOB, by()).await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains(PASSWORD), "{error:?}");
        error.to_string()
    };
    let error = read(vec![]).await;
    assert!(error.ends_with(&format!("no credentials for {host} are configured")), "{error}");
    let error = read(vec![Box::new(Fixed(alice(), Arc::default()))]).await;
    assert!(error.ends_with(&format!("it was shown the credentials that fixed has for {host}")), "{error}");
    assert!(!error.contains("alice"), "{error}");
    let error = read(vec![Box::new(Broken)]).await;
    assert!(error.ends_with("credentials of broken: the helper docker-credential-x ended with status 1"), "{error}");
}

#[tokio::test]
async fn a_realm_that_refuses_is_slow_or_talks_nonsense_is_told_from_the_registry() {
    let registry = Registry::start().await;
    let blob = registry.blob(REPO, "text/plain", b"hello");
    let read = async |reply: Reply| {
        let realm = format!("http://{}/token", registry.host());
        registry.judge(move |request| {
            Some(if request.target.starts_with("/token") { reply.clone() } else { challenge(&realm, "acme/web") })
        });
        let store = store(Some(alice()));
        let deadline = Instant::now() + Duration::from_millis(500);
        store.blob(&registry.repository(REPO), &blob, BLOB, deadline).await.unwrap_err()
    };
    let json = |text: String| Reply::ok("application/json", text);
    assert!(matches!(read(Reply::status(401)).await, Error::Refused { .. }));
    assert!(matches!(read(Reply::status(429)).await, Error::Throttled { .. }));
    assert!(matches!(read(Reply::status(500)).await, Error::Status { status: 500, .. }));
    assert!(matches!(read(Reply::silence()).await, Error::Network { .. }));
    // Not the statuses by which a registry says that it has no such thing, or no such list.
    for reply in [Reply::redirect(302, "/elsewhere"), Reply::status(404), Reply::status(406), Reply::status(410)] {
        let error = read(reply).await;
        assert!(matches!(&error, Error::Malformed { cause, .. } if cause.contains("instead of a token")), "{error}");
    }
    for text in ["", "{}", r#"{"token":""}"#, r#"{"token":"a\nb"}"#, "[1]"] {
        assert!(matches!(read(json(text.to_owned())).await, Error::Malformed { .. }), "{text}");
    }
    let pad = |more: u64| {
        let rest = limits::TOKEN_ANSWER_BYTES + more - r#"{"x":""}"#.len() as u64;
        json(format!(r#"{{"x":"{}"}}"#, "x".repeat(rest as usize)))
    };
    assert!(matches!(read(pad(0)).await, Error::Malformed { .. }));
    assert!(matches!(read(pad(1)).await, Error::TooLarge { limit: limits::TOKEN_ANSWER_BYTES, .. }));
    let what = read(Reply::status(403)).await.to_string();
    assert!(what.starts_with(&format!("GET http://{}/token: ", registry.host())), "{what}");
}

/// Has one credential for everybody, and counts how often it is told that it was refused.
struct Told(Arc<AtomicUsize>);

#[async_trait]
impl Provider for Told {
    fn name(&self) -> &str {
        "told"
    }

    async fn credential(&self, _: &Wanted<'_>, _: Instant) -> Result<Option<Credential>, String> {
        Ok(Some(alice()))
    }

    fn refused(&self, _: &Wanted<'_>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn twenty_at_once_whose_token_is_refused_fetch_one_anew() {
    let (registry, told) = (registry_with_tokens(300).await, Arc::<AtomicUsize>::default());
    let (store, repository) =
        (RegistryStore::new(options(vec![Box::new(Told(Arc::clone(&told)))])).unwrap(), registry.repository(REPO));
    let blobs: Vec<_> = (0..21).map(|n| registry.blob(REPO, "text/plain", format!("{n}").as_bytes())).collect();
    store.blob(&repository, &blobs[0], BLOB, by()).await.unwrap();
    let host = registry.host().to_owned();
    registry.judge(move |request| match request.authorization.as_str() {
        _ if request.target.starts_with("/token") => Some(token("new", 300)),
        "Bearer new" => None,
        _ => Some(challenge(&format!("http://{host}/token"), "acme/web")),
    });
    registry.forget();
    let reads = blobs.iter().skip(1).map(|blob| store.blob(&repository, blob, BLOB, by()));
    for read in futures_util::future::join_all(reads).await {
        read.unwrap();
    }
    assert_eq!((tokens(&registry).len(), told.load(Ordering::SeqCst)), (1, 1));
}

#[tokio::test]
async fn the_scope_that_a_mirror_names_for_a_repository_is_asked_for_from_then_on() {
    let registry = Registry::start().await;
    let host = registry.host().to_owned();
    // A mirror that has the repository below a project of its own.
    registry.judge(move |request| match request.authorization.as_str() {
        "Bearer good" => None,
        _ if request.target.starts_with("/token") => {
            Some(token(if request.target.contains("proxy%2Facme%2Fweb") { "good" } else { "poor" }, 300))
        }
        _ => Some(challenge(&format!("http://{host}/token"), "proxy/acme/web")),
    });
    let (store, repository) = (store(Some(alice())), registry.repository(REPO));
    let blobs = ["a", "b"].map(|text| registry.blob(REPO, "text/plain", text.as_bytes()));
    store.blob(&repository, &blobs[0], BLOB, by()).await.unwrap();
    registry.forget();
    store.blob(&repository, &blobs[1], BLOB, by()).await.unwrap();
    assert_eq!(registry.requests().len(), 1, "{:?}", registry.requests());
}

#[tokio::test]
async fn further_pages_of_a_list_that_lies_at_another_host_are_asked_for_without_credentials() {
    for scheme in ["Bearer", "Basic"] {
        let (registry, elsewhere) = (Registry::start().await, Registry::start().await);
        let path = format!("/v2/acme/web/referrers/{}", crate::nobody());
        let (host, target) = (registry.host().to_owned(), format!("http://{}{path}", elsewhere.host()));
        registry.judge(move |request| match request.authorization.split(' ').next() {
            _ if request.target.starts_with("/token") => Some(token("t", 60)),
            Some(shown) if shown == scheme => Some(Reply::redirect(307, &target)),
            _ if scheme == "Basic" => Some(Reply::status(401).header("WWW-Authenticate", "Basic")),
            _ => Some(challenge(&format!("http://{host}/token"), "acme/web")),
        });
        elsewhere.judge(move |request| {
            let page = Reply::list(&crate::entries(1));
            let is_last = request.target.contains("page=2");
            Some(if is_last { page } else { page.header("Link", &format!("<{path}?page=2>; rel=next")) })
        });
        let store = store(Some(alice()));
        store.referrers(&registry.repository(REPO), &crate::nobody(), by()).await.unwrap();
        let shown: Vec<_> = elsewhere.requests().into_iter().map(|request| request.authorization).collect();
        assert_eq!(shown, ["", ""], "{scheme}");
    }
}

#[tokio::test]
async fn a_realm_without_tokens_is_no_list_without_entries() {
    let registry = Registry::start().await;
    let (image, realm) = (registry.image(REPO, "v1"), format!("http://{}/token", registry.host()));
    for status in [404, 406, 302] {
        let realm = realm.clone();
        registry.judge(move |request| {
            let is_token = request.target.starts_with("/token");
            Some(if is_token { Reply::status(status) } else { challenge(&realm, "acme/web") })
        });
        let list = store(Some(alice())).referrers(&registry.repository(REPO), &image.digest, by()).await;
        assert!(matches!(list, Err(Error::Malformed { .. })), "{status}: {list:?}");
    }
}

#[tokio::test]
async fn a_public_repository_beside_a_private_one_is_read_though_its_realm_gives_nothing_to_strangers() {
    let registry = Registry::start().await;
    let host = registry.host().to_owned();
    registry.judge(move |request| match request.authorization.as_str() {
        _ if request.target.starts_with("/token") => Some(match request.target.contains("private") {
            true => token("t", 300),
            false => Reply::status(401),
        }),
        "" if request.target.contains("/private/") => Some(challenge(&format!("http://{host}/token"), "private/web")),
        _ => None,
    });
    let store = store(None);
    let blobs = ["a", "b"].map(|text| {
        registry.blob("private/web", "text/plain", text.as_bytes());
        registry.blob("public/web", "text/plain", text.as_bytes())
    });
    for (path, blob) in [("private/web", &blobs[0]), ("public/web", &blobs[0]), ("public/web", &blobs[1])] {
        let read = store.blob(&registry.repository(path), blob, BLOB, by()).await;
        assert!(read.is_ok(), "{path}: {read:?}");
    }
    assert_eq!(tokens(&registry).len(), 2, "the second time it is known that nothing is wanted");
}

#[tokio::test]
async fn a_realm_that_has_moved_is_found_at_its_new_place() {
    let registry = Registry::start().await;
    let blobs = ["a", "b", "c"].map(|text| registry.blob(REPO, "text/plain", text.as_bytes()));
    let store = store(None);
    for (number, blob) in blobs.iter().enumerate() {
        let (host, here) = (registry.host().to_owned(), format!("/token{number}"));
        // Tokens of the former realm have ended, and nobody is there any more.
        registry.judge(move |request| match request.target.split('?').next() {
            Some(path) if path == here => Some(token(&format!("t{number}"), 1)),
            Some(path) if path.starts_with("/token") => Some(Reply::status(410)),
            _ if request.authorization == format!("Bearer t{number}") => None,
            _ => Some(challenge(&format!("http://{host}{here}"), "acme/web")),
        });
        let read = store.blob(&registry.repository(REPO), blob, BLOB, by()).await;
        assert!(read.is_ok(), "{number}: {read:?}");
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(2)).await;
        tokio::time::resume();
    }
}

#[tokio::test]
async fn what_a_registry_or_realm_repeats_of_a_credential_is_not_told() {
    let registry = Registry::start().await;
    let blob = registry.blob(REPO, "text/plain", b"hello");
    for shown in [PASSWORD, "alice", "YWxpY2U6aHVudGVyMi1zM2NyZXQ=", "nothing secret"] {
        registry.judge(move |request| {
            let said = format!(r#"{{"errors":[{{"code":"DENIED","message":"bad {shown}"}}]}}"#);
            Some(match request.authorization.as_str() {
                "" => Reply::status(401).header("WWW-Authenticate", "Basic"),
                _ => Reply::refusal(403, said),
            })
        });
        let error = store(Some(alice())).blob(&registry.repository(REPO), &blob, BLOB, by()).await.unwrap_err();
        let told = format!("{error} {error:?}");
        assert_eq!(told.contains(&format!("bad {shown}")), shown == "nothing secret", "{told}");
    }
}

#[tokio::test]
async fn a_challenge_at_the_limit_is_answered_and_one_byte_more_is_not() {
    let registry = Registry::start().await;
    let blob = registry.blob(REPO, "text/plain", b"hello");
    for more in [0, 1] {
        let realm = format!("http://{}/token", registry.host());
        let service = "s".repeat(limits::CHALLENGE_BYTES + more - realm.len());
        registry.judge(move |request| match request.authorization.as_str() {
            "Bearer t" => None,
            _ if request.target.starts_with("/token") => Some(token("t", 300)),
            _ => {
                let field = format!(r#"Bearer realm="{realm}",service="{service}""#);
                Some(Reply::status(401).header("WWW-Authenticate", &field))
            }
        });
        let read = store(None).blob(&registry.repository(REPO), &blob, BLOB, by()).await;
        assert_eq!(read.is_ok(), more == 0, "{read:?}");
    }
}

#[tokio::test]
async fn a_realm_that_is_gone_takes_no_public_repository_with_it() {
    let registry = Registry::start().await;
    let blob = registry.blob("public/web", "text/plain", b"hello");
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    registry.judge(move |request| {
        let is_private = request.target.contains("/private/");
        is_private.then(|| challenge(&format!("http://{gone}/token"), "private/web"))
    });
    let (store, private) = (store(Some(alice())), registry.repository("private/web"));
    for number in 0..limits::BREAKER_FAILURES as usize + 1 {
        let error = store.blob(&private, &crate::entry(number), BLOB, by()).await.unwrap_err();
        assert!(matches!(error, Error::Network { .. }), "{error}");
    }
    let soon = Instant::now() + Duration::from_millis(300);
    let read = store.blob(&registry.repository("public/web"), &blob, BLOB, soon).await;
    assert!(read.is_ok(), "{read:?}");
}
