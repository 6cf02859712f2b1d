//! What registries and layouts say: lists are whole and within their bounds, requests are sent on to no place where
//! they must not go, content has its digest, and no entry of a layout is hidden by breaking it.

use std::cell::RefCell;
use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::OnceLock;

use ratify::artifact::{Algorithm, Descriptor, Digest, IMAGE_INDEX, Manifest};
use ratify::limits;
use ratify::reference::Reference;
use ratify::store::layout::{LayoutReference, LayoutStore, PREFIX};
use ratify::store::registry::auth::challenge::{self as challenges, Challenge};
use ratify::store::registry::auth::realm::{may_be_asked, may_see_credentials};
use ratify::store::registry::hosts::file::{self, Scheme};
use ratify::store::registry::referrers::{List, next_page};
use ratify::store::registry::{link, redirect as redirects};
use ratify::store::{Listed, Store as _, check, digest_of};
use reqwest::Url;
use rustix::fs::{MemfdFlags, memfd_create};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use super::{assert_one_line, is_header, parts};

/// Pages of a list of referrers: each digest once, and read twice they say nothing new.
pub fn referrers(data: &[u8]) -> bool {
    let pages = parts(data);
    let mut list = List::default();
    for page in &pages {
        if let Err(error) = list.add("GET https://registry.example", IMAGE_INDEX, page) {
            assert_one_line(&error.to_string());
            return false;
        }
    }
    assert!(list.add("", "application/json", pages[0]).is_err());
    let entries = list.entries().to_vec();
    assert!(entries.len() <= limits::REFERRERS);
    for (index, entry) in entries.iter().enumerate() {
        assert!(entry.media_type.len() <= limits::MEDIA_TYPE_BYTES);
        assert!(entries.iter().take(index).all(|other| other.digest != entry.digest));
    }
    for page in &pages {
        list.add("", IMAGE_INDEX, page).unwrap();
    }
    assert_eq!(list.entries(), entries);
    true
}

/// Fields of a `Link` header, one on each line: the next page lies where this one came from.
pub fn link(data: &[u8]) -> bool {
    let Some(text) = str::from_utf8(data).ok().filter(|text| text.split('\n').all(is_header)) else { return false };
    let page = Url::parse("https://registry.example:5000/v2/acme/web/referrers/sha256:44136fa3?n=1").unwrap();
    let next = match next_page(&page, text.split('\n')) {
        Ok(next) => next,
        Err(cause) => {
            assert_one_line(&cause);
            return false;
        }
    };
    let written = link::next(text.split('\n')).unwrap();
    assert!(written.is_none_or(|target| text.contains(&format!("<{target}>"))));
    assert_eq!(written.is_some(), next.is_some());
    if let Some(next) = next {
        let place = |url: &Url| (url.scheme().to_owned(), url.host_str().map(str::to_owned), url.port());
        assert_eq!(place(&next), place(&page));
        assert_eq!(next.path().to_ascii_lowercase().replace("%3a", ":"), page.path());
        assert!(next.username().is_empty() && next.password().is_none() && next.fragment().is_none());
    }
    true
}

/// `WWW-Authenticate` fields, one on each line: what is asked to be shown, and that no realm that may see credentials is
/// somebody else's.
pub fn challenge(data: &[u8]) -> bool {
    let Some(text) = str::from_utf8(data).ok().filter(|text| text.split('\n').all(is_header)) else { return false };
    let registry = Url::parse("https://registry.example:5000/v2").unwrap();
    let challenges = challenges::parse(text.split('\n'));
    for challenge in &challenges {
        let Challenge::Bearer { realm, .. } = challenge else { continue };
        let Ok(realm) = Url::parse(realm) else { continue };
        if let Err(cause) = may_be_asked(&registry, &realm) {
            assert_one_line(&cause);
            assert!(may_see_credentials(&registry, &realm, &[]).is_err(), "{realm}");
            continue;
        }
        assert!(realm.scheme() == "https" && realm.username().is_empty() && !is_on_link(&realm), "{realm}");
        match may_see_credentials(&registry, &realm, &[]) {
            Ok(()) => assert_eq!(realm.host_str(), registry.host_str()),
            Err(cause) => assert_one_line(&cause),
        }
    }
    !challenges.is_empty()
}

/// Who was asked and who answered (two digits), whether plain http is spoken (a `p`), and a `Location` header.
pub fn redirect(data: &[u8]) -> bool {
    let Some(([asked, from, plain_http], location)) = data.split_first_chunk() else { return false };
    let Some(location) = str::from_utf8(location).ok().filter(|location| is_header(location)) else { return false };
    let [asked, from] = [asked, from].map(|digit| &urls()[usize::from(digit.wrapping_sub(b'0')) % urls().len()]);
    let plain_http = *plain_http == b'p';
    let to = match redirects::target(asked, from, location, plain_http) {
        Ok(to) => to,
        Err(cause) => {
            assert!(!cause.contains('?'), "a query may hold a secret: {cause}");
            assert_one_line(&cause);
            return false;
        }
    };
    assert!(to.username().is_empty() && to.password().is_none() && to.fragment().is_none(), "{to}");
    let is_plain = to.scheme() == "http";
    assert!(is_plain || to.scheme() == "https", "{to}");
    assert!(!is_plain || from.scheme() == "http" && (plain_http || is_here(&to)), "{to}");
    if to.host() != asked.host() {
        assert!(!is_here(&to) || is_here(asked), "{to}");
        assert!(!is_on_link(&to), "{to}");
    }
    true
}

fn urls() -> &'static [Url; 5] {
    static URLS: OnceLock<[Url; 5]> = OnceLock::new();
    let hosts = [
        "https://registry.example",
        "http://registry.example:5000",
        "http://localhost:5000",
        "https://127.0.0.1",
        "http://169.254.1.1:5000",
    ];
    URLS.get_or_init(|| hosts.map(|host| Url::parse(&format!("{host}/v2/a/blobs/sha256:44136fa3?x=1")).unwrap()))
}

/// The address that a host is, an IPv4 one in either of its IPv6 forms as itself.
fn address(url: &Url) -> Option<IpAddr> {
    match url.host_str()?.trim_matches(['[', ']']).parse().ok()? {
        IpAddr::V6(address) => Some(address.to_ipv4().map_or(IpAddr::V6(address), IpAddr::V4)),
        v4 @ IpAddr::V4(_) => Some(v4),
    }
}

fn is_here(url: &Url) -> bool {
    match address(url) {
        Some(IpAddr::V4(address)) => address.is_loopback() || address.octets()[0] == 0,
        Some(IpAddr::V6(_)) => false,
        None => url.host_str().is_some_and(|host| format!(".{}", host.trim_end_matches('.')).ends_with(".localhost")),
    }
}

fn is_on_link(url: &Url) -> bool {
    match address(url) {
        Some(IpAddr::V4(address)) => address.is_link_local(),
        Some(IpAddr::V6(address)) => address.is_unicast_link_local(),
        None => false,
    }
}

/// A hosts file of containerd: each host is a URL that can be asked without user, query and fragment, the
/// registry itself stands last if at all, and all is within its bounds.
pub fn hosts(data: &[u8]) -> bool {
    let file = match file::parse(data) {
        Ok(file) => file,
        Err(cause) => {
            assert_one_line(&cause);
            return false;
        }
    };
    assert_eq!(file::parse(data).as_ref(), Ok(&file));
    assert!(file.entries.len() <= limits::HOSTS && file.notes.len() <= limits::HOSTS);
    file.notes.iter().for_each(|note| assert_one_line(note));
    for (index, entry) in file.entries.iter().enumerate() {
        assert!(entry.address.is_some() || index + 1 == file.entries.len());
        for scheme in entry.address.iter().flat_map(|address| [(address, Scheme::Http), (address, Scheme::Https)]) {
            let url = scheme.0.url(scheme.1).unwrap();
            assert!(url.host_str().is_some_and(|host| !host.is_empty()), "{url}");
            assert!(url.username().is_empty() && url.password().is_none(), "{url}");
            assert!(url.query().is_none() && url.fragment().is_none(), "{url}");
            assert!(!scheme.0.path.ends_with('/') && !scheme.0.path.contains("//"), "{url}");
        }
        assert!(entry.ca.iter().flatten().count() + entry.clients.len() <= limits::TLS_FILES);
        assert!(entry.dial_timeout.is_none_or(|timeout| !timeout.is_zero()));
    }
    true
}

/// A layout as a person names it: nothing of what is written is lost.
pub fn layout_reference(data: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(data) else { return false };
    let LayoutReference { path, tag, digest } = match text.parse::<LayoutReference>() {
        Ok(reference) => reference,
        Err(error) => {
            assert_one_line(&error);
            return false;
        }
    };
    let path = path.to_str().unwrap();
    let written = match (tag, digest) {
        (Some(tag), None) => format!("{PREFIX}{path}:{tag}"),
        (None, Some(digest)) => format!("{PREFIX}{path}@{digest}"),
        (None, None) => format!("{PREFIX}{path}"),
        (Some(_), Some(_)) => panic!("both a tag and a digest: {text}"),
    };
    assert!(written == text && !path.is_empty());
    true
}

/// The files of a layout: its marker, its index, and blobs. In them `@2` stands for the digest of the second blob and
/// `#2` for its size, so that what is changed below is still named above; a blob can name those after it.
pub fn layout(data: &[u8]) -> bool {
    let parts = parts(data);
    let (files, blobs) = parts.split_at(parts.len().min(2));
    let mut known: Vec<(usize, Vec<u8>)> = Vec::new();
    for (index, blob) in blobs.iter().enumerate().take(9).rev() {
        let blob = filled(blob, &known);
        known.push((index + 1, blob));
    }
    let marker = files[0];
    let index = filled(files.get(1).copied().unwrap_or_default(), &known);
    let mut archive = tar::Builder::new(Vec::new());
    let named = known.iter().map(|(_, blob)| (format!("blobs/sha256/{}", digest(blob).hex()), blob.as_slice()));
    for (name, content) in
        [("oci-layout".to_owned(), marker), ("index.json".to_owned(), &index)].into_iter().chain(named)
    {
        let mut header = tar::Header::new_gnu();
        header.set_size(u64::try_from(content.len()).unwrap());
        header.set_mode(0o644);
        archive.append_data(&mut header, name, content).unwrap();
    }
    let Some(store) = open(&archive.into_inner().unwrap()) else { return false };
    let blobs: Vec<_> = known.into_iter().map(|(_, blob)| (digest(&blob), blob)).collect();
    runtime().block_on(async {
        for (digest, _) in &blobs {
            assert_sound(&store, digest).await;
        }
        assert_nothing_hidden(&store, &index, &blobs).await;
    });
    true
}

/// Text with the digests and sizes of blobs put in.
fn filled(text: &[u8], blobs: &[(usize, Vec<u8>)]) -> Vec<u8> {
    let mut filled = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        let number = rest.clone().next().filter(|_| matches!(byte, b'@' | b'#')).map(|digit| digit.wrapping_sub(b'0'));
        match number.and_then(|number| blobs.iter().find(|(known, _)| *known == usize::from(number))) {
            Some((_, blob)) => {
                rest.next();
                let put_in = if *byte == b'@' { digest(blob).to_string() } else { blob.len().to_string() };
                filled.extend_from_slice(put_in.as_bytes());
            }
            None => filled.push(*byte),
        }
    }
    filled
}

fn digest(bytes: &[u8]) -> Digest {
    digest_of(Algorithm::Sha256, bytes)
}

/// A tar archive, with the checksums of its headers set right.
pub fn archive(data: &[u8]) -> bool {
    const CHECKSUM: std::ops::Range<usize> = 148..156;
    let mut archive = data.to_vec();
    for block in archive.chunks_exact_mut(512).filter(|block| block[257..262] == *b"ustar") {
        block[CHECKSUM].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    let Some(store) = open(&archive) else { return false };
    runtime().block_on(assert_sound(&store, &digest(b"{}")));
    true
}

/// Opens an archive that lies in memory.
fn open(archive: &[u8]) -> Option<LayoutStore> {
    thread_local!(static FILE: RefCell<Option<File>> = const { RefCell::new(None) });
    FILE.with_borrow_mut(|file| {
        let file = file.get_or_insert_with(|| File::from(memfd_create("layout", MemfdFlags::CLOEXEC).unwrap()));
        file.set_len(0).unwrap();
        file.write_all_at(archive, 0).unwrap();
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        LayoutStore::open(&path).ok()
    })
}

/// What a layout hands out has its digest, and a list has each entry once and never its subject.
async fn assert_sound(store: &LayoutStore, subject: &Digest) {
    let nowhere: Reference = "layout.invalid/image".parse().unwrap();
    let by_digest = Reference { digest: Some(subject.clone()), ..nowhere.clone() };
    let by_tag = Reference { tag: Some("v1".to_owned()), ..nowhere.clone() };
    let mut found = Vec::new();
    for reference in [&nowhere, &by_digest, &by_tag] {
        found.extend(store.resolve(reference, Instant::now()).await.ok());
    }
    if let Ok(Listed { candidates: referrers, .. }) =
        store.referrers(&nowhere.repository, subject, Instant::now()).await
    {
        assert!(referrers.len() <= limits::REFERRERS);
        for (index, referrer) in referrers.iter().enumerate() {
            assert!(referrer.digest != *subject && !referrers[..index].contains(referrer));
        }
        found.extend(referrers);
    }
    for descriptor in found {
        if let Ok(bytes) = store.manifest(&nowhere.repository, &descriptor, Instant::now()).await {
            check("", &descriptor, &bytes).unwrap();
        }
        let blob = store.blob(&nowhere.repository, &descriptor, 16, Instant::now()).await;
        assert!(blob.is_err() || descriptor.size <= 16);
    }
}

/// Every entry of the index that may refer to a digest, or of which nobody can say so, is in the list of its referrers.
async fn assert_nothing_hidden(store: &LayoutStore, index: &[u8], blobs: &[(Digest, Vec<u8>)]) {
    let index: Value = serde_json::from_slice(index).unwrap();
    let repository = "layout.invalid/image".parse::<Reference>().unwrap().repository;
    for entry in index["manifests"].as_array().unwrap() {
        let descriptor: Descriptor = serde_json::from_value(entry.clone()).unwrap();
        if entry["annotations"].get("org.opencontainers.image.ref.name").is_some() {
            continue;
        }
        let blob = blobs.iter().find(|(digest, _)| *digest == descriptor.digest);
        let bytes = blob.map(|(_, bytes)| bytes).filter(|bytes| bytes.len().to_string() == descriptor.size.to_string());
        let manifest = bytes.and_then(|bytes| Manifest::parse(&descriptor.media_type, bytes).ok());
        let subject = match manifest.map(|manifest| manifest.subject) {
            Some(Some(subject)) => subject.digest,
            Some(None) => continue,
            None => digest(b"any at all"),
        };
        if let Ok(Listed { candidates: referrers, .. }) = store.referrers(&repository, &subject, Instant::now()).await {
            assert!(subject == descriptor.digest || referrers.contains(&descriptor), "{descriptor:?} is hidden");
        }
    }
}

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Builder::new_current_thread().build().unwrap())
}
