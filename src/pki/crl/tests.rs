use const_oid::db::rfc5280;

use super::super::testing::*;
use super::*;

fn issuer_key() -> &'static Key {
    Key::get(Kind::P256, 1)
}

fn issuer() -> Certificate {
    Template::ca(ROOT, ROOT).lists().sign(issuer_key(), issuer_key())
}

const URL: &str = "http://crl.example/a.crl";

fn leaf() -> Template {
    Template::leaf(LEAF, ROOT).serial(7).with(points_of(&[&[URL]]))
}

fn sign(template: &Template) -> Certificate {
    template.sign(Key::get(Kind::P256, 0), issuer_key())
}

fn draft() -> CrlDraft {
    CrlDraft::new(ROOT)
}

fn judge_of(template: &Template, base: &[u8], delta: Option<&[u8]>, seconds: u64) -> Result<Judged, BadCrl> {
    let (certificate, issuer) = (sign(template), issuer());
    let points = certificate.points().unwrap();
    let subject = Subject { certificate: &certificate, issuer: &issuer, points: &points };
    let delta = delta.map(Crl::parse).transpose()?;
    judge(&Crl::parse(base)?, delta.as_ref(), subject, at(seconds))
}

fn by(base: &CrlDraft) -> Result<Judged, BadCrl> {
    judge_of(&leaf(), &base.sign(issuer_key()), None, NOW)
}

fn by_both(base: &CrlDraft, delta: &CrlDraft) -> Result<Judged, BadCrl> {
    judge_of(&leaf(), &base.sign(issuer_key()), Some(&delta.sign(issuer_key())), NOW)
}

#[track_caller]
fn good(judged: Result<Judged, BadCrl>) -> Judged {
    let judged = judged.unwrap();
    assert_eq!(judged.status, Status::Good);
    judged
}

#[track_caller]
fn revoked(judged: Result<Judged, BadCrl>) -> Revoked {
    match judged.unwrap().status {
        Status::Revoked(revoked) => revoked,
        Status::Good => panic!("good"),
    }
}

#[test]
fn a_certificate_that_is_not_listed_stands_until_the_next_list_is_due() {
    let judged = good(by(&draft().revoke(8, None, None)));
    assert_eq!((judged.until, judged.fresh_until), (at(NOW + DAY), at(NOW + DAY)));
    assert!(judged.coverage.is_whole());
    good(by(&draft()));
}

#[test]
fn a_certificate_that_is_listed_is_revoked_whatever_the_reason() {
    for reason in [None, Some(0), Some(1), Some(2), Some(3), Some(4), Some(5), Some(6), Some(9), Some(10)] {
        let found = revoked(by(&draft().revoke(6, None, None).revoke(7, reason, None)));
        assert_eq!((found.reason, found.at), (Reason(reason.unwrap_or(0)), at(NOW - 3600)));
    }
    revoked(by(&draft().entry(&[0, 7], &[])));
}

#[test]
fn the_signature_of_the_list_is_the_issuers() {
    refused(judge_of(&leaf(), &draft().sign(Key::get(Kind::P256, 2)), None, NOW), "not made by the key of CN=root");
    refused(by(&CrlDraft::new(INTERMEDIATE)), "it is not the list of CN=root");
    let (certificate, issuer) = (sign(&leaf()), Template::ca(ROOT, ROOT).sign(issuer_key(), issuer_key()));
    let points = certificate.points().unwrap();
    let subject = Subject { certificate: &certificate, issuer: &issuer, points: &points };
    let list = draft().sign(issuer_key());
    refused(judge(&Crl::parse(&list).unwrap(), None, subject, now()), "does not say cRLSign");
}

#[test]
fn every_changed_byte_of_a_list_is_seen() {
    let base = draft().revoke(7, Some(1), Some(NOW - 2 * DAY)).with(scope_of(&[&name_of(&[URL])])).sign(issuer_key());
    let (certificate, issuer) = (sign(&leaf()), issuer());
    let points = certificate.points().unwrap();
    let subject = Subject { certificate: &certificate, issuer: &issuer, points: &points };
    let whole = judge(&Crl::parse(&base).unwrap(), None, subject, now()).unwrap();
    for index in 0..base.len() {
        for flip in [1, 0x80, 0xff] {
            let mut bytes = base.clone();
            bytes[index] ^= flip;
            let judged = Crl::parse(&bytes).and_then(|list| judge(&list, None, subject, now()));
            assert!(judged.is_err(), "byte {index} of {} changed: {judged:?} instead of {whole:?}", base.len());
        }
        assert!(Crl::parse(&base[..index]).is_err());
    }
    assert!(Crl::parse(&[base.as_slice(), &[0]].concat()).is_err());
}

#[test]
fn a_list_is_expired_after_its_next_update() {
    let list = draft().sign(issuer_key());
    good(judge_of(&leaf(), &list, None, NOW + DAY));
    refused(judge_of(&leaf(), &list, None, NOW + DAY + 1), "it expired at");
    refused(by(&CrlDraft { next_update: None, ..draft() }), "nextUpdate");
}

#[test]
fn a_list_from_the_future_is_taken_within_the_skew_of_clocks_and_no_further() {
    let skew = limits::CLOCK_SKEW.as_secs();
    good(by(&CrlDraft { this_update: NOW + skew, ..draft() }));
    refused(by(&CrlDraft { this_update: NOW + skew + 1, ..draft() }), "it is valid from");
}

#[test]
fn an_expired_list_revokes_for_any_reason_but_certificate_hold() {
    let late = |list: &CrlDraft| judge_of(&leaf(), &list.sign(issuer_key()), None, NOW + 2 * DAY);
    assert_eq!(revoked(late(&draft().revoke(7, Some(1), None))).reason, Reason(1));
    refused(late(&draft().revoke(7, Some(6), None)), "it expired at");
    refused(late(&draft().revoke(8, Some(1), None)), "it expired at");
}

#[test]
fn what_was_signed_before_the_invalidity_date_still_holds() {
    let found = revoked(by(&draft().revoke(7, Some(1), Some(NOW - 10 * DAY))));
    assert!(!found.counts(Some(at(NOW - 10 * DAY - 1))));
    assert!(found.counts(Some(at(NOW - 10 * DAY))), "at that moment it no longer holds");
    assert!(found.counts(Some(at(NOW - 9 * DAY))));
    assert!(found.counts(None), "without a trusted time it does not");
    assert!(revoked(by(&draft().revoke(7, Some(1), None))).counts(Some(at(0))), "without the date it does not");
}

#[test]
fn next_publish_is_when_a_newer_list_may_be_had() {
    let publish = extension(const_oid::ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.21.4"), false, &time_of(NOW + 60));
    let judged = good(by(&draft().with(publish)));
    assert_eq!((judged.fresh_until, judged.until), (at(NOW + 60), at(NOW + DAY)));
}

#[test]
fn a_list_of_changes_decides_with_the_list_it_builds_on() {
    let base = draft().with(freshest_of(&["http://crl.example/d.crl"]));
    let delta = || CrlDraft::delta(ROOT);
    refused(by(&base), "it names a delta CRL, which is missing");
    let judged = good(by_both(&base, &delta().until(NOW + 60)));
    assert_eq!((judged.until, judged.fresh_until), (at(NOW + 60), at(NOW + 60)));
    assert_eq!(revoked(by_both(&base, &delta().revoke(7, Some(1), None))).reason, Reason(1));
    // Revoked beats unknown: what is for good needs no changes.
    revoked(by(&base.clone().revoke(7, Some(4), None)));
    refused(by(&delta()), "it is a delta CRL");
    refused(by_both(&base, &draft()), "it is no delta CRL");
    refused(by_both(&base, &delta().until(NOW - 1)), "it expired at");
    revoked(by_both(&base, &delta().until(NOW - 1).revoke(7, Some(1), None)));
}

#[test]
fn changes_that_do_not_fit_the_list_are_refused() {
    let base = draft().with(freshest_of(&["http://crl.example/d.crl"]));
    let number = |number| integer_of(rfc5280::ID_CE_CRL_NUMBER, false, number);
    let builds_on = |number| integer_of(rfc5280::ID_CE_DELTA_CRL_INDICATOR, true, number);
    let delta = || CrlDraft::delta(ROOT);
    refused(by_both(&base, &delta().with(number(4))), "older than the base CRL");
    good(by_both(&base, &delta().with(number(5))));
    refused(by_both(&base, &delta().with(builds_on(6))), "builds on a newer base CRL");
    good(by_both(&base, &delta().with(builds_on(4))));
    let mut unnumbered = base.clone();
    unnumbered.extensions.retain(|extension| extension.extn_id != rfc5280::ID_CE_CRL_NUMBER);
    refused(by_both(&unnumbered, &delta()), "has no number");
    refused(by_both(&base, &delta().with(scope_of(&[&name_of(&[URL])]))), "not about the same certificates");
    let forged = delta().sign(Key::get(Kind::P256, 2));
    refused(judge_of(&leaf(), &base.sign(issuer_key()), Some(&forged), NOW), "not made by the key");
}

#[test]
fn a_hold_is_lifted_by_remove_from_crl_and_by_nothing_else() {
    let base = |reason| draft().revoke(7, Some(reason), None).with(freshest_of(&["http://crl.example/d.crl"]));
    let removed = CrlDraft::delta(ROOT).revoke(7, Some(8), None);
    assert_eq!(revoked(by(&draft().revoke(7, Some(6), None))).reason, Reason::HOLD);
    assert_eq!(revoked(by_both(&base(6), &CrlDraft::delta(ROOT))).reason, Reason::HOLD);
    good(by_both(&base(6), &removed));
    assert_eq!(revoked(by_both(&base(1), &removed)).reason, Reason(1));
    assert_eq!(revoked(by_both(&base(6), &CrlDraft::delta(ROOT).revoke(7, Some(1), None))).reason, Reason(1));
    // In one list, of one moment: what is not in its favour.
    revoked(by(&draft().revoke(7, Some(8), None).revoke(7, Some(6), None)));
    revoked(by(&draft().revoke(7, Some(1), None).revoke(7, Some(8), None)));
    good(by(&draft().revoke(7, Some(8), None)));
}

#[test]
fn of_two_entries_the_one_that_counts_for_more_signatures_is_taken() {
    let twice = |first, second| revoked(by(&draft().revoke(7, Some(1), first).revoke(7, Some(1), second))).invalid_from;
    let (early, late) = (Some(NOW - 9 * DAY), Some(NOW - 8 * DAY));
    for (first, second, expected) in
        [(early, late, early), (late, early, early), (early, None, None), (None, early, None)]
    {
        assert_eq!(twice(first, second), expected.map(at));
    }
}

#[test]
fn the_changes_may_be_named_by_the_certificate_alone() {
    let fresh = leaf().with(freshest_of(&["http://crl.example/d.crl"]));
    let (base, delta) = (draft().sign(issuer_key()), CrlDraft::delta(ROOT).sign(issuer_key()));
    refused(judge_of(&fresh, &base, None, NOW), "it names a delta CRL");
    good(judge_of(&fresh, &base, Some(&delta), NOW));
    let unreadable = leaf().with(extension(rfc5280::ID_CE_FRESHEST_CRL, false, b"x"));
    refused(judge_of(&unreadable, &base, None, NOW), "it names a delta CRL");
}

#[test]
fn an_indirect_list_is_refused_clearly() {
    let indirect = "indirect CRL, which is not supported";
    refused(by(&draft().with(scope_of(&[&[0x84, 1, 0xff]]))), indirect);
    let whose =
        extension(rfc5280::ID_CE_CERTIFICATE_ISSUER, true, &element::write(0x30, &[&element::write(0x86, &[b"x"])]));
    refused(by(&draft().entry(&[8], &[whose])), indirect);
    // The certificate says so: cRLIssuer.
    let point = element::write(0x30, &[&name_of(&[URL]), &element::write(0xa2, &[&element::write(0x86, &[b"x"])])]);
    let named = leaf().with(extension(rfc5280::ID_CE_CRL_DISTRIBUTION_POINTS, false, &element::write(0x30, &[&point])));
    refused(judge_of(&named, &draft().sign(issuer_key()), None, NOW), indirect);
}

#[test]
fn a_list_that_is_about_others_says_nothing() {
    let of = |template: &Template, scope: &[&[u8]]| {
        judge_of(template, &draft().with(scope_of(scope)).sign(issuer_key()), None, NOW)
    };
    let ca = Template::ca(INTERMEDIATE, ROOT).serial(7).with(points_of(&[&[URL]]));
    let (users, authorities, attributes): ([u8; 3], [u8; 3], [u8; 3]) =
        ([0x81, 1, 0xff], [0x82, 1, 0xff], [0x85, 1, 0xff]);
    good(of(&leaf(), &[&users]));
    refused(of(&ca, &[&users]), "end entities only");
    good(of(&ca, &[&authorities]));
    refused(of(&leaf(), &[&authorities]), "certificate authorities only");
    refused(of(&leaf(), &[&attributes]), "attribute certificates only");
    good(of(&leaf(), &[&name_of(&["http://other.example", URL])]));
    refused(of(&leaf(), &[&name_of(&["http://crl.example/b.crl"])]), "the certificate names another list");
    refused(of(&leaf().without(rfc5280::ID_CE_CRL_DISTRIBUTION_POINTS), &[&name_of(&[URL])]), "names another list");
}

#[test]
fn a_list_for_some_reasons_covers_those_alone() {
    let some = |reasons: &[u8]| good(by(&draft().with(scope_of(&[&element::write(0x83, &[reasons])])))).coverage;
    let (first, rest) = (some(&[6, 0x40]), some(&[7, 0x3f, 0x80]));
    assert!(!first.is_whole() && !rest.is_whole() && first.and(rest).is_whole());
    let point = element::write(0x30, &[&name_of(&[URL]), &[0x81, 2, 6, 0x40]]);
    let named = leaf().with(extension(rfc5280::ID_CE_CRL_DISTRIBUTION_POINTS, false, &element::write(0x30, &[&point])));
    assert!(!good(judge_of(&named, &draft().sign(issuer_key()), None, NOW)).coverage.is_whole());
}

#[test]
fn what_is_critical_and_not_understood_is_refused_wherever_it_stands() {
    let vendor = const_oid::ObjectIdentifier::new_unwrap("1.3.6.1.4.1.55555.1");
    good(by(&draft().with(extension(vendor, false, b"x"))));
    refused(by(&draft().with(extension(vendor, true, b"x"))), "the critical extension 1.3.6.1.4.1.55555.1");
    good(by(&draft().entry(&[8], &[extension(vendor, false, b"x")])));
    refused(by(&draft().entry(&[8], &[extension(vendor, true, b"x")])), "the critical extension 1.3.6.1.4.1.55555.1");
    let mut twice = draft();
    twice.extensions.push(integer_of(rfc5280::ID_CE_CRL_NUMBER, false, 5));
    refused(by(&twice), "it has extension 2.5.29.20 twice");
    refused(by(&draft().with(extension(rfc5280::ID_CE_CRL_NUMBER, false, &[2, 1, 0xff]))), "no X.509 CRL in DER");
}

#[test]
fn lists_of_other_versions_are_refused() {
    refused(by(&CrlDraft { version: None, extensions: Vec::new(), ..draft() }), "version 2");
    refused(by(&CrlDraft { version: Some(0), ..draft() }), "version 2");
}

#[test]
fn extensions_at_the_limit_and_one_past_it() {
    let of = |count: usize| {
        let mut list = draft();
        let vendor = |number| const_oid::ObjectIdentifier::new(&format!("1.3.6.1.4.1.55555.{number}")).unwrap();
        list.extensions.extend((1..count).map(|number| extension(vendor(number), false, b"x")));
        by(&list)
    };
    good(of(limits::CERTIFICATE_ELEMENTS));
    refused(of(limits::CERTIFICATE_ELEMENTS + 1), "larger than the limit");
}

#[test]
fn a_large_list_is_gone_through_without_a_tree() {
    let entries = 20_000_u32;
    let mut list = draft();
    for number in 0..entries {
        let [_, b, c, d] = number.to_be_bytes();
        list = list.entry(&[1, b, c, d], &[]);
    }
    good(by(&list));
    revoked(by(&list.revoke(7, None, None)));
}
