//! The real `notation verify`, and what it says in words that can be compared.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use super::common::tools::{Ran, run, tool};
use super::trials::{SCOPE, Trial};

/// A part of judging a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// The trust policy itself, or no part of it is about the image.
    Policy,
    /// There is no signature.
    Absent,
    /// The envelope, its signature, its certificates.
    Integrity,
    /// The trust stores.
    Authenticity,
    /// The trusted identities.
    Identity,
    /// The end that the signer gave it.
    Expiry,
    /// That it was made while its certificates were valid.
    Timestamp,
    /// That no certificate was taken back.
    Revocation,
    /// That it speaks of the image.
    Subject,
    /// What it must state.
    Metadata,
    /// The plugin that it demands.
    Plugin,
}

/// What a judge says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Whether the image may be used.
    pub allows: bool,
    /// The part for which it may not; none where several signatures fail, or it may.
    pub part: Option<Part>,
    /// What failed and was only logged.
    pub logged: BTreeSet<Part>,
    /// In its own words.
    pub words: String,
}

/// What notation is expected to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Whether it allows; none: that hangs on what nobody promises.
    pub allows: Option<bool>,
    /// The one part for which it refuses.
    pub part: Option<Part>,
    /// All parts that fail and are enforced.
    pub reasons: BTreeSet<Part>,
    /// What fails and is only logged, where it allows.
    pub logged: BTreeSet<Part>,
}

impl Expected {
    /// It allows, and nothing fails.
    pub fn allow() -> Self {
        Self { allows: Some(true), part: None, reasons: BTreeSet::new(), logged: BTreeSet::new() }
    }

    /// Whatever it says.
    pub fn unsure() -> Self {
        Self { allows: None, ..Self::allow() }
    }

    /// It refuses, for one part.
    pub fn deny(part: Part) -> Self {
        Self { allows: Some(false), part: Some(part), reasons: BTreeSet::from([part]), logged: BTreeSet::new() }
    }

    /// Whether this is what was said.
    pub fn is(&self, said: &Said) -> bool {
        let Some(allows) = self.allows else { return true };
        said.allows == allows && said.part == self.part && said.logged == self.logged
    }
}

/// Asks notation. `cache` is where it keeps revocation lists.
pub fn ask(trial: &Trial, cache: &Path) -> Said {
    let mut notation = Command::new(tool("notation"));
    notation.env("HOME", &trial.folder).env("XDG_CONFIG_HOME", &trial.folder).env("XDG_CACHE_HOME", cache);
    notation.env("NOTATION_EXPERIMENTAL", "1").args(["verify", "--oci-layout", "--scope", SCOPE, "-v"]);
    for (name, value) in &trial.question.metadata {
        notation.args(["--user-metadata", &format!("{name}={value}")]);
    }
    let Ran { code, stdout, stderr } = run(notation.arg(trial.reference()));
    let words = format!("{stdout}{stderr}");
    let allows = match code {
        Some(0) => true,
        Some(1) => false,
        other => panic!("notation ended with {other:?}: {words}"),
    };
    let part = if allows { None } else { part(&words) };
    let logged = if allows { words.lines().filter_map(logged).collect() } else { BTreeSet::new() };
    Said { allows, part, logged, words }
}

/// The part for which signatures were refused, where it is one and the same for all of them.
fn part(words: &str) -> Option<Part> {
    let mut parts = BTreeSet::new();
    let mut last = None;
    for line in words.lines() {
        if let Some((before, _)) = line.split_once(" validation failed. Failure reason: ") {
            last = before.rsplit('=').next().and_then(validation);
        }
        if let Some((_, reason)) = line.split_once(" failed verification with error: ") {
            let last = last.take();
            parts.insert(last.filter(|part| *part == Part::Integrity).or_else(|| find(&REASONS, reason)).or(last));
        }
    }
    match parts.into_iter().collect::<Vec<_>>().as_slice() {
        [] => find(&BEFORE, words),
        [one] => *one,
        _ => None,
    }
}

fn find(table: &[(&str, Part)], words: &str) -> Option<Part> {
    table.iter().find(|(text, _)| words.contains(text)).map(|(_, part)| *part)
}

/// What notation calls a part.
fn validation(name: &str) -> Option<Part> {
    Some(match name {
        "integrity" => Part::Integrity,
        "authenticity" => Part::Authenticity,
        "authenticTimestamp" => Part::Timestamp,
        "expiry" => Part::Expiry,
        "revocation" => Part::Revocation,
        _ => return None,
    })
}

fn logged(line: &str) -> Option<Part> {
    // Of what a plugin finds the second line alone tells.
    let told = |before: &str, after: &str| line.split_once(before)?.1.split_once(after).map(|(name, _)| name);
    let log = told("level=warning msg=", " validation failed with validation action set to \"logged\"");
    validation(log.or_else(|| told("Warning: ", " was set to \"log\" and failed with error: "))?)
}

/// Words of notation before it looks at any signature.
const BEFORE: [(&str, Part); 4] = [
    ("no signature is associated with", Part::Absent),
    ("unable to retrieve digital signature", Part::Absent),
    ("registry scope", Part::Policy),
    ("trust policy", Part::Policy),
];

/// Words of notation about a signature that tell more than the name of a validation.
const REASONS: [(&str, Part); 10] = [
    ("trusted identify verification by plugin", Part::Identity),
    ("revocation check by verification plugin", Part::Revocation),
    ("failed to verify with plugin", Part::Plugin),
    ("content descriptor mismatch", Part::Subject),
    ("invalid character", Part::Subject),
    ("unable to find specified metadata in the signature", Part::Metadata),
    ("does not match the X.509 trusted identities", Part::Identity),
    ("error while parsing the certificate subject", Part::Identity),
    ("plugin", Part::Plugin),
    ("verificationPlugin", Part::Plugin),
];
