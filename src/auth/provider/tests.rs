use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::json;

use super::*;
use crate::auth::{Bearer, Scope, Tokens, jws};
use crate::config::KeySource;
use crate::model::UserId;

const NOW: u64 = 1_800_000_000;
const SECRET: &str = "the key of this server";

/// A provider with one Ed25519 key in a file.
struct Fixture {
    _dir: tempfile::TempDir,
    key: Ed25519KeyPair,
    provider: Arc<Provider>,
}

impl Fixture {
    async fn new() -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let key = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("jwks.json");
        let x = URL_SAFE_NO_PAD.encode(key.public_key());
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "kid": "1", "x": x});
        std::fs::write(&path, json!({"keys": [jwk]}).to_string()).unwrap();
        let settings = ProviderSettings {
            keys: KeySource::File(path),
            issuer: "https://id.example".into(),
            audience: "photos".into(),
        };
        let provider = Arc::new(Provider::new(&settings).unwrap());
        provider.reload().await.unwrap();
        Self { _dir: dir, key, provider }
    }

    fn signed(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    fn verify(&self, token: &str) -> Result<(Identity, Scopes), Reason> {
        let token = jws::split(token).unwrap();
        let header = Members::parse(&token.header).ok_or(Reason::Json("header"))?;
        let algorithm = Algorithm::named(header.get("alg")).ok_or(Reason::Algorithm)?;
        self.provider.verify(&token, &header, algorithm, Duration::from_secs(NOW))
    }
}

const HEADER: &str = r#"{"alg":"EdDSA","kid":"1","typ":"at+jwt"}"#;

fn claims(more: &str) -> String {
    format!(
        r#"{{{more}"iss":"https://id.example","aud":"photos","sub":"anna","scope":"read","exp":{}}}"#,
        NOW + 60
    )
}

#[tokio::test]
async fn valid_variants_are_accepted() {
    let fixture = Fixture::new().await;
    for (header, claims) in [
        (HEADER, claims("")),
        (r#"{"alg":"EdDSA"}"#, claims("")),
        (HEADER, claims(&format!(r#""nbf":{},"iat":{},"#, NOW + 60, NOW + 1000))),
        (HEADER, claims("").replace(r#""photos""#, r#"["other","photos"]"#)),
        (HEADER, claims("").replace(&(NOW + 60).to_string(), &(NOW - 59).to_string())),
    ] {
        let (identity, scopes) = fixture.verify(&fixture.signed(header, &claims)).unwrap();
        assert_eq!(identity.subject, "anna", "{claims}");
        assert!(scopes.allow(Scope::Read) && !scopes.allow(Scope::Upload) && !scopes.is_admin());
    }
}

#[tokio::test]
async fn unacceptable_tokens_are_refused() {
    let fixture = Fixture::new().await;
    let replaced = |from: &str, to: &str| {
        let whole = claims("");
        assert!(whole.contains(from), "{from}");
        (HEADER.to_owned(), whole.replace(from, to))
    };
    let exp = (NOW + 60).to_string();
    for (header, claims) in [
        replaced(r#""https://id.example""#, r#""https://id.example/""#),
        replaced(r#""https://id.example""#, r#"["https://id.example"]"#),
        replaced(r#""iss""#, r#""issuer""#),
        replaced(r#""photos""#, r#""photo""#),
        replaced(r#""photos""#, r#"["other"]"#),
        replaced(r#""photos""#, "[]"),
        replaced(r#""photos""#, r#"[["photos"]]"#),
        replaced(r#""aud""#, r#""audience""#),
        replaced(r#""anna""#, "7"),
        replaced(r#""anna""#, r#""""#),
        replaced(r#""anna""#, "null"),
        replaced(r#""anna""#, r#""an\u0000na""#),
        replaced(r#""anna""#, &format!("\"{}\"", "a".repeat(256))),
        replaced(r#""sub""#, r#""subject""#),
        replaced(r#""read""#, "7"),
        replaced(r#""read""#, r#"["read",7]"#),
        replaced(&exp, &(NOW - 60).to_string()),
        replaced(&exp, &format!("\"{exp}\"")),
        replaced(r#""exp""#, r#""expires""#),
        (HEADER.to_owned(), claims(&format!(r#""nbf":{},"#, NOW + 61))),
        (HEADER.to_owned(), claims(r#""nbf":"0","#)),
        (HEADER.to_owned(), claims(r#""iat":"0","#)),
        (HEADER.to_owned(), claims(r#""sub":"ben","#)),
        (r#"{"alg":"EdDSA","kid":"2"}"#.into(), claims("")),
        (r#"{"alg":"EdDSA","kid":1}"#.into(), claims("")),
        (r#"{"alg":"EdDSA","kid":null}"#.into(), claims("")),
        (r#"{"alg":"EdDSA","kid":"2","kid":"1"}"#.into(), claims("")),
        (r#"{"alg":"RS256","kid":"1"}"#.into(), claims("")),
        (r#"{"alg":"ES256","kid":"1"}"#.into(), claims("")),
        (r#"{"alg":"Ed25519","kid":"1"}"#.into(), claims("")),
        (r#"{"alg":"none"}"#.into(), claims("")),
        (r#"{"alg":"EdDSA","kid":"1","crit":["exp"],"exp":1}"#.into(), claims("")),
        (r#"{"alg":"EdDSA","kid":"1","b64":true}"#.into(), claims("")),
    ] {
        assert!(fixture.verify(&fixture.signed(&header, &claims)).is_err(), "{header} {claims}");
    }
    let long = "ü".repeat(255);
    let fits = claims("").replace("anna", &long);
    assert_eq!(fixture.verify(&fixture.signed(HEADER, &fits)).unwrap().0.subject, long);
}

#[tokio::test]
async fn scopes_are_a_text_or_an_array() {
    let fixture = Fixture::new().await;
    let all = |scopes: Scopes| [scopes.allow(Scope::Upload), scopes.allow(Scope::Read), scopes.is_admin()];
    for (claim, expected) in [
        (r#""scope":"""#, [false; 3]),
        (r#""scope":"uploads READ  admins""#, [false; 3]),
        (r#""scope":"openid upload""#, [true, false, false]),
        (r#""scope":"read upload""#, [true, true, false]),
        (r#""scope":"admin""#, [true; 3]),
        (r#""scp":["read","profile"]"#, [false, true, false]),
        (r#""scope":["upload","profile"]"#, [true, false, false]),
        (r#""scp":"upload read""#, [true, true, false]),
        (r#""scope":"read","scp":["admin"]"#, [false, true, false]),
        (r#""roles":["admin"]"#, [false; 3]),
    ] {
        let token = fixture.signed(HEADER, &claims("").replace(r#""scope":"read""#, claim));
        assert_eq!(all(fixture.verify(&token).unwrap().1), expected, "{claim}");
    }
}

#[tokio::test]
async fn no_key_verifies_with_the_algorithm_of_another() {
    let fixture = Fixture::new().await;
    let tokens = Tokens::new(SECRET, None).with_provider(Some(Arc::clone(&fixture.provider)));
    let own = tokens.issue(UserId::try_from(7).unwrap(), Duration::from_secs(60)).unwrap();
    let verified = tokens.verify(&own).unwrap();
    assert_eq!(verified.bearer, Bearer::User(UserId::try_from(7).unwrap()));
    assert!(verified.scopes.allow(Scope::Upload) && verified.scopes.allow(Scope::Read));
    assert!(!verified.scopes.is_admin());
    // The numbers of subjects are no users of the server's own tokens.
    for (id, is_accepted) in
        [((1 << 40) - 1, true), (1 << 40, false), ((1 << 40) + 1, false), (u64::MAX / 2, false)]
    {
        let token = tokens.issue(UserId::try_from(id).unwrap(), Duration::from_secs(60)).unwrap();
        assert_eq!(tokens.verify(&token).is_ok(), is_accepted, "{id}");
        assert!(Tokens::new(SECRET, None).verify(&token).is_ok(), "without a provider they are");
    }
    // The secret of this server signs no token whose header names a public key, whatever the claims.
    let mac = |key: &[u8], header: &str| {
        let claims = claims("").replace(r#""anna""#, r#""7""#);
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    };
    assert!(tokens.verify(&mac(SECRET.as_bytes(), r#"{"alg":"HS256"}"#)).is_ok(), "its own header");
    assert!(tokens.verify(&mac(SECRET.as_bytes(), HEADER)).is_err());
    let public = fixture.key.public_key().as_ref();
    let text = URL_SAFE_NO_PAD.encode(public);
    for key in [public, text.as_bytes(), b""] {
        for header in [r#"{"alg":"HS256"}"#, r#"{"alg":"HS256","kid":"1"}"#, HEADER] {
            assert!(tokens.verify(&mac(key, header)).is_err(), "{header}");
        }
    }
    assert!(tokens.verify(&fixture.signed(r#"{"alg":"HS256","kid":"1"}"#, &claims(""))).is_err());
}

#[tokio::test]
async fn file_that_is_no_set_leaves_the_keys_as_they_are() {
    let fixture = Fixture::new().await;
    let Source::File(path) = &fixture.provider.source else { panic!("it is a file") };
    for text in ["", "{\"keys\": []}", &" ".repeat(70_000)] {
        std::fs::write(path, text).unwrap();
        assert!(fixture.provider.reload().await.is_err(), "{text:.20}");
        assert!(fixture.verify(&fixture.signed(HEADER, &claims(""))).is_ok());
    }
    assert_eq!(fixture.provider.failed.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn tokens_cause_one_fetch_a_minute() {
    let url = "http://127.0.0.1:1/".parse().unwrap();
    let settings = ProviderSettings { keys: KeySource::Url(url), issuer: "i".into(), audience: "a".into() };
    let provider = Provider::new(&settings).unwrap();
    assert!(provider.ask());
    let first = provider.asked().last;
    for _ in 0..1000 {
        assert!(provider.ask(), "it is still to come");
    }
    provider.asked().is_pending = false;
    for _ in 0..1000 {
        assert!(!provider.ask(), "it came");
    }
    assert_eq!(provider.asked().last, first);
    provider.asked().last = Instant::now().checked_sub(ASKED_AT_MOST_EVERY);
    assert!(provider.ask());
}
