//! The disagreements that were looked at, each with what decides it. Whatever else differs fails the test.

/// How the two differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// ratifyd allows what cosign refuses.
    Looser,
    /// ratifyd refuses what cosign allows.
    Stricter,
}

/// What of a question makes them differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// Rekor 1 promises by another key than one on P-256.
    PromiseKey,
    /// Rekor 1 signs a checkpoint by a key on P-384.
    CheckpointKey,
    /// A certificate names its signer by a DNS name.
    DnsName,
    /// An entry is of a signature by Ed25519 over the content itself.
    Ed25519Entry,
    /// A signature of the older form is over the hash of its key's size.
    HashOfCurve,
    /// The statement is an attestation.
    Attestation,
    /// A pattern matches a part of the identity.
    PartialPattern,
    /// Nobody says when it was signed, and the certificate is still valid.
    ValidNow,
    /// A timestamp does not hold that cosign is not told to look at.
    UnaskedStamp,
    /// One log entry is of a log that is not trusted, another holds.
    StrangeEntry,
    /// The trusted root has no intermediate certificate, and one comes with the signature.
    GivenIntermediate,
    /// It was signed under another name.
    DockerReference,
    /// A payload is of another type than cosign's.
    PayloadType,
    /// A certificate says in two places, or in the newer one alone, who vouched for its signer.
    OlderIssuer,
    /// The signer's certificate is none that Fulcio may issue.
    SignersCertificate,
    /// A proof says something of the tree that its checkpoint does not.
    ProofFields,
    /// The key of a log that tells no time no longer counted when the signature was stamped.
    LogEnded,
    /// An entry says of itself to be of another kind than it is.
    KindVersion,
}

/// A disagreement.
pub struct Reviewed {
    /// Where.
    pub condition: Condition,
    /// Which.
    pub difference: Difference,
    /// What cosign does.
    pub cosign: &'static str,
    /// What ratifyd does.
    pub ratifyd: &'static str,
    /// What decides it.
    pub clause: &'static str,
}

/// All of them. Clauses are of Sigstore's client specification where nothing else is said.
pub const REVIEWED: &[Reviewed] = &[
    Reviewed {
        condition: Condition::PromiseKey,
        difference: Difference::Looser,
        cosign: "takes promises by a key on P-256 alone",
        ratifyd: "takes every algorithm that a trusted root can name for a log",
        clause: "1.3 leaves the algorithms to the registry of algorithms, which has all of them; Rekor signs by the key that it is given",
    },
    Reviewed {
        condition: Condition::CheckpointKey,
        difference: Difference::Looser,
        cosign: "checks every signature of Rekor 1 with SHA-256",
        ratifyd: "goes by the algorithm that the trusted root names, with the hash of the curve's size",
        clause: "the registry of algorithms has PKIX_ECDSA_P384_SHA_384 and no other for P-384",
    },
    Reviewed {
        condition: Condition::DnsName,
        difference: Difference::Looser,
        cosign: "reads no DNS name in a bundle's certificate, but does in older forms",
        ratifyd: "compares it as any other name",
        clause: "cosign's own --certificate-identity: \"Valid values include email address, DNS names, IP addresses, and URIs\"; 4.3 leaves the kinds open",
    },
    Reviewed {
        condition: Condition::Ed25519Entry,
        difference: Difference::Looser,
        cosign: "expects a signature by Ed25519ph in the entry",
        ratifyd: "takes the entry of the very signature that holds",
        clause: "4.4 asks that entry and signature are the same; that Rekor enters no such signature is Rekor's to keep",
    },
    Reviewed {
        condition: Condition::HashOfCurve,
        difference: Difference::Looser,
        cosign: "checks signatures of the older form with SHA-256 by every key",
        ratifyd: "takes the hash of the curve's size as well",
        clause: "the registry of algorithms has ECDSA on P-384 with SHA-384 and on P-521 with SHA-512",
    },
    Reviewed {
        condition: Condition::Attestation,
        difference: Difference::Stricter,
        cosign: "takes whatever statement speaks of the image for its signature",
        ratifyd: "takes none but cosign's own predicate of signatures",
        clause: "cosign itself signs images by https://sigstore.dev/cosign/sign/v1 and attests by all others; who may attest need not be who may release",
    },
    Reviewed {
        condition: Condition::PartialPattern,
        difference: Difference::Stricter,
        cosign: "takes an identity of which a part matches",
        ratifyd: "matches the whole of it",
        clause: "4.3 compares identities; whoever may choose what stands before or behind a part may choose to be somebody else",
    },
    Reviewed {
        condition: Condition::ValidNow,
        difference: Difference::Stricter,
        cosign: "takes the present moment for that of the signature",
        ratifyd: "asks for somebody trusted who says when it was signed",
        clause: "4.3: \"it must have a timestamp while every certificate in the chain up to the root is valid\"",
    },
    Reviewed {
        condition: Condition::UnaskedStamp,
        difference: Difference::Stricter,
        cosign: "looks at timestamps only where it is told to",
        ratifyd: "looks at every timestamp that is there",
        clause: "4.2: \"If verification or timestamp parsing fails, the Verifier MUST abort\"",
    },
    Reviewed {
        condition: Condition::StrangeEntry,
        difference: Difference::Stricter,
        cosign: "passes over entries of logs that it does not know",
        ratifyd: "asks that every entry holds",
        clause: "4.4 asks it of the entry; of several it says nothing, and what cannot be checked is not satisfied",
    },
    Reviewed {
        condition: Condition::GivenIntermediate,
        difference: Difference::Looser,
        cosign: "passes over all certificates but the signer's",
        ratifyd: "takes them where the authority of the trusted root has a root alone",
        clause: "4.1: \"Other Sigstore instances ... may require one or more intermediates as well, if those intermediates are not listed in the independent root of trust\"",
    },
    Reviewed {
        condition: Condition::DockerReference,
        difference: Difference::Stricter,
        cosign: "does not look at the signed name",
        ratifyd: "compares it, unless dockerReference = \"ignore\"",
        clause: "cosign's signature specification: the field \"is ignored\"; here the configuration says, and what is signed under one name is not another by default",
    },
    Reviewed {
        condition: Condition::PayloadType,
        difference: Difference::Stricter,
        cosign: "does not look at the type of a payload",
        ratifyd: "takes none but cosign's",
        clause: "cosign's signature specification: \"The critical.type value used to identify cosign signatures is: cosign container image signature\"",
    },
    Reviewed {
        condition: Condition::OlderIssuer,
        difference: Difference::Looser,
        cosign: "reads in older forms the older extension alone",
        ratifyd: "reads the newer one, or else the older one, whatever the form",
        clause: "4.3: \"the Verifier SHOULD check the Issuer X.509 extension (OID 1.3.6.1.4.1.57264.1.8)\"",
    },
    Reviewed {
        condition: Condition::OlderIssuer,
        difference: Difference::Stricter,
        cosign: "reads in older forms the older extension alone",
        ratifyd: "reads the newer one, or else the older one, whatever the form",
        clause: "4.3, as above",
    },
    Reviewed {
        condition: Condition::SignersCertificate,
        difference: Difference::Stricter,
        cosign: "takes a certificate without purposes or usage, of an authority, or that names several signers, of which the first counts",
        ratifyd: "takes none of them",
        clause: "Fulcio's specification, 7.3: \"MUST: Specify exactly one GeneralName ..., a critical Key Usage for Digital Signature, an Extended Key Usage for Code Signing\"; Basic Constraints may be CA:FALSE alone",
    },
    Reviewed {
        condition: Condition::ProofFields,
        difference: Difference::Stricter,
        cosign: "does not look at them",
        ratifyd: "asks that they agree with the checkpoint",
        clause: "sigstore_rekor.proto: root_hash and tree_size are those of the tree \"at the time the proof was generated\", which the checkpoint signs; two readers must not see two trees",
    },
    Reviewed {
        condition: Condition::LogEnded,
        difference: Difference::Stricter,
        cosign: "looks at a log's validFor only where the log says the time",
        ratifyd: "compares it with the times that others tell",
        clause: "sigstore_common.proto, PublicKey.valid_for: \"Optional validity period for this key, *inclusive* of the endpoints\"",
    },
    Reviewed {
        condition: Condition::KindVersion,
        difference: Difference::Stricter,
        cosign: "goes by the body",
        ratifyd: "asks that both agree",
        clause: "sigstore_rekor.proto: kind and version are \"required to construct the entry during verification\"; two readers must not see two entries",
    },
];
