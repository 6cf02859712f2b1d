//! An authority of openssl that takes certificates back: its CRLs over http, and `openssl ocsp` as its responder.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use super::notation::Signer;
use super::tools::{Service, run, shared_folder, until};

/// A root authority that signs CRLs.
pub struct Issuer {
    folder: PathBuf,
    /// Where its responder listens, once it runs.
    port: u16,
}

impl Issuer {
    /// A new one. All have the same name.
    pub fn create() -> Self {
        let folder = shared_folder();
        fs::write(folder.join("ca.cnf"), CONFIG).unwrap();
        fs::write(folder.join("index.txt"), "").unwrap();
        fs::write(folder.join("crlnumber"), "01\n").unwrap();
        openssl(&folder, "genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ca.key", &[]);
        let usage = "keyUsage=critical,keyCertSign,cRLSign";
        let more = [
            "/C=US/ST=WA/O=ratifyd test/CN=revoking root",
            "-addext",
            "basicConstraints=critical,CA:TRUE",
            "-addext",
            usage,
        ];
        openssl(&folder, "req -x509 -new -key ca.key -sha256 -days 30 -out ca.crt -subj", &more);
        // The port must be known before certificates name it; openssl takes it again.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { folder, port }
    }

    /// Its certificate's file.
    pub fn certificate(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// Where certificates say that its responder is.
    pub fn responder_url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// A signer whose certificate has these extensions besides, as openssl's configuration writes them.
    pub fn signer(&self, extensions: &str) -> Revocable {
        let folder = shared_folder();
        let path = |name: &str| folder.join(name).display().to_string();
        fs::write(folder.join("leaf.ext"), format!("{LEAF_EXTENSIONS}{extensions}\n")).unwrap();
        openssl(&folder, "genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out leaf.key", &[]);
        openssl(&folder, "req -new -key leaf.key -out leaf.csr -subj", &["/C=US/ST=WA/O=ratifyd test/CN=revocable"]);
        let files =
            ["-extfile", &path("leaf.ext"), "-in", &path("leaf.csr"), "-out", &path("leaf.crt"), "-outdir", &path("")];
        openssl(&self.folder, "ca -batch -notext -config ca.cnf -days 1", &files);
        let chain = [folder.join("leaf.crt"), self.certificate()].map(|file| fs::read_to_string(file).unwrap());
        fs::write(folder.join("leaf.chain"), chain.concat()).unwrap();
        Revocable { certificate: folder.join("leaf.crt"), signer: Signer::of(folder) }
    }

    /// Takes a certificate back.
    pub fn revoke(&self, signer: &Revocable, reason: &str) {
        let file = signer.certificate.display().to_string();
        openssl(&self.folder, "ca -batch -config ca.cnf -revoke", &[&file, "-crl_reason", reason]);
    }

    /// Its CRL as of now, in DER.
    pub fn list(&self) -> Vec<u8> {
        openssl(&self.folder, "ca -batch -config ca.cnf -gencrl -crldays 1 -out ca.crl", &[]);
        openssl(&self.folder, "crl -in ca.crl -outform DER -out ca.der", &[]);
        fs::read(self.folder.join("ca.der")).unwrap()
    }

    /// Its responder, which knows what was taken back until now. It answers until it is dropped.
    pub fn responder(&self) -> Service {
        let path = |name: &str| self.folder.join(name).display().to_string();
        let mut command = Command::new("openssl");
        command.args(["ocsp", "-ndays", "1", "-port", &self.port.to_string(), "-index", &path("index.txt")]);
        command.args(["-rsigner", &path("ca.crt"), "-rkey", &path("ca.key"), "-CA", &path("ca.crt")]);
        let service = Service::start(&command, &self.folder.join("ocsp.log"));
        until("the responder", || {
            assert!(!service.has_ended(), "{}", service.log());
            service.log().contains("waiting for OCSP client connections")
        });
        service
    }
}

/// A signer whose certificate can be taken back.
pub struct Revocable {
    certificate: PathBuf,
    /// Who signs.
    pub signer: Signer,
}

/// Files over http, each below its name, on loopback; they are served as long as this process lives.
#[derive(Clone)]
pub struct Files {
    address: SocketAddr,
    files: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
}

impl Files {
    /// None yet.
    pub fn serve() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let served = Self { address: listener.local_addr().unwrap(), files: Arc::default() };
        let files = Arc::clone(&served.files);
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
                let first = lines.next().unwrap_or_default();
                lines.find(String::is_empty);
                let name = first.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
                let (status, body) = match files.lock().unwrap().get(&name) {
                    Some(body) => ("200 OK", body.clone()),
                    None => ("404 Not Found", Vec::new()),
                };
                let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
                // Who has gone needs no answer.
                let _ = stream.write_all(&[head.as_bytes(), &body].concat());
            }
        });
        served
    }

    /// Puts a file there; its URL.
    pub fn put(&self, name: &str, content: Vec<u8>) -> String {
        self.files.lock().unwrap().insert(name.to_owned(), content);
        self.url(name)
    }

    /// The URL of a file, there or not.
    pub fn url(&self, name: &str) -> String {
        format!("http://{}/{name}", self.address)
    }
}

fn openssl(folder: &Path, words: &str, more: &[&str]) {
    run(Command::new("openssl").current_dir(folder).args(words.split(' ')).args(more)).success();
}

const LEAF_EXTENSIONS: &str = "basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=codeSigning
";

const CONFIG: &str = "[ca]
default_ca = c
[c]
database = index.txt
certificate = ca.crt
private_key = ca.key
crlnumber = crlnumber
rand_serial = yes
default_md = sha256
policy = p
unique_subject = no
[p]
countryName = optional
stateOrProvinceName = optional
organizationName = optional
commonName = supplied
";
