//! What a Notation verifier trusts: reads trust policy documents and trust stores, and joins them. A file that cannot
//! serve is told with its place and takes out the verifier that needs it, nothing else. All sources of a trust store must
//! be whole: a root that is silently left out is an outage, and one that should have gone and has not is a breach.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Assembly, TOP};
use crate::config::{
    self, Asks, KeyMaterial, Named, Notation, Place, Problems, Spanned, Statement, StoreName, StoreType,
    TrustPolicySource, TrustStore,
};
use crate::limits;
use crate::pki::{self, Certificate};
use crate::trust::{self, EntryKind, Stamp};
use crate::verifier::notation::{self, BadTrust, Problem, Trust, TrustPolicy};

/// One trust policy while it is joined.
struct Joining<'a> {
    notation: &'a Notation,
    stores: Stores,
    written: Written,
    /// Trust stores that were read, so that none is read twice.
    read: BTreeMap<StoreName, Result<Vec<Certificate>, String>>,
}

/// Where statements are written: mistakes in them are told there.
enum Written {
    /// In the configuration, where a mistake is one of the configuration.
    Configuration,
    /// In a document of its own, which is trusted data: a mistake takes out what depends on it.
    Document(Problems),
}

/// Where the trust stores are that statements name.
enum Stores {
    Configuration,
    /// In a folder laid out as notation's; this is its `x509`.
    Folder(PathBuf),
}

impl Assembly {
    /// What a Notation verifier trusts.
    ///
    /// # Errors
    /// Why it cannot verify, in words; mistakes are in the problems too, each with its place.
    pub(super) fn notation(&mut self, notation: &Notation) -> Result<TrustPolicy, String> {
        let (statements, written, stores) = match &notation.policy {
            TrustPolicySource::Implied(statement) => {
                (vec![statement.clone()], Written::Configuration, Stores::Configuration)
            }
            TrustPolicySource::Statements(statements) => {
                (statements.clone(), Written::Configuration, Stores::Configuration)
            }
            TrustPolicySource::File(path) => {
                (self.document(path, &path.value)?, Written::at(&path.value), Stores::Configuration)
            }
            TrustPolicySource::Folder(folder) => {
                let document = self.document_of(&folder.value);
                let statements = self.document(folder, &document)?;
                (statements, Written::at(&document), Stores::Folder(self.stores_of(folder)?))
            }
        };
        let mut joining = Joining { notation, stores, written, read: BTreeMap::new() };
        let mut causes: Vec<String> = Vec::new();
        let mut policy = Vec::with_capacity(statements.len());
        for statement in &statements {
            match self.statement(statement, &mut joining) {
                Ok(trust) => policy.push(notation::Statement {
                    name: statement.name.value.clone(),
                    scopes: statement.scopes.clone(),
                    trust,
                }),
                Err(found) => causes.extend(found),
            }
        }
        if let Written::Document(problems) = joining.written {
            self.tell(&problems);
        }
        causes.sort();
        causes.dedup();
        if causes.is_empty() { Ok(TrustPolicy::new(policy, notation.allow_skip)) } else { Err(causes.join("; ")) }
    }

    /// What a statement trusts; none where it asks for nothing.
    fn statement(&mut self, statement: &Statement, joining: &mut Joining<'_>) -> Result<Option<Trust>, Vec<String>> {
        let Asks::Signature { level, verify_timestamp, stores, identities } = &statement.asks else {
            return Ok(None);
        };
        let notation = joining.notation;
        let found: Vec<(StoreType, Result<Vec<Certificate>, String>)> = match stores {
            Named::All => notation.stores.iter().map(|store| (store.store_type, self.configured(store))).collect(),
            Named::These(names) => {
                names.iter().map(|name| (name.value.store_type, self.named(name, joining))).collect()
            }
        };
        let mut causes = Vec::new();
        let mut anchors = Vec::new();
        for (store_type, found) in found {
            match found {
                Ok(certificates) => anchors.push((store_type, certificates)),
                Err(cause) => causes.push(cause),
            }
        }
        let identities: Vec<String> = identities.iter().map(|identity| identity.value.clone()).collect();
        match Trust::of(anchors, &identities) {
            Ok(trust) if causes.is_empty() => {
                return Ok(Some(trust.at(*level, *verify_timestamp).stating(notation.user_metadata.clone())));
            }
            Ok(_) => {}
            Err(BadTrust(problems)) => {
                for problem in problems {
                    // A store that cannot be read has been told of.
                    if causes.is_empty() || !matches!(problem, Problem::NoAnchor) {
                        self.bad_trust(&problem, statement, joining);
                        causes.push(problem.to_string());
                    }
                }
            }
        }
        Err(causes)
    }

    /// Tells a mistake in what is written from a trust file that cannot serve.
    fn bad_trust(&mut self, problem: &Problem, statement: &Statement, joining: &mut Joining<'_>) {
        let text = problem.to_string();
        let of_files = matches!(problem, Problem::NoAnchor | Problem::Leaf { .. });
        let place = if of_files {
            let named = statement.stores().first().map(|name| &name.place);
            named.or_else(|| joining.notation.stores.first().and_then(TrustStore::place)).unwrap_or(&TOP)
        } else {
            place_of_identity(problem, statement)
        };
        match &mut joining.written {
            Written::Configuration if !of_files => self.problems.push(place, text),
            written => written.tell(place, &text, &mut self.trust_problems),
        }
    }

    /// The certificates of a trust store that a statement names.
    fn named(
        &mut self,
        name: &Spanned<StoreName>,
        joining: &mut Joining<'_>,
    ) -> Result<Vec<Certificate>, String> {
        if let Some(found) = joining.read.get(&name.value) {
            return found.clone();
        }
        let found = match &joining.stores {
            Stores::Folder(folder) => {
                let path = folder.join(name.value.store_type.as_str()).join(&name.value.name);
                let found = self.named_folder(&path).and_then(|found| roots(name.value.store_type, found));
                found.inspect_err(|cause| joining.written.tell(&name.place, cause, &mut self.trust_problems))
            }
            Stores::Configuration => match joining.notation.undefined(&name.value) {
                Some((message, hint)) => {
                    joining.written.tell(&name.place, &format!("{message} ({hint})"), &mut self.trust_problems);
                    Err(message)
                }
                None => {
                    let parts = joining.notation.find(&name.value).into_iter();
                    let parts: Vec<_> = parts.map(|store| self.configured(store)).collect();
                    parts.into_iter().collect::<Result<Vec<_>, _>>().map(|parts| parts.concat())
                }
            },
        };
        joining.read.insert(name.value.clone(), found.clone());
        found
    }

    /// The certificates of a trust store, or a part of one, of the configuration.
    fn configured(&mut self, store: &TrustStore) -> Result<Vec<Certificate>, String> {
        let parts: Vec<_> = store.material.iter().map(|material| self.anchors(material)).collect();
        let found = parts.into_iter().collect::<Result<Vec<_>, _>>()?.concat();
        roots(store.store_type, found)
            .inspect_err(|cause| self.trust_problems.push(store.place().unwrap_or(&TOP), cause.clone()))
    }

    fn anchors(&mut self, material: &KeyMaterial) -> Result<Vec<Certificate>, String> {
        match material {
            KeyMaterial::Inline(pem) => {
                self.absorb("inline", pem.value.as_bytes());
                pki::anchors_from_pem(pem.value.as_bytes()).map_err(|error| {
                    self.problems.push(&pem.place, error.to_string());
                    error.to_string()
                })
            }
            KeyMaterial::Path(path) => {
                let found =
                    if path.value.is_dir() { self.trust_folder(&path.value) } else { self.trust_file(&path.value) };
                found.inspect_err(|cause| self.trust_problems.push(&path.place, cause.clone()))
            }
        }
    }

    fn trust_file(&mut self, path: &Path) -> Result<Vec<Certificate>, String> {
        self.stamp(path);
        let bytes = trust::read(path, limits::TRUST_FILE_BYTES).map_err(|error| error.to_string())?;
        self.absorb(&path.display().to_string(), &bytes);
        pki::anchors(&bytes).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// A named store of a folder laid out as notation's: "Implementation MUST validate that the named store directory or
    /// certificate files are not symlinks".
    fn named_folder(&mut self, path: &Path) -> Result<Vec<Certificate>, String> {
        if path.is_symlink() {
            self.stamp(path);
            return Err(format!("{} is a symbolic link; a trust store must be a folder itself", path.display()));
        }
        self.trust_folder(path)
    }

    /// The certificates of the files in a folder, as notation has trust stores ("Trust Store").
    fn trust_folder(&mut self, path: &Path) -> Result<Vec<Certificate>, String> {
        // A folder changes with every entry that comes or goes.
        self.stamp(path);
        let entries = trust::list(path, limits::TRUST_FOLDER_ENTRIES).map_err(|error| error.to_string())?;
        let mut anchors = Vec::new();
        for entry in entries {
            let path = path.join(&entry.name);
            let is_certificate = path.extension().is_some_and(|found| ENDINGS.iter().any(|it| found.eq_ignore_ascii_case(it)));
            match entry.kind {
                EntryKind::Link => {
                    return Err(format!("{} is a symbolic link; a trust store takes the file itself", path.display()));
                }
                EntryKind::File if is_certificate => anchors.extend(self.trust_file(&path)?),
                EntryKind::Other if is_certificate => return Err(format!("{} is not a regular file", path.display())),
                EntryKind::Folder => {
                    self.notes.insert(format!("{} is passed over: it is a folder in a trust store", path.display()));
                }
                EntryKind::File | EntryKind::Other => {
                    let why = "its name ends in none of .pem, .crt and .cer";
                    self.notes.insert(format!("{} is passed over: {why}", path.display()));
                }
            }
        }
        if anchors.is_empty() {
            return Err(format!("{} holds no certificate: there is no file that ends in .pem, .crt or .cer", path.display()));
        }
        Ok(anchors)
    }

    /// The trust policy document of a folder laid out as notation's.
    fn document_of(&mut self, folder: &Path) -> PathBuf {
        let [document, older] = DOCUMENTS.map(|name| folder.join(name));
        // That it is not there is seen as a change once it is.
        self.stamp(&document);
        let is_missing = document.symlink_metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
        if is_missing { older } else { document }
    }

    /// Where a folder laid out as notation's has its trust stores: notation itself and the specification call it
    /// differently.
    fn stores_of(&mut self, folder: &Spanned<PathBuf>) -> Result<PathBuf, String> {
        let [as_notation, as_specified] = TRUST_STORES.map(|name| folder.value.join(name));
        self.stamp(&as_notation);
        self.stamp(&as_specified);
        let exists = |path: &Path| path.symlink_metadata().is_ok();
        let stores = match (exists(&as_notation), exists(&as_specified)) {
            (true, true) => {
                let cause = format!("{} and {} are both there; keep one", as_notation.display(), as_specified.display());
                self.trust_problems.push(&folder.place, &cause);
                return Err(cause);
            }
            (false, true) => as_specified,
            (_, false) => as_notation,
        };
        Ok(stores.join("x509"))
    }

    /// The statements of a document, which is opened like a trust file. `named` is where the configuration names it.
    fn document(&mut self, named: &Spanned<PathBuf>, path: &Path) -> Result<Vec<Statement>, String> {
        self.stamp(path);
        let read = trust::read(path, limits::CONFIG_BYTES).map_err(|error| error.to_string());
        let text = read.and_then(|bytes| {
            self.absorb(&path.display().to_string(), &bytes);
            String::from_utf8(bytes).map_err(|_| format!("{} is not UTF-8", path.display()))
        });
        let text = text.inspect_err(|cause| self.trust_problems.push(&named.place, cause.clone()))?;
        config::trust_policy(&path.display().to_string(), &text).map_err(|problems| {
            self.tell(&problems);
            problems.first()
        })
    }

    /// Stamps a path before it is read: what changes from here on is seen as a change.
    fn stamp(&mut self, path: &Path) {
        self.stamps.push((path.to_owned(), Stamp::of(path)));
    }

    /// Adds the problems of a document, once however many verifiers read it.
    fn tell(&mut self, problems: &Problems) {
        for line in problems.lines() {
            if !self.document_problems.contains(&line) {
                self.document_problems.push(line);
            }
        }
    }
}

impl Written {
    fn at(path: &Path) -> Self {
        Self::Document(Problems::new(&path.display().to_string()))
    }

    /// Tells what cannot serve: beside the document's other problems, or those of the configuration's trust files.
    fn tell(&mut self, place: &Place, text: &str, of_configuration: &mut Problems) {
        match self {
            Self::Document(problems) => problems.push(place, text),
            Self::Configuration => of_configuration.push(place, text),
        }
    }
}

/// What vouches for timestamps must be a root, as notation has it: a certificate in the middle would pin one.
fn roots(store_type: StoreType, anchors: Vec<Certificate>) -> Result<Vec<Certificate>, String> {
    let is_other = |anchor: &&Certificate| !anchor.is_self_signed() || !anchor.is_ca();
    match anchors.iter().find(is_other).filter(|_| store_type == StoreType::Tsa) {
        Some(other) => Err(format!(
            "certificate {} is no root: a trust store of type tsa takes self-signed CA certificates",
            other.subject()
        )),
        None => Ok(anchors),
    }
}

/// Where the identity stands of which a problem speaks.
fn place_of_identity<'a>(problem: &Problem, statement: &'a Statement) -> &'a Place {
    let Asks::Signature { identities, .. } = &statement.asks else { return &statement.name.place };
    let wanted = match problem {
        Problem::Identity { written, .. } => Some(written.as_str()),
        Problem::Overlap { narrow, .. } => Some(narrow.as_str()),
        _ => Some("*"),
    };
    let found = identities.iter().rev().find(|identity| Some(identity.value.as_str()) == wanted);
    found.or(identities.first()).map_or(&statement.name.place, |identity| &identity.place)
}

/// Endings of files with certificates ("Trust Store").
const ENDINGS: [&str; 3] = ["pem", "crt", "cer"];

/// Trust policy documents in a folder of notation's, the one that counts first.
const DOCUMENTS: [&str; 2] = ["trustpolicy.oci.json", "trustpolicy.json"];

/// The folder of trust stores, as notation has it and as the specification draws it.
const TRUST_STORES: [&str; 2] = ["truststore", "trust-store"];
