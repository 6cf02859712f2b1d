//! `ratifyctl install` and `uninstall` over the files of a node that is being built, as a Dockerfile has it: what is
//! shown, what is made, what is refused, and that nothing is left behind. What real containerds make of it is in
//! tests/e2e/install.rs.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::common::site::Site;
use crate::needs_root;
use crate::node::chmod;
use crate::programs::{AS_NOBODY, CTL, Ran, SHIM, run, skip};

const LINK: &str = "opt/containerd/image-verifier/bin/ratify-image-verifier";
const AUDIT: &str = "opt/containerd/image-verifier/bin/ratify-image-verifier-audit";

/// A configuration without a problem.
const CONFIG: &str = "unmatched = \"deny\"\n[[executors]]\nscopes = [\"ghcr.io/acme\"]\nmode = \"allow\"\n";

/// What containerd 2.1 says of itself, reduced to what matters here.
const DUMP: &str = "
    disabled_plugins = []
    [plugins.'io.containerd.cri.v1.images']
    use_local_image_pull = false
    max_concurrent_downloads = 3
    [plugins.'io.containerd.image-verifier.v1.bindir']
    bin_dir = '/opt/containerd/image-verifier/bin'
    max_verifiers = 10
    per_verifier_timeout = '10s'
    ";

/// Runs ratifyctl over a site.
fn ctl(site: &Site, arguments: &[&str]) -> Ran {
    run(&mut site.command(arguments))
}

/// A site with a daemon's configuration.
fn configured() -> Site {
    let site = Site::unpack();
    site.write("etc/ratifyd/config.toml", CONFIG);
    site
}

/// A containerd that says this of itself, whatever its files say.
fn containerd(site: &Site, dump: &str) {
    site.write("usr/bin/containerd", &format!("#!/bin/sh\ncat <<'END'\n{dump}\nEND\n"));
    chmod(&site.at("usr/bin/containerd"), 0o755);
}

fn target(site: &Site, link: &str) -> Option<PathBuf> {
    fs::read_link(site.at(link)).ok()
}

fn shim(prefix: &str) -> Option<PathBuf> {
    Some(Path::new(prefix).join("libexec/ratifyd/ratify-image-verifier"))
}

#[test]
fn a_dry_run_changes_nothing_and_says_what_would_be_changed() {
    let site = configured();
    containerd(&site, DUMP);
    let before = site.tree();
    let text = ctl(&site, &["install"]).ended(0);
    assert!(text.starts_with("nothing is changed: --yes makes these changes\n"), "{text}");
    let last =
        "link /opt/containerd/image-verifier/bin/ratify-image-verifier to /usr/libexec/ratifyd/ratify-image-verifier";
    assert_eq!(text.lines().last().unwrap().trim(), last);
    let document: Value = serde_json::from_str(&ctl(&site, &["install", "--output", "json"]).ended(0)).unwrap();
    assert_eq!((document["schemaVersion"].as_u64(), document["applied"].as_bool()), (Some(1), Some(false)));
    assert_eq!(document["changes"].as_array().unwrap().last().unwrap()["line"], last);
    assert_eq!(ctl(&site, &["uninstall"]).ended(0), "All is as it should be.\n");
    assert_eq!(site.tree(), before);
}

#[test]
fn a_node_is_set_up_once_and_uninstall_leaves_it_as_it_was_to_the_last_byte() {
    needs_root!();
    let site = configured();
    site.write("etc/containerd/config.toml", "version = 3\n");
    containerd(&site, DUMP);
    let before = site.tree();
    let made = ctl(&site, &["install", "--yes"]).ended(0);
    assert!(made.contains("copy ") && made.ends_with("/ratify-image-verifier\n"), "{made}");
    assert_eq!(target(&site, LINK), shim("/usr"));
    for (link, unit) in [("sockets.target.wants", "ratifyd.socket"), ("multi-user.target.wants", "ratifyd.service")] {
        let link = format!("etc/systemd/system/{link}/{unit}");
        assert_eq!(target(&site, &link), Some(Path::new("/usr/lib/systemd/system").join(unit)));
    }
    for file in [
        "usr/bin/ratifyd",
        "usr/lib/sysusers.d/ratifyd.conf",
        "usr/share/ratifyd/config.toml",
        "usr/share/man/man1/ratifyctl-install.1.gz",
    ] {
        assert!(site.at(file).is_file(), "{file}");
    }
    let after = site.tree();
    assert_eq!(ctl(&site, &["install"]).ended(0), "All is as it should be.\n");
    assert_eq!(ctl(&site, &["install", "--yes"]).ended(0), "All is as it should be.\n");
    assert_eq!(site.tree(), after);
    let gone = ctl(&site, &["uninstall", "--yes"]).ended(0);
    assert!(
        gone.starts_with("remove /opt/containerd/image-verifier/bin/ratify-image-verifier\n"),
        "first of all: {gone}"
    );
    assert!(gone.contains("pulls are no longer verified"), "{gone}");
    assert_eq!(site.tree(), before);
    ctl(&site, &["uninstall", "--yes", "--purge"]).ended(0);
    assert!(!site.at("etc/ratifyd").exists());
}

#[test]
fn without_a_configuration_all_is_made_but_the_link() {
    needs_root!();
    let site = Site::unpack();
    for (config, words) in
        [(None, "/etc/ratifyd/config.toml is not there"), (Some("unmatchd = 1\n"), "config.toml:1:1: ")]
    {
        if let Some(config) = config {
            site.write("etc/ratifyd/config.toml", config);
        }
        let text = ctl(&site, &["install", "--yes"]).ended(1);
        assert!(text.contains("not enabled: ") && text.contains(words), "{text}");
        assert!(site.at("usr/bin/ratifyd").exists() && target(&site, LINK).is_none());
    }
    site.write("etc/ratifyd/config.toml", CONFIG);
    let made = ctl(&site, &["install", "--yes"]).ended(0);
    assert!(made.starts_with("make folder /opt/containerd/image-verifier/bin\nlink "), "only that is left: {made}");
    assert_eq!(target(&site, LINK), shim("/usr"));
}

#[test]
fn audit_needs_no_configuration_and_enforcing_is_one_rename() {
    needs_root!();
    let site = Site::unpack();
    ctl(&site, &["install", "--yes", "--audit"]).ended(0);
    assert_eq!((target(&site, AUDIT), target(&site, LINK)), (shim("/usr"), None));
    assert_eq!(ctl(&site, &["install", "--audit"]).ended(0).lines().next(), Some("All is as it should be."));
    let refused = ctl(&site, &["install", "--yes"]).ended(1);
    assert!(refused.contains("not enabled: /etc/ratifyd/config.toml is not there"), "{refused}");
    assert_eq!(target(&site, AUDIT), shim("/usr"), "it goes on auditing");
    site.write("etc/ratifyd/config.toml", CONFIG);
    let folder = "/opt/containerd/image-verifier/bin";
    let rename = format!("rename {folder}/ratify-image-verifier-audit to {folder}/ratify-image-verifier\n");
    let made = ctl(&site, &["install", "--yes"]).ended(0);
    assert!(made.starts_with(&rename), "{made}");
    assert_eq!((target(&site, AUDIT), target(&site, LINK)), (None, shim("/usr")));
    ctl(&site, &["install", "--yes", "--audit"]).ended(0);
    assert_eq!((target(&site, AUDIT), target(&site, LINK)), (shim("/usr"), None), "and back");
}

#[test]
fn below_another_prefix_units_are_the_administrators_and_name_its_programs() {
    needs_root!();
    let site = configured();
    let before = site.tree();
    ctl(&site, &["install", "--yes", "--prefix", "/opt/ratifyd"]).ended(0);
    let unit = fs::read_to_string(site.at("etc/systemd/system/ratifyd.service")).unwrap();
    assert!(unit.contains("\nExecStart=/opt/ratifyd/bin/ratifyd\n"), "{unit}");
    assert_eq!(target(&site, LINK), shim("/opt/ratifyd"));
    assert!(!site.at("usr/bin/ratifyd").exists() && site.at("etc/sysusers.d/ratifyd.conf").exists());
    // Where it lies is found out.
    assert_eq!(ctl(&site, &["install"]).ended(0).lines().next(), Some("All is as it should be."));
    ctl(&site, &["uninstall", "--yes"]).ended(0);
    let mut after = site.tree();
    after.remove(&site.at("etc/sysusers.d"));
    assert_eq!(after, before);
}

#[test]
fn an_image_gets_its_user_because_no_boot_may_make_it() {
    needs_root!();
    if !Path::new("/usr/bin/systemd-sysusers").exists() {
        return skip("needs systemd-sysusers");
    }
    let site = configured();
    site.write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n");
    site.write("etc/group", "root:x:0:\n");
    let made = ctl(&site, &["install", "--yes"]).ended(0);
    assert!(made.contains("ratifyd.conf: the user that ratifyd runs as\n"), "{made}");
    let passwd = fs::read_to_string(site.at("etc/passwd")).unwrap();
    assert!(passwd.contains("\nratifyd:x:") && passwd.contains(":/var/lib/ratifyd:"), "{passwd}");
    assert!(!ctl(&site, &["install"]).ended(0).contains("the user"), "once is enough");
}

#[test]
fn an_upgrade_replaces_what_is_other_and_nothing_else() {
    needs_root!();
    let site = configured();
    ctl(&site, &["install", "--yes"]).ended(0);
    site.write("usr/libexec/ratifyd/ratify-image-verifier", "an older one");
    site.write("usr/lib/systemd/system/ratifyd.service", "[Unit]\n");
    let made = ctl(&site, &["install", "--yes"]).ended(0);
    let paths: Vec<&str> = made.lines().take(2).filter_map(|line| line.split(' ').nth(1)).collect();
    let shim = site.archive().join("libexec/ratifyd/ratify-image-verifier");
    assert_eq!(paths, [shim.to_str().unwrap(), "/usr/lib/systemd/system/ratifyd.service"], "{made}");
    assert!(!made.lines().skip(2).any(|line| line.contains('/') && !line.starts_with("note")), "{made}");
    assert_eq!(fs::read(site.at("usr/libexec/ratifyd/ratify-image-verifier")).unwrap(), fs::read(SHIM).unwrap());
}

#[test]
fn the_link_goes_where_containerd_looks_and_only_where_it_comes_to_it() {
    needs_root!();
    let site = configured();
    containerd(&site, &DUMP.replace("/opt/containerd/image-verifier/bin", "/srv/verifiers"));
    ctl(&site, &["install", "--yes"]).ended(0);
    assert_eq!(target(&site, "srv/verifiers/ratify-image-verifier"), shim("/usr"));
    ctl(&site, &["uninstall", "--yes"]).ended(0);
    assert_eq!(target(&site, "srv/verifiers/ratify-image-verifier"), None);

    containerd(&site, &DUMP.replace("max_verifiers = 10", "max_verifiers = 1"));
    site.write("opt/containerd/image-verifier/bin/another", "");
    let text = ctl(&site, &["install", "--yes"]).ended(1);
    assert!(text.contains("runs the first 1 entries") && target(&site, LINK).is_none(), "{text}");
    fs::rename(
        site.at("opt/containerd/image-verifier/bin/another"),
        site.at("opt/containerd/image-verifier/bin/zother"),
    )
    .unwrap();
    ctl(&site, &["install", "--yes"]).ended(0);
    assert_eq!(target(&site, LINK), shim("/usr"));
}

#[test]
fn a_containerd_that_asks_nobody_is_told_and_not_linked() {
    let site = configured();
    let no_verifier = &DUMP[..DUMP.find("[plugins.'io.containerd.image-verifier").unwrap()];
    for (dump, words) in [
        (
            DUMP.replace("= []", "= ['io.containerd.image-verifier.v1.bindir']"),
            "take io.containerd.image-verifier.v1.bindir out",
        ),
        (no_verifier.to_owned(), "this containerd runs no verifiers"),
        (DUMP.replace("use_local_image_pull = false", ""), "before containerd 2.1 CRI asks no verifier"),
        (
            format!("{DUMP}\n[plugins.'io.containerd.cri.v1.images'.registry.mirrors.'ghcr.io']\nx = 1"),
            "because of registry.mirrors",
        ),
        (DUMP.replace("use_local_image_pull = false", "use_local_image_pull = true"), "is of version 1"),
        ("nonsense =".to_owned(), "whether CRI pulls are verified is unknown"),
    ] {
        containerd(&site, &dump);
        let text = ctl(&site, &["install"]).stdout;
        assert!(text.contains(words), "{words}: {text}");
        assert_eq!(text.contains("\n  link /opt"), dump.contains("nonsense"), "{text}");
    }
    // No kubelet, or no CRI, and so nothing to ask for.
    containerd(&site, &DUMP.replace("use_local_image_pull = false", ""));
    let text = ctl(&site, &["install", "--without-cri"]).ended(0);
    assert!(text.contains("\n  link /opt") && text.contains("note: CRI pulls are not verified"), "{text}");
    containerd(&site, &DUMP.replace("use_local_image_pull = false", "").replace("= []", "= ['cri']"));
    let text = ctl(&site, &["install"]).ended(0);
    assert!(text.contains("\n  link /opt") && !text.contains("CRI"), "{text}");
}

#[test]
fn k3s_is_known_before_it_has_run_and_gets_its_drop_in() {
    needs_root!();
    let site = configured();
    site.write("usr/local/bin/k3s", "");
    let before = site.tree();
    let text = ctl(&site, &["install", "--yes"]).ended(0);
    assert!(text.contains("shows when it has started: ratifyctl doctor"), "{text}");
    let dropin =
        fs::read_to_string(site.at("var/lib/rancher/k3s/agent/etc/containerd/config-v3.toml.d/90-ratifyd.toml"));
    assert!(dropin.unwrap().contains("version = 3\n"));
    ctl(&site, &["uninstall", "--yes"]).ended(0);
    let mut after = site.tree();
    // Folders that k3s makes itself.
    after.retain(|path, _| !path.starts_with(site.at("var")));
    assert_eq!(after, before);
}

#[test]
fn programs_of_a_package_stay_as_they_are() {
    needs_root!();
    let site = configured();
    site.write("var/lib/dpkg/info/ratifyd.list", "");
    site.write("usr/libexec/ratifyd/ratify-image-verifier", "the package's");
    let text = ctl(&site, &["install", "--yes"]).ended(0);
    assert!(text.contains("are a package's") && !text.contains("copy "), "{text}");
    assert_eq!(target(&site, LINK), shim("/usr"));
    let text = ctl(&site, &["uninstall", "--yes"]).ended(0);
    assert!(text.contains("left to do: apt remove ratifyd"), "{text}");
    assert_eq!(target(&site, LINK), None);
    assert_eq!(fs::read_to_string(site.at("usr/libexec/ratifyd/ratify-image-verifier")).unwrap(), "the package's");
}

#[test]
fn what_cannot_be_done_is_told_and_ends_with_code_1() {
    needs_root!();
    let site = configured();
    // Not root: everybody may look.
    let mut command = Command::new("setpriv");
    let own = site.command(&["install", "--yes"]);
    command.args(AS_NOBODY).arg(own.get_program()).args(own.get_args());
    assert!(run(&mut command).complained(1).contains("--yes is for root"), "as nobody");
    let mut command = Command::new("setpriv");
    let own = site.command(&["install"]);
    command.args(AS_NOBODY).arg(own.get_program()).args(own.get_args());
    assert!(run(&mut command).stdout.contains("--yes makes these changes"), "as nobody");
    // Something is in the way.
    fs::create_dir_all(site.at(LINK)).unwrap();
    let text = ctl(&site, &["install", "--yes"]).ended(1);
    assert!(text.contains("not enabled: ") && text.contains("is there and no link: move it"), "{text}");
    // Links that lead out of the node.
    let outside = tempfile::tempdir().unwrap();
    let site = configured();
    fs::remove_dir(site.at("usr/lib/systemd/system")).unwrap();
    symlink(outside.path(), site.at("usr/lib/systemd/system")).unwrap();
    assert!(ctl(&site, &["install", "--yes"]).complained(1).contains("a link on the way leads out of"));
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    // A ratifyctl without its daemon.
    let site = configured();
    fs::remove_file(site.archive().join("bin/ratifyd")).unwrap();
    assert!(ctl(&site, &["install"]).complained(1).contains("run the ratifyctl of the unpacked archive"));
    let mut nowhere = Command::new(CTL);
    nowhere.args(["install", "--root", "/no/such/folder"]);
    assert!(run(&mut nowhere).complained(1).contains("--root /no/such/folder is no folder"));
}
