//! What a Cosign verifier is told: trust policies with their keys and identities, trusted roots, what a signature must be
//! bound to. Made by the decoder, which has checked all that needs nothing but the text; `assemble` opens the files.
//! Nothing here is trusted yet.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use crate::config::{KeyMaterial, Place, Spanned, TufSource};

/// What a Cosign verifier trusts, and what it asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cosign {
    /// Who is trusted where; at least one, and none about what another is about.
    pub policies: Vec<CosignPolicy>,
    /// What keyless signatures, logs and timestamps are judged by.
    pub trusted_roots: Vec<NamedRoot>,
    /// The attestations that are asked for, by what they say; none: signatures are.
    pub predicate_types: Vec<String>,
    /// Whether the name that a signature states counts.
    pub docker_reference: DockerReference,
    /// Under which names images were signed that are pulled under others.
    pub remap: Vec<Rewrite>,
    /// Where signatures lie that are not beside their images.
    pub signature_repository: Vec<Rewrite>,
    /// How many signatures of one image are judged at most.
    pub max_signatures: usize,
}

/// One trust policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CosignPolicy {
    /// Its name, where it has one; no other policy has it.
    pub name: Option<Spanned<String>>,
    /// Where it stands.
    #[serde(skip)]
    pub place: Place,
    /// Patterns of repositories, as written; none: wherever the verifier is asked.
    pub scopes: Vec<Spanned<String>>,
    /// Who is trusted.
    pub signers: CosignSigners,
    /// Whether a transparency log must have the signature.
    pub log: bool,
    /// Whether a certificate transparency log must have the certificate.
    pub sct: bool,
    /// Whether somebody trusted must say when it was signed. Of certificates that is always asked.
    pub timestamp: bool,
    /// The trusted roots that count, by name; none: all that there are.
    pub trusted_roots: Option<Vec<Spanned<String>>>,
    /// What every signature must state.
    pub annotations: BTreeMap<String, String>,
}

/// Who is trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum CosignSigners {
    /// Whoever has one of these keys; at least one source.
    Keys(Vec<CosignKeys>),
    /// Whoever has a certificate of a trusted root's authority for one of these identities; at least one.
    Keyless(Vec<CertificateIdentity>),
    /// The same under an authority of the operator's own.
    Chain {
        /// Files with its roots; at least one.
        roots: Vec<Spanned<PathBuf>>,
        /// Files with those between a root and a signer, where signatures do not bring them.
        intermediates: Vec<Spanned<PathBuf>>,
        /// The identities.
        identities: Vec<CertificateIdentity>,
    },
}

/// Public keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CosignKeys {
    /// Whose they are, in words; keys of one name are one signer.
    pub name: Option<String>,
    /// Where they are.
    pub material: KeyMaterial,
}

/// Whom a certificate must be for. All of it must hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CertificateIdentity {
    /// The signer.
    pub subject: IdentityMatch,
    /// Who vouched for the signer to the authority. Keyless identities have one, those of an own authority none.
    pub issuer: Option<IdentityMatch>,
    /// What else the certificate must say (Fulcio's extensions), by name.
    pub extensions: BTreeMap<String, Spanned<String>>,
}

/// What a value must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum IdentityMatch {
    /// This text.
    Exact(Spanned<String>),
    /// Text that a regular expression matches as a whole.
    Pattern(Spanned<String>),
    /// A certificate's subject with these attributes.
    Distinguished(Spanned<String>),
}

/// A trusted root and its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NamedRoot {
    /// No other root has it.
    pub name: Spanned<String>,
    /// Where it is.
    pub source: RootSource,
}

/// Where a trusted root is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum RootSource {
    /// A file, `trusted_root.json`, by its absolute path.
    File(Spanned<PathBuf>),
    /// A TUF repository.
    Tuf(Spanned<TufSource>),
}

/// Whether the name that a signature states counts. Sigstore bundles state none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum DockerReference {
    /// It is the image's repository, and nothing more.
    Exact,
    /// It is the image's repository, whatever the tag.
    Repository,
    /// It does not count.
    Ignore,
}

/// Repositories by a pattern, and what stands for them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rewrite {
    /// A pattern of repositories, as written.
    pub from: Spanned<String>,
    /// A repository; or one or a registry with `/*`, which stands for what is below the pattern.
    pub to: Spanned<String>,
}
