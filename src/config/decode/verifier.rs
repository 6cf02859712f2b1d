//! Verifiers, as written in the file.

use crate::config::decode::cosign::cosign;
use crate::config::decode::notation::notation;
use crate::config::decode::plugin;
use crate::config::decode::trust_store::Providers;
use crate::config::file::decoder::{Decoder, Item, quote, suggest};
use crate::config::{Spanned, Verifier, VerifierKind};
use crate::limits;

/// Types of verifiers.
#[derive(Clone, Copy)]
enum Type {
    Cosign,
    Notation,
    Plugin,
}

const TYPES: [(&str, Type); 3] = [("cosign", Type::Cosign), ("notation", Type::Notation), ("plugin", Type::Plugin)];

/// The verifiers of an executor.
pub struct Verifiers {
    /// All of them, unless one has a problem.
    pub all: Option<Vec<Verifier>>,
    /// Their names, also of those with problems: policy rules may name them.
    pub names: Vec<Spanned<String>>,
}

/// The verifiers of an executor.
pub fn verifiers(decoder: &mut Decoder<'_>, item: &Item<'_>, providers: &Providers) -> Option<Verifiers> {
    let items = decoder.filled_array(item)?;
    let mut names = Vec::new();
    let all: Vec<_> = items.iter().map(|item| verifier(decoder, item, providers, &mut names)).collect();
    Some(Verifiers { all: all.into_iter().collect(), names })
}

fn verifier(
    decoder: &mut Decoder<'_>,
    item: &Item<'_>,
    providers: &Providers,
    names: &mut Vec<Spanned<String>>,
) -> Option<Verifier> {
    let mut table = decoder.table(item)?;
    let name = match decoder.required(&mut table, "name") {
        Some(item) => name(decoder, &item, names, "verifier"),
        None => None,
    };
    let known_type = match decoder.required(&mut table, "type") {
        Some(item) => known_type(decoder, &item),
        None => None,
    };
    let parameters = match known_type {
        Some(_) => decoder.required(&mut table, "parameters"),
        None => {
            // The parameters of a type that is not known cannot be judged.
            table.optional("parameters");
            None
        }
    };
    decoder.finish(table);
    let (known_type, parameters) = (known_type?, parameters?);
    let kind = match known_type {
        Type::Cosign => cosign(decoder, &parameters, providers).map(VerifierKind::Cosign),
        Type::Notation => notation(decoder, &parameters, providers).map(VerifierKind::Notation),
        Type::Plugin => plugin::of_verifier(decoder, &parameters, name.as_deref()).map(VerifierKind::Plugin),
    };
    Some(Verifier { name: name?, kind: kind? })
}

/// A name that only one of its kind has.
pub fn name(
    decoder: &mut Decoder<'_>,
    item: &Item<'_>,
    names: &mut Vec<Spanned<String>>,
    kind: &str,
) -> Option<String> {
    let name = decoder.string(item)?;
    let of_name = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.len() > limits::VERIFIER_NAME_BYTES || !name.chars().all(of_name) {
        let hint = format!("1 to {} letters, digits, dots, underscores and hyphens", limits::VERIFIER_NAME_BYTES);
        decoder.problems.push_with_hint(
            &item.place(),
            format!("{} is not {} {kind}'s name", quote(&name), article(kind)),
            hint,
        );
        return None;
    }
    if let Some(first) = names.iter().find(|first| first.value == name) {
        let message = format!("name {name:?} is taken by {} in line {}", first.place.path, first.place.line);
        decoder.problems.push(&item.place(), message);
        return None;
    }
    names.push(Spanned { value: name.clone(), place: item.place() });
    Some(name)
}

fn article(kind: &str) -> &'static str {
    if kind.starts_with('e') { "an" } else { "a" }
}

fn known_type(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<Type> {
    let found = decoder.string(item)?;
    let known = TYPES.iter().find(|(name, _)| *name == found).map(|(_, known)| *known);
    if known.is_none() {
        let message = format!("unknown verifier type {}", quote(&found));
        decoder.problems.push_with_hint(&item.place(), message, suggest(&found, &TYPES.map(|(name, _)| name), "known"));
    }
    known
}
