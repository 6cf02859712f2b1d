//! Writes to a registry, for operators' tools: blobs and manifests of artifacts, by `oci-client`. Nothing that decides
//! comes this way.

use bytes::Bytes;
use futures_util::stream;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference, RegistryOperation};
use reqwest::header::HeaderValue;
use tokio::time::Instant;

use super::Arrived;
use super::credentials::{Chain, Credential, Found, Wanted};
use crate::artifact::Digest;
use crate::reference::Repository;

/// Pushes to one repository.
pub struct Pusher {
    client: Client,
    registry: String,
    path: String,
}

impl Pusher {
    /// Logs in to a repository's registry, with what a chain of credentials has for it.
    ///
    /// # Errors
    /// The registry cannot be reached or refuses, in words.
    pub async fn new(
        repository: &Repository,
        chain: &Chain,
        plain_http: bool,
        deadline: Instant,
    ) -> Result<Self, String> {
        let (registry, path) = (repository.registry().to_owned(), repository.path().to_owned());
        let wanted = Wanted { host: &registry, path: &path, is_mirror: false };
        let Found { credential, troubles, .. } = chain.find(&wanted, deadline).await;
        let auth = match credential {
            None => RegistryAuth::Anonymous,
            Some(Credential::Basic { username, password }) => {
                RegistryAuth::Basic(username, password.expose().to_owned())
            }
            Some(Credential::Bearer(token)) => RegistryAuth::Bearer(token.expose().to_owned()),
            Some(Credential::Identity(_)) => {
                return Err(format!(
                    "{registry}: docker has an identity token for it, which cannot be pushed with yet: log in \
                                    with a password, or push with oras"
                ));
            }
        };
        let is_http = plain_http || repository.is_loopback();
        let protocol = if is_http { ClientProtocol::Http } else { ClientProtocol::Https };
        let config = ClientConfig { protocol, use_monolithic_push: true, ..ClientConfig::default() };
        let client = Client::try_from(config).map_err(|error| told(&error))?;
        let pusher = Self { client, registry, path };
        let login = pusher.client.auth(&pusher.named("latest"), &auth, RegistryOperation::Push).await;
        match login {
            Ok(_) => Ok(pusher),
            Err(error) => Err([vec![told(&error)], troubles].concat().join("; ")),
        }
    }

    /// Pushes a blob, unless it is there. `left` is told how many bytes have gone.
    ///
    /// # Errors
    /// Why the registry has not taken it.
    pub async fn blob(&self, digest: &Digest, bytes: Bytes, left: Option<Arrived>) -> Result<(), String> {
        let image = self.named("latest");
        let is_there = async || self.client.blob_exists(&image, digest.as_str()).await.unwrap_or(false);
        if is_there().await {
            return Ok(());
        }
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let parts = stream::unfold((bytes, 0_u64), move |(mut rest, gone)| {
            let left = left.clone();
            async move {
                if rest.is_empty() {
                    return None;
                }
                let part = rest.split_to(rest.len().min(PART));
                let gone = gone.saturating_add(u64::try_from(part.len()).unwrap_or(u64::MAX));
                left.iter().for_each(|left| left(gone));
                Some((Ok(part), (rest, gone)))
            }
        });
        match self.client.push_blob_stream(&image, parts, digest.as_str(), Some(size)).await {
            Ok(_) => Ok(()),
            // Some registries do not say where it is (OCI distribution specification, "Pushing blobs": they must).
            Err(OciDistributionError::RegistryNoLocationError) if is_there().await => Ok(()),
            Err(error) => Err(told(&error)),
        }
    }

    /// Pushes a manifest under a tag, or by its digest.
    ///
    /// # Errors
    /// Why the registry has not taken it.
    pub async fn manifest(&self, name: &str, media_type: &'static str, bytes: Vec<u8>) -> Result<(), String> {
        let pushed =
            self.client.push_manifest_raw(&self.named(name), bytes, HeaderValue::from_static(media_type)).await;
        match pushed {
            // The same; what it has is seen when it is asked for.
            Ok(_) | Err(OciDistributionError::RegistryNoLocationError) => Ok(()),
            Err(error) => Err(told(&error)),
        }
    }

    /// A tag or a digest of the repository. Both stand at the same place of a URL, and oci-client pushes tags alone.
    fn named(&self, name: &str) -> Reference {
        Reference::with_tag(self.registry.clone(), self.path.clone(), name.to_owned())
    }
}

/// How much goes at once.
const PART: usize = 256 * 1024;

/// The registry's words, where it has any.
fn told(error: &OciDistributionError) -> String {
    match error {
        OciDistributionError::RegistryError { envelope, url } => {
            let said: Vec<_> = envelope.errors.iter().map(|error| error.message.clone()).collect();
            format!("{url}: the registry says {:?}", said.join("; "))
        }
        error => super::clients::causes(error),
    }
}
