//! Signatures that demand a verification plugin: made by the real notation with a signing plugin, judged by notation
//! with the same plugin and by a node.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread;

use serde_json::json;
use tempfile::TempDir;

use super::common::node::{Daemon, LINK, Node};
use super::common::notation::{Key, Signer, TRUSTED, signers};
use super::common::plugins::{IDENTITY, NOBODY, install, metadata, script};
use super::common::registries::{Image, registries};
use super::common::tools::{run, tool};
use super::needs;

const NAME: &str = "org.example.test";

/// A signer of RSA, which a script can sign with, and its plugin: put in once, for all tests sign by it at once.
fn signer() -> &'static Signer {
    static SIGNER: OnceLock<Signer> = OnceLock::new();
    SIGNER.get_or_init(|| {
        let signer = signers().authority.signer(Key::Rsa(2048), TRUSTED);
        let folder = signer.folder();
        install(&folder.join(format!("notation/plugins/{NAME}/notation-{NAME}")), &signing(folder));
        signer
    })
}

/// An image with a signature that demands the plugin.
fn signed(name: &str) -> Image {
    let image = registries().referrers.image(&format!("plugins/{name}"));
    signer().sign_with(&image.by_digest(), &["--plugin", NAME, "--id", "leaf"]);
    image
}

/// A plugin that makes envelopes (plugin extensibility specification, `generate-envelope`).
fn signing(folder: &Path) -> String {
    let does = format!(
        r#"set -eu
b64() {{ base64 -w0; }}
b64url() {{ b64 | tr '+/' '-_' | tr -d '='; }}
payload=$(printf %s "$request" | sed 's/.*"payload":"\([^"]*\)".*/\1/' | base64 -d | b64url)
now=$(date -u +%Y-%m-%dT%H:%M:%SZ)
protected=$(printf %s '{{"alg":"PS256","cty":"application/vnd.cncf.notary.payload.v1+json","crit":["io.cncf.notary.signingScheme","io.cncf.notary.verificationPlugin","io.cncf.notary.verificationPluginMinVersion","org.example.ticket"],"io.cncf.notary.signingScheme":"notary.x509","io.cncf.notary.signingTime":"'"$now"'","io.cncf.notary.verificationPlugin":"{NAME}","io.cncf.notary.verificationPluginMinVersion":"1.0.0-rc.1","org.example.ticket":"42"}}' | b64url)
signature=$(printf %s "$protected.$payload" | openssl dgst -sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:32 -sign {folder}/leaf.key | b64url)
leaf=$(openssl x509 -in {folder}/leaf.crt -outform DER | b64)
root=$(openssl x509 -in {root} -outform DER | b64)
envelope=$(printf %s '{{"payload":"'"$payload"'","protected":"'"$protected"'","header":{{"x5c":["'"$leaf"'","'"$root"'"]}},"signature":"'"$signature"'"}}' | b64)
echo '{{"signatureEnvelope":"'"$envelope"'","signatureEnvelopeType":"application/jose+json","annotations":{{}}}}'"#,
        folder = folder.display(),
        root = signers().authority.certificate().display(),
    );
    script(&metadata(NAME, "1.0.0", &["SIGNATURE_GENERATOR.ENVELOPE"]), &does)
}

/// A plugin that judges identities, and says what it does.
fn judging(does: &str) -> String {
    script(&metadata(NAME, "1.0.0", &[IDENTITY]), does)
}

fn says(success: bool) -> String {
    judging(&format!(
        r#"echo '{{"verificationResults":{{"SIGNATURE_VERIFIER.TRUSTED_IDENTITY":{{"success":{success},"reason":"it is friday"}}}},"processedAttributes":["org.example.ticket"]}}'"#
    ))
}

/// What notation says of an image where this plugin is installed, if one is: whether it verifies, and its words.
fn notation(image: &Image, plugin: Option<&str>) -> (bool, String) {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("notation");
    let store = folder.join("truststore/x509/ca/test");
    fs::create_dir_all(&store).unwrap();
    fs::copy(signers().authority.certificate(), store.join("ca.crt")).unwrap();
    let policy = json!({
        "version": "1.0",
        "trustPolicies": [{
            "name": "all", "registryScopes": ["*"], "signatureVerification": { "level": "strict" },
            "trustStores": ["ca:test"], "trustedIdentities": ["x509.subject: C=US, ST=WA, O=somebody else"],
        }],
    });
    fs::write(folder.join("trustpolicy.json"), policy.to_string()).unwrap();
    fs::set_permissions(folder.join("trustpolicy.json"), Permissions::from_mode(0o600)).unwrap();
    if let Some(plugin) = plugin {
        install(&folder.join(format!("plugins/{NAME}/notation-{NAME}")), plugin);
    }
    let mut notation = Command::new(tool("notation"));
    notation.env("HOME", home.path()).env("XDG_CONFIG_HOME", home.path()).env("XDG_CACHE_HOME", home.path());
    let ran = run(notation.args(["verify", "--verbose", "--insecure-registry"]).arg(image.by_digest()));
    (ran.code == Some(0), ran.stdout + &ran.stderr)
}

/// A folder of plugins that everybody may look into.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    folder
}

/// A configuration whose identity nobody has: the plugin's word alone can make a signature count.
fn config(plugins: &Path, more: &str) -> String {
    format!(
        "{}[plugins]\npath = {plugins:?}\nuser = \"{NOBODY}\"\n{more}\n",
        super::common::node::executor(
            &format!("\"{}\"", registries().referrers.host),
            "",
            &signers().authority.certificate()
        )
        .replace("O=ratifyd test", "O=somebody else")
    )
}

#[test]
fn a_signature_that_demands_a_plugin_is_judged_by_it_as_notation_judges_it() {
    needs!();
    let plugins = folder();
    let node = Node::over(Daemon::start(&config(plugins.path(), "")), LINK, &[]);
    let program = plugins.path().join(NAME).join(format!("notation-{NAME}"));
    let image = signed("allowed");

    let (verified, words) = notation(&image, None);
    assert!(!verified && words.contains("error while locating the verification plugin"), "{words}");
    let missing = format!("plugin \"{NAME}\", which is not installed: put notation-{NAME} into");
    node.refuses(&image, "DENIED", &missing);

    install(&program, &says(true));
    let (verified, words) = notation(&image, Some(&says(true)));
    assert!(verified, "{words}");
    node.allows(&image, "ALLOWED");

    // What the plugin alone understands, and does not process.
    let leaves = says(true).replace(r#"["org.example.ticket"]"#, "[]");
    install(&program, &leaves);
    let image = signed("unprocessed");
    let (verified, words) = notation(&image, Some(&leaves));
    assert!(!verified && words.contains("was not processed by the verification plugin"), "{words}");
    node.refuses(&image, "DENIED", "the critical attribute \"org.example.ticket\"");

    let old = says(true).replace(r#""version":"1.0.0""#, r#""version":"0.9.0""#);
    install(&program, &old);
    let (verified, words) = notation(&image, Some(&old));
    assert!(!verified && words.contains("needs plugin version greater than or equal to 1.0.0-rc.1"), "{words}");
    node.refuses(&image, "DENIED", "it has version 0.9.0, and the signature asks for 1.0.0-rc.1 or later");

    // A changed plugin counts at once: what was allowed before is asked for again.
    install(&program, &says(false));
    let (verified, words) = notation(&signed("denied"), Some(&says(false)));
    assert!(!verified && words.contains("it is friday"), "{words}");
    let again = signed("again");
    node.refuses(&again, "DENIED", &format!("plugin {NAME}: it is friday"));
}

#[test]
fn a_plugin_that_hangs_or_floods_costs_its_own_image_alone() {
    needs!();
    let plugins = folder();
    let node = Node::over(Daemon::start(&config(plugins.path(), "timeout = \"1s\"")), LINK, &[]);
    let program = plugins.path().join(format!("notation-{NAME}"));
    install(&program, &judging("sleep 1000 & sleep 1000"));
    let image = signed("hangs");
    node.refuses(&image, "UNAVAILABLE", "killed, it had not ended after");
    install(&program, &judging("exec yes"));
    node.refuses(&image, "UNAVAILABLE", "killed, it printed more than");
    install(&program, &says(true));
    node.allows(&image, "ALLOWED");
}

/// The runner that systemd starts behind a socket, without systemd: as root listens, and each connection gets a
/// `ratifyd run-plugin` of another user.
struct Socket {
    path: PathBuf,
}

impl Socket {
    fn listen(folder: &Path, ratifyd: &Path) -> Self {
        let path = folder.join("plugins.sock");
        let listener = UnixListener::bind(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        let ratifyd = ratifyd.to_owned();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut runner = as_user(NOBODY, &ratifyd);
                let runner = runner.arg("run-plugin").stdin(Stdio::from(std::os::fd::OwnedFd::from(stream.unwrap())));
                let mut runner = runner.stdout(Stdio::null()).spawn().unwrap();
                thread::spawn(move || runner.wait());
            }
        });
        Self { path }
    }
}

fn as_user(user: &str, program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", user, "--regid", user, "--clear-groups", "--"]).arg(program).env_clear();
    command
}

#[test]
fn without_root_plugins_run_behind_a_socket_that_root_listens_on() {
    needs!();
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let [ratifyd, ratifyctl] = [env!("CARGO_BIN_EXE_ratifyd"), env!("CARGO_BIN_EXE_ratifyctl")].map(|from| {
        let to = at(Path::new(from).file_name().unwrap().to_str().unwrap());
        fs::copy(from, &to).unwrap();
        to
    });
    let image = signed("socket");
    let socket = at("plugins.sock");
    let ca = at("ca.crt");
    fs::copy(signers().authority.certificate(), &ca).unwrap();
    fs::set_permissions(&ca, Permissions::from_mode(0o644)).unwrap();
    let text = config(&at("plugins"), &format!("socket = {socket:?}"));
    let text = text.replace(&signers().authority.certificate().display().to_string(), &ca.display().to_string());
    fs::write(at("config.toml"), text).unwrap();
    fs::set_permissions(at("config.toml"), Permissions::from_mode(0o644)).unwrap();
    let verify = || {
        let mut verify = as_user("65533", &ratifyctl);
        let ran = run(verify.arg("verify").arg("--config").arg(at("config.toml")).arg(image.by_digest()));
        (ran.code, ran.stdout + &ran.stderr)
    };
    let program = at("plugins").join(format!("notation-{NAME}"));
    install(&program, &judging("id -u >&2; exit 1"));
    fs::set_permissions(at("plugins"), Permissions::from_mode(0o755)).unwrap();

    let (code, words) = verify();
    assert!(code == Some(3) && words.contains("systemctl start ratifyd-plugins.socket"), "{words}");
    let listens = Socket::listen(folder.path(), &ratifyd);
    assert_eq!(listens.path, socket);
    let (code, words) = verify();
    assert!(code == Some(3) && words.contains("verify-signature: exit code 1: 65534"), "{words}");
    install(&program, &says(true));
    let (code, words) = verify();
    assert!(code == Some(0) && words.contains("ALLOWED"), "{words}");
    install(&program, &says(false));
    let (code, words) = verify();
    assert!(code == Some(1) && words.contains("it is friday"), "{words}");
    fs::set_permissions(&program, Permissions::from_mode(0o757)).unwrap();
    let (code, words) = verify();
    assert!(code == Some(1) && words.contains("can be written by everybody"), "{words}");
}
