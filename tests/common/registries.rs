//! Real registries on free ports, and the images in them. Images are made here, byte by byte, so that each test has
//! its own layers and can push what no client would.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};

use super::tools::{Service, shared_folder, tool};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const NOTATION: &str = "application/vnd.cncf.notary.signature";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const SIGNATURES: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";

/// A running registry.
pub struct Registry {
    /// `127.0.0.1:PORT`.
    pub host: String,
    _service: Service,
}

/// The registries that all tests of a process share; each image has a repository of its own.
pub struct Registries {
    /// Has the referrers API.
    pub referrers: Registry,
    /// docker-registry: has only the referrers tag schema.
    pub distribution: Registry,
    /// crane's, on a disk: has only the referrers tag schema.
    pub crane: Registry,
}

/// The shared registries; they are started by whoever asks first.
pub fn registries() -> &'static Registries {
    static SHARED: OnceLock<Registries> = OnceLock::new();
    SHARED.get_or_init(|| {
        let folder = shared_folder();
        let start = |command: &mut Command, name: &str, word: &str| {
            let service = Service::start(command, &folder.join(name));
            let line = service.await_output(word);
            let port: String = line.chars().take_while(char::is_ascii_digit).collect();
            Registry { host: format!("127.0.0.1:{port}"), _service: service }
        };
        fs::create_dir(folder.join("crane")).unwrap();
        let config = folder.join("distribution.yml");
        fs::write(&config, DISTRIBUTION).unwrap();
        Registries {
            referrers: start(
                Command::new(tool("referrers-registry")).args(["-listen", "127.0.0.1:0"]),
                "referrers.log",
                "listening on 127.0.0.1:",
            ),
            distribution: start(
                Command::new(tool("docker-registry")).arg("serve").arg(config),
                "distribution.log",
                "listening on 127.0.0.1:",
            ),
            crane: start(
                Command::new(tool("crane"))
                    .args(["registry", "serve", "--address", "127.0.0.1:0", "--disk"])
                    .arg(folder.join("crane")),
                "crane.log",
                "serving on port ",
            ),
        }
    })
}

const DISTRIBUTION: &str = "version: 0.1
log: {level: info, formatter: json, accesslog: {disabled: true}}
storage: {inmemory: {}, delete: {enabled: true}, maintenance: {uploadpurging: {enabled: false}}}
http: {addr: '127.0.0.1:0'}
";

/// What a registry over TLS is started with: files in PEM.
pub struct OverTls<'a> {
    /// Its certificate.
    pub certificate: &'a Path,
    /// The key to that.
    pub key: &'a Path,
    /// Whose clients it takes.
    pub clients: &'a Path,
}

/// docker-registry twice over the same folder: over plain http, to push to, and over TLS, to clients that show a
/// certificate.
pub fn distribution_over_tls(folder: &Path, tls: &OverTls<'_>) -> (Registry, Registry) {
    let [certificate, key, clients] = [tls.certificate, tls.key, tls.clients].map(Path::display);
    let more = format!(", tls: {{certificate: {certificate}, key: {key}, clientcas: [{clients}]}}");
    (distribution(folder, "plain.yml", "", ""), distribution(folder, "tls.yml", &more, ""))
}

/// docker-registry twice over the same folder: one to push to, and one that asks for a user and password of `htpasswd`.
pub fn distribution_with_passwords(folder: &Path, htpasswd: &Path) -> (Registry, Registry) {
    let more = format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", htpasswd.display());
    (distribution(folder, "plain.yml", "", ""), distribution(folder, "passwords.yml", "", &more))
}

/// Who gives the tokens that a registry asks for.
pub struct Realm<'a> {
    /// Where.
    pub url: &'a str,
    /// What its tokens call it.
    pub issuer: &'a str,
    /// Its certificate.
    pub certificate: &'a Path,
}

/// docker-registry twice over the same folder: one to push to, and one that asks for a token of `realm` for the service
/// `test`.
pub fn distribution_with_tokens(folder: &Path, realm: &Realm<'_>) -> (Registry, Registry) {
    let Realm { url, issuer, certificate } = realm;
    let more = format!(
        "auth: {{token: {{realm: '{url}', service: test, issuer: '{issuer}', rootcertbundle: {}}}}}\n",
        certificate.display()
    );
    (distribution(folder, "plain.yml", "", ""), distribution(folder, "tokens.yml", "", &more))
}

/// docker-registry over a folder, with more keys of its listener and of all.
fn distribution(folder: &Path, name: &str, listener: &str, more: &str) -> Registry {
    let config = folder.join(name);
    let storage = format!("filesystem: {{rootdirectory: {}}}", folder.join("storage").display());
    let text = DISTRIBUTION.replace("inmemory: {}", &storage);
    // Whoever is asked for by name may be asked what it was asked.
    let text = text.replace("accesslog: {disabled: true}", "accesslog: {disabled: false}");
    fs::write(&config, text.replace("127.0.0.1:0'", &format!("127.0.0.1:0'{listener}")) + more).unwrap();
    let log = folder.join(format!("{name}.log"));
    let service = Service::start(Command::new(tool("docker-registry")).arg("serve").arg(config), &log);
    let line = service.await_output("listening on 127.0.0.1:");
    let port: String = line.chars().take_while(char::is_ascii_digit).collect();
    Registry { host: format!("127.0.0.1:{port}"), _service: service }
}

/// An image in a registry, with the tag `v1`.
#[derive(Clone, Debug)]
pub struct Image {
    /// Host and repository.
    pub repository: String,
    /// The digest of its manifest or index.
    pub digest: String,
    /// The media type of that.
    media_type: &'static str,
    size: usize,
    /// Digests of all that this machine would store of it.
    pub content: Vec<String>,
}

impl Image {
    /// `host/repository:v1`
    pub fn by_tag(&self) -> String {
        format!("{}:v1", self.repository)
    }

    /// `host/repository@sha256:...`
    pub fn by_digest(&self) -> String {
        format!("{}@{}", self.repository, self.digest)
    }

    /// `host/repository:v1@sha256:...`
    pub fn by_tag_and_digest(&self) -> String {
        format!("{}:v1@{}", self.repository, self.digest)
    }

    /// The same image behind another address of the same registry.
    pub fn at(&self, host: &str) -> Self {
        let (_, path) = self.repository.split_once('/').unwrap();
        Self { repository: format!("{host}/{path}"), ..self.clone() }
    }

    /// Its descriptor, as containerd writes it.
    pub fn descriptor(&self) -> String {
        json!({ "mediaType": self.media_type, "digest": self.digest, "size": self.size }).to_string()
    }

    /// Pushes the same image, without its signatures, to another repository of its registry.
    pub fn copied_to(&self, place: &str) -> Self {
        let name = &unique(place);
        let (host, path) = self.repository.split_once('/').unwrap();
        for digest in self.content.iter().filter(|digest| **digest != self.digest) {
            Http::push_blob(host, name, "", &Http::get(host, &format!("/v2/{path}/blobs/{digest}")));
        }
        let manifest = Http::get(host, &format!("/v2/{path}/manifests/{}", self.digest));
        Http::push_manifest(host, name, "v1", self.media_type, &manifest);
        Self { repository: format!("{host}/{name}"), ..self.clone() }
    }

    /// The signatures in the registry's list of referrers, in its order.
    pub fn signatures(&self) -> Vec<Signature> {
        let (host, path) = self.repository.split_once('/').unwrap();
        let get = |path: &str| serde_json::from_slice::<Value>(&Http::get(host, path)).unwrap();
        let list = get(&format!("/v2/{path}/referrers/{}", self.digest));
        let manifests = list["manifests"].as_array().unwrap().iter();
        manifests
            .map(|referrer| {
                let manifest = get(&format!("/v2/{path}/manifests/{}", referrer["digest"].as_str().unwrap()));
                let envelope = manifest["layers"][0]["digest"].as_str().unwrap();
                Signature { envelope: Http::get(host, &format!("/v2/{path}/blobs/{envelope}")), manifest }
            })
            .collect()
    }

    /// Puts what Cosign keeps at another image's tag, with this ending, at the tag of this image.
    pub fn take_tag(&self, other: &Self, ending: &str) {
        let tag = |image: &Self| format!("{}.{ending}", image.digest.replace(':', "-"));
        let ((host, path), (_, from)) =
            (self.repository.split_once('/').unwrap(), other.repository.split_once('/').unwrap());
        let manifest = Http::get(host, &format!("/v2/{from}/manifests/{}", tag(other)));
        let parsed: Value = serde_json::from_slice(&manifest).unwrap();
        let layers = parsed["layers"].as_array().unwrap().iter().chain([&parsed["config"]]);
        for digest in layers.map(|blob| blob["digest"].as_str().unwrap()) {
            Http::push_blob(host, path, "", &Http::get(host, &format!("/v2/{from}/blobs/{digest}")));
        }
        Http::push_manifest(host, path, &tag(self), MANIFEST, &manifest);
    }

    /// Pushes a Sigstore bundle as one that refers to this image, as cosign does, whatever it signs. Its manifest states
    /// this predicate.
    pub fn attach_bundle(&self, bundle: &Value, predicate_type: &str) {
        let (host, path) = self.repository.split_once('/').unwrap();
        let layer = Http::push_blob(host, path, BUNDLE, bundle.to_string().as_bytes());
        let config = Http::push_blob(host, path, EMPTY, b"{}");
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": BUNDLE,
            "config": config,
            "layers": [layer],
            "subject": self.subject(),
            "annotations": {
                "dev.sigstore.bundle.content": "dsse-envelope",
                "dev.sigstore.bundle.predicateType": predicate_type,
            },
        });
        let bytes = manifest.to_string().into_bytes();
        Http::push_manifest(host, path, &sha256(&bytes), MANIFEST, &bytes);
    }

    /// Pushes simple signing payloads with their annotations at this image's tag for signatures, as cosign did before
    /// bundles; or as one that refers to it.
    pub fn sign_at_tag(&self, layers: &[(Vec<u8>, Value)], as_referrer: bool) {
        let (host, path) = self.repository.split_once('/').unwrap();
        let config = if as_referrer { SIGNATURES } else { "application/vnd.oci.image.config.v1+json" };
        let layers = layers.iter().map(|(payload, annotations)| {
            let mut layer = Http::push_blob(host, path, SIMPLE_SIGNING, payload);
            layer["annotations"] = annotations.clone();
            layer
        });
        let layers: Vec<Value> = layers.collect();
        let config = Http::push_blob(host, path, config, b"{}");
        let mut manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers });
        if as_referrer {
            manifest["subject"] = self.subject();
        }
        let bytes = manifest.to_string().into_bytes();
        let tag = format!("{}.sig", self.digest.replace(':', "-"));
        Http::push_manifest(host, path, if as_referrer { sha256(&bytes) } else { tag }.as_str(), MANIFEST, &bytes);
    }

    fn subject(&self) -> Value {
        serde_json::from_str(&self.descriptor()).unwrap()
    }

    /// Pushes a signature as one that refers to this image, whatever it signs. Needs the referrers API.
    pub fn attach(&self, signature: &Signature) {
        let mut manifest = signature.manifest.clone();
        if manifest.get("artifactType").is_none() {
            manifest["artifactType"] = json!(NOTATION);
        }
        manifest["subject"] = self.subject();
        let (host, path) = self.repository.split_once('/').unwrap();
        let media_type = manifest["layers"][0]["mediaType"].as_str().unwrap().to_owned();
        manifest["layers"][0] = Http::push_blob(host, path, &media_type, &signature.envelope);
        Http::push_blob(host, path, EMPTY, b"{}");
        let bytes = manifest.to_string().into_bytes();
        Http::push_manifest(host, path, &sha256(&bytes), MANIFEST, &bytes);
    }
}

/// A Notation signature.
#[derive(Clone, Debug)]
pub struct Signature {
    /// Its manifest.
    pub manifest: Value,
    /// Its envelope.
    pub envelope: Vec<u8>,
}

impl Registry {
    /// The status with which it answers to this header.
    pub fn status_for(&self, path: &str, header: &str) -> u16 {
        Http::request("GET", &self.host, path, &format!("{header}\r\n"), b"").status
    }

    /// Stores bytes, and says where whoever asks gets them.
    pub fn serves(&self, place: &str, bytes: &[u8]) -> String {
        let blob = Http::push_blob(&self.host, place, "", bytes);
        format!("http://{}/v2/{place}/blobs/{}", self.host, blob["digest"].as_str().unwrap())
    }

    /// Pushes an image of one platform, this machine's, unlike any other, to a repository of its own below `place`.
    pub fn image(&self, place: &str) -> Image {
        let name = unique(place);
        let (descriptor, content) = self.push_single(&name, platform());
        self.tagged(&name, descriptor, content, MANIFEST)
    }

    /// Pushes an image of two platforms likewise, and returns it with its part for this machine.
    pub fn multi_platform_image(&self, place: &str) -> (Image, Image) {
        let name = &unique(place);
        let (mut own, content) = self.push_single(name, platform());
        let (mut other, _) = self.push_single(name, "riscv64");
        let part = self.tagged(name, own.clone(), content.clone(), MANIFEST);
        own["platform"] = json!({ "os": "linux", "architecture": platform() });
        other["platform"] = json!({ "os": "linux", "architecture": "riscv64" });
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [other, own] }).to_string();
        let descriptor = Http::push_manifest(&self.host, name, "v1", INDEX, index.as_bytes());
        (self.tagged(name, descriptor, content, INDEX), part)
    }

    fn tagged(&self, name: &str, descriptor: Value, mut content: Vec<String>, media_type: &'static str) -> Image {
        let digest = descriptor["digest"].as_str().unwrap().to_owned();
        let size = usize::try_from(descriptor["size"].as_u64().unwrap()).unwrap();
        if !content.contains(&digest) {
            content.push(digest.clone());
        }
        Image { repository: format!("{}/{name}", self.host), digest, media_type, size, content }
    }

    fn push_single(&self, name: &str, architecture: &str) -> (Value, Vec<String>) {
        let layer = archive(&format!("{name} {architecture}"));
        let layer_digest = sha256(&layer);
        let config = json!({
            "os": "linux", "architecture": architecture, "config": {},
            "rootfs": { "type": "layers", "diff_ids": [layer_digest] },
        });
        let layer = Http::push_blob(&self.host, name, "application/vnd.oci.image.layer.v1.tar", &layer);
        let config = config.to_string();
        let config = Http::push_blob(&self.host, name, "application/vnd.oci.image.config.v1+json", config.as_bytes());
        let manifest =
            json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer] }).to_string();
        let descriptor = Http::push_manifest(&self.host, name, "v1", MANIFEST, manifest.as_bytes());
        let digests = [&descriptor, &config, &layer].map(|of| of["digest"].as_str().unwrap().to_owned());
        (descriptor, digests.to_vec())
    }
}

/// A repository that no other image has.
fn unique(place: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    format!("{place}/{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// This machine, in the words of the OCI image specification.
fn platform() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// A tar archive of one small file (POSIX ustar).
fn archive(text: &str) -> Vec<u8> {
    let mut header = [0_u8; 512];
    let mut put = |at: usize, field: &str| header[at..at + field.len()].copy_from_slice(field.as_bytes());
    put(0, "marker");
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{:011o}\0", text.len()));
    put(136, "00000000000\0");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut archive = header.to_vec();
    archive.extend_from_slice(text.as_bytes());
    archive.resize(archive.len().next_multiple_of(512) + 1024, 0);
    archive
}

/// A digest as registries write it.
pub fn sha256(bytes: &[u8]) -> String {
    let hex: String = digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// As much of HTTP as pushing needs.
struct Http {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Http {
    fn get(host: &str, path: &str) -> Vec<u8> {
        let accept = format!("Accept: {MANIFEST}, {INDEX}, */*\r\n");
        Self::request("GET", host, path, &accept, b"").expect(200).body
    }

    fn push_blob(host: &str, name: &str, media_type: &str, bytes: &[u8]) -> Value {
        let digest = sha256(bytes);
        let place = Self::request("POST", host, &format!("/v2/{name}/blobs/uploads/"), "", b"").expect(202);
        let place = place.header("location");
        let place = place.strip_prefix(&format!("http://{host}")).unwrap_or(&place);
        let glue = if place.contains('?') { '&' } else { '?' };
        let headers = "Content-Type: application/octet-stream\r\n";
        Self::request("PUT", host, &format!("{place}{glue}digest={digest}"), headers, bytes).expect(201);
        json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
    }

    fn push_manifest(host: &str, name: &str, tag: &str, media_type: &str, bytes: &[u8]) -> Value {
        let headers = format!("Content-Type: {media_type}\r\n");
        Self::request("PUT", host, &format!("/v2/{name}/manifests/{tag}"), &headers, bytes).expect(201);
        json!({ "mediaType": media_type, "digest": sha256(bytes), "size": bytes.len() })
    }

    /// HTTP/1.0: the answer ends with the connection and comes in one piece.
    fn request(method: &str, host: &str, path: &str, headers: &str, body: &[u8]) -> Self {
        let mut stream = TcpStream::connect(host).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.0\r\nHost: {host}\r\nContent-Length: {length}\r\n{headers}\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("an HTTP answer");
        let body = answer.split_off(end + 4);
        let head = String::from_utf8(answer).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head: format!("{method} {path}\n{head}"), body }
    }

    fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}{}", self.head, String::from_utf8_lossy(&self.body));
        self
    }

    fn header(&self, name: &str) -> String {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).next().unwrap()
    }
}
