//! Against a server on loopback that follows the documented interface.

use super::*;
use crate::azure::testing::Server;
use crate::config::AzureIdentity;
use crate::limits;
use crate::pki::Certificate;
use crate::pki::testing::{Key, Kind, LEAF, ROOT, Template, chain};
use crate::trust::remote::Unread;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// What a vault answers, by path and query.
type Answers = Arc<Mutex<BTreeMap<String, (u16, String)>>>;

struct Node {
    server: Server,
    answers: Answers,
    folder: tempfile::TempDir,
}

impl Node {
    async fn start() -> Self {
        let answers = Answers::default();
        let kept = Arc::clone(&answers);
        let server = Server::answering(move |request| {
            let target = request.split(' ').nth(1).unwrap().to_owned();
            if target.ends_with("/oauth2/v2.0/token") {
                return (200, r#"{"expires_in":3599,"access_token":"hunter2"}"#.to_owned());
            }
            assert!(request.to_lowercase().contains("authorization: bearer hunter2\r\n"), "{request}");
            kept.lock().unwrap().get(&target).cloned().unwrap_or((404, r#"{"error":{"code":"NotFound"}}"#.to_owned()))
        })
        .await;
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "assertion").unwrap();
        Self { server, answers, folder }
    }

    fn url(&self) -> String {
        format!("http://{}", self.server.host)
    }

    fn answer(&self, path: &str, status: u16, body: impl ToString) {
        self.answers.lock().unwrap().insert(format!("/{path}"), (status, body.to_string()));
    }

    fn rest(&self) -> Rest {
        let (identity, id) = (AzureIdentity::Workload, || Some("id".to_owned()));
        let who = Who { identity, client_id: id(), tenant_id: id() };
        let entra =
            Entra::at(&who, "https://vault.azure.net".to_owned(), &self.server.host, &self.folder.path().join("token"));
        Rest::new(entra, &format!("{}/", self.url()))
    }

    async fn read(&self, item: Item) -> Result<Vec<Certificate>, Unread> {
        self.rest().certificates(&[item]).await
    }
}

fn item(version: Option<&str>, versions: usize) -> Item {
    Item { name: "acme".to_owned(), version: version.map(str::to_owned), versions }
}

fn newest() -> Item {
    item(None, 1)
}

fn bundle(version: &str, certificate: &Certificate, enabled: bool) -> serde_json::Value {
    serde_json::json!({
        "id": format!("https://acme.vault.azure.net/certificates/acme/{version}"),
        "kid": "x", "sid": "y", "x5t": "z",
        "cer": STANDARD.encode(certificate.der()),
        "attributes": { "enabled": enabled, "created": 1_493_938_289, "recoveryLevel": "Recoverable" },
        "policy": {},
    })
}

fn pem(certificates: &[Certificate]) -> String {
    let block = |certificate: &Certificate| {
        let text = STANDARD.encode(certificate.der());
        let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
    };
    certificates.iter().map(block).collect()
}

fn signer() -> Certificate {
    let key = Key::get(Kind::P256, 0);
    Template::leaf(LEAF, LEAF).sign(key, key)
}

#[tokio::test]
async fn a_self_signed_certificate_is_trusted_as_it_stands_and_its_secret_is_not_asked_for() {
    let node = Node::start().await;
    node.answer("certificates/acme?api-version=7.4", 200, bundle("v1", &signer(), true));
    assert_eq!(node.read(newest()).await, Ok(vec![signer()]));
    node.answer("certificates/acme/v0?api-version=7.4", 200, bundle("v0", &signer(), true));
    assert_eq!(node.read(item(Some("v0"), 1)).await, Ok(vec![signer()]));
    assert!(node.server.requests().iter().all(|request| !request.contains("/secrets/")));
    let token = node.server.requests().into_iter().find(|request| request.starts_with("POST /id/oauth2")).unwrap();
    assert!(token.contains("scope=https%3A%2F%2Fvault.azure.net%2F.default"), "{token}");
}

#[tokio::test]
async fn of_a_certificate_that_another_issued_the_authorities_in_its_secret_are_trusted() {
    let node = Node::start().await;
    let key = "-----BEGIN PRIVATE KEY-----\nMC4CAQA=\n-----END PRIVATE KEY-----\n";
    node.answer("certificates/acme?api-version=7.4", 200, bundle("v1", &chain()[0], true));
    let secret = |value: &str, content_type: &str| serde_json::json!({ "value": value, "contentType": content_type, "id": "x", "attributes": { "enabled": true } });
    let path = "secrets/acme/v1?api-version=7.4";
    node.answer(path, 200, secret(&format!("{key}{}", pem(&chain())), "application/x-pem-file"));
    assert_eq!(node.read(newest()).await, Ok(chain().split_off(1)));
    for (value, content_type, expected) in [
        ("MIIK", "application/x-pkcs12", "is kept as PKCS #12, which is not read: import it as PEM"),
        (&pem(&chain()[..1]), "application/x-pem-file", "was issued by another certificate, which is not with it"),
        (key, "application/x-pem-file", "no certificate"),
    ] {
        node.answer(path, 200, secret(value, content_type));
        let found = node.read(newest()).await;
        assert!(matches!(&found, Err(Unread::Gone(cause)) if cause.contains(expected)), "{expected}: {found:?}");
    }
}

#[tokio::test]
async fn the_newest_versions_that_are_not_disabled_are_trusted() {
    let node = Node::start().await;
    let version = |version: &str, created: u64, enabled: bool| serde_json::json!({ "id": format!("https://x/certificates/acme/{version}"), "attributes": { "enabled": enabled, "created": created } });
    let first = serde_json::json!({
        "value": [version("old", 1, true), version("off", 9, false)],
        "nextLink": format!("{}/certificates/acme/versions?page=2", node.url()),
    });
    let second = serde_json::json!({ "value": [version("mid", 5, true), version("new", 8, true)], "nextLink": null });
    node.answer("certificates/acme/versions?api-version=7.4&maxresults=25", 200, first);
    node.answer("certificates/acme/versions?page=2", 200, second);
    let ca = |number: u8| {
        let serial = x509_cert::serial_number::SerialNumber::new(&[number]).unwrap();
        Template { serial, ..Template::ca(ROOT, ROOT) }.sign(Key::get(Kind::P256, 1), Key::get(Kind::P256, 1))
    };
    for (number, name) in (1..).zip(["old", "mid", "new"]) {
        node.answer(&format!("certificates/acme/{name}?api-version=7.4"), 200, bundle(name, &ca(number), true));
    }
    assert_eq!(node.read(item(None, 2)).await, Ok(vec![ca(3), ca(2)]));
    assert_eq!(node.read(item(None, 9)).await, Ok(vec![ca(3), ca(2), ca(1)]));
    node.answer("certificates/acme/mid?api-version=7.4", 200, bundle("mid", &ca(2), false));
    assert_eq!(node.read(item(None, 2)).await, Ok(vec![ca(3)]), "disabled since the list was read");
    node.answer("certificates/acme?api-version=7.4", 200, bundle("new", &ca(3), false));
    let disabled = node.read(newest()).await;
    assert!(
        matches!(&disabled, Err(Unread::Gone(cause)) if cause.contains("every version of certificate \"acme\" is disabled"))
    );
}

#[tokio::test]
async fn a_list_of_versions_that_leads_elsewhere_or_nowhere_is_refused() {
    let node = Node::start().await;
    let path = "certificates/acme/versions?api-version=7.4&maxresults=25";
    for link in ["http://elsewhere.example/".to_owned(), format!("{}.elsewhere.example/", node.url())] {
        node.answer(path, 200, serde_json::json!({ "value": [], "nextLink": link }));
        let found = node.read(item(None, 2)).await;
        assert!(matches!(&found, Err(Unread::Unreachable(cause)) if cause.contains("leads elsewhere")), "{found:?}");
    }
    let circle = format!("{}/{path}", node.url());
    node.answer(path, 200, serde_json::json!({ "value": [], "nextLink": circle }));
    let before = node.server.count();
    let found = node.read(item(None, 2)).await;
    assert!(matches!(&found, Err(Unread::Unreachable(cause)) if cause.contains("too many versions")), "{found:?}");
    assert_eq!(node.server.count() - before, limits::VAULT_PAGES + 1, "the token, and the pages");
}

#[tokio::test]
async fn what_a_vault_answers_is_told_from_what_it_has_not() {
    let node = Node::start().await;
    let gone = node.read(newest()).await;
    assert!(
        matches!(&gone, Err(Unread::Gone(cause)) if cause == "it answered 404 Not Found about \"acme\""),
        "{gone:?}"
    );
    let path = "certificates/acme?api-version=7.4";
    for status in [302, 401, 403, 429, 500, 503] {
        node.answer(path, status, "hunter2");
        let found = node.read(newest()).await;
        let expected = format!("it answered {status} ");
        assert!(matches!(&found, Err(Unread::Unreachable(cause)) if cause.starts_with(&expected)), "{found:?}");
    }
    node.answer(path, 200, "{\"value\":\"hunter2\"}");
    let found = node.read(newest()).await;
    assert!(matches!(&found, Err(Unread::Unreachable(cause)) if !cause.contains("hunter2")), "{found:?}");
    let whole = bundle("v1", &signer(), true).to_string();
    let limit = usize::try_from(limits::VAULT_REPLY_BYTES).unwrap();
    for (length, is_taken) in [(limit, true), (limit + 1, false)] {
        node.answer(path, 200, format!("{whole}{}", " ".repeat(length - whole.len())));
        assert_eq!(node.read(newest()).await.is_ok(), is_taken, "{length}");
    }
}

#[test]
fn tokens_are_for_the_vaults_of_its_cloud() {
    assert_eq!(rest::audience("https://acme.vault.azure.net/"), "https://vault.azure.net");
    assert_eq!(rest::audience("https://acme.vault.azure.cn"), "https://vault.azure.cn");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_is_read_again_and_again_and_who_asks_first_waits_for_the_first_reading() {
    let node = Node::start().await;
    let path = "certificates/acme?api-version=7.4";
    node.answer(path, 200, bundle("v1", &signer(), true));
    let who = Who { identity: AzureIdentity::Any, client_id: None, tenant_id: None };
    let (refresh, max_age) = (Duration::from_millis(1), Duration::from_secs(60));
    let (certificates, keys) = (vec![newest()], Vec::new());
    let options = Options { url: node.url(), who, certificates, keys, refresh, max_age };
    let vault = Arc::new(over(node.rest().into_entra(), options));
    let now = async || {
        let vault = Arc::clone(&vault);
        tokio::task::spawn_blocking(move || vault.now()).await.unwrap()
    };
    let (first, revision) = now().await;
    assert_eq!(first.unwrap().certificates, [signer()]);
    let root = chain().remove(2);
    node.answer(path, 200, bundle("v2", &root, true));
    let deadline = Instant::now() + Duration::from_secs(20);
    while revision.is_current() && Instant::now() < deadline {
        tokio::task::yield_now().await;
    }
    assert_eq!(now().await.0.unwrap().certificates, [root]);
}

#[tokio::test]
async fn the_keys_of_a_vault_are_trusted_unless_they_are_disabled() {
    let node = Node::start().await;
    let der = signer().key_der().to_vec();
    let (x, y) = der[der.len() - 64..].split_at(32);
    let [x, y] = [x, y].map(|part| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(part));
    let key = serde_json::json!({ "kid": "https://acme.vault.azure.net/keys/acme/v1", "kty": "EC", "crv": "P-256", "x": x, "y": y });
    let bundle = |enabled: bool| serde_json::json!({ "key": key, "attributes": { "enabled": enabled, "created": 1 } });
    let read = async |item: Item| node.rest().contents(&[], &[item]).await;
    node.answer("keys/acme?api-version=7.4", 200, bundle(true));
    node.answer("keys/acme/v0?api-version=7.4", 200, bundle(true));
    let trusted = Contents { certificates: Vec::new(), keys: vec![der] };
    assert_eq!(read(newest()).await, Ok(trusted.clone()));
    assert_eq!(read(item(Some("v0"), 1)).await, Ok(trusted.clone()));
    let version = serde_json::json!({ "kid": "https://acme.vault.azure.net/keys/acme/v0", "attributes": { "enabled": true, "created": 1 } });
    let page = serde_json::json!({ "value": [version] });
    node.answer("keys/acme/versions?api-version=7.4&maxresults=25", 200, page);
    assert_eq!(read(item(None, 2)).await, Ok(trusted));
    node.answer("keys/acme?api-version=7.4", 200, bundle(false));
    assert_eq!(read(newest()).await, Err(Unread::Gone("every version of key \"acme\" is disabled".to_owned())));
}
