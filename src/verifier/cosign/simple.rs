//! Simple signing payloads: what signatures of Cosign's older form are over (containers/image, "container-signature(5)";
//! Cosign, "Signature Specification"). Called once a signature is read; says what is stated, and nothing of whether it is
//! true.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::json;

/// What a payload states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimpleSigning {
    /// The image's name, as the signer gave it.
    pub docker_reference: String,
    /// The image's digest, as written.
    pub digest: String,
    /// What the signer states beside it.
    pub optional: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
struct Written {
    critical: Critical,
    #[serde(default)]
    optional: Option<BTreeMap<String, Value>>,
}

#[derive(Deserialize)]
struct Critical {
    identity: Identity,
    image: Image,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct Identity {
    #[serde(rename = "docker-reference")]
    docker_reference: String,
}

#[derive(Deserialize)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    docker_manifest_digest: String,
}

impl SimpleSigning {
    /// Reads a payload.
    ///
    /// # Errors
    /// Not of that form, or of another type than Cosign's, in words.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let written: Written =
            json::from_slice(bytes).map_err(|error| format!("the simple signing payload cannot be read: {error}"))?;
        let Critical { identity, image, kind } = written.critical;
        if kind != TYPE {
            return Err(format!("the simple signing payload is of type {kind:?} instead of {TYPE:?}"));
        }
        Ok(Self {
            docker_reference: identity.docker_reference,
            digest: image.docker_manifest_digest,
            optional: written.optional.unwrap_or_default(),
        })
    }
}

/// The type of Cosign's payloads. Those of other signers of this form are signed otherwise.
const TYPE: &str = "cosign container image signature";

#[cfg(test)]
mod tests {
    use super::*;

    const PAYLOAD: &str = r#"{"critical":{"identity":{"docker-reference":"r.io/a"},"image":{"docker-manifest-digest":"sha256:1"},"type":"cosign container image signature"},"optional":{"env":"prod"}}"#;

    #[test]
    fn what_cosign_writes_is_read() {
        let found = SimpleSigning::parse(PAYLOAD.as_bytes()).unwrap();
        assert_eq!((found.docker_reference.as_str(), found.digest.as_str()), ("r.io/a", "sha256:1"));
        assert_eq!(found.optional, [("env".to_owned(), Value::from("prod"))].into());
        let without = PAYLOAD.replace(r#"{"env":"prod"}"#, "null");
        assert!(SimpleSigning::parse(without.as_bytes()).unwrap().optional.is_empty());
    }

    #[test]
    fn what_another_signer_writes_or_two_readers_may_read_in_two_ways_is_refused() {
        let atomic = PAYLOAD.replace("cosign container", "atomic container");
        let twice = PAYLOAD.replace(r#""optional""#, r#""critical":{},"optional""#);
        for (payload, cause) in [
            (atomic.as_str(), "is of type \"atomic container signature\""),
            (twice.as_str(), "given twice"),
            ("{}", "missing field"),
            ("", "cannot be read"),
        ] {
            let payload = payload.replace("atomic container image", "atomic container");
            let found = SimpleSigning::parse(payload.as_bytes()).unwrap_err();
            assert!(found.contains(cause), "{payload}: {found}");
        }
    }
}
