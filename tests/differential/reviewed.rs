//! The disagreements that were looked at, each with what decides it. Whatever else differs fails the test.

use std::collections::BTreeSet;

use super::oracle::{Part, Said};
use super::trials::Question;

/// How two judges differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// ratifyd allows what notation refuses.
    Looser,
    /// ratifyd refuses what notation allows.
    Stricter,
    /// Both refuse, and ratifyd for something that does not fail.
    Reason,
    /// Both allow, and ratifyd logs this too.
    Logs(Part),
    /// Both allow, and ratifyd does not log this.
    LogsNot(Part),
    /// Both allow, and log different things.
    LogsOther,
}

impl Difference {
    /// The difference between what both said, where all that fails is `reasons`.
    pub fn between(reasons: &BTreeSet<Part>, notation: &Said, ours: &Said) -> Option<Self> {
        match (notation.allows, ours.allows) {
            (false, true) => Some(Self::Looser),
            (true, false) => Some(Self::Stricter),
            (false, false) => {
                let is_reason = ours.part.is_none_or(|part| reasons.contains(&part));
                (!is_reason).then_some(Self::Reason)
            }
            (true, true) => {
                let differ: Vec<&Part> = notation.logged.symmetric_difference(&ours.logged).collect();
                match differ.as_slice() {
                    [] => None,
                    [part] if ours.logged.contains(part) => Some(Self::Logs(**part)),
                    [part] => Some(Self::LogsNot(**part)),
                    _ => Some(Self::LogsOther),
                }
            }
        }
    }
}

/// What of a question makes judges differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// An authority's basicConstraints are not critical.
    BasicConstraintsNotCritical,
    /// The signer's extendedKeyUsage says any purpose.
    AnyPurpose,
    /// A member of a JSON object is there twice.
    DuplicateMember,
    /// A member's name has capitals.
    MemberCase,
    /// An attribute is critical that nobody knows.
    UnknownCritical,
    /// A plugin's version is demanded, and no plugin.
    PluginVersionAlone,
    /// There is white space in base64.
    Base64Whitespace,
    /// The last digit of base64 has bits that say nothing.
    Base64Bits,
    /// A header is protected and unprotected.
    HeaderTwice,
    /// The envelope has an unknown member.
    UnknownMember,
    /// `crit` names a header twice.
    CriticalTwice,
    /// `crit` names a header that is understood in any case.
    CriticalStandard,
    /// A header is null.
    NullMember,
    /// A COSE envelope has a time of the other scheme.
    MisplacedTime,
    /// A COSE envelope's timestamp is no byte string.
    TimestampForm,
    /// A COSE envelope's certificates are in its protected header.
    ProtectedCertificates,
    /// The signing agent is no text.
    Agent,
    /// A signature's manifest cannot be read, and another signature is good.
    BrokenManifest,
    /// A trust policy has a key that nobody knows.
    UnknownKey,
    /// A trust policy has a key twice.
    KeyTwice,
    /// Something follows a trust policy in its file.
    TrailingText,
    /// A statement skips everything.
    AllSkipped,
    /// An identity's attribute types are in small letters.
    AttributeCase,
    /// A file in a trust store has another ending than the specification lists.
    FileEnding,
    /// The trust policy has its newer file name.
    PolicyName,
    /// A trust store has a certificate that is no root, and authenticity is only logged.
    PinnedLeaf,
    /// Authenticity fails and is only logged, and the certificates name someone to ask about them.
    NobodyToAsk,
    /// The first of several places for a revocation list does not answer, and the second does.
    SecondList,
    /// The key went astray after a timestamp that holds.
    AstrayAfterStamp,
    /// The trust policy's file is a symbolic link.
    PolicyLink,
    /// There is a folder in a trust store.
    Subfolder,
    /// The signature's manifest is in the newer form, with `artifactType`.
    ArtifactType,
    /// A plugin is demanded by a signer whom nobody trusts, and authenticity is only logged.
    StrangersPlugin,
    /// There is no check for a plugin to make, and an attribute that it does not process.
    NothingToCheck,
    /// A critical attribute has a name of the specification's own that it does not know.
    ReservedAttribute,
    /// A critical attribute is a list or an object.
    ComplexAttribute,
    /// A plugin prints a member twice, or its name in other capitals.
    AnswerForm,
    /// A plugin says of a check neither yes nor no, and its failure is only logged.
    NoSuccess,
    /// A plugin answers what it was not asked.
    AnswersMore,
    /// A plugin's file is a symbolic link.
    PluginLink,
    /// A plugin's file can be written by everybody, or be run by root alone.
    PluginPermissions,
    /// A plugin's name has a space, or begins with a dot.
    PluginName,
}

/// A disagreement that was looked at.
pub struct Reviewed {
    /// The condition.
    pub condition: Condition,
    /// How they differ.
    pub difference: Difference,
    /// What notation does.
    pub notation: &'static str,
    /// What ratifyd does.
    pub ratifyd: &'static str,
    /// What decides it.
    pub clause: &'static str,
}

impl Reviewed {
    /// Whether this is the reason for a difference.
    pub fn covers(&self, question: &Question, difference: Difference) -> bool {
        self.difference == difference && question.conditions.contains(&self.condition)
    }
}

/// All of them.
pub const REVIEWED: &[Reviewed] = &[
    Reviewed {
        condition: Condition::BasicConstraintsNotCritical,
        difference: Difference::Stricter,
        notation: "does not ask whether basicConstraints are critical",
        ratifyd: "refuses the chain",
        clause: "signature-specification.md, Certificate Requirements, CA: basicConstraints \"MUST be marked as critical\"",
    },
    Reviewed {
        condition: Condition::AnyPurpose,
        difference: Difference::Stricter,
        notation: "does not know this purpose",
        ratifyd: "refuses the leaf",
        clause: "signature-specification.md, Certificate Requirements, leaf: \"MUST NOT contain anyExtendedKeyUsage\"",
    },
    Reviewed {
        condition: Condition::DuplicateMember,
        difference: Difference::Stricter,
        notation: "takes the last one",
        ratifyd: "refuses the document",
        clause: "RFC 7515, section 4: names \"MUST be unique\"",
    },
    Reviewed {
        condition: Condition::MemberCase,
        difference: Difference::Stricter,
        notation: "reads names whatever their case",
        ratifyd: "reads names as they are specified",
        clause: "signature-envelope-jws.md and signature-specification.md name their members; RFC 8259, section 8.3",
    },
    Reviewed {
        condition: Condition::UnknownCritical,
        difference: Difference::Stricter,
        notation: "looks at such attributes only where a plugin is demanded",
        ratifyd: "refuses the signature",
        clause: "signature-specification.md, Extended attributes: \"MUST cause signature verification to fail\"",
    },
    Reviewed {
        condition: Condition::PluginVersionAlone,
        difference: Difference::Stricter,
        notation: "passes it over",
        ratifyd: "refuses the signature",
        clause: "signature-specification.md, Signed Attributes: critical claims \"MUST be processed by a verifier\"",
    },
    Reviewed {
        condition: Condition::Base64Whitespace,
        difference: Difference::Stricter,
        notation: "passes line breaks over",
        ratifyd: "refuses the envelope",
        clause: "RFC 7515, section 4.1.6 by RFC 4648, section 3.3: characters outside the alphabet are rejected",
    },
    Reviewed {
        condition: Condition::Base64Bits,
        difference: Difference::Stricter,
        notation: "passes them over",
        ratifyd: "refuses the envelope",
        clause: "RFC 4648, section 3.5: \"MUST be set to zero\"; one signature has one text",
    },
    Reviewed {
        condition: Condition::HeaderTwice,
        difference: Difference::Stricter,
        notation: "takes the one that it knows there",
        ratifyd: "refuses the envelope",
        clause: "RFC 7515, section 7.2.1: names \"MUST be disjoint\"; RFC 9052, section 3",
    },
    Reviewed {
        condition: Condition::UnknownMember,
        difference: Difference::Stricter,
        notation: "passes it over",
        ratifyd: "refuses the envelope",
        clause: "signature-envelope-jws.md, Signature Envelope: \"no additional top level fields are supported\"",
    },
    Reviewed {
        condition: Condition::NullMember,
        difference: Difference::Stricter,
        notation: "takes null for absent",
        ratifyd: "refuses the header",
        clause: "signature-envelope-jws.md, Protected Headers: expiry is a string",
    },
    Reviewed {
        condition: Condition::CriticalTwice,
        difference: Difference::Stricter,
        notation: "passes it over in COSE, and refuses it in JWS",
        ratifyd: "refuses the envelope",
        clause: "RFC 7515, section 4.1.11 forbids it, RFC 9052 does not say: the stricter reading for both",
    },
    Reviewed {
        condition: Condition::CriticalStandard,
        difference: Difference::Stricter,
        notation: "passes it over in COSE, and refuses it in JWS",
        ratifyd: "refuses the envelope",
        clause: "signature-envelope-cose.md, crit: \"apart from integer labels in the range of 0 to 8\"",
    },
    Reviewed {
        condition: Condition::ArtifactType,
        difference: Difference::Looser,
        notation: "1.3 does not know the form",
        ratifyd: "reads both forms",
        clause: "signature-specification.md, Compatibility: \"either the new or legacy format\"",
    },
    Reviewed {
        condition: Condition::Agent,
        difference: Difference::Looser,
        notation: "refuses the envelope",
        ratifyd: "does not look at it",
        clause: "signature-specification.md, Signing Agent: \"the verifier MUST NOT validate formatting\"",
    },
    Reviewed {
        condition: Condition::BrokenManifest,
        difference: Difference::Looser,
        notation: "gives up where it comes to such a manifest first",
        ratifyd: "goes on to the next signature",
        clause: "trust-store-trust-policy.md, FAQ: \"succeeds for at least one signature\"",
    },
    Reviewed {
        condition: Condition::UnknownKey,
        difference: Difference::Stricter,
        notation: "passes unknown keys over, and reads known ones whatever their case",
        ratifyd: "refuses the trust policy",
        clause: "trust-store-trust-policy.md, OCI Trust Policy, lists the properties: a mistyped one must not widen trust",
    },
    Reviewed {
        condition: Condition::KeyTwice,
        difference: Difference::Stricter,
        notation: "takes the last one",
        ratifyd: "refuses the trust policy",
        clause: "RFC 8259, section 4: names \"SHOULD be unique\", and behaviour is unpredictable otherwise",
    },
    Reviewed {
        condition: Condition::TrailingText,
        difference: Difference::Stricter,
        notation: "reads no further than the first value",
        ratifyd: "refuses the trust policy",
        clause: "trust-store-trust-policy.md, Trust Policy: files \"are JSON documents\" (RFC 8259, section 2)",
    },
    Reviewed {
        condition: Condition::AllSkipped,
        difference: Difference::Stricter,
        notation: "skips everything",
        ratifyd: "refuses the trust policy",
        clause: "trust-store-trust-policy.md, Signature Verification details: skip \"cannot be used with a global scope\"",
    },
    Reviewed {
        condition: Condition::AttributeCase,
        difference: Difference::Looser,
        notation: "knows attribute types in capitals alone",
        ratifyd: "reads them whatever their case",
        clause: "RFC 4514, section 2.3 by RFC 4512, section 1.4: short names are \"case insensitive\"",
    },
    Reviewed {
        condition: Condition::FileEnding,
        difference: Difference::Stricter,
        notation: "reads every file of a trust store",
        ratifyd: "reads what ends in .pem, .crt or .cer",
        clause: "trust-store-trust-policy.md, Trust Store: \"Files with extension .pem, .crt and .cer\"",
    },
    Reviewed {
        condition: Condition::PolicyName,
        difference: Difference::Looser,
        notation: "1.3 does not know the newer name",
        ratifyd: "reads the newer name first",
        clause: "trust-store-trust-policy.md, Trust Policy: expects \"trustpolicy.oci.json\"",
    },
    Reviewed {
        condition: Condition::PinnedLeaf,
        difference: Difference::Stricter,
        notation: "takes such a trust store for authenticity that fails, and logs it",
        ratifyd: "is misconfigured",
        clause: "trust-store-trust-policy.md, Trust Store: \"Certificates in a trust store are root certificates\"",
    },
    Reviewed {
        condition: Condition::NobodyToAsk,
        difference: Difference::Logs(Part::Revocation),
        notation: "asks whom a chain names that nobody trusts",
        ratifyd: "asks nobody whom a stranger chose, and logs that",
        clause: "trust-store-trust-policy.md, Certificate Revocation Evaluation: what \"cannot be determined\" fails this step",
    },
    Reviewed {
        condition: Condition::NobodyToAsk,
        difference: Difference::Stricter,
        notation: "asks whom a chain names that nobody trusts",
        ratifyd: "asks nobody whom a stranger chose, and enforces revocation",
        clause: "trust-store-trust-policy.md, Certificate Revocation Evaluation: what \"cannot be determined\" fails this step",
    },
    Reviewed {
        condition: Condition::SecondList,
        difference: Difference::Looser,
        notation: "asks no further than the first place that does not answer",
        ratifyd: "asks one after the other",
        clause: "trust-store-trust-policy.md, CRL Download: \"until a 200 response is received for any of the location\"",
    },
    Reviewed {
        condition: Condition::SecondList,
        difference: Difference::LogsNot(Part::Revocation),
        notation: "asks no further than the first place that does not answer",
        ratifyd: "asks one after the other",
        clause: "trust-store-trust-policy.md, CRL Download: \"until a 200 response is received for any of the location\"",
    },
    Reviewed {
        condition: Condition::AstrayAfterStamp,
        difference: Difference::Looser,
        notation: "compares with the time of a signing authority alone",
        ratifyd: "compares with the timestamp too",
        clause: "trust-store-trust-policy.md, Revocation Checking with CRL: \"compare the invalidity date with the timestamping date\"",
    },
    Reviewed {
        condition: Condition::AstrayAfterStamp,
        difference: Difference::LogsNot(Part::Revocation),
        notation: "compares with the time of a signing authority alone",
        ratifyd: "compares with the timestamp too",
        clause: "trust-store-trust-policy.md, Revocation Checking with CRL: \"compare the invalidity date with the timestamping date\"",
    },
    Reviewed {
        condition: Condition::FileEnding,
        difference: Difference::Looser,
        notation: "reads every file of a trust store",
        ratifyd: "reads what ends in .pem, .crt or .cer",
        clause: "trust-store-trust-policy.md, Trust Store: \"Files with extension .pem, .crt and .cer\"",
    },
    Reviewed {
        condition: Condition::Subfolder,
        difference: Difference::Looser,
        notation: "refuses the trust store",
        ratifyd: "passes the folder over, with a warning",
        clause: "trust-store-trust-policy.md, Trust Store: sub directories \"are ignored\"",
    },
    Reviewed {
        condition: Condition::PolicyLink,
        difference: Difference::Looser,
        notation: "refuses the link",
        ratifyd: "follows it where all on the way is root's, as for every trust file",
        clause: "trust-store-trust-policy.md, Trust Store: no symlinks \"for the named store directories or certificate files\"",
    },
    Reviewed {
        condition: Condition::MisplacedTime,
        difference: Difference::Stricter,
        notation: "passes it over in COSE, and refuses it in JWS",
        ratifyd: "refuses the envelope",
        clause: "signature-envelope-cose.md, Protected Header: each time \"only valid when signing scheme is\" its own",
    },
    Reviewed {
        condition: Condition::TimestampForm,
        difference: Difference::Stricter,
        notation: "takes it for absent in COSE, and refuses it in JWS",
        ratifyd: "refuses the envelope",
        clause: "signature-envelope-cose.md, Unprotected Headers: the timestamp is a bstr",
    },
    Reviewed {
        condition: Condition::ProtectedCertificates,
        difference: Difference::Looser,
        notation: "looks for them in the unprotected header alone",
        ratifyd: "takes them from either",
        clause: "signature-envelope-cose.md, x5chain: it \"can be presented in the protected header\"",
    },
    Reviewed {
        condition: Condition::StrangersPlugin,
        difference: Difference::Stricter,
        notation: "runs it",
        ratifyd: "runs no program that a stranger names, and refuses the signature",
        clause: "signature-specification.md, Plugins: \"MUST fail signature verification if it cannot perform the equivalent verification logic\"",
    },
    Reviewed {
        condition: Condition::NothingToCheck,
        difference: Difference::Stricter,
        notation: "does not ask the plugin, and passes the attribute over",
        ratifyd: "asks the plugin, and refuses the signature",
        clause: "plugin-extensibility.md, Verification workflow, 7: \"Fail signature verification if any critical attributes are unprocessed\"",
    },
    Reviewed {
        condition: Condition::ReservedAttribute,
        difference: Difference::Stricter,
        notation: "leaves it to the plugin",
        ratifyd: "refuses the envelope",
        clause: "signature-specification.md, Extended attributes: \"MUST cause signature verification to fail\"; no plugin defines these",
    },
    Reviewed {
        condition: Condition::ComplexAttribute,
        difference: Difference::Stricter,
        notation: "leaves it to the plugin",
        ratifyd: "refuses the envelope",
        clause: "plugin-extensibility.md, Verification workflow, 5.2: \"only supports JSON primitive types for critical extended attributes\"",
    },
    Reviewed {
        condition: Condition::AnswerForm,
        difference: Difference::Stricter,
        notation: "takes the last one, and reads names whatever their case",
        ratifyd: "takes this for no answer",
        clause: "plugin-extensibility.md names the members; RFC 8259, section 4: names \"SHOULD be unique\", section 8.3",
    },
    Reviewed {
        condition: Condition::NoSuccess,
        difference: Difference::Stricter,
        notation: "takes it for no",
        ratifyd: "takes this for no answer",
        clause: "plugin-extensibility.md, verify-signature command: success is \"required\"",
    },
    Reviewed {
        condition: Condition::AnswersMore,
        difference: Difference::Stricter,
        notation: "passes it over",
        ratifyd: "takes this for no answer",
        clause: "plugin-extensibility.md, Verification workflow, 6.1: \"Fail signature verification if they don't match\"",
    },
    Reviewed {
        condition: Condition::PluginLink,
        difference: Difference::Stricter,
        notation: "follows it",
        ratifyd: "refuses to run it",
        clause: "plugin-extensibility.md, Plugin installation path: \"symlinks are not supported\"",
    },
    Reviewed {
        condition: Condition::PluginPermissions,
        difference: Difference::Stricter,
        notation: "runs as root and minds neither",
        ratifyd: "runs plugins as another user, and none that others may change",
        clause: "plugin-extensibility.md, Plugin installation path: \"OS \\\"execute\\\" permissions ... for the current user\"; of owners it says nothing",
    },
    Reviewed {
        condition: Condition::PluginName,
        difference: Difference::Stricter,
        notation: "takes any name",
        ratifyd: "takes letters, digits, `.`, `_` and `-`, and no dot in front",
        clause: "plugin-extensibility.md says nothing of names: whoever signs chooses one, and it must not lead astray",
    },
];
