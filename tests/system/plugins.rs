//! Verifiers that are plugins which crash, hang, flood, lie and attack: each costs its own image alone, by a cause that
//! names it, and leaves nothing behind. The daemon is root, and each test's plugins are a user of their own.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};

use ratify::artifact::Descriptor;
use ratify::limits;

use crate::common::registry::Registry;
use crate::needs_root;
use crate::node::{Node, chmod};
use crate::programs::{Launch, run, until};

const TYPE: &str = "application/vnd.acme.report";

/// What a plugin prints that finds its referrer as it should be.
const GOOD: &str = r#"echo '{"isSuccess":true,"message":"fine"}'"#;

/// A node with plugins, and an image for each.
struct Host {
    node: Node,
    registry: Registry,
    images: BTreeMap<String, Descriptor>,
    user: u32,
}

impl Host {
    /// A node whose plugins are these scripts, run as this user; `more` stands in `[plugins]`.
    async fn start(user: u32, more: &str, plugins: &[(&str, String)]) -> Self {
        let registry = Registry::start().await;
        let mut node = Node::down("");
        let folder = node.path("plugins");
        let mut config = format!("[plugins]\npath = {folder:?}\nuser = \"{user}\"\n{more}\n");
        let mut images = BTreeMap::new();
        for (name, script) in plugins {
            install(&folder.join(name), &format!("#!/bin/sh\n{script}\n"));
            config += &format!(
                "[[executors]]\nscopes = [\"{}/{name}\"]\n[[executors.verifiers]]\nname = \"{name}\"\ntype = \"plugin\"\n\
                 parameters.artifactTypes = [\"{TYPE}\"]\n",
                registry.host()
            );
            let image = registry.image(name, "v1");
            registry.attach(name, &image, TYPE, &[(TYPE, b"{}")]);
            images.insert((*name).to_owned(), image);
        }
        node.configure(&(config + "[remember]\nallow = \"0s\"\ndeny = \"0s\"\n"));
        node.launch(Launch::default());
        Self { node, registry, images, user }
    }

    fn pull(&self, name: &str) -> crate::programs::Ran {
        self.node.pull(&format!("{}/{name}:v1", self.registry.host()), &self.images[name])
    }

    /// A pull that is blocked, by a cause that names the plugin's file and has these words.
    #[track_caller]
    fn blocked(&self, name: &str, token: &str, words: &str) {
        let ran = self.pull(name);
        ran.refuses(token, words);
        assert!(ran.stdout.contains(&format!("/plugins/{name}: ")), "{ran:?}");
    }

    /// Nothing of the plugins is left: no process of their user, and no folder.
    #[track_caller]
    fn is_clean(&self) {
        let processes = || fs::read_dir("/proc").unwrap().flatten().filter(|entry| self.is_of_user(&entry.path()));
        until("the end of all processes of plugins", || processes().count() == 0);
        let folders = || fs::read_dir(std::env::temp_dir()).unwrap().flatten().map(|entry| entry.path());
        until("the end of the plugins' folders", || !folders().any(|path| self.is_of_user(&path)));
    }

    fn is_of_user(&self, path: &Path) -> bool {
        fs::symlink_metadata(path).is_ok_and(|found| found.uid() == self.user && !is_zombie(path))
    }

    fn pid(&self) -> u32 {
        self.node.daemon.as_ref().unwrap().pid()
    }

    /// What the daemon holds: open files, children, threads that look after plugins.
    fn holds(&self) -> (usize, usize, usize) {
        let place = format!("/proc/{}", self.pid());
        let tasks: Vec<_> = fs::read_dir(format!("{place}/task")).unwrap().flatten().map(|task| task.path()).collect();
        let of = |task: &Path, file: &str| fs::read_to_string(task.join(file)).unwrap_or_default();
        let children = tasks.iter().map(|task| of(task, "children").split_whitespace().count()).sum();
        let keepers = tasks.iter().filter(|task| of(task, "comm").trim() == "plugin").count();
        (fs::read_dir(format!("{place}/fd")).unwrap().count(), children, keepers)
    }

    /// The daemon's memory in KiB.
    fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

/// Writes a program. Another process does: one that is still open for writing cannot be run.
fn install(path: &Path, text: &str) {
    let mut install = Command::new("install");
    install.args(["-D", "-m", "755", "/dev/stdin"]).arg(path).stdin(Stdio::piped());
    let mut install = install.spawn().unwrap();
    install.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(install.wait().unwrap().success());
}

/// Whether it is a process that has ended with all its threads, and that whoever started it has not looked at yet.
fn is_zombie(process: &Path) -> bool {
    let is_alone = fs::read_dir(process.join("task")).is_ok_and(|threads| threads.count() == 1);
    is_alone && fs::read_to_string(process.join("stat")).is_ok_and(|stat| stat.contains(") Z "))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn plugins_that_break_in_every_way_block_their_own_image_and_leave_the_daemon_as_it_was() {
    needs_root!();
    let bad = r#"echo '{"isSuccess":false,"message":"bad package"}'"#;
    let flood = "head -c 100000000 /dev/zero | tr '\\0' x";
    let cases: Vec<(&str, String, &str, &str)> = vec![
        ("crashes", "kill -SEGV $$".to_owned(), "UNAVAILABLE", "it ended with signal 11"),
        ("aborts", "echo half >&2; kill -ABRT $$".to_owned(), "UNAVAILABLE", "it ended with signal 6: \"half\""),
        ("fails", format!("{GOOD}; exit 3"), "UNAVAILABLE", "it ended with exit code 3"),
        ("hangs", format!("{GOOD}; exec sleep 1000"), "UNAVAILABLE", "killed, it had not ended after"),
        ("stops", format!("{GOOD}; kill -STOP $$"), "UNAVAILABLE", "killed, it had not ended after"),
        (
            "ignores",
            format!("trap '' TERM INT HUP; {GOOD}; sleep 1000 & wait"),
            "UNAVAILABLE",
            "killed, it had not ended",
        ),
        ("floods", "exec yes".to_owned(), "UNAVAILABLE", "killed, it printed more than"),
        ("complains", format!("{GOOD}; exec yes >&2"), "UNAVAILABLE", "killed, it wrote to stderr more than"),
        (
            "long",
            format!("printf '{{\"isSuccess\":true,\"message\":\"'; {flood}; echo '\"}}'"),
            "UNAVAILABLE",
            "printed more than",
        ),
        ("half", "printf '{\"isSuccess\":true,\"mess'".to_owned(), "UNAVAILABLE", "it printed no result: \"{"),
        ("nothing", "cat >/dev/null".to_owned(), "UNAVAILABLE", "it printed no result: nothing at all"),
        ("garbage", "head -c 5000 /dev/urandom".to_owned(), "UNAVAILABLE", "it printed no result"),
        ("elsewhere", format!("{GOOD} >&2"), "UNAVAILABLE", "it printed no result"),
        ("closes", "exec <&- >&- 2>&-; sleep 1000".to_owned(), "UNAVAILABLE", "killed, it had not ended after"),
        ("two", format!("{GOOD}; {bad}"), "DENIED", "bad package"),
        ("deep", "head -c 500000 /dev/zero | tr '\\0' '['".to_owned(), "UNAVAILABLE", "it printed no result"),
    ];
    let plugins: Vec<_> = cases.iter().map(|(name, script, ..)| (*name, script.clone())).collect();
    let good = [("good", GOOD.to_owned()), ("last", format!("{bad}; {GOOD}"))];
    let host = Host::start(64001, "timeout = \"1s\"", &[&plugins[..], &good].concat()).await;
    host.pull("good").allows("ALLOWED", "fine");
    let mut before = None;
    for round in 0..2 {
        for (name, _, token, words) in &cases {
            host.blocked(name, token, words);
        }
        host.pull("good").allows("ALLOWED", "fine");
        host.is_clean();
        // The first of all has the daemon open what it keeps open.
        if round == 0 {
            before = Some((host.holds().0, host.memory()));
        }
    }
    host.pull("last").allows("ALLOWED", "fine");
    host.is_clean();
    let (open, memory) = before.unwrap();
    // A connection or two to the registry may be open now and not then.
    until("the daemon to hold what it held", || {
        let (files, children, keepers) = host.holds();
        files <= open + 2 && (children, keepers) == (0, 0)
    });
    assert!(host.memory() < memory + memory / 5, "{} KiB after {memory}", host.memory());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn nothing_that_a_plugin_starts_outlives_it_however_it_gets_away() {
    needs_root!();
    let away = "sleep 1000 & setsid sleep 1000 & setsid -f sleep 1000\n\
                perl -e 'fork and exit; setpgrp; fork and exit; open STDOUT, \">/dev/null\"; sleep 1000'";
    let bomb = "exec perl -e 'while (1) { defined fork or sleep 1000 }'";
    let apart = "perl -e 'setpgrp; while (1) { defined fork or sleep 1000 }' &";
    // A process whose first thread has ended looks as if it had.
    let exit = if cfg!(target_arch = "aarch64") { 93 } else { 60 };
    let headless = format!(
        "perl -Mthreads -e 'fork and exit; setpgrp; threads->create(sub {{ open F, \">on\"; sleep 1000 }}); \
         open STDOUT, \">/dev/null\"; syscall({exit}, 0)'\nuntil [ -e on ]; do :; done"
    );
    let plugins = [
        ("leaves", format!("{away}\n{GOOD}")),
        ("holds", format!("setsid sh -c ': > away; sleep 1000' &\nuntil [ -e away ]; do :; done\n{GOOD}")),
        ("headless", format!("{headless}\n{GOOD}")),
        ("away", format!("{away}\nkill -9 $$")),
        ("bomb", bomb.to_owned()),
        ("apart", format!("{apart}\nexec sleep 1000")),
        ("good", GOOD.to_owned()),
    ];
    let host = Host::start(64002, "timeout = \"2s\"", &plugins).await;
    for name in ["leaves", "holds", "headless"] {
        host.pull(name).allows("ALLOWED", "fine");
        host.is_clean();
    }
    for (name, words) in [
        ("away", "it ended with signal 9"),
        // For its time, or for the memory of as many processes as there may be.
        ("bomb", "killed, it "),
        ("apart", "killed, it "),
    ] {
        host.blocked(name, "UNAVAILABLE", words);
        host.is_clean();
        // Those that init has still to look at are counted against the user's others.
        let owned = |path: &Path| fs::symlink_metadata(path).is_ok_and(|found| found.uid() == host.user);
        let left = || fs::read_dir("/proc").unwrap().flatten().any(|entry| owned(&entry.path()));
        until("init to look at all that has ended", || !left());
        host.pull("good").allows("ALLOWED", "fine");
    }
}

/// What a plugin tries: a word for it, and a command that succeeds where it is let.
fn attempts(host: &Host, port: u16) -> Vec<(&'static str, String)> {
    let at = |name: &str| host.node.path(name).display().to_string();
    let (own, pid) = (at("plugins/attacks"), host.pid());
    let (clone, ptrace) = if cfg!(target_arch = "aarch64") { (220, 117) } else { (56, 101) };
    let writes = |place: &str| format!("echo x > {place}/ratifyd-test-$$ && rm {place}/ratifyd-test-$$");
    let connects = |socket: &str| {
        format!(
            "perl -MSocket -e 'socket(S, PF_UNIX, SOCK_STREAM, 0) && connect(S, sockaddr_un(\"{socket}\")) or exit 1'"
        )
    };
    vec![
        ("writes-etc", writes("/etc")),
        ("writes-var", writes("/var/tmp")),
        ("writes-tmp", writes("/tmp")),
        ("writes-run", writes(&at("run"))),
        ("writes-open", writes(&at("open"))),
        ("writes-plugins", writes(&at("plugins"))),
        ("writes-itself", format!(": >> {own}")),
        ("writes-of-daemon", format!("cat /proc/{pid}/oom_score_adj > /proc/{pid}/oom_score_adj")),
        ("lists-others", "ls ..".to_owned()),
        ("reads-config", format!("cat {}", at("config.toml"))),
        ("reads-log", format!("cat {}", at("log"))),
        ("reads-open", format!("cat {}", at("open/readable"))),
        ("reads-shadow", "cat /etc/shadow".to_owned()),
        ("reads-environment", format!("cat /proc/{pid}/environ")),
        ("reads-memory", format!(": < /proc/{pid}/mem")),
        ("reads-descriptors", format!("ls /proc/{pid}/fd/")),
        ("reads-through-root", format!("cd /proc/{pid}/root && ls")),
        ("reads-through-cwd", "cd /proc/self/root && cat var/lib/dpkg/status".to_owned()),
        ("tcp", format!("bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port}'")),
        ("udp", format!("bash -c 'exec 3<>/dev/udp/127.0.0.1/{port}'")),
        ("daemon-socket", connects(&at("run/ratifyd.sock"))),
        ("containerd-socket", connects(&at("open/containerd.sock"))),
        ("packets", "perl -e 'socket(S, 17, 3, 0) or exit 1'".to_owned()),
        ("signals", format!("kill -0 {pid}")),
        ("traces", format!("perl -e 'exit(syscall({ptrace}, 0x4206, {pid}, 0, 0) != 0)'")),
        ("namespace", "unshare -U true".to_owned()),
        ("namespace-by-clone", format!("perl -e '$p = syscall({clone}, 0x10000011, 0, 0, 0, 0); exit($p < 0)'")),
        ("shared-memory", "perl -e 'defined($m = shmget(0, 4096, 0600)) or exit 1; shmctl($m, 0, 0)'".to_owned()),
        ("queues", "perl -e 'defined($m = msgget(0, 0600)) or exit 1; msgctl($m, 0, 0)'".to_owned()),
        ("owner", ": > mine && chown 0 mine".to_owned()),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_plugin_that_attacks_gets_nowhere_and_the_daemon_does_not_notice() {
    needs_root!();
    let host =
        Host::start(64003, "", &[("attacks", String::new()), ("network", String::new()), ("good", GOOD.to_owned())])
            .await;
    let open = host.node.path("open");
    fs::create_dir(&open).unwrap();
    chmod(&open, 0o777);
    fs::write(open.join("readable"), "secret").unwrap();
    let others = UnixListener::bind(open.join("containerd.sock")).unwrap();
    chmod(&open.join("containerd.sock"), 0o666);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let attempts = attempts(&host, listener.local_addr().unwrap().port());
    let script = |end: &str| {
        let tries = attempts
            .iter()
            .map(|(word, command)| format!("( {command} ) </dev/null >/dev/null 2>&1 && did=\"$did {word}\"\n"));
        let report = "echo '{\"isSuccess\":false,\"message\":\"did:'\"$did\"'.\"}'\n";
        format!("#!/bin/sh\ncat >/dev/null\ndid=\n{}{end}{report}", tries.collect::<String>())
    };
    // Root itself can do all of it, or this shows nothing.
    let control = host.node.path("control");
    install(&control, &script(""));
    let ran = run(Command::new(&control).current_dir(&open).stdin(Stdio::null()));
    let missing: Vec<_> = attempts.iter().filter(|(word, _)| !ran.stdout.contains(&format!(" {word}"))).collect();
    assert!(missing.is_empty(), "{missing:?}: {ran:?}");

    let attacks = script(&format!("kill -9 {pid}; kill -9 -1\n", pid = host.pid()));
    install(&host.node.path("plugins/attacks"), &attacks);
    host.blocked("attacks", "DENIED", "did:.");

    // With the network it reaches addresses, and still no sockets of this machine's.
    install(&host.node.path("plugins/network"), &attacks);
    let file = host.node.config();
    let config = fs::read_to_string(&file).unwrap();
    let (before, after) = config.split_once("name = \"network\"\ntype = \"plugin\"\n").unwrap();
    host.node.configure(&format!("{before}name = \"network\"\ntype = \"plugin\"\nparameters.network = true\n{after}"));
    until("the new configuration", || host.pull("network").stdout.contains("did: tcp udp."));
    host.blocked("network", "DENIED", "did: tcp udp.");

    host.is_clean();
    host.pull("good").allows("ALLOWED", "fine");
    drop(others);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_plugin_takes_no_more_memory_and_disk_than_it_may() {
    needs_root!();
    let fill = "head -c 60000000 /dev/zero";
    // A third of what it may have, which each of its nine threads has.
    let threads = "perl -Mthreads -e 'threads->create(sub { sleep 1000 })->detach for 1 .. 8; \
                   $n = 3e8; $x = \"x\" x $n; sleep 1'";
    // Its first thread, that has ended, has none of it.
    let exit = if cfg!(target_arch = "aarch64") { 93 } else { 60 };
    let headless = format!(
        "for i in 1 2 3 4 5 6; do perl -Mthreads -e 'threads->create(sub {{ $n = 3e8; $x = \"x\" x $n; sleep 1000 }}); \
         syscall({exit}, 0)' & done; sleep 1000"
    );
    let plugins = [
        ("hungry", "perl -e '$x = \"x\" x 3e9'; echo $? >&2; exit 7".to_owned()),
        ("family", "for i in 1 2 3 4 5 6; do perl -e '$x = \"x\" x 3e8; sleep 1000' & done; wait".to_owned()),
        ("fills", format!("for i in 1 2 3 4 5 6 7 8; do {fill} > f$i; done; sleep 1000")),
        ("hides", format!("for i in 3 4 5 6 7 8; do eval \"exec $i>f; rm f; {fill} >&$i\"; done; sleep 1000")),
        ("headless", headless),
        ("threads", format!("{threads}\n{GOOD}")),
        ("many", "i=0; while :; do i=$((i+1)); : > f$i; done".to_owned()),
        ("good", GOOD.to_owned()),
    ];
    let host = Host::start(64004, "timeout = \"8s\"", &plugins).await;
    host.pull("threads").allows("ALLOWED", "fine");
    for (name, words) in [
        // Where the daemon may set limits it gets none; where not it is seen.
        ("hungry", String::new()),
        ("family", format!("killed, it took more than {} bytes of memory", limits::PLUGIN_MEMORY_BYTES)),
        ("headless", format!("killed, it took more than {} bytes of memory", limits::PLUGIN_MEMORY_BYTES)),
        ("fills", format!("killed, its files came to more than {} bytes", limits::PLUGIN_FOLDER_BYTES)),
        ("hides", format!("killed, its files came to more than {} bytes", limits::PLUGIN_FOLDER_BYTES)),
        ("many", format!("killed, it wrote more than {} files", limits::PLUGIN_FOLDER_ENTRIES)),
    ] {
        host.blocked(name, "UNAVAILABLE", &words);
        host.is_clean();
        host.pull("good").allows("ALLOWED", "fine");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_process_that_nobody_can_name_does_not_outlive_its_plugin() {
    needs_root!();
    let nameless = "perl -e 'fork and exit; setpgrp; $0 = \"\\xff\"; close STDOUT; close STDERR; open F, \">on\"; sleep 60'\n\
                    until [ -e on ]; do :; done";
    let host = Host::start(64005, "", &[("nameless", format!("{nameless}\n{GOOD}"))]).await;
    host.pull("nameless").allows("ALLOWED", "fine");
    host.is_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_plugin_that_lays_folders_into_each_other_ends_neither_the_daemon_nor_outlives_it_on_disk() {
    needs_root!();
    let (map, rename) = if cfg!(target_arch = "aarch64") { (222, 38) } else { (9, 264) };
    // Much to look at, so that nobody looks at the folder meanwhile; then 19 500 folders, each in the one before.
    let deep = format!(
        "open(my $f, \"+>\", \"s\"); truncate $f, 4096;\n\
         syscall({map}, 0, 4096, $_ & 1 ? 3 : 1, 1, fileno($f), 0) for 1..8000;\n\
         for (1..200) {{ if (!fork) {{ setpgrp; close STDOUT; sleep 20; exit }} }} select undef, undef, undef, 1.0;\n\
         opendir my $root, \".\"; my @last;\n\
         for my $k (0..194) {{ chdir $root; mkdir \"c$k\"; chdir \"c$k\"; for (1..99) {{ mkdir \"d\"; chdir \"d\" }}\n\
         opendir $last[$k], \".\" or die }}\n\
         for my $k (reverse 1..194) {{ syscall({rename}, fileno($root), my $c = \"c$k\", fileno($last[$k - 1]), my $x = \"x\") == 0 or die }}"
    );
    let plugins = [("deep", format!("perl -e '{deep}'\n{GOOD}")), ("good", GOOD.to_owned())];
    let host = Host::start(64007, "timeout = \"25s\"", &plugins).await;
    let _ = host.pull("deep");
    until("the daemon to answer", || host.pull("good").stdout.contains("fine"));
    host.is_clean();
    host.pull("good").allows("ALLOWED", "fine");
}
