//! A way to a registry that counts what is asked, can be held up, and can vanish. One request per connection.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// All pass.
    Pass,
    /// Requests for referrers wait until the rule changes.
    HoldReferrers,
    /// Requests for tags that end as Cosign's do are answered with status 500.
    FailTags,
    /// The first request for referrers, and everything after it, finds nobody.
    VanishAtReferrers,
    /// The last byte of every blob is another one.
    SpoilBlobs,
}

/// A running proxy.
pub struct Proxy {
    /// `127.0.0.1:PORT`.
    pub host: String,
    state: Arc<State>,
}

struct State {
    registry: String,
    inner: Mutex<Inner>,
    changed: Condvar,
}

struct Inner {
    rule: Rule,
    requests: Vec<String>,
    closed: bool,
}

impl Proxy {
    /// A proxy before a registry.
    pub fn start(registry: &str, rule: Rule) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let inner = Mutex::new(Inner { rule, requests: Vec::new(), closed: false });
        let state = Arc::new(State { registry: registry.to_owned(), inner, changed: Condvar::new() });
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming() {
                if shared.inner.lock().unwrap().closed {
                    return;
                }
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    // A client may go away at any time.
                    let _ = client.and_then(|client| shared.serve(client));
                });
            }
        });
        Self { host, state }
    }

    /// Changes the rule, for requests that wait too.
    pub fn set(&self, rule: Rule) {
        self.state.inner.lock().unwrap().rule = rule;
        self.state.changed.notify_all();
    }

    /// `METHOD /path` of all requests so far that have this in them.
    pub fn requests(&self, part: &str) -> Vec<String> {
        let inner = self.state.inner.lock().unwrap();
        inner.requests.iter().filter(|request| request.contains(part)).cloned().collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.inner.lock().unwrap().closed = true;
        self.state.changed.notify_all();
        // Wakes the thread that accepts, which then closes the listener.
        let _ = TcpStream::connect(&self.host);
    }
}

impl State {
    fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        let mut first = [0];
        if client.peek(&mut first)? == 1 && first == TLS_HANDSHAKE {
            // What an http server says to a client that tries https first.
            return client.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n");
        }
        let head = read_head(&mut client)?;
        let request: Vec<&str> = head.lines().next().unwrap_or_default().split(' ').take(2).collect();
        let request = request.join(" ");
        let for_referrers = request.contains("/referrers/");
        let mut inner = self.inner.lock().unwrap();
        let spoil = inner.rule == Rule::SpoilBlobs && request.contains("/blobs/");
        inner.requests.push(request);
        if for_referrers && inner.rule == Rule::VanishAtReferrers {
            inner.closed = true;
            drop(inner);
            let _ = TcpStream::connect(client.local_addr()?);
            return Ok(());
        }
        if inner.rule == Rule::FailTags && inner.requests.last().is_some_and(|last| last.ends_with(".sig")) {
            return client
                .write_all(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
        let held = |inner: &mut Inner| for_referrers && inner.rule == Rule::HoldReferrers && !inner.closed;
        drop(self.changed.wait_while(inner, held).unwrap());

        let mut registry = TcpStream::connect(&self.registry)?;
        let kept = head.lines().filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
        let head: String = kept.take_while(|line| !line.is_empty()).flat_map(|line| [line, "\r\n"]).collect();
        registry.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes())?;
        let mut answer = Vec::new();
        registry.read_to_end(&mut answer)?;
        if spoil && let Some(last) = answer.last_mut() {
            *last ^= 1;
        }
        client.write_all(&answer)?;
        client.shutdown(Shutdown::Both)
    }
}

/// The first byte of TLS (RFC 8446, section 5.1).
const TLS_HANDSHAKE: [u8; 1] = [22];

/// Reads a request that has no body.
fn read_head(client: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte)?;
        head.extend_from_slice(&byte);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}
