//! What `install` and `uninstall` have to do and what they know of it: shown, made, told.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::cli::change::{Plan, Told};
use crate::cli::install::{Common, undone};
use crate::cli::present::Judged;
use crate::cli::{Exit, Output, Stop, out};
use crate::verdict::printable;

/// What is to be done, and what is known of it.
pub(super) struct Work {
    /// What changes nothing for containerd.
    pub(super) setup: Plan,
    /// What has containerd ask.
    pub(super) hook: Plan,
    /// What the daemon is short of, for answers that are good ones.
    pub(super) unready: Vec<String>,
    /// Why else containerd is not made to ask.
    pub(super) refused: Vec<String>,
    /// What an operator should know.
    pub(super) notes: Vec<String>,
    /// What is left to be done by hand.
    pub(super) left: Vec<String>,
    /// What the policy says of the images here.
    pub(super) images: Vec<Judged>,
    /// The same for people.
    pub(super) pictured: String,
    /// The program of a tree that was run to say what it makes of its configuration.
    pub(super) ran: Option<PathBuf>,
}

/// The document of `--output json`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    schema_version: u32,
    applied: bool,
    changes: Vec<Told>,
    refused: Vec<&'a String>,
    notes: &'a [String],
    left: &'a [String],
    images: &'a [Judged],
}

impl Work {
    /// Nothing yet, for the node whose files lie below `root`.
    pub(super) fn new(root: &Path) -> Self {
        Self {
            setup: Plan::new(root),
            hook: Plan::new(root),
            unready: Vec::new(),
            refused: Vec::new(),
            notes: Vec::new(),
            left: Vec::new(),
            images: Vec::new(),
            pictured: String::new(),
            ran: None,
        }
    }

    /// Whether containerd may be made to ask.
    pub(super) fn is_ready(&self) -> bool {
        self.unready.is_empty() && self.refused.is_empty()
    }

    pub(super) fn exit(&self) -> Exit {
        if self.is_ready() { Exit::Done } else { Exit::Denied }
    }

    /// What is done, as far as it is done.
    fn changes(&self) -> Vec<Told> {
        let hook = if self.is_ready() { self.hook.told() } else { Vec::new() };
        self.setup.told().into_iter().chain(hook).collect()
    }

    /// Shows what is known, and in a dry run the changes.
    pub(super) fn show(&self, common: &Common) -> Result<(), Stop> {
        if common.output == Output::Json {
            return if common.yes { Ok(()) } else { self.document(false) };
        }
        self.picture(common)?;
        if common.yes {
            return Ok(());
        }
        let plan: String = self.changes().iter().map(Told::text).collect();
        let so = if self.is_ready() { IDLE } else { "" };
        let ran = |program: &PathBuf| printable(&format!("but {} was run, as this user", program.display())) + "\n";
        let ran = self.ran.as_ref().map(ran).unwrap_or_default();
        let plan = if plan.is_empty() { so.to_owned() } else { format!("{DRY}{ran}{plan}") };
        out::text(plan + &self.told())
    }

    /// What the policy says of the images here.
    pub(super) fn picture(&self, common: &Common) -> Result<(), Stop> {
        if common.output == Output::Json || self.pictured.is_empty() {
            return Ok(());
        }
        out::line(&self.pictured)
    }

    /// What is to be known besides the changes.
    fn told(&self) -> String {
        let lines = |title: &str, lines: &[String]| -> String {
            let line = |line: &String| {
                let parts: Vec<String> = line.lines().map(printable).collect();
                format!("{title}: {}\n", parts.join("\n  "))
            };
            lines.iter().map(line).collect()
        };
        let left = if self.is_ready() { lines("left to do", &self.left) } else { String::new() };
        lines("note", &self.notes) + &lines("not enabled", &self.unready) + &lines("not enabled", &self.refused) + &left
    }

    pub(super) fn make(&self, common: &Common, plan: &Plan) -> Result<(), Stop> {
        let tell = common.output == Output::Text;
        let mut broken = None;
        let made = plan.apply(|change| {
            if tell && broken.is_none() {
                broken = out::line(change.told().line()).err();
            }
        });
        made.map_err(undone)?;
        broken.map_or(Ok(()), Err)
    }

    /// Tells how it ended.
    pub(super) fn end(&self, common: &Common) -> Result<Exit, Stop> {
        match common.output {
            Output::Json => self.document(true)?,
            _ => {
                let so = if self.changes().is_empty() && self.is_ready() { IDLE } else { "" };
                out::text(format_args!("{so}{}", self.told()))?;
            }
        }
        Ok(self.exit())
    }

    fn document(&self, applied: bool) -> Result<(), Stop> {
        out::json(&Document {
            schema_version: 1,
            applied,
            changes: self.changes(),
            refused: self.unready.iter().chain(&self.refused).collect(),
            notes: &self.notes,
            left: if self.is_ready() { &self.left } else { &[] },
            images: &self.images,
        })
    }
}

/// What is said where there is nothing to do, and where nothing is done.
const IDLE: &str = "All is as it should be.\n";
const DRY: &str = "nothing is changed: --yes makes these changes\n";
