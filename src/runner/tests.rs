//! What a plugin can do to the daemon, and what it cannot.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use super::sandbox::extent;
use super::testing::{NOBODY, Programs, chmod, lacks_root, runner};
use super::*;

const LONG: Duration = Duration::from_secs(20);

async fn run_within(path: &Path, input: &[u8], limit: Duration) -> Result<Ran, String> {
    let program = Program { arguments: vec!["get".to_owned()], ..Program::new(path.to_owned(), input.to_owned()) };
    match runner(limit).run(program, Instant::now() + 2 * LONG).await {
        Ok((ran, _)) => Ok(ran),
        Err(NotRun::Untrusted(untrusted)) => Err(format!("untrusted: {untrusted}")),
        Err(NotRun::Fault(fault)) => Err(fault.to_string()),
    }
}

async fn run(programs: &Programs, text: &str, input: &[u8]) -> Result<Ran, String> {
    run_within(&programs.put("program", text), input, LONG).await
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn a_plugin_gets_its_arguments_and_input_and_both_outputs_and_its_end_come_back() {
    if lacks_root() {
        return;
    }
    let programs = Programs::new();
    let ran = run(&programs, "#!/bin/sh\nread line\necho \"$1 $line\"\necho no >&2\nexit 3\n", b"hello\n").await;
    let expected =
        Ran { code: Some(3), ended: "exit code 3".into(), output: b"get hello\n".into(), errors: b"no\n".into() };
    assert_eq!(ran, Ok(expected));
    let ran = run(&programs, "#!/bin/sh\nkill -9 $$\n", b"").await.unwrap();
    assert_eq!((ran.code, ran.ended.as_str()), (None, "signal 9"));
    // One that does not read what it is given is none the worse for it.
    assert_eq!(run(&programs, "#!/bin/sh\nexit 0\n", &[b'x'; 500_000]).await.unwrap().code, Some(0));
}

#[tokio::test]
async fn a_plugin_whose_interpreter_is_not_there_and_one_whose_user_is_not_there_say_so() {
    if lacks_root() {
        return;
    }
    let programs = Programs::new();
    let cause = run(&programs, "#!/nowhere/python\n", b"").await.unwrap_err();
    assert!(cause.contains("/program: cannot be run: what runs it is not on this node"), "{cause}");
    let options = Options { user: "nosuch".to_owned(), socket: PathBuf::new(), timeout: LONG };
    let program = Program::new(programs.put("program", "#!/bin/sh\n"), Vec::new());
    let Err(NotRun::Fault(fault)) = Runner::new(options).run(program, Instant::now() + LONG).await else { panic!() };
    let cause = fault.to_string();
    assert!(cause.contains("/program: there is no user \"nosuch\" for plugins: make it"), "{cause}");
}

#[tokio::test]
async fn a_plugin_is_another_user_with_no_rights_no_files_and_no_environment_of_the_daemon() {
    if lacks_root() {
        return;
    }
    let programs = Programs::new();
    let secret = programs.folder().join("secret");
    fs::write(&secret, "secret").unwrap();
    chmod(&secret, 0o600);
    // Open in this process, and with no mark that it is to be closed: it must not be there all the same.
    let open = fs::File::open(&secret).unwrap();
    let script = format!(
        "#!/bin/sh\nid -u; id -g; id -G; pwd\ngrep -E '^(NoNewPrivs|CapEff|CapPrm)' \
         /proc/self/status\nls -x -w 1000 /proc/$$/fd\ncat {secret} /proc/{parent}/environ \
         2>/dev/null || echo refused\n(env | grep -v -E '^(PWD|_|OLDPWD|SHLVL)=' | sort)\n",
        secret = secret.display(),
        parent = std::process::id(),
    );
    let ran = run(&programs, &script, b"").await.unwrap();
    drop(open);
    let shown = text(&ran.output);
    let lines: Vec<&str> = shown.lines().collect();
    let nobody = NOBODY.to_string();
    assert_eq!(lines[..4], [&nobody, &nobody, &nobody, "/"], "{shown}");
    assert_eq!(lines[4..7], ["CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "NoNewPrivs:\t1"], "{shown}");
    // The shell's own: its script. Whoever started these tests may have left some open for all that they start.
    let own = |fd: &&str| ["0", "1", "2", "10", "11"].contains(fd) || is_left_open(fd);
    assert!(lines[7].split_whitespace().all(|fd| own(&fd)), "{shown}");
    assert_eq!(lines[8], "refused");
    assert_eq!(lines[9..], ["HOME=/", "LANG=C.UTF-8", "PATH=/usr/local/bin:/usr/bin:/bin"], "{shown}");
}

/// Whether a descriptor of this process is open in all that it starts (proc(5), `fdinfo`; O_CLOEXEC).
fn is_left_open(fd: &str) -> bool {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap_or_default();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    flags.is_some_and(|flags| u32::from_str_radix(flags.trim(), 8).unwrap() & 0o2_000_000 == 0)
}

#[tokio::test]
async fn a_plugin_has_its_memory_files_and_time_of_the_processor_bounded_and_leaves_no_core() {
    let programs = Programs::new();
    // What it reads comes once its bounds are set.
    let path =
        programs.put("program", "#!/bin/sh\nread line\nulimit -H -c; ulimit -H -n; ulimit -H -d; ulimit -H -t\n");
    let program = Program::new(path, b"go\n".to_vec());
    // As the same user, which needs no rights: as another one it needs CAP_SYS_RESOURCE, which not every root has.
    let ran = child::run(&program, None, Instant::now() + LONG).await.unwrap();
    assert_eq!(text(&ran.output), "0\n256\n1048576\n30\n");
}

#[tokio::test]
async fn output_at_the_limit_is_taken_and_one_byte_more_or_a_flood_is_a_fault_on_stdout_and_stderr() {
    if lacks_root() {
        return;
    }
    let programs = Programs::new();
    let print = |bytes: u64, to: &str| format!("#!/bin/sh\nhead -c {bytes} /dev/zero >&{to}\n");
    let (most, most_errors) = (limits::PLUGIN_OUTPUT_BYTES, limits::PLUGIN_ERROR_BYTES);
    assert_eq!(run(&programs, &print(most, "1"), b"").await.unwrap().output.len() as u64, most);
    assert_eq!(run(&programs, &print(most_errors, "2"), b"").await.unwrap().errors.len() as u64, most_errors);
    for (script, words) in [
        (print(most + 1, "1"), "killed, it printed more than 1048576 bytes"),
        (print(most_errors + 1, "2"), "killed, it wrote to stderr more than 65536 bytes"),
        ("#!/bin/sh\nexec yes\n".to_owned(), "killed, it printed more than"),
        ("#!/bin/sh\nexec yes >&2\n".to_owned(), "killed, it wrote to stderr more than"),
    ] {
        let cause = run(&programs, &script, b"").await.unwrap_err();
        assert!(cause.contains(words), "{cause}");
    }
}

/// Waits until a process is gone; a test's runner ends it where that never happens.
async fn gone(pid: &str) {
    let stat = format!("/proc/{pid}/stat");
    // Whoever waits for it may be late: a zombie is gone as well.
    while fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
        tokio::task::yield_now().await;
    }
}

/// A script that starts a child, writes both ids into a file and waits.
fn hangs(pids: &Path) -> String {
    format!("#!/bin/sh\nsleep 1000 &\necho $$ $! >{0}.new\nmv {0}.new {0}\nwait\n", pids.display())
}

#[tokio::test]
async fn a_plugin_that_hangs_is_killed_past_its_time_with_all_that_it_started() {
    if lacks_root() {
        return;
    }
    let programs = Programs::new();
    let pids = programs.open_folder().join("pids");
    let program = programs.put("program", &hangs(&pids));
    let start = Instant::now();
    let cause = run_within(&program, b"", Duration::from_secs(1)).await.unwrap_err();
    assert!(cause.contains("program: killed, it had not ended after "), "{cause}");
    assert!(start.elapsed() < LONG);
    for pid in fs::read_to_string(&pids).unwrap().split_whitespace() {
        gone(pid).await;
    }
}

#[tokio::test]
async fn the_pulls_deadline_ends_a_plugin_before_its_own_time() {
    if lacks_root() {
        return;
    }
    let programs = Programs::new();
    let program = Program::new(programs.put("program", "#!/bin/sh\nsleep 1000\n"), vec![]);
    let start = Instant::now();
    let ran = runner(LONG).run(program, start + Duration::from_millis(500)).await;
    assert!(matches!(&ran, Err(NotRun::Fault(fault)) if fault.class() == Class::Time), "{ran:?}");
    assert!(start.elapsed() <= Duration::from_millis(500) + LONG / 4);
}

#[tokio::test]
async fn what_a_plugin_leaves_behind_is_killed_and_so_is_all_of_it_when_nobody_waits_any_more() {
    if lacks_root() {
        return;
    }
    let programs = Programs::new();
    let pids = programs.open_folder().join("pids");
    // The child holds the output open: the end of its parent is its own.
    let leaves = format!("#!/bin/sh\nsleep 1000 &\necho $! >{}\necho done\n", pids.display());
    assert_eq!(run(&programs, &leaves, b"").await.unwrap().output, b"done\n");
    gone(fs::read_to_string(&pids).unwrap().trim()).await;

    fs::remove_file(&pids).unwrap();
    let program = programs.put("program", &hangs(&pids));
    let waits = run_within(&program, b"", LONG);
    let started = async {
        while !pids.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        _ = waits => panic!("it hangs"),
        () = started => {}
    }
    for pid in fs::read_to_string(&pids).unwrap().split_whitespace() {
        gone(pid).await;
    }
}

#[tokio::test]
async fn a_plugin_that_somebody_else_could_change_is_not_run_and_what_to_do_is_said() {
    if lacks_root() {
        return;
    }
    let programs = Programs::new();
    let owned = |path: &Path| std::os::unix::fs::chown(path, Some(NOBODY), None).unwrap();
    let fresh = |name: &str| programs.put(name, "#!/bin/sh\necho ran\n");
    let check = async |path: PathBuf, words: &str| {
        let cause = run_within(&path, b"", LONG).await.unwrap_err();
        assert!(cause.starts_with("untrusted: ") && cause.contains(words), "{cause}");
    };
    assert_eq!(run_within(&fresh("a/good"), b"", LONG).await.unwrap().output, b"ran\n");

    let path = fresh("b/file");
    chmod(&path, 0o775);
    check(path, "file can be written by group 0 (mode 0775); chmod go-w").await;
    let path = fresh("c/file");
    owned(&path);
    check(path, "file belongs to uid 65534; chown -h root").await;
    let path = fresh("d/file");
    chmod(path.parent().unwrap(), 0o757);
    check(path, "d can be written by everybody (mode 0757)").await;
    let path = fresh("e/file");
    owned(path.parent().unwrap());
    check(path, "e belongs to uid 65534").await;
    let path = programs.folder().join("link");
    symlink(fresh("f/file"), &path).unwrap();
    check(path, "link is a symbolic link; put the file itself there").await;
    let path = fresh("g/file");
    chmod(&path, 0o750);
    check(path, "file cannot be run by others (mode 0750); chmod 755").await;
    check(programs.folder().to_owned(), "is not a regular file").await;
    check(programs.folder().join("none"), "No such file").await;
}

#[tokio::test]
async fn a_plugin_that_is_replaced_while_it_runs_gives_no_answer() {
    if lacks_root() {
        return;
    }
    let programs = Programs::new();
    let open = programs.open_folder();
    let script =
        format!("#!/bin/sh\n: >{0}/started\nwhile [ ! -e {0}/go ]; do sleep 0.01; done\necho ran\n", open.display());
    let path = programs.put("program", &script);
    let replace = async {
        while !open.join("started").exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        programs.put("other", "#!/bin/sh\necho other\n");
        fs::rename(programs.folder().join("other"), &path).unwrap();
        fs::write(open.join("go"), "").unwrap();
    };
    let (ran, ()) = tokio::join!(run_within(&path, b"", LONG), replace);
    let cause = ran.unwrap_err();
    assert!(cause.ends_with("program: it was replaced while it ran; try again"), "{cause}");
}

#[tokio::test]
async fn only_so_many_plugins_run_at_once_and_who_waits_for_one_too_long_is_told() {
    if lacks_root() {
        return;
    }
    let programs = Programs::new();
    let runner = runner(LONG);
    let seats = runner.seats.acquire_many(u32::try_from(limits::PLUGINS).unwrap()).await.unwrap();
    let program = Program::new(programs.put("program", "#!/bin/sh\necho ran\n"), vec![]);
    let ran = runner.run(program.clone(), Instant::now() + Duration::from_millis(100)).await;
    let Err(NotRun::Fault(fault)) = ran else { panic!("{ran:?}") };
    assert!(fault.class() == Class::Time && fault.to_string().contains("while other plugins ran"), "{fault}");
    drop(seats);
    assert_eq!(runner.run(program, Instant::now() + LONG).await.unwrap().0.output, b"ran\n");
}

#[tokio::test]
async fn without_another_user_no_plugin_runs_and_the_mend_is_said() {
    if lacks_root() {
        return;
    }
    let programs = Programs::new();
    let path = programs.put("program", "#!/bin/sh\necho ran\n");
    let told = async |runner: &Runner| {
        let program = Program::new(path.clone(), vec![]);
        match runner.run(program, Instant::now() + LONG).await {
            Err(NotRun::Fault(fault)) => fault.to_string(),
            other => panic!("{other:?}"),
        }
    };
    let mut nobody = runner(LONG);
    nobody.options.user = "no-such-user".to_owned();
    assert!(told(&nobody).await.contains("useradd --system no-such-user"));
    // Not root, and no socket; or one that somebody else listens on.
    nobody.is_root = false;
    assert!(told(&nobody).await.contains("systemctl start ratifyd-plugins.socket"));
}

#[tokio::test]
async fn a_runner_that_is_root_runs_nothing() {
    if lacks_root() {
        return;
    }
    let programs = Programs::new();
    let socket = programs.folder().join("socket");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let mut asks = runner(LONG);
    (asks.is_root, asks.options.socket) = (false, socket);
    let program = Program::new(programs.put("program", "#!/bin/sh\necho ran\n"), vec![]);
    let serves = async { serve(listener.accept().await.unwrap().0).await };
    let (ran, served) = tokio::join!(asks.run(program, Instant::now() + LONG), serves);
    assert_eq!(served, Ok(()));
    let Err(NotRun::Fault(fault)) = ran else { panic!("{ran:?}") };
    assert!(fault.to_string().contains("the runner runs as root"), "{fault}");
}

#[tokio::test]
async fn garbage_on_either_end_of_the_socket_is_refused() {
    if lacks_root() {
        return;
    }
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let programs = Programs::new();
    let path = programs.put("program", "#!/bin/sh\necho ran\n");
    for answer in [&b""[..], b"\0\0\0\x02{}", b"\xff\xff\xff\xff", b"\0\0\0\x02[]\0\0\0\0\0\0\0\0", &[0x20; 4096]] {
        let socket = programs.folder().join("socket");
        let listener = tokio::net::UnixListener::bind(&socket).unwrap();
        let mut asks = runner(LONG);
        (asks.is_root, asks.options.socket) = (false, socket.clone());
        let program = Program::new(path.clone(), vec![]);
        let serves = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(answer).await.unwrap();
        };
        let (ran, ()) = tokio::join!(asks.run(program, Instant::now() + LONG), serves);
        let Err(NotRun::Fault(fault)) = ran else { panic!("{ran:?}") };
        assert!(fault.to_string().contains("gave no whole answer"), "{fault}");
        fs::remove_file(socket).unwrap();
    }
    let (mut ours, theirs) = tokio::net::UnixStream::pair().unwrap();
    let asks = async {
        ours.write_all(b"\0\0\0\x02{}").await.unwrap();
        let mut reply = Vec::new();
        ours.read_to_end(&mut reply).await.unwrap();
        assert!(text(&reply).contains("the request cannot be read"), "{reply:?}");
    };
    let (served, ()) = tokio::join!(serve(theirs), asks);
    assert_eq!(served, Ok(()));
}

fn confined(path: PathBuf, network: bool) -> Program {
    let files = vec![
        ("given".to_owned(), bytes::Bytes::from_static(b"content")),
        ("blobs/sha256/00".to_owned(), bytes::Bytes::from_static(b"blob")),
    ];
    let environment = [("ASKED".to_owned(), "yes".to_owned())].into();
    Program {
        environment,
        sandbox: Some(Sandbox { files, network, strict: false }),
        ..Program::new(path, b"go\n".into())
    }
}

/// One that runs programs as a user of a test's own: how many processes a user may have is for all of them together.
fn runner_as(user: u32, timeout: Duration) -> Runner {
    Runner::new(Options { user: user.to_string(), socket: PathBuf::new(), timeout })
}

async fn run_confined(path: PathBuf, network: bool) -> Ran {
    runner(LONG).run(confined(path, network), Instant::now() + 2 * LONG).await.unwrap().0
}

#[tokio::test]
async fn a_confined_plugin_has_a_folder_with_what_it_is_given_and_it_is_gone_afterwards() {
    if lacks_root() {
        return;
    }
    let programs = Programs::new();
    let script = "#!/bin/sh\nread line\npwd; cat given blobs/sha256/00; echo; echo new > new && cat new\n\
                  [ \"$HOME\" = \"$(pwd)\" ] && [ \"$TMPDIR\" = \"$(pwd)\" ] && echo \"$ASKED\"; stat -c %a:%u .\n";
    let ran = run_confined(programs.put("program", script), false).await;
    let shown = text(&ran.output);
    let (folder, rest) = shown.split_once('\n').unwrap();
    assert_eq!(rest, format!("contentblob\nnew\nyes\n700:{NOBODY}\n"), "{}", text(&ran.errors));
    assert!(!Path::new(folder).exists());
}

#[tokio::test]
async fn a_confined_plugin_writes_nowhere_else_reads_no_other_files_and_reaches_nobody() {
    if lacks_root() {
        return;
    }
    let programs = Programs::new();
    let open = programs.open_folder();
    fs::write(open.join("readable"), "secret").unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = format!(
        "#!/bin/bash\nread line\ncat {open}/readable && echo READ\necho x > {open}/new && echo WROTE\n\
         echo x > /tmp/ratifyd-test-$$ && echo WROTE\nls /root /home /var && echo LISTED\n\
         exec 3<>/dev/tcp/127.0.0.1/{port} && echo REACHED\nunshare -r true && echo UNSHARED\necho end\n",
        open = open.display(),
    );
    let path = programs.put("program", &script);
    let ran = run_confined(path.clone(), false).await;
    assert_eq!(text(&ran.output), "end\n", "{}", text(&ran.errors));
    assert!(!open.join("new").exists());
    // Only where it is configured.
    let ran = run_confined(path.clone(), true).await;
    assert_eq!(text(&ran.output), "REACHED\nend\n", "{}", text(&ran.errors));
    // And unconfined it can do more than that, or this shows nothing.
    let free = Program::new(path, b"go\n".to_vec());
    let (ran, _) = runner(LONG).run(free, Instant::now() + 2 * LONG).await.unwrap();
    assert!(text(&ran.output).starts_with("secretREAD\nWROTE\n"), "{}", text(&ran.output));
}

#[tokio::test]
async fn files_for_a_confined_plugin_lie_below_its_folder_or_it_is_not_run() {
    if lacks_root() {
        return;
    }
    let programs = Programs::new();
    let path = programs.put("program", "#!/bin/sh\necho ran\n");
    for name in ["", "/etc/x", "../x", "a/../x", "a//b", ".", ".hidden", "a/"] {
        let mut program = confined(path.clone(), false);
        program.sandbox.as_mut().unwrap().files.push((name.to_owned(), bytes::Bytes::new()));
        let found = runner(LONG).run(program, Instant::now() + 2 * LONG).await;
        assert!(matches!(&found, Err(NotRun::Fault(fault)) if fault.to_string().contains("no path below")), "{name:?}");
    }
}

#[tokio::test]
async fn who_is_strict_has_nothing_run_that_this_kernel_cannot_confine() {
    if lacks_root() {
        return;
    }
    let programs = Programs::new();
    let mut program = confined(programs.put("program", "#!/bin/sh\necho ran\n"), false);
    program.sandbox.as_mut().unwrap().strict = true;
    let found = runner(LONG).run(program, Instant::now() + 2 * LONG).await;
    match (extent(), found) {
        (Confined::Wholly, Ok((ran, _))) => assert_eq!(text(&ran.output), "ran\n"),
        (Confined::Partly, Err(NotRun::Fault(fault))) => assert!(fault.to_string().contains("plugins.sandbox")),
        other => panic!("{other:?}"),
    }
    // Who asked is not confined by it.
    fs::write(programs.folder().join("mine"), "x").unwrap();
}

/// Why a confined plugin was killed.
async fn killed(script: &str) -> String {
    let programs = Programs::new();
    let path = programs.put("program", &format!("#!/usr/bin/perl\nuse strict;\n{script}\nsleep 1000;\n"));
    match runner(LONG).run(confined(path, false), Instant::now() + 2 * LONG).await {
        Err(NotRun::Fault(fault)) => fault.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_plugin_whose_folders_cannot_be_looked_into_is_killed() {
    if lacks_root() {
        return;
    }
    // Past the longest path that a kernel takes (PATH_MAX, limits.h).
    let deep = "for (1..20) { my $name = 'd' x 240; mkdir $name or die; chdir $name or die }";
    let cause = killed(deep).await;
    assert!(cause.contains("killed, its folder cannot be looked into: File name too long"), "{cause}");
}

#[tokio::test]
async fn memory_that_a_plugin_shares_counts_though_no_process_has_it_in_use() {
    if lacks_root() {
        return;
    }
    let (map, protect, advise) = if cfg!(target_arch = "aarch64") { (222, 226, 233) } else { (9, 10, 28) };
    // Written to, then put away (MADV_POPULATE_WRITE, MADV_DONTNEED): it is held on. 1152 MiB.
    let holds = |then: &str| {
        format!(
            "for (1..18) {{ my $at = syscall({map}, 0, 1 << 26, 3, 0x21, -1, 0); die if $at == -1;\n\
             syscall({advise}, $at, 1 << 26, 23) == 0 or die; syscall({advise}, $at, 1 << 26, 4) == 0 or die; {then} }}"
        )
    };
    // Or never to be written to again.
    for then in [String::new(), format!("syscall({protect}, $at, 1 << 26, 0) == 0 or die")] {
        let cause = killed(&holds(&then)).await;
        assert!(cause.contains("killed, it took more than 1073741824 bytes of memory"), "{cause}");
    }
}

#[tokio::test]
async fn files_that_a_plugin_has_in_its_memory_alone_count() {
    if lacks_root() {
        return;
    }
    let map = if cfg!(target_arch = "aarch64") { 222 } else { 9 };
    let holds = format!(
        "for my $n (1..6) {{ system('fallocate', '-l', '60M', \"f$n\") == 0 or die; open(my $f, '+<', \"f$n\") or die;\n\
         syscall({map}, 0, 4096, 1, 1, fileno($f), 0) == -1 and die; unlink \"f$n\"; close $f }}"
    );
    let cause = killed(&holds).await;
    assert!(cause.contains("killed, its files came to more than 268435456 bytes"), "{cause}");
}

#[tokio::test]
async fn a_plugin_may_not_make_the_calls_that_hide_it_or_look_into_others() {
    if lacks_root() {
        return;
    }
    let programs = Programs::new();
    let (prctl, kcmp) = if cfg!(target_arch = "aarch64") { (167, 272) } else { (157, 312) };
    let script = format!(
        "#!/usr/bin/perl\nmy @calls = ([{prctl}, 4, 0], [{kcmp}, $$, $$, 1, 0, 0], [438, -1, 0, 0], [{prctl}, 3, 0]);\n\
         for (@calls) {{ my $did = syscall($_->[0], map {{ $_ + 0 }} @$_[1..$#$_]); print $did < 0 ? $! + 0 : 'did', ' ' }}\n"
    );
    let path = programs.put("program", &script);
    // Refused all three, and what prctl is for besides is not; a kernel without kcmp refuses it in another way.
    let ran = run_confined(path, false).await;
    assert_eq!(text(&ran.output), "1 1 1 did ", "{}", text(&ran.errors));
}

/// What a well-behaved confined plugin prints, which ends by itself with 0.
async fn fine(script: &str) -> String {
    let programs = Programs::new();
    let path = programs.put("program", &format!("#!/usr/bin/perl\nuse strict;\n{script}\nprint 'fine';\n"));
    match runner(LONG).run(confined(path, false), Instant::now() + 2 * LONG).await {
        Ok((ran, _)) => text(&ran.output),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn shared_memory_that_is_in_use_counts_once() {
    if lacks_root() {
        return;
    }
    let (map, advise) = if cfg!(target_arch = "aarch64") { (222, 233) } else { (9, 28) };
    // 640 MiB, written to (MADV_POPULATE_WRITE), of 1024.
    let script = format!(
        "my $at = syscall({map}, 0, 640 << 20, 3, 0x21, -1, 0); die if $at == -1;\n\
         syscall({advise}, $at, 640 << 20, 23) == 0 or die; sleep 1;"
    );
    assert_eq!(fine(&script).await, "fine");
}

#[tokio::test]
async fn memory_that_children_have_of_their_parent_counts_once() {
    if lacks_root() {
        return;
    }
    // 300 MB in all, which five processes see.
    let script = "my $n = 3e8; my $x = 'x' x $n; for (1..4) { if (!fork) { sleep 1; exit } } while (wait > 0) {}";
    assert_eq!(fine(script).await, "fine");
}

#[tokio::test]
async fn files_that_many_processes_read_by_mapping_them_count_for_no_memory() {
    if lacks_root() {
        return;
    }
    let (map, advise) = if cfg!(target_arch = "aarch64") { (222, 233) } else { (9, 28) };
    // 60 MiB on disk, that twenty processes have read (MADV_POPULATE_READ).
    let script = format!(
        "open(my $f, '+>', 'f') or die; for (1..60) {{ print $f 'x' x (1 << 20) }} $f->flush;\n\
         for (1..20) {{ if (!fork) {{ my $at = syscall({map}, 0, 60 << 20, 1, 1, fileno($f), 0); die if $at == -1;\n\
         syscall({advise}, $at, 60 << 20, 22) == 0 or die; sleep 1; exit }} }} while (wait > 0) {{}}"
    );
    assert_eq!(fine(&format!("use IO::Handle;\n{script}")).await, "fine");
}

#[tokio::test]
async fn a_file_of_several_names_takes_its_bytes_once() {
    if lacks_root() {
        return;
    }
    let script = "open(my $f, '>', 'f') or die; for (1..60) { print $f 'x' x (1 << 20) } close $f;\n\
                  for (1..5) { link 'f', \"f$_\" or die } sleep 1;";
    assert_eq!(fine(script).await, "fine");
}

#[tokio::test]
async fn a_plugin_that_has_many_files_and_makes_temporary_ones_is_let() {
    if lacks_root() {
        return;
    }
    let script = "for (1..1500) { open F, '>', \"c$_\" or die; close F } my $end = time + 3;\n\
                  while (time < $end) { my $n = 'tmp' . int rand 1e9; open F, '>', $n or die; print F 'x'; close F; \
                  unlink $n or die }";
    for _ in 0..6 {
        assert_eq!(fine(script).await, "fine");
    }
}

#[tokio::test]
async fn processes_of_any_name_count() {
    if lacks_root() {
        return;
    }
    // A name of bytes that are no UTF-8 (PR_SET_NAME) stands as it is in /proc/PID/stat and /proc/PID/status.
    let cause = killed("for (1..6) { if (!fork) { $0 = \"\\xff\"; my $x = 'x' x 3e8; sleep 1000 } }").await;
    assert!(cause.contains("killed, it took more than 1073741824 bytes of memory"), "{cause}");
}

#[tokio::test]
async fn tables_of_memory_that_a_plugin_has_the_kernel_make_count() {
    if lacks_root() {
        return;
    }
    // One page read in every 2 MiB of 1 TiB that is never written to: 2 GiB of page tables, no memory in use.
    let (map, advise) = if cfg!(target_arch = "aarch64") { (222, 233) } else { (9, 28) };
    let script = format!(
        "my $n = 1 << 40; my $at = syscall({map}, 0, $n, 1, 0x4022, -1, 0); die if $at == -1;\n\
         syscall({advise}, $at, $n, 15); for (my $i = 0; $i < $n; $i += 2 << 20) {{ syscall({advise}, $at + $i, 4096, 22) }}"
    );
    let cause = killed(&script).await;
    assert!(cause.contains("killed, it took more than 1073741824 bytes of memory"), "{cause}");
}

#[tokio::test]
async fn a_plugin_may_not_bound_processes_of_others() {
    if lacks_root() {
        return;
    }
    let programs = Programs::new();
    let call = if cfg!(target_arch = "aarch64") { 261 } else { 302 };
    let other = confined(programs.put("other", "#!/bin/sh\nexec sleep 5\n"), false);
    let other = tokio::spawn(async move { runner(LONG).run(other, Instant::now() + 2 * LONG).await.map(|_| ()) });
    // Core dumps, which nobody here misses: all others of its user would have none.
    let script = format!(
        "#!/usr/bin/perl\nmy %did; my $end = time + 2; my $none = pack('QQ', 0, 0); my $old = 'x' x 16;\n\
         while (time < $end) {{ for (glob '/proc/[0-9]*') {{ my ($id) = m#(\\d+)$#; next if $id == $$;\n\
         $did{{$id}} = 1 if syscall({call}, $id + 0, 4, $none, $old) == 0 }} }}\nprint %did ? 'did' : 'refused';\n"
    );
    let ran = run_confined(programs.put("program", &script), false).await;
    other.abort();
    assert_eq!(text(&ran.output), "refused", "{}", text(&ran.errors));
}

#[tokio::test]
async fn a_plugin_that_cannot_be_started_leaves_no_folder() {
    if lacks_root() {
        return;
    }
    let folders = || {
        let all = fs::read_dir(std::env::temp_dir()).unwrap().flatten().map(|entry| entry.path());
        let own = |path: &PathBuf| {
            // An empty one is that of no test that is under way: it holds what was laid out.
            path.file_name().unwrap().to_string_lossy().starts_with("ratifyd-plugin-")
                && fs::read_dir(path).is_ok_and(|mut found| found.next().is_none())
        };
        all.filter(own).collect::<Vec<_>>()
    };
    let before = folders();
    let programs = Programs::new();
    let path = programs.put("program", "#!/nonexistent/sh\n");
    let found = runner(LONG).run(confined(path, false), Instant::now() + 2 * LONG).await;
    assert!(matches!(&found, Err(NotRun::Fault(fault)) if fault.to_string().contains("cannot be run")), "{found:?}");
    let left: Vec<_> = folders().into_iter().filter(|path| !before.contains(path)).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn a_plugin_with_much_to_look_at_is_over_in_its_time() {
    if lacks_root() {
        return;
    }
    let programs = Programs::new();
    let map = if cfg!(target_arch = "aarch64") { 222 } else { 9 };
    // Eight thousand parts of a file in the memory of each of two hundred processes.
    let script = format!(
        "#!/usr/bin/perl\nopen(my $f, '+>', 's'); truncate $f, 4096;\n\
         syscall({map}, 0, 4096, $_ & 1 ? 3 : 1, 1, fileno($f), 0) for 1..8000;\n\
         for (1..200) {{ if (!fork) {{ setpgrp; sleep 20; exit }} }} sleep 1000;\n"
    );
    let path = programs.put("program", &script);
    let start = Instant::now();
    let limit = Duration::from_secs(3);
    let ran = runner_as(64_812, limit).run(confined(path, false), Instant::now() + limit).await;
    let took = start.elapsed();
    assert!(ran.is_err() && took < limit + limits::PLUGIN_LAST, "{took:?}: {ran:?}");
}

#[tokio::test]
async fn a_chain_of_processes_of_which_each_starts_the_next_and_ends_does_not_outlive_its_plugin() {
    if lacks_root() {
        return;
    }
    let programs = Programs::new();
    let script = "#!/usr/bin/perl\nuse POSIX;\n$0 = 'chainoftests'; my $first; 1 until defined($first = fork); if (!$first) { setpgrp; open STDOUT, '>/dev/null'; \
                  open STDERR, '>/dev/null'; my $end = time + 20; while (time < $end) { my $p = fork; POSIX::_exit(0) if $p; \
                  setpgrp } POSIX::_exit(0) }\nselect undef, undef, undef, 0.3; print 'done';\n";
    let path = programs.put("program", script);
    let alive = || {
        let all = fs::read_dir("/proc").unwrap().flatten();
        let stats = all.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
        stats
            .into_iter()
            .any(|stat| stat.contains("(chainoftests) ") && !stat.contains(") Z ") && !stat.contains(") X "))
    };
    for _ in 0..5 {
        let ran = runner_as(64_811, LONG).run(confined(path.clone(), false), Instant::now() + LONG).await.unwrap().0;
        assert_eq!(text(&ran.output), "done", "{}", text(&ran.errors));
        assert!((0..5).all(|_| !alive()));
    }
}
