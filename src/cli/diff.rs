//! The lines of a text that change, as people read them: one hunk, because edits here are made in one place.

/// The changed lines with a line of context, in the manner of `diff -u`; nothing where nothing changes.
pub(super) fn lines(before: &str, after: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let same = old.iter().zip(&new).take_while(|(one, other)| one == other).count();
    let (old_rest, new_rest) = (old.get(same..).unwrap_or_default(), new.get(same..).unwrap_or_default());
    let tail = old_rest.iter().rev().zip(new_rest.iter().rev()).take_while(|(one, other)| one == other).count();
    let removed = old_rest.iter().take(old_rest.len().saturating_sub(tail)).map(|line| format!("-{line}\n"));
    let added = new_rest.iter().take(new_rest.len().saturating_sub(tail)).map(|line| format!("+{line}\n"));
    let changed: String = removed.chain(added).collect();
    if changed.is_empty() {
        return changed;
    }
    let above = same.checked_sub(1).and_then(|index| old.get(index)).map(|line| format!(" {line}\n"));
    let below = old_rest.len().checked_sub(tail).and_then(|index| old_rest.get(index)).map(|line| format!(" {line}\n"));
    above.unwrap_or_default() + &changed + &below.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_that_change_are_shown_with_one_around_them() {
        assert_eq!(lines("a\nb\nc\nd\n", "a\nb\nx\ny\nd\n"), " b\n-c\n+x\n+y\n d\n");
        assert_eq!(lines("a\nb\n", "a\nx\nb\n"), " a\n+x\n b\n");
        assert_eq!(lines("a\nx\nb\n", "a\nb\n"), " a\n-x\n b\n");
        assert_eq!(lines("", "a\nb\n"), "+a\n+b\n");
        assert_eq!(lines("a\n", ""), "-a\n");
        assert_eq!(lines("a\na\n", "a\na\na\n"), " a\n+a\n");
        assert_eq!(lines("a\n", "a\n"), "");
    }
}
