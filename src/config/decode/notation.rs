//! The parameters of a Notation verifier, as written in the file: where its trust policy is, in one of four ways, and
//! what belongs to each of them.

use std::collections::BTreeMap;

use crate::config::decode::trust_policy::{
    Verification, scopes_of_one, signature_verification, trust_policy, trusted_identities,
};
use crate::config::decode::trust_store::{Providers, certificates, path, verification_cert_stores, verification_certs};
use crate::config::file::decoder::{Decoder, Item, Table};
use crate::config::{
    Asks, Level, Named, Notation, RegistryScopes, Spanned, Statement, TrustPolicySource, TrustStore, Undefined,
    VerifyTimestamp,
};
use crate::limits;

/// The parameters.
pub fn notation(decoder: &mut Decoder<'_>, item: &Item<'_>, providers: &Providers) -> Option<Notation> {
    let mut table = decoder.table(item)?;
    let user_metadata = match table.optional("userMetadata") {
        Some(item) => user_metadata(decoder, &item),
        None => Some(BTreeMap::new()),
    };
    let plugin_config = match table.optional("pluginConfig") {
        Some(item) => plugin_config(decoder, &item),
        None => Some(BTreeMap::new()),
    };
    let allow_skip = match table.optional("allowSkip") {
        Some(item) => decoder.boolean(&item),
        None => Some(false),
    };
    let written = Written::of(&mut table);
    let place = table.place_of("certificates");
    let verifier = table.place_of("name");
    decoder.finish(table);
    let is_one = written.is_one_way(decoder);
    let has_stores = written.stores().into_iter().flatten().next().is_some();
    let stores = stores(decoder, &written, providers);
    let policy = match &written {
        Written { config: Some(item), .. } => path(decoder, item).map(TrustPolicySource::Folder),
        Written { file: Some(item), .. } => path(decoder, item).map(TrustPolicySource::File),
        Written { document: Some(item), .. } => trust_policy(decoder, item).map(TrustPolicySource::Statements),
        implied => {
            if !has_stores {
                decoder.problems.push(&place, "required key is missing");
            }
            let name = Spanned { value: "default".to_owned(), place: verifier };
            self::implied(decoder, implied, name).filter(|_| has_stores).map(TrustPolicySource::Implied)
        }
    };
    let (policy, stores) = (policy?, stores?);
    let (user_metadata, plugin_config, allow_skip) = (user_metadata?, plugin_config?, allow_skip?);
    let notation = Notation { policy, stores, user_metadata, plugin_config, allow_skip };
    (is_one && defines_its_stores(decoder, &notation)).then_some(notation)
}

/// What is written of where the policy and the trust stores are.
struct Written<'a> {
    config: Option<Item<'a>>,
    document: Option<Item<'a>>,
    file: Option<Item<'a>>,
    certificates: Option<Item<'a>>,
    certs: Option<Item<'a>>,
    cert_stores: Option<Item<'a>>,
    identities: Option<Item<'a>>,
    verification: Option<Item<'a>>,
    scopes: Option<Item<'a>>,
}

impl<'a> Written<'a> {
    fn of(table: &mut Table<'a>) -> Self {
        Self {
            config: table.optional("notationConfig"),
            document: table.optional("trustPolicyDoc"),
            file: table.optional("trustPolicyFile"),
            certificates: table.optional("certificates"),
            certs: table.optional("verificationCerts"),
            cert_stores: table.optional("verificationCertStores"),
            identities: table.optional("trustedIdentities"),
            verification: table.optional("signatureVerification"),
            scopes: table.optional("scopes"),
        }
    }

    fn stores(&self) -> [&Option<Item<'a>>; 3] {
        [&self.certificates, &self.certs, &self.cert_stores]
    }

    /// Refuses keys of one way beside those of another: ignoring one could widen what is allowed.
    fn is_one_way(&self, decoder: &mut Decoder<'_>) -> bool {
        let [certificates, certs, cert_stores] = self.stores();
        let of_statement = [&self.identities, &self.verification, &self.scopes];
        let (others, why): (Vec<&Option<Item<'_>>>, _) = if self.config.is_some() {
            let others = [&self.document, &self.file, certificates, certs, cert_stores].into_iter().chain(of_statement);
            (others.collect(), "notationConfig names a folder with its own trust policy and trust stores: keep one")
        } else if self.document.is_some() {
            let others = [&self.file].into_iter().chain(of_statement);
            (others.collect(), "trustPolicyDoc says this in its statements: keep one")
        } else if self.file.is_some() {
            (of_statement.to_vec(), "trustPolicyFile says this in its statements: keep one")
        } else {
            return true;
        };
        let others: Vec<_> = others.into_iter().flatten().collect();
        for other in &others {
            decoder.problems.push(&other.place(), why);
        }
        others.is_empty()
    }
}

fn stores(decoder: &mut Decoder<'_>, written: &Written<'_>, providers: &Providers) -> Option<Vec<TrustStore>> {
    let [of_certificates, certs, cert_stores] = written.stores();
    let none = || Some(Vec::new());
    let of_certificates = of_certificates.as_ref().map_or_else(none, |item| certificates(decoder, item));
    let certs = certs.as_ref().map_or_else(none, |item| verification_certs(decoder, item));
    let cert_stores = cert_stores.as_ref().map_or_else(none, |item| verification_cert_stores(decoder, item, providers));
    let parts = of_certificates?.into_iter().chain(cert_stores?).chain(certs?);
    let mut stores: Vec<TrustStore> = Vec::new();
    for part in parts {
        match stores.iter_mut().find(|store| (store.store_type, &store.name) == (part.store_type, &part.name)) {
            Some(store) => store.material.extend(part.material),
            None => stores.push(part),
        }
    }
    Some(stores)
}

/// The statement that Ratify v2 makes up: level strict, all certificates.
fn implied(decoder: &mut Decoder<'_>, written: &Written<'_>, name: Spanned<String>) -> Option<Statement> {
    let identities = match &written.identities {
        Some(item) => trusted_identities(decoder, item),
        // As in Ratify v2. The certificates are the operator's own choice, so this trusts all that they issue.
        None => Some(vec![Spanned { value: "*".to_owned(), place: name.place.clone() }]),
    };
    let scopes = match &written.scopes {
        Some(item) => scopes_of_one(decoder, item),
        None => Some(RegistryScopes::Any),
    };
    let verification = match &written.verification {
        Some(item) => signature_verification(decoder, item),
        None => Some(Verification::Of { level: Level::STRICT, verify_timestamp: VerifyTimestamp::Always }),
    };
    let (level, verify_timestamp) = match verification? {
        Verification::Of { level, verify_timestamp } => (level, verify_timestamp),
        Verification::Skip(place) => {
            let hint = "set the executor's mode to \"allow\", or write a trustPolicyDoc";
            decoder.problems.push_with_hint(&place, "level \"skip\" leaves this verifier nothing to verify", hint);
            return None;
        }
    };
    let asks = Asks::Signature { level, verify_timestamp, stores: Named::All, identities: identities? };
    Some(Statement { name, scopes: scopes?, asks })
}

/// What every signature must state.
fn user_metadata(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<BTreeMap<String, String>> {
    let entries = decoder.entries(item)?;
    let entries: Vec<_> =
        entries.iter().map(|(key, item)| Some((key.value.clone(), decoder.literal(item)?.value))).collect();
    entries.into_iter().collect()
}

/// Whether there is every trust store that a statement of the configuration names.
fn defines_its_stores(decoder: &mut Decoder<'_>, notation: &Notation) -> bool {
    let TrustPolicySource::Statements(statements) = &notation.policy else { return true };
    let mut defines = true;
    for name in statements.iter().flat_map(Statement::stores) {
        if let Err(Undefined { message, hint }) = notation.find(&name.value) {
            decoder.problems.push_with_hint(&name.place, message, hint);
            defines = false;
        }
    }
    defines
}

/// What plugins are told: names and texts.
fn plugin_config(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<BTreeMap<String, String>> {
    let entries = decoder.entries(item)?;
    if entries.len() > limits::PLUGIN_CONFIG {
        decoder.problems.push(&item.place(), format!("more than {} pairs", limits::PLUGIN_CONFIG));
        return None;
    }
    let pairs: Vec<_> =
        entries.into_iter().map(|(name, item)| decoder.string(&item).map(|text| (name.value, text))).collect();
    pairs.into_iter().collect()
}
