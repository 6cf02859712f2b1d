//! A server on loopback that answers as it is told, and counts what it is asked.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What is answered below a path.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    Body(Vec<u8>),
    Status(u16),
    Redirect(String),
    /// Less than was announced.
    Half(Vec<u8>),
    /// More than was announced: nothing was, and it does not end.
    Endless,
    /// The connection stays open and nothing comes.
    Never,
}

#[derive(Default)]
struct State {
    replies: BTreeMap<String, Reply>,
    asked: Vec<String>,
    held: Vec<TcpStream>,
}

/// A server.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Server {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state: Arc<Mutex<State>> = Arc::default();
        let serving = Arc::downgrade(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (Some(state), Ok(stream)) = (serving.upgrade(), stream) else { return };
                std::thread::spawn(move || serve(stream, &state));
            }
        });
        Self { address, state }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// Answers so to everything at or below a path.
    pub(super) fn reply(&self, path: &str, reply: Reply) {
        self.state.lock().unwrap().replies.insert(path.to_owned(), reply);
    }

    pub(super) fn body(&self, path: &str, body: &[u8]) {
        self.reply(path, Reply::Body(body.to_vec()));
    }

    /// What was asked for since the last look: the first part of each path.
    pub(super) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().asked)
    }
}

/// Answers one request, or none if the client goes away.
fn serve(mut stream: TcpStream, state: &Mutex<State>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).ok()?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let target = first.split(' ').nth(1)?;
    // A proxy is asked by the whole URL.
    let path = target.strip_prefix("http://").map_or(target, |rest| rest.split_once('/').map_or("", |(_, path)| path));
    let name = path.trim_start_matches('/').split('/').next()?.to_owned();
    let reply = {
        let mut state = state.lock().unwrap();
        state.asked.push(name.clone());
        state.replies.get(&name).cloned().unwrap_or(Reply::Status(404))
    };
    let head = |status: u16, more: &str| format!("HTTP/1.1 {status} x\r\nconnection: close\r\n{more}\r\n").into_bytes();
    let whole = |body: Vec<u8>| [head(200, &format!("content-length: {}\r\n", body.len())), body].concat();
    match reply {
        Reply::Body(body) => stream.write_all(&whole(body)).ok()?,
        Reply::Status(status) => stream.write_all(&head(status, "content-length: 0\r\n")).ok()?,
        Reply::Redirect(to) => {
            stream.write_all(&head(302, &format!("location: {to}\r\ncontent-length: 0\r\n"))).ok()?
        }
        Reply::Half(body) => {
            let bytes = whole(body);
            stream.write_all(&bytes[..bytes.len() - 1]).ok()?;
        }
        Reply::Endless => {
            stream.write_all(&head(200, "")).ok()?;
            while stream.write_all(&[0; 4096]).is_ok() {}
        }
        Reply::Never => state.lock().unwrap().held.push(stream),
    }
    Some(())
}
