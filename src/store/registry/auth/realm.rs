//! Where credentials and requests for tokens may go. A registry names its realm itself, and must not be able to have a
//! password sent to someone else, or a request to this machine or a cloud's metadata service.

use reqwest::Url;

use crate::store::registry::redirect::{Place, place};

/// Whether credentials may be shown to `realm`, which the registry at `registry` named: over https, at the same host, at
/// one that is known to be the registry's, or at one of `allowed`: a host, or a URL that the realm begins with.
///
/// # Errors
/// Why not, and the mend.
pub fn may_see_credentials(registry: &Url, realm: &Url, allowed: &[String]) -> Result<(), String> {
    may_be_asked(registry, realm)?;
    let host = |url: &Url| url.host_str().unwrap_or_default().to_ascii_lowercase();
    let (asker, giver) = (host(registry), host(realm));
    let both_local = place(registry) == Place::ThisMachine && place(realm) == Place::ThisMachine;
    if realm.scheme() != "https" && !both_local {
        return Err(format!("the registry's realm {} is no https: no credentials are sent to it", shown(realm)));
    }
    let is_known = asker == giver || both_local || PAIRS.iter().any(|(one, other)| asker == *one && giver == *other);
    if is_known || allowed.iter().any(|allowed| is_allowed(realm, allowed)) {
        return Ok(());
    }
    Err(format!(
        "the registry's realm {} lies at another host: no credentials are sent to it; if it is the registry's, add {giver:?} to allowedRealms",
        shown(realm)
    ))
}

/// Whether a realm may be asked at all, without credentials.
///
/// # Errors
/// Why not.
pub fn may_be_asked(registry: &Url, realm: &Url) -> Result<(), String> {
    let refuse = |why: &str| Err(format!("the registry's realm {} is not asked: {why}", shown(realm)));
    if !realm.username().is_empty() || realm.password().is_some() {
        return refuse("it carries credentials");
    }
    match realm.scheme() {
        "https" => {}
        "http" if registry.scheme() == "http" && realm.host() == registry.host() => {}
        "http" if place(registry) == Place::ThisMachine && place(realm) == Place::ThisMachine => {}
        _ => return refuse("it is no https"),
    }
    let same_host = realm.host() == registry.host();
    match place(realm) {
        Place::Elsewhere => Ok(()),
        _ if same_host => Ok(()),
        Place::ThisMachine if place(registry) == Place::ThisMachine => Ok(()),
        Place::ThisMachine => refuse("it is this machine, and the registry is not"),
        Place::ThisLink => refuse("it is a link-local address"),
    }
}

/// A host, or a URL that the realm begins with, whole path segments at a time.
fn is_allowed(realm: &Url, allowed: &str) -> bool {
    let Ok(prefix) = Url::parse(allowed) else {
        return realm.host_str().is_some_and(|host| host.eq_ignore_ascii_case(allowed));
    };
    let path = prefix.path().trim_end_matches('/');
    let below = realm.path().strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    realm.origin() == prefix.origin() && below
}

/// A realm without what may be secret: its query, and whoever it names.
fn shown(realm: &Url) -> String {
    let port = realm.port().map_or_else(String::new, |port| format!(":{port}"));
    format!("{}://{}{port}{}", realm.scheme(), realm.host_str().unwrap_or_default(), realm.path())
}

/// Registries whose tokens are given at another host, as their documentation says.
const PAIRS: [(&str, &str); 6] = [
    ("registry-1.docker.io", "auth.docker.io"),
    ("index.docker.io", "auth.docker.io"),
    ("registry.gitlab.com", "gitlab.com"),
    ("registry.redhat.io", "sso.redhat.com"),
    ("registry.connect.redhat.com", "sso.redhat.com"),
    ("registry.digitalocean.com", "api.digitalocean.com"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn shows(registry: &str, realm: &str, allowed: &[&str]) -> Result<(), String> {
        let allowed: Vec<String> = allowed.iter().map(|text| (*text).to_owned()).collect();
        may_see_credentials(&url(registry), &url(realm), &allowed)
    }

    #[test]
    fn credentials_go_to_the_registry_itself_and_to_realms_that_are_known_to_be_its_own() {
        for (registry, realm) in [
            ("https://r.example/v2", "https://r.example/token"),
            ("https://r.example:5000/v2", "https://r.example/token"),
            ("https://registry-1.docker.io/v2", "https://auth.docker.io/token"),
            ("https://registry.gitlab.com/v2", "https://gitlab.com/jwt/auth"),
            ("http://127.0.0.1:5000/v2", "http://127.0.0.1:6000/token"),
            ("http://localhost:5000/v2", "http://127.0.0.1:6000/token"),
        ] {
            assert_eq!(shows(registry, realm, &[]), Ok(()), "{registry} {realm}");
        }
    }

    #[test]
    fn credentials_go_nowhere_else_unless_the_operator_says_so() {
        let registry = "https://r.example/v2";
        for realm in [
            "https://evil.example/token",
            "https://r.example.evil.example/t",
            "https://xr.example/",
            "https://auth.docker.io/token",
        ] {
            assert!(shows(registry, realm, &[]).unwrap_err().contains("allowedRealms"), "{realm}");
        }
        assert_eq!(shows(registry, "https://auth.example/token", &["auth.example"]), Ok(()));
        assert_eq!(shows(registry, "https://auth.example/token", &["https://auth.example/token/"]), Ok(()));
        assert_eq!(shows(registry, "https://auth.example/token/x", &["https://auth.example/token"]), Ok(()));
        assert!(shows(registry, "https://auth.example/tokens", &["https://auth.example/token"]).is_err());
        assert!(shows(registry, "https://auth.example:444/token", &["https://auth.example/token"]).is_err());
        assert!(shows("https://evil.example/v2", "https://registry-1.docker.io/token", &[]).is_err());
    }

    #[test]
    fn credentials_never_go_over_http_except_on_this_machine() {
        assert!(shows("http://r.example/v2", "http://r.example/token", &[]).unwrap_err().contains("no https"));
        assert!(shows("https://r.example/v2", "http://r.example/token", &["r.example"]).is_err());
        assert!(may_be_asked(&url("http://r.example/v2"), &url("http://r.example/token")).is_ok());
        assert!(may_be_asked(&url("http://r.example/v2"), &url("http://other.example/token")).is_err());
    }

    #[test]
    fn no_realm_leads_to_this_machine_or_its_links_unless_the_registry_is_there() {
        for host in ["127.0.0.1", "localhost", "[::1]", "169.254.169.254", "0.0.0.0", "2130706433"] {
            let realm = url(&format!("https://{host}/token"));
            assert!(may_be_asked(&url("https://r.example/v2"), &realm).is_err(), "{host}");
            assert!(shows("https://r.example/v2", realm.as_str(), &[host]).is_err(), "{host}");
        }
        assert!(may_be_asked(&url("http://169.254.7.7/v2"), &url("http://169.254.7.7/token")).is_ok());
        assert!(may_be_asked(&url("http://127.0.0.1:5000/v2"), &url("http://169.254.169.254/token")).is_err());
        assert!(may_be_asked(&url("https://r.example/v2"), &url("https://u:p@r.example/token")).is_err());
        assert!(may_be_asked(&url("https://r.example/v2"), &url("ftp://r.example/token")).is_err());
    }
}
