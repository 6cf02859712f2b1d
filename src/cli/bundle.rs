//! `ratifyctl verify-bundle`: one Sigstore bundle against a file or a digest, without any request. Reads the files, asks
//! [`sigstore::verify`](crate::sigstore::verify), says one line.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::digest::{self, SHA256, SHA384, SHA512};

use crate::artifact::hex;
use crate::cli::{Exit, Stop, out};
use crate::limits;
use crate::sigstore::bundle::{Content, Material, Signature};
use crate::sigstore::dsse::Statement;
use crate::sigstore::identity::{BadMatcher, Identity, Matcher};
use crate::sigstore::key::{Message, PublicKey};
use crate::sigstore::trusted_root::TrustedRoot;
use crate::sigstore::verify::{NamedKey, Signers, Trust, verify};
use crate::tuf::Known;
use crate::verdict::printable;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The bundle: signature, certificate and log entries in one file
    #[arg(long, value_name = "FILE")]
    bundle: PathBuf,
    /// The public key that must have signed, in PEM
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Who must have signed: the name in the certificate
    #[arg(
        long,
        value_name = "NAME",
        conflicts_with = "key",
        required_unless_present_any = ["key", "certificate_identity_regexp"]
    )]
    certificate_identity: Option<String>,
    /// Who must have signed: a regular expression, always over the whole name
    #[arg(long, value_name = "PATTERN", conflicts_with_all = ["key", "certificate_identity"])]
    certificate_identity_regexp: Option<String>,
    /// Who must have vouched for them: the issuer in the certificate
    #[arg(
        long,
        value_name = "URL",
        conflicts_with = "key",
        required_unless_present_any = ["key", "certificate_oidc_issuer_regexp"]
    )]
    certificate_oidc_issuer: Option<String>,
    /// Who must have vouched for them: a regular expression, always over the whole issuer
    #[arg(long, value_name = "PATTERN", conflicts_with_all = ["key", "certificate_oidc_issuer"])]
    certificate_oidc_issuer_regexp: Option<String>,
    /// The logs and authorities that are trusted: a trusted_root.json. Left out, an identity is judged by that of
    /// Sigstore's public services, as it was when this program was made, and a key alone counts
    #[arg(long, value_name = "FILE")]
    trusted_root: Option<PathBuf>,
    /// What must be signed: a file, or its digest as sha256:HEX
    #[arg(value_name = "FILE|sha256:HEX")]
    artifact: String,
}

/// What must be signed.
enum Artifact {
    File(Vec<u8>),
    Sha256([u8; 32]),
}

/// Says whether the bundle is a signature of the artifact by who is asked for.
pub(super) fn run(arguments: &Arguments) -> Result<Exit, Stop> {
    let signers = signers(arguments)?;
    let root = match (arguments.trusted_root.as_deref(), &arguments.key) {
        (Some(path), _) => Some(trusted_root(path)?),
        (None, Some(_)) => None,
        (None, None) => Some(public_root()?),
    };
    let artifact = Artifact::open(&arguments.artifact)?;
    let bundle = read(&arguments.bundle, limits::BUNDLE_BYTES, "the bundle")?;
    let name = printable(&arguments.artifact);
    let (exit, line) = match judge(&bundle, &artifact, signers, root, SystemTime::now()) {
        Ok(detail) => (Exit::Done, format!("{name}: valid: {detail}")),
        Err(cause) => (Exit::Denied, format!("{name}: not valid: {cause}")),
    };
    out::line(printable(&line))?;
    Ok(exit)
}

/// What was found, or why the signature does not count, in words.
fn judge(
    bundle: &[u8],
    artifact: &Artifact,
    signers: Signers,
    root: Option<TrustedRoot>,
    now: SystemTime,
) -> Result<String, String> {
    let signature = Signature::from_bundle(bundle).map_err(|cause| cause.to_string())?;
    let trust = trust(signers, root, &signature);
    let found = verify(&signature, &artifact.message(), &trust, now).map_err(|unmet| unmet.cause)?;
    if let Content::Dsse(envelope) = &signature.content {
        let statement = Statement::of(envelope).map_err(|cause| cause.to_string())?;
        if !artifact.is_named_by(&statement) {
            return Err(
                "the statement that is signed names another artifact: none of its subjects has this digest".into()
            );
        }
    }
    Ok(found.detail)
}

/// A keyless signature is judged by all that the trusted root names. With a key, entries and timestamps are judged where
/// they are there and the root names who makes them.
fn trust(signers: Signers, root: Option<TrustedRoot>, signature: &Signature) -> Trust {
    let has_logs = root.as_ref().is_some_and(|root| !root.logs().is_empty());
    let has_authorities = root.as_ref().is_some_and(|root| !root.timestamp_authorities().is_empty());
    // A root without such logs, as GitHub's, is of an authority that tells nobody of its certificates; who has told one all
    // the same must have told one that is trusted.
    let has_certificate_logs = root.as_ref().is_some_and(|root| !root.ct_logs().is_empty());
    let is_told = match &signature.material {
        Material::Certificate { leaf, .. } => !matches!(leaf.precertificate(), Ok(None)),
        Material::Key { .. } => false,
    };
    let is_keyless = !matches!(signers, Signers::Keys(_));
    Trust {
        signers,
        roots: root.into_iter().map(Arc::new).collect(),
        log: has_logs && (is_keyless || !signature.entries.is_empty()),
        sct: is_keyless && (has_certificate_logs || is_told),
        observer_time: is_keyless || (has_authorities && !signature.timestamps.is_empty()),
    }
}

fn signers(arguments: &Arguments) -> Result<Signers, Stop> {
    if let Some(path) = &arguments.key {
        let bytes = read(path, limits::TRUST_FILE_BYTES, "the key")?;
        let key = PublicKey::from_pem(&bytes).map_err(|cause| usage(format!("{}: {cause}", path.display())))?;
        return Ok(Signers::Keys(vec![NamedKey { name: path.display().to_string(), key }]));
    }
    let subject = matcher(
        ("--certificate-identity", arguments.certificate_identity.as_deref()),
        ("--certificate-identity-regexp", arguments.certificate_identity_regexp.as_deref()),
    )?;
    let issuer = matcher(
        ("--certificate-oidc-issuer", arguments.certificate_oidc_issuer.as_deref()),
        ("--certificate-oidc-issuer-regexp", arguments.certificate_oidc_issuer_regexp.as_deref()),
    )?;
    Ok(Signers::Keyless(vec![Identity::new(subject, issuer)]))
}

/// Of two options the one that is given.
fn matcher(exact: (&str, Option<&str>), pattern: (&str, Option<&str>)) -> Result<Matcher, Stop> {
    let bad = |option: &str, cause: BadMatcher| usage(format!("{option}: {cause}"));
    match (exact.1, pattern.1) {
        (Some(text), _) => Matcher::exact(text).map_err(|cause| bad(exact.0, cause)),
        (None, Some(text)) => Matcher::pattern(text).map_err(|cause| bad(pattern.0, cause)),
        (None, None) => Err(usage(format!("{} is missing", exact.0))),
    }
}

/// Sigstore's public one, as it was when this program was made.
fn public_root() -> Result<TrustedRoot, Stop> {
    let bytes = Known::PublicGood.trusted_root();
    TrustedRoot::parse(bytes).map_err(|cause| usage(format!("the public trusted root: {cause}; give --trusted-root")))
}

fn trusted_root(path: &Path) -> Result<TrustedRoot, Stop> {
    let bytes = read(path, limits::TRUST_FILE_BYTES, "the trusted root")?;
    TrustedRoot::parse(&bytes).map_err(|cause| usage(format!("{}: {cause}", path.display())))
}

impl Artifact {
    fn open(text: &str) -> Result<Self, Stop> {
        let Some(digits) = text.strip_prefix("sha256:") else {
            return read(Path::new(text), limits::SIGNED_FILE_BYTES, "the file").map(Self::File);
        };
        let byte = |at: usize| digits.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
        let is_hex = digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let bytes: Option<Vec<u8>> = (0..64).step_by(2).map(byte).collect();
        let hash = bytes.filter(|_| is_hex).and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        hash.map(Self::Sha256).ok_or_else(|| usage(format!("{text:?} is no digest: sha256: and 64 hexadecimal digits")))
    }

    fn message(&self) -> Message<'_> {
        match self {
            Self::File(bytes) => Message::Bytes(bytes),
            Self::Sha256(hash) => Message::Sha256(*hash),
        }
    }

    /// "Verifier MUST ensure that the artifact's digest/algorithm tuple is present in the list of subjects" (Sigstore,
    /// "Client Specification", section 4.5).
    fn is_named_by(&self, statement: &Statement) -> bool {
        let digests = match self {
            Self::File(bytes) => [("sha256", &SHA256), ("sha384", &SHA384), ("sha512", &SHA512)]
                .map(|(name, function)| (name, hex(digest::digest(function, bytes).as_ref())))
                .to_vec(),
            Self::Sha256(hash) => vec![("sha256", hex(hash))],
        };
        let is_named = |(name, hex): &(&str, String)| {
            statement.subjects.iter().any(|subject| subject.digest.get(*name).is_some_and(|found| found == hex))
        };
        digests.iter().any(is_named)
    }
}

/// Reads a file of at most so many bytes.
fn read(path: &Path, limit: u64, what: &str) -> Result<Vec<u8>, Stop> {
    let unreadable = |error| usage(format!("{what} {}: {error}", path.display()));
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(unreadable)?;
    if u64::try_from(bytes.len()).map_or(true, |found| found > limit) {
        return Err(usage(format!("{what} {} has more than {limit} bytes", path.display())));
    }
    Ok(bytes)
}

fn usage(message: impl Into<String>) -> Stop {
    Stop(Exit::Misconfigured, message.into())
}
