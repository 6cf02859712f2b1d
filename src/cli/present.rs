//! What is on the node already, and what the policy says of it: every image of containerd's, by name, and the image
//! of every pod's sandbox whether it is there or not. Called by `install` and `doctor`; changes nothing.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, stream};
use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use crate::artifact::{Descriptor, Digest};
use crate::cli::judge::{Answer, Judge};
use crate::cli::{Exit, Stop};
use crate::containerd::{Containerd, Image};
use crate::limits;
use crate::reference::Reference;
use crate::verdict::Token;

/// What the policy says of the images of a node.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Present {
    /// The images: the sandbox's first, then by name.
    pub(super) images: Vec<Judged>,
    /// How many were not looked at, because there are more than [`limits::PRESENT_IMAGES`].
    pub(super) left_out: usize,
}

/// An image, and what the policy says of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Judged {
    /// Its name; one with a tag where it has one.
    pub(super) reference: String,
    /// Other names for the same in the same repository.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) also: Vec<String>,
    /// What it is; none where the sandbox's is not there and its registry does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) descriptor: Option<Descriptor>,
    /// The namespaces of containerd that have it; none for a sandbox's image that is not there.
    pub(super) namespaces: Vec<String>,
    /// Whether no pod starts without it.
    pub(super) sandbox: bool,
    /// What a pull of it would be told.
    pub(super) token: Token,
    /// Why.
    pub(super) cause: String,
}

/// Judges what containerd has, and the sandbox's image, which its configuration names. The containerd that is asked
/// may have verifiers or not: they are not called.
///
/// # Errors
/// containerd does not say what it has.
pub(super) async fn judged(containerd: &Containerd, sandbox: Option<&str>, judge: &Judge) -> Result<Present, Stop> {
    let images = containerd.images().await.map_err(|error| Stop(Exit::Unavailable, error.to_string()))?;
    let now = Instant::now();
    let deadline = now.checked_add(limits::PRESENT_TIMEOUT).unwrap_or(now);
    Ok(all(questions(&images, sandbox), judge, deadline).await)
}

async fn all(mut questions: Vec<Question>, judge: &Judge, deadline: Instant) -> Present {
    let left_out = questions.len().saturating_sub(limits::PRESENT_IMAGES);
    questions.truncate(limits::PRESENT_IMAGES);
    let answers = stream::iter(questions).map(|question| question.ask(judge, deadline));
    let images = answers.buffered(limits::PRESENT_CONCURRENCY).collect().await;
    Present { images, left_out }
}

/// One question for the policy, which goes by repository and digest.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Question {
    /// The names as containerd has them, each as a reference with a registry, or why it is none.
    names: Vec<(String, Result<Reference, String>)>,
    descriptor: Option<Descriptor>,
    namespaces: Vec<String>,
    sandbox: bool,
}

impl Question {
    async fn ask(self, judge: &Judge, end: Instant) -> Judged {
        let now = Instant::now();
        let deadline = now.checked_add(limits::CALL_TIMEOUT).unwrap_or(now).min(end);
        let late = |_| Answer::unasked(Token::Unavailable, "the time for all images ran out");
        let answered = timeout_at(end, self.answer(judge, deadline)).await;
        let (descriptor, answer) = answered.unwrap_or_else(|error| (self.descriptor.clone(), late(error)));
        let mut names = self.names.into_iter().map(|(name, _)| name);
        Judged {
            reference: names.next().unwrap_or_default(),
            also: names.collect(),
            descriptor,
            namespaces: self.namespaces,
            sandbox: self.sandbox,
            token: answer.token,
            cause: answer.cause,
        }
    }

    async fn answer(&self, judge: &Judge, deadline: Instant) -> (Option<Descriptor>, Answer) {
        let reference = match self.names.first() {
            Some((_, Ok(reference))) => reference,
            // As the daemon answers to such a name.
            Some((_, Err(cause))) => return (self.descriptor.clone(), Answer::unasked(Token::Denied, cause)),
            None => return (self.descriptor.clone(), Answer::unasked(Token::Denied, "it has no name")),
        };
        let descriptor = match &self.descriptor {
            Some(descriptor) => descriptor.clone(),
            None => match judge.resolve(reference, deadline).await {
                Ok(descriptor) => descriptor,
                Err(answer) => return (None, answer),
            },
        };
        let answer = judge.judge(reference, &descriptor, deadline).await;
        (Some(descriptor), answer)
    }
}

/// The questions that images come to: one for each repository and digest. CRI gives each image its id as a name
/// too, and the repository with its digest: what has a better name is not asked for by those.
fn questions(images: &[Image], sandbox: Option<&str>) -> Vec<Question> {
    let sandbox = sandbox.map(|name| (name, name.parse::<Reference>()));
    let is_sandbox = |reference: &Reference| sandbox.as_ref().is_some_and(|(_, named)| named.as_ref() == Ok(reference));
    let (ids, named): (Vec<&Image>, Vec<&Image>) =
        images.iter().partition(|image| image.name.parse::<Digest>().is_ok());
    let mut questions: BTreeMap<(&Digest, String), Question> = BTreeMap::new();
    for image in named {
        let reference = Reference::with_host(&image.name);
        let place = reference.as_ref().map_or_else(|_| image.name.clone(), |named| named.repository.to_string());
        let question = questions.entry((&image.descriptor.digest, place)).or_insert_with(|| Question::about(image));
        question.sandbox |= reference.as_ref().is_ok_and(&is_sandbox);
        question.add(image, reference.map_err(|error| error.to_string()));
    }
    for image in ids {
        let digest = &image.descriptor.digest;
        match questions.iter_mut().find(|((known, _), _)| *known == digest) {
            Some((_, question)) => question.in_namespace(&image.namespace),
            None => {
                let question = questions.entry((digest, image.name.clone())).or_insert_with(|| Question::about(image));
                question.add(image, Err(format!("{:?} names no registry: it is an image's id", image.name)));
            }
        }
    }
    let mut questions: Vec<Question> = questions.into_values().collect();
    if let Some((name, reference)) = &sandbox
        && !questions.iter().any(|question| question.sandbox)
    {
        let reference = reference.clone().map_err(|error| error.to_string());
        let names = vec![((*name).to_owned(), reference)];
        questions.push(Question { names, descriptor: None, namespaces: Vec::new(), sandbox: true });
    }
    questions.iter_mut().for_each(Question::order);
    questions.sort_by(|one, other| (!one.sandbox, one.name()).cmp(&(!other.sandbox, other.name())));
    questions
}

impl Question {
    fn about(image: &Image) -> Self {
        let descriptor = Some(image.descriptor.clone());
        Self { names: Vec::new(), descriptor, namespaces: Vec::new(), sandbox: false }
    }

    fn add(&mut self, image: &Image, reference: Result<Reference, String>) {
        self.in_namespace(&image.namespace);
        if !self.names.iter().any(|(known, _)| *known == image.name) {
            self.names.push((image.name.clone(), reference));
        }
    }

    fn in_namespace(&mut self, namespace: &str) {
        if !self.namespaces.iter().any(|known| known == namespace) {
            self.namespaces.push(namespace.to_owned());
        }
    }

    /// Leaves names with a tag alone where there is one: people know an image by it.
    fn order(&mut self) {
        let tagged = |(_, reference): &(String, Result<Reference, String>)| {
            reference.as_ref().is_ok_and(|named| named.tag.is_some())
        };
        if self.names.iter().any(tagged) {
            self.names.retain(tagged);
        }
    }

    fn name(&self) -> &str {
        self.names.first().map_or("", |(name, _)| name)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::admission::{Admission, Mode, Rules};
    use crate::artifact::IMAGE_MANIFEST;
    use crate::config::{Remember, Unmatched};
    use crate::reference::Repository;
    use crate::scope::{Pattern, Scopes};
    use crate::store::{self, Store};

    fn image(namespace: &str, name: &str, digit: char) -> Image {
        let digest = digest(digit).parse().unwrap();
        let descriptor = Descriptor { media_type: IMAGE_MANIFEST.to_owned(), digest, size: 7 };
        Image { namespace: namespace.to_owned(), name: name.to_owned(), descriptor }
    }

    fn digest(digit: char) -> String {
        format!("sha256:{}", digit.to_string().repeat(64))
    }

    /// First name, other names, namespaces, sandbox.
    fn asked(images: &[Image], sandbox: Option<&str>) -> Vec<(String, usize, String, bool)> {
        let told = |question: Question| {
            let also = question.names.len() - 1;
            (question.name().to_owned(), also, question.namespaces.join(","), question.sandbox)
        };
        questions(images, sandbox).into_iter().map(told).collect()
    }

    fn row(name: &str, also: usize, namespaces: &str, sandbox: bool) -> (String, usize, String, bool) {
        (name.to_owned(), also, namespaces.to_owned(), sandbox)
    }

    #[test]
    fn the_three_names_that_cri_gives_an_image_are_one_question() {
        let by_digest = format!("ghcr.io/acme/web@{}", digest('a'));
        let names = [by_digest.as_str(), "ghcr.io/acme/web:v1", &digest('c')].map(|name| image("k8s.io", name, 'a'));
        assert_eq!(asked(&names, None), [row("ghcr.io/acme/web:v1", 0, "k8s.io", false)]);
        assert_eq!(asked(&names[..1], None), [row(&by_digest, 0, "k8s.io", false)], "pulled by digest");
        assert_eq!(asked(&names[2..], None), [row(&digest('c'), 0, "k8s.io", false)], "an id alone is shown");
    }

    #[test]
    fn names_of_one_repository_and_digest_are_one_question_over_all_namespaces_and_others_are_not() {
        let images = [
            image("default", "docker.io/library/nginx:1", 'a'),
            image("k8s.io", "index.docker.io/library/nginx:2", 'a'),
            image("k8s.io", "ghcr.io/mirror/nginx:1", 'a'),
            image("k8s.io", "docker.io/library/nginx:3", 'b'),
            image("default", "web:v1", 'b'),
        ];
        let expected = [
            row("docker.io/library/nginx:1", 1, "default,k8s.io", false),
            row("docker.io/library/nginx:3", 0, "k8s.io", false),
            row("ghcr.io/mirror/nginx:1", 0, "k8s.io", false),
            row("web:v1", 0, "default", false),
        ];
        assert_eq!(asked(&images, None), expected);
    }

    #[test]
    fn the_sandboxs_image_is_asked_for_first_whether_it_is_there_or_not() {
        let images = [image("k8s.io", "docker.io/a/b:1", 'a'), image("k8s.io", "docker.io/rancher/pause:3", 'b')];
        let other = row("docker.io/a/b:1", 0, "k8s.io", false);
        let there = [row("docker.io/rancher/pause:3", 0, "k8s.io", true), other.clone()];
        assert_eq!(asked(&images, Some("rancher/pause:3")), there);
        let absent = [row("registry.k8s.io/pause:3.10", 0, "", true), other];
        assert_eq!(asked(&images[..1], Some("registry.k8s.io/pause:3.10")), absent);
    }

    fn judge(scopes: Scopes<Arc<Rules>>) -> Judge {
        let remember = Remember::default();
        Judge::here(Admission { scopes, unmatched: Unmatched::Allow, remember, generation: [0; 32] })
    }

    fn no_scopes() -> Scopes<Arc<Rules>> {
        Scopes::new(Vec::new())
    }

    #[tokio::test]
    async fn an_image_without_a_registry_in_its_name_is_refused_and_a_bad_sandbox_name_is_told() {
        let images = [image("default", "web:v1", 'a'), image("default", "ghcr.io/acme/web:v1", 'a')];
        let deadline = Instant::now() + Duration::from_secs(60);
        let present = all(questions(&images, Some("No Name")), &judge(no_scopes()), deadline).await;
        let tokens: Vec<_> = present.images.iter().map(|judged| (judged.reference.as_str(), judged.token)).collect();
        assert_eq!(
            tokens,
            [("No Name", Token::Denied), ("ghcr.io/acme/web:v1", Token::Exempt), ("web:v1", Token::Denied)]
        );
        assert!(present.images[2].cause.contains("it names no registry"), "{present:?}");
    }

    #[tokio::test]
    async fn at_the_limit_every_image_is_judged_and_one_past_it_is_counted_as_left_out() {
        for (count, left_out) in [(limits::PRESENT_IMAGES, 0), (limits::PRESENT_IMAGES + 1, 1)] {
            let images: Vec<Image> =
                (0..count).map(|index| image("default", &format!("ghcr.io/acme/web:{index:04}"), 'a')).collect();
            let questions: Vec<Question> =
                images.iter().flat_map(|one| questions(std::slice::from_ref(one), None)).collect();
            let present = all(questions, &judge(no_scopes()), Instant::now() + Duration::from_secs(60)).await;
            assert_eq!((present.images.len(), present.left_out), (limits::PRESENT_IMAGES, left_out));
        }
    }

    /// A registry that never answers.
    struct Silent;

    #[async_trait::async_trait]
    impl Store for Silent {
        async fn resolve(&self, _: &Reference, _: Instant) -> Result<Descriptor, store::Error> {
            std::future::pending().await
        }

        async fn referrers(&self, _: &Repository, _: &Digest, _: Instant) -> Result<store::Listed, store::Error> {
            std::future::pending().await
        }

        async fn manifest(&self, _: &Repository, _: &Descriptor, _: Instant) -> Result<Bytes, store::Error> {
            std::future::pending().await
        }

        async fn blob(&self, _: &Repository, _: &Descriptor, _: u64, _: Instant) -> Result<Bytes, store::Error> {
            std::future::pending().await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_registry_that_does_not_answer_is_waited_for_no_longer_than_a_pull_would() {
        let rules = Rules { mode: Mode::Allow, pins: BTreeSet::new(), store: Arc::new(Silent) };
        let scopes = Scopes::new(vec![(Pattern::parse("*").unwrap(), Arc::new(rules))]);
        let start = Instant::now();
        let present =
            all(questions(&[], Some("registry.k8s.io/pause:3")), &judge(scopes), start + limits::PRESENT_TIMEOUT).await;
        assert_eq!(present.images[0].token, Token::Unavailable);
        assert_eq!(start.elapsed().as_secs(), limits::CALL_TIMEOUT.as_secs());
    }
}
