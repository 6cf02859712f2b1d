//! What is said to a verification plugin and how its answers are read (Notary Project, plugin extensibility
//! specification, "Plugin contract" and "Verification extensibility"). Pure. An answer that two readers could read in
//! two ways, or that leaves open what was asked, is none.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use semver::Version;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::json;
use crate::pki::rfc3339;
use crate::report::{Stage, Validation};
use crate::verdict::{Class, printable};
use crate::verifier::notation::envelope::{Demand, Envelope, Scheme};
use crate::verifier::notation::verify::Unmet;

/// A check that a plugin can make in our place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Capability {
    /// Who signed.
    #[serde(rename = "SIGNATURE_VERIFIER.TRUSTED_IDENTITY")]
    TrustedIdentity,
    /// Whether it was taken back.
    #[serde(rename = "SIGNATURE_VERIFIER.REVOCATION_CHECK")]
    RevocationCheck,
}

impl Capability {
    /// Both.
    pub const ALL: [Self; 2] = [Self::TrustedIdentity, Self::RevocationCheck];

    /// The word of the contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TrustedIdentity => "SIGNATURE_VERIFIER.TRUSTED_IDENTITY",
            Self::RevocationCheck => "SIGNATURE_VERIFIER.REVOCATION_CHECK",
        }
    }

    /// The validation that it is part of.
    pub(in crate::verifier::notation) fn validation(self) -> Validation {
        match self {
            Self::TrustedIdentity => Validation::Authenticity,
            Self::RevocationCheck => Validation::Revocation,
        }
    }

    fn stage(self) -> Stage {
        match self {
            Self::TrustedIdentity => Stage::Identity,
            Self::RevocationCheck => Stage::Revocation,
        }
    }
}

/// What a plugin says of itself, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Its version.
    pub version: Version,
    /// Which checks it makes; it may be none.
    pub capabilities: BTreeSet<Capability>,
}

/// The answer to `get-plugin-metadata`. "All response attributes are required."
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenMetadata {
    name: String,
    description: String,
    version: String,
    url: String,
    supported_contract_versions: Vec<String>,
    capabilities: Vec<String>,
}

impl Metadata {
    /// Reads what the plugin of this name prints for `get-plugin-metadata`.
    ///
    /// # Errors
    /// What is wrong with it, in words that follow the plugin's path.
    pub fn parse(bytes: &[u8], name: &str) -> Result<Self, String> {
        let written: WrittenMetadata =
            json::from_slice(bytes).map_err(|cause| format!("its metadata cannot be read: {cause}"))?;
        for (member, value) in [("description", &written.description), ("url", &written.url)] {
            if value.is_empty() {
                return Err(format!("its metadata has an empty {member}"));
            }
        }
        if written.name != name {
            let found = short(&written.name);
            return Err(format!("it says that its name is {found:?}: its file must be notation-{found}"));
        }
        // "Notation SHALL NOT support using a plugin with higher version of plugin contract."
        if !written.supported_contract_versions.iter().any(|version| version == CONTRACT) {
            let found = short(&written.supported_contract_versions.join(", "));
            return Err(format!("it speaks contract version {found}, and {CONTRACT} is spoken here"));
        }
        let version = short(&written.version);
        let version = Version::parse(&written.version).map_err(|_| format!("its version {version:?} is not SemVer"))?;
        let has = |capability: &Capability| written.capabilities.iter().any(|name| name == capability.as_str());
        Ok(Self { version, capabilities: Capability::ALL.into_iter().filter(has).collect() })
    }

    /// Whether it is what a signature demands: "greater than or equal to", by the precedence of SemVer, which build
    /// metadata is no part of.
    ///
    /// # Errors
    /// Why not, in words that follow the plugin's path.
    pub fn serves(&self, min_version: Option<&str>) -> Result<(), String> {
        if let Some(wanted) = min_version {
            let least = Version::parse(wanted).map_err(|_| {
                format!("the signature asks for its version {:?} or later, which is not SemVer", short(wanted))
            })?;
            if self.version.cmp_precedence(&least).is_lt() {
                let found = short(&self.version.to_string());
                return Err(format!("it has version {found}, and the signature asks for {} or later", short(wanted)));
            }
        }
        if self.capabilities.is_empty() {
            let [identity, revocation] = Capability::ALL.map(Capability::as_str);
            return Err(format!("it can do neither {identity} nor {revocation}"));
        }
        Ok(())
    }
}

/// The request of `get-plugin-metadata`.
pub(super) fn metadata_request(config: &BTreeMap<String, String>) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Request<'a> {
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        plugin_config: &'a BTreeMap<String, String>,
    }
    serde_json::to_vec(&Request { plugin_config: config }).unwrap_or_default()
}

/// What a plugin is asked about a signature.
#[derive(Clone, Copy, Debug)]
pub(in crate::verifier::notation) struct Question<'a> {
    /// The envelope, of which everything that was signed is what the signer signed.
    pub(in crate::verifier::notation) envelope: &'a Envelope,
    /// What it says of plugins.
    pub(in crate::verifier::notation) demand: &'a Demand,
    /// The trusted identities, as written.
    pub(in crate::verifier::notation) identities: &'a [String],
    /// Which checks to make.
    pub(in crate::verifier::notation) checks: &'a BTreeSet<Capability>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    contract_version: &'static str,
    signature: Signature<'a>,
    trust_policy: TrustPolicy<'a>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    plugin_config: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Signature<'a> {
    critical_attributes: CriticalAttributes<'a>,
    unprocessed_attributes: Vec<&'a str>,
    certificate_chain: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CriticalAttributes<'a> {
    content_type: &'static str,
    signing_scheme: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiry: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authentic_signing_time: Option<String>,
    verification_plugin: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    verification_plugin_min_version: Option<&'a str>,
    extended_attributes: &'a BTreeMap<String, Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TrustPolicy<'a> {
    trusted_identities: &'a [String],
    signature_verification: &'a BTreeSet<Capability>,
}

/// The request of `verify-signature`.
pub(super) fn verify_request(question: Question<'_>, config: &BTreeMap<String, String>) -> Vec<u8> {
    let Question { envelope, demand, identities, checks } = question;
    let authentic = (envelope.scheme == Scheme::SigningAuthority).then(|| rfc3339(envelope.signing_time));
    let request = Request {
        contract_version: CONTRACT,
        signature: Signature {
            critical_attributes: CriticalAttributes {
                content_type: PAYLOAD_TYPE,
                signing_scheme: envelope.scheme.as_str(),
                expiry: envelope.expiry.map(rfc3339),
                authentic_signing_time: authentic,
                verification_plugin: &demand.plugin,
                verification_plugin_min_version: demand.min_version.as_deref(),
                extended_attributes: &demand.attributes,
            },
            unprocessed_attributes: demand.attributes.keys().map(String::as_str).collect(),
            certificate_chain: envelope.chain.iter().map(|certificate| STANDARD.encode(certificate.der())).collect(),
        },
        trust_policy: TrustPolicy { trusted_identities: identities, signature_verification: checks },
        plugin_config: config,
    };
    serde_json::to_vec(&request).unwrap_or_default()
}

/// What a plugin found.
#[derive(Debug)]
pub(in crate::verifier::notation) struct Findings {
    /// Each check that was asked for.
    pub(in crate::verifier::notation) checks: Vec<(Capability, Result<(), Unmet>)>,
    /// A critical attribute that it did not process.
    pub(in crate::verifier::notation) unprocessed: Option<String>,
}

/// Reads what a plugin prints for `verify-signature`.
///
/// "Validate `response.verificationResults` map keys match the set of verifications requested"; of processed attributes
/// more may be named than were asked for, as some plugins do: none that was asked for may be missing.
pub(super) fn findings<'a>(
    bytes: &[u8],
    plugin: &str,
    checks: &BTreeSet<Capability>,
    mut attributes: impl Iterator<Item = &'a String>,
) -> Result<Findings, String> {
    let unreadable = |cause: &str| format!("its answer cannot be read: {cause}");
    // Member by member: serde would take a list for an object.
    let response: Map<String, Value> = json::from_slice(bytes).map_err(|cause| unreadable(&cause.to_string()))?;
    let mut results = match response.get("verificationResults") {
        Some(Value::Object(results)) => results.clone(),
        None | Some(Value::Null) => Map::new(),
        Some(_) => return Err(unreadable("verificationResults is no object")),
    };
    let mut found = Vec::new();
    for check in checks {
        let result = results.remove(check.as_str()).ok_or_else(|| format!("it does not answer {}", check.as_str()))?;
        let success = result.get("success").and_then(Value::as_bool);
        let success = success.ok_or_else(|| unreadable("a result without success, true or false"))?;
        let reason = result.get("reason").and_then(Value::as_str).filter(|reason| !reason.is_empty());
        let cause = format!("plugin {plugin}: {}", short(reason.unwrap_or("no reason given")));
        found.push((*check, if success { Ok(()) } else { Err(Unmet::Failed(check.stage(), cause)) }));
    }
    if let Some(more) = results.keys().next() {
        return Err(format!("it answers {:?}, which it was not asked", short(more)));
    }
    // Go's plugins write null for an empty list.
    let processed = response.get("processedAttributes").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let unprocessed = attributes.find(|name| !processed.iter().any(|done| done.as_str() == Some(name)));
    Ok(Findings { checks: found, unprocessed: unprocessed.cloned() })
}

/// What is shared by `fuzz/` and tests: reads an answer to `verify-signature` in which both checks were asked for, with
/// these attributes; which of them succeeded, where all attributes were processed.
///
/// # Errors
/// Why the answer is none.
pub fn read_answer(bytes: &[u8], attributes: &[String]) -> Result<Vec<(Capability, bool)>, String> {
    let findings = findings(bytes, "fuzzed", &Capability::ALL.into(), attributes.iter())?;
    match findings.unprocessed {
        Some(name) => Err(format!("{:?} is not processed", short(&name))),
        None => Ok(findings.checks.into_iter().map(|(check, result)| (check, result.is_ok())).collect()),
    }
}

/// What a plugin that did not exit with 0 says on stderr ("Plugin contract": with exit code 1 it may be JSON).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenError {
    error_code: String,
    #[serde(default)]
    error_message: Option<String>,
}

/// The same in words, and of which kind it is.
#[must_use]
pub fn error_of(code: Option<i32>, ended: &str, stderr: &[u8]) -> (String, Class) {
    let written = (code == Some(1)).then(|| json::from_slice::<WrittenError>(stderr).ok()).flatten();
    match written {
        Some(WrittenError { error_code, error_message }) => {
            let class = match error_code.as_str() {
                "ACCESS_DENIED" => Class::Refused,
                "THROTTLED" => Class::Throttled,
                "TIMEOUT" => Class::Time,
                _ => Class::Unchecked,
            };
            let message = error_message.unwrap_or_default();
            (format!("{}: {}", short(&error_code), short(&message)), class)
        }
        None => {
            let text = String::from_utf8_lossy(stderr);
            let last = text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("no word on stderr");
            (format!("{ended}: {}", short(last)), Class::Unchecked)
        }
    }
}

/// One short line of what others wrote.
fn short(text: &str) -> String {
    printable(&text.chars().take(SHOWN_CHARS).collect::<String>())
}

/// The version of the contract.
const CONTRACT: &str = "1.0";

/// The type of what is signed.
const PAYLOAD_TYPE: &str = "application/vnd.cncf.notary.payload.v1+json";

/// How much of a plugin's words is shown.
const SHOWN_CHARS: usize = 300;
