//! `ratifyctl config show` and `config schema`, as a script uses them.

use std::fs;
use std::process::{Command, Output};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/config.toml");

fn ratifyctl(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ratifyctl"));
    command.arg("config").args(arguments).env_remove("RATIFYD_CONFIG").output().unwrap()
}

fn stdout(output: &Output) -> &str {
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]), "{output:?}");
    str::from_utf8(&output.stdout).unwrap()
}

/// A folder with a copy of the example: a configuration must belong to whoever reads it.
fn with_example() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml").display().to_string();
    fs::write(&file, fs::read(EXAMPLE).unwrap()).unwrap();
    (folder, file)
}

#[test]
fn what_is_shown_is_a_configuration_that_shows_the_same() {
    let (folder, file) = with_example();
    let toml = ratifyctl(&["show", &file]);
    let json = ratifyctl(&["show", "--output", "json", &file]);
    for (name, shown) in [("shown.toml", &toml), ("shown.json", &json), ("shown.yaml", &json)] {
        let file = folder.path().join(name).display().to_string();
        fs::write(&file, &shown.stdout).unwrap();
        assert_eq!(stdout(&ratifyctl(&["show", &file])), stdout(&toml), "{name}");
        assert_eq!(stdout(&ratifyctl(&["show", "--output", "json", &file])), stdout(&json), "{name}");
    }
    assert!(stdout(&toml).contains("maxManifestBytes = 4194304"), "{toml:?}");
}

#[test]
fn a_configuration_with_problems_is_not_shown_and_exits_2() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml").display().to_string();
    fs::write(&file, "executors:\n- scopes: [a.io]\n  mode: deny\n  stores:\n  - type: registry-store\n    parameters:\n      credential: {provider: static, username: 'u:v', password: hunter2}\n").unwrap();
    let output = ratifyctl(&["show", &file]);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(2), &b""[..]), "{output:?}");
    let shown = String::from_utf8(output.stderr).unwrap();
    assert!(shown.contains("config.yaml:7:48: executors[0].stores[0].parameters.credential.username: "), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
    assert_eq!(ratifyctl(&["show", "/nonexistent/config.toml"]).status.code(), Some(2));
}

#[test]
fn the_schema_is_the_published_one() {
    let published = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/config.schema.json");
    let current = ratifyctl(&["schema"]);
    assert!(
        stdout(&current) == fs::read_to_string(published).unwrap(),
        "run: ratifyctl config schema > docs/config.schema.json"
    );
}
