//! Where an image that a person names comes from: a registry, by the configuration that the daemon reads, or an OCI
//! layout on disk.

use std::path::Path;
use std::sync::Arc;

use tokio::time::Instant;

use crate::admission::Admission;
use crate::artifact::Descriptor;
use crate::assemble::{self, InLayout};
use crate::cli::{Exit, Stop, out};
use crate::config::Config;
use crate::reference::{Reference, Repository};
use crate::store::Store;

/// An image and the store that has it.
pub(super) struct Source {
    reference: Reference,
    /// As the person wrote it, where that is no name of a registry's.
    written: Option<String>,
    store: Arc<dyn Store>,
}

impl Source {
    /// Finds the store of a reference: an OCI layout, the store of the reference's scope, or a registry with the
    /// defaults where no scope matches or there is no configuration.
    pub(super) fn open(text: &str, config: &Path) -> Result<Self, Stop> {
        if let Some(layout) = assemble::layout(text) {
            let InLayout { reference, store } = layout.map_err(|cause| Stop(Exit::Unavailable, cause))?;
            return Ok(Self { reference, written: Some(text.to_owned()), store });
        }
        let reference: Reference = text.parse().map_err(|error| Stop(Exit::Misconfigured, format!("{error}")))?;
        let store = store_of(&reference, config)?;
        Ok(Self { reference, written: None, store })
    }

    /// What it names now.
    pub(super) async fn resolve(&self, deadline: Instant) -> Result<Descriptor, Stop> {
        self.store.resolve(&self.reference, deadline).await.map_err(|error| Stop(Exit::Unavailable, error.to_string()))
    }

    pub(super) fn store(&self) -> &dyn Store {
        self.store.as_ref()
    }

    pub(super) fn repository(&self) -> &Repository {
        &self.reference.repository
    }

    /// How it is called.
    pub(super) fn name(&self) -> String {
        self.written.clone().unwrap_or_else(|| self.reference.to_string())
    }
}

fn store_of(reference: &Reference, path: &Path) -> Result<Arc<dyn Store>, Stop> {
    if !path.exists() {
        return assemble::default_store(None).map_err(|cause| Stop(Exit::Misconfigured, cause));
    }
    let (admission, config) = load(path)?;
    match admission.scopes.find(&reference.repository) {
        Some((_, rules)) => Ok(Arc::clone(&rules.store)),
        None => assemble::default_store(Some(&config)).map_err(|cause| Stop(Exit::Misconfigured, cause)),
    }
}

/// A configuration, ready to decide; problems of trust files are told and do not stop it.
pub(super) fn load(path: &Path) -> Result<(Admission, Config), Stop> {
    let config = assemble::load(path).map_err(|problems| Stop(Exit::Misconfigured, problems.lines().join("\n")))?;
    let assembled =
        assemble::assemble(&config, path).map_err(|problems| Stop(Exit::Misconfigured, problems.lines().join("\n")))?;
    for problem in &assembled.problems {
        out::complain(problem);
    }
    Ok((assembled.admission, config))
}
