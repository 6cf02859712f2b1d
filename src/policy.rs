//! The threshold policy: a tree of rules over recorded findings (Ratify v2's `threshold-policy`).
//! It decides from the report alone: no network, no bytes, no clock.
//!
//! A rule that names a verifier is satisfied by a referrer that this verifier passes and, where it has rules of
//! its own, by that referrer's referrers. A rule without a verifier groups others. A group holds when enough of
//! its rules do; within it one signer counts for one rule only, so n of m always means n signers: n keys, and n names
//! too, as far as certificates name them. One person with two certificates, by renewal or otherwise, is one signer.
//! The policy is monotone: a finding that did not pass, whatever it is, never helps.

use crate::config::Rule;
use crate::limits;
use crate::report::{Artifact, ArtifactId, Listing, Outcome, Read, Report};

mod assign;

use assign::{Gate, Support};

/// A policy: its root is a group.
#[derive(Clone, Debug)]
pub struct Policy {
    root: Rule,
}

/// How a policy stands while a walk goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It holds, whatever else is found.
    Satisfied,
    /// It does not hold, but could if what is unknown turned out well.
    Open,
    /// It does not hold, and nothing unknown can change that.
    Failed,
}

/// How to count what is not known: faults and unfinished checks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum View {
    /// As not satisfied.
    Known,
    /// As if each had turned out well.
    Hopeful,
}

impl Policy {
    /// A policy with this root.
    ///
    /// # Errors
    /// In words: the root names a verifier, a threshold is not between 1 and the number of rules, a group has no
    /// rules, or there are more than [`limits::POLICY_RULES`] rules. Nothing that could hold without a finding passes.
    pub fn new(root: Rule) -> Result<Self, String> {
        if root.verifier.is_some() {
            return Err("the root of a policy is a group, it names no verifier".to_owned());
        }
        if count(&root) > limits::POLICY_RULES {
            return Err(format!("the policy has more than {} rules", limits::POLICY_RULES));
        }
        check(&root)?;
        Ok(Self { root })
    }

    /// Whether the policy holds, whatever else is found.
    #[must_use]
    pub fn is_satisfied(&self, report: &Report) -> bool {
        holds(report, Report::SUBJECT, &self.root, View::Known)
    }

    /// How the policy stands.
    #[must_use]
    pub fn standing(&self, report: &Report) -> Standing {
        if self.is_satisfied(report) {
            Standing::Satisfied
        } else if holds(report, Report::SUBJECT, &self.root, View::Hopeful) {
            Standing::Open
        } else {
            Standing::Failed
        }
    }

    /// The verifiers whose findings on the referrers of an artifact could matter.
    #[must_use]
    pub fn verifiers_below(&self, report: &Report, id: ArtifactId) -> Vec<&str> {
        let groups = self.in_force(report, id).into_iter();
        let mut names: Vec<&str> = groups.flat_map(leaves).filter_map(|leaf| leaf.verifier.as_deref()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Whether the referrers of this artifact could matter.
    #[must_use]
    pub fn wants_referrers(&self, report: &Report, id: ArtifactId) -> bool {
        !self.in_force(report, id).is_empty()
    }

    /// The verifiers of the root's rules that no referrer of the subject has passed.
    #[must_use]
    pub fn unmet(&self, report: &Report) -> Vec<&str> {
        leaves(&self.root)
            .into_iter()
            .filter(|leaf| {
                let [by_key, _] = supports(report, Report::SUBJECT, leaf, View::Known);
                !by_key.free && by_key.signers.is_empty()
            })
            .filter_map(|leaf| leaf.verifier.as_deref())
            .collect()
    }

    /// The groups of rules that apply to the referrers of an artifact: the root for the subject, and for a
    /// referrer the rules below those of the verifiers that passed it.
    fn in_force(&self, report: &Report, id: ArtifactId) -> Vec<&Rule> {
        let Some(artifact) = report.get(id) else { return Vec::new() };
        let Some(parent) = artifact.parent else { return vec![&self.root] };
        let passed = |leaf: &&Rule| {
            let by_rule = |name: &str| leaf.verifier.as_deref() == Some(name);
            artifact
                .findings
                .iter()
                .any(|finding| by_rule(&finding.verifier) && matches!(finding.outcome, Outcome::Passed(_)))
        };
        let above = self.in_force(report, parent).into_iter().flat_map(leaves);
        above.filter(|leaf| !leaf.rules.is_empty()).filter(passed).collect()
    }
}

fn count(rule: &Rule) -> usize {
    rule.rules.iter().map(count).fold(1, usize::saturating_add)
}

fn check(rule: &Rule) -> Result<(), String> {
    let is_leaf = rule.verifier.is_some() && rule.rules.is_empty();
    if is_leaf && rule.threshold != 0 || !is_leaf && !(1..=rule.rules.len()).contains(&rule.threshold) {
        return Err(format!("threshold {} does not fit {} rules", rule.threshold, rule.rules.len()));
    }
    rule.rules.iter().try_for_each(check)
}

/// The rules with a verifier among a group's rules, through groups but not through verifiers.
fn leaves(group: &Rule) -> Vec<&Rule> {
    group.rules.iter().flat_map(|rule| if rule.verifier.is_some() { vec![rule] } else { leaves(rule) }).collect()
}

/// Whether a group's rules hold for the referrers of an artifact.
fn holds(report: &Report, id: ArtifactId, group: &Rule, view: View) -> bool {
    let Some(artifact) = report.get(id) else { return false };
    // What any place names counts, whatever becomes of the others; but what is missing from one that is not whole, or not
    // of now, might be enough, so that it never denies.
    let is_open = |listing: &Listing| match listing {
        Listing::Pending | Listing::Fault(_) | Listing::Stale { .. } => true,
        Listing::Whole(_) | Listing::NotAsked => false,
    };
    if view == View::Hopeful && artifact.listings().any(is_open) {
        return true;
    }
    // Each by itself is monotone, and so are both: more signatures never make one person of two.
    gates(report, id, group, view).iter().all(|gate| assign::holds(gate, view == View::Hopeful))
}

/// A group's rules with their support, as [`supports`] tells signers apart.
fn gates<'a>(report: &'a Report, id: ArtifactId, group: &'a Rule, view: View) -> [Gate<'a>; 2] {
    let gates = group.rules.iter().map(|rule| {
        let [by_key, by_name] = match rule.verifier {
            Some(_) => supports(report, id, rule, view).map(Gate::Leaf),
            None => gates(report, id, rule, view),
        };
        (by_key, by_name)
    });
    let (by_key, by_name) = gates.unzip();
    [by_key, by_name].map(|gates| Gate::Group { threshold: group.threshold, gates })
}

/// What speaks for a verifier's rule among the referrers of an artifact: signers told apart by their keys, then by the
/// names in their certificates, or the key where there is none. Both at once: asking the levels below once for each
/// would take twice as long at every level.
fn supports<'a>(report: &'a Report, id: ArtifactId, rule: &Rule, view: View) -> [Support<'a>; 2] {
    let mut supports: [Support<'a>; 2] = Default::default();
    let referrers = report.get(id).into_iter().flat_map(Artifact::known);
    if rule.rules.is_empty() && report.get(id).is_some_and(|artifact| is_skipped(artifact, rule)) {
        supports.iter_mut().for_each(|support| support.add(None));
    }
    for referrer in referrers {
        let Some(artifact) = report.get(referrer) else { continue };
        // More signers than there are rules cannot help, and a hostile list may be long.
        let has_room = supports.iter().any(|support| support.signers.len() < limits::POLICY_RULES);
        let is_hopeful = view == View::Hopeful && has_room;
        let mut is_unknown = matches!(artifact.manifest, Read::Pending | Read::Fault(_));
        for finding in artifact.findings.iter().filter(|finding| Some(&finding.verifier) == rule.verifier.as_ref()) {
            match &finding.outcome {
                Outcome::Passed(pass) => {
                    if rule.rules.is_empty() || holds(report, referrer, rule, view) {
                        let key = pass.signer.as_deref();
                        let name = pass.identity.as_deref().or(key);
                        supports.iter_mut().zip([key, name]).for_each(|(support, signer)| support.add(signer));
                    }
                }
                Outcome::Fault { .. } => is_unknown = true,
                Outcome::Failed(_) | Outcome::Skipped { .. } => {}
            }
        }
        if is_hopeful && is_unknown {
            supports.iter_mut().for_each(|support| support.add_unknown(referrer));
        }
    }
    supports
}

/// Whether a rule's verifier asks for no evidence on the subject of a walk. On a referrer there is no such thing.
fn is_skipped(artifact: &Artifact, rule: &Rule) -> bool {
    artifact.parent.is_none()
        && artifact.findings.iter().any(|finding| {
            Some(&finding.verifier) == rule.verifier.as_ref() && matches!(finding.outcome, Outcome::Skipped { .. })
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::{Descriptor, IMAGE_MANIFEST};
    use crate::report::Fault;

    #[test]
    fn a_list_of_faults_without_end_is_weighed_by_no_more_of_them_than_there_can_be_rules() {
        let digest = format!("sha256:{}", "a".repeat(64)).parse().unwrap();
        let descriptor = Descriptor { media_type: IMAGE_MANIFEST.to_owned(), digest, size: 1 };
        let mut report = Report::new(descriptor.clone());
        let faulty: Vec<ArtifactId> =
            (0..limits::REFERRERS).map(|_| report.add(Report::SUBJECT, descriptor.clone())).collect();
        for id in &faulty {
            report.get_mut(*id).unwrap().manifest = Read::Fault(Fault::new("gone"));
        }
        report.get_mut(Report::SUBJECT).unwrap().referrers = Listing::Whole(faulty);
        let leaf = Rule { verifier: Some("v".to_owned()), threshold: 0, rules: Vec::new() };
        for support in supports(&report, Report::SUBJECT, &leaf, View::Hopeful) {
            assert_eq!(support.signers.len(), limits::POLICY_RULES);
        }
        for support in supports(&report, Report::SUBJECT, &leaf, View::Known) {
            assert!(support.signers.is_empty());
        }
        // As many as any policy can ask for are still enough to hope for it.
        let rules = limits::POLICY_RULES - 1;
        let policy = Policy::new(Rule { verifier: None, threshold: rules, rules: vec![leaf; rules] }).unwrap();
        assert_eq!(policy.standing(&report), Standing::Open);
    }
}
