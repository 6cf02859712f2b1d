//! A small registry inside the test process, on a free port of 127.0.0.1, for faults that no real registry shows on
//! demand. It holds blobs, manifests and lists of referrers; any answer can be replaced by a [`Reply`], down to raw
//! bytes. It speaks plain http, or TLS as it is told. It ends when it is dropped. Real registries are tested elsewhere.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use aws_lc_rs::digest::{SHA256, digest};
use ratify::artifact::{Descriptor, Digest, IMAGE_INDEX, IMAGE_MANIFEST};
use ratify::reference::{Reference, Repository};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

/// The config of an artifact manifest that needs none: `{}`.
const EMPTY_CONFIG: &str = "application/vnd.oci.empty.v1+json";

/// A running registry.
pub struct Registry {
    host: String,
    state: Arc<Mutex<State>>,
    seen: watch::Receiver<usize>,
    task: JoinHandle<()>,
}

struct State {
    /// `/v2/<path>/blobs/<digest>` or `/v2/<path>/manifests/<tag or digest>` to media type and bytes.
    contents: HashMap<String, (String, Vec<u8>)>,
    /// `/v2/<path>/referrers/<digest>` to the entries.
    referrers: HashMap<String, Vec<Value>>,
    referrers_api: bool,
    page_size: usize,
    replies: Vec<(String, Reply)>,
    judge: Option<Judge>,
    requests: Vec<Request>,
}

/// Looks at each request first; what it has no answer to is answered as ever.
type Judge = Box<dyn FnMut(&Request) -> Option<Reply> + Send>;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// Path and query.
    pub target: String,
    /// The whole head, in lowercase.
    pub head: String,
    /// The value of its `Authorization` header, as it came; empty if there is none.
    pub authorization: String,
    /// Its body.
    pub body: String,
    /// When it was read.
    pub at: Instant,
}

/// An answer, good or bad.
#[derive(Clone, Debug)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    end: End,
}

/// How an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// As it should.
    Whole,
    /// The connection closes before the promised length.
    Early,
    /// Never: the last promised byte does not come, and the connection stays open.
    Stalled,
    /// Never: the body goes on and on, without a promised length.
    Endless,
    /// Nothing is ever sent.
    Silence,
    /// The body is all that is sent: no head.
    Raw,
}

impl Reply {
    /// A bare status.
    pub fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), end: End::Whole }
    }

    /// A status with a body.
    pub fn refusal(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..Self::status(status) }
    }

    /// Status 200 with a body.
    pub fn ok(media_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..Self::status(200) }.header("Content-Type", media_type)
    }

    /// A list of referrers.
    pub fn list(entries: &[Value]) -> Self {
        Self::ok(IMAGE_INDEX, index(entries))
    }

    /// A redirect.
    pub fn redirect(status: u16, location: &str) -> Self {
        Self::status(status).header("Location", location)
    }

    /// One more header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The answer to HEAD in place of GET.
    fn without_body(self) -> Self {
        let length = self.body.len().to_string();
        Self { body: Vec::new(), ..self }.header("Content-Length", &length)
    }

    /// A body that promises one byte more than it has.
    pub fn early(self) -> Self {
        Self { end: End::Early, ..self }
    }

    /// A body whose last promised byte does not come, on a connection that stays open.
    pub fn stalled(self) -> Self {
        Self { end: End::Stalled, ..self }
    }

    /// A body that goes on with zeros for ever.
    pub fn endless(self) -> Self {
        Self { end: End::Endless, ..self }
    }

    /// No answer at all; the connection stays open.
    pub fn silence() -> Self {
        Self { end: End::Silence, ..Self::status(200) }
    }

    /// These bytes instead of HTTP.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self { end: End::Raw, body: bytes.into(), ..Self::status(200) }
    }
}

impl Registry {
    /// Starts an empty registry that has the referrers API.
    pub async fn start() -> Self {
        Self::start_with(None).await
    }

    /// The same over TLS.
    pub async fn start_tls(config: ServerConfig) -> Self {
        Self::start_with(Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn start_with(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let state = Arc::new(Mutex::new(State {
            contents: HashMap::new(),
            referrers: HashMap::new(),
            referrers_api: true,
            page_size: usize::MAX,
            replies: Vec::new(),
            judge: None,
            requests: Vec::new(),
        }));
        let (seen_sender, seen) = watch::channel(0);
        let task = tokio::spawn(serve(listener, tls, Arc::clone(&state), seen_sender));
        Self { host, state, seen, task }
    }

    /// `127.0.0.1:<port>`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// A reference into this registry, `acme/web:v1`.
    pub fn reference(&self, rest: &str) -> Reference {
        format!("{}/{rest}", self.host).parse().unwrap()
    }

    /// A repository of this registry.
    pub fn repository(&self, path: &str) -> Repository {
        self.reference(path).repository
    }

    /// From now on there is no referrers API: what is attached is listed at a tag.
    pub fn without_referrers_api(self) -> Self {
        self.state().referrers_api = false;
        self
    }

    /// Lists of referrers come in pages of so many entries.
    pub fn page_size(&self, entries: usize) {
        self.state().page_size = entries;
    }

    /// Stores a blob.
    pub fn blob(&self, path: &str, media_type: &str, bytes: &[u8]) -> Descriptor {
        let descriptor = describe(media_type, bytes);
        let target = format!("/v2/{path}/blobs/{}", descriptor.digest);
        self.state().contents.insert(target, ("application/octet-stream".to_owned(), bytes.to_vec()));
        descriptor
    }

    /// Stores a manifest by its digest, and under a tag.
    pub fn manifest(&self, path: &str, tag: Option<&str>, media_type: &str, bytes: &[u8]) -> Descriptor {
        let descriptor = describe(media_type, bytes);
        for name in [Some(descriptor.digest.as_str()), tag].into_iter().flatten() {
            let content = (media_type.to_owned(), bytes.to_vec());
            self.state().contents.insert(format!("/v2/{path}/manifests/{name}"), content);
        }
        descriptor
    }

    /// Stores a tiny image under a tag. Images of different tags are different.
    pub fn image(&self, path: &str, tag: &str) -> Descriptor {
        let config =
            self.blob(path, "application/vnd.oci.image.config.v1+json", format!("{{\"tag\":\"{tag}\"}}").as_bytes());
        let layer = self.blob(path, "application/vnd.oci.image.layer.v1.tar", tag.as_bytes());
        let body = json!({ "schemaVersion": 2, "mediaType": IMAGE_MANIFEST, "config": config, "layers": [layer] });
        self.manifest(path, Some(tag), IMAGE_MANIFEST, body.to_string().as_bytes())
    }

    /// Stores an artifact that refers to `subject`, with layers of media type and bytes, and lists it.
    pub fn attach(
        &self,
        path: &str,
        subject: &Descriptor,
        artifact_type: &str,
        layers: &[(&str, &[u8])],
    ) -> Descriptor {
        let layers: Vec<_> = layers.iter().map(|(media_type, bytes)| self.blob(path, media_type, bytes)).collect();
        let config = self.blob(path, EMPTY_CONFIG, b"{}");
        let body = json!({
            "schemaVersion": 2, "mediaType": IMAGE_MANIFEST, "artifactType": artifact_type,
            "config": config, "layers": layers, "subject": subject,
        });
        let descriptor = self.manifest(path, None, IMAGE_MANIFEST, body.to_string().as_bytes());
        self.list(path, &subject.digest, &descriptor);
        descriptor
    }

    /// Adds an entry to a list of referrers, whatever it is.
    pub fn list(&self, path: &str, subject: &Digest, entry: &Descriptor) {
        let mut state = self.state();
        let entries = state.referrers.entry(format!("/v2/{path}/referrers/{subject}")).or_default();
        entries.push(json!(entry));
        let list = (IMAGE_INDEX.to_owned(), index(entries));
        if !state.referrers_api {
            let tag = subject.as_str().replace(':', "-");
            state.contents.insert(format!("/v2/{path}/manifests/{tag}"), list);
        }
    }

    /// From now on requests whose path or query contains `part` get this answer. The latest fitting one wins.
    pub fn reply(&self, part: &str, reply: Reply) {
        self.state().replies.push((part.to_owned(), reply));
    }

    /// From now on each request is shown to `judge` first.
    pub fn judge(&self, judge: impl FnMut(&Request) -> Option<Reply> + Send + 'static) {
        self.state().judge = Some(Box::new(judge));
    }

    /// Requests get their proper answers again.
    pub fn heal(&self) {
        let mut state = self.state();
        state.replies.clear();
        state.judge = None;
    }

    /// What lies below a path is gone, and what was asked of it is forgotten.
    pub fn remove(&self, path: &str) {
        let mut state = self.state();
        state.contents.retain(|key, _| !key.starts_with(path));
        state.referrers.retain(|key, _| !key.starts_with(path));
        state.requests.retain(|request| !request.target.starts_with(path));
    }

    /// What was asked so far is forgotten.
    pub fn forget(&self) {
        self.state().requests.clear();
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.state().requests.clone()
    }

    /// How many requests there were whose path or query contains `part`.
    pub fn count(&self, part: &str) -> usize {
        self.state().requests.iter().filter(|request| request.target.contains(part)).count()
    }

    /// Waits until there were so many requests whose path or query contains `part`.
    pub async fn requested(&self, part: &str, times: usize) {
        let mut seen = self.seen.clone();
        seen.wait_for(|_| self.count(part) >= times).await.unwrap();
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The descriptor of some bytes.
pub fn describe(media_type: &str, bytes: &[u8]) -> Descriptor {
    let hex: String = digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    Descriptor {
        media_type: media_type.to_owned(),
        digest: format!("sha256:{hex}").parse().unwrap(),
        size: bytes.len() as u64,
    }
}

/// An image index over these entries.
pub fn index(entries: &[Value]) -> Vec<u8> {
    json!({ "schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": entries }).to_string().into_bytes()
}

async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, state: Arc<Mutex<State>>, seen: watch::Sender<usize>) {
    // Dropped with this future, and all connections with it.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, state, seen) = (tls.clone(), Arc::clone(&state), seen.clone());
        connections.spawn(async move {
            match tls {
                None => connection(stream, state, seen).await,
                // Who does not like our certificate goes away.
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        connection(stream, state, seen).await;
                    }
                }
            }
        });
    }
}

/// One request per connection. Errors mean that the client has gone, which is its right.
async fn connection<S>(mut stream: S, state: Arc<Mutex<State>>, seen: watch::Sender<usize>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            // A TLS handshake: what web servers say at a plain port.
            Ok(0x16) if head.is_empty() => {
                let _ = stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n").await;
                return;
            }
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let target = head.split(' ').nth(1).unwrap().to_owned();
    let field = |name: &str| {
        let fields = head.lines().filter_map(|line| line.split_once(": "));
        fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).next()
    };
    let mut body = vec![0; field("content-length").map_or(0, |length| length.parse().unwrap())];
    if stream.read_exact(&mut body).await.is_err() {
        return;
    }
    let request = Request {
        target: target.clone(),
        head: head.to_lowercase(),
        authorization: field("authorization").unwrap_or_default(),
        body: String::from_utf8_lossy(&body).into_owned(),
        at: Instant::now(),
    };
    let mut reply = {
        let mut state = state.lock().unwrap();
        let judged = state.judge.as_mut().and_then(|judge| judge(&request));
        state.requests.push(request);
        judged.unwrap_or_else(|| state.answer(&target))
    };
    if head.starts_with("HEAD ") {
        reply = reply.without_body();
    }
    seen.send_modify(|count| *count += 1);
    let _ = send(&mut stream, reply).await;
}

async fn send<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, reply: Reply) -> std::io::Result<()> {
    if reply.end == End::Silence {
        // Until the client hangs up.
        stream.read_u8().await?;
    }
    if reply.end != End::Raw {
        let missing = usize::from(matches!(reply.end, End::Early | End::Stalled));
        let mut head = format!("HTTP/1.1 {} Test\r\nConnection: close\r\n", reply.status);
        for (name, value) in &reply.headers {
            head += &format!("{name}: {value}\r\n");
        }
        if reply.end != End::Endless && !reply.headers.iter().any(|(name, _)| name == "Content-Length") {
            head += &format!("Content-Length: {}\r\n", reply.body.len() + missing);
        }
        stream.write_all((head + "\r\n").as_bytes()).await?;
    }
    stream.write_all(&reply.body).await?;
    if reply.end == End::Stalled {
        stream.read_u8().await?;
    }
    if reply.end == End::Endless {
        loop {
            stream.write_all(&[0; 8192]).await?;
        }
    }
    stream.shutdown().await
}

impl State {
    fn answer(&self, target: &str) -> Reply {
        if let Some((_, reply)) = self.replies.iter().rev().find(|(part, _)| target.contains(part)) {
            return reply.clone();
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        if self.referrers_api && path.contains("/referrers/") {
            return self.page(path, query);
        }
        match self.contents.get(path) {
            Some((media_type, bytes)) if path.contains("/manifests/") => Reply::ok(media_type, bytes.clone())
                .header("Docker-Content-Digest", describe(media_type, bytes).digest.as_str()),
            Some((media_type, bytes)) => Reply::ok(media_type, bytes.clone()),
            None => Reply::status(404),
        }
    }

    fn page(&self, path: &str, query: &str) -> Reply {
        let entries = self.referrers.get(path).map(Vec::as_slice).unwrap_or_default();
        let page: usize = query.strip_prefix("page=").map_or(0, |page| page.parse().unwrap());
        let start = page.saturating_mul(self.page_size).min(entries.len());
        let end = start.saturating_add(self.page_size).min(entries.len());
        let reply = Reply::list(&entries[start..end]);
        if end == entries.len() {
            return reply;
        }
        reply.header("Link", &format!("<{path}?page={}>; rel=\"next\"", page + 1))
    }
}
