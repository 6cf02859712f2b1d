//! Finds the program for a platform in an artifact: through an index to a manifest, and in it to a blob. What is not for
//! this platform is refused by its name, and so is content that this machine could not run.

use std::fmt;

use serde::Deserialize;
use tokio::time::Instant;

use super::TITLE;
use crate::artifact::{Annotations, DOCKER_LIST, Descriptor, Digest, IMAGE_INDEX, Layer, Manifest};
use crate::json;
use crate::limits;
use crate::reference::Repository;
use crate::store::{self, Store};

/// What a program runs on, in the words of the OCI image specification ("Image Index", `platform`).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Platform {
    /// The operating system.
    pub os: String,
    /// The processor.
    pub architecture: String,
}

impl Platform {
    /// This machine's.
    #[must_use]
    pub fn own() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "x86" => "386",
            "aarch64" => "arm64",
            "powerpc64" => "ppc64le",
            "loongarch64" => "loong64",
            other => other,
        };
        Self { os: std::env::consts::OS.to_owned(), architecture: architecture.to_owned() }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)
    }
}

/// A program in an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What kind of artifact its manifest is.
    pub artifact_type: String,
    /// What the manifest says of itself.
    pub annotations: Annotations,
    /// The program.
    pub program: Descriptor,
    /// The name of its file, if it has one.
    pub title: Option<String>,
}

/// Why there is no program.
#[derive(Debug, thiserror::Error)]
pub enum NotFound {
    /// The artifact has none that could be run here.
    #[error("{0}")]
    Unfit(String),
    /// It could not be read.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Which blob of an artifact is meant.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The title of its file, where that is asked for.
    pub title: Option<&'a str>,
    /// Else one of these is: the plugin's name, and the last part of the reference's path.
    pub names: [&'a str; 2],
    /// Whether a blob with another title is none: it may be another plugin of the same signer's. Else the first one is
    /// taken, as in Ratify v1.
    pub strict: bool,
}

/// Finds the program of an artifact for a platform.
///
/// # Errors
/// See [`NotFound`].
pub async fn find(
    store: &dyn Store,
    repository: &Repository,
    artifact: &Descriptor,
    wanted: &Wanted<'_>,
    platform: &Platform,
    deadline: Instant,
) -> Result<Found, NotFound> {
    let bytes = store.manifest(repository, artifact, deadline).await?;
    let (bytes, media_type) = if is_index(&artifact.media_type) {
        let chosen = choose(&artifact.media_type, &bytes, platform).map_err(NotFound::Unfit)?;
        (store.manifest(repository, &chosen, deadline).await?, chosen.media_type)
    } else {
        (bytes, artifact.media_type.clone())
    };
    let manifest = Manifest::parse(&media_type, &bytes).map_err(|error| NotFound::Unfit(error.to_string()))?;
    if let Some(config) = image_config(&bytes) {
        let bytes = store.blob(repository, &config, limits::PLUGIN_PLATFORM_BYTES, deadline).await?;
        if let Some(stated) = json::from_slice::<Platform>(&bytes).ok().filter(|stated| stated != platform) {
            if stated.os.is_empty() && stated.architecture.is_empty() {
                return Err(NotFound::Unfit(format!(
                    "it is an image that names no platform, not a plugin for {platform}"
                )));
            }
            return Err(NotFound::Unfit(format!("it is for {stated}, not for {platform}")));
        }
    }
    let Manifest { artifact_type, annotations, layers, .. } = manifest;
    let Layer { descriptor: program, annotations: of_blob } = pick(layers, wanted).map_err(NotFound::Unfit)?;
    Ok(Found { artifact_type, annotations, program, title: of_blob.get(TITLE).cloned() })
}

/// The manifest for a platform that an index names.
///
/// # Errors
/// There is none, or the index cannot be read.
pub fn choose(media_type: &str, bytes: &[u8], platform: &Platform) -> Result<Descriptor, String> {
    Manifest::parse(media_type, bytes).map_err(|error| error.to_string())?;
    let index: Index = json::from_slice(bytes).map_err(|error| format!("the index cannot be read: {error}"))?;
    if index.manifests.len() > limits::PLUGIN_PLATFORMS {
        let (found, most) = (index.manifests.len(), limits::PLUGIN_PLATFORMS);
        return Err(format!("the index has {found} manifests, the limit is {most}"));
    }
    let mut fit: Vec<_> = index
        .manifests
        .iter()
        .filter(|entry| entry.platform.as_ref().is_some_and(|stated| stated.is(platform)))
        .collect();
    // One for every processor of its kind goes before one for some of them.
    fit.sort_by_key(|entry| entry.platform.as_ref().is_some_and(|stated| stated.variant.is_some()));
    let Some(entry) = fit.first() else {
        let mut known: Vec<_> =
            index.manifests.iter().filter_map(|entry| entry.platform.as_ref().map(Stated::to_string)).collect();
        known.sort();
        known.dedup();
        let known = if known.is_empty() { "no platform at all".to_owned() } else { known.join(", ") };
        return Err(format!("it has nothing for {platform}: the index names {known}"));
    };
    let Entry { media_type, digest, size, .. } = entry;
    if is_index(media_type) {
        return Err(format!("its index names another index for {platform}"));
    }
    Ok(Descriptor { media_type: media_type.clone(), digest: digest.clone(), size: *size })
}

/// Whether some bytes are a program that this machine can run: an ELF program of its kind, or a script.
///
/// # Errors
/// What they are instead.
pub fn check_program(bytes: &[u8]) -> Result<(), String> {
    let own = Platform::own();
    match platform_of(bytes)? {
        Some(platform) if platform != own => Err(format!("it is a program for {platform}, not for {own}")),
        Some(_) | None => Ok(()),
    }
}

/// The platform that a program is for, as it says itself; none for a script.
///
/// # Errors
/// They are no program, and what they are instead.
pub fn platform_of(bytes: &[u8]) -> Result<Option<Platform>, String> {
    match bytes {
        [b'#', b'!', ..] => Ok(None),
        [0x7f, b'E', b'L', b'F', class, order, ..] => {
            // System V ABI, "ELF Header": e_ident, and e_machine at 18.
            let machine = match (order, bytes.get(18..20)) {
                (1, Some(&[low, high])) => u16::from_le_bytes([low, high]),
                (2, Some(&[high, low])) => u16::from_be_bytes([high, low]),
                _ => return Err("it is an ELF file with a broken header".to_owned()),
            };
            let known = MACHINES.iter().find(|(known, bits, _)| *known == machine && *bits == *class);
            let architecture = known.map_or_else(|| format!("machine {machine}"), |(_, _, name)| (*name).to_owned());
            Ok(Some(Platform { os: "linux".to_owned(), architecture }))
        }
        [b'M', b'Z', ..] => Err("it is a program for Windows".to_owned()),
        [0xcf, 0xfa, 0xed, 0xfe, ..] | [0xca, 0xfe, 0xba, 0xbe, ..] => Err("it is a program for macOS".to_owned()),
        [0x1f, 0x8b, ..] => Err("it is compressed: push the program as a file, not a folder or an archive".to_owned()),
        _ => Err("it is neither an ELF program nor a script".to_owned()),
    }
}

/// Numbers of ELF, 1 for 32 and 2 for 64 bits, and names of the OCI image specification.
const MACHINES: [(u16, u8, &str); 8] = [
    (62, 2, "amd64"),
    (3, 1, "386"),
    (183, 2, "arm64"),
    (40, 1, "arm"),
    (243, 2, "riscv64"),
    (21, 2, "ppc64le"),
    (22, 2, "s390x"),
    (258, 2, "loong64"),
];

fn pick(layers: Vec<Layer>, Wanted { title, names, strict }: &Wanted<'_>) -> Result<Layer, String> {
    let titles: Vec<Option<String>> = layers.iter().map(|layer| layer.annotations.get(TITLE).cloned()).collect();
    let at = |wanted: &str| titles.iter().position(|title| title.as_deref() == Some(wanted));
    let index = match title {
        Some(title) => {
            at(title).ok_or_else(|| format!("it has no blob with the title {title:?}: {}", told(&titles)))?
        }
        None => match names.iter().find_map(|name| at(name)) {
            Some(index) => index,
            None if *strict && titles.first().is_some_and(Option::is_some) => {
                let [name, last] = names;
                return Err(format!(
                    "it has no blob with the title {name:?} or {last:?}: {}; source.title says which is meant",
                    told(&titles)
                ));
            }
            None => 0,
        },
    };
    layers.into_iter().nth(index).ok_or_else(|| "it holds no blob".to_owned())
}

fn told(titles: &[Option<String>]) -> String {
    let titles: Vec<_> = titles.iter().flatten().map(String::as_str).collect();
    if titles.is_empty() { "none has a title".to_owned() } else { format!("they are {}", titles.join(", ")) }
}

/// The configuration of an image, which says what it is for.
fn image_config(manifest: &[u8]) -> Option<Descriptor> {
    let WithConfig { config } = json::from_slice(manifest).ok()?;
    config.filter(|config| IMAGE_CONFIGS.contains(&config.media_type.as_str()))
}

const IMAGE_CONFIGS: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];

fn is_index(media_type: &str) -> bool {
    [IMAGE_INDEX, DOCKER_LIST].contains(&media_type)
}

#[derive(Deserialize)]
struct WithConfig {
    config: Option<Descriptor>,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    media_type: String,
    digest: Digest,
    size: u64,
    platform: Option<Stated>,
}

#[derive(Deserialize)]
struct Stated {
    os: String,
    architecture: String,
    variant: Option<String>,
}

impl Stated {
    fn is(&self, platform: &Platform) -> bool {
        self.os == platform.os && self.architecture == platform.architecture
    }
}

impl fmt::Display for Stated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { os, architecture, variant } = self;
        write!(f, "{os}/{architecture}")?;
        variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}
