use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use proptest::prelude::*;
use ring::hmac;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);
const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

fn user(id: u64) -> UserId {
    UserId::try_from(id).unwrap()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn signed_as(algorithm: hmac::Algorithm, key: &str, header: &str, claims: &str) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = hmac::sign(&hmac::Key::new(algorithm, key.as_bytes()), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn signed(header: &str, claims: &str) -> String {
    signed_as(hmac::HMAC_SHA256, "our_tokens", header, claims)
}

/// Returns claims of user 7 that expire in a minute, with `more` members before them.
fn claims(more: &str) -> String {
    format!(r#"{{{more}"sub":"7","exp":{}}}"#, now() + 60)
}

fn verify(tokens: &Tokens, token: &str) -> Result<UserId, InvalidToken> {
    tokens.verify(token).map(|verified| match verified.bearer {
        Bearer::User(user) => user,
        Bearer::Subject(subject) => panic!("there is no provider, but a subject: {subject:?}"),
    })
}

fn our_tokens() -> Tokens {
    Tokens::new("our_tokens", None)
}

#[test]
fn issued_token_is_accepted() {
    for id in [1, 7, i64::MAX.unsigned_abs()] {
        assert_eq!(verify(&our_tokens(), &our_tokens().issue(user(id), HOUR).unwrap()).unwrap(), user(id));
    }
    assert!(matches!(our_tokens().issue(user(7), Duration::from_secs(u64::MAX)), Err(TooLong)));
}

/// The example of RFC 7515, appendix A.1.
#[test]
fn rfc_7515_example_has_the_expected_signature() {
    let key = URL_SAFE_NO_PAD
        .decode("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow")
        .unwrap();
    let token = concat!(
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9",
        ".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ",
        ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    );
    let parts = jws::split(token).unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let signed = token.rsplit_once('.').unwrap().0;
    let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes()));
    assert!(token.ends_with(&format!(".{signature}")));
    assert!(check_header(&parts.header).is_ok());
}

#[test]
fn rotated_key_signs_and_previous_key_verifies() {
    let (old, new) = (Tokens::new("old", None), Tokens::new("new", None));
    let rotated = Tokens::new("new", Some("old"));
    let [of_old, of_rotated] = [&old, &rotated].map(|tokens| tokens.issue(user(7), HOUR).unwrap());
    assert_eq!(verify(&rotated, &of_old).unwrap(), user(7));
    assert_eq!(verify(&rotated, &of_rotated).unwrap(), user(7));
    assert_eq!(verify(&new, &of_rotated).unwrap(), user(7), "the new key signs");
    assert!(verify(&new, &of_old).is_err(), "without SECRET_KEY_PREVIOUS the old key is invalid");
    assert!(verify(&old, &of_rotated).is_err());
    let forged = signed_as(hmac::HMAC_SHA256, "neither", HEADER, &claims(""));
    assert!(verify(&rotated, &forged).is_err());
}

#[test]
fn valid_variants_are_accepted() {
    let at = now() + 60;
    for (header, claims) in [
        (HEADER, claims("")),
        (r#"{ "typ" : "at+jwt" , "alg" : "HS256", "kid": "1" }"#, claims("")),
        // A key in the header is ignored.
        (r#"{"alg":"HS256","jwk":{"kty":"oct","k":"AAAA"},"jku":"https://evil.example/keys"}"#, claims("")),
        (HEADER, format!(r#"{{"sub":7,"exp":{at}}}"#)),
        (HEADER, format!(r#"{{"sub":"7","exp":{at}.5,"nbf":{}.25,"iat":{}.75}}"#, now() - 9, now() - 9)),
        (HEADER, format!(r#"{{"sub":"7","exp":{}}}"#, u64::MAX)),
        (HEADER, r#"{"sub":"7","exp":1e300,"nbf":-1e300}"#.to_owned()),
        (HEADER, claims(r#""aud":["us"],"iss":"us","jti":"1","nbf":0,"#)),
    ] {
        assert_eq!(verify(&our_tokens(), &signed(header, &claims)).unwrap(), user(7), "{header} {claims}");
    }
}

#[test]
fn token_signed_with_key_from_its_header_is_refused() {
    let header =
        format!(r#"{{"alg":"HS256","jwk":{{"kty":"oct","k":"{}"}}}}"#, URL_SAFE_NO_PAD.encode("theirs"));
    assert!(verify(&our_tokens(), &signed_as(hmac::HMAC_SHA256, "theirs", &header, &claims(""))).is_err());
}

#[test]
fn unacceptable_header_is_refused() {
    for header in [
        r#"{"typ":"JWT"}"#,
        r#"{"alg":"none"}"#,
        r#"{"alg":"hs256"}"#,
        r#"{"alg":"HS512"}"#,
        r#"{"alg":"RS256"}"#,
        r#"{"alg":["HS256"]}"#,
        r#"{"alg":null}"#,
        r#"{"alg":"none","alg":"HS256"}"#,
        r#"{"alg":"HS256","alg":"HS256"}"#,
        r#"{"alg":"HS256","\u0061lg":"none"}"#,
        r#"{"alg":"HS256","kid":"1","kid":"2"}"#,
        r#"{"alg":"HS256","crit":["b64"],"b64":true}"#,
        r#"{"alg":"HS256","crit":["http://example.com/UNDEFINED"],"http://example.com/UNDEFINED":true}"#,
        r#"{"alg":"HS256","crit":["exp"],"exp":1}"#,
        r#"{"alg":"HS256","crit":[]}"#,
        r#"{"alg":"HS256","crit":null}"#,
        r#"{"alg":"HS256","crit":"exp"}"#,
        r#"{"alg":"HS256","b64":false}"#,
        r#"["HS256"]"#,
        r#""HS256""#,
        r#"{"alg":"HS256"} "#.repeat(2).as_str(),
        "\u{FEFF}{\"alg\":\"HS256\"}",
        "HS256",
        "",
    ] {
        assert!(verify(&our_tokens(), &signed(header, &claims(""))).is_err(), "{header}");
    }
}

#[test]
fn unacceptable_claims_are_refused() {
    let later = now() + 60;
    for claims in [
        // Times that are not numbers are refused, not treated as absent.
        claims(r#""nbf":"9999999999","#),
        claims(&format!(r#""nbf":"{}","#, now() - 9)),
        claims(r#""nbf":null,"#),
        claims(r#""nbf":[0],"#),
        claims(r#""nbf":{},"#),
        claims(r#""nbf":true,"#),
        claims(&format!(r#""nbf":{},"#, now() + 30)),
        claims(&format!(r#""nbf":{}.5,"#, now() + 30)),
        claims(r#""nbf":1e300,"#),
        claims(&format!(r#""nbf":{},"#, u64::MAX)),
        claims(r#""iat":"now","#),
        claims(r#""iat":null,"#),
        r#"{"sub":"7"}"#.into(),
        r#"{"sub":"7","exp":null}"#.into(),
        r#"{"sub":"7","exp":"soon"}"#.into(),
        format!(r#"{{"sub":"7","exp":"{later}"}}"#),
        format!(r#"{{"sub":"7","exp":[{later}]}}"#),
        r#"{"sub":"7","exp":true}"#.into(),
        r#"{"sub":"7","exp":0}"#.into(),
        r#"{"sub":"7","exp":-1}"#.into(),
        r#"{"sub":"7","exp":-9223372036854775808}"#.into(),
        r#"{"sub":"7","exp":1e999}"#.into(),
        r#"{"sub":"7","exp":NaN}"#.into(),
        r#"{"sub":"7","exp":Infinity}"#.into(),
        format!(r#"{{"sub":"7","exp":{}}}"#, now() - 1),
        format!(r#"{{"sub":"7","exp":{}}}"#, now()),
        // Equal names are refused.
        format!(r#"{{"sub":"7","exp":1,"exp":{later}}}"#),
        format!(r#"{{"sub":"7","exp":{later},"e\u0078p":{later}}}"#),
        format!(r#"{{"sub":"7","sub":"8","exp":{later}}}"#),
        claims(r#""x":1,"x":1,"#),
        format!(r#"{{"exp":{later}}}"#),
        format!(r#"{{"sub":null,"exp":{later}}}"#),
        format!(r#"{{"sub":"","exp":{later}}}"#),
        format!(r#"{{"sub":"0","exp":{later}}}"#),
        format!(r#"{{"sub":"-7","exp":{later}}}"#),
        format!(r#"{{"sub":"+7","exp":{later}}}"#),
        format!(r#"{{"sub":"07","exp":{later}}}"#),
        format!(r#"{{"sub":"7 ","exp":{later}}}"#),
        format!(r#"{{"sub":"9223372036854775808","exp":{later}}}"#),
        format!(r#"{{"sub":["7"],"exp":{later}}}"#),
        format!(r#"{{"sub":7.5,"exp":{later}}}"#),
        format!(r#"{{"sub":-7,"exp":{later}}}"#),
        format!("[{}]", claims("")),
        format!("{} {{}}", claims("")),
        "[".repeat(2000),
        String::new(),
    ] {
        assert!(verify(&our_tokens(), &signed(HEADER, &claims)).is_err(), "{claims}");
    }
}

#[test]
fn token_with_other_spelling_or_signature_is_refused() {
    let whole = signed(HEADER, &claims(""));
    let [head, body, signature] = *whole.split('.').collect::<Vec<_>>() else { panic!("three parts") };
    let raw = URL_SAFE_NO_PAD.decode(signature).unwrap();
    // The last character of 32 bytes has two unused bits.
    let last = signature.chars().last().unwrap();
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let neighbour = alphabet.chars().nth(alphabet.find(last).unwrap() + 1).unwrap();
    let unused_bits = format!("{}{neighbour}", &whole[..whole.len() - 1]);
    let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
    let padded_claims = format!("{}{}", claims(""), " ".repeat(MAX_TOKEN_BYTES));
    for token in [
        String::new(),
        ".".into(),
        "..".into(),
        "a.b.c".into(),
        format!("{none}.{body}."),
        format!("{none}.{body}.{signature}"),
        format!("{head}.{body}"),
        format!("{head}.{body}."),
        format!("{head}..{signature}"),
        format!(".{body}.{signature}"),
        format!("{whole}."),
        format!("{whole}.{signature}"),
        format!("{whole} "),
        format!(" {whole}"),
        format!("{whole}\n"),
        format!("{whole}="),
        format!("{head}.{body}.{}", URL_SAFE.encode(&raw)),
        format!("{head}.{body}.{}", STANDARD.encode(&raw)),
        format!("{head}=.{body}.{signature}"),
        format!("{head}.{body}.{}", &signature[..signature.len() - 2]),
        format!("{head}.{body}.{signature}AAAA"),
        unused_bits,
        "x".repeat(100_000),
        signed(HEADER, &padded_claims),
        signed_as(hmac::HMAC_SHA256, "theirs", HEADER, &claims("")),
        signed_as(hmac::HMAC_SHA256, "", HEADER, &claims("")),
        signed_as(hmac::HMAC_SHA384, "our_tokens", r#"{"alg":"HS384"}"#, &claims("")),
        signed_as(hmac::HMAC_SHA512, "our_tokens", r#"{"alg":"HS512"}"#, &claims("")),
        signed_as(hmac::HMAC_SHA512, "our_tokens", HEADER, &claims("")),
    ] {
        assert!(verify(&our_tokens(), &token).is_err(), "{token}");
    }
    assert_eq!(verify(&our_tokens(), &whole).unwrap(), user(7));
}

#[test]
fn refused_token_has_its_reason_in_the_error_chain() {
    let error = verify(&our_tokens(), &signed(r#"{"alg":"HS256","crit":["x"]}"#, &claims(""))).unwrap_err();
    assert!(
        crate::error_chain::error_chain(&error).contains("extension crit"),
        "{}",
        crate::error_chain::error_chain(&error)
    );
}

proptest! {
    #[test]
    fn changed_token_is_refused(at in 0usize..150, with in any::<char>()) {
        let token = our_tokens().issue(user(7), HOUR).unwrap();
        let changed: String = token.chars().enumerate().map(|(n, c)| if n == at { with } else { c }).collect();
        prop_assert!(changed == token || verify(&our_tokens(), &changed).is_err());
    }

    /// An `nbf` of any value must be a number in the past, or the token is refused.
    #[test]
    fn arbitrary_nbf_is_refused_unless_a_number_in_the_past(number: f64, text: String) {
        let text = Value::from(text);
        let as_text = signed(HEADER, &claims(&format!(r#""nbf":{text},"#)));
        prop_assert!(verify(&our_tokens(), &as_text).is_err());
        let as_number = signed(HEADER, &claims(&format!(r#""nbf":{},"#, Value::from(number))));
        let holds = number.is_finite() && number < (now() - 5) as f64;
        prop_assume!(holds || !number.is_finite() || number > (now() + 5) as f64);
        prop_assert_eq!(verify(&our_tokens(), &as_number).is_ok(), holds);
    }
}
