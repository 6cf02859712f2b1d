//! What Cosign signed before there were bundles.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::{Duration, UNIX_EPOCH};

use ratify::artifact::{Annotations, Descriptor, Digest, Layer};
use ratify::config::DockerReference;
use ratify::reference::{Reference, Repository};
use ratify::sigstore::key::PublicKey;
use ratify::sigstore::verify::{NamedKey, Signers, Trust};
use ratify::verifier::cosign::{Form, Question, Rewrites, SimpleSigning, Wants, judge};

use super::{parts, text_of};

/// A simple signing payload; then its signature, a certificate and a log entry as they stand in annotations. Whatever is
/// read of it, nobody but the holder of the trusted key has signed it.
pub fn simple_signing(data: &[u8]) -> bool {
    let parts = parts(data);
    let payload = parts.first().copied().unwrap_or_default();
    let annotations = NAMES.iter().enumerate().map(|(index, name)| ((*name).to_owned(), text_of(&parts, index + 1)));
    let annotations: Annotations = annotations.map(|(name, text)| (name, text.to_owned())).collect();
    let digest: Digest = DIGEST.parse().unwrap();
    let descriptor = Descriptor { media_type: String::new(), digest: digest.clone(), size: payload.len() as u64 };
    let layer = Layer { descriptor, annotations };
    for trust in TRUST.iter() {
        let question = Question {
            trust,
            annotations: &BTreeMap::from([("a".to_owned(), "b".to_owned())]),
            wants: &Wants::Signature,
            docker_reference: DockerReference::Repository,
            remap: &Rewrites::parse([]).unwrap(),
            repository: &repository(),
            subject: &digest,
            now: UNIX_EPOCH + Duration::from_secs(1_800_000_000),
        };
        for form in [Form::SimpleSigning, Form::Envelope, Form::Bundle] {
            assert!(judge(form, &layer, payload, question).is_err());
        }
    }
    let Ok(read) = SimpleSigning::parse(payload) else { return false };
    assert!(read.digest.len() + read.docker_reference.len() <= payload.len());
    true
}

const NAMES: [&str; 3] =
    ["dev.cosignproject.cosign/signature", "dev.sigstore.cosign/certificate", "dev.sigstore.cosign/bundle"];

const DIGEST: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

fn repository() -> Repository {
    "ghcr.io/acme/web".parse::<Reference>().unwrap().repository
}

/// With the log and without.
static TRUST: LazyLock<[Trust; 2]> = LazyLock::new(|| {
    [false, true].map(|log| {
        let key = NamedKey { name: "release".to_owned(), key: PublicKey::from_pem(KEY.as_bytes()).unwrap() };
        Trust { signers: Signers::Keys(vec![key]), roots: Vec::new(), log, sct: false, observer_time: false }
    })
});

/// A key whose other half is nowhere.
const KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
    MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEO3dK0TN8rCjJ47r4ybKHlCMi78ts\n\
    DzgU0ZM4ZkjQG4oNrTHMDNFzRcu6sfmNbq+VL6wztdNC/OEy/HYciURwJA==\n\
    -----END PUBLIC KEY-----\n";
