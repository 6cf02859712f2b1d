//! A registry in front of another: it has what the other has, asks for a token, answers as slowly and as seldom as it is
//! told, and keeps a record of what it was asked. Plain http on loopback; it ends with the bench.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::asking::runtime;

/// How it treats those who ask.
#[derive(Clone, Copy)]
pub struct Manners {
    /// Requests that it answers in a second, and at most at once after it was left alone; what comes beyond is answered
    /// 429. None: all.
    pub rate: Option<(f64, f64)>,
    /// Whether it says when to come again.
    pub retry_after: bool,
    /// How long it takes for each request.
    pub delay: Duration,
    /// Whether it wants to see a token of its realm for each repository.
    pub tokens: bool,
}

/// A registry that is running.
pub struct Front {
    /// Host and port.
    pub host: String,
    state: Arc<State>,
}

struct State {
    host: String,
    behind: String,
    manners: Manners,
    /// What the other answered, by path and query.
    kept: tokio::sync::Mutex<HashMap<String, Arc<Answer>>>,
    bucket: Mutex<Bucket>,
    asked: Mutex<Vec<(String, u16)>>,
}

struct Bucket {
    full: f64,
    at: Instant,
}

struct Answer {
    status: u16,
    headers: Vec<String>,
    body: Vec<u8>,
}

impl Front {
    /// Starts it before the registry at `behind`.
    pub fn start(behind: &str, manners: Manners) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let bucket = Bucket { full: manners.rate.map_or(0.0, |(_, most)| most), at: Instant::now() };
        let state = Arc::new(State {
            host: host.clone(),
            behind: behind.to_owned(),
            manners,
            kept: tokio::sync::Mutex::default(),
            bucket: Mutex::new(bucket),
            asked: Mutex::default(),
        });
        let serving = Arc::clone(&state);
        thread::spawn(move || runtime().block_on(serve(listener, serving)));
        Self { host, state }
    }

    /// What was asked so far, in its order: path and query, and the status of the answer.
    pub fn asked(&self) -> MutexGuard<'_, Vec<(String, u16)>> {
        self.state.asked.lock().unwrap()
    }
}

async fn serve(listener: std::net::TcpListener, state: Arc<State>) {
    let listener = TcpListener::from_std(listener).unwrap();
    // Where the bench lives no longer, neither does this thread.
    while let Ok((stream, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            // Whoever asked may have gone away.
            let _ = connection(stream, &state).await;
        });
    }
}

async fn connection(stream: TcpStream, state: &State) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    // A TLS handshake: what web servers say at a plain port.
    if stream.fill_buf().await?.first() == Some(&0x16) {
        return stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n").await;
    }
    loop {
        let (mut target, mut authorization) = (String::new(), String::new());
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            if target.is_empty() {
                target = line.split(' ').nth(1).unwrap_or_default().to_owned();
            } else if let Some((_, value)) =
                line.split_once(": ").filter(|(name, _)| name.eq_ignore_ascii_case("authorization"))
            {
                authorization = value.to_owned();
            }
        }
        let answer = state.answer(&target, &authorization).await;
        state.asked.lock().unwrap().push((target, answer.status));
        tokio::time::sleep(state.manners.delay).await;
        let mut head = format!("HTTP/1.1 {} Front\r\nContent-Length: {}\r\n", answer.status, answer.body.len());
        for header in &answer.headers {
            head += &format!("{header}\r\n");
        }
        let bytes = [(head + "\r\n").as_bytes(), &answer.body].concat();
        stream.write_all(&bytes).await?;
    }
}

impl State {
    async fn answer(&self, target: &str, authorization: &str) -> Arc<Answer> {
        let bare = |status, headers| Arc::new(Answer { status, headers, body: Vec::new() });
        if !self.takes_one_more() {
            let wait = self.manners.retry_after.then(|| "Retry-After: 1".to_owned());
            return bare(429, wait.into_iter().collect());
        }
        if let Some((_, scope)) = target.split_once("/token?").and_then(|(_, query)| query.rsplit_once("scope=")) {
            let body =
                format!(r#"{{"token":"{}","expires_in":300}}"#, token(&scope.replace("%3A", ":").replace("%2F", "/")));
            return Arc::new(Answer { status: 200, headers: Vec::new(), body: body.into_bytes() });
        }
        let scope = format!("repository:{}:pull", repository(target));
        if self.manners.tokens && authorization != format!("Bearer {}", token(&scope)) {
            let challenge = format!(
                r#"WWW-Authenticate: Bearer realm="http://{}/token",service="front",scope="{scope}""#,
                self.host
            );
            return bare(401, vec![challenge]);
        }
        let mut kept = self.kept.lock().await;
        if let Some(answer) = kept.get(target) {
            return Arc::clone(answer);
        }
        let answer = Arc::new(fetch(&self.behind, target).await.unwrap());
        kept.insert(target.to_owned(), Arc::clone(&answer));
        answer
    }

    /// A token bucket.
    fn takes_one_more(&self) -> bool {
        let Some((rate, most)) = self.manners.rate else { return true };
        let mut bucket = self.bucket.lock().unwrap();
        let now = Instant::now();
        bucket.full = (bucket.full + (now - bucket.at).as_secs_f64() * rate).min(most);
        bucket.at = now;
        let takes = bucket.full >= 1.0;
        if takes {
            bucket.full -= 1.0;
        }
        takes
    }
}

/// The repository that a path of the API is about.
fn repository(target: &str) -> &str {
    let path = target.strip_prefix("/v2/").unwrap_or_default();
    let end = ["/manifests/", "/blobs/", "/referrers/"].iter().find_map(|kind| path.find(kind));
    &path[..end.unwrap_or(0)]
}

/// What may be shown for a scope.
fn token(scope: &str) -> String {
    scope.replace([':', '/'], "-")
}

/// Asks the registry behind, which says no more once it has answered.
async fn fetch(behind: &str, target: &str) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(behind).await?;
    stream.write_all(format!("GET {target} HTTP/1.0\r\nHost: {behind}\r\n\r\n").as_bytes()).await?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await?;
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let told = |header: &&str| header.starts_with("Content-Type:") || header.starts_with("Docker-Content-Digest:");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let headers = head.lines().filter(told).map(str::to_owned).collect();
    Ok(Answer { status, headers, body: bytes[end + 4..].to_vec() })
}
