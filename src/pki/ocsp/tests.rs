use super::super::testing::*;
use super::*;

fn issuer_key() -> &'static Key {
    Key::get(Kind::P256, 1)
}

fn delegate_key() -> &'static Key {
    Key::get(Kind::P256, 2)
}

fn issuer() -> Certificate {
    Template::ca(ROOT, ROOT).sign(issuer_key(), issuer_key())
}

fn leaf() -> Certificate {
    Template::leaf(LEAF, ROOT).serial(7).sign(Key::get(Kind::P256, 0), issuer_key())
}

fn delegate() -> Template {
    Template::leaf("CN=responder", ROOT)
        .serial(9)
        .with(purposes_of(false, &[rfc5912::ID_KP_OCSP_SIGNING]))
        .with(extension(OCSP_NOCHECK, false, &[5, 0]))
}

fn judge_at(response: &[u8], seconds: u64) -> Result<Answer, BadAnswer> {
    judge(response, &leaf(), &issuer(), at(seconds))
}

/// Judges what a draft of the issuer's own word becomes.
fn by(change: impl FnOnce(OcspDraft<'_>) -> OcspDraft<'_>) -> Result<Answer, BadAnswer> {
    let (leaf, issuer) = (leaf(), issuer());
    let response = change(OcspDraft::new(&leaf, &issuer)).sign(issuer_key());
    judge_at(&response, NOW)
}

#[test]
fn the_issuers_own_word_counts_until_the_next_one_is_due() {
    let good = Answer { status: Status::Good, until: at(NOW + DAY), delegate: None };
    assert_eq!(by(|draft| draft), Ok(good.clone()));
    assert_eq!(by(|draft| OcspDraft { by_key: true, ..draft }), Ok(good.clone()));
    assert_eq!(by(|draft| OcspDraft { sha256: true, ..draft }), Ok(good));
}

#[test]
fn revoked_and_unknown_are_told_apart() {
    let revoked = |reason| Status::Revoked(Revoked { at: at(NOW - 3600), reason, invalid_from: None });
    assert_eq!(by(|draft| draft.revoked(None)).unwrap().status, revoked(Reason(0)));
    assert_eq!(by(|draft| draft.revoked(Some(1))).unwrap().status, revoked(Reason(1)));
    assert_eq!(by(|draft| draft.unknown()).unwrap().status, Status::Unknown);
}

#[test]
fn the_invalidity_date_is_read() {
    let date = |seconds| extension(rfc5280::ID_CE_INVALIDITY_DATE, false, &time_of(seconds));
    let found = by(|draft| OcspDraft { single_extensions: vec![date(NOW - DAY)], ..draft.revoked(Some(1)) }).unwrap();
    let Status::Revoked(revoked) = found.status else { panic!("{found:?}") };
    assert_eq!(revoked.invalid_from, Some(at(NOW - DAY)));
    let broken = extension(rfc5280::ID_CE_INVALIDITY_DATE, false, b"x");
    refused(by(|draft| OcspDraft { single_extensions: vec![broken], ..draft.revoked(Some(1)) }), "no OCSP response");
}

#[test]
fn a_response_is_expired_after_its_next_update_and_one_without_an_end_is_none() {
    let (leaf, issuer) = (leaf(), issuer());
    let response = OcspDraft::new(&leaf, &issuer).sign(issuer_key());
    assert!(judge_at(&response, NOW + DAY).is_ok());
    refused(judge_at(&response, NOW + DAY + 1), "it expired at");
    refused(by(|draft| OcspDraft { next_update: None, ..draft }), "nextUpdate");
    let skew = limits::CLOCK_SKEW.as_secs();
    assert!(by(|draft| OcspDraft { this_update: NOW + skew, ..draft }).is_ok());
    refused(by(|draft| OcspDraft { this_update: NOW + skew + 1, ..draft }), "it is valid from");
}

#[test]
fn a_response_about_another_certificate_says_nothing() {
    let other = Template::leaf(LEAF, ROOT).serial(8).sign(Key::get(Kind::P256, 0), issuer_key());
    let issuer = issuer();
    let response = OcspDraft::new(&other, &issuer).sign(issuer_key());
    refused(judge_at(&response, NOW), "about another certificate");
    // The same serial number, of an issuer of another name.
    let stranger = Template::ca(INTERMEDIATE, INTERMEDIATE).sign(issuer_key(), issuer_key());
    let leaf = leaf();
    let response = OcspDraft { issuer: &stranger, ..OcspDraft::new(&leaf, &issuer) }.sign(issuer_key());
    refused(judge_at(&response, NOW), "about another certificate");
}

#[test]
fn the_response_is_signed_by_the_issuer_or_by_whom_the_issuer_lets_answer() {
    let (leaf, issuer) = (leaf(), issuer());
    let draft = || OcspDraft::new(&leaf, &issuer);
    refused(judge_at(&draft().sign(delegate_key()), NOW), "does not fit its content");
    let of = |template: &Template, signer: &Key| {
        let delegate = template.sign(delegate_key(), issuer_key());
        judge_at(&draft().by(&delegate).sign(signer), NOW)
    };
    let found = of(&delegate(), delegate_key()).unwrap();
    assert_eq!((found.status, found.delegate), (Status::Good, None));
    refused(of(&delegate(), Key::get(Kind::P256, 0)), "does not fit its content");
    refused(of(&delegate().without(rfc5280::ID_CE_EXT_KEY_USAGE), delegate_key()), "does not say OCSPSigning");
    refused(
        of(&delegate().with(purposes_of(false, &[rfc5912::ID_KP_CODE_SIGNING])), delegate_key()),
        "does not say OCSPSigning",
    );
    refused(of(&Template { not_after: NOW - 1, ..delegate() }, delegate_key()), "expired at");
    refused(of(&Template { issuer: INTERMEDIATE.to_owned(), ..delegate() }, delegate_key()), "was not issued by");
    let forged = delegate().sign(delegate_key(), delegate_key());
    refused(judge_at(&draft().by(&forged).sign(delegate_key()), NOW), "was not issued by");
    // Who answers brings no certificate.
    let delegate = delegate().sign(delegate_key(), issuer_key());
    let response = OcspDraft { certificates: Vec::new(), ..draft().by(&delegate) }.sign(delegate_key());
    refused(judge_at(&response, NOW), "signed neither by");
}

#[test]
fn who_answers_in_the_issuers_place_keeps_the_rules_for_certificates() {
    let (leaf, issuer) = (leaf(), issuer());
    let of = |template: Template| {
        let delegate = template.sign(delegate_key(), issuer_key());
        judge_at(&OcspDraft::new(&leaf, &issuer).by(&delegate).sign(delegate_key()), NOW)
    };
    let vendor = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.55555.1");
    let inner = Some(algorithm(rfc5912::ECDSA_WITH_SHA_384, None));
    for (template, expected) in [
        (Template { version: x509_cert::Version::V1, ..delegate() }, "version 1 instead of 3"),
        (Template { inner, ..delegate() }, "two different signature algorithms"),
        (delegate().with(usage_of(true, &[KEY_CERT_SIGN])), "its keyUsage does not say digitalSignature"),
        (delegate().with(extension(rfc5280::ID_CE_KEY_USAGE, true, b"x")), "keyUsage cannot be read"),
        (delegate().with(extension(rfc5280::ID_CE_EXT_KEY_USAGE, true, b"x")), "extendedKeyUsage cannot be read"),
        (delegate().with(extension(vendor, true, b"x")), "its critical extension 1.3.6.1.4.1.55555.1"),
    ] {
        refused(of(template), expected);
    }
    // Longer than the type for object identifiers holds.
    let long = [vec![6, 50, 0x2b], vec![0x81; 48], vec![1]].concat();
    let long = [long, der::Encode::to_der(&rfc5912::ID_KP_OCSP_SIGNING).unwrap()].concat();
    for template in [
        delegate().without(rfc5280::ID_CE_KEY_USAGE),
        delegate().with(extension(vendor, false, b"x")),
        delegate().with(extension(OCSP_NOCHECK, true, &[5, 0])),
        delegate().with(extension(rfc5280::ID_CE_EXT_KEY_USAGE, true, &tlv(0x30, &long))),
    ] {
        assert!(of(template.clone()).is_ok(), "{:?}", template.extensions);
    }
}

#[test]
fn who_answers_under_the_issuers_name_may_have_another_kind_of_key() {
    let rsa = Key::get(Kind::Rsa2048, 0);
    let issuer = Template::ca(ROOT, ROOT).sign(rsa, rsa);
    let leaf = Template::leaf(LEAF, ROOT).serial(7).sign(Key::get(Kind::P256, 0), rsa);
    let delegate = Template { subject: ROOT.to_owned(), ..delegate() }.sign(delegate_key(), rsa);
    let draft = || OcspDraft::new(&leaf, &issuer).by(&delegate);
    assert!(judge(&draft().sign(delegate_key()), &leaf, &issuer, now()).is_ok());
    let alone = OcspDraft { certificates: Vec::new(), ..draft() }.sign(delegate_key());
    refused(judge(&alone, &leaf, &issuer, now()), "signature algorithm is not supported");
}

#[test]
fn a_certificate_that_cannot_be_read_beside_that_of_who_answers_changes_nothing() {
    let (leaf, issuer) = (leaf(), issuer());
    let delegate = delegate().sign(delegate_key(), issuer_key());
    let broken = &[0x30, 0][..];
    for certificates in [[broken, delegate.der()], [delegate.der(), broken]] {
        let draft = OcspDraft::new(&leaf, &issuer).by(&delegate);
        assert!(judge_at(&draft.sign_beside(&certificates.concat(), delegate_key()), NOW).is_ok());
    }
    let draft = OcspDraft::new(&leaf, &issuer).by(&delegate);
    refused(judge_at(&draft.sign_beside(broken, delegate_key()), NOW), "it is no X.509 certificate in DER");
}

#[test]
fn who_answers_without_nocheck_is_to_be_asked_about() {
    let (leaf, issuer) = (leaf(), issuer());
    let delegate = delegate().without(OCSP_NOCHECK).sign(delegate_key(), issuer_key());
    let found = judge_at(&OcspDraft::new(&leaf, &issuer).by(&delegate).sign(delegate_key()), NOW).unwrap();
    assert_eq!(found.delegate, Some(delegate));
}

#[test]
fn an_answer_ends_with_the_certificate_of_who_gave_it() {
    let (leaf, issuer) = (leaf(), issuer());
    let delegate = Template { not_after: NOW + 60, ..delegate() }.sign(delegate_key(), issuer_key());
    let found = judge_at(&OcspDraft::new(&leaf, &issuer).by(&delegate).sign(delegate_key()), NOW).unwrap();
    assert_eq!(found.until, at(NOW + 60));
}

#[test]
fn certificates_of_who_answers_at_the_limit_and_one_past_it() {
    let (leaf, issuer) = (leaf(), issuer());
    let delegate = delegate().sign(delegate_key(), issuer_key());
    let of = |others: usize| {
        let certificates = std::iter::repeat_n(issuer.clone(), others).chain([delegate.clone()]).collect();
        judge_at(&OcspDraft { certificates, ..OcspDraft::new(&leaf, &issuer).by(&delegate) }.sign(delegate_key()), NOW)
    };
    assert!(of(limits::OCSP_CERTIFICATES - 1).is_ok());
    refused(of(limits::OCSP_CERTIFICATES), "signed neither by");
}

#[test]
fn refusals_of_a_responder_are_told() {
    for (status, word) in [
        (1, "malformedRequest"),
        (2, "internalError"),
        (3, "tryLater"),
        (5, "sigRequired"),
        (6, "unauthorized"),
        (9, "not known"),
    ] {
        refused(judge_at(&[0x30, 3, 10, 1, status], NOW), word);
    }
    refused(judge_at(b"", NOW), "no OCSP response");
    refused(judge_at(b"<html>", NOW), "no OCSP response");
}

#[test]
fn what_is_critical_and_not_understood_is_refused() {
    let vendor = |critical| extension(ObjectIdentifier::new_unwrap("1.3.6.1.4.1.55555.1"), critical, b"x");
    assert!(by(|draft| OcspDraft { extensions: vec![vendor(false)], ..draft }).is_ok());
    refused(by(|draft| OcspDraft { extensions: vec![vendor(true)], ..draft }), "1.3.6.1.4.1.55555.1");
    refused(by(|draft| OcspDraft { single_extensions: vec![vendor(true)], ..draft }), "1.3.6.1.4.1.55555.1");
}

#[test]
fn every_changed_byte_of_a_response_is_seen() {
    let (leaf, issuer) = (leaf(), issuer());
    let date = extension(rfc5280::ID_CE_INVALIDITY_DATE, false, &time_of(NOW - DAY));
    let draft = OcspDraft { single_extensions: vec![date], ..OcspDraft::new(&leaf, &issuer).revoked(Some(1)) };
    let delegate = delegate().sign(delegate_key(), issuer_key());
    for response in [draft.sign(issuer_key()), draft.by(&delegate).sign(delegate_key())] {
        let whole = judge_at(&response, NOW).unwrap();
        for index in 0..response.len() {
            for flip in [1, 0x80, 0xff] {
                let mut bytes = response.clone();
                bytes[index] ^= flip;
                let judged = judge(&bytes, &leaf, &issuer, at(NOW));
                assert!(judged.is_err(), "byte {index} of {}: {judged:?} instead of {whole:?}", response.len());
            }
            assert!(judge_at(&response[..index], NOW).is_err());
        }
        assert!(judge_at(&[response.as_slice(), &[0]].concat(), NOW).is_err());
    }
}

#[test]
fn the_question_names_the_certificate_as_responders_expect() {
    let bytes = request(&leaf(), &issuer());
    assert_eq!(bytes.len(), 68);
    assert!(bytes.ends_with(&[2, 1, 7]));
    assert!(bytes.starts_with(&[
        0x30, 66, 0x30, 64, 0x30, 62, 0x30, 60, 0x30, 58, 0x30, 9, 6, 5, 0x2b, 14, 3, 2, 26, 5, 0, 4, 20
    ]));
}
