//! Verifiers and stores that are plugins of Ratify's protocol: which program, where it comes from, and how it is run.

use std::time::Duration;

use serde::Serialize;

use crate::config::{RegistryStore, Spanned};
use crate::reference::Reference;

/// A verifier that is a program of Ratify's plugin protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PluginVerifier {
    /// The types of artifacts that it judges; `*` is all.
    pub artifact_types: Vec<String>,
    /// Which program.
    pub program: PluginProgram,
}

/// A program of Ratify's plugin protocol, and how it is run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PluginProgram {
    /// The name of its file in the folder of plugins; with a source, its own alone.
    pub plugin: Spanned<String>,
    /// Where it is fetched from; none: it lies in the folder of plugins.
    pub source: Option<Box<PluginSource>>,
    /// What it is told, as written.
    pub config: serde_json::Map<String, serde_json::Value>,
    /// The names of the variables of the daemon's environment that it gets.
    pub environment: Vec<String>,
    /// Whether it may reach others over the network.
    pub network: bool,
}

/// A plugin that is fetched from a registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PluginSource {
    /// The artifact, as written.
    pub artifact: Spanned<String>,
    /// The same.
    #[serde(skip)]
    pub reference: Reference,
    /// The name of the program's file in it, where that is asked for.
    pub title: Option<String>,
    /// Who must be satisfied with it: an executor, by its name.
    pub trust: Option<Spanned<String>>,
    /// Whether it is used though nobody vouches for it.
    pub allow_unverified: bool,
    /// How often it is asked for.
    pub refresh: Duration,
    /// Largest program, in bytes.
    pub max_bytes: u64,
    /// How its registry is asked; none: as the executor that it names asks.
    pub store: Option<RegistryStore>,
}

/// What becomes of plugins of Ratify's protocol where the kernel cannot confine them wholly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Confinement {
    /// They are confined as far as it can.
    BestEffort,
    /// They are not run.
    Strict,
}
