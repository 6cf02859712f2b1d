//! Reads certificates and keys by Key Vault's REST interface, version 7.4 (operations "Get Certificate", "Get Certificate
//! Versions", "Get Secret", "Get Key", "Get Key Versions"). The certificate of an entry is public; the chain above it is kept in the entry's secret, which is asked
//! for only where the certificate alone cannot be trusted.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;
use zeroize::Zeroizing;

use super::jwk::Jwk;
use crate::azure::{self, Entra};
use crate::json;
use crate::limits;
use crate::pki::{Certificate, anchors_from_pem};
use crate::secret::Secret;
use crate::trust::remote::Unread;
use crate::trust::watched::json_cause;

/// What of a vault is trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Certificates.
    pub certificates: Vec<Certificate>,
    /// Public keys: SubjectPublicKeyInfo each.
    pub keys: Vec<Vec<u8>>,
}

/// A certificate or a key of a vault.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Item {
    /// Its name.
    pub name: String,
    /// Its version; none: the newest ones.
    pub version: Option<String>,
    /// How many of the newest versions that are not disabled; 1 where a version is given.
    pub versions: usize,
}

/// A vault as it is asked.
pub(super) struct Rest {
    entra: Entra,
    /// Without a slash at its end.
    url: String,
}

impl Rest {
    pub(super) fn new(entra: Entra, url: &str) -> Self {
        Self { entra, url: url.trim_end_matches('/').to_owned() }
    }

    #[cfg(test)]
    pub(super) fn into_entra(self) -> Entra {
        self.entra
    }

    /// All that these entries hold.
    pub(super) async fn contents(&self, certificates: &[Item], keys: &[Item]) -> Result<Contents, Unread> {
        Ok(Contents { certificates: self.certificates(certificates).await?, keys: self.keys(keys).await? })
    }

    /// All trusted keys of these entries, by the same rules as certificates.
    async fn keys(&self, items: &[Item]) -> Result<Vec<Vec<u8>>, Unread> {
        let mut found = Vec::new();
        for item in items {
            let before = found.len();
            for version in self.versions(KEYS, item).await? {
                let version = version.map_or_else(String::new, |version| format!("/{version}"));
                let url = format!("{}/keys/{}{version}?{API}", self.url, item.name);
                let bundle: KeyBundle = self.get(&url, &item.name).await?;
                if bundle.attributes.enabled {
                    let gone = |cause| Unread::Gone(format!("key {:?}: {cause}", item.name));
                    found.push(bundle.key.to_der().map_err(gone)?);
                }
            }
            if found.len() == before {
                return Err(Unread::Gone(format!("every version of key {:?} is disabled", item.name)));
            }
        }
        Ok(found)
    }

    /// All trusted certificates of these entries. One that is not there, or of which every version is disabled, fails
    /// all: a root that is silently left out is an outage that nobody can explain.
    pub(super) async fn certificates(&self, items: &[Item]) -> Result<Vec<Certificate>, Unread> {
        let mut found = Vec::new();
        for item in items {
            let before = found.len();
            for version in self.versions(CERTIFICATES, item).await? {
                found.extend(self.version(item, version.as_deref()).await?);
            }
            if found.len() == before {
                return Err(Unread::Gone(format!("every version of certificate {:?} is disabled", item.name)));
            }
        }
        Ok(found)
    }

    /// The versions of an entry that are asked for; none: whichever is the newest.
    async fn versions(&self, kind: &str, item: &Item) -> Result<Vec<Option<String>>, Unread> {
        if item.version.is_some() || item.versions <= 1 {
            return Ok(vec![item.version.clone()]);
        }
        let mut listed: Vec<Version> = Vec::new();
        let mut next = Some(format!("{}/{kind}/{}/versions?{API}&maxresults=25", self.url, item.name));
        for _ in 0..limits::VAULT_PAGES {
            let Some(url) = next else { break };
            let page: Page = self.get(&url, &item.name).await?;
            listed.extend(page.value);
            next = page.next_link.filter(|link| !link.is_empty());
            // The token must not be taken elsewhere.
            if next.as_ref().is_some_and(|link| !link.starts_with(&format!("{}/", self.url))) {
                return Err(Unread::Unreachable(format!("the list of versions of {:?} leads elsewhere", item.name)));
            }
        }
        if next.is_some() {
            return Err(Unread::Unreachable(format!("{:?} has too many versions", item.name)));
        }
        listed.retain(|version| version.attributes.enabled);
        listed.sort_by_key(|version| std::cmp::Reverse(version.attributes.created));
        listed.truncate(item.versions);
        Ok(listed.iter().filter_map(Version::name).map(Some).collect())
    }

    /// The trusted certificates of one version: none of a disabled one.
    async fn version(&self, item: &Item, version: Option<&str>) -> Result<Vec<Certificate>, Unread> {
        let version = version.map_or_else(String::new, |version| format!("/{version}"));
        let path = format!("certificates/{}{version}", item.name);
        let bundle: Bundle = self.get(&format!("{}/{path}?{API}", self.url), &item.name).await?;
        if !bundle.attributes.enabled {
            return Ok(Vec::new());
        }
        let malformed = |cause: String| Unread::Gone(format!("certificate {:?}: {cause}", item.name));
        let der = STANDARD.decode(&bundle.cer).map_err(|cause| malformed(cause.to_string()))?;
        let certificate = Certificate::from_der(&der).map_err(|cause| malformed(cause.to_string()))?;
        if is_anchor(&certificate) {
            return Ok(vec![certificate]);
        }
        let version = last(&bundle.id).unwrap_or_default();
        self.chain(item, version).await
    }

    /// The authorities above a certificate that somebody else issued, which stand with it in its secret.
    async fn chain(&self, item: &Item, version: &str) -> Result<Vec<Certificate>, Unread> {
        let told = |cause: String| Unread::Gone(format!("certificate {:?}: {cause}", item.name));
        let secret: Kept = self.get(&format!("{}/secrets/{}/{version}?{API}", self.url, item.name), &item.name).await?;
        if secret.content_type.as_deref() != Some(PEM) {
            let cause = "it was issued by another certificate, and its chain is kept as PKCS #12, which is not read: \
                         import it as PEM, or trust the certificate that issued it";
            return Err(told(cause.to_owned()));
        }
        let pem = certificates_of(secret.value.expose());
        let all = anchors_from_pem(pem.as_bytes()).map_err(|cause| told(cause.to_string()))?;
        let anchors: Vec<_> = all.into_iter().filter(is_anchor).collect();
        if anchors.is_empty() {
            return Err(told("it was issued by another certificate, which is not with it".to_owned()));
        }
        Ok(anchors)
    }

    async fn get<T: DeserializeOwned>(&self, url: &str, name: &str) -> Result<T, Unread> {
        let token = self.entra.token().await.map_err(Unread::Unreachable)?;
        let client = self.entra.client().await.map_err(Unread::Unreachable)?;
        let request = client.get(url).bearer_auth(token.expose());
        let (status, body) =
            azure::exchange(request, "it", limits::VAULT_REPLY_BYTES).await.map_err(Unread::Unreachable)?;
        let told = |what: String| format!("it answered {what} about {name:?}");
        match status {
            StatusCode::OK => json::from_slice(&body).map_err(|error| Unread::Unreachable(told(json_cause(&error)))),
            StatusCode::NOT_FOUND => Err(Unread::Gone(told(status.to_string()))),
            _ => {
                if status == StatusCode::UNAUTHORIZED {
                    self.entra.forget();
                }
                Err(Unread::Unreachable(told(status.to_string())))
            }
        }
    }
}

fn is_anchor(certificate: &Certificate) -> bool {
    certificate.is_ca() || certificate.is_self_signed()
}

/// What tokens for a vault are for: the vault's host without its own name, as each of Azure's clouds has it.
pub(super) fn audience(url: &str) -> String {
    let host = Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
    format!("https://{}", host.split_once('.').map_or("", |(_, domain)| domain))
}

/// The certificates of a text that may hold a private key too.
fn certificates_of(text: &str) -> Zeroizing<String> {
    let mut is_within = false;
    let mut kept = Zeroizing::new(String::new());
    for line in text.lines() {
        is_within |= line.trim() == BEGIN;
        if is_within {
            kept.push_str(line);
            kept.push('\n');
        }
        is_within &= line.trim() != END;
    }
    kept
}

/// The last part of an identifier, which is a version.
fn last(id: &str) -> Option<&str> {
    id.rsplit('/').next().filter(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric()))
}

#[derive(Deserialize)]
struct Attributes {
    enabled: bool,
    #[serde(default)]
    created: u64,
}

#[derive(Deserialize)]
struct Bundle {
    id: String,
    cer: String,
    attributes: Attributes,
}

#[derive(Deserialize)]
struct KeyBundle {
    key: Jwk,
    attributes: Attributes,
}

/// A version of a certificate, or of a key, which calls its identifier otherwise.
#[derive(Deserialize)]
struct Version {
    #[serde(alias = "kid")]
    id: String,
    attributes: Attributes,
}

impl Version {
    fn name(&self) -> Option<String> {
        last(&self.id).map(str::to_owned)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    value: Vec<Version>,
    next_link: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    value: Secret,
    content_type: Option<String>,
}

/// Where a vault keeps what.
const CERTIFICATES: &str = "certificates";
const KEYS: &str = "keys";

/// The version of the interface.
const API: &str = "api-version=7.4";

/// The content type of secrets in PEM.
const PEM: &str = "application/x-pem-file";

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";
