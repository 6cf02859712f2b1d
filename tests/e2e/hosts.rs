//! hosts.toml: the same folder and the same name, and whom the real containerd and `ratifyctl` then ask for the
//! manifest, in which order, over what, at which path, with which `?ns=` and which headers. The servers are the
//! project's own, which record what they are asked.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::common::containerd::{Containerd, Options};
use super::common::node::{Node, executor};
use super::common::notation::signers;
use super::common::registries::{OverTls, Registry as PlainRegistry, distribution_over_tls};
use super::common::registry::{Registry, Reply};
use super::common::tools::run;
use super::needs;

const PATH: &str = "acme/web";

/// The servers by the letter that stands for them: two plain mirrors `M` and `N`, the registry itself `O`, a mirror
/// over TLS `S`, and one over TLS that asks who we are `C`.
struct Servers {
    all: Vec<(char, Registry)>,
    digest: String,
    ca: String,
    client: (String, String),
    /// Keeps the servers running.
    _runtime: Runtime,
}

impl Servers {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (ca, ca_key) = authority();
        let issuer = Issuer::from_params(&ca, &ca_key);
        let ca = ca.self_signed(&ca_key).unwrap();
        let issued = || {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
            (params.signed_by(&key, &issuer).unwrap(), key)
        };
        let tls = |asks_for_clients: bool| {
            let (certificate, key) = issued();
            let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
            let builder = builder.with_safe_default_protocol_versions().unwrap();
            let builder = if asks_for_clients {
                let mut roots = RootCertStore::empty();
                roots.add(ca.der().clone()).unwrap();
                let provider = Arc::new(default_provider());
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            } else {
                builder.with_no_client_auth()
            };
            let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
            builder.with_single_cert(vec![certificate.der().clone()], key).unwrap()
        };
        let mut all: Vec<_> = "MNO".chars().map(|letter| (letter, runtime.block_on(Registry::start()))).collect();
        all.push(('S', runtime.block_on(Registry::start_tls(tls(false)))));
        all.push(('C', runtime.block_on(Registry::start_tls(tls(true)))));
        let digests: Vec<_> = all.iter().map(|(_, registry)| registry.image(PATH, "v1").digest.to_string()).collect();
        let (client, key) = issued();
        Self {
            all,
            digest: digests[0].clone(),
            ca: ca.pem(),
            client: (client.pem(), key.serialize_pem()),
            _runtime: runtime,
        }
    }

    /// A text with the hosts put in for `{M}` and the like, `{D}` for the digest; `{X}` is a port where nobody is.
    fn fill(&self, text: &str) -> String {
        let text = text.replace("{D}", &self.digest).replace("{X}", "127.0.0.1:1");
        self.all.iter().fold(text, |text, (letter, registry)| text.replace(&format!("{{{letter}}}"), registry.host()))
    }

    /// The folder of a case.
    fn folder(&self, case: &Case) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in case.files {
            let path = folder.path().join(self.fill(name));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, self.fill(content)).unwrap();
            for (name, pem) in [("ca.pem", &self.ca), ("c.cert", &self.client.0), ("c.key", &self.client.1)] {
                fs::write(path.parent().unwrap().join(name), pem).unwrap();
            }
        }
        folder
    }

    /// Who is asked for the manifest of a case while somebody pulls it: each server once in a row, however often it was
    /// tried and by HEAD or GET.
    fn asked(&self, case: &Case, pull: impl FnOnce(&Path, &str)) -> Vec<String> {
        for (letter, registry) in &self.all {
            registry.heal();
            registry.forget();
            for (_, status) in case.broken.iter().filter(|(broken, _)| broken == letter) {
                registry.reply("/", Reply::status(*status));
            }
        }
        let folder = self.folder(case);
        let name = self.fill(case.name);
        pull(folder.path(), &name);
        let end = match name.rsplit_once('@') {
            Some((_, digest)) => format!("/manifests/{digest}"),
            None => "/manifests/v1".to_owned(),
        };
        let mut found = Vec::new();
        for (letter, registry) in &self.all {
            for request in registry.requests() {
                let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
                let Some(path) = path.strip_suffix(&end) else { continue };
                let scheme = if "SC".contains(*letter) { "https" } else { "http" };
                let headers = request.head.lines().filter(|line| line.starts_with("x-") || line.starts_with("auth"));
                let rest: Vec<_> = [query].into_iter().filter(|query| !query.is_empty()).chain(headers).collect();
                let line = format!("{letter} {scheme} {path} {}", rest.join(" ")).trim_end().to_owned();
                found.push((request.at, line.replace("%3A", ":")));
            }
        }
        found.sort();
        let mut lines: Vec<String> = found.into_iter().map(|(_, line)| line).collect();
        lines.dedup();
        lines
    }
}

fn authority() -> (CertificateParams, KeyPair) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    (params, KeyPair::generate().unwrap())
}

/// One folder of hosts files and one pull.
struct Case {
    what: &'static str,
    name: &'static str,
    /// Files by their path in the folder.
    files: &'static [(&'static str, &'static str)],
    /// Servers that answer everything with a status.
    broken: &'static [(char, u16)],
    /// Server, scheme, path of the repository, `ns`, headers.
    asked: &'static [&'static str],
}

const NAME: &str = "registry.example/acme/web:v1";
const BY_DIGEST: &str = "registry.example/acme/web@{D}";
const FILE: &str = "registry.example/hosts.toml";
const M: &str = "M http /v2/acme/web ns=registry.example";
const N: &str = "N http /v2/acme/web ns=registry.example";
const O: &str = "O http /v2/acme/web ns=registry.example";
const S: &str = "S https /v2/acme/web ns=registry.example";
const C: &str = "C https /v2/acme/web ns=registry.example";
const ALONE: &str = "O http /v2/acme/web";

const CASES: [Case; 28] = [
    Case {
        what: "the first mirror answers",
        name: NAME,
        files: &[(FILE, "server='http://{O}'\n[host.'http://{N}']\n[host.'http://{M}']")],
        broken: &[],
        asked: &[N],
    },
    Case {
        what: "mirrors in file order, then the server",
        name: NAME,
        files: &[(FILE, "server='http://{O}'\n[host.'http://{N}']\n[host.'http://{M}']")],
        broken: &[('N', 404), ('M', 500)],
        asked: &[N, M, O],
    },
    Case {
        what: "a mirror that refuses is passed over",
        name: NAME,
        files: &[(FILE, "server='http://{O}'\n[host.'http://{M}']\n[host.'http://{N}']")],
        broken: &[('M', 403), ('N', 401)],
        asked: &[M, N, O],
    },
    Case {
        what: "a mirror that is down is passed over",
        name: NAME,
        files: &[(FILE, "server='http://{O}'\n[host.'http://{X}']\n[host.'http://{N}']\ndial_timeout='2s'")],
        broken: &[],
        asked: &[N],
    },
    Case {
        what: "a mirror that may only pull is not asked for a tag",
        name: NAME,
        files: &[(FILE, "server='http://{O}'\n[host.'http://{M}']\ncapabilities=['pull']")],
        broken: &[],
        asked: &[O],
    },
    Case {
        what: "a mirror that may only resolve is not asked for a tag either",
        name: NAME,
        files: &[(FILE, "server='http://{O}'\n[host.'http://{M}']\ncapabilities=['resolve']")],
        broken: &[],
        asked: &[O],
    },
    Case {
        what: "a mirror that may pull is asked for a digest",
        name: BY_DIGEST,
        files: &[(FILE, "server='http://{O}'\n[host.'http://{M}']\ncapabilities=['PULL']")],
        broken: &[],
        asked: &[M],
    },
    Case {
        what: "paths get their v2, unless they are whole",
        name: NAME,
        files: &[(
            FILE,
            "server='http://{O}'\n[host.'http://{M}/us/']\n[host.'http://{N}/v2/x']\noverride_path=true\n\
             [host.'http://{M}']\noverride_path=true",
        )],
        broken: &[],
        asked: &[
            "M http /us/v2/acme/web ns=registry.example",
            "N http /v2/x/acme/web ns=registry.example",
            "M http /acme/web ns=registry.example",
            O,
        ],
    },
    Case {
        what: "headers go to their host alone",
        name: NAME,
        files: &[(
            FILE,
            "server='http://{O}'\nheader={'X-Last'='z'}\n[host.'http://{M}'.header]\nx-first=['a','b']\n\
             [host.'http://{N}'.header]\nAuthorization='Basic dTpw'",
        )],
        broken: &[('M', 404), ('N', 404)],
        asked: &[
            "M http /v2/acme/web ns=registry.example x-first: a x-first: b",
            "N http /v2/acme/web ns=registry.example authorization: basic dtpw",
            "O http /v2/acme/web ns=registry.example x-last: z",
        ],
    },
    Case {
        what: "the default folder",
        name: NAME,
        files: &[("_default/hosts.toml", "[host.'http://{M}']")],
        broken: &[],
        asked: &[M],
    },
    Case {
        what: "the folder with underscores goes before the one with a colon",
        name: "registry.example:5000/acme/web:v1",
        files: &[
            ("_default/hosts.toml", "[host.'http://{O}']"),
            ("registry.example:5000/hosts.toml", "[host.'http://{N}']"),
            ("registry.example_5000_/hosts.toml", "[host.'http://{M}']"),
        ],
        broken: &[],
        asked: &["M http /v2/acme/web ns=registry.example:5000"],
    },
    Case {
        what: "the folder with a colon goes before the default",
        name: "registry.example:5000/acme/web:v1",
        files: &[
            ("_default/hosts.toml", "[host.'http://{O}']"),
            ("registry.example:5000/hosts.toml", "[host.'http://{N}']"),
        ],
        broken: &[],
        asked: &["N http /v2/acme/web ns=registry.example:5000"],
    },
    Case {
        what: "Docker Hub by its name",
        name: "docker.io/acme/web:v1",
        files: &[("docker.io/hosts.toml", "[host.'http://{M}']")],
        broken: &[],
        asked: &["M http /v2/acme/web ns=docker.io"],
    },
    Case {
        what: "a server is asked in the registry's place, and told for whom",
        name: NAME,
        files: &[(FILE, "server='http://{O}'")],
        broken: &[],
        asked: &[O],
    },
    Case {
        what: "a server that is the registry is told nothing",
        name: "{O}/acme/web:v1",
        files: &[("{O}/hosts.toml", "server='http://{O}'\n[host.'http://{M}']")],
        broken: &[('M', 404)],
        asked: &["M http /v2/acme/web ns={O}", ALONE],
    },
    Case {
        what: "without a server the registry itself comes last",
        name: "{O}/acme/web:v1",
        files: &[("{O}/hosts.toml", "[host.'http://{M}']")],
        broken: &[('M', 404)],
        asked: &["M http /v2/acme/web ns={O}", ALONE],
    },
    Case {
        what: "unknown keys and tables are passed over",
        name: NAME,
        files: &[(
            FILE,
            "x=1\nserver='http://{O}'\n[host.'http://{M}']\ny=[1]\n[host.'http://{M}'.rewrite]\n'^acme'='z'\n[z]",
        )],
        broken: &[],
        asked: &[M],
    },
    Case {
        what: "none of a broken file holds",
        name: "{O}/acme/web:v1",
        files: &[("{O}/hosts.toml", "[host.'http://{M}']\ncapabilities='pull'")],
        broken: &[],
        asked: &[ALONE],
    },
    Case {
        what: "an empty file",
        name: "{O}/acme/web:v1",
        files: &[("{O}/hosts.toml", "")],
        broken: &[],
        asked: &[ALONE],
    },
    Case {
        what: "a host whose tables stand apart is asked twice",
        name: NAME,
        files: &[(
            FILE,
            "server='http://{O}'\n[host.'http://{M}']\n[host.'http://{N}']\n[host.'http://{M}'.header]\nx-a='b'",
        )],
        broken: &[('M', 404), ('N', 404)],
        asked: &[
            "M http /v2/acme/web ns=registry.example x-a: b",
            N,
            "M http /v2/acme/web ns=registry.example x-a: b",
            O,
        ],
    },
    Case {
        what: "hosts that are no tables of their own are not seen",
        name: NAME,
        files: &[(FILE, "server='http://{O}'\nhost.'http://{M}'.skip_verify=true")],
        broken: &[],
        asked: &[O],
    },
    Case {
        what: "keys in another case",
        name: NAME,
        files: &[(FILE, "Server='http://{O}'\n[host.'http://{M}']\nCapabilities=['pull']")],
        broken: &[],
        asked: &[O],
    },
    Case {
        what: "TLS with a certificate authority of its own, and without it",
        name: NAME,
        files: &[(FILE, "server='http://{O}'\n[host.'https://{S}/x']\n[host.'https://{S}']\nca='ca.pem'")],
        broken: &[],
        asked: &[S],
    },
    Case {
        what: "TLS that nobody checks",
        name: NAME,
        files: &[(FILE, "server='http://{O}'\n[host.'https://{S}']\nskip_verify=true")],
        broken: &[],
        asked: &[S],
    },
    Case {
        what: "a client's certificate is shown",
        name: NAME,
        files: &[(
            FILE,
            "server='http://{O}'\n[host.'https://{C}/x']\nca='ca.pem'\n[host.'https://{C}']\nca=['ca.pem']\n\
             client=[['c.cert','c.key']]",
        )],
        broken: &[],
        asked: &[C],
    },
    Case {
        what: "http with settings for TLS is tried over TLS",
        name: NAME,
        files: &[(FILE, "server='http://{O}'\n[host.'http://{S}']\nskip_verify=true")],
        broken: &[],
        asked: &[S],
    },
    Case {
        what: "http with settings for TLS, where TLS is not spoken",
        name: NAME,
        files: &[(FILE, "server='http://{O}'\n[host.'http://{M}']\nskip_verify=false")],
        broken: &[],
        asked: &[M],
    },
    Case {
        what: "https where TLS is not spoken is passed over",
        name: NAME,
        files: &[(FILE, "server='http://{O}'\n[host.'https://{M}']\nskip_verify=true")],
        broken: &[],
        asked: &[O],
    },
];

/// A folder with a registry that asks who its clients are, what it needs, and the hosts files for it.
struct Private {
    folder: TempDir,
    plain: PlainRegistry,
    host: String,
    _registry: PlainRegistry,
}

impl Private {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let (ca, ca_key) = authority();
        let issuer = Issuer::from_params(&ca, &ca_key);
        fs::write(path("ca.pem"), ca.self_signed(&ca_key).unwrap().pem()).unwrap();
        for name in ["server", "client"] {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
            let certificate = params.signed_by(&key, &issuer).unwrap();
            fs::write(path(&format!("{name}.cert")), certificate.pem()).unwrap();
            fs::write(path(&format!("{name}.key")), key.serialize_pem()).unwrap();
        }
        let (certificate, key, clients) = (path("server.cert"), path("server.key"), path("ca.pem"));
        let tls = OverTls { certificate: &certificate, key: &key, clients: &clients };
        let (plain, registry) = distribution_over_tls(folder.path(), &tls);
        Self { plain, host: registry.host.clone(), _registry: registry, folder }
    }

    /// A folder of hosts files for `private.example` by way of this registry.
    fn hosts(&self, name: &str, keys: &str) -> PathBuf {
        let hosts = self.folder.path().join(name);
        let place = hosts.join("private.example");
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join("hosts.toml"), format!("server = 'https://{}'\n{keys}", self.host)).unwrap();
        hosts
    }

    fn config(&self, hosts: &Path) -> String {
        let config = executor("\"private.example\"", "", &signers().authority.certificate());
        let store = "\n[[executors.stores]]\ntype = \"registry-store\"\n";
        format!("{config}{store}parameters.configPath = {hosts:?}\n")
    }
}

#[test]
fn a_registry_with_client_certificates_is_reached_as_containerd_reaches_it() {
    needs!();
    let private = Private::start();
    let image = private.plain.image("hosts/tls");
    signers().trusted.sign(&image.by_digest());
    let name = image.at("private.example").by_tag();
    let right = private.hosts("right", "ca = '../../ca.pem'\nclient = [['../../client.cert', '../../client.key']]");
    let node = Node::start(&private.config(&right));
    let pull = node.containerd.pull_by_way_of(&right, &name);
    assert!(pull.allowed(), "{pull:?}\n{}", node.daemon.log());
    assert!(node.containerd.last_allow(&name).starts_with("ALLOWED "));
    let asked = fs::read_to_string(private.folder.path().join("tls.yml.log")).unwrap();
    assert!(asked.lines().any(|line| line.contains("HTTP/2.0\"") && line.contains("ratifyd/")), "{asked}");
    for (case, keys, cause) in [
        // Whether the registry's reason is heard before its hanging up is a matter of luck.
        ("stranger", "ca = '../../ca.pem'", "GET https://"),
        ("untrusting", "client = [['../../client.cert', '../../client.key']]", "the certificate is not trusted"),
        ("missing", "ca = 'none.pem'", "private.example/none.pem: "),
        ("broken", "ca = '../../client.key'", "client.key: it holds no certificate in PEM"),
        ("mismatch", "ca = '../../ca.pem'\nclient = [['../../client.cert', '../../server.key']]", "is not that of"),
    ] {
        let wrong = private.hosts(case, keys);
        let node = Node::start(&private.config(&wrong));
        let pull = node.containerd.pull_by_way_of(&right, &name);
        pull.refused("UNAVAILABLE", cause);
        assert!(!node.containerd.pull_by_way_of(&wrong, &name).allowed(), "containerd minds too: {case}");
    }
}

/// Pulls each case, and tells who was asked otherwise than expected.
fn differences(servers: &Servers, pull: impl Fn(&Path, &str) -> String) -> String {
    let mut wrong = String::new();
    for case in &CASES {
        let mut said = String::new();
        let asked = servers.asked(case, |folder, name| said = pull(folder, name));
        let expected: Vec<String> = case.asked.iter().map(|line| servers.fill(line)).collect();
        if asked != expected {
            wrong += &format!("{}\n  expected {expected:?}\n  asked    {asked:?}\n  {said}\n", case.what);
        }
    }
    wrong
}

#[test]
fn containerd_asks_as_the_table_says() {
    needs!();
    let options = Options {
        verifier: Path::new("/bin/true"),
        link: "10-true",
        timeout: Duration::from_secs(10),
        environment: &[],
        sandbox: None,
    };
    let containerd = Containerd::start(&options);
    // The images have nothing in them that could be unpacked: whom they were asked of is what counts.
    let pull = |folder: &Path, name: &str| format!("{:?}", containerd.pull_by_way_of(folder, name).ran);
    let wrong = differences(&Servers::start(), pull);
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn the_store_asks_as_containerd_does() {
    let pull = |folder: &Path, name: &str| {
        let config = folder.join("ratifyd.toml");
        let store = format!("{{ type = \"registry-store\", parameters.configPath = {folder:?} }}");
        fs::write(&config, format!("[[executors]]\nscopes = [\"*\"]\nmode = \"allow\"\nstores = [{store}]\n")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_ratifyctl"));
        format!("{:?}", run(command.args(["resolve", "--config"]).arg(&config).arg(name)))
    };
    let wrong = differences(&Servers::start(), pull);
    assert!(wrong.is_empty(), "{wrong}");
}
