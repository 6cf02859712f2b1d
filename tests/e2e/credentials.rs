//! Credentials: a real docker-registry that asks for a user and a password, and each way in which an operator can give
//! them. Nothing that anybody prints has the password in it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::common::node::{Daemon, executor, shim};
use super::common::notation::signers;
use super::common::registries::{Image, Registry, distribution_with_passwords};
use super::common::tools::{Ran, run, run_with_stdin};
use super::needs;

/// A registry for `acme` with the password `hunter2`, and a signed image in it.
struct Private {
    folder: TempDir,
    image: Image,
    _registries: (Registry, Registry),
}

impl Private {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // The lowest cost of bcrypt: "hunter2".
        let htpasswd = folder.path().join("htpasswd");
        fs::write(&htpasswd, "acme:$2b$05$Bq3Nld8ihWBc5xYVAXJSp.u05Nx2rl4Ggxgrp31dxQ86P/oykS75u\n").unwrap();
        let (open, closed) = distribution_with_passwords(folder.path(), &htpasswd);
        let image = open.image("credentials/web");
        signers().trusted.sign(&image.by_digest());
        Self { image: image.at(&closed.host), folder, _registries: (open, closed) }
    }

    fn host(&self) -> &str {
        self.image.repository.split_once('/').unwrap().0
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// An executable. Nobody writes to it any more when it is run: `install` has ended.
    fn program(&self, name: &str, text: &str) -> PathBuf {
        let (source, path) = (self.file("source", text), self.folder.path().join(name));
        run(Command::new("install").args(["-m", "755"]).args([&source, &path])).success();
        path
    }

    /// A configuration whose store has these parameters.
    fn config(&self, parameters: &str) -> String {
        let scope = format!("\"{}\"", self.host());
        let executor = executor(&scope, "", &signers().authority.certificate());
        format!(
            "{executor}[[executors.stores]]\ntype = \"registry-store\"\n[executors.stores.parameters]\n{parameters}\n"
        )
    }

    fn verify(&self, parameters: &str, variables: &[(&str, &Path)]) -> Ran {
        let config = self.file("config.toml", &self.config(parameters));
        let mut command = ratifyctl();
        command.args(["verify", "--config"]).arg(config).arg(self.image.by_digest()).envs(variables.iter().copied());
        let ran = run(&mut command);
        assert!(!format!("{ran:?}").contains("hunter2"), "{ran:?}");
        ran
    }

    #[track_caller]
    fn is_let_in(&self, parameters: &str, variables: &[(&str, &Path)]) {
        let ran = self.verify(parameters, variables);
        assert!(ran.code == Some(0) && ran.stdout.contains("ALLOWED"), "{parameters}: {ran:?}");
    }

    #[track_caller]
    fn is_kept_out(&self, parameters: &str, variables: &[(&str, &Path)], cause: &str) {
        let ran = self.verify(parameters, variables);
        assert!(ran.code == Some(3) && format!("{ran:?}").contains(cause), "{parameters}: {ran:?}");
    }
}

fn ratifyctl() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ratifyctl"));
    for variable in ["RATIFYD_CONFIG", "RATIFYD_SOCKET", "DOCKER_CONFIG", "CREDENTIALS_DIRECTORY"] {
        command.env_remove(variable);
    }
    command.env("HOME", "/nonexistent");
    command
}

const DESCRIPTOR: &str = "application/vnd.oci.descriptor.v1+json";

/// docker's config.json with a password for a host.
fn docker(host: &str, password: &str) -> String {
    format!(r#"{{"auths":{{"{host}":{{"username":"acme","password":"{password}"}}}}}}"#)
}

#[test]
fn every_source_of_credentials_opens_a_registry_that_asks_for_a_password() {
    needs!();
    let private = Private::start();
    let host = private.host();
    private.is_kept_out("", &[], "UNAVAILABLE");
    private.is_kept_out("credentials = []", &[], "UNAVAILABLE");

    let fixed = |password: &str| {
        format!("credential = {{ provider = \"static\", username = \"acme\", password = \"{password}\" }}")
    };
    private.is_let_in(&fixed("hunter2"), &[]);
    private.is_kept_out(&fixed("hunter3"), &[], "UNAVAILABLE");
    let password = private.file("password", "hunter2\n");
    private.is_let_in(
        &format!("credential = {{ provider = \"static\", username = \"acme\", passwordFile = {password:?}, registries = [\"{host}\"] }}"),
        &[],
    );
    private.is_kept_out(
        &format!("{} }}", fixed("hunter2").trim_end_matches(" }").to_owned() + ", registries = [\"other.example\"]"),
        &[],
        "UNAVAILABLE",
    );

    private.file("config.json", &docker(host, "hunter2"));
    private.is_let_in("", &[("DOCKER_CONFIG", private.folder.path())]);
    let elsewhere = private.file("docker.json", &docker(&format!("{host}/credentials"), "hunter2"));
    private.is_let_in(&format!("credentials = [{{ provider = \"dockerConfig\", configPath = {elsewhere:?} }}]"), &[]);

    private.program(
        "docker-credential-test",
        &format!("#!/bin/sh\nread host\n[ \"$1 $host\" = 'get {host}' ] || exit 9\necho '{{\"Username\":\"acme\",\"Secret\":\"hunter2\"}}'\n"),
    );
    private.file("config.json", r#"{"credsStore":"test"}"#);
    let path = PathBuf::from(format!("{}:/usr/bin:/bin", private.folder.path().display()));
    private.is_let_in("", &[("DOCKER_CONFIG", private.folder.path()), ("PATH", &path)]);
    private.is_kept_out(
        "",
        &[("DOCKER_CONFIG", private.folder.path())],
        "docker-credential-test is in no directory of PATH",
    );

    let response = format!(
        r#"{{"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1","cacheKeyType":"Registry","auth":{{"{host}":{{"username":"acme","password":"hunter2"}}}}}}"#
    );
    private.program("provider", &format!("#!/bin/sh\ncat >/dev/null\necho '{response}'\n"));
    let providers = private.file(
        "providers.yaml",
        &format!(
            "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n- name: provider\n  matchImages: ['{host}']\n  \
             defaultCacheDuration: 1m\n  apiVersion: credentialprovider.kubelet.k8s.io/v1\n"
        ),
    );
    let folder = private.folder.path();
    let kubelet = format!(
        "credentials = [{{ provider = \"dockerConfig\" }}, {{ provider = \"kubelet\", config = {providers:?}, binDir = {folder:?} }}]"
    );
    private.is_let_in(&kubelet, &[]);
    fs::set_permissions(folder.join("provider"), fs::Permissions::from_mode(0o777)).unwrap();
    private.is_kept_out(&kubelet, &[], "can be written by everybody");
}

#[test]
fn a_password_that_is_rotated_counts_without_a_restart_and_is_in_no_log() {
    needs!();
    let private = Private::start();
    let file = private.file("docker.json", &docker(private.host(), "hunter1"));
    let level = "log.level = \"trace\"\n";
    let daemon = Daemon::start(&format!(
        "{level}{}",
        private.config(&format!("credentials = [{{ provider = \"dockerConfig\", configPath = {file:?} }}]"))
    ));
    let ask = || {
        let mut command = Command::new(shim());
        command.env("RATIFYD_SOCKET", daemon.socket()).args(["-name", &private.image.by_digest()]);
        command.args(["-digest", &private.image.digest]).args(["-stdin-media-type", DESCRIPTOR]);
        run_with_stdin(&mut command, &private.image.descriptor())
    };
    let refused = ask();
    assert!(refused.code == Some(1) && refused.stdout.starts_with("UNAVAILABLE "), "{refused:?}");
    private.file("docker.json", &docker(private.host(), "hunter2"));
    let allowed = ask();
    assert!(allowed.code == Some(0) && allowed.stdout.contains("ALLOWED"), "{allowed:?}\n{}", daemon.log());

    // A password in the configuration itself: only it changes.
    let fixed = |password: &str| {
        format!(
            "{level}{}",
            private.config(&format!(
                "credential = {{ provider = \"static\", username = \"acme\", password = \"{password}\" }}"
            ))
        )
    };
    daemon.configure(&fixed("hunter1"));
    let flush = || run(ratifyctl().arg("flush").arg("--socket").arg(daemon.socket())).success();
    flush();
    assert_eq!(ask().code, Some(1));
    daemon.configure(&fixed("hunter2"));
    assert_eq!(ask().code, Some(0), "{}", daemon.log());
    let said = format!("{refused:?}{allowed:?}{}{:?}", daemon.log(), daemon.verdicts());
    assert!(!said.contains("hunter") && !said.contains("YWNtZT"), "{said}");
}
