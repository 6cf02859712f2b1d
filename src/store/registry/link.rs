//! Reads `Link` header fields (RFC 8288, section 3): where the next page of a list is. A field that cannot be read
//! is an error, because passing over it would cut the list short. Asks nobody, follows nothing.

/// The target of the link whose relation is `next`, if there is one.
///
/// # Errors
/// A field that is not of the grammar, or two different targets.
pub fn next<'a>(fields: impl IntoIterator<Item = &'a str>) -> Result<Option<&'a str>, String> {
    let mut next = None;
    for field in fields {
        let mut rest = skip(field);
        while !rest.is_empty() {
            let (target, relation, after) = link(rest).ok_or_else(|| unreadable(field))?;
            let is_next = relation.is_some_and(|names| names.split(' ').any(|name| name.eq_ignore_ascii_case("next")));
            if is_next && next.replace(target).is_some_and(|other| other != target) {
                return Err("the Link header names two next pages".to_owned());
            }
            rest = after;
        }
    }
    Ok(next)
}

fn unreadable(field: &str) -> String {
    format!("the Link header {:?} cannot be read", field.chars().take(200).collect::<String>())
}

/// One link: its target, its relation (the first counts: section 3.3), and the text after it and its comma.
fn link(text: &str) -> Option<(&str, Option<&str>, &str)> {
    let (target, mut rest) = text.strip_prefix('<')?.split_once('>')?;
    let mut relation = None;
    loop {
        rest = rest.trim_start_matches(BLANK);
        if rest.is_empty() || rest.starts_with(',') {
            return Some((target, relation, skip(rest)));
        }
        let (name, value, after) = parameter(rest.strip_prefix(';')?)?;
        if name.eq_ignore_ascii_case("rel") && relation.is_none() {
            relation = Some(value);
        }
        rest = after;
    }
}

/// One parameter, `name`, `name=token` or `name="text"`: its name, its value and the text after it. A backslash
/// inside quotes is refused: nothing that matters here needs one.
fn parameter(text: &str) -> Option<(&str, &str, &str)> {
    let (name, rest) = split_at(text, |c| matches!(c, '=' | ';' | ','));
    let Some(value) = rest.strip_prefix('=') else { return Some((name.trim_matches(BLANK), "", rest)) };
    let value = value.trim_start_matches(BLANK);
    let (value, rest) = match value.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"').filter(|(value, _)| !value.contains('\\'))?,
        None => split_at(value, |c| matches!(c, ';' | ',')),
    };
    Some((name.trim_matches(BLANK), value.trim_matches(BLANK), rest))
}

fn split_at(text: &str, end: impl Fn(char) -> bool) -> (&str, &str) {
    text.find(end).and_then(|end| text.split_at_checked(end)).unwrap_or((text, ""))
}

/// Passes over what stands between links: blanks and commas, empty elements too (RFC 9110, section 5.6.1).
fn skip(text: &str) -> &str {
    text.trim_start_matches([' ', '\t', ','])
}

const BLANK: [char; 2] = [' ', '\t'];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_found_however_it_is_written() {
        for field in [
            r#"</v2/a/referrers/x?n=2>; rel="next""#,
            "</v2/a/referrers/x?n=2>;rel=next",
            r#"</v2/a/referrers/x?n=2>; Rel = "prev NEXT" ; title="a, b; c""#,
            r#"</first>; rel="first", </v2/a/referrers/x?n=2>; rel="next", </last>; rel=last"#,
            r#" , </v2/a/referrers/x?n=2>; title*=UTF-8''x; crossorigin; rel="next" ,"#,
        ] {
            assert_eq!(next([field]), Ok(Some("/v2/a/referrers/x?n=2")), "{field}");
        }
        assert_eq!(next([r#"</a>; rel="first""#, r#"</b>; rel="next""#]), Ok(Some("/b")));
    }

    #[test]
    fn other_relations_are_no_next_page() {
        for field in ["", "</a>", r#"</a>; rel="prev""#, r#"</a>; rel="nextish""#, r#"</a>; rel=prev; rel=next"#] {
            assert_eq!(next([field]), Ok(None), "{field}");
        }
        assert_eq!(next([]), Ok(None));
    }

    #[test]
    fn a_field_that_cannot_be_read_is_an_error_and_never_the_end_of_the_list() {
        for field in [
            "/a; rel=next",
            "</a; rel=next",
            r#"</a>; rel="next"#,
            r#"</a> rel="next""#,
            r#"</a>; rel="ne\xt""#,
            "garbage",
            r#"</a>; rel=next, garbage"#,
        ] {
            assert!(next([field]).unwrap_err().contains("cannot be read"), "{field}");
        }
    }

    #[test]
    fn two_different_next_pages_are_an_error() {
        assert!(next(["</a>; rel=next, </b>; rel=next"]).is_err());
        assert!(next(["</a>; rel=next", "</b>; rel=next"]).is_err());
        assert_eq!(next(["</a>; rel=next, </a>; rel=next"]), Ok(Some("/a")));
    }
}
