//! What a plugin is told and given, and whatever it may do in return.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, json};
use tokio::time::Instant;

use super::*;
use crate::artifact::{Algorithm, Annotations, Descriptor, Digest, IMAGE_MANIFEST, Layer, Manifest};
use crate::limits;
use crate::pki::testing::now;
use crate::reference::{Reference, Repository};
use crate::runner::testing::{Programs, lacks_root, runner};
use crate::store::{Error, Listed, Store, digest_of};
use crate::verifier::Attempts;

const SBOM: &str = "application/spdx+json";

/// An annotation of every referrer.
const CREATED: &str = "org.opencontainers.image.created";

fn descriptor(media_type: &str, bytes: &[u8]) -> Descriptor {
    let digest = digest_of(Algorithm::Sha256, bytes);
    Descriptor { media_type: media_type.to_owned(), digest, size: bytes.len() as u64 }
}

/// What lies in a repository, by digest.
#[derive(Default)]
struct Contents(HashMap<Digest, Bytes>);

impl Contents {
    fn put(&mut self, media_type: &str, bytes: &[u8]) -> Descriptor {
        let found = descriptor(media_type, bytes);
        self.0.insert(found.digest.clone(), Bytes::copy_from_slice(bytes));
        found
    }

    fn get(&self, wanted: &Descriptor) -> Result<Bytes, Error> {
        self.0.get(&wanted.digest).cloned().ok_or_else(|| Error::NotFound { what: wanted.digest.to_string() })
    }
}

#[async_trait]
impl Store for Contents {
    async fn resolve(&self, _: &Reference, _: Instant) -> Result<Descriptor, Error> {
        unreachable!("a verifier resolves nothing")
    }

    async fn referrers(&self, _: &Repository, _: &Digest, _: Instant) -> Result<Listed, Error> {
        unreachable!("a verifier lists nothing")
    }

    async fn manifest(&self, _: &Repository, wanted: &Descriptor, _: Instant) -> Result<Bytes, Error> {
        self.get(wanted)
    }

    async fn blob(&self, _: &Repository, wanted: &Descriptor, limit: u64, _: Instant) -> Result<Bytes, Error> {
        assert!(wanted.size <= limit);
        self.get(wanted)
    }
}

/// What a verifier says whose plugin is this script, of a referrer with these blobs.
async fn outcome_of(script: &str, blobs: &[&[u8]], change: impl FnOnce(&mut Plugin)) -> Outcome {
    let programs = Programs::new();
    let path = programs.put("sbom", &format!("#!/bin/bash\nrequest=$(cat)\n{script}\n"));
    let config = json!({ "name": "sbom", "artifactTypes": SBOM, "disallowed": ["x"] });
    let mut plugin = Plugin {
        fetched: None,
        path,
        config: config.as_object().unwrap().clone(),
        environment: [("PROXY".to_owned(), "p".to_owned())].into(),
        network: false,
        strict: false,
    };
    change(&mut plugin);
    let mut store = Contents::default();
    let layers =
        blobs.iter().map(|bytes| Layer { descriptor: store.put(SBOM, bytes), annotations: Annotations::new() });
    let layers = layers.collect();
    let referrer = store.put(IMAGE_MANIFEST, b"the referrer's own manifest");
    let manifest = Manifest {
        artifact_type: SBOM.to_owned(),
        subject: None,
        layers,
        annotations: [(CREATED.to_owned(), "then".to_owned())].into(),
    };
    let candidate = Candidate {
        store: &store,
        repository: &"r.io/a".parse::<Reference>().unwrap().repository,
        subject: &descriptor(IMAGE_MANIFEST, b"the image"),
        referrer: &referrer,
        found: None,
        manifest: &manifest,
        attempts: &Attempts::default(),
        now: now(),
        deadline: Instant::now() + Duration::from_secs(60),
    };
    let verifier = PluginVerifier::new(
        "sbom".to_owned(),
        vec![SBOM.to_owned()],
        plugin,
        Arc::new(runner(Duration::from_secs(20))),
    );
    let mut outcomes = verifier.verify(candidate).await;
    assert!(verifier.name() == "sbom" && outcomes.len() == 1);
    outcomes.remove(0)
}

async fn said(script: &str) -> Result<String, String> {
    match outcome_of(script, &[b"{}"], |_| ()).await {
        Outcome::Passed(pass) => Ok(pass.detail),
        Outcome::Failed(failure) => Err(failure.cause),
        Outcome::Fault { cause } => Err(format!("fault: {cause}")),
        other @ Outcome::Skipped { .. } => panic!("{other:?}"),
    }
}

#[track_caller]
fn assert_says(found: Result<String, String>, words: &[&str]) {
    let cause = found.unwrap_err();
    assert!(words.iter().all(|words| cause.contains(words)), "expected {words:?}: {cause}");
}

#[tokio::test]
async fn a_plugin_is_asked_by_ratifys_protocol_and_finds_what_it_is_asked_about_by_digest() {
    if lacks_root() {
        return;
    }
    let blob = digest_of(Algorithm::Sha256, b"{}");
    let manifest = digest_of(Algorithm::Sha256, b"the referrer's own manifest");
    let script = format!(
        "words=\"$RATIFY_VERIFIER_COMMAND $RATIFY_VERIFIER_SUBJECT $RATIFY_VERIFIER_VERSION $PROXY \
         $(cat layout/blobs/sha256/{}) $(cat layout/blobs/sha256/{}) $(echo \"$request\" | tr -d '\"')\"\n\
         echo '{{\"isSuccess\":true,\"message\":\"'\"$words\"'\"}}'",
        blob.hex(),
        manifest.hex(),
    );
    let image = descriptor(IMAGE_MANIFEST, b"the image").digest;
    let expected = format!(
        "VERIFY r.io/a@{image} 1.0.0 p {{}} the referrer's own manifest \
         {{config:{{artifactTypes:{SBOM},disallowed:[x],name:sbom}},referenceDesc:{{annotations:{{{CREATED}:then}},artifactType:{SBOM},digest:{manifest},\
         mediaType:{IMAGE_MANIFEST},size:27}},storeConfig:{{pluginBinDirs:null,store:{{localCachePath:layout,name:oras}},\
         version:1.0.0}}}}"
    );
    assert_eq!(said(&script).await, Ok(expected));
}

#[tokio::test]
async fn the_last_result_on_stdout_counts_and_nothing_on_stderr_does() {
    if lacks_root() {
        return;
    }
    let good = r#"{"isSuccess":true,"message":"no bad package"}"#;
    let bad = r#"{"isSuccess":false,"message":"a bad package","errorReason":"log4j","remediation":"update it"}"#;
    let whole = "fault-free";
    for (script, expected) in [
        (format!("echo '{good}'"), Ok("no bad package")),
        (format!("echo '{bad}'"), Err("sbom: a bad package; log4j; update it")),
        (format!("echo '{bad}'; echo '{good}'"), Ok("no bad package")),
        (format!("echo '{good}'; echo '{bad}'; echo info: done"), Err("a bad package")),
        (format!("echo '{good}' >&2; echo '{bad}'"), Err("a bad package")),
        (format!("echo '{good}' >&2"), Err("fault: plugin ")),
        ("echo '{\"isSuccess\":'; echo '{}'; echo true".to_owned(), Err("it printed no result: \"{\\\"isSuccess\\\":")),
        (
            "printf '{\\n  \"isSuccess\": true,\\n  \"extensions\": {\"a\": [1]}\\n}\\n'".to_owned(),
            Ok("the plugin says no more"),
        ),
        ("echo '{\"isSuccess\":false}'".to_owned(), Err("the plugin does not say why")),
        ("echo '{\"isSuccess\":\"true\"}'".to_owned(), Err("it printed no result")),
        ("echo '{\"isSuccess\":true,\"isSuccess\":true}'".to_owned(), Err("it printed no result")),
        (String::new(), Err("it printed no result: nothing at all")),
    ] {
        match (said(&script).await, expected) {
            (Ok(found), Ok(words)) | (Err(found), Err(words)) => {
                assert!(found.contains(words), "{script}: {found} {whole}")
            }
            (found, _) => panic!("{script}: {found:?}"),
        }
    }
}

#[tokio::test]
async fn a_plugin_that_breaks_is_a_fault_that_names_it() {
    if lacks_root() {
        return;
    }
    let error = r#"printf '{\n  "code": 7,\n  "msg": "store failed",\n  "details": "no cache"\n}\n'; exit 1"#;
    assert_says(said(error).await, &["fault: plugin /", "/sbom: ", "exit code 1: store failed (error 7): no cache"]);
    assert_says(
        said("echo first; echo no such thing >&2; exit 2").await,
        &["fault: ", "exit code 2: \"no such thing\""],
    );
    assert_says(said("kill -SEGV $$").await, &["fault: plugin /", "signal 11: nothing at all"]);
    assert_says(said("exec yes").await, &["fault: plugin /", "/sbom: killed, it printed more than"]);
    assert_says(said("head -c 3000000 /dev/zero | tr '\\0' x").await, &["fault: ", "killed, it printed more than"]);
    let hangs = outcome_of("sleep 1000 & sleep 1000", &[], |_| ()).await;
    assert!(matches!(hangs, Outcome::Fault { cause } if cause.to_string().contains("killed, it had not ended")));
}

#[tokio::test]
async fn evidence_at_the_limit_and_one_past_it() {
    if lacks_root() {
        return;
    }
    let many: Vec<Vec<u8>> = (0..limits::SANDBOX_FILES).map(|number| number.to_string().into_bytes()).collect();
    let many: Vec<&[u8]> = many.iter().map(Vec::as_slice).collect();
    let count = r#"echo '{"isSuccess":true,"message":"'$(ls layout/blobs/sha256 | wc -l)'"}'"#;
    let most = limits::SANDBOX_FILES - 4;
    match outcome_of(count, &many[..most], |_| ()).await {
        Outcome::Passed(pass) => assert_eq!(pass.detail, (most + 1).to_string()),
        other => panic!("{other:?}"),
    }
    let cause = outcome_of(count, &many[..=most], |_| ()).await;
    assert!(
        matches!(cause, Outcome::Fault { cause } if cause.to_string().contains("it holds 61 blobs, and a plugin is given 60"))
    );
}

#[test]
fn types_are_taken_as_they_are_configured() {
    let plugin = Plugin {
        fetched: None,
        path: "/x".into(),
        config: Map::new(),
        environment: BTreeMap::new(),
        network: false,
        strict: false,
    };
    let accepts = |types: &[&str], found: &str| {
        let (types, runner) = (types.iter().map(|it| (*it).to_owned()), Arc::new(runner(Duration::ZERO)));
        PluginVerifier::new("v".to_owned(), types.collect(), plugin.clone(), runner).accepts(found)
    };
    assert!(accepts(&[SBOM], SBOM) && accepts(&["a/b", SBOM], SBOM) && accepts(&["*"], "any"));
    assert!(!accepts(&[SBOM], "application/spdx") && !accepts(&["application/*"], SBOM));
}
