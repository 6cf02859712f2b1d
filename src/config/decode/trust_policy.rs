//! Trust policy documents, version 1.0 (trust store and trust policy specification, "OCI Trust Policy" and "Trust Policy
//! Constraints"), inside a configuration or in a file of their own. Whether identities can be read is told by whoever
//! matches them, and whether there is a trust store by whoever has it.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::decode::trust_store::{STORE_NAME, is_store_name};
use crate::config::file::decoder::{Decoder, Item, quote, suggest};
use crate::config::{
    Action, Asks, Level, Named, Place, RegistryScopes, Spanned, Statement, StoreName, StoreType, VerifyTimestamp,
};
use crate::reference::{Reference, Repository, canonical_host};

/// A document.
pub fn trust_policy(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<Vec<Statement>> {
    let mut table = decoder.table(item)?;
    let version = match decoder.required(&mut table, "version") {
        Some(item) => decoder.literal_choice(&item, &[("1.0", ())]),
        None => None,
    };
    let statements = match decoder.required(&mut table, "trustPolicies") {
        Some(item) => statements(decoder, &item),
        None => None,
    };
    decoder.finish(table);
    version.and(statements)
}

/// What is taken so far, and where it stands.
#[derive(Default)]
struct Taken {
    names: BTreeMap<String, Place>,
    repositories: BTreeMap<Repository, Place>,
    any: Option<Place>,
}

fn statements(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<Vec<Statement>> {
    let items = decoder.filled_array(item)?;
    let mut taken = Taken::default();
    let statements: Vec<_> = items.iter().map(|item| statement(decoder, item, &mut taken)).collect();
    statements.into_iter().collect()
}

fn statement(decoder: &mut Decoder<'_>, item: &Item<'_>, taken: &mut Taken) -> Option<Statement> {
    let mut table = decoder.table(item)?;
    decoder.refused(&mut table, "globalPolicy", "it belongs to trust policies for blobs; images have registryScopes");
    let name = match decoder.required(&mut table, "name") {
        Some(item) => name(decoder, &item, taken),
        None => None,
    };
    let scopes = match decoder.required(&mut table, "registryScopes") {
        Some(item) => registry_scopes(decoder, &item, taken),
        None => None,
    };
    let verification = decoder.required(&mut table, "signatureVerification");
    // Programs of Go write null for a list that is not there.
    let [stores, identities] =
        ["trustStores", "trustedIdentities"].map(|key| (table.place_of(key), table.optional(key)));
    decoder.finish(table);
    let verification = verification.and_then(|item| signature_verification(decoder, &item));
    let asks = match verification {
        Some(Verification::Skip(place)) => skip(decoder, &place, scopes.as_ref(), [stores.1, identities.1]),
        Some(Verification::Of { level, verify_timestamp }) => {
            let stores = required(decoder, stores).and_then(|item| trust_stores(decoder, &item));
            let identities = required(decoder, identities).and_then(|item| trusted_identities(decoder, &item));
            match (stores, identities) {
                (Some(stores), Some(identities)) => {
                    Some(Asks::Signature { level, verify_timestamp, stores: Named::These(stores), identities })
                }
                _ => None,
            }
        }
        None => None,
    };
    Some(Statement { name: name?, scopes: scopes?, asks: asks? })
}

/// A list that must be there unless nothing is verified.
fn required<'a>(decoder: &mut Decoder<'_>, (place, item): (Place, Option<Item<'a>>)) -> Option<Item<'a>> {
    let item = item.filter(|item| !item.is_null());
    if item.is_none() {
        decoder.problems.push_with_hint(&place, "required key is missing", "only level \"skip\" does without it");
    }
    item
}

fn name(decoder: &mut Decoder<'_>, item: &Item<'_>, taken: &mut Taken) -> Option<Spanned<String>> {
    let name = decoder.literal(item)?;
    if name.value.is_empty() {
        decoder.problems.push(&name.place, "must not be empty");
        return None;
    }
    if let Some(first) = taken.names.get(&name.value) {
        let message = format!("name {} is taken by {} in line {}", quote(&name.value), first.path, first.line);
        decoder.problems.push(&name.place, message);
        return None;
    }
    taken.names.insert(name.value.clone(), name.place.clone());
    Some(name)
}

/// "The scope MUST contain one of the following: list of one or more fully qualified repository URIs; a single value with
/// one asterisk."
fn registry_scopes(decoder: &mut Decoder<'_>, item: &Item<'_>, taken: &mut Taken) -> Option<RegistryScopes> {
    let items = decoder.filled_array(item)?;
    let mut repositories = Vec::with_capacity(items.len());
    let mut any = None;
    let mut is_whole = true;
    for item in &items {
        match scope(decoder, item, taken) {
            Some(Some(repository)) => repositories.push(repository),
            Some(None) => any = Some(item.place()),
            None => is_whole = false,
        }
    }
    match any {
        Some(place) if items.len() > 1 => {
            decoder.problems.push(&place, "\"*\" must stand alone: it makes the others mean nothing");
            None
        }
        Some(_) => is_whole.then_some(RegistryScopes::Any),
        None => is_whole.then_some(RegistryScopes::Repositories(repositories)),
    }
}

/// One scope: a repository, or none for `*`.
fn scope(decoder: &mut Decoder<'_>, item: &Item<'_>, taken: &mut Taken) -> Option<Option<Repository>> {
    let scope = decoder.literal(item)?;
    let place = scope.place;
    if scope.value == "*" {
        if let Some(first) = &taken.any {
            let message = format!("\"*\" is taken by {} in line {}", first.path, first.line);
            decoder.problems.push(&place, message);
            return None;
        }
        taken.any = Some(place);
        return Some(None);
    }
    let repository = match repository(&scope.value) {
        Ok(repository) => repository,
        Err(cause) => {
            let hint = "a whole repository such as registry.example/team/app, or \"*\" alone";
            let message = format!("{} is not a registry scope: {cause}", quote(&scope.value));
            decoder.problems.push_with_hint(&place, message, hint);
            return None;
        }
    };
    if let Some(first) = taken.repositories.get(&repository) {
        let message = format!("{repository} is taken by {} in line {}", first.path, first.line);
        decoder.problems.push(&place, message);
        return None;
    }
    taken.repositories.insert(repository.clone(), place);
    Some(Some(repository))
}

/// "The scope MUST NOT support reference expansion": what stands before the first slash is the host, be it of one label.
/// Two ways to write one repository are the same here, so that none can be dodged by writing it in another.
fn repository(scope: &str) -> Result<Repository, String> {
    if scope.contains('*') {
        return Err("it has an asterisk".to_owned());
    }
    let (host, path) = scope.split_once('/').ok_or("it names no repository below the registry")?;
    if path.contains(['@', ':']) {
        return Err("it has a tag or a digest".to_owned());
    }
    let host = canonical_host(host)?;
    let reference = format!("{host}/{path}").parse::<Reference>().map_err(|error| error.to_string())?;
    Ok(reference.repository)
}

/// `signatureVerification`.
#[derive(Clone)]
pub enum Verification {
    /// Level `skip`, and where that stands.
    Skip(Place),
    /// Any other.
    Of {
        /// What is enforced.
        level: Level,
        /// When a timestamp is asked for.
        verify_timestamp: VerifyTimestamp,
    },
}

/// `signatureVerification` ("Signature Verification details", "Custom Verification Level").
pub fn signature_verification(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<Verification> {
    let mut table = decoder.table(item)?;
    let level_item = decoder.required(&mut table, "level");
    let level = level_item.as_ref().and_then(|item| decoder.literal_choice(item, &LEVELS));
    let (override_item, timestamp_item) = (table.optional("override"), table.optional("verifyTimestamp"));
    decoder.finish(table);
    let verify_timestamp = match timestamp_item {
        Some(item) => decoder.literal_choice(
            &item,
            &[("always", VerifyTimestamp::Always), ("afterCertExpiry", VerifyTimestamp::AfterCertExpiry)],
        ),
        None => Some(VerifyTimestamp::Always),
    };
    let overridden = match &override_item {
        Some(item) => overrides(decoder, item),
        None => Some(Overrides::default()),
    };
    match (level?, overridden?) {
        (Some(level), overrides) => {
            Some(Verification::Of { level: overrides.applied_to(level), verify_timestamp: verify_timestamp? })
        }
        (None, overrides) if overrides.is_empty() => {
            verify_timestamp?;
            level_item.map(|item| Verification::Skip(item.place()))
        }
        (None, _) => {
            if let Some(item) = override_item {
                decoder.problems.push(&item.place(), "level \"skip\" cannot be customised: nothing is verified");
            }
            None
        }
    }
}

const LEVELS: [(&str, Option<Level>); 4] = [
    ("strict", Some(Level::STRICT)),
    ("permissive", Some(Level::PERMISSIVE)),
    ("audit", Some(Level::AUDIT)),
    ("skip", None),
];

/// What a statement changes of a level.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Overrides {
    authenticity: Option<Action>,
    authentic_timestamp: Option<Action>,
    expiry: Option<Action>,
    revocation: Option<Action>,
}

impl Overrides {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn applied_to(self, level: Level) -> Level {
        Level {
            authenticity: self.authenticity.unwrap_or(level.authenticity),
            authentic_timestamp: self.authentic_timestamp.unwrap_or(level.authentic_timestamp),
            expiry: self.expiry.unwrap_or(level.expiry),
            revocation: self.revocation.unwrap_or(level.revocation),
        }
    }
}

/// "`integrity` validation cannot be overridden"; only `revocation` can be skipped.
fn overrides(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<Overrides> {
    let mut table = decoder.table(item)?;
    decoder.refused(&mut table, "integrity", "integrity is always enforced");
    let (enforce, log, skip) = (("enforce", Action::Enforce), ("log", Action::Log), ("skip", Action::Skip));
    let mut take = |key, actions: &[(&'static str, Action)]| match table.optional(key) {
        Some(item) => decoder.literal_choice(&item, actions).map(Some),
        None => Some(None),
    };
    let authenticity = take("authenticity", &[enforce, log]);
    let authentic_timestamp = take("authenticTimestamp", &[enforce, log]);
    let expiry = take("expiry", &[enforce, log]);
    let revocation = take("revocation", &[enforce, log, skip]);
    decoder.finish(table);
    Some(Overrides {
        authenticity: authenticity?,
        authentic_timestamp: authentic_timestamp?,
        expiry: expiry?,
        revocation: revocation?,
    })
}

/// "`skip` cannot be used with a global scope"; and as nothing is verified, nothing is said of whom to trust.
fn skip(
    decoder: &mut Decoder<'_>,
    place: &Place,
    scopes: Option<&RegistryScopes>,
    lists: [Option<Item<'_>>; 2],
) -> Option<Asks> {
    let mut asks = Some(Asks::Nothing);
    if scopes == Some(&RegistryScopes::Any) {
        let hint = "name the repositories, or set the executor's mode to \"allow\"";
        decoder.problems.push_with_hint(place, "level \"skip\" cannot be used with the scope \"*\"", hint);
        asks = None;
    }
    for item in lists.into_iter().flatten().filter(|item| !item.is_null() && !item.is_empty_array()) {
        decoder.problems.push_with_hint(
            &item.place(),
            "level \"skip\" verifies nothing",
            "remove this, or choose another level",
        );
        asks = None;
    }
    asks
}

fn trust_stores(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<Vec<Spanned<StoreName>>> {
    let items = decoder.filled_array(item)?;
    let stores: Vec<_> = items.iter().map(|item| trust_store(decoder, item)).collect();
    let mut stores = stores.into_iter().collect::<Option<Vec<_>>>()?;
    if !stores.iter().any(|store| store.value.store_type != StoreType::Tsa) {
        let hint = "add one of type ca or signingAuthority";
        decoder.problems.push_with_hint(&item.place(), "no trust store vouches for signers", hint);
        return None;
    }
    let mut seen = BTreeSet::new();
    stores.retain(|store| seen.insert(store.value.clone()));
    Some(stores)
}

fn trust_store(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<Spanned<StoreName>> {
    let written = decoder.literal(item)?;
    let Some((store_type, name)) = written.value.split_once(':') else {
        let message = format!("{} is not a trust store", quote(&written.value));
        decoder.problems.push_with_hint(&written.place, message, "TYPE:NAME, such as \"ca:acme\"");
        return None;
    };
    let found = StoreType::ALL.into_iter().find(|known| known.as_str() == store_type);
    if found.is_none() {
        let known = StoreType::ALL.map(StoreType::as_str);
        let message = format!("{} is not a type of trust stores", quote(store_type));
        decoder.problems.push_with_hint(&written.place, message, suggest(store_type, &known, "known"));
    }
    if !is_store_name(name) {
        let message = format!("{} is not a trust store's name", quote(name));
        decoder.problems.push_with_hint(&written.place, message, STORE_NAME);
        return None;
    }
    Some(Spanned { value: StoreName { store_type: found?, name: name.to_owned() }, place: written.place })
}

/// The identities, as written; at least one.
pub fn trusted_identities(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<Vec<Spanned<String>>> {
    let items = decoder.array(item)?;
    if items.is_empty() {
        // Ratify v2 reads an empty list as everybody, which is not what it looks like.
        let hint = "write [\"*\"] to trust every identity that the certificates vouch for";
        decoder.problems.push_with_hint(&item.place(), "must not be empty", hint);
        return None;
    }
    let identities: Vec<_> = items.iter().map(|item| decoder.literal(item)).collect();
    identities.into_iter().collect()
}

/// Scopes outside of a document, as one statement has them.
pub fn scopes_of_one(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<RegistryScopes> {
    registry_scopes(decoder, item, &mut Taken::default())
}
