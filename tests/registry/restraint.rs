//! Retries, pauses, the breaker, and the way from one host to the next: what is asked again, what is left alone, and that
//! a host in trouble costs little.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use ratify::artifact::Digest;
use ratify::limits;
use ratify::reference::{Reference, Repository};
use ratify::store::registry::{Options, RegistryStore};
use ratify::store::{Error, Store as _};
use tokio::time::Instant;

use crate::common::registry::{Registry, Reply, describe};
use crate::{BLOB, REPO, by, entry, nobody};

fn store() -> RegistryStore {
    RegistryStore::new(Options { remember_referrers: Duration::ZERO, ..Options::default() }).unwrap()
}

fn within(milliseconds: u64) -> Instant {
    Instant::now() + Duration::from_millis(milliseconds)
}

/// The first `times` requests get this answer.
fn at_first(registry: &Registry, times: usize, reply: Reply) {
    let mut left = times;
    registry.judge(move |_| {
        let bad = left > 0;
        left = left.saturating_sub(1);
        bad.then(|| reply.clone())
    });
}

// ---- retries

#[tokio::test]
async fn what_may_pass_is_asked_again_and_then_read() {
    for reply in [
        Reply::status(500),
        Reply::status(502),
        Reply::status(503),
        Reply::status(504),
        Reply::status(408),
        Reply::status(429),
        Reply::ok("text/plain", "hell").early(),
        Reply::raw(""),
        Reply::status(429).header("Retry-After", "0"),
        Reply::status(503).header("Retry-After", "0"),
    ] {
        let registry = Registry::start().await;
        let blob = registry.blob(REPO, "text/plain", b"hello");
        at_first(&registry, 1, reply.clone());
        let read = store().blob(&registry.repository(REPO), &blob, BLOB, by()).await;
        assert!(read.is_ok(), "{reply:?} {read:?}");
        assert_eq!(registry.requests().len(), 2, "{reply:?}");
    }
}

#[tokio::test]
async fn what_cannot_pass_is_asked_once() {
    for status in [400, 401, 403, 404, 405, 410, 501] {
        let registry = Registry::start().await;
        registry.judge(move |_| Some(Reply::status(status)));
        assert!(store().blob(&registry.repository(REPO), &entry(0), BLOB, by()).await.is_err());
        assert_eq!(registry.requests().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn a_request_is_made_so_often_and_no_more() {
    let registry = Registry::start().await;
    let blob = registry.blob(REPO, "text/plain", b"hello");
    at_first(&registry, limits::REQUEST_TRIES as usize - 1, Reply::status(500));
    assert!(store().blob(&registry.repository(REPO), &blob, BLOB, by()).await.is_ok());
    let registry = Registry::start().await;
    at_first(&registry, limits::REQUEST_TRIES as usize, Reply::status(500));
    let read = store().blob(&registry.repository(REPO), &blob, BLOB, by()).await;
    assert!(matches!(read, Err(Error::Status { status: 500, .. })), "{read:?}");
    assert_eq!(registry.requests().len(), limits::REQUEST_TRIES as usize);
}

#[tokio::test]
async fn nothing_is_waited_for_that_comes_after_the_deadline() {
    let registry = Registry::start().await;
    registry.judge(|_| Some(Reply::status(429).header("Retry-After", "30")));
    let start = Instant::now();
    let error = store().blob(&registry.repository(REPO), &entry(0), BLOB, within(5_000)).await.unwrap_err();
    assert!(matches!(error, Error::Throttled { .. }), "{error}");
    assert!(error.to_string().contains("asks to wait 30 s"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!(registry.requests().len(), 1);
}

#[tokio::test]
async fn a_registry_that_wants_to_be_left_alone_is_by_all_until_then() {
    let registry = Registry::start().await;
    let blobs: Vec<_> = (0..8).map(|n| registry.blob(REPO, "text/plain", format!("{n}").as_bytes())).collect();
    at_first(&registry, 1, Reply::status(429).header("Retry-After", "1"));
    let (store, repository) = (store(), registry.repository(REPO));
    let refused = store.blob(&repository, &blobs[0], BLOB, within(500)).await.unwrap_err();
    assert!(matches!(refused, Error::Throttled { .. }), "{refused}");
    // Who has no time is told at once, without a request; who has waits.
    let hasty = store.blob(&repository, &blobs[1], BLOB, within(300)).await.unwrap_err();
    assert!(matches!(hasty, Error::Throttled { .. }), "{hasty}");
    assert_eq!(registry.requests().len(), 1);
    let start = Instant::now();
    let reads = blobs.iter().map(|blob| store.blob(&repository, blob, BLOB, by()));
    assert!(futures_util::future::join_all(reads).await.iter().all(Result::is_ok));
    assert!(start.elapsed() > Duration::from_millis(500), "{:?}", start.elapsed());
    assert_eq!(registry.requests().len(), 9, "nobody asked in the meantime");
}

#[tokio::test]
async fn many_who_are_told_at_once_to_ask_less_make_for_one_pause_and_not_for_one_each() {
    let registry = Registry::start().await;
    let blobs: Vec<_> = (0..20).map(|n| registry.blob(REPO, "text/plain", format!("{n}").as_bytes())).collect();
    at_first(&registry, blobs.len(), Reply::status(429));
    let (store, repository) = (store(), registry.repository(REPO));
    let reads = blobs.iter().map(|blob| store.blob(&repository, blob, BLOB, by()));
    let reads = futures_util::future::join_all(reads).await;
    assert!(reads.iter().all(Result::is_ok), "{:?}", reads.iter().find(|read| read.is_err()));
}

#[tokio::test]
async fn who_had_no_turn_in_time_is_told_so() {
    let registry = Registry::start().await;
    let (store, repository) = (store(), registry.repository(REPO));
    // The registry is known to speak http before it falls silent.
    let there = registry.blob(REPO, "text/plain", b"hello");
    assert!(store.blob(&repository, &there, BLOB, by()).await.is_ok());
    registry.judge(|_| Some(Reply::silence()));
    let blobs: Vec<_> = (0..=limits::REGISTRY_REQUESTS).map(entry).collect();
    let due = within(1_500);
    let asked = blobs.iter().enumerate().map(|(place, blob)| {
        // The last one comes when all others are under way.
        let due = due + Duration::from_millis(if place == limits::REGISTRY_REQUESTS { 0 } else { 500 });
        store.blob(&repository, blob, BLOB, due)
    });
    let mut errors: Vec<_> = futures_util::future::join_all(asked).await.into_iter().map(Result::unwrap_err).collect();
    let late = errors.pop().unwrap().to_string();
    assert!(late.contains("it had no turn in time: all 32 requests"), "{late}");
    assert!(errors.iter().all(|error| !error.to_string().contains("no turn")), "{errors:?}");
}

#[tokio::test]
async fn a_date_to_wait_for_counts_from_the_answers_own() {
    let registry = Registry::start().await;
    let (date, after) = ("Fri, 31 Dec 1999 23:59:30 GMT", "Sat, 01 Jan 2000 00:00:00 GMT");
    let reply = Reply::status(429).header("Retry-After", after).header("Date", date);
    registry.judge(move |_| Some(reply.clone()));
    let error = store().blob(&registry.repository(REPO), &entry(0), BLOB, within(2_000)).await.unwrap_err();
    assert!(error.to_string().contains("asks to wait 30 s"), "{error}");
}

// ---- the breaker

#[tokio::test]
async fn a_registry_that_fails_again_and_again_is_asked_little_and_the_answer_comes_at_once() {
    let registry = Registry::start().await;
    registry.judge(|_| Some(Reply::status(500)));
    let (store, repository) = (store(), registry.repository(REPO));
    for number in 0..4 {
        store.blob(&repository, &entry(number), BLOB, within(3_000)).await.unwrap_err();
    }
    registry.forget();
    let start = Instant::now();
    for number in 0..50 {
        let error = store.blob(&repository, &entry(number), BLOB, by()).await.unwrap_err();
        assert!(matches!(error, Error::Network { .. }), "{error}");
        assert!(error.to_string().contains("fails again and again"), "{error}");
        assert!(error.to_string().contains("status 500"), "the last cause is told: {error}");
    }
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    assert!(registry.requests().len() <= 4, "{}", registry.requests().len());
}

#[tokio::test]
async fn a_registry_that_is_back_is_found_again() {
    let registry = Registry::start().await;
    let blob = registry.blob(REPO, "text/plain", b"hello");
    registry.judge(|_| Some(Reply::status(500)));
    let (store, repository) = (store(), registry.repository(REPO));
    for number in 0..4 {
        store.blob(&repository, &entry(number), BLOB, within(3_000)).await.unwrap_err();
    }
    registry.heal();
    let start = Instant::now();
    while let Err(error) = store.blob(&repository, &blob, BLOB, by()).await {
        assert!(start.elapsed() < limits::BREAKER_PAUSE_MAX + Duration::from_secs(1), "{error}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn one_registry_in_trouble_costs_another_nothing() {
    let (bad, good) = (Registry::start().await, Registry::start().await);
    bad.judge(|_| Some(Reply::silence()));
    let (store, there) = (store(), good.blob(REPO, "text/plain", b"hello"));
    let (repository, elsewhere) = (bad.repository(REPO), good.repository(REPO));
    let blobs: Vec<_> = (0..64).map(entry).collect();
    let stuck = futures_util::future::join_all(blobs.iter().map(|blob| store.blob(&repository, blob, BLOB, by())));
    let read = async {
        bad.requested("/blobs/", limits::REGISTRY_REQUESTS).await;
        store.blob(&elsewhere, &there, BLOB, within(2_000)).await
    };
    tokio::select! { _ = stuck => unreachable!("nobody is answered"), read = read => assert!(read.is_ok()) }
}

/// A store that asks `registry.example` as this file says.
fn store_by(text: &str) -> (tempfile::TempDir, RegistryStore, Repository) {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("registry.example");
    fs::create_dir_all(&place).unwrap();
    fs::write(place.join("hosts.toml"), text).unwrap();
    let options = Options {
        host_folders: vec![folder.path().to_owned()],
        remember_referrers: Duration::ZERO,
        ..Options::default()
    };
    let reference: Reference = "registry.example/acme/web".parse().unwrap();
    (folder, RegistryStore::new(options).unwrap(), reference.repository)
}

#[tokio::test]
async fn a_host_that_never_connects_is_left_alone_like_any_other_that_fails() {
    // Connections are taken by the kernel; nobody speaks TLS.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let (_folder, store, repository) =
        store_by(&format!("server = 'https://{address}'\nca = []\ndial_timeout = '50ms'"));
    for number in 0..4 {
        store.blob(&repository, &entry(number), BLOB, within(3_000)).await.unwrap_err();
    }
    let error = store.blob(&repository, &entry(4), BLOB, within(100)).await.unwrap_err();
    assert!(error.to_string().contains("fails again and again"), "{error}");
}

#[tokio::test]
async fn a_host_that_speaks_only_http_is_asked_so_without_trying_the_other_way_again() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = tokio::spawn(async move {
        let (mut over_tls, mut held) = (0, Vec::new());
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut begin = [0; 1024];
            let read = stream.read(&mut begin).await.unwrap();
            if begin[..read].starts_with(b"GET ") {
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
                stream.write_all(answer).await.unwrap();
                return over_tls;
            }
            over_tls += 1;
            held.push(stream);
        }
    });
    let text = format!("server = 'http://{address}'\nskip_verify = true\ndial_timeout = '100ms'");
    let (_folder, store, repository) = store_by(&text);
    let blob = describe("text/plain", b"hello");
    assert_eq!(store.blob(&repository, &blob, BLOB, by()).await.unwrap(), "hello");
    assert_eq!(served.await.unwrap(), 1);
}

#[tokio::test]
async fn who_gave_a_registry_no_time_says_nothing_of_it_to_the_others() {
    let registry = Registry::start().await;
    let blob = registry.blob(REPO, "text/plain", b"hello");
    registry.judge(|_| Some(Reply::silence()));
    let (store, repository) = (store(), registry.repository(REPO));
    let blobs: Vec<_> = (0..16).map(entry).collect();
    let reads = blobs.iter().map(|blob| store.blob(&repository, blob, BLOB, within(150)));
    assert!(futures_util::future::join_all(reads).await.iter().all(Result::is_err));
    registry.heal();
    let read = store.blob(&repository, &blob, BLOB, within(400)).await;
    assert!(read.is_ok(), "{read:?}");
}

#[tokio::test]
async fn a_repository_that_the_registry_cannot_serve_takes_none_of_the_others_with_it() {
    for status in [500, 501, 520] {
        let registry = Registry::start().await;
        registry.judge(move |request| request.target.contains("/bad/").then(|| Reply::status(status)));
        let (store, bad) = (store(), registry.repository("bad/web"));
        let blob = registry.blob(REPO, "text/plain", b"hello");
        for number in 0..limits::BREAKER_FAILURES as usize + 1 {
            store.blob(&bad, &entry(number), BLOB, within(2_000)).await.unwrap_err();
        }
        let read = store.blob(&registry.repository(REPO), &blob, BLOB, within(300)).await;
        assert!(read.is_ok(), "{status}: {read:?}");
    }
}

#[tokio::test]
async fn a_store_of_objects_that_is_down_is_not_the_registrys_fault() {
    let (registry, gone) = (Registry::start().await, nowhere());
    let blob = registry.blob(REPO, "text/plain", b"hello");
    registry.judge(move |request| {
        let moved = request.target.contains("/moved/");
        moved.then(|| Reply::redirect(307, &format!("http://{gone}/object")))
    });
    let store = store();
    for number in 0..4 {
        store.blob(&registry.repository("moved/web"), &entry(number), BLOB, within(2_000)).await.unwrap_err();
    }
    let read = store.blob(&registry.repository(REPO), &blob, BLOB, within(1_000)).await;
    assert!(read.is_ok(), "{read:?}");
}

// ---- from one host to the next

/// A folder of hosts files: `registry.example` has these mirrors, then itself at `origin`.
struct Mirrored {
    folder: tempfile::TempDir,
}

impl Mirrored {
    fn new(mirrors: &[&str], origin: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mirrored = Self { folder };
        mirrored.write(mirrors, origin);
        mirrored
    }

    fn write(&self, mirrors: &[&str], origin: &str) {
        let place = self.folder.path().join("registry.example");
        fs::create_dir_all(&place).unwrap();
        let mut text = format!("server = \"http://{origin}\"\n");
        for mirror in mirrors {
            text += &format!("[host.\"http://{mirror}\"]\n");
        }
        fs::write(place.join("hosts.toml"), text).unwrap();
    }

    fn store(&self) -> RegistryStore {
        let host_folders: Vec<PathBuf> = vec![self.folder.path().to_owned()];
        RegistryStore::new(Options { host_folders, remember_referrers: Duration::ZERO, ..Options::default() }).unwrap()
    }
}

fn repository() -> Repository {
    format!("registry.example/{REPO}").parse::<Reference>().unwrap().repository
}

/// An address at which nobody listens.
fn nowhere() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[tokio::test]
async fn a_mirror_that_cannot_help_costs_one_request_and_the_registry_answers() {
    for reply in [
        Reply::status(404),
        Reply::status(403),
        Reply::status(429).header("Retry-After", "60"),
        Reply::status(500),
        Reply::ok("text/plain", "hallo"),
        Reply::ok("text/plain", "hello and more"),
        Reply::ok("text/plain", "hell").early(),
        Reply::redirect(302, "ftp://elsewhere.example/"),
    ] {
        let (mirror, origin) = (Registry::start().await, Registry::start().await);
        let blob = origin.blob(REPO, "text/plain", b"hello");
        let shown = format!("{reply:?}");
        mirror.judge(move |_| Some(reply.clone()));
        let mirrored = Mirrored::new(&[mirror.host()], origin.host());
        let store = mirrored.store();
        let read = store.blob(&repository(), &blob, BLOB, by()).await;
        assert!(read.is_ok(), "{shown} {read:?}");
        assert_eq!((mirror.requests().len(), origin.requests().len()), (1, 1), "{shown}");
        assert!(mirror.requests()[0].target.ends_with("?ns=registry.example"), "{}", mirror.requests()[0].target);
    }
}

#[tokio::test]
async fn a_mirror_that_is_down_or_hangs_is_passed_over_and_soon_not_asked_at_all() {
    let (silent, origin) = (Registry::start().await, Registry::start().await);
    silent.judge(|_| Some(Reply::silence()));
    let blobs: Vec<_> = (0..8).map(|n| origin.blob(REPO, "text/plain", format!("{n}").as_bytes())).collect();
    for mirror in [nowhere(), silent.host().to_owned()] {
        let mirrored = Mirrored::new(&[&mirror], origin.host());
        let store = mirrored.store();
        for blob in &blobs {
            let read = store.blob(&repository(), blob, BLOB, within(2_000)).await;
            assert!(read.is_ok(), "{mirror} {read:?}");
        }
    }
    assert!(silent.requests().len() <= 4, "{}", silent.requests().len());
}

#[tokio::test]
async fn a_mirror_that_has_no_list_yet_hides_none_and_one_that_has_is_enough() {
    let (mirror, origin) = (Registry::start().await, Registry::start().await);
    let image = origin.image(REPO, "v1");
    let signature = origin.attach(REPO, &image, "application/vnd.example", &[("text/plain", b"x")]);
    let mirrored = Mirrored::new(&[mirror.host()], origin.host());
    let list = async || {
        let listed = mirrored.store().referrers(&repository(), &image.digest, by()).await;
        listed.map(|listed| listed.candidates)
    };
    assert_eq!(list().await.unwrap(), std::slice::from_ref(&signature), "an empty list of a mirror");
    mirror.reply("/referrers/", Reply::status(404));
    assert_eq!(list().await.unwrap(), std::slice::from_ref(&signature), "a mirror without the API and without the tag");
    mirror.reply("/referrers/", Reply::status(500));
    assert_eq!(list().await.unwrap(), std::slice::from_ref(&signature), "a mirror in trouble");
    mirror.heal();
    mirror.list(REPO, &image.digest, &signature);
    origin.judge(|_| Some(Reply::status(500)));
    assert_eq!(list().await.unwrap(), [signature], "the registry need not be there");
}

#[tokio::test]
async fn an_empty_list_of_a_mirror_is_none_while_the_registry_cannot_be_asked() {
    let mirror = Registry::start().await;
    let list =
        Mirrored::new(&[mirror.host()], &nowhere()).store().referrers(&repository(), &nobody(), within(500)).await;
    assert!(matches!(list, Err(Error::Network { .. })), "{list:?}");
}

#[tokio::test]
async fn a_host_that_is_a_mirror_too_is_left_alone_in_both_roles() {
    let registry = Registry::start().await;
    registry.judge(|_| Some(Reply::status(429).header("Retry-After", "50")));
    let mirrored = Mirrored::new(&[], registry.host());
    let store = mirrored.store();
    let itself = mirrored.folder.path().join(registry.host());
    fs::create_dir_all(&itself).unwrap();
    fs::write(itself.join("hosts.toml"), format!("server = \"http://{}\"\n", registry.host())).unwrap();
    for number in 0..3 {
        for repository in [repository(), registry.repository(REPO)] {
            let error = store.blob(&repository, &entry(number), BLOB, within(500)).await.unwrap_err();
            assert!(matches!(error, Error::Throttled { .. }), "{error}");
        }
    }
    assert_eq!(registry.requests().len(), 1);
}

#[tokio::test]
async fn a_change_of_the_hosts_files_counts_without_a_restart() {
    let (one, other) = (Registry::start().await, Registry::start().await);
    let mirrored = Mirrored::new(&[], one.host());
    let store = mirrored.store();
    let digest = |registry: &Registry, text: &str| registry.blob(REPO, "text/plain", text.as_bytes());
    let (first, second) = (digest(&one, "first"), digest(&other, "second"));
    store.blob(&repository(), &first, BLOB, by()).await.unwrap();
    mirrored.write(&[], other.host());
    tokio::time::pause();
    tokio::time::advance(limits::HOSTS_LOOK).await;
    tokio::time::resume();
    store.blob(&repository(), &second, BLOB, by()).await.unwrap();
    assert_eq!((one.requests().len(), other.requests().len()), (1, 1));
}

#[tokio::test]
async fn a_hosts_file_that_cannot_be_followed_is_named_and_nobody_is_asked() {
    let origin = Registry::start().await;
    let mirrored = Mirrored::new(&[], origin.host());
    let file = mirrored.folder.path().join("registry.example/hosts.toml");
    fs::write(&file, format!("server = \"https://{}\"\nca = \"missing.pem\"\n", origin.host())).unwrap();
    let error = mirrored.store().blob(&repository(), &entry(0), BLOB, by()).await.unwrap_err().to_string();
    assert!(error.contains("missing.pem"), "{error}");
    assert_eq!(origin.requests().len(), 0);
}

#[tokio::test]
async fn a_stale_mirror_answers_what_it_has_and_digests_decide() {
    let (mirror, origin) = (Registry::start().await, Registry::start().await);
    let blob = describe("text/plain", b"new");
    mirror.reply(blob.digest.as_str(), Reply::ok("text/plain", "old"));
    origin.reply(blob.digest.as_str(), Reply::ok("text/plain", "new"));
    let mirrored = Mirrored::new(&[mirror.host()], origin.host());
    let store = mirrored.store();
    assert_eq!(store.blob(&repository(), &blob, BLOB, by()).await.unwrap().as_ref(), b"new");
    // Where nobody has the right bytes it is told what was wrong with the first.
    origin.reply(blob.digest.as_str(), Reply::status(404));
    let mirrored = Mirrored::new(&[mirror.host()], origin.host());
    let store = mirrored.store();
    let error = store.blob(&repository(), &blob, BLOB, by()).await.unwrap_err();
    let expected: Digest = blob.digest.clone();
    assert!(matches!(&error, Error::Digest { expected: found, .. } if *found == expected), "{error}");
}
