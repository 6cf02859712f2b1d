//! One user and password for all registries, or for those that are named; the password stands in the configuration, or
//! in a file that is read again when it changes.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use tokio::time::Instant;

use crate::limits;
use crate::secret::Secret;
use crate::store::registry::credentials::{Credential, Provider, Wanted};
use crate::trust::watched::{Unread, Watched};

/// The provider `static`.
pub struct Fixed {
    username: String,
    password: Password,
    /// Canonical hosts; empty: all.
    registries: Vec<String>,
}

enum Password {
    Given(Secret),
    File(Watched<Secret>),
}

impl Fixed {
    /// With a password; an empty user says that it is a refresh token, as in Ratify v2.
    #[must_use]
    pub fn new(username: String, password: Secret, registries: Vec<String>) -> Self {
        Self { username, password: Password::Given(password), registries }
    }

    /// With a password in a file.
    #[must_use]
    pub fn from_file(username: String, file: PathBuf, registries: Vec<String>) -> Self {
        let password = Password::File(Watched::new(file, limits::PASSWORD_FILE_BYTES, read));
        Self { username, password, registries }
    }
}

/// A password as it stands in a file; the line feed that editors put at its end is none of it.
pub(super) fn read(_: &Path, bytes: &[u8]) -> Result<Secret, String> {
    let text = str::from_utf8(bytes).map_err(|_| "not UTF-8".to_owned())?;
    let text = text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    Ok(Secret::new(text.to_owned()))
}

#[async_trait]
impl Provider for Fixed {
    fn name(&self) -> &'static str {
        "static"
    }

    async fn credential(&self, wanted: &Wanted<'_>, _: Instant) -> Result<Option<Credential>, String> {
        let is_named = self.registries.iter().any(|host| host == wanted.host);
        // A mirror is somebody else: it has to be named.
        if !is_named && (wanted.is_mirror || !self.registries.is_empty()) {
            return Ok(None);
        }
        let password = match &self.password {
            Password::Given(password) => password.clone(),
            Password::File(file) => {
                file.now().await.map(|secret| Secret::clone(&secret)).map_err(Unread::into_cause)?
            }
        };
        Ok(Some(match self.username.as_str() {
            "" => Credential::Identity(password),
            username => Credential::Basic { username: username.to_owned(), password },
        }))
    }

    fn refused(&self, _: &Wanted<'_>) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    use crate::store::registry::credentials::testing::{Scripts, ask, basic};

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[tokio::test]
    async fn a_password_is_shown_to_the_registries_that_are_named_and_without_a_user_it_is_a_refresh_token() {
        let to = |registries: &[&str]| registries.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>();
        let named = Fixed::new("u".to_owned(), secret("p"), to(&["ghcr.io", "r.io:5000"]));
        assert_eq!(ask(&named, "ghcr.io/a").await, Ok(Some(basic("u", "p"))));
        assert_eq!(ask(&named, "r.io:5000/a").await, Ok(Some(basic("u", "p"))));
        for other in ["r.io/a", "ghcr.io:5000/a", "x.ghcr.io/a", "docker.io/library/a"] {
            assert_eq!(ask(&named, other).await, Ok(None), "{other}");
        }
        let all = Fixed::new(String::new(), secret("token"), Vec::new());
        assert_eq!(ask(&all, "any.io/a").await, Ok(Some(Credential::Identity(secret("token")))));
    }

    #[tokio::test]
    async fn a_password_in_a_file_is_read_again_when_it_changes() {
        let scripts = Scripts::new();
        let path = scripts.file("password", "hunter2\r\n");
        let provider = Fixed::from_file("u".to_owned(), path.clone(), Vec::new());
        assert_eq!(ask(&provider, "r.io/a").await, Ok(Some(basic("u", "hunter2"))));
        fs::write(&path, "hunter3\n\n").unwrap();
        assert_eq!(ask(&provider, "r.io/a").await, Ok(Some(basic("u", "hunter3\n"))));
        let limit = usize::try_from(limits::PASSWORD_FILE_BYTES).unwrap();
        fs::write(&path, "p".repeat(limit)).unwrap();
        assert_eq!(ask(&provider, "r.io/a").await, Ok(Some(basic("u", &"p".repeat(limit)))));
        for (bad, cause) in
            [(vec![b'p'; limit + 1], "larger than the limit"), (vec![b'\n'], "it is empty"), (vec![255], "not UTF-8")]
        {
            fs::write(&path, bad).unwrap();
            let error = ask(&provider, "r.io/a").await.unwrap_err();
            assert!(error.contains(cause) && error.contains("/password"), "{error}");
        }
        fs::remove_file(&path).unwrap();
        assert!(ask(&provider, "r.io/a").await.unwrap_err().contains("create it"));
    }

    #[tokio::test]
    async fn a_mirror_is_shown_no_password_unless_it_is_named() {
        let (all, named) = (
            Fixed::new("u".to_owned(), secret("p"), Vec::new()),
            Fixed::new("u".to_owned(), secret("p"), vec!["mirror.example".to_owned()]),
        );
        let mirror = Wanted { host: "mirror.example", path: "a", is_mirror: true };
        let shown = async |provider: &Fixed| provider.credential(&mirror, Instant::now()).await;
        assert_eq!((shown(&all).await, shown(&named).await), (Ok(None), Ok(Some(basic("u", "p")))));
    }
}
