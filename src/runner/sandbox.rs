//! What confines a program besides its user and its bounds: files that it may open (landlock(7)), calls that it may make
//! (seccomp(2)), and whether it may reach anybody. A thread confines itself and what it starts from then on, for good;
//! nothing here needs rights. What a kernel cannot do is left out and told.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetStatus, Scope, path_beneath_rules,
};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, sock_filter,
};

/// How far a kernel confines programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confined {
    /// In all that is asked for.
    Wholly,
    /// The kernel is too old for a part of the rules about files, or has none.
    Partly,
}

/// Confines this thread, and all that it starts: it may read the system, write into `folder` and nowhere else, and reach
/// nobody unless `network` says so. It must have given up all ways to more rights before. Which calls it may make is for
/// [`refuse`].
///
/// # Errors
/// The kernel refuses what it says it can do.
pub(super) fn enter(program: &Path, folder: &Path, network: bool) -> io::Result<Confined> {
    files(program, folder, network).map_err(io::Error::other)
}

/// Takes calls away from this thread, and from all threads and programs that it starts.
///
/// # Errors
/// The kernel has no such filters.
pub(super) fn refuse(network: bool) -> io::Result<()> {
    let refused = refused(network).map_err(io::Error::other)?;
    seccompiler::apply_filter(&unknown()).and_then(|()| seccompiler::apply_filter(&refused)).map_err(io::Error::other)
}

/// How far this kernel would confine a program. The thread that finds out ends with it.
pub(super) fn extent() -> Confined {
    let found = std::thread::spawn(|| {
        rustix::thread::set_no_new_privs(true).ok()?;
        files(Path::new("/"), Path::new("/"), false).ok()
    });
    found.join().ok().flatten().unwrap_or(Confined::Partly)
}

/// The same by what the kernel says of itself, without any of the calls.
pub(super) fn by_version() -> Confined {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    let (major, minor) = (numbers.next().and_then(Result::ok), numbers.next().and_then(Result::ok));
    // What is not mounted tells nothing; a kernel that has Landlock and was told to leave it out does.
    let is_there =
        std::fs::read_to_string(MODULES).map_or(true, |names| names.trim().split(',').any(|it| it == "landlock"));
    if is_there && (major, minor) >= (Some(6), Some(12)) { Confined::Wholly } else { Confined::Partly }
}

/// The security modules of this kernel, joined by commas.
const MODULES: &str = "/sys/kernel/security/lsm";

fn files(program: &Path, folder: &Path, network: bool) -> Result<Confined, landlock::RulesetError> {
    let rules = Ruleset::default().set_compatibility(CompatLevel::BestEffort);
    let rules = rules.handle_access(AccessFs::from_all(LANDLOCK))?.scope(Scope::from_all(LANDLOCK))?;
    let rules = if network { rules } else { rules.handle_access(AccessNet::from_all(LANDLOCK))? };
    let system = SYSTEM.into_iter().filter(|path| !lies_in_usr(path));
    let status = rules
        .create()?
        .add_rules(path_beneath_rules(system, AccessFs::from_read(LANDLOCK)))?
        .add_rules(path_beneath_rules(network.then_some(NAMESERVERS), AccessFs::from_read(LANDLOCK)))?
        .add_rules(path_beneath_rules([program], AccessFs::from_read(LANDLOCK)))?
        .add_rules(path_beneath_rules(DEVICES, AccessFs::ReadFile | AccessFs::WriteFile))?
        .add_rules(path_beneath_rules([folder], AccessFs::from_all(LANDLOCK)))?
        .restrict_self()?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => Confined::Wholly,
        RulesetStatus::PartiallyEnforced | RulesetStatus::NotEnforced => Confined::Partly,
    })
}

/// Whether it is a link that leads to what /usr has a rule for already, as on nearly all systems: each rule takes its time.
fn lies_in_usr(path: &str) -> bool {
    std::fs::read_link(path).is_ok_and(|to| Path::new("/").join(to).starts_with("/usr"))
}

/// A filter that refuses some calls and lets all others through: runtimes of all kinds try what they can do without, so
/// that a call is refused with EPERM and ends nobody.
fn refused(network: bool) -> Result<BpfProgram, BackendError> {
    let argument = |operator, value: libc::c_int| {
        let value = u64::try_from(value).unwrap_or_default();
        SeccompCondition::new(0, SeccompCmpArgLen::Dword, operator, value)
    };
    // No condition: in all cases.
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    // In a user namespace of its own it would have all rights, if over nothing: as much of the kernel to attack as root.
    let flag = u64::try_from(libc::CLONE_NEWUSER).unwrap_or_default();
    let namespace = argument(SeccompCmpOp::MaskedEq(flag), libc::CLONE_NEWUSER)?;
    rules.insert(libc::SYS_clone, vec![SeccompRule::new(vec![namespace])?]);
    // Whoever looks after it could not see what it holds (proc(5)).
    let hides = argument(SeccompCmpOp::Eq, libc::PR_SET_DUMPABLE)?;
    rules.insert(libc::SYS_prctl, vec![SeccompRule::new(vec![hides])?]);
    // Another plugin that runs as the same user would be bounded by it (getrlimit(2)); its own are the process 0.
    let others = argument(SeccompCmpOp::Ne, 0)?;
    rules.insert(libc::SYS_prlimit64, vec![SeccompRule::new(vec![others])?]);
    let sockets = match network {
        // Others are reached by IP, and the kernel tells addresses; daemons' own sockets are no network.
        true => {
            let others = SOCKETS.map(|family| argument(SeccompCmpOp::Ne, family));
            vec![SeccompRule::new(others.into_iter().collect::<Result<_, _>>()?)?]
        }
        false => Vec::new(),
    };
    rules.insert(libc::SYS_socket, sockets);
    let refuse = SeccompAction::Errno(u32::try_from(libc::EPERM).unwrap_or_default());
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    BpfProgram::try_from(SeccompFilter::new(rules, SeccompAction::Allow, refuse, architecture)?)
}

/// A filter for which some calls do not exist, so that the other one is not passed by: those of x86's third way to call
/// (x32), whose numbers are the known ones and a bit more, and clone3, whose arguments no filter can see; C libraries go
/// back to clone.
fn unknown() -> BpfProgram {
    let (load_number, is_at_least, is, leave) = (0x20, 0x35, 0x15, 0x06);
    let unknown = 0x0005_0000 | u32::try_from(libc::ENOSYS).unwrap_or_default();
    let allow = 0x7fff_0000;
    let clone3 = u32::try_from(libc::SYS_clone3).unwrap_or_default();
    [
        (load_number, 0, 0, 0),
        (is_at_least, 1, 0, 0x4000_0000),
        (is, 0, 1, clone3),
        (leave, 0, 0, unknown),
        (leave, 0, 0, allow),
    ]
    .map(|(code, jt, jf, k)| sock_filter { code, jt, jf, k })
    .to_vec()
}

/// Kinds of sockets of a program that may reach others.
const SOCKETS: [libc::c_int; 3] = [libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// The newest rules about files that are asked for: those of Linux 6.12.
const LANDLOCK: ABI = ABI::V6;

/// What any program reads: itself, libraries, certificates, names of users and hosts.
pub(super) const SYSTEM: [&str; 9] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc", "/opt", "/proc"];

/// Who is asked for addresses: often a link that leads out of /etc (systemd-resolved(8)).
const NAMESERVERS: &str = "/etc/resolv.conf";

/// What any program writes to.
const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/// Calls of which none is a verifier's business: other processes' memory, keys, mounts, namespaces, what outlives whoever
/// made it, the kernel itself.
const REFUSED: [i64; 42] = [
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kcmp,
    libc::SYS_kexec_file_load,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_mount,
    libc::SYS_move_mount,
    libc::SYS_mq_open,
    libc::SYS_msgget,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_semget,
    libc::SYS_setns,
    libc::SYS_shmget,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
];
