//! Assigns signers to rules so that no signer counts twice. Rules that can be satisfied at once by distinct
//! signers are a matching between rules and signers; thresholds say how many of which rules are needed.

use std::collections::{BTreeMap, BTreeSet};

use crate::limits;
use crate::report::ArtifactId;

/// Who speaks for a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Signer<'a> {
    /// A signing key's fingerprint, or the name in its certificate.
    Known(&'a str),
    /// An artifact that could not be checked, or not yet: it might bring a signer of its own.
    Unknown(ArtifactId),
}

/// All that speaks for one rule.
#[derive(Clone, Debug, Default)]
pub(super) struct Support<'a> {
    /// Something passed that is no signature, and takes no signer away from another rule.
    pub free: bool,
    /// The signers that could be counted for it.
    pub signers: BTreeSet<Signer<'a>>,
}

impl<'a> Support<'a> {
    /// Counts something that passed, by its signer where it has one.
    pub(super) fn add(&mut self, signer: Option<&'a str>) {
        match signer {
            Some(signer) => {
                self.signers.insert(Signer::Known(signer));
            }
            None => self.free = true,
        }
    }

    /// Counts an artifact that might bring a signer.
    pub(super) fn add_unknown(&mut self, artifact: ArtifactId) {
        self.signers.insert(Signer::Unknown(artifact));
    }
}

/// A tree of thresholds over rules with their support.
#[derive(Clone, Debug)]
pub(super) enum Gate<'a> {
    Leaf(Support<'a>),
    Group { threshold: usize, gates: Vec<Gate<'a>> },
}

/// Whether distinct signers can be assigned so that the tree holds. Where the search would take more than
/// [`limits::POLICY_STEPS`] the answer is `undecided`.
pub(super) fn holds(gate: &Gate<'_>, undecided: bool) -> bool {
    let mut steps = limits::POLICY_STEPS;
    match choose(vec![gate], &Matching::default(), &mut steps) {
        Some(found) => found,
        None => undecided,
    }
}

/// Satisfies all open gates, or says that it cannot be done; `None` when the steps are spent.
fn choose(mut open: Vec<&Gate<'_>>, matching: &Matching<'_>, steps: &mut usize) -> Option<bool> {
    *steps = steps.checked_sub(1)?;
    let Some(gate) = open.pop() else { return Some(true) };
    match gate {
        Gate::Leaf(support) => {
            let mut matching = matching.clone();
            if matching.add(support) { choose(open, &matching, steps) } else { Some(false) }
        }
        Gate::Group { threshold, gates } => pick(gates, *threshold, &open, matching, steps),
    }
}

/// Satisfies `threshold` of `gates` and all that is open.
fn pick(
    gates: &[Gate<'_>],
    threshold: usize,
    open: &[&Gate<'_>],
    matching: &Matching<'_>,
    steps: &mut usize,
) -> Option<bool> {
    if gates.len() < threshold {
        return Some(false);
    }
    let Some((first, rest)) = gates.split_first().filter(|_| threshold > 0) else {
        return choose(open.to_vec(), matching, steps);
    };
    let leaves_only = gates.iter().all(|gate| matches!(gate, Gate::Leaf(_)));
    if open.is_empty() && leaves_only {
        // The sets of rules that can be matched form a matroid: taking whichever fits yields the largest set.
        let mut matching = matching.clone();
        let matched = gates.iter().filter(|gate| matches!(gate, Gate::Leaf(support) if matching.add(support))).count();
        return Some(matched >= threshold);
    }
    *steps = steps.checked_sub(1)?;
    let with_first = Gate::Group { threshold: threshold.saturating_sub(1), gates: rest.to_vec() };
    let mut open_with_first = open.to_vec();
    open_with_first.extend([&with_first, first]);
    if choose(open_with_first, matching, steps)? {
        return Some(true);
    }
    pick(rest, threshold, open, matching, steps)
}

/// Rules that are satisfied together, each by a signer of its own.
#[derive(Clone, Default)]
struct Matching<'a> {
    rules: Vec<BTreeSet<Signer<'a>>>,
    taken: BTreeMap<Signer<'a>, usize>,
}

impl<'a> Matching<'a> {
    /// Adds a rule if a signer can be found for it, moving earlier rules to other signers where needed.
    fn add(&mut self, support: &Support<'a>) -> bool {
        if support.free {
            return true;
        }
        self.rules.push(support.signers.clone());
        let rule = self.rules.len().saturating_sub(1);
        let added = self.augment(rule, &mut BTreeSet::new());
        if !added {
            self.rules.pop();
        }
        added
    }

    /// One augmenting path (Kuhn's algorithm); as deep as there are rules, [`limits::POLICY_RULES`] at most.
    fn augment(&mut self, rule: usize, seen: &mut BTreeSet<Signer<'a>>) -> bool {
        let signers = self.rules.get(rule).cloned().unwrap_or_default();
        for signer in signers {
            if !seen.insert(signer) {
                continue;
            }
            let free = match self.taken.get(&signer).copied() {
                None => true,
                Some(holder) => self.augment(holder, seen),
            };
            if free {
                self.taken.insert(signer, rule);
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(keys: &[&'static str]) -> Gate<'static> {
        Gate::Leaf(Support { free: false, signers: keys.iter().map(|key| Signer::Known(key)).collect() })
    }

    fn group(threshold: usize, gates: Vec<Gate<'static>>) -> Gate<'static> {
        Gate::Group { threshold, gates }
    }

    #[test]
    fn one_signer_counts_for_one_rule() {
        assert!(!holds(&group(2, vec![leaf(&["k"]), leaf(&["k"])]), true));
        assert!(holds(&group(1, vec![leaf(&["k"]), leaf(&["k"])]), false));
        assert!(holds(&group(2, vec![leaf(&["k"]), leaf(&["k", "l"])]), false));
        assert!(holds(&group(2, vec![leaf(&["k", "l"]), leaf(&["k"])]), false));
        assert!(!holds(&group(3, vec![leaf(&["k", "l"]), leaf(&["k", "l"]), leaf(&["k", "l"])]), true));
    }

    #[test]
    fn one_signer_counts_once_across_groups_too() {
        let any = |a: &[&'static str], b: &[&'static str]| group(1, vec![leaf(a), leaf(b)]);
        assert!(!holds(&group(2, vec![any(&["k"], &[]), any(&["k"], &[])]), true));
        assert!(holds(&group(2, vec![any(&["k"], &[]), any(&["k"], &["l"])]), false));
        assert!(holds(&group(2, vec![any(&["k"], &["m"]), group(2, vec![leaf(&["k"]), leaf(&["l"])])]), false));
        assert!(!holds(&group(2, vec![any(&["k"], &["l"]), group(2, vec![leaf(&["k"]), leaf(&["l"])])]), true));
    }

    #[test]
    fn what_is_no_signature_takes_no_signer_away() {
        let free = || Gate::Leaf(Support { free: true, signers: BTreeSet::new() });
        assert!(holds(&group(3, vec![free(), free(), leaf(&["k"])]), false));
    }

    #[test]
    fn a_search_that_takes_too_long_is_undecided() {
        // 32 groups of two rules, all of which only 31 signers could satisfy.
        let names: Vec<&'static str> =
            "abcdefghijklmnopqrstuvwxyzABCDE".split("").filter(|name| !name.is_empty()).collect();
        let groups = (0..32).map(|_| group(1, vec![leaf(&names), leaf(&names)])).collect();
        let gate = group(32, groups);
        assert!(!holds(&gate, false) && holds(&gate, true));
    }
}
