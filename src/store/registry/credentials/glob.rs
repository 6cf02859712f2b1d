//! Patterns of images, by the kubelet's rules (Kubernetes, "Kubelet credential provider", matchImages; docker's
//! config.json in "Images"): each label of the host is a pattern of its own, the port must be the same, and the path
//! begins as the pattern's does.

/// A pattern of images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    labels: Vec<Vec<Token>>,
    port: String,
    path: String,
}

/// A part of a label's pattern, as Go's path.Match reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// Any characters, none too.
    Star,
    /// Any one character.
    Any,
    Literal(char),
    /// One character within, or outside of, some ranges.
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Glob {
    /// Reads `HOST[:PORT][/PATH]` with `*`, `?` and `[a-z]` within the labels of the host.
    ///
    /// # Errors
    /// What is wrong with the pattern, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (host, path) = text.find('/').and_then(|at| text.split_at_checked(at)).unwrap_or((text, ""));
        // To the kubelet, which reads a URL, these would begin or end another part of it.
        if host.is_empty() || text.contains(['#', '@', '%']) || text.chars().any(char::is_whitespace) {
            return Err(bad(text));
        }
        let (name, port) = split_port(host);
        let labels: Option<Vec<_>> = name.split('.').map(tokens).collect();
        // Its path would end here.
        let path = path.split('?').next().unwrap_or_default();
        Ok(Self { labels: labels.ok_or_else(|| bad(text))?, port: port.to_owned(), path: path.to_owned() })
    }

    /// Whether the repository `path` of a registry is meant.
    #[must_use]
    pub fn matches(&self, host: &str, path: &str) -> bool {
        let (name, port) = split_port(host);
        let starts = match self.path.strip_prefix('/') {
            Some(prefix) => path.starts_with(prefix),
            None => true,
        };
        starts && self.matches_name(name) && self.port == port
    }

    /// Whether a host is meant, whatever the path.
    #[must_use]
    pub fn matches_host(&self, host: &str) -> bool {
        let (name, port) = split_port(host);
        self.matches_name(name) && self.port == port
    }

    fn matches_name(&self, name: &str) -> bool {
        let labels: Vec<&str> = name.split('.').collect();
        labels.len() == self.labels.len()
            && self.labels.iter().zip(labels).all(|(pattern, label)| label_matches(pattern, label))
    }
}

fn bad(text: &str) -> String {
    format!("{:?} is no pattern of images", text.chars().take(100).collect::<String>())
}

fn split_port(host: &str) -> (&str, &str) {
    match host.rsplit_once(':') {
        // The colons of a bare IPv6 address part no port.
        Some((name, port)) if !port.contains(']') => (name, port),
        _ => (host, ""),
    }
}

/// Reads the pattern of a label; none if it is malformed.
fn tokens(label: &str) -> Option<Vec<Token>> {
    let mut characters = label.chars();
    let mut tokens = Vec::new();
    while let Some(character) = characters.next() {
        tokens.push(match character {
            '*' => Token::Star,
            '?' => Token::Any,
            '[' => class(&mut characters)?,
            '\\' => Token::Literal(characters.next()?),
            literal => Token::Literal(literal),
        });
    }
    Some(tokens)
}

/// Reads `[^a-z0]` after its first bracket.
fn class(characters: &mut std::str::Chars<'_>) -> Option<Token> {
    let negated = characters.as_str().starts_with('^');
    if negated {
        characters.next();
    }
    let mut ranges = Vec::new();
    while ranges.is_empty() || !characters.as_str().starts_with(']') {
        let low = bound(characters)?;
        let high = if characters.as_str().starts_with('-') {
            characters.next();
            bound(characters)?
        } else {
            low
        };
        ranges.push((low, high));
    }
    characters.next();
    Some(Token::Class { negated, ranges })
}

fn bound(characters: &mut std::str::Chars<'_>) -> Option<char> {
    match characters.next()? {
        '\\' => characters.next(),
        '-' | ']' => None,
        other => Some(other),
    }
}

/// Goes back to the last star alone, which is enough: the one before has matched as little as it could.
fn label_matches(mut pattern: &[Token], label: &str) -> bool {
    let mut rest = label.chars();
    let mut back = None;
    loop {
        let step = match pattern.split_first() {
            None => rest.as_str().is_empty(),
            Some((Token::Star, after)) => {
                back = Some((after, rest.clone()));
                pattern = after;
                continue;
            }
            Some((token, after)) => {
                let taken = rest.next().is_some_and(|character| token.takes(character));
                pattern = after;
                taken
            }
        };
        if step && rest.as_str().is_empty() && pattern.is_empty() {
            return true;
        }
        if !step {
            let Some((after, mut from)) = back.take() else { return false };
            if from.next().is_none() {
                return false;
            }
            back = Some((after, from.clone()));
            (pattern, rest) = (after, from);
        }
    }
}

impl Token {
    fn takes(&self, character: char) -> bool {
        match self {
            Self::Star => false,
            Self::Any => true,
            Self::Literal(literal) => *literal == character,
            Self::Class { negated, ranges } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&character)) != *negated
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(glob: &str, image: &str) -> bool {
        let (host, path) = image.split_once('/').unwrap();
        Glob::parse(glob).unwrap().matches(host, path)
    }

    #[test]
    fn images_are_matched_as_the_kubelet_matches_them() {
        for (glob, image) in [
            ("registry.io", "registry.io/a"),
            ("registry.io/", "registry.io/a"),
            ("registry.io:8080/path", "registry.io:8080/path/x"),
            ("*.registry.io", "a.registry.io/x"),
            ("*.dkr.ecr.*.amazonaws.com", "1234.dkr.ecr.eu-west-1.amazonaws.com/x/y"),
            ("*.*.registry.io", "a.b.registry.io/x"),
            ("reg*.io", "registry.io/x"),
            ("*gi*ry.i[o]", "registry.io/x"),
            ("k8s.io/acme", "k8s.io/acme/web"),
            // A prefix of characters, not of components.
            ("k8s.io/ac", "k8s.io/acme/web"),
            ("*", "acme/web"),
            ("[a-c]x.io", "bx.io/a"),
            ("[^a-c]x.io", "dx.io/a"),
            ("\\a.io", "a.io/x"),
            ("127.0.0.1:5000", "127.0.0.1:5000/a"),
        ] {
            assert!(matches(glob, image), "{glob} {image}");
        }
        for (glob, image) in [
            ("registry.io", "registry.io:5000/a"),
            ("registry.io:5000", "registry.io/a"),
            ("*.registry.io", "registry.io/a"),
            ("*.registry.io", "a.b.registry.io/a"),
            ("*.io", "a.registry.io/a"),
            ("*", "registry.io/a"),
            ("registry.io/acme", "registry.io/other"),
            ("registry.io/acme/", "registry.io/acme"),
            ("[a-c]x.io", "dx.io/a"),
            ("a*b*c.io", "acb.io/x"),
            ("registry.io", "Registry.io/a"),
        ] {
            assert!(!matches(glob, image), "{glob} {image}");
        }
    }

    #[test]
    fn a_pattern_that_cannot_be_read_is_refused_by_its_text() {
        for bad in
            ["", "/a", "[a.io", "[]a.io", "[a-].io", "a\\", "user@a.io", "a.io/%2f", "a b.io", "a.io/#x", "[-a].io"]
        {
            assert!(Glob::parse(bad).is_err_and(|error| error.contains("is no pattern of images")), "{bad}");
        }
    }

    #[test]
    fn a_pattern_of_many_stars_costs_no_more_than_its_length_times_the_names() {
        let (glob, host) = (format!("{}b", "a*".repeat(2000)), "a".repeat(5000));
        assert!(!Glob::parse(&glob).unwrap().matches(&host, "x"));
    }
}
