//! Writes verdicts as a SARIF 2.1.0 log, for code-scanning pages and the tools that read them: one result for each
//! image that is not simply allowed, and one for each check that failed, could not be made, was not asked for or is not
//! enforced.

use serde_json::{Value, json};

use crate::cli::verify::Verified;
use crate::report::{Logged, Outcome, Tree};
use crate::verdict::Token;

/// One log of one run.
pub(super) fn log(results: &[Verified]) -> Value {
    let rules: Vec<Value> =
        Token::ALL.map(|token| json!({ "id": token.as_str(), "shortDescription": { "text": meaning(token) } })).into();
    let results: Vec<Value> = results.iter().flat_map(of_image).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "ratifyctl", "version": env!("CARGO_PKG_VERSION"), "rules": rules } },
            "results": results,
        }],
    })
}

fn of_image(verified: &Verified) -> Vec<Value> {
    let token = verified.token;
    let mut found = Vec::new();
    if token != Token::Allowed {
        found.push(result(token, level(token), &verified.cause, &verified.reference));
    }
    if let Some(report) = &verified.report {
        failures(report, token, &verified.reference, &mut found);
    }
    found
}

fn failures(tree: &Tree, token: Token, reference: &str, found: &mut Vec<Value>) {
    for finding in &tree.findings {
        let causes = match &finding.outcome {
            Outcome::Passed(pass) => {
                let not_enforced = |it: &Logged| format!("{} is not enforced: {}", it.validation.as_str(), it.cause);
                pass.logged.iter().map(not_enforced).collect()
            }
            Outcome::Skipped { cause } => vec![cause.clone()],
            Outcome::Failed(failure) => vec![failure.cause.clone()],
            Outcome::Fault { cause } => vec![cause.to_string()],
        };
        // A note: the verdict above says what it came to.
        found.extend(causes.into_iter().map(|cause| {
            result(token, "note", &format!("{} on {}: {cause}", finding.verifier, tree.digest), reference)
        }));
    }
    for referrer in &tree.referrers {
        failures(referrer, token, reference, found);
    }
}

fn result(token: Token, level: &str, text: &str, reference: &str) -> Value {
    json!({
        "ruleId": token.as_str(),
        "level": level,
        "message": { "text": text },
        "locations": [{ "logicalLocations": [{ "fullyQualifiedName": reference, "kind": "resource" }] }],
    })
}

fn level(token: Token) -> &'static str {
    match token {
        Token::Denied | Token::Misconfigured | Token::Unavailable => "error",
        Token::Audit => "warning",
        Token::Exempt | Token::Allowed => "note",
    }
}

fn meaning(token: Token) -> &'static str {
    match token {
        Token::Allowed => "checked, and satisfied",
        Token::Audit => "would be refused; the mode is audit",
        Token::Exempt => "allowed without verification",
        Token::Denied => "checked, and not satisfied",
        Token::Misconfigured => "an operator must act",
        Token::Unavailable => "could not be checked",
    }
}
