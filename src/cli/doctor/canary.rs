//! The proof: an image that must be refused, served on loopback, and pulled by each route that is said to ask ratifyd.
//! What comes of a pull is told by containerd's answer and by what was fetched: a canary whose content was asked for
//! has come in.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::admission::CANARY_CAUSE;
use crate::artifact::{Algorithm, Digest, IMAGE_MANIFEST};
use crate::cli::judge;
use crate::containerd::{Containerd, Image as Stored, Unanswered};
use crate::reference::CANARY;
use crate::store::digest_of;

/// What came of pulling the canary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Refused by ratifyd, because it is the canary.
    Refused,
    /// Refused by a verifier, for another reason: nothing came in, but nobody knows what would.
    Blocked(String),
    /// It came in, and nobody was asked.
    CameIn,
    /// It came in although ratifyd, which was asked, would have it refused.
    Told,
    /// It was not pulled, and no verifier had to do with it.
    Failed(String),
}

/// By which route an image is pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The transfer service, as ctr and nerdctl do.
    Transfer,
    /// The container runtime interface, as the kubelet and crictl do.
    Cri,
}

impl Way {
    /// Where containerd keeps what is pulled.
    fn namespace(self) -> &'static str {
        match self {
            Self::Transfer => "default",
            Self::Cri => "k8s.io",
        }
    }

    async fn pull(self, containerd: &Containerd, name: &str, plain_http: bool) -> Result<(), Unanswered> {
        match self {
            Self::Transfer => containerd.pull(self.namespace(), name, plain_http).await,
            Self::Cri => containerd.cri_pull(name).await,
        }
    }

    async fn images(self, containerd: &Containerd) -> Result<Vec<Stored>, Unanswered> {
        let images = containerd.images().await?;
        Ok(images.into_iter().filter(|image| image.namespace == self.namespace()).collect())
    }

    /// Takes away the names that a pull has given an image, which are three by CRI. What had a name before keeps it:
    /// CRI itself would remove an image with all its names.
    async fn take_away(self, containerd: &Containerd, name: &str, before: &[Stored]) -> Result<(), Unanswered> {
        let now = self.images(containerd).await?;
        // CRI leaves a tag out where there is a digest, and takes the latest where there is neither.
        let is_pulled = |image: &&Stored| {
            image.name == name
                || image.name.strip_suffix(":latest") == Some(name)
                || name.ends_with(&format!("@{}", image.descriptor.digest))
        };
        let Some(pulled) = now.iter().find(is_pulled) else { return Ok(()) };
        let is_new = |image: &&Stored| !before.iter().any(|known| known.name == image.name);
        for image in now.iter().filter(|image| image.descriptor.digest == pulled.descriptor.digest).filter(is_new) {
            containerd.remove(self.namespace(), &image.name).await?;
        }
        Ok(())
    }
}

/// A registry on loopback that holds the canary; it ends with this value.
pub(super) struct Aviary {
    name: String,
    fetched: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Drop for Aviary {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Aviary {
    /// Opens it on a free port.
    pub(super) async fn open() -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let name = format!("{}/{CANARY}", listener.local_addr()?);
        let fetched = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(serve(listener, Arc::new(Image::new()), Arc::clone(&fetched)));
        Ok(Self { name, fetched, task })
    }

    /// Takes away what an earlier run that was ended in between has left. Nothing else has the canary's digest.
    pub(super) async fn sweep(containerd: &Containerd) {
        let canary = Image::new().manifest_digest;
        for image in containerd.images().await.unwrap_or_default() {
            if image.descriptor.digest == canary {
                // What cannot be taken away is among the images that are judged.
                let _ = containerd.remove(&image.namespace, &image.name).await;
            }
        }
    }

    /// Has containerd pull the canary, and takes away what came in. `socket` is the daemon's: a refusal in its name
    /// counts if it was asked.
    pub(super) async fn try_route(&self, containerd: &Containerd, way: Way, socket: &Path) -> Outcome {
        self.fetched.store(false, Ordering::SeqCst);
        // Another name for each, so that none is there already.
        let name = format!("{}:{}", self.name, if way == Way::Cri { "cri" } else { "transfer" });
        let outcome = match way.pull(containerd, &name, true).await.map_err(judged) {
            Ok(()) => Outcome::CameIn,
            // What was refused by no verifier, and whose content was fetched, came in, even if it was no use.
            Err(Outcome::Failed(_)) if self.fetched.load(Ordering::SeqCst) => Outcome::CameIn,
            Err(outcome) => outcome,
        };
        let was_asked = judge::was_asked(socket, &name).await;
        match outcome {
            Outcome::CameIn => {
                Self::sweep(containerd).await;
                if was_asked { Outcome::Told } else { Outcome::CameIn }
            }
            Outcome::Refused if !was_asked => {
                let cause = format!("it was refused as one, but the daemon at {} was not asked", socket.display());
                Outcome::Failed(cause)
            }
            outcome => outcome,
        }
    }
}

/// What an error of a pull says of verifiers.
fn judged(error: Unanswered) -> Outcome {
    let text = error.to_string();
    // containerd, core/transfer/local/pull.go: "blocked pull" for a verdict, "blocking pull" for none.
    match text.split_once("image verifier ").or_else(|| text.split_once("blocking pull ")) {
        Some(_) if text.contains(CANARY_CAUSE) => Outcome::Refused,
        Some((_, reason)) => {
            Outcome::Blocked(reason.split_once("for reason: ").map_or(reason, |(_, reason)| reason).to_owned())
        }
        None => Outcome::Failed(text),
    }
}

/// Pulls an image that is to be let in, and takes it away again unless it was there before.
pub(super) async fn try_allowed(containerd: &Containerd, way: Way, name: &str, plain_http: bool) -> Result<(), String> {
    let text = |error: Unanswered| error.to_string();
    let before = way.images(containerd).await.map_err(text)?;
    way.pull(containerd, name, plain_http).await.map_err(text)?;
    way.take_away(containerd, name, &before).await.map_err(text)
}

/// The canary: an image without layers, which no runtime could run.
struct Image {
    manifest: Bytes,
    manifest_digest: Digest,
    config: Bytes,
    config_digest: Digest,
}

impl Image {
    fn new() -> Self {
        let config = Bytes::from_static(
            b"{\"architecture\":\"none\",\"os\":\"linux\",\"config\":{},\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[]}}",
        );
        let config_digest = digest_of(Algorithm::Sha256, &config);
        let manifest = Bytes::from(format!(
            "{{\"schemaVersion\":2,\"mediaType\":\"{IMAGE_MANIFEST}\",\"config\":{{\"mediaType\":\
            \"application/vnd.oci.image.config.v1+json\",\"digest\":\"{config_digest}\",\"size\":{}}},\"layers\":[]}}",
            config.len()
        ));
        let manifest_digest = digest_of(Algorithm::Sha256, &manifest);
        Self { manifest, manifest_digest, config, config_digest }
    }

    /// What is at a path (OCI distribution specification, "Pull").
    fn answer(&self, request: &Request<Incoming>, fetched: &AtomicBool) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        let below = |kind: &str| path.strip_prefix("/v2/")?.strip_prefix(CANARY)?.strip_prefix(kind);
        let (content, media_type, digest) = match (below("/manifests/"), below("/blobs/")) {
            (Some(_), _) => (&self.manifest, IMAGE_MANIFEST, &self.manifest_digest),
            (_, Some(digest)) if digest == self.config_digest.to_string() => {
                fetched.store(true, Ordering::SeqCst);
                (&self.config, "application/octet-stream", &self.config_digest)
            }
            _ if path == "/v2/" => return Response::new(Full::new(Bytes::from_static(b"{}"))),
            _ => return status(StatusCode::NOT_FOUND),
        };
        let body = if request.method() == Method::HEAD { Bytes::new() } else { content.clone() };
        let response = Response::builder()
            .header(header::CONTENT_TYPE, media_type)
            .header(header::CONTENT_LENGTH, content.len())
            .header("Docker-Content-Digest", digest.to_string())
            .body(Full::new(body));
        response.unwrap_or_else(|_| status(StatusCode::INTERNAL_SERVER_ERROR))
    }
}

fn status(code: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::new()));
    *response.status_mut() = code;
    response
}

async fn serve(listener: TcpListener, image: Arc<Image>, fetched: Arc<AtomicBool>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (image, fetched) = (Arc::clone(&image), Arc::clone(&fetched));
        tokio::spawn(async move {
            let answer = |request: Request<Incoming>| {
                let response = image.answer(&request, &fetched);
                async move { Ok::<_, Infallible>(response) }
            };
            // A client that breaks off has what it wanted, or not: the outcome tells.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)).await;
        });
    }
}
