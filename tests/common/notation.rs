//! Certificate authorities made by openssl, and signers that sign with the real notation.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::tools::{run, shared_folder, tool, until};

/// What a signing key is made of.
#[derive(Clone, Copy, Debug)]
pub enum Key {
    /// RSA, with so many bits.
    Rsa(u16),
    /// A named curve.
    Curve(&'static str),
    /// Ed25519, which cosign alone takes.
    Ed25519,
}

/// The identity that the tests' configurations trust.
pub const TRUSTED: &str = "/C=US/ST=WA/O=ratifyd test/CN=release";

/// Another identity of the same authority.
pub const OTHER: &str = "/C=US/ST=WA/O=someone else/CN=release";

/// Authorities and signers that all tests of a process share.
pub struct Signers {
    /// The authority that the tests' configurations trust.
    pub authority: Authority,
    /// Trusted.
    pub trusted: Signer,
    /// Under the trusted authority, with [`OTHER`] as its identity.
    pub other_identity: Signer,
    /// With the trusted identity's name, under an authority that nobody trusts.
    pub other_authority: Signer,
}

/// The shared signers; they are made by whoever asks first.
pub fn signers() -> &'static Signers {
    static SHARED: OnceLock<Signers> = OnceLock::new();
    SHARED.get_or_init(|| {
        let authority = Authority::create();
        let p256 = Key::Curve("P-256");
        Signers {
            trusted: authority.signer(p256, TRUSTED),
            other_identity: authority.signer(p256, OTHER),
            other_authority: Authority::create().signer(p256, TRUSTED),
            authority,
        }
    })
}

/// A root authority.
pub struct Authority {
    folder: PathBuf,
    /// Held while it issues: openssl keeps a list in a file.
    issuing: Mutex<()>,
}

impl Authority {
    /// A new one; all have the same name.
    pub fn create() -> Self {
        let folder = shared_folder();
        new_key(&folder.join("ca.key"), Key::Curve("P-256"));
        fs::write(folder.join("leaf.ext"), LEAF_EXTENSIONS).unwrap();
        fs::write(folder.join("ca.cnf"), CA_CONFIG).unwrap();
        fs::write(folder.join("index.txt"), "").unwrap();
        fs::write(folder.join("ca.ext"), CA_EXTENSIONS).unwrap();
        openssl(&folder, "req -new -key ca.key -out ca.csr -subj")
            .arg("/C=US/ST=WA/O=ratifyd test/CN=test root")
            .succeed();
        // Valid for a while already: a timestamp says within how many seconds it was made.
        let hour_ago = SystemTime::now() - Duration::from_secs(60 * 60);
        openssl(
            &folder,
            "ca -batch -notext -selfsign -config ca.cnf -keyfile ca.key -extfile ca.ext -in ca.csr -out ca.crt",
        )
        .args(["-outdir", ".", "-days", "30", "-startdate", &utc(hour_ago)])
        .succeed();
        Self { folder, issuing: Mutex::new(()) }
    }

    /// Its certificate's file.
    pub fn certificate(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// A signer under this authority.
    pub fn signer(&self, key: Key, subject: &str) -> Signer {
        self.issue(key, subject, SystemTime::now() + Duration::from_secs(24 * 60 * 60))
    }

    /// A signer whose certificate is valid for a few seconds, and when it ends.
    pub fn brief_signer(&self, subject: &str) -> (Signer, SystemTime) {
        let end = SystemTime::now() + Duration::from_secs(8);
        (self.issue(Key::Curve("P-256"), subject, end), end)
    }

    fn issue(&self, key: Key, subject: &str, end: SystemTime) -> Signer {
        let folder = shared_folder();
        let path = |name: &str| folder.join(name).display().to_string();
        new_key(&folder.join("leaf.key"), key);
        openssl(&folder, "req -new -key leaf.key -out leaf.csr -subj").arg(subject).succeed();
        let hour_ago = SystemTime::now() - Duration::from_secs(60 * 60);
        let issuing = self.issuing.lock().unwrap();
        openssl(&self.folder, "ca -batch -notext -config ca.cnf -cert ca.crt -keyfile ca.key -extfile leaf.ext")
            .args(["-startdate", &utc(hour_ago), "-enddate", &utc(end)])
            .args(["-in", &path("leaf.csr"), "-out", &path("leaf.crt"), "-outdir", &path("")])
            .succeed();
        drop(issuing);
        let chain = [folder.join("leaf.crt"), self.certificate()].map(|file| fs::read_to_string(file).unwrap());
        fs::write(folder.join("leaf.chain"), chain.concat()).unwrap();
        Signer::of(folder)
    }
}

/// A key that signs, as notation knows it.
pub struct Signer {
    folder: PathBuf,
}

impl Signer {
    /// That of a folder with `leaf.key`, and `leaf.chain` from the leaf to the root.
    pub fn of(folder: PathBuf) -> Self {
        let path = |name: &str| folder.join(name).display().to_string();
        let keys = json!({
            "default": "leaf",
            "keys": [{ "name": "leaf", "keyPath": path("leaf.key"), "certPath": path("leaf.chain") }],
        });
        fs::create_dir(folder.join("notation")).unwrap();
        fs::write(folder.join("notation/signingkeys.json"), keys.to_string()).unwrap();
        Self { folder }
    }

    /// Where its key (`leaf.key`), its certificate (`leaf.crt`) and notation's files for it lie.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Signs an image in its registry.
    pub fn sign(&self, reference: &str) {
        self.sign_with(reference, &[]);
    }

    /// The folder that is its home: notation's configuration is below `notation`.
    pub fn home(&self) -> &Path {
        &self.folder
    }

    /// Signs an image in its registry, with more arguments for notation.
    pub fn sign_with(&self, reference: &str, arguments: &[&str]) {
        let mut notation = Command::new(tool("notation"));
        notation.env("HOME", &self.folder).env("XDG_CONFIG_HOME", &self.folder).env("XDG_CACHE_HOME", &self.folder);
        // Without the referrers API notation falls back to the tag by itself.
        notation.args(["sign", "--insecure-registry", "--force-referrers-tag=false"]).args(arguments).arg(reference);
        run(&mut notation).success();
    }
}

/// Waits for the second after a moment: certificates and signatures end with a second.
pub fn wait_past(moment: SystemTime) {
    until("the clock", || SystemTime::now() > moment + Duration::from_secs(1));
}

/// Makes a private key.
pub fn new_key(file: &Path, key: Key) {
    let (algorithm, options) = match key {
        Key::Rsa(bits) => ("RSA", vec![format!("rsa_keygen_bits:{bits}")]),
        Key::Ed25519 => ("ED25519", Vec::new()),
        Key::Curve(name) => ("EC", vec![format!("ec_paramgen_curve:{name}"), "ec_param_enc:named_curve".to_owned()]),
    };
    let mut genpkey = openssl(file.parent().unwrap(), "genpkey -quiet -algorithm");
    genpkey.arg(algorithm).arg("-out").arg(file);
    for option in &options {
        genpkey.args(["-pkeyopt", option]);
    }
    genpkey.succeed();
}

fn openssl(folder: &Path, words: &str) -> Command {
    let mut command = Command::new("openssl");
    command.current_dir(folder).args(words.split(' '));
    command
}

/// A command that must succeed.
trait Succeed {
    fn succeed(&mut self);
}

impl Succeed for Command {
    fn succeed(&mut self) {
        run(self).success();
    }
}

/// A moment as openssl takes it: `YYYYMMDDHHMMSSZ`.
fn utc(moment: SystemTime) -> String {
    let seconds = moment.duration_since(UNIX_EPOCH).unwrap().as_secs();
    let moment = time::OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).unwrap()).unwrap();
    let (date, time) = (moment.date(), moment.time());
    format!(
        "{:04}{:02}{:02}{:02}{:02}{:02}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        time.hour(),
        time.minute(),
        time.second()
    )
}

const LEAF_EXTENSIONS: &str = "basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=codeSigning
";

const CA_EXTENSIONS: &str = "basicConstraints=critical,CA:TRUE
keyUsage=critical,keyCertSign
";

const CA_CONFIG: &str = "[ca]
default_ca = c
[c]
database = index.txt
rand_serial = yes
default_md = sha256
policy = p
unique_subject = no
[p]
countryName = optional
stateOrProvinceName = optional
organizationName = optional
commonName = supplied
";
