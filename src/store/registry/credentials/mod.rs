//! Who we are to a registry: asks the configured providers, in their order, for what to show. Whom it is shown to is
//! not decided here. Each provider keeps what it was told for as long as it may; none says a secret in an error.

pub mod azure;
pub mod docker;
pub mod glob;
pub mod helper;
pub mod kubelet;
pub mod response;
pub mod fixed;
mod program;
#[cfg(test)]
mod testing;

use async_trait::async_trait;
use tokio::time::{Instant, timeout_at};

use crate::limits;
use crate::reference::canonical_host;
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
    /// Whether it is a mirror of the registry that the image's name says.
    pub is_mirror: bool,
}

/// One source of credentials. It keeps what is costly to ask for, by a key of its own and bounded, and asks one
/// question at a time per key, however many wait.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Its configured name, for errors.
    fn name(&self) -> &str;

    /// What it has for a registry, by `deadline`; none if it knows nothing of it. The host is canonical.
    ///
    /// # Errors
    /// Why it cannot tell, in words that hold no secret.
    async fn credential(&self, wanted: &Wanted<'_>, deadline: Instant) -> Result<Option<Credential>, String>;

    /// Forgets what it keeps for a registry: it was refused.
    fn refused(&self, wanted: &Wanted<'_>);
}

/// The providers in their order.
pub struct Chain {
    providers: Vec<Box<dyn Provider>>,
}

/// What the providers had.
#[derive(Debug)]
pub struct Found {
    /// The first credential; none: anonymous.
    pub credential: Option<Credential>,
    /// The name of the provider that has it.
    pub provider: Option<String>,
    /// What providers that were asked before it could not tell, and why: told when the registry then refuses.
    pub troubles: Vec<String>,
}

impl Chain {
    /// A chain; without providers everybody is asked anonymously.
    #[must_use]
    pub fn new(providers: Vec<Box<dyn Provider>>) -> Self {
        Self { providers }
    }

    /// Asks one provider after the other until one has a credential. One that cannot tell is passed over, and its
    /// trouble kept. Dropping the future ends the question, and kills the program that it runs.
    pub async fn find(&self, wanted: &Wanted<'_>, deadline: Instant) -> Found {
        let host = canonical(wanted.host);
        let wanted = Wanted { host: &host, ..*wanted };
        let mut troubles = Vec::new();
        for provider in &self.providers {
            let trouble = match timeout_at(deadline, provider.credential(&wanted, deadline)).await {
                Ok(Ok(Some(credential))) => {
                    let provider = Some(provider.name().to_owned());
                    return Found { credential: Some(credential), provider, troubles };
                }
                Ok(Ok(None)) => continue,
                Ok(Err(trouble)) => trouble,
                Err(_) => "no answer in time".to_owned(),
            };
            let trouble = format!("credentials of {}: {trouble}", provider.name());
            troubles.push(trouble.chars().take(limits::CAUSE_BYTES).collect());
        }
        Found { credential: None, provider: None, troubles }
    }

    /// The registry refused what was found: the next question asks the provider anew.
    pub fn refused(&self, wanted: &Wanted<'_>) {
        let host = canonical(wanted.host);
        for provider in &self.providers {
            provider.refused(&Wanted { host: &host, ..*wanted });
        }
    }
}

/// The one way to write a host, so that every provider knows it by one name.
fn canonical(host: &str) -> String {
    canonical_host(host).unwrap_or_else(|_| host.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::time::Duration;

    use crate::store::registry::credentials::testing::basic;

    /// Answers so, and writes down what it is asked and told.
    struct Scripted(&'static str, Result<Option<Credential>, String>, &'static Mutex<Vec<String>>);

    #[async_trait]
    impl Provider for Scripted {
        fn name(&self) -> &str {
            self.0
        }

        async fn credential(&self, wanted: &Wanted<'_>, _: Instant) -> Result<Option<Credential>, String> {
            self.2.lock().unwrap().push(format!("{} {}/{}", self.0, wanted.host, wanted.path));
            if self.0 == "hangs" {
                std::future::pending::<()>().await;
            }
            self.1.clone()
        }

        fn refused(&self, wanted: &Wanted<'_>) {
            self.2.lock().unwrap().push(format!("{} forgets {}", self.0, wanted.host));
        }
    }

    fn chain(
        providers: Vec<(&'static str, Result<Option<Credential>, String>)>,
    ) -> (Chain, &'static Mutex<Vec<String>>) {
        let log: &'static Mutex<Vec<String>> = Box::leak(Box::default());
        let boxed = |(name, answer)| -> Box<dyn Provider> { Box::new(Scripted(name, answer, log)) };
        (Chain::new(providers.into_iter().map(boxed).collect()), log)
    }

    const HUB: Wanted<'_> = Wanted { host: "registry-1.docker.io", path: "library/a", is_mirror: false };

    #[tokio::test(start_paused = true)]
    async fn the_first_credential_counts_and_one_that_cannot_tell_is_passed_over_and_told() {
        let found = Ok(Some(basic("u", "hunter2")));
        let long = Err("x".repeat(5000));
        let (chain, log) =
            chain(vec![("none", Ok(None)), ("bad", long), ("hangs", Ok(None)), ("good", found), ("last", Ok(None))]);
        let deadline = Instant::now() + Duration::from_secs(3);
        let found = chain.find(&HUB, deadline).await;
        assert_eq!(found.credential, Some(basic("u", "hunter2")));
        assert_eq!(found.troubles.len(), 2);
        assert!(
            found.troubles[0].starts_with("credentials of bad: xxx") && found.troubles[0].len() == limits::CAUSE_BYTES
        );
        assert_eq!(found.troubles[1], "credentials of hangs: no answer in time");
        assert!(!format!("{found:?}").contains("hunter2"));
        let asked = ["none", "bad", "hangs", "good"].map(|name| format!("{name} docker.io/library/a"));
        assert_eq!(*log.lock().unwrap(), asked);
    }

    #[tokio::test]
    async fn without_providers_or_credentials_a_registry_is_asked_anonymously() {
        let deadline = testing::soon();
        for chain in [Chain::new(Vec::new()), chain(vec![("none", Ok(None))]).0] {
            let found = chain.find(&HUB, deadline).await;
            assert!(found.credential.is_none() && found.troubles.is_empty());
        }
    }

    #[test]
    fn every_provider_forgets_what_was_refused_by_the_name_it_was_asked_by() {
        let (chain, log) = chain(vec![("a", Ok(None)), ("b", Ok(None))]);
        chain.refused(&HUB);
        assert_eq!(*log.lock().unwrap(), ["a forgets docker.io", "b forgets docker.io"]);
    }
}
