//! Who is asked over the network, on loopback: `openssl ocsp` as OCSP responders, `openssl ca` for revocation lists,
//! `openssl ts` as timestamp authorities, and the web server before the last two.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;

use const_oid::ObjectIdentifier;

use super::certificates::{OCSP_SIGNING, Template, extension, purposes};
use super::clock::{days, generalized};
use super::common::tools::{Service, run, shared_folder};
use super::keys::{Key, Kind, pem};
use super::tokens::{self, Stamper};

/// What an issuer says of a certificate is told by its serial number.
pub mod serials {
    pub const GOOD: u32 = 0x1001;
    pub const REVOKED: u32 = 0x1002;
    pub const HOLD: u32 = 0x1003;
    /// The key went astray before anything was signed.
    pub const ASTRAY_BEFORE: u32 = 0x1004;
    /// The key went astray after everything was signed.
    pub const ASTRAY_AFTER: u32 = 0x1005;
    /// The responder has never heard of it.
    pub const UNKNOWN: u32 = 0x1006;
    /// Only the delta list has it.
    pub const REVOKED_SINCE: u32 = 0x1007;
    /// On hold in the base list, and released in the delta list.
    pub const RELEASED: u32 = 0x1008;
}

/// An authority that says which of its certificates still stand.
pub struct Issuer {
    /// Its name.
    pub name: String,
    /// Its key.
    pub key: &'static Key,
    /// Where its responder is.
    pub responder: String,
    /// Where its lists are.
    lists: String,
    _service: Service,
}

impl Issuer {
    /// Where one of its lists is: `base`, `expired`, `forged` or `fresh` (which has a delta).
    pub fn list(&self, name: &str) -> String {
        format!("{}/{name}.crl", self.lists)
    }

    fn start(name: &str, key: &'static Key, folder: &Path, web: &str) -> Self {
        fs::create_dir_all(folder).unwrap();
        let write = |file: &str, text: &str| fs::write(folder.join(file), text).unwrap();
        let certificate = Template::ca(name, name, (days(-2000), days(2000))).sign(key, key);
        write("ca.pem", &pem("CERTIFICATE", &certificate));
        write("ca.key", &key.pem());
        write("index.txt", &entries(&BASE));
        write("since.txt", &entries(&SINCE));
        write("held.txt", &entries(&HELD));
        write("number", "01\n");
        write("ca.cnf", &CONFIG.replace("DELTA", &format!("{web}/delta.crl")));
        let other = Key::get(Kind::P256, 2);
        write("other.key", &other.pem());
        write(
            "other.pem",
            &pem("CERTIFICATE", &Template::ca(name, name, (days(-2000), days(2000))).sign(other, other)),
        );
        let crl = |section: &str, list: &str, signer: &str, more: &[&str]| {
            let mut openssl = Command::new("openssl");
            openssl.current_dir(folder).args(["ca", "-gencrl", "-config", "ca.cnf", "-name", section]);
            openssl.args(["-cert", &format!("{signer}.pem"), "-keyfile", &format!("{signer}.key"), "-out", "list.pem"]);
            run(openssl.args(more)).success();
            let mut openssl = Command::new("openssl");
            let list = format!("{list}.crl");
            run(openssl.current_dir(folder).args(["crl", "-in", "list.pem", "-outform", "DER", "-out", &list]))
                .success();
        };
        crl("all", "base", "ca", &["-crldays", "3"]);
        let [last, next] = [days(-5), days(-2)].map(generalized);
        crl("all", "expired", "ca", &["-crl_lastupdate", &last, "-crl_nextupdate", &next]);
        crl("all", "forged", "other", &["-crldays", "3"]);
        crl("held", "fresh", "ca", &["-crldays", "3", "-crlexts", "fresh"]);
        crl("since", "delta", "ca", &["-crldays", "3", "-crlexts", "delta"]);
        let service = responder(name, key, folder);
        let line = service.await_output("ACCEPT ");
        let port = line.split(' ').next().unwrap().rsplit(':').next().unwrap();
        Self {
            name: name.to_owned(),
            key,
            responder: format!("http://127.0.0.1:{port}"),
            lists: web.to_owned(),
            _service: service,
        }
    }
}

/// Starts a responder: some issuers answer themselves, some have others for it.
fn responder(name: &str, key: &'static Key, folder: &Path) -> Service {
    let mut openssl = Command::new("openssl");
    let path = |file: &str| folder.join(file).display().to_string();
    openssl.args(["ocsp", "-port", "0", "-nmin", "600", "-ignore_err", "-index", &path("index.txt")]);
    openssl.args(["-CA", &path("ca.pem")]);
    if matches!(key.kind, Kind::Rsa2048 | Kind::P256 | Kind::P521) {
        let signer = Key::get(Kind::P384, 2);
        let certificate = Template::leaf("CN=responder,O=acme,ST=WA,C=US", name, (days(-100), days(100)))
            .with(purposes(false, &[OCSP_SIGNING]))
            .with(extension(ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.5"), false, &[5, 0]))
            .sign(signer, key);
        fs::write(folder.join("responder.pem"), pem("CERTIFICATE", &certificate)).unwrap();
        fs::write(folder.join("responder.key"), signer.pem()).unwrap();
        openssl.args(["-rsigner", &path("responder.pem"), "-rkey", &path("responder.key")]);
    } else {
        openssl.args(["-rsigner", &path("ca.pem"), "-rkey", &path("ca.key"), "-resp_no_certs"]);
    }
    Service::start(&openssl, &folder.join("responder.log"))
}

/// A line of openssl's list of certificates: the serial number, when it was revoked and why, in days from now.
type Entry = (u32, Option<(i64, &'static str, Option<i64>)>);

const BASE: [Entry; 5] = [
    (serials::GOOD, None),
    (serials::REVOKED, Some((-6, "superseded", None))),
    (serials::HOLD, Some((-6, "certificateHold", None))),
    (serials::ASTRAY_BEFORE, Some((-6, "keyTime", Some(-40)))),
    (serials::ASTRAY_AFTER, Some((-6, "keyTime", Some(-7)))),
];
const HELD: [Entry; 2] = [(serials::GOOD, None), (serials::RELEASED, Some((-6, "certificateHold", None)))];
const SINCE: [Entry; 2] = [
    (serials::REVOKED_SINCE, Some((-1, "keyCompromise", None))),
    (serials::RELEASED, Some((-1, "removeFromCRL", None))),
];

fn entries(entries: &[Entry]) -> String {
    // Two digits of the year (UTCTime).
    let utc = |at: u64| generalized(at)[2..].to_owned();
    let end = utc(days(1000));
    let line = |(serial, revoked): &Entry| match revoked {
        None => format!("V\t{end}\t\t{serial:X}\tunknown\t/CN=any\n"),
        Some((since, reason, astray)) => {
            let astray = astray.map_or(String::new(), |astray| format!(",{}", generalized(days(astray))));
            let since = utc(days(*since));
            format!("R\t{end}\t{since},{reason}{astray}\t{serial:X}\tunknown\t/CN=any\n")
        }
    };
    entries.iter().map(line).collect()
}

const CONFIG: &str = "[all]
database = index.txt
default_md = sha256
crlnumber = number
[held]
database = held.txt
default_md = sha256
crlnumber = number
[since]
database = since.txt
default_md = sha256
crlnumber = number
[fresh]
freshestCRL = URI:DELTA
[delta]
2.5.29.27 = critical,ASN1:INTEGER:1
";

/// All authorities of a run.
pub struct Authorities {
    /// The issuers of leaves, by the kind of their keys.
    issuers: Vec<Issuer>,
    /// The issuer between the root and the leaves' issuer.
    pub middle: Issuer,
    /// The root of chains of three and four.
    pub root: Issuer,
    /// The root of timestamp authorities.
    pub time: Issuer,
    /// The web server.
    web: String,
}

/// The shared authorities; they are started by whoever asks first.
pub fn authorities() -> &'static Authorities {
    static SHARED: OnceLock<Authorities> = OnceLock::new();
    SHARED.get_or_init(Authorities::start)
}

impl Authorities {
    fn start() -> Self {
        let folder = shared_folder();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let web = format!("http://{}", listener.local_addr().unwrap());
        stampers(&folder);
        serve(listener, folder.clone());
        let start = |place: &str, name: &str, key: &'static Key| {
            Issuer::start(name, key, &folder.join(place), &format!("{web}/{place}"))
        };
        let number = |kind: &Kind| *kind as usize;
        let issuers = thread::scope(|scope| {
            let handles: Vec<_> = Kind::ALL
                .iter()
                .map(|kind| {
                    let name = format!("CN=issuer {},O=acme,ST=WA,C=US", number(kind));
                    scope.spawn(move || {
                        Key::get(*kind, 0);
                        (name, Key::get(*kind, 1))
                    })
                })
                .collect();
            handles.into_iter().map(|handle| handle.join().unwrap()).collect::<Vec<_>>()
        });
        let issuers = issuers.iter().map(|(name, key)| start(&format!("{}", number(&key.kind)), name, key)).collect();
        Self {
            issuers,
            middle: start("middle", "CN=middle,O=acme,ST=WA,C=US", Key::get(Kind::Rsa2048, 2)),
            root: start("root", "CN=root,O=acme,ST=WA,C=US", Key::get(Kind::P521, 2)),
            time: start("time", tokens::ROOT, Stamper::root_key()),
            web,
        }
    }

    /// The issuer with a key of this kind.
    pub fn issuer(&self, kind: Kind) -> &Issuer {
        &self.issuers[kind as usize]
    }

    /// A place where connections end without an answer.
    pub fn nowhere(&self) -> String {
        format!("{}/nowhere", self.web)
    }

    /// An openssl timestamp authority's address: `rsa` or `ec`.
    pub fn stamper(&self, name: &str) -> String {
        format!("{}/stamp/{name}", self.web)
    }
}

/// Makes openssl's timestamp authorities.
fn stampers(folder: &Path) {
    let folder = folder.join("stamp");
    fs::create_dir(&folder).unwrap();
    for (name, kind) in [("rsa", Kind::Rsa2048), ("ec", Kind::P256)] {
        let stamper = Stamper::of(kind, |template| template);
        let place = folder.join(name);
        fs::create_dir(&place).unwrap();
        fs::write(place.join("tsa.key"), stamper.key.pem()).unwrap();
        fs::write(place.join("tsa.pem"), pem("CERTIFICATE", &stamper.chain[0])).unwrap();
        fs::write(place.join("chain.pem"), pem("CERTIFICATE", &stamper.chain[1])).unwrap();
        fs::write(place.join("serial"), "01\n").unwrap();
        fs::write(place.join("ts.cnf"), STAMPER).unwrap();
    }
}

const STAMPER: &str = "[tsa]
serial = serial
signer_cert = tsa.pem
certs = chain.pem
signer_key = tsa.key
signer_digest = sha256
default_policy = 1.3.6.1.4.1.55555.2
digests = sha256, sha384, sha512
accuracy = secs:1
ess_cert_id_chain = no
ess_cert_id_alg = sha256
";

/// The openssl authority's answer to a request.
fn stamp(folder: &Path, request: &[u8]) -> Vec<u8> {
    // It keeps its serial numbers in a file.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap();
    fs::write(folder.join("query"), request).unwrap();
    let mut openssl = Command::new("openssl");
    openssl.current_dir(folder).args(["ts", "-reply", "-config", "ts.cnf", "-section", "tsa", "-queryfile", "query"]);
    run(openssl.args(["-out", "reply"])).success();
    fs::read(folder.join("reply")).unwrap()
}

/// Serves lists and timestamps until the process ends.
fn serve(listener: TcpListener, folder: PathBuf) {
    let folder = Arc::new(folder);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let folder = Arc::clone(&folder);
            thread::spawn(move || answer(stream, &folder));
        }
    });
}

fn answer(stream: TcpStream, folder: &Path) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let (name, value) = header.trim().split_once(": ").unwrap_or_default();
        if name.eq_ignore_ascii_case("content-length") {
            length = value.parse().ok()?;
        }
        if header.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let (media_type, body) = match path.strip_prefix("/stamp/") {
        _ if path.starts_with("/nowhere") => return None,
        Some(name) => ("application/timestamp-reply", stamp(&folder.join("stamp").join(name), &body)),
        None => ("application/pkix-crl", fs::read(folder.join(path.trim_start_matches('/'))).ok()?),
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    (&stream).write_all(&[head.as_bytes(), &body].concat()).ok()
}
