//! Connections: that they are kept, that certificates are held to their names and times, and that one that drips does not
//! hold up a pull for longer than its time.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ratify::reference::{Reference, Repository};
use ratify::store::registry::{Options, RegistryStore};
use ratify::store::{Error, Store as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::common::registry::{Registry, describe};
use crate::{BLOB, REPO, by, entry};

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap();
    let (connections, count) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let server = {
        let (connections, count) = (Arc::clone(&connections), Arc::clone(&count));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                let count = Arc::clone(&count);
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while let Ok(byte) = stream.read_u8().await {
                        head.push(byte);
                        if head.ends_with(b"\r\n\r\n") {
                            head.clear();
                            let body = count.fetch_add(1, Ordering::SeqCst).to_string();
                            let reply = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                            if stream.write_all(reply.as_bytes()).await.is_err() {
                                return;
                            }
                        }
                    }
                });
            }
        })
    };
    let store = RegistryStore::new(Options { plain_http: true, ..Options::default() }).unwrap();
    let repository = format!("{host}/{REPO}").parse::<Reference>().unwrap().repository;
    for number in 0..20 {
        let blob = describe("text/plain", number.to_string().as_bytes());
        store.blob(&repository, &blob, BLOB, by()).await.unwrap();
    }
    assert_eq!((connections.load(Ordering::SeqCst), count.load(Ordering::SeqCst)), (1, 20));
    server.abort();
}

#[tokio::test]
async fn an_answer_that_drips_ends_with_the_pulls_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n").await.unwrap();
        let mut drip = tokio::time::interval(Duration::from_millis(100));
        loop {
            drip.tick().await;
            if stream.write_all(b"x").await.is_err() {
                return;
            }
        }
    });
    let store = RegistryStore::new(Options { plain_http: true, ..Options::default() }).unwrap();
    let repository = format!("{host}/{REPO}").parse::<Reference>().unwrap().repository;
    let blob = describe("text/plain", &[b'x'; 1000]);
    let start = Instant::now();
    let error = store.blob(&repository, &blob, BLOB, start + Duration::from_secs(1)).await.unwrap_err();
    assert!(matches!(&error, Error::Network { cause, .. } if cause.contains("no whole answer within")), "{error}");
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    server.abort();
}

/// A registry with a certificate of this name and these years, and a store that trusts the certificate for
/// `registry.example`, reached at the registry's address.
async fn certified(name: &str, years: (i32, i32)) -> (Registry, tempfile::TempDir, RegistryStore) {
    let mut parameters = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    parameters.not_before = rcgen::date_time_ymd(years.0, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(years.1, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = parameters.self_signed(&key).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let secret = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], secret).unwrap();
    let registry = Registry::start_tls(config).await;
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("registry.example");
    fs::create_dir_all(&place).unwrap();
    fs::write(place.join("ca.pem"), certificate.pem()).unwrap();
    fs::write(place.join("hosts.toml"), format!("server = \"https://{}\"\nca = \"ca.pem\"\n", registry.host()))
        .unwrap();
    let store = RegistryStore::new(Options { host_folders: vec![folder.path().to_owned()], ..Options::default() });
    (registry, folder, store.unwrap())
}

fn repository() -> Repository {
    format!("registry.example/{REPO}").parse::<Reference>().unwrap().repository
}

#[tokio::test]
async fn a_certificate_is_held_to_its_name_and_its_time_and_nothing_is_tried_twice() {
    let (registry, _folder, store) = certified("127.0.0.1", (2020, 2099)).await;
    let blob = registry.blob(REPO, "text/plain", b"hello");
    store.blob(&repository(), &blob, BLOB, by()).await.unwrap();
    for (name, years, words) in [
        ("127.0.0.1", (2019, 2020), "xpired"),
        ("127.0.0.1", (2098, 2099), "NotValidYet"),
        ("other.example", (2020, 2099), "not valid for name"),
    ] {
        let (registry, _folder, store) = certified(name, years).await;
        let start = Instant::now();
        let error = store.blob(&repository(), &entry(0), BLOB, by()).await.unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, Error::Network { .. }) && text.contains("the certificate is not trusted"), "{text}");
        assert!(text.contains(words) || text.contains("not valid yet"), "{text}");
        assert!(start.elapsed() < Duration::from_secs(2) && registry.requests().is_empty());
    }
}

#[tokio::test]
async fn a_host_that_nobody_knows_is_told_by_its_name() {
    let store = RegistryStore::new(Options::default()).unwrap();
    let repository = "nobody.invalid/a".parse::<Reference>().unwrap().repository;
    let error = store.blob(&repository, &entry(0), BLOB, Instant::now() + Duration::from_secs(8)).await.unwrap_err();
    assert!(matches!(error, Error::Network { .. }) && error.to_string().contains("https://nobody.invalid/"), "{error}");
}
