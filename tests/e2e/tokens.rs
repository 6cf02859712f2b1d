//! Tokens: a real docker-registry that takes the signed tokens of a realm, and the realm, which is the test's own and
//! counts what it is asked for. The registry judges signature, audience, access and end of each token.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{CertificateParams, KeyPair};
use reqwest::Url;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::common::node::{Node, executor, shim};
use super::common::notation::signers;
use super::common::registries::{Image, Realm, Registry, distribution_with_tokens};
use super::common::tools::{run, run_with_stdin, until};
use super::needs;

/// What the realm calls itself, and the registry wants to read in each token.
const ISSUER: &str = "realm of the tests";

/// `acme:hunter2`, which may pull everything.
const BASIC: &str = "basic ywntztpodw50zxiy";

/// How long after its end docker-registry still takes a token, in seconds.
const LEEWAY: u64 = 60;

/// Gives tokens to whoever asks: with the right password one that pulls, without any one that does nothing.
struct Issuer {
    url: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// The tokens that ratifyd was given.
    given: Vec<String>,
    /// Whether the registry will take the next one for two more seconds only.
    brief: bool,
}

impl Issuer {
    /// Starts one that writes its certificate to a file.
    fn start(certificate: &PathBuf) -> Self {
        let key = KeyPair::generate().unwrap();
        let certified = CertificateParams::new(vec!["realm.example".to_owned()]).unwrap().self_signed(&key).unwrap();
        fs::write(certificate, certified.pem()).unwrap();
        let chain = STANDARD.encode(certified.der());
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key.serialize_der()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/token", listener.local_addr().unwrap());
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        // Ends with the process.
        thread::spawn(move || {
            for stream in listener.incoming() {
                answer(&stream.unwrap(), &key, &chain, &shared);
            }
        });
        Self { url, state }
    }

    fn given(&self) -> usize {
        self.state.lock().unwrap().given.len()
    }

    fn last(&self) -> String {
        self.state.lock().unwrap().given.last().unwrap().clone()
    }

    fn is_brief(&self, brief: bool) {
        self.state.lock().unwrap().brief = brief;
    }
}

fn answer(mut stream: &TcpStream, key: &EcdsaKeyPair, chain: &str, state: &Mutex<State>) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let Some(request) = lines.next() else { return };
    let head: Vec<String> = lines.take_while(|line| !line.is_empty()).map(|line| line.to_lowercase()).collect();
    let header = |name: &str| head.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let mut words = request.split(' ');
    // As many registries: tokens are asked for by GET alone.
    let is_get = words.next() == Some("GET");
    let shown = header("authorization");
    let (status, body) = if !is_get {
        ("404 Not Found", Value::Null)
    } else if shown.is_some_and(|shown| shown != BASIC) {
        ("401 Unauthorized", json!({ "errors": [{ "code": "UNAUTHORIZED", "message": "who are you" }] }))
    } else {
        let mut state = state.lock().unwrap();
        let token = token(key, chain, words.next().unwrap(), shown.is_some(), state.brief);
        if header("user-agent").is_some_and(|agent| agent.starts_with("ratify")) {
            state.given.push(token.clone());
        }
        ("200 OK", json!({ "token": token, "expires_in": 600 }))
    };
    let body = body.to_string();
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\n");
    // Who asks may have gone by now.
    let _ = stream.write_all(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes());
}

/// A token (distribution specification, "Token Authentication Implementation") for what the target asks for.
fn token(key: &EcdsaKeyPair, chain: &str, target: &str, may: bool, brief: bool) -> String {
    let url = Url::parse(&format!("http://realm.example{target}")).unwrap();
    let asked = |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let end = if brief { now + 2 - LEEWAY } else { now + 600 };
    let scopes = url.query_pairs().filter(|(key, _)| key == "scope").map(|(_, scope)| scope.into_owned());
    let access = scopes.filter(|_| may).filter_map(|scope| {
        let (kind, rest) = scope.split_once(':')?;
        let (name, _) = rest.rsplit_once(':')?;
        Some(json!({ "type": kind, "name": name, "actions": ["pull"] }))
    });
    let access: Vec<Value> = access.collect();
    let header = json!({ "typ": "JWT", "alg": "ES256", "x5c": [chain] });
    let claims = json!({
        "iss": ISSUER, "sub": "acme", "aud": asked("service"), "iat": now - 600, "nbf": now - 600, "exp": end,
        "jti": format!("{now}"), "access": access,
    });
    let text = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
    let signature = key.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
}

/// A registry that wants tokens, their realm, and a signed and an unsigned image.
struct Site {
    folder: TempDir,
    issuer: Issuer,
    signed: Image,
    unsigned: Image,
    closed: Registry,
    _open: Registry,
}

impl Site {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let certificate = folder.path().join("realm.pem");
        let issuer = Issuer::start(&certificate);
        let realm = Realm { url: &issuer.url, issuer: ISSUER, certificate: &certificate };
        let (open, closed) = distribution_with_tokens(folder.path(), &realm);
        let [signed, unsigned] = ["tokens/signed", "tokens/unsigned"].map(|place| open.image(place));
        signers().trusted.sign(&signed.by_digest());
        let [signed, unsigned] = [signed, unsigned].map(|image| image.at(&closed.host));
        Self { folder, issuer, signed, unsigned, closed, _open: open }
    }

    /// A configuration that remembers nothing but tokens, with the credentials of a docker configuration, or none.
    fn config(&self, password: Option<&str>) -> String {
        let credentials = password.map_or(String::new(), |password| {
            let file = self.folder.path().join(format!("{password}.json"));
            let auth = STANDARD.encode(format!("acme:{password}"));
            fs::write(&file, json!({ "auths": { &self.closed.host: { "auth": auth } } }).to_string()).unwrap();
            format!("{{ provider = \"dockerConfig\", configPath = {file:?} }}")
        });
        let executor = executor(&format!("\"{}\"", self.closed.host), "", &signers().authority.certificate());
        format!(
            "{executor}[[executors.stores]]\ntype = \"registry-store\"\nparameters.credentials = [{credentials}]\n\
             [remember]\nallow = \"0s\"\ndeny = \"0s\"\nreferrers = \"0s\"\n[cache]\nmemory = 0\n"
        )
    }
}

const DESCRIPTOR: &str = "application/vnd.oci.descriptor.v1+json";

/// Asks as containerd does, many times at once; all must be allowed.
fn ask_often(node: &Node, image: &Image) {
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut command = Command::new(shim());
                command.env("RATIFYD_SOCKET", node.daemon.socket()).args(["-name", &image.by_digest()]);
                command.args(["-digest", &image.digest]).args(["-stdin-media-type", DESCRIPTOR]);
                let ran = run_with_stdin(&mut command, &image.descriptor());
                assert!(ran.code == Some(0) && ran.stdout.starts_with("ALLOWED "), "{ran:?}\n{}", node.daemon.log());
            });
        }
    });
}

#[test]
fn one_token_serves_many_pulls_and_one_that_has_ended_is_replaced_by_another() {
    needs!();
    let site = Site::start();
    let node = Node::start(&format!("log.level = \"trace\"\n{}", site.config(Some("hunter2"))));
    site.issuer.is_brief(true);
    ask_often(&node, &site.signed);
    assert_eq!(site.issuer.given(), 1, "{}", node.daemon.log());
    // What its realm said of it is wrong by now: only the registry knows.
    site.issuer.is_brief(false);
    let path = format!("/v2/{}/manifests/v1", site.signed.repository.split_once('/').unwrap().1);
    let ended = format!("Authorization: Bearer {}", site.issuer.last());
    until("the token's end", || site.closed.status_for(&path, &ended) == 401);
    ask_often(&node, &site.signed);
    assert_eq!(site.issuer.given(), 2, "{}", node.daemon.log());

    let name = site.signed.by_tag();
    let pull = node.containerd.pull_as("acme:hunter2", &name);
    assert!(pull.allowed(), "{pull:?}\n{}", node.daemon.log());
    assert!(node.containerd.last_allow(&name).starts_with("ALLOWED "));
    assert_eq!(site.issuer.given(), 2, "{}", node.daemon.log());
    let refused = node.containerd.pull_as("acme:hunter2", &site.unsigned.by_tag());
    refused.refused("DENIED", super::UNSIGNED);
    assert_eq!(site.issuer.given(), 3, "one for each repository");
    let log = node.daemon.log();
    for secret in ["hunter2", "eyJ", "YWNtZTpodW50ZXIy"] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}

#[test]
fn without_the_right_password_it_is_refused_access_and_the_reason_says_what_was_shown() {
    needs!();
    let site = Site::start();
    let node = Node::start(&site.config(None));
    let none = format!("no credentials for {} are configured", site.closed.host);
    for (password, shown) in [(None, none.as_str()), (Some("hunter3"), "it was shown the credentials of \"acme\"")] {
        node.daemon.configure(&site.config(password));
        let pull = node.containerd.pull_as("acme:hunter2", &site.signed.by_tag());
        pull.refused("UNAVAILABLE", "the registry refuses access (401)");
        pull.refused("UNAVAILABLE", shown);
        let mut command = Command::new(env!("CARGO_BIN_EXE_ratifyctl"));
        let ran = run(command.args(["verify", "--config"]).arg(node.daemon.config()).arg(site.signed.by_digest()));
        assert!(ran.code == Some(3) && ran.stdout.contains(shown), "{ran:?}");
        assert!(!format!("{ran:?}{pull:?}").contains("hunter3"), "{ran:?}");
    }
    node.daemon.configure(&site.config(Some("hunter2")));
    let pull = node.containerd.pull_as("acme:hunter2", &site.signed.by_tag());
    assert!(pull.allowed(), "{pull:?}\n{}", node.daemon.log());
}
