//! What both judges are asked: for each plugin referrers and configurations, good and bad, and what Ratify is meant to say.
//! Where ratifyd differs the case says how, and why that is right.

use std::fs;
use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::common::registries::{Image, registries};
use super::common::tools::{run, tool};
use super::documents::{sarif, spdx, tags};
use super::judges::schema;

/// One question.
pub struct Case {
    pub name: &'static str,
    pub plugin: &'static str,
    /// The referrer's type.
    artifact_type: &'static str,
    /// What it holds: media types and bytes.
    blobs: Vec<(&'static str, Vec<u8>)>,
    annotations: Vec<(&'static str, String)>,
    /// What the plugin is told.
    pub config: Value,
    /// Whether ratifyd lets the plugin reach others.
    pub network: bool,
    /// Whether there is nothing that a plugin without a store takes for one where Ratify runs it.
    pub lacks_store: bool,
    /// What Ratify says.
    pub good: bool,
    /// In its words.
    pub words: &'static str,
    /// How ratifyd differs, if it does.
    pub differs: Option<Differs>,
}

/// A difference that was looked at.
pub struct Differs {
    /// What ratifyd says.
    pub good: bool,
    /// In its words.
    pub words: &'static str,
    /// Why that is right.
    pub reason: &'static str,
}

impl Case {
    fn new(name: &'static str, artifact_type: &'static str, config: Value, bytes: impl Into<Vec<u8>>) -> Self {
        let plugin = name.split(':').next().unwrap();
        let (blobs, annotations) = (vec![(artifact_type, bytes.into())], Vec::new());
        let (good, words, differs, network, lacks_store) = (true, "", None, false, false);
        Self { name, plugin, artifact_type, blobs, annotations, config, network, lacks_store, good, words, differs }
    }

    fn good(self, words: &'static str) -> Self {
        Self { good: true, words, ..self }
    }

    fn bad(self, words: &'static str) -> Self {
        Self { good: false, words, ..self }
    }

    /// One more blob.
    fn and(mut self, media_type: &'static str, bytes: impl Into<Vec<u8>>) -> Self {
        self.blobs.push((media_type, bytes.into()));
        self
    }

    fn annotated(mut self, name: &'static str, text: impl Into<String>) -> Self {
        self.annotations.push((name, text.into()));
        self
    }

    fn of_type(self, artifact_type: &'static str) -> Self {
        Self { artifact_type, ..self }
    }

    fn over_the_network(self) -> Self {
        Self { network: true, ..self }
    }

    fn differs(self, good: bool, words: &'static str, reason: &'static str) -> Self {
        Self { differs: Some(Differs { good, words, reason }), ..self }
    }

    /// The types that the verifier is configured for.
    pub fn taken(&self) -> &'static str {
        self.artifact_type
    }

    /// An image with this referrer, attached by oras.
    pub fn attach(&self) -> Image {
        let image = registries().referrers.image("ratify");
        let folder = tempfile::tempdir().unwrap();
        let mut oras = Command::new(tool("oras"));
        oras.args(["attach", "--plain-http", "--artifact-type", self.artifact_type, "--disable-path-validation"]);
        for (name, text) in &self.annotations {
            oras.arg("--annotation").arg(format!("{name}={text}"));
        }
        oras.arg(image.by_digest()).current_dir(folder.path()).env("HOME", folder.path());
        for (number, (media_type, bytes)) in self.blobs.iter().enumerate() {
            fs::write(folder.path().join(number.to_string()), bytes).unwrap();
            oras.arg(format!("{number}:{media_type}"));
        }
        run(&mut oras).success();
        image
    }
}

const SPDX: &str = "application/spdx+json";

pub fn sbom() -> Vec<Case> {
    let packages =
        [("busybox", "1.36", "GPL-2.0-only"), ("libx", "2.0", "(MIT AND Apache-2.0)"), ("zlib", "1.3", "Zlib")];
    let of = |name, config| Case::new(name, SPDX, config, spdx(&packages));
    let license = |name, license: &str| of(name, json!({ "disallowedLicenses": [license] }));
    let package = |name, package: Value| of(name, json!({ "disallowedPackages": [package] }));
    let (passes, fails) = ("SBOM verification success", "SBOM validation failed");
    let broken = "failed to verify artifact: sbom";
    let strict = || json!({ "disallowedLicenses": ["Zlib"] });
    let text = |name, text: &str| Case::new(name, SPDX, strict(), text);
    vec![
        of("sbom: no rules", json!({})).good(passes),
        license("sbom: a license that is not there", "AGPL-3.0-only").good(passes),
        license("sbom: a license that is not allowed", "Zlib").bad(fails),
        license("sbom: a license in other letters", "zLIB").bad(fails),
        license("sbom: a license among others", "Apache-2.0").bad(fails),
        license("sbom: the first of several licenses", "MIT").bad(fails),
        license("sbom: a part of a license's name", "Apache").good(passes),
        license("sbom: what looks like a pattern", ".*").good(passes),
        package("sbom: a package of any version", json!({ "name": "libx" })).bad(fails),
        package("sbom: a package of this version", json!({ "name": "libx", "version": "2.0" })).bad(fails),
        package("sbom: a package of another version", json!({ "name": "libx", "version": "2.1" })).good(passes),
        package("sbom: a package that is not there", json!({ "name": "lib" })).good(passes),
        Case::new("sbom: no packages", SPDX, strict(), spdx(&[])).good(passes),
        of("sbom: rules of another kind", json!({ "disallowedLicenses": "MIT" })).bad("cannot unmarshal string"),
        text("sbom: no JSON", "SPDXVersion: SPDX-2.3\n").bad(broken),
        text("sbom: half a document", &spdx(&packages)[..200]).bad(broken),
        text("sbom: an empty object", "{}").bad(broken),
        text("sbom: nothing", "").bad(broken),
        text("sbom: an unknown version", &spdx(&packages).replace("SPDX-2.3", "SPDX-9.9")).bad(broken),
        text("sbom: an older version", &spdx(&[]).replace("SPDX-2.3", "SPDX-2.2")).good(passes),
        text("sbom: a bad one after a good one", &spdx(&[])).and(SPDX, spdx(&packages)).good(passes),
        text("sbom: a good one after a bad one", &spdx(&packages)).and(SPDX, spdx(&[])).bad(fails),
        of("sbom: another type", json!({}))
            .of_type("application/vnd.cyclonedx+json")
            .bad("Failed to process SBOM blobs"),
    ]
}

const SARIF: &str = "application/sarif+json";
const CREATED: &str = "org.opencontainers.image.created";

/// A time so many hours ago (RFC 3339).
fn hours_ago(hours: u64) -> String {
    let time = SystemTime::now() - Duration::from_secs(hours * 3600);
    humantime::format_rfc3339_seconds(time).to_string()
}

pub fn vulnerability_report() -> Vec<Case> {
    let report = || sarif("Trivy", &[("CVE-2026-0001", "HIGH"), ("CVE-2026-0002", "LOW")]);
    let over = |name, config, report: &Value| {
        Case::new(name, SARIF, config, report.to_string()).annotated(CREATED, hours_ago(1))
    };
    let of = |name, config| over(name, config, &report());
    let severity = |name, severity: &str| of(name, json!({ "disallowedSeverities": [severity] }));
    let cve = |name, cve: &str| of(name, json!({ "denylistCVEs": [cve] }));
    let aged = |name, age: &str, created: String| {
        Case::new(name, SARIF, json!({ "maximumAge": age }), report().to_string()).annotated(CREATED, created)
    };
    let text = |name, text: &str| Case::new(name, SARIF, json!({}), text).annotated(CREATED, hours_ago(1));
    let changed = |change: fn(&mut Value)| {
        let mut report = report();
        change(&mut report);
        report
    };
    let high = || json!({ "disallowedSeverities": ["high"], "denylistCVEs": ["CVE-2026-0003"] });
    let scanned = || json!({ "maximumAge": "24h", "createdAnnotationName": "scanned" });
    let (passes, schema_fails) = ("Validation succeeded", "Schema validation failed");
    let online = json!({ "schemaURL": served(r#"{"type":"object","required":["runs"]}"#) });
    let strict = json!({ "schemaURL": served(r#"{"type":"object","required":["signature"]}"#) });
    vec![
        of("vulnerabilityreport: no rules", json!({})).good(passes),
        severity("vulnerabilityreport: a severity that is not there", "critical").good(passes),
        severity("vulnerabilityreport: a severity that is not allowed", "high").bad("Found disallowed severities"),
        severity("vulnerabilityreport: a severity in other letters", "Low").bad("Found disallowed severities"),
        cve("vulnerabilityreport: a vulnerability that is not there", "CVE-2026-9999").good(passes),
        cve("vulnerabilityreport: a vulnerability on the list", "CVE-2026-0002").bad("Found denied CVEs"),
        cve("vulnerabilityreport: one in other letters", "cve-2026-0001").bad("Found denied CVEs"),
        of("vulnerabilityreport: both rules", high()).bad("Found disallowed severities"),
        aged("vulnerabilityreport: young", "24h", hours_ago(1)).good(passes),
        aged("vulnerabilityreport: too old", "24h", hours_ago(48)).bad("Report is older than maximum age"),
        aged("vulnerabilityreport: of the time to come", "1h", "2999-01-01T00:00:00Z".to_owned()).good(passes),
        aged("vulnerabilityreport: an age that is none", "a day", hours_ago(1)).bad("Failed to validate maximum age"),
        Case::new("vulnerabilityreport: a time that is none", SARIF, scanned(), report().to_string())
            .annotated("scanned", "yesterday")
            .bad("timestamp annotation"),
        Case::new("vulnerabilityreport: another annotation", SARIF, scanned(), report().to_string())
            .annotated("scanned", hours_ago(48))
            .bad("Report is older than maximum age"),
        of("vulnerabilityreport: another annotation that is not there", scanned()).bad("timestamp annotation"),
        over("vulnerabilityreport: another scanner and severities", high(), &sarif("Grype", &[("CVE-1", "Medium")]))
            .good(passes),
        over("vulnerabilityreport: an unknown scanner and severities", high(), &sarif("mine", &[("CVE-1", "high")]))
            .bad("Failed to extract severity"),
        over("vulnerabilityreport: an unknown scanner and no rules", json!({}), &sarif("mine", &[("CVE-1", "high")]))
            .good(passes),
        over("vulnerabilityreport: nothing found", high(), &sarif("Trivy", &[])).good(passes),
        over(
            "vulnerabilityreport: a rule without a severity",
            high(),
            &changed(|report| {
                report["runs"][0]["tool"]["driver"]["rules"][0]["help"]["text"] = json!("none");
            }),
        )
        .bad("Failed to extract severity"),
        over(
            "vulnerabilityreport: a result without a rule",
            high(),
            &changed(|report| {
                report["runs"][0]["results"][0].as_object_mut().unwrap().remove("ruleId");
            }),
        )
        .bad("Rule id not found for result"),
        over(
            "vulnerabilityreport: a result of an unknown rule",
            high(),
            &changed(|report| {
                report["runs"][0]["results"][0]["ruleId"] = json!("CVE-0");
            }),
        )
        .bad("Rule not found for result"),
        over("vulnerabilityreport: no runs", json!({}), &changed(|report| report["runs"] = json!([])))
            .bad("No runs found"),
        over("vulnerabilityreport: not by the schema", json!({}), &changed(|report| report["runs"] = json!("none")))
            .bad(schema_fails),
        over("vulnerabilityreport: an unknown member", json!({}), &changed(|report| report["more"] = json!(1)))
            .bad(schema_fails),
        text("vulnerabilityreport: no JSON", "no vulnerabilities").bad(schema_fails),
        text("vulnerabilityreport: half a document", &report().to_string()[..300]).bad(schema_fails),
        text("vulnerabilityreport: nothing", "").bad(schema_fails),
        Case { config: json!({ "passthrough": true }), ..text("vulnerabilityreport: not looked at", "none { }") }
            .good("Validation skipped"),
        of("vulnerabilityreport: a bad one after a good one", json!({})).and(SARIF, "none").good(passes),
        of("vulnerabilityreport: another type", json!({})).of_type("application/json").bad(schema_fails),
        of("vulnerabilityreport: a schema from elsewhere", online.clone()).over_the_network().good(passes),
        of("vulnerabilityreport: another schema from elsewhere", strict).over_the_network().bad(schema_fails),
        of("vulnerabilityreport: a schema from elsewhere without the network", online).good(passes).differs(
            false,
            schema_fails,
            ALONE,
        ),
    ]
}

const ALONE: &str = "a plugin reaches others only where the configuration says so by name";

const CONFIG: &str = "application/vnd.acme.config+json";
const OTHER: &str = "application/vnd.acme.other+json";

pub fn schema_validator() -> Vec<Case> {
    let text =
        r#"{"type":"object","required":["name"],"properties":{"name":{"type":"string"}},"additionalProperties":false}"#;
    let (own, broken) = (schema("config.json", text), schema("broken.json", "{\"type\":"));
    let told = |place: &str| json!({ "schemas": { CONFIG: place } });
    let of = |name, text: &str| Case::new(name, CONFIG, told(&own), text);
    let (passes, fails) = ("schema validation passed", "schema validation failed");
    let by = |name, place: &str| Case::new(name, CONFIG, told(place), r#"{"name":"web"}"#);
    let (good, online) = (r#"{"name":"web"}"#, served(text));
    vec![
        of("schemavalidator: by the schema", good).good(passes),
        of("schemavalidator: a member that is missing", "{}").bad(fails),
        of("schemavalidator: a member of another type", r#"{"name":1}"#).bad(fails),
        of("schemavalidator: a member too many", r#"{"name":"web","more":1}"#).bad(fails),
        of("schemavalidator: a member twice", r#"{"name":1,"name":"web"}"#).good(passes),
        of("schemavalidator: no JSON", "name = \"web\"").bad(fails),
        of("schemavalidator: half a document", r#"{"name":"#).bad(fails),
        of("schemavalidator: nothing", "").bad(fails),
        of("schemavalidator: two", good).and(CONFIG, r#"{"name":"db"}"#).good(passes),
        of("schemavalidator: a bad one after a good one", good).and(CONFIG, "{}").bad(fails),
        of("schemavalidator: one without a schema after a good one", good).and(OTHER, good).bad(fails),
        Case::new("schemavalidator: no schemas", CONFIG, json!({}), good).bad(fails),
        by("schemavalidator: a schema that is not there", "file:///opt/none.json").bad(fails),
        by("schemavalidator: a schema that is none", &broken).bad(fails),
        by("schemavalidator: a schema from elsewhere", &online).over_the_network().good(passes),
        by("schemavalidator: a schema from elsewhere without the network", &online)
            .good(passes)
            .differs(false, fails, ALONE),
    ]
}

const TAGS: &str = "application/vnd.ratify.spdx.v0";

pub fn license_checker() -> Vec<Case> {
    let packages = [("busybox", "MIT"), ("libx", "Apache-2.0")];
    let told = |allowed: &[&str]| json!({ "allowedLicenses": allowed });
    let of = |name, allowed: &[&str]| Case::new(name, TAGS, told(allowed), tags(&packages));
    let (passes, fails) = ("License Check: SUCCESS", "License Check: FAILED");
    let text = |name, text: &str| Case::new(name, TAGS, told(&["MIT"]), text);
    vec![
        of("licensechecker: all are allowed", &["Apache-2.0", "MIT", "Zlib"]).good(passes),
        of("licensechecker: one is not allowed", &["MIT"]).bad(fails),
        of("licensechecker: none is allowed", &[]).bad(fails),
        of("licensechecker: other letters", &["mit", "apache-2.0"]).bad(fails),
        text("licensechecker: no packages", &tags(&[])).good(passes),
        text("licensechecker: JSON", &spdx(&[("busybox", "1", "MIT")])).bad("plugin command VERIFY failed"),
        text("licensechecker: half a document without packages", &tags(&packages)[..40]).good(passes),
        text("licensechecker: a line that is none", &tags(&packages).replace("FilesAnalyzed: false", "FilesAnalyzed"))
            .bad("no colon found in"),
        text("licensechecker: nothing", "").bad("no tag values found"),
        text("licensechecker: two", &tags(&packages[..1])).and(TAGS, tags(&packages[..1])).good(passes),
        text("licensechecker: a bad one after a good one", &tags(&packages[..1])).and(TAGS, tags(&packages)).bad(fails),
        text("licensechecker: garbage after a good one", &tags(&packages[..1]))
            .and(TAGS, "\0\u{1}")
            .bad("no colon found in"),
    ]
}

pub fn sample() -> Vec<Case> {
    let of = |name| Case::new(name, "application/vnd.acme.sample", json!({}), "sample");
    let passes = "Sample verification success";
    vec![
        of("sample: anything").good(passes),
        Case { blobs: vec![("text/plain", Vec::new())], ..of("sample: nothing") }.good(passes),
        Case { lacks_store: true, ..of("sample: without a store of its own") }.bad("plugin not found").differs(
            true,
            passes,
            "it asks no store for anything, and ratifyd lays one beside every plugin; Ratify's users must do that themselves",
        ),
    ]
}

/// Where a schema is over http.
fn served(text: &str) -> String {
    registries().referrers.serves("ratify/schemas", text.as_bytes())
}
