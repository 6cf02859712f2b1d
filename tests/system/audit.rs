//! Who asks and only reports: the answer is the same, and the log, `verdicts`, `explain` and `status` tell it from one
//! that is enforced, so that what would be refused can be counted before it is.

use std::os::unix::fs::symlink;

use ratify::wire::v1::image_verifier_client::ImageVerifierClient;
use ratify::wire::v1::{Token, VerifyRequest};
use serde_json::Value;

use crate::node::descriptor;
use crate::programs::{Ran, run_with_stdin};
use crate::shim::{Case, all_answers};

/// What the shim says to an answer that it would go by, and under an `-audit` name.
fn both(node: &crate::node::Node, case: &Case) -> [Ran; 2] {
    let (name, image, _, _) = case;
    let link = node.path("ratify-audit");
    if !link.exists() {
        symlink(crate::programs::SHIM, &link).unwrap();
    }
    [node.pull(name, image), run_with_stdin(&mut node.shim(&link, name, image), &descriptor(image))]
}

/// A line without its verdict's id.
fn without_id(ran: &Ran) -> &str {
    ran.stdout.rsplit_once(" [").unwrap().0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_answer_is_the_same_for_who_only_reports_it() {
    let (_registry, node, cases) = all_answers().await;
    let mut client = ImageVerifierClient::new(node.channel().await);
    for case in &cases {
        let [enforced, reported] = both(&node, case);
        let (name, image, token, allows) = case;
        if *token != "AUDIT" {
            let says = format!("AUDIT not enforcing; the answer was: {}", without_id(&enforced));
            assert_eq!(without_id(&reported), says);
        }
        for audit in [true, false] {
            let request = VerifyRequest { name: name.clone(), descriptor: Some(image.clone().into()), audit };
            let verdict = client.verify(request).await.unwrap().into_inner().verdict.unwrap();
            assert_eq!(verdict.token().as_str_name(), format!("TOKEN_{token}"), "{audit}");
            assert_eq!(matches!(verdict.token(), Token::Allowed | Token::Audit | Token::Exempt), *allows, "{audit}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_would_have_been_refused_is_told_from_what_was() {
    let (_registry, node, cases) = all_answers().await;
    let denied = cases.iter().find(|case| case.2 == "DENIED").unwrap();
    let allowed = cases.iter().find(|case| case.2 == "ALLOWED").unwrap();
    let reported = both(&node, denied).map(|ran| ran.id().to_owned());
    assert_eq!(reported[0], reported[1], "remembered");
    node.ctl(&["flush"]);
    let link = node.path("ratify-audit");
    let report = |case: &Case| run_with_stdin(&mut node.shim(&link, &case.0, &case.1), &descriptor(&case.1));
    let (would_be, passed) = (report(denied), report(allowed));

    let counted = |enforced| node.logged(&format!("token=\"DENIED\" enforced={enforced} "));
    assert_eq!((counted(true), counted(false)), (1, 2), "{}", node.log());
    assert_eq!(node.logged("token=\"ALLOWED\" enforced=false "), 1, "{}", node.log());

    let text = node.ctl(&["verdicts"]).ended(0);
    let line = |id: &str| text.lines().find(|line| line.contains(id)).unwrap();
    assert!(line(&reported[0]).contains(&format!(" DENIED {} no signature", denied.0)), "{text}");
    assert!(line(would_be.id()).contains(&format!(" DENIED {} not enforced: no signature", denied.0)), "{text}");
    assert!(line(passed.id()).contains(&format!(" ALLOWED {} acme: ", allowed.0)), "{text}");
    let listed = node.ctl(&["verdicts", "--output", "json"]).ended(0);
    let listed: Vec<Value> = listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let enforced: Vec<_> = listed.iter().map(|verdict| verdict["enforced"].as_bool()).collect();
    assert_eq!(enforced, [Some(true), Some(false), Some(false)], "{listed:#?}");

    let explained = node.ctl(&["explain", would_be.id()]).ended(0);
    assert!(explained.starts_with("DENIED no signature") && explained.contains(", not enforced: "), "{explained}");
    assert!(!node.ctl(&["explain", &reported[0]]).ended(0).contains("not enforced"));
    assert_eq!(node.json(0, &["explain", would_be.id()])["enforced"], false);
    assert_eq!(node.json(0, &["explain", &reported[0]])["enforced"], true);

    let status = node.status();
    assert_eq!((&status["verdicts"]["DENIED"], &status["notEnforced"]), (&Value::from(3), &Value::from(2)), "{status}");
    let text = node.ctl(&["status"]).ended(0);
    assert!(text.contains("\nnot enforced   2 refusals of these"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_question_by_hand_blocks_nothing_and_is_told_so() {
    let (_registry, node, cases) = all_answers().await;
    let (name, image, _, _) = cases.iter().find(|case| case.2 == "DENIED").unwrap();
    node.ctl(&["verify", "--daemon", &format!("{name}@{}", image.digest)]).ended(1);
    assert_eq!(node.logged("token=\"DENIED\" enforced=false "), 1, "{}", node.log());
}
