//! Tokens of an identity provider, which is a small HTTP server of the test.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nix::sys::signal::Signal;
use reqwest::{Client, Method, Response};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::rsa::KeyPairComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::support::{BOUNDARY, Server, UPLOAD, binary, eventually, file, form, photo_numbered};
use crate::tokens::{SECRET, token as own_token};

const ISSUER: &str = "https://id.example/realms/shop";
const RSA: &str = include_str!("../fixtures/jwk/rfc7515_a2.json");

/// A key pair of the provider.
struct Signer {
    id: String,
    pair: Pair,
}

enum Pair {
    Rsa(Box<RsaKeyPair>),
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Signer {
    fn rsa(id: &str) -> Self {
        let key: Value = serde_json::from_str(RSA).unwrap();
        let part = |name: &str| URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap()).unwrap();
        let components = KeyPairComponents {
            public_key: ring::signature::RsaPublicKeyComponents { n: part("n"), e: part("e") },
            d: part("d"),
            p: part("p"),
            q: part("q"),
            dP: part("dp"),
            dQ: part("dq"),
            qInv: part("qi"),
        };
        let pair = RsaKeyPair::from_components(&components).unwrap();
        Self { id: id.into(), pair: Pair::Rsa(Box::new(pair)) }
    }

    fn p256(id: &str) -> Self {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random);
        Self { id: id.into(), pair: Pair::P256(pair.unwrap()) }
    }

    fn ed25519(id: &str) -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self { id: id.into(), pair: Pair::Ed25519(Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap()) }
    }

    fn algorithm(&self) -> &'static str {
        match self.pair {
            Pair::Rsa(_) => "RS256",
            Pair::P256(_) => "ES256",
            Pair::Ed25519(_) => "EdDSA",
        }
    }

    /// Returns the public key.
    fn jwk(&self) -> Value {
        let mut jwk = match &self.pair {
            Pair::Rsa(_) => {
                let key: Value = serde_json::from_str(RSA).unwrap();
                json!({"kty": "RSA", "n": key["n"], "e": key["e"]})
            }
            Pair::P256(pair) => {
                let point = pair.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "x": encoded(&point[1..33]), "y": encoded(&point[33..])})
            }
            Pair::Ed25519(pair) => json!({"kty": "OKP", "crv": "Ed25519", "x": encoded(pair.public_key())}),
        };
        (jwk["kid"], jwk["use"]) = (self.id.clone().into(), "sig".into());
        jwk
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", encoded(header.to_string()), encoded(claims.to_string()));
        let signature = match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
                    .unwrap();
                signature
            }
            Pair::P256(pair) => pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap().as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.sign(signed.as_bytes()).as_ref().to_vec(),
        };
        format!("{signed}.{}", encoded(signature))
    }

    fn header(&self) -> Value {
        json!({"alg": self.algorithm(), "kid": self.id, "typ": "at+jwt"})
    }

    /// Returns a token that is valid for `subject`.
    fn token(&self, subject: &str, scope: &str) -> String {
        self.sign(&self.header(), &claims(subject, scope))
    }
}

fn claims(subject: &str, scope: &str) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    json!({"iss": ISSUER, "aud": ["account", "photos"], "sub": subject, "scope": scope, "iat": now, "exp": now + 300})
}

/// An HTTP server with a set of keys. It counts requests.
struct Provider {
    address: String,
    answer: Arc<Mutex<(u16, String)>>,
    asked: Arc<AtomicUsize>,
}

impl Provider {
    fn start(signers: &[&Signer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let provider =
            Self { address, answer: Arc::new(Mutex::new((200, String::new()))), asked: Arc::default() };
        provider.publish(signers);
        let (answer, asked) = (Arc::clone(&provider.answer), Arc::clone(&provider.asked));
        // The thread ends with the process.
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let mut socket = socket.unwrap();
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && socket.read(&mut byte).unwrap_or(0) == 1 {
                    head.extend(byte);
                }
                asked.fetch_add(1, Ordering::SeqCst);
                let (status, body) = answer.lock().unwrap().clone();
                let head = format!(
                    "HTTP/1.1 {status} x\r\nConnection: close\r\nLocation: /elsewhere\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                );
                let _left = socket.write_all(format!("{head}{body}").as_bytes());
            }
        });
        provider
    }

    fn publish(&self, signers: &[&Signer]) {
        let keys: Vec<Value> = signers.iter().map(|signer| signer.jwk()).collect();
        self.answer_with(200, json!({"keys": keys}).to_string());
    }

    fn answer_with(&self, status: u16, body: String) {
        *self.answer.lock().unwrap() = (status, body);
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn url(&self) -> String {
        format!("http://{}/certs", self.address)
    }
}

/// Returns the settings of a server that accepts tokens of the provider at `url`.
fn settings(url: &str) -> Vec<(&str, &str)> {
    vec![
        SECRET,
        ("RATE_LIMIT_GLOBAL", "off"),
        ("JWKS_URL", url),
        ("JWT_ISSUER", ISSUER),
        ("JWT_AUDIENCE", "photos"),
    ]
}

async fn start(provider: &Provider, more: &[(&str, &str)]) -> Server {
    let url = provider.url();
    let server = Server::start(&[&settings(&url), more].concat());
    eventually("the keys are read", || server.metric("provider_keys_read_total") > 0).await;
    server
}

async fn send(server: &Server, method: Method, path: &str, token: &str, body: Option<Value>) -> Response {
    let mut request = Client::new().request(method, server.url(path)).bearer_auth(token);
    if let Some(body) = body {
        request = request.json(&body);
    }
    request.send().await.unwrap()
}

async fn list(server: &Server, token: &str) -> u16 {
    send(server, Method::GET, "/api/v1/listings", token, None).await.status().as_u16()
}

/// Creates a draft and returns its id.
async fn create(server: &Server, token: &str) -> u64 {
    let made = send(server, Method::POST, "/api/v1/listings", token, Some(json!({"title": "coat"}))).await;
    assert_eq!(made.status(), 201);
    made.json::<Value>().await.unwrap()["id"].as_u64().unwrap()
}

async fn ids(server: &Server, token: &str) -> Vec<u64> {
    let page: Value = send(server, Method::GET, "/api/v1/listings", token, None).await.json().await.unwrap();
    page["items"].as_array().unwrap().iter().map(|draft| draft["id"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn tokens_of_each_algorithm_belong_to_their_subject() {
    let signers = [Signer::rsa("r"), Signer::p256("e"), Signer::ed25519("o")];
    let provider = Provider::start(&signers.each_ref());
    let server = start(&provider, &[("AUTH_REQUIRED", "true")]).await;
    assert_eq!(server.metric("provider_keys"), 3);
    let own = own_token(&server, "7", "1h");
    let of_own = create(&server, &own).await;
    let mut drafts = Vec::new();
    for signer in &signers {
        drafts.push(create(&server, &signer.token("anna", "upload")).await);
        let upload = Client::new()
            .post(server.url(UPLOAD))
            .bearer_auth(signer.token("anna", "upload read"))
            .header("content-type", format!("multipart/form-data; boundary={BOUNDARY}"))
            .body(form(&[file(&photo_numbered(64, 48, 1))]));
        let made = upload.send().await.unwrap();
        assert_eq!(made.status(), 201);
        drafts.push(made.json::<Value>().await.unwrap()["id"].as_u64().unwrap());
    }
    drafts.reverse();
    for signer in &signers {
        assert_eq!(ids(&server, &signer.token("anna", "read")).await, drafts);
        assert_eq!(ids(&server, &signer.token("ben", "read")).await, Vec::<u64>::new());
    }
    assert_eq!(ids(&server, &own).await, [of_own]);
    let path = format!("/api/v1/listings/{}", drafts[0]);
    let other = send(&server, Method::GET, &path, &signers[0].token("ben", "read"), None).await;
    assert_eq!(other.status(), 404);
    assert_eq!(provider.asked(), 1, "requests ask the provider nothing");
    // Only the subject that wrote something has a row, which exports have.
    let dir = server.stop();
    let export = binary(dir.path()).envs([SECRET]).arg("export").output().unwrap().stdout;
    let export = String::from_utf8(export).unwrap();
    let row =
        format!(r#"{{"identity":{{"user":{},"issuer":"{ISSUER}","subject":"anna"}}}}"#, (1_u64 << 40) + 1);
    assert!(export.contains(&row) && !export.contains("ben"), "{export}");
    let other = Arc::new(tempfile::tempdir().unwrap());
    let saved = other.path().join("export");
    std::fs::write(&saved, &export).unwrap();
    let imported = binary(other.path()).arg("import").arg(&saved).status().unwrap();
    assert!(imported.success());
    let url = provider.url();
    let server = Server::start_in(other, &settings(&url));
    eventually("the keys are read", || server.metric("provider_keys_read_total") > 0).await;
    assert_eq!(ids(&server, &signers[1].token("anna", "read")).await, drafts);
}

#[tokio::test]
async fn token_for_others_or_by_others_is_401() {
    let signers = [Signer::rsa("r"), Signer::p256("e"), Signer::ed25519("o")];
    let [rsa, p256, ed25519] = &signers;
    let provider = Provider::start(&[rsa, p256, ed25519]);
    let server = start(&provider, &[]).await;
    let with = |name: &str, value: Value| {
        let mut claims = claims("anna", "read upload");
        claims[name] = value;
        claims
    };
    let mut forged: Vec<(String, String)> = Vec::new();
    for signer in &signers {
        for claims in [
            with("iss", "https://other.example".into()),
            with("aud", "account".into()),
            with("aud", json!([])),
            with("sub", 7.into()),
            with("sub", "".into()),
            with("exp", 1.into()),
            with("exp", "9999999999".into()),
            with("nbf", 9_999_999_999_u64.into()),
        ] {
            forged.push((signer.sign(&signer.header(), &claims), claims.to_string()));
        }
        let valid = claims("anna", "read upload");
        // The type of the key decides the algorithm.
        for algorithm in ["RS256", "ES256", "EdDSA", "HS256", "RS512", "PS256", "none", "rs256"] {
            for id in [Some("r"), Some("e"), Some("o"), None] {
                let mut header = json!({"alg": algorithm});
                if let Some(id) = id {
                    header["kid"] = id.into();
                }
                if algorithm != signer.algorithm() || id.is_some_and(|id| id != signer.id) {
                    forged.push((signer.sign(&header, &valid), header.to_string()));
                }
            }
        }
        // The text of the public key is no secret that signs.
        let jwk = signer.jwk();
        for secret in [jwk.to_string(), jwk["x"].to_string(), jwk["n"].as_str().unwrap_or("").to_owned()] {
            for algorithm in ["HS256", signer.algorithm()] {
                let header = json!({"alg": algorithm, "kid": signer.id});
                let claims = with("sub", "7".into());
                let signed = format!("{}.{}", encoded(header.to_string()), encoded(claims.to_string()));
                let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
                let mac = encoded(hmac::sign(&key, signed.as_bytes()));
                forged.push((format!("{signed}.{mac}"), header.to_string()));
            }
        }
        // A key in the header is ignored.
        let stranger = Signer::ed25519("o");
        let header = json!({"alg": "EdDSA", "kid": "o", "jwk": stranger.jwk(), "jku": "http://127.0.0.1:1/"});
        forged.push((stranger.sign(&header, &valid), "signed with the key in the header".into()));
    }
    let crit = json!({"alg": "EdDSA", "kid": "o", "crit": ["x"], "x": 1});
    forged.push((ed25519.sign(&crit, &claims("anna", "read")), crit.to_string()));
    assert!(forged.len() > 100);
    for (token, about) in forged {
        let answer = send(&server, Method::GET, "/api/v1/listings", &token, None).await;
        assert_eq!(answer.status(), 401, "{about}");
        assert_eq!(answer.headers()["www-authenticate"], "Bearer error=\"invalid_token\"");
    }
    for signer in &signers {
        assert_eq!(list(&server, &signer.token("anna", "read")).await, 200);
        let without_id = json!({"alg": signer.algorithm()});
        assert_eq!(list(&server, &signer.sign(&without_id, &claims("anna", "read"))).await, 200);
    }
    assert_eq!(provider.asked(), 1);
}

#[tokio::test]
async fn unknown_key_id_leads_to_one_fetch() {
    let [old, new] = [Signer::p256("old"), Signer::p256("new")];
    let provider = Provider::start(&[&old]);
    let server = start(&provider, &[]).await;
    provider.publish(&[&old, &new]);
    let token = new.token("anna", "read");
    let mut status = list(&server, &token).await;
    for _ in 0..600 {
        if status == 200 {
            break;
        }
        assert_eq!(status, 503, "the fetch is not over");
        tokio::time::sleep(Duration::from_millis(20)).await;
        status = list(&server, &token).await;
    }
    assert_eq!((status, provider.asked()), (200, 2));
    assert_eq!(list(&server, &old.token("anna", "read")).await, 200);
    let client = Client::new();
    for number in 0..1000 {
        let header = json!({"alg": "ES256", "kid": format!("unknown {number}")});
        let stranger = new.sign(&header, &claims("anna", "read"));
        let answer = client.get(server.url("/api/v1/listings")).bearer_auth(stranger).send().await.unwrap();
        assert_eq!(answer.status(), 401);
    }
    assert_eq!(provider.asked(), 2);
    assert_eq!(server.metric("provider_keys_read_total"), 2);
}

#[tokio::test]
async fn provider_that_is_down_at_the_start_costs_503_until_it_is_back() {
    let signer = Signer::ed25519("1");
    let provider = Provider::start(&[&signer]);
    for (status, body) in [
        (302, String::new()),
        (500, json!({"keys": [signer.jwk()]}).to_string()),
        (200, "<html>".to_owned()),
        (200, json!({"keys": []}).to_string()),
        (200, " ".repeat(70_000)),
    ] {
        provider.answer_with(status, body);
        let url = provider.url();
        let server = Server::start(&settings(&url));
        eventually("a fetch fails", || server.metric("provider_keys_failed_total") > 0).await;
        let answer =
            send(&server, Method::GET, "/api/v1/listings", &signer.token("anna", "read"), None).await;
        assert_eq!(answer.status(), 503);
        assert!(answer.headers().contains_key("retry-after"));
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(problem["type"], "urn:problem-type:vintedbot:keys-pending");
        // All others are served.
        assert_eq!(list(&server, &own_token(&server, "7", "1h")).await, 200);
        assert_eq!(server.get("/api/v1/listings").await.status(), 200);
        provider.publish(&[&signer]);
        eventually("the keys are read", || server.metric("provider_keys_read_total") > 0).await;
        assert_eq!(list(&server, &signer.token("anna", "read")).await, 200);
        // What is wrong now leaves the keys that are there.
        provider.answer_with(500, String::new());
        let failures = server.metric("provider_keys_failed_total");
        let newcomer = Signer::ed25519("2");
        let _unknown = list(&server, &newcomer.token("anna", "read")).await;
        eventually("a fetch fails", || server.metric("provider_keys_failed_total") > failures).await;
        assert_eq!(list(&server, &signer.token("anna", "read")).await, 200);
        // No token may cause another fetch within this minute: the server tries again by itself.
        let read = server.metric("provider_keys_read_total");
        provider.publish(&[&signer, &newcomer]);
        eventually("the keys are read again", || server.metric("provider_keys_read_total") > read).await;
        assert_eq!(list(&server, &newcomer.token("anna", "read")).await, 200);
    }
}

#[tokio::test]
async fn token_does_what_its_scopes_say() {
    let signer = Signer::p256("1");
    let provider = Provider::start(&[&signer]);
    let server = start(&provider, &[("FETCH_ENABLED", "true")]).await;
    let id = create(&server, &signer.token("anna", "upload")).await;
    let draft = format!("/api/v1/listings/{id}");
    let none = "/api/v1/uploads/AAAAAAAAAAAAAAAAAAAAAA".to_owned();
    let listings = "/api/v1/listings".to_owned();
    let body = || Some(json!({"title": "hat"}));
    for (scope, method, path, body) in [
        ("read", Method::GET, &listings, None),
        ("read", Method::HEAD, &listings, None),
        ("read", Method::GET, &draft, None),
        ("upload", Method::POST, &listings, body()),
        ("upload", Method::PATCH, &draft, body()),
        ("upload", Method::POST, &format!("{draft}/photos"), None),
        ("upload", Method::DELETE, &format!("{draft}/photos/0"), None),
        ("upload", Method::PUT, &format!("{draft}/photos/order"), Some(json!({"order": []}))),
        ("upload", Method::POST, &UPLOAD.to_owned(), None),
        ("upload", Method::POST, &"/api/v1/ingest/photos".to_owned(), Some(json!({"urls": []}))),
        ("upload", Method::POST, &"/api/v1/uploads".to_owned(), None),
        ("upload", Method::GET, &none, None),
        ("upload", Method::PATCH, &none, None),
        ("upload", Method::DELETE, &none, None),
        ("upload", Method::DELETE, &draft, None),
    ] {
        let lacking = if scope == "read" { "upload openid" } else { "read openid" };
        for scopes in [lacking, "", "READ Uploads"] {
            let token = signer.token("anna", scopes);
            let refused = send(&server, method.clone(), path, &token, body.clone()).await;
            assert_eq!(refused.status(), 403, "{method} {path} {scopes}");
            let expected = format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\"");
            assert_eq!(refused.headers()["www-authenticate"], expected.as_str());
            if method != Method::HEAD {
                let problem: Value = refused.json().await.unwrap();
                assert_eq!(problem["type"], "urn:problem-type:vintedbot:insufficient-scope");
            }
        }
        // What it needs otherwise is the business of other tests.
        let allowed = send(&server, method.clone(), path, &signer.token("anna", scope), body.clone()).await;
        assert!(
            !matches!(allowed.status().as_u16(), 401 | 403 | 500..),
            "{method} {path}: {}",
            allowed.status()
        );
    }
    // Public endpoints ignore tokens, and an administrator reads and changes the drafts of others.
    let token = signer.token("anna", "");
    assert_eq!(send(&server, Method::GET, "/api/v1/health", &token, None).await.status(), 200);
    let draft = format!("/api/v1/listings/{}", create(&server, &signer.token("anna", "upload")).await);
    let root = signer.token("root", "admin");
    let other = signer.token("ben", "read upload");
    for (token, expected) in [(&other, 404), (&own_token(&server, "7", "1h"), 404), (&root, 200)] {
        assert_eq!(send(&server, Method::GET, &draft, token, None).await.status(), expected);
        let patched = send(&server, Method::PATCH, &draft, token, body()).await;
        assert_eq!(patched.status(), expected);
    }
    let kept = send(&server, Method::GET, &draft, &signer.token("anna", "read"), None).await;
    assert_eq!(kept.json::<Value>().await.unwrap()["title"], "hat");
    assert_eq!(ids(&server, &root).await, Vec::<u64>::new(), "a list has what belongs to the user");
}

#[tokio::test]
async fn read_only_server_knows_subjects_and_records_none() {
    let signer = Signer::p256("1");
    let provider = Provider::start(&[&signer]);
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let url = provider.url();
    let server = Server::start_in(Arc::clone(&dir), &settings(&url));
    eventually("the keys are read", || server.metric("provider_keys_read_total") > 0).await;
    let anna = signer.token("anna", "read upload");
    let id = create(&server, &anna).await;
    server.stop();
    let server = Server::start_in(dir, &[&settings(&url)[..], &[("READ_ONLY", "true")]].concat());
    eventually("the keys are read", || server.metric("provider_keys_read_total") > 0).await;
    let path = format!("/api/v1/listings/{id}");
    let change = async |token: &str| {
        let answer = send(&server, Method::PATCH, &path, token, Some(json!({"title": "hat"}))).await;
        (answer.status().as_u16(), answer.headers().contains_key("retry-after"))
    };
    assert_eq!(change(&anna).await, (503, true), "the draft is there, and can be changed later");
    assert_eq!(change(&signer.token("ben", "read upload")).await, (404, false));
    assert_eq!(ids(&server, &anna).await, [id]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_give_one_subject_one_user() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let database = cluster.database().await;
    let signer = Signer::ed25519("1");
    let provider = Provider::start(&[&signer]);
    // In a bucket the instances would share photos, too; these drafts have none.
    let servers = [
        start(&provider, &[("DATABASE_URL", &database)]).await,
        start(&provider, &[("DATABASE_URL", &database)]).await,
    ];
    let requests = (0..60).map(|number: usize| {
        let server = &servers[number % 2];
        let token = signer.token(&format!("subject {}", number / 2 % 6), "upload");
        async move { create(server, &token).await }
    });
    futures_util::future::join_all(requests).await;
    for number in 0..6 {
        let token = signer.token(&format!("subject {number}"), "read");
        let one = ids(&servers[0], &token).await;
        assert_eq!(one.len(), 10, "{one:?}");
        assert_eq!(ids(&servers[1], &token).await, one);
    }
    let client = cluster.client(&database).await;
    let rows =
        client.query_one(r#"SELECT (SELECT count(*) FROM identity), (SELECT count(*) FROM "user")"#, &[]);
    let rows = rows.await.unwrap();
    assert_eq!((rows.get::<_, i64>(0), rows.get::<_, i64>(1)), (6, 6));
}

#[tokio::test]
async fn file_with_keys_is_read_again_at_sighup() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let path = dir.path().join("jwks.json");
    let [old, new] = [Signer::p256("1"), Signer::ed25519("2")];
    let write = |text: String| std::fs::write(&path, text).unwrap();
    write(json!({"keys": [old.jwk()]}).to_string());
    let settings = [SECRET, ("JWKS_FILE", "jwks.json"), ("JWT_ISSUER", ISSUER), ("JWT_AUDIENCE", "photos")];
    let server = Server::start_in(Arc::clone(&dir), &settings);
    let tokens = [old.token("anna", "read"), new.token("anna", "read")];
    let statuses = async || [list(&server, &tokens[0]).await, list(&server, &tokens[1]).await];
    assert_eq!(statuses().await, [200, 401]);
    write(json!({"keys": [new.jwk()]}).to_string());
    server.signal(Signal::SIGHUP);
    eventually("the file is read", || server.metric("provider_keys_read_total") > 1).await;
    assert_eq!(statuses().await, [401, 200]);
    write("{".to_owned());
    server.signal(Signal::SIGHUP);
    eventually("the file is refused", || server.metric("provider_keys_failed_total") > 0).await;
    assert_eq!(statuses().await, [401, 200]);
    server.logs(&["JWKS_FILE has no effect"]).await;
    // A start refuses such a file.
    server.stop();
    let refused = binary(dir.path()).envs(settings).env("PORT", "0").output().unwrap();
    let text = [refused.stdout, refused.stderr].concat();
    assert!(!refused.status.success() && String::from_utf8_lossy(&text).contains("JWKS_FILE"));
}

#[tokio::test]
async fn doctor_examines_the_keys() {
    let signer = Signer::p256("1");
    let provider = Provider::start(&[&signer]);
    let dir = tempfile::tempdir().unwrap();
    let examine = || {
        let url = provider.url();
        let output = binary(dir.path()).arg("doctor").envs(settings(&url)).output().unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    };
    let (is_well, text) = examine();
    assert!(is_well && text.contains("1 usable keys") && text.contains(ISSUER), "{text}");
    provider.answer_with(404, String::new());
    let (is_well, text) = examine();
    assert!(!is_well && text.contains("404"), "{text}");
}
