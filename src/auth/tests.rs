use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn user(id: u64) -> UserId {
    UserId::try_from(id).unwrap()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn signed(algorithm: Algorithm, key: &[u8], claims: &Value) -> String {
    jsonwebtoken::encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(key)).unwrap()
}

#[test]
fn what_was_issued_is_believed() {
    let tokens = Tokens::new("ours");
    for id in [1, 7, i64::MAX.unsigned_abs()] {
        assert_eq!(tokens.user(&tokens.issue(user(id), HOUR).unwrap()).unwrap(), user(id));
    }
    assert!(matches!(tokens.issue(user(7), Duration::from_secs(u64::MAX)), Err(IssueError::TooLong)));
}

#[test]
fn a_number_as_subject_is_understood_too() {
    let token = signed(Algorithm::HS256, b"ours", &json!({"sub": 7, "exp": now() + 60}));
    assert_eq!(Tokens::new("ours").user(&token).unwrap(), user(7));
}

#[test]
fn everything_else_is_refused() {
    let tokens = Tokens::new("ours");
    let good = json!({"sub": "7", "exp": now() + 60});
    let hs256 = |claims| signed(Algorithm::HS256, b"ours", &claims);
    let whole = hs256(good.clone());
    let [head, body, signature] = *whole.split('.').collect::<Vec<_>>() else { panic!("three parts") };
    // {"alg":"none","typ":"JWT"} and {"alg":"RS256","typ":"JWT"}
    let (none, rs256) = ("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0", "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9");
    let other = hs256(json!({"sub": "8", "exp": now() + 60}));
    let refused = [
        String::new(),
        "a.b.c".into(),
        format!("{none}.{body}."),
        format!("{none}.{body}.{signature}"),
        format!("{rs256}.{body}.{signature}"),
        format!("{head}.{body}."),
        format!("{head}.{}.{signature}", other.split('.').nth(1).unwrap()),
        format!("{whole}."),
        format!("{whole} "),
        "x".repeat(100_000),
        signed(Algorithm::HS256, b"theirs", &good),
        signed(Algorithm::HS256, b"", &good),
        signed(Algorithm::HS384, b"ours", &good),
        signed(Algorithm::HS512, b"ours", &good),
        hs256(json!({"sub": "7", "exp": now() - 1})),
        hs256(json!({"sub": "7", "exp": now()})),
        hs256(json!({"sub": "7", "exp": now() + 60, "nbf": now() + 30})),
        hs256(json!({"sub": "7"})),
        hs256(json!({"exp": now() + 60})),
        hs256(json!({"sub": "7", "exp": "soon"})),
        hs256(json!({"sub": "0", "exp": now() + 60})),
        hs256(json!({"sub": "-7", "exp": now() + 60})),
        hs256(json!({"sub": "+7", "exp": now() + 60})),
        hs256(json!({"sub": "07", "exp": now() + 60})),
        hs256(json!({"sub": "7 ", "exp": now() + 60})),
        hs256(json!({"sub": "9223372036854775808", "exp": now() + 60})),
        hs256(json!({"sub": ["7"], "exp": now() + 60})),
        hs256(json!({"sub": 7.5, "exp": now() + 60})),
    ];
    assert_eq!(tokens.user(&whole).unwrap(), user(7));
    for token in refused {
        assert!(tokens.user(&token).is_err(), "{token}");
    }
}

proptest! {
    #[test]
    fn no_other_text_is_believed(at in 0usize..150, with in any::<char>()) {
        let tokens = Tokens::new("ours");
        let token = tokens.issue(user(7), HOUR).unwrap();
        let changed: String = token.chars().enumerate().map(|(n, c)| if n == at { with } else { c }).collect();
        prop_assert!(changed == token || tokens.user(&changed).is_err());
    }
}
