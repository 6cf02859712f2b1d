//! Writes what doctor found: for people, or as one JSON document.

use std::fmt::Write as _;

use owo_colors::OwoColorize as _;

use crate::cli::doctor::routes::State;
use crate::cli::doctor::{Report, Require, Severity};
use crate::cli::present::Judged;
use crate::cli::{Output, Stop, draw, out};
use crate::verdict::printable;

/// Writes it.
pub(super) fn show(report: &Report, output: Output) -> Result<(), Stop> {
    match output {
        Output::Json => out::json(report),
        Output::Text | Output::Sarif => out::text(text(report)),
    }
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    if let Some(about) = &report.containerd {
        let _ = writeln!(
            text,
            "containerd {} at {}, pid {}, {}",
            printable(&about.version),
            about.address.display(),
            about.pid,
            about.config.display()
        );
        if let Some(folder) = &about.verifier_folder {
            let names = about.verifiers.iter().filter_map(|path| path.file_name());
            let names: Vec<String> = names.map(|name| printable(&name.to_string_lossy())).collect();
            let names = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
            let _ = writeln!(text, "runs {names} in {}", folder.display());
        }
        if let Some(line) = report.hosts_folders.line() {
            let _ = writeln!(text, "{}", printable(&line));
        }
        text.push('\n');
    }
    routes(report, &mut text);
    problems(report, &mut text);
    images(report, &mut text);
    fixes(report, &mut text);
    text.push_str(&verdict(report));
    text
}

fn routes(report: &Report, text: &mut String) {
    let width = report.routes.iter().map(|route| route.route.chars().count()).max().unwrap_or_default();
    for route in &report.routes {
        let state = match (route.state, route.root_only) {
            (State::Prevented, _) => "prevented".green().to_string(),
            (State::Detected, _) => "detected ".yellow().to_string(),
            (State::Open, true) => "root only".dimmed().to_string(),
            (State::Open, false) => "OPEN     ".red().to_string(),
            (State::Absent, _) => "absent   ".dimmed().to_string(),
        };
        let _ = writeln!(text, "{state}  {:width$}  {}", route.route, printable(&route.why));
        if let Some(mend) = &route.mend {
            let _ = writeln!(text, "{:9}  {:width$}  mend: {}", "", "", printable(mend));
        }
    }
}

fn problems(report: &Report, text: &mut String) {
    for problem in &report.problems {
        let severity = match problem.severity {
            Severity::Error => "error:".red().to_string(),
            Severity::Unenforced => "not enforced:".yellow().to_string(),
            Severity::Warning => "warning:".yellow().to_string(),
        };
        let _ = writeln!(text, "\n{severity} {}\n  mend: {}", printable(&problem.what), printable(&problem.mend));
    }
}

fn images(report: &Report, text: &mut String) {
    let refused: Vec<&Judged> = report.images.iter().filter(|image| !image.token.allows()).collect();
    if !refused.is_empty() {
        text.push_str("\nwould be refused, were it pulled now\n");
    }
    for image in refused {
        let digest = image.descriptor.as_ref().map_or("", |descriptor| descriptor.digest.as_str());
        let _ = writeln!(text, "  {} {}", printable(&image.reference), printable(digest).dimmed());
        let _ = writeln!(text, "    {}", draw::line(image.token, &image.cause, ""));
    }
}

fn fixes(report: &Report, text: &mut String) {
    let Some(fix) = &report.fix else { return };
    text.push_str(match (fix.changes.is_empty(), fix.applied) {
        (true, _) => "\nthere is nothing that this can mend by itself\n",
        (false, true) => "\nmended, before this was found\n",
        (false, false) => "\nnothing is changed: --fix --yes makes these changes\n",
    });
    for change in &fix.changes {
        text.push_str(&change.text());
    }
    for left in &fix.left {
        let _ = writeln!(text, "left to do: {}", printable(left));
    }
}

fn verdict(report: &Report) -> String {
    let what = match report.require {
        Require::Prevent => "verified before it comes in",
        Require::Detect => "verified before it comes in, or found out",
    };
    if report.met {
        format!("\n{} every image that is pulled onto this node is {what}\n", "yes:".green())
    } else {
        format!(
            "\n{} not every image that is pulled onto this node is {what}, or not every good one comes in\n",
            "no:".red()
        )
    }
}
