//! The Notation verifier: judges one Notary Project signature (`notation sign`) by the statement of a trust policy that
//! is about its repository. This file takes the envelope out of the store; everything it then decides is
//! [`verify_envelope`], a pure function. Never looks at other referrers, never asks whether one signature is enough.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::artifact::{Descriptor, Manifest};
use crate::config::Action;
use crate::limits;
use crate::pki::Certificate;
use crate::reference::Repository;
use crate::report::{Failure, Fault, Outcome, Pass, Stage, Validation};
use crate::revocation::{NotGood, Question, Revocation};
use crate::verifier::{Candidate, Verifier};

mod cbor;
mod claims;
mod cose;
mod envelope;
mod identity;
mod jws;
mod plugin;
mod policy;
#[cfg(test)]
mod testing;
mod timestamp;
mod trust;
mod verify;

pub use identity::BadIdentity;
pub use plugin::{Capability, Metadata, Plugins, error_of, files_of, read_answer};
pub use policy::{Statement, TrustPolicy};
pub use trust::{BadTrust, Problem, Trust};
pub use verify::verify_envelope;

use plugin::{Hired, Question as PluginQuestion};
use verify::{Sound, Unmet};

/// Judges Notary Project signatures by the statement of a trust policy that is about their repository.
#[derive(Debug)]
pub struct NotationVerifier {
    name: String,
    policy: TrustPolicy,
    revocation: Arc<Revocation>,
    plugins: Option<Plugins>,
}

impl NotationVerifier {
    /// A verifier of this configured name, without plugins: what demands one is not checked.
    #[must_use]
    pub fn new(name: String, policy: impl Into<TrustPolicy>, revocation: Arc<Revocation>) -> Self {
        Self { name, policy: policy.into(), revocation, plugins: None }
    }

    /// The same with the plugins that signatures may demand.
    #[must_use]
    pub fn with_plugins(self, plugins: Plugins) -> Self {
        Self { plugins: Some(plugins), ..self }
    }

    /// What becomes of a signature manifest.
    async fn outcome(&self, candidate: Candidate<'_>) -> Outcome {
        let layer = match layer(candidate.manifest) {
            Ok(layer) => layer,
            Err(cause) => return Outcome::Failed(Failure { stage: Stage::Form, cause }),
        };
        match candidate.store.blob(candidate.lies_in(), layer, limits::ENVELOPE_BYTES, candidate.deadline).await {
            Ok(bytes) => {
                self.judge(candidate, &layer.media_type, &bytes).await.map_or_else(|outcome| outcome, Outcome::Passed)
            }
            Err(error) => Outcome::Fault { cause: error.into() },
        }
    }

    /// Checks what bytes can tell, then asks others, then says what it came to.
    async fn judge(&self, candidate: Candidate<'_>, media_type: &str, bytes: &[u8]) -> Result<Pass, Outcome> {
        let trust = self.policy.trust(candidate.repository)?;
        let mut sound = Sound::new(media_type, bytes, candidate.subject, trust, candidate.now)?;
        let plugin = match sound.demand() {
            // A stranger's signature starts no program, whatever the level lets pass.
            Some(demand) if !sound.is_anchored() => return Err(verify::not_hired(demand)),
            Some(demand) => {
                let plugins = self.plugins.as_ref().ok_or_else(|| verify::demanded(demand))?;
                Some((plugins, plugins.hire(demand, candidate.deadline).await?))
            }
            None => None,
        };
        let leaves = |capability| !plugin.as_ref().is_some_and(|(_, hired)| hired.capabilities.contains(&capability));
        if leaves(Capability::TrustedIdentity) {
            sound.check_identity()?;
        }
        let mut signed_at = sound.signed_at();
        if let Some(stamp) = sound.stamp() {
            let answer = self.ask(stamp.chain(), None, candidate).await;
            // The word of an authority that may have been taken back shields nobody, where that is only logged too.
            signed_at = signed_at.filter(|_| answer.is_ok());
            sound.take(Validation::AuthenticTimestamp, answer.map_err(Unmet::of_timestamp))?;
        }
        if sound.action(Validation::Revocation) != Action::Skip && leaves(Capability::RevocationCheck) {
            let answer = if sound.is_anchored() {
                self.ask(&sound.envelope().chain, signed_at, candidate).await
            } else if !verify::may_be_revoked(&sound.envelope().chain) {
                Ok(None)
            } else {
                // Where a stranger's certificates say to ask, nobody is asked.
                let cause = "whether its certificates were revoked was not asked: they lead to nobody who is trusted";
                Err(Unmet::Fault(Fault::new(cause)))
            };
            sound.take(Validation::Revocation, answer)?;
        }
        if let Some((plugins, hired)) = &plugin {
            ask_plugin(plugins, hired, &mut sound, candidate.deadline).await?;
        }
        Ok(sound.pass())
    }

    /// Asks whether certificates were taken back.
    async fn ask(
        &self,
        chain: &[Certificate],
        signed_at: Option<SystemTime>,
        candidate: Candidate<'_>,
    ) -> Result<Option<SystemTime>, Unmet> {
        let Candidate { now, deadline, .. } = candidate;
        match self.revocation.check(Question { chain, signed_at, now, deadline }).await {
            Ok(until) => Ok(until),
            Err(NotGood::Revoked(cause)) => Err(Unmet::Failed(Stage::Revocation, cause)),
            Err(NotGood::Unknown(fault)) => Err(Unmet::Fault(fault)),
        }
    }
}

#[async_trait]
impl Verifier for NotationVerifier {
    fn name(&self) -> &str {
        &self.name
    }

    fn accepts(&self, artifact_type: &str) -> bool {
        artifact_type == ARTIFACT_TYPE
    }

    fn foregone(&self, repository: &Repository) -> Option<Outcome> {
        self.policy.trust(repository).err()
    }

    async fn verify(&self, candidate: Candidate<'_>) -> Vec<Outcome> {
        vec![self.outcome(candidate).await]
    }
}

/// Has a plugin check what it can, of what is not to be skipped, and takes its answers. What it does not answer is
/// a fault at every level.
async fn ask_plugin(plugins: &Plugins, hired: &Hired, sound: &mut Sound<'_>, deadline: Instant) -> Result<(), Outcome> {
    let Some(demand) = sound.demand() else { return Ok(()) };
    let is_asked = |capability: &&Capability| sound.action(capability.validation()) != Action::Skip;
    let checks: BTreeSet<Capability> = hired.capabilities.iter().filter(is_asked).copied().collect();
    // "Fail signature verification if any critical attributes are unprocessed": with some there is more to ask.
    if checks.is_empty() && demand.attributes.is_empty() {
        return Ok(());
    }
    let identities = sound.trust().written_identities();
    let question = PluginQuestion { envelope: sound.envelope(), demand, identities, checks: &checks };
    let findings = plugins.verify(hired, question, deadline).await?;
    for (capability, found) in findings.checks {
        sound.take(capability.validation(), found.map(|()| None))?;
    }
    Ok(())
}

/// The one layer of a signature manifest (signature specification, "OCI Signatures").
fn layer(manifest: &Manifest) -> Result<&Descriptor, String> {
    match manifest.layers.as_slice() {
        [layer] => Ok(&layer.descriptor),
        layers => Err(format!("the signature manifest has {} layers instead of 1", layers.len())),
    }
}

/// The artifact type of signature manifests, be it their `artifactType` or their config's media type.
pub const ARTIFACT_TYPE: &str = "application/vnd.cncf.notary.signature";

#[cfg(test)]
mod tests {
    use super::testing::{Draft, passed, refused, stamped, trust, trust_in, verify_by};
    use super::verify::JWS;
    use super::*;
    use crate::config::{self, Level, StoreType, VerifyTimestamp};
    use crate::pki::anchors_from_pem;
    use crate::pki::testing::{CrlDraft, INTERMEDIATE, Key, Kind, LEAF, NOW, ROOT, Template, chain_of, now, points_of};
    use crate::pki::timestamp::testing::{Token, authority_chain};
    use crate::revocation;
    use crate::store::Error;
    use bytes::Bytes;

    /// Both encodings: their endings and their media types.
    const ENCODINGS: [(&str, &str); 2] = [("jws", JWS), ("cose", "application/cose")];

    fn fixture(name: &str) -> Vec<u8> {
        std::fs::read(format!("{}/tests/fixtures/notation/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    }

    /// What one envelope of the notation tool comes to, which is the same in both encodings.
    fn judge(envelope: &str, root: &str, identity: &str) -> Outcome {
        let trust = Trust::new(anchors_from_pem(&fixture(&format!("{root}.pem"))).unwrap(), &[identity.to_owned()]);
        let subject = Descriptor::parse(&fixture("subject.json")).unwrap();
        let [jws, cose] = ENCODINGS.map(|(ending, media_type)| {
            let bytes = fixture(&format!("{envelope}.{ending}"));
            verify_envelope(media_type, &bytes, &subject, trust.as_ref().unwrap(), now())
        });
        // Both were made one after the other, so only their ends may differ.
        match (jws, cose) {
            (Outcome::Passed(jws), Outcome::Passed(cose)) => {
                assert_eq!(Pass { valid_until: None, ..jws.clone() }, Pass { valid_until: None, ..cose });
                Outcome::Passed(jws)
            }
            (jws, cose) => {
                assert_eq!(jws, cose);
                jws
            }
        }
    }

    #[test]
    fn envelopes_of_the_notation_tool_pass() {
        let signer = "x509.subject: C=US, ST=WA, O=acme, OU=build";
        let pass = passed(judge("chain", "chain", signer));
        assert_eq!(pass.detail, "signed by CN=fixture signer,OU=build,O=acme,L=Seattle,ST=WA,C=US");
        let pass = passed(judge("single", "single", "*"));
        assert_eq!(pass.detail, "signed by CN=fixture single,O=acme,ST=WA,C=US");
    }

    #[test]
    fn envelopes_of_the_notation_tool_pass_by_the_algorithm_of_each_key() {
        for name in ["rsa-2048", "rsa-3072", "rsa-4096", "p-256", "p-384", "p-521"] {
            let pass = passed(judge(name, name, "*"));
            assert_eq!(pass.detail, format!("signed by CN=fixture {name},O=acme,ST=WA,C=US"));
        }
    }

    #[test]
    fn envelopes_of_the_notation_tool_fail_by_other_roots_and_identities() {
        let stage = |outcome| match outcome {
            Outcome::Failed(failure) => failure.stage,
            other => panic!("{other:?}"),
        };
        assert_eq!(stage(judge("chain", "single", "*")), Stage::Authenticity);
        assert_eq!(stage(judge("single", "chain", "*")), Stage::Authenticity);
        assert_eq!(stage(judge("single", "single", "x509.subject: C=US, ST=WA, O=other")), Stage::Identity);
    }

    #[test]
    fn metadata_of_the_notation_tool_is_what_can_be_asked_for() {
        for (ending, media_type) in ENCODINGS {
            let judge = |value: &str| {
                let anchors = anchors_from_pem(&fixture("chain.pem")).unwrap();
                let trust = Trust::new(anchors, &["*".to_owned()]).unwrap();
                let trust = trust.stating([("build".to_owned(), value.to_owned())].into());
                let subject = Descriptor::parse(&fixture("subject.json")).unwrap();
                verify_envelope(media_type, &fixture(&format!("chain.{ending}")), &subject, &trust, now())
            };
            passed(judge("123"));
            assert!(matches!(judge("124"), Outcome::Failed(Failure { stage: Stage::Metadata, .. })));
        }
    }

    async fn verify(blob: Result<Bytes, Error>, layers: &[&str]) -> Outcome {
        verify_by(&NotationVerifier::new("acme".into(), trust(), Arc::default()), blob, layers).await
    }

    #[tokio::test]
    async fn the_one_layer_of_a_signature_is_judged() {
        passed(verify(Ok(Draft::new().sign().into()), &[JWS]).await);
        for layers in [&[][..], &[JWS, JWS]] {
            let cause = format!("the signature manifest has {} layers instead of 1", layers.len());
            let outcome = verify(Ok(Draft::new().sign().into()), layers).await;
            assert_eq!(outcome, Outcome::Failed(Failure { stage: Stage::Form, cause }));
        }
    }

    const LOGGED: Level = Level { authenticity: Action::Log, authentic_timestamp: Action::Log, ..Level::STRICT };

    #[tokio::test]
    async fn nobody_is_asked_because_a_strangers_certificates_say_so() {
        let leaf = Template::leaf(LEAF, INTERMEDIATE).with(points_of(&[&["http://elsewhere.example/crl"]]));
        let stranger = chain_of(&leaf, &Template::ca(INTERMEDIATE, ROOT), &Template::ca(ROOT, ROOT));
        let envelope = Draft::by(Kind::P256, "ES256", &stranger).sign();
        let key = Key::get(Kind::P256, 0);
        for (anchor, expected) in [
            (Template::ca("CN=other", "CN=other").sign(key, key), "was not asked: they lead to nobody who is trusted"),
            (stranger[2].clone(), "nobody may be asked (revocation.fetch = false)"),
        ] {
            let trust = trust_in(&[anchor], &["*"]).at(LOGGED, VerifyTimestamp::Always);
            let verifier = NotationVerifier::new("acme".into(), trust, Arc::default());
            match verify_by(&verifier, Ok(envelope.clone().into()), &[JWS]).await {
                Outcome::Fault { cause } => assert!(cause.to_string().contains(expected), "{expected}: {cause}"),
                other => panic!("{expected}: {other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn a_stamp_shields_a_certificate_only_while_its_authority_is_known_to_stand() {
        let intermediate = Template::ca(INTERMEDIATE, ROOT).lists();
        let signer = chain_of(&Template::leaf(LEAF, INTERMEDIATE), &intermediate, &Template::ca(ROOT, ROOT));
        let authority = authority_chain(Kind::P256);
        let issuer = Key::get(Kind::P256, 1);
        // The key went astray after the stamp.
        let taken_back = CrlDraft::new(INTERMEDIATE).revoke(1, Some(1), Some(NOW + 3600)).sign(issuer);
        // The authority's issuer signs no lists: whether the authority stands is not known.
        let of_authority = CrlDraft::new(&authority[0].issuer().to_string()).sign(issuer);
        let stores = vec![(StoreType::Ca, vec![signer[2].clone()]), (StoreType::Tsa, vec![authority[2].clone()])];
        let trust = Trust::of(stores, &["*".to_owned()]).unwrap().at(LOGGED, VerifyTimestamp::Always);
        let envelope = stamped(&Draft::by(Kind::P256, "ES256", &signer), Token::over);
        let judge = async |lists: &[&[u8]]| {
            let folder = tempfile::tempdir().unwrap();
            for (number, list) in lists.iter().enumerate() {
                std::fs::write(folder.path().join(format!("{number}.crl")), list).unwrap();
            }
            let crl_folder = Some(folder.path().to_owned());
            let config = config::Revocation { fetch: false, crl_folder, ..config::Revocation::default() };
            let options = revocation::Options { config, proxy: config::Proxy::default(), disk: None };
            let revocation = Revocation::new(options, Arc::default());
            let verifier = NotationVerifier::new("acme".into(), trust.clone(), revocation);
            verify_by(&verifier, Ok(envelope.clone().into()), &[JWS]).await
        };
        assert_eq!(passed(judge(&[&taken_back]).await).logged, []);
        refused(judge(&[&taken_back, &of_authority]).await, Stage::Revocation, "was revoked at");
    }

    #[tokio::test]
    async fn an_envelope_that_cannot_be_fetched_is_a_fault() {
        let error = Error::NotFound { what: "blob sha256:4413".into() };
        let outcome = verify(Err(error.clone()), &[JWS]).await;
        assert_eq!(outcome, Outcome::Fault { cause: error.into() });
    }

    #[test]
    fn signatures_of_notation_alone_are_accepted() {
        let verifier = NotationVerifier::new("acme".into(), trust(), Arc::default());
        assert_eq!(verifier.name(), "acme");
        assert!(verifier.accepts("application/vnd.cncf.notary.signature"));
        for other in ["", "application/vnd.cncf.notary.v2.signature", "application/vnd.dev.sigstore.bundle.v0.3+json"] {
            assert!(!verifier.accepts(other));
        }
    }
}
