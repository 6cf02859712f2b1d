//! Many pulls at once.

use std::collections::BTreeSet;
use std::thread;

use super::common::node::{Node, executor};
use super::common::notation::signers;
use super::common::registries::registries;
use super::common::tools::until;
use super::needs;
use super::proxy::{Proxy, Rule};

#[test]
fn fifty_pulls_of_one_image_at_once_verify_it_once() {
    needs!();
    let proxy = Proxy::start(&registries().referrers.host, Rule::HoldReferrers);
    let image = registries().referrers.image("fifty");
    signers().trusted.sign(&image.by_digest());
    let image = image.at(&proxy.host);
    let node = Node::patient(&executor(&format!("\"{}\"", proxy.host), "", &signers().authority.certificate()));
    thread::scope(|threads| {
        let pulls: Vec<_> = (0..50).map(|_| threads.spawn(|| node.pull(&image))).collect();
        // The verification is held up until several pulls wait for it; the others find it remembered.
        until("several pulls at once", || proxy.requests(" /v2/").len() > 10);
        proxy.set(Rule::Pass);
        for pull in pulls {
            let pull = pull.join().unwrap();
            assert!(pull.allowed(), "{pull:?}\n{}", node.daemon.log());
        }
    });
    let verdicts = node.daemon.verdicts();
    assert_eq!(verdicts.len(), 50, "{verdicts:#?}");
    let ids: BTreeSet<_> = verdicts.iter().map(|line| line.split_once(" id=").unwrap().1.split(' ').next()).collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    assert_eq!(proxy.requests("/referrers/").len(), 1);
}
