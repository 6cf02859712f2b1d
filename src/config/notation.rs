//! What a Notation verifier is told: trust policies, trust stores, levels (Notary Project, trust store and trust policy
//! specification). Made by the decoder, which has checked all that needs nothing but the text; `assemble` opens the
//! files. Nothing here is trusted yet.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Serialize, Serializer};

use crate::config::{KeyMaterial, Place, Spanned};
use crate::reference::Repository;

/// What a Notation verifier trusts, and what it asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Notation {
    /// What is trusted where.
    pub policy: TrustPolicySource,
    /// The trust stores that statements name; those of [`TrustPolicySource::Folder`] lie in the folder.
    pub stores: Vec<TrustStore>,
    /// What every signature must state (user metadata).
    pub user_metadata: BTreeMap<String, String>,
    /// What verification plugins are told.
    pub plugin_config: BTreeMap<String, String>,
    /// Whether a statement of level `skip` exempts what it is about; else it satisfies nothing.
    pub allow_skip: bool,
}

/// Where the statements of a trust policy are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum TrustPolicySource {
    /// The one that Ratify v2 makes up of the verifier's own keys: every trust store, and no repository left out.
    Implied(Statement),
    /// In the configuration.
    Statements(Vec<Statement>),
    /// In a file, by its absolute path.
    File(Spanned<PathBuf>),
    /// In a folder laid out as notation's, with its trust stores, by its absolute path.
    Folder(Spanned<PathBuf>),
}

/// One statement of a trust policy ("OCI Trust Policy").
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Statement {
    /// Its name; no other statement of its policy has it.
    pub name: Spanned<String>,
    /// What it is about; no repository is in two statements of a policy.
    pub scopes: RegistryScopes,
    /// What it asks for.
    pub asks: Asks,
}

impl Statement {
    /// The trust stores that it names one by one.
    #[must_use]
    pub fn stores(&self) -> &[Spanned<StoreName>] {
        match &self.asks {
            Asks::Signature { stores: Named::These(stores), .. } => stores,
            Asks::Signature { stores: Named::All, .. } | Asks::Nothing => &[],
        }
    }
}

/// Which repositories a statement is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum RegistryScopes {
    /// All that no other statement names: `*`.
    Any,
    /// These.
    Repositories(#[serde(serialize_with = "as_text")] Vec<Repository>),
}

fn as_text<S: Serializer>(repositories: &[Repository], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(repositories.iter().map(Repository::to_string))
}

/// What a statement asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Asks {
    /// Nothing: level `skip`.
    Nothing,
    /// A signature.
    Signature {
        /// What is enforced of it.
        level: Level,
        /// When a timestamp is asked for.
        verify_timestamp: VerifyTimestamp,
        /// The trust stores.
        stores: Named,
        /// Whose signatures count, as written; at least one.
        identities: Vec<Spanned<String>>,
    },
}

/// The trust stores that a statement names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Named {
    /// All that there are.
    All,
    /// These; at least one vouches for signers.
    These(Vec<Spanned<StoreName>>),
}

/// A trust store as a statement names it: `ca:acme`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct StoreName {
    /// Its type.
    pub store_type: StoreType,
    /// Its name, of letters, digits, dots, underscores and hyphens; neither `.` nor `..`.
    pub name: String,
}

impl fmt::Display for StoreName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.store_type.as_str(), self.name)
    }
}

/// A trust store; no other has its type and name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TrustStore {
    /// What its certificates vouch for.
    pub store_type: StoreType,
    /// Its name; none: it answers to each name of its type that no other store has (Ratify v1's `verificationCerts`).
    pub name: Option<String>,
    /// Where its certificates are; at least one source.
    pub material: Vec<KeyMaterial>,
}

impl Notation {
    /// The trust store that a name finds.
    ///
    /// # Errors
    /// There is none.
    pub fn find(&self, name: &StoreName) -> Result<&TrustStore, Undefined> {
        let of_name = |wanted: Option<&str>| {
            self.stores.iter().find(|it| it.store_type == name.store_type && it.name.as_deref() == wanted)
        };
        of_name(Some(&name.name)).or_else(|| of_name(None)).ok_or_else(|| self.undefined(name))
    }

    fn undefined(&self, name: &StoreName) -> Undefined {
        let known = self.stores.iter().filter_map(|store| {
            let name = store.name.clone()?;
            Some(StoreName { store_type: store.store_type, name }.to_string())
        });
        let known: Vec<String> = known.collect();
        let hint = if known.is_empty() {
            let store_type = name.store_type.as_str();
            format!("add {{ type = {store_type:?}, name = {:?}, files = [...] }} to certificates", name.name)
        } else {
            format!("there is {}", known.join(", "))
        };
        Undefined { message: format!("nothing defines the trust store \"{name}\""), hint }
    }
}

/// A statement names a trust store that is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undefined {
    /// Which one.
    pub message: String,
    /// The mend.
    pub hint: String,
}

impl TrustStore {
    /// Where it is defined.
    #[must_use]
    pub fn place(&self) -> Option<&Place> {
        self.material.first().map(KeyMaterial::place)
    }
}

/// What becomes of a validation that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Action {
    /// The signature does not count.
    Enforce,
    /// It is logged, counted and shown.
    Log,
    /// It is not made.
    Skip,
}

/// A verification level: what is enforced. Integrity always is. Level `skip` is none of these: nothing is verified then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Level {
    /// That the signer is trusted; enforced or logged.
    pub authenticity: Action,
    /// That the signature was made while its certificates were valid; enforced or logged.
    pub authentic_timestamp: Action,
    /// That the signature has not expired; enforced or logged.
    pub expiry: Action,
    /// That no certificate was taken back.
    pub revocation: Action,
}

impl Level {
    /// Everything is enforced.
    pub const STRICT: Self = Self {
        authenticity: Action::Enforce,
        authentic_timestamp: Action::Enforce,
        expiry: Action::Enforce,
        revocation: Action::Enforce,
    };
    /// Time and revocation are only logged.
    pub const PERMISSIVE: Self = Self {
        authenticity: Action::Enforce,
        authentic_timestamp: Action::Log,
        expiry: Action::Log,
        revocation: Action::Log,
    };
    /// Everything but integrity is only logged.
    pub const AUDIT: Self = Self {
        authenticity: Action::Log,
        authentic_timestamp: Action::Log,
        expiry: Action::Log,
        revocation: Action::Log,
    };
}

/// When a timestamp countersignature is asked for, where a trust store of type `tsa` is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum VerifyTimestamp {
    /// For every signature.
    Always,
    /// For signatures of which a certificate has expired.
    AfterCertExpiry,
}

/// The types of Notation's trust stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum StoreType {
    /// Who vouches for signers.
    Ca,
    /// Who signs for others, and states an authentic signing time.
    SigningAuthority,
    /// Who vouches for timestamps.
    Tsa,
}

impl StoreType {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ca, Self::SigningAuthority, Self::Tsa];

    /// The word that trust policies and folders use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ca => "ca",
            Self::SigningAuthority => "signingAuthority",
            Self::Tsa => "tsa",
        }
    }
}
