//! Questions to a daemon's socket as the shim asks them, by the library's client instead of by processes.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt as _};
use ratify::artifact::IMAGE_MANIFEST;
use ratify::verdict::Token;
use ratify::wire::v1::image_verifier_client::ImageVerifierClient;
use ratify::wire::v1::{self, VerifyReply};
use ratify::{client, limits, wire};
use tokio::runtime::{Builder, Runtime};

use super::{Image, percentile};

/// Threads that ask, each with a runtime of its own: one would be what is measured.
const THREADS: usize = 2;

/// What came of one question.
pub struct Answer {
    /// None where there was no verdict.
    pub token: Option<Token>,
    /// Why, in words.
    pub cause: String,
    pub took: Duration,
}

/// What came of many questions.
pub struct Answers {
    /// In no order, each with the number of its image.
    pub each: Vec<(usize, Answer)>,
    /// From the first question to the last answer.
    pub took: Duration,
}

impl Answers {
    pub fn per_second(&self) -> f64 {
        self.each.len() as f64 / self.took.as_secs_f64()
    }

    pub fn percentile(&self, percent: usize) -> Duration {
        percentile(&self.each.iter().map(|(_, answer)| answer.took).collect::<Vec<_>>(), percent)
    }

    /// How many there are of each token; `-` where there was none.
    pub fn tokens(&self) -> BTreeMap<&'static str, usize> {
        let mut tokens = BTreeMap::new();
        for (_, answer) in &self.each {
            *tokens.entry(answer.token.map_or("-", Token::as_str)).or_default() += 1;
        }
        tokens
    }
}

/// Asks about `pulls` images, one after the other from the beginning again, `at_once` at a time, over a connection each.
pub fn over_a_connection_each(socket: &Path, images: &[Image], pulls: usize, at_once: usize) -> Answers {
    in_threads(|thread| {
        let questions = (thread..pulls).step_by(THREADS).map(|pull| {
            let number = pull % images.len();
            async move {
                let start = Instant::now();
                let deadline = tokio::time::Instant::now() + limits::SHIM_TIMEOUT;
                let question = question(&images[number]);
                let reply = client::call(socket, deadline, async |channel| {
                    ImageVerifierClient::new(channel).verify(client::request(question.clone(), deadline)).await
                });
                (number, answer(reply.await.map_err(|unanswered| unanswered.to_string()), start))
            }
        });
        stream::iter(questions).buffer_unordered(at_once / THREADS).collect()
    })
}

/// The same over connections that are kept: `connections` of them, each with `at_once` questions under way.
pub fn over_kept_connections(
    socket: &Path,
    images: &[Image],
    pulls: usize,
    connections: usize,
    at_once: usize,
) -> Answers {
    in_threads(|thread| async move {
        let asking = (thread..connections).step_by(THREADS).map(|connection| async move {
            let channel = client::endpoint(socket).unwrap().connect().await.unwrap();
            let questions = (connection..pulls).step_by(connections).map(|pull| {
                let (number, mut client) = (pull % images.len(), ImageVerifierClient::new(channel.clone()));
                async move {
                    let start = Instant::now();
                    let reply = client.verify(question(&images[number])).await;
                    (number, answer(reply.map(tonic::Response::into_inner).map_err(|status| status.to_string()), start))
                }
            });
            stream::iter(questions).buffer_unordered(at_once).collect::<Vec<_>>().await
        });
        futures_util::future::join_all(asking).await.into_iter().flatten().collect()
    })
}

/// A runtime for one thread.
pub fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn in_threads<F: Future<Output = Vec<(usize, Answer)>>>(ask: impl Fn(usize) -> F + Sync) -> Answers {
    let start = Instant::now();
    let each = thread::scope(|threads| {
        let asking: Vec<_> = (0..THREADS)
            .map(|thread| {
                let ask = &ask;
                threads.spawn(move || runtime().block_on(ask(thread)))
            })
            .collect();
        asking.into_iter().flat_map(|asking| asking.join().unwrap()).collect()
    });
    Answers { each, took: start.elapsed() }
}

fn question(image: &Image) -> v1::VerifyRequest {
    let size = image.size.try_into().unwrap();
    let descriptor = v1::Descriptor { media_type: IMAGE_MANIFEST.to_owned(), digest: image.digest.clone(), size };
    v1::VerifyRequest { name: image.name.clone(), descriptor: Some(descriptor), audit: false }
}

fn answer(reply: Result<VerifyReply, String>, start: Instant) -> Answer {
    let took = start.elapsed();
    match reply.map(|reply| reply.verdict.unwrap_or_default()) {
        Ok(verdict) => Answer { token: wire::token(&verdict), cause: verdict.cause, took },
        Err(cause) => Answer { token: None, cause, took },
    }
}
