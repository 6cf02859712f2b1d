//! The tags at which Cosign keeps what it signs where it does not refer to it (Cosign, "Signature Specification": "Tag-based
//! Discovery"). Called by whoever looks for it; says nothing of what stands there.

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

    /// The tag of an artifact's evidence of this kind.
    #[must_use]
    pub fn tag(self, artifact: &Digest) -> String {
        let ending = match self {
            Self::Signature => "sig",
            Self::Attestation => "att",
        };
        format!("{}.{ending}", artifact.as_str().replace(':', "-"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_of_a_digest_has_a_hyphen_and_says_what_stands_there() {
        let digest: Digest = format!("sha256:{}", "0a".repeat(32)).parse().unwrap();
        assert_eq!(
            Kind::ALL.map(|kind| kind.tag(&digest)),
            ["sig", "att"].map(|end| format!("sha256-{}.{end}", "0a".repeat(32)))
        );
    }
}
