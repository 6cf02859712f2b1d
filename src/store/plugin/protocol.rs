//! What goes between a host and a store's plugin (Ratify v1, plugin protocol 1.0.0): a question in the environment, the
//! store's configuration on stdin, an answer on stdout. Blobs are raw bytes; everything else is one JSON object, and lines
//! around it that are none are passed over, as Ratify does.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use crate::artifact::{Descriptor, Digest};
use crate::json;
use crate::limits;
use crate::runner::ratify::{VERSION, shown};
use crate::verdict::printable;

/// What is asked.
pub(super) enum Question<'a> {
    /// What a name stands for.
    Resolve,
    /// A page of the list of referrers; the first by the empty token.
    List { token: &'a str },
    /// A manifest, in parts.
    Manifest { digest: &'a Digest },
    /// The bytes of a digest.
    Blob { digest: &'a Digest },
}

/// As a person reads it, and the plugin's log.
impl fmt::Display for Question<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve | Self::List { .. } => f.write_str(self.command()),
            Self::Manifest { digest } | Self::Blob { digest } => write!(f, "{} {digest}", self.command()),
        }
    }
}

impl Question<'_> {
    fn command(&self) -> &'static str {
        match self {
            Self::Resolve => "GETSUBJECTDESCRIPTOR",
            Self::List { .. } => "LISTREFERRERS",
            Self::Manifest { .. } => "GETREFMANIFEST",
            Self::Blob { .. } => "GETBLOB",
        }
    }

    /// Its arguments, `k=v;k=v`. No type is asked for: whether one is wanted, its own manifest decides.
    ///
    /// # Errors
    /// A value that this form cannot hold.
    pub(super) fn arguments(&self) -> Result<String, String> {
        match self {
            Self::Resolve => Ok(String::new()),
            Self::List { token } => {
                // Plugins split them by these characters, and there is no way to escape one.
                if token.contains([';', '=']) || token.contains(char::is_control) {
                    let shown = shown(token.as_bytes());
                    return Err(format!(
                        "its nextToken {shown} holds a character that cannot be sent back (; = or control)"
                    ));
                }
                if token.len() > limits::STORE_TOKEN_BYTES {
                    return Err(format!("its nextToken is longer than {} bytes", limits::STORE_TOKEN_BYTES));
                }
                Ok(format!("nextToken={token};artifactTypes="))
            }
            Self::Manifest { digest } | Self::Blob { digest } => Ok(format!("digest={digest}")),
        }
    }
}

/// The variables that say what is asked, and about which image.
pub(super) fn environment(question: &Question<'_>, arguments: String, subject: &str) -> BTreeMap<String, String> {
    let (command, version) = (question.command().to_owned(), VERSION.to_owned());
    [("COMMAND", command), ("SUBJECT", subject.to_owned()), ("ARGS", arguments), ("VERSION", version)]
        .map(|(name, value)| (format!("RATIFY_STORE_{name}"), value))
        .into()
}

/// One page of a list of referrers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Page {
    /// What may refer to the subject.
    #[serde(deserialize_with = "nullable")]
    pub referrers: Vec<Descriptor>,
    /// What the next page is asked for by; empty: there is none. It must be there, so that no list is cut short by a slip.
    pub next_token: String,
}

/// Go writes a list of nothing as null.
fn nullable<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Descriptor>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads what a plugin prints for `LISTREFERRERS`.
///
/// # Errors
/// Why it is no page of a list.
pub fn read_page(output: &[u8]) -> Result<Page, String> {
    let page: Page = read(output, "list of referrers")?;
    page.referrers.iter().try_for_each(sound)?;
    Ok(page)
}

/// Reads what a plugin prints for `GETSUBJECTDESCRIPTOR`.
///
/// # Errors
/// Why it describes nothing.
pub fn read_descriptor(output: &[u8]) -> Result<Descriptor, String> {
    let found = read(output, "descriptor")?;
    sound(&found)?;
    Ok(found)
}

/// What the image specification asks of a descriptor, and the bounds do.
fn sound(Descriptor { media_type, digest, .. }: &Descriptor) -> Result<(), String> {
    if media_type.is_empty() {
        return Err(format!("it does not say of which media type {digest} is"));
    }
    if media_type.len() > limits::MEDIA_TYPE_BYTES {
        return Err(format!("the media type of {digest} is longer than {} bytes", limits::MEDIA_TYPE_BYTES));
    }
    Ok(())
}

/// The one object on stdout. Of two, nobody could say which is meant: Ratify runs them together and fails.
fn read<T: DeserializeOwned>(output: &[u8], what: &str) -> Result<T, String> {
    let error = match json::from_slice(output) {
        Ok(found) => return Ok(found),
        Err(error) => error,
    };
    let mut objects = output.split(|byte| *byte == b'\n').filter(|line| line.trim_ascii_start().starts_with(b"{"));
    let error = match (objects.next(), objects.next()) {
        (Some(line), None) if line.len() < output.len() => match json::from_slice(line) {
            Ok(found) => return Ok(found),
            Err(error) => error,
        },
        _ => error,
    };
    let error = printable(&error.to_string());
    Err(format!("it printed no {what} that can be read ({error}): {}", shown(output)))
}
