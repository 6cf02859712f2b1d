//! What the referrers of these tests hold: SBOMs of SPDX, as JSON and as tags, and reports of scanners in SARIF.

use serde_json::{Value, json};

/// An SBOM in JSON, of packages with versions and licences.
pub fn spdx(packages: &[(&str, &str, &str)]) -> String {
    let package = |(number, (name, version, license)): (usize, &(&str, &str, &str))| {
        json!({
            "SPDXID": format!("SPDXRef-Package-{number}"), "name": name, "versionInfo": version,
            "downloadLocation": "NONE", "filesAnalyzed": false, "copyrightText": "NOASSERTION",
            "licenseConcluded": license, "licenseDeclared": license,
        })
    };
    let packages: Vec<Value> = packages.iter().enumerate().map(package).collect();
    json!({
        "spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": "image",
        "documentNamespace": "https://sbom.example/image",
        "creationInfo": { "created": "2026-01-01T00:00:00Z", "creators": ["Tool: tests"] },
        "packages": packages,
    })
    .to_string()
}

/// An SBOM of tags and values, of packages with licences.
pub fn tags(packages: &[(&str, &str)]) -> String {
    let mut text = "SPDXVersion: SPDX-2.3\nDataLicense: CC0-1.0\nSPDXID: SPDXRef-DOCUMENT\nDocumentName: image\n\
                    DocumentNamespace: https://sbom.example/image\nCreator: Tool: tests\nCreated: 2026-01-01T00:00:00Z\n"
        .to_owned();
    for (number, (name, license)) in packages.iter().enumerate() {
        text += &format!(
            "\nPackageName: {name}\nSPDXID: SPDXRef-Package-{number}\nPackageVersion: 1.0\nPackageDownloadLocation: NONE\n\
             FilesAnalyzed: false\nPackageLicenseConcluded: {license}\nPackageLicenseDeclared: {license}\n\
             PackageCopyrightText: NOASSERTION\n"
        );
    }
    text
}

/// A scanner's report of vulnerabilities with severities.
pub fn sarif(scanner: &str, found: &[(&str, &str)]) -> Value {
    let rules: Vec<Value> = found
        .iter()
        .map(|(id, severity)| {
            let help = format!("Vulnerability {id}\nSeverity: {severity}\nPackage: libx");
            json!({ "id": id, "shortDescription": { "text": id }, "help": { "text": help } })
        })
        .collect();
    let results: Vec<Value> = found
        .iter()
        .map(|(id, _)| json!({ "ruleId": id, "level": "error", "message": { "text": format!("found {id}") } }))
        .collect();
    json!({
        "version": "2.1.0", "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "runs": [{ "tool": { "driver": { "name": scanner, "rules": rules } }, "results": results }],
    })
}
