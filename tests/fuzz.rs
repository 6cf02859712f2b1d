//! The fuzz targets without a fuzzer: every seed goes through its function, and the list of targets, their files, their
//! entries in `fuzz/Cargo.toml` and their seeds are the same.

#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use targets::TARGETS;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn read(path: &str) -> String {
    fs::read_to_string(format!("{ROOT}/{path}")).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The names in a folder.
fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn every_seed_is_taken_or_refused_as_its_name_says() {
    let folder = tempfile::tempdir().unwrap();
    let made = Command::new(format!("{ROOT}/fuzz/seeds")).arg(folder.path()).output().unwrap();
    assert!(made.status.success() && made.stderr.is_empty(), "{made:?}");
    let folders: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let made = names(folder.path());
    assert_eq!(made.iter().filter(|name| !name.ends_with(".dict")).cloned().collect::<BTreeSet<_>>(), folders);
    let mut wrong = Vec::new();
    for (target, run) in TARGETS {
        let seeds = names(&folder.path().join(target));
        for seed in &seeds {
            let taken = run(&fs::read(folder.path().join(target).join(seed)).unwrap());
            if seed.split('-').next() != Some(if taken { "good" } else { "bad" }) {
                wrong.push(format!("{target}/{seed} is {}", if taken { "taken" } else { "refused" }));
            }
        }
        let of = |kind: &str| seeds.iter().filter(|seed| seed.starts_with(kind)).count();
        // Whatever the bytes are, they are a reason.
        assert!(of("good") > 0 && (of("bad") > 0 || target == "reason"), "{target}: {seeds:?}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_target_has_its_file_and_its_entry() {
    let files: BTreeSet<String> = TARGETS.iter().map(|(name, _)| format!("{name}.rs")).collect();
    assert_eq!(names(Path::new(&format!("{ROOT}/fuzz/fuzz_targets"))), files);
    let manifest = read("fuzz/Cargo.toml");
    assert_eq!(manifest.matches("[[bin]]").count(), TARGETS.len());
    for (name, _) in TARGETS {
        let file = read(&format!("fuzz/fuzz_targets/{name}.rs"));
        assert!(file.contains(&format!(" ratifyd_fuzz::{name}(data);\n")), "{name}: {file}");
        let entry = format!("[[bin]]\nname = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"\n");
        assert!(manifest.contains(&entry), "{name}");
    }
}

#[test]
fn what_is_fuzzed_is_what_ships() {
    let packages = |lock: &str| -> BTreeSet<String> {
        let entries = lock.split("[[package]]\n").skip(1);
        entries.map(|entry| entry.lines().take(2).collect::<Vec<_>>().join(" ")).collect()
    };
    let (ships, fuzzed) = (packages(&read("Cargo.lock")), packages(&read("fuzz/Cargo.lock")));
    let own = |package: &String| {
        ["ratifyd-fuzz", "libfuzzer-sys", "arbitrary"]
            .iter()
            .any(|name| package.starts_with(&format!("name = \"{name}\"")))
    };
    let others: Vec<_> = fuzzed.difference(&ships).filter(|package| !own(package)).collect();
    assert!(
        others.is_empty(),
        "run: cp Cargo.lock fuzz/ && cargo metadata --manifest-path fuzz/Cargo.toml: {others:?}"
    );
    assert!(fuzzed.len() > 50);
}
