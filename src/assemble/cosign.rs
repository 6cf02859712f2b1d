//! What a Cosign verifier trusts: opens key files, certificates and trusted roots, and joins them. A file that cannot serve
//! is told with its place and takes out the verifier that needs it, nothing else; a mistake in what is written is one of
//! the configuration.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use url::Url;

use super::{Assembly, Root};
use crate::config::{
    CertificateIdentity, Cosign, CosignKeys, CosignPolicy, CosignSigners, FirstRoot, IdentityMatch, KeyMaterial,
    NamedRoot, Place, Rewrite, RootSource, Spanned, TufInstance, TufMirror, TufSource,
};
use crate::limits;
use crate::metrics::AsOf;
use crate::pki::{self, Certificate};
use crate::scope::{Pattern, Scopes};
use crate::sigstore::identity::{BadMatcher, ChainIdentity, Extension, Identity, Matcher};
use crate::sigstore::key::PublicKey;
use crate::sigstore::trusted_root::TrustedRoot;
use crate::sigstore::verify::{NamedKey, Signers, Trust};
use crate::trust;
use crate::tuf;
use crate::verifier::cosign::{CosignVerifier, Options, Rewrites, TrustPolicy, Wants};

/// Where a trusted root is read.
enum AskedRoot<'a> {
    File(&'a Spanned<PathBuf>),
    Target { place: &'a Place, mirror: String, target: Arc<tuf::Target> },
}

/// Trusted roots by name, each read once.
type Roots<'a> = BTreeMap<&'a str, Result<Arc<TrustedRoot>, String>>;

impl Assembly {
    /// A Cosign verifier.
    ///
    /// # Errors
    /// Why it cannot verify, in words; mistakes are in the problems too, each with its place.
    pub(super) fn cosign(&mut self, name: &str, cosign: &Cosign, tags: bool) -> Result<CosignVerifier, String> {
        let remap = self.rewrites(&cosign.remap);
        let signature_repository = self.rewrites(&cosign.signature_repository);
        // All are asked before the first is waited for.
        let asked: Vec<_> = cosign.trusted_roots.iter().map(|root| (root, self.ask(root))).collect();
        let roots: Roots<'_> = asked
            .into_iter()
            .map(|(NamedRoot { name, .. }, asked)| {
                (name.value.as_str(), asked.and_then(|asked| self.trusted_root(&name.value, asked)))
            })
            .collect();
        let mut policies: Vec<(Pattern, Arc<TrustPolicy>)> = Vec::new();
        let (mut taken, mut broken) = (Vec::new(), None);
        for policy in &cosign.policies {
            let patterns = self.patterns(policy, &mut taken);
            match self.cosign_policy(policy, &roots) {
                Ok(joined) => {
                    let joined = Arc::new(joined);
                    policies.extend(patterns.into_iter().map(|pattern| (pattern, Arc::clone(&joined))));
                }
                Err(cause) => broken = broken.or(Some(cause)),
            }
        }
        if let Some(cause) = broken {
            return Err(cause);
        }
        let wants = match cosign.predicate_types.as_slice() {
            [] => Wants::Signature,
            types => Wants::Attestation(types.to_vec()),
        };
        let options = Options {
            policies: Scopes::new(policies),
            wants,
            docker_reference: cosign.docker_reference,
            remap: remap?,
            signature_repository: signature_repository?,
            tags,
            max_signatures: cosign.max_signatures,
        };
        Ok(CosignVerifier::new(name.to_owned(), options))
    }

    fn rewrites(&mut self, rules: &[Rewrite]) -> Result<Rewrites, String> {
        let written = rules.iter().map(|rule| (rule.from.value.as_str(), rule.to.value.as_str()));
        Rewrites::parse(written).map_err(|problems| {
            let mut first = String::new();
            for (index, cause) in problems {
                if let Some(rule) = rules.get(index) {
                    self.problems.push(&rule.from.place, &cause);
                }
                first = cause;
            }
            first
        })
    }

    /// The repositories that a policy is about, and no other of those in `taken`; none written stands for all.
    fn patterns(&mut self, policy: &CosignPolicy, taken: &mut Vec<Pattern>) -> Vec<Pattern> {
        let before = taken.len();
        if policy.scopes.is_empty() {
            if taken.contains(&Pattern::Any) {
                let cause = "another trust policy is about all repositories too: say which ones each is about";
                self.problems.push(&policy.place, cause);
            }
            taken.push(Pattern::Any);
        }
        for Spanned { value, place } in &policy.scopes {
            match Pattern::parse(value) {
                Ok(pattern) if taken.contains(&pattern) => {
                    self.problems.push(place, format!("scope {pattern} is given twice, here as {value:?}"));
                }
                Ok(pattern) => taken.push(pattern),
                Err(cause) => self.problems.push(place, cause),
            }
        }
        taken.iter().skip(before).cloned().collect()
    }

    fn cosign_policy(&mut self, policy: &CosignPolicy, roots: &Roots<'_>) -> Result<TrustPolicy, String> {
        let signers = self.cosign_signers(&policy.signers);
        let is_keyless = matches!(policy.signers, CosignSigners::Keyless(_));
        let has_certificates = !matches!(policy.signers, CosignSigners::Keys(_));
        let wants_roots = is_keyless || policy.log || policy.sct || policy.timestamp;
        let named: Vec<&Result<Arc<TrustedRoot>, String>> = match &policy.trusted_roots {
            // Whoever names them for certificates wants their times to count.
            Some(names) if wants_roots || has_certificates => {
                names.iter().filter_map(|name| roots.get(name.value.as_str())).collect()
            }
            None if wants_roots => roots.values().collect(),
            _ => Vec::new(),
        };
        let named: Result<Vec<_>, String> = named.into_iter().cloned().collect();
        let (signers, roots) = (signers?, named?);
        if wants_roots && roots.is_empty() {
            let cause = "there is no trusted root to judge its signatures by: add trustedRoots = [{ name = \"...\", file = \
                         \"/.../trusted_root.json\" }] beside trustPolicies";
            self.trust_problems.push(&policy.place, cause);
            return Err(cause.to_owned());
        }
        let trust = Trust { signers, roots, log: policy.log, sct: policy.sct, observer_time: policy.timestamp };
        Ok(TrustPolicy { trust, annotations: policy.annotations.clone() })
    }

    fn cosign_signers(&mut self, signers: &CosignSigners) -> Result<Signers, String> {
        match signers {
            CosignSigners::Keys(keys) => {
                let keys: Vec<_> = keys.iter().map(|keys| self.keys(keys)).collect();
                Ok(Signers::Keys(keys.into_iter().collect::<Result<Vec<_>, _>>()?.concat()))
            }
            CosignSigners::Keyless(identities) => {
                let identities: Vec<_> = identities.iter().map(|identity| self.keyless(identity)).collect();
                Ok(Signers::Keyless(identities.into_iter().collect::<Result<_, _>>()?))
            }
            CosignSigners::Chain { roots, intermediates, identities } => {
                let (roots, intermediates) = (self.certificates(roots), self.certificates(intermediates));
                let identities: Vec<_> = identities.iter().map(|identity| self.chained(identity)).collect();
                let identities = identities.into_iter().collect::<Result<_, _>>()?;
                Ok(Signers::Chain { roots: roots?, intermediates: intermediates?, identities })
            }
        }
    }

    /// The certificates in some files.
    fn certificates(&mut self, files: &[Spanned<PathBuf>]) -> Result<Vec<Certificate>, String> {
        let mut certificates = Vec::new();
        for path in files {
            let found = self.trust_file(&path.value);
            certificates.extend(found.inspect_err(|cause| self.trust_problems.push(&path.place, cause.clone()))?);
        }
        Ok(certificates)
    }

    /// The keys of one source, by the name that they have, or else by what tells them from others.
    fn keys(&mut self, keys: &CosignKeys) -> Result<Vec<NamedKey>, String> {
        let found = match &keys.material {
            KeyMaterial::Inline(pem) => {
                self.absorb("inline", pem.value.as_bytes());
                keys_of(pem.value.as_bytes()).inspect_err(|cause| self.problems.push(&pem.place, cause.clone()))?
            }
            KeyMaterial::Path(path) => {
                let name = path.value.display().to_string();
                self.stamp(&path.value);
                let read = trust::read(&path.value, limits::TRUST_FILE_BYTES).map_err(|error| error.to_string());
                let found = read.and_then(|bytes| {
                    self.absorb(&name, &bytes);
                    keys_of(&bytes).map_err(|cause| format!("{name}: {cause}"))
                });
                found.inspect_err(|cause| self.trust_problems.push(&path.place, cause.clone()))?
            }
            KeyMaterial::Vault(vault) => {
                let contents = self.vault(vault)?;
                contents.keys.iter().for_each(|key| self.absorb(&vault.value.url, key));
                let found: Result<Vec<_>, _> = contents.keys.iter().map(|key| PublicKey::from_der(key)).collect();
                found.map_err(|cause| {
                    let cause = format!("a key of {}: {cause}", vault.value.url);
                    self.trust_problems.push(&vault.place, &cause);
                    cause
                })?
            }
        };
        let name = |key: &PublicKey| keys.name.clone().unwrap_or_else(|| key.fingerprint());
        Ok(found.into_iter().map(|key| NamedKey { name: name(&key), key }).collect())
    }

    fn ask<'a>(&mut self, root: &'a NamedRoot) -> Result<AskedRoot<'a>, String> {
        Ok(match &root.source {
            RootSource::File(path) => AskedRoot::File(path),
            RootSource::Tuf(tuf) => {
                let options = self.tuf(tuf)?;
                let mirror = options.mirror.to_string();
                AskedRoot::Target { place: &tuf.place, mirror, target: self.remotes.target(options, &self.proxy) }
            }
        })
    }

    fn trusted_root(&mut self, name: &str, asked: AskedRoot<'_>) -> Result<Arc<TrustedRoot>, String> {
        let (source, place, read, as_of): (String, &Place, _, AsOf) = match asked {
            AskedRoot::File(path) => {
                let read = self.file(&path.value, limits::TRUST_FILE_BYTES);
                let read = read.inspect_err(|cause| self.trust_problems.push(&path.place, cause.clone()))?;
                let written = path.value.metadata().and_then(|file| file.modified()).ok();
                (path.value.display().to_string(), &path.place, Arc::new(read), Arc::new(move || written))
            }
            AskedRoot::Target { place, mirror, target } => {
                let read = self.take(&target, place)?;
                let as_of = move || SystemTime::now().checked_sub(target.age()?);
                (mirror, place, read, Arc::new(as_of))
            }
        };
        self.absorb(&source, &read);
        self.roots.push(Root { name: name.to_owned(), source: source.clone(), as_of });
        let found = TrustedRoot::parse(&read).map_err(|cause| format!("{source}: {cause}"));
        let found = found.inspect_err(|cause| self.trust_problems.push(place, cause.clone()))?;
        self.notes.extend(found.passed_over().iter().map(|note| format!("{source}: {note}")));
        Ok(Arc::new(found))
    }

    /// What a TUF repository is asked.
    fn tuf(&mut self, source: &Spanned<TufSource>) -> Result<tuf::Options, String> {
        let TufSource { first, mirror, target, refresh, max_age } = source.value.clone();
        let (root, known) = match first {
            FirstRoot::Of(instance) => {
                let known = match instance {
                    TufInstance::PublicGood => tuf::Known::PublicGood,
                    TufInstance::GitHub => tuf::Known::GitHub,
                };
                (known.root().to_vec(), Some(known.url()))
            }
            FirstRoot::File(path) => {
                let read = self.file(&path.value, limits::TUF_ROOT_BYTES);
                (read.inspect_err(|cause| self.trust_problems.push(&path.place, cause.clone()))?, None)
            }
        };
        let mut url = |text: &str| {
            let url = Url::parse(text).map_err(|error| format!("{text}: {error}"));
            url.inspect_err(|cause| self.problems.push(&source.place, cause.clone()))
        };
        let mirror = match (mirror, known) {
            (Some(TufMirror::Folder(folder)), _) => tuf::Mirror::Folder(folder),
            (Some(TufMirror::Url(text)), _) => tuf::Mirror::Url(url(&text)?),
            (None, Some(text)) => tuf::Mirror::Url(url(text)?),
            // The decoder takes none.
            (None, None) => return Err("it is not said where the TUF repository is".to_owned()),
        };
        Ok(tuf::Options { mirror, root, target, refresh, max_age, cache: self.tuf_cache.clone() })
    }

    /// A trusted file, looked at again when it changes.
    fn file(&mut self, path: &Path, limit: u64) -> Result<Vec<u8>, String> {
        self.stamp(path);
        trust::read(path, limit).map_err(|error| error.to_string())
    }

    /// An identity that Fulcio vouches for.
    fn keyless(&mut self, identity: &CertificateIdentity) -> Result<Identity, String> {
        let subject = self.matcher(&identity.subject);
        let issuer = identity.issuer.as_ref().map(|issuer| self.matcher(issuer));
        // The decoder takes no identity without its issuer.
        let issuer = issuer.unwrap_or_else(|| Err("the identity has no issuer".to_owned()));
        let mut found = Identity::new(subject?, issuer?);
        for (name, text) in &identity.extensions {
            let (extension, matcher) = self.extension(name, text)?;
            found = found.and(extension, matcher);
        }
        Ok(found)
    }

    /// An identity that an own authority vouches for.
    fn chained(&mut self, identity: &CertificateIdentity) -> Result<ChainIdentity, String> {
        match &identity.subject {
            IdentityMatch::Distinguished(text) => ChainIdentity::subject(&text.value).map_err(|cause| {
                self.problems.push(&text.place, cause.to_string());
                cause.to_string()
            }),
            other => self.matcher(other).map(ChainIdentity::AlternativeName),
        }
    }

    fn matcher(&mut self, written: &IdentityMatch) -> Result<Matcher, String> {
        let (text, made) = match written {
            IdentityMatch::Exact(text) | IdentityMatch::Distinguished(text) => (text, Matcher::exact(&text.value)),
            IdentityMatch::Pattern(text) => (text, Matcher::pattern(&text.value)),
        };
        self.made(text, made)
    }

    /// Something that a certificate must say, by its name with `Regex` behind it or not.
    fn extension(&mut self, name: &str, text: &Spanned<String>) -> Result<(Extension, Matcher), String> {
        let (name, is_pattern) = name.strip_suffix("Regex").map_or((name, false), |name| (name, true));
        let full = SHORT.iter().find(|(short, _)| *short == name).map_or(name, |(_, full)| full);
        let Some(extension) = Extension::by_name(full) else {
            let known: Vec<&str> =
                SHORT.iter().map(|(short, _)| *short).chain(Extension::all().map(Extension::name)).collect();
            let cause = format!("there is no extension {name:?}; known are {}", known.join(", "));
            self.problems.push(&text.place, &cause);
            return Err(cause);
        };
        let made = if is_pattern { Matcher::pattern(&text.value) } else { Matcher::exact(&text.value) };
        Ok((extension, self.made(text, made)?))
    }

    fn made(&mut self, text: &Spanned<String>, made: Result<Matcher, BadMatcher>) -> Result<Matcher, String> {
        made.map_err(|cause| {
            self.problems.push(&text.place, cause.to_string());
            cause.to_string()
        })
    }
}

/// What people call the extensions that cosign has options for.
const SHORT: [(&str, &str); 5] = [
    ("repository", "githubWorkflowRepository"),
    ("workflow", "githubWorkflowName"),
    ("ref", "githubWorkflowRef"),
    ("trigger", "githubWorkflowTrigger"),
    ("sha", "githubWorkflowSHA"),
];

/// The public keys in some PEM, at least one.
fn keys_of(pem: &[u8]) -> Result<Vec<PublicKey>, String> {
    let blocks = pki::blocks(pem, "PUBLIC KEY").map_err(|error| error.to_string())?;
    if blocks.is_empty() {
        return Err("there is no public key in it: expected a -----BEGIN PUBLIC KEY----- block".to_owned());
    }
    let key = |(line, der): &(usize, Vec<u8>)| {
        PublicKey::from_der(der).map_err(|error| format!("the key in line {line}: {error}"))
    };
    blocks.iter().map(key).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Assembled, assemble, load};
    use crate::admission::Mode;
    use crate::reference::Reference;
    use std::fs;
    use std::path::PathBuf;

    const KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
        MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEO3dK0TN8rCjJ47r4ybKHlCMi78ts\n\
        DzgU0ZM4ZkjQG4oNrTHMDNFzRcu6sfmNbq+VL6wztdNC/OEy/HYciURwJA==\n\
        -----END PUBLIC KEY-----\n";

    /// A folder with a key, and a configuration with a Cosign verifier of these parameters.
    struct Node {
        folder: tempfile::TempDir,
    }

    impl Node {
        fn new(parameters: &str) -> Self {
            let node = Self { folder: tempfile::tempdir().unwrap() };
            fs::write(node.key(), KEY).unwrap();
            node.configure(parameters);
            node
        }

        fn configure(&self, parameters: &str) {
            let parameters = parameters.replace("@FILE", &self.key().display().to_string());
            let text = format!(
                "[[executors]]\nscopes = [\"r.example\"]\n[[executors.verifiers]]\nname = \"v\"\ntype = \"cosign\"\n\
                 [executors.verifiers.parameters]\n{parameters}\n"
            );
            fs::write(self.config(), text).unwrap();
        }

        fn key(&self) -> PathBuf {
            self.folder.path().join("release.pub")
        }

        fn config(&self) -> PathBuf {
            self.folder.path().join("config.toml")
        }

        fn assembled(&self) -> Assembled {
            let config = self.config();
            assemble(&load(&config).unwrap(), &config).unwrap_or_else(|problems| panic!("{problems}"))
        }

        fn problems(&self) -> Vec<String> {
            let config = self.config();
            assemble(&load(&config).unwrap(), &config).err().map(|problems| problems.lines()).unwrap_or_default()
        }
    }

    fn verifies(found: &Assembled) -> bool {
        let repository = "r.example/a".parse::<Reference>().unwrap().repository;
        let (_, rules) = found.admission.scopes.find(&repository).unwrap();
        matches!(rules.mode, Mode::Verify { executor: Ok(_), .. })
    }

    const BY_KEY: &str = "trustPolicies = [{ keys = { files = [\"@FILE\"] }, ignoreTLog = true }]";

    #[test]
    fn a_key_file_is_stamped_and_another_key_is_another_generation() {
        let node = Node::new(BY_KEY);
        let before = node.assembled();
        assert!(verifies(&before) && before.problems.is_empty(), "{:?}", before.problems);
        let is_key = |(path, _): &&(PathBuf, _)| path == &node.key();
        assert_eq!(before.stamps.iter().filter(is_key).count(), 1);
        fs::write(node.key(), format!("release\n{KEY}")).unwrap();
        assert_ne!(node.assembled().admission.generation, before.admission.generation);
    }

    #[test]
    fn a_key_file_that_is_missing_or_holds_no_public_key_takes_the_verifier_out() {
        let node = Node::new(BY_KEY);
        for (content, cause) in [
            (None, "No such file"),
            (Some(""), "there is no public key in it"),
            (Some(include_str!("../../tests/fixtures/notation/single.pem")), "CERTIFICATE"),
            (Some("-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n"), "a private key stands here"),
            (Some("-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----\n"), "the key in line 1"),
        ] {
            match content {
                None => fs::remove_file(node.key()).unwrap(),
                Some(content) => fs::write(node.key(), content).unwrap(),
            }
            let found = node.assembled();
            assert!(!verifies(&found));
            assert!(found.problems.len() == 1 && found.problems[0].contains(cause), "{cause}: {:?}", found.problems);
            assert!(found.problems[0].contains("config.toml:7:"), "{:?}", found.problems);
        }
    }

    #[test]
    fn several_keys_may_stand_in_one_file_and_in_the_configuration_itself() {
        let node = Node::new(BY_KEY);
        fs::write(node.key(), format!("{KEY}{KEY}")).unwrap();
        assert!(verifies(&node.assembled()));
        node.configure(&format!("trustPolicies = [{{ keys = {{ inline = {KEY:?} }}, ignoreTLog = true }}]"));
        assert!(verifies(&node.assembled()));
        node.configure("trustPolicies = [{ keys = { inline = \"none\" }, ignoreTLog = true }]");
        assert!(node.problems()[0].contains("config.toml:7:") && node.problems()[0].contains("no public key in it"));
    }

    #[test]
    fn a_keyless_signer_without_a_trusted_root_is_misconfigured_until_there_is_one() {
        let policy = "trustPolicies = [{ certificateIdentity = \"a@b.io\", certificateOIDCIssuer = \"https://i.io\" }]";
        let node = Node::new(policy);
        let found = node.assembled();
        assert!(!verifies(&found));
        assert!(
            found.problems[0].contains("there is no trusted root to judge its signatures by"),
            "{:?}",
            found.problems
        );
        let root = node.folder.path().join("trusted_root.json");
        node.configure(&format!("trustedRoots = [{{ name = \"own\", file = {root:?} }}]\n{policy}"));
        for (content, cause) in [("{}", "trusted_root.json"), ("", "trusted_root.json")] {
            fs::write(&root, content).unwrap();
            let found = node.assembled();
            assert!(!verifies(&found) && found.problems[0].contains(cause), "{:?}", found.problems);
        }
        fs::write(&root, crate::sigstore::testing::bundles::Keyless::new().root().bytes()).unwrap();
        let found = node.assembled();
        assert!(verifies(&found), "{:?}", found.problems);
    }

    #[test]
    fn a_trusted_root_that_no_policy_needs_takes_nothing_out_and_is_told() {
        let node = Node::new(&format!("trustedRoots = [{{ name = \"own\", file = \"/nowhere.json\" }}]\n{BY_KEY}"));
        let found = node.assembled();
        assert!(verifies(&found));
        assert!(found.problems[0].contains("/nowhere.json"), "{:?}", found.problems);
    }

    #[test]
    fn an_own_authority_counts_with_the_times_of_the_roots_that_its_policy_names() {
        let chain = "certificateChain = { roots = [\"@FILE\"] }, certificateIdentity = \"a@b.io\", ignoreTLog = true";
        let roots = "trustedRoots = [{ name = \"own\", file = \"/nowhere.json\" }]";
        for (named, expected) in [("", true), (", trustedRoots = [\"own\"]", false)] {
            let node = Node::new(&format!("{roots}\ntrustPolicies = [{{ {chain}{named} }}]"));
            fs::write(node.key(), include_str!("../../tests/fixtures/notation/single.pem")).unwrap();
            let found = node.assembled();
            assert_eq!(verifies(&found), expected, "{:?}", found.problems);
        }
    }

    #[test]
    fn what_of_a_trusted_root_is_passed_over_is_told() {
        let root = crate::sigstore::testing::bundles::Keyless::new().root();
        let mut written = root.json();
        let mut strange = written["tlogs"][0].clone();
        strange["publicKey"]["keyDetails"] = "LMS_SHA256".into();
        written["tlogs"].as_array_mut().unwrap().push(strange);
        let node = Node::new("");
        let file = node.folder.path().join("trusted_root.json");
        fs::write(&file, written.to_string()).unwrap();
        node.configure(&format!(
            "trustedRoots = [{{ name = \"own\", file = {file:?} }}]\n\
             trustPolicies = [{{ certificateIdentity = \"a@b.io\", certificateOIDCIssuer = \"https://i.io\" }}]"
        ));
        let found = node.assembled();
        assert!(verifies(&found), "{:?}", found.problems);
        assert!(found.notes.len() == 1 && found.notes[0].contains("trusted_root.json: tlogs"), "{:?}", found.notes);
    }

    #[test]
    fn mistakes_in_identities_scopes_and_rules_have_their_place() {
        let issuer = "certificateOIDCIssuer = \"https://i.io\"";
        let identity = "certificateIdentity = \"a@b.io\"";
        for (parameters, cause) in [
            (format!("trustPolicies = [{{ certificateIdentityRegex = \".*\", {issuer} }}]"), "every text matches it"),
            (format!("trustPolicies = [{{ certificateIdentityRegex = \"(\", {issuer} }}]"), "no regular expression"),
            (
                format!("trustPolicies = [{{ {identity}, {issuer}, certificateExtensions = {{ repo = \"a\" }} }}]"),
                "there is no extension \"repo\"; known are repository, workflow, ref",
            ),
            (
                format!("trustPolicies = [{{ {identity}, {issuer}, certificateExtensions = {{ refRegex = \".*\" }} }}]"),
                "every text matches it",
            ),
            ("trustPolicies = [{ scopes = [\"acme/web\"], keys = { files = [\"@FILE\"] }, ignoreTLog = true }]".to_owned(), "names no registry"),
            (
                "trustPolicies = [{ scopes = [\"r.io\", \"r.io/*\"], keys = { files = [\"@FILE\"] }, ignoreTLog = true }]".to_owned(),
                "scope r.io is given twice",
            ),
            (
                "trustPolicies = [{ scopes = [\"*\"], keys = { files = [\"@FILE\"] }, ignoreTLog = true }, \
                 { keys = { files = [\"@FILE\"] }, ignoreTLog = true }]".to_owned(),
                "another trust policy is about all repositories too",
            ),
            (
                "trustPolicies = [{ keys = { files = [\"/gone\"] }, ignoreTLog = true }, \
                 { keys = { files = [\"@FILE\"] }, ignoreTLog = true }]".to_owned(),
                "another trust policy is about all repositories too",
            ),
            (format!("remap = [{{ from = \"r.io/a\", to = \"s.io/*\" }}]\n{BY_KEY}"), "is one repository"),
            (
                "trustPolicies = [{ certificateChain = { roots = [\"/r\"] }, certificateSubject = \"x\", ignoreTLog = true }]".to_owned(),
                "certificateSubject: ",
            ),
        ] {
            let problems = Node::new(&parameters).problems();
            assert!(problems.iter().any(|line| line.contains(cause)), "{cause}: {problems:?}");
            assert!(problems[0].contains("config.toml:7:"), "{problems:?}");
        }
    }
}
