//! Who may ask the daemon what: the peer's uid decides, and the socket's mode before it.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use ratify::artifact::Descriptor;

use crate::common::registry::describe;
use crate::needs_root;
use crate::node::{Node, chmod, descriptor};
use crate::programs::{AS_NOBODY, CTL, Launch, NOBODY, Ran, SHIM, run, run_with_stdin};

const NAME: &str = "registry.example/acme/web:v1";

/// Allows all, so that an answer tells that the question was.
const OPEN: &str = "unmatched = \"allow\"\n[[executors]]\nscopes = [\"closed.example\"]\nmode = \"deny\"\n";

/// The same for [`NOBODY`] too.
const NAMED: &str = "unmatched = \"allow\"\n[[executors]]\nscopes = [\"closed.example\"]\nmode = \"deny\"\n[access]\nuids = [12345, 65534]\n";

fn image() -> Descriptor {
    describe("application/vnd.oci.image.manifest.v1+json", b"image")
}

/// A node whose socket lets everybody connect, and programs that everybody can run.
struct Open {
    node: Node,
    shim: PathBuf,
    ctl: PathBuf,
}

impl Open {
    fn start(config: &str) -> Self {
        Self::over(Node::start(config))
    }

    fn over(node: Node) -> Self {
        chmod(&node.socket(), 0o666);
        let [shim, ctl] = [SHIM, CTL].map(|program| {
            // The build folder may be closed to others.
            let copy = node.path(Path::new(program).file_name().unwrap().to_str().unwrap());
            fs::copy(program, &copy).unwrap();
            chmod(&copy, 0o755);
            copy
        });
        Self { node, shim, ctl }
    }

    /// Asks as [`NOBODY`].
    fn pull(&self) -> Ran {
        let shim = self.node.shim(&self.shim, NAME, &image());
        run_with_stdin(&mut as_nobody(&shim), &descriptor(&image()))
    }

    /// Runs ratifyctl as [`NOBODY`].
    fn ctl(&self, arguments: &[&str]) -> Ran {
        run(&mut as_nobody(&self.node.ctl_command(&self.ctl, arguments)))
    }
}

/// The same program as [`NOBODY`].
fn as_nobody(command: &Command) -> Command {
    let mut changed = Command::new("setpriv");
    changed.args(AS_NOBODY).arg("--").arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => changed.env(name, value),
            None => changed.env_remove(name),
        };
    }
    changed
}

/// What a user hears who may not ask.
const MAY_NOT: &str = "uid 65534 may not ask; `access.uids` of the configuration names who may";

#[test]
fn the_socket_keeps_out_whoever_is_not_of_its_group() {
    needs_root!();
    let open = Open::start(NAMED);
    chmod(&open.node.socket(), 0o660);
    open.pull().refuses("UNAVAILABLE", "Permission denied");
    let complaint = open.ctl(&["status"]).complained(3);
    assert!(complaint.contains("Permission denied"), "{complaint}");
    chown(open.node.socket(), None, Some(NOBODY)).unwrap();
    open.pull().allows("EXEMPT", "`unmatched` is \"allow\"");
}

#[test]
fn a_user_whom_the_configuration_does_not_name_gets_no_answer() {
    needs_root!();
    for config in [OPEN, &NAMED.replace("65534", "65533")] {
        let open = Open::start(config);
        let id = open.node.pull(NAME, &image()).id().to_owned();
        open.pull().refuses("MISCONFIGURED", MAY_NOT);
        for question in [&["status"][..], &["explain", &id], &["explain", "unknown"]] {
            let complaint = open.ctl(question).complained(3);
            assert!(complaint.contains(MAY_NOT), "{complaint}");
        }
        assert!(open.ctl(&["flush"]).complained(3).contains("only root may"));
        assert_eq!(open.node.status()["verdicts"]["EXEMPT"], 1, "no verdict was given to them");
    }
}

#[test]
fn a_user_whom_the_configuration_names_may_ask_and_look_but_change_nothing() {
    needs_root!();
    let open = Open::start(NAMED);
    let ran = open.pull();
    ran.allows("EXEMPT", "`unmatched` is \"allow\"");
    assert!(open.ctl(&["explain", ran.id()]).ended(0).contains(NAME));
    assert!(open.ctl(&["status"]).ended(0).contains("EXEMPT 1"));
    let complaint = open.ctl(&["flush"]).complained(3);
    assert!(complaint.contains("uid 65534 may not do this, only root may"), "{complaint}");
    assert_eq!(open.node.logged("forgotten"), 0, "{}", open.node.log());
}

#[test]
fn who_may_ask_changes_with_the_configuration() {
    needs_root!();
    let open = Open::start(OPEN);
    open.pull().refuses("MISCONFIGURED", MAY_NOT);
    open.node.configure(NAMED);
    open.pull().allows("EXEMPT", "`unmatched` is \"allow\"");
    open.node.configure("nonsense");
    open.pull().allows("EXEMPT", "`unmatched` is \"allow\"");
    open.node.configure(OPEN);
    open.pull().refuses("MISCONFIGURED", MAY_NOT);
}

#[test]
fn with_no_configuration_in_force_root_alone_hears_why() {
    needs_root!();
    let open = Open::start("nonsense");
    open.pull().refuses("MISCONFIGURED", MAY_NOT);
    open.node.pull(NAME, &image()).refuses("MISCONFIGURED", "config.toml:1:");
}

#[test]
fn the_daemons_own_user_is_nobody_special() {
    needs_root!();
    let mut node = Node::down(OPEN);
    fs::create_dir(node.path("run")).unwrap();
    chown(node.path("run"), Some(NOBODY), None).unwrap();
    node.launch(Launch { privileges: &AS_NOBODY, ..Launch::default() });
    let open = Open::over(node);
    open.pull().refuses("MISCONFIGURED", MAY_NOT);
    open.node.pull(NAME, &image()).allows("EXEMPT", "`unmatched` is \"allow\"");
}
