//! The OCI layout store: artifacts in a folder or a tar archive (OCI image layout specification 1.0), as `oras`,
//! `skopeo`, `crane` and `docker save` write them. Used by `ratifyctl verify oci-layout:...`, and by
//! scopes whose evidence is in a layout; asks no network.
//!
//! What the layout says of itself is trusted no more than a registry: every blob is checked against its digest, and
//! an entry that cannot be read is a candidate for every list, so that nothing is hidden by breaking it.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use rustix::fs::OFlags;
use serde::Deserialize;
use tokio::time::Instant;

use crate::artifact::{Descriptor, Digest, Manifest};
use crate::json;
use crate::limits;
use crate::reference::{Reference, Repository};
use crate::store::{Error, Listed, Store, check};

mod followed;

pub use followed::FollowedLayout;

/// What a person writes: `oci-layout:PATH[:TAG|@DIGEST]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayoutReference {
    /// The folder or archive.
    pub path: PathBuf,
    /// The entry with this name (`org.opencontainers.image.ref.name`), if one is named.
    pub tag: Option<String>,
    /// The entry of this digest, if one is named. Without either, the layout's only image is meant.
    pub digest: Option<Digest>,
}

/// How a layout reference begins.
pub const PREFIX: &str = "oci-layout:";

impl FromStr for LayoutReference {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is no layout: expected {PREFIX}PATH, {PREFIX}PATH:TAG or {PREFIX}PATH@DIGEST");
        let rest = text.strip_prefix(PREFIX).ok_or_else(bad)?;
        let (path, tag, digest) = match (rest.rsplit_once('@'), rest.rsplit_once(':')) {
            (Some((path, digest)), _) => {
                (path, None, Some(digest.parse().map_err(|error| format!("{text:?}: {error}"))?))
            }
            // A colon before the last slash belongs to the path.
            (None, Some((path, tag))) if !tag.contains('/') => (path, Some(tag.to_owned()), None),
            (None, _) => (rest, None, None),
        };
        if path.is_empty() || tag.as_ref().is_some_and(String::is_empty) {
            return Err(bad());
        }
        Ok(Self { path: PathBuf::from(path), tag, digest })
    }
}

/// A layout that was opened.
pub struct LayoutStore {
    inner: Arc<Layout>,
}

struct Layout {
    name: String,
    source: Source,
    entries: Vec<Entry>,
    /// The entries that refer to a subject, by its digest.
    referrers: HashMap<Digest, Vec<Descriptor>>,
    /// The entries of which nobody can say to what they refer.
    unreadable: Vec<Descriptor>,
}

/// Where the files of a layout are.
enum Source {
    Folder(PathBuf),
    /// An archive, and where in it the content of each file begins and how long it is.
    Archive(File, HashMap<PathBuf, Option<(u64, u64)>>),
}

/// One entry of index.json.
#[derive(Clone, Debug, Deserialize)]
struct Entry {
    #[serde(flatten)]
    descriptor: Descriptor,
    #[serde(default)]
    annotations: HashMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u64,
    manifests: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Marker {
    image_layout_version: String,
}

impl LayoutStore {
    /// Opens a layout and reads its index and the manifests that it names. Blocks on files.
    ///
    /// # Errors
    /// It is no layout, or larger than the bounds.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let name = path.display().to_string();
        let failed = |cause: io::Error| Error::Network { what: format!("layout {name}"), cause: cause.to_string() };
        let opened = open_plain(path).map_err(failed)?;
        let source = if opened.metadata().map_err(failed)?.is_dir() {
            Source::Folder(path.to_owned())
        } else {
            let files = contents(&opened).map_err(failed)?;
            Source::Archive(opened, files)
        };
        let mut layout =
            Layout { name, source, entries: Vec::new(), referrers: HashMap::new(), unreadable: Vec::new() };
        layout.read_index()?;
        layout.find_referrers();
        Ok(Self { inner: Arc::new(layout) })
    }
}

impl Layout {
    fn malformed(&self, file: &str, cause: impl ToString) -> Error {
        Error::Malformed { what: format!("{file} of layout {}", self.name), cause: cause.to_string() }
    }

    fn read_index(&mut self) -> Result<(), Error> {
        let marker: Marker = json::from_slice(&self.read(Path::new(MARKER), limits::MANIFEST_BYTES)?)
            .map_err(|error| self.malformed(MARKER, error))?;
        if marker.image_layout_version != "1.0.0" {
            let cause = format!("imageLayoutVersion is {:?}, this version reads 1.0.0", marker.image_layout_version);
            return Err(self.malformed(MARKER, cause));
        }
        let index: Index = json::from_slice(&self.read(Path::new(INDEX), limits::MANIFEST_BYTES)?)
            .map_err(|error| self.malformed(INDEX, error))?;
        if index.schema_version != 2 {
            return Err(self.malformed(INDEX, format!("schemaVersion is {} instead of 2", index.schema_version)));
        }
        if index.manifests.len() > limits::LAYOUT_ENTRIES {
            let limit = u64::try_from(limits::LAYOUT_ENTRIES).unwrap_or(u64::MAX);
            return Err(Error::TooLarge { what: format!("layout {}", self.name), limit, unit: "entries" });
        }
        self.entries = index.manifests;
        Ok(())
    }

    /// Sorts the entries by what they refer to. Clients keep referrers as entries of index.json, or in an index
    /// whose tag is the subject's digest, as in a registry.
    fn find_referrers(&mut self) {
        for entry in self.entries.clone() {
            let subject = entry.tag().and_then(subject_of_tag);
            let descriptor = entry.descriptor;
            if let Some(subject) = subject {
                self.take_list(subject, descriptor);
                continue;
            }
            let manifest = self.blob(&descriptor, limits::MANIFEST_BYTES);
            let manifest = manifest.ok().and_then(|bytes| Manifest::parse(&descriptor.media_type, &bytes).ok());
            match manifest.map(|manifest| manifest.subject) {
                Some(Some(subject)) => self.referrers.entry(subject.digest).or_default().push(descriptor),
                Some(None) => {}
                None => self.unreadable.push(descriptor),
            }
        }
    }

    fn take_list(&mut self, subject: Digest, list: Descriptor) {
        let entries = self.blob(&list, limits::REFERRERS_PAGE_BYTES).ok();
        match entries.and_then(|bytes| json::from_slice::<Index>(&bytes).ok()) {
            Some(index) => {
                let listed = index.manifests.into_iter().map(|entry| entry.descriptor);
                self.referrers.entry(subject).or_default().extend(listed);
            }
            None => self.unreadable.push(list),
        }
    }

    fn find(&self, tag: Option<&str>, digest: Option<&Digest>) -> Result<Descriptor, Error> {
        let fits = |entry: &&Entry| match (digest, tag) {
            (Some(digest), _) => entry.descriptor.digest == *digest,
            (None, Some(tag)) => entry.tag() == Some(tag),
            (None, None) => !self.is_about_another(entry),
        };
        let found: Vec<&Entry> = self.entries.iter().filter(fits).collect();
        let what = format!("layout {}", self.name);
        match found.as_slice() {
            [] => Err(Error::NotFound { what }),
            [first, rest @ ..] if rest.iter().all(|entry| entry.descriptor == first.descriptor) => {
                Ok(first.descriptor.clone())
            }
            several => {
                let cause = format!("{} images are in it: name one by :TAG or @DIGEST", several.len());
                Err(Error::Malformed { what, cause })
            }
        }
    }

    /// Whether an entry is a referrer, or a list of referrers. What has a tag of its own is an image, whatever it
    /// says of itself: importers give it that name.
    fn is_about_another(&self, entry: &Entry) -> bool {
        match entry.tag() {
            Some(tag) => subject_of_tag(tag).is_some(),
            None => self.referrers.values().flatten().any(|referrer| *referrer == entry.descriptor),
        }
    }

    /// The candidates for referrers of a digest, each once.
    fn candidates(&self, subject: &Digest) -> Result<Vec<Descriptor>, Error> {
        let mut found: Vec<Descriptor> = Vec::new();
        for descriptor in self.referrers.get(subject).into_iter().flatten().chain(&self.unreadable) {
            if descriptor.digest != *subject && !found.contains(descriptor) {
                found.push(descriptor.clone());
            }
        }
        if found.len() > limits::REFERRERS {
            let limit = u64::try_from(limits::REFERRERS).unwrap_or(u64::MAX);
            return Err(Error::TooLarge { what: format!("layout {}", self.name), limit, unit: "referrers" });
        }
        Ok(found)
    }

    /// The bytes that a descriptor names.
    fn blob(&self, descriptor: &Descriptor, limit: u64) -> Result<Bytes, Error> {
        let digest = &descriptor.digest;
        let what = format!("{digest} in layout {}", self.name);
        if descriptor.size > limit {
            return Err(Error::TooLarge { what, limit, unit: "bytes" });
        }
        let algorithm = digest.as_str().split(':').next().unwrap_or_default();
        let bytes = self.read(&Path::new("blobs").join(algorithm).join(digest.hex()), limit)?;
        check(&what, descriptor, &bytes)?;
        Ok(bytes)
    }

    /// A file of the layout, of at most `limit` bytes.
    fn read(&self, file: &Path, limit: u64) -> Result<Bytes, Error> {
        let what = format!("{} of layout {}", file.display(), self.name);
        let read = match &self.source {
            Source::Folder(folder) => read_file(&folder.join(file), limit),
            Source::Archive(archive, files) => match files.get(file) {
                Some(Some((_, length))) if *length > limit => Ok(None),
                Some(Some((offset, length))) => read_at(archive, *offset, *length).map(Some),
                Some(None) => Err(io::Error::other("not a regular file")),
                None => Err(io::ErrorKind::NotFound.into()),
            },
        };
        match read {
            Ok(Some(bytes)) => Ok(Bytes::from(bytes)),
            Ok(None) => Err(Error::TooLarge { what, limit, unit: "bytes" }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::NotFound { what }),
            Err(error) => Err(Error::Network { what, cause: error.to_string() }),
        }
    }
}

impl Entry {
    fn tag(&self) -> Option<&str> {
        self.annotations.get(REF_NAME).map(String::as_str)
    }
}

#[async_trait]
impl Store for LayoutStore {
    async fn resolve(&self, reference: &Reference, _: Instant) -> Result<Descriptor, Error> {
        self.inner.find(reference.tag.as_deref(), reference.digest.as_ref())
    }

    async fn referrers(&self, _: &Repository, subject: &Digest, _: Instant) -> Result<Listed, Error> {
        self.inner.candidates(subject).map(Listed::from)
    }

    async fn manifest(&self, _: &Repository, descriptor: &Descriptor, _: Instant) -> Result<Bytes, Error> {
        self.read_blob(descriptor, limits::MANIFEST_BYTES).await
    }

    async fn blob(&self, _: &Repository, descriptor: &Descriptor, limit: u64, _: Instant) -> Result<Bytes, Error> {
        self.read_blob(descriptor, limit).await
    }
}

impl LayoutStore {
    async fn read_blob(&self, descriptor: &Descriptor, limit: u64) -> Result<Bytes, Error> {
        let (layout, descriptor) = (Arc::clone(&self.inner), descriptor.clone());
        let what = format!("{} in layout {}", descriptor.digest, layout.name);
        let read = tokio::task::spawn_blocking(move || layout.blob(&descriptor, limit)).await;
        read.unwrap_or_else(|error| Err(Error::Network { what, cause: error.to_string() }))
    }
}

/// The subject whose list of referrers is kept at a tag: `sha256-HEX` (distribution specification, "Referrers Tag
/// Schema").
fn subject_of_tag(tag: &str) -> Option<Digest> {
    tag.replacen('-', ":", 1).parse().ok()
}

/// Opens without waiting for the other end of a fifo.
fn open_plain(path: &Path) -> io::Result<File> {
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::CLOEXEC).bits()).unwrap_or_default();
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// A regular file of at most `limit` bytes; none when it is longer.
fn read_file(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let file = open_plain(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit { None } else { Some(bytes) })
}

fn read_at(archive: &File, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    archive.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

/// Where the files of an archive lie. Whatever another reader could understand otherwise (a name given twice, outside
/// of the archive or in an extension) is refused: it might import another image than was verified.
fn contents(archive: &File) -> io::Result<HashMap<PathBuf, Option<(u64, u64)>>> {
    let mut files = HashMap::new();
    for entry in tar::Archive::new(archive).entries_with_seek()? {
        let mut entry = entry?;
        let kind = entry.header().entry_type();
        if kind.is_dir() || kind.is_pax_global_extensions() {
            continue;
        }
        let path = plain_name(&mut entry)?;
        let place = if kind.is_file() { Some((entry.raw_file_position(), entry.size())) } else { None };
        if files.insert(path.clone(), place).is_some() {
            return Err(io::Error::other(format!("{} is in the archive twice", path.display())));
        }
        if files.len() > limits::LAYOUT_FILES {
            return Err(io::Error::other(format!("more than {} files in the archive", limits::LAYOUT_FILES)));
        }
    }
    Ok(files)
}

/// An entry's name, below the archive's own folder.
fn plain_name(entry: &mut tar::Entry<'_, &File>) -> io::Result<PathBuf> {
    let mut name = PathBuf::new();
    for part in entry.path()?.components() {
        match part {
            Component::Normal(part) => name.push(part),
            Component::CurDir => {}
            Component::RootDir | Component::ParentDir | Component::Prefix(_) => {
                return Err(io::Error::other(format!("{} does not lie within the archive", entry.path()?.display())));
            }
        }
    }
    for extension in entry.pax_extensions()?.into_iter().flatten() {
        if extension?.key_bytes().starts_with(b"GNU.sparse.") {
            return Err(io::Error::other(format!("{} is sparse: write the archive without holes", name.display())));
        }
    }
    Ok(name)
}

const MARKER: &str = "oci-layout";
const INDEX: &str = "index.json";
const REF_NAME: &str = "org.opencontainers.image.ref.name";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::{Algorithm, IMAGE_INDEX, IMAGE_MANIFEST};
    use crate::store::digest_of;
    use std::fs;

    /// A layout as it grows.
    struct Draft {
        folder: tempfile::TempDir,
        entries: Vec<String>,
    }

    impl Draft {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir_all(folder.path().join("blobs/sha256")).unwrap();
            fs::write(folder.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
            Self { folder, entries: Vec::new() }
        }

        fn blob(&self, media_type: &str, body: &str) -> Descriptor {
            let digest = digest_of(Algorithm::Sha256, body.as_bytes());
            fs::write(self.folder.path().join("blobs/sha256").join(digest.hex()), body).unwrap();
            Descriptor { media_type: media_type.to_owned(), digest, size: body.len() as u64 }
        }

        fn entry(&mut self, descriptor: &Descriptor, tag: Option<&str>) {
            let annotations = tag.map_or(String::new(), |tag| format!(r#","annotations":{{"{REF_NAME}":"{tag}"}}"#));
            self.entries.push(format!("{}{annotations}}}", json(descriptor).trim_end_matches('}')));
        }

        fn image(&mut self, text: &str, tag: Option<&str>) -> Descriptor {
            let image = self
                .blob(IMAGE_MANIFEST, &format!(r#"{{"schemaVersion":2,"annotations":{{"x":"{text}"}},"layers":[]}}"#));
            self.entry(&image, tag);
            image
        }

        fn referrer(&self, subject: &Descriptor, text: &str) -> Descriptor {
            let subject = json(subject);
            self.blob(
                IMAGE_MANIFEST,
                &format!(r#"{{"schemaVersion":2,"artifactType":"{text}","subject":{subject},"layers":[]}}"#),
            )
        }

        fn index(&self) -> String {
            format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, self.entries.join(","))
        }

        fn open(&self) -> Result<LayoutStore, String> {
            fs::write(self.folder.path().join("index.json"), self.index()).unwrap();
            LayoutStore::open(self.folder.path()).map_err(|error| error.to_string())
        }

        fn archive(&self) -> PathBuf {
            self.archive_with(|_| ())
        }

        /// An archive to which `more` adds something after all that belongs there.
        fn archive_with(&self, more: impl FnOnce(&mut tar::Builder<File>)) -> PathBuf {
            fs::write(self.folder.path().join("index.json"), self.index()).unwrap();
            let path = self.folder.path().join("layout.tar");
            let mut archive = tar::Builder::new(File::create(&path).unwrap());
            for file in ["oci-layout", "index.json"] {
                archive.append_path_with_name(self.folder.path().join(file), format!("./{file}")).unwrap();
            }
            archive.append_dir_all("blobs", self.folder.path().join("blobs")).unwrap();
            more(&mut archive);
            archive.finish().unwrap();
            path
        }
    }

    fn json(descriptor: &Descriptor) -> String {
        serde_json::to_string(descriptor).unwrap()
    }

    fn repository() -> Repository {
        "r.io/a".parse::<Reference>().unwrap().repository
    }

    fn found(store: &LayoutStore, tag: Option<&str>, digest: Option<&Digest>) -> Result<Descriptor, String> {
        store.inner.find(tag, digest).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_folder_and_an_archive_answer_alike() {
        let mut draft = Draft::new();
        let image = draft.image("one", Some("v1"));
        let signature = draft.referrer(&image, "application/x.signature");
        draft.entry(&signature, None);
        let layer = draft.blob("x", "content");
        for store in [draft.open().unwrap(), LayoutStore::open(&draft.archive()).unwrap()] {
            assert_eq!(found(&store, Some("v1"), None), Ok(image.clone()));
            assert_eq!(found(&store, None, None), Ok(image.clone()));
            assert_eq!(found(&store, None, Some(&signature.digest)), Ok(signature.clone()));
            assert!(found(&store, Some("v2"), None).unwrap_err().contains("not found"));
            assert_eq!(
                store.referrers(&repository(), &image.digest, Instant::now()).await,
                Ok(vec![signature.clone()].into())
            );
            assert_eq!(store.referrers(&repository(), &signature.digest, Instant::now()).await, Ok(vec![].into()));
            assert_eq!(store.blob(&repository(), &layer, 7, Instant::now()).await.unwrap(), "content");
            assert!(matches!(
                store.blob(&repository(), &layer, 6, Instant::now()).await,
                Err(Error::TooLarge { limit: 6, .. })
            ));
        }
    }

    #[tokio::test]
    async fn referrers_in_an_index_at_the_digests_tag_are_found_too() {
        let mut draft = Draft::new();
        let image = draft.image("one", Some("v1"));
        let signature = draft.referrer(&image, "application/x.signature");
        let list = draft.blob(IMAGE_INDEX, &format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, json(&signature)));
        let tag = image.digest.as_str().replace(':', "-");
        draft.entry(&list, Some(&tag));
        let store = draft.open().unwrap();
        assert_eq!(store.referrers(&repository(), &image.digest, Instant::now()).await, Ok(vec![signature].into()));
        assert_eq!(found(&store, None, None), Ok(image));
    }

    #[test]
    fn several_images_must_be_told_apart() {
        let mut draft = Draft::new();
        draft.image("one", Some("v1"));
        draft.image("two", Some("v2"));
        let store = draft.open().unwrap();
        assert!(found(&store, None, None).unwrap_err().contains("2 images are in it: name one by :TAG or @DIGEST"));
        assert!(found(&store, Some("v2"), None).is_ok());
    }

    #[tokio::test]
    async fn a_broken_entry_is_a_candidate_for_every_list() {
        let mut draft = Draft::new();
        let image = draft.image("one", Some("v1"));
        let broken = draft.referrer(&image, "application/x.signature");
        draft.entry(&broken, None);
        let path = draft.folder.path().join("blobs/sha256").join(broken.digest.hex());
        fs::write(&path, fs::read_to_string(&path).unwrap().replace("signature", "signaturE")).unwrap();
        let store = draft.open().unwrap();
        assert_eq!(
            store.referrers(&repository(), &image.digest, Instant::now()).await,
            Ok(vec![broken.clone()].into())
        );
        assert!(matches!(store.manifest(&repository(), &broken, Instant::now()).await, Err(Error::Digest { .. })));
    }

    #[test]
    fn what_is_no_layout_says_so() {
        let draft = Draft::new();
        let broken = |file: &str, content: &str| {
            fs::write(draft.folder.path().join("index.json"), draft.index()).unwrap();
            fs::write(draft.folder.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
            fs::write(draft.folder.path().join(file), content).unwrap();
            LayoutStore::open(draft.folder.path()).err().unwrap().to_string()
        };
        assert!(broken("oci-layout", "{}").contains("oci-layout of layout"));
        assert!(broken("oci-layout", r#"{"imageLayoutVersion":"2.0.0"}"#).contains("imageLayoutVersion is \"2.0.0\""));
        assert!(broken("index.json", "garbage").contains("index.json of layout"));
        assert!(broken("index.json", r#"{"schemaVersion":1,"manifests":[]}"#).contains("schemaVersion is 1"));
        let empty = tempfile::tempdir().unwrap();
        assert!(LayoutStore::open(empty.path()).err().unwrap().to_string().contains("not found"));
        assert!(LayoutStore::open(&empty.path().join("none")).err().unwrap().to_string().contains("No such file"));
        let garbage = empty.path().join("garbage.tar");
        fs::write(&garbage, "x".repeat(2000)).unwrap();
        assert!(LayoutStore::open(&garbage).is_err());
    }

    /// A file of an archive under a name that the builder itself would not write.
    fn add(archive: &mut tar::Builder<File>, name: &str, content: &str) {
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(content.len() as u64);
        header.set_cksum();
        archive.append(&header, content.as_bytes()).unwrap();
    }

    #[test]
    fn an_archive_that_another_reader_could_understand_otherwise_is_refused() {
        let mut draft = Draft::new();
        draft.image("one", Some("v1"));
        let index = draft.index();
        assert!(LayoutStore::open(&draft.archive()).is_ok());
        let refusal = |more: &dyn Fn(&mut tar::Builder<File>)| {
            let archive = draft.archive_with(|archive| more(archive));
            LayoutStore::open(&archive).err().unwrap().to_string()
        };
        for name in ["index.json", "./index.json", "././index.json"] {
            assert!(refusal(&|a| add(a, name, &index)).contains("index.json is in the archive twice"), "{name}");
        }
        for name in ["../index.json", "/index.json", "blobs/../index.json"] {
            let said = refusal(&|a| add(a, name, &index));
            assert!(said.contains(&format!("{name} does not lie within the archive")), "{said}");
        }
        let sparse = refusal(&|archive| {
            archive.append_pax_extensions([("GNU.sparse.name", &b"index.json"[..])]).unwrap();
            add(archive, "other", &index);
        });
        assert!(sparse.contains("other is sparse"), "{sparse}");
        let link = refusal(&|archive| {
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(tar::EntryType::Link);
            header.set_size(0);
            archive.append_link(&mut header, "index.json", "oci-layout").unwrap();
        });
        assert!(link.contains("twice"), "{link}");
    }

    #[test]
    fn what_has_a_tag_is_an_image_whatever_it_says_it_refers_to() {
        let mut draft = Draft::new();
        let image = draft.image("one", Some("v1"));
        let disguised = draft.referrer(&image, "application/x.signature");
        draft.entry(&disguised, Some("latest"));
        let store = draft.open().unwrap();
        assert!(found(&store, None, None).unwrap_err().contains("2 images are in it"));
        assert_eq!(found(&store, Some("latest"), None), Ok(disguised));
    }

    #[test]
    fn a_fifo_in_place_of_a_file_does_not_hang() {
        let draft = Draft::new();
        let fifo = draft.folder.path().join("index.json");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
        assert!(LayoutStore::open(draft.folder.path()).err().unwrap().to_string().contains("not a regular file"));
    }

    #[test]
    fn entries_at_the_limit_and_one_past_it() {
        let mut draft = Draft::new();
        let image = draft.image("one", None);
        for index in 1..limits::LAYOUT_ENTRIES {
            draft.entry(&image, Some(&format!("v{index}")));
        }
        assert!(draft.open().is_ok());
        draft.entry(&image, Some("last"));
        assert!(draft.open().err().unwrap().contains("more than the limit of 4096 entries"));
    }

    #[test]
    fn references_to_layouts_are_read() {
        let parse = |text: &str| text.parse::<LayoutReference>();
        let path = |text: &str| parse(text).unwrap().path.display().to_string();
        assert_eq!(path("oci-layout:dir"), "dir");
        assert_eq!(path("oci-layout:/a:b/dir"), "/a:b/dir");
        assert_eq!(
            (path("oci-layout:./dir:v1"), parse("oci-layout:./dir:v1").unwrap().tag),
            ("./dir".into(), Some("v1".into()))
        );
        let digest = format!("sha256:{}", "a".repeat(64));
        assert_eq!(parse(&format!("oci-layout:dir@{digest}")).unwrap().digest, digest.parse().ok());
        for bad in ["oci-layout:", "oci-layout:dir:", "oci-layout::v1", "oci-layout:dir@sha256:1", "dir"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_layout_that_is_followed_is_as_it_is_on_disk_at_each_question() {
        let mut draft = Draft::new();
        let path = draft.folder.path().to_owned();
        let followed = FollowedLayout::new(&path);
        let deadline = Instant::now() + limits::CALL_TIMEOUT;
        let image = draft.image("one", Some("v1"));
        let asked = async || followed.referrers(&repository(), &image.digest, deadline).await;
        let error = asked().await.unwrap_err().to_string();
        assert!(error.contains("index.json") && error.contains(path.to_str().unwrap()), "{error}");
        draft.open().unwrap();
        assert_eq!(asked().await, Ok(vec![].into()));
        let signature = draft.referrer(&image, "application/x.signature");
        draft.entry(&signature, None);
        draft.open().unwrap();
        assert_eq!(asked().await, Ok(vec![signature.clone()].into()));
        assert!(followed.manifest(&repository(), &signature, deadline).await.is_ok());

        fs::write(path.join("index.json"), "{").unwrap();
        assert!(matches!(asked().await, Err(Error::Malformed { .. })));
        fs::remove_file(path.join("index.json")).unwrap();
        assert!(asked().await.is_err());
        draft.open().unwrap();
        assert_eq!(asked().await, Ok(vec![signature].into()));
    }

    #[tokio::test]
    async fn a_layout_that_is_put_in_place_of_another_or_is_an_archive_is_followed_too() {
        let mut draft = Draft::new();
        let image = draft.image("one", Some("v1"));
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("layout");
        let followed = FollowedLayout::new(&path);
        let deadline = Instant::now() + limits::CALL_TIMEOUT;
        let asked = async || followed.referrers(&repository(), &image.digest, deadline).await;
        assert!(asked().await.is_err());
        fs::rename(draft.archive(), &path).unwrap();
        assert_eq!(asked().await, Ok(vec![].into()));
        let signature = draft.referrer(&image, "application/x.signature");
        draft.entry(&signature, None);
        fs::rename(draft.archive(), &path).unwrap();
        assert_eq!(asked().await, Ok(vec![signature.clone()].into()));
        assert!(followed.manifest(&repository(), &signature, deadline).await.is_ok());
    }
}
