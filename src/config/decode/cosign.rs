//! The parameters of a Cosign verifier, as written in the file: Ratify v2's keys and Ratify v1's, which say the same in
//! other words, and this project's own. What would be unsafe in either is refused with its mend.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::config::decode::cosign_signers::{identities, key_of_file, keys};
use crate::config::decode::trust_store::{Providers, path};
use crate::config::decode::tuf::tuf;
use crate::config::file::decoder::{Decoder, Item, Table, quote};
use crate::config::{Cosign, CosignPolicy, CosignSigners, DockerReference, NamedRoot, Rewrite, RootSource, Spanned};
use crate::limits;

/// The parameters.
pub fn cosign(decoder: &mut Decoder<'_>, item: &Item<'_>, providers: &Providers) -> Option<Cosign> {
    let mut table = decoder.table(item)?;
    let trusted_roots = match table.optional("trustedRoots") {
        Some(item) => trusted_roots(decoder, &item),
        None => Some(Vec::new()),
    };
    let predicate_types = match table.optional("predicateTypes") {
        Some(item) => predicate_types(decoder, &item),
        None => Some(Vec::new()),
    };
    let docker_reference = match table.optional("dockerReference") {
        Some(item) => decoder.choice(&item, &DOCKER_REFERENCES),
        None => Some(DockerReference::Repository),
    };
    let remap = rewrites(decoder, &mut table, "remap");
    let signature_repository = rewrites(decoder, &mut table, "signatureRepository");
    let most = u64::try_from(limits::SIGNATURES_MAX).unwrap_or(u64::MAX);
    let max_signatures = match table.optional("maxSignatures") {
        Some(item) => decoder.integer(&item, 1..=most).and_then(|most| usize::try_from(most).ok()),
        None => Some(limits::SIGNATURES),
    };
    let has_roots = trusted_roots.as_ref().is_none_or(|roots| !roots.is_empty());
    let policies = policies(decoder, &mut table, providers, has_roots);
    decoder.finish(table);
    let (policies, trusted_roots) = (policies?, trusted_roots?);
    let names_known_roots = names_known_roots(decoder, &policies, &trusted_roots);
    let cosign = Cosign {
        policies,
        trusted_roots,
        predicate_types: predicate_types?,
        docker_reference: docker_reference?,
        remap: remap?,
        signature_repository: signature_repository?,
        max_signatures: max_signatures?,
    };
    names_known_roots.then_some(cosign)
}

const DOCKER_REFERENCES: [(&str, DockerReference); 3] = [
    ("exact", DockerReference::Exact),
    ("repository", DockerReference::Repository),
    ("ignore", DockerReference::Ignore),
];

/// The trust policies; or the one that Ratify v1 makes up of `key`.
fn policies(
    decoder: &mut Decoder<'_>,
    table: &mut Table<'_>,
    providers: &Providers,
    has_roots: bool,
) -> Option<Vec<CosignPolicy>> {
    let has_log = decoder.refused(table, "rekorURL", REKOR);
    if let Some(key) = table.optional("key") {
        if let Some(policies) = table.optional("trustPolicies") {
            decoder.problems.push(&policies.place(), "key is given too: name it in the keys of a trust policy instead");
            return None;
        }
        let signers = key_of_file(decoder, &key, None).map(|keys| CosignSigners::Keys(vec![keys]));
        let policy = CosignPolicy {
            name: None,
            place: key.place(),
            scopes: Vec::new(),
            signers: signers?,
            log: false,
            sct: false,
            timestamp: false,
            trusted_roots: None,
            annotations: BTreeMap::new(),
        };
        return (!has_log).then(|| vec![policy]);
    }
    let item = decoder.required(table, "trustPolicies")?;
    let items = decoder.filled_array(&item)?;
    let policies: Vec<_> = items.iter().map(|item| policy(decoder, item, providers, has_roots)).collect();
    let policies = policies.into_iter().collect::<Option<Vec<_>>>()?;
    (is_distinct(decoder, &policies) && !has_log).then_some(policies)
}

const REKOR: &str = "no log is asked over the network: leave it out; what a log says comes with the signature, and counts by \
                     the log's key in trustedRoots";

fn policy(decoder: &mut Decoder<'_>, item: &Item<'_>, providers: &Providers, has_roots: bool) -> Option<CosignPolicy> {
    let mut table = decoder.table(item)?;
    let version = match table.optional("version").filter(|item| item.as_text() != Some("")) {
        Some(item) => decoder.literal_choice(&item, &[("1.0.0", ())]),
        None => Some(()),
    };
    let name = match table.optional("name") {
        Some(item) => name(decoder, &item).map(Some),
        None => Some(None),
    };
    let scopes = match table.optional("scopes").filter(|item| !item.is_empty_array()) {
        Some(item) => texts(decoder, &item),
        None => Some(Vec::new()),
    };
    let roots = match table.optional("trustedRoots") {
        Some(item) => texts(decoder, &item).map(Some),
        None => Some(None),
    };
    let annotations = match table.optional("annotations") {
        Some(item) => annotations(decoder, &item),
        None => Some(BTreeMap::new()),
    };
    let refused = decoder.refused(&mut table, "rekorURL", REKOR);
    let signers = signers(decoder, &mut table, providers);
    let place = table.place().clone();
    let asks = asks(decoder, &mut table, signers.as_ref(), has_roots);
    decoder.finish(table);
    version?;
    let Asks { log, sct, timestamp } = asks?;
    let policy = CosignPolicy {
        name: name?,
        place,
        scopes: scopes?,
        signers: signers?,
        log,
        sct,
        timestamp,
        trusted_roots: roots?,
        annotations: annotations?,
    };
    (!refused).then_some(policy)
}

/// What is asked for beside a signature of somebody trusted.
struct Asks {
    log: bool,
    sct: bool,
    timestamp: bool,
}

fn asks(
    decoder: &mut Decoder<'_>,
    table: &mut Table<'_>,
    signers: Option<&CosignSigners>,
    has_roots: bool,
) -> Option<Asks> {
    let of_ratify_v1 = table.optional("tLogVerify");
    let place = of_ratify_v1.as_ref().map_or_else(|| table.place().clone(), Item::place);
    let log = match (of_ratify_v1, table.optional("ignoreTLog")) {
        (Some(_), Some(other)) => {
            decoder.problems.push(&other.place(), "tLogVerify is given too: leave one of them out");
            None
        }
        (Some(item), None) => decoder.boolean(&item).map(|verify| (verify, true)),
        (None, Some(item)) => decoder.boolean(&item).map(|ignore| (!ignore, false)),
        (None, None) => Some((true, false)),
    };
    let sct = match (keyless_of(decoder, table, "ctLogVerify"), table.optional("ignoreCTLog")) {
        (Some(_), Some(other)) => {
            decoder.problems.push(&other.place(), "keyless.ctLogVerify is given too: leave one of them out");
            None
        }
        (Some(item), None) => decoder.boolean(&item).map(Some),
        (None, Some(item)) => decoder.boolean(&item).map(|ignore| Some(!ignore)),
        (None, None) => Some(None),
    };
    let timestamp = match table.optional("ignoreObserverTimestamps") {
        Some(item) => decoder.boolean(&item).map(|ignore| Some(!ignore)),
        None => Some(None),
    };
    let ((log, is_of_ratify_v1), sct, timestamp) = (log?, sct?, timestamp?);
    let asks = match signers? {
        // A key has no end, so that a time says nothing of it; but who asks for one by name gets it. Ratify v2 asks for
        // one wherever it asks for a log, Ratify v1 never does.
        CosignSigners::Keys(_) => Asks { log, sct: false, timestamp: timestamp.unwrap_or(log && !is_of_ratify_v1) },
        CosignSigners::Keyless(_) => Asks { log, sct: sct.unwrap_or(true), timestamp: true },
        // An own authority tells no public log of its certificates, and where nobody says when something was signed they
        // must be valid still.
        CosignSigners::Chain { .. } => Asks { log, sct: sct.unwrap_or(false), timestamp: timestamp.unwrap_or(false) },
    };
    let is_keyless = matches!(signers, Some(CosignSigners::Keyless(_)));
    if !is_keyless && (asks.log || asks.sct || asks.timestamp) && !has_roots {
        let message = "a log or a timestamp authority must vouch for the signature, but no trusted root says which";
        let hint = "set ignoreTLog = true where the key or the certificate alone counts, or name the log's root in trustedRoots";
        decoder.problems.push_with_hint(&place, message, hint);
        return None;
    }
    Some(asks)
}

/// A key of Ratify v1's `keyless`. What is wrong with the table itself is told where its identity is read.
fn keyless_of<'a>(decoder: &mut Decoder<'_>, table: &mut Table<'a>, key: &'static str) -> Option<Item<'a>> {
    let item = table.optional("keyless").filter(Item::is_table)?;
    decoder.table(&item)?.optional(key)
}

/// Who is trusted: keys, identities of a trusted root's authority, or those of an own one.
fn signers(decoder: &mut Decoder<'_>, table: &mut Table<'_>, providers: &Providers) -> Option<CosignSigners> {
    let keys_item = table.optional("keys").filter(|item| !item.is_null() && !item.is_empty_array());
    let chain_item = table.optional("certificateChain");
    let identities = identities(decoder, table, chain_item.is_some())?;
    match (keys_item, chain_item) {
        (Some(item), _) if !identities.is_empty() => {
            let hint = "write a trust policy for each; in Ratify v2 the identity would not count beside keys";
            decoder.problems.push_with_hint(&item.place(), "both keys and an identity are named", hint);
            None
        }
        (Some(_), Some(chain)) => {
            decoder.problems.push(&chain.place(), "keys have no certificates: write a trust policy for each");
            None
        }
        (Some(item), None) => keys(decoder, &item, providers).map(CosignSigners::Keys),
        (None, _) if identities.is_empty() => {
            let hint = "add keys, or certificateIdentity and certificateOIDCIssuer";
            decoder.problems.push_with_hint(table.place(), "the trust policy trusts nobody", hint);
            None
        }
        (None, Some(item)) => {
            let (roots, intermediates) = chain(decoder, &item)?;
            Some(CosignSigners::Chain { roots, intermediates, identities })
        }
        (None, None) => Some(CosignSigners::Keyless(identities)),
    }
}

/// Files with the roots of an own authority, and with its intermediate certificates.
type Chain = (Vec<Spanned<PathBuf>>, Vec<Spanned<PathBuf>>);

/// An own authority.
fn chain(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<Chain> {
    let mut table = decoder.table(item)?;
    let roots = decoder.required(&mut table, "roots").and_then(|item| paths(decoder, &item));
    let intermediates = match table.optional("intermediates").filter(|item| !item.is_empty_array()) {
        Some(item) => paths(decoder, &item),
        None => Some(Vec::new()),
    };
    decoder.finish(table);
    Some((roots?, intermediates?))
}

/// Absolute paths, at least one.
fn paths(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<Vec<Spanned<PathBuf>>> {
    let items = decoder.filled_array(item)?;
    let paths: Vec<_> = items.iter().map(|item| path(decoder, item)).collect();
    paths.into_iter().collect()
}

fn trusted_roots(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<Vec<NamedRoot>> {
    let items = decoder.array(item)?;
    let mut roots: Vec<NamedRoot> = Vec::new();
    let mut is_whole = true;
    for item in &items {
        match trusted_root(decoder, item) {
            Some(root) => match roots.iter().find(|first| first.name.value == root.name.value) {
                Some(NamedRoot { name: first, .. }) => {
                    let message = format!("name {} is taken by {}", quote(&first.value), first.place.path);
                    decoder.problems.push(&root.name.place, message);
                    is_whole = false;
                }
                None => roots.push(root),
            },
            None => is_whole = false,
        }
    }
    is_whole.then_some(roots)
}

fn trusted_root(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<NamedRoot> {
    let mut table = decoder.table(item)?;
    let name = decoder.required(&mut table, "name").and_then(|item| name(decoder, &item));
    let source = match (table.optional("file"), table.optional("tuf")) {
        (Some(_), Some(item)) => {
            decoder.problems.push(&item.place(), "file is given too: leave one of them out");
            None
        }
        (None, Some(item)) => tuf(decoder, &item).map(|value| RootSource::Tuf(Spanned { value, place: item.place() })),
        (Some(item), None) => path(decoder, &item).map(RootSource::File),
        (None, None) => decoder.required(&mut table, "file").map(|_| None)?,
    };
    decoder.finish(table);
    Some(NamedRoot { name: name?, source: source? })
}

fn names_known_roots(decoder: &mut Decoder<'_>, policies: &[CosignPolicy], roots: &[NamedRoot]) -> bool {
    let mut knows = true;
    for name in policies.iter().flat_map(|policy| policy.trusted_roots.iter().flatten()) {
        if roots.iter().all(|root| root.name.value != name.value) {
            let known: Vec<&str> = roots.iter().map(|root| root.name.value.as_str()).collect();
            let hint = if known.is_empty() {
                "trustedRoots of the verifier defines none".to_owned()
            } else {
                format!("there is {}", known.join(", "))
            };
            let message = format!("no trusted root is named {}", quote(&name.value));
            decoder.problems.push_with_hint(&name.place, message, hint);
            knows = false;
        }
    }
    knows
}

/// Whether no two policies have one name.
fn is_distinct(decoder: &mut Decoder<'_>, policies: &[CosignPolicy]) -> bool {
    let (mut seen, mut distinct) = (BTreeMap::new(), true);
    for Spanned { value, place } in policies.iter().filter_map(|policy| policy.name.as_ref()) {
        if let Some(first) = seen.insert(value, &place.path) {
            decoder.problems.push(place, format!("{} is taken by {first}", quote(value)));
            distinct = false;
        }
    }
    distinct
}

/// A name, which may be any text for people.
fn name(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<Spanned<String>> {
    let name = decoder.literal(item)?;
    if name.value.is_empty() || name.value.len() > limits::VERIFIER_NAME_BYTES {
        let hint = format!("1 to {} bytes", limits::VERIFIER_NAME_BYTES);
        decoder.problems.push_with_hint(&name.place, format!("{} is not a name", quote(&name.value)), hint);
        return None;
    }
    Some(name)
}

/// Texts as written, at least one.
fn texts(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<Vec<Spanned<String>>> {
    let items = decoder.filled_array(item)?;
    let texts: Vec<_> = items.iter().map(|item| decoder.literal(item)).collect();
    texts.into_iter().collect()
}

/// The predicates of attestations that are asked for.
fn predicate_types(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<Vec<String>> {
    let found = texts(decoder, item)?;
    if let Some(signature) = found.iter().find(|found| found.value == SIGNATURE) {
        let message = "this is the predicate of signatures: leave predicateTypes out to ask for one";
        decoder.problems.push(&signature.place, message);
        return None;
    }
    Some(found.into_iter().map(|found| found.value).collect())
}

/// What a bundle says that is an image's signature (Cosign, "Signature Specification").
const SIGNATURE: &str = "https://sigstore.dev/cosign/sign/v1";

fn annotations(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<BTreeMap<String, String>> {
    let entries = decoder.entries(item)?;
    let entries: Vec<_> =
        entries.iter().map(|(key, item)| Some((key.value.clone(), decoder.literal(item)?.value))).collect();
    entries.into_iter().collect()
}

fn rewrites(decoder: &mut Decoder<'_>, table: &mut Table<'_>, key: &'static str) -> Option<Vec<Rewrite>> {
    let Some(item) = table.optional(key) else { return Some(Vec::new()) };
    let items = decoder.array(&item)?;
    let rewrites: Vec<_> = items.iter().map(|item| rewrite(decoder, item)).collect();
    rewrites.into_iter().collect()
}

fn rewrite(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<Rewrite> {
    let mut table = decoder.table(item)?;
    let from = decoder.required(&mut table, "from").and_then(|item| decoder.literal(&item));
    let to = decoder.required(&mut table, "to").and_then(|item| decoder.literal(&item));
    decoder.finish(table);
    Some(Rewrite { from: from?, to: to? })
}
