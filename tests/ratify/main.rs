//! Ratify v1's own plugins, unmodified, say under ratifyd what they say under Ratify's command line. Both judge the same
//! referrers, which oras attaches, in a registry, with the same program and configuration; every difference fails the test
//! unless it stands in [`cases`], with its reason. What Ratify says is held against what each case is made for, too.

#[path = "../common/mod.rs"]
pub mod common;

mod cases;
mod documents;
mod judges;

use cases::{Case, Differs};
use common::node::Node;
use judges::{installed, installs, judged_by_ratify, judged_by_ratifyd, written};

/// Asks both about all of these, and holds their answers against each other.
fn compare(cases: &[Case]) {
    let half = cases.len().div_ceil(2).max(1);
    let wrong: Vec<String> = std::thread::scope(|threads| {
        let asking: Vec<_> = cases.chunks(half).map(|cases| threads.spawn(|| differences(cases))).collect();
        asking.into_iter().flat_map(|asking| asking.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

fn differences(cases: &[Case]) -> Vec<String> {
    let judged = cases.iter().filter_map(|case| {
        let attached = case.attach();
        let (theirs, ours) = (judged_by_ratify(case, &attached), judged_by_ratifyd(case, &attached));
        // Ratify passes over the reason that a plugin gives beside its message.
        let meant = theirs.says(case.good, if theirs.words.is_empty() { "" } else { case.words })
            && (case.differs.is_some() || ours.says(case.good, case.words));
        let same = match &case.differs {
            None => ours.is_as(&theirs),
            Some(Differs { good, words, .. }) => !ours.is_as(&theirs) && ours.says(*good, words),
        };
        let Case { name, good, words, .. } = case;
        let reviewed = case.differs.as_ref().map_or("", |differs| differs.reason);
        (!meant || !same)
            .then(|| format!("{name}: {good} {words:?} {reviewed}\n  ratify: {theirs:?}\n  ratifyd: {ours:?}"))
    });
    judged.collect()
}

#[test]
fn ratifys_sbom_plugin_says_what_it_says_under_ratify() {
    needs!();
    installs();
    compare(&cases::sbom());
}

#[test]
fn ratifys_vulnerability_report_plugin_says_what_it_says_under_ratify() {
    needs!();
    installs();
    compare(&cases::vulnerability_report());
}

#[test]
fn ratifys_schema_validator_plugin_says_what_it_says_under_ratify() {
    needs!();
    installs();
    compare(&cases::schema_validator());
}

#[test]
fn ratifys_license_checker_plugin_says_what_it_says_under_ratify() {
    needs!();
    installs();
    compare(&cases::license_checker());
}

#[test]
fn ratifys_sample_plugin_says_what_it_says_under_ratify() {
    needs!();
    installs();
    compare(&cases::sample());
}

#[test]
fn a_pull_is_allowed_and_refused_by_ratifys_plugins() {
    needs!();
    installs();
    let cases = cases::sbom();
    let case = |name: &str| cases.iter().find(|case| case.name == name).unwrap();
    let [good, bad] = ["sbom: no rules", "sbom: a license that is not allowed"].map(case);
    let [allowed, refused] = [good, bad].map(Case::attach);
    let both = format!("{}\n{}", written(good, &allowed), written(bad, &refused));
    let node = Node::start(&format!("{both}\n[plugins]\npath = {:?}\nuser = \"65534\"\n", installed()));
    node.allows(&allowed, "ALLOWED");
    let reason = node.refuses(&refused, "DENIED", "SBOM validation failed");
    assert!(reason.contains("/sbom: ") && reason.contains("License or package violation found"), "{reason}");
}
