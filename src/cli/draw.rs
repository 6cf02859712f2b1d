//! Draws a report as a tree: artifact, each verifier's finding and cause, its referrers.

use std::fmt::Write as _;

use owo_colors::OwoColorize as _;

use crate::report::{Finding, Outcome, Tree};
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

fn branches(tree: &Tree, indent: &str, text: &mut String) {
    let notes = tree.note.iter().map(|note| (printable(note).yellow().to_string(), None));
    let findings = tree.findings.iter().map(|found| (finding(found), None));
    let referrers = tree.referrers.iter().map(|referrer| {
        let title = format!("{} {}", printable(&referrer.artifact_type), printable(&referrer.digest).dimmed());
        (title.trim_start().to_owned(), Some(referrer))
    });
    let rows: Vec<_> = notes.chain(findings).chain(referrers).collect();
    let count = rows.len();
    for (index, (row, below)) in rows.into_iter().enumerate() {
        let (joint, rail) =
            if index.saturating_add(1) == count { ("└── ", "    ") } else { ("├── ", "│   ") };
        let _ = writeln!(text, "{indent}{joint}{row}");
        if let Some(below) = below {
            branches(below, &format!("{indent}{rail}"), text);
        }
    }
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
