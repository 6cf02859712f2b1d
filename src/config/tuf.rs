//! A TUF repository that a trusted root comes from.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::config::Spanned;
use crate::limits;

/// A repository of The Update Framework, and what of it is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TufSource {
    /// In what trust begins.
    pub first: FirstRoot,
    /// Where it is; none: where the well-known one is.
    pub mirror: Option<TufMirror>,
    /// The file that is wanted.
    pub target: String,
    /// How often it is asked for.
    pub refresh: Duration,
    /// How long it stays in force when it cannot be asked for again.
    pub max_age: Duration,
}

/// In what trust in a repository begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum FirstRoot {
    /// The root of a well-known repository, which comes with this program.
    Of(TufInstance),
    /// A `root.json`, by its absolute path.
    File(Spanned<PathBuf>),
}

/// A well-known repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TufInstance {
    /// Sigstore's public one.
    PublicGood,
    /// GitHub's, for its attestations.
    #[serde(rename = "github")]
    GitHub,
}

/// Where a repository is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum TufMirror {
    /// At an https URL; http to loopback.
    Url(String),
    /// In a folder, by its absolute path.
    Folder(PathBuf),
}

impl TufSource {
    /// The file that holds Sigstore's keys.
    pub const TARGET: &'static str = "trusted_root.json";

    /// How often it is asked for and how long it stays in force, unless it is configured.
    pub const TIMES: (Duration, Duration) = (limits::TUF_REFRESH, limits::TRUST_AGE);
}

impl TufInstance {
    /// All of them, by the words in configurations.
    pub const ALL: [(&'static str, Self); 2] = [("public-good", Self::PublicGood), ("github", Self::GitHub)];

    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PublicGood => "public-good",
            Self::GitHub => "github",
        }
    }
}
