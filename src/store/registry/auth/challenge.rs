//! Reads `WWW-Authenticate` header fields (RFC 9110, section 11.6.1): what a registry wants to see. Asks nobody and
//! decides nothing.

/// What a registry wants to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// User and password (RFC 7617).
    Basic,
    /// A token (RFC 6750) that a realm gives (distribution specification, "Token Authentication").
    Bearer {
        /// Where tokens are given.
        realm: String,
        /// For whom.
        service: Option<String>,
        /// For what.
        scope: Option<String>,
    },
}

impl Challenge {
    /// How long its texts are together, in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        match self {
            Self::Basic => 0,
            Self::Bearer { realm, service, scope } => {
                realm.len().saturating_add(length(service)).saturating_add(length(scope))
            }
        }
    }

    /// Whether it has no texts.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The challenges of all fields, in their order; schemes that registries do not use are left out, and so is what
/// cannot be read: whoever sent it refuses in any case.
#[must_use]
pub fn parse<'a>(fields: impl IntoIterator<Item = &'a str>) -> Vec<Challenge> {
    fields.into_iter().flat_map(field).collect()
}

fn field(text: &str) -> Vec<Challenge> {
    let mut challenges = Vec::new();
    let mut rest = text;
    while let Some((scheme, after)) = scheme(rest) {
        let (parameters, after) = parameters(after);
        challenges.extend(challenge(scheme, parameters));
        rest = after;
    }
    challenges
}

fn challenge(scheme: &str, parameters: Vec<(String, String)>) -> Option<Challenge> {
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let (mut realm, mut service, mut scope) = (None, None, None);
    for (name, value) in parameters {
        let slot = match name.as_str() {
            "realm" => &mut realm,
            "service" => &mut service,
            "scope" => &mut scope,
            _ => continue,
        };
        // The first of a name counts; it must not be there twice (section 11.2).
        slot.get_or_insert(value);
    }
    Some(Challenge::Bearer { realm: realm?, service, scope })
}

/// The scheme that a text begins with, and what follows it.
fn scheme(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start_matches([' ', '\t', ',']);
    let (name, rest) = token(text)?;
    Some((name, rest))
}

/// The parameters that a text begins with, and what follows them: the next challenge, if there is one. A `token68`
/// instead of parameters is passed over.
fn parameters(text: &str) -> (Vec<(String, String)>, &str) {
    let mut parameters = Vec::new();
    let mut rest = text;
    loop {
        let start = rest.trim_start_matches([' ', '\t', ',']);
        let Some((name, after)) = token(start) else { return (parameters, "") };
        let Some(value) = after.trim_start_matches(BLANK).strip_prefix('=') else { return (parameters, start) };
        let Some((value, after)) = value_of(value.trim_start_matches(BLANK)) else { return (parameters, "") };
        parameters.push((name.to_ascii_lowercase(), value));
        rest = after;
    }
}

/// A token or a quoted string (RFC 9110, section 5.6), and what follows it.
fn value_of(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return text.split_at_checked(end).map(|(value, rest)| (value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return quoted.get(at.saturating_add(1)..).map(|rest| (value, rest)),
            '\\' => value.push(characters.next()?.1),
            _ => value.push(c),
        }
    }
    None
}

/// A token (RFC 9110, section 5.6.2), and what follows it.
fn token(text: &str) -> Option<(&str, &str)> {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/".contains(c);
    let end = text.find(|c| !is_token(c)).unwrap_or(text.len());
    text.split_at_checked(end).filter(|(token, _)| !token.is_empty())
}

const BLANK: [char; 2] = [' ', '\t'];

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Challenge::Bearer { realm: realm.to_owned(), service: owned(service), scope: owned(scope) }
    }

    #[test]
    fn challenges_are_read_however_they_are_written() {
        let hub = bearer("https://a.example/token", Some("r.example"), Some("repository:a/b:pull"));
        for field in [
            r#"Bearer realm="https://a.example/token",service="r.example",scope="repository:a/b:pull""#,
            r#"bearer  Scope = "repository:a/b:pull" , realm="https://a.example/token" ,service=r.example"#,
            r#", Bearer realm="https://a.example/token",error="invalid, token",service="r.example",scope="repository:a/b:pull","#,
            r#"Bearer realm="https:\/\/a.example/token",service="r.example",scope="repository:a/b:pull",scope="x""#,
        ] {
            assert_eq!(parse([field]), std::slice::from_ref(&hub), "{field}");
        }
    }

    #[test]
    fn several_challenges_in_one_field_or_in_several_are_all_read() {
        let expected = [Challenge::Basic, bearer("https://t", None, None)];
        assert_eq!(parse([r#"Basic realm="x, y", Bearer realm="https://t""#]), expected);
        assert_eq!(parse([r#"Basic"#, r#"Negotiate"#, r#"Bearer realm="https://t""#]), expected);
        assert_eq!(parse([r#"Negotiate dG9rZW4=, Basic realm="x", Bearer realm="https://t""#]), expected);
        assert_eq!(parse([r#"Basic, Bearer realm="https://t""#]), expected);
    }

    #[test]
    fn what_cannot_be_read_is_no_challenge() {
        for field in
            ["", ",", "Bearer", r#"Bearer service="x""#, r#"Bearer realm="https://t"#, r#"="x""#, "é", "Digest a=b"]
        {
            assert_eq!(parse([field]), [], "{field}");
        }
    }
}
