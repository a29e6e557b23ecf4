//! Detects values that are not secrets: defaults, words of examples, and placeholders.

/// Phrases of examples, in lower case and without separators. A secret that contains one was not generated.
const EXAMPLE_PHRASES: &[&str] = &[
    "changeme",
    "changethis",
    "changeit",
    "replaceme",
    "replacethis",
    "replacewith",
    "placeholder",
    "yoursecret",
    "yourkey",
    "yourjwt",
    "yourrandom",
    "yourlong",
    "yourown",
    "your256bit",
    "secrethere",
    "keyhere",
    "djangoinsecure",
];

/// Words of examples. A value that consists of such words is not a secret: `my-super-secret-key`, `dev-secret`.
const EXAMPLE_WORDS: &[&str] = &[
    "admin",
    "app",
    "auth",
    "default",
    "dev",
    "development",
    "dummy",
    "example",
    "fixme",
    "foo",
    "bar",
    "hs256",
    "insecure",
    "insert",
    "jwt",
    "key",
    "letmein",
    "my",
    "none",
    "null",
    "our",
    "passw0rd",
    "password",
    "pass",
    "put",
    "qwerty",
    "sample",
    "secret",
    "set",
    "signing",
    "super",
    "the",
    "this",
    "tbd",
    "to",
    "todo",
    "token",
    "top",
    "undefined",
    "unset",
    "very",
    "your",
];

/// Start and end of a value that a shell, a template or a person should have replaced.
const UNFILLED: &[(&str, &str)] =
    &[("${", "}"), ("$(", ")"), ("`", "`"), ("{{", "}}"), ("<", ">"), ("[", "]"), ("%", "%")];

/// Returns whether a value is a placeholder or an example, and so is public.
pub(super) fn is_placeholder(value: &str) -> bool {
    let value = value.trim();
    if value.contains('…') || value.contains("...") {
        return true;
    }
    if UNFILLED.iter().any(|(start, end)| value.starts_with(start) && value.ends_with(end)) {
        return true;
    }
    let plain: String = value.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    has_one_character(&plain)
        || EXAMPLE_PHRASES.iter().any(|phrase| plain.contains(phrase))
        || is_of_words(without_count(&plain))
}

fn has_one_character(text: &str) -> bool {
    let mut chars = text.chars();
    let first = chars.next();
    chars.all(|c| Some(c) == first)
}

fn without_count(text: &str) -> &str {
    let count = (3..="1234567890".len()).rev().find_map(|length| text.strip_suffix(&"1234567890"[..length]));
    count.unwrap_or(text)
}

/// Returns whether a text consists only of words of examples.
fn is_of_words(text: &str) -> bool {
    // is_reached[n] is true if the first n bytes consist of such words.
    let mut is_reached = vec![false; text.len() + 1];
    is_reached[0] = true;
    for at in 0..text.len() {
        if is_reached[at] {
            for word in EXAMPLE_WORDS.iter().filter(|word| text.as_bytes()[at..].starts_with(word.as_bytes()))
            {
                is_reached[at + word.len()] = true;
            }
        }
    }
    is_reached[text.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn placeholder_is_recognised() {
        for value in [
            "…",
            "...",
            "sk-…",
            "abc...xyz",
            "-",
            "***",
            "????",
            "x",
            "xxx",
            "XXXXXXXX",
            "x-x-x-x",
            "0000000000",
            "changeme",
            "change-me",
            "CHANGE_ME",
            "Change Me!",
            "<change-me>",
            "changeme123",
            "please-change-this",
            "change_me_to_a_long_random_string_of_32_bytes",
            "replace-me",
            "REPLACE_WITH_A_SECRET",
            "secret",
            "Secret!",
            "secret123",
            "secret-key",
            "secretkey",
            "my-secret",
            "my_super_secret_key",
            "supersecretsupersecretsupersecret",
            "your-secret-key",
            "your-256-bit-secret",
            "your_secret_key_here_at_least_32_characters",
            "insert-your-key-here",
            "dev-secret",
            "DEV_SECRET",
            "dev secret",
            "password",
            "password1234",
            "default",
            "example",
            "example-key",
            "jwt-secret",
            "todo",
            "TBD",
            "none",
            "null",
            "undefined",
            "<secret>",
            "<a random value>",
            "[your key]",
            "${SECRET_KEY}",
            "$(openssl rand -hex 32)",
            "`openssl rand -hex 32`",
            "{{ vault.secret_key }}",
            "%SECRET_KEY%",
            "django-insecure-4s7d98f7s9d8f7s9d8f7",
            "placeholder",
            "foobar",
            "ｘｘｘ",
            "éééé",
        ] {
            assert!(is_placeholder(value), "{value}");
        }
        for repeated in ["a", "0", "x", "é"] {
            assert!(is_placeholder(&repeated.repeat(64)));
        }
    }

    #[test]
    fn secret_is_accepted() {
        for value in [
            "hunter2",
            "of-this-test",
            "old-key",
            "new-key-of-2026",
            "secret-1",
            "correct horse battery staple",
            "0123456789abcdef0123456789abcdef",
            "01234567890123456789012345678901",
            "b3Zlci1hbmQtb3Zlcg==",
            "a test key that is long enough for prod",
            "test-secret-key-with-at-least-32-bytes",
            "4fT+9/0kq3n1W8Zx5uJmYl2vRb7cHdEgKpQsAtNoXiM=",
            "ключ-для-подписи-токенов",
        ] {
            assert!(!is_placeholder(value), "{value}");
        }
    }

    proptest! {
        #[test]
        fn generated_key_is_accepted(bytes: [u8; 32]) {
            prop_assume!(bytes.iter().any(|byte| *byte != bytes[0]));
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            prop_assert!(!is_placeholder(&hex));
        }

        #[test]
        fn arbitrary_text_does_not_panic(text: String) {
            is_placeholder(&text);
        }
    }
}
