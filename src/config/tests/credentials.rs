//! Who is asked for credentials, and what is refused before anybody is.

use super::*;
use crate::config::{AzureIdentity, CredentialSource, Password, Realm};
use crate::secret::Secret;

fn registry(parameters: &str) -> RegistryStore {
    match &good(&store(parameters)).executors[0].store {
        Store::Registry(store) => store.clone(),
        other => panic!("{other:?}"),
    }
}

fn sources(parameters: &str) -> Vec<CredentialSource> {
    registry(parameters).credentials
}

fn fixed(username: &str, password: &str, registries: &[&str]) -> CredentialSource {
    CredentialSource::Static {
        username: username.to_owned(),
        password: Password::Given(Secret::new(password.to_owned())),
        registries: registries.iter().map(|host| (*host).to_owned()).collect(),
    }
}

#[test]
fn left_out_dockers_configuration_is_asked_and_an_empty_list_is_anonymous() {
    assert_eq!(sources(""), [CredentialSource::DockerConfig(None)]);
    assert_eq!(sources("credentials = []"), []);
    assert_eq!(sources("credential = { provider = \"static\" }"), []);
    assert_eq!(sources("credential = { provider = \"static\", username = \"\", password = \"\" }"), []);
}

#[test]
fn every_provider_is_taken_in_its_order() {
    let taken = sources(
        "credentials = [{ provider = \"static\", username = \"u\", password = \"${WORD}\", registries = [\"GHCR.io:443\", \"index.docker.io\"] }, \
         { provider = \"static\", password = \"token\" }, { provider = \"static\", username = \"u\", passwordFile = \"${DIR}/p\" }, \
         { provider = \"kubelet\", config = \"/c\", binDir = \"/b\" }, { provider = \"dockerConfig\", configPath = \"/d\" }, \
         { provider = \"azure\", clientID = \"\" }, { provider = \"azureWorkloadIdentity\", clientID = \"c\", tenantID = \"t\" }, \
         { provider = \"azureManagedIdentity\", endpoints = [\"a.example\", \"*.Example.com\"] }]",
    );
    let azure = |identity, id: Option<&str>, tenant: Option<&str>, endpoints: &[&str]| CredentialSource::Azure {
        identity,
        client_id: id.map(str::to_owned),
        tenant_id: tenant.map(str::to_owned),
        endpoints: endpoints.iter().map(|host| (*host).to_owned()).collect(),
    };
    let acr = ["*.azurecr.io", "*.azurecr.us", "*.azurecr.cn"];
    assert_eq!(
        taken,
        [
            fixed("u", "hunter2", &["ghcr.io", "docker.io"]),
            fixed("", "token", &[]),
            CredentialSource::Static {
                username: "u".to_owned(),
                password: Password::File("/etc/trust/p".into()),
                registries: Vec::new(),
            },
            CredentialSource::Kubelet { config: "/c".into(), bin_dir: "/b".into() },
            CredentialSource::DockerConfig(Some("/d".into())),
            azure(AzureIdentity::Any, None, None, &acr),
            azure(AzureIdentity::Workload, Some("c"), Some("t"), &acr),
            azure(AzureIdentity::Managed, None, None, &["a.example", "*.example.com"]),
        ]
    );
    assert_eq!(
        sources("credential = { provider = \"static\", username = \"u\", password = \"p\" }"),
        [fixed("u", "p", &[])]
    );
}

#[test]
fn no_password_is_shown() {
    let config = good(&store("credential = { provider = \"static\", username = \"u\", password = \"hunter2\" }"));
    for shown in
        [to_toml(&config).unwrap(), to_json(&config).unwrap(), formats::meaning(&config), format!("{config:?}")]
    {
        assert!(shown.contains("***") && !shown.contains("hunter2"), "{shown}");
    }
}

#[test]
fn what_does_not_belong_together_is_refused_by_its_key_without_repeating_a_secret() {
    for (text, expected) in [
        ("provider = \"statics\"", "provider: unknown provider \"statics\" (did you mean \"static\"?)"),
        ("provider = \"static\", username = \"u\"", "password: there is a username, but no password"),
        ("provider = \"static\", username = \"u\", password = \"\"", "password: there is a username, but no password"),
        (
            "provider = \"static\", username = \"u:v\", password = \"hunter2\"",
            "username: a user has no colon and no control characters",
        ),
        (
            "provider = \"static\", password = \"hunter2\", passwordFile = \"/p\"",
            "passwordFile: give password or passwordFile, not both",
        ),
        ("provider = \"static\", passwordFile = \"p\"", "passwordFile: \"p\" is not an absolute path"),
        ("provider = \"static\", password = \"hunter2\", registries = []", "registries: must not be empty"),
        (
            "provider = \"static\", password = \"hunter2\", registries = [\"a/b\"]",
            "registries[0]: \"a/b\" is no registry (HOST or HOST:PORT)",
        ),
        (
            "provider = \"static\", password = \"hunter2\", clientID = \"c\"",
            "clientID: not a key of provider static (it takes username, password, passwordFile, registries)",
        ),
        ("provider = \"static\", pasword = \"hunter2\"", "pasword: unknown key (did you mean \"password\"?)"),
        ("provider = \"dockerConfig\", configPath = \"c.json\"", "configPath: \"c.json\" is not an absolute path"),
        ("provider = \"kubelet\", config = \"/c\"", "binDir: required key is missing"),
        ("provider = \"azure\", tenantID = \"../x\"", "tenantID: \"../x\" is no id"),
        (
            "provider = \"azure\", endpoints = [\"*\"]",
            "endpoints[0]: \"*\" is no registry (HOST, or *.DOMAIN for the hosts one label below)",
        ),
        (
            "provider = \"azure\", endpoints = [\"*.io\"]",
            "endpoints[0]: \"*.io\" is no registry (HOST, or *.DOMAIN for the hosts one label below)",
        ),
        (
            "provider = \"azure\", identityBinding = { enabled = true }",
            "identityBinding: identity bindings of AKS are not available: leave the key out",
        ),
    ] {
        let shown = problems(&store(&format!("credential = {{ {text} }}")));
        assert!(
            shown.len() == 1 && shown[0].ends_with(&format!("stores[0].parameters.credential.{expected}")),
            "{text}: {shown:?}"
        );
        assert!(!shown[0].contains("hunter2"), "{shown:?}");
    }
    let both = problems(&store("credential = { provider = \"static\" }, credentials = []"));
    assert!(both[0].ends_with("parameters.credentials: give credential or credentials, not both"), "{both:?}");
}

#[test]
fn providers_of_ratify_v1_that_are_not_here_are_refused_with_what_to_use() {
    for (name, mend) in [
        ("awsEcrBasic", "ecr-credential-provider"),
        ("alibabacloudAcrBasic", "provider \"kubelet\""),
        ("k8Secrets", ".dockerconfigjson"),
    ] {
        let shown = problems(&store(&format!("credential = {{ provider = \"{name}\", serviceAccountName = \"x\" }}")));
        assert!(
            shown.len() == 1 && shown[0].contains(&format!("{name} is not available: ")) && shown[0].contains(mend),
            "{shown:?}"
        );
    }
}

#[test]
fn a_password_is_not_shown_to_any_host_that_an_image_names() {
    let all = |more: &str| {
        format!(
            "[[executors]]\nscopes = [\"a.io\", \"*\"]\nmode = \"deny\"\nstores = [{{ type = \"registry-store\", parameters = {{ credential = {{ \
             provider = \"static\", username = \"u\", password = \"hunter2\"{more} }} }} }}]\n"
        )
    };
    let shown = problems(&all(""));
    let expected = "credential.registries: scope \"*\" lets image names choose the host, and this password would be shown to any (registries = [\"HOST\"] says to whom it may be shown)";
    assert!(shown.len() == 1 && shown[0].ends_with(expected), "{shown:?}");
    good(&all(", registries = [\"ghcr.io\"]"));
    good(&all("").replace(", \"*\"", ", \"*.b.io\""));
}

#[test]
fn realms_are_hosts_or_https_urls() {
    let realms = |text: &str| registry(&format!("allowedRealms = [{text}]")).allowed_realms;
    let realm = |host: &str, path: &str| Realm { host: host.to_owned(), path: path.to_owned() };
    assert_eq!(
        realms(
            "\"Auth.example\", \"a.io:5000\", \"https://b.io\", \"https://B.io:443/\", \"https://c.io:444/token/v2/\""
        ),
        [
            realm("auth.example", ""),
            realm("a.io:5000", ""),
            realm("b.io", ""),
            realm("b.io", ""),
            realm("c.io:444", "/token/v2")
        ]
    );
    for bad in [
        "",
        "*.io",
        "http://a.io",
        "https://",
        "https://u:p@a.io/",
        "https://a.io/?x",
        "a.io/path",
        "ftp://a.io",
        "5",
        "https://127.1/",
    ] {
        let shown = problems(&store(&format!("allowedRealms = [\"{bad}\"]")));
        assert!(shown[0].contains("allowedRealms[0]: ") && shown[0].contains("is no realm"), "{bad}: {shown:?}");
    }
}

#[test]
fn lists_at_their_limit_are_taken_and_one_more_is_refused() {
    let list = |item: &str, count: usize| vec![item; count].join(", ");
    for (limit, before, item) in [
        (limits::CREDENTIAL_PROVIDERS, "credentials = [", "{ provider = \"dockerConfig\" }"),
        (limits::CREDENTIAL_HOSTS, "allowedRealms = [", "\"a.io\""),
    ] {
        good(&store(&format!("{before}{}]", list(item, limit))));
        let shown = problems(&store(&format!("{before}{}]", list(item, limit + 1))));
        assert!(shown[0].contains(&format!("has {} items, the limit is {limit}", limit + 1)), "{shown:?}");
    }
    for (key, item) in [("registries", "\"a.io\""), ("endpoints", "\"a.io\"")] {
        let (provider, password) = if key == "registries" { ("static", "password = \"p\", ") } else { ("azure", "") };
        let table = |count| {
            store(&format!("credential = {{ provider = \"{provider}\", {password}{key} = [{}] }}", list(item, count)))
        };
        good(&table(limits::CREDENTIAL_HOSTS));
        assert!(problems(&table(limits::CREDENTIAL_HOSTS + 1))[0].contains("the limit is 64"));
    }
}
