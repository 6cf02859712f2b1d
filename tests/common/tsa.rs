//! A timestamp authority on loopback: openssl answers, a small HTTP server passes questions and answers on (RFC 3161,
//! section 3.4). It ends when it is dropped.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use super::notation::{Key, new_key};
use super::tools::{run, shared_folder};

/// What an authority is made of, and what its timestamps say.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// All its keys are of this kind.
    pub key: Key,
    /// The hash function by which it signs.
    pub digest: &'a str,
    /// The policy that its timestamps name.
    pub policy: &'a str,
    /// As openssl's configuration writes it; empty: none is stated.
    pub accuracy: &'a str,
    /// The extensions of its own certificate, one on each line, as openssl's configuration writes them.
    pub extensions: &'a str,
}

impl Default for Settings<'_> {
    fn default() -> Self {
        Self {
            key: Key::Curve("P-256"),
            digest: "sha256",
            policy: "1.3.6.1.4.1.55555.2",
            accuracy: "secs:1",
            extensions: EXTENSIONS,
        }
    }
}

/// A running authority: a root, and the authority's certificate under it.
pub struct TimestampAuthority {
    folder: PathBuf,
    address: String,
    is_ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl TimestampAuthority {
    /// One with keys of its own.
    pub fn start(settings: Settings<'_>) -> Self {
        let folder = shared_folder();
        let openssl = |words: &str, more: &[&str]| {
            run(Command::new("openssl").current_dir(&folder).args(words.split(' ')).args(more)).success()
        };
        for name in ["root.key", "tsa.key"] {
            new_key(&folder.join(name), settings.key);
        }
        let root = ["-days", "30", "-subj", "/C=US/O=ratifyd test/CN=timestamp root"];
        let usage =
            ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign"];
        openssl("req -x509 -new -key root.key -sha256 -out root.pem", &[&root[..], &usage].concat());
        openssl("req -new -key tsa.key -out tsa.csr", &["-subj", "/C=US/O=ratifyd test/CN=timestamp authority"]);
        fs::write(folder.join("tsa.ext"), settings.extensions).unwrap();
        let issue =
            "x509 -req -in tsa.csr -CA root.pem -CAkey root.key -CAcreateserial -sha256 -extfile tsa.ext -out tsa.pem";
        openssl(issue, &["-days", "30"]);
        fs::write(folder.join("serial"), "01\n").unwrap();
        let Settings { digest, policy, accuracy, .. } = settings;
        let accuracy = if accuracy.is_empty() { String::new() } else { format!("accuracy = {accuracy}\n") };
        let config = format!("{CONFIG}signer_digest = {digest}\ndefault_policy = {policy}\n{accuracy}");
        fs::write(folder.join("tsa.cnf"), config).unwrap();

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let is_ending = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let (folder, is_ending) = (folder.clone(), Arc::clone(&is_ending));
            move || {
                for client in listener.incoming() {
                    if is_ending.load(Ordering::SeqCst) {
                        break;
                    }
                    // One after the other: openssl keeps its serial numbers in a file. A client may go away at any time.
                    let _ = client.and_then(|client| answer(client, &folder));
                }
            }
        });
        Self { folder, address, is_ending, thread: Some(thread) }
    }

    /// Where it is asked.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its root certificate's file.
    pub fn root(&self) -> PathBuf {
        self.folder.join("root.pem")
    }

    /// A token over these bytes, as it would be got over the network.
    pub fn stamp(&self, bytes: &[u8], digest: &str) -> Vec<u8> {
        let folder = shared_folder();
        fs::write(folder.join("bytes"), bytes).unwrap();
        let query = ["ts", "-query", "-data", "bytes", "-cert", "-out", "query", &format!("-{digest}")];
        run(Command::new("openssl").current_dir(&folder).args(query)).success();
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let body = fs::read(folder.join("query")).unwrap();
        let length = body.len();
        stream.write_all(format!("POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n").as_bytes()).unwrap();
        stream.write_all(&body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
        fs::write(folder.join("reply"), &answer[end..]).unwrap();
        let reply = ["ts", "-reply", "-in", "reply", "-token_out", "-out", "token"];
        run(Command::new("openssl").current_dir(&folder).args(reply)).success();
        fs::read(folder.join("token")).unwrap()
    }
}

impl Drop for TimestampAuthority {
    fn drop(&mut self) {
        self.is_ending.store(true, Ordering::SeqCst);
        // The server looks once it has somebody to look at.
        let _ = TcpStream::connect(&self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(client: TcpStream, folder: &Path) -> std::io::Result<()> {
    let mut reader = BufReader::new(client);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut query = vec![0; length];
    reader.read_exact(&mut query)?;
    fs::write(folder.join("query"), query)?;
    let reply = ["ts", "-reply", "-config", "tsa.cnf", "-queryfile", "query", "-out", "reply"];
    run(Command::new("openssl").current_dir(folder).args(reply)).success();
    let reply = fs::read(folder.join("reply"))?;
    let length = reply.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/timestamp-reply\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    reader.into_inner().write_all(&[head.into_bytes(), reply].concat())
}

/// What the certificate of an authority must say.
pub const EXTENSIONS: &str = "basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=critical,timeStamping
";

const CONFIG: &str = "[tsa]
default_tsa = c
[c]
serial = serial
crypto_device = builtin
signer_cert = tsa.pem
certs = root.pem
signer_key = tsa.key
digests = sha256, sha384, sha512
ess_cert_id_alg = sha256
";
