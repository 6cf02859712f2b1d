//! Turns a finished walk into one answer and the one cause that the user sees.
//!
//! Denied or unavailable: if the policy could still have been satisfied had the faulty or unfinished checks
//! turned out well, the answer is UNAVAILABLE, otherwise DENIED.

use std::collections::BTreeMap;

use crate::executor::Judged;
use crate::policy::{Policy, Standing};
use crate::reference::Repository;
use crate::report::{Artifact, Failure, Listing, Outcome, Read, Report};
use crate::verdict::Conclusion;

pub(super) fn conclude(policy: &Policy, repository: &Repository, report: Report, out_of_time: bool) -> Judged {
    let conclusion = match policy.standing(&report) {
        Standing::Satisfied => Conclusion::Satisfied(who(&report)),
        Standing::Open => Conclusion::unavailable(fault(repository, &report, out_of_time)),
        Standing::Failed => Conclusion::denied(why(policy, &report)),
    };
    let valid_until = passes(&report).filter_map(|(_, pass)| pass.valid_until).min();
    Judged { conclusion, report, valid_until, out_of_time }
}

fn passes(report: &Report) -> impl Iterator<Item = (&str, &crate::report::Pass)> {
    report.findings().filter_map(|(_, finding)| match &finding.outcome {
        Outcome::Passed(pass) => Some((finding.verifier.as_str(), pass)),
        Outcome::Failed(_) | Outcome::Fault { .. } => None,
    })
}

/// Who vouches: each verifier with what it passed.
fn who(report: &Report) -> String {
    let mut by_verifier = BTreeMap::new();
    for (verifier, pass) in passes(report) {
        by_verifier.entry(verifier).or_insert(&pass.detail);
    }
    join(by_verifier.into_iter().map(|(verifier, detail)| format!("{verifier}: {detail}")))
}

/// What could not be checked: the first fault, and how many more there are.
fn fault(repository: &Repository, report: &Report, out_of_time: bool) -> String {
    let faults: Vec<String> = report.artifacts().iter().flat_map(faults_of).collect();
    let first = match faults.split_first() {
        None => String::new(),
        Some((first, [])) => first.clone(),
        Some((first, rest)) => format!("{first} (and {} more)", rest.len()),
    };
    match (out_of_time, first.is_empty()) {
        (false, true) => "the policy is too intricate to be decided: simplify its nested groups".to_owned(),
        (true, true) => format!("the time ran out before {} had answered; try again", repository.registry()),
        (true, false) => format!("the time ran out, and {first}"),
        (false, _) => first,
    }
}

fn faults_of(artifact: &Artifact) -> Vec<String> {
    let mut faults = Vec::new();
    if let Read::Fault(fault) = &artifact.manifest {
        faults.push(format!("referrer {}: {fault}", artifact.descriptor.digest));
    }
    if let Listing::Fault(fault) = &artifact.referrers {
        faults.push(fault.to_string());
    }
    faults.extend(artifact.findings.iter().filter_map(|finding| match &finding.outcome {
        Outcome::Fault { cause } => Some(format!("{}: {cause}", finding.verifier)),
        Outcome::Passed(_) | Outcome::Failed(_) => None,
    }));
    faults
}

/// Why the policy does not hold: for each verifier that passed nothing, its most specific failure.
fn why(policy: &Policy, report: &Report) -> String {
    let unmet = policy.unmet(report);
    let failures: Vec<(&str, &Artifact, &Failure, usize)> =
        unmet.iter().filter_map(|verifier| most_specific(report, verifier)).collect();
    if !failures.is_empty() {
        return join(failures.into_iter().map(|(verifier, artifact, failure, others)| {
            let more = if others > 0 { format!(" (and {others} more failed)") } else { String::new() };
            format!("{verifier}: {} (signature {}){more}", failure.cause, artifact.descriptor.digest)
        }));
    }
    if unmet.is_empty() {
        return format!("what passed is not enough for the policy, which counts each signer once: {}", who(report));
    }
    let unmet: Vec<String> = unmet.into_iter().map(|name| format!("{name:?}")).collect();
    format!("no signature for verifier {}: {}", unmet.join(" and "), nothing_found(report))
}

/// The failure that came furthest, the first of equals, and how many others there are.
fn most_specific<'a>(report: &'a Report, verifier: &'a str) -> Option<(&'a str, &'a Artifact, &'a Failure, usize)> {
    let failures: Vec<_> = report
        .findings()
        .filter(|(_, finding)| finding.verifier == verifier)
        .filter_map(|(artifact, finding)| match &finding.outcome {
            Outcome::Failed(failure) => Some((artifact, failure)),
            Outcome::Passed(_) | Outcome::Fault { .. } => None,
        })
        .collect();
    let (artifact, failure) = failures.iter().rev().max_by_key(|(_, failure)| failure.stage).copied()?;
    Some((verifier, artifact, failure, failures.len().saturating_sub(1)))
}

/// What refers to the image instead.
fn nothing_found(report: &Report) -> String {
    let mut types: Vec<&str> = Vec::new();
    let mut unrelated = 0_usize;
    for artifact in report.artifacts().iter().filter(|artifact| artifact.parent.is_some()) {
        match &artifact.manifest {
            Read::Known(artifact_type) => types.push(artifact_type),
            Read::Unrelated(_) => unrelated = unrelated.saturating_add(1),
            Read::Pending | Read::Fault(_) => {}
        }
    }
    types.sort_unstable();
    types.dedup();
    let strangers =
        if unrelated > 0 { format!(" ({unrelated} listed that refer to something else)") } else { String::new() };
    if types.is_empty() {
        format!("nothing refers to this image{strangers}")
    } else {
        let more = types.len().saturating_sub(SHOWN_TYPES);
        types.truncate(SHOWN_TYPES);
        let others = if more > 0 { format!(" and {more} other types") } else { String::new() };
        format!("what refers to this image is of type {}{others}{strangers}", types.join(", "))
    }
}

/// How many of the types that were found instead are named.
const SHOWN_TYPES: usize = 3;

fn join(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join("; ")
}
