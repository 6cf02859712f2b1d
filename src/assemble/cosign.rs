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
        let roots: Roots<'_> =
            cosign.trusted_roots.iter().map(|root| (root.name.value.as_str(), self.trusted_root(root))).collect();
        let mut policies: Vec<(Pattern, Arc<TrustPolicy>)> = Vec::new();
        let mut broken = None;
        for policy in &cosign.policies {
            let patterns = self.patterns(policy, &policies);
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

    /// The repositories that a policy is about; none stands for all.
    fn patterns(&mut self, policy: &CosignPolicy, known: &[(Pattern, Arc<TrustPolicy>)]) -> Vec<Pattern> {
        if policy.scopes.is_empty() {
            return vec![Pattern::Any];
        }
        let mut patterns = Vec::new();
        for Spanned { value, place } in &policy.scopes {
            match Pattern::parse(value) {
                Ok(pattern) if patterns.contains(&pattern) || known.iter().any(|(other, _)| *other == pattern) => {
                    self.problems.push(place, format!("scope {pattern} is given twice, here as {value:?}"));
                }
                Ok(pattern) => patterns.push(pattern),
                Err(cause) => self.problems.push(place, cause),
            }
        }
        patterns
    }

    fn cosign_policy(&mut self, policy: &CosignPolicy, roots: &Roots<'_>) -> Result<TrustPolicy, String> {
        let signers = self.cosign_signers(&policy.signers);
        let is_keyless = matches!(policy.signers, CosignSigners::Keyless(_));
        let wants_roots = is_keyless || policy.log || policy.sct || policy.timestamp;
        let named: Vec<&Result<Arc<TrustedRoot>, String>> = match &policy.trusted_roots {
            _ if !wants_roots => Vec::new(),
            None => roots.values().collect(),
            Some(names) => names.iter().filter_map(|name| roots.get(name.value.as_str())).collect(),
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

    fn trusted_root(&mut self, root: &NamedRoot) -> Result<Arc<TrustedRoot>, String> {
        let (source, place, read, as_of): (String, &Place, _, AsOf) = match &root.source {
            RootSource::File(path) => {
                let read = self.file(&path.value, limits::TRUST_FILE_BYTES);
                let read = read.inspect_err(|cause| self.trust_problems.push(&path.place, cause.clone()))?;
                let written = path.value.metadata().and_then(|file| file.modified()).ok();
                (path.value.display().to_string(), &path.place, Arc::new(read), Arc::new(move || written))
            }
            RootSource::Tuf(tuf) => {
                let options = self.tuf(tuf)?;
                let name = options.mirror.to_string();
                let target = self.remotes.target(options, &self.proxy);
                let read = self.take(&target, &tuf.place)?;
                let as_of = move || SystemTime::now().checked_sub(target.age()?);
                (name, &tuf.place, read, Arc::new(as_of))
            }
        };
        self.absorb(&source, &read);
        self.roots.push(Root { name: root.name.value.clone(), source: source.clone(), as_of });
        let found = TrustedRoot::parse(&read).map_err(|cause| format!("{source}: {cause}"));
        found.map(Arc::new).inspect_err(|cause| self.trust_problems.push(place, cause.clone()))
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
