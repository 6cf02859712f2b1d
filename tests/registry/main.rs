//! The registry store against a registry that misbehaves in every way it can: what is asked, what is believed, and
//! that nothing that went wrong ever looks like an empty list.

#[path = "../common/mod.rs"]
pub mod common;

mod auth;
mod connections;
mod restraint;
mod sequences;

use std::sync::Arc;
use std::time::Duration;

use common::registry::{Registry, Reply, describe, index};
use futures_util::future::join_all;
use ratify::artifact::{DOCKER_LIST, Descriptor, Digest, IMAGE_INDEX, IMAGE_MANIFEST};
use ratify::limits;
use ratify::reference::Reference;
use ratify::store::registry::disk::Disk;
use ratify::store::registry::{Options, RegistryStore};
use ratify::store::{Error, Store as _};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

const REPO: &str = "acme/web";
const HEX: &str = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
const BLOB: u64 = limits::ENVELOPE_BYTES;

/// When answers are due.
fn by() -> Instant {
    Instant::now() + limits::CALL_TIMEOUT
}

fn store() -> RegistryStore {
    RegistryStore::new(Options { remember_referrers: Duration::ZERO, tries: 1, ..Options::default() }).unwrap()
}

/// A digest that nobody has.
fn nobody() -> Digest {
    format!("sha256:{HEX}").parse().unwrap()
}

fn entry(number: usize) -> Descriptor {
    describe(IMAGE_MANIFEST, number.to_string().as_bytes())
}

fn entries(count: usize) -> Vec<Value> {
    (0..count).map(|number| json!(entry(number))).collect()
}

async fn list(registry: &Registry, subject: &Digest) -> Result<Vec<Descriptor>, Error> {
    Ok(store().referrers(&registry.repository(REPO), subject, by()).await?.candidates)
}

/// The list of a registry whose referrers API gives this answer.
async fn list_of(reply: Reply) -> Result<Vec<Descriptor>, Error> {
    let registry = Registry::start().await;
    registry.reply("/referrers/", reply);
    list(&registry, &nobody()).await
}

// ---- resolve

#[tokio::test]
async fn a_tag_is_resolved_to_the_digest_of_its_bytes() {
    let registry = Registry::start().await;
    let image = registry.image(REPO, "v1");
    assert_eq!(store().resolve(&registry.reference("acme/web:v1"), by()).await.unwrap(), image);
    let request = registry.requests().remove(0);
    assert_eq!(request.target, "/v2/acme/web/manifests/v1");
    for media_type in ["oci.image.index.v1", "oci.image.manifest.v1", "manifest.list.v2", "manifest.v2"] {
        assert!(request.head.contains(media_type), "{}", request.head);
    }
    assert!(request.head.contains("user-agent: ratifyd/") && request.head.contains("accept-encoding: identity"));
    assert!(!request.head.contains("authorization"), "{}", request.head);
}

#[tokio::test]
async fn a_name_without_tag_is_latest_and_a_digest_wins_over_a_tag() {
    let registry = Registry::start().await;
    let (latest, v1) = (registry.image(REPO, "latest"), registry.image(REPO, "v1"));
    assert_eq!(store().resolve(&registry.reference(REPO), by()).await.unwrap(), latest);
    let both = format!("{REPO}:latest@{}", v1.digest);
    assert_eq!(store().resolve(&registry.reference(&both), by()).await.unwrap(), v1);
}

#[tokio::test]
async fn other_bytes_than_the_digest_asked_for_or_stated_are_refused() {
    let registry = Registry::start().await;
    let (v1, v2) = (registry.image(REPO, "v1"), registry.image(REPO, "v2"));
    let body = r#"{"schemaVersion":2,"layers":[]}"#;
    registry.reply(v1.digest.as_str(), Reply::ok(IMAGE_MANIFEST, body));
    let asked = store().resolve(&registry.reference(&format!("{REPO}@{}", v1.digest)), by()).await;
    assert!(matches!(asked, Err(Error::Digest { expected, .. }) if expected == v1.digest));
    let reply = Reply::ok(IMAGE_MANIFEST, body).header("Docker-Content-Digest", v2.digest.as_str());
    registry.reply("manifests/v1", reply);
    let stated = store().resolve(&registry.reference("acme/web:v1"), by()).await;
    assert!(matches!(stated, Err(Error::Digest { expected, .. }) if expected == v2.digest));
}

#[tokio::test]
async fn a_sha512_digest_is_asked_for_and_checked_as_such() {
    let registry = Registry::start().await;
    let body = br#"{"schemaVersion":2,"layers":[]}"#;
    let digest = ratify::store::digest_of(ratify::artifact::Algorithm::Sha512, body);
    registry.reply(digest.as_str(), Reply::ok(IMAGE_MANIFEST, *body));
    let resolved = store().resolve(&registry.reference(&format!("{REPO}@{digest}")), by()).await.unwrap();
    assert_eq!((resolved.digest, resolved.size), (digest, 31));
}

#[tokio::test]
async fn a_manifest_of_two_readings_or_of_none_is_not_resolved() {
    let registry = Registry::start().await;
    for (reply, words) in [
        (Reply::ok(IMAGE_INDEX, format!(r#"{{"schemaVersion":2,"mediaType":"{IMAGE_MANIFEST}"}}"#)), "its descriptor"),
        (Reply::ok(IMAGE_INDEX, r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#), "members of two types"),
        (Reply::ok(IMAGE_MANIFEST, r#"{"schemaVersion":2,"layers":[],"layers":[]}"#), "given twice"),
        (Reply::ok("application/json", r#"{"schemaVersion":2}"#), "no manifest type"),
        (Reply::ok("text/html", "<html>"), "no manifest type"),
        (Reply::ok(IMAGE_MANIFEST, "garbage"), "cannot be read"),
        (Reply::ok(IMAGE_MANIFEST, "{}").header("Content-Type", IMAGE_INDEX), "several content-type"),
        (Reply::ok(IMAGE_MANIFEST, "{}").header("Content-Encoding", "gzip"), "encoded"),
    ] {
        registry.reply("manifests/v1", reply);
        let error = store().resolve(&registry.reference("acme/web:v1"), by()).await.unwrap_err();
        assert!(matches!(&error, Error::Malformed { .. }) && error.to_string().contains(words), "{error}");
    }
}

#[tokio::test]
async fn a_registry_that_states_no_media_type_leaves_it_to_the_manifest() {
    let registry = Registry::start().await;
    let body = format!(r#"{{"schemaVersion":2,"mediaType":"{DOCKER_LIST}","manifests":[]}}"#);
    let mut bare = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    registry.reply("manifests/v1", Reply::raw(bare.clone()));
    assert_eq!(store().resolve(&registry.reference("acme/web:v1"), by()).await.unwrap().media_type, DOCKER_LIST);
    bare = "HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\n{\"schemaVersion\":2}".to_owned();
    registry.reply("manifests/v1", Reply::raw(bare));
    let error = store().resolve(&registry.reference("acme/web:v1"), by()).await.unwrap_err();
    assert!(error.to_string().contains("neither"), "{error}");
}

// ---- manifests and blobs

#[tokio::test]
async fn content_is_read_by_digest_and_a_second_time_from_memory() {
    let registry = Registry::start().await;
    let (store, repository) = (store(), registry.repository(REPO));
    let image = registry.image(REPO, "v1");
    let referrer = registry.attach(REPO, &image, "application/x.test", &[("text/plain", b"hello")]);
    let layer = describe("text/plain", b"hello");
    for _ in 0..2 {
        let manifest = store.manifest(&repository, &referrer, by()).await.unwrap();
        assert!(manifest.starts_with(b"{") && manifest.len() as u64 == referrer.size);
        assert_eq!(store.blob(&repository, &layer, BLOB, by()).await.unwrap().as_ref(), b"hello");
    }
    assert_eq!((registry.count("/manifests/"), registry.count("/blobs/")), (1, 1));
}

/// A store that remembers on disk, in this folder.
fn with_disk(folder: &std::path::Path) -> RegistryStore {
    let disk = Some(Disk::open(folder, limits::DISK_BYTES, Arc::default()));
    RegistryStore::new(Options { disk, ..Options::default() }).unwrap()
}

/// Reads some content by stores that are made anew each time, until one of them has asked nobody.
async fn until_it_comes_from_disk(registry: &Registry, folder: &std::path::Path, blob: &Descriptor) {
    let repository = registry.repository(REPO);
    loop {
        let before = registry.requests().len();
        assert_eq!(with_disk(folder).blob(&repository, blob, BLOB, by()).await.unwrap(), "blob");
        if registry.requests().len() == before {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn content_on_disk_is_not_fetched_after_a_restart_and_damage_costs_a_fetch_alone() {
    let (registry, folder) = (Registry::start().await, tempfile::tempdir().unwrap());
    let blob = registry.blob(REPO, "text/plain", b"blob");
    until_it_comes_from_disk(&registry, folder.path(), &blob).await;
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        std::fs::write(entry.unwrap().path(), "evil").unwrap();
    }
    let before = registry.requests().len();
    let store = with_disk(folder.path());
    assert_eq!(store.blob(&registry.repository(REPO), &blob, BLOB, by()).await.unwrap(), "blob");
    assert_eq!(registry.requests().len(), before + 1);
    until_it_comes_from_disk(&registry, folder.path(), &blob).await;
}

#[tokio::test]
async fn many_who_want_the_same_content_or_list_ask_once() {
    let registry = Registry::start().await;
    let (image, store) = (registry.image(REPO, "v1"), RegistryStore::new(Options::default()).unwrap());
    let repository = registry.repository(REPO);
    let manifests = (0..20).map(|_| store.manifest(&repository, &image, by()));
    let lists = (0..20).map(|_| store.referrers(&repository, &image.digest, by()));
    let (manifests, lists) = tokio::join!(join_all(manifests), join_all(lists));
    assert!(manifests.iter().all(Result::is_ok) && lists.iter().all(Result::is_ok));
    assert_eq!((registry.count("/manifests/"), registry.count("/referrers/")), (1, 1));
}

#[tokio::test]
async fn what_one_repository_holds_is_not_remembered_for_another() {
    let registry = Registry::start().await;
    let (store, blob) = (store(), registry.blob(REPO, "text/plain", b"private"));
    store.blob(&registry.repository(REPO), &blob, BLOB, by()).await.unwrap();
    let other = store.blob(&registry.repository("acme/other"), &blob, BLOB, by()).await;
    assert!(matches!(other, Err(Error::NotFound { .. })));
    let retyped = Descriptor { media_type: "text/other".to_owned(), ..blob };
    store.blob(&registry.repository(REPO), &retyped, BLOB, by()).await.unwrap();
    assert_eq!(registry.count("/blobs/"), 3);
}

#[tokio::test]
async fn content_at_the_size_that_is_remembered_and_one_byte_past_it() {
    let registry = Registry::start().await;
    let (store, repository) = (store(), registry.repository(REPO));
    for (length, asked) in [(limits::REMEMBERED_ENTRY_BYTES, 1), (limits::REMEMBERED_ENTRY_BYTES + 1, 2)] {
        let blob = registry.blob(REPO, "text/plain", &vec![b'x'; length as usize]);
        for _ in 0..2 {
            store.blob(&repository, &blob, BLOB, by()).await.unwrap();
        }
        assert_eq!(registry.count(blob.digest.as_str()), asked, "{length}");
    }
}

#[tokio::test]
async fn a_descriptor_past_the_limit_is_refused_before_anything_is_asked() {
    let registry = Registry::start().await;
    let repository = registry.repository(REPO);
    let at = |size| Descriptor { size, ..entry(0) };
    let past = store().manifest(&repository, &at(limits::MANIFEST_BYTES + 1), by()).await;
    assert!(matches!(past, Err(Error::TooLarge { limit: limits::MANIFEST_BYTES, .. })));
    assert!(matches!(store().blob(&repository, &at(11), 10, by()).await, Err(Error::TooLarge { limit: 10, .. })));
    let small = Options { max_manifest_bytes: Some(5), max_blob_bytes: Some(6), ..Options::default() };
    let small = RegistryStore::new(small).unwrap();
    assert!(matches!(small.manifest(&repository, &at(6), by()).await, Err(Error::TooLarge { limit: 5, .. })));
    assert!(matches!(small.blob(&repository, &at(7), 10, by()).await, Err(Error::TooLarge { limit: 6, .. })));
    assert_eq!(registry.requests().len(), 0);
    assert!(matches!(small.manifest(&repository, &at(5), by()).await, Err(Error::NotFound { .. })));
    assert!(matches!(small.blob(&repository, &at(6), 10, by()).await, Err(Error::NotFound { .. })));
    assert_eq!(registry.requests().len(), 2);
}

#[tokio::test]
async fn a_manifest_at_the_limit_is_read_and_one_byte_more_is_not() {
    let registry = Registry::start().await;
    let manifest = |length: u64| {
        let mut body = br#"{"schemaVersion":2,"layers":[]"#.to_vec();
        body.resize(length as usize - 1, b' ');
        body.push(b'}');
        body
    };
    let at = registry.manifest(REPO, Some("at"), IMAGE_MANIFEST, &manifest(limits::MANIFEST_BYTES));
    registry.manifest(REPO, Some("past"), IMAGE_MANIFEST, &manifest(limits::MANIFEST_BYTES + 1));
    assert_eq!(store().resolve(&registry.reference("acme/web:at"), by()).await.unwrap(), at);
    assert_eq!(store().manifest(&registry.repository(REPO), &at, by()).await.unwrap().len() as u64, at.size);
    let past = store().resolve(&registry.reference("acme/web:past"), by()).await;
    assert!(matches!(past, Err(Error::TooLarge { limit: limits::MANIFEST_BYTES, .. })), "{past:?}");
}

#[tokio::test]
async fn longer_shorter_and_other_content_is_told_apart() {
    let registry = Registry::start().await;
    let (repository, blob) = (registry.repository(REPO), describe("text/plain", b"hello"));
    let read = async |reply| {
        registry.reply("/blobs/", reply);
        store().blob(&repository, &blob, BLOB, by()).await.unwrap_err()
    };
    let octets = |body: &str| Reply::ok("application/octet-stream", body);
    assert!(matches!(read(octets("hello!")).await, Error::Size { expected: 5, found: 6, .. }));
    assert!(matches!(read(octets("hell")).await, Error::Size { expected: 5, found: 4, .. }));
    assert!(matches!(read(octets("jello")).await, Error::Digest { .. }));
    assert!(matches!(read(octets("").endless()).await, Error::Size { expected: 5, found: 6.., .. }));
    assert!(matches!(read(octets("hell").early()).await, Error::Network { .. }));
    let promise = octets("hello").header("Content-Length", "99999999999");
    assert!(matches!(read(promise).await, Error::Size { found: 99_999_999_999, .. }));
}

#[tokio::test]
async fn a_manifest_of_another_stated_type_than_its_descriptor_is_refused_and_parameters_do_not_matter() {
    let registry = Registry::start().await;
    let (repository, body) = (registry.repository(REPO), r#"{"schemaVersion":2,"layers":[]}"#);
    let manifest = describe(IMAGE_MANIFEST, body.as_bytes());
    registry.reply("/manifests/", Reply::ok(IMAGE_INDEX, body));
    let error = store().manifest(&repository, &manifest, by()).await.unwrap_err();
    assert!(error.to_string().contains("the registry states media type"), "{error}");
    registry.reply("/manifests/", Reply::ok("Application/vnd.oci.image.manifest.v1+JSON ; charset=utf-8", body));
    assert!(store().manifest(&repository, &manifest, by()).await.is_ok());
}

// ---- statuses and connections

#[tokio::test]
async fn a_refusal_is_told_in_the_registrys_own_words_as_far_as_they_are_short() {
    let registry = Registry::start().await;
    let repository = registry.repository(REPO);
    let read = async |status, body: String| {
        registry.reply("/blobs/", Reply::refusal(status, body));
        store().blob(&repository, &entry(0), BLOB, by()).await.unwrap_err().to_string()
    };
    let envelope = |message: &str| json!({"errors": [{"code": "TOOMANYREQUESTS", "message": message}]}).to_string();
    let told = read(429, envelope("You have reached your pull rate limit")).await;
    assert!(told.contains("(429) and says \"You have reached your pull rate limit\"; try again later"), "{told}");
    let told = read(403, envelope("no\u{1b}[2J")).await;
    assert!(told.contains("(403) and says \"no\\u{1b}[2J\""), "{told}");
    let limit = usize::try_from(ratify::limits::REFUSAL_BYTES).unwrap();
    let padded = |length: usize| format!("{}{}", envelope("no"), " ".repeat(length - envelope("no").len()));
    assert!(read(500, padded(limit)).await.ends_with("status 500 and says \"no\""));
    for body in [padded(limit + 1), "<html>".to_owned(), r#"{"errors":[]}"#.to_owned(), String::new()] {
        assert!(read(500, body).await.ends_with("status 500"));
    }
    assert!(read(500, envelope(&"x".repeat(5000))).await.len() < 500);
}

#[tokio::test]
async fn every_status_has_its_own_error() {
    let registry = Registry::start().await;
    let repository = registry.repository(REPO);
    let read = async |status| {
        registry.reply("/blobs/", Reply::status(status));
        store().blob(&repository, &entry(0), BLOB, by()).await.unwrap_err()
    };
    assert!(matches!(read(404).await, Error::NotFound { .. }));
    assert!(matches!(read(429).await, Error::Throttled { .. }));
    for status in [204, 206, 400, 500, 503] {
        assert!(matches!(read(status).await, Error::Status { status: found, .. } if found == status));
    }
    for status in [401, 403] {
        let error = read(status).await;
        let what = format!("GET http://{}/v2/acme/web/blobs/{}", registry.host(), entry(0).digest);
        assert!(error.to_string().starts_with(&what) && error.to_string().contains("it was shown nothing"), "{error}");
    }
}

#[tokio::test]
async fn a_registry_that_is_not_there_is_named_in_one_sentence() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let repository = format!("127.0.0.1:{port}/{REPO}").parse::<Reference>().unwrap().repository;
    let error = store().blob(&repository, &entry(0), BLOB, by()).await.unwrap_err();
    assert!(error.to_string().ends_with("connection refused: nothing listens there"), "{error}");
}

#[tokio::test]
async fn an_answer_that_is_no_http_or_has_endless_headers_is_a_network_error() {
    let registry = Registry::start().await;
    let flood = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(1024 * 1024));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(101));
    for garbage in ["garbage\r\n\r\n".to_owned(), String::new(), flood, many] {
        registry.reply("/referrers/", Reply::raw(garbage));
        let error = list(&registry, &nobody()).await.unwrap_err();
        assert!(matches!(&error, Error::Network { cause, .. } if cause.contains("no HTTP")), "{error}");
    }
}

#[tokio::test]
async fn a_registry_that_never_answers_or_never_ends_is_given_up_after_the_request_timeout() {
    let registry = Registry::start().await;
    let (store, repository, blob) = (store(), registry.repository(REPO), describe("text/plain", b"hello"));
    for (asked, reply) in [Reply::silence(), Reply::ok("text/plain", "hell").stalled()].into_iter().enumerate() {
        registry.reply("/blobs/", reply);
        let start = tokio::time::Instant::now();
        // Once the request is out, the clock runs as fast as it can.
        let hurry = async {
            registry.requested("/blobs/", asked + 1).await;
            tokio::time::pause();
        };
        let (read, ()) = tokio::join!(store.blob(&repository, &blob, BLOB, by()), hurry);
        tokio::time::resume();
        let error = read.unwrap_err().to_string();
        assert!(error.ends_with("no whole answer within 5.0 s"), "{error}");
        assert!(start.elapsed() < limits::REQUEST_TIMEOUT + Duration::from_secs(1), "{:?}", start.elapsed());
    }
}

#[tokio::test]
async fn a_dropped_read_ends_its_request_and_frees_its_place() {
    let registry = Registry::start().await;
    registry.reply("/blobs/", Reply::silence());
    let (store, repository) = (store(), registry.repository(REPO));
    let blobs: Vec<_> = (0..limits::REGISTRY_REQUESTS + 1).map(entry).collect();
    let mut reads: Vec<_> = blobs.iter().map(|blob| store.blob(&repository, blob, BLOB, by())).collect();
    let all = futures_util::future::join_all(reads.iter_mut());
    let silent = async { registry.requested("/blobs/", limits::REGISTRY_REQUESTS).await };
    tokio::select! { _ = all => unreachable!(), () = silent => {} }
    drop(reads);
    registry.heal();
    let blob = registry.blob(REPO, "text/plain", b"hello");
    assert!(store.blob(&repository, &blob, BLOB, by()).await.is_ok());
}

#[tokio::test]
async fn one_registry_gets_so_many_requests_at_once_and_no_more() {
    let registry = Registry::start().await;
    let other = Registry::start().await;
    registry.reply("/blobs/", Reply::silence());
    let (store, repository) = (store(), registry.repository(REPO));
    let blobs: Vec<_> = (0..limits::REGISTRY_REQUESTS + 8).map(entry).collect();
    let all = futures_util::future::join_all(blobs.iter().map(|blob| store.blob(&repository, blob, BLOB, by())));
    let there = other.blob(REPO, "text/plain", b"hello");
    let elsewhere = async {
        registry.requested("/blobs/", limits::REGISTRY_REQUESTS).await;
        store.blob(&other.repository(REPO), &there, BLOB, by()).await.unwrap();
    };
    tokio::select! { _ = all => unreachable!("nobody is answered"), () = elsewhere => {} }
    assert_eq!(registry.count("/blobs/"), limits::REGISTRY_REQUESTS);
}

// ---- redirects

#[tokio::test]
async fn a_redirect_to_a_store_of_objects_is_followed_without_credentials_or_referer() {
    let (registry, objects) = (Registry::start().await, Registry::start().await);
    let blob = describe("text/plain", b"hello");
    objects.reply("/objects/x", Reply::ok("binary/octet-stream", "hello"));
    registry.reply("/blobs/", Reply::redirect(307, &format!("http://{}/objects/x?sig=secret", objects.host())));
    assert!(store().blob(&registry.repository(REPO), &blob, BLOB, by()).await.is_ok());
    let head = objects.requests().remove(0).head;
    assert!(!head.contains("referer") && !head.contains("authorization") && !head.contains("cookie"), "{head}");
    objects.reply("/objects/x", Reply::status(503));
    let error = store().blob(&registry.repository(REPO), &blob, BLOB, by()).await.unwrap_err().to_string();
    assert!(error.contains(&format!("sent on to {}", objects.host())) && !error.contains("secret"), "{error}");
}

#[tokio::test]
async fn redirects_at_the_limit_are_followed_and_one_past_it_is_not() {
    let registry = Registry::start().await;
    let blob = describe("text/plain", b"hello");
    for hops in [limits::REDIRECTS, limits::REDIRECTS + 1] {
        registry.heal();
        registry.reply("/blobs/", Reply::redirect(302, "/hop/1"));
        for hop in 1..hops {
            registry.reply(&format!("/hop/{hop}"), Reply::redirect(302, &format!("/hop/{}", hop + 1)));
        }
        registry.reply(&format!("/hop/{hops}"), Reply::ok("text/plain", "hello"));
        let read = store().blob(&registry.repository(REPO), &blob, BLOB, by()).await;
        if hops == limits::REDIRECTS {
            assert!(read.is_ok(), "{read:?}");
        } else {
            assert!(matches!(read, Err(Error::TooLarge { unit: "redirects", .. })), "{read:?}");
        }
    }
}

#[tokio::test]
async fn a_redirect_that_may_not_be_followed_says_why() {
    let registry = Registry::start().await;
    for (location, words) in [
        ("http://cdn.example/x?sig=secret", "http is used for loopback only"),
        ("http://169.254.169.254/latest", "http is used for loopback only"),
        ("https://169.254.169.254/latest", "link-local"),
        ("ftp://cdn.example/x", "away from http"),
        ("https://a:b@cdn.example/x", "credentials"),
    ] {
        registry.reply("/blobs/", Reply::redirect(307, location));
        let error = store().blob(&registry.repository(REPO), &entry(0), BLOB, by()).await.unwrap_err().to_string();
        assert!(error.contains(words) && !error.contains("secret"), "{error}");
    }
    registry.reply("/blobs/", Reply::status(307));
    let bare = store().blob(&registry.repository(REPO), &entry(0), BLOB, by()).await;
    assert!(matches!(bare, Err(Error::Status { status: 307, .. })));
}

#[tokio::test]
async fn a_host_that_does_not_speak_tls_is_told_so() {
    let registry = Registry::start().await;
    registry.reply("/blobs/", Reply::redirect(307, &format!("https://{}/x", registry.host())));
    let error = store().blob(&registry.repository(REPO), &entry(0), BLOB, by()).await.unwrap_err().to_string();
    assert!(error.ends_with("does not speak TLS at this port"), "{error}");
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_told_so() {
    let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![certified.cert.der().clone()], key).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let registry = Registry::start().await;
    registry.reply("/blobs/", Reply::redirect(307, &format!("https://{}/x", listener.local_addr().unwrap())));
    // Unlike this machine's own registries, one that a file names is held to its certificate.
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("_default")).unwrap();
    std::fs::write(folder.path().join("_default/hosts.toml"), format!("server = \"http://{}\"", registry.host()))
        .unwrap();
    let serve = async {
        let (stream, _) = listener.accept().await.unwrap();
        tokio_rustls::TlsAcceptor::from(Arc::new(config)).accept(stream).await
    };
    let options = Options { host_folders: vec![folder.path().to_owned()], tries: 1, ..Options::default() };
    let (store, repository, blob) = (RegistryStore::new(options).unwrap(), registry.repository(REPO), entry(0));
    let (read, served) = tokio::join!(store.blob(&repository, &blob, BLOB, by()), serve);
    let error = read.unwrap_err().to_string();
    assert!(served.is_err() && error.contains(": the certificate is not trusted: "), "{error}");
}

// ---- referrers: the API

#[tokio::test]
async fn referrers_are_listed_by_the_api_without_a_filter() {
    let registry = Registry::start().await;
    let image = registry.image(REPO, "v1");
    let first = registry.attach(REPO, &image, "application/x.a", &[]);
    let second = registry.attach(REPO, &image, "application/x.b", &[]);
    assert_eq!(list(&registry, &image.digest).await.unwrap(), [first, second]);
    assert_eq!(registry.requests().len(), 1);
    assert_eq!(registry.requests()[0].target, format!("/v2/acme/web/referrers/{}", image.digest));
}

#[tokio::test]
async fn where_the_api_answers_the_tag_is_not_asked() {
    let registry = Registry::start().await;
    let image = registry.image(REPO, "v1");
    registry.reply(&format!("manifests/sha256-{}", image.digest.hex()), Reply::list(&entries(1)));
    assert_eq!(list(&registry, &image.digest).await.unwrap(), []);
    assert_eq!(registry.count("/manifests/"), 0);
}

#[tokio::test]
async fn entries_of_any_type_are_kept_and_what_the_list_says_of_them_is_not() {
    let odd = describe("application/x.unknown", b"odd");
    let entry = json!({
        "mediaType": odd.media_type, "digest": odd.digest, "size": odd.size, "artifactType": "application/x.lie",
        "annotations": { "a": "b" }, "urls": ["http://169.254.169.254/"], "data": "e30=",
    });
    assert_eq!(list_of(Reply::list(&[entry.clone(), entry])).await.unwrap(), [odd]);
}

#[tokio::test]
async fn one_digest_described_in_two_ways_is_malformed() {
    let (first, digest) = (entry(0), entry(0).digest);
    for second in [
        Descriptor { size: first.size + 1, ..first.clone() },
        Descriptor { media_type: IMAGE_INDEX.to_owned(), ..first.clone() },
    ] {
        let error = list_of(Reply::list(&[json!(first), json!(second)])).await.unwrap_err();
        assert!(error.to_string().contains(&format!("describes {digest} in two ways")), "{error}");
    }
}

#[tokio::test]
async fn a_list_that_cannot_be_read_is_an_error_and_never_an_empty_list() {
    let good = index(&entries(1));
    for reply in [
        Reply::ok("application/json", good.clone()),
        Reply::ok("text/html", "<html>"),
        Reply::ok(DOCKER_LIST, good.clone()),
        Reply::ok(IMAGE_MANIFEST, r#"{"schemaVersion":2,"layers":[]}"#),
        Reply::ok(IMAGE_INDEX, ""),
        Reply::ok(IMAGE_INDEX, "{}"),
        Reply::ok(IMAGE_INDEX, r#"{"schemaVersion":2}"#),
        Reply::ok(IMAGE_INDEX, r#"{"schemaVersion":2,"manifests":{}}"#),
        Reply::ok(IMAGE_INDEX, r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#),
        Reply::ok(IMAGE_INDEX, r#"{"schemaVersion":2,"manifests":[],"manifests":[]}"#),
        Reply::ok(IMAGE_INDEX, format!(r#"{{"schemaVersion":2,"mediaType":"{IMAGE_MANIFEST}","manifests":[]}}"#)),
        Reply::ok(IMAGE_INDEX, r#"{"schemaVersion":2,"manifests":[{"mediaType":"x","digest":"md5:1","size":1}]}"#),
        Reply::ok(IMAGE_INDEX, r#"{"schemaVersion":2,"manifests":[{"mediaType":"x","size":1}]}"#),
        Reply::ok(IMAGE_INDEX, good.clone()).header("Content-Encoding", "gzip"),
    ] {
        let result = list_of(reply.clone()).await;
        assert!(matches!(result, Err(Error::Malformed { .. })), "{reply:?}: {result:?}");
    }
    assert!(matches!(list_of(Reply::ok(IMAGE_INDEX, good).early()).await, Err(Error::Network { .. })));
}

#[tokio::test]
async fn an_empty_list_may_be_null() {
    let reply = Reply::ok(IMAGE_INDEX, r#"{"schemaVersion":2,"manifests":null}"#);
    assert_eq!(list_of(reply).await.unwrap(), []);
}

#[tokio::test]
async fn a_media_type_at_the_limit_is_read_and_one_byte_more_is_not() {
    let typed = |length| [json!(Descriptor { media_type: "x".repeat(length), ..entry(0) })];
    assert_eq!(list_of(Reply::list(&typed(limits::MEDIA_TYPE_BYTES))).await.unwrap().len(), 1);
    let error = list_of(Reply::list(&typed(limits::MEDIA_TYPE_BYTES + 1))).await.unwrap_err();
    assert!(error.to_string().contains("media type"), "{error}");
}

#[tokio::test]
async fn referrers_at_the_limit_are_listed_and_one_more_is_an_error() {
    assert_eq!(list_of(Reply::list(&entries(limits::REFERRERS))).await.unwrap().len(), limits::REFERRERS);
    let past = list_of(Reply::list(&entries(limits::REFERRERS + 1))).await;
    assert!(matches!(past, Err(Error::TooLarge { limit: 1000, unit: "referrers", .. })), "{past:?}");
}

#[tokio::test]
async fn a_page_at_the_limit_is_read_and_one_byte_more_or_an_endless_one_is_not() {
    let page = |length: u64| {
        let mut body = index(&entries(1));
        body.resize(length as usize, b' ');
        Reply::ok(IMAGE_INDEX, body)
    };
    assert_eq!(list_of(page(limits::REFERRERS_PAGE_BYTES)).await.unwrap().len(), 1);
    for reply in [page(limits::REFERRERS_PAGE_BYTES + 1), Reply::ok(IMAGE_INDEX, index(&[])).endless()] {
        let past = list_of(reply).await;
        assert!(matches!(past, Err(Error::TooLarge { limit: limits::REFERRERS_PAGE_BYTES, .. })), "{past:?}");
    }
}

#[tokio::test]
async fn throttling_and_refusals_of_the_list_are_errors_and_the_tag_is_not_asked() {
    for status in [400, 401, 403, 405, 429, 500, 503] {
        let registry = Registry::start().await;
        registry.reply("/referrers/", Reply::status(status));
        assert!(list(&registry, &nobody()).await.is_err(), "{status}");
        assert_eq!(registry.count("/manifests/"), 0, "{status}");
    }
}

// ---- referrers: pages

#[tokio::test]
async fn pages_are_followed_to_the_last_one() {
    let registry = Registry::start().await;
    let image = registry.image(REPO, "v1");
    let all: Vec<_> = (0..5).map(|n| registry.attach(REPO, &image, &format!("application/x.{n}"), &[])).collect();
    registry.page_size(2);
    assert_eq!(list(&registry, &image.digest).await.unwrap(), all);
    assert_eq!(registry.count("/referrers/"), 3);
}

#[tokio::test]
async fn pages_at_the_limit_are_read_and_one_more_is_an_error() {
    let registry = Registry::start().await;
    let image = registry.image(REPO, "v1");
    registry.page_size(1);
    for number in 0..limits::REFERRERS_PAGES {
        registry.list(REPO, &image.digest, &entry(number));
    }
    assert_eq!(list(&registry, &image.digest).await.unwrap().len(), limits::REFERRERS_PAGES);
    registry.list(REPO, &image.digest, &entry(limits::REFERRERS_PAGES));
    let past = list(&registry, &image.digest).await;
    assert!(matches!(past, Err(Error::TooLarge { limit: 32, unit: "pages of referrers", .. })), "{past:?}");
    assert_eq!(registry.count("/referrers/"), 2 * limits::REFERRERS_PAGES);
}

#[tokio::test]
async fn the_next_page_may_be_written_relative_absolute_or_escaped() {
    let registry = Registry::start().await;
    let subject = nobody();
    for link in [
        format!("</v2/acme/web/referrers/{subject}?n=2>; rel=\"next\""),
        format!("<http://{}/v2/acme/web/referrers/{subject}?n=2>; rel=next", registry.host()),
        "<?n=2>; rel=next".to_owned(),
        format!("</v2/acme/web/referrers/sha256%3A{HEX}?n=2>; rel=next"),
    ] {
        registry.reply("/referrers/", Reply::list(&entries(1)).header("Link", &link));
        registry.reply("n=2", Reply::list(&entries(2)));
        assert_eq!(list(&registry, &subject).await.unwrap().len(), 2, "{link}");
    }
}

#[tokio::test]
async fn a_next_page_elsewhere_is_an_error_and_is_not_asked_for() {
    let (registry, other) = (Registry::start().await, Registry::start().await);
    let subject = nobody();
    for target in [
        format!("http://{}/v2/acme/web/referrers/{subject}?n=2", other.host()),
        format!("https://{}/v2/acme/web/referrers/{subject}?n=2", registry.host()),
        format!("http://a:b@{}/v2/acme/web/referrers/{subject}?n=2", registry.host()),
        format!("/v2/acme/other/referrers/{subject}?n=2"),
        format!("/v2/acme/web/referrers/{}?n=2", entry(0).digest),
        format!("/v2/acme/web/manifests/{subject}?n=2"),
        "/v2/acme/web/blobs/../referrers/x?n=2".to_owned(),
    ] {
        registry.reply("/referrers/", Reply::list(&entries(1)).header("Link", &format!("<{target}>; rel=\"next\"")));
        let error = list(&registry, &subject).await.unwrap_err();
        assert!(error.to_string().contains("lies elsewhere"), "{target}: {error}");
    }
    assert_eq!((other.requests().len(), registry.count("n=2")), (0, 0));
}

#[tokio::test]
async fn pages_that_go_round_in_circles_are_an_error() {
    let subject = nobody();
    let to = |query: &str| format!("</v2/acme/web/referrers/{subject}{query}>; rel=\"next\"");
    assert!(list_of(Reply::list(&[]).header("Link", &to(""))).await.unwrap_err().to_string().contains("circles"));
    let registry = Registry::start().await;
    registry.reply("/referrers/", Reply::list(&entries(1)).header("Link", &to("?a")));
    registry.reply("?a", Reply::list(&entries(1)).header("Link", &to("?b")));
    registry.reply("?b", Reply::list(&entries(1)).header("Link", &to("?a#other")));
    assert!(list(&registry, &subject).await.unwrap_err().to_string().contains("circles"));
}

#[tokio::test]
async fn a_link_that_cannot_be_read_is_not_the_end_of_the_list() {
    for link in ["garbage", "</v2/a; rel=next", "<http://[::1>; rel=next"] {
        let result = list_of(Reply::list(&entries(1)).header("Link", link)).await;
        assert!(matches!(result, Err(Error::Malformed { .. })), "{link}: {result:?}");
    }
}

#[tokio::test]
async fn a_later_page_that_fails_fails_the_list() {
    let registry = Registry::start().await;
    let link = format!("</v2/acme/web/referrers/{}?n=2>; rel=next", nobody());
    registry.reply("/referrers/", Reply::list(&entries(1)).header("Link", &link));
    for (reply, words) in [
        (Reply::status(404), "not found"),
        (Reply::status(406), "406"),
        (Reply::status(429), "throttling"),
        (Reply::redirect(303, "/login"), "303"),
        (Reply::ok("text/html", ""), "media type"),
    ] {
        registry.reply("n=2", reply);
        let error = list(&registry, &nobody()).await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
    assert_eq!(registry.count("/manifests/"), 0);
}

// ---- referrers: the tag

#[tokio::test]
async fn without_the_api_the_list_at_the_tag_is_read() {
    for no_api in [Reply::status(404), Reply::status(406), Reply::redirect(303, "https://people.example/packages/x")] {
        let registry = Registry::start().await.without_referrers_api();
        registry.reply("/referrers/", no_api);
        let image = registry.image(REPO, "v1");
        let referrer = registry.attach(REPO, &image, "application/x.test", &[]);
        assert_eq!(list(&registry, &image.digest).await.unwrap(), [referrer]);
        assert_eq!(registry.requests()[1].target, format!("/v2/acme/web/manifests/sha256-{}", image.digest.hex()));
    }
}

#[tokio::test]
async fn a_redirect_to_the_same_list_elsewhere_is_followed_with_its_pages() {
    let (front, back) = (Registry::start().await, Registry::start().await);
    let image = back.image("mirror/web", "v1");
    let all: Vec<_> = (0..3).map(|n| back.attach("mirror/web", &image, &format!("application/x.{n}"), &[])).collect();
    back.page_size(1);
    let there = format!("http://{}/v2/mirror/web/referrers/{}", back.host(), image.digest);
    front.reply("/referrers/", Reply::redirect(307, &there));
    assert_eq!(list(&front, &image.digest).await.unwrap(), all);
}

#[tokio::test]
async fn neither_api_nor_tag_is_an_empty_list() {
    let registry = Registry::start().await.without_referrers_api();
    assert_eq!(list(&registry, &nobody()).await.unwrap(), []);
}

#[tokio::test]
async fn a_tag_that_is_read_as_the_subject_itself_is_no_list() {
    let registry = Registry::start().await.without_referrers_api();
    let image = registry.image(REPO, "v1");
    let children = registry.manifest(REPO, Some("multi"), IMAGE_INDEX, &index(&[json!(image)]));
    for subject in [image, children] {
        let bytes = store().manifest(&registry.repository(REPO), &subject, by()).await.unwrap();
        registry.reply("manifests/sha256-", Reply::ok(&subject.media_type, bytes.to_vec()));
        assert_eq!(list(&registry, &subject.digest).await.unwrap(), []);
    }
}

#[tokio::test]
async fn a_failure_at_the_tag_is_an_error_and_never_an_empty_list() {
    let registry = Registry::start().await.without_referrers_api();
    let bad = |reply| {
        registry.reply("manifests/sha256-", reply);
        list(&registry, Box::leak(Box::new(nobody())))
    };
    assert!(matches!(bad(Reply::status(429)).await, Err(Error::Throttled { .. })));
    assert!(matches!(bad(Reply::status(401)).await, Err(Error::Refused { .. })));
    assert!(matches!(bad(Reply::status(403)).await, Err(Error::Refused { .. })));
    for status in [400, 406, 500, 503] {
        assert!(matches!(bad(Reply::status(status)).await, Err(Error::Status { .. })));
    }
    let image = r#"{"schemaVersion":2,"layers":[]}"#;
    for reply in [
        Reply::ok(IMAGE_MANIFEST, image),
        Reply::ok(IMAGE_INDEX, image),
        Reply::ok(DOCKER_LIST, index(&[])),
        Reply::ok(IMAGE_INDEX, "garbage"),
        Reply::ok("text/html", "<html>"),
    ] {
        assert!(matches!(bad(reply).await, Err(Error::Malformed { .. })));
    }
    assert!(matches!(bad(Reply::list(&entries(limits::REFERRERS + 1))).await, Err(Error::TooLarge { .. })));
    assert!(matches!(bad(Reply::list(&[]).endless()).await, Err(Error::TooLarge { .. })));
    assert!(matches!(bad(Reply::list(&[]).early()).await, Err(Error::Network { .. })));
}

// ---- memory

#[tokio::test]
async fn a_list_is_remembered_for_its_time_and_no_longer() {
    let registry = Registry::start().await;
    let image = registry.image(REPO, "v1");
    let (store, repository) = (RegistryStore::new(Options::default()).unwrap(), registry.repository(REPO));
    assert_eq!(store.referrers(&repository, &image.digest, by()).await.unwrap().candidates, []);
    let referrer = registry.attach(REPO, &image, "application/x.test", &[]);
    tokio::time::pause();
    tokio::time::advance(limits::REMEMBER_REFERRERS - Duration::from_secs(5)).await;
    tokio::time::resume();
    assert_eq!(store.referrers(&repository, &image.digest, by()).await.unwrap().candidates, []);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(5)).await;
    tokio::time::resume();
    assert_eq!(store.referrers(&repository, &image.digest, by()).await.unwrap().candidates, [referrer]);
    assert_eq!(registry.count("/referrers/"), 2);
}

#[tokio::test]
async fn a_list_that_failed_is_asked_for_again() {
    let registry = Registry::start().await;
    let (store, repository) = (RegistryStore::new(Options::default()).unwrap(), registry.repository(REPO));
    registry.reply("/referrers/", Reply::status(503));
    assert!(store.referrers(&repository, &nobody(), by()).await.is_err());
    registry.heal();
    assert!(store.referrers(&repository, &nobody(), by()).await.is_ok());
}

// ---- the last known list

const MINUTE: Duration = Duration::from_secs(60);

/// A registry with an image, and a store that has asked it for the image's one referrer and may use that list for a
/// minute.
async fn known() -> (Registry, RegistryStore, Descriptor, Descriptor) {
    let registry = Registry::start().await;
    let image = registry.image(REPO, "v1");
    let referrer = registry.attach(REPO, &image, "application/x.test", &[]);
    let options =
        Options { remember_referrers: Duration::ZERO, stale_referrers: MINUTE, tries: 1, ..Options::default() };
    let store = RegistryStore::new(options).unwrap();
    let listed = store.referrers(&registry.repository(REPO), &image.digest, by()).await.unwrap();
    assert_eq!((listed.candidates.as_slice(), listed.stale), (&[referrer.clone()][..], None));
    (registry, store, image, referrer)
}

async fn time_passes(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn the_last_known_list_stands_in_for_a_registry_that_is_broken_and_says_so() {
    let (registry, store, image, referrer) = known().await;
    let repository = registry.repository(REPO);
    for broken in [
        Reply::status(500),
        Reply::status(502),
        Reply::status(503),
        Reply::status(504),
        Reply::raw("no HTTP"),
        Reply::list(&entries(1)).early(),
    ] {
        registry.reply("/referrers/", broken.clone());
        let listed = store.referrers(&repository, &image.digest, by()).await.unwrap();
        let stale = listed.stale.unwrap();
        assert_eq!(listed.candidates, std::slice::from_ref(&referrer));
        assert!(stale.age + stale.left == MINUTE && stale.cause.is_outage(), "{stale:?}");
        assert!(stale.cause.to_string().contains(registry.host()), "{stale:?}");
    }
    registry.heal();
    // Until the breaker lets someone try again.
    time_passes(limits::BREAKER_PAUSE_MAX).await;
    assert_eq!(store.referrers(&repository, &image.digest, by()).await.unwrap().stale, None);
}

#[tokio::test]
async fn the_last_known_list_stands_in_for_a_registry_that_is_gone() {
    let (registry, store, image, referrer) = known().await;
    let repository = registry.repository(REPO);
    drop(registry);
    tokio::task::yield_now().await;
    let listed = store.referrers(&repository, &image.digest, by()).await.unwrap();
    assert_eq!((listed.candidates, listed.stale.is_some()), (vec![referrer], true));
}

#[tokio::test]
async fn a_registry_that_never_answers_leaves_time_to_read_what_the_last_known_list_names() {
    let (registry, store, image, _) = known().await;
    registry.reply("/referrers/", Reply::silence());
    let repository = registry.repository(REPO);
    let deadline = Instant::now() + Duration::from_secs(6);
    let pause = async {
        registry.requested("/referrers/", 2).await;
        tokio::time::pause();
    };
    let (listed, ()) = tokio::join!(store.referrers(&repository, &image.digest, deadline), pause);
    assert!(listed.unwrap().stale.is_some());
    assert!(deadline - Instant::now() >= limits::STALE_MARGIN);
}

#[tokio::test]
async fn a_registry_that_answers_is_heard_whatever_it_says() {
    for (answer, comes_back) in [
        (Reply::status(401), false),
        (Reply::status(403), false),
        (Reply::status(429), true),
        (Reply::ok(IMAGE_INDEX, "no JSON"), false),
        (Reply::status(418), false),
    ] {
        let (registry, store, image, _) = known().await;
        let repository = registry.repository(REPO);
        registry.reply("/referrers/", answer.clone());
        assert!(store.referrers(&repository, &image.digest, by()).await.is_err(), "{answer:?}");
        // What it has taken back does not come back with its next outage.
        registry.reply("/referrers/", Reply::status(503));
        let listed = store.referrers(&repository, &image.digest, by()).await;
        assert_eq!(listed.is_ok(), comes_back, "{answer:?}: {listed:?}");
    }
    let (registry, store, image, _) = known().await;
    registry.reply("/referrers/", Reply::status(404));
    let listed = store.referrers(&registry.repository(REPO), &image.digest, by()).await.unwrap();
    assert_eq!((listed.candidates, listed.stale), (vec![], None));
}

#[tokio::test]
async fn the_last_known_list_counts_from_its_last_good_fetch_and_use_does_not_prolong_it() {
    let (registry, store, image, _) = known().await;
    let repository = registry.repository(REPO);
    registry.reply("/referrers/", Reply::status(503));
    time_passes(MINUTE - Duration::from_secs(20)).await;
    assert!(store.referrers(&repository, &image.digest, by()).await.unwrap().stale.is_some());
    time_passes(Duration::from_secs(20)).await;
    assert!(store.referrers(&repository, &image.digest, by()).await.is_err());

    let (registry, store, image, _) = known().await;
    let repository = registry.repository(REPO);
    time_passes(MINUTE - Duration::from_secs(20)).await;
    assert!(store.referrers(&repository, &image.digest, by()).await.is_ok());
    registry.reply("/referrers/", Reply::status(503));
    time_passes(Duration::from_secs(40)).await;
    assert!(store.referrers(&repository, &image.digest, by()).await.unwrap().stale.is_some());
}

#[tokio::test]
async fn no_list_outlives_its_time_unless_that_is_configured() {
    let registry = Registry::start().await;
    let (store, image) = (RegistryStore::new(Options::default()).unwrap(), registry.image(REPO, "v1"));
    let repository = registry.repository(REPO);
    assert!(store.referrers(&repository, &image.digest, by()).await.is_ok());
    registry.reply("/referrers/", Reply::status(503));
    time_passes(limits::REMEMBER_REFERRERS).await;
    assert!(store.referrers(&repository, &image.digest, by()).await.is_err());
}
