//! What a registry holds, as checked values: digests, descriptors and manifests
//! (OCI image specification 1.1). Parsing needs no network and decides nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::json;
use crate::limits;

/// OCI image manifest.
pub const IMAGE_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI image index.
pub const IMAGE_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Docker image manifest, schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker manifest list.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Artifact manifest of the release candidates of the OCI image specification 1.1, which older tools wrote.
pub const ARTIFACT_MANIFEST: &str = "application/vnd.oci.artifact.manifest.v1+json";
/// A plugin of this project's: the artifact type that an executor lists for plugins unless it lists others.
pub const PLUGIN: &str = "application/vnd.ratifyd.plugin.v1";
/// The empty config of an artifact manifest: then `artifactType` alone tells the type.
pub const EMPTY_CONFIG: &str = "application/vnd.oci.empty.v1+json";

/// A content digest of a registered algorithm (OCI image specification, "Digests"): `sha256` or `sha512`,
/// a colon, and exactly as many lowercase hexadecimal digits as the algorithm yields.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Digest(String);

/// The algorithm of a [`Digest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

/// Text that is no digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadDigest(String);

impl fmt::Display for BadDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is not a digest: expected sha256: and 64, or sha512: and 128, lowercase hexadecimal digits",
            self.0
        )
    }
}

impl std::error::Error for BadDigest {}

impl Digest {
    /// The digest that a hash function yielded. `algorithm` and the length of `hash` belong together.
    #[cfg(feature = "core")]
    pub(crate) fn from_hash(algorithm: &'static str, hash: &[u8]) -> Self {
        Self(format!("{algorithm}:{}", hex(hash)))
    }

    /// The algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        if self.0.starts_with("sha512:") { Algorithm::Sha512 } else { Algorithm::Sha256 }
    }

    /// The hexadecimal digits.
    #[must_use]
    pub fn hex(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, hex)| hex)
    }

    /// The whole digest, `sha256:...`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Bytes as lowercase hexadecimal digits.
#[cfg(feature = "core")]
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl FromStr for Digest {
    type Err = BadDigest;

    fn from_str(text: &str) -> Result<Self, BadDigest> {
        let bad = || BadDigest(text.chars().take(200).collect());
        let (algorithm, hex) = text.split_once(':').ok_or_else(bad)?;
        let digits = match algorithm {
            "sha256" => 64,
            "sha512" => 128,
            _ => return Err(bad()),
        };
        if hex.len() != digits || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(bad());
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What names content: its media type, digest and size in bytes (OCI image specification, "Content Descriptors").
/// Two descriptors are equal when all three are.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// The media type of the content.
    pub media_type: String,
    /// The digest of the content.
    pub digest: Digest,
    /// The size of the content, in bytes.
    pub size: u64,
}

impl Descriptor {
    /// Parses one descriptor from JSON; members this project has no use for are passed over.
    ///
    /// # Errors
    /// Not a JSON object of that form, a key given twice, or a digest that is none.
    pub fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        json::from_slice(bytes)
    }
}

/// A manifest that may refer to a subject: an image manifest or an index, reduced to what verification reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// What kind of artifact it is: `artifactType`, else the config's media type.
    pub artifact_type: String,
    /// The artifact it refers to.
    pub subject: Option<Descriptor>,
    /// The blobs it names, in order; none for an index.
    pub layers: Vec<Layer>,
    /// What else it says of itself.
    pub annotations: Annotations,
}

/// A blob that a manifest names.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Layer {
    /// What it is.
    #[serde(flatten)]
    pub descriptor: Descriptor,
    /// What the manifest says of it.
    #[serde(default, deserialize_with = "annotations")]
    pub annotations: Annotations,
}

/// Names and texts (OCI image specification, "Annotations").
pub type Annotations = BTreeMap<String, String>;

/// Reads annotations. What is no text is none: nobody who keeps to the specification asks for it.
fn annotations<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Annotations, D::Error> {
    let written = Option::<BTreeMap<String, Text>>::deserialize(deserializer)?.unwrap_or_default();
    Ok(written.into_iter().filter_map(|(name, Text(text))| Some((name, text?))).collect())
}

/// A value that is kept if it is text, whatever else it is: a few bytes of JSON could take hundreds in memory.
struct Text(Option<String>);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyText)
    }
}

struct AnyText;

impl<'de> Visitor<'de> for AnyText {
    type Value = Text;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Text, E> {
        Ok(Text(Some(text.to_owned())))
    }

    fn visit_string<E>(self, text: String) -> Result<Text, E> {
        Ok(Text(Some(text)))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Text, E> {
        Ok(Text(None))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Text, E> {
        Ok(Text(None))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Text, E> {
        Ok(Text(None))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Text, E> {
        Ok(Text(None))
    }

    fn visit_unit<E>(self) -> Result<Text, E> {
        Ok(Text(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Text, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Text(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Text, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Text(None))
    }
}

/// Why bytes are no manifest of the type that their descriptor states.
#[derive(Debug)]
pub enum BadManifest {
    /// The descriptor's media type is none that this project reads.
    UnknownType(String),
    /// The body states another media type than its descriptor.
    TypeMismatch {
        /// What the descriptor states.
        descriptor: String,
        /// What the body states.
        body: String,
    },
    /// The body has members of another type of manifest than its own.
    Ambiguous,
    /// `schemaVersion` is not 2.
    SchemaVersion(u64),
    /// More than [`limits::LAYERS`] layers.
    TooManyLayers(usize),
    /// An artifact type of more than [`limits::MEDIA_TYPE_BYTES`] bytes.
    LongType(usize),
    /// Not JSON of that form.
    Json(serde_json::Error),
}

impl fmt::Display for BadManifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownType(found) => write!(f, "media type {found:?} is no manifest type"),
            Self::TypeMismatch { descriptor, body } => {
                write!(f, "the manifest states media type {body:?}, its descriptor {descriptor:?}")
            }
            Self::Ambiguous => f.write_str("the manifest has members of two types of manifests"),
            Self::SchemaVersion(found) => write!(f, "the manifest has schemaVersion {found} instead of 2"),
            Self::TooManyLayers(found) => {
                write!(f, "the manifest has {found} layers, the limit is {}", limits::LAYERS)
            }
            Self::LongType(found) => {
                write!(f, "the artifact type has {found} bytes, the limit is {}", limits::MEDIA_TYPE_BYTES)
            }
            Self::Json(error) => write!(f, "the manifest cannot be read: {error}"),
        }
    }
}

impl std::error::Error for BadManifest {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Json(error) => Some(error),
            _ => None,
        }
    }
}

/// A manifest as written, every member optional: what must be there depends on its type.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    schema_version: u64,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<WrittenConfig>,
    #[serde(default)]
    layers: Option<Vec<Layer>>,
    /// The layers of an artifact manifest.
    #[serde(default)]
    blobs: Option<Vec<Layer>>,
    manifests: Option<Vec<serde::de::IgnoredAny>>,
    subject: Option<Descriptor>,
    #[serde(default, deserialize_with = "annotations")]
    annotations: Annotations,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenConfig {
    media_type: String,
}

/// Whether a media type names an image manifest.
fn is_image(media_type: &str) -> bool {
    matches!(media_type, IMAGE_MANIFEST | DOCKER_MANIFEST)
}

/// Whether a media type names an index of manifests.
fn is_index(media_type: &str) -> bool {
    matches!(media_type, IMAGE_INDEX | DOCKER_LIST)
}

impl Manifest {
    /// Parses a body whose descriptor states `media_type`. The caller has checked the body's digest.
    ///
    /// # Errors
    /// See [`BadManifest`]: a body that could be read in two ways is refused
    /// (OCI image specification 1.1, "Image Manifest": `mediaType` and `manifests` against `layers`).
    pub fn parse(media_type: &str, bytes: &[u8]) -> Result<Self, BadManifest> {
        let is_artifact = media_type == ARTIFACT_MANIFEST;
        if !is_image(media_type) && !is_index(media_type) && !is_artifact {
            return Err(BadManifest::UnknownType(media_type.chars().take(200).collect()));
        }
        let written: Written = json::from_slice(bytes).map_err(BadManifest::Json)?;
        if written.schema_version != 2 {
            return Err(BadManifest::SchemaVersion(written.schema_version));
        }
        if let Some(body) = written.media_type.as_ref().filter(|body| *body != media_type) {
            return Err(BadManifest::TypeMismatch {
                descriptor: media_type.to_owned(),
                body: body.chars().take(200).collect(),
            });
        }
        let has_image_members = written.config.is_some() || written.layers.is_some();
        if (has_image_members && !is_image(media_type)) || (written.manifests.is_some() && !is_index(media_type)) {
            return Err(BadManifest::Ambiguous);
        }
        let layers = if is_artifact { written.blobs } else { written.layers }.unwrap_or_default();
        if layers.len() > limits::LAYERS {
            return Err(BadManifest::TooManyLayers(layers.len()));
        }
        // OCI distribution specification, "Listing Referrers": artifactType, else the config's media type.
        let artifact_type = written
            .artifact_type
            .filter(|artifact_type| !artifact_type.is_empty())
            .or_else(|| written.config.map(|config| config.media_type))
            .unwrap_or_default();
        if artifact_type.len() > limits::MEDIA_TYPE_BYTES {
            return Err(BadManifest::LongType(artifact_type.len()));
        }
        Ok(Self { artifact_type, subject: written.subject, layers, annotations: written.annotations })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

    fn parse(media_type: &str, body: &str) -> Result<Manifest, String> {
        Manifest::parse(media_type, body.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn digests_of_registered_algorithms_only() {
        assert!(format!("sha256:{HEX}").parse::<Digest>().is_ok());
        assert!(format!("sha512:{HEX}{HEX}").parse::<Digest>().is_ok());
        for bad in [
            "",
            "sha256",
            "sha256:",
            HEX,
            &format!("sha256:{}", HEX.to_uppercase()),
            &format!("sha256:{HEX}0"),
            &format!("sha256:{}", &HEX[1..]),
            &format!("sha512:{HEX}"),
            &format!("md5:{HEX}"),
            &format!("SHA256:{HEX}"),
            &format!("sha256:{HEX}\n"),
            "sha256:../../../../../../../../etc/passwd",
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_artifact_type_comes_from_the_manifest_itself() {
        let config = format!(r#""config":{{"mediaType":"application/x.config","digest":"sha256:{HEX}","size":2}}"#);
        let with = parse(
            IMAGE_MANIFEST,
            &format!(r#"{{"schemaVersion":2,"artifactType":"application/x.type",{config},"layers":[]}}"#),
        );
        assert_eq!(with.unwrap().artifact_type, "application/x.type");
        let without = parse(IMAGE_MANIFEST, &format!(r#"{{"schemaVersion":2,{config},"layers":[]}}"#));
        assert_eq!(without.unwrap().artifact_type, "application/x.config");
    }

    #[test]
    fn a_body_of_another_type_than_its_descriptor_is_refused() {
        let body = format!(r#"{{"schemaVersion":2,"mediaType":"{IMAGE_INDEX}","manifests":[]}}"#);
        assert!(parse(IMAGE_INDEX, &body).is_ok());
        assert!(parse(IMAGE_MANIFEST, &body).unwrap_err().contains("its descriptor"));
        assert!(parse("application/json", &body).unwrap_err().contains("no manifest type"));
    }

    #[test]
    fn annotations_that_are_no_text_are_none() {
        let body =
            |annotations: &str| format!(r#"{{"schemaVersion":2,"artifactType":"a/b","annotations":{annotations}}}"#);
        let odd = r#"{"a":"text","b":1,"c":-1,"d":1.5,"e":true,"f":null,"g":["x"],"h":{"i":"x"},"j":"\u0041"}"#;
        let found = parse(IMAGE_INDEX, &body(odd)).unwrap().annotations;
        let expected = [("a", "text"), ("j", "A")].map(|(name, text)| (name.to_owned(), text.to_owned()));
        assert_eq!(found, Annotations::from(expected));
        assert!(parse(IMAGE_INDEX, &body("null")).unwrap().annotations.is_empty());
        assert!(parse(IMAGE_INDEX, &body("[]")).is_err());
    }

    #[test]
    fn a_body_that_is_both_index_and_manifest_is_refused() {
        for body in [
            r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#,
            r#"{"schemaVersion":2,"manifests":[],"config":{"mediaType":"x"}}"#,
        ] {
            assert!(parse(IMAGE_INDEX, body).unwrap_err().contains("members of two types"), "{body}");
            assert!(parse(IMAGE_MANIFEST, body).unwrap_err().contains("members of two types"), "{body}");
        }
    }

    #[test]
    fn layers_at_the_limit_and_one_past_it() {
        let layer = format!(r#"{{"mediaType":"x","digest":"sha256:{HEX}","size":1}}"#);
        let body =
            |layers: usize| format!(r#"{{"schemaVersion":2,"layers":[{}]}}"#, vec![layer.as_str(); layers].join(","));
        assert!(parse(IMAGE_MANIFEST, &body(limits::LAYERS)).is_ok());
        assert!(parse(IMAGE_MANIFEST, &body(limits::LAYERS + 1)).unwrap_err().contains("the limit is"));
    }

    #[test]
    fn artifact_types_at_the_limit_and_one_past_it() {
        let body = |length: usize| format!(r#"{{"schemaVersion":2,"artifactType":"{}"}}"#, "x".repeat(length));
        assert!(parse(IMAGE_MANIFEST, &body(limits::MEDIA_TYPE_BYTES)).is_ok());
        assert!(parse(IMAGE_MANIFEST, &body(limits::MEDIA_TYPE_BYTES + 1)).unwrap_err().contains("the limit is 255"));
    }

    #[test]
    fn schema_1_and_garbage_are_refused() {
        assert!(parse(IMAGE_MANIFEST, r#"{"schemaVersion":1}"#).unwrap_err().contains("schemaVersion 1"));
        assert!(parse(IMAGE_MANIFEST, "garbage").is_err());
        assert!(parse(IMAGE_MANIFEST, "").is_err());
    }
}
