use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::auth::jws;

const RSA: &str = include_str!("../../../tests/fixtures/jwk/rfc7515_a2.json");
const X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
const Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";
const ED25519_X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

fn rsa_key() -> Value {
    let key: Value = serde_json::from_str(RSA).unwrap();
    json!({"kty": "RSA", "n": key["n"], "e": key["e"]})
}

fn ec_key() -> Value {
    json!({"kty": "EC", "crv": "P-256", "x": X, "y": Y})
}

fn ed25519_key() -> Value {
    json!({"kty": "OKP", "crv": "Ed25519", "x": ED25519_X})
}

/// Returns `key` with more members.
fn with(key: &Value, more: Value) -> Value {
    let mut key = key.clone();
    let Value::Object(more) = more else { panic!("{more}") };
    key.as_object_mut().unwrap().extend(more);
    key
}

fn parse(keys: &[Value]) -> Result<KeySet, InvalidSet> {
    KeySet::parse(json!({"keys": keys}).to_string().as_bytes())
}

/// RFC 7515, appendices A.2 and A.3, and RFC 8037, appendix A.4.
const EXAMPLES: [(&str, Algorithm); 3] = [
    (
        concat!(
            "eyJhbGciOiJSUzI1NiJ9",
            ".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ",
            ".cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CU",
            "Ar7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_d",
            "O--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0ig",
            "cN_IoypGlUPQGe77Rw"
        ),
        Algorithm::Rs256,
    ),
    (
        concat!(
            "eyJhbGciOiJFUzI1NiJ9",
            ".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ",
            ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
        ),
        Algorithm::Es256,
    ),
    (
        concat!(
            "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc",
            ".hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
        ),
        Algorithm::EdDsa,
    ),
];

#[test]
fn examples_of_the_standards_are_verified_by_their_key_only() {
    let set = parse(&[rsa_key(), ec_key(), ed25519_key()]).unwrap();
    for (text, algorithm) in EXAMPLES {
        let token = jws::split(text).unwrap();
        assert!(set.find(algorithm, None).unwrap().has_signed(&token), "{text}");
        let others = set.0.iter().filter(|key| key.algorithm() != algorithm);
        assert!(others.clone().count() == 2 && !others.clone().any(|key| key.has_signed(&token)), "{text}");
        // Another text, and a signature with one other bit.
        let (signed, signature) = text.rsplit_once('.').unwrap();
        let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let changed = format!("{}.{signature}", signed.replacen("eyJ", "eyK", 1));
        bytes[9] ^= 1;
        let flipped = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(&bytes));
        bytes[9] ^= 1;
        bytes.pop();
        let cut = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(&bytes));
        for text in [changed, flipped, cut] {
            let token = jws::split(&text).unwrap();
            assert!(!set.find(algorithm, None).unwrap().has_signed(&token), "{text}");
        }
    }
}

#[test]
fn key_is_usable_if_all_of_its_members_allow_it() {
    for key in [
        with(&rsa_key(), json!({"alg": "RS256", "use": "sig", "key_ops": ["verify"], "kid": "1"})),
        with(&rsa_key(), json!({"x5c": ["MII…"], "x5t": "abc", "unknown": {"a": 1}})),
        with(&rsa_key(), json!({"e": "Aw"})),
        with(&ec_key(), json!({"alg": "ES256", "key_ops": ["sign", "verify"]})),
        with(&ed25519_key(), json!({"alg": "EdDSA"})),
    ] {
        assert_eq!(parse(std::slice::from_ref(&key)).unwrap().len(), 1, "{key}");
    }
    let number = |bytes: Vec<u8>| URL_SAFE_NO_PAD.encode(bytes);
    let modulus = |bits: usize| {
        let mut bytes = vec![0xFF; bits.div_ceil(8)];
        bytes[0] = 0xFF >> ((8 - bits % 8) % 8);
        json!({"n": number(bytes)})
    };
    for key in [2048, 4096] {
        assert!(parse(&[with(&rsa_key(), modulus(key))]).is_ok(), "{key}");
    }
    for key in [
        json!({"kty": "oct", "k": "AAAA", "alg": "HS256"}),
        json!({"kty": "oct", "k": "AAAA"}),
        json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA"}),
        json!({"kty": 1}),
        json!({}),
        with(&rsa_key(), json!({"alg": "PS256"})),
        with(&rsa_key(), json!({"alg": "HS256"})),
        with(&rsa_key(), json!({"alg": "ES256"})),
        with(&rsa_key(), json!({"alg": null})),
        with(&rsa_key(), json!({"use": "enc"})),
        with(&rsa_key(), json!({"use": 1})),
        with(&rsa_key(), json!({"key_ops": ["encrypt"]})),
        with(&rsa_key(), json!({"key_ops": []})),
        with(&rsa_key(), json!({"key_ops": "verify"})),
        with(&rsa_key(), json!({"kid": 1})),
        with(&rsa_key(), json!({"d": "AQAB"})),
        with(&rsa_key(), modulus(2047)),
        with(&rsa_key(), modulus(4097)),
        with(&rsa_key(), json!({"n": number([vec![0], vec![0xFF; 256]].concat())})),
        with(&rsa_key(), json!({"n": number([vec![0xFF; 255], vec![0xFE]].concat())})),
        with(&rsa_key(), json!({"e": "AQ"})),
        with(&rsa_key(), json!({"e": "AAEAAQ"})),
        with(&rsa_key(), json!({"e": "AQAA"})),
        with(&rsa_key(), json!({"e": ""})),
        with(&rsa_key(), json!({"e": number(vec![2, 0, 0, 0, 1])})),
        with(&rsa_key(), json!({"e": "AQAB="})),
        with(&ec_key(), json!({"crv": "P-384"})),
        with(&ec_key(), json!({"crv": "secp256k1"})),
        with(&ec_key(), json!({"crv": "Ed25519"})),
        with(&ec_key(), json!({"x": number(vec![7; 31])})),
        with(&ec_key(), json!({"y": number(vec![7; 33])})),
        with(&ec_key(), json!({"alg": "EdDSA"})),
        with(&ed25519_key(), json!({"crv": "X25519"})),
        with(&ed25519_key(), json!({"crv": "Ed448"})),
        with(&ed25519_key(), json!({"x": number(vec![7; 31])})),
        with(&ed25519_key(), json!({"alg": "ES256"})),
    ] {
        assert!(matches!(parse(std::slice::from_ref(&key)), Err(InvalidSet::NoKey)), "{key}");
        assert_eq!(parse(&[key.clone(), ec_key()]).unwrap().len(), 1, "the others of a set are used: {key}");
    }
}

#[test]
fn malformed_or_large_set_is_refused() {
    for text in [
        "",
        "[]",
        "{}",
        r#"{"keys": {}}"#,
        r#"{"keys": [1]}"#,
        r#"{"keys": [[]]}"#,
        r#"{"keys": null}"#,
        r#"{"keys": [], "keys": []}"#,
        r#"{"keys": []} {}"#,
        r#"{"keys": [{"kty": "RSA", "kty": "EC"}]}"#,
        "\u{FEFF}{\"keys\": []}",
    ] {
        assert!(matches!(KeySet::parse(text.as_bytes()), Err(InvalidSet::Malformed)), "{text}");
    }
    assert!(matches!(KeySet::parse(b"{\"keys\": []}"), Err(InvalidSet::NoKey)));
    assert_eq!(parse(&vec![ec_key(); MAX_KEYS]).unwrap().len(), MAX_KEYS);
    assert!(matches!(parse(&vec![ec_key(); MAX_KEYS + 1]), Err(InvalidSet::TooManyKeys)));
    let padded = |length: usize| {
        let text = json!({"keys": [ec_key()]}).to_string();
        format!("{text}{}", " ".repeat(length - text.len()))
    };
    assert!(KeySet::parse(padded(MAX_SET_BYTES).as_bytes()).is_ok());
    assert!(matches!(KeySet::parse(padded(MAX_SET_BYTES + 1).as_bytes()), Err(InvalidSet::TooLong)));
    assert!(matches!(KeySet::parse("[".repeat(MAX_SET_BYTES).as_bytes()), Err(InvalidSet::Malformed)));
}

#[test]
fn token_gets_the_one_key_with_its_id_and_algorithm() {
    let [one, two] = ["1", "2"].map(|id| json!({"kid": id}));
    let set = parse(&[with(&ec_key(), one.clone()), with(&ec_key(), two), with(&rsa_key(), one)]).unwrap();
    assert!(set.find(Algorithm::Es256, Some("1")).is_ok());
    assert!(set.find(Algorithm::Es256, Some("2")).is_ok());
    assert!(set.find(Algorithm::Rs256, Some("1")).is_ok());
    assert!(set.find(Algorithm::Rs256, None).is_ok());
    assert_eq!(set.find(Algorithm::Es256, None), Err(NoKey::Unfit), "two have the algorithm");
    assert_eq!(
        set.find(Algorithm::Rs256, Some("2")),
        Err(NoKey::Unfit),
        "the id is that of another algorithm"
    );
    assert_eq!(set.find(Algorithm::EdDsa, Some("1")), Err(NoKey::Unfit));
    assert_eq!(set.find(Algorithm::EdDsa, None), Err(NoKey::Unfit));
    for id in ["3", "", "1 "] {
        assert_eq!(set.find(Algorithm::Es256, Some(id)), Err(NoKey::UnknownId), "{id}");
    }
    let equal = [with(&ec_key(), json!({"kid": "1"})), with(&ec_key(), json!({"kid": "1"}))];
    assert_eq!(
        parse(&equal).unwrap().find(Algorithm::Es256, Some("1")),
        Err(NoKey::Unfit),
        "two have the id"
    );
    let without = parse(&[ec_key()]).unwrap();
    assert_eq!(without.find(Algorithm::Es256, Some("1")), Err(NoKey::UnknownId), "the key has no id");
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes: Vec<u8>, kty in "RSA|EC|OKP|oct", n in "[A-Za-z0-9_-]{0,40}", e in "[A-Za-z0-9_-]{0,9}") {
        let _refused = KeySet::parse(&bytes);
        let key = json!({"kty": kty, "crv": "P-256", "n": n, "e": e, "x": n, "y": e});
        prop_assert!(parse(&[key]).is_err());
    }

    /// A set that is accepted verifies no random signature.
    #[test]
    fn no_random_signature_is_verified(signature: Vec<u8>) {
        let set = parse(&[rsa_key(), ec_key(), ed25519_key()]).unwrap();
        let text = format!("e30.e30.{}", URL_SAFE_NO_PAD.encode(signature));
        let token = jws::split(&text).unwrap();
        prop_assert!(!set.0.iter().any(|key| key.has_signed(&token)));
    }
}
