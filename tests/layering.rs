//! The order of modules in `src/lib.rs` is the law: a module imports only modules below it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The makers rank right above this module of the list.
const SEAMS: &str = "policy";

/// Modules of which each doorway may see only a part, so that it can never decide anything itself.
const SHIM_MAY_SEE: [&str; 7] = ["client", "wire", "verdict", "artifact", "json", "limits", "shim"];

fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(path)
}

/// The modules of `lib.rs`, in its order.
fn order() -> Vec<String> {
    let text = fs::read_to_string(source("lib.rs")).unwrap();
    let modules = text.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    modules.map(str::to_owned).collect()
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Where a path ranks: its module, or `MODULE::MAKER` for what lies inside a seam's folder.
fn unit(segments: &[&str]) -> String {
    match segments {
        [seam @ ("verifier" | "store"), maker, ..] if is_maker(seam, maker) => format!("{seam}::{maker}"),
        [module, ..] => (*module).to_owned(),
        [] => String::new(),
    }
}

fn is_maker(seam: &str, name: &str) -> bool {
    source(&format!("{seam}/{name}.rs")).exists() || source(&format!("{seam}/{name}/mod.rs")).exists()
}

fn rank(order: &[String], unit: &str) -> f64 {
    let place = |name: &str| order.iter().position(|module| module == name).map(|place| place as f64);
    if unit.contains("::") {
        place(SEAMS).unwrap() - 0.5
    } else {
        place(unit).unwrap_or_else(|| panic!("{unit} is not in lib.rs"))
    }
}

/// The code of a file that is not its test module, with comments taken out.
fn code(text: &str) -> String {
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    text[..end].lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n")
}

/// Every `crate::a::b` in some code, grouped imports spelled out for their first two segments.
fn imports(code: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let path: String = rest.chars().take_while(|c| c.is_alphanumeric() || "_:".contains(*c)).collect();
        let segments: Vec<String> = path.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect();
        if let (true, Some(group)) = (path.ends_with("::"), rest[path.len()..].strip_prefix('{')) {
            let end = group.find(['{', '}']).unwrap_or(group.len());
            for item in group[..end].split(',').map(str::trim).filter(|item| !item.is_empty()) {
                let head = item.split("::").next().unwrap_or("").to_owned();
                found.push(segments.iter().cloned().chain([head]).collect());
            }
        } else if !segments.is_empty() {
            found.push(segments);
        }
    }
    found
}

/// For each file of the library: the unit that it belongs to and the units that it imports.
fn graph() -> BTreeMap<String, (String, Vec<String>)> {
    let mut files = Vec::new();
    rust_files(&source(""), &mut files);
    let mut graph = BTreeMap::new();
    for file in files {
        let name = file.strip_prefix(source("")).unwrap().with_extension("").display().to_string();
        let segments: Vec<&str> = name.split('/').filter(|part| *part != "mod").collect();
        if name == "lib" || segments[0] == "bin" || segments.last() == Some(&"tests") {
            continue;
        }
        let code = code(&fs::read_to_string(&file).unwrap());
        let imported =
            imports(&code).iter().map(|path| unit(&path.iter().map(String::as_str).collect::<Vec<_>>())).collect();
        graph.insert(name.clone(), (unit(&segments), imported));
    }
    graph
}

#[test]
fn a_module_imports_only_modules_below_it() {
    let order = order();
    let mut wrong = Vec::new();
    for (file, (own, imported)) in graph() {
        for other in imported.iter().filter(|other| **other != own) {
            if rank(&order, other) <= rank(&order, &own) {
                wrong.push(format!("src/{file}.rs ({own}) imports {other}, which is not below it"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn makers_are_named_by_assemble_alone_and_never_by_each_other() {
    for (file, (own, imported)) in graph() {
        for other in imported.iter().filter(|other| other.contains("::") && **other != own) {
            assert_eq!(own, "assemble", "src/{file}.rs names the maker {other}");
        }
    }
}

#[test]
fn the_shim_sees_nothing_that_could_decide() {
    let graph = graph();
    let mut seen = vec!["shim".to_owned()];
    while let Some(next) = graph
        .values()
        .filter(|(own, _)| seen.contains(own))
        .flat_map(|(_, imported)| imported)
        .find(|unit| !seen.contains(unit))
    {
        seen.push(next.clone());
    }
    let strangers: Vec<_> = seen.iter().filter(|unit| !SHIM_MAY_SEE.contains(&unit.as_str())).collect();
    assert!(strangers.is_empty(), "the shim sees {strangers:?}");
}

#[test]
fn doorways_do_not_see_each_other_and_the_law_can_be_broken() {
    for (file, (own, imported)) in graph() {
        let doorways = ["cli", "daemon", "shim"];
        if doorways.contains(&own.as_str()) {
            assert!(imported.iter().all(|unit| *unit == own || !doorways.contains(&unit.as_str())), "src/{file}.rs");
        }
    }
    // The reader of imports reads imports: otherwise all of the above would hold whatever the code says.
    let sample =
        "use crate::store::{self, registry::RegistryStore};\nuse crate::limits;\nfn f() { crate::wire::v1::x() }";
    let units: Vec<String> =
        imports(sample).iter().map(|path| unit(&path.iter().map(String::as_str).collect::<Vec<_>>())).collect();
    assert_eq!(units, ["store", "store::registry", "limits", "wire"]);
    assert!(graph().values().map(|(_, imported)| imported.len()).sum::<usize>() > 50);
}
