//! `${NAME}` in strings of the configuration. The file is parsed before, so that a variable's value can never
//! add a key, a table or an array.

/// What [`expand`] could not do, in words, one for each place.
pub type Causes = Vec<String>;

/// Puts environment variables in: `${NAME}` becomes the value of NAME, `$${` becomes `${`, and any other `$`
/// stands for itself. What was put in is not looked at again.
///
/// # Errors
/// Every variable that is not defined, and every `${` that no name and `}` follow.
pub fn expand(text: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<String, Causes> {
    let mut expanded = String::with_capacity(text.len());
    let mut causes = Causes::new();
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        let (before, from_dollar) = rest.split_at(dollar);
        expanded.push_str(before);
        if let Some(after) = from_dollar.strip_prefix("$${") {
            expanded.push_str("${");
            rest = after;
        } else if let Some(after) = from_dollar.strip_prefix("${") {
            let Some((name, after)) = after.split_once('}').filter(|(name, _)| is_name(name)) else {
                causes.push("\"${\" without a variable's name and \"}\" after it".to_owned());
                rest = after;
                continue;
            };
            match environment(name) {
                Some(value) => expanded.push_str(&value),
                None => causes.push(format!("environment variable {name} is not defined")),
            }
            rest = after;
        } else {
            expanded.push('$');
            rest = from_dollar.get(1..).unwrap_or_default();
        }
    }
    expanded.push_str(rest);
    if causes.is_empty() { Ok(expanded) } else { Err(causes) }
}

/// A name as POSIX has it for environment variables (XBD section 3.216): letters, digits, underscores, no digit first.
fn is_name(name: &str) -> bool {
    name.len() <= 256
        && name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(text: &str) -> Result<String, Causes> {
        expand(text, &|name| match name {
            "DIR" => Some("/etc/trust".to_owned()),
            "EMPTY" => Some(String::new()),
            "NESTED" => Some("${DIR}".to_owned()),
            _ => None,
        })
    }

    #[test]
    fn a_variable_is_put_in_once() {
        assert_eq!(with("${DIR}/a-${EMPTY}.pem").unwrap(), "/etc/trust/a-.pem");
        assert_eq!(with("${DIR}${DIR}").unwrap(), "/etc/trust/etc/trust");
        assert_eq!(with("${NESTED}").unwrap(), "${DIR}");
    }

    #[test]
    fn two_dollars_and_a_brace_are_an_escape_and_other_dollars_stand_for_themselves() {
        assert_eq!(with("$${DIR}").unwrap(), "${DIR}");
        assert_eq!(with("$$${DIR}").unwrap(), "$${DIR}");
        for plain in ["", "$", "$$", "$DIR", "a$b", "a$", "$}", "$ {DIR}"] {
            assert_eq!(with(plain).unwrap(), plain);
        }
    }

    #[test]
    fn every_undefined_variable_is_named() {
        assert_eq!(
            with("${A}/${DIR}/${B}").unwrap_err(),
            ["environment variable A is not defined", "environment variable B is not defined"]
        );
    }

    #[test]
    fn an_unfinished_variable_is_an_error() {
        for bad in ["${", "${}", "${DIR", "${1}", "${DI R}", "${DIR:-x}", "${d\u{e9}}"] {
            assert_eq!(with(bad).unwrap_err().len(), 1, "{bad}");
        }
    }
}
