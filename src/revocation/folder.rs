//! CRLs that the operator keeps in a folder, for nodes that reach no issuer: files that end in `.crl`, `.pem` or `.der`,
//! opened by the rules for trust files. Looked at again every second at most, when somebody asks. A file that cannot be
//! used is no file that is not there: whom it speaks of is not known, so nobody passes by its absence.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::{info, warn};

use super::memory::{By, Known, Pair};
use crate::limits;
use crate::pki::Coverage;
use crate::pki::crl::{self, BadCrl, Crl, Status, Subject};
use crate::report::Fault;
use crate::trust::{self, Stamp};
use crate::verdict::Class;

/// A folder of CRLs.
pub(super) struct Folder {
    path: PathBuf,
    /// Largest file.
    limit: u64,
    // Held while the folder is looked at, so that one looks for all.
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    at: Option<Instant>,
    files: Arc<Vec<File>>,
}

/// A file, as it was when it was read.
struct File {
    path: PathBuf,
    stamp: Stamp,
    lists: Result<Vec<Listed>, String>,
}

/// What tells whether a list is worth reading again.
struct Listed {
    issuer: Vec<u8>,
    is_delta: bool,
    this_update: SystemTime,
    /// Which of the file's.
    index: usize,
}

impl Folder {
    pub(super) fn new(path: PathBuf, limit: u64) -> Arc<Self> {
        Arc::new(Self { path, limit, seen: Mutex::default() })
    }

    /// Looks at the folder, unless somebody just did; whether it has changed.
    pub(super) async fn look(self: &Arc<Self>) -> bool {
        let mut seen = self.seen.lock().await;
        if seen.at.is_some_and(|at| at.elapsed() < limits::CRL_FOLDER_LOOK) {
            return false;
        }
        let (folder, before) = (Arc::clone(self), Arc::clone(&seen.files));
        let looked = tokio::task::spawn_blocking(move || folder.read(&before)).await;
        let is_first = seen.at.is_none();
        seen.at = Some(Instant::now());
        let Ok(Some(files)) = looked else { return false };
        self.tell(&files);
        seen.files = Arc::new(files);
        !is_first
    }

    /// What the folder's lists say of a certificate; none: no list of its issuer is there.
    pub(super) async fn judge(self: &Arc<Self>, pair: Arc<Pair>, now: SystemTime) -> Result<Option<Known>, Fault> {
        let (folder, files) = (Arc::clone(self), Arc::clone(&self.seen.lock().await.files));
        let judged = tokio::task::spawn_blocking(move || folder.judge_by(&files, &pair, now)).await;
        judged.unwrap_or_else(|error| Err(Fault::of(Class::Defect, error)))
    }

    /// All files; none if they are as before.
    fn read(&self, before: &[File]) -> Option<Vec<File>> {
        let paths = match self.names() {
            Ok(paths) => paths,
            Err(cause) => {
                let is_known = matches!(before, [File { lists: Err(known), .. }] if *known == cause);
                let file = File { path: self.path.clone(), stamp: Stamp::of(&self.path), lists: Err(cause) };
                return (!is_known).then(|| vec![file]);
            }
        };
        let is_same = before.len() == paths.len()
            && before.iter().zip(&paths).all(|(file, path)| file.path == *path && file.stamp.is_current(path));
        (!is_same).then(|| paths.into_iter().map(|path| self.open(path)).collect())
    }

    /// The names of all files that count.
    fn names(&self) -> Result<Vec<PathBuf>, String> {
        trust::check(&self.path).map_err(|error| error.to_string())?;
        let list = || -> io::Result<Vec<PathBuf>> {
            let entries = std::fs::read_dir(&self.path)?.collect::<io::Result<Vec<_>>>()?;
            Ok(entries.into_iter().map(|entry| entry.path()).filter(|path| is_list(path)).collect())
        };
        let mut names = list().map_err(|error| format!("{}: {error}", self.path.display()))?;
        if names.len() > limits::CRL_FILES {
            return Err(format!("{} has more than {} CRLs", self.path.display(), limits::CRL_FILES));
        }
        names.sort();
        Ok(names)
    }

    fn open(&self, path: PathBuf) -> File {
        // Stamped before it is read: what changes from here on is seen as a change.
        let stamp = Stamp::of(&path);
        let lists = self.lists(&path).and_then(|lists| {
            lists
                .iter()
                .enumerate()
                .map(|(index, der)| {
                    let list = Crl::parse(der).map_err(|error| format!("{}: {error}", path.display()))?;
                    let (issuer, is_delta, this_update) = (list.issuer().to_vec(), list.is_delta(), list.this_update());
                    Ok(Listed { issuer, is_delta, this_update, index })
                })
                .collect()
        });
        File { path, stamp, lists }
    }

    /// The lists of a file, in DER.
    fn lists(&self, path: &Path) -> Result<Vec<Vec<u8>>, String> {
        let bytes = trust::read(path, self.limit).map_err(|error| error.to_string())?;
        from_file(&bytes).map_err(|error| format!("{}: {error}", path.display()))
    }

    fn judge_by(&self, files: &[File], pair: &Pair, now: SystemTime) -> Result<Option<Known>, Fault> {
        let points = pair.certificate.points().map_err(|error| Fault::of(Class::Malformed, error))?;
        let subject = Subject { certificate: &pair.certificate, issuer: &pair.issuer, points: &points };
        let of_issuer = |file: &'_ File| -> Vec<(SystemTime, bool, PathBuf, usize)> {
            let lists = file.lists.as_ref().map(Vec::as_slice).unwrap_or_default();
            let own = lists.iter().filter(|list| list.issuer == pair.issuer.subject_der());
            own.map(|list| (list.this_update, list.is_delta, file.path.clone(), list.index)).collect()
        };
        // The newest first.
        let mut found: Vec<_> = files.iter().flat_map(of_issuer).collect();
        found.sort_by(|one, other| other.cmp(one));
        let mut read = Vec::new();
        let mut causes: Vec<String> = files.iter().filter_map(|file| file.lists.as_ref().err().cloned()).collect();
        for (_, is_delta, path, index) in &found {
            match self.lists(path).map(|lists| lists.into_iter().nth(*index)) {
                Ok(Some(der)) => read.push((*is_delta, path, der)),
                Ok(None) => causes.push(format!("{} has changed", path.display())),
                Err(cause) => causes.push(cause),
            }
        }
        let deltas: Vec<&[u8]> =
            read.iter().filter(|(is_delta, ..)| *is_delta).map(|(_, _, der)| der.as_slice()).collect();
        let (mut coverage, mut until) = (Coverage::none(), None);
        for (_, path, der) in read.iter().filter(|(is_delta, ..)| !is_delta) {
            match judge_list(der, &deltas, subject, now) {
                Ok(judged) => {
                    until = Some(until.map_or(judged.until, |until: SystemTime| until.min(judged.until)));
                    coverage = coverage.and(judged.coverage);
                    let is_revoked = matches!(judged.status, Status::Revoked(_));
                    if let Some(until) = until.filter(|_| is_revoked || coverage.is_whole()) {
                        return Ok(Some(Known { status: judged.status, by: By::Folder, until }));
                    }
                }
                Err(error) => causes.push(format!("{}: {error}", path.display())),
            }
        }
        if causes.is_empty() { Ok(None) } else { Err(Fault::of(Class::Configuration, causes.join("; "))) }
    }

    fn tell(&self, files: &[File]) {
        for file in files {
            if let Err(cause) = &file.lists {
                warn!(folder = %self.path.display(), cause, "a CRL cannot be used");
            }
        }
        info!(folder = %self.path.display(), files = files.len(), "CRLs read");
    }
}

/// What a list says, by the list of changes that fits, where it needs one.
fn judge_list(der: &[u8], deltas: &[&[u8]], subject: Subject<'_>, now: SystemTime) -> Result<crl::Judged, BadCrl> {
    let base = Crl::parse(der)?;
    match crl::judge(&base, None, subject, now) {
        Err(BadCrl::NeedsDelta(places)) => {
            let mut fault = BadCrl::NeedsDelta(places);
            for delta in deltas {
                match Crl::parse(delta).and_then(|delta| crl::judge(&base, Some(&delta), subject, now)) {
                    Ok(judged) => return Ok(judged),
                    Err(error) => fault = error,
                }
            }
            Err(fault)
        }
        judged => judged,
    }
}

fn is_list(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    let is_hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    !is_hidden && ["crl", "pem", "der"].iter().any(|known| ending.eq_ignore_ascii_case(known))
}

/// The CRLs of a file, in DER: it is one, or text with blocks of PEM (RFC 7468, section 5).
fn from_file(bytes: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    if bytes.first() == Some(&DER_SEQUENCE) {
        return Ok(vec![bytes.to_vec()]);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "it is neither DER nor text".to_owned())?;
    let (mut lists, mut block): (Vec<Vec<u8>>, Option<String>) = (Vec::new(), None);
    for line in text.lines().map(str::trim) {
        match (&mut block, line) {
            (None, BEGIN) => block = Some(String::new()),
            (Some(body), END) => {
                lists.push(STANDARD.decode(&*body).map_err(|error| format!("a block is no base64: {error}"))?);
                block = None;
            }
            (None, line) if line.starts_with(DASHES) => return Err(format!("expected {BEGIN}, found {line:?}")),
            (Some(_), line) if line.starts_with(DASHES) => return Err(format!("expected {END}, found {line:?}")),
            (Some(body), line) => body.push_str(line),
            (None, _) => {}
        }
        if lists.len() > limits::CRL_FILES {
            return Err(format!("it has more than {} CRLs", limits::CRL_FILES));
        }
    }
    match (block, lists.is_empty()) {
        (Some(_), _) => Err(format!("{END} is missing")),
        (None, true) => Err(format!("there is no {BEGIN} block in it")),
        (None, false) => Ok(lists),
    }
}

const BEGIN: &str = "-----BEGIN X509 CRL-----";
const END: &str = "-----END X509 CRL-----";
const DASHES: &str = "-----";

/// The first byte of a CRL in DER.
const DER_SEQUENCE: u8 = 0x30;
