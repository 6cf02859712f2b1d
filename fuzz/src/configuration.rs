//! The configuration in its three formats: what is taken means the same when it is shown and read again, and what is
//! not is told in one printable line for each problem.

use ratify::config::{
    self, Asks, Config, KeyMaterial, Mode, Problems, RegistryScopes, TrustPolicySource, VerifierKind,
};
use ratify::limits;
use serde_json::{Value, json};

use super::assert_one_line;

/// A configuration in TOML.
pub fn config_toml(data: &[u8]) -> bool {
    configuration("config.toml", data)
}

/// A configuration in JSON.
pub fn config_json(data: &[u8]) -> bool {
    configuration("config.json", data)
}

/// A configuration in YAML.
pub fn config_yaml(data: &[u8]) -> bool {
    configuration("config.yaml", data)
}

fn configuration(file: &str, data: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(data) else { return false };
    match config::parse(file, text, &environment) {
        Ok(config) => {
            assert_shown(&config);
            true
        }
        Err(problems) => {
            assert_told(file, &problems);
            false
        }
    }
}

/// A trust policy document in a file of its own: what is taken means the same inside a configuration, and no repository
/// is in two of its statements.
pub fn trust_policy(data: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(data) else { return false };
    let statements = match config::trust_policy("policy.json", text) {
        Ok(statements) => statements,
        Err(problems) => {
            assert_told("policy.json", &problems);
            return false;
        }
    };
    let mut repositories = Vec::new();
    let mut names: Vec<&str> = statements.iter().map(|statement| statement.name.value.as_str()).collect();
    for statement in &statements {
        match &statement.scopes {
            RegistryScopes::Any => {
                repositories.push("*".to_owned());
                assert!(statement.asks != Asks::Nothing, "nothing is verified anywhere: {statement:?}");
            }
            RegistryScopes::Repositories(found) => repositories.extend(found.iter().map(ToString::to_string)),
        }
    }
    for list in [&mut repositories.iter().map(String::as_str).collect(), &mut names] {
        let count = list.len();
        list.sort_unstable();
        list.dedup();
        assert_eq!(list.len(), count, "{statements:?}");
    }
    let stores = statements
        .iter()
        .flat_map(|statement| statement.stores())
        .map(|store| json!({ "type": store.value.store_type.as_str(), "name": store.value.name, "files": ["/a"] }));
    let mut parameters = json!({ "trustPolicyDoc": serde_json::from_str::<Value>(text).unwrap() });
    let stores: Vec<Value> = stores.collect();
    if !stores.is_empty() {
        parameters["certificates"] = json!(stores);
    }
    let verifiers = json!([{ "name": "a", "type": "notation", "parameters": parameters }]);
    let file = json!({ "executors": [{ "scopes": ["registry.example"], "verifiers": verifiers }] }).to_string();
    if file.len() as u64 > limits::CONFIG_BYTES {
        return true;
    }
    let config = config::parse("config.json", &file, &|_| None).unwrap_or_else(|problems| panic!("{problems}\n{file}"));
    assert_shown(&config);
    let Mode::Enforce(checks) = &config.executors[0].mode else { panic!("{config:?}") };
    let VerifierKind::Notation(notation) = &checks.verifiers[0].kind else { panic!("no notation verifier") };
    let TrustPolicySource::Statements(inside) = &notation.policy else { panic!("{notation:?}") };
    assert_eq!(serde_json::to_string(inside).unwrap(), serde_json::to_string(&statements).unwrap());
    true
}

/// What is shown has no variables left.
fn assert_shown(config: &Config) {
    let (toml, json) = (config::to_toml(config).unwrap(), config::to_json(config).unwrap());
    // YAML takes fewer characters as they are (YAML 1.2.2, section 5.1).
    let is_yaml = !json.contains(|c: char| c.is_control() && c != '\n' || matches!(c, '\u{fffe}' | '\u{ffff}'));
    let yaml = is_yaml.then_some(("config.yaml", &json));
    for (file, shown) in [("config.toml", &toml), ("config.json", &json)].into_iter().chain(yaml) {
        let again = config::parse(file, shown, &|_| None).unwrap_or_else(|problems| panic!("{problems}\n{shown}"));
        assert_eq!(meaning(&again), meaning(config), "{file}");
    }
}

/// A configuration without the places of its parts.
fn meaning(config: &Config) -> String {
    serde_json::to_string(config).unwrap()
}

fn assert_told(file: &str, problems: &Problems) {
    let lines = problems.lines();
    assert!((1..=limits::CONFIG_PROBLEMS + 1).contains(&lines.len()), "{} lines", lines.len());
    for line in lines {
        assert!(line.starts_with(&format!("{file}:")), "a line of its own: {line:?}");
        assert_one_line(&line);
    }
}

fn environment(name: &str) -> Option<String> {
    match name {
        "A" => Some("a".to_owned()),
        "EMPTY" => Some(String::new()),
        "VARIABLE" => Some("${A}".to_owned()),
        "LONG" => Some("x".repeat(limits::EXPANDED_BYTES - 1)),
        _ => None,
    }
}

/// `${NAME}` in a string: what was put in is put in once, and stays what it is when it is shown.
pub fn expansion(data: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(data) else { return false };
    let parameters = json!({ "certificates": [{ "files": [format!("/{text}")] }] });
    let verifiers = json!([{ "name": "a", "type": "notation", "parameters": parameters }]);
    let file = json!({ "executors": [{ "scopes": ["registry.example"], "verifiers": verifiers }] });
    let config = match config::parse("config.json", &file.to_string(), &environment) {
        Ok(config) => config,
        Err(problems) => {
            assert_told("config.json", &problems);
            return false;
        }
    };
    let path = path(&config);
    assert!(path.len() <= limits::EXPANDED_BYTES);
    if !text.contains("${") {
        assert_eq!(path, format!("/{text}"));
    } else if !["${A}", "${EMPTY}", "${VARIABLE}", "${LONG}"].iter().any(|variable| text.contains(variable)) {
        assert_eq!(path, format!("/{}", text.replace("$${", "${")));
    }
    assert_shown(&config);
    true
}

/// The one path in a configuration.
fn path(config: &Config) -> String {
    let Mode::Enforce(checks) = &config.executors[0].mode else { panic!("{config:?}") };
    let VerifierKind::Notation(notation) = &checks.verifiers[0].kind else { panic!("no notation verifier") };
    let KeyMaterial::Path(path) = &notation.stores[0].material[0] else { panic!("{config:?}") };
    path.value.to_str().unwrap().to_owned()
}
