//! `.env` files as python-dotenv 1.2 reads them, so that the file of the Python backend works unchanged.
//!
//! The dotenvy crate strips quotes inside an unquoted value, so it cannot read `CORS_ORIGINS=["*"]`. There are two differences
//! from python-dotenv. A line that it skips with a warning is an error here, because it may be the line that requires a token.
//! `${…}` is not expanded, and the caller refuses it in the value of a setting.

use std::fmt;

/// A name, and its value if the line has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Binding {
    /// The number of its first line, from 1.
    pub(super) line: usize,
    pub(super) name: String,
    /// `None` for a name without `=`, which python-dotenv reads as a name without a value.
    pub(super) value: Option<String>,
    /// The value as written, with its quotes.
    pub(super) written: String,
}

/// A line that is neither a binding, nor a comment, nor empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BadLine {
    pub(super) line: usize,
    pub(super) problem: Problem,
}

/// The problem of a line, without values, because they may be secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Problem {
    NoBinding,
    OpenQuote { name: String },
    TextAfterQuote { name: String },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBinding => f.write_str("it is not NAME=value, a comment, or empty"),
            Self::OpenQuote { name } => {
                write!(f, "the quote before the value of {} is never closed", name.escape_debug())
            }
            Self::TextAfterQuote { name } => {
                write!(f, "text follows the closing quote of the value of {}", name.escape_debug())
            }
        }
    }
}

/// Returns the bindings of a file in order, or the errors of all lines that do not parse.
pub(super) fn parse(text: &str) -> Result<Vec<Binding>, Vec<BadLine>> {
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    // Python opens the file with universal newlines.
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let (mut bindings, mut bad_lines) = (Vec::new(), Vec::new());
    let (mut rest, mut line) = (text.as_str(), 1);
    loop {
        let start = rest.trim_start_matches(is_space);
        line += line_breaks(rest, start);
        if start.is_empty() {
            break;
        }
        match statement(start) {
            Ok((name, value, after)) => {
                if let Some(name) = name {
                    let (value, written) =
                        value.map_or((None, ""), |value| (Some(value.text), value.written));
                    bindings.push(Binding {
                        line,
                        name: name.to_owned(),
                        value,
                        written: written.to_owned(),
                    });
                }
                rest = after;
            }
            Err((problem, after)) => {
                bad_lines.push(BadLine { line, problem });
                rest = after.find('\n').map_or("", |end| &after[end..]);
            }
        }
        line += line_breaks(start, rest);
    }
    if bad_lines.is_empty() { Ok(bindings) } else { Err(bad_lines) }
}

fn line_breaks(from: &str, to: &str) -> usize {
    from[..from.len() - to.len()].matches('\n').count()
}

/// Returns whether the regular expression `\s` of Python matches a character.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1C'..='\x1F').contains(&c)
}

fn is_blank(c: char) -> bool {
    is_space(c) && c != '\n'
}

struct Value<'t> {
    text: String,
    written: &'t str,
}

/// A name (`None` for a comment), its value, and the text after them.
type Statement<'t> = (Option<&'t str>, Option<Value<'t>>, &'t str);

/// Reads the statement at the start of `text`. A quoted value may have line breaks. An error has the text from the problem on.
fn statement(text: &str) -> Result<Statement<'_>, (Problem, &str)> {
    let exported = text.strip_prefix("export").filter(|rest| rest.starts_with(is_blank));
    let text = exported.map_or(text, |rest| rest.trim_start_matches(is_blank));
    let (name, rest) = name(text).ok_or((Problem::NoBinding, text))?;
    let rest = rest.trim_start_matches(is_blank);
    let Some(value) = rest.strip_prefix('=') else {
        return Ok((name, None, line_end(rest).ok_or((Problem::NoBinding, rest))?));
    };
    let name = name.ok_or((Problem::NoBinding, rest))?;
    let blank_after_sign = value.starts_with(is_blank);
    let start = value.trim_start_matches(is_blank);
    let (text, rest) = match start.chars().next() {
        Some(quote @ ('\'' | '"')) => {
            let open = || (Problem::OpenQuote { name: name.to_owned() }, start);
            quoted(&start[1..], quote).ok_or_else(open)?
        }
        Some('#') if blank_after_sign => (String::new(), start),
        _ => {
            let (value, _) = start.split_once('\n').unwrap_or((start, ""));
            (uncommented(value).to_owned(), &start[value.len()..])
        }
    };
    let written = &start[..start.len() - rest.len()];
    let after = line_end(rest).ok_or_else(|| (Problem::TextAfterQuote { name: name.to_owned() }, rest))?;
    Ok((Some(name), Some(Value { text, written }), after))
}

/// Reads a name, which may be quoted. Returns it with the text after it. A comment has no name.
fn name(text: &str) -> Option<(Option<&str>, &str)> {
    if text.starts_with('#') {
        return Some((None, text));
    }
    if let Some(quoted) = text.strip_prefix('\'') {
        let (name, rest) = quoted.split_once('\'')?;
        return (!name.is_empty()).then_some((Some(name), rest));
    }
    let end = text.find(|c| matches!(c, '=' | '#') || is_space(c)).unwrap_or(text.len());
    (end > 0).then(|| (Some(&text[..end]), &text[end..]))
}

/// Returns the text after the line if the rest of the line is empty or a comment.
fn line_end(text: &str) -> Option<&str> {
    let (rest, after) = text.split_once('\n').unwrap_or((text, ""));
    let rest = rest.trim_start_matches(is_blank);
    (rest.is_empty() || rest.starts_with('#')).then_some(after)
}

/// Returns a value up to its closing quote, and the text after that.
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
            'a' if quote == '"' => value.push('\x07'),
            'b' if quote == '"' => value.push('\x08'),
            'f' if quote == '"' => value.push('\x0C'),
            'n' if quote == '"' => value.push('\n'),
            'r' if quote == '"' => value.push('\r'),
            't' if quote == '"' => value.push('\t'),
            'v' if quote == '"' => value.push('\x0B'),
            other => value.extend(['\\', other]),
        }
    }
    None
}

/// Returns an unquoted value without its comment, which begins with white space and a `#`.
fn uncommented(value: &str) -> &str {
    let comment = value.match_indices('#').find(|(at, _)| value[..*at].ends_with(is_space));
    comment.map_or(value, |(at, _)| &value[..at]).trim_end_matches(is_space)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs(text: &str) -> Vec<(String, Option<String>)> {
        let bindings = parse(text).unwrap_or_else(|bad_lines| panic!("{text}: {bad_lines:?}"));
        bindings.into_iter().map(|binding| (binding.name, binding.value)).collect()
    }

    /// The expected values are those of python-dotenv 1.2.
    #[test]
    fn values_are_those_of_python_dotenv() {
        let text = concat!(
            "\u{FEFF}# a comment\n\n",
            "CORS_ORIGINS=[\"http://localhost:3000\", \"https://app.example\"]\n",
            "export ENV=prod # inline\r\n",
            "  export \t 'QUOTED NAME' = 1\n",
            "SPACED = some words  \n",
            "HASH=a#b\n",
            "TIGHT=#b\n",
            "NOTHING= # a comment\n",
            "SINGLE='it\\'s $raw \\n'\n",
            "DOUBLE=\"two\\nlines \\\"x\\\" \\a\\b\\f\\v\\x\"#comment\n",
            "BACKSLASH='a\\\\'\n",
            "MULTI=\"first\r\nsecond\" \n",
            "export=2\n",
            "OLD_MAC=3\rEQUALS=a=b=\n",
            "EMPTY=\n",
            "QUOTED_EMPTY=''\n",
            "export BARE # no value\n",
            "TWICE=1\n",
            "TWICE=2\n",
            "LAST=1",
        );
        let expected = [
            ("CORS_ORIGINS", Some("[\"http://localhost:3000\", \"https://app.example\"]")),
            ("ENV", Some("prod")),
            ("QUOTED NAME", Some("1")),
            ("SPACED", Some("some words")),
            ("HASH", Some("a#b")),
            ("TIGHT", Some("#b")),
            ("NOTHING", Some("")),
            ("SINGLE", Some("it's $raw \\n")),
            ("DOUBLE", Some("two\nlines \"x\" \x07\x08\x0C\x0B\\x")),
            ("BACKSLASH", Some("a\\")),
            ("MULTI", Some("first\nsecond")),
            ("export", Some("2")),
            ("OLD_MAC", Some("3")),
            ("EQUALS", Some("a=b=")),
            ("EMPTY", Some("")),
            ("QUOTED_EMPTY", Some("")),
            ("BARE", None),
            ("TWICE", Some("1")),
            ("TWICE", Some("2")),
            ("LAST", Some("1")),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.map(str::to_owned)));
        assert_eq!(pairs(text), expected);
    }

    #[test]
    fn lines_that_do_not_parse_are_reported_with_their_numbers() {
        let text = concat!(
            "# line 1\n",
            "ENV=prod\r\n",
            "AUTH_REQUIRED=\"true\n",
            "\n",
            "MULTI='six\nseven'\n",
            "no binding here\n",
            "=value\n",
            "AUTH_REQUIRED: true\r",
            "STRICT='yes' please\n",
            "FINE=1\n",
            "''=1\n",
            "LAST='never closed",
        );
        let found: Vec<(usize, Problem)> =
            parse(text).unwrap_err().into_iter().map(|bad| (bad.line, bad.problem)).collect();
        let open = |name: &str| Problem::OpenQuote { name: name.into() };
        assert_eq!(
            found,
            [
                (3, open("AUTH_REQUIRED")),
                (7, Problem::NoBinding),
                (8, Problem::NoBinding),
                (9, Problem::NoBinding),
                (10, Problem::TextAfterQuote { name: "STRICT".into() }),
                (12, Problem::NoBinding),
                (13, open("LAST")),
            ]
        );
    }

    proptest! {
        #[test]
        fn arbitrary_text_does_not_panic(noise: String) {
            let _ = parse(&noise);
        }

        #[test]
        fn quoted_value_round_trips(value: String) {
            let value = value.replace('\r', "");
            let escaped = value.replace('\\', "\\\\").replace('\'', "\\'");
            let lines = value.matches('\n').count();
            let bindings = parse(&format!("X='{escaped}'\nY=1")).unwrap();
            prop_assert_eq!(bindings[0].value.as_deref(), Some(value.as_str()));
            prop_assert_eq!((bindings[1].name.as_str(), bindings[1].line), ("Y", 2 + lines));
        }
    }
}
