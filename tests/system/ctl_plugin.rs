//! Plugins of Ratify's protocol beside a whole node: what `ratifyctl plugin test` shows of a verifier, and a store whose
//! evidence decides pulls.

use std::fs;
use std::path::{Path, PathBuf};

use ratify::artifact::{Descriptor, EMPTY_CONFIG, IMAGE_MANIFEST};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::plugins::{NOBODY, install};
use crate::common::registry::{Registry, describe};
use crate::node::{MANIFEST, Node, SIGNATURE, chmod, executor};
use crate::programs::{CTL, Launch, is_root, run, skip};

const REPORT: &str = "application/vnd.example.report";

/// A plugin that takes reports that its configuration wants.
const JUDGE: &str = r#"#!/bin/sh
request=$(cat)
wanted=${request#*\"wanted\":\"}
wanted=${wanted%%\"*}
echo "WARN: looking for $wanted" >&2
if grep -q "$wanted" layout/blobs/sha256/*; then echo '{"isSuccess":true,"message":"it is there"}'
else echo '{"isSuccess":false,"message":"it is not there"}'; fi
"#;

/// A folder of plugins with one in it.
fn plugin(name: &str, text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    chmod(folder.path(), 0o755);
    let path = folder.path().join(name);
    install(&path, text);
    (folder, path)
}

/// An image with a report and something else, and the report.
fn reported(registry: &Registry) -> (Descriptor, Descriptor) {
    let image = registry.image("acme/web", "v1");
    registry.attach("acme/web", &image, "application/vnd.example.other", &[]);
    let report = registry.attach("acme/web", &image, REPORT, &[("text/plain", b"all is fine")]);
    (image, report)
}

fn verifier(registry: &Registry, folder: &Path, wanted: &str) -> String {
    format!(
        "[plugins]\npath = {folder:?}\nuser = \"{NOBODY}\"\n[[executors]]\nscopes = [\"{}\"]\n[[executors.verifiers]]\n\
         name = \"report\"\ntype = \"plugin\"\n[executors.verifiers.parameters]\nplugin = \"judge\"\n\
         artifactTypes = [\"{REPORT}\"]\nenvironment = [\"TOKEN\", \"UNSET\"]\nconfig = {{ wanted = {wanted:?} }}\n",
        registry.host()
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn plugin_test_shows_what_goes_over_the_wire_and_no_secret_and_ends_as_the_plugin_says() {
    if !is_root() {
        return skip("needs root");
    }
    let registry = Registry::start().await;
    let (image, report) = reported(&registry);
    let (folder, path) = plugin("judge", JUDGE);
    let node = Node::down(&verifier(&registry, folder.path(), "fine"));
    let name = format!("{}/acme/web:v1", registry.host());
    let test = |arguments: &[&str]| {
        let arguments = [&["plugin", "test", "--verifier", "report", &name], arguments].concat();
        run(node.ctl_command(Path::new(CTL), &arguments).env("TOKEN", "s3cret"))
    };
    let text = test(&[]).ended(0);
    let blob = describe("text/plain", b"all is fine").digest;
    for line in [
        format!("{name} {}", image.digest),
        format!("{REPORT} {}", report.digest),
        format!("  plugin  {}", path.display()),
        "  env     RATIFY_VERIFIER_COMMAND=VERIFY".to_owned(),
        format!("  env     RATIFY_VERIFIER_SUBJECT={}/acme/web@{}", registry.host(), image.digest),
        "  env     TOKEN=(not shown)".to_owned(),
        "  network no".to_owned(),
        format!("  file    layout/blobs/sha256/{} (11 bytes)", blob.hex()),
        "  stdin       \"wanted\": \"fine\"".to_owned(),
        "  ended   exit code 0".to_owned(),
        "  stdout  {\"isSuccess\":true,\"message\":\"it is there\"}".to_owned(),
        "  stderr  WARN: looking for fine".to_owned(),
        "  passed  it is there".to_owned(),
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert!(text.contains("it is of type \"application/vnd.example.other\""), "{text}");
    assert!(!text.contains("s3cret") && !text.contains("UNSET"), "{text}");

    let document: Value = serde_json::from_str(&test(&["--output", "json"]).ended(0)).unwrap();
    assert_eq!((&document["schemaVersion"], &document["verifier"]), (&json!(1), &json!("report")));
    let [ran] = document["runs"].as_array().unwrap().as_slice() else { panic!("{document}") };
    assert_eq!((&ran["outcome"], &ran["detail"]), (&json!("passed"), &json!("it is there")), "{ran}");
    assert_eq!(ran["request"]["environment"]["TOKEN"], Value::Null);
    assert_eq!(ran["request"]["stdin"]["referenceDesc"]["digest"], report.digest.as_str());
    assert_eq!(ran["reply"]["stderr"], "WARN: looking for fine\n");
    assert!(!document.to_string().contains("s3cret"));

    node.configure(&verifier(&registry, folder.path(), "bad"));
    let text = test(&[]).ended(1);
    assert!(text.contains(&format!("  failed  plugin {}: it is not there", path.display())), "{text}");
    install(&path, "#!/bin/sh\necho so '{'; echo so '{' >&2; exit 3\n");
    let text = test(&[]).ended(1);
    assert!(text.contains("  ended   exit code 3\n  stdout  so {\n  stderr  so {\n"), "{text}");
    assert!(text.contains("  fault   plugin /") && text.contains("it ended with exit code 3"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn plugin_test_needs_no_configuration_and_says_what_it_lacks() {
    if !is_root() {
        return skip("needs root");
    }
    let registry = Registry::start().await;
    reported(&registry);
    registry.image("acme/web", "v2");
    let (folder, path) = plugin("judge", JUDGE);
    let node = Node::down(&format!(
        "unmatched = \"allow\"\n[plugins]\nuser = \"{NOBODY}\"\n{}",
        executor("other.example", "")
    ));
    let [v1, v2] = ["v1", "v2"].map(|tag| format!("{}/acme/web:{tag}", registry.host()));
    let path = path.to_str().unwrap();
    let plain = ["plugin", "test", "--plugin", path, "--artifact-type", REPORT, "--plugin-config"];
    let text = node.ctl(&[&plain[..], &[r#"{"wanted":"fine"}"#, &v1]].concat()).ended(0);
    assert!(text.contains("  stdin       \"type\": \"judge\",") && text.contains("  passed  it is there"), "{text}");
    let text = node.ctl(&[&plain[..], &["{}", &v2]].concat()).ended(1);
    assert!(text.contains("nothing refers to it that judge judges"), "{text}");
    assert!(node.ctl(&[&plain[..], &["[]", &v1]].concat()).complained(2).contains("it is no JSON object"));
    for (arguments, words) in [
        (vec![&*v1], "--verifier <NAME>"),
        (vec!["--plugin", path, &v1], "--artifact-type"),
        (vec!["--verifier", "acme", &v1], "no verifier of type \"plugin\" is called \"acme\""),
    ] {
        let cause = node.ctl(&[&["plugin", "test"], &arguments[..]].concat()).complained(2);
        assert!(cause.contains(words), "{cause}");
    }
    chmod(Path::new(path), 0o777);
    let text = node.ctl(&[&plain[..], &["{}", &v1]].concat()).ended(1);
    assert!(text.contains("must not be run") && text.contains("chmod go-w"), "{text}");
    drop(folder);
}

/// A store that lists these and has these contents.
fn store(listed: &[&Descriptor], contents: &[(&Descriptor, &str)]) -> String {
    let list = json!({ "referrers": listed, "nextToken": "" });
    let blob =
        |(known, text): &(&Descriptor, &str)| format!("\"GETBLOB digest={}\") printf %s '{text}' ;;\n", known.digest);
    format!(
        "#!/bin/sh\ncat > /dev/null\ncase \"$RATIFY_STORE_COMMAND $RATIFY_STORE_ARGS\" in\n\
         \"LISTREFERRERS nextToken=;artifactTypes=\") printf %s '{list}' ;;\n{}\
         *) echo \"no $RATIFY_STORE_COMMAND\" >&2; exit 1 ;;\nesac\n",
        contents.iter().map(blob).collect::<String>()
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn evidence_of_a_store_that_is_a_plugin_decides_and_counts_by_its_digest_alone() {
    if !is_root() {
        return skip("needs root");
    }
    let image = describe(IMAGE_MANIFEST, MANIFEST.as_bytes());
    let signature = str::from_utf8(SIGNATURE).unwrap();
    let envelope = describe("application/jose+json", SIGNATURE);
    let body = json!({
        "schemaVersion": 2, "mediaType": IMAGE_MANIFEST, "artifactType": "application/vnd.cncf.notary.signature",
        "config": describe(EMPTY_CONFIG, b"{}"), "layers": [&envelope], "subject": &image,
    });
    let body = body.to_string();
    let manifest = describe(IMAGE_MANIFEST, body.as_bytes());
    let good = store(&[&manifest], &[(&manifest, &body), (&envelope, signature)]);
    let (folder, path) = plugin("evidence", &good);
    let stores = "stores = [{ type = \"plugin\", parameters = { plugin = \"evidence\" } }]";
    let node = Node::start(&format!(
        "[remember]\nallow = \"0s\"\ndeny = \"0s\"\n[plugins]\npath = {:?}\nuser = \"{NOBODY}\"\n{}",
        folder.path(),
        executor("nowhere.example", stores)
    ));
    // Nobody is asked but the plugin: the registry is not there.
    let pull = || node.pull("nowhere.example/acme/web:v1", &image);
    pull().allows("ALLOWED", "acme");
    let forged = body.replace("signature", "signaturf");
    install(&path, &store(&[&manifest], &[(&manifest, &forged), (&envelope, signature)]));
    pull().refuses("UNAVAILABLE", &format!("GETBLOB {}", manifest.digest));
    install(&path, &store(&[&manifest], &[(&manifest, &body), (&envelope, &signature.replace('e', "f"))]));
    pull().refuses("UNAVAILABLE", &format!("plugin {}", path.display()));
    install(&path, &store(&[], &[]));
    pull().refuses("DENIED", "nothing refers to this image");
    fs::remove_file(&path).unwrap();
    pull().refuses("MISCONFIGURED", "this plugin is not run");
    let status = node.status();
    let problems = status["problems"].as_array().unwrap();
    assert!(problems.iter().any(|problem| problem.as_str().unwrap().contains("stores[0]")), "{status}");
    install(&path, &good);
    pull().allows("ALLOWED", "acme");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn another_value_of_a_variable_that_a_plugin_gets_is_another_generation() {
    if !is_root() {
        return skip("needs root");
    }
    let registry = Registry::start().await;
    let (folder, _) = plugin("judge", JUDGE);
    let mut node = Node::down(&verifier(&registry, folder.path(), "fine"));
    let mut generation = |variable: &str| {
        node.daemon = None;
        node.launch(Launch { wrapper: &["env", variable], ..Launch::default() });
        let status = node.status();
        assert_eq!(status["problems"], json!([]), "{status}");
        assert!(!status.to_string().contains(variable), "{status}");
        status["generation"].as_str().unwrap().to_owned()
    };
    let [one, two, other, again] = ["TOKEN=one", "TOKEN=two", "OTHER=one", "TOKEN=one"].map(&mut generation);
    assert!(one != two && one != other && two != other && one == again);
}
