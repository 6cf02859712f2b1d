//! A disk without room: verdicts stand, and what cannot be written is no success.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};

use ratify::artifact::Descriptor;

use crate::common::registry::describe;
use crate::needs_root;
use crate::node::{Node, descriptor};
use crate::programs::{CTL, DAEMON, Launch, SHIM, run};

/// Allows all but one registry.
const OPEN: &str = "unmatched = \"allow\"\n[[executors]]\nscopes = [\"closed.example\"]\nmode = \"deny\"\n";

const NAME: &str = "registry.example/acme/web:v1";
const CLOSED: &str = "closed.example/acme/web:v1";

fn image() -> Descriptor {
    describe("application/vnd.oci.image.manifest.v1+json", b"image")
}

/// A file on a disk without room.
fn full() -> OwnedFd {
    File::options().write(true).open("/dev/full").unwrap().into()
}

#[test]
fn pulls_are_decided_though_the_log_cannot_be_written() {
    let mut node = Node::down(OPEN);
    node.launch(Launch { log: Some(full()), ..Launch::default() });
    for _ in 0..3 {
        node.pull(NAME, &image()).allows("EXEMPT", "`unmatched` is \"allow\"");
        node.pull(CLOSED, &image()).refuses("DENIED", "closed.example");
    }
    node.configure("nonsense");
    node.pull(CLOSED, &image()).refuses("DENIED", "closed.example");
    assert_eq!(node.status()["configCurrent"], false);
    assert_eq!(node.status()["verdicts"]["DENIED"], 4);
}

#[test]
fn the_shims_exit_code_stands_though_its_line_cannot_be_written() {
    let node = Node::start(OPEN);
    for (name, code) in [(NAME, 0), (CLOSED, 1)] {
        let stdin = node.path("descriptor");
        fs::write(&stdin, descriptor(&image())).unwrap();
        let mut shim = node.shim(Path::new(SHIM), name, &image());
        let ran = shim.stdin(File::open(&stdin).unwrap()).stdout(full()).output().unwrap();
        assert_eq!((ran.status.code(), ran.stderr.as_slice()), (Some(code), &b""[..]), "{name}");
    }
}

#[test]
fn an_answer_that_cannot_be_written_is_no_success() {
    let node = Node::start(OPEN);
    let config = node.config();
    let config = config.to_str().unwrap();
    for question in [
        &["status"][..],
        &["status", "--output", "json"],
        &["verdicts"],
        &["flush"],
        &["config", "check", config],
        &["config", "show", config],
        &["config", "schema"],
        &["completion", "bash"],
        &["man"],
        &["verify", NAME],
        &["verify", CLOSED, "--output", "sarif"],
    ] {
        node.pull(NAME, &image());
        let mut command = node.ctl_command(Path::new(CTL), question);
        let ran = command.stdin(Stdio::null()).stdout(full()).output().unwrap();
        let complaint = String::from_utf8(ran.stderr).unwrap();
        assert_eq!(ran.status.code(), Some(3), "{question:?}: {complaint}");
        let wanted = "ratifyctl: the answer cannot be written: No space left on device (os error 28)\n";
        assert_eq!(complaint, wanted, "{question:?}");
    }
}

#[test]
fn whoever_closes_the_pipe_is_not_bothered() {
    let node = Node::start(OPEN);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ran = node.ctl_command(Path::new(CTL), &["config", "schema"]).stdout(writer).output().unwrap();
    assert_eq!((ran.status.code(), String::from_utf8(ran.stderr).unwrap().as_str()), (Some(3), ""));
}

#[test]
fn a_socket_for_which_there_is_no_room_ends_the_start_with_its_path() {
    needs_root!();
    let node = Node::down(OPEN);
    let disk = node.path("disk");
    fs::create_dir(&disk).unwrap();
    let _mounted = Mounted::tmpfs(&disk, "nr_inodes=1");
    let mut command = Command::new(DAEMON);
    let socket = disk.join("ratifyd.sock");
    command.arg("--config").arg(node.config()).arg("--socket").arg(&socket).env_remove("LISTEN_FDS");
    let complaint = run(command.env_remove("NOTIFY_SOCKET")).complained(1);
    let wanted = format!("ratifyd: socket {}: No space left on device", socket.display());
    assert!(complaint.contains(&wanted), "{complaint}");
}

/// A file system that goes with the test.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn tmpfs(at: &'a Path, options: &str) -> Self {
        run(Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at)).ended(0);
        Self(at)
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        run(Command::new("umount").arg(self.0)).ended(0);
    }
}
