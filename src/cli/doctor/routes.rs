//! Says of each route by which an image can come onto this node whether it is prevented, detected or open, and why.
//! Pure: from facts and from what came of the canary. containerd asks its verifiers in one place only, the transfer
//! service's pull from a registry (`core/transfer/local/pull.go`); whatever does not go through it is open.

use serde::Serialize;

use crate::cli::cri as cri_settings;
use crate::cli::doctor::Problem;
use crate::cli::doctor::canary::Outcome;
use crate::cli::doctor::facts::{Facts, Version};
use crate::cli::doctor::folder::Folder;
use crate::cli::present::{Judged, Present};
use crate::containerd::settings::{CRI, CRI_IMAGES, Settings, VERIFIER};

/// A way by which images come onto the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Route {
    /// What it is called.
    pub(super) route: String,
    /// What becomes of an image on it.
    pub(super) state: State,
    /// Whether it takes root on this node, who can do anything there.
    pub(super) root_only: bool,
    /// Why it is so.
    pub(super) why: String,
    /// What would have it prevented.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mend: Option<String>,
}

/// What becomes of an image on a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// It is verified before it comes in.
    Prevented,
    /// It comes in, and is found out.
    Detected,
    /// It comes in.
    Open,
    /// The node has no such route.
    Absent,
}

/// What the canary proved of the routes on which it was tried.
#[derive(Clone, Debug, Default)]
pub(super) struct Proof {
    /// By the transfer service.
    pub(super) transfer: Option<Outcome>,
    /// By CRI.
    pub(super) cri: Option<Outcome>,
}

impl Route {
    fn new(route: impl Into<String>, state: State, why: impl Into<String>) -> Self {
        Self { route: route.into(), state, root_only: false, why: why.into(), mend: None }
    }

    fn open(route: impl Into<String>, why: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { mend: Some(mend.into()), ..Self::new(route, State::Open, why) }
    }
}

/// Every route, those that matter most first.
pub(super) fn judge(facts: &Facts, proof: &Proof) -> Vec<Route> {
    let transfer = transfer(facts, proof);
    let mut routes = vec![cri(facts, proof, &transfer), nerdctl(facts.nerdctl, &transfer)];
    routes.insert(0, transfer);
    let own = |&(name, _): &(&'static str, _)| {
        Route::open(name, "it pulls by itself and asks no verifier", format!("do without {name} on this node"))
    };
    routes.extend(facts.others.iter().map(own));
    if !facts.named {
        let other = |pid: &u32| {
            let mend = "ratifyctl doctor --address SOCKET, once for each";
            Route::open(format!("containerd of pid {pid}"), "it is another one, and was not looked at", mend)
        };
        routes.extend(facts.siblings.iter().map(other));
    }
    let by_root = [
        ("ctr image pull --local", "the pull is ctr's own"),
        ("ctr image import, nerdctl load", "containerd verifies no archives"),
        ("nerdctl build, commit; ctr image tag", "what is made or named here is not pulled"),
    ];
    let by_root = by_root.map(|(route, why)| Route { root_only: true, ..Route::new(route, State::Open, why) });
    routes.extend(by_root);
    routes
}

/// The pull of the transfer service, as `ctr image pull` asks for it.
fn transfer(facts: &Facts, proof: &Proof) -> Route {
    const NAME: &str = "ctr image pull";
    match &proof.transfer {
        Some(Outcome::Refused) => Route::new(NAME, State::Prevented, "the canary was refused"),
        Some(Outcome::Blocked(reason)) => blocked(NAME, facts, reason),
        Some(Outcome::Told) => Route::new(NAME, State::Detected, TOLD),
        Some(Outcome::CameIn) => {
            let (why, mend) = unverified(facts).unwrap_or_else(|| {
                let mend = "restart containerd, then run this again";
                ("the configuration would have it refused".to_owned(), mend.to_owned())
            });
            Route::open(NAME, format!("the canary came in: {why}"), mend)
        }
        Some(Outcome::Failed(cause)) => match unverified(facts) {
            Some((why, mend)) => Route::open(NAME, format!("{why}; the canary could not be pulled: {cause}"), mend),
            None => {
                Route::open(NAME, format!("not proven, the canary could not be pulled: {cause}"), "make that pull work")
            }
        },
        None => match unverified(facts) {
            Some((why, mend)) => Route::open(NAME, why, mend),
            None => Route::open(NAME, "not proven, no canary could be pulled", "start containerd, then run this again"),
        },
    }
}

/// What a shim that refuses nothing comes to.
const TOLD: &str = "the canary came in, and ratifyd's log says that it should not have";

/// A canary that was blocked, and not for being one: that proves something only where nothing but ratifyd can have
/// done it.
fn blocked(name: &str, facts: &Facts, reason: &str) -> Route {
    if facts.folder.as_ref().is_none_or(Folder::has_others) {
        let why = unverified(facts).map_or_else(|| "not proven".to_owned(), |(why, _)| why);
        let mend = "see the problems below, then run this again";
        return Route::open(name, format!("{why}; another verifier may have blocked the canary: {reason}"), mend);
    }
    Route::new(name, State::Prevented, format!("the canary was blocked: {reason}"))
}

/// Why the transfer service would verify nothing, and the mend.
fn unverified(facts: &Facts) -> Option<(String, String)> {
    let told = |why: &str, mend: &str| Some((why.to_owned(), mend.to_owned()));
    if facts.version.is_some_and(|version| version < Version(2, 0)) {
        return told("containerd before 2.0 has no verifiers", "install containerd 2.1 or later");
    }
    let Ok(dump) = &facts.dump else { return None };
    if dump.settings.is_disabled(VERIFIER) {
        return told(
            "the verifier plugin is switched off",
            &format!("take {VERIFIER} out of disabled_plugins, restart containerd"),
        );
    }
    let Some(verifier) = &dump.settings.verifier else {
        return told("this containerd has no verifier plugin", "install containerd 2.1 or later");
    };
    let folder = facts.folder.as_ref()?;
    let path = verifier.folder.display();
    if folder.enforces() {
        None
    } else if verifier.max == 0 {
        told("max_verifiers is 0, so none is run", "set it to 10, its default, restart containerd")
    } else if folder.entries.is_empty() {
        told(&format!("{path} is empty or missing"), "ratifyctl doctor --fix")
    } else {
        told(
            &format!("nothing in {path} refuses in ratifyd's name"),
            "see the problems below, or ratifyctl doctor --fix",
        )
    }
}

/// The kubelet's pulls.
fn cri(facts: &Facts, proof: &Proof, transfer: &Route) -> Route {
    const NAME: &str = "CRI: kubelet, crictl";
    let settings = facts.dump.as_ref().ok().map(|dump| &dump.settings);
    // One that runs has what it came up with, whatever its files say by now.
    match &facts.running {
        Ok(running) => {
            if let Some(cause) = running.failed(CRI) {
                return Route::new(NAME, State::Absent, format!("containerd's CRI has not come up: {cause}"));
            }
        }
        Err(_) if settings.is_some_and(|settings| !cri_settings::is_there(settings)) => {
            return Route::new(NAME, State::Absent, "containerd has no CRI here");
        }
        Err(_) => {}
    }
    let by_itself = by_itself(facts, settings);
    match (&proof.cri, by_itself) {
        (Some(Outcome::Refused), _) => Route::new(NAME, State::Prevented, "the canary was refused"),
        (Some(Outcome::Blocked(reason)), _) => blocked(NAME, facts, reason),
        (Some(Outcome::CameIn), Some((why, mend))) => Route::open(NAME, format!("the canary came in: {why}"), mend),
        (Some(Outcome::Told), _) => Route::new(NAME, State::Detected, TOLD),
        (Some(Outcome::CameIn), None) => {
            let mend = transfer.mend.clone().unwrap_or_else(|| "restart containerd, then run this again".to_owned());
            Route::open(NAME, "the canary came in", mend)
        }
        (_, Some((why, mend))) => Route::open(NAME, why, mend),
        (Some(Outcome::Failed(cause)), None) => {
            Route::open(NAME, format!("not proven, the canary could not be pulled: {cause}"), "make that pull work")
        }
        (None, None) => Route { route: NAME.to_owned(), ..transfer.clone() },
    }
}

/// Why CRI pulls by itself, asking no verifier, and the mend.
fn by_itself(facts: &Facts, settings: Option<&Settings>) -> Option<(String, String)> {
    if facts.version.is_some_and(|version| version < Version(2, 1)) {
        let why = "before containerd 2.1 CRI pulls by itself and asks no verifier";
        return Some((why.to_owned(), "install containerd 2.1 or later".to_owned()));
    }
    let local = &settings?.images.as_ref()?.local;
    if local.is_empty() {
        return None;
    }
    let why = format!("CRI pulls by itself and asks no verifier, because of {}", local.join(", "));
    let mut mend = "ratifyctl doctor --fix".to_owned();
    if local.iter().any(|setting| setting.starts_with("registry.")) {
        mend = "move registries into hosts.toml files below registry.config_path, and credentials to the kubelet"
            .to_owned();
    }
    if facts.running.as_ref().is_ok_and(|running| cri_settings::is_rancher(&running.process.config)) {
        mend.push_str("; k3s and RKE2 write this themselves: docs/k3s.md");
    }
    Some((why, mend))
}

/// What is prevented now, and would not be once containerd has started anew.
pub(super) fn after_a_restart(facts: &Facts, proof: &Proof) -> Option<Problem> {
    let settings = facts.dump.as_ref().ok().map(|dump| &dump.settings);
    let (why, mend) = by_itself(facts, settings).filter(|_| proof.cri == Some(Outcome::Refused))?;
    Some(Problem::error(format!("once containerd starts anew, {why}"), mend))
}

/// nerdctl's pulls, by its version.
fn nerdctl(version: Option<Version>, transfer: &Route) -> Route {
    let Some(version @ Version(major, minor)) = version else {
        return Route::new("nerdctl pull, run", State::Absent, "there is no nerdctl");
    };
    let name = format!("nerdctl {major}.{minor} pull, run");
    if version < Version(2, 3) {
        return Route::open(
            name,
            "before nerdctl 2.3 the pull is its own and asks no verifier",
            "install nerdctl 2.3 or later",
        );
    }
    Route { route: name, why: format!("as ctr image pull: {}", transfer.why), ..transfer.clone() }
}

/// The images that are there already, whichever way they came.
pub(super) fn images(present: &Present) -> Route {
    const NAME: &str = "images already there";
    let there: Vec<&Judged> = present.images.iter().filter(|image| !image.namespaces.is_empty()).collect();
    let refused = there.iter().filter(|image| !image.token.allows()).count();
    let left_out = match present.left_out {
        0 => String::new(),
        count => format!("; {count} more were not looked at"),
    };
    match (there.len(), refused) {
        (0, _) => Route::new(NAME, State::Absent, "there are none"),
        (all, 0) if present.left_out == 0 => {
            Route::new(NAME, State::Prevented, format!("none of {all} would be refused"))
        }
        (all, 0) => Route::new(NAME, State::Open, format!("none of {all} would be refused{left_out}")),
        (all, refused) => Route {
            mend: Some("see below: sign, pin under `digests`, or remove them".to_owned()),
            ..Route::new(NAME, State::Detected, format!("{refused} of {all} would be refused{left_out}"))
        },
    }
}

/// The same where they could not be judged.
pub(super) fn unknown_images(cause: &str) -> Route {
    Route::open(
        "images already there",
        format!("nobody can say what would be refused: {cause}"),
        "ratifyctl config check",
    )
}

/// Without the sandbox's image no pod starts; where none ever did, nobody may want one to.
pub(super) fn sandbox(present: &Present, has_kubelet: bool) -> Option<Problem> {
    let image = present.images.iter().find(|image| image.sandbox && !image.token.allows())?;
    let what =
        format!("without {} no pod starts, and it would be refused: {} {}", image.reference, image.token, image.cause);
    let mend = "if this node is to have pods, give its repository a scope, or pin it under `digests`";
    let runs_pods =
        has_kubelet || present.images.iter().any(|image| image.namespaces.iter().any(|name| name == "k8s.io"));
    Some(if runs_pods { Problem::error(what, mend) } else { Problem::warning(what, mend) })
}

/// What is wrong with containerd's configuration and folder, over and above the routes.
pub(super) fn problems(facts: &Facts) -> Vec<Problem> {
    let mut problems = Vec::new();
    match &facts.running {
        Ok(running) => {
            if let Some(cause) = running.failed(VERIFIER).filter(|_| {
                facts
                    .dump
                    .as_ref()
                    .is_ok_and(|dump| dump.settings.verifier.is_some() && !dump.settings.is_disabled(VERIFIER))
            }) {
                problems.push(Problem::error(
                    format!("the verifier plugin has not come up: {cause}"),
                    "see journalctl -u containerd",
                ));
            }
            for path in &running.changed {
                let what = format!(
                    "{} has changed since containerd started, which reads it at its start only",
                    path.display()
                );
                problems.push(Problem::warning(what, "systemctl restart containerd (containers keep running)"));
            }
        }
        Err(cause) => {
            let mend = "start it, or say where it listens: --address SOCKET";
            problems.push(Problem::error(format!("containerd cannot be asked: {cause}"), mend));
        }
    }
    match &facts.dump {
        Ok(dump) => {
            for key in dump.unknown.iter().filter(|key| key.starts_with(VERIFIER) || key.starts_with(CRI_IMAGES)) {
                problems.push(Problem::error(
                    format!("containerd does not know this key and passes it over: {key}"),
                    "mend its spelling",
                ));
            }
            for name in &dump.settings.misspelt {
                problems.push(Problem::error(
                    format!("containerd has no plugin {name} and passes its settings over"),
                    format!("it is called {VERIFIER}"),
                ));
            }
        }
        Err(cause) => {
            problems.push(Problem::error(
                format!("containerd's configuration is unknown: {cause}"),
                "mend it; this goes by containerd config dump",
            ));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::cli::doctor::Severity;
    use crate::cli::doctor::folder::{Entry, Role};
    use crate::containerd::process::Dump;
    use crate::verdict::Token;

    const DUMP: &str = "
        [plugins.'io.containerd.cri.v1.images']
        max_concurrent_downloads = 3
        use_local_image_pull = false
        [plugins.'io.containerd.image-verifier.v1.bindir']
        bin_dir = '/opt/containerd/image-verifier/bin'
        max_verifiers = 10
        per_verifier_timeout = '10s'
        ";

    fn facts(version: Version, dump: &str) -> Facts {
        Facts {
            address: PathBuf::from("/run/containerd/containerd.sock"),
            running: Err(String::new()),
            version: Some(version),
            dump: Ok(Dump { settings: Settings::parse(dump).unwrap(), unknown: Vec::new() }),
            folder: None,
            nerdctl: None,
            others: Vec::new(),
            siblings: Vec::new(),
            named: false,
        }
    }

    #[test]
    fn a_refused_sandbox_is_an_error_where_there_are_pods() {
        let sandbox = |namespaces: &[&str], token| Judged {
            reference: "registry.k8s.io/pause:3.10".to_owned(),
            also: Vec::new(),
            descriptor: None,
            namespaces: namespaces.iter().map(|&name| name.to_owned()).collect(),
            sandbox: true,
            token,
            cause: "no signature".to_owned(),
        };
        let said = |image: Judged, has_kubelet| {
            super::sandbox(&Present { images: vec![image], left_out: 0 }, has_kubelet).map(|problem| problem.severity)
        };
        assert_eq!(said(sandbox(&[], Token::Denied), false), Some(Severity::Warning));
        assert_eq!(said(sandbox(&["default"], Token::Denied), false), Some(Severity::Warning));
        assert_eq!(said(sandbox(&["k8s.io"], Token::Denied), false), Some(Severity::Error));
        assert_eq!(said(sandbox(&[], Token::Unavailable), true), Some(Severity::Error));
        assert_eq!(said(sandbox(&["k8s.io"], Token::Exempt), true), None);
    }

    fn proof(transfer: Outcome, cri: Outcome) -> Proof {
        Proof { transfer: Some(transfer), cri: Some(cri) }
    }

    #[track_caller]
    fn says(routes: &[Route], name: &str, state: State, words: &str) {
        let route = routes.iter().find(|route| route.route.starts_with(name)).unwrap();
        assert!(route.state == state && route.why.contains(words), "{route:?}");
    }

    #[test]
    fn nerdctl_asks_verifiers_since_2_3_and_is_as_good_as_ctr_then() {
        for (version, state, words) in [
            (None, State::Absent, "there is no nerdctl"),
            (Some(Version(2, 2)), State::Open, "before nerdctl 2.3"),
            (Some(Version(1, 7)), State::Open, "before nerdctl 2.3"),
            (Some(Version(2, 3)), State::Prevented, "the canary was refused"),
            (Some(Version(3, 0)), State::Prevented, "the canary was refused"),
        ] {
            let facts = Facts { nerdctl: version, ..facts(Version(2, 1), DUMP) };
            says(&judge(&facts, &proof(Outcome::Refused, Outcome::Refused)), "nerdctl", state, words);
        }
        let facts = Facts { nerdctl: Some(Version(2, 3)), ..facts(Version(2, 1), DUMP) };
        says(&judge(&facts, &proof(Outcome::CameIn, Outcome::CameIn)), "nerdctl", State::Open, "the canary came in");
    }

    #[test]
    fn containerd_verifies_nothing_before_2_0_and_nothing_of_cri_before_2_1() {
        let came_in = proof(Outcome::CameIn, Outcome::CameIn);
        let old = judge(&facts(Version(1, 7), DUMP), &came_in);
        says(&old, "ctr image pull", State::Open, "before 2.0");
        says(&old, "CRI", State::Open, "before containerd 2.1");
        let without_cri = judge(&facts(Version(2, 0), DUMP), &proof(Outcome::Refused, Outcome::CameIn));
        says(&without_cri, "ctr image pull", State::Prevented, "");
        says(&without_cri, "CRI", State::Open, "before containerd 2.1");
        says(
            &judge(&facts(Version(2, 1), DUMP), &proof(Outcome::Refused, Outcome::Refused)),
            "CRI",
            State::Prevented,
            "",
        );
    }

    #[test]
    fn without_the_canarys_proof_no_route_is_prevented() {
        let unproven = judge(&facts(Version(2, 1), DUMP), &Proof::default());
        says(&unproven, "ctr image pull", State::Open, "not proven");
        says(&unproven, "CRI", State::Open, "not proven");
        let failed = || Outcome::Failed("no route to host".to_owned());
        let failed = judge(&facts(Version(2, 1), DUMP), &proof(failed(), failed()));
        says(&failed, "ctr image pull", State::Open, "no route to host");
        says(&failed, "CRI", State::Open, "no route to host");
    }

    #[test]
    fn a_containerd_without_cri_has_no_such_route() {
        let verifier = &DUMP[DUMP.find("[plugins.'io.containerd.image-verifier").unwrap()..];
        let off = |plugin: &str| format!("disabled_plugins = ['{plugin}']\n{DUMP}");
        for dump in [verifier, &off("io.containerd.grpc.v1.cri"), &off("cri"), &off("io.containerd.cri.v1.images")] {
            says(&judge(&facts(Version(2, 1), dump), &Proof::default()), "CRI", State::Absent, "");
        }
    }

    #[test]
    fn what_came_in_is_detected_only_where_the_daemon_was_asked() {
        let entries = vec![Entry { path: "/v/e-audit".into(), target: "/e".into(), role: Role::Audit }];
        let facts = Facts {
            folder: Some(Folder { path: "/v".into(), entries, problems: Vec::new() }),
            ..facts(Version(2, 3), &format!("disabled_plugins = ['{VERIFIER}']\n{DUMP}"))
        };
        let open = judge(&facts, &proof(Outcome::CameIn, Outcome::CameIn));
        says(&open, "ctr image pull", State::Open, "switched off");
        says(&open, "CRI", State::Open, "the canary came in");
        // CRI may pull by itself where ctr does not.
        let half = judge(&facts, &proof(Outcome::Told, Outcome::CameIn));
        says(&half, "ctr image pull", State::Detected, "the canary came in");
        says(&half, "CRI", State::Open, "the canary came in");
    }

    #[test]
    fn a_canary_that_another_verifier_blocks_proves_nothing_of_ratifyd() {
        let blocked = || Outcome::Blocked("verifier 00-theirs rejected image".to_owned());
        let entry = |role| Entry { path: PathBuf::from("/v/e"), target: PathBuf::from("/e"), role };
        for (roles, state) in [
            (&[Role::Other][..], State::Open),
            (&[Role::Audit, Role::Other], State::Open),
            (&[Role::Other, Role::Enforcing], State::Open),
            (&[Role::Enforcing], State::Prevented),
            (&[Role::Broken], State::Prevented),
        ] {
            let entries = roles.iter().map(|&role| entry(role)).collect();
            let folder = Some(Folder { path: PathBuf::from("/v"), entries, problems: Vec::new() });
            let routes = judge(&Facts { folder, ..facts(Version(2, 1), DUMP) }, &proof(blocked(), blocked()));
            says(&routes, "ctr image pull", state, "00-theirs");
            says(&routes, "CRI", state, "00-theirs");
        }
    }

    #[test]
    fn what_opens_cri_at_containerds_next_start_is_told_while_it_is_refused() {
        let dump = DUMP.replace("use_local_image_pull = false", "use_local_image_pull = true");
        let told = |dump: &str, cri| {
            let problem = after_a_restart(&facts(Version(2, 1), dump), &proof(Outcome::Refused, cri));
            problem.map(|problem| problem.severity)
        };
        assert_eq!(told(&dump, Outcome::Refused), Some(Severity::Error));
        assert_eq!(told(&dump, Outcome::CameIn), None, "the route says it");
        assert_eq!(told(DUMP, Outcome::Refused), None);
    }

    #[test]
    fn another_containerd_is_open_unless_one_is_asked_of_by_name() {
        for named in [false, true] {
            let facts = Facts { siblings: vec![4711], named, ..facts(Version(2, 1), DUMP) };
            let routes = judge(&facts, &proof(Outcome::Refused, Outcome::Refused));
            let is_open = routes.iter().any(|route| route.route.contains("pid 4711") && route.state == State::Open);
            assert_eq!(is_open, !named);
        }
    }

    #[test]
    fn programs_that_pull_by_themselves_are_open_whatever_containerd_does() {
        let others = vec![("Docker Engine", PathBuf::from("/run/docker.sock"))];
        let routes = judge(&Facts { others, ..facts(Version(2, 1), DUMP) }, &proof(Outcome::Refused, Outcome::Refused));
        says(&routes, "Docker Engine", State::Open, "asks no verifier");
        assert!(routes.iter().any(|route| route.root_only && route.state == State::Open));
    }
}
