//! Draws a report as a tree: artifact, each verifier's finding and cause, its referrers.

use std::fmt::Write as _;

use owo_colors::OwoColorize as _;

use crate::report::{Finding, Logged, Outcome, Tree};
use crate::verdict::{Token, printable, reason_line};

/// The reason line, its token in colour. Where the output is no terminal, `anstream` takes the colours away.
pub(super) fn line(token: Token, cause: &str, id: &str) -> String {
    let line = reason_line(token, cause, id);
    let rest = line.strip_prefix(token.as_str()).unwrap_or_default();
    match token {
        Token::Allowed => format!("{}{rest}", token.green()),
        Token::Audit | Token::Exempt => format!("{}{rest}", token.yellow()),
        Token::Denied | Token::Misconfigured | Token::Unavailable => format!("{}{rest}", token.red()),
    }
}

/// The tree below a subject that is called `name`.
pub(super) fn tree(name: &str, tree: &Tree) -> String {
    let mut text = printable(name);
    if !name.ends_with(&tree.digest) {
        let _ = write!(text, "\n{}", printable(&tree.digest).dimmed());
    }
    text.push('\n');
    branches(tree, "", &mut text);
    text
}

/// A line of the tree, and what hangs below it.
struct Row<'a> {
    text: String,
    below: Below<'a>,
}

enum Below<'a> {
    Nothing,
    Referrer(&'a Tree),
    /// What did not hold of a check that passed.
    Logged(&'a [Logged]),
}

fn branches(tree: &Tree, indent: &str, text: &mut String) {
    let notes = tree.note.iter().map(|note| Row { text: printable(note).yellow().to_string(), below: Below::Nothing });
    let findings = tree.findings.iter().map(|found| Row { text: finding(found), below: below(found) });
    let referrers = tree.referrers.iter().map(|referrer| {
        let at = referrer.found_at.as_ref().map_or_else(String::new, |at| format!(" at {}", printable(at)));
        let title = format!("{} {}{at}", printable(&referrer.artifact_type), printable(&referrer.digest).dimmed());
        Row { text: title.trim_start().to_owned(), below: Below::Referrer(referrer) }
    });
    draw(notes.chain(findings).chain(referrers).collect(), indent, text);
}

fn draw(rows: Vec<Row<'_>>, indent: &str, text: &mut String) {
    let count = rows.len();
    for (index, row) in rows.into_iter().enumerate() {
        let (joint, rail) =
            if index.saturating_add(1) == count { ("└── ", "    ") } else { ("├── ", "│   ") };
        let _ = writeln!(text, "{indent}{joint}{}", row.text);
        let indent = format!("{indent}{rail}");
        match row.below {
            Below::Nothing => {}
            Below::Referrer(referrer) => branches(referrer, &indent, text),
            Below::Logged(logged) => draw(logged.iter().map(not_enforced).collect(), &indent, text),
        }
    }
}

fn below(finding: &Finding) -> Below<'_> {
    match &finding.outcome {
        Outcome::Passed(pass) => Below::Logged(&pass.logged),
        Outcome::Skipped { .. } | Outcome::Failed(_) | Outcome::Fault { .. } => Below::Nothing,
    }
}

fn not_enforced(logged: &Logged) -> Row<'static> {
    let text = format!("{} {}: {}", "not enforced".yellow(), logged.validation.as_str(), printable(&logged.cause));
    Row { text, below: Below::Nothing }
}

fn finding(finding: &Finding) -> String {
    let name = printable(&finding.verifier);
    match &finding.outcome {
        Outcome::Passed(pass) => format!("{} {name}: {}", "passed".green(), printable(&pass.detail)),
        Outcome::Skipped { cause } => format!("{} {name}: {}", "skipped".yellow(), printable(cause)),
        Outcome::Failed(failure) => format!("{} {name}: {}", "failed".red(), printable(&failure.cause)),
        Outcome::Fault { cause } => format!("{} {name}: {}", "fault".yellow(), printable(&cause.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Failure, Pass, Stage, Validation};

    #[test]
    fn what_is_only_logged_hangs_below_the_check_that_passed_and_a_skip_is_told() {
        let logged = |validation, cause: &str| Logged { validation, cause: cause.to_owned() };
        let pass = Pass {
            detail: "signed by CN=x; not enforced: authenticity, expiry".to_owned(),
            signer: None,
            identity: None,
            valid_until: None,
            logged: vec![logged(Validation::Authenticity, "not trusted"), logged(Validation::Expiry, "expired")],
        };
        let finding = |verifier: &str, outcome| Finding { verifier: verifier.to_owned(), outcome };
        let failure = Failure { stage: Stage::Integrity, cause: "broken".to_owned() };
        let signature = Tree {
            digest: "sha256:2".to_owned(),
            artifact_type: "x/sig".to_owned(),
            findings: vec![finding("a", Outcome::Passed(pass)), finding("b", Outcome::Failed(failure))],
            ..Tree::default()
        };
        let image = Tree {
            digest: "sha256:1".to_owned(),
            findings: vec![finding("c", Outcome::Skipped { cause: "level skip".to_owned() })],
            referrers: vec![signature],
            ..Tree::default()
        };
        let drawn = tree("r.io/a@sha256:1", &image);
        assert!(
            drawn.contains(&"not enforced".yellow().to_string()) && drawn.contains(&"skipped".yellow().to_string())
        );
        assert_eq!(
            anstream::adapter::strip_str(&drawn).to_string(),
            "r.io/a@sha256:1\n\
             ├── skipped c: level skip\n\
             └── x/sig sha256:2\n\
             \u{20}   ├── passed a: signed by CN=x; not enforced: authenticity, expiry\n\
             \u{20}   │   ├── not enforced authenticity: not trusted\n\
             \u{20}   │   └── not enforced expiry: expired\n\
             \u{20}   └── failed b: broken\n"
        );
    }
}
