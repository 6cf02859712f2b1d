//! The differential proof: the real `notation verify` and ratifyd judge the same signatures by the same trust policies,
//! and every disagreement fails the test unless it stands in [`reviewed`], with the clause of the specification that
//! decides it. What notation says is held against what each question was made for, too: what is meant to be good is
//! good, and what is meant to be bad is bad for the reason that is meant. [`cosign`] does the same for keyless signatures.
//!
//! The choices of [`cases`] are covered by pairs, the same ones in each run; `RATIFYD_SEED=NUMBER` makes others, and
//! `RATIFYD_DIFFERENTIAL=complete` asks about the whole product of key, envelope, scheme and depth with each choice of
//! every other kind: 8,640 questions, a quarter of an hour on two cores that are busy. A failure shows its choices.

#[path = "../common/mod.rs"]
pub mod common;
#[path = "../keyless/mod.rs"]
pub mod keyless;
#[path = "../../src/pki/testing/made.rs"]
pub mod made;
#[path = "../../src/sigstore/testing.rs"]
pub mod signatures;

/// Where the generator looks for its crate.
pub mod pki {
    pub use crate::made as testing;
    pub use ratify::pki::*;
}
/// The same.
pub mod sigstore {
    pub use crate::signatures as testing;
    pub use ratify::sigstore::*;
}

mod array;
mod authorities;
mod cases;
mod cbor;
mod certificates;
mod clock;
mod cosign;
mod envelopes;
mod judges;
mod keys;
mod mistakes;
mod oracle;
mod ours;
mod plugins;
mod policies;
mod reviewed;
mod signed;
mod tokens;
mod trials;

use array::Random;

/// What choices of a run hang on: `RATIFYD_SEED`, else always the same.
fn random() -> Random {
    let seed = std::env::var("RATIFYD_SEED").map_or(1, |seed| seed.parse().expect("RATIFYD_SEED is a number"));
    println!("RATIFYD_SEED={seed}");
    Random::new(seed)
}

/// Whether everything is asked.
fn is_complete() -> bool {
    std::env::var("RATIFYD_DIFFERENTIAL").is_ok_and(|value| value == "complete")
}

#[test]
fn notation_and_ratifyd_say_the_same_of_every_pair_of_choices() {
    needs!();
    let cases = if is_complete() { cases::complete(&mut random()) } else { cases::pairs(&mut random()) };
    judges::compare("choices", cases.len(), &|number| cases[number].question());
}

#[test]
fn notation_and_ratifyd_say_the_same_of_every_mistake() {
    needs!();
    let questions = mistakes::questions();
    judges::compare("mistakes", questions.len(), &|number| questions[number].clone());
}

#[test]
fn notation_and_ratifyd_say_the_same_of_what_notation_signs() {
    needs!();
    let questions = signed::questions();
    judges::compare("signed by notation", questions.len(), &|number| questions[number].clone());
}

#[test]
fn notation_and_ratifyd_say_the_same_of_what_plugins_judge() {
    needs!();
    let questions = plugins::questions(is_complete());
    judges::compare("plugins", questions.len(), &|number| questions[number].clone());
}

#[test]
fn notation_and_ratifyd_say_the_same_of_images_as_a_whole() {
    needs!();
    let questions = policies::images();
    judges::compare("images", questions.len(), &|number| questions[number].clone());
}

#[test]
fn notation_and_ratifyd_say_the_same_by_every_trust_policy_and_trust_store() {
    needs!();
    let questions = policies::documents();
    judges::compare("trust", questions.len(), &|number| questions[number].clone());
}
