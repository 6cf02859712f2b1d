//! Who we are to a registry: asks the configured providers, in their order, for what to show. Whom it is shown to is
//! not decided here.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::secret::Secret;

/// What is shown to a registry, or to the realm that gives tokens for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// A user and a password (RFC 7617), or a token that is used as a password.
    Basic {
        /// The user.
        username: String,
        /// The password.
        password: Secret,
    },
    /// A refresh token: the realm gives access tokens for it.
    Identity(Secret),
    /// An access token, sent as it is (RFC 6750).
    Bearer(Secret),
}

/// What credentials are needed for.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// Host, with its port where it has one, of the registry that is asked: a mirror's, where it is a mirror.
    pub host: &'a str,
    /// Path of the repository.
    pub path: &'a str,
}

/// A credential, and for how long it may be kept.
#[derive(Clone, Debug)]
pub struct Lease {
    /// The credential.
    pub credential: Credential,
    /// How long it may be used without asking again; zero: for this request only.
    pub keep: Duration,
}

/// One source of credentials.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Its configured name, for errors.
    fn name(&self) -> &str;

    /// What it has for a registry, by `deadline`; none if it knows nothing of it.
    ///
    /// # Errors
    /// Why it cannot tell, in words that hold no secret.
    async fn credential(&self, wanted: &Wanted<'_>, deadline: Instant) -> Result<Option<Lease>, String>;
}
