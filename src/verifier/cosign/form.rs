//! The forms in which Cosign keeps signatures and attestations: what the layers of a manifest are, and what of them is
//! looked at. Decides by the manifest alone, which is known to be what was asked for; opens nothing.

use std::collections::BTreeSet;

use crate::artifact::{Layer, Manifest};
use crate::limits;
use crate::report::{Failure, Stage};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wants {
    /// A signature of the image.
    Signature,
    /// An attestation that says one of these things (predicate types).
    Attestation(Vec<String>),
}

impl Wants {
    /// Whether a statement says what is asked for.
    ///
    /// # Errors
    /// What it says instead.
    pub(super) fn check(&self, predicate_type: &str) -> Result<(), String> {
        match self {
            Self::Signature if predicate_type == SIGNATURE => Ok(()),
            Self::Signature => Err(format!("it is an attestation ({predicate_type:?}), not a signature")),
            Self::Attestation(wanted) if wanted.iter().any(|wanted| wanted == predicate_type) => Ok(()),
            Self::Attestation(_) if predicate_type == SIGNATURE => {
                Err("it is a signature, not an attestation".to_owned())
            }
            Self::Attestation(wanted) => {
                Err(format!("it attests {predicate_type:?}, expected {}", wanted.join(" or ")))
            }
        }
    }
}

/// What a statement says that is an image's signature (Cosign, "Bundle Specification": a statement whose predicate says
/// nothing else).
const SIGNATURE: &str = "https://sigstore.dev/cosign/sign/v1";

/// How a signature is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A Sigstore bundle.
    Bundle,
    /// A simple signing payload; its signature and all that belongs to it stand in annotations.
    SimpleSigning,
    /// A DSSE envelope; what belongs to it stands in annotations.
    Envelope,
}

impl Form {
    fn of(media_type: &str) -> Option<Self> {
        match media_type {
            "application/vnd.dev.cosign.simplesigning.v1+json" => Some(Self::SimpleSigning),
            "application/vnd.dsse.envelope.v1+json" => Some(Self::Envelope),
            bundle if is_bundle(bundle) => Some(Self::Bundle),
            _ => None,
        }
    }

    /// The most bytes that are read of it.
    fn limit(self, wants: &Wants) -> u64 {
        match (self, wants) {
            (Self::SimpleSigning, _) => limits::SIMPLE_SIGNING_BYTES,
            (Self::Bundle | Self::Envelope, Wants::Signature) => limits::SIGNATURE_BYTES,
            (Self::Bundle | Self::Envelope, Wants::Attestation(_)) => limits::BUNDLE_BYTES,
        }
    }
}

/// Whether a type is that of a bundle, of any version. Which of them are read is the bundle's reader's to say.
fn is_bundle(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.dev.sigstore.bundle")
}

/// Whether manifests of this type hold what Cosign signs or attests.
pub(super) fn is_accepted(artifact_type: &str) -> bool {
    is_bundle(artifact_type) || [SIGNATURES, ATTESTATIONS].contains(&artifact_type)
}

/// The config's media type of what Cosign attached to images, as referrers, before there were bundles.
const SIGNATURES: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";
const ATTESTATIONS: &str = "application/vnd.dev.cosign.artifact.att.v1+json";

/// What of a manifest is judged: each layer that is of a form that is known and might be what is asked for. One that is
/// there several times is one.
///
/// # Errors
/// There is none.
pub(super) fn pieces<'a>(manifest: &'a Manifest, wants: &Wants) -> Result<Vec<(Form, &'a Layer)>, Failure> {
    let failed = |cause| Err(Failure { stage: Stage::Form, cause });
    // What it says of itself may spare the look at what it holds, and nothing else.
    if let Some(predicate_type) = manifest.annotations.get(PREDICATE_TYPE)
        && let Err(cause) = wants.check(predicate_type)
    {
        return failed(format!("by what its manifest says of it, {cause}"));
    }
    let known = |layer: &'a Layer| Form::of(&layer.descriptor.media_type).map(|form| (form, layer));
    let known: Vec<_> = manifest.layers.iter().filter_map(known).collect();
    let wanted = |(form, _): &(Form, _)| match form {
        Form::Bundle => true,
        Form::SimpleSigning => *wants == Wants::Signature,
        Form::Envelope => *wants != Wants::Signature,
    };
    let mut seen = BTreeSet::new();
    let mut is_new =
        |(_, layer): &(Form, &'a Layer)| seen.insert((layer.descriptor.digest.as_str(), &layer.annotations));
    let pieces: Vec<_> = known.iter().copied().filter(wanted).filter(|piece| is_new(piece)).collect();
    match (pieces.is_empty(), known.first()) {
        (false, _) => Ok(pieces),
        (true, Some((Form::SimpleSigning, _))) => failed("it holds signatures, not attestations".to_owned()),
        (true, Some(_)) => failed("it holds attestations, not signatures".to_owned()),
        (true, None) => {
            let found = manifest
                .layers
                .first()
                .map(|layer| format!("its first layer is of type {:?}", layer.descriptor.media_type));
            let found = found.unwrap_or_else(|| "it has no layers, as an index has none".to_owned());
            failed(format!("it holds nothing that Cosign signs: {found}"))
        }
    }
}

/// What a bundle's manifest says of the bundle's statement.
const PREDICATE_TYPE: &str = "dev.sigstore.bundle.predicateType";

/// That a layer is no larger than what is read of its form.
///
/// # Errors
/// It is.
pub(super) fn check_size(form: Form, wants: &Wants, layer: &Layer) -> Result<u64, Failure> {
    let (limit, size) = (form.limit(wants), layer.descriptor.size);
    if size > limit {
        let cause = format!("it has {size} bytes, the limit is {limit}");
        return Err(Failure { stage: Stage::Form, cause });
    }
    Ok(limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::{Algorithm, Annotations, Descriptor};
    use crate::store::digest_of;

    fn manifest(layers: &[&str], predicate_type: Option<&str>) -> Manifest {
        let digest = |media_type: &str| digest_of(Algorithm::Sha256, media_type.as_bytes());
        let layer = |media_type: &&str| Layer {
            descriptor: Descriptor { media_type: (*media_type).to_owned(), digest: digest(media_type), size: 1 },
            annotations: Annotations::new(),
        };
        let annotations = predicate_type.map(|found| (PREDICATE_TYPE.to_owned(), found.to_owned()));
        Manifest {
            artifact_type: String::new(),
            subject: None,
            layers: layers.iter().map(layer).collect(),
            annotations: annotations.into_iter().collect(),
        }
    }

    const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
    const SIMPLE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
    const DSSE: &str = "application/vnd.dsse.envelope.v1+json";

    fn found(layers: &[&str], predicate_type: Option<&str>, wants: &Wants) -> Result<Vec<Form>, String> {
        let manifest = manifest(layers, predicate_type);
        let found = pieces(&manifest, wants).map(|pieces| pieces.into_iter().map(|(form, _)| form).collect());
        found.map_err(|failure| failure.cause)
    }

    #[test]
    fn every_form_of_what_is_asked_for_is_looked_at_and_no_other() {
        let attestation = Wants::Attestation(vec!["p".to_owned()]);
        let old = "application/vnd.dev.sigstore.bundle+json;version=0.1";
        assert_eq!(found(&[old, SIMPLE, "x/y"], None, &Wants::Signature).unwrap().len(), 2);
        assert_eq!(found(&[BUNDLE, DSSE], None, &attestation), Ok(vec![Form::Bundle, Form::Envelope]));
        assert_eq!(found(&[DSSE], None, &Wants::Signature), Err("it holds attestations, not signatures".to_owned()));
        assert_eq!(found(&[SIMPLE], None, &attestation), Err("it holds signatures, not attestations".to_owned()));
        assert!(found(&["x/y"], None, &Wants::Signature).unwrap_err().contains("first layer is of type \"x/y\""));
        assert!(found(&[], None, &Wants::Signature).is_err());
    }

    #[test]
    fn a_bundle_that_says_what_it_is_is_not_opened_for_something_else() {
        let spdx = "https://spdx.dev/Document";
        let attestation = Wants::Attestation(vec![spdx.to_owned()]);
        let cause = found(&[BUNDLE], Some(spdx), &Wants::Signature).unwrap_err();
        let expected =
            "by what its manifest says of it, it is an attestation (\"https://spdx.dev/Document\"), not a signature";
        assert_eq!(cause, expected);
        assert!(found(&[BUNDLE], Some(SIGNATURE), &attestation).is_err());
        assert!(found(&[BUNDLE], Some("https://slsa.dev/provenance/v1"), &attestation).is_err());
        assert!(found(&[BUNDLE], Some(SIGNATURE), &Wants::Signature).is_ok());
        assert!(found(&[BUNDLE], Some(spdx), &attestation).is_ok());
    }

    #[test]
    fn layers_at_the_limit_of_their_form_and_one_past_it() {
        for (form, media_type) in [(Form::SimpleSigning, SIMPLE), (Form::Bundle, BUNDLE), (Form::Envelope, DSSE)] {
            for wants in [Wants::Signature, Wants::Attestation(Vec::new())] {
                let mut layer = manifest(&[media_type], None).layers.remove(0);
                layer.descriptor.size = form.limit(&wants);
                assert_eq!(check_size(form, &wants, &layer), Ok(form.limit(&wants)));
                layer.descriptor.size += 1;
                assert!(check_size(form, &wants, &layer).unwrap_err().cause.contains("the limit is"));
            }
        }
        assert!(Form::Bundle.limit(&Wants::Signature) < Form::Bundle.limit(&Wants::Attestation(Vec::new())));
    }

    #[test]
    fn a_layer_that_is_there_several_times_is_judged_once_and_one_that_states_something_else_is_another() {
        let mut manifest = manifest(&[SIMPLE; 5], None);
        manifest.layers[4].annotations.insert("dev.cosignproject.cosign/signature".to_owned(), "b".to_owned());
        assert_eq!(pieces(&manifest, &Wants::Signature).unwrap().len(), 2);
    }
}
