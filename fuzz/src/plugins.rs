//! What plugins, and whoever runs them, say: an answer counts only where it says all that was asked in one way, and errors
//! are one printable line.

use ratify::limits;
use ratify::runner::{Head, Reply};
use ratify::verifier::notation::{Capability, Metadata, error_of, read_answer};
use serde_json::Value;

use super::{assert_one_line, parts, text_of};

/// What a plugin prints for `verify-signature`, and the critical attributes that it was given, one on each line.
pub fn plugin_answer(data: &[u8]) -> bool {
    let parts = parts(data);
    let attributes: Vec<String> = text_of(&parts, 1).lines().map(str::to_owned).collect();
    let found = match read_answer(parts[0], &attributes) {
        Ok(found) => found,
        Err(cause) => {
            assert_one_line(&cause);
            return false;
        }
    };
    let value: Value = serde_json::from_slice(parts[0]).unwrap();
    assert_eq!(value["verificationResults"].as_object().map(serde_json::Map::len), Some(found.len()));
    assert_eq!(found.iter().map(|(check, _)| *check).collect::<Vec<_>>(), Capability::ALL);
    for (check, success) in found {
        assert_eq!(value["verificationResults"][check.as_str()]["success"], success);
    }
    let processed = value["processedAttributes"].as_array().cloned().unwrap_or_default();
    assert!(attributes.iter().all(|name| processed.contains(&Value::from(name.as_str()))));
    true
}

/// What a plugin prints for `get-plugin-metadata`, its name, and the least version that a signature asks for. Where there
/// is none of these, the first part is what it writes to stderr.
pub fn plugin_metadata(data: &[u8]) -> bool {
    let parts = parts(data);
    let (said, _) = error_of(Some(1), "exit code 1", parts[0]);
    assert_one_line(&said);
    assert!(said.chars().count() < 1000, "{said}");
    let name = text_of(&parts, 1);
    let metadata = match Metadata::parse(parts[0], name) {
        Ok(metadata) => metadata,
        Err(cause) => {
            assert_one_line(&cause);
            return false;
        }
    };
    let value: Value = serde_json::from_slice(parts[0]).unwrap();
    assert_eq!(value["name"], name);
    assert!(value["supportedContractVersions"].as_array().is_some_and(|versions| versions.contains(&"1.0".into())));
    assert_eq!(value["version"], metadata.version.to_string());
    for capability in Capability::ALL {
        let says = value["capabilities"].as_array().is_some_and(|all| all.contains(&capability.as_str().into()));
        assert_eq!(metadata.capabilities.contains(&capability), says);
    }
    let least = parts.get(2).and_then(|part| str::from_utf8(part).ok());
    match metadata.serves(least) {
        Ok(()) => {
            assert!(!metadata.capabilities.is_empty());
            true
        }
        Err(cause) => {
            assert_one_line(&cause);
            false
        }
    }
}

/// The heads of a request to the runner and of its reply.
pub fn runner(data: &[u8]) -> bool {
    let head = Head::parse(data).map(|head| {
        assert!(head.path.is_absolute() && head.timeout() <= limits::PLUGIN_TIMEOUT_MAX);
        let again = Head::parse(&serde_json::to_vec(&head).unwrap());
        assert_eq!(again.as_ref(), Ok(&head));
    });
    let reply = Reply::parse(data).map(|reply| {
        let again = Reply::parse(&serde_json::to_vec(&reply).unwrap());
        assert_eq!(again.as_ref(), Ok(&reply));
    });
    for error in [head.as_ref().err(), reply.as_ref().err()].into_iter().flatten() {
        assert_one_line(error);
    }
    head.is_ok() || reply.is_ok()
}
