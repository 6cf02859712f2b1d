//! docker's credential helpers: `docker-credential-NAME get`, the registry on stdin, its credential on stdout
//! (docker/docker-credential-helpers). Asked by `docker`; decides nothing about whom to ask.

use serde::Deserialize;

use crate::json;
use crate::reference::DOCKER_HUB;
use crate::secret::Secret;
use crate::store::registry::credentials::Credential;
use crate::store::registry::credentials::program::{Program, Programs, look_up};
use crate::trust::watched::json_cause;

/// Asks a helper for a registry. `path` is where programs are looked for.
///
/// # Errors
/// Why it gave no answer, without anything that it said.
pub(super) async fn ask(programs: &Programs, name: &str, host: &str, path: &str) -> Result<Option<Credential>, String> {
    if name.is_empty() || name.contains(['/', '\0']) {
        return Err(format!("{name:?} is no credential helper's name: it is what follows docker-credential-"));
    }
    let name = format!("docker-credential-{name}");
    let Some(found) = look_up(&name, path) else {
        return Err(format!("{name} is in no directory of PATH; install it there, or take it out of the file"));
    };
    let server = server(host);
    let program = Program { path: found, arguments: vec!["get".to_owned()], environment: Vec::new() };
    let ran = programs.run(program, server.as_bytes()).await?;
    answer(ran.success, &ran.output).map_err(|cause| {
        let ended = if ran.success { String::new() } else { format!(" ({})", ran.ended) };
        format!("{cause}{ended}; see what it says: echo {server} | {name} get")
    })
}

/// How docker names a registry to helpers: by its host, and Docker Hub by the URL of its first index.
fn server(host: &str) -> &str {
    if host == DOCKER_HUB { "https://index.docker.io/v1/" } else { host }
}

/// What a helper's answer says. `success`: it exited with 0.
///
/// # Errors
/// It says nothing that can be used; without anything that it said.
pub fn answer(success: bool, output: &[u8]) -> Result<Option<Credential>, String> {
    if !success {
        let is_none = output.trim_ascii() == b"credentials not found in native keychain";
        return if is_none { Ok(None) } else { Err("the helper had an error".to_owned()) };
    }
    let Answer { username, secret } =
        json::from_slice(output).map_err(|error| format!("the helper's answer is {}", json_cause(&error)))?;
    match (username.as_str(), secret.filter(|secret| !secret.is_empty())) {
        ("", None) => Ok(None),
        ("", Some(_)) => Err("the helper's answer has no user".to_owned()),
        (_, None) => Err("the helper's answer has no secret".to_owned()),
        (IDENTITY, Some(token)) => Ok(Some(Credential::Identity(token))),
        (_, Some(password)) => Ok(Some(Credential::Basic { username, password })),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    username: String,
    secret: Option<Secret>,
}

/// The user that says that the secret is an identity token.
pub(super) const IDENTITY: &str = "<token>";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::registry::credentials::testing::{Scripts, basic};

    #[test]
    fn an_answer_is_a_password_or_an_identity_token() {
        let good = |text: &str| answer(true, text.as_bytes());
        let given = good(r#"{"ServerURL":"https://index.docker.io/v1/","Username":"david","Secret":"passw0rd1"}"#);
        assert_eq!(given, Ok(Some(basic("david", "passw0rd1"))));
        let token = good(r#"{"Username":"<token>","Secret":"abc"}"#);
        assert_eq!(token, Ok(Some(Credential::Identity(Secret::new("abc".to_owned())))));
        assert_eq!(good(r#"{"ServerURL":"x","Username":"","Secret":""}"#), Ok(None));
    }

    #[test]
    fn not_found_is_none_and_every_other_failure_an_error_that_repeats_nothing() {
        assert_eq!(answer(false, b"credentials not found in native keychain\n"), Ok(None));
        for (success, output) in [
            (false, "credentials not found: hunter2"),
            (false, r#"{"Username":"u","Secret":"hunter2"}"#),
            (true, "hunter2"),
            (true, r#"{"Username":"u","Secret":["hunter2"]}"#),
            (true, r#"{"Username":"","Secret":"hunter2"}"#),
            (true, r#"{"Username":"hunter2"}"#),
            (true, r#"{"Username":"u","Secret":"hunter2","Secret":"hunter2"}"#),
            (true, "credentials not found in native keychain"),
        ] {
            let error = answer(success, output.as_bytes()).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_helper_is_asked_as_docker_asks_it() {
        let scripts = Scripts::new();
        let told = scripts.path("told");
        let script = scripts.put(
            "docker-credential-x",
            &format!(
                "#!/bin/sh\nread s\necho \"$* $s\" >>{}\necho '{{\"Username\":\"u\",\"Secret\":\"p\"}}'\n",
                told.display()
            ),
        );
        let path = script.parent().unwrap().display().to_string();
        for host in ["docker.io", "reg.example:5000"] {
            assert_eq!(ask(&Programs::new(), "x", host, &path).await, Ok(Some(basic("u", "p"))));
        }
        let told = std::fs::read_to_string(told).unwrap();
        assert_eq!(told, "get https://index.docker.io/v1/\nget reg.example:5000\n");
    }

    #[tokio::test]
    async fn a_helper_that_cannot_answer_is_named_with_the_way_to_see_why() {
        let scripts = Scripts::new();
        let script = scripts.put("docker-credential-x", "#!/bin/sh\necho hunter2\nexit 4\n");
        let path = script.parent().unwrap().display().to_string();
        let error = ask(&Programs::new(), "x", "reg.io", &path).await.unwrap_err();
        let expected =
            "the helper had an error (exit status: 4); see what it says: echo reg.io | docker-credential-x get";
        assert_eq!(error, expected);
        let error = ask(&Programs::new(), "other", "reg.io", &path).await.unwrap_err();
        assert!(error.contains("docker-credential-other is in no directory of PATH"), "{error}");
        for name in ["", "../x", "/bin/sh"] {
            assert!(
                ask(&Programs::new(), name, "reg.io", &path)
                    .await
                    .unwrap_err()
                    .contains("is no credential helper's name")
            );
        }
    }
}
