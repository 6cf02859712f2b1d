use std::fs;
use std::time::UNIX_EPOCH;

use std::os::unix::fs::{PermissionsExt as _, symlink};

use aws_lc_rs::signature::Ed25519KeyPair;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::json;

use sigstore_tuf::MetadataStore as _;

use super::testing::*;
use super::*;
use crate::sigstore::trusted_root::TrustedRoot;

impl Repo {
    fn new() -> Self {
        Self::of(b"one")
    }

    fn options(&self) -> Options {
        Options {
            mirror: Mirror::Folder(self.folder.path().to_owned()),
            root: self.first_root.clone(),
            target: TARGET.to_owned(),
            refresh: Duration::from_secs(3600),
            max_age: Duration::from_secs(3600),
            cache: None,
        }
    }
}

/// Takes what this version knows.
fn known(bytes: &[u8]) -> Result<(), String> {
    if bytes == b"of tomorrow" { Err("it is of tomorrow".to_owned()) } else { Ok(()) }
}

fn reader(options: &Options) -> Reader {
    Reader::new(options.clone(), Proxy::default(), known)
}

/// What the next process begins with.
async fn kept(options: &Options) -> Option<(Vec<u8>, Duration)> {
    let options = options.clone();
    tokio::task::spawn_blocking(move || reader(&options).kept()).await.unwrap()
}

async fn read(options: &Options) -> Result<Vec<u8>, Unread> {
    reader(options).read().await
}

fn cause(read: Result<Vec<u8>, Unread>) -> String {
    match read.unwrap_err() {
        Unread::Unreachable(cause) => cause,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_file_is_read_and_followed_through_new_versions_and_new_roots() {
    let mut repo = Repo::new();
    let options = repo.options();
    assert_eq!(read(&options).await, Ok(b"one".to_vec()));
    repo.publish(2, b"two", LATER);
    assert_eq!(read(&options).await, Ok(b"two".to_vec()));
    // Every key is replaced; the new root is signed by the old key and by the new one.
    let old = repo.keys.remove("root").unwrap();
    for role in ROLES {
        repo.keys.insert(role, Ed25519KeyPair::generate().unwrap());
    }
    let root = repo.root(2);
    let new = &repo.keys["root"];
    repo.write("2.root.json", &sign(&root, &[(id("root", &old), &old), (id("root", new), new)]));
    repo.publish(3, b"three", LATER);
    assert_eq!(read(&options).await, Ok(b"three".to_vec()));
    repo.write("2.root.json", &sign(&root, &[(id("root", new), new)]));
    assert!(cause(read(&options).await).contains("threshold not met for role root"));
}

#[tokio::test]
async fn what_somebody_in_the_middle_could_bring_takes_nothing_away() {
    let repo = Repo::new();
    let cache = tempfile::tempdir().unwrap();
    let options = Options { cache: Some(cache.path().to_owned()), ..repo.options() };
    repo.publish(2, b"two", LATER);
    assert_eq!(read(&options).await, Ok(b"two".to_vec()));
    repo.publish(1, b"one", LATER);
    assert!(cause(read(&options).await).contains("rollback"));
    repo.publish(3, b"three", "2001-01-01T00:00:00Z");
    assert!(cause(read(&options).await).contains("expired"));
    let stranger = Repo::new();
    stranger.publish(4, b"four", LATER);
    let theirs = Options { root: repo.first_root.clone(), ..stranger.options() };
    assert!(cause(read(&theirs).await).contains("threshold not met"));
    repo.publish(5, b"five", LATER);
    repo.write(&format!("targets/{}.{TARGET}", hex(b"five")), b"fiVe");
    assert!(cause(read(&options).await).contains("integrity"));
}

#[tokio::test]
async fn a_file_that_is_no_longer_listed_is_gone_at_once() {
    let repo = Repo::new();
    let cache = tempfile::tempdir().unwrap();
    let options = Options { cache: Some(cache.path().to_owned()), ..repo.options() };
    assert_eq!(read(&options).await, Ok(b"one".to_vec()));
    repo.publish_listing(2, &json!({}), LATER);
    assert_eq!(read(&options).await, Err(Unread::Gone(format!("it no longer lists {TARGET}"))));
    assert_eq!(kept(&options).await, None, "nor does it come back with the next start");
}

#[tokio::test]
async fn a_target_at_the_limit_and_one_past_it() {
    let repo = Repo::new();
    let limit = usize::try_from(limits::TUF_TARGET_BYTES).unwrap();
    repo.publish(2, &vec![b'x'; limit], LATER);
    assert_eq!(read(&repo.options()).await.unwrap().len(), limit);
    repo.publish(3, &vec![b'x'; limit + 1], LATER);
    assert!(cause(read(&repo.options()).await).contains("exceeds configured max"));
}

#[tokio::test]
async fn what_was_read_is_judged_anew_by_the_next_process_and_is_as_old_as_it_was() {
    let repo = Repo::new();
    let cache = tempfile::tempdir().unwrap();
    let options = Options { cache: Some(cache.path().to_owned()), ..repo.options() };
    assert_eq!(read(&options).await, Ok(b"one".to_vec()));
    // A first root of another repository has nothing to do with it.
    let other = Options { root: Repo::new().first_root, ..options.clone() };
    assert_eq!(kept(&other).await, None);
    let (bytes, age) = kept(&options).await.unwrap();
    assert!(bytes == b"one" && age < Duration::from_secs(60));
    let folder = cache.path().join(name(&options));
    let ago = |seconds: u64| {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() - seconds;
        fs::write(folder.join("refreshed"), at.to_string()).unwrap();
    };
    ago(1000);
    assert!(kept(&options).await.unwrap().1 >= Duration::from_secs(1000));
    fs::write(folder.join("refreshed"), "99999999999").unwrap();
    assert_eq!(kept(&options).await, None, "read in the future");
    ago(10);
    for name in [format!("targets/{TARGET}"), "timestamp.json".to_owned(), "targets.json".to_owned()] {
        let path = folder.join(name);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, [&whole[..], b"x"].concat()).unwrap();
        assert_eq!(kept(&options).await, None, "{}", path.display());
        fs::write(&path, whole).unwrap();
    }
    assert!(kept(&options).await.is_some());
}

impl Repo {
    /// New keys for some roles, by a new root that whoever held the root's key before has signed too.
    fn rotate(&mut self, version: u64, roles: &[&'static str]) {
        let old = Ed25519KeyPair::from_pkcs8(self.keys["root"].to_pkcs8v1().unwrap().as_ref()).unwrap();
        for role in roles {
            self.keys.insert(role, Ed25519KeyPair::generate().unwrap());
        }
        let new = &self.keys["root"];
        let root = sign(&self.root(version), &[(id("root", &old), &old), (id("root", new), new)]);
        self.write(&format!("{version}.root.json"), &root);
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.folder.path().join(name)).unwrap();
    }
}

#[tokio::test]
async fn who_lets_the_first_files_of_a_new_version_through_and_no_more_takes_nothing_from_the_next_start() {
    for withheld in ["2.snapshot.json", "2.targets.json", &format!("targets/{}.{TARGET}", hex(b"two"))] {
        let repo = Repo::new();
        let cache = tempfile::tempdir().unwrap();
        let options = Options { cache: Some(cache.path().to_owned()), ..repo.options() };
        assert_eq!(read(&options).await, Ok(b"one".to_vec()));
        repo.publish(2, b"two", LATER);
        repo.remove(withheld);
        let reader = reader(&options);
        assert!(cause(reader.read().await).contains("not found"), "{withheld}");
        assert_eq!(kept(&options).await.unwrap().0, b"one", "{withheld}");
        // Nor does he turn back what has been seen.
        repo.publish(1, b"one", LATER);
        assert!(cause(reader.read().await).contains("rollback"), "{withheld}");
        repo.publish(2, b"two", LATER);
        assert_eq!(reader.read().await, Ok(b"two".to_vec()), "{withheld}");
        assert_eq!(kept(&options).await.unwrap().0, b"two", "{withheld}");
    }
}

#[tokio::test]
async fn a_new_root_is_kept_at_once_and_takes_nothing_from_the_next_start() {
    let mut repo = Repo::new();
    let cache = tempfile::tempdir().unwrap();
    let options = Options { cache: Some(cache.path().to_owned()), ..repo.options() };
    assert_eq!(read(&options).await, Ok(b"one".to_vec()));
    repo.rotate(2, &ROLES);
    // The new root comes through, and nothing that was signed by the new keys.
    assert!(cause(read(&options).await).contains("threshold not met for role timestamp"));
    assert_eq!(kept(&options).await.unwrap().0, b"one");
    // Whoever has the old keys cannot hide it any more.
    repo.remove("2.root.json");
    assert!(cause(read(&options).await).contains("threshold not met for role timestamp"));
    repo.publish(2, b"two", LATER);
    assert_eq!(read(&options).await, Ok(b"two".to_vec()));
    assert_eq!(kept(&options).await.unwrap().0, b"two");
}

#[tokio::test]
async fn a_file_that_this_version_cannot_read_is_neither_taken_nor_kept() {
    let repo = Repo::new();
    let cache = tempfile::tempdir().unwrap();
    let options = Options { cache: Some(cache.path().to_owned()), ..repo.options() };
    assert_eq!(read(&options).await, Ok(b"one".to_vec()));
    repo.publish(2, b"of tomorrow", LATER);
    assert_eq!(cause(read(&options).await), format!("{TARGET}: it is of tomorrow"));
    assert_eq!(kept(&options).await.unwrap().0, b"one");
    // What another version kept here is not taken either.
    let other = Reader::new(options.clone(), Proxy::default(), |_| Ok(()));
    assert_eq!(other.read().await, Ok(b"of tomorrow".to_vec()));
    assert_eq!(kept(&options).await, None);
}

#[tokio::test]
async fn a_disk_that_takes_no_more_leaves_what_is_kept_as_it_was() {
    let repo = Repo::new();
    let cache = tempfile::tempdir().unwrap();
    let options = Options { cache: Some(cache.path().to_owned()), ..repo.options() };
    assert_eq!(read(&options).await, Ok(b"one".to_vec()));
    repo.publish(2, b"two", LATER);
    // The last of the files cannot be written.
    let place = cache.path().join(name(&options)).join("new/timestamp.json");
    fs::create_dir(&place).unwrap();
    assert_eq!(read(&options).await, Ok(b"two".to_vec()));
    assert_eq!(kept(&options).await.unwrap().0, b"one");
    fs::remove_dir(&place).unwrap();
    assert_eq!(read(&options).await, Ok(b"two".to_vec()));
    assert_eq!(kept(&options).await.unwrap().0, b"two");
}

#[tokio::test]
async fn what_was_seen_counts_where_nothing_is_kept_on_disk_too() {
    let repo = Repo::new();
    let reader = reader(&repo.options());
    repo.publish(2, b"two", LATER);
    assert_eq!(reader.read().await, Ok(b"two".to_vec()));
    repo.publish(1, b"one", LATER);
    assert!(cause(reader.read().await).contains("rollback"));
}

#[tokio::test]
async fn what_is_kept_where_others_can_write_is_not_used_and_goes_on_being_kept_once_mended() {
    let repo = Repo::new();
    let cache = tempfile::tempdir().unwrap();
    let options = Options { cache: Some(cache.path().to_owned()), ..repo.options() };
    assert_eq!(read(&options).await, Ok(b"one".to_vec()));
    let folder = cache.path().join(name(&options));
    for place in [folder.clone(), folder.join("targets"), folder.join("refreshed"), cache.path().to_owned()] {
        let mode = |mode| fs::set_permissions(&place, fs::Permissions::from_mode(mode)).unwrap();
        mode(0o777);
        assert_eq!(kept(&options).await, None, "{}", place.display());
        assert_eq!(read(&options).await, Ok(b"one".to_vec()), "the repository itself goes on");
        mode(0o700);
        assert!(kept(&options).await.is_some(), "{}", place.display());
    }
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o770)).unwrap();
    repo.publish(2, b"two", LATER);
    assert_eq!(read(&options).await, Ok(b"two".to_vec()));
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(kept(&options).await.unwrap().0, b"one", "nothing was written");
}

#[tokio::test]
async fn what_is_no_file_holds_nobody_up() {
    let repo = Repo::new();
    let cache = tempfile::tempdir().unwrap();
    let options = Options { cache: Some(cache.path().to_owned()), ..repo.options() };
    assert_eq!(read(&options).await, Ok(b"one".to_vec()));
    let pipe = |folder: &Path, name: &str| {
        let path = folder.join(name);
        fs::remove_file(&path).unwrap();
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR, 0).unwrap();
    };
    let folder = cache.path().join(name(&options));
    for name in [format!("targets/{TARGET}"), "timestamp.json".to_owned(), "refreshed".to_owned()] {
        pipe(&folder, &name);
        assert_eq!(kept(&options).await, None, "{name}");
        assert_eq!(read(&options).await, Ok(b"one".to_vec()), "{name}");
        assert!(kept(&options).await.is_some(), "{name} was written anew");
    }
    pipe(repo.folder.path(), "timestamp.json");
    assert!(cause(read(&options).await).contains("timestamp.json is not a regular file"));
}

#[tokio::test]
async fn files_of_a_folder_and_of_what_is_kept_at_the_limit_and_one_past_it() {
    let repo = Repo::new();
    let long = |limit: u64| vec![b' '; usize::try_from(limit).unwrap()];
    repo.write("2.root.json", &long(limits::TUF_ROOT_BYTES));
    assert!(cause(read(&repo.options()).await).contains("EOF"), "it was read");
    repo.write("2.root.json", &long(limits::TUF_ROOT_BYTES + 1));
    assert!(cause(read(&repo.options()).await).contains("larger than the limit of 524288 bytes"));
    let kept = tempfile::tempdir().unwrap();
    let files = Cache::new(Some(kept.path().to_owned())).files();
    for (length, is_read) in [(limits::TUF_METADATA_BYTES, true), (limits::TUF_METADATA_BYTES + 1, false)] {
        fs::write(kept.path().join("targets.json"), long(length)).unwrap();
        assert_eq!(files.load("targets.json").unwrap().is_some(), is_read, "{length}");
    }
}

#[tokio::test]
async fn a_mirror_may_be_made_of_links_and_nothing_outside_of_it_is_named() {
    let repo = Repo::new();
    let target = format!("targets/{}.{TARGET}", hex(b"one"));
    let elsewhere = repo.folder.path().join("elsewhere");
    fs::rename(repo.folder.path().join(&target), &elsewhere).unwrap();
    symlink(&elsewhere, repo.folder.path().join(&target)).unwrap();
    assert_eq!(read(&repo.options()).await, Ok(b"one".to_vec()));
    let folder = Folder(repo.folder.path().join("targets"));
    assert!(folder.get("../elsewhere", 100).unwrap_err().to_string().contains("does not lie in"));
    assert!(folder.get("/etc/passwd", 100_000).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_is_gone_leaves_what_was_read_in_force_also_after_a_restart() {
    let repo = Repo::new();
    let cache = tempfile::tempdir().unwrap();
    let options = Options { cache: Some(cache.path().to_owned()), ..repo.options() };
    let opened = |options: Options| tokio::task::spawn_blocking(move || open(options, Proxy::default(), known));
    let first = opened(options.clone()).await.unwrap();
    assert_eq!(first.now().0.as_deref(), Ok(&b"one".to_vec()));
    drop(first);
    fs::remove_file(repo.folder.path().join("timestamp.json")).unwrap();
    let again = opened(options.clone()).await.unwrap();
    assert_eq!(again.now().0.as_deref(), Ok(&b"one".to_vec()));
    let expired = Options { max_age: Duration::ZERO, ..options };
    let over = opened(expired).await.unwrap();
    let cause = over.now().0.unwrap_err();
    assert!(cause.contains("cannot be read: transport error: timestamp.json not found"), "{cause}");
}

#[tokio::test]
async fn a_mirror_on_the_web_is_read_within_bounds() {
    let repo = Repo::new();
    let url = Url::parse(&served(repo.folder.path())).unwrap();
    let options = Options { mirror: Mirror::Url(url.clone()), ..repo.options() };
    assert_eq!(read(&options).await, Ok(b"one".to_vec()));
    repo.write("2.root.json", &vec![b' '; usize::try_from(limits::TUF_ROOT_BYTES).unwrap() + 1]);
    assert!(cause(read(&options).await).contains("2.root.json: more than the limit of 524288 bytes"));
    repo.write("2.root.json", b"broken");
    assert!(cause(read(&options).await).contains("2.root.json: the answer has status 500"));
    let nobody = Options { mirror: Mirror::Url(Url::parse("http://127.0.0.1:1/").unwrap()), ..options };
    assert!(cause(read(&nobody).await).contains("GET http://127.0.0.1:1/2.root.json: "));
}

#[test]
fn the_first_roots_that_come_along_are_whole() {
    for known in [Known::PublicGood, Known::GitHub] {
        assert!(Url::parse(known.url()).is_ok_and(|url| url.scheme() == "https"));
        let root = StoreRepository::new(sigstore_tuf::MemoryStore::new());
        assert!(Updater::new(root, known.root()).is_ok(), "{known:?}");
        let trusted = TrustedRoot::parse(known.trusted_root()).unwrap();
        assert!(!trusted.authorities().is_empty() && !trusted.timestamp_authorities().is_empty(), "{known:?}");
    }
}

#[tokio::test]
async fn a_first_root_that_is_none_is_told_as_such() {
    let repo = Repo::new();
    for root in [&b"{}"[..], b"", b"[]"] {
        let options = Options { root: root.to_vec(), ..repo.options() };
        assert!(matches!(read(&options).await, Err(Unread::Gone(cause)) if cause.starts_with("its first root: ")));
    }
}
