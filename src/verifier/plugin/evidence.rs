//! What a plugin is given to see, as an OCI layout: the referrer's own manifest and what it holds. It finds all of it by
//! digest, without a registry and without credentials.

use bytes::Bytes;
use serde_json::json;

use crate::limits;
use crate::report::Fault;
use crate::verifier::Candidate;

/// The layout's folder.
pub(super) const LAYOUT: &str = "layout";

/// The store that looks into it. A plugin that has no store in it looks for a program of this name where it begins, and
/// ends with an error if there is none, even if it asks no store for anything; so there is one, which does nothing.
pub(super) const STORE: &str = "oras";

/// Fetches it, and says where each file lies.
///
/// # Errors
/// It cannot be fetched, or is more than a plugin is given.
pub(super) async fn collect(candidate: Candidate<'_>) -> Result<Vec<(String, Bytes)>, Fault> {
    let Candidate { store, referrer, manifest, deadline, .. } = candidate;
    let place = candidate.lies_in();
    if manifest.layers.len() > limits::SANDBOX_FILES.saturating_sub(OWN_FILES) {
        let (found, most) = (manifest.layers.len(), limits::SANDBOX_FILES.saturating_sub(OWN_FILES));
        return Err(Fault::new(format_args!("it holds {found} blobs, and a plugin is given {most} at most")));
    }
    let own = json!({ "mediaType": referrer.media_type, "digest": referrer.digest.as_str(), "size": referrer.size });
    let index =
        json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [own] });
    let mut files = vec![
        (STORE.to_owned(), Bytes::new()),
        (format!("{LAYOUT}/oci-layout"), Bytes::from_static(br#"{"imageLayoutVersion":"1.0.0"}"#)),
        (format!("{LAYOUT}/index.json"), Bytes::from(index.to_string())),
        (path(&referrer.digest), store.manifest(place, referrer, deadline).await?),
    ];
    let mut left = limits::SANDBOX_BYTES.saturating_sub(referrer.size).saturating_sub(limits::CONFIG_BYTES);
    for layer in &manifest.layers {
        let path = path(&layer.descriptor.digest);
        if files.iter().any(|(known, _)| *known == path) {
            continue;
        }
        let bytes = store.blob(place, &layer.descriptor, left.min(limits::BLOB_BYTES), deadline).await?;
        left = left.saturating_sub(layer.descriptor.size);
        files.push((path, bytes));
    }
    Ok(files)
}

fn path(digest: &crate::artifact::Digest) -> String {
    format!("{LAYOUT}/blobs/{}", digest.as_str().replace(':', "/"))
}

/// The store, the layout's own two, and the manifest.
const OWN_FILES: usize = 4;
