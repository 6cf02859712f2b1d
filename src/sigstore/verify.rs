//! The steps by which a signature of Sigstore's is judged (Sigstore, "Client Specification", sections 4.2 to 4.5): by a key
//! that is known, by a certificate of Fulcio's for an identity, or by one of an operator's own authority. Pure: trust, bytes
//! and moment in, finding out. Called by the Cosign verifier and by `ratifyctl verify-bundle`.

use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::bundle::{Content, HashName, Material, MessageDigest, Signature};
use super::certificate::{self, Claims};
use super::identity::{ChainIdentity, Identity, whole_name};
use super::key::{Message, PublicKey};
use super::log::{Entered, SignedBy, What};
use super::sct;
use super::times::{self, NO_TIME, Times};
use super::trusted_root::{TrustedRoot, Validity};
use crate::artifact::hex;
use crate::pki::chain::check_validity;
use crate::pki::path::{self, NoPath};
use crate::pki::{Certificate, rfc3339};
use crate::report::Stage;

/// What is asked of a signature.
#[derive(Clone, Debug)]
pub struct Trust {
    /// Who may sign.
    pub signers: Signers,
    /// The logs and authorities that are trusted.
    pub roots: Vec<Arc<TrustedRoot>>,
    /// Whether a transparency log must have it.
    pub log: bool,
    /// Whether a log must have a keyless signer's certificate.
    pub sct: bool,
    /// Whether a log or a timestamp authority must say when it was made, where that would not be asked anyway.
    pub observer_time: bool,
}

/// Who may sign.
#[derive(Clone, Debug)]
pub enum Signers {
    /// Keys that are known.
    Keys(Vec<NamedKey>),
    /// Whoever has one of these identities by a certificate of Fulcio's.
    Keyless(Vec<Identity>),
    /// Whoever has one of these identities by a certificate of an own authority.
    Chain {
        /// Certificates of the authority.
        roots: Vec<Certificate>,
        /// Others that may lead to them.
        intermediates: Vec<Certificate>,
        /// Who of those that have a certificate.
        identities: Vec<ChainIdentity>,
    },
}

/// A key with the name that an operator gave it.
#[derive(Clone, Debug)]
pub struct NamedKey {
    /// The name.
    pub name: String,
    /// The key.
    pub key: PublicKey,
}

/// A signature that is as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The fingerprint of the key that made it.
    pub signer: String,
    /// The name that is vouched for: of the certificate, or of the key.
    pub identity: Option<String>,
    /// What was found, in words.
    pub detail: String,
    /// When something that this rests on ends.
    pub valid_until: Option<SystemTime>,
}

/// Why a signature does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmet {
    /// How far it came.
    pub stage: Stage,
    /// Why no further.
    pub cause: String,
}

impl Unmet {
    pub(super) fn new(stage: Stage, cause: impl ToString) -> Self {
        Self { stage, cause: cause.to_string() }
    }
}

/// Judges a signature. `message` is what must have been signed where the signature does not hold it itself.
///
/// # Errors
/// The first thing that is not as it is asked for.
pub fn verify(signature: &Signature, message: &Message<'_>, trust: &Trust, now: SystemTime) -> Result<Verified, Unmet> {
    check_digest(&signature.content, message)?;
    let encoded = match &signature.content {
        Content::Dsse(envelope) => Some(envelope.pae()),
        Content::Message { .. } => None,
    };
    let signed = encoded.as_deref().map_or(*message, Message::Bytes);
    let case = Case { signature, message, signed, trust, now };
    match (&trust.signers, &signature.material) {
        (Signers::Keys(keys), material) => case.by_key(keys, material),
        (Signers::Keyless(identities), Material::Certificate { leaf, chain }) => case.keyless(identities, leaf, chain),
        (Signers::Chain { roots, intermediates, identities }, Material::Certificate { leaf, chain }) => {
            let given: Vec<_> = intermediates.iter().chain(chain).cloned().collect();
            case.by_chain(roots, &given, identities, leaf)
        }
        (Signers::Keyless(_) | Signers::Chain { .. }, Material::Key { .. }) => Err(Unmet::new(
            Stage::Authenticity,
            "the signature brings no certificate: it was made with a key, and an identity is asked for",
        )),
    }
}

/// That the digest by which a signature names its artifact is the artifact's. It proves nothing, but who says something
/// else speaks of something else.
fn check_digest(content: &Content, message: &Message<'_>) -> Result<(), Unmet> {
    let Content::Message { digest: Some(MessageDigest { algorithm, bytes }), .. } = content else { return Ok(()) };
    let found = match (algorithm, message) {
        (HashName::Sha256, _) => message.sha256().to_vec(),
        (HashName::Sha384, Message::Bytes(message)) => digest::digest(&digest::SHA384, message).as_ref().to_vec(),
        (HashName::Sha512, Message::Bytes(message)) => digest::digest(&digest::SHA512, message).as_ref().to_vec(),
        // Only whoever has the bytes can tell; the signature is over this hash, and does not hold without them either.
        (HashName::Sha384 | HashName::Sha512, Message::Sha256(_)) => return Ok(()),
    };
    if found == *bytes {
        return Ok(());
    }
    Err(Unmet::new(
        Stage::Subject,
        format_args!("the bundle is of another artifact: of digest {}, and this is {}", hex(bytes), hex(&found)),
    ))
}

/// What is said where a log is asked for, and none has it.
const NO_LOG: &str =
    "no transparency log has the signature, and the policy asks for one: there is no log entry with it";

/// Certificates from a signer's to a trusted one, in their order.
struct Path {
    certificates: Vec<Certificate>,
    /// When the trusted one counts.
    valid_for: Validity,
}

impl Path {
    /// Whether it leads there at another moment too.
    fn covers(&self, at: SystemTime) -> bool {
        self.valid_for.covers(at) && check_validity(&self.certificates, at).is_ok()
    }

    /// Those above the signer's.
    fn authorities(&self) -> impl Iterator<Item = &Certificate> {
        self.certificates.iter().skip(1)
    }
}

/// One signature that is judged.
struct Case<'a> {
    signature: &'a Signature,
    message: &'a Message<'a>,
    /// What the signature is over: the message, or the envelope that it stands in.
    signed: Message<'a>,
    trust: &'a Trust,
    now: SystemTime,
}

impl Case<'_> {
    /// By one of some keys. Keys have no validity: of logs and timestamps counts what is asked for.
    fn by_key(&self, keys: &[NamedKey], material: &Material) -> Result<Verified, Unmet> {
        let Some(signer) = keys.iter().find(|named| self.is_signed_by(&named.key)) else {
            return Err(Unmet::new(Stage::Authenticity, not_by(keys, material)));
        };
        let by = match material {
            Material::Key { .. } => SignedBy::Key(&signer.key),
            Material::Certificate { leaf, .. } => SignedBy::Certificate(leaf),
        };
        let times = if self.trust.log || self.trust.observer_time { self.times(by)? } else { Times::default() };
        self.check_asked(&times)?;
        Ok(Verified {
            signer: signer.key.fingerprint(),
            identity: Some(signer.name.clone()),
            detail: format!("signed with key {}{}", signer.name, times.told()),
            valid_until: self.first_end(times.ends()),
        })
    }

    /// By one of some identities, by way of a certificate of Fulcio's.
    fn keyless(&self, identities: &[Identity], leaf: &Certificate, chain: &[Certificate]) -> Result<Verified, Unmet> {
        let claims = Claims::of(leaf).map_err(|cause| Unmet::new(Stage::Integrity, cause))?;
        // Whoever is nobody, or has signed something else, is told so before what anybody can heap up is looked at.
        let begin = leaf.not_before();
        let first = match self.path(leaf, chain, begin, "the certificate") {
            Err(unmet) if unmet.stage != Stage::Expiry => return Err(unmet),
            found => found,
        };
        check_any(identities, |identity| identity.check(&claims))?;
        self.check_signed(leaf)?;
        let times = self.times(SignedBy::Certificate(leaf))?;
        if times.all().is_empty() {
            return Err(first.err().unwrap_or_else(|| Unmet::new(Stage::Expiry, self.no_time(leaf))));
        }
        let mut ends = times.ends();
        let mut issuers: Vec<Certificate> = Vec::new();
        for (at, what) in times.all() {
            let other;
            let path = match &first {
                Ok(path) if path.covers(*at) => path,
                _ => {
                    other = self.path(leaf, chain, *at, what)?;
                    &other
                }
            };
            ends.extend(path.valid_for.end);
            ends.extend(path.authorities().map(Certificate::not_after));
            issuers.extend(path.authorities().next().filter(|issuer| !issuers.contains(issuer)).cloned());
        }
        if self.trust.sct {
            for issuer in &issuers {
                sct::check(leaf, issuer, &self.trust.roots).map_err(|cause| Unmet::new(Stage::Authenticity, cause))?;
            }
        }
        self.check_asked(&times)?;
        let issuer = claims.issuer.unwrap_or_default();
        Ok(Verified {
            signer: leaf.key_fingerprint(),
            detail: format!("signed by {:?}, by the word of {issuer:?}{}", claims.subject, times.told()),
            identity: Some(claims.subject),
            valid_until: self.first_end(ends),
        })
    }

    /// By one of some identities, by way of a certificate of an own authority.
    fn by_chain(
        &self,
        roots: &[Certificate],
        given: &[Certificate],
        identities: &[ChainIdentity],
        leaf: &Certificate,
    ) -> Result<Verified, Unmet> {
        certificate::check(leaf, false).map_err(|cause| Unmet::new(Stage::Integrity, cause))?;
        let begin = leaf.not_before();
        if let Err(cause) = path::find(leaf, given, roots, begin)
            && !cause.is_about_time()
        {
            return Err(no_path(&cause, begin, "the certificate"));
        }
        let names = leaf.alternative_names().map_err(|cause| Unmet::new(Stage::Integrity, cause))?;
        let name = identities.iter().find_map(|identity| identity.name_of(leaf, &names));
        let Some(name) = name else {
            let (subject, expected) = (leaf.subject(), listed(identities));
            let cause = format!("the signer {subject}, {}, is none of the identities: {expected}", shown(&names));
            return Err(Unmet::new(Stage::Identity, cause));
        };
        self.check_signed(leaf)?;
        let times = self.times(SignedBy::Certificate(leaf))?;
        let mut ends = times.ends();
        for (at, what) in times.all() {
            let path = path::find(leaf, given, roots, *at).map_err(|cause| no_path(&cause, *at, what))?;
            ends.extend(path.iter().skip(1).map(Certificate::not_after));
        }
        if times.all().is_empty() {
            let found = path::find(leaf, given, roots, self.now);
            let path = found.map_err(|cause| Unmet::new(Stage::Expiry, format_args!("{cause}, and {NO_TIME}")))?;
            // Past this moment somebody else would have to say when it was made.
            ends.extend(path.iter().map(Certificate::not_after));
        }
        self.check_asked(&times)?;
        Ok(Verified {
            signer: leaf.key_fingerprint(),
            detail: format!("signed by {name:?}{}", times.told()),
            identity: Some(whole_name(leaf, &names)),
            valid_until: self.first_end(ends),
        })
    }

    /// What others say of the time (4.2), and that logs have it (4.4).
    fn times(&self, by: SignedBy<'_>) -> Result<Times, Unmet> {
        if self.trust.log && self.signature.entries.is_empty() {
            return Err(Unmet::new(Stage::Metadata, NO_LOG));
        }
        let content = match &self.signature.content {
            Content::Dsse(envelope) => What::Dsse(envelope),
            Content::Message { .. } => What::Message(self.message),
        };
        let entered = Entered { signature: self.signature.content.signature(), by, content };
        times::observe(self.signature, &entered, &self.trust.roots, self.trust.log, self.now)
    }

    /// A path to an authority of the roots at a moment (4.3). Intermediates come with the signature only where the roots
    /// leave them out (4.1): what a root no longer lists must not come back with a signature. Where the moment alone is
    /// wrong the failure is of [`Stage::Expiry`].
    fn path(&self, leaf: &Certificate, chain: &[Certificate], at: SystemTime, what: &str) -> Result<Path, Unmet> {
        let mut cause = None;
        for authority in self.trust.roots.iter().flat_map(|root| root.authorities()) {
            let Some((anchor, intermediates)) = authority.chain().split_last() else { continue };
            let given = if intermediates.is_empty() { chain } else { intermediates };
            let valid_for = authority.valid_for();
            let found = match path::find(leaf, given, std::slice::from_ref(anchor), at) {
                Ok(path) if path.len() < 2 => continue,
                Ok(certificates) if valid_for.covers(at) => return Ok(Path { certificates, valid_for }),
                Ok(_) => Unmet::new(
                    Stage::Expiry,
                    format_args!("{what} is of {}, and authority {} counts {valid_for}", rfc3339(at), authority.name()),
                ),
                Err(found) => no_path(&found, at, what),
            };
            // Who leads somewhere tells more than who does not.
            if cause.as_ref().is_none_or(|cause: &Unmet| cause.stage < found.stage) {
                cause = Some(found);
            }
        }
        let nobody = "the trusted root names no authority that issues certificates to signers";
        Err(cause.unwrap_or_else(|| Unmet::new(Stage::Authenticity, nobody)))
    }

    /// 4.5.
    fn check_signed(&self, leaf: &Certificate) -> Result<(), Unmet> {
        let key = PublicKey::of(leaf).map_err(|cause| {
            Unmet::new(Stage::Integrity, format_args!("the key of the signer's certificate: {cause}"))
        })?;
        if self.is_signed_by(&key) {
            return Ok(());
        }
        let cause = "the signature does not fit: it was not made over this content by the key of its certificate";
        Err(Unmet::new(Stage::Integrity, cause))
    }

    fn is_signed_by(&self, key: &PublicKey) -> bool {
        key.signed(&self.signed, self.signature.content.signature())
    }

    /// That a log has it and somebody tells its time, where that is asked for.
    fn check_asked(&self, times: &Times) -> Result<(), Unmet> {
        if self.trust.log && !times.is_logged() {
            return Err(Unmet::new(Stage::Metadata, NO_LOG));
        }
        if self.trust.observer_time && times.all().is_empty() {
            return Err(Unmet::new(Stage::Expiry, NO_TIME));
        }
        Ok(())
    }

    fn no_time(&self, leaf: &Certificate) -> String {
        let (end, now) = (leaf.not_after(), self.now);
        let state = if now > end { "expired at" } else { "counts until" };
        format!("the signer's certificate {state} {}, and {NO_TIME}", rfc3339(end))
    }

    /// The first end that is still to come: what ended before did not end what was signed earlier.
    fn first_end(&self, ends: Vec<SystemTime>) -> Option<SystemTime> {
        ends.into_iter().filter(|end| *end >= self.now).min()
    }
}

/// Why there is no path, at a moment that somebody tells.
fn no_path(cause: &NoPath, at: SystemTime, what: &str) -> Unmet {
    match cause {
        cause if cause.is_about_time() => {
            Unmet::new(Stage::Expiry, format_args!("{what} is of {}: {cause}", rfc3339(at)))
        }
        NoPath::Untrusted { .. } => Unmet::new(Stage::Authenticity, cause),
        cause => Unmet::new(Stage::Integrity, cause),
    }
}

fn check_any(identities: &[Identity], check: impl Fn(&Identity) -> Result<(), String>) -> Result<(), Unmet> {
    let mut causes = Vec::new();
    for identity in identities {
        match check(identity) {
            Ok(()) => return Ok(()),
            Err(cause) => causes.push(cause),
        }
    }
    let cause = if causes.is_empty() { "no identity is trusted".to_owned() } else { causes.join("; ") };
    Err(Unmet::new(Stage::Identity, cause))
}

/// Why none of the keys counts. What a signature hints at helps whoever looks for the key, and nobody else.
fn not_by(keys: &[NamedKey], material: &Material) -> String {
    let names: Vec<&str> = keys.iter().map(|named| named.name.as_str()).collect();
    let names = names.join(", ");
    match material {
        Material::Key { hint: Some(hint) } => match keys.iter().find(|named| is_hint_at(hint, &named.key)) {
            Some(named) => format!("the signature names key {}, which did not make it over this content", named.name),
            None => {
                format!("the signature names another key, {hint:?}, and was not made over this content with {names}")
            }
        },
        _ => format!("the signature was not made over this content with {names}"),
    }
}

/// Whether a hint is the one that is recommended for a key: the SHA-256 of its DER (RFC 6962, section 3.2), in base64 as
/// cosign writes it, or in hexadecimal digits.
fn is_hint_at(hint: &str, key: &PublicKey) -> bool {
    let hash = digest::digest(&digest::SHA256, key.der());
    let fingerprint = key.fingerprint();
    hint == STANDARD.encode(hash) || fingerprint.rsplit(':').next() == Some(hint)
}

fn listed(identities: &[ChainIdentity]) -> String {
    identities.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn shown(names: &[crate::pki::AlternativeName]) -> String {
    let names: Vec<String> = names.iter().filter_map(super::identity::text).map(|name| format!("{name:?}")).collect();
    if names.is_empty() { "without an alternative name".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests;
