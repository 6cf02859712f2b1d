//! One model in three formats: every case of the other tests is written as JSON and as YAML too, and must come to the
//! same configuration or to the same problems.

use serde_json::Value;

use super::*;

/// Checks that a text of TOML with problems has the same ones, places aside, in JSON and YAML.
pub fn say_the_same(text: &str, problems: &Problems) {
    // What is no TOML has no counterpart, and what is too large has one that is not.
    let Ok(value) = toml::from_str::<Value>(text) else { return };
    if problems.lines().iter().any(|line| line.contains("larger than the limit")) {
        return;
    }
    let expected = without_places(problems);
    schema::judges(&value, &expected);
    for (file, text) in [("c.json", json(&value)), ("c.yaml", yaml(&value))] {
        let problems = match parse(file, &text, &environment) {
            Ok(_) => panic!("no problem in {file}:\n{text}"),
            Err(problems) => problems,
        };
        assert_eq!(without_places(&problems), expected, "{problems}\nin\n{text}");
    }
}

/// Checks that a good text of TOML means the same in JSON and YAML.
pub fn mean_the_same(text: &str, config: &Config) {
    let value = toml::from_str::<Value>(text).unwrap();
    schema::judges(&value, &[]);
    for (file, text) in [("c.json", json(&value)), ("c.yaml", yaml(&value))] {
        let other = parse(file, &text, &environment).unwrap_or_else(|problems| panic!("{problems}\nin\n{text}"));
        assert_eq!(meaning(&other), meaning(config), "{file}:\n{text}");
    }
}

/// The configuration as bytes, without places.
pub fn meaning(config: &Config) -> String {
    serde_json::to_string(config).unwrap()
}

/// Keys, messages and hints, sorted.
fn without_places(problems: &Problems) -> Vec<String> {
    let line = |line: String| {
        let rest = line.splitn(4, ':').nth(3).unwrap().to_owned();
        match rest.rsplit_once(" in line ") {
            Some((rest, _)) => rest.to_owned(),
            None => rest,
        }
    };
    let mut lines: Vec<_> = problems.lines().into_iter().map(line).collect();
    lines.sort();
    lines
}

pub fn json(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap()
}

/// YAML as people write it: blocks, and quotes only where they are needed.
pub fn yaml(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Object(entries) if !entries.is_empty() => block(value, 0, &mut text),
        _ => text.push_str(&json(value)),
    }
    text
}

fn block(value: &Value, indent: usize, text: &mut String) {
    let margin = " ".repeat(indent);
    match value {
        Value::Object(entries) if !entries.is_empty() => {
            text.push('\n');
            for (key, value) in entries {
                // Longer than a simple key may be.
                let explicit = if key.len() > 1000 { ("? ", format!("\n{margin}")) } else { ("", String::new()) };
                text.push_str(&format!("{margin}{}{}{}:", explicit.0, scalar(key), explicit.1));
                block(value, indent + 2, text);
            }
        }
        Value::Array(values) if !values.is_empty() => {
            text.push('\n');
            for value in values {
                text.push_str(&format!("{margin}-"));
                block(value, indent + 2, text);
            }
        }
        Value::String(string) => text.push_str(&format!(" {}\n", scalar(string))),
        other => text.push_str(&format!(" {other}\n")),
    }
}

fn scalar(string: &str) -> String {
    let plain = string.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '$')
        && !["true", "false", "null"].contains(&string)
        && string.chars().all(|c| c.is_ascii_alphanumeric() || "/._-$".contains(c));
    if plain { string.to_owned() } else { serde_json::to_string(string).unwrap() }
}

#[test]
fn the_ending_tells_the_format() {
    let toml = executor("");
    let value = toml::from_str(&toml).unwrap();
    for (file, text) in [
        ("/etc/c.toml", toml.clone()),
        ("/run/credentials/ratifyd.service/config", toml.clone()),
        ("c.conf", toml),
        ("c.json", json(&value)),
        ("c.yaml", yaml(&value)),
        ("c.yml", yaml(&value)),
        // JSON without surrogate escapes is YAML.
        ("c.yml", json(&value)),
    ] {
        parse(file, &text, &environment).unwrap_or_else(|problems| panic!("{problems}\nin\n{text}"));
    }
    for (file, text) in
        [("c.json", yaml(&value)), ("c.toml", json(&value)), ("c.toml", yaml(&value)), ("c", json(&value))]
    {
        assert!(parse(file, &text, &environment).is_err(), "{file}");
    }
}

#[test]
fn a_text_of_any_format_is_refused_past_the_limit() {
    for file in ["c.toml", "c.json", "c.yaml"] {
        let value = toml::from_str(&executor("")).unwrap();
        let text = if file == "c.toml" { executor("") } else { json(&value) };
        let filler = usize::try_from(limits::CONFIG_BYTES).unwrap() - text.len();
        let full = format!("{text}{}", "\n".repeat(filler));
        parse(file, &full, &environment).unwrap();
        let problems = parse(file, &format!("{full}\n"), &environment).unwrap_err();
        assert_eq!(problems.to_string(), format!("{file}:1:1: larger than the limit of 1048576 bytes"));
    }
}

#[test]
fn problems_of_every_format_come_with_their_places() {
    let json = "{\n  \"unmached\": \"deny\",\n  \"executors\": [\n    {\"scopes\": [\"é.io\", 7], \"mode\": null},\n    3\n  ]\n}";
    let yaml = "unmached: deny\nexecutors:\n  - scopes: [é.io, 7]\n    mode:\n  - 3\n";
    let problems = |file, text| parse(file, text, &environment).unwrap_err().lines();
    assert_eq!(
        problems("c.json", json),
        [
            "c.json:2:3: unmached: unknown key (did you mean \"unmatched\"?)",
            "c.json:4:25: executors[0].scopes[1]: expected a string, found an integer",
            "c.json:4:37: executors[0].mode: expected a string, found null",
            "c.json:5:5: executors[1]: expected a table, found an integer",
        ]
    );
    assert_eq!(
        problems("c.yaml", yaml),
        [
            "c.yaml:1:1: unmached: unknown key (did you mean \"unmatched\"?)",
            "c.yaml:3:20: executors[0].scopes[1]: expected a string, found an integer",
            "c.yaml:4:9: executors[0].mode: expected a string, found null",
            "c.yaml:5:5: executors[1]: expected a table, found an integer",
        ]
    );
}

#[test]
fn words_that_yaml_1_1_took_for_booleans_are_strings() {
    let text = yaml(&toml::from_str(&store("plainHttp = true")).unwrap());
    assert!(text.contains("plainHttp: true"), "{text}");
    for word in ["yes", "on", "y", "Yes", "ON"] {
        let problems = parse("c.yaml", &text.replace("plainHttp: true", &format!("plainHttp: {word}")), &environment);
        let shown = problems.unwrap_err().to_string();
        assert!(shown.ends_with("plainHttp: expected a boolean, found a string"), "{shown}");
    }
}

/// The sample of Ratify v2 itself, unless the folder beside this one is not there.
fn ratify_v2_sample() -> Option<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data/ratify-v2-config/config.json");
    match std::fs::read_to_string(path) {
        Ok(text) => Some(text),
        Err(error) => {
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{path}: {error}");
            eprintln!("passed over: {path}: {error}");
            None
        }
    }
}

#[test]
fn ratify_v2_s_own_config_json_works_unchanged() {
    let Some(text) = ratify_v2_sample() else { return };
    let lines =
        |environment: &dyn Fn(&str) -> Option<String>| parse("config.json", &text, environment).unwrap_err().lines();
    let undefined = "config.json:15:37: executors[0].verifiers[0].parameters.certificates[0].files[0]: environment \
                     variable CERTIFICATE_PATH is not defined (write $${ for a plain ${)";
    assert_eq!(lines(&|_| None), [undefined]);
    let defined = |name: &str| (name == "CERTIFICATE_PATH").then(|| "/etc/trust/ca.pem".to_owned());
    let config = parse("config.json", &text, &defined).unwrap_or_else(|problems| panic!("{problems}"));
    assert!(matches!(checks(&config.executors[0]).verifiers[1].kind, VerifierKind::Cosign(_)));
    let VerifierKind::Notation(notation) = &checks(&config.executors[0]).verifiers[0].kind else {
        panic!("no notation verifier")
    };
    assert_eq!(super::notation::sources(notation), ["ca:ratify /etc/trust/ca.pem"]);
    let TrustPolicySource::Implied(Statement { asks: Asks::Signature { level, identities, .. }, .. }) =
        &notation.policy
    else {
        panic!("{notation:?}")
    };
    assert_eq!((config.executors[0].scopes[0].value.as_str(), identities[0].value.as_str()), ("ghcr.io", "*"));
    assert_eq!(*level, Level::STRICT);
}

/// Pieces of JSON and YAML: well formed, half formed, and wrong.
fn piece() -> impl Strategy<Value = String> {
    let words = "{|}|[|]|,|: |:|\n|\n  |- |? |executors|\"executors\"|scopes: |\"scopes\": |mode|verifiers|\"|'|null|~|1|1.5|true|yes|#|&a |*a|!b |\
                 !!str |<<: |---\n|...\n|%YAML 1.2\n|>\n|-1|\\u12|\\ud800|\u{e9}|\u{feff}|\r\n|\t|${DIR}|0x1";
    let words: Vec<String> = words.split('|').map(str::to_owned).chain(["|\n".to_owned()]).collect();
    prop_oneof![9 => proptest::sample::select(words), 1 => ".{0,8}".prop_map(|text: String| text)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_text_stops_the_readers_and_no_refusal_is_without_a_problem(
        pieces in proptest::collection::vec(piece(), 0..40),
    ) {
        let text = pieces.concat();
        for file in ["c.json", "c.yaml"] {
            if let Err(problems) = parse(file, &text, &environment) {
                prop_assert!(!problems.is_empty());
                for line in problems.lines() {
                    prop_assert!(line.starts_with(file), "{problems}");
                }
            }
        }
    }

    #[test]
    fn a_configuration_with_a_slip_in_it_never_stops_the_readers(at in 0_usize..3000, piece in piece()) {
        let value: Value = toml::from_str(include_str!("../../../packaging/config.toml")).unwrap();
        for (file, mut text) in [("c.json", json(&value)), ("c.yaml", yaml(&value))] {
            let at = (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            text.insert_str(at, &piece);
            if let Err(problems) = parse(file, &text, &environment) {
                prop_assert!(!problems.is_empty());
            }
        }
    }
}
