//! What a Notation verifier trusts: reads trust policy documents and trust stores, and joins them. A file that cannot
//! serve is told with its place and takes out the verifier that needs it, nothing else. All sources of a trust store must
//! be whole: a root that is silently left out is an outage, and one that should have gone and has not is a breach.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Assembly, TOP};
use crate::config::{
    self, Asks, AzureVault, KeyMaterial, Named, Notation, Place, Problems, Spanned, Statement, StoreName, StoreType,
    TrustPolicySource, TrustStore, Undefined,
};
use crate::keyvault::Contents;
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
        let of_files = matches!(problem, Problem::NoAnchor | Problem::Leaf { .. } | Problem::NotRoot { .. });
        let place = if of_files {
            // The first store that may be meant.
            let is_meant = |found: StoreType| (found == StoreType::Tsa) == matches!(problem, Problem::NotRoot { .. });
            let named = statement.stores().iter().find(|name| is_meant(name.value.store_type)).map(|name| &name.place);
            let mut defined = joining.notation.stores.iter().filter(|store| is_meant(store.store_type));
            named.or_else(|| defined.find_map(TrustStore::place)).unwrap_or(&TOP)
        } else {
            place_of_identity(problem, statement)
        };
        match &mut joining.written {
            Written::Configuration if !of_files => self.problems.push(place, text),
            written => written.tell(place, &text, &mut self.trust_problems),
        }
    }

    /// The certificates of a trust store that a statement names.
    fn named(&mut self, name: &Spanned<StoreName>, joining: &mut Joining<'_>) -> Result<Vec<Certificate>, String> {
        if let Some(found) = joining.read.get(&name.value) {
            return found.clone();
        }
        let found = match &joining.stores {
            Stores::Folder(folder) => {
                let path = folder.join(name.value.store_type.as_str()).join(&name.value.name);
                let found = self.named_folder(&path);
                found.inspect_err(|cause| joining.written.tell(&name.place, cause, &mut self.trust_problems))
            }
            Stores::Configuration => match joining.notation.find(&name.value) {
                Ok(store) => self.configured(store),
                Err(Undefined { message, hint }) => {
                    joining.written.tell(&name.place, &format!("{message} ({hint})"), &mut self.trust_problems);
                    Err(message)
                }
            },
        };
        joining.read.insert(name.value.clone(), found.clone());
        found
    }

    /// The certificates of a trust store of the configuration.
    fn configured(&mut self, store: &TrustStore) -> Result<Vec<Certificate>, String> {
        let parts: Vec<_> = store.material.iter().map(|material| self.anchors(material)).collect();
        Ok(parts.into_iter().collect::<Result<Vec<_>, _>>()?.concat())
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
            KeyMaterial::Vault(vault) => {
                let certificates = self.vault(vault)?.certificates.clone();
                certificates.iter().for_each(|certificate| self.absorb(&vault.value.url, certificate.der()));
                Ok(certificates)
            }
            KeyMaterial::Path(path) => {
                let found =
                    if path.value.is_dir() { self.trust_folder(&path.value) } else { self.trust_file(&path.value) };
                found.inspect_err(|cause| self.trust_problems.push(&path.place, cause.clone()))
            }
        }
    }

    /// What is taken from a key vault.
    pub(super) fn vault(&mut self, vault: &Spanned<AzureVault>) -> Result<Arc<Contents>, String> {
        let source = self.remotes.vault(&vault.value, &self.proxy);
        self.take(&source, &vault.place)
    }

    pub(super) fn trust_file(&mut self, path: &Path) -> Result<Vec<Certificate>, String> {
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
            let is_certificate =
                path.extension().is_some_and(|found| ENDINGS.iter().any(|it| found.eq_ignore_ascii_case(it)));
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
            return Err(format!(
                "{} holds no certificate: there is no file that ends in .pem, .crt or .cer",
                path.display()
            ));
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
                let cause =
                    format!("{} and {} are both there; keep one", as_notation.display(), as_specified.display());
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
    pub(super) fn stamp(&mut self, path: &Path) {
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

#[cfg(test)]
mod tests {
    use super::super::{Assembled, assemble, load};
    use super::*;
    use crate::admission::Mode;
    use crate::pki::testing::{INTERMEDIATE, Key, Kind, LEAF, ROOT, Template, chain};
    use crate::reference::Reference;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::{Value, json};
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    /// A node whose scope `broken.example` has the parameters of a test, and `whole.example` others that are fine.
    struct Node(tempfile::TempDir);

    impl Node {
        fn new() -> Self {
            let node = Self(tempfile::tempdir().unwrap());
            node.write("ca.pem", pem(&chain()[2]));
            node
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
            let path = self.path(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
            path
        }

        fn configure(&self, parameters: &Value) -> PathBuf {
            let executor = |scope: &str, parameters: &Value| {
                let verifier = json!({ "name": "v", "type": "notation", "parameters": parameters });
                json!({ "scopes": [scope], "verifiers": [verifier] })
            };
            let fine = json!({ "certificates": [{ "files": [self.path("ca.pem")] }] });
            let config =
                json!({ "executors": [executor("broken.example", parameters), executor("whole.example", &fine)] });
            self.write("config.json", serde_json::to_string_pretty(&config).unwrap())
        }

        fn assembled(&self, parameters: &Value) -> Assembled {
            let config = self.configure(parameters);
            assemble(&load(&config).unwrap_or_else(|problems| panic!("{problems}")), &config)
                .unwrap_or_else(|problems| panic!("{problems}"))
        }

        /// All is well.
        #[track_caller]
        fn serves(&self, parameters: &Value) -> Assembled {
            let found = self.assembled(parameters);
            assert!(found.problems.is_empty(), "{:?}", found.problems);
            assert_eq!(cause(&found, "broken.example/a"), None);
            found
        }

        /// One problem, which takes out what depends on it and nothing else.
        #[track_caller]
        fn is_taken_out(&self, parameters: &Value, expected: &[&str]) {
            let found = self.assembled(parameters);
            assert_eq!(found.problems.len(), 1, "{:?}", found.problems);
            let told = cause(&found, "broken.example/a").unwrap();
            for expected in expected {
                assert!(found.problems[0].contains(expected), "{expected}: {:?}", found.problems);
            }
            assert!(told.starts_with("verifier \"v\": "), "{told}");
            assert_eq!(cause(&found, "whole.example/a"), None);
        }
    }

    /// Why nobody can verify the images of a repository.
    fn cause(assembled: &Assembled, repository: &str) -> Option<String> {
        let repository = repository.parse::<Reference>().unwrap().repository;
        match &assembled.admission.scopes.find(&repository).unwrap().1.mode {
            Mode::Verify { executor, .. } => executor.as_ref().err().cloned(),
            Mode::Allow | Mode::Deny => panic!("nobody is asked"),
        }
    }

    fn pem(certificate: &Certificate) -> String {
        let body = STANDARD.encode(certificate.der());
        format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
    }

    fn policy(stores: &[&str]) -> Value {
        json!({ "version": "1.0", "trustPolicies": [{
            "name": "all", "registryScopes": ["*"], "signatureVerification": { "level": "strict" },
            "trustStores": stores, "trustedIdentities": ["*"],
        }] })
    }

    /// A folder laid out as notation's, with a store `ca:acme`.
    fn notation_folder(node: &Node) -> Value {
        node.write("n/trustpolicy.json", policy(&["ca:acme"]).to_string());
        node.write("n/truststore/x509/ca/acme/root.pem", pem(&chain()[2]));
        json!({ "notationConfig": node.path("n") })
    }

    #[test]
    fn a_folder_of_notation_is_read_as_it_stands() {
        let node = Node::new();
        let parameters = notation_folder(&node);
        node.write("n/truststore/x509/ca/acme/two.crt", chain()[1].der());
        node.write("n/truststore/x509/ca/acme/three.CER", pem(&chain()[2]));
        // What no statement names is not opened.
        node.write("n/truststore/x509/ca/other/broken.pem", "no certificate");
        node.write("n/truststore/x509/tsa/acme/broken.pem", "no certificate");
        let found = node.serves(&parameters);
        let stamped = |name: &str| found.stamps.iter().any(|(path, _)| *path == node.path(name));
        for name in ["n/trustpolicy.json", "n/trustpolicy.oci.json", "n/truststore/x509/ca/acme"] {
            assert!(stamped(name), "{name}");
        }
        assert!(stamped("n/truststore/x509/ca/acme/two.crt") && !stamped("n/truststore/x509/ca/other/broken.pem"));
        fs::rename(node.path("n/truststore"), node.path("n/trust-store")).unwrap();
        node.serves(&parameters);
        fs::create_dir(node.path("n/truststore")).unwrap();
        node.is_taken_out(&parameters, &["config.json:", "parameters.notationConfig: ", "are both there; keep one"]);
    }

    #[test]
    fn the_document_for_images_goes_before_the_older_one() {
        let node = Node::new();
        let parameters = notation_folder(&node);
        let before = node.serves(&parameters);
        let newer = node.write("n/trustpolicy.oci.json", policy(&["ca:gone"]).to_string());
        assert!(before.stamps.iter().any(|(path, stamp)| *path == newer && *stamp != Stamp::of(&newer)));
        node.is_taken_out(&parameters, &["trustpolicy.oci.json:1:", "trustStores[0]: ", "/ca/gone: No such file"]);
        fs::remove_file(&newer).unwrap();
        symlink("nowhere", &newer).unwrap();
        node.is_taken_out(&parameters, &["config.json:", "trustpolicy.oci.json: No such file"]);
        fs::remove_file(&newer).unwrap();
        fs::remove_file(node.path("n/trustpolicy.json")).unwrap();
        node.is_taken_out(&parameters, &["config.json:", "trustpolicy.json: No such file"]);
    }

    #[test]
    fn a_file_more_and_a_file_less_in_a_trust_store_is_another_trust() {
        let node = Node::new();
        let parameters = notation_folder(&node);
        let before = node.serves(&parameters);
        let changed = |assembled: &Assembled| assembled.stamps.iter().any(|(path, stamp)| *stamp != Stamp::of(path));
        assert!(!changed(&before));
        let more = node.write("n/truststore/x509/ca/acme/more.pem", pem(&chain()[1]));
        assert!(changed(&before));
        let with = node.serves(&parameters);
        assert_ne!(with.admission.generation, before.admission.generation);
        fs::remove_file(more).unwrap();
        assert!(changed(&with));
        assert_eq!(node.serves(&parameters).admission.generation, before.admission.generation);
        fs::remove_file(node.path("n/truststore/x509/ca/acme/root.pem")).unwrap();
        node.is_taken_out(&parameters, &["trustStores[0]: ", "ca/acme holds no certificate"]);
        fs::remove_dir(node.path("n/truststore/x509/ca/acme")).unwrap();
        node.is_taken_out(&parameters, &["trustStores[0]: ", "ca/acme: No such file"]);
    }

    #[test]
    fn symbolic_links_in_a_trust_store_are_refused_by_name() {
        let node = Node::new();
        let parameters = notation_folder(&node);
        for name in ["link.pem", "link"] {
            let link = node.path("n/truststore/x509/ca/acme").join(name);
            symlink(node.path("ca.pem"), &link).unwrap();
            node.is_taken_out(&parameters, &[&format!("acme/{name} is a symbolic link")]);
            fs::remove_file(link).unwrap();
        }
        let store = node.path("n/truststore/x509/ca/acme");
        fs::rename(&store, node.path("elsewhere")).unwrap();
        symlink(node.path("elsewhere"), &store).unwrap();
        node.is_taken_out(&parameters, &["ca/acme is a symbolic link; a trust store must be a folder itself"]);
    }

    #[test]
    fn folders_and_strange_files_in_a_trust_store_are_passed_over_and_told() {
        let node = Node::new();
        let parameters = notation_folder(&node);
        let store = "n/truststore/x509/ca/acme";
        node.write(&format!("{store}/sub-dir/more.pem"), "no certificate");
        node.write(&format!("{store}/root.pem.bak"), "no certificate");
        node.write(&format!("{store}/README"), "no certificate");
        let found = node.serves(&parameters);
        let told: Vec<&str> = found.notes.iter().map(|note| note.rsplit_once("acme/").unwrap().1).collect();
        let ending = "is passed over: its name ends in none of .pem, .crt and .cer";
        assert_eq!(
            told,
            [
                format!("README {ending}"),
                format!("root.pem.bak {ending}"),
                "sub-dir is passed over: it is a folder in a trust store".to_owned()
            ]
        );
    }

    #[test]
    fn one_bad_file_takes_out_its_store() {
        let node = Node::new();
        let parameters = notation_folder(&node);
        let path = node.write("n/truststore/x509/ca/acme/bad.pem", "no certificate");
        node.is_taken_out(&parameters, &["trustStores[0]: ", "acme/bad.pem: there is no certificate in it"]);
        fs::write(&path, pem(&chain()[2])).unwrap();
        node.serves(&parameters);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        node.is_taken_out(&parameters, &["acme/bad.pem can be written by everybody"]);
        fs::remove_file(&path).unwrap();
        let store = node.path("n/truststore/x509/ca/acme");
        fs::set_permissions(&store, fs::Permissions::from_mode(0o777)).unwrap();
        node.is_taken_out(&parameters, &["ca/acme can be written by everybody"]);
    }

    #[test]
    fn entries_of_a_trust_store_at_the_limit_and_one_past_it() {
        let node = Node::new();
        let parameters = notation_folder(&node);
        for index in 1..limits::TRUST_FOLDER_ENTRIES {
            node.write(&format!("n/truststore/x509/ca/acme/{index}"), "");
        }
        node.serves(&parameters);
        node.write("n/truststore/x509/ca/acme/more", "");
        node.is_taken_out(&parameters, &["ca/acme has more than 512 entries"]);
    }

    #[test]
    fn what_vouches_for_timestamps_is_a_root() {
        let node = Node::new();
        let parameters = notation_folder(&node);
        node.write("n/trustpolicy.json", policy(&["ca:acme", "tsa:stamps"]).to_string());
        let path = node.write("n/truststore/x509/tsa/stamps/root.pem", pem(&chain()[2]));
        node.serves(&parameters);
        let key = Key::get(Kind::P256, 0);
        for other in [
            Template::ca(INTERMEDIATE, ROOT).sign(key, key),
            Template::leaf(LEAF, LEAF).sign(key, key),
            Template::ca(ROOT, ROOT).sign(key, Key::get(Kind::P256, 1)),
        ] {
            fs::write(&path, pem(&other)).unwrap();
            node.is_taken_out(&parameters, &["trustStores[1]: ", "is no root: trust stores of type tsa hold"]);
        }
        let in_configuration = json!({ "certificates": [
            { "files": [node.path("ca.pem")] }, { "type": "tsa", "files": [path] },
        ] });
        node.is_taken_out(&in_configuration, &["certificates[1].files[0]: ", "is no root"]);
    }

    #[test]
    fn a_leaf_is_no_trust_anchor_whatever_store_it_is_in() {
        let node = Node::new();
        let parameters = notation_folder(&node);
        node.write("n/truststore/x509/ca/acme/leaf.crt", chain()[0].der());
        node.is_taken_out(&parameters, &["trustStores[0]: ", "CN=signer", "neither a CA certificate nor self-signed"]);
    }

    #[test]
    fn a_document_of_its_own_names_stores_of_the_configuration() {
        let node = Node::new();
        let file = node.write("p.json", policy(&["ca:acme"]).to_string());
        let parameters = |name: &str| json!({ "trustPolicyFile": file, "certificates": [{ "name": name, "files": [node.path("ca.pem")] }] });
        let found = node.serves(&parameters("acme"));
        assert!(found.stamps.iter().any(|(path, _)| *path == file));
        let expected = "p.json:1:";
        let hint = "trustStores[0]: nothing defines the trust store \"ca:acme\" (there is ca:other)";
        node.is_taken_out(&parameters("other"), &[expected, hint]);
        let before = found.admission.generation;
        fs::write(&file, policy(&["ca:acme"]).to_string().replace("\"*\"]", "\"whole.example/a\"]")).unwrap();
        assert_ne!(node.assembled(&parameters("acme")).admission.generation, before);
    }

    #[test]
    fn mistakes_of_a_document_on_disk_have_their_place_there_and_take_out_what_depends_on_it() {
        let node = Node::new();
        let parameters = notation_folder(&node);
        let text = serde_json::to_string_pretty(&policy(&["ca:acme"])).unwrap();
        let file = node.path("n/trustpolicy.json");
        for (from, to, expected) in [
            ("\"strict\"", "\"none\"", "signatureVerification.level: unknown value \"none\""),
            ("\"1.0\"", "\"2.0\"", "version: unknown value \"2.0\""),
            ("\"all\"", "\"all\",", "JSON"),
        ] {
            fs::write(&file, text.replace(from, to)).unwrap();
            let found = node.assembled(&parameters);
            assert!(found.problems[0].starts_with(&format!("{}:", file.display())), "{:?}", found.problems);
            assert!(cause(&found, "broken.example/a").is_some() && cause(&found, "whole.example/a").is_none());
            assert!(found.problems[0].contains(expected) || expected == "JSON", "{:?}", found.problems);
        }
        let identities =
            "\"trustedIdentities\": [\n        \"x509.subject: C=US, ST=WA, O=a\",\n        \"x509.subject: C=US\"";
        let start = text.find("\"trustedIdentities\"").unwrap();
        let end = start + text[start..].find(']').unwrap();
        fs::write(&file, format!("{}{identities}{}", &text[..start], &text[end..])).unwrap();
        node.is_taken_out(&parameters, &["trustPolicies[0].trustedIdentities[1]: ", "ST is missing"]);
        fs::write(&file, b"\xff").unwrap();
        node.is_taken_out(&parameters, &["config.json:", "trustpolicy.json is not UTF-8"]);
    }

    #[test]
    fn two_verifiers_with_one_bad_document_tell_it_once() {
        let node = Node::new();
        let parameters = notation_folder(&node);
        node.write("n/trustpolicy.json", "{}");
        let verifier = |name: &str| json!({ "name": name, "type": "notation", "parameters": parameters });
        let config = json!({ "executors": [{ "scopes": ["r.example"], "verifiers": [verifier("a"), verifier("b")] }] });
        let config = node.write("config.json", config.to_string());
        let found = assemble(&load(&config).unwrap(), &config).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(found.problems.len(), 2, "{:?}", found.problems);
    }

    #[test]
    fn a_policy_that_skips_all_it_names_needs_no_trust_store() {
        let node = Node::new();
        let skip = json!({ "version": "1.0", "trustPolicies": [{
            "name": "unsigned", "registryScopes": ["broken.example/a"], "signatureVerification": { "level": "skip" },
        }] });
        node.serves(&json!({ "trustPolicyDoc": skip }));
        node.write("n/trustpolicy.json", skip.to_string());
        node.serves(&json!({ "notationConfig": node.path("n") }));
    }

    #[test]
    fn files_of_the_configuration_may_be_folders_and_der() {
        let node = Node::new();
        node.write("trust/a.pem", pem(&chain()[2]));
        node.write("trust/b.der.crt", chain()[1].der());
        let der = node.write("c.der", chain()[2].der());
        let parameters = json!({ "certificates": [{ "files": [node.path("trust"), der] }] });
        let found = node.serves(&parameters);
        assert!(found.stamps.iter().any(|(path, _)| *path == node.path("trust")));
        node.serves(&json!({ "verificationCerts": [node.path("trust")] }));
        symlink(node.path("trust"), node.path("link")).unwrap();
        node.serves(&json!({ "certificates": [{ "files": [node.path("link")] }] }));
        fs::remove_file(node.path("trust/a.pem")).unwrap();
        fs::remove_file(node.path("trust/b.der.crt")).unwrap();
        node.is_taken_out(&parameters, &["certificates[0].files[0]: ", "trust holds no certificate"]);
    }

    #[test]
    fn an_identity_that_is_none_is_a_mistake_of_the_configuration_at_its_own_place() {
        let node = Node::new();
        let mut document = policy(&["ca:acme"]);
        document["trustPolicies"][0]["trustedIdentities"] =
            json!(["x509.subject: C=US, ST=WA, O=a", "x509.subject: C=US, ST=WA, O=a, CN=b", "x509.subject: C=US"]);
        let config = node.configure(&json!({
            "trustPolicyDoc": document, "certificates": [{ "name": "acme", "files": [node.path("ca.pem")] }],
        }));
        let problems = assemble(&load(&config).unwrap(), &config).err().unwrap().lines();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].contains("trustedIdentities[1]: ") && problems[0].contains("already allowed by"));
        assert!(problems[1].contains("trustedIdentities[2]: ") && problems[1].contains("ST is missing"));
    }
}
