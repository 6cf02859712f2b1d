//! Plugins in artifacts and under tags, over a registry and a judge made for the purpose.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::kept::{Kept, Record};
use super::select::{Platform, Wanted, check_program, choose, find};
use super::source::{self, Installed, Options, Settings, Source, Vouched};
use super::{CREATED, TITLE};
use crate::artifact::{ARTIFACT_MANIFEST, Algorithm, Descriptor, Digest, IMAGE_INDEX, IMAGE_MANIFEST, PLUGIN};
use crate::config::{RegistryStore, Rule};
use crate::executor::Executor;
use crate::policy::Policy;
use crate::reference::{Reference, Repository};
use crate::report::{Failure, Fault, Outcome, Pass, Stage};
use crate::store::{Error, Listed, Store, digest_of};
use crate::verifier::{Candidate, Verifier};

/// A registry in memory. Everything in it can be changed while it is asked.
#[derive(Default)]
struct Registry {
    held: Mutex<HashMap<Digest, Bytes>>,
    tag: Mutex<Option<Descriptor>>,
    down: Mutex<bool>,
    blobs_asked: Mutex<usize>,
}

impl Registry {
    fn put(&self, media_type: &str, bytes: &[u8]) -> Descriptor {
        let digest = digest_of(Algorithm::Sha256, bytes);
        self.held.lock().unwrap().insert(digest.clone(), Bytes::copy_from_slice(bytes));
        Descriptor { media_type: media_type.to_owned(), digest, size: bytes.len() as u64 }
    }

    fn manifest_of(&self, program: &[u8], more: Value) -> Descriptor {
        let blob = self.put("application/octet-stream", program);
        let layer = json!({ "mediaType": blob.media_type, "digest": blob.digest.as_str(), "size": blob.size,
            "annotations": { TITLE: "sbom" } });
        let mut manifest = json!({ "schemaVersion": 2, "mediaType": IMAGE_MANIFEST, "artifactType": PLUGIN,
            "layers": [layer] });
        manifest.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.put(IMAGE_MANIFEST, manifest.to_string().as_bytes())
    }

    /// Has the tag name a plugin.
    fn tag(&self, program: &[u8], more: Value) -> Descriptor {
        let manifest = self.manifest_of(program, more);
        *self.tag.lock().unwrap() = Some(manifest.clone());
        manifest
    }

    fn answer(&self, what: &str) -> Result<(), Error> {
        let cause = "connection refused".to_owned();
        if *self.down.lock().unwrap() { Err(Error::Network { what: what.to_owned(), cause }) } else { Ok(()) }
    }

    fn get(&self, digest: &Digest) -> Result<Bytes, Error> {
        self.answer(digest.as_str())?;
        let found = self.held.lock().unwrap().get(digest).cloned();
        found.ok_or_else(|| Error::NotFound { what: digest.to_string() })
    }
}

#[async_trait]
impl Store for Registry {
    async fn resolve(&self, reference: &Reference, _: Instant) -> Result<Descriptor, Error> {
        self.answer("tag")?;
        let tag = self.tag.lock().unwrap().clone();
        let wanted = |found: &Descriptor| reference.digest.as_ref().is_none_or(|digest| *digest == found.digest);
        tag.filter(wanted).ok_or_else(|| Error::NotFound { what: reference.to_string() })
    }

    async fn referrers(&self, _: &Repository, subject: &Digest, _: Instant) -> Result<Listed, Error> {
        self.answer("referrers")?;
        let about = format!("\"digest\":\"{subject}\"");
        let held = self.held.lock().unwrap();
        let is_about = |bytes: &Bytes| {
            let text = String::from_utf8_lossy(bytes);
            text.contains("\"subject\"") && text.contains(&about)
        };
        let listed = held.iter().filter(|(_, bytes)| is_about(bytes)).map(|(digest, bytes)| Descriptor {
            media_type: IMAGE_MANIFEST.to_owned(),
            digest: digest.clone(),
            size: bytes.len() as u64,
        });
        Ok(listed.collect::<Vec<_>>().into())
    }

    async fn manifest(&self, _: &Repository, descriptor: &Descriptor, _: Instant) -> Result<Bytes, Error> {
        self.get(&descriptor.digest)
    }

    async fn blob(&self, _: &Repository, descriptor: &Descriptor, limit: u64, _: Instant) -> Result<Bytes, Error> {
        *self.blobs_asked.lock().unwrap() += 1;
        if descriptor.size > limit {
            return Err(Error::TooLarge { what: descriptor.digest.to_string(), limit, unit: "bytes" });
        }
        self.get(&descriptor.digest)
    }
}

/// Finds what a signature's type says: `a/good`, `a/bad`, `a/fault`. Asks for none below `r.io/skipped`.
struct Reader;

#[async_trait]
impl Verifier for Reader {
    fn name(&self) -> &str {
        "v"
    }

    fn accepts(&self, artifact_type: &str) -> bool {
        artifact_type.starts_with("a/")
    }

    fn foregone(&self, repository: &Repository) -> Option<Outcome> {
        repository.path().starts_with("skipped/").then(|| Outcome::Skipped { cause: "level skip".to_owned() })
    }

    async fn verify(&self, candidate: Candidate<'_>) -> Vec<Outcome> {
        vec![match candidate.manifest.artifact_type.as_str() {
            "a/good" => {
                let (signer, identity, valid_until, logged) = (None, None, None, Vec::new());
                Outcome::Passed(Pass { detail: "signed".to_owned(), signer, identity, valid_until, logged })
            }
            "a/fault" => Outcome::Fault { cause: Fault::new("the key vault is out of reach") },
            _ => Outcome::Failed(Failure { stage: Stage::Plugin, cause: "a stranger's signature".to_owned() }),
        }]
    }
}

fn sign(registry: &Registry, subject: &Descriptor, kind: &str) -> Descriptor {
    let stated = json!({ "mediaType": subject.media_type, "digest": subject.digest.as_str(), "size": subject.size });
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"{IMAGE_MANIFEST}","artifactType":"{kind}","subject":{stated},"layers":[]}}"#
    );
    registry.put(IMAGE_MANIFEST, text.as_bytes())
}

fn judge(registry: &Arc<Registry>) -> Arc<Executor> {
    let rule = Rule { verifier: Some("v".to_owned()), threshold: 0, rules: Vec::new() };
    let policy = Policy::new(Rule { verifier: None, threshold: 1, rules: vec![rule] }).unwrap();
    Arc::new(Executor::new(Arc::<Registry>::clone(registry), vec![Arc::new(Reader)], policy, 2))
}

fn by_executor(trust: u8) -> Vouched {
    Vouched::By { executor: "plugins".to_owned(), trust: [trust; 32], types: vec![PLUGIN.to_owned()] }
}

const REFERENCE: &str = "r.io/plugins/sbom:v1";

fn options(folder: &Path, vouched: Vouched) -> Options {
    Options {
        reference: REFERENCE.parse().unwrap(),
        title: None,
        name: "sbom".to_owned(),
        vouched,
        refresh: Duration::from_secs(3600),
        max_bytes: 1000,
        folder: Some(folder.to_owned()),
        store: RegistryStore::default(),
        settings: Settings::default(),
    }
}

/// A plugin that is followed, and where.
struct Followed {
    registry: Arc<Registry>,
    folder: tempfile::TempDir,
    source: Source,
}

impl Followed {
    fn new(registry: Registry, vouched: Vouched) -> Self {
        Self::with(registry, vouched, |options| options)
    }

    fn with(registry: Registry, vouched: Vouched, change: impl FnOnce(Options) -> Options) -> Self {
        let (registry, folder) = (Arc::new(registry), tempfile::tempdir().unwrap());
        let judge = matches!(vouched, Vouched::By { .. }).then(|| judge(&registry));
        let options = change(options(&folder.path().join("kept"), vouched));
        let source = source::open(options, Arc::<Registry>::clone(&registry), judge);
        Self { registry, folder, source }
    }

    /// The same as another process finds it.
    fn again(self, vouched: Vouched) -> Self {
        let Self { registry, folder, source } = self;
        drop(source);
        let judge = matches!(vouched, Vouched::By { .. }).then(|| judge(&registry));
        let options = options(&folder.path().join("kept"), vouched);
        let source = source::open(options, Arc::<Registry>::clone(&registry), judge);
        Self { registry, folder, source }
    }

    /// What is in force once it was read again.
    fn now(&self) -> Result<Installed, String> {
        self.source.await_reading(self.source.ask(), Duration::from_secs(60));
        self.source.now().0.map(|installed| Installed::clone(&installed))
    }

    fn problem(&self) -> String {
        self.source.problem().unwrap_or_default()
    }
}

const SCRIPT: &[u8] = b"#!/bin/sh\necho one\n";
const OTHER: &[u8] = b"#!/bin/sh\necho two\n";

#[test]
fn a_plugin_that_its_executor_vouches_for_is_kept_by_digest_for_others_to_run_and_nobody_to_write() {
    let registry = Registry::default();
    sign(&registry, &registry.tag(SCRIPT, json!({})), "a/good");
    let followed = Followed::new(registry, by_executor(1));
    let installed = followed.now().unwrap();
    assert_eq!(fs::read(&installed.path).unwrap(), SCRIPT);
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&installed.path), mode(installed.path.parent().unwrap())), (0o555, 0o755));
    assert!(installed.path.to_str().unwrap().ends_with(&format!("/sha256-{}/sbom", installed.program.hex())));
    let asked = *followed.registry.blobs_asked.lock().unwrap();
    assert_eq!(followed.now().unwrap(), installed);
    assert_eq!(*followed.registry.blobs_asked.lock().unwrap(), asked, "it is not fetched twice");
}

#[test]
fn only_a_verdict_of_verification_counts() {
    for (signature, cause) in [
        (None, "is refused by executor \"plugins\""),
        (Some("a/bad"), "a stranger's signature"),
        (Some("a/fault"), "the key vault is out of reach"),
    ] {
        let registry = Registry::default();
        let plugin = registry.tag(SCRIPT, json!({}));
        signature.map(|kind| sign(&registry, &plugin, kind));
        let followed = Followed::new(registry, by_executor(1));
        let problem = followed.now().unwrap_err();
        assert!(problem.contains(cause) && problem.contains(REFERENCE), "{problem}");
        assert_eq!(*followed.registry.blobs_asked.lock().unwrap(), 0, "nothing is fetched that nobody vouches for");
    }
}

#[test]
fn without_its_judge_nobody_vouches_for_a_plugin() {
    let (registry, folder) = (Registry::default(), tempfile::tempdir().unwrap());
    sign(&registry, &registry.tag(SCRIPT, json!({})), "a/good");
    let source = source::open(options(&folder.path().join("kept"), by_executor(1)), Arc::new(registry), None);
    source.await_reading(source.ask(), Duration::from_secs(60));
    assert!(source.now().0.unwrap_err().contains("executor \"plugins\" is not there to judge it"));
}

#[test]
fn an_exemption_is_not_enough() {
    let followed = Followed::with(Registry::default(), by_executor(1), |options| Options {
        reference: "r.io/skipped/sbom:v1".parse().unwrap(),
        ..options
    });
    followed.registry.tag(SCRIPT, json!({}));
    let problem = followed.now().unwrap_err();
    assert!(problem.contains("is not verified by executor \"plugins\" but exempt"), "{problem}");
    assert!(problem.contains("level skip"), "{problem}");
}

#[test]
fn an_application_that_the_right_key_signed_is_no_plugin() {
    let registry = Registry::default();
    let image = registry.tag(SCRIPT, json!({ "artifactType": "application/vnd.acme.app" }));
    sign(&registry, &image, "a/good");
    let followed = Followed::new(registry, by_executor(1));
    let problem = followed.now().unwrap_err();
    assert!(problem.contains("application/vnd.acme.app") && problem.contains(PLUGIN), "{problem}");
}

#[test]
fn a_new_digest_counts_once_it_is_vouched_for_and_the_old_one_until_then() {
    let registry = Registry::default();
    sign(&registry, &registry.tag(SCRIPT, json!({})), "a/good");
    let followed = Followed::new(registry, by_executor(1));
    let first = followed.now().unwrap();
    let next = followed.registry.tag(OTHER, json!({}));
    assert_eq!(followed.now().unwrap(), first);
    assert!(followed.problem().contains(next.digest.as_str()), "{}", followed.problem());
    sign(&followed.registry, &next, "a/good");
    let second = followed.now().unwrap();
    assert_eq!((fs::read(&second.path).unwrap().as_slice(), second.artifact.clone()), (OTHER, next.digest));
    // Pulls under way may still run the one before.
    assert!(first.path.exists() && followed.problem().is_empty());
}

#[test]
fn a_tag_never_goes_back_not_after_a_restart_and_not_under_other_trust() {
    let registry = Registry::default();
    let first = registry.tag(SCRIPT, json!({}));
    sign(&registry, &first, "a/good");
    let followed = Followed::new(registry, by_executor(1));
    followed.now().unwrap();
    let second = followed.registry.tag(OTHER, json!({}));
    sign(&followed.registry, &second, "a/good");
    followed.now().unwrap();
    *followed.registry.tag.lock().unwrap() = Some(first.clone());
    assert_eq!(followed.now().unwrap().artifact, second.digest);
    assert!(followed.problem().contains("a tag never goes back"), "{}", followed.problem());
    let followed = followed.again(by_executor(1));
    assert_eq!(followed.now().unwrap().artifact, second.digest);
    let followed = followed.again(by_executor(2));
    assert!(followed.now().unwrap_err().contains("a tag never goes back"));
    let pinned = Followed::with(Registry::default(), Vouched::Pinned, |options| Options {
        reference: format!("{REFERENCE}@{}", first.digest).parse().unwrap(),
        ..options
    });
    pinned.registry.tag(SCRIPT, json!({}));
    assert_eq!(pinned.now().unwrap().artifact, first.digest);
}

#[test]
fn what_was_made_before_the_one_in_force_is_older_though_it_was_never_seen() {
    let registry = Registry::default();
    registry.tag(SCRIPT, json!({ "annotations": { CREATED: "2026-02-01T00:00:00Z" } }));
    let followed = Followed::new(registry, Vouched::Nobody);
    let first = followed.now().unwrap();
    followed.registry.tag(OTHER, json!({ "annotations": { CREATED: "2026-01-31T23:59:59Z" } }));
    assert_eq!(followed.now().unwrap(), first);
    assert!(followed.problem().contains("which was made before"), "{}", followed.problem());
    let next = followed.registry.tag(OTHER, json!({ "annotations": { CREATED: "2026-02-01T00:00:00Z" } }));
    assert_eq!(followed.now().unwrap().artifact, next.digest);
}

#[test]
fn without_its_registry_the_kept_one_runs_on_also_after_a_restart_unless_it_was_tampered_with_or_trust_changed() {
    let registry = Registry::default();
    sign(&registry, &registry.tag(SCRIPT, json!({})), "a/good");
    let followed = Followed::new(registry, by_executor(1));
    let first = followed.now().unwrap();
    *followed.registry.down.lock().unwrap() = true;
    assert_eq!(followed.now().unwrap(), first);
    assert!(followed.problem().contains("connection refused"), "{}", followed.problem());
    let followed = followed.again(by_executor(1));
    assert_eq!(followed.now().unwrap(), first);
    let followed = followed.again(by_executor(2));
    assert!(followed.now().unwrap_err().contains("connection refused"));
    let followed = followed.again(by_executor(1));
    fs::remove_file(&first.path).unwrap();
    fs::write(&first.path, OTHER).unwrap();
    fs::set_permissions(&first.path, fs::Permissions::from_mode(0o555)).unwrap();
    let followed = followed.again(by_executor(1));
    assert!(followed.now().unwrap_err().contains("connection refused"));
    *followed.registry.down.lock().unwrap() = false;
    assert_eq!(followed.now().unwrap(), first);
    assert_eq!(fs::read(&first.path).unwrap(), SCRIPT);
}

#[test]
fn a_kept_file_that_was_spoilt_is_fetched_again_also_where_the_tag_leads_to_what_is_refused() {
    let registry = Registry::default();
    sign(&registry, &registry.tag(SCRIPT, json!({})), "a/good");
    let followed = Followed::new(registry, by_executor(1));
    let first = followed.now().unwrap();
    let next = followed.registry.tag(OTHER, json!({}));
    fs::remove_file(&first.path).unwrap();
    assert_eq!(followed.now().unwrap(), first);
    assert_eq!(fs::read(&first.path).unwrap(), SCRIPT);
    let problem = followed.problem();
    let refused = format!("plugin {REFERENCE}: {} is refused by executor \"plugins\"", next.digest);
    assert!(problem.starts_with(&refused), "{problem}");
    assert!(problem.ends_with(&format!("; {} is used on", first.artifact)), "{problem}");
    fs::remove_file(&first.path).unwrap();
    *followed.registry.down.lock().unwrap() = true;
    assert_eq!(followed.now().unwrap(), first);
    let problem = followed.problem();
    assert!(problem.contains(&format!("; {} is not there any more: ", first.artifact)), "{problem}");
}

#[test]
fn a_plugin_whose_signature_is_withdrawn_is_not_run_any_more() {
    let registry = Registry::default();
    let signature = sign(&registry, &registry.tag(SCRIPT, json!({})), "a/good");
    let followed = Followed::new(registry, by_executor(1));
    followed.now().unwrap();
    followed.registry.held.lock().unwrap().remove(&signature.digest);
    let problem = followed.now().unwrap_err();
    assert!(problem.contains("is refused by executor \"plugins\""), "{problem}");
    // Nor by the next process, which cannot ask.
    *followed.registry.down.lock().unwrap() = true;
    let followed = followed.again(by_executor(1));
    assert!(followed.now().unwrap_err().contains("connection refused"));
    *followed.registry.down.lock().unwrap() = false;
    let plugin = followed.registry.tag.lock().unwrap().clone().unwrap();
    sign(&followed.registry, &plugin, "a/good");
    assert_eq!(followed.now().unwrap().artifact, plugin.digest);
}

#[test]
fn content_that_is_too_large_tampered_with_or_no_program_is_not_taken() {
    let large = [b"#!".as_slice(), &[b' '; 999]].concat();
    for (program, cause) in [
        (large.as_slice(), "more than the limit of 1000 bytes"),
        (b"PK".as_slice(), "neither an ELF program nor a script"),
        (b"MZ\x90\x00".as_slice(), "a program for Windows"),
        (b"\x1f\x8b\x08".as_slice(), "it is compressed"),
    ] {
        let registry = Registry::default();
        registry.tag(program, json!({}));
        let problem = Followed::new(registry, Vouched::Nobody).now().unwrap_err();
        assert!(problem.contains(cause), "{problem}");
    }
    let registry = Registry::default();
    registry.tag(&large[..1000], json!({}));
    assert!(Followed::new(registry, Vouched::Nobody).now().is_ok());
}

#[test]
fn programs_of_other_machines_are_told_by_name() {
    let elf = |machine: u16, class: u8| {
        let mut bytes = vec![0x7f, b'E', b'L', b'F', class, 1, 1];
        bytes.resize(18, 0);
        bytes.extend(machine.to_le_bytes());
        bytes
    };
    let own: (u16, u16, &str) = if cfg!(target_arch = "x86_64") { (62, 183, "arm64") } else { (183, 62, "amd64") };
    check_program(&elf(own.0, 2)).unwrap();
    let other = check_program(&elf(own.1, 2)).unwrap_err();
    assert!(other.starts_with(&format!("it is a program for linux/{}, not for linux/", own.2)), "{other}");
    assert!(check_program(&elf(own.0, 1)).is_err());
    assert!(check_program(b"\x7fELF").is_err());
    assert!(check_program(&elf(own.0, 2)[..19]).unwrap_err().contains("broken header"));
}

fn linux(architecture: &str) -> Platform {
    Platform { os: "linux".to_owned(), architecture: architecture.to_owned() }
}

async fn found(
    registry: &Registry,
    artifact: &Descriptor,
    title: Option<&str>,
    platform: &Platform,
) -> Result<Digest, String> {
    let repository = REFERENCE.parse::<Reference>().unwrap().repository;
    let deadline = Instant::now() + Duration::from_secs(60);
    let wanted = Wanted { title, names: ["sbom", "sbom"], strict: false };
    let found = find(registry, &repository, artifact, &wanted, platform, deadline).await;
    found.map(|found| found.program.digest).map_err(|error| error.to_string())
}

#[tokio::test]
async fn an_index_leads_to_the_program_of_its_platform_and_names_those_it_has() {
    let registry = Registry::default();
    let entry = |program: &[u8], platform: Value| {
        let Descriptor { media_type, digest, size } = registry.manifest_of(program, json!({}));
        json!({ "mediaType": media_type, "digest": digest.as_str(), "size": size, "platform": platform })
    };
    let index = |entries: &[Value]| {
        let index = json!({ "schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": entries });
        registry.put(IMAGE_INDEX, index.to_string().as_bytes())
    };
    let [amd, v3, arm] = [
        entry(SCRIPT, json!({ "os": "linux", "architecture": "amd64" })),
        entry(b"#!v3", json!({ "os": "linux", "architecture": "amd64", "variant": "v3" })),
        entry(OTHER, json!({ "os": "linux", "architecture": "arm64", "variant": "v8" })),
    ];
    let all = index(&[v3.clone(), amd.clone(), arm.clone()]);
    let of = |program: &[u8]| Ok(digest_of(Algorithm::Sha256, program));
    assert_eq!(found(&registry, &all, None, &linux("amd64")).await, of(SCRIPT));
    assert_eq!(found(&registry, &all, None, &linux("arm64")).await, of(OTHER));
    let missing = found(&registry, &all, None, &linux("riscv64")).await.unwrap_err();
    assert_eq!(
        missing,
        "it has nothing for linux/riscv64: the index names linux/amd64, linux/amd64/v3, linux/arm64/v8"
    );
    let none = found(&registry, &index(&[]), None, &linux("amd64")).await.unwrap_err();
    assert!(none.contains("the index names no platform at all"), "{none}");
    let nested = json!({ "mediaType": IMAGE_INDEX, "digest": all.digest.as_str(), "size": all.size,
        "platform": { "os": "linux", "architecture": "amd64" } });
    let nested = found(&registry, &index(&[nested]), None, &linux("amd64")).await.unwrap_err();
    assert!(nested.contains("names another index"), "{nested}");
    let many = |count| index(&vec![amd.clone(); count]);
    assert_eq!(found(&registry, &many(64), None, &linux("amd64")).await, of(SCRIPT));
    assert!(found(&registry, &many(65), None, &linux("amd64")).await.unwrap_err().contains("the limit is 64"));
    assert!(choose(IMAGE_INDEX, b"{}", &linux("amd64")).is_err());
}

#[tokio::test]
async fn a_manifest_whose_configuration_is_for_another_platform_is_refused_by_its_name() {
    let registry = Registry::default();
    let of = |architecture: &str| {
        let text = json!({ "os": "linux", "architecture": architecture }).to_string();
        let config = registry.put("application/vnd.oci.image.config.v1+json", text.as_bytes());
        let config = json!({ "mediaType": config.media_type, "digest": config.digest.as_str(), "size": config.size });
        registry.manifest_of(SCRIPT, json!({ "config": config }))
    };
    let own = found(&registry, &of("arm64"), None, &linux("arm64")).await;
    assert_eq!(own, Ok(digest_of(Algorithm::Sha256, SCRIPT)));
    let other = found(&registry, &of("arm64"), None, &linux("amd64")).await.unwrap_err();
    assert_eq!(other, "it is for linux/arm64, not for linux/amd64");
}

#[tokio::test]
async fn the_blob_is_the_one_with_the_title_or_the_plugins_name_or_the_first_and_of_older_manifests_too() {
    let registry = Registry::default();
    let blob = |program: &[u8], title: &str| {
        let blob = registry.put("a/b", program);
        json!({ "mediaType": "a/b", "digest": blob.digest.as_str(), "size": blob.size, "annotations": { TITLE: title } })
    };
    let [one, two] = [blob(SCRIPT, "README"), blob(OTHER, "sbom")];
    let manifest = |media_type: &str, layers: Value| {
        let key = if media_type == ARTIFACT_MANIFEST { "blobs" } else { "layers" };
        let mut manifest = json!({ "mediaType": media_type, "artifactType": PLUGIN, "schemaVersion": 2 });
        manifest[key] = layers;
        registry.put(media_type, manifest.to_string().as_bytes())
    };
    let platform = linux("amd64");
    let of = |program: &[u8]| Ok(digest_of(Algorithm::Sha256, program));
    for media_type in [IMAGE_MANIFEST, ARTIFACT_MANIFEST] {
        let both = manifest(media_type, json!([one, two]));
        assert_eq!(found(&registry, &both, None, &platform).await, of(OTHER));
        assert_eq!(found(&registry, &both, Some("README"), &platform).await, of(SCRIPT));
        let missing = found(&registry, &both, Some("none"), &platform).await.unwrap_err();
        assert_eq!(missing, "it has no blob with the title \"none\": they are README, sbom");
        assert_eq!(found(&registry, &manifest(media_type, json!([one])), None, &platform).await, of(SCRIPT));
        let empty = found(&registry, &manifest(media_type, json!([])), None, &platform).await.unwrap_err();
        assert_eq!(empty, "it holds no blob");
    }
}

#[test]
fn programs_that_no_plugin_names_any_more_go_after_a_while_and_those_of_broken_records_stay() {
    let registry = Registry::default();
    registry.tag(SCRIPT, json!({}));
    let followed = Followed::new(registry, Vouched::Nobody);
    let first = followed.now().unwrap();
    let old = |path: &Path| {
        let file = fs::File::open(path.parent().unwrap()).unwrap();
        file.set_modified(std::time::SystemTime::now() - Duration::from_secs(7200)).unwrap();
    };
    let next = |program: &[u8]| {
        followed.registry.tag(program, json!({}));
        followed.now().unwrap()
    };
    let second = next(b"#!2");
    old(&first.path);
    let records = first.path.ancestors().nth(3).unwrap().join("records");
    fs::write(records.join("broken.json"), "{").unwrap();
    let third = next(b"#!3");
    assert!(first.path.exists());
    fs::remove_file(records.join("broken.json")).unwrap();
    old(&second.path);
    next(b"#!4");
    assert!(!first.path.exists() && !second.path.exists() && third.path.exists());
}

#[test]
fn a_folder_that_others_can_write_into_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("kept");
    fs::create_dir(&kept).unwrap();
    fs::set_permissions(&kept, fs::Permissions::from_mode(0o777)).unwrap();
    let registry = Registry::default();
    registry.tag(SCRIPT, json!({}));
    let registry = Arc::new(registry);
    let source = source::open(options(&kept, Vouched::Nobody), Arc::<Registry>::clone(&registry), None);
    let problem = source.now().0.unwrap_err();
    assert!(problem.contains("kept can be written by everybody"), "{problem}");
    fs::set_permissions(&kept, fs::Permissions::from_mode(0o700)).unwrap();
    let source = source::open(options(&kept, Vouched::Nobody), registry, None);
    let problem = source.now().0.unwrap_err();
    assert!(problem.contains("kept is closed to whoever runs plugins (mode 0700); chmod 755"), "{problem}");
}

#[test]
fn what_was_withdrawn_goes_though_the_tag_names_something_else() {
    let registry = Registry::default();
    let plugin = registry.tag(SCRIPT, json!({}));
    let signature = sign(&registry, &plugin, "a/good");
    let followed = Followed::new(registry, by_executor(1));
    followed.now().unwrap();
    // Withdrawn; and whoever has the registry points the tag at something that is refused.
    followed.registry.held.lock().unwrap().remove(&signature.digest);
    followed.registry.tag(OTHER, json!({}));
    let now = followed.now();
    assert!(now.is_err(), "RUNS ON: {now:?}; {}", followed.problem());
}

#[test]
fn one_source_of_two_trusts_does_not_withdraw_the_others() {
    let registry = Arc::new(Registry::default());
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("kept");
    let open = |verifier: &str, trust: u8| {
        let rule = Rule { verifier: Some(verifier.to_owned()), threshold: 0, rules: Vec::new() };
        let policy = Policy::new(Rule { verifier: None, threshold: 1, rules: vec![rule] }).unwrap();
        let verifiers: Vec<Arc<dyn Verifier>> =
            vec![if verifier == "v" { Arc::new(Reader) } else { Arc::new(Staging) }];
        let judge = Executor::new(Arc::<Registry>::clone(&registry), verifiers, policy, 2);
        source::open(options(&kept, by_executor(trust)), Arc::<Registry>::clone(&registry), Some(Arc::new(judge)))
    };
    let now = |source: &Source| {
        source.await_reading(source.ask(), Duration::from_secs(60));
        source.now().0
    };
    let first = registry.tag(SCRIPT, json!({}));
    sign(&registry, &first, "a/good");
    sign(&registry, &first, "s/good");
    let (production, staging) = (open("v", 1), open("staging", 2));
    assert!(now(&production).is_ok() && now(&staging).is_ok());
    let second = registry.tag(OTHER, json!({}));
    sign(&registry, &second, "s/good");
    assert_eq!(now(&staging).unwrap().artifact, second.digest);
    let found = now(&production);
    assert_eq!(found.map(|found| found.artifact.clone()), Ok(first.digest.clone()), "the old one is used on");
    // The tag goes back to where one of them still is: the other does not go with it.
    *registry.tag.lock().unwrap() = Some(first.clone());
    assert_eq!(now(&production).unwrap().artifact, first.digest);
    assert_eq!(now(&staging).unwrap().artifact, second.digest);
}

struct Staging;

#[async_trait]
impl Verifier for Staging {
    fn name(&self) -> &str {
        "staging"
    }

    fn accepts(&self, artifact_type: &str) -> bool {
        artifact_type.starts_with("s/")
    }

    async fn verify(&self, _: Candidate<'_>) -> Vec<Outcome> {
        let (signer, identity, valid_until, logged) = (None, None, None, Vec::new());
        vec![Outcome::Passed(Pass { detail: "signed".to_owned(), signer, identity, valid_until, logged })]
    }
}

#[test]
fn another_plugin_of_the_same_signer_is_refused() {
    let registry = Registry::default();
    let blob = registry.put("a/b", OTHER);
    let layer = json!({ "mediaType": "a/b", "digest": blob.digest.as_str(), "size": blob.size, "annotations": { TITLE: "sample" } });
    let manifest =
        json!({ "mediaType": IMAGE_MANIFEST, "artifactType": PLUGIN, "schemaVersion": 2, "layers": [layer] });
    let sample = registry.put(IMAGE_MANIFEST, manifest.to_string().as_bytes());
    *registry.tag.lock().unwrap() = Some(sample.clone());
    sign(&registry, &sample, "a/good");
    let followed = Followed::new(registry, by_executor(1));
    let now = followed.now();
    assert!(now.is_err(), "the plugin called sample runs as sbom: {now:?}");
}

#[test]
fn a_folder_that_was_mended_is_used_when_it_is_asked_for_again() {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("kept");
    fs::create_dir(&kept).unwrap();
    fs::set_permissions(&kept, fs::Permissions::from_mode(0o700)).unwrap();
    let registry = Registry::default();
    registry.tag(SCRIPT, json!({}));
    let source = source::open(options(&kept, Vouched::Nobody), Arc::new(registry), None);
    assert!(source.now().0.unwrap_err().contains("chmod 755"));
    fs::set_permissions(&kept, fs::Permissions::from_mode(0o755)).unwrap();
    source.await_reading(source.ask(), Duration::from_secs(60));
    let now = source.now().0;
    assert!(now.is_ok(), "{now:?}");
}

#[test]
fn a_broken_record_does_not_let_the_tag_go_back() {
    let registry = Registry::default();
    let first = registry.tag(SCRIPT, json!({}));
    sign(&registry, &first, "a/good");
    let followed = Followed::new(registry, by_executor(1));
    let installed = followed.now().unwrap();
    let second = followed.registry.tag(OTHER, json!({}));
    sign(&followed.registry, &second, "a/good");
    followed.now().unwrap();
    let records = installed.path.ancestors().nth(3).unwrap().join("records");
    for entry in fs::read_dir(records).unwrap() {
        fs::write(entry.unwrap().path(), "{").unwrap();
    }
    *followed.registry.tag.lock().unwrap() = Some(first);
    let now = followed.now().unwrap();
    assert_eq!(now.artifact, second.digest, "{}", followed.problem());
}

/// Asks for a plugin whose tag went back in another way than before.
#[track_caller]
fn does_not_go_back(before: impl Fn(Options) -> Options, after: impl Fn(Options) -> Options) {
    let registry = Registry::default();
    let first = registry.tag(SCRIPT, json!({}));
    sign(&registry, &first, "a/good");
    let followed = Followed::with(registry, by_executor(1), before);
    followed.now().unwrap();
    let second = followed.registry.tag(OTHER, json!({}));
    sign(&followed.registry, &second, "a/good");
    followed.now().unwrap();
    let Followed { registry, folder, source } = followed;
    drop(source);
    *registry.tag.lock().unwrap() = Some(first);
    let asked = after(options(&folder.path().join("kept"), by_executor(1)));
    let source = source::open(asked, Arc::<Registry>::clone(&registry), Some(judge(&registry)));
    source.await_reading(source.ask(), Duration::from_secs(60));
    let cause = source.now().0.map(|now| now.artifact.clone()).expect_err("the older one runs");
    assert!(cause.contains("a tag never goes back"), "{cause}");
}

#[test]
fn a_tag_does_not_go_back_when_a_title_is_asked_for() {
    does_not_go_back(|options| options, |options| Options { title: Some("sbom".to_owned()), ..options });
}

#[test]
fn a_tag_does_not_go_back_when_it_is_written_in_another_way() {
    let named = |name: &'static str| move |options| Options { reference: name.parse().unwrap(), ..options };
    does_not_go_back(named("r.io/plugins/sbom"), named("r.io/plugins/sbom:latest"));
    does_not_go_back(named("r.io/plugins/sbom:latest"), named("r.io/plugins/sbom"));
}

#[test]
fn a_date_to_come_does_not_lock_the_tag() {
    let registry = Registry::default();
    registry.tag(SCRIPT, json!({ "annotations": { CREATED: "2099-01-01T00:00:00Z" } }));
    let followed = Followed::new(registry, Vouched::Nobody);
    followed.now().unwrap();
    let soon = humantime::format_rfc3339_seconds(std::time::SystemTime::now() + Duration::from_secs(60)).to_string();
    let next = followed.registry.tag(OTHER, json!({ "annotations": { CREATED: soon } }));
    assert_eq!(followed.now().unwrap().artifact, next.digest, "{}", followed.problem());
}

#[test]
fn what_hides_when_it_was_made_is_no_newer_than_what_says_it() {
    let registry = Registry::default();
    registry.tag(SCRIPT, json!({ "annotations": { CREATED: "2026-02-01T00:00:00Z" } }));
    let followed = Followed::new(registry, Vouched::Nobody);
    let first = followed.now().unwrap();
    followed.registry.tag(OTHER, json!({}));
    assert_eq!(followed.now().unwrap(), first, "one that hides its date counts as newer");
}

#[test]
fn plugins_that_nobody_has_used_for_long_go_with_their_programs_and_those_in_use_stay() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("kept");
    let kept = Kept::open(Some(&place)).unwrap();
    let long_ago = |path: &Path, age: Duration| {
        let at = std::time::SystemTime::now() - age - Duration::from_secs(60);
        fs::File::open(path).unwrap().set_modified(at).unwrap();
    };
    let keep = |name: &str| {
        let program = digest_of(Algorithm::Sha256, name.as_bytes());
        kept.put(name, &program, name.as_bytes()).unwrap();
        let artifact = Descriptor { media_type: IMAGE_MANIFEST.to_owned(), digest: program.clone(), size: 1 };
        let path = kept.path(name, &program);
        let record = Record { reference: REFERENCE.to_owned(), artifact, program, before: None, at: 0 };
        kept.keep(name, &record).unwrap();
        path
    };
    let [used, gone] = ["used", "gone"].map(keep);
    for (name, path) in [("used", &used), ("gone", &gone)] {
        long_ago(&place.join(format!("records/{name}.json")), crate::limits::PLUGIN_UNUSED);
        long_ago(path.parent().unwrap(), crate::limits::PLUGIN_LEFT);
    }
    // Its registry is out of reach, and it is in use.
    kept.touch("used");
    let next = keep("next");
    assert_eq!([&used, &gone, &next].map(|path| path.exists()), [true, false, true]);
}

#[test]
fn what_was_fetched_and_refused_is_not_fetched_again_and_again() {
    let registry = Registry::default();
    registry.tag(b"\x1f\x8bcompressed", json!({}));
    let followed = Followed::new(registry, Vouched::Nobody);
    (0..4).for_each(|_| drop(followed.now().unwrap_err()));
    assert!(
        *followed.registry.blobs_asked.lock().unwrap() <= 1,
        "fetched {} times",
        followed.registry.blobs_asked.lock().unwrap()
    );
}

#[test]
fn a_long_date_does_not_lose_the_record() {
    let registry = Registry::default();
    let first = registry.tag(SCRIPT, json!({ "annotations": { CREATED: "x".repeat(70_000) } }));
    sign(&registry, &first, "a/good");
    let followed = Followed::new(registry, by_executor(1));
    followed.now().unwrap();
    *followed.registry.down.lock().unwrap() = true;
    let followed = followed.again(by_executor(1));
    assert_eq!(followed.now().map(|now| now.artifact), Ok(first.digest));
}
