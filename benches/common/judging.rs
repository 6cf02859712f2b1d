//! Judging a signature by the whole verifier, whose certificates name lists of what their issuers took back: with nobody to
//! be asked, and with all answers remembered. The lists are served on loopback, and the envelope comes out of memory, so
//! that nothing but judging is measured.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PSS_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use ratify::artifact::{Algorithm, Descriptor, Digest, IMAGE_MANIFEST, Manifest};
use ratify::config::{Action, Level, Proxy, VerifyTimestamp};
use ratify::pki::{Certificate, rfc3339};
use ratify::reference::{Reference, Repository};
use ratify::report::Outcome;
use ratify::revocation::{Options, Revocation};
use ratify::store::{Error, Listed, Store, digest_of};
use ratify::verifier::notation::{ARTIFACT_TYPE, NotationVerifier, Trust};
use ratify::verifier::{Attempts, Candidate, Verifier as _};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, CrlDistributionPoint,
    DnType, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256, RsaKeySize, SerialNumber, date_time_ymd,
};
use serde_json::json;
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

/// What all keys of a chain are.
#[derive(Clone, Copy)]
pub enum Key {
    Rsa2048,
    P256,
}

/// One signature, and two verifiers.
pub struct Judging {
    runtime: Runtime,
    store: Held,
    repository: Repository,
    subject: Descriptor,
    referrer: Descriptor,
    manifest: Manifest,
    now: SystemTime,
    off: NotationVerifier,
    on: NotationVerifier,
}

impl Judging {
    /// A signature by a chain of three; the second verifier knows already that nobody in it was taken back.
    pub fn prepare(key: Key) -> Self {
        let (listener, address) = listen();
        let (chain, lists, signer) = chain(key, address);
        serve(listener, lists);
        let subject = descriptor(IMAGE_MANIFEST, b"{}");
        let now = SystemTime::now();
        let envelope = envelope(key, &signer, &chain, &subject, now);
        let layer = descriptor("application/jose+json", &envelope);
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": IMAGE_MANIFEST,
            "config": descriptor(ARTIFACT_TYPE, b"{}"),
            "layers": [layer],
            "subject": subject,
        });
        let root = Certificate::from_der(&chain[2]).unwrap();
        let trust = || Trust::new(vec![root.clone()], &["*".to_owned()]).unwrap();
        let skipped = Level { revocation: Action::Skip, ..Level::STRICT };
        let options = Options { config: ratify::config::Revocation::default(), proxy: Proxy::default(), disk: None };
        let judging = Self {
            runtime: Builder::new_current_thread().enable_all().build().unwrap(),
            store: Held(envelope.into()),
            repository: "registry.acme.example/web:v1".parse::<Reference>().unwrap().repository,
            subject,
            referrer: descriptor(IMAGE_MANIFEST, manifest.to_string().as_bytes()),
            manifest: Manifest::parse(IMAGE_MANIFEST, manifest.to_string().as_bytes()).unwrap(),
            now,
            off: NotationVerifier::new("off".to_owned(), trust().at(skipped, VerifyTimestamp::Always), Arc::default()),
            on: NotationVerifier::new("on".to_owned(), trust(), Revocation::new(options, Arc::default())),
        };
        judging.on();
        judging
    }

    /// With nobody to be asked.
    pub fn off(&self) {
        self.judge(&self.off);
    }

    /// With what was answered.
    pub fn on(&self) {
        self.judge(&self.on);
    }

    fn judge(&self, verifier: &NotationVerifier) {
        let candidate = Candidate {
            store: &self.store,
            repository: &self.repository,
            subject: &self.subject,
            referrer: &self.referrer,
            found: None,
            manifest: &self.manifest,
            attempts: &Attempts::default(),
            now: self.now,
            deadline: Instant::now() + Duration::from_secs(10),
        };
        let outcomes = self.runtime.block_on(verifier.verify(candidate));
        assert!(matches!(outcomes.as_slice(), [Outcome::Passed(_)]), "{outcomes:?}");
    }
}

/// A chain, the lists that it names by their paths, and the signer's key.
type Made = (Vec<Vec<u8>>, Vec<(&'static str, Vec<u8>)>, Vec<u8>);

/// A chain of three, leaf first, the lists of its issuers by their names, and the leaf's key in PKCS #8.
fn chain(kind: Key, address: SocketAddr) -> Made {
    let key = || match kind {
        Key::Rsa2048 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap(),
        Key::P256 => KeyPair::generate().unwrap(),
    };
    let params = |name: &str, usages: &[KeyUsagePurpose], list: Option<&str>| {
        let mut params = CertificateParams::default();
        for (kind, value) in [
            (DnType::CountryName, "US"),
            (DnType::StateOrProvinceName, "WA"),
            (DnType::OrganizationName, "acme"),
            (DnType::CommonName, name),
        ] {
            params.distinguished_name.push(kind, value);
        }
        params.key_usages = usages.to_vec();
        let uri = |list| CrlDistributionPoint { uris: vec![format!("http://{address}/{list}")] };
        params.crl_distribution_points = list.map(uri).into_iter().collect();
        params
    };
    let authority = |name, list| {
        let usages = [KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let mut params = params(name, &usages, list);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    };
    let root = CertifiedIssuer::self_signed(authority("root", None), key()).unwrap();
    let intermediate = CertifiedIssuer::signed_by(authority("intermediate", Some("root")), key(), &root).unwrap();
    let signer = key();
    let leaf = params("signer", &[KeyUsagePurpose::DigitalSignature], Some("intermediate"));
    let leaf = leaf.signed_by(&signer, &intermediate).unwrap();
    let list = |issuer: &CertifiedIssuer<'_, KeyPair>| {
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(2049, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(issuer).unwrap().der().to_vec()
    };
    let lists = vec![("/root", list(&root)), ("/intermediate", list(&intermediate))];
    let ders = vec![leaf.der().to_vec(), intermediate.der().to_vec(), root.der().to_vec()];
    (ders, lists, signer.serialize_der())
}

fn envelope(kind: Key, signer: &[u8], chain: &[Vec<u8>], subject: &Descriptor, now: SystemTime) -> Vec<u8> {
    let protected = json!({
        "alg": match kind {
            Key::Rsa2048 => "PS256",
            Key::P256 => "ES256",
        },
        "crit": ["io.cncf.notary.signingScheme"],
        "cty": "application/vnd.cncf.notary.payload.v1+json",
        "io.cncf.notary.signingScheme": "notary.x509",
        "io.cncf.notary.signingTime": rfc3339(now),
    });
    let payload = json!({ "targetArtifact": subject });
    let [protected, payload] = [protected, payload].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    let (signed, random) = (format!("{protected}.{payload}"), SystemRandom::new());
    let signature = match kind {
        Key::Rsa2048 => {
            let key = RsaKeyPair::from_pkcs8(signer).unwrap();
            let mut signature = vec![0; key.public_modulus_len()];
            key.sign(&RSA_PSS_SHA256, &random, signed.as_bytes(), &mut signature).unwrap();
            signature
        }
        Key::P256 => {
            let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, signer).unwrap();
            key.sign(&random, signed.as_bytes()).unwrap().as_ref().to_vec()
        }
    };
    let chain: Vec<String> = chain.iter().map(|der| STANDARD.encode(der)).collect();
    let envelope = json!({
        "payload": payload,
        "protected": protected,
        "header": { "x5c": chain, "io.cncf.notary.signingAgent": "bench" },
        "signature": URL_SAFE_NO_PAD.encode(signature),
    });
    envelope.to_string().into_bytes()
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Descriptor {
    let digest = digest_of(Algorithm::Sha256, bytes);
    Descriptor { media_type: media_type.to_owned(), digest, size: u64::try_from(bytes.len()).unwrap() }
}

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Serves files as long as this process lives.
fn serve(listener: TcpListener, files: Vec<(&'static str, Vec<u8>)>) {
    thread::spawn(move || {
        for mut stream in listener.incoming().map(Result::unwrap) {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
            let asked = lines.next().unwrap();
            lines.find(String::is_empty);
            let path = asked.split(' ').nth(1).unwrap();
            let (_, body) = files.iter().find(|(name, _)| *name == path).unwrap();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
        }
    });
}

/// A store that holds one blob.
struct Held(Bytes);

#[async_trait]
impl Store for Held {
    async fn resolve(&self, _: &Reference, _: Instant) -> Result<Descriptor, Error> {
        unreachable!("a verifier resolves nothing")
    }

    async fn referrers(&self, _: &Repository, _: &Digest, _: Instant) -> Result<Listed, Error> {
        unreachable!("a verifier lists nothing")
    }

    async fn manifest(&self, _: &Repository, _: &Descriptor, _: Instant) -> Result<Bytes, Error> {
        unreachable!("a verifier is given the manifest")
    }

    async fn blob(&self, _: &Repository, _: &Descriptor, _: u64, _: Instant) -> Result<Bytes, Error> {
        Ok(self.0.clone())
    }
}
