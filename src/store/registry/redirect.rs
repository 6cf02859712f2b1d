//! Where a registry may send a request on to. A redirect never leads from https to http, never carries credentials
//! in its URL, and never leads from elsewhere to this machine or to its links (cloud metadata services).
//!
//! Only the host as written is looked at. Not covered: a name that resolves to such an address, private networks,
//! NAT64 forms. What comes back is checked against a digest wherever there is one.

use std::net::{IpAddr, Ipv4Addr};

use reqwest::Url;

/// The URL that a redirect leads to. `asked` is the URL of the first request, `from` the one that was answered with
/// `location`; `plain_http` tells whether the store speaks http to every registry.
///
/// # Errors
/// Why the redirect is not followed, in words that hold no query: queries carry signatures.
pub fn target(asked: &Url, from: &Url, location: &str, plain_http: bool) -> Result<Url, String> {
    let mut to = from.join(location).map_err(|error| format!("the redirect cannot be read: {error}"))?;
    to.set_fragment(None);
    let host = to.host_str().unwrap_or_default().to_owned();
    let refuse = |why: &str| Err(format!("the redirect to {}://{host} is not followed: {why}", to.scheme()));
    if !to.username().is_empty() || to.password().is_some() {
        return refuse("it carries credentials");
    }
    let place = place(&to);
    match to.scheme() {
        "https" => {}
        "http" if from.scheme() == "https" => return refuse("it leads from https to http"),
        "http" if plain_http || place == Place::ThisMachine => {}
        "http" => return refuse("http is used for loopback only, unless plainHttp is set"),
        _ => return refuse("it leads away from http"),
    }
    let same_host = to.host() == asked.host();
    match place {
        Place::Elsewhere => Ok(to),
        _ if same_host => Ok(to),
        Place::ThisMachine if self::place(asked) == Place::ThisMachine => Ok(to),
        Place::ThisMachine => refuse("it leads from a remote registry to this machine"),
        Place::ThisLink => refuse("it leads to a link-local address"),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    ThisMachine,
    ThisLink,
    Elsewhere,
}

pub(super) fn place(url: &Url) -> Place {
    let host = url.host_str().unwrap_or_default();
    match host.trim_matches(['[', ']']).parse() {
        Ok(IpAddr::V4(address)) => place_v4(address),
        // Mapped and compatible forms of IPv4 addresses; `::` and `::1` become 0.0.0.0 and 0.0.0.1.
        Ok(IpAddr::V6(address)) if address.to_ipv4().is_some() => {
            address.to_ipv4().map_or(Place::ThisMachine, place_v4)
        }
        Ok(IpAddr::V6(address)) if address.is_unicast_link_local() => Place::ThisLink,
        Ok(IpAddr::V6(_)) => Place::Elsewhere,
        Err(_) => {
            // However many dots: what a resolver makes of them is not known here.
            let name = host.trim_end_matches('.');
            // RFC 6761, section 6.3: localhost and all names below it.
            if name == "localhost" || name.ends_with(".localhost") { Place::ThisMachine } else { Place::Elsewhere }
        }
    }
}

fn place_v4(address: Ipv4Addr) -> Place {
    // 0.0.0.0/8 is "this host on this network" (RFC 1122, section 3.2.1.3): a connection to it ends up here.
    if address.is_loopback() || address.octets().starts_with(&[0]) {
        Place::ThisMachine
    } else if address.is_link_local() {
        Place::ThisLink
    } else {
        Place::Elsewhere
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follow(from: &str, location: &str, plain_http: bool) -> Result<String, String> {
        let from = Url::parse(from).unwrap();
        target(&from, &from, location, plain_http).map(|url| url.to_string())
    }

    const REMOTE: &str = "https://registry.example/v2/a/blobs/x";
    const LOCAL: &str = "http://127.0.0.1:5000/v2/a/blobs/x";
    const PLAIN: &str = "http://registry.example/v2/a/blobs/x";

    #[test]
    fn a_store_of_objects_and_another_path_are_followed() {
        assert_eq!(follow(REMOTE, "https://cdn.example/x?sig=1#f", false).unwrap(), "https://cdn.example/x?sig=1");
        assert_eq!(follow(REMOTE, "/other", false).unwrap(), "https://registry.example/other");
        assert_eq!(follow(REMOTE, "https://10.0.0.7/x", false).unwrap(), "https://10.0.0.7/x");
        assert_eq!(follow(LOCAL, "https://cdn.example/x", false).unwrap(), "https://cdn.example/x");
        assert_eq!(follow(LOCAL, "http://localhost:9000/x", false).unwrap(), "http://localhost:9000/x");
        assert_eq!(follow(PLAIN, "http://minio.example/x", true).unwrap(), "http://minio.example/x");
    }

    #[test]
    fn https_is_never_left_for_http() {
        for (location, plain_http) in [("http://registry.example/x", false), ("http://registry.example/x", true)] {
            assert!(follow(REMOTE, location, plain_http).unwrap_err().contains("from https to http"), "{location}");
        }
        let (asked, from) = (Url::parse(PLAIN).unwrap(), Url::parse("https://cdn.example/x").unwrap());
        assert!(target(&asked, &from, "http://cdn.example/y", true).is_err());
        assert!(follow(LOCAL, "http://cdn.example/x", false).unwrap_err().contains("loopback only"));
    }

    #[test]
    fn a_remote_registry_cannot_point_at_this_machine_or_its_links() {
        for host in [
            "localhost",
            "localhost..",
            "LOCALHOST.",
            "a.localhost",
            "127.0.0.1",
            "127.1",
            "0x7f000001",
            "2130706433",
            "0.0.0.0",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::127.0.0.1]",
        ] {
            let error = follow(REMOTE, &format!("https://{host}:2375/x"), true).unwrap_err();
            assert!(error.contains("to this machine"), "{host}: {error}");
        }
        for host in ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]"] {
            for from in [REMOTE, "https://127.0.0.1:5000/x"] {
                let error = follow(from, &format!("https://{host}/latest"), true).unwrap_err();
                assert!(error.contains("link-local"), "{host}: {error}");
            }
        }
        assert!(follow("https://169.254.7.7/v2/", "/x", false).is_ok(), "a registry may name itself");
    }

    #[test]
    fn credentials_and_other_schemes_are_refused_and_no_query_is_told() {
        assert!(follow(REMOTE, "https://user:pass@cdn.example/x", false).unwrap_err().contains("credentials"));
        for location in ["ftp://cdn.example/x", "file:///etc/passwd", "unix:/run/x.sock", "https://", "data:,x"] {
            assert!(follow(REMOTE, location, true).is_err(), "{location}");
        }
        let error = follow(REMOTE, "http://cdn.example/x?token=secret", false).unwrap_err();
        assert!(!error.contains("secret"), "{error}");
    }
}
