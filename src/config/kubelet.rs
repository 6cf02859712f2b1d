//! The kubelet's CredentialProviderConfig (kubelet.config.k8s.io), in YAML or JSON as the kubelet takes it: which
//! programs know credentials for which images. Read by the registry store when it needs them; keys that are not about
//! that are passed over, because newer kubelets have more of them.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::config::Problems;
use crate::config::file;
use crate::config::file::decoder::{Decoder, Item, Table, quote, suggest};
use crate::config::problem::{Place, Spanned};
use crate::limits;
use crate::secret::Secret;

/// A program that knows credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubeletProvider {
    /// Its file in the folder of such programs.
    pub name: String,
    /// Patterns of the images that it knows credentials for, and where they are written; at least one.
    pub match_images: Vec<Spanned<String>>,
    /// How long an answer is kept that does not say it itself.
    pub default_cache_duration: Duration,
    /// The version of the protocol that it speaks.
    pub api_version: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// What is added to its environment.
    pub env: Vec<(String, Secret)>,
    /// Whether it wants a token of the pod's service account with every request.
    pub needs_service_account: bool,
}

/// Reads a CredentialProviderConfig. `file` is its path, for messages: with the ending `.json` it is JSON, else YAML.
///
/// # Errors
/// All problems at once; none repeats a value of an environment variable.
pub fn kubelet_providers(file: &str, text: &str) -> Result<Vec<KubeletProvider>, Problems> {
    let mut decoder = Decoder::new(file, &|_| None);
    let kind = if file.ends_with(".json") { "config.json" } else { "config.yaml" };
    let root = file::read(kind, text, &mut decoder.problems);
    match root.and_then(|root| config(&mut decoder, &Item::root(&root))) {
        Some(providers) if decoder.problems.is_empty() => Ok(providers),
        _ => Err(decoder.problems),
    }
}

fn config(decoder: &mut Decoder<'_>, root: &Item<'_>) -> Option<Vec<KubeletProvider>> {
    let mut table = decoder.table(root)?;
    for (key, known) in [("kind", &["CredentialProviderConfig"][..]), ("apiVersion", &CONFIG_VERSIONS)] {
        let item = decoder.required(&mut table, key)?;
        word(decoder, &item, known)?;
    }
    let item = decoder.required(&mut table, "providers")?;
    let mut names = BTreeSet::new();
    let items = decoder.filled_array(&item)?;
    let providers: Vec<_> = items.iter().map(|item| provider(decoder, item, &mut names)).collect();
    providers.into_iter().collect()
}

fn provider(decoder: &mut Decoder<'_>, item: &Item<'_>, names: &mut BTreeSet<String>) -> Option<KubeletProvider> {
    let mut table = decoder.table(item)?;
    let name = decoder.required(&mut table, "name").and_then(|item| name(decoder, &item, names));
    let api_version = decoder.required(&mut table, "apiVersion").and_then(|item| word(decoder, &item, &VERSIONS));
    let match_images = decoder.required(&mut table, "matchImages").and_then(|item| {
        let items = decoder.filled_array(&item)?;
        let spanned = items.iter().map(|item| Some(Spanned { value: text(decoder, item)?, place: item.place() }));
        spanned.collect::<Option<Vec<_>>>()
    });
    let default_cache_duration =
        decoder.required(&mut table, "defaultCacheDuration").and_then(|item| duration(decoder, &item));
    let args = match present(&mut table, "args") {
        Some(item) => decoder.array(&item).and_then(|items| items.iter().map(|item| text(decoder, item)).collect()),
        None => Some(Vec::new()),
    };
    let env = match present(&mut table, "env") {
        Some(item) => decoder.array(&item).and_then(|items| items.iter().map(|item| variable(decoder, item)).collect()),
        None => Some(Vec::new()),
    };
    let needs_service_account = match present(&mut table, "tokenAttributes") {
        Some(item) => needs_service_account(decoder, &item),
        None => Some(false),
    };
    Some(KubeletProvider {
        name: name?,
        match_images: match_images?,
        default_cache_duration: default_cache_duration?,
        api_version: api_version?,
        args: args?,
        env: env?,
        needs_service_account: needs_service_account?,
    })
}

/// A key that is there and not null, which Kubernetes takes for left out.
fn present<'a>(table: &mut Table<'a>, key: &'static str) -> Option<Item<'a>> {
    table.optional(key).filter(|item| !item.is_null())
}

/// The program's name: a file's, without a folder.
fn name(decoder: &mut Decoder<'_>, item: &Item<'_>, names: &mut BTreeSet<String>) -> Option<String> {
    let name = text(decoder, item)?;
    let is_file = !name.is_empty() && !matches!(name.as_str(), "." | "..") && !name.contains(['/', '\0']);
    if !is_file || name.chars().any(char::is_whitespace) {
        decoder.problems.push(&item.place(), format!("{} is not the name of a program", quote(&name)));
        return None;
    }
    if !names.insert(name.clone()) {
        decoder.problems.push(&item.place(), format!("provider {} is given twice", quote(&name)));
        return None;
    }
    Some(name)
}

fn variable(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<(String, Secret)> {
    let mut table = decoder.table(item)?;
    let name = decoder.required(&mut table, "name").and_then(|item| {
        let name = text(decoder, &item)?;
        let is_name = !name.is_empty() && !name.contains(['=', '\0']);
        if !is_name {
            decoder.problems.push(&item.place(), "not the name of an environment variable");
        }
        is_name.then_some(name)
    });
    let value = match present(&mut table, "value") {
        Some(item) => {
            let value = text(decoder, &item)?;
            if value.contains('\0') {
                decoder.problems.push(&item.place(), "a zero byte cannot be in an environment variable");
                return None;
            }
            value
        }
        None => String::new(),
    };
    Some((name?, Secret::new(value)))
}

/// A provider that can do without a service account is run without one, as the kubelet does for a static pod.
fn needs_service_account(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<bool> {
    let mut table = decoder.table(item)?;
    match present(&mut table, "requireServiceAccount") {
        Some(item) => decoder.boolean(&item),
        None => Some(true),
    }
}

fn duration(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<Duration> {
    let written = text(decoder, item)?;
    let read = humantime::parse_duration(&written).ok();
    if read.is_none() {
        let message = format!("{} is not a duration", quote(&written));
        decoder.problems.push_with_hint(&item.place(), message, "for example \"12h\" or \"0s\"");
    }
    read.map(|duration| duration.min(limits::CREDENTIAL_KEPT_MAX))
}

fn word(decoder: &mut Decoder<'_>, item: &Item<'_>, known: &[&str]) -> Option<String> {
    let word = text(decoder, item)?;
    if !known.contains(&word.as_str()) {
        let hint = suggest(&word, known, "known");
        decoder.problems.push_with_hint(&item.place(), format!("unknown value {}", quote(&word)), hint);
        return None;
    }
    Some(word)
}

/// A string as written: the kubelet puts no variables in.
fn text(decoder: &mut Decoder<'_>, item: &Item<'_>) -> Option<String> {
    let text = item.as_text().map(str::to_owned);
    if text.is_none() {
        let place: Place = item.place();
        decoder.problems.push(&place, "expected a string");
    }
    text
}

const CONFIG_VERSIONS: [&str; 3] =
    ["kubelet.config.k8s.io/v1", "kubelet.config.k8s.io/v1beta1", "kubelet.config.k8s.io/v1alpha1"];

const VERSIONS: [&str; 3] = [
    "credentialprovider.kubelet.k8s.io/v1",
    "credentialprovider.kubelet.k8s.io/v1beta1",
    "credentialprovider.kubelet.k8s.io/v1alpha1",
];

#[cfg(test)]
mod tests {
    use super::*;

    /// As Amazon's and Google's own documentation have it.
    const EXAMPLE: &str = r#"apiVersion: kubelet.config.k8s.io/v1
kind: CredentialProviderConfig
providers:
  - name: ecr-credential-provider
    matchImages:
      - "*.dkr.ecr.*.amazonaws.com"
      - "public.ecr.aws"
    defaultCacheDuration: "12h"
    apiVersion: credentialprovider.kubelet.k8s.io/v1
    args: [get-credentials]
    env:
      - name: AWS_PROFILE
        value: hunter2
  - name: gke-credential-provider
    matchImages: [gcr.io, "*.pkg.dev/a"]
    defaultCacheDuration: 0s
    apiVersion: credentialprovider.kubelet.k8s.io/v1beta1
    env: null
    tokenAttributes: {serviceAccountTokenAudience: x, requireServiceAccount: true, cacheType: Token}
  - {name: optional, matchImages: [a], defaultCacheDuration: 1m0s, apiVersion: credentialprovider.kubelet.k8s.io/v1alpha1,
     tokenAttributes: {requireServiceAccount: false}, newer: 1.5}
"#;

    #[test]
    fn a_configuration_is_read_from_yaml_and_json() {
        let providers = kubelet_providers("/etc/p.yaml", EXAMPLE).unwrap();
        let first = &providers[0];
        assert_eq!(
            (first.name.as_str(), first.args.as_slice()),
            ("ecr-credential-provider", &["get-credentials".to_owned()][..])
        );
        let images: Vec<_> = first.match_images.iter().map(|image| image.value.as_str()).collect();
        assert_eq!(images, ["*.dkr.ecr.*.amazonaws.com", "public.ecr.aws"]);
        assert_eq!(first.match_images[0].place.line, 6);
        assert_eq!(first.default_cache_duration, Duration::from_secs(12 * 3600));
        assert_eq!((first.env[0].0.as_str(), first.env[0].1.expose()), ("AWS_PROFILE", "hunter2"));
        let needs: Vec<_> = providers.iter().map(|provider| provider.needs_service_account).collect();
        assert_eq!(needs, [false, true, false]);
        assert!(!format!("{providers:?}").contains("hunter2"));
        let json = r#"{"apiVersion":"kubelet.config.k8s.io/v1beta1","kind":"CredentialProviderConfig","providers":[
            {"name":"p","matchImages":["a.io"],"defaultCacheDuration":"6h0m0s","apiVersion":"credentialprovider.kubelet.k8s.io/v1"}]}"#;
        for file in ["c.json", "c.yaml", "c"] {
            assert_eq!(kubelet_providers(file, json).unwrap()[0].default_cache_duration, Duration::from_secs(6 * 3600));
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place_and_no_value_of_a_variable() {
        for (from, to, expected) in [
            ("kubelet.config.k8s.io/v1", "v2", "p.yaml:1:13: apiVersion: unknown value \"v2\""),
            ("CredentialProviderConfig", "Config", "p.yaml:2:7: kind: unknown value \"Config\""),
            (
                "ecr-credential-provider",
                "../x",
                "p.yaml:4:11: providers[0].name: \"../x\" is not the name of a program",
            ),
            (
                "ecr-credential-provider",
                "optional",
                "p.yaml:20:12: providers[2].name: provider \"optional\" is given twice",
            ),
            (
                "\"12h\"",
                "soon",
                "p.yaml:8:27: providers[0].defaultCacheDuration: \"soon\" is not a duration (for example",
            ),
            (
                "    matchImages: [gcr.io, \"*.pkg.dev/a\"]\n",
                "",
                "p.yaml:14:5: providers[1].matchImages: required key is missing",
            ),
            ("[gcr.io, \"*.pkg.dev/a\"]", "[]", "p.yaml:15:18: providers[1].matchImages: must not be empty"),
            ("AWS_PROFILE", "A=B", "p.yaml:12:15: providers[0].env[0].name: not the name of an environment variable"),
            ("value: hunter2", "value: [hunter2]", "p.yaml:13:16: providers[0].env[0].value: expected a string"),
            ("[get-credentials]", "get", "p.yaml:10:11: providers[0].args: expected an array"),
        ] {
            let problems = kubelet_providers("p.yaml", &EXAMPLE.replacen(from, to, 1)).unwrap_err();
            let shown = problems.to_string();
            assert!(shown.starts_with(expected) && !shown.contains("hunter2"), "{shown}");
        }
        assert!(kubelet_providers("p.yaml", "").is_err());
    }
}
