//! Lists the candidates for referrers of one digest: from the referrers API, page by page, or from the tag that
//! stands in for it (OCI distribution specification 1.1, "Listing Referrers" and "Referrers Tag Schema").
//!
//! A list is whole or it is an error: never cut short, and never empty because something went wrong. Nothing that
//! a list says of an entry is believed, so filters by type are neither asked for nor trusted. Where the API answers
//! it is authoritative: a registry that has it must list what stands at the tag ("Enabling the Referrers API").

use std::collections::{HashMap, HashSet};

use reqwest::Url;
use reqwest::header;
use serde::{Deserialize, Deserializer};
use tokio::time::Instant;

use super::MANIFEST_TYPES;
use super::exchange::{Answer, Bound, Redirects, brief, what};
use super::transport::{Need, Question, Transport, Turn};
use crate::artifact::{Descriptor, Digest, IMAGE_INDEX, Manifest};
use crate::json;
use crate::limits;
use crate::reference::Repository;
use crate::store::{Error, digest_of};

/// All candidates, in the registry's order, each digest once: the first list of its hosts with something in it, else what
/// the last one says. A mirror that has no list, or an empty one, may only not have heard of the referrers yet.
pub(super) async fn list(
    transport: &Transport,
    repository: &Repository,
    subject: &Digest,
    deadline: Instant,
) -> Result<Vec<Descriptor>, Error> {
    let mut turns = transport.hosts(repository, Need::Referrers, deadline).await?;
    while let Some(turn) = turns.next() {
        match list_of(&turn, subject).await {
            Ok(list) if list.entries.is_empty() && turn.spare => {}
            Ok(list) => return Ok(list.entries),
            Err(error) => turns.failed(error),
        }
    }
    Err(turns.error())
}

/// The list that one host has.
async fn list_of(turn: &Turn<'_>, subject: &Digest) -> Result<List, Error> {
    match first_page(turn, subject).await? {
        Some(first) => all_pages(turn, first).await,
        None => tagged(turn, subject).await,
    }
}

/// The first page, or none where the registry has no referrers API.
///
/// The specification's sign of that is 404. Two more are in use: Artifactory answers 406, and ghcr.io redirects to
/// a page for people. A redirect to the same endpoint elsewhere is followed.
async fn first_page(turn: &Turn<'_>, subject: &Digest) -> Result<Option<Answer>, Error> {
    let redirects = Redirects::OnlyTo(format!("/referrers/{subject}"));
    let url = turn.url("referrers", subject.as_str());
    match turn.get(url, Question { accept: IMAGE_INDEX, bound: PAGE, redirects }).await {
        Ok(answer) => Ok(Some(answer)),
        Err(Error::NotFound { .. } | Error::Status { status: 406 | 301 | 302 | 303 | 307 | 308, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn all_pages(turn: &Turn<'_>, first: Answer) -> Result<List, Error> {
    let mut list = List::default();
    let mut seen = HashSet::from([first.url.clone()]);
    let mut page = first;
    loop {
        list.take(&page)?;
        let next = next_page(&page.url, page.headers(&header::LINK)?).map_err(|cause| page.malformed(cause))?;
        let Some(url) = next else { return Ok(list) };
        if !seen.insert(url.clone()) {
            return Err(page.malformed("the list of referrers goes round in circles: a page names an earlier one"));
        }
        if seen.len() > limits::REFERRERS_PAGES {
            let limit = u64::try_from(limits::REFERRERS_PAGES).unwrap_or(u64::MAX);
            return Err(Error::TooLarge { what: page.what, limit, unit: "pages of referrers" });
        }
        let redirects = Redirects::OnlyTo(page.url.path().to_owned());
        page = turn.get(url, Question { accept: IMAGE_INDEX, bound: PAGE, redirects }).await?;
    }
}

/// Where the next page is, by the `Link` header fields of the page at `page`. It lies where that one came from: same
/// scheme, host, port and path.
///
/// # Errors
/// Why it cannot be told, or is not followed, in words that hold no query.
pub fn next_page<'a>(page: &Url, fields: impl IntoIterator<Item = &'a str>) -> Result<Option<Url>, String> {
    let Some(target) = super::link::next(fields)? else { return Ok(None) };
    let mut next = page.join(target).map_err(|error| format!("the next page's URL cannot be read: {error}"))?;
    next.set_fragment(None);
    let same_place = next.origin() == page.origin() && unescaped(next.path()) == unescaped(page.path());
    if !same_place || !next.username().is_empty() || next.password().is_some() {
        let elsewhere = brief(what(&next).trim_start_matches("GET "));
        return Err(format!("the next page of the list lies elsewhere, at {elsewhere:?}"));
    }
    Ok(Some(next))
}

/// Some registries escape the digest's colon in the links they make.
fn unescaped(path: &str) -> String {
    path.replace("%3A", ":").replace("%3a", ":")
}

/// The list that clients keep at a tag where a registry has no referrers API.
///
/// Beyond the specification, which takes anything at that tag that is no index for an empty list: only what is
/// certainly no list counts as none.
async fn tagged(turn: &Turn<'_>, subject: &Digest) -> Result<List, Error> {
    let url = turn.url("manifests", &tag(subject));
    let question = Question { accept: MANIFEST_TYPES, bound: PAGE, redirects: Redirects::Any };
    let answer = match turn.get(url, question).await {
        Ok(answer) => answer,
        Err(Error::NotFound { .. }) => return Ok(List::default()),
        Err(error) => return Err(error),
    };
    // GitLab reads sha256-<hex> as sha256:<hex> and answers with the subject: then there is no such tag.
    if digest_of(subject.algorithm(), &answer.body) == *subject {
        return Ok(List::default());
    }
    let mut list = List::default();
    list.take(&answer)?;
    Ok(list)
}

/// The tag of a digest: algorithm and digits, each cut to its length. Neither has characters that a tag may not have.
fn tag(digest: &Digest) -> String {
    let algorithm = digest.as_str().split(':').next().unwrap_or_default();
    let cut = |text: &str, length| text.chars().take(length).collect::<String>();
    format!("{}-{}", cut(algorithm, 32), cut(digest.hex(), 64))
}

const PAGE: Bound = Bound::AtMost(limits::REFERRERS_PAGE_BYTES);

/// A list as it grows: each digest once, at most [`limits::REFERRERS`].
#[derive(Debug, Default)]
pub struct List {
    entries: Vec<Descriptor>,
    positions: HashMap<Digest, usize>,
}

/// What a page is read for. `manifests` must be there; some registries write an empty list as null.
#[derive(Deserialize)]
struct Page {
    #[serde(deserialize_with = "nullable")]
    manifests: Vec<Descriptor>,
}

fn nullable<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Descriptor>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl List {
    fn take(&mut self, page: &Answer) -> Result<(), Error> {
        self.add(&page.what, &super::media_type(page)?, &page.body)
    }

    /// Adds the entries of a page, which must be an image index and nothing else. `what` names it for errors.
    ///
    /// # Errors
    /// The page cannot be read, says two things of one digest, or goes past a bound. What was added before it stays.
    pub fn add(&mut self, what: &str, media_type: &str, page: &[u8]) -> Result<(), Error> {
        if media_type != IMAGE_INDEX {
            let found = brief(media_type);
            return Err(malformed(
                what,
                format!("the list of referrers has media type {found:?} instead of {IMAGE_INDEX}"),
            ));
        }
        Manifest::parse(IMAGE_INDEX, page).map_err(|error| malformed(what, error.to_string()))?;
        let read = json::from_slice::<Page>(page);
        let read = read.map_err(|error| malformed(what, format!("the list of referrers cannot be read: {error}")))?;
        read.manifests.into_iter().try_for_each(|entry| self.push(entry, what))
    }

    /// The entries so far, in their order.
    #[must_use]
    pub fn entries(&self) -> &[Descriptor] {
        &self.entries
    }

    fn push(&mut self, entry: Descriptor, what: &str) -> Result<(), Error> {
        if entry.media_type.len() > limits::MEDIA_TYPE_BYTES {
            let limit = limits::MEDIA_TYPE_BYTES;
            return Err(malformed(what, format!("the media type of {} is longer than {limit} bytes", entry.digest)));
        }
        if let Some(known) = self.positions.get(&entry.digest).and_then(|position| self.entries.get(*position)) {
            return if *known == entry {
                Ok(())
            } else {
                Err(malformed(what, format!("the list of referrers describes {} in two ways", entry.digest)))
            };
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

fn malformed(what: &str, cause: String) -> Error {
    Error::Malformed { what: what.to_owned(), cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_of_a_digest_is_cut_as_the_specification_says() {
        let hex = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
        assert_eq!(tag(&format!("sha256:{hex}").parse().unwrap()), format!("sha256-{hex}"));
        assert_eq!(tag(&format!("sha512:{hex}{}", "0".repeat(64)).parse().unwrap()), format!("sha512-{hex}"));
    }
}
