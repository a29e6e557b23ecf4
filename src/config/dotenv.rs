//! `.env` files as the Python backend read them (python-dotenv), so that its file works unchanged.
//!
//! The usual crate strips quotes inside an unquoted value, and so cannot read `CORS_ORIGINS=["*"]`. As in python-dotenv, a
//! line that makes no sense is passed over: the file may hold things for other programs. `${…}` is not expanded.

/// The names and values of a file, in order.
pub(super) fn parse(text: &str) -> Vec<(String, String)> {
    let mut rest = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let mut found = Vec::new();
    while !rest.is_empty() {
        let line_end = rest.find('\n').map_or(rest.len(), |at| at + 1);
        match binding(rest) {
            Some((name, value, after)) => {
                found.push((name, value));
                rest = after;
            }
            None => rest = &rest[line_end..],
        }
    }
    found
}

/// The binding at the start of `text`, and what follows its line. A quoted value may run over several lines.
fn binding(text: &str) -> Option<(String, String, &str)> {
    let line = text.lines().next()?;
    let (name, _) = line.split_once('=')?;
    let start = name.len() + 1;
    let name = name.trim();
    let name = name.strip_prefix("export ").unwrap_or(name).trim_start();
    if name.is_empty() || name.starts_with('#') || name.contains(char::is_whitespace) {
        return None;
    }
    let value = text[start..].trim_start_matches([' ', '\t']);
    let (value, after) = match value.chars().next() {
        Some(quote @ ('\'' | '"')) => {
            let (value, after) = quoted(&value[1..], quote)?;
            let (tail, after) = after.split_once('\n').unwrap_or((after, ""));
            let tail = tail.trim();
            (tail.is_empty() || tail.starts_with('#')).then_some((value, after))?
        }
        _ => {
            let (value, after) = value.split_once('\n').unwrap_or((value, ""));
            (uncommented(value).to_owned(), after)
        }
    };
    Some((name.to_owned(), value, after))
}

/// A value up to its closing quote, and what follows that.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        if c == quote {
            return Some((value, &text[at + 1..]));
        }
        if c != '\\' {
            value.push(c);
            continue;
        }
        let (_, escaped) = chars.next()?;
        match escaped {
            '\\' | '\'' => value.push(escaped),
            '"' if quote == '"' => value.push('"'),
            'n' if quote == '"' => value.push('\n'),
            'r' if quote == '"' => value.push('\r'),
            't' if quote == '"' => value.push('\t'),
            other => value.extend(['\\', other]),
        }
    }
    None
}

/// An unquoted value without its comment, which begins with white space and a `#`.
fn uncommented(value: &str) -> &str {
    let comment = value.match_indices('#').find(|(at, _)| value[..*at].ends_with(char::is_whitespace));
    comment.map_or(value, |(at, _)| &value[..at]).trim()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What python-dotenv 1.0 makes of the same text.
    #[test]
    fn values_are_those_of_python_dotenv() {
        let text = concat!(
            "# a comment\n\n",
            "CORS_ORIGINS=[\"http://localhost:3000\", \"https://app.example\"]\n",
            "export ENV=prod # inline\r\n",
            "SPACED = some words  \n",
            "HASH=a#b\n",
            "SINGLE='it\\'s $raw \\n'\n",
            "DOUBLE=\"two\\nlines \\\"x\\\"\" # comment\n",
            "MULTI=\"first\nsecond\"\n",
            "EMPTY=\n",
            "no binding here\n",
            "OPEN='never closed\n",
            "LAST=1",
        );
        let expected = [
            ("CORS_ORIGINS", "[\"http://localhost:3000\", \"https://app.example\"]"),
            ("ENV", "prod"),
            ("SPACED", "some words"),
            ("HASH", "a#b"),
            ("SINGLE", "it's $raw \\n"),
            ("DOUBLE", "two\nlines \"x\""),
            ("MULTI", "first\nsecond"),
            ("EMPTY", ""),
            ("LAST", "1"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(parse(text), expected);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(noise: String) {
            parse(&noise);
        }

        #[test]
        fn what_is_quoted_comes_back(value: String) {
            let escaped = value.replace('\\', "\\\\").replace('\'', "\\'");
            prop_assert_eq!(parse(&format!("X='{escaped}'\nY=1")), [("X".to_owned(), value), ("Y".into(), "1".into())]);
        }
    }
}
