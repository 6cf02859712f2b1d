//! The schema against the decoder: it refuses nothing that is taken, takes nothing that is refused, unless no schema
//! can say why, and has the same keys.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

use serde_json::{Value, json};

use super::*;

/// What the decoder refuses and no schema can: it is about other places, about sums, or about variables.
const UNSAYABLE: [&str; 38] = [
    "nothing defines the trust store",
    "no trust store vouches for signers",
    "no key management provider is named",
    "must stand alone",
    "would be shown to any",
    "is taken by",
    "no verifier is named",
    "no rule names verifier",
    ".threshold: ",
    "rules, the limit is",
    "deeper than the limit",
    "is above the limit",
    "less than 1m",
    "longer than maxTrustAge",
    "shorter than refreshInterval",
    "\"99999999999999999999y\" is not a duration",
    "environment variable",
    "longer than the limit",
    "below the least",
    "is given too: leave one of them out",
    "without its issuer",
    "without an identity",
    "certificateExtensions alone name nobody",
    "trusts nobody",
    "both keys and an identity",
    "keys have no certificates",
    "in two ways: keep one",
    "names nobody",
    "both certificateIdentity and certificateSubject",
    "have no subject that names the signer",
    "name no OIDC issuer",
    "must vouch for the signature",
    "no trusted root is named",
    "only the keys of a provider have versions",
    "a version needs the key's name",
    "provider have no names",
    "has no ",
    "has no scopes either",
];

/// Checks that the schema takes a value that has no problems, and refuses one that has any that it can know.
pub fn judges(value: &Value, problems: &[String]) {
    static SCHEMA: LazyLock<Value> = LazyLock::new(super::super::schema);
    let taken = accepts(&SCHEMA, &SCHEMA, value);
    if problems.is_empty() {
        assert!(taken, "the schema refuses what the decoder takes: {value:#}");
    }
    // What variables come to is not its business.
    let unsayable = |problem: &String| UNSAYABLE.iter().any(|words| problem.contains(words));
    if !problems.iter().all(unsayable) && !value.to_string().contains("${") {
        assert!(!taken, "the schema takes what the decoder refuses: {problems:#?}\n{value:#}");
    }
}

/// Whether a schema takes a value. Knows the words of JSON Schema that ours uses, and no others.
fn accepts(root: &Value, schema: &Value, value: &Value) -> bool {
    let Value::Object(words) = schema else { return schema == true };
    let integer = |value: &Value| value.as_i64();
    words.iter().all(|(word, what)| match word.as_str() {
        "$schema" | "$defs" | "title" | "description" | "default" => true,
        "$ref" => accepts(root, root.pointer(what.as_str().unwrap().strip_prefix('#').unwrap()).unwrap(), value),
        "type" => match what.as_str().unwrap() {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64(),
            other => panic!("{other}"),
        },
        "enum" => what.as_array().unwrap().contains(value),
        "const" => what == value,
        "not" => !accepts(root, what, value),
        "allOf" => what.as_array().unwrap().iter().all(|schema| accepts(root, schema, value)),
        "anyOf" => what.as_array().unwrap().iter().any(|schema| accepts(root, schema, value)),
        "pattern" => value.as_str().is_none_or(|text| fits(what.as_str().unwrap(), text)),
        "minLength" => value.as_str().is_none_or(|text| text.chars().count() as u64 >= what.as_u64().unwrap()),
        "maxLength" => value.as_str().is_none_or(|text| text.chars().count() as u64 <= what.as_u64().unwrap()),
        "minimum" => integer(value).is_none_or(|value| value >= what.as_i64().unwrap()),
        "maximum" => integer(value).is_none_or(|value| value <= what.as_i64().unwrap()),
        "minItems" => value.as_array().is_none_or(|items| items.len() as u64 >= what.as_u64().unwrap()),
        "maxProperties" => value.as_object().is_none_or(|table| table.len() as u64 <= what.as_u64().unwrap()),
        "maxItems" => value.as_array().is_none_or(|items| items.len() as u64 <= what.as_u64().unwrap()),
        "items" => value.as_array().is_none_or(|items| items.iter().all(|item| accepts(root, what, item))),
        "required" => value
            .as_object()
            .is_none_or(|table| what.as_array().unwrap().iter().all(|key| table.contains_key(key.as_str().unwrap()))),
        "properties" => value.as_object().is_none_or(|table| {
            table.iter().all(|(key, value)| what.get(key).is_none_or(|schema| accepts(root, schema, value)))
        }),
        "additionalProperties" => value.as_object().is_none_or(|table| {
            let known = |key: &String| words.get("properties").is_some_and(|known| known.get(key).is_some());
            table.iter().all(|(key, value)| known(key) || accepts(root, what, value))
        }),
        "propertyNames" => value
            .as_object()
            .is_none_or(|table| table.keys().all(|key| accepts(root, what, &Value::String(key.clone())))),
        "minProperties" => value.as_object().is_none_or(|table| table.len() as u64 >= what.as_u64().unwrap()),
        other => panic!("{other} is not a word of the checker"),
    })
}

/// Whether a text fits a pattern.
fn fits(pattern: &str, text: &str) -> bool {
    static COMPILED: LazyLock<Mutex<HashMap<String, regex::Regex>>> = LazyLock::new(Mutex::default);
    let mut compiled = COMPILED.lock().unwrap();
    let compiled = compiled.entry(pattern.to_owned()).or_insert_with(|| regex::Regex::new(pattern).unwrap());
    compiled.is_match(text)
}

/// A configuration with every key in it.
fn full() -> Value {
    let stores = json!([{ "type": "registry-store", "parameters": {
                "plainHttp": true,
                "configPath": ["/a:/b", "/c"],
                "caPem": "PEM",
                "caBase64": "UEVN",
                "userAgent": "me",
                "maxBlobBytes": 1,
                "maxManifestBytes": 1,
                "allowCosignTag": true,
                "credentials": [
                    { "provider": "dockerConfig", "configPath": "/a" },
                    { "provider": "kubelet", "config": "/a", "binDir": "/b" },
                    { "provider": "static", "username": "u", "password": "p", "registries": ["a.io", "b.io:5000"] },
                    { "provider": "static", "username": "u", "passwordFile": "/p" },
                    { "provider": "static", "username": "", "password": "" },
                    { "provider": "azure", "clientID": "c", "tenantID": "t", "endpoints": ["*.azurecr.io"] },
                ],
                "allowedRealms": ["auth.io", "https://auth.io/token"],
            } }]);
    let parameters = json!({
        "certificates": [
            { "type": "ca", "name": "acme", "files": ["/a"], "inline": "PEM" },
            { "type": "tsa", "inline": { "certs": "PEM" } },
            { "azurekeyvault": {
                "vaultURL": "https://acme.vault.azure.net", "clientID": "c", "tenantID": "t",
                "refreshInterval": "1h", "maxTrustAge": "2h",
                "certificates": [{ "name": "a", "version": "1" }, { "name": "b", "versions": 2 }],
            } },
            { "azurekeyvault": { "vaultURI": "https://acme.vault.azure.net", "certificates": [{ "name": "a" }] } },
        ],
        "verificationCerts": ["/a"],
        "verificationCertStores": { "ca": { "x": ["ns/k"] }, "tsa": { "y": ["ns/k"] }, "signingAuthority": {} },
        "trustedIdentities": ["*"],
        "signatureVerification": signature_verification(),
        "scopes": ["a.io/b", "c.io/d"],
        "pluginConfig": { "region": "eu" },
        "userMetadata": { "io.acme.build": "1" },
        "allowSkip": true,
    });
    json!({
        "unmatched": "allow",
        "access": { "uids": [1000] },
        "remember": { "allow": "1h", "deny": "0", "referrers": "1.5s", "staleReferrers": "1h" },
        "log": { "format": "json", "level": "trace" },
        "proxy": { "https": "http://u:p@proxy:3128", "http": "proxy", "no": ["a:1", ".b", "10.0.0.0/8", "[::1]:2"] },
        "cache": { "path": "/var/cache/ratifyd", "disk": 0, "memory": 1 },
        "metrics": { "listen": "127.0.0.1:9464" },
        "revocation": { "fetch": true, "ocspTimeout": "1s", "crlTimeout": "30s", "maxCrlBytes": 1, "crlFolder": "/c" },
        "keyManagementProviders": [
            { "name": "ns/v", "type": "azurekeyvault", "parameters": {
                "vaultURI": "https://acme.vault.azure.net", "certificates": [{ "name": "a" }],
            } },
            { "name": "ns/k", "type": "inline", "parameters": { "contentType": "certificate", "value": "PEM" } },
        ],
        "plugins": {
            "path": "/plugins", "kept": "/kept", "user": "65534", "socket": "/run/plugins.sock", "timeout": "1s", "sandbox": "strict",
        },
        "executors": [{
            "scopes": ["a.io"],
            "mode": "audit",
            "digests": [format!("sha256:{}", "0a".repeat(32))],
            "concurrency": 3,
            "verifiers": [{
                "name": "v",
                "type": "notation",
                "parameters": parameters,
            }],
            "stores": stores,
            "policyEnforcer": { "type": "threshold-policy", "parameters": { "policy": {
                "threshold": 1,
                "rules": [{ "verifierName": "v", "threshold": 1, "rules": [{ "verifierName": "v" }] }],
            } } },
        }],
    })
}

fn signature_verification() -> Value {
    json!({
        "level": "permissive",
        "override": { "authenticity": "log", "authenticTimestamp": "enforce", "expiry": "log", "revocation": "skip" },
        "verifyTimestamp": "afterCertExpiry",
    })
}

/// The same with the other type of store, and a trust policy document.
fn with_document() -> Value {
    let mut full = full();
    full["executors"][0]["stores"][0] = json!({ "type": "filesystem-oci-store", "parameters": { "path": "/a" } });
    let statement = |name: &str, scopes: Value, verification: Value| json!({ "name": name, "registryScopes": scopes, "signatureVerification": verification });
    let mut first = statement("first", json!(["a.io/b", "acme/web"]), signature_verification());
    first["trustStores"] = json!(["ca:acme", "tsa:stamps"]);
    first["trustedIdentities"] = json!(["*"]);
    let mut all = first.clone();
    all["name"] = json!("all");
    all["registryScopes"] = json!(["*"]);
    let mut unsigned = statement("unsigned", json!(["a.io/c"]), json!({ "level": "skip", "override": {} }));
    unsigned["trustStores"] = json!([]);
    unsigned["trustedIdentities"] = json!(null);
    full["executors"][0]["verifiers"][0]["parameters"] = json!({
        "trustPolicyDoc": { "version": "1.0", "trustPolicies": [first, all, unsigned] },
        "certificates": [{ "type": "tsa", "name": "stamps", "files": ["/a"] }],
        "verificationCertStores": { "acme": ["ns/k"] },
    });
    full
}

/// The smallest one whose trust policy is on disk.
fn on_disk(parameters: Value) -> Value {
    let verifier = json!({ "name": "v", "type": "notation", "parameters": parameters });
    json!({ "executors": [{ "scopes": ["a.io"], "verifiers": [verifier] }] })
}

/// One with a Cosign verifier.
fn with_cosign(parameters: Value) -> Value {
    let vault = |entries: Value| {
        let mut vault = json!({ "vaultURL": "https://acme.vault.azure.net", "clientID": "c", "tenantID": "t" });
        vault.as_object_mut().unwrap().extend(entries.as_object().unwrap().clone());
        vault
    };
    json!({
        "keyManagementProviders": [
            { "name": "ns/v", "type": "azurekeyvault", "parameters": vault(json!({
                "certificates": [{ "name": "a" }], "keys": [{ "name": "k", "version": "1" }, { "name": "l", "versions": 2 }],
            })) },
            { "name": "ns/k", "type": "inline", "parameters": { "contentType": "key", "value": "PEM" } },
        ],
        "executors": [{
            "scopes": ["a.io"],
            "verifiers": [{ "name": "v", "type": "cosign", "parameters": parameters }],
            "stores": [{ "type": "registry-store", "parameters": { "cosignEnabled": true } }],
        }],
    })
}

/// A verifier and a store that are plugins, with every key in them.
fn with_plugin() -> Value {
    let parameters = json!({
        "plugin": "sbom",
        "source": {
            "artifact": "a.io/plugins/sbom:v1", "trust": "plugins", "allowUnverified": false, "title": "sbom",
            "refreshInterval": "1h", "maxBytes": 1, "authProvider": { "provider": "dockerConfig", "configPath": "/a" },
            "store": { "plainHttp": true },
        },
        "artifactTypes": ["application/spdx+json"],
        "config": { "text": "x", "list": [1, { "deep": true }] },
        "environment": ["HTTPS_PROXY"],
        "network": true,
    });
    let verifiers = json!([{ "name": "v", "type": "plugin", "parameters": parameters.clone() }]);
    let mut parameters = parameters;
    parameters.as_object_mut().unwrap().remove("artifactTypes");
    let stores = json!([{ "type": "plugin", "parameters": parameters }]);
    json!({ "executors": [{
        "name": "plugins", "scopes": ["a.io"], "pluginTypes": ["a/b"], "verifiers": verifiers, "stores": stores,
    }] })
}

/// Parameters of a Cosign verifier with every key in them.
fn cosign() -> Value {
    let vault = json!({ "vaultURL": "https://acme.vault.azure.net", "keys": [{ "name": "k" }] });
    json!({
        "trustedRoots": [
            { "name": "public", "file": "/r.json" },
            { "name": "known", "tuf": "public-good" },
            { "name": "mirrored", "tuf": { "instance": "github", "mirror": "/m" } },
            { "name": "own", "tuf": {
                "root": "/root.json", "mirror": "https://tuf.a.io/r", "target": "keys/trusted_root.json",
                "refreshInterval": "1h", "maxTrustAge": "2h",
            } },
        ],
        "dockerReference": "exact",
        "remap": [{ "from": "mirror.io", "to": "a.io/*" }],
        "signatureRepository": [{ "from": "a.io", "to": "a.io/signatures" }],
        "maxSignatures": 5,
        "predicateTypes": ["https://spdx.dev/Document"],
        "trustPolicies": [
            {
                "version": "1.0.0",
                "name": "a",
                "scopes": ["a.io/x"],
                "keys": { "name": "k", "files": ["/k"], "inline": { "keys": "PEM" }, "azurekeyvault": vault.clone() },
                "ignoreTLog": true,
                "ignoreObserverTimestamps": true,
                "annotations": { "a": "b" },
            },
            {
                "name": "b",
                "scopes": ["a.io/y"],
                "keys": [
                    { "name": "k", "file": "/k" }, { "inline": "PEM" }, { "azurekeyvault": vault },
                    { "provider": "ns/k" }, { "provider": "ns/v", "name": "k", "version": "1" },
                ],
                "tLogVerify": false,
            },
            {
                "scopes": ["a.io/z"],
                "certificateIdentity": "a@b.io",
                "certificateOIDCIssuer": "https://issuer.io",
                "certificateExtensions": { "repository": "acme/web" },
                "ignoreCTLog": true,
                "trustedRoots": ["public"],
            },
            {
                "scopes": ["a.io/w"],
                "keyless": { "ctLogVerify": true, "certificateIdentityRegExp": "a.*", "certificateOIDCIssuerRegExp": "b.*" },
            },
            {
                "scopes": ["a.io/v"],
                "certificateChain": { "roots": ["/r"], "intermediates": ["/i"] },
                "identities": [{ "certificateSubject": "CN=x" }, { "certificateIdentityRegex": "a.*" }],
                "ignoreTLog": true,
            },
        ],
    })
}

/// The pointers to a value and to all that is in it.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(table) => table.iter().for_each(|(key, value)| pointers(value, &format!("{at}/{key}"), found)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| pointers(item, &format!("{at}/{index}"), found));
        }
        _ => {}
    }
}

fn all_pointers(value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    pointers(value, "", &mut found);
    found
}

/// The problems of a value, without their places.
fn problems_of(value: &Value) -> Vec<String> {
    match parse("c.json", &formats::json(value), &environment) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.lines(),
    }
}

#[test]
fn the_published_schema_is_the_one_of_this_version() {
    let published = include_str!("../../../docs/config.schema.json");
    let current = format!("{}\n", formats::json(&super::super::schema()));
    assert!(published == current, "run: ratifyctl config schema > docs/config.schema.json");
}

#[test]
fn the_schema_and_the_decoder_agree_on_every_change_of_a_full_configuration() {
    agree_on_every_change(&full());
}

#[test]
fn the_schema_and_the_decoder_agree_on_every_change_of_one_with_a_layout_and_a_trust_policy() {
    agree_on_every_change(&with_document());
}

#[test]
fn the_schema_and_the_decoder_agree_on_every_change_of_one_with_its_trust_policy_on_disk() {
    agree_on_every_change(&on_disk(json!({ "notationConfig": "/etc/notation", "allowSkip": true })));
    agree_on_every_change(&on_disk(json!({ "trustPolicyFile": "/p.json", "certificates": [{ "files": ["/a"] }] })));
}

#[test]
fn the_schema_and_the_decoder_agree_on_every_change_of_one_with_a_cosign_verifier() {
    agree_on_every_change(&with_cosign(cosign()));
    agree_on_every_change(&with_cosign(json!({ "key": "/k" })));
    agree_on_every_change(&with_plugin());
}

#[test]
fn the_schema_and_the_decoder_agree_on_which_keys_of_a_trust_policy_go_together() {
    let parameters = json!({
        "notationConfig": "/n", "trustPolicyDoc": with_document()["executors"][0]["verifiers"][0]["parameters"]["trustPolicyDoc"],
        "trustPolicyFile": "/p", "certificates": [{ "files": ["/a"] }], "verificationCerts": ["/a"],
        "trustedIdentities": ["*"], "signatureVerification": { "level": "skip" }, "scopes": ["a.io/b"],
    });
    let keys: Vec<&String> = parameters.as_object().unwrap().keys().collect();
    for picked in 0..1_u32 << keys.len() {
        let of = |(index, key): (usize, &&String)| {
            (picked >> index & 1 == 1).then(|| ((*key).clone(), parameters[key.as_str()].clone()))
        };
        let value = on_disk(Value::Object(keys.iter().enumerate().filter_map(of).collect()));
        judges(&value, &problems_of(&value));
    }
}

fn agree_on_every_change(full: &Value) {
    assert_eq!(problems_of(full), [""; 0]);
    judges(full, &[]);
    let others = [
        json!(null),
        json!(true),
        json!(0),
        json!(1),
        json!(-1),
        json!(65),
        json!(1_u64 << 33),
        json!(1.5),
        json!(""),
        json!("x"),
        json!("*"),
        json!("allow"),
        json!("deny"),
        json!("5 m"),
        json!("5"),
        json!("/"),
        json!("${DIR}"),
        json!("PRIVATE KEY-----"),
        json!("caf\u{e9} 1"),
        json!([]),
        json!([1]),
        json!(["x"]),
        json!(["x", "x"]),
        json!([[]]),
        json!([{}]),
        json!({}),
        json!({"x": 1}),
    ];
    for pointer in all_pointers(full) {
        for other in &others {
            let mut changed = full.clone();
            *changed.pointer_mut(&pointer).unwrap() = other.clone();
            judges(&changed, &problems_of(&changed));
        }
        let (parent, last) = pointer.rsplit_once('/').unwrap_or_default();
        let mut shorter = full.clone();
        match shorter.pointer_mut(parent).unwrap() {
            Value::Object(table) => drop(table.remove(last)),
            Value::Array(items) => drop(items.remove(last.parse().unwrap())),
            _ => {}
        }
        judges(&shorter, &problems_of(&shorter));
    }
}

#[test]
fn the_schema_has_the_keys_that_the_decoder_asks_for_and_no_other() {
    let schema = super::super::schema();
    let mut visited = BTreeSet::new();
    let files =
        [full(), with_document(), on_disk(json!({ "notationConfig": "/n" })), with_cosign(cosign()), with_plugin()];
    let tables = files.into_iter().flat_map(|full| {
        let pointers = all_pointers(&full).into_iter();
        pointers.map(|pointer| (full.clone(), pointer)).collect::<Vec<_>>()
    });
    for (full, pointer) in tables.filter(|(full, pointer)| full.pointer(pointer).unwrap().is_object()) {
        let mut changed = full.clone();
        // What takes any key knows none.
        if [
            "/pluginConfig",
            "/userMetadata",
            "/verificationCertStores",
            "/verificationCertStores/ca",
            "/annotations",
            "/certificateExtensions",
            "/parameters/config",
        ]
        .iter()
        .any(|any| pointer.contains(any))
        {
            continue;
        }
        changed.pointer_mut(&pointer).unwrap()["zzzzzzzzzzzz"] = json!(1);
        let shown = problems_of(&changed);
        let known = shown.iter().find_map(|line| line.split_once("zzzzzzzzzzzz: unknown key (known here: "));
        let known: Vec<&str> =
            known.unwrap_or_else(|| panic!("{shown:?}")).1.trim_end_matches(')').split(", ").collect();
        let (table, _) = pointer.split('/').skip(1).fold((&schema, &full), |(at, value), step| {
            let (next, value) = match step.parse::<usize>() {
                Ok(index) => (&at["items"], &value[index]),
                Err(_) => (&at["properties"][step], &value[step]),
            };
            (table_of(&schema, next, value), value)
        });
        let keys: Vec<&str> = table["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, known, "{pointer}");
        visited.insert(table.to_string());
    }
    let all = all_pointers(&schema);
    let tables = all.iter().map(|pointer| schema.pointer(pointer).unwrap());
    let tables: BTreeSet<_> = tables
        .filter(|at| at.get("additionalProperties") == Some(&json!(false)) && at.get("minProperties").is_none())
        .map(Value::to_string)
        .collect();
    assert_eq!(visited, tables, "a table of the schema that no test looks at");
}

/// The schema of a table or array, behind references and those alternatives that take it.
fn table_of<'a>(root: &'a Value, schema: &'a Value, value: &Value) -> &'a Value {
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        return table_of(root, root.pointer(&reference[1..]).unwrap(), value);
    }
    if schema.get("type").is_some_and(|kind| kind == "object" || kind == "array") {
        return schema;
    }
    let alternatives = schema.get("anyOf").and_then(Value::as_array).into_iter().flatten();
    alternatives
        .filter(|alternative| accepts(root, alternative, value))
        .map(|alternative| table_of(root, alternative, value))
        .find(|found| found["type"] == "object" || found["type"] == "array")
        .unwrap_or(schema)
}

#[test]
fn defaults_of_the_schema_are_those_of_the_decoder() {
    // Each default, written out where it is the default, changes nothing.
    let schema = super::super::schema();
    let least: Value = toml::from_str(&executor("stores = [{ type = \"registry-store\", parameters = {} }]")).unwrap();
    let meaning = |value: &Value| {
        let text = formats::json(value);
        formats::meaning(&parse("c.json", &text, &environment).unwrap_or_else(|problems| panic!("{problems}\n{text}")))
    };
    let executor = &schema["$defs"]["executor"]["properties"];
    let store = &schema["$defs"]["registryStore"]["properties"];
    let verifier = &schema["$defs"]["verifier"]["anyOf"][0]["properties"]["parameters"]["properties"];
    let certificates = &schema["$defs"]["certificates"]["properties"];
    let mut count = 0;
    for (at, properties) in [
        ("", &schema["properties"]),
        ("/access", &schema["properties"]["access"]["properties"]),
        ("/remember", &schema["properties"]["remember"]["properties"]),
        ("/log", &schema["properties"]["log"]["properties"]),
        ("/cache", &schema["properties"]["cache"]["properties"]),
        ("/metrics", &schema["properties"]["metrics"]["properties"]),
        ("/revocation", &schema["properties"]["revocation"]["properties"]),
        ("/plugins", &schema["properties"]["plugins"]["properties"]),
        ("/executors/0", executor),
        ("/executors/0/stores/0/parameters", store),
        ("/executors/0/verifiers/0/parameters", verifier),
        ("/executors/0/verifiers/0/parameters/certificates/0", certificates),
    ] {
        for (key, property) in properties.as_object().unwrap() {
            let Some(default) = property.get("default") else { continue };
            let mut written = least.clone();
            if written.pointer(at).is_none() {
                written[&at[1..]] = json!({});
            }
            written.pointer_mut(at).unwrap()[key] = default.clone();
            assert_eq!(meaning(&written), meaning(&least), "{at}/{key}");
            count += 1;
        }
    }
    assert_eq!(count, 39, "a default that no test looks at");
}

#[test]
fn defaults_of_a_cosign_verifier_in_the_schema_are_those_of_the_decoder() {
    let schema = super::super::schema();
    let policy = json!({ "certificateIdentity": "a@b.io", "certificateOIDCIssuer": "https://issuer.io" });
    let roots = json!([{ "name": "r", "tuf": { "instance": "github" } }]);
    let least = with_cosign(json!({ "trustPolicies": [policy], "trustedRoots": roots }));
    let meaning = |value: &Value| {
        let text = formats::json(value);
        formats::meaning(&parse("c.json", &text, &environment).unwrap_or_else(|problems| panic!("{problems}\n{text}")))
    };
    let mut count = 0;
    // What is written already would be no default.
    let is_written = |key: &str| key == "trustedRoots";
    for (at, properties) in [
        ("", &schema["$defs"]["verifier"]["anyOf"][1]["properties"]["parameters"]["properties"]),
        ("/trustPolicies/0", &schema["$defs"]["cosignPolicy"]["properties"]),
        ("/trustedRoots/0/tuf", &schema["$defs"]["tuf"]["anyOf"][1]["properties"]),
    ] {
        for (key, property) in properties.as_object().unwrap() {
            let Some(default) = property.get("default").filter(|_| !is_written(key)) else { continue };
            let mut written = least.clone();
            let at = format!("/executors/0/verifiers/0/parameters{at}");
            written.pointer_mut(&at).unwrap()[key] = default.clone();
            assert_eq!(meaning(&written), meaning(&least), "{at}/{key}");
            count += 1;
        }
    }
    assert_eq!(count, 8, "a default that no test looks at");
}
