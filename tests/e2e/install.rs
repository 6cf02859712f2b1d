//! `ratifyctl install` and real containerds: what it writes is what they then go by, and the next pull is verified.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use ratify::containerd::settings::Settings;

use super::common::containerd::disabled;
use super::common::node::executor;
use super::common::notation::signers;
use super::common::registries::{Image, registries};
use super::common::site::Site;
use super::common::tools::{Ran, Service, run, tool, until};
use super::{UNSIGNED, needs};

/// A daemon's configuration without a problem.
const CONFIG: &str = "[[executors]]\nscopes = [\"ghcr.io/acme\"]\nmode = \"allow\"\n";

const IDLE: &str = "All is as it should be.\n";

/// Every containerd at hand: the one that all tests use, and those of `tests/tools/fetch --matrix` where they are.
fn containerds() -> Vec<PathBuf> {
    let usual = tool("containerd");
    let folder = fs::read_dir(usual.parent().unwrap()).unwrap();
    let series = folder.map(|entry| entry.unwrap().path());
    let mut all: Vec<PathBuf> =
        series.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("containerd-2.")).collect();
    all.sort();
    all.push(usual);
    all
}

/// Its version, as in `2.1`.
fn version(containerd: &Path) -> (u32, u32) {
    let said = run(Command::new(containerd).arg("--version")).success();
    let words = said.split_whitespace().map(|word| word.trim_start_matches('v'));
    let numbers = words
        .filter_map(|word| word.split_once('.'))
        .find_map(|(major, rest)| Some((major.parse().ok()?, rest.split('.').next()?.parse().ok()?)));
    numbers.unwrap_or_else(|| panic!("{said}"))
}

/// A node with this containerd and this configuration of it.
fn site(containerd: &Path, path: &str, config: &str) -> Site {
    let site = Site::unpack();
    site.write("etc/ratifyd/config.toml", CONFIG);
    // As if by a package: programs are not what this is about.
    site.write("var/lib/dpkg/info/ratifyd.list", "");
    site.write("usr/libexec/ratifyd/ratify-image-verifier", "");
    symlink(containerd, site.at("usr/bin/containerd")).unwrap();
    site.write(path, config);
    site
}

fn ctl(site: &Site, arguments: &[&str]) -> Ran {
    run(&mut site.command(arguments))
}

/// What a containerd makes of the files of a node.
fn effective(site: &Site, containerd: &Path, config: &str) -> String {
    let text = fs::read_to_string(site.at(config)).unwrap();
    let moved = site.at("moved.toml");
    fs::write(&moved, text.replace("[\"/", &format!("[\"{}/", site.root().display()))).unwrap();
    let dump = run(Command::new(containerd).arg("--config").arg(&moved).args(["config", "dump"])).success();
    fs::remove_file(moved).unwrap();
    dump
}

const V2: &str = r#"# Debian's
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "local.example/pause:1"
  max_concurrent_downloads = 8
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    discard_unpacked_layers = true
    disable_snapshot_annotations = false
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
"#;

const V3: &str = r#"version = 3
[plugins."io.containerd.cri.v1.images"]
  use_local_image_pull = true
  image_pull_with_sync_fs = true
  max_concurrent_downloads = 0
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "local.example/pause:1"
[plugins."io.containerd.cri.v1.runtime".cni]
  conf_dir = "/srv/cni"
"#;

#[test]
fn settings_that_have_cri_pull_by_itself_are_overridden_on_every_containerd_at_hand() {
    needs!();
    const PATH: &str = "etc/containerd/config.toml";
    for containerd in containerds() {
        let version = version(&containerd);
        for (config, downloads) in
            [(V2.to_owned(), 8), (V3.to_owned(), 0), (V3.replace("version = 3", "version = 4"), 0)]
        {
            if config.starts_with("version = 4") && version < (2, 3) {
                continue;
            }
            let site = site(&containerd, PATH, &config);
            let (before, was) = (site.tree(), effective(&site, &containerd, PATH));
            if version < (2, 1) {
                let text = ctl(&site, &["install"]);
                assert!(text.stdout.contains("before containerd 2.1 CRI asks no verifier"), "{text:?}");
                continue;
            }
            let made = ctl(&site, &["install", "--yes"]).success();
            assert!(made.contains("carried over to io.containerd.transfer.v1.local"), "{made}");
            let now = effective(&site, &containerd, PATH);
            let images = Settings::parse(&now).unwrap().images.unwrap();
            assert_eq!(
                (images.local, images.sandbox.as_deref()),
                (Vec::new(), Some("local.example/pause:1")),
                "{version:?}"
            );
            let transfer = now.split_once("[plugins.'io.containerd.transfer.v1.local']").unwrap().1;
            assert!(
                transfer.trim_start().starts_with(&format!("max_concurrent_downloads = {downloads}\n")),
                "{transfer}"
            );
            // Nothing else is other than it was.
            let changed =
                ["max_concurrent", "discard_unpacked", "disable_snapshot", "with_sync_fs", "use_local", "imports"];
            let rest = |dump: &str| -> Vec<String> {
                dump.lines().filter(|line| !changed.iter().any(|key| line.contains(key))).map(str::to_owned).collect()
            };
            assert_eq!(rest(&now), rest(&was), "{version:?}");
            assert!(ctl(&site, &["install"]).success().starts_with(IDLE), "{version:?}");
            ctl(&site, &["uninstall", "--yes"]).success();
            assert_eq!(site.tree(), before, "{version:?}");
        }
    }
}

#[test]
fn what_no_drop_in_can_override_is_told_with_its_mend() {
    needs!();
    const PATH: &str = "etc/containerd/config.toml";
    let auth = "[plugins.\"io.containerd.cri.v1.images\".registry.configs.\"ghcr.io\".auth]\nusername = \"u\"\n";
    let with_auth = site(&tool("containerd"), PATH, &format!("{V3}{auth}"));
    let text = ctl(&with_auth, &["install", "--yes"]);
    assert_eq!(text.code, Some(1), "{text:?}");
    assert!(
        text.stdout.contains("because of registry.configs, which no drop-in can take away; move mirrors"),
        "{text:?}"
    );
    assert!(!with_auth.at("etc/containerd/conf.d").exists() && !with_auth.at("opt/containerd").exists());

    let later = format!("imports = [\"/etc/containerd/conf.d/*.toml\"]\n{V3}");
    let later = site(&tool("containerd"), PATH, &later);
    let theirs = "version = 3\n[plugins.\"io.containerd.cri.v1.images\"]\nmax_concurrent_downloads = 9\n";
    later.write("etc/containerd/conf.d/99-theirs.toml", theirs);
    let text = ctl(&later, &["install"]).stdout;
    assert!(
        text.contains("because of max_concurrent_downloads = 9, also with /etc/containerd/conf.d/90-ratifyd.toml"),
        "{text}"
    );
}

/// What k3s and RKE2 write for containerd: settings, and whether it imports drop-ins.
fn rancher(imports: &str, more: &str) -> String {
    format!(
        "# File generated by k3s. DO NOT EDIT. Use config.toml.tmpl instead.\nversion = 3\n{imports}\n\
         [plugins.'io.containerd.cri.v1.images']\nsnapshotter = \"overlayfs\"\ndisable_snapshot_annotations = true\n\
         use_local_image_pull = true\n[plugins.'io.containerd.cri.v1.images'.pinned_images]\n\
         sandbox = \"rancher/mirrored-pause:3.6\"\n[plugins.'io.containerd.cri.v1.images'.registry]\n\
         config_path = \"/certs.d\"\n{more}"
    )
}

#[test]
fn k3s_and_rke2_get_a_drop_in_where_they_import_it_and_are_told_where_not() {
    needs!();
    for name in ["k3s", "rke2"] {
        let folder = format!("var/lib/rancher/{name}/agent/etc/containerd");
        let path = format!("{folder}/config.toml");
        let imports = format!("imports = [\"/{folder}/config-v3.toml.d/*.toml\"]");
        let node = site(&tool("containerd"), &path, &rancher(&imports, ""));
        let before = node.tree();
        let made = ctl(&node, &["install", "--yes"]).success();
        assert!(made.contains(&format!("write /{folder}/config-v3.toml.d/90-ratifyd.toml")), "{made}");
        let images = Settings::parse(&effective(&node, &tool("containerd"), &path)).unwrap().images.unwrap();
        assert_eq!((images.local, images.sandbox.as_deref()), (Vec::new(), Some("rancher/mirrored-pause:3.6")));
        assert!(ctl(&node, &["install"]).success().starts_with(IDLE));
        ctl(&node, &["uninstall", "--yes"]).success();
        assert_eq!(node.tree(), before);

        let older = site(&tool("containerd"), &path, &rancher("", ""));
        let text = ctl(&older, &["install"]).stdout;
        assert!(text.contains("imports no drop-in; upgrade it to a release whose file imports"), "{text}");
        let auth = "[plugins.'io.containerd.cri.v1.images'.registry.configs.'ghcr.io'.auth]\nusername = \"u\"\n";
        let with_auth = site(&tool("containerd"), &path, &rancher(&imports, auth));
        let text = ctl(&with_auth, &["install"]).stdout;
        assert!(text.contains("registry.configs") && text.contains("take `auth` out of registries.yaml"), "{text}");
    }
}

/// A node of its own inside a chroot, with the machine's /usr that nobody can write to, as Flatcar has it.
struct Jail {
    site: Site,
    services: Vec<Service>,
}

/// Mounts what a program needs, in a namespace that goes with it, and runs it in there.
const ENTER: &str = r#"set -e; cd "$1"; shift
mount --bind /usr usr && mount -o remount,ro,bind usr
for folder in proc dev sys tools archive; do
    case $folder in tools|archive) from=$(readlink "$folder.from");; *) from=/$folder;; esac
    mount --rbind "$from" "$folder"
done
exec chroot . "$@""#;

impl Jail {
    fn new() -> Self {
        let site = Site::unpack();
        fs::remove_dir_all(site.at("usr")).unwrap();
        for folder in ["usr", "proc", "dev", "sys", "tools", "archive", "run/ratifyd", "tmp", "var/lib"] {
            fs::create_dir_all(site.at(folder)).unwrap();
        }
        for folder in ["bin", "sbin", "lib", "lib64"] {
            if let Ok(target) = fs::read_link(Path::new("/").join(folder)) {
                symlink(target, site.at(folder)).unwrap();
            }
        }
        symlink(tool("containerd").canonicalize().unwrap().parent().unwrap(), site.at("tools.from")).unwrap();
        symlink(site.archive(), site.at("archive.from")).unwrap();
        site.write("etc/containerd/config.toml", &format!("version = 3\ndisabled_plugins = {:?}\n", disabled()));
        Self { site, services: Vec::new() }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "/bin/sh", "-c", ENTER, "sh"]);
        command.arg(self.site.root()).args(arguments);
        for variable in ["RATIFYD_CONFIG", "RATIFYD_SOCKET", "CONTAINERD_ADDRESS", "TMPDIR"] {
            command.env_remove(variable);
        }
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        run(&mut self.command(arguments))
    }

    fn start(&mut self, name: &str, socket: &str, arguments: &[&str]) {
        let service = Service::start(&self.command(arguments), &self.site.at(&format!("tmp/{name}.log")));
        until(name, || {
            assert!(!service.has_ended(), "{name} has ended:\n{}", service.log());
            std::os::unix::net::UnixStream::connect(self.site.at(socket)).is_ok()
        });
        self.services.push(service);
    }

    fn ctl(&self, arguments: &[&str]) -> Ran {
        let all: Vec<&str> = ["/archive/bin/ratifyctl"].into_iter().chain(arguments.iter().copied()).collect();
        self.run(&all)
    }

    fn pull(&self, image: &Image) -> Ran {
        self.run(&["/tools/ctr", "image", "pull", "--skip-metadata", &image.by_tag()])
    }
}

impl Drop for Jail {
    fn drop(&mut self) {
        self.services.iter().for_each(Service::stop);
    }
}

#[test]
fn from_install_to_uninstall_every_pull_of_a_running_containerd_is_verified() {
    needs!();
    let registry = &registries().referrers;
    let image = |name: &str| registry.image(&format!("install/{name}"));
    let mut node = Jail::new();
    node.start("containerd", "run/containerd/containerd.sock", &["/tools/containerd"]);
    let there = image("there");
    node.pull(&there).success();

    // Without a configuration nobody is asked.
    let refused = node.ctl(&["install", "--yes"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stdout.contains("/opt/ratifyd/bin/ratifyd"), "/usr cannot be written to: {refused:?}");
    node.pull(&image("unverified")).success();

    let scope = format!("\"{}/install/*\"", registry.host);
    let trust = node.site.at("etc/ratifyd/trust.pem");
    fs::copy(signers().authority.certificate(), &trust).unwrap();
    node.site.write("etc/ratifyd/config.toml", &executor(&scope, "", Path::new("/etc/ratifyd/trust.pem")));
    node.start("ratifyd", "run/ratifyd/ratifyd.sock", &["/opt/ratifyd/bin/ratifyd"]);
    let dry = node.ctl(&["install"]).success();
    assert!(dry.starts_with("Images here: 0 of 2 would be let in by the daemon\n"), "{dry}");
    let pin = format!(
        "In the executor that has {:?} among its scopes, add:\ndigests = [",
        format!("{}/install/*", registry.host)
    );
    assert!(dry.contains(&pin) && dry.contains(&format!("  \"{}\",  # {}", there.digest, there.by_tag())), "{dry}");
    node.pull(&image("still")).success();

    node.ctl(&["install", "--yes", "--audit"]).success();
    node.pull(&image("audited")).success();
    node.ctl(&["install", "--yes"]).success();
    let pull = node.pull(&image("unsigned"));
    assert!(pull.code == Some(1) && pull.stderr.contains(&format!("DENIED {UNSIGNED}")), "{pull:?}");
    let signed = image("signed");
    signers().trusted.sign(&signed.by_digest());
    node.pull(&signed).success();
    assert!(node.ctl(&["install"]).success().contains(IDLE.trim()));

    let text = node.ctl(&["uninstall", "--yes"]).success();
    assert!(text.contains("pulls are no longer verified by ratifyd"), "{text}");
    node.pull(&image("unverified")).success();
    assert!(!node.site.at("opt/ratifyd").exists() && node.site.at("etc/ratifyd/config.toml").exists());
}
