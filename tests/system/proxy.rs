//! Registries behind a proxy: which requests take it, what it is told, and what an operator reads when it is down, says
//! no or cannot be had. The names of these registries are known to the proxy alone.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use ratify::artifact::{Descriptor, Digest};
use ratify::config::Proxy;
use ratify::limits;
use ratify::reference::Reference;
use ratify::store::Store as _;
use ratify::store::registry::{Options, RegistryStore};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::common::http_proxy::HttpProxy;
use crate::common::registry::{Registry, Reply, describe};
use crate::node::{Node, executor, remember, signed};
use crate::programs::{CTL, Launch, Ran, run};

/// A registry that the proxy alone can find.
const HOST: &str = "registry.example:5000";

/// A store that speaks http to all registries, by way of the proxies that an environment with these names.
fn store(http: &str, no: &str) -> RegistryStore {
    let environment = |name: &str| match name {
        "HTTP_PROXY" | "HTTPS_PROXY" => Some(http.to_owned()),
        "NO_PROXY" => Some(no.to_owned()),
        _ => None,
    };
    let proxy = Proxy::from_environment(&environment).unwrap();
    RegistryStore::new(Options { plain_http: true, proxy, ..Options::default() }).unwrap()
}

async fn resolve(store: &RegistryStore, name: &str) -> Result<Digest, String> {
    let reference: Reference = name.parse().unwrap();
    store
        .resolve(&reference, Instant::now() + limits::REQUEST_TIMEOUT)
        .await
        .map(|found| found.digest)
        .map_err(|error| error.to_string())
}

/// Whether a host was looked for in the DNS, which is not there or has no such name.
fn is_unknown(error: &str) -> bool {
    error.contains("name cannot be resolved") || error.contains("no connection within")
}

/// What resolving an image of [`HOST`] by way of a proxy that answers with this comes to.
async fn told(user: &str, answer: &'static str) -> String {
    let proxy = HttpProxy::start(&[]).await;
    proxy.answers(answer);
    let store = store(&format!("http://{user}{}", proxy.address()), "");
    let error = resolve(&store, &format!("{HOST}/a:v1")).await.unwrap_err();
    assert!(error.contains(&format!("(through proxy http://{}): ", proxy.address())), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
    error
}

/// A server with a certificate of its own before another server.
struct Tls {
    address: String,
    certificate: String,
    task: JoinHandle<()>,
}

impl Tls {
    async fn before(server: &str, name: &str) -> Self {
        let certified = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![certified.cert.der().clone()], key).unwrap();
        let (acceptor, server) = (TlsAcceptor::from(Arc::new(config)), server.to_owned());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (acceptor, server) = (acceptor.clone(), server.clone());
                connections.spawn(async move {
                    let Ok(mut client) = acceptor.accept(client).await else { return };
                    let mut server = TcpStream::connect(server).await.unwrap();
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        Self { address, certificate: certified.cert.pem(), task }
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_registry_over_http_is_asked_through_the_proxy_in_absolute_form() {
    let registry = Registry::start().await;
    let image = registry.image("a", "v1");
    let proxy = HttpProxy::start(&[(HOST, registry.host())]).await;
    let found = resolve(&store(proxy.address(), ""), &format!("{HOST}/a:v1")).await;
    assert_eq!(found, Ok(image.digest));
    let heads = proxy.heads();
    assert!(heads[0].starts_with(&format!("GET http://{HOST}/v2/a/manifests/v1 HTTP/1.1\r\n")), "{heads:?}");
    assert!(!heads[0].to_lowercase().contains("proxy-authorization"), "{heads:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn every_password_that_is_taken_reaches_the_proxy_and_nobody_else() {
    let registry = Registry::start().await;
    registry.image("a", "v1");
    let proxy = HttpProxy::start(&[(HOST, registry.host())]).await;
    for (user, basic) in [
        // printf 'USER:PASSWORD' | base64
        ("user:hunter2", "dXNlcjpodW50ZXIy"),
        ("user:p%40ss%2F%25", "dXNlcjpwQHNzLyU="),
        ("u!$&'()*+,;=-._~:%20%22%7B", "dSEkJicoKSorLDs9LS5ffjogIns="),
    ] {
        let store = store(&format!("http://{user}@{}", proxy.address()), "");
        resolve(&store, &format!("{HOST}/a:v1")).await.unwrap();
        let head = proxy.heads().pop().unwrap().to_lowercase();
        assert!(head.contains(&format!("proxy-authorization: basic {}", basic.to_lowercase())), "{head}");
    }
    // Asked directly, a registry is not told.
    let store = store(&format!("http://user:hunter2@{}", proxy.address()), "");
    resolve(&store, &format!("{}/a:v1", registry.host())).await.unwrap();
    let head = registry.requests().pop().unwrap().head;
    assert!(head.starts_with("get /v2/a/") && !head.contains("proxy-"), "{head}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn this_machine_and_what_no_proxy_names_are_asked_directly_redirects_too() {
    let registry = Registry::start().await;
    let image = registry.image("a", "v1");
    let proxy = HttpProxy::start(&[(HOST, registry.host())]).await;
    // Loopback, although the proxy is for all.
    assert_eq!(
        resolve(&store(proxy.address(), ""), &format!("{}/a:v1", registry.host())).await,
        Ok(image.digest.clone())
    );
    assert_eq!(proxy.heads().len(), 0);
    // A name that only the proxy knows is not found without it.
    for no in ["registry.example", "registry.example:5000", ".example", "*"] {
        let error = resolve(&store(proxy.address(), no), &format!("{HOST}/a:v1")).await.unwrap_err();
        assert!(is_unknown(&error) && !error.contains("proxy"), "{error}");
    }
    assert_eq!(proxy.heads().len(), 0);
    assert!(
        resolve(&store(proxy.address(), "registry.example:443,.registry.example"), &format!("{HOST}/a:v1"))
            .await
            .is_ok()
    );
    assert_eq!(proxy.heads().len(), 1);

    // From a registry behind the proxy to one that is not: each request goes its own way.
    registry.reply("manifests/v1", Reply::redirect(307, &format!("http://direct.example:5000/x{}", image.digest)));
    let error = resolve(&store(proxy.address(), "direct.example"), &format!("{HOST}/a:v1")).await.unwrap_err();
    assert!(error.contains("(sent on to direct.example:5000): ") && is_unknown(&error), "{error}");
    assert_eq!(proxy.heads().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn https_goes_through_a_tunnel_in_which_the_registrys_certificate_counts() {
    let (registry, store_of) = (Registry::start().await, |proxy: &HttpProxy| {
        let environment = |name: &str| (name == "HTTPS_PROXY").then(|| format!("u:hunter2@{}", proxy.address()));
        let proxy = Proxy::from_environment(&environment).unwrap();
        RegistryStore::new(Options { proxy, ..Options::default() }).unwrap()
    });
    let tls = Tls::before(registry.host(), "registry.example").await;
    let proxy = HttpProxy::start(&[(HOST, &tls.address)]).await;
    let error = resolve(&store_of(&proxy), &format!("{HOST}/a:v1")).await.unwrap_err();
    assert!(
        error.contains("the certificate is not trusted") && error.contains("the CA of the registry or the proxy"),
        "{error}"
    );
    let head = proxy.heads().remove(0);
    assert!(head.starts_with(&format!("CONNECT {HOST} HTTP/1.1\r\n")), "{head}");
    assert!(head.contains("proxy-authorization: Basic dTpodW50ZXIy\r\n") && head.contains("ratifyd/"), "{head}");
    assert_eq!(registry.requests().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_proxy_that_is_down_or_says_no_is_named_with_the_cause() {
    let asked = "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n";
    let error = told("", asked).await;
    assert!(error.ends_with("the proxy demands authentication (407): write user and password into its URL"), "{error}");
    let error = told("user:hunter2@", asked).await;
    assert!(error.ends_with("the proxy refuses the user and password of its URL (407)"), "{error}");
    let error = told("", "garbage\r\n\r\n").await;
    assert!(error.contains("no HTTP"), "{error}");

    let error = resolve(&store("127.0.0.1:1", ""), &format!("{HOST}/a:v1")).await.unwrap_err();
    assert!(
        error.ends_with("(through proxy http://127.0.0.1:1): connection refused: no proxy listens there"),
        "{error}"
    );
    let error = resolve(&store("http://proxy.invalid:3128", ""), &format!("{HOST}/a:v1")).await.unwrap_err();
    assert!(error.contains("(through proxy http://proxy.invalid:3128): ") && is_unknown(&error), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_proxy_that_repeats_the_password_it_was_shown_is_not_quoted() {
    let echo = "HTTP/1.1 403 Forbidden\r\nContent-Length: 63\r\n\r\n\
        {\"errors\":[{\"code\":\"DENIED\",\"message\":\"bad dXNlcjpodW50ZXIy\"}]}";
    let with_password = told("user:hunter2@", echo).await;
    assert!(with_password.contains("403") && !with_password.contains("dXNl"), "{with_password}");
    let without = told("", echo).await;
    assert!(without.contains("dXNl"), "without a password there is nothing to hide: {without}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_proxy_that_opens_no_tunnel_is_named_with_the_cause() {
    let secure = async |user: &str, answer: &'static str| {
        let proxy = HttpProxy::start(&[]).await;
        proxy.answers(answer);
        let url = format!("{user}{}", proxy.address());
        let environment = |name: &str| (name == "HTTPS_PROXY").then(|| url.clone());
        let options = Options { proxy: Proxy::from_environment(&environment).unwrap(), ..Options::default() };
        let error = resolve(&RegistryStore::new(options).unwrap(), &format!("{HOST}/a:v1")).await.unwrap_err();
        error.split_once(&format!("(through proxy http://{}): ", proxy.address())).unwrap().1.to_owned()
    };
    let asked = "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n";
    assert_eq!(secure("", asked).await, "the proxy demands authentication (407): write user and password into its URL");
    assert_eq!(secure("u:hunter2@", asked).await, "the proxy refuses the user and password of its URL (407)");
    for no in ["HTTP/1.1 403 Forbidden\r\n\r\n", "HTTP/1.1 502 Bad Gateway\r\n\r\n", "garbage\r\n\r\n"] {
        assert_eq!(secure("", no).await, "the proxy does not connect to this host: its log tells why");
    }
    assert_eq!(secure("", "HTTP/1.1 200").await, "the proxy ends the connection: unexpected end of file");
    let endless: &'static str = Box::leak(format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(64 * 1024)).into_boxed_str());
    assert_eq!(secure("", endless).await, "the proxy ends the connection: proxy response headers too long");
}

/// A node whose images lie behind a proxy, in a registry over TLS.
struct Behind {
    node: Node,
    registry: Registry,
    tls: Tls,
    proxy: HttpProxy,
    image: Descriptor,
    name: String,
}

impl Behind {
    async fn new() -> Self {
        let registry = Registry::start().await;
        let image = signed(&registry, "acme/web");
        let tls = Tls::before(registry.host(), "registry.example").await;
        let proxy = HttpProxy::start(&[(HOST, &tls.address)]).await;
        let node = Node::down("");
        fs::write(node.path("ca.pem"), &tls.certificate).unwrap();
        Self { node, registry, tls, proxy, image, name: format!("{HOST}/acme/web:v1") }
    }

    /// Its configuration, with these keys first.
    fn configure(&self, keys: &str) {
        self.node.configure(&format!("{keys}\n{}{}", executor(&format!("{HOST}/acme/*"), ""), remember("")));
    }

    /// Starts the daemon with these variables.
    fn launch(&mut self, variables: &[&str]) {
        let trust = format!("SSL_CERT_FILE={}", self.node.path("ca.pem").display());
        let mut wrapper = vec!["env", "-u", "NO_PROXY", "-u", "no_proxy", &trust];
        wrapper.extend(variables);
        self.node.launch(Launch { wrapper: &wrapper, ..Launch::default() });
    }

    /// Runs ratifyctl with these variables.
    fn ctl(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Ran {
        let mut command: Command = self.node.ctl_command(Path::new(CTL), arguments);
        command.env("SSL_CERT_FILE", self.node.path("ca.pem")).env_remove("NO_PROXY").env_remove("no_proxy");
        run(command.envs(variables.iter().copied()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_pull_is_verified_through_the_proxy_of_the_environment_or_of_the_configuration_which_wins() {
    let mut behind = Behind::new().await;
    behind.configure("");
    let ours = format!("HTTPS_PROXY=http://user:hunter2@{}", behind.proxy.address());
    behind.launch(&[&ours]);
    behind.node.pull(&behind.name, &behind.image).allows("ALLOWED", "acme: ");
    let heads = behind.proxy.heads();
    assert!(!heads.is_empty() && heads.iter().all(|head| head.starts_with("CONNECT ")), "{heads:?}");
    let log = behind.node.log();
    assert!(log.contains(&format!("https=\"http://user:***@{}\"", behind.proxy.address())), "{log}");
    assert!(!log.contains("hunter2"), "{log}");
    drop(behind.node.daemon.take());

    // Nobody listens at the environment's.
    behind.configure(&format!("proxy.https = \"{}\"", behind.proxy.address()));
    behind.launch(&["HTTPS_PROXY=http://127.0.0.1:1"]);
    behind.node.pull(&behind.name, &behind.image).allows("ALLOWED", "acme: ");
    assert!(behind.proxy.heads().len() > heads.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_proxy_that_is_down_makes_the_answer_unavailable_and_mending_it_counts_at_the_next_pull() {
    let mut behind = Behind::new().await;
    behind.configure("proxy.https = \"http://u:hunter2@127.0.0.1:1\"");
    behind.launch(&[]);
    let generation = behind.node.status()["generation"].clone();
    let refused = behind.node.pull(&behind.name, &behind.image);
    refused.refuses("UNAVAILABLE", "(through proxy http://127.0.0.1:1): connection refused: no proxy listens there");
    assert!(!refused.stdout.contains("hunter2") && !behind.node.log().contains("hunter2"));
    behind.configure(&format!("proxy.https = \"{}\"", behind.proxy.address()));
    behind.node.pull(&behind.name, &behind.image).allows("ALLOWED", "acme: ");
    // What is trusted has not changed, so what is remembered still counts, whoever leads to the registry.
    assert_eq!(behind.node.status()["generation"], generation);
    behind.configure("proxy.https = \"http://127.0.0.1:1\"");
    let before = behind.proxy.heads().len();
    behind.node.pull(&behind.name, &behind.image).allows("ALLOWED", "acme: ");
    assert_eq!((behind.proxy.heads().len(), behind.node.status()["remembered"].as_u64()), (before, Some(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn ratifyctl_goes_by_the_same_proxies() {
    let behind = Behind::new().await;
    let ours = behind.proxy.address();
    behind.configure("");
    for command in ["verify", "discover", "resolve"] {
        let at = behind.proxy.heads().len();
        behind.ctl(&[("https_proxy", ours)], &[command, &behind.name]).ended(0);
        assert!(behind.proxy.heads().len() > at, "{command}");
    }
    // Without a configuration, and for what no scope of it matches.
    let other = format!("{HOST}/other:v1");
    behind.registry.image("other", "v1");
    behind.ctl(&[("HTTPS_PROXY", ours)], &["resolve", &other]).ended(0);
    behind.configure(&format!("proxy.https = \"{ours}\""));
    behind.ctl(&[("HTTPS_PROXY", "127.0.0.1:1")], &["resolve", &other]).ended(0);
    behind.ctl(&[("HTTPS_PROXY", "127.0.0.1:1")], &["discover", &behind.name]).ended(0);
    fs::remove_file(behind.node.config()).unwrap();
    behind.ctl(&[("HTTPS_PROXY", ours)], &["resolve", &other]).ended(0);

    let complaint = behind.ctl(&[("HTTPS_PROXY", "http://u:hunter2")], &["resolve", &other]).complained(2);
    assert!(complaint.contains("environment variable HTTPS_PROXY is not a proxy's URL"), "{complaint}");
    assert!(!complaint.contains("hunter2"), "{complaint}");
    assert!(!behind.tls.task.is_finished());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_proxy_may_be_reached_over_tls_for_registries_of_either_scheme() {
    let behind = Behind::new().await;
    behind.registry.image("plain", "v1");
    let proxy = HttpProxy::start(&[(HOST, &behind.tls.address), ("plain.example", behind.registry.host())]).await;
    let tls = Tls::before(proxy.address(), "127.0.0.1").await;
    fs::write(behind.node.path("ca.pem"), format!("{}{}", behind.tls.certificate, tls.certificate)).unwrap();
    let plain =
        executor("plain.example", "stores = [{ type = \"registry-store\", parameters = { plainHttp = true } }]");
    behind.configure(&format!("proxy = {{ https = \"https://{0}\", http = \"https://{0}\" }}\n{plain}", tls.address));
    behind.ctl(&[], &["verify", &behind.name]).ended(0);
    behind.ctl(&[], &["resolve", "plain.example/plain:v1"]).ended(0);
    let heads = proxy.heads();
    assert!(
        heads[0].starts_with("CONNECT ") && heads.last().unwrap().starts_with("GET http://plain.example/"),
        "{heads:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_proxy_of_the_environment_that_is_none_is_told_to_every_pull_until_it_is_mended() {
    let mut behind = Behind::new().await;
    behind.configure("");
    behind.launch(&["HTTPS_PROXY=http://u:hunter2"]);
    let told = "proxy.https: environment variable HTTPS_PROXY is not a proxy's URL";
    let refused = behind.node.pull(&behind.name, &behind.image);
    refused.refuses("MISCONFIGURED", told);
    assert!(!refused.stdout.contains("hunter2") && !behind.node.log().contains("hunter2"));
    behind.configure(&format!("proxy.https = \"{}\"", behind.proxy.address()));
    behind.node.pull(&behind.name, &behind.image).allows("ALLOWED", "acme: ");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_large_answer_through_a_proxy_is_bounded_like_any_other() {
    let registry = Registry::start().await;
    let proxy = HttpProxy::start(&[(HOST, registry.host())]).await;
    let repository = format!("{HOST}/a").parse::<Reference>().unwrap().repository;
    registry.reply("/blobs/", Reply::ok("text/plain", "").endless());
    let blob = describe("text/plain", b"hello");
    let error = store(proxy.address(), "")
        .blob(&repository, &blob, limits::ENVELOPE_BYTES, Instant::now() + limits::REQUEST_TIMEOUT)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("its descriptor says 5"), "{error}");
}
