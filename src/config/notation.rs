//! What a Notation verifier is told: levels and actions (Notary Project, "Signature Verification details").

use serde::Serialize;

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
