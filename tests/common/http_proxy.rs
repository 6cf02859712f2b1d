//! A small HTTP proxy inside the test process: absolute-form requests for http, CONNECT for https. It alone knows
//! where the hosts are that it is asked for, so what reaches them has come through it.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// A running proxy. It ends when it is dropped.
pub struct HttpProxy {
    address: String,
    state: Arc<State>,
    task: JoinHandle<()>,
}

struct State {
    /// `HOST:PORT` as asked for, and where that is.
    hosts: Vec<(String, String)>,
    /// What it answers to everybody instead, if anything.
    answer: Mutex<Option<&'static str>>,
    heads: Mutex<Vec<String>>,
}

impl HttpProxy {
    /// A proxy to these hosts: the name with its port, and the address that it leads to.
    pub async fn start(hosts: &[(&str, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let hosts = hosts.iter().map(|(name, address)| ((*name).to_owned(), (*address).to_owned())).collect();
        let state = Arc::new(State { hosts, answer: Mutex::default(), heads: Mutex::default() });
        let task = tokio::spawn(serve(listener, Arc::clone(&state)));
        Self { address, state, task }
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// From now on this is all it says, to everybody.
    pub fn answers(&self, answer: &'static str) {
        *self.state.answer.lock().unwrap() = Some(answer);
    }

    /// The heads of all requests so far, as they came.
    pub fn heads(&self) -> Vec<String> {
        self.state.heads.lock().unwrap().clone()
    }
}

impl Drop for HttpProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        // Either side may go away at any time.
        connections.spawn({
            let state = Arc::clone(&state);
            async move { drop(pass(client, &state).await) }
        });
    }
}

async fn pass(mut client: TcpStream, state: &State) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    state.heads.lock().unwrap().push(head.clone());
    let answer = *state.answer.lock().unwrap();
    if let Some(answer) = answer {
        return client.write_all(answer.as_bytes()).await;
    }
    let [method, target, _] = head.lines().next().unwrap().split(' ').collect::<Vec<_>>().try_into().unwrap();
    let (host, path) = match method {
        "CONNECT" => (target, ""),
        _ => {
            let rest = target.strip_prefix("http://").unwrap_or_else(|| panic!("not of absolute form: {head}"));
            rest.split_at(rest.find('/').unwrap())
        }
    };
    let Some((_, address)) = state.hosts.iter().find(|(name, _)| name == host) else {
        return client.write_all(b"HTTP/1.1 502 Unknown Host\r\nContent-Length: 0\r\n\r\n").await;
    };
    let mut server = TcpStream::connect(address).await?;
    if method == "CONNECT" {
        client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await?;
    } else {
        server.write_all(format!("{method} {path} HTTP/1.1\r\n").as_bytes()).await?;
        server.write_all(head.split_once("\r\n").unwrap().1.as_bytes()).await?;
    }
    copy_bidirectional(&mut client, &mut server).await.map(drop)
}
