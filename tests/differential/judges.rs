//! Puts questions to both judges, two at a time, and tells where they differ.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use super::common::tools::shared_folder;
use super::oracle::{self, Said};
use super::ours;
use super::reviewed::{Difference, REVIEWED};
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
    println!(
        "{what}: {count} questions in {:.1} s, of which notation allows {}",
        start.elapsed().as_secs_f64(),
        found.allowed
    );
    for (clause, count) in &found.reviewed {
        println!("  differ as reviewed: {count} by {clause}");
    }
    let shown: Vec<&str> = found.wrong.iter().take(SHOWN).map(String::as_str).collect();
    assert!(found.wrong.is_empty(), "{} of {count} are wrong:\n\n{}", found.wrong.len(), shown.join("\n\n"));
}

/// How many questions are asked at once.
const JUDGES: usize = 2;

/// How many failures are shown.
const SHOWN: usize = 1000;

#[derive(Default)]
struct Found {
    allowed: usize,
    reviewed: BTreeMap<&'static str, usize>,
    wrong: Vec<String>,
}

impl Found {
    fn add(&mut self, question: &Question, notation: &Said, ours: &Said) {
        self.allowed += usize::from(notation.allows);
        let words = || {
            let told = |line: &&str| line.contains("failed") || line.contains("Error: ");
            let notation = notation.words.lines().filter(told).map(|line| format!("  notation: {line}\n"));
            let ours = ours.words.lines().map(|line| format!("  ratifyd: {line}\n"));
            notation.chain(ours).collect::<String>()
        };
        if !question.expected.is(notation) {
            let Said { allows, part, logged, .. } = notation;
            self.wrong.push(format!(
                "{}\nnotation was expected to say {:?}, and said {allows} {part:?} {logged:?}\n{}",
                question.name,
                question.expected,
                words()
            ));
        }
        let Some(difference) = Difference::between(&question.expected.reasons, notation, ours) else { return };
        let reviewed = REVIEWED.iter().find(|reviewed| reviewed.covers(question, difference));
        match reviewed {
            Some(reviewed) => *self.reviewed.entry(reviewed.clause).or_default() += 1,
            None => self.wrong.push(format!("{}\n{difference:?}\n{}", question.name, words())),
        }
    }
}
