//! Every rule for timestamps, at its limit and one past it; tokens of openssl; every byte changed.

use const_oid::db::rfc5912;
use der::Encode;
use der::asn1::{Any, Null};
use proptest::prelude::*;
use x509_cert::serial_number::SerialNumber;

use super::super::anchors_from_pem;
use super::super::testing::*;
use super::testing::*;
use super::*;

const STAMPED: &[u8] = b"the signature of an envelope\n";
const MESSAGE_DIGEST: ObjectIdentifier = rfc5911::ID_MESSAGE_DIGEST;
const CONTENT_TYPE: ObjectIdentifier = rfc5911::ID_CONTENT_TYPE;
const SIGNING_TIME: ObjectIdentifier = rfc5911::ID_SIGNING_TIME;
const SIGNING_CERTIFICATE: ObjectIdentifier = rfc5911::ID_AA_SIGNING_CERTIFICATE_V_2;

fn token() -> Token {
    Token::over(STAMPED)
}

fn root() -> Certificate {
    authority_chain(Kind::P256).remove(2)
}

fn judge(token: &Token) -> Result<Timestamp, BadTimestamp> {
    verify(&token.sign(), STAMPED, &[root()])
}

#[track_caller]
fn passed(token: &Token) -> Timestamp {
    judge(token).unwrap_or_else(|cause| panic!("{cause}"))
}

#[track_caller]
fn refused(token: &Token, expected: &str) {
    let found = judge(token).expect_err(expected).to_string();
    assert!(found.contains(expected), "expected {expected:?}, found {found:?}");
}

fn fixture(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/timestamp");
    std::fs::read(format!("{folder}/{name}")).unwrap()
}

#[test]
fn tokens_of_openssl_pass_by_every_kind_of_key() {
    let stamped = fixture("stamped");
    for name in ["rsa-2048", "rsa-3072", "rsa-4096", "p-256", "p-384", "p-521"] {
        let anchors = anchors_from_pem(&fixture(&format!("{name}.pem"))).unwrap();
        let token = fixture(&format!("{name}.tst"));
        let found = verify(&token, &stamped, &anchors).unwrap_or_else(|cause| panic!("{name}: {cause}"));
        assert_eq!(found.latest.duration_since(found.earliest).unwrap(), Duration::from_secs(3), "{name}");
        let subjects: Vec<_> = found.chain.iter().map(|it| it.subject().to_string()).collect();
        let of = |what: &str| format!("CN={name} {what},O=stamps,C=US");
        assert_eq!(subjects, ["authority", "intermediate", "root"].map(of));
        assert_eq!(verify(&token, b"other", &anchors), Err(BadTimestamp::Imprint), "{name}");
        let found = verify(&token, &stamped, &[root()]).unwrap_err().to_string();
        assert!(found.contains("is not trusted") && found.contains(&of("root")), "{found}");
    }
}

#[test]
fn tokens_of_openssl_that_say_less() {
    let (stamped, anchors) = (fixture("stamped"), anchors_from_pem(&fixture("p-256.pem")).unwrap());
    let judge = |name: &str| verify(&fixture(name), &stamped, &anchors);
    let baseline = judge("baseline.tst").unwrap();
    assert_eq!(baseline.latest.duration_since(baseline.earliest).unwrap(), Duration::from_secs(2));
    // Only the attribute of old, with SHA-1: "When missing, fail this step".
    let missing = BadSignedData::Missing("signing-certificate-v2");
    assert_eq!(judge("sha1.tst"), Err(BadTimestamp::SignedData(missing)));
    assert_eq!(judge("no-certificates.tst"), Err(BadTimestamp::NoSigner));
}

// --- what it says (RFC 3161, section 2.4.2) ----------------------------------------------------------------------------

#[test]
fn the_time_is_read_to_the_fraction_of_a_second() {
    let at = |text: &str| judge(&token().at(text)).map(|found| found.latest);
    let base = super::super::testing::at(NOW);
    for (text, nanos) in [
        ("20270115080000Z", 0),
        ("20270115080000.5Z", 500_000_000),
        ("20270115080000.05Z", 50_000_000),
        ("20270115080000.000000001Z", 1),
        ("20270115080000.999999999Z", 999_999_999),
    ] {
        assert_eq!(at(text), Ok(base + Duration::from_nanos(nanos)), "{text}");
    }
    for text in [
        "",
        "Z",
        "20270115080000",
        "202701150800Z",
        "2027011508000Z",
        "202701150800000Z",
        "20270115080000+0000",
        "20270115090000+0100",
        "20270115080000.Z",
        "20270115080000.50Z",
        "20270115080000.0Z",
        "20270115080000,5Z",
        "20270115080000.0000000001Z",
        "20270115080000.5.5Z",
        "20270115080000.-1Z",
        "+2270115080000Z",
        "20271315080000Z",
        "20270230080000Z",
        "20270115240000Z",
        "20270115086000Z",
        "20270115080060Z",
        "19691231235959Z",
        "2027011508000\u{e9}Z",
    ] {
        assert_eq!(at(text), Err(BadTimestamp::Time), "{text}");
    }
}

#[test]
fn the_accuracy_makes_the_range() {
    let baseline = ObjectIdentifier::new_unwrap("0.4.0.2023.1.1");
    let range = |policy: Option<ObjectIdentifier>, rest: &[u8]| {
        let mut token = token().rest(rest);
        token.info.policy = policy.unwrap_or(token.info.policy);
        judge(&token).map(|found| {
            let middle = found.earliest + found.latest.duration_since(found.earliest).unwrap() / 2;
            assert_eq!(middle, now());
            found.latest.duration_since(now()).unwrap()
        })
    };
    let stated = |parts: &[&[u8]]| tlv(0x30, &parts.concat());
    let (seconds, millis, micros): (&[u8], &[u8], &[u8]) = (&[2, 1, 2], &[0x80, 2, 3, 0xe7], &[0x81, 2, 3, 0xe7]);
    for (policy, rest, expected) in [
        (None, vec![], Duration::ZERO),
        (Some(baseline), vec![], Duration::from_secs(1)),
        (None, stated(&[seconds]), Duration::from_secs(2)),
        (Some(baseline), stated(&[seconds]), Duration::from_secs(2)),
        (None, stated(&[millis]), Duration::from_millis(999)),
        (Some(baseline), stated(&[micros]), Duration::from_micros(999)),
        (None, stated(&[seconds, millis, micros]), Duration::from_micros(2_999_999)),
        // "explicitly specified", and what is missing in it is zero.
        (Some(baseline), stated(&[]), Duration::ZERO),
        (Some(baseline), stated(&[&[2, 1, 0]]), Duration::ZERO),
        (None, stated(&[&[2, 4, 0x7f, 0xff, 0xff, 0xff]]), Duration::from_secs(0x7fff_ffff)),
    ] {
        assert_eq!(range(policy, &rest), Ok(expected), "{rest:?}");
    }
    for rest in [
        stated(&[&[2, 1, 0xff]]),
        stated(&[&[2, 0]]),
        stated(&[&[2, 5, 0, 0x80, 0, 0, 0]]),
        stated(&[&[0x80, 2, 3, 0xe8]]),
        stated(&[&[0x81, 2, 3, 0xe8]]),
        stated(&[&[0x80, 1, 0xff]]),
        stated(&[micros, millis]),
        stated(&[millis, seconds]),
        stated(&[seconds, seconds]),
        stated(&[&[0x82, 1, 1]]),
    ] {
        assert_eq!(range(None, &rest), Err(BadTimestamp::Accuracy), "{rest:?}");
    }
}

#[test]
fn other_fields_are_passed_over_in_their_order() {
    let (accuracy, ordering, nonce) = (tlv(0x30, &[2, 1, 1]), tlv(1, &[0xff]), tlv(2, &[7; 9]));
    let name = tlv(0xa0, &tlv(0xa4, &root().parts.subject));
    let vendor = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.55555.1").to_der().unwrap();
    let extension = tlv(0x30, &[vendor, tlv(4, b"x")].concat());
    let extensions = tlv(0xa1, &extension);
    passed(&token().rest(&[&accuracy[..], &ordering, &nonce, &name, &extensions].concat()));
    for part in [&accuracy, &ordering, &nonce, &name, &extensions] {
        passed(&token().rest(part));
    }
    for rest in [[&nonce[..], &ordering], [&extensions[..], &name], [&name[..], &tlv(0xa2, b"")], [&nonce[..], &nonce]]
    {
        refused(&token().rest(&rest.concat()), "(TSTInfo) cannot be read");
    }
}

#[test]
fn a_critical_extension_is_refused() {
    let extension = |middle: &[u8]| {
        let vendor = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.55555.1").to_der().unwrap();
        tlv(0x30, &[&vendor[..], middle, &tlv(4, b"x")].concat())
    };
    let of = |extensions: &[u8]| token().rest(&tlv(0xa1, extensions));
    passed(&of(&extension(&[])));
    passed(&of(&extension(&[1, 1, 0])));
    refused(&of(&extension(&[1, 1, 0xff])), "critical extension");
    refused(&of(&[extension(&[]), extension(&[1, 1, 0xff])].concat()), "critical extension");
    refused(&of(&extension(&[1, 1, 1])), "(TSTInfo) cannot be read");
    refused(&of(b"x"), "(TSTInfo) cannot be read");
    passed(&of(&extension(&[]).repeat(limits::TIMESTAMP_ELEMENTS)));
    refused(&of(&extension(&[]).repeat(limits::TIMESTAMP_ELEMENTS + 1)), "more than 64 extensions");
}

#[test]
fn version_1_alone_is_read() {
    for version in [0, 2, 3] {
        let mut other = token();
        other.info.version = version;
        refused(&other, "version of what it says (TSTInfo) is not 1");
        let data = Token { version: if version == 3 { 4 } else { version }, ..token() };
        refused(&data, "version of its signed data is not 3");
        refused(&Token { signer_version: version, ..token() }, "version of its signer is not 1");
    }
}

#[test]
fn the_imprint_is_the_hash_of_what_was_stamped() {
    for hash in [Hash::Sha256, Hash::Sha384, Hash::Sha512] {
        let mut token = token();
        token.info.imprint = imprint(&identifier(hash), hash.digest(STAMPED).as_ref());
        passed(&token);
        assert_eq!(verify(&token.sign(), b"something else", &[root()]), Err(BadTimestamp::Imprint));
        let bare = algorithm(identifier(hash).oid, None);
        token.info.imprint = imprint(&bare, hash.digest(STAMPED).as_ref());
        passed(&token);
        for wrong in [hash.digest(b"other").as_ref(), &hash.digest(STAMPED).as_ref()[1..], b""] {
            token.info.imprint = imprint(&identifier(hash), wrong);
            assert_eq!(judge(&token), Err(BadTimestamp::Imprint));
        }
    }
    let sha1 = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, STAMPED);
    let mut old = token();
    old.info.imprint = imprint(&algorithm(rfc5912::ID_SHA_1, Some(Any::from(Null))), sha1.as_ref());
    refused(&old, "the hash function id-sha1 is not supported");
    let with_parameters = algorithm(rfc5912::ID_SHA_256, Some(Any::from(rfc5912::ID_SHA_256)));
    old.info.imprint = imprint(&with_parameters, Hash::Sha256.digest(STAMPED).as_ref());
    refused(&old, "the hash function id-sha256 is not supported");
}

// --- the signed data around it (RFC 5652) ------------------------------------------------------------------------------

#[test]
fn signed_data_about_something_else_is_no_timestamp() {
    refused(&Token { content_type: rfc5911::ID_DATA, ..token() }, "content is of another type");
    let data = tlv(0x30, &[rfc5911::ID_DATA.to_der().unwrap(), tlv(0xa0, &tlv(4, b"x"))].concat());
    assert_eq!(verify(&data, STAMPED, &[root()]), Err(BadTimestamp::SignedData(BadSignedData::NotSignedData)));
}

#[test]
fn a_token_is_read_to_its_last_byte() {
    let der = token().sign();
    assert!(verify(&der, STAMPED, &[root()]).is_ok());
    for wrong in [&[][..], &der[..der.len() - 1], &[&der[..], &[0]].concat(), b"0", &[0x30, 0x80, 0, 0]] {
        let found = verify(wrong, STAMPED, &[root()]).unwrap_err().to_string();
        assert!(found.contains("cannot be read as signed data"), "{found}");
    }
    let parts = token().parts();
    let judge = |parts: &[Vec<u8>]| verify(&signed_data(parts), STAMPED, &[root()]).map_err(|cause| cause.to_string());
    assert!(judge(&parts).is_ok());
    let crls = tlv(0xa1, b"whatever");
    assert!(
        judge(&[&parts[..4], std::slice::from_ref(&crls), &parts[4..]].concat()).is_ok(),
        "revocation lists are passed over"
    );
    for wrong in [
        [&parts[..], &[tlv(5, b"")]].concat(),
        [&parts[..3], &[crls], &parts[3..]].concat(),
        parts[..4].to_vec(),
        [&parts[..2], &parts[3..]].concat(),
    ] {
        assert!(judge(&wrong).unwrap_err().contains("cannot be read as signed data"));
    }
    let certificates = BadTimestamp::NoSigner.to_string();
    assert_eq!(judge(&[&parts[..3], &parts[4..]].concat()), Err(certificates));
    passed(&Token { unsigned: tlv(0xa1, &attribute(SIGNING_TIME, b"x")), ..token() });
    refused(&Token { unsigned: tlv(0xa2, b""), ..token() }, "cannot be read as signed data");
}

#[test]
fn exactly_one_signer() {
    for signers in [0, 2] {
        refused(&Token { signers, ..token() }, "does not have exactly one signer");
    }
}

#[test]
fn size_at_the_limit_and_one_past_it() {
    // RSA, because all its signatures have one length.
    let of =
        |filling: usize| Token { unsigned: tlv(0xa1, &vec![0; filling]), ..Token::by(Kind::Rsa2048, STAMPED) }.sign();
    let filling = limits::TIMESTAMP_BYTES - 4000;
    let at_limit = of(filling + limits::TIMESTAMP_BYTES - of(filling).len());
    assert_eq!(at_limit.len(), limits::TIMESTAMP_BYTES);
    assert!(verify(&at_limit, STAMPED, &[root()]).is_ok());
    let past = [at_limit, vec![0]].concat();
    assert_eq!(verify(&past, STAMPED, &[root()]), Err(BadTimestamp::TooLarge(limits::TIMESTAMP_BYTES + 1)));
}

#[test]
fn signed_attributes_must_be_there_once() {
    for (kind, name) in [
        (CONTENT_TYPE, "content-type"),
        (MESSAGE_DIGEST, "message-digest"),
        (SIGNING_CERTIFICATE, "signing-certificate-v2"),
    ] {
        refused(&token().replace(kind, Vec::new()), &format!("its signed attribute {name} is missing"));
    }
    let none = [CONTENT_TYPE, MESSAGE_DIGEST, SIGNING_CERTIFICATE];
    refused(&none.into_iter().fold(token(), |token, kind| token.replace(kind, Vec::new())), "no signed attributes");
    let digest = tlv(4, Hash::Sha256.digest(b"").as_ref());
    let time = tlv(0x17, b"270115080000Z");
    let certificate = signing_certificate(&[&ess(&token().signer, &[])]);
    let content_type = ID_CT_TST_INFO.to_der().unwrap();
    for (kind, name, value) in [
        (CONTENT_TYPE, "content-type", &content_type),
        (MESSAGE_DIGEST, "message-digest", &digest),
        (SIGNING_CERTIFICATE, "signing-certificate-v2", &certificate),
        (SIGNING_TIME, "signing-time", &time),
    ] {
        let expected = format!("{name} must stand there once, with one value");
        refused(&token().replace(kind, attribute(kind, value).repeat(2)), &expected);
        refused(&token().attribute(kind, &value.repeat(2)), &expected);
        refused(&token().attribute(kind, &[]), &expected);
    }
}

#[test]
fn signed_attributes_fit_what_was_signed() {
    let data = rfc5911::ID_DATA.to_der().unwrap();
    refused(&token().attribute(CONTENT_TYPE, &data), "content-type does not fit");
    for wrong in [Hash::Sha256.digest(b"other").as_ref(), Hash::Sha512.digest(b"").as_ref(), b""] {
        refused(&token().attribute(MESSAGE_DIGEST, &tlv(4, wrong)), "message-digest does not fit");
    }
    refused(&token().attribute(MESSAGE_DIGEST, &tlv(2, &[1])), "cannot be read as signed data");
    refused(&token().attribute(CONTENT_TYPE, &tlv(4, b"x")), "cannot be read as signed data");
    let unknown = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.55555.9");
    passed(&token().attribute(unknown, &tlv(4, b"x")));
    passed(&token().replace(unknown, attribute(unknown, &[]).repeat(limits::TIMESTAMP_ELEMENTS - 3)));
    let past = token().replace(unknown, attribute(unknown, &[]).repeat(limits::TIMESTAMP_ELEMENTS - 2));
    refused(&past, "more than 64 signed attributes");
}

#[test]
fn attributes_are_signed_in_the_order_of_der_however_they_stand() {
    passed(&Token { backwards: true, ..token() });
}

// --- who signed (RFC 5035) ---------------------------------------------------------------------------------------------

#[test]
fn signing_certificate_v2_names_the_signer() {
    let token = token();
    let (signer, chain) = (&token.signer, authority_chain(Kind::P256));
    let named = |value: &[u8]| token.clone().attribute(SIGNING_CERTIFICATE, value);
    let by = |hash: Hash| {
        let digest = tlv(4, hash.digest(signer.der()).as_ref());
        signing_certificate(&[&tlv(0x30, &[identifier(hash).to_der().unwrap(), digest].concat())])
    };
    for hash in [Hash::Sha256, Hash::Sha384, Hash::Sha512] {
        passed(&named(&by(hash)));
    }
    // The issuers may be named too, and policies.
    passed(&named(&signing_certificate(&[&ess(signer, &[]), &ess(&chain[1], &[])])));
    refused(&named(&signing_certificate(&[&ess(&chain[1], &[]), &ess(signer, &[])])), "speak of two certificates");
    let policies = tlv(0x30, &tlv(0x30, &ID_CT_TST_INFO.to_der().unwrap()));
    passed(&named(&tlv(0x30, &[tlv(0x30, &ess(signer, &[])), policies].concat())));
    refused(&named(&signing_certificate(&[&ess(&chain[2], &[])])), "is not among its certificates");
    refused(&named(&signing_certificate(&[])), "cannot be read");
    refused(&named(&tlv(4, b"x")), "cannot be read");
    let sha1 = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, signer.der());
    let old = [algorithm(rfc5912::ID_SHA_1, None).to_der().unwrap(), tlv(4, sha1.as_ref())].concat();
    refused(&named(&signing_certificate(&[&tlv(0x30, &old)])), "the hash function id-sha1 is not supported");
    let short = tlv(0x30, &tlv(4, &Hash::Sha256.digest(signer.der()).as_ref()[..31]));
    refused(&named(&signing_certificate(&[&short])), "is not among its certificates");
}

#[test]
fn the_issuer_and_serial_beside_the_hash_fit() {
    let token = token();
    let serial = |number: u8| tlv(2, &[number]);
    let names = |names: &[Vec<u8>], number: u8| tlv(0x30, &[tlv(0x30, &names.concat()), serial(number)].concat());
    let directory = |name: &[u8]| tlv(0xa4, name);
    let issuer = directory(&token.signer.parts.issuer);
    let named = |issuer_serial: &[u8]| {
        token.clone().attribute(SIGNING_CERTIFICATE, &signing_certificate(&[&ess(&token.signer, issuer_serial)]))
    };
    passed(&named(&names(std::slice::from_ref(&issuer), 1)));
    refused(&named(&names(std::slice::from_ref(&issuer), 2)), "speak of two certificates");
    refused(&named(&names(&[directory(&token.signer.parts.subject)], 1)), "speak of two certificates");
    for wrong in [vec![], vec![issuer.clone(), issuer], vec![tlv(0x82, b"dns.example")]] {
        refused(&named(&names(&wrong, 1)), "cannot be read");
    }
    refused(&named(&tlv(0x31, &[])), "cannot be read");
}

#[test]
fn the_signers_own_name_for_its_certificate_fits() {
    let other = authority_chain(Kind::P256).remove(1);
    refused(&Token { named: Some(issuer_and_serial(&other)), ..token() }, "speak of two certificates");
    let serial = [token().signer.parts.issuer.clone(), tlv(2, &[2])].concat();
    refused(&Token { named: Some(serial), ..token() }, "speak of two certificates");
    refused(&Token { named: Some(tlv(0x80, &[7; 20])), ..token() }, "cannot be read as signed data");
    let long = [token().signer.parts.issuer.clone(), tlv(2, &[7; 40])].concat();
    refused(&Token { named: Some(long), ..token() }, "speak of two certificates");
}

// --- by what (RFC 5754, RFC 4056) --------------------------------------------------------------------------------------

#[test]
fn signature_algorithms_that_are_taken() {
    use rfc5912::*;
    for kind in [Kind::P256, Kind::P384, Kind::P521, Kind::Rsa2048, Kind::Rsa3072, Kind::Rsa4096] {
        passed(&Token::by(kind, STAMPED));
    }
    let null = || Some(Any::from(Null));
    let salted = |hash, salt| pss(hash, ID_MGF_1, hash, Some(salt), None);
    for (kind, algorithm, hash) in [
        (Kind::Rsa2048, algorithm(RSA_ENCRYPTION, None), Hash::Sha256),
        (Kind::Rsa2048, algorithm(SHA_256_WITH_RSA_ENCRYPTION, null()), Hash::Sha256),
        (Kind::Rsa2048, algorithm(SHA_384_WITH_RSA_ENCRYPTION, null()), Hash::Sha384),
        (Kind::Rsa2048, algorithm(SHA_512_WITH_RSA_ENCRYPTION, null()), Hash::Sha512),
        (Kind::Rsa2048, salted(ID_SHA_256, 32), Hash::Sha256),
        (Kind::Rsa3072, salted(ID_SHA_384, 48), Hash::Sha384),
        (Kind::Rsa4096, salted(ID_SHA_512, 64), Hash::Sha512),
        (Kind::P521, algorithm(ECDSA_WITH_SHA_384, None), Hash::Sha384),
        // The hash of the content and the one of the signature over its digest are two things.
        (Kind::P256, algorithm(ECDSA_WITH_SHA_256, None), Hash::Sha512),
        (Kind::Rsa2048, algorithm(SHA_256_WITH_RSA_ENCRYPTION, null()), Hash::Sha512),
    ] {
        let token = Token { digest: identifier(hash), hash, algorithm, ..Token::by(kind, STAMPED) };
        passed(&token);
        passed(&Token { digest: super::super::testing::algorithm(token.digest.oid, None), ..token });
    }
}

#[test]
fn other_signature_algorithms_are_refused() {
    use rfc5912::*;
    let null = || Some(Any::from(Null));
    let rsa = algorithm(SHA_256_WITH_RSA_ENCRYPTION, null());
    let ecdsa = algorithm(ECDSA_WITH_SHA_256, None);
    let of = |kind, algorithm: spki::AlgorithmIdentifierOwned| {
        let truth = if kind == Kind::P256 { ecdsa.clone() } else { rsa.clone() };
        Token { algorithm, truth: Some(truth), ..Token::by(kind, STAMPED) }
    };
    for (kind, algorithm, expected) in [
        (Kind::P256, rsa.clone(), "sha256WithRSAEncryption, but the signer's key is EC P-256"),
        (Kind::P256, algorithm(RSA_ENCRYPTION, null()), "rsaEncryption, but the signer's key is EC P-256"),
        (Kind::Rsa2048, ecdsa.clone(), "ecdsa-with-SHA256, but the signer's key is RSA-2048"),
        (Kind::Rsa2048, algorithm(SHA_1_WITH_RSA_ENCRYPTION, null()), "algorithm is sha1WithRSAEncryption"),
        (
            Kind::P256,
            algorithm(ObjectIdentifier::new_unwrap("1.2.840.10045.4.1"), None),
            "algorithm is 1.2.840.10045.4.1",
        ),
        (Kind::P256, algorithm(ID_EC_PUBLIC_KEY, None), "algorithm is id-ecPublicKey"),
        (Kind::P256, algorithm(ECDSA_WITH_SHA_256, Some(Any::from(ID_SHA_256))), "with parameters"),
        (Kind::Rsa2048, algorithm(RSA_ENCRYPTION, Some(Any::from(ID_SHA_256))), "algorithm is rsaEncryption"),
        (Kind::Rsa2048, pss(ID_SHA_1, ID_MGF_1, ID_SHA_1, Some(20), None), "RSASSA-PSS with parameters other"),
        (Kind::Rsa2048, pss(ID_SHA_256, ID_MGF_1, ID_SHA_256, Some(222), None), "RSASSA-PSS with parameters other"),
    ] {
        refused(&of(kind, algorithm), expected);
    }
    let sha1 = algorithm(ID_SHA_1, null());
    refused(&Token { digest: sha1, ..token() }, "the hash function id-sha1 is not supported");
    // A truthful signature, said to be by another hash function.
    refused(&of(Kind::P256, algorithm(ECDSA_WITH_SHA_384, None)), "its signature does not fit");
}

#[test]
fn a_signature_by_another_key_is_refused() {
    // Of the same name and number, for another key.
    let signer = authority(TSA, TSA_INTERMEDIATE).sign(Key::get(Kind::P256, 1), Key::get(Kind::P256, 1));
    let middle = authority_chain(Kind::P256).remove(1);
    refused(&Token { signer: signer.clone(), ..token() }.with(&[&signer, &middle]), "its signature does not fit");
}

// --- who vouches for the signer ----------------------------------------------------------------------------------------

#[test]
fn the_chain_is_found_among_the_certificates_and_the_roots() {
    let chain = authority_chain(Kind::P256);
    let [leaf, middle, root] = [&chain[0], &chain[1], &chain[2]];
    let unrelated = super::super::testing::chain();
    let given: [&[&Certificate]; 5] = [
        &[leaf, middle],
        &[middle, leaf],
        &[leaf, middle, root],
        &[root, middle, leaf],
        &[&unrelated[0], leaf, &unrelated[1], middle, &unrelated[2], middle],
    ];
    for given in given {
        assert_eq!(passed(&token().with(given)).chain, chain);
    }
    // The anchors may be many.
    let anchors = [&unrelated[..], &chain[2..]].concat();
    assert_eq!(verify(&token().sign(), STAMPED, &anchors).map(|found| found.chain), Ok(chain.clone()));
    refused(&token().with(&[leaf]), "no trusted root leads to it, as CN=stamps intermediate,O=tsa,C=US would");
    let untrusted = |token: &Token| verify(&token.sign(), STAMPED, &unrelated).unwrap_err().to_string();
    for given in [&[leaf, middle][..], &[leaf, middle, root]] {
        let found = untrusted(&token().with(given));
        assert!(found.contains("authority CN=stamps,O=tsa,C=US is not trusted"), "{found}");
    }
    assert!(verify(&token().sign(), STAMPED, &[]).is_err());
}

#[test]
fn a_root_of_the_same_name_and_another_key_is_not_the_root() {
    let key = Key::get(Kind::P384, 0);
    let impostor = Template::ca(TSA_ROOT, TSA_ROOT).sign(key, key);
    let found = verify(&token().sign(), STAMPED, std::slice::from_ref(&impostor)).unwrap_err();
    assert!(matches!(found, BadTimestamp::Chain(Violation::Signature { .. })), "{found}");
    // Beside it the true one is still found, wherever it stands.
    for anchors in [[impostor.clone(), root()], [root(), impostor]] {
        assert!(verify(&token().sign(), STAMPED, &anchors).is_ok());
    }
}

#[test]
fn roots_that_signed_each_other_and_renewed_intermediates_lead_up() {
    let chain = authority_chain(Kind::P256);
    let [leaf, middle, old] = [&chain[0], &chain[1], &chain[2]];
    let [middle_key, old_key, new_key] = [Key::get(Kind::P256, 1), Key::get(Kind::P256, 2), Key::get(Kind::P384, 1)];
    let new = Template::ca("CN=new root,O=tsa", "CN=new root,O=tsa").sign(new_key, new_key);
    let crossed = Template::ca(TSA_ROOT, "CN=new root,O=tsa").sign(old_key, new_key);
    let token = token().with(&[leaf, middle, old, &crossed]);
    let judge = |anchors: &[Certificate]| verify(&token.sign(), STAMPED, anchors).map(|found| found.chain);
    assert_eq!(judge(std::slice::from_ref(old)).unwrap(), chain);
    let longer = vec![leaf.clone(), middle.clone(), crossed, new.clone()];
    assert_eq!(judge(&[new]).unwrap(), longer);
    let ended = Template { not_after: NOW - DAY, ..Template::ca(TSA_INTERMEDIATE, TSA_ROOT) };
    let ended = ended.sign(middle_key, old_key);
    for given in [[leaf, &ended, middle], [leaf, middle, &ended]] {
        assert_eq!(passed(&token.clone().with(&given)).chain, chain);
    }
}

#[test]
fn the_authoritys_chain_keeps_the_rules() {
    let of = |leaf: Template, middle: Template| {
        let [leaf_key, middle_key, root_key] = [0, 1, 2].map(|number| Key::get(Kind::P256, number));
        let (leaf, middle) = (leaf.sign(leaf_key, middle_key), middle.sign(middle_key, root_key));
        Token { signer: leaf.clone(), ..token() }.with(&[&leaf, &middle])
    };
    let (leaf, middle) = (|| authority(TSA, TSA_INTERMEDIATE), || Template::ca(TSA_INTERMEDIATE, TSA_ROOT));
    passed(&of(leaf(), middle()));
    let code_signer = Template::leaf(TSA, TSA_INTERMEDIATE);
    refused(&of(code_signer, middle()), "must be present, critical, and say timeStamping alone");
    let no_ca = Template::leaf(TSA_INTERMEDIATE, TSA_ROOT);
    refused(&of(leaf(), no_ca), "its authority: certificate CN=stamps intermediate,O=tsa,C=US issues others");
}

#[test]
fn the_authority_was_valid_at_the_stamped_time() {
    let of = |leaf: Template, middle: Template| {
        let [leaf_key, middle_key, root_key] = [0, 1, 2].map(|number| Key::get(Kind::P256, number));
        let (leaf, middle) = (leaf.sign(leaf_key, middle_key), middle.sign(middle_key, root_key));
        Token { signer: leaf.clone(), ..token() }.with(&[&leaf, &middle])
    };
    let (leaf, middle) = (|| authority(TSA, TSA_INTERMEDIATE), || Template::ca(TSA_INTERMEDIATE, TSA_ROOT));
    let from = |template: Template, not_before| Template { not_before, ..template };
    let to = |template: Template, not_after| Template { not_after, ..template };
    passed(&of(from(leaf(), NOW), middle()));
    passed(&of(to(leaf(), NOW), to(middle(), NOW)));
    let early = of(from(leaf(), NOW + 1), middle());
    refused(&early, "at the stamped time 2027-01-15T08:00:00Z: certificate CN=stamps,O=tsa,C=US is valid from");
    refused(&of(to(leaf(), NOW - 1), middle()), "certificate CN=stamps,O=tsa,C=US expired at 2027-01-15T07:59:59Z");
    refused(&of(leaf(), to(middle(), NOW - 1)), "certificate CN=stamps intermediate,O=tsa,C=US expired");
    refused(&of(to(leaf(), NOW), middle()).at("20270115080000.1Z"), "expired at 2027-01-15T08:00:00Z");
    // The accuracy is about the stamped signature, not about the authority, as notation has it.
    passed(&of(to(leaf(), NOW), middle()).rest(&tlv(0x30, &[2, 1, 60])));
}

#[test]
fn the_authority_was_valid_when_it_says_that_it_signed() {
    let signing = |value: &[u8]| token().attribute(SIGNING_TIME, value);
    passed(&signing(&tlv(0x17, b"270115080000Z")));
    passed(&signing(&tlv(0x18, b"20270115080000Z")));
    refused(&signing(&tlv(0x17, b"261007075959Z")), "at its signing-time 2026-10-07T07:59:59Z");
    passed(&signing(&tlv(0x17, b"261007080000Z")));
    passed(&signing(&tlv(0x17, b"270425080000Z")));
    refused(&signing(&tlv(0x17, b"270425080001Z")), "at its signing-time 2027-04-25T08:00:01Z");
    refused(&signing(&tlv(4, b"x")), "cannot be read");
}

#[test]
fn certificates_at_the_limit_and_one_past_it() {
    let chain = authority_chain(Kind::P256);
    let unrelated = super::super::testing::chain().remove(0);
    let of = |number: usize| {
        let mut given = vec![&unrelated; number - 2];
        given.extend(&chain[..2]);
        token().with(&given)
    };
    passed(&of(limits::CHAIN_CERTIFICATES));
    refused(&of(limits::CHAIN_CERTIFICATES + 1), "more than 16 certificates");
    let mut broken = token();
    broken.certificates.push(tlv(0xa1, b"attribute certificate"));
    refused(&broken, "its certificate 3: it is no X.509 certificate in DER");
}

#[test]
fn the_longest_chain_and_one_certificate_more() {
    let key = Key::get(Kind::P256, 0);
    let name = |number: usize| format!("CN=ca {number}");
    let of = |length: usize| {
        let leaf = authority(TSA, &name(1)).sign(key, key);
        let above = (1..length).map(|number| Template::ca(&name(number), &name((number + 1).min(length - 1))));
        let chain: Vec<_> = std::iter::once(leaf).chain(above.map(|template| template.sign(key, key))).collect();
        let given: Vec<_> = chain[..length - 1].iter().collect();
        let token = Token { signer: chain[0].clone(), ..token() }.with(&given);
        verify(&token.sign(), STAMPED, &chain[length - 1..]).map(|found| found.chain.len())
    };
    assert_eq!(of(limits::CHAIN_CERTIFICATES), Ok(limits::CHAIN_CERTIFICATES));
    let found = of(limits::CHAIN_CERTIFICATES + 1).unwrap_err().to_string();
    assert!(found.contains("is not trusted"), "{found}");
}

/// Certificates that all issue each other, and lead to a root by its name alone.
#[test]
fn certificates_that_can_be_put_together_in_numberless_ways_come_to_an_end() {
    let key = Key::get(Kind::P256, 0);
    let name = "CN=all alike";
    let serial = |number: usize| SerialNumber::new(&[1 + u8::try_from(number).unwrap()]).unwrap();
    let leaf = authority(TSA, name).sign(key, key);
    let alike: Vec<_> = (0..limits::CHAIN_CERTIFICATES - 1)
        .map(|number| Template { serial: serial(number), ..Template::ca(name, name) })
        .map(|template| template.sign(key, key))
        .collect();
    let given: Vec<_> = std::iter::once(&leaf).chain(&alike).collect();
    let token = Token { signer: leaf.clone(), ..token() }.with(&given).sign();
    assert!(matches!(verify(&token, STAMPED, &[root()]), Err(BadTimestamp::Untrusted { .. })));
    let other = Key::get(Kind::P256, 2);
    let of_the_name = Template::ca(name, name).sign(other, other);
    let check = |chain: &[Certificate]| check_timestamping(chain).map_err(BadTimestamp::Chain);
    let mut search = Search::new(&alike, std::slice::from_ref(&of_the_name), check);
    assert_eq!(search.climb(&mut vec![&leaf]), None);
    assert_eq!((search.chains, search.steps <= limits::PATH_STEPS), (limits::PATH_CHAINS, true));
    let mut search = Search::new(&alike, &[], check);
    assert_eq!(search.climb(&mut vec![&leaf]), None);
    assert_eq!((search.chains, search.steps), (0, limits::PATH_STEPS));
}

#[test]
fn as_many_chains_as_the_limit_says_are_checked() {
    let chain = authority_chain(Kind::P256);
    let key = Key::get(Kind::P384, 0);
    let impostor = |number: usize| {
        let serial = SerialNumber::new(&[1 + u8::try_from(number).unwrap()]).unwrap();
        Template { serial, ..Template::ca(TSA_ROOT, TSA_ROOT) }.sign(key, key)
    };
    let judge = |impostors: usize| {
        let anchors: Vec<_> = (0..impostors).map(impostor).chain([root()]).collect();
        verify(&token().sign(), STAMPED, &anchors).map(|found| found.chain)
    };
    assert_eq!(judge(limits::PATH_CHAINS - 1), Ok(chain));
    assert!(judge(limits::PATH_CHAINS).is_err());
}

// --- authorities that are told ---------------------------------------------------------------------------------------

#[test]
fn the_token_is_taken_out_of_an_answer_that_grants_it() {
    let made = token().sign();
    let answer = |status: &[u8]| tlv(0x30, &[tlv(0x30, status), made.clone()].concat());
    let words = tlv(0x30, &tlv(0x0c, b"granted"));
    for status in [tlv(2, &[0]), tlv(2, &[1]), [tlv(2, &[0]), words].concat()] {
        assert_eq!(super::token(&answer(&status)), Ok(made.as_slice()));
    }
    for status in [tlv(2, &[2]), tlv(2, &[0, 0]), tlv(2, &[])] {
        assert_eq!(super::token(&answer(&status)), Err(BadTimestamp::NotGranted));
    }
    assert_eq!(super::token(&tlv(0x30, &tlv(0x30, &tlv(2, &[0])))), Err(BadTimestamp::NotGranted), "no token");
    let more = tlv(0x30, &[tlv(0x30, &tlv(2, &[0])), made.clone(), vec![5, 0]].concat());
    assert!(matches!(super::token(&more), Err(BadTimestamp::Malformed(_))));
    assert!(super::token(&made).is_err(), "a token by itself is no answer");
    let long = vec![0; limits::TIMESTAMP_BYTES + 1];
    assert_eq!(super::token(&long), Err(BadTimestamp::TooLarge(long.len())));
}

#[test]
fn an_authority_that_is_told_needs_no_root_and_stands_for_no_other() {
    let chain = authority_chain(Kind::P256);
    let judge =
        |token: &Token, signer: Option<&Certificate>, intermediates: &[Certificate], anchors: &[Certificate]| {
            verify_by(&token.sign(), STAMPED, &Authority { signer, intermediates, anchors })
                .map(|found| found.chain.len())
        };
    let bare = token().with(&[]);
    assert_eq!(judge(&bare, Some(&chain[0]), &chain[1..2], &chain[2..]), Ok(3));
    assert_eq!(judge(&bare, Some(&chain[0]), &[], &chain[1..2]), Ok(2), "an intermediate may be the trusted one");
    assert_eq!(judge(&token(), None, &[], &chain[2..]), Ok(3), "the token brings the others");
    assert_eq!(judge(&bare, None, &chain[1..2], &chain[2..]), Err(BadTimestamp::NoSigner));
    let other = authority("CN=other", TSA_INTERMEDIATE).sign(Key::get(Kind::P256, 0), Key::get(Kind::P256, 1));
    let found = judge(&token(), Some(&other), &chain[1..2], &chain[2..]);
    assert_eq!(found, Err(BadTimestamp::OtherSigner(chain[0].subject())));
    // What is asked of every chain is asked of this one too.
    let no_authority =
        Template::leaf(TSA_INTERMEDIATE, TSA_ROOT).sign(Key::get(Kind::P256, 1), Key::get(Kind::P256, 2));
    let found = judge(&bare, Some(&chain[0]), &[], &[no_authority]);
    assert!(matches!(found, Err(BadTimestamp::Chain(Violation::NotCa { .. }))), "{found:?}");
    assert!(matches!(verify(&bare.sign(), STAMPED, &chain[1..2]), Err(BadTimestamp::NoSigner)));
}

// --- mutation ----------------------------------------------------------------------------------------------------------

/// A changed token is refused, or says the same of the same authority. The latter is so for what nobody signs and
/// nothing is read from: the list of hash functions at its beginning, which the signer says again, and certificates that
/// are not on the way to the root, here a copy of the root itself.
#[test]
fn every_byte_that_counts_is_held() {
    let chain = authority_chain(Kind::P256);
    let token = token().with(&[&chain[0], &chain[1], &chain[2]]).rest(&tlv(0x30, &[2, 1, 1]));
    let token = token.attribute(SIGNING_TIME, &tlv(0x17, b"270115080000Z"));
    let parts = token.parts();
    let der = signed_data(&parts);
    let position = |part: &[u8]| der.windows(part.len()).position(|window| window == part).unwrap();
    let digests = position(&parts[1]) + 2..position(&parts[1]) + parts[1].len();
    let copy = position(chain[2].der())..position(chain[2].der()) + chain[2].der().len();
    let truth = verify(&der, STAMPED, &[root()]).unwrap();
    let mut without_meaning = 0;
    for index in 0..der.len() {
        for change in [0x01, 0x02, 0x20, 0x80, 0xff] {
            let mut changed = der.clone();
            changed[index] ^= change;
            if let Ok(found) = verify(&changed, STAMPED, &[root()]) {
                assert_eq!(found, truth, "byte {index}");
                assert!(digests.contains(&index) || copy.contains(&index), "byte {index} ^ {change:#x}");
                without_meaning += 1;
            }
        }
    }
    assert!(without_meaning > 0);
}

#[test]
fn every_byte_of_a_token_of_openssl_that_counts_is_held() {
    let (der, stamped) = (fixture("rsa-2048.tst"), fixture("stamped"));
    let anchors = anchors_from_pem(&fixture("rsa-2048.pem")).unwrap();
    let truth = verify(&der, &stamped, &anchors).unwrap();
    // SEQUENCE, signedData, [0], SEQUENCE, version, and the list of hash functions: SET, SEQUENCE, sha256, NULL.
    let digests = 28..43;
    assert_eq!(der[26..28], [0x31, 15]);
    for index in 0..der.len() {
        for change in [0x01, 0x80] {
            let mut changed = der.clone();
            changed[index] ^= change;
            if let Ok(found) = verify(&changed, &stamped, &anchors) {
                assert!(found == truth && digests.contains(&index), "byte {index} ^ {change:#x}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_pass_or_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(verify(&bytes, STAMPED, &[root()]).is_err());
    }

    #[test]
    fn a_token_of_arbitrary_changes_says_the_truth_or_nothing(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..4),
    ) {
        let (mut der, stamped) = (fixture("p-256.tst"), fixture("stamped"));
        let anchors = anchors_from_pem(&fixture("p-256.pem")).unwrap();
        let truth = verify(&der, &stamped, &anchors).unwrap();
        for (index, byte, kind) in changes {
            let index = index.index(der.len());
            match kind {
                0 => der[index] = byte,
                1 => der.insert(index, byte),
                _ => drop(der.remove(index)),
            }
        }
        if let Ok(found) = verify(&der, &stamped, &anchors) {
            prop_assert_eq!(found, truth);
        }
    }
}
