//! Puts questions to both judges, two at a time, and tells where they differ.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use super::common::tools::shared_folder;
use super::oracle::{self, Expected, Said};
use super::ours;
use super::reviewed::{Condition, Difference, REVIEWED, Reviewed};
use super::trials::{Question, Trial};

/// Asks both about all questions, each made when its turn comes, and fails where they differ and nobody reviewed that,
/// or where notation says something else than the question was made for.
pub fn compare(what: &str, count: usize, question: &(dyn Fn(usize) -> Question + Sync)) {
    let (folder, cache) = (shared_folder(), shared_folder());
    let (next, start) = (AtomicUsize::new(0), Instant::now());
    let found: Mutex<Found> = Mutex::default();
    thread::scope(|scope| {
        for _ in 0..JUDGES {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        break;
                    }
                    let trial = Trial::lay(question(number), &folder, number);
                    let notation = oracle::ask(&trial, &cache);
                    let ours = runtime.block_on(ours::ask(&trial));
                    found.lock().unwrap().add(&trial.question, &notation, &ours);
                    std::fs::remove_dir_all(&trial.folder).unwrap();
                }
            });
        }
    });
    let found = found.into_inner().unwrap();
    let seconds = start.elapsed().as_secs_f64();
    println!("{what}: {count} questions in {seconds:.1} s, of which notation allows {}", found.allowed);
    for (number, count) in &found.differ {
        let Reviewed { condition, difference, notation, ratifyd, clause } = &REVIEWED[*number];
        println!("  {count} times {condition:?}, {difference:?}: notation {notation}, ratifyd {ratifyd}. {clause}");
    }
    let alike: Vec<String> =
        found.stale().map(|condition| format!("{condition:?} no longer makes a difference")).collect();
    let wrong = [found.wrong, alike].concat();
    let shown: Vec<&str> = wrong.iter().take(SHOWN).map(String::as_str).collect();
    assert!(wrong.is_empty(), "{} of {count} are wrong:\n\n{}", wrong.len(), shown.join("\n\n"));
}

/// How many questions are asked at once.
const JUDGES: usize = 2;

/// How many failures are shown.
const SHOWN: usize = 20;

#[derive(Default)]
struct Found {
    allowed: usize,
    /// What was known to make judges differ.
    conditions: BTreeSet<Condition>,
    /// Which of [`REVIEWED`] did, and how often.
    differ: BTreeMap<usize, usize>,
    wrong: Vec<String>,
}

impl Found {
    fn add(&mut self, question: &Question, notation: &Said, ours: &Said) {
        self.allowed += usize::from(notation.allows);
        if question.expected.allows.is_some() {
            self.conditions.extend(&question.conditions);
        }
        let Expected { allows, part, reasons, logged } = &question.expected;
        let mut wrong = Vec::new();
        if !question.expected.is(notation) {
            let Said { allows: said, part: why, logged: only, .. } = notation;
            wrong.push(format!(
                "notation was expected: {allows:?} {part:?} {logged:?}; it said: {said} {why:?} {only:?}"
            ));
        }
        if let Some(difference) = Difference::between(reasons, notation, ours) {
            match REVIEWED.iter().position(|reviewed| reviewed.covers(question, difference)) {
                Some(number) => *self.differ.entry(number).or_default() += 1,
                None => wrong.push(format!("ratifyd differs: {difference:?}")),
            }
        }
        if !wrong.is_empty() {
            let told = |line: &&str| line.contains("failed") || line.contains("Error: ");
            wrong.extend(notation.words.lines().filter(told).map(|line| format!("notation: {line}")));
            wrong.extend(ours.words.lines().map(|line| format!("ratifyd: {line}")));
            self.wrong.push(format!("{}\n  {}", question.name, wrong.join("\n  ")));
        }
    }

    /// Conditions that were met, and made no difference.
    fn stale(&self) -> impl Iterator<Item = &Condition> {
        let made: BTreeSet<Condition> = self.differ.keys().map(|number| REVIEWED[*number].condition).collect();
        self.conditions.iter().filter(move |condition| !made.contains(condition))
    }
}
