//! What goes between a host and a verifier's plugin (Ratify v1, plugin protocol 1.0.0): the subject and the command in the
//! environment, a request on stdin, a result on stdout. Where Ratify's own host is careless
//! (it reads both outputs as one text, and joins several results), this reads stdout alone, and the last result counts.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::evidence::{LAYOUT, STORE};
use crate::artifact::{Descriptor, Digest, Manifest};
use crate::json;
use crate::reference::Repository;
use crate::runner::ratify::{VERSION, shown};
use crate::verdict::printable;

/// What a plugin says of one referrer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Whether it is as it should be.
    pub is_success: bool,
    /// What it says of it, for people.
    pub words: String,
}

/// The variables that say what is asked, and of which image: by digest, so that a plugin that asks a registry asks for
/// what is judged.
pub(super) fn environment(repository: &Repository, subject: &Digest) -> BTreeMap<String, String> {
    let subject = format!("{repository}@{subject}");
    [("COMMAND", "VERIFY".to_owned()), ("SUBJECT", subject), ("VERSION", VERSION.to_owned())]
        .map(|(name, value)| (format!("RATIFY_VERIFIER_{name}"), value))
        .into()
}

/// The request: the plugin's configuration, where it finds what it is asked about, and the referrer as a registry lists
/// it. What the list adds is taken from the referrer's own manifest, which its digest vouches for: it must be the same
/// (OCI distribution specification, "Listing Referrers").
pub(super) fn request(config: &Map<String, Value>, referrer: &Descriptor, manifest: &Manifest) -> Vec<u8> {
    let Descriptor { media_type, digest, size } = referrer;
    let Manifest { artifact_type, annotations, .. } = manifest;
    let request = json!({
        "config": config,
        // A store that plugins of Ratify's have in them: it looks into this folder before it asks a registry.
        "storeConfig": { "version": VERSION, "pluginBinDirs": null, "store": { "name": STORE, "localCachePath": LAYOUT } },
        "referenceDesc": {
            "mediaType": media_type, "digest": digest.as_str(), "size": size, "annotations": annotations,
            "artifactType": artifact_type,
        },
    });
    request.to_string().into_bytes()
}

/// The result on stdout: the whole of it, or the last line that is one. None counts after which another object begins,
/// whatever became of that: it may say the opposite.
///
/// # Errors
/// There is none.
pub fn read_result(output: &[u8]) -> Result<Said, String> {
    let whole = json::from_slice::<Written>(output).ok();
    let Written { is_success, message, error_reason, remediation } = match whole {
        Some(whole) => whole,
        None => last_line(output).map_err(|cause| format!("it printed no result: {cause}"))?,
    };
    let words: Vec<String> =
        [message, error_reason, remediation].into_iter().flatten().filter(|text| !text.trim().is_empty()).collect();
    let words = match (words.is_empty(), is_success) {
        (false, _) => words.join("; "),
        (true, true) => "it is as it should be, the plugin says no more".to_owned(),
        (true, false) => "it is not as it should be, and the plugin does not say why".to_owned(),
    };
    Ok(Said { is_success, words: printable(&words) })
}

fn last_line(output: &[u8]) -> Result<Written, String> {
    let mut after = None;
    for line in output.split(|byte| *byte == b'\n').rev() {
        match (json::from_slice::<Written>(line), after) {
            (Ok(found), None) => return Ok(found),
            (Ok(_), Some(after)) => return Err(format!("after the last line that is one stands {}", shown(after))),
            (Err(_), _) if line.trim_ascii_start().starts_with(b"{") => after = Some(line),
            (Err(_), _) => (),
        }
    }
    Err(shown(output))
}

/// Members that decide nothing are passed over: a plugin may extend them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    is_success: bool,
    message: Option<String>,
    error_reason: Option<String>,
    remediation: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_success_counts_for_nothing_where_another_object_begins_after_it_however_that_is_printed() {
        for after in [
            "{\n  \"isSuccess\": false,\n  \"message\": \"revoked\"\n}\n",
            "{\"isSuccess\":fal",
            "{\"isSuccess\":false}x\n",
            "{\"isSuccess\":false,\"message\":3}\ndone\n",
            "done\n \t{",
        ] {
            let cause = read_result(format!("{{\"isSuccess\":true}}\n{after}").as_bytes()).unwrap_err();
            assert!(cause.starts_with("it printed no result: after the last line that is one stands \"{"), "{cause}");
        }
    }

    #[test]
    fn a_result_counts_whole_among_lines_that_are_none_and_after_objects_that_are_none() {
        for (output, expected) in [
            ("{\n  \"isSuccess\": true,\n  \"extensions\":\n  {\"a\": 1}\n}\n", true),
            ("info: {\n{\"isSuccess\":true}\ninfo: done {}\n\n", true),
            ("{\"level\":\"info\"}\n{\"isSuccess\":true}\n", true),
            ("{\"isSuccess\":true}\n{\"isSuccess\":false}\n", false),
            ("{\"isSuccess\":false}\n{\"isSuccess\":true}", true),
        ] {
            assert_eq!(read_result(output.as_bytes()).map(|said| said.is_success), Ok(expected), "{output}");
        }
    }
}
