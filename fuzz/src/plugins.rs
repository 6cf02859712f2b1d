//! What plugins, and whoever runs them, say: an answer counts only where it says all that was asked in one way, and errors
//! are one printable line.

use ratify::artifact::{DOCKER_LIST, IMAGE_INDEX};
use ratify::limits;
use ratify::plugin::select::{Platform, check_program, choose, platform_of};
use ratify::runner::{Head, Reply};
use ratify::store::plugin::{Page, read_descriptor, read_page};
use ratify::verifier::notation::{Capability, Metadata, error_of, read_answer};
use ratify::verifier::plugin::{Said, read_result};
use serde_json::{Value, json};

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

/// What a verifier's plugin prints: the last result counts unless another object begins after it, and whatever stands
/// before it makes no difference.
pub fn plugin_result(data: &[u8]) -> bool {
    let found = read_result(data);
    match &found {
        Ok(Said { words, .. }) => {
            assert_one_line(words);
            assert!(!words.trim().is_empty());
        }
        Err(cause) => assert_one_line(cause),
    }
    let is_one = serde_json::from_slice::<Value>(data).is_ok();
    if !is_one {
        let mut lines = data.split(|byte| *byte == b'\n').rev();
        let mut begins = false;
        let last = lines.find_map(|line| {
            let said = read_result(line).ok();
            begins |= said.is_none() && line.trim_ascii_start().starts_with(b"{");
            said
        });
        assert_eq!(found.as_ref().ok(), last.as_ref().filter(|_| !begins));
    }
    let then = |said: &str| read_result(&[data, b"\n", said.as_bytes()].concat()).map(|said| said.is_success);
    if !data.trim_ascii().is_empty() {
        assert_eq!(then("{\"isSuccess\":false}"), Ok(false));
        assert_eq!(then("{\"isSuccess\":true}\n"), Ok(true));
        assert!(then("{\"isSuccess\":true}\n {").is_err());
    }
    found.is_ok()
}

/// What a plugin that is a store prints for a page of a list, or to describe an image: what is taken is within its bounds,
/// and written down again it is the same.
pub fn plugin_store(data: &[u8]) -> bool {
    let page = read_page(data);
    let described = read_descriptor(data);
    for error in [page.as_ref().err(), described.as_ref().err()].into_iter().flatten() {
        assert_one_line(error);
    }
    let listed = page.iter().flat_map(|page| &page.referrers);
    for found in listed.chain(described.iter()) {
        assert!((1..=limits::MEDIA_TYPE_BYTES).contains(&found.media_type.len()));
    }
    if let Ok(Page { referrers, next_token }) = &page {
        let again = json!({ "referrers": referrers, "nextToken": next_token }).to_string();
        assert_eq!(read_page(again.as_bytes()).as_ref(), page.as_ref());
    }
    if let Ok(descriptor) = &described {
        assert_eq!(read_descriptor(&serde_json::to_vec(descriptor).unwrap()).as_ref(), Ok(descriptor));
    }
    page.is_ok() || described.is_ok()
}

/// The index of a plugin's artifact: what is chosen of it is for the platform that was asked for, and is no index.
pub fn plugin_index(data: &[u8]) -> bool {
    let platform = Platform { os: "linux".to_owned(), architecture: "amd64".to_owned() };
    let chosen = choose(IMAGE_INDEX, data, &platform);
    match &chosen {
        Ok(chosen) => {
            assert!(![IMAGE_INDEX, DOCKER_LIST].contains(&chosen.media_type.as_str()));
            let entry = json!({ "os": "linux", "architecture": "amd64" });
            let index: Value = serde_json::from_slice(data).unwrap();
            let is_named = |found: &Value| found["digest"] == chosen.digest.as_str() && found["size"] == chosen.size;
            let is_fit =
                |found: &Value| entry.as_object().unwrap().iter().all(|(key, value)| found["platform"][key] == *value);
            assert!(index["manifests"].as_array().unwrap().iter().any(|found| is_named(found) && is_fit(found)));
        }
        Err(cause) => assert!(!cause.is_empty()),
    }
    // The same bytes as a program: what is for this machine is told by its platform alone.
    if let Ok(found) = platform_of(data) {
        assert_eq!(check_program(data).is_ok(), found.is_none_or(|found| found == Platform::own()));
    }
    chosen.is_ok()
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
