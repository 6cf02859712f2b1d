//! Turns a finished walk into one answer and the one cause that the user sees.
//!
//! Denied or unavailable: if the policy could still have been satisfied had the faulty or unfinished checks
//! turned out well, the answer is UNAVAILABLE, otherwise DENIED.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::executor::Judged;
use crate::policy::{Policy, Standing};
use crate::reference::Repository;
use crate::report::{Artifact, Failure, Fault, Listing, Outcome, Read, Report};
use crate::verdict::{Class, Conclusion};

pub(super) fn conclude(policy: &Policy, repository: &Repository, report: Report, out_of_time: bool) -> Judged {
    let (conclusion, class) = match policy.standing(&report) {
        Standing::Satisfied if skips(&report).next().is_some() => {
            let parts = skips(&report).chain([who(&report)].into_iter().filter(|who| !who.is_empty()));
            (Conclusion::Exempt(join(parts)), Class::Skipped)
        }
        Standing::Satisfied => {
            let parts = [who(&report)].into_iter().chain(stale(&report).next().map(|(fault, _)| fault.to_string()));
            (Conclusion::Satisfied(join(parts)), Class::Satisfied)
        }
        Standing::Open => {
            let (cause, class) = fault(repository, &report, out_of_time);
            (Conclusion::unavailable(cause), class)
        }
        Standing::Failed => (Conclusion::denied(why(policy, &report)), Class::Policy),
    };
    let valid_until = passes(&report).filter_map(|(_, pass)| pass.valid_until).min();
    let lists_last = stale(&report).map(|(_, left)| left).min();
    Judged { conclusion, class, report, valid_until, lists_last, out_of_time }
}

/// The lists that are not of now: why, and how long they may still be used.
fn stale(report: &Report) -> impl Iterator<Item = (&Fault, Duration)> {
    report.artifacts().iter().flat_map(Artifact::listings).filter_map(|listing| match listing {
        Listing::Stale { fault, left, .. } => Some((fault, *left)),
        Listing::NotAsked | Listing::Pending | Listing::Whole(_) | Listing::Fault(_) => None,
    })
}

/// What was not looked at because the configuration says so.
fn skips(report: &Report) -> impl Iterator<Item = String> {
    report.findings().filter_map(|(_, finding)| match &finding.outcome {
        Outcome::Skipped { cause } => Some(format!("{}: {cause}", finding.verifier)),
        Outcome::Passed(_) | Outcome::Failed(_) | Outcome::Fault { .. } => None,
    })
}

fn passes(report: &Report) -> impl Iterator<Item = (&str, &crate::report::Pass)> {
    report.findings().filter_map(|(_, finding)| match &finding.outcome {
        Outcome::Passed(pass) => Some((finding.verifier.as_str(), pass)),
        Outcome::Failed(_) | Outcome::Skipped { .. } | Outcome::Fault { .. } => None,
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
fn fault(repository: &Repository, report: &Report, out_of_time: bool) -> (String, Class) {
    let faults: Vec<(String, Class)> = report.artifacts().iter().flat_map(faults_of).collect();
    let first = match faults.split_first() {
        None => None,
        Some((first, [])) => Some(first.clone()),
        Some(((first, class), rest)) => Some((format!("{first} (and {} more)", rest.len()), *class)),
    };
    match (out_of_time, first) {
        (false, None) => {
            let cause = "the policy is too intricate to be decided: simplify its nested groups";
            (cause.to_owned(), Class::Unchecked)
        }
        (true, None) => {
            (format!("the time ran out before {} had answered; try again", repository.registry()), Class::Time)
        }
        (true, Some((first, _))) => (format!("the time ran out, and {first}"), Class::Time),
        (false, Some(first)) => first,
    }
}

fn faults_of(artifact: &Artifact) -> Vec<(String, Class)> {
    let mut faults = Vec::new();
    if let Read::Fault(fault) = &artifact.manifest {
        faults.push((format!("referrer {}: {fault}", artifact.descriptor.digest), fault.class()));
    }
    faults.extend(artifact.listings().filter_map(|listing| match listing {
        Listing::Fault(fault) | Listing::Stale { fault, .. } => Some((fault.to_string(), fault.class())),
        Listing::Whole(_) | Listing::Pending | Listing::NotAsked => None,
    }));
    faults.extend(artifact.findings.iter().filter_map(|finding| match &finding.outcome {
        Outcome::Fault { cause } => Some((format!("{}: {cause}", finding.verifier), cause.class())),
        Outcome::Passed(_) | Outcome::Skipped { .. } | Outcome::Failed(_) => None,
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
            // What is said of the image itself names no signature.
            let of =
                artifact.parent.map_or_else(String::new, |_| format!(" (signature {})", artifact.descriptor.digest));
            format!("{verifier}: {}{of}{more}", failure.cause)
        }));
    }
    let skipped: Vec<String> = unmet.iter().filter_map(|verifier| skipped_above(report, verifier)).collect();
    if !skipped.is_empty() {
        return join(skipped.into_iter());
    }
    if unmet.is_empty() {
        return format!("what passed is not enough for the policy, which counts each signer once: {}", who(report));
    }
    let unmet: Vec<String> = unmet.into_iter().map(|name| format!("{name:?}")).collect();
    format!("no signature for verifier {}: {}", unmet.join(" and "), nothing_found(report))
}

/// Why a rule does not hold whose verifier asks for nothing: it has rules below it.
fn skipped_above(report: &Report, verifier: &str) -> Option<String> {
    let outcome =
        report.findings().find(|(_, finding)| finding.verifier == verifier).map(|(_, finding)| &finding.outcome);
    match outcome {
        Some(Outcome::Skipped { cause }) => {
            Some(format!("{verifier}: {cause}, and the rules below it are about what it would have verified"))
        }
        Some(Outcome::Passed(_) | Outcome::Failed(_) | Outcome::Fault { .. }) | None => None,
    }
}

/// The failure that came furthest, the first of equals, and how many others there are.
fn most_specific<'a>(report: &'a Report, verifier: &'a str) -> Option<(&'a str, &'a Artifact, &'a Failure, usize)> {
    let failures: Vec<_> = report
        .findings()
        .filter(|(_, finding)| finding.verifier == verifier)
        .filter_map(|(artifact, finding)| match &finding.outcome {
            Outcome::Failed(failure) => Some((artifact, failure)),
            Outcome::Passed(_) | Outcome::Skipped { .. } | Outcome::Fault { .. } => None,
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
        let subject = report.get(Report::SUBJECT);
        let tags: Vec<String> =
            subject.into_iter().flat_map(|subject| &subject.elsewhere).map(|(at, _)| at.to_string()).collect();
        let tags =
            if tags.is_empty() { tags.concat() } else { format!(", and there is nothing at {}", tags.join(" and ")) };
        format!("nothing refers to this image{strangers}{tags}")
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
