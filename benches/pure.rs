//! `make bench-pure`: what the pure functions of a pull cost, and what judging a signature costs beside the checks
//! that it cannot do without.
//!
//! The floor of an envelope is the crypto library's bare check of the signature and of each certificate's but the
//! root's, which is trusted byte by byte, over the same bytes by the same keys. What revocation costs is measured beside the
//! same without it. Absolute times move with the machine; the ratios are the claim.

#[path = "common/judging.rs"]
mod judging;

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use criterion::Criterion;
use der::{Decode as _, Encode as _};
use serde_json::{Value, json};

use ratify::artifact::{Descriptor, IMAGE_INDEX, IMAGE_MANIFEST, Manifest};
use ratify::config::Rule;
use ratify::limits;
use ratify::pki::{Certificate, anchors_from_pem, chain};
use ratify::policy::Policy;
use ratify::reference::Reference;
use ratify::report::{Finding, Listing, Outcome, Pass, Report};
use ratify::scope::{Pattern, Scopes};
use ratify::store::registry::referrers::List;
use ratify::verdict::{Token, reason_line};
use ratify::verifier::notation::{ARTIFACT_TYPE, Trust, verify_envelope};

use judging::{Judging, Key};

/// Where criterion keeps its measurements, to compare the next run with.
const RESULTS: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/criterion");

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/notation");

/// Rounds of what is compared, beside criterion's measurements.
const ROUNDS: usize = 501;

/// Envelopes of the notation tool, what they are, and the algorithm of their signature.
const ENVELOPES: [(&str, &str, &dyn VerificationAlgorithm); 8] = [
    ("rsa-2048", "RSA-2048, three certificates", &signature::RSA_PSS_2048_8192_SHA256),
    ("rsa-3072", "RSA-3072, three certificates", &signature::RSA_PSS_2048_8192_SHA384),
    ("rsa-4096", "RSA-4096, three certificates", &signature::RSA_PSS_2048_8192_SHA512),
    ("p-256", "EC P-256, three certificates", &signature::ECDSA_P256_SHA256_FIXED),
    ("p-384", "EC P-384, three certificates", &signature::ECDSA_P384_SHA384_FIXED),
    ("p-521", "EC P-521, three certificates", &signature::ECDSA_P521_SHA512_FIXED),
    ("chain", "RSA-3072 below EC P-384 below RSA-4096", &signature::RSA_PSS_2048_8192_SHA384),
    ("single", "EC P-521, one certificate", &signature::ECDSA_P521_SHA512_FIXED),
];

fn main() {
    let mut bench = Bench {
        started: SystemTime::now(),
        criterion: Criterion::default()
            .output_directory(Path::new(RESULTS))
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_secs(1))
            .configure_from_args(),
    };
    let mut envelopes = Vec::new();
    for (name, what, algorithm) in ENVELOPES {
        for encoding in [Encoding::Jws, Encoding::Cose] {
            envelopes.push((format!("{what}, {encoding:?}"), envelope(&mut bench, name, encoding, algorithm)));
        }
    }
    let revocation = [("RSA-2048", Key::Rsa2048), ("EC P-256", Key::P256)]
        .map(|(what, key)| (what, revocation(&mut bench, what, &Judging::prepare(key))));
    let functions = functions(&mut bench);

    println!(
        "\n| signature | bare check | all checks | parse chain | check chain | verify envelope | ratio to bare check | ratio to all checks (goal: at most 1.30) |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for (what, Row { medians, ratios }) in envelopes {
        let ratios = ratios.map_or(["-".to_owned(), "-".to_owned()], |ratios| ratios.map(|it| format!("{it:.2}")));
        println!("| {what} | {} | {} |", medians.map(shown).join(" | "), ratios.join(" | "));
    }
    println!("\n| the verifier, three certificates | revocation off | on, answers remembered | ratio | goal |");
    println!("|---|---|---|---|---|");
    for (what, (medians, ratio)) in revocation {
        let ratio = ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
        println!("| {what} | {} | {ratio} | at most 1.10 |", medians.map(shown).join(" | "));
    }
    println!("\n| function | median |\n|---|---|");
    for (what, median) in functions {
        println!("| {what} | {} |", shown(median));
    }
}

struct Bench {
    criterion: Criterion,
    started: SystemTime,
}

impl Bench {
    /// Measures one function; its median in nanoseconds, or nothing where the command line leaves it out.
    fn measure<T>(&mut self, group: &str, name: &str, mut function: impl FnMut() -> T) -> Option<f64> {
        self.criterion.benchmark_group(group).bench_function(name, |bencher| bencher.iter(&mut function));
        let file = Path::new(RESULTS).join(group).join(name).join("new/estimates.json");
        // An older one is of an earlier run.
        let modified = fs::metadata(&file).and_then(|metadata| metadata.modified()).ok()?;
        let estimates: Value =
            (modified >= self.started).then(|| serde_json::from_slice(&fs::read(file).unwrap()).unwrap())?;
        estimates["median"]["point_estimate"].as_f64()
    }
}

/// What is done with one envelope: the bare check of its signature, all bare checks, the parsing of its chain, the
/// checking of it, and the whole; and the whole's ratios to the first two.
struct Row {
    medians: [Option<f64>; 5],
    ratios: Option<[f64; 2]>,
}

fn envelope(bench: &mut Bench, name: &str, encoding: Encoding, algorithm: &'static dyn VerificationAlgorithm) -> Row {
    let read = |file: &str| fs::read(Path::new(FIXTURES).join(file)).unwrap();
    let jws = read(&format!("{name}.jws"));
    let subject = Descriptor::parse(&read("subject.json")).unwrap();
    let anchors = anchors_from_pem(&read(&format!("{name}.pem"))).unwrap();
    let trust = Trust::new(anchors.clone(), &["*".to_owned()]).unwrap();
    let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);

    let envelope: Value = serde_json::from_slice(&jws).unwrap();
    let certificates = envelope["header"]["x5c"].as_array().unwrap().iter();
    let ders: Vec<Vec<u8>> = certificates.map(|text| STANDARD.decode(text.as_str().unwrap()).unwrap()).collect();
    let (bytes, media_type, signed) = match encoding {
        Encoding::Jws => (jws, "application/jose+json", signed_in_jws(&envelope)),
        Encoding::Cose => {
            let bytes = read(&format!("{name}.cose"));
            let signed = signed_in_cose(&bytes);
            (bytes, "application/cose", signed)
        }
    };
    let checks = checks(signed, algorithm, &ders);
    let chain: Vec<Certificate> = ders.iter().map(|der| Certificate::from_der(der).unwrap()).collect();
    let bare = || checks[0].run();
    let all = || checks.iter().for_each(Check::run);
    let whole = || {
        let outcome = verify_envelope(media_type, black_box(&bytes), &subject, &trust, now);
        assert!(matches!(outcome, Outcome::Passed(_)));
    };
    let group = &format!("{name} {encoding:?}");
    let medians = [
        bench.measure(group, "bare check", bare),
        bench.measure(group, "all checks", all),
        bench.measure(group, "parse chain", || {
            ders.iter().map(|der| Certificate::from_der(black_box(der)).unwrap()).collect::<Vec<_>>()
        }),
        bench.measure(group, "check chain", || {
            chain::check_code_signing(black_box(&chain), &anchors).unwrap();
            chain::check_validity(black_box(&chain), now).unwrap();
        }),
        bench.measure(group, "verify envelope", whole),
    ];
    Row { medians, ratios: medians[4].map(|_| [ratio(whole, bare), ratio(whole, all)]) }
}

/// Judging without revocation and with it, and the ratio of the latter to the former.
fn revocation(bench: &mut Bench, what: &str, judging: &Judging) -> ([Option<f64>; 2], Option<f64>) {
    let group = &format!("revocation {what}");
    let (off, on) = (|| judging.off(), || judging.on());
    let medians = [bench.measure(group, "off", off), bench.measure(group, "on", on)];
    (medians, medians[1].map(|_| ratio(on, off)))
}

/// How many times as long one takes as the other: the median over rounds in which both run, so that the machine is
/// as busy for the one as for the other.
fn ratio(one: impl Fn(), other: impl Fn()) -> f64 {
    let time = |function: &dyn Fn()| {
        let start = Instant::now();
        function();
        start.elapsed().as_secs_f64()
    };
    let mut ratios: Vec<f64> = (0..ROUNDS).map(|_| time(&one) / time(&other)).collect();
    ratios.sort_by(f64::total_cmp);
    ratios[ROUNDS / 2]
}

/// One signature check of the crypto library.
struct Check {
    algorithm: &'static dyn VerificationAlgorithm,
    key: Vec<u8>,
    message: Vec<u8>,
    signature: Vec<u8>,
}

impl Check {
    fn run(&self) {
        let key = UnparsedPublicKey::new(self.algorithm, black_box(&self.key));
        key.verify(black_box(&self.message), &self.signature).unwrap();
    }
}

#[derive(Clone, Copy, Debug)]
enum Encoding {
    Jws,
    Cose,
}

/// What the signature of an envelope covers, and the signature.
fn signed_in_jws(envelope: &Value) -> (Vec<u8>, Vec<u8>) {
    let member = |name: &str| envelope[name].as_str().unwrap();
    let signed = format!("{}.{}", member("protected"), member("payload")).into_bytes();
    (signed, URL_SAFE_NO_PAD.decode(member("signature")).unwrap())
}

fn signed_in_cose(envelope: &[u8]) -> (Vec<u8>, Vec<u8>) {
    // Tag 18 and a list of four.
    let mut rest = &envelope[2..];
    let [protected, _, payload, signature] = [(); 4].map(|()| {
        let (_, length) = item(rest);
        let (taken, left) = rest.split_at(length);
        rest = left;
        taken
    });
    let signed = [b"\x84\x6aSignature1".as_slice(), protected, b"\x40", payload].concat();
    (signed, signature[item(signature).0..].to_vec())
}

/// Where the content of an item of CBOR begins, and where it ends.
fn item(bytes: &[u8]) -> (usize, usize) {
    let follow = match bytes[0] & 0x1f {
        info @ 24..=27 => 1 << (info - 24),
        _ => 0,
    };
    let argument = match follow {
        0 => usize::from(bytes[0] & 0x1f),
        follow => bytes[1..=follow].iter().fold(0, |number, byte| number << 8 | usize::from(*byte)),
    };
    let head = 1 + follow;
    let below = match bytes[0] >> 5 {
        2 | 3 => return (head, head + argument),
        4 => argument,
        5 => 2 * argument,
        6 => 1,
        _ => 0,
    };
    (head, (0..below).fold(head, |at, _| at + item(&bytes[at..]).1))
}

/// The signature of an envelope, then that of each certificate by the next one. That of the last one is no check that
/// is needed: it is trusted as it stands.
fn checks(
    (message, signature): (Vec<u8>, Vec<u8>),
    algorithm: &'static dyn VerificationAlgorithm,
    ders: &[Vec<u8>],
) -> Vec<Check> {
    let chain: Vec<_> = ders.iter().map(|der| x509_cert::Certificate::from_der(der).unwrap()).collect();
    let key = |certificate: &x509_cert::Certificate| {
        certificate.tbs_certificate.subject_public_key_info.subject_public_key.raw_bytes().to_vec()
    };
    let signature = Check { algorithm, key: key(&chain[0]), message, signature };
    let issued = chain.iter().zip(chain.iter().skip(1)).map(|(certificate, issuer)| {
        let issuer = key(issuer);
        Check {
            // By the length of an uncompressed point; all fixtures' certificates are signed with SHA-384.
            algorithm: match issuer.len() {
                65 => &signature::ECDSA_P256_SHA384_ASN1,
                97 => &signature::ECDSA_P384_SHA384_ASN1,
                133 => &signature::ECDSA_P521_SHA384_ASN1,
                _ => &signature::RSA_PKCS1_2048_8192_SHA384,
            },
            key: issuer,
            message: certificate.tbs_certificate.to_der().unwrap(),
            signature: certificate.signature.raw_bytes().to_vec(),
        }
    });
    std::iter::once(signature).chain(issued).collect()
}

/// Measures what else a pull calls.
fn functions(bench: &mut Bench) -> Vec<(String, Option<f64>)> {
    let mut rows = Vec::new();
    let mut measure = |what: &str, function: &mut dyn FnMut()| {
        rows.push((what.to_owned(), bench.measure("function", what, function)));
    };
    let image = image_manifest();
    measure("parse image manifest of 10 layers", &mut || {
        black_box(Manifest::parse(IMAGE_MANIFEST, black_box(&image)).unwrap());
    });
    let signature = signature_manifest();
    measure("parse signature manifest", &mut || {
        black_box(Manifest::parse(IMAGE_MANIFEST, black_box(&signature)).unwrap());
    });
    for entries in [100, 1000] {
        let page = referrers(entries);
        measure(&format!("parse page of {entries} referrers"), &mut || {
            List::default().add("", IMAGE_INDEX, black_box(&page)).unwrap();
        });
    }
    for levels in [1, limits::DEPTH] {
        let (policy, report) = nested(levels);
        let what = format!("decide policy, rules {levels} deep");
        measure(&what, &mut || assert!(policy.is_satisfied(black_box(&report))));
    }
    let scopes = scopes();
    let repository = name().parse::<Reference>().unwrap().repository;
    measure("find scope, the last of 1000", &mut || {
        black_box(scopes.find(black_box(&repository)).unwrap());
    });
    let name = name();
    measure("parse image name", &mut || {
        black_box(Reference::with_host(black_box(&name)).unwrap());
    });
    measure("write reason line", &mut || {
        let cause = "acme: signed by CN=signer,OU=build,O=acme,L=Seattle,ST=WA,C=US";
        black_box(reason_line(Token::Allowed, black_box(cause), "9f3c41d07a52"));
    });
    rows
}

fn descriptor(media_type: &str, number: usize) -> Value {
    json!({ "mediaType": media_type, "digest": format!("sha256:{number:064x}"), "size": 4096 + number })
}

fn image_manifest() -> Vec<u8> {
    let layer = |number| descriptor("application/vnd.oci.image.layer.v1.tar+gzip", number);
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": IMAGE_MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json", 0),
        "layers": (1..=10).map(layer).collect::<Vec<_>>(),
        "annotations": {
            "org.opencontainers.image.created": "2026-11-21T15:56:33Z",
            "org.opencontainers.image.source": "https://git.acme.example/web",
            "org.opencontainers.image.revision": "436175b0d1d0f9a4b0c7e1f0c4d9a8e7b6c5d4e3",
        },
    });
    manifest.to_string().into_bytes()
}

/// As notation writes it.
fn signature_manifest() -> Vec<u8> {
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": IMAGE_MANIFEST,
        "config": descriptor(ARTIFACT_TYPE, 0),
        "layers": [descriptor("application/jose+json", 1)],
        "subject": descriptor(IMAGE_MANIFEST, 2),
        "annotations": {
            "io.cncf.notary.x509chain.thumbprint#S256": format!("[\"{:064x}\",\"{:064x}\"]", 3, 4),
            "org.opencontainers.image.created": "2026-11-21T15:56:33Z",
        },
    });
    manifest.to_string().into_bytes()
}

fn referrers(entries: usize) -> Vec<u8> {
    let entry = |number| {
        let mut entry = descriptor(IMAGE_MANIFEST, number);
        entry["artifactType"] = ARTIFACT_TYPE.into();
        entry["annotations"] = json!({
            "io.cncf.notary.x509chain.thumbprint#S256": format!("[\"{number:064x}\"]"),
            "org.opencontainers.image.created": "2026-11-21T15:56:33Z",
        });
        entry
    };
    let entries: Vec<Value> = (0..entries).map(entry).collect();
    json!({ "schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": entries }).to_string().into_bytes()
}

/// A policy that asks for a signature, a signature on that one, and so on; and a report that satisfies it.
fn nested(levels: usize) -> (Policy, Report) {
    let image: Descriptor = serde_json::from_value(descriptor(IMAGE_MANIFEST, 0)).unwrap();
    let mut report = Report::new(image.clone());
    let mut above = Report::SUBJECT;
    for level in 0..levels {
        let referrer = report.add(above, image.clone());
        report.get_mut(above).unwrap().referrers = Listing::Whole(vec![referrer]);
        let pass = Pass {
            detail: String::new(),
            signer: Some(format!("spki-sha256:{level:064x}")),
            identity: None,
            valid_until: None,
            logged: Vec::new(),
        };
        report.get_mut(referrer).unwrap().findings =
            vec![Finding { verifier: format!("acme{level}"), outcome: Outcome::Passed(pass) }];
        above = referrer;
    }
    let rules = (0..levels).rev().fold(Vec::new(), |rules: Vec<Rule>, level| {
        vec![Rule { verifier: Some(format!("acme{level}")), threshold: rules.len(), rules }]
    });
    (Policy::new(Rule { verifier: None, threshold: 1, rules }).unwrap(), report)
}

/// 999 scopes of all kinds that do not match [`name`], and `*`.
fn scopes() -> Scopes<usize> {
    let pattern = |number: usize| match number % 4 {
        0 => format!("registry.acme.example/team{number}/web"),
        1 => format!("registry.acme.example/team{number}/*"),
        2 => format!("registry{number}.acme.example"),
        _ => format!("*.site{number}.acme.example"),
    };
    let entry = |number| (Pattern::parse(&pattern(number)).unwrap(), number);
    Scopes::new((1..1000).map(entry).chain([(Pattern::Any, 0)]).collect())
}

/// An image name as containerd hands it in.
fn name() -> String {
    format!("registry.acme.example/team/web/front:v1.2.3@sha256:{:064x}", 1)
}

fn shown(nanoseconds: Option<f64>) -> String {
    nanoseconds.map_or_else(|| "-".to_owned(), |nanoseconds| format!("{:.1} µs", nanoseconds / 1000.0))
}
