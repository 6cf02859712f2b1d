//! What a plugin that is a store is told, and whatever it may do in return.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::artifact::{Algorithm, IMAGE_MANIFEST};
use crate::runner::testing::{Programs, lacks_root, runner};
use crate::store::digest_of;

const BLOB: &str = "application/octet-stream";

fn descriptor(media_type: &str, bytes: &[u8]) -> Descriptor {
    let digest = digest_of(Algorithm::Sha256, bytes);
    Descriptor { media_type: media_type.to_owned(), digest, size: bytes.len() as u64 }
}

fn written(descriptor: &Descriptor) -> String {
    let Descriptor { media_type, digest, size } = descriptor;
    json!({ "mediaType": media_type, "digest": digest.as_str(), "size": size, "artifactType": "a/b" }).to_string()
}

fn repository() -> Repository {
    "r.io/a/b".parse::<Reference>().unwrap().repository
}

fn subject() -> Digest {
    descriptor(IMAGE_MANIFEST, b"the image").digest
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// A store whose plugin is this script.
struct Scripted {
    store: PluginStore,
    programs: Programs,
}

impl Scripted {
    fn new(script: &str) -> Self {
        let programs = Programs::new();
        let path = programs.put("evidence", &format!("#!/bin/bash\nconfig=$(cat)\n{script}\n"));
        let config = json!({ "name": "evidence", "endpoint": "https://e.io" });
        let plugin = Plugin {
            path,
            fetched: None,
            config: config.as_object().unwrap().clone(),
            environment: [("TOKEN".to_owned(), "t".to_owned())].into(),
            network: false,
            strict: false,
        };
        Self { store: PluginStore::new(plugin, Arc::new(runner(Duration::from_secs(20)))), programs }
    }

    async fn resolve(&self, name: &str) -> Result<Descriptor, Error> {
        self.store.resolve(&name.parse().unwrap(), soon()).await
    }

    async fn referrers(&self) -> Result<Vec<Descriptor>, Error> {
        let listed = self.store.referrers(&repository(), &subject(), soon()).await?;
        assert_eq!(listed.stale, None);
        Ok(listed.candidates)
    }

    async fn manifest(&self, wanted: &Descriptor) -> Result<Bytes, Error> {
        self.store.manifest(&repository(), wanted, soon()).await
    }

    async fn blob(&self, wanted: &Descriptor, limit: u64) -> Result<Bytes, Error> {
        self.store.blob(&repository(), wanted, limit, soon()).await
    }
}

#[track_caller]
fn assert_says<T: std::fmt::Debug>(found: Result<T, Error>, words: &[&str]) {
    let error = found.unwrap_err();
    let cause = error.to_string();
    assert!(!error.is_outage(), "no stale list stands in for a plugin: {cause}");
    assert!(words.iter().chain(&["plugin /", "/evidence"]).all(|words| cause.contains(words)), "{words:?}: {cause}");
}

#[tokio::test]
async fn a_plugin_is_asked_by_ratifys_protocol() {
    if lacks_root() {
        return;
    }
    // What it is asked is what it answers with, as a media type.
    let asked = "asked=\"$RATIFY_STORE_COMMAND $RATIFY_STORE_SUBJECT [$RATIFY_STORE_ARGS] $RATIFY_STORE_VERSION $TOKEN\"\n\
                 config=${config//\\\"/}\ntold=\"$asked $config\"\n";
    let found = descriptor(IMAGE_MANIFEST, b"found");
    let entry = written(&found).replace(IMAGE_MANIFEST, "'\"$told\"'");
    let told = "1.0.0 t {endpoint:https://e.io,name:evidence}";
    let script = format!(
        "{asked}case $RATIFY_STORE_COMMAND in\n\
         GETSUBJECTDESCRIPTOR) echo '{entry}' ;;\n\
         LISTREFERRERS) echo '{{\"referrers\":[{entry}],\"nextToken\":\"\"}}' ;;\n\
         *) printf %s \"$asked\" ;;\nesac"
    );
    let store = Scripted::new(&script);
    let image = subject();
    for (name, subject) in [
        ("r.io/a/b:v1".to_owned(), "r.io/a/b:v1".to_owned()),
        ("r.io/a/b".to_owned(), "r.io/a/b:latest".to_owned()),
        (format!("nginx:v1@{}", found.digest), format!("docker.io/library/nginx@{}", found.digest)),
    ] {
        let resolved = store.resolve(&name).await.unwrap();
        assert_eq!(resolved.media_type, format!("GETSUBJECTDESCRIPTOR {subject} [] {told}"));
        assert_eq!((resolved.digest, resolved.size), (found.digest.clone(), found.size));
    }
    let listed = store.referrers().await.unwrap();
    let expected = format!("LISTREFERRERS r.io/a/b@{image} [nextToken=;artifactTypes=] {told}");
    assert_eq!(listed.iter().map(|it| it.media_type.as_str()).collect::<Vec<_>>(), [expected]);
    // Content is its digest's, and it cannot have it in it.
    assert_says(
        store.blob(&Descriptor { size: 175, ..found.clone() }, 200).await,
        &[&format!("GETBLOB {}", found.digest), "the content has"],
    );
}

#[tokio::test]
async fn content_counts_by_its_digest_and_size_alone() {
    if lacks_root() {
        return;
    }
    // Bytes of all kinds, and no line feed is taken for one that does not belong.
    let bytes: Vec<u8> = (0..=255).chain(*b"{\"isSuccess\":true}\n{}\n\n").collect();
    let (wanted, other) = (descriptor(BLOB, &bytes), descriptor(BLOB, b"other"));
    let octal: String = bytes.iter().map(|byte| format!("\\{byte:03o}")).collect();
    let store = Scripted::new(&format!("echo log line >&2; printf '{octal}'"));
    assert_eq!(store.blob(&wanted, wanted.size).await.unwrap(), bytes);
    assert_eq!(store.manifest(&wanted).await.unwrap(), bytes);
    let longer = Descriptor { size: wanted.size + 1, ..wanted.clone() };
    assert_says(store.blob(&longer, longer.size).await, &["bytes, its descriptor says"]);
    let forged = Descriptor { size: wanted.size, ..other };
    assert_says(store.blob(&forged, forged.size).await, &["the content has digest", "instead of"]);
    assert_says(store.manifest(&forged).await, &["GETREFMANIFEST", "the plugin must print them", "GETBLOB"]);
}

#[tokio::test]
async fn content_at_the_limit_is_taken_and_more_is_not_asked_for() {
    if lacks_root() {
        return;
    }
    let most = limits::BLOB_BYTES;
    let zeros = vec![0; usize::try_from(most).unwrap()];
    let wanted = descriptor(BLOB, &zeros);
    let store = Scripted::new(&format!("head -c {most} /dev/zero"));
    assert_eq!(store.blob(&wanted, u64::MAX).await.unwrap().len() as u64, most);
    let never = Scripted::new("exec sleep 1000");
    let more = Descriptor { size: most + 1, ..wanted.clone() };
    assert_says(never.blob(&more, u64::MAX).await, &["more than the limit of 33554432 bytes"]);
    assert_says(never.blob(&wanted, 5).await, &["more than the limit of 5 bytes"]);
    let manifest = Descriptor { size: limits::MANIFEST_BYTES + 1, ..wanted.clone() };
    assert_says(never.manifest(&manifest).await, &["more than the limit of 4194304 bytes"]);
    let longer = Scripted::new(&format!("head -c {} /dev/zero", most + 1));
    assert_says(longer.blob(&wanted, u64::MAX).await, &["killed, it printed more than 33554432 bytes"]);
    let flood = Scripted::new("exec yes");
    assert_says(
        flood.blob(&Descriptor { size: 3, ..wanted }, 3).await,
        &["killed, it printed more than 1048576 bytes"],
    );
}

#[tokio::test]
async fn a_manifest_in_parts_never_counts_and_its_own_bytes_do_whoever_prints_them() {
    if lacks_root() {
        return;
    }
    let own = br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}"#;
    let wanted = descriptor(IMAGE_MANIFEST, own);
    let own = std::str::from_utf8(own).unwrap();
    let by = |blob: &str, manifest: &str| {
        Scripted::new(&format!("case $RATIFY_STORE_COMMAND in GETBLOB) {blob} ;; GETREFMANIFEST) {manifest} ;; esac"))
    };
    let (print, none) = (format!("printf %s '{own}'"), "echo no such blob >&2; exit 1");
    let parts = r#"echo '{"mediaType":"application/vnd.oci.image.manifest.v1+json","blobs":[]}'"#;
    for store in [by(&print, none), by(&print, parts), by(none, &print), by("true", &print), by(parts, &print)] {
        assert_eq!(store.manifest(&wanted).await.unwrap(), own.as_bytes());
    }
    let expected = [&format!("GETREFMANIFEST {}", wanted.digest), "the plugin must print them", "no such blob"];
    assert_says(by(none, parts).manifest(&wanted).await, &expected);
    assert_says(by(none, none).manifest(&wanted).await, &["GETBLOB sha256:", "exit code 1: \"no such blob\""]);
    // What a blob is has one answer only.
    assert_says(by(none, &print).blob(&wanted, wanted.size).await, &["GETBLOB sha256:", "no such blob"]);
}

/// A store whose lists have these pages: what the first one names, and what each token does.
fn paged(first: &str, others: &[(&str, &str)]) -> Scripted {
    let page = |(token, page): &(&str, &str)| format!("'nextToken={token};artifactTypes=') echo '{page}' ;;\n");
    let cases: String = [("", first)].iter().chain(others).map(page).collect();
    Scripted::new(&format!(
        "case $RATIFY_STORE_ARGS in\n{cases}*) echo \"no page $RATIFY_STORE_ARGS\" >&2; exit 1 ;;\nesac"
    ))
}

fn page(entries: &[&Descriptor], token: &str) -> String {
    let entries: Vec<_> = entries.iter().map(|entry| written(entry)).collect();
    format!(r#"{{"referrers":[{}],"nextToken":"{token}"}}"#, entries.join(","))
}

#[tokio::test]
async fn all_pages_of_a_list_are_asked_for_and_what_is_named_twice_is_one() {
    if lacks_root() {
        return;
    }
    let [a, b] = [descriptor(IMAGE_MANIFEST, b"a"), descriptor(IMAGE_MANIFEST, b"b")];
    let store = paged(&page(&[&a, &a], "x y"), &[("x y", &page(&[], "2")), ("2", &page(&[&a, &b], ""))]);
    assert_eq!(store.referrers().await, Ok(vec![a.clone(), b.clone()]));
    let empty = r#"{"referrers":null,"nextToken":""}"#;
    assert_eq!(paged(empty, &[]).referrers().await, Ok(vec![]));
    // One in two ways is nothing that can be asked for.
    let larger = Descriptor { size: a.size + 1, ..a.clone() };
    let store = paged(&page(&[&a], "2"), &[("2", &page(&[&larger], ""))]);
    assert_says(store.referrers().await, &["LISTREFERRERS", "in two ways"]);
    // A page that cannot be had is not left out.
    assert_says(paged(&page(&[&a], "lost"), &[]).referrers().await, &["LISTREFERRERS", "no page nextToken=lost"]);
}

#[tokio::test]
async fn lists_without_an_end_or_past_their_limits_are_refused() {
    if lacks_root() {
        return;
    }
    let round = paged(&page(&[], "1"), &[("1", &page(&[], "2")), ("2", &page(&[], "1"))]);
    assert_says(round.referrers().await, &["goes round in circles"]);
    let next = "token=${RATIFY_STORE_ARGS#nextToken=}; token=${token%;*}; token=$((token + 1))";
    let pages = |most: usize| {
        let script =
            format!("{next}; [ $token -lt {most} ] || token=\n echo '{{\"referrers\":[],\"nextToken\":\"'$token'\"}}'");
        Scripted::new(&script)
    };
    assert_eq!(pages(limits::REFERRERS_PAGES).referrers().await, Ok(vec![]));
    assert_says(pages(usize::MAX >> 2).referrers().await, &["more than the limit of 32 pages of referrers"]);
    let many: Vec<_> = (0..=limits::REFERRERS).map(|at| descriptor(BLOB, at.to_string().as_bytes())).collect();
    let listing = |entries: &[Descriptor]| {
        let store = paged(&page(&entries.iter().collect::<Vec<_>>(), ""), &[]);
        async move { store.referrers().await }
    };
    assert_eq!(listing(&many[..limits::REFERRERS]).await.unwrap().len(), limits::REFERRERS);
    assert_says(listing(&many).await, &["more than the limit of 1000 referrers"]);
}

#[tokio::test]
async fn tokens_that_cannot_be_sent_back_are_refused() {
    if lacks_root() {
        return;
    }
    for token in ["YQ==", "a;b", "a\\u0000b", "a\\nb"] {
        let store = paged(&page(&[], token), &[]);
        assert_says(store.referrers().await, &["LISTREFERRERS", "nextToken", "cannot be sent back"]);
    }
    let long = |bytes: usize| {
        let print = "printf '{\"referrers\":[],\"nextToken\":\"'";
        Scripted::new(&format!(
            "[ ${{#RATIFY_STORE_ARGS}} -gt 100 ] && {{ echo '{{\"referrers\":[],\"nextToken\":\"\"}}'; exit; }}\n\
             {print}; head -c {bytes} /dev/zero | tr '\\0' x; echo '\"}}'"
        ))
    };
    assert_eq!(long(limits::STORE_TOKEN_BYTES).referrers().await, Ok(vec![]));
    assert_says(long(limits::STORE_TOKEN_BYTES + 1).referrers().await, &["nextToken is longer than 4096 bytes"]);
}

#[tokio::test]
async fn answers_that_cannot_be_read_are_faults_and_lines_for_the_log_are_none_of_them() {
    if lacks_root() {
        return;
    }
    let a = descriptor(IMAGE_MANIFEST, b"a");
    let (good, entry) = (page(&[&a], ""), written(&a));
    for script in [
        format!("echo starting; echo '{good}'; echo done"),
        format!("echo '{{\"bad\":1}}' >&2; echo '{good}'"),
        format!("printf '{{\\n  \"nextToken\": \"\",\\n  \"referrers\": [\\n{entry}\\n]}}'"),
    ] {
        assert_eq!(Scripted::new(&script).referrers().await, Ok(vec![a.clone()]), "{script}");
    }
    let long = "x".repeat(limits::MEDIA_TYPE_BYTES + 1);
    for (script, cause) in [
        ("true".to_owned(), "nothing at all"),
        ("echo '{\"referrers\":[]}'".to_owned(), "missing field `nextToken`"),
        ("echo '{\"nextToken\":\"\"}'".to_owned(), "missing field `referrers`"),
        ("echo '{\"referrers\":{},\"nextToken\":\"\"}'".to_owned(), "invalid type: map"),
        ("echo '{\"referrers\":[],\"nextToken\":null}'".to_owned(), "invalid type: null"),
        ("echo '{\"referrers\":[],\"referrers\":[],\"nextToken\":\"\"}'".to_owned(), "given twice"),
        (format!("echo '{good}'; echo '{good}'"), "it printed no list of referrers that can be read"),
        ("echo '{\"referrers\":['".to_owned(), "it printed no list"),
        (format!("echo '{}'", good.replace("sha256:", "sha1:")), "is not a digest"),
        (format!("echo '{}'", good.replace(IMAGE_MANIFEST, "")), "does not say of which media type sha256:"),
        (format!("echo '{}'", good.replace(IMAGE_MANIFEST, &long)), "is longer than 255 bytes"),
        (
            format!("head -c {} /dev/zero", limits::REFERRERS_PAGE_BYTES + 1),
            "killed, it printed more than 4194304 bytes",
        ),
    ] {
        assert_says(Scripted::new(&script).referrers().await, &["LISTREFERRERS", cause]);
    }
}

#[tokio::test]
async fn a_digest_that_is_asked_for_is_described_or_nothing_is() {
    if lacks_root() {
        return;
    }
    let a = descriptor(IMAGE_MANIFEST, b"a");
    let store = Scripted::new(&format!("echo '{}'", written(&a)));
    assert_eq!(store.resolve("r.io/a:v1").await, Ok(a.clone()));
    assert_eq!(store.resolve(&format!("r.io/a@{}", a.digest)).await, Ok(a));
    let expected = format!("instead of {}", subject());
    assert_says(store.resolve(&format!("r.io/a:v1@{}", subject())).await, &["GETSUBJECTDESCRIPTOR", &expected]);
    assert_says(Scripted::new("echo '{}'").resolve("r.io/a").await, &["it printed no descriptor", "missing field"]);
}

#[tokio::test]
async fn a_plugin_that_breaks_hangs_or_is_not_trusted_is_a_fault_that_names_it() {
    if lacks_root() {
        return;
    }
    let error = r#"printf '{\n  "code": 8,\n  "msg": "plugin command failed",\n  "details": "no route"\n}\n'; exit 1"#;
    assert_says(
        Scripted::new(error).referrers().await,
        &["LISTREFERRERS: plugin /", "exit code 1: plugin command failed (error 8): no route"],
    );
    assert_says(Scripted::new("kill -SEGV $$").referrers().await, &["signal 11: nothing at all"]);
    let wanted = descriptor(BLOB, b"x");
    let hangs = Scripted::new("sleep 1000 & sleep 1000");
    let soon = Instant::now() + Duration::from_secs(1);
    let found = hangs.store.manifest(&repository(), &wanted, soon).await;
    assert!(matches!(&found, Err(error) if error.class() == Class::Time), "{found:?}");
    assert_says(found, &["GETBLOB", "killed, it had not ended after"]);
    let open = Scripted::new("echo x");
    crate::runner::testing::chmod(&open.programs.folder().join("evidence"), 0o777);
    assert_says(open.blob(&wanted, 5).await, &["GETBLOB", "must not be run: ", "chmod go-w"]);
}

#[tokio::test]
async fn a_plugin_reaches_nobody_unless_it_may() {
    if lacks_root() {
        return;
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let wanted = descriptor(BLOB, b"reached");
    let mut store = Scripted::new(&format!("exec 3<>/dev/tcp/127.0.0.1/{port} && printf reached"));
    assert_says(store.blob(&wanted, 10).await, &["it ended with exit code 1"]);
    store.store.plugin.network = true;
    assert_eq!(store.blob(&wanted, 10).await.unwrap(), b"reached"[..]);
}
