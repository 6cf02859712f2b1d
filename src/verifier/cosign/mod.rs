//! What Cosign keeps beside an image. Called by whoever looks for it; opens nothing.

use crate::artifact::Digest;

/// What Cosign keeps at a tag beside an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Signatures.
    Signature,
    /// Attestations.
    Attestation,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Signature, Self::Attestation];

    /// The tag of an artifact's evidence of this kind (Cosign, "Signature Specification": "Tag-based Discovery").
    #[must_use]
    pub fn tag(self, artifact: &Digest) -> String {
        let ending = match self {
            Self::Signature => "sig",
            Self::Attestation => "att",
        };
        format!("{}.{ending}", artifact.as_str().replace(':', "-"))
    }
}
