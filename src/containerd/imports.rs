//! The `imports` of containerd's configuration file: whether they cover a file, and the smallest edit that has them do
//! so, and undoes it. Pure. An edit leaves every other byte as it was, and is refused unless the result reads the same
//! but for `imports`.

use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

/// Stands above a line that was put in.
const NOTE: &str = "# For ratifyd; `ratifyctl uninstall` takes it out again.";

/// The patterns that a configuration file imports.
///
/// # Errors
/// It is not TOML.
pub fn of(text: &str) -> Result<Vec<String>, String> {
    let table = parse(text)?;
    let imports = table.get("imports").and_then(Value::as_array);
    Ok(imports.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect())
}

/// The version of a configuration file; 1 where it states none.
///
/// # Errors
/// It is not TOML.
pub fn version(text: &str) -> Result<i64, String> {
    Ok(parse(text)?.get("version").and_then(Value::as_integer).unwrap_or(1))
}

/// An import as containerd reads it: relative to the folder of the file that has it.
#[must_use]
pub fn resolve(config: &Path, import: &str) -> PathBuf {
    config.parent().unwrap_or(Path::new("/")).join(import)
}

/// Whether an import of a configuration file covers another file.
#[must_use]
pub fn covers(config: &Path, import: &str, file: &Path) -> bool {
    let import = resolve(config, import);
    let parts = |path: &Path| -> Vec<String> {
        path.components()
            .filter(|part| !matches!(part, Component::CurDir))
            .map(|part| part.as_os_str().to_string_lossy().into_owned())
            .collect()
    };
    let (pattern, file) = (parts(&import), parts(file));
    pattern.len() == file.len() && pattern.iter().zip(&file).all(|(pattern, name)| fits(pattern, name))
}

/// Whether a name fits a pattern in which stars stand for anything. What else Go's patterns can say is taken
/// literally: then an import is put in that was not needed.
fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    false
}

/// The text with an import more.
///
/// # Errors
/// It cannot be put in by a small edit.
pub fn add(text: &str, import: &str) -> Result<String, String> {
    let table = parse(text)?;
    let spanned = DeTable::parse(text).map_err(|error| error.message().to_owned())?;
    let edited = match find(spanned.get_ref(), "imports") {
        Some(array) => extended(text, array, import),
        None => inserted(text, spanned.get_ref(), import),
    };
    let edited = edited.filter(|edited| {
        let mut imports = of(text).unwrap_or_default();
        imports.push(import.to_owned());
        means(edited, &table, &imports)
    });
    edited.ok_or_else(|| format!("put it in by hand, above the first table: imports = [{}]", quoted(import)))
}

/// The text without an import; none if it has none such.
///
/// # Errors
/// It cannot be taken out by a small edit.
pub fn remove(text: &str, import: &str) -> Result<Option<String>, String> {
    let table = parse(text)?;
    let mut imports = of(text)?;
    let Some(index) = imports.iter().position(|one| one == import) else { return Ok(None) };
    imports.remove(index);
    let spanned = DeTable::parse(text).map_err(|error| error.message().to_owned())?;
    let candidates = [uninserted(text, import), shortened(text, spanned.get_ref(), import)];
    let edited = candidates.into_iter().flatten().find(|edited| means(edited, &table, &imports));
    edited.map(Some).ok_or_else(|| format!("take it out by hand: {} of imports", quoted(import)))
}

fn parse(text: &str) -> Result<Table, String> {
    text.parse().map_err(|error: toml::de::Error| error.message().to_owned())
}

/// Whether a text means a table but for its imports, which are these.
fn means(text: &str, table: &Table, imports: &[String]) -> bool {
    let Ok(mut edited) = parse(text) else { return false };
    let mut table = table.clone();
    table.remove("imports");
    let now = edited.remove("imports");
    let now = now.as_ref().and_then(Value::as_array).cloned().unwrap_or_default();
    edited == table && now.iter().map(Value::as_str).eq(imports.iter().map(|import| Some(import.as_str())))
}

fn find<'a, 'b>(table: &'a DeTable<'b>, name: &str) -> Option<&'a Spanned<DeValue<'b>>> {
    table.iter().find(|(key, _)| key.get_ref() == name).map(|(_, value)| value)
}

fn items(array: &Spanned<DeValue<'_>>) -> Option<Vec<(Range<usize>, String)>> {
    let array = array.get_ref().as_array()?;
    array.iter().map(|item| Some((item.span(), item.get_ref().as_str()?.to_owned()))).collect()
}

/// Behind the last item of the array.
fn extended(text: &str, array: &Spanned<DeValue<'_>>, import: &str) -> Option<String> {
    let quoted = quoted(import);
    match items(array)?.last() {
        Some((span, _)) => spliced(text, span.end..span.end, &format!(", {quoted}")),
        None => {
            let start = array.span().start.checked_add(1)?;
            spliced(text, start..start, &quoted)
        }
    }
}

/// In a line of its own below `version`, which stands before every table.
fn inserted(text: &str, table: &DeTable<'_>, import: &str) -> Option<String> {
    let end = find(table, "version")?.span().end;
    let rest = text.get(end..)?;
    let at = end.checked_add(rest.find('\n').map_or(rest.len(), |index| index.saturating_add(1)))?;
    let block = block(text, import);
    if text.get(..at)?.ends_with('\n') {
        return spliced(text, at..at, &block);
    }
    // A file without a line feed at its end is left without one.
    Some(format!("{text}\n{}", block.trim_end()))
}

/// Without the lines that [`inserted`] put in.
fn uninserted(text: &str, import: &str) -> Option<String> {
    let block = block(text, import);
    match text.find(&block) {
        Some(at) => spliced(text, at..at.checked_add(block.len())?, ""),
        None => text.strip_suffix(block.trim_end())?.strip_suffix('\n').map(str::to_owned),
    }
}

/// Without the item that [`extended`] put in.
fn shortened(text: &str, table: &DeTable<'_>, import: &str) -> Option<String> {
    let items = items(find(table, "imports")?)?;
    let index = items.iter().position(|(_, one)| one == import)?;
    let own = &items.get(index)?.0;
    let range = match (index.checked_sub(1).and_then(|before| items.get(before)), items.get(index.checked_add(1)?)) {
        (Some((before, _)), _) => before.end..own.end,
        (None, Some((after, _))) => own.start..after.start,
        (None, None) => own.clone(),
    };
    spliced(text, range, "")
}

fn block(text: &str, import: &str) -> String {
    let end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    format!("{NOTE}{end}imports = [{}]{end}", quoted(import))
}

fn spliced(text: &str, range: Range<usize>, with: &str) -> Option<String> {
    Some(format!("{}{with}{}", text.get(..range.start)?, text.get(range.end..)?))
}

fn quoted(import: &str) -> String {
    Value::String(import.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OURS: &str = "/etc/containerd/conf.d/90-ratifyd*.toml";

    #[track_caller]
    fn edits(before: &str, after: &str) {
        assert_eq!(add(before, OURS).as_deref(), Ok(after));
        assert_eq!(remove(after, OURS), Ok(Some(before.to_owned())), "and back");
    }

    #[test]
    fn a_file_without_imports_gets_a_line_below_its_version() {
        edits(
            "# Debian's\nversion = 2 # old\n\n[plugins]\n  [plugins.'a']\n",
            &format!("# Debian's\nversion = 2 # old\n{NOTE}\nimports = [\"{OURS}\"]\n\n[plugins]\n  [plugins.'a']\n"),
        );
        edits("version=3", &format!("version=3\n{NOTE}\nimports = [\"{OURS}\"]"));
        edits("version=3\r\n[a]\r\n", &format!("version=3\r\n{NOTE}\r\nimports = [\"{OURS}\"]\r\n[a]\r\n"));
    }

    #[test]
    fn an_array_of_imports_is_extended_where_it_ends() {
        for (before, after) in [
            ("[]", "[OURS]"),
            ("[ ]", "[OURS ]"),
            ("['/a/*.toml']", "['/a/*.toml', OURS]"),
            ("[\n  \"/a\", # first\n  \"/b\", # last\n]", "[\n  \"/a\", # first\n  \"/b\", OURS, # last\n]"),
        ] {
            let file = |array: &str| format!("version = 3\nimports = {array} # c\n[a]\nb = 1\n");
            edits(&file(before), &file(&after.replace("OURS", &format!("\"{OURS}\""))));
        }
    }

    #[test]
    fn what_others_have_added_since_stays_when_ours_goes() {
        let file = format!("version = 3\nimports = [\"{OURS}\", '/their/*.toml']\n");
        assert_eq!(remove(&file, OURS).unwrap().unwrap(), "version = 3\nimports = ['/their/*.toml']\n");
        assert_eq!(remove("version = 3\nimports = ['/their/*.toml']\n", OURS), Ok(None));
        assert_eq!(remove("", OURS), Ok(None));
    }

    #[test]
    fn a_file_that_no_small_edit_mends_is_refused_with_the_line_to_add() {
        for text in ["", "[a]\n", "version = 3\nimports = 'x'\n", "version = 3\nimports = ['/a', 1]\n", "a.b = 1\n"] {
            let cause = add(text, OURS).unwrap_err();
            assert!(cause.contains(&format!("imports = [\"{OURS}\"]")), "{text}: {cause}");
        }
        assert!(add("version = ", OURS).is_err(), "no TOML");
        // The version stands in no line of its own.
        assert!(add("version = 3 \"", OURS).is_err());
    }

    #[test]
    fn an_import_covers_a_file_as_containerd_reads_it() {
        let config = Path::new("/etc/containerd/config.toml");
        let file = Path::new("/etc/containerd/conf.d/90-ratifyd.toml");
        let yes = ["/etc/containerd/conf.d/*.toml", "conf.d/*.toml", "./conf.d/90-*", "conf.d/90-ratifyd.toml", OURS];
        assert!(yes.iter().all(|import| covers(config, import, file)));
        let no = ["", "*.toml", "/etc/containerd/*/x.toml", "conf.d/*.conf", "conf.d/*.toml.d", "conf.d/91*.toml"];
        assert!(!no.iter().any(|import| covers(config, import, file)));
        assert!(covers(config, "/etc/*/conf.d/*-*ify*.to*ml", file));
        assert!(!fits("a*a", "a") && fits("a*", "a") && fits("*", "") && !fits("", "a"));
    }

    /// Lines as people write them above and below what is edited.
    fn lines() -> impl Strategy<Value = String> {
        let line = prop_oneof![
            Just(String::new()),
            Just("# imports = ['x'] version = 2".to_owned()),
            "[a-z]{1,6}".prop_map(|key| format!("k{key} = \"imports = [ # \\\" \"  # version = 1")),
            "[a-z]{1,6}".prop_map(|key| format!("m{key} = \"\"\"\nversion = 9\nimports = []\n\"\"\"")),
        ];
        prop::collection::vec(line, 0..4).prop_map(|lines| lines.join("\n"))
    }

    fn imports() -> impl Strategy<Value = String> {
        prop_oneof![
            Just(String::new()),
            Just("imports = []".to_owned()),
            Just("imports = ['/a/*.toml']".to_owned()),
            Just("imports = [\n'/a', # one\n\"/b\" # two\n] # end".to_owned()),
            Just("imports = [ '/a' , '/b' , ]".to_owned()),
        ]
    }

    proptest! {
        #[test]
        fn an_edit_changes_nothing_else_and_is_undone_to_the_last_byte(
            above in lines(), between in lines(), below in lines(), imports in imports(), table in "[a-z]{1,4}",
            last in prop::bool::ANY,
        ) {
            let mut text = format!("{above}\nversion = 3 # v\n{between}\n{imports}\n{below}\n[{table}]\nversion = 1\nimports = ['z']");
            if last {
                text.push('\n');
            }
            // Keys that came out twice make no file.
            prop_assume!(parse(&text).is_ok());
            let edited = add(&text, OURS).unwrap();
            let mut expected = of(&text).unwrap();
            expected.push(OURS.to_owned());
            prop_assert_eq!(of(&edited).unwrap(), expected);
            // Every line that was there is still there, in order, but for the one that was extended.
            let extended = |line: &&str| !line.contains(OURS) && *line != NOTE;
            let kept: Vec<&str> = edited.lines().filter(extended).collect();
            let had: Vec<&str> = text.lines().collect();
            let mut rest = had.iter();
            prop_assert!(kept.iter().all(|line| rest.any(|other| other == line)));
            prop_assert!(had.len() - kept.len() <= 1);
            prop_assert_eq!(remove(&edited, OURS).unwrap().unwrap(), text);
        }
    }
}
