//! A store that is a program: a plugin of Ratify v1's (plugin protocol 1.0.0). Runs it confined and as nobody for each
//! question, and hands on nothing that it says of content: bytes count by their digest. Keeps nothing.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::Value;
use tokio::time::Instant;

use crate::artifact::{Descriptor, Digest};
use crate::limits;
use crate::reference::{Reference, Repository};
use crate::runner::ratify::{self, Plugin};
use crate::runner::{Program, Runner};
use crate::store::{Error, Listed, Store, check};
use crate::verdict::Class;

mod protocol;
#[cfg(test)]
mod tests;

pub use protocol::{Page, read_descriptor, read_page};

use protocol::Question;

/// Has a plugin answer for where artifacts lie.
#[derive(Debug)]
pub struct PluginStore {
    plugin: Plugin,
    runner: Arc<Runner>,
}

impl PluginStore {
    /// A store that this plugin is.
    #[must_use]
    pub fn new(plugin: Plugin, runner: Arc<Runner>) -> Self {
        Self { plugin, runner }
    }

    /// What the plugin prints, which may be so much, about a subject.
    async fn ask(
        &self,
        question: &Question<'_>,
        subject: &str,
        most_output: u64,
        deadline: Instant,
    ) -> Result<Vec<u8>, Error> {
        let arguments = question.arguments().map_err(|cause| self.malformed(question, cause))?;
        let asked = protocol::environment(question, arguments, subject);
        let input = Value::Object(self.plugin.config.clone()).to_string().into_bytes();
        let program = Program { most_output, ..self.plugin.asked(asked, input, Vec::new()) };
        let failed = |cause| Error::Plugin { what: question.to_string(), cause };
        let ran = ratify::run(&self.runner, program, deadline).await.map_err(failed)?;
        if ran.code == Some(0) {
            Ok(ran.output)
        } else {
            Err(failed(ratify::fault(&self.plugin.path, Class::Unchecked, &ratify::failure(&ran))))
        }
    }

    /// Content by its digest. Whatever asks for it, its digest alone makes it count.
    async fn content(
        &self,
        question: &Question<'_>,
        repository: &Repository,
        descriptor: &Descriptor,
        deadline: Instant,
    ) -> Result<Bytes, Error> {
        let subject = format!("{repository}@{}", descriptor.digest);
        // What it says of a failure may be longer than the content.
        let most_output = descriptor.size.max(limits::PLUGIN_OUTPUT_BYTES);
        let bytes = self.ask(question, &subject, most_output, deadline).await?;
        check(&self.what(question), descriptor, &bytes)?;
        Ok(bytes.into())
    }

    fn within(&self, question: &Question<'_>, descriptor: &Descriptor, limit: u64) -> Result<(), Error> {
        if descriptor.size > limit {
            return Err(Error::TooLarge { what: self.what(question), limit, unit: "bytes" });
        }
        Ok(())
    }

    fn what(&self, question: &Question<'_>) -> String {
        format!("{question} of plugin {}", self.plugin.path.display())
    }

    fn malformed(&self, question: &Question<'_>, cause: String) -> Error {
        Error::Malformed { what: self.what(question), cause }
    }
}

#[async_trait]
impl Store for PluginStore {
    /// What a tag names is the plugin's word, as it is a registry's; what follows is about the digest that it says.
    async fn resolve(&self, reference: &Reference, deadline: Instant) -> Result<Descriptor, Error> {
        let subject = match (&reference.digest, &reference.tag) {
            (Some(digest), _) => format!("{}@{digest}", reference.repository),
            (None, tag) => format!("{}:{}", reference.repository, tag.as_deref().unwrap_or("latest")),
        };
        let question = Question::Resolve;
        let output = self.ask(&question, &subject, limits::PLUGIN_OUTPUT_BYTES, deadline).await?;
        let found = read_descriptor(&output).map_err(|cause| self.malformed(&question, cause))?;
        match &reference.digest {
            Some(digest) if found.digest != *digest => {
                Err(self.malformed(&question, format!("it describes {} instead of {digest}", found.digest)))
            }
            _ => Ok(found),
        }
    }

    async fn referrers(&self, repository: &Repository, subject: &Digest, deadline: Instant) -> Result<Listed, Error> {
        let subject = format!("{repository}@{subject}");
        let mut list = List::default();
        let (mut token, mut seen) = (String::new(), HashSet::new());
        loop {
            let question = Question::List { token: &token };
            let output = self.ask(&question, &subject, limits::REFERRERS_PAGE_BYTES, deadline).await?;
            let page = read_page(&output).map_err(|cause| self.malformed(&question, cause))?;
            let what = self.what(&question);
            page.referrers.into_iter().try_for_each(|entry| list.push(&what, entry))?;
            if page.next_token.is_empty() {
                return Ok(list.entries.into());
            }
            if !seen.insert(page.next_token.clone()) {
                return Err(
                    self.malformed(&question, "the list goes round in circles: a nextToken comes twice".to_owned())
                );
            }
            if seen.len() >= limits::REFERRERS_PAGES {
                let limit = u64::try_from(limits::REFERRERS_PAGES).unwrap_or(u64::MAX);
                return Err(Error::TooLarge { what, limit, unit: "pages of referrers" });
            }
            token = page.next_token;
        }
    }

    /// The protocol's own answer for a manifest (`GETREFMANIFEST`) is written anew from parts of it: no digest covers it, and
    /// the bytes cannot be had back. What counts are the manifest's own bytes: as a blob, or from a plugin that prints
    /// them for `GETREFMANIFEST`.
    async fn manifest(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        deadline: Instant,
    ) -> Result<Bytes, Error> {
        let question = Question::Blob { digest: &descriptor.digest };
        self.within(&question, descriptor, limits::MANIFEST_BYTES)?;
        let as_blob = match self.content(&question, repository, descriptor, deadline).await {
            Err(error) if error.class() != Class::Time => error,
            found => return found,
        };
        let question = Question::Manifest { digest: &descriptor.digest };
        match self.content(&question, repository, descriptor, deadline).await {
            Err(Error::Size { .. } | Error::Digest { .. }) => {
                Err(self.malformed(&question, format!("{ONLY_PARTS}; {as_blob}")))
            }
            Err(_) => Err(as_blob),
            found => found,
        }
    }

    async fn blob(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        limit: u64,
        deadline: Instant,
    ) -> Result<Bytes, Error> {
        let question = Question::Blob { digest: &descriptor.digest };
        self.within(&question, descriptor, limit.min(limits::BLOB_BYTES))?;
        self.content(&question, repository, descriptor, deadline).await
    }
}

const ONLY_PARTS: &str = "what it prints is not the manifest's own bytes, and nothing else has its digest: the plugin must \
    print them when it is asked for the blob of the manifest's digest";

/// A list as it grows: each digest once, at most [`limits::REFERRERS`].
#[derive(Default)]
struct List {
    entries: Vec<Descriptor>,
    positions: HashMap<Digest, usize>,
}

impl List {
    fn push(&mut self, what: &str, entry: Descriptor) -> Result<(), Error> {
        let known = self.positions.get(&entry.digest).and_then(|position| self.entries.get(*position));
        match known {
            Some(known) if *known == entry => return Ok(()),
            Some(_) => {
                let cause = format!("the list of referrers describes {} in two ways", entry.digest);
                return Err(Error::Malformed { what: what.to_owned(), cause });
            }
            None => {}
        }
        if self.entries.len() >= limits::REFERRERS {
            let limit = u64::try_from(limits::REFERRERS).unwrap_or(u64::MAX);
            return Err(Error::TooLarge { what: what.to_owned(), limit, unit: "referrers" });
        }
        self.positions.insert(entry.digest.clone(), self.entries.len());
        self.entries.push(entry);
        Ok(())
    }
}
