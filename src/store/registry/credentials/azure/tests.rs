//! Against servers on loopback that speak the documented exchanges.

use std::collections::BTreeMap;

use futures_util::future::join_all;

use std::path::PathBuf;

use super::*;
use crate::azure::testing::Server;
use crate::config::AzureIdentity;
use crate::limits;
use crate::store::registry::credentials::testing::{Scripts, ask};

/// A refresh token that lives so long.
fn refresh_token(seconds: u64) -> String {
    let claims = URL_SAFE_NO_PAD.encode(format!(r#"{{"iat":1000,"exp":{},"sub":"x"}}"#, 1000 + seconds));
    format!("h.{claims}.s")
}

fn exchanged(seconds: u64) -> (u16, String) {
    (200, format!(r#"{{"refresh_token":"{}"}}"#, refresh_token(seconds)))
}

const ENTRA: &str = r#"{"token_type":"Bearer","expires_in":3599,"ext_expires_in":3599,"access_token":"entra-hunter2"}"#;
const METADATA_ANSWER: &str =
    r#"{"access_token":"entra-hunter2","client_id":"x","expires_in":"86399","resource":"y","token_type":"Bearer"}"#;

fn options(identity: AzureIdentity, endpoints: &[&Server]) -> Options {
    let endpoints = endpoints.iter().map(|server| server.host.clone()).collect();
    let (client_id, tenant_id) = (Some("client".to_owned()), Some("tenant".to_owned()));
    Options { name: "azureWorkloadIdentity", who: Who { identity, client_id, tenant_id }, endpoints }
}

/// A provider that asks these servers.
fn provider(options: Options, authority: &Server, token: PathBuf) -> Azure {
    let entra = Entra::at(&options.who, RESOURCE.to_owned(), &authority.host, &token);
    Azure::with(options, entra, "http")
}

fn form(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn workload_identity_is_exchanged_for_a_refresh_token_of_the_registry() {
    let (entra, acr) =
        (Server::start(vec![(200, ENTRA.to_owned())]).await, Server::start(vec![exchanged(10_800)]).await);
    let scripts = Scripts::new();
    let azure = provider(options(AzureIdentity::Any, &[&acr]), &entra, scripts.file("token", "assertion-1\n"));
    let expected = Ok(Some(Credential::Identity(Secret::new(refresh_token(10_800)))));
    let images: Vec<String> = (0..8).map(|index| format!("{}/a{index}", acr.host)).collect();
    let answers = join_all(images.iter().map(|image| ask(&azure, image))).await;
    assert!(answers.iter().all(|answer| *answer == expected), "{answers:?}");
    assert_eq!((entra.count(), acr.count()), (1, 1), "one token for all repositories");
    assert!(entra.last().starts_with("POST /tenant/oauth2/v2.0/token HTTP/1.1\r\n"));
    let jwt = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    let scope = "https://containerregistry.azure.net/.default";
    assert_eq!(
        entra.form(),
        form(&[
            ("grant_type", "client_credentials"),
            ("client_id", "client"),
            ("scope", scope),
            ("client_assertion_type", jwt),
            ("client_assertion", "assertion-1"),
        ])
    );
    assert!(acr.last().starts_with("POST /oauth2/exchange HTTP/1.1\r\n"));
    assert_eq!(
        acr.form(),
        form(&[
            ("grant_type", "access_token"),
            ("service", &acr.host),
            ("tenant", "tenant"),
            ("access_token", "entra-hunter2"),
        ])
    );
    scripts.file("token", "assertion-2\n");
    azure.refused(&Wanted { host: &acr.host, path: "a0", is_mirror: false });
    assert_eq!(ask(&azure, &images[0]).await, expected);
    assert_eq!((entra.count(), acr.count(), entra.form()["client_assertion"].as_str()), (2, 2, "assertion-2"));
}

#[tokio::test]
async fn a_machines_own_identity_comes_from_the_metadata_service() {
    let (metadata, acr) =
        (Server::start(vec![(200, METADATA_ANSWER.to_owned())]).await, Server::start(vec![exchanged(10_800)]).await);
    let azure = provider(options(AzureIdentity::Managed, &[&acr]), &metadata, PathBuf::from("/nonexistent"));
    let expected = Ok(Some(Credential::Identity(Secret::new(refresh_token(10_800)))));
    assert_eq!(ask(&azure, &format!("{}/a", acr.host)).await, expected);
    let request = metadata.last();
    assert!(request.starts_with(
        "GET /metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fcontainerregistry.azure.net&client_id=client HTTP/1.1\r\n"
    ), "{request}");
    assert!(request.contains("metadata: true\r\n"), "{request}");
}

#[tokio::test]
async fn the_token_of_entra_is_shown_to_endpoints_alone() {
    let (entra, acr) =
        (Server::start(vec![(200, ENTRA.to_owned())]).await, Server::start(vec![exchanged(10_800)]).await);
    let scripts = Scripts::new();
    let named = Options { endpoints: vec!["*.azurecr.io".to_owned()], ..options(AzureIdentity::Any, &[]) };
    let azure = provider(named, &entra, scripts.file("token", "a"));
    for other in [&acr.host, "azurecr.io", "a.b.azurecr.io", "a.azurecr.io:5000", "a.azurecr.io.example", "aazurecr.io"]
    {
        assert_eq!(ask(&azure, &format!("{other}/a")).await, Ok(None), "{other}");
    }
    assert_eq!((entra.count(), acr.count()), (0, 0));
    assert!(azure.is_endpoint("a.azurecr.io"));
}

#[tokio::test]
async fn a_token_is_asked_for_anew_before_it_ends() {
    // Both live no longer than the margin that is taken off.
    let entra = Server::start(vec![(200, ENTRA.replace("3599", "300"))]).await;
    let acr = Server::start(vec![exchanged(300)]).await;
    let scripts = Scripts::new();
    let azure = provider(options(AzureIdentity::Any, &[&acr]), &entra, scripts.file("token", "a"));
    for _ in 0..2 {
        ask(&azure, &format!("{}/a", acr.host)).await.unwrap();
    }
    assert_eq!((entra.count(), acr.count()), (2, 2));
    assert_eq!(lifetime(&refresh_token(301)), Some(Duration::from_secs(301)));
    for odd in ["", "a.b", "a.!.c", "a.e30.c"] {
        assert_eq!(lifetime(odd), None, "{odd}");
    }
}

#[tokio::test]
async fn a_refusal_is_told_by_its_code_and_no_error_repeats_a_token() {
    let refusal = r#"{"error":"invalid_client","error_description":"AADSTS700016: hunter2","error_codes":[700016]}"#;
    let huge = format!(r#"{{"access_token":"hunter2{}","expires_in":1}}"#, " ".repeat(70_000));
    for (entra, acr, expected) in [
        (
            (401, refusal.to_owned()),
            exchanged(1),
            "Microsoft Entra answered 401 Unauthorized: invalid_client AADSTS700016",
        ),
        ((400, r#"{"error":"HUNTER2 hunter2"}"#.to_owned()), exchanged(1), "Microsoft Entra answered 400 Bad Request"),
        ((302, "hunter2".to_owned()), exchanged(1), "Microsoft Entra answered 302 Found"),
        ((200, "hunter2".to_owned()), exchanged(1), "the answer is not JSON of the expected form"),
        ((200, huge), exchanged(1), "an answer of more than 65536 bytes"),
        ((200, ENTRA.to_owned()), (403, "hunter2".to_owned()), "answered 403 Forbidden"),
        ((200, ENTRA.to_owned()), (200, r#"{"refresh_token":["hunter2"]}"#.to_owned()), "the answer is not JSON"),
    ] {
        let (entra, acr) = (Server::start(vec![entra]).await, Server::start(vec![acr]).await);
        let scripts = Scripts::new();
        let azure = provider(options(AzureIdentity::Any, &[&acr]), &entra, scripts.file("token", "hunter2"));
        let error = ask(&azure, &format!("{}/a", acr.host)).await.unwrap_err();
        assert!(error.contains(expected) && !error.contains("unter2"), "{error}");
    }
}

#[tokio::test]
async fn an_answer_at_the_limit_is_taken() {
    let limit = usize::try_from(limits::TOKEN_REPLY_BYTES).unwrap();
    for (length, is_taken) in [(limit, true), (limit + 1, false)] {
        let (_, token) = exchanged(10_800);
        let padded = format!("{token}{}", " ".repeat(length - token.len()));
        let (entra, acr) =
            (Server::start(vec![(200, ENTRA.to_owned())]).await, Server::start(vec![(200, padded)]).await);
        let scripts = Scripts::new();
        let azure = provider(options(AzureIdentity::Any, &[&acr]), &entra, scripts.file("token", "a"));
        assert_eq!(ask(&azure, &format!("{}/a", acr.host)).await.is_ok(), is_taken, "{length}");
    }
}

#[tokio::test]
async fn what_is_missing_of_an_identity_is_named_and_only_where_it_matters() {
    let none = |_: &str| None;
    let bare = |identity| Options {
        name: "azureWorkloadIdentity",
        who: Who { identity, client_id: None, tenant_id: None },
        endpoints: vec!["*.azurecr.io".to_owned()],
    };
    let workload = Azure::new(bare(AzureIdentity::Workload), &none, Proxy::default());
    assert_eq!(ask(&workload, "r.io/a").await, Ok(None));
    let error = ask(&workload, "a.azurecr.io/a").await.unwrap_err();
    assert_eq!(error, "there is no clientID, and AZURE_CLIENT_ID is not set");
    let plain = |name: &str| (name == "AZURE_AUTHORITY_HOST").then(|| "http://login.example".to_owned());
    let plain = Azure::new(bare(AzureIdentity::Workload), &plain, Proxy::default());
    assert!(ask(&plain, "a.azurecr.io/a").await.unwrap_err().contains("no https URL"));
}
