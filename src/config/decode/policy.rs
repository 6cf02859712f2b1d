//! Threshold policies, as written in the file: a tree of rules that names verifiers.

use std::collections::BTreeSet;

use crate::config::file::decoder::{Decoder, Item, quote, suggest};
use crate::config::{Rule, Spanned};
use crate::limits;

/// The policy that is written.
pub fn enforcer(decoder: &mut Decoder<'_>, item: &Item<'_>, names: &[Spanned<String>]) -> Option<Rule> {
    let mut table = decoder.table(item)?;
    let known_type = match decoder.required(&mut table, "type") {
        Some(item) => decoder.choice(&item, &[("threshold-policy", ())]),
        None => None,
    };
    let parameters = decoder.required(&mut table, "parameters");
    decoder.finish(table);
    known_type?;
    let mut table = decoder.table(&parameters?)?;
    let policy = decoder.required(&mut table, "policy");
    decoder.finish(table);
    let policy = policy?;
    let mut rules = Rules { names, named: BTreeSet::new(), count: 0 };
    let root = rules.rule(decoder, &policy, 0);
    too_many(decoder, &policy, rules.count)?;
    // A verifier that no rule names would never run: a slip of whoever added it.
    for name in names.iter().filter(|name| root.is_some() && !rules.named.contains(&name.value)) {
        let hint = format!("add a rule to {}, or remove the verifier", policy.place().path);
        decoder.problems.push_with_hint(&name.place, format!("no rule names verifier {:?}", name.value), hint);
    }
    root
}

/// The policy where none is written: every verifier must find a valid referrer. `item` is where they are listed.
pub fn all(decoder: &mut Decoder<'_>, item: &Item<'_>, names: &[Spanned<String>]) -> Option<Rule> {
    too_many(decoder, item, names.len())?;
    let leaf = |name: &Spanned<String>| Rule { verifier: Some(name.value.clone()), threshold: 0, rules: Vec::new() };
    Some(Rule { verifier: None, threshold: names.len(), rules: names.iter().map(leaf).collect() })
}

fn too_many(decoder: &mut Decoder<'_>, item: &Item<'_>, rules: usize) -> Option<()> {
    if rules > limits::POLICY_RULES {
        let message = format!("the policy has {rules} rules, the limit is {}", limits::POLICY_RULES);
        decoder.problems.push(&item.place(), message);
        return None;
    }
    Some(())
}

/// The walk over the rules of one policy.
struct Rules<'a> {
    names: &'a [Spanned<String>],
    /// The verifiers that a rule names.
    named: BTreeSet<String>,
    /// The rules below the root.
    count: usize,
}

impl Rules<'_> {
    /// One rule and those below it. The root is level 0; a level of rules speaks of at most that level of referrers.
    fn rule(&mut self, decoder: &mut Decoder<'_>, item: &Item<'_>, level: usize) -> Option<Rule> {
        if level > limits::DEPTH {
            let message = format!("the policy is deeper than the limit of {} levels", limits::DEPTH);
            decoder.problems.push(&item.place(), message);
            return None;
        }
        let mut table = decoder.table(item)?;
        let name_item = if level == 0 {
            decoder.refused(&mut table, "verifierName", "the root of a policy names no verifier: write a rule for it");
            None
        } else {
            table.optional("verifierName")
        };
        let rules_item = table.optional("rules");
        let threshold_item = table.optional("threshold");
        decoder.finish(table);
        if name_item.is_none() && rules_item.is_none() {
            decoder.problems.push(
                &item.place(),
                match level {
                    0 => "the policy has no rules",
                    _ => "the rule has neither verifierName nor rules",
                },
            );
            return None;
        }
        let verifier = name_item.map(|item| self.verifier(decoder, &item));
        let (written, rules) = match rules_item {
            Some(item) => self.rules(decoder, &item, level)?,
            None => (0, Some(Vec::new())),
        };
        let threshold = match threshold_item {
            Some(item) => threshold(decoder, &item, written),
            None => Some(written),
        };
        let verifier = match verifier {
            Some(name) => Some(name?),
            None => None,
        };
        Some(Rule { verifier, threshold: threshold?, rules: rules? })
    }

    /// How many rules are written, and the rules unless one has a problem.
    fn rules(
        &mut self,
        decoder: &mut Decoder<'_>,
        item: &Item<'_>,
        level: usize,
    ) -> Option<(usize, Option<Vec<Rule>>)> {
        let items = decoder.filled_array(item)?;
        self.count += items.len();
        let rules: Vec<_> = items.iter().map(|item| self.rule(decoder, item, level + 1)).collect();
        Some((items.len(), rules.into_iter().collect()))
    }

    fn verifier(&mut self, decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<String> {
        let name = decoder.literal(item)?;
        if !self.names.iter().any(|known| known.value == name.value) {
            let known: Vec<&str> = self.names.iter().map(|known| known.value.as_str()).collect();
            let hint = suggest(&name.value, &known, "listed");
            decoder.problems.push_with_hint(&name.place, format!("no verifier is named {}", quote(&name.value)), hint);
            return None;
        }
        self.named.insert(name.value.clone());
        Some(name.value)
    }
}

/// How many of `rules` must hold; 0 stands for all.
fn threshold(decoder: &mut Decoder<'_>, item: &Item<'_>, rules: usize) -> Option<usize> {
    let max = u64::try_from(rules).unwrap_or(u64::MAX);
    let threshold = usize::try_from(decoder.integer(item, 0..=max)?).ok()?;
    Some(if threshold == 0 { rules } else { threshold })
}
