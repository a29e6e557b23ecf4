//! Drafts after their upload: listed, read, changed, sorted and removed.

use reqwest::{Client, Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::support::{BOUNDARY, Server, file, file_named, form, photo, photo_numbered};

/// The API of listings, as one client uses it.
struct Listings<'a> {
    server: &'a Server,
    client: Client,
}

impl<'a> Listings<'a> {
    fn of(server: &'a Server) -> Self {
        Self { server, client: Client::new() }
    }

    async fn send(&self, method: Method, path: &str, etag: Option<&str>, body: Option<Value>) -> Response {
        let mut request = self.client.request(method, self.server.url(&format!("/api/v1/listings{path}")));
        if let Some(etag) = etag {
            request = request.header("if-match", etag);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        request.send().await.unwrap()
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        answer(self.send(Method::GET, path, None, None).await).await
    }

    async fn patch(&self, id: u64, body: Value) -> (u16, Value) {
        answer(self.send(Method::PATCH, &format!("/{id}"), None, Some(body)).await).await
    }

    async fn etag(&self, id: u64) -> String {
        let response = self.send(Method::GET, &format!("/{id}"), None, None).await;
        response.headers()["etag"].to_str().unwrap().to_owned()
    }

    async fn append(&self, path: &str, form: Vec<u8>, etag: Option<&str>) -> (u16, Value) {
        let content_type = format!("multipart/form-data; boundary={BOUNDARY}");
        let url = self.server.url(&format!("/api/v1/listings/{path}"));
        let mut request = self.client.post(url).header("content-type", content_type).body(form);
        if let Some(etag) = etag {
            request = request.header("if-match", etag);
        }
        answer(request.send().await.unwrap()).await
    }

    async fn upload(&self, numbers: &[usize]) -> Value {
        let photos: Vec<Vec<u8>> = numbers.iter().map(|number| photo_numbered(64, 48, *number)).collect();
        let parts: Vec<_> = photos.iter().map(|photo| file(photo)).collect();
        let (status, draft) = self.server.upload(form(&parts)).await;
        assert_eq!(status, 201, "{draft}");
        draft
    }
}

async fn answer(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or_default())
}

/// Returns the last part of a problem's type.
fn kind(problem: &Value) -> &str {
    problem["type"].as_str().unwrap().rsplit(':').next().unwrap()
}

fn urls(draft: &Value) -> Vec<String> {
    let photos = draft["photos"].as_array().unwrap();
    for (index, photo) in photos.iter().enumerate() {
        assert_eq!(photo["order_index"], index);
    }
    photos.iter().map(|photo| photo["media"]["url"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn draft_is_read_as_the_upload_answered_and_kept_by_its_etag() {
    let server = Server::start(&[]);
    let response = server.post(form(&[file(&photo(64, 48))])).await;
    assert_eq!(response.status(), StatusCode::CREATED);
    let etag = response.headers()["etag"].clone();
    let uploaded = response.text().await.unwrap();
    let draft: Value = serde_json::from_str(&uploaded).unwrap();
    assert_eq!(draft["created_at"], draft["updated_at"]);
    let created = draft["created_at"].as_str().unwrap();
    assert!(created.starts_with("20") && created.ends_with('Z') && created.contains('T'), "{created}");
    let read = server.get("/api/v1/listings/1").await;
    assert_eq!(read.headers()["etag"], etag);
    assert!(!etag.to_str().unwrap().starts_with("W/"));
    assert_eq!(read.text().await.unwrap(), uploaded);
    let request = Client::new().get(server.url("/api/v1/listings/1")).header("if-none-match", &etag);
    let kept = request.send().await.unwrap();
    assert_eq!((kept.status(), &kept.headers()["etag"]), (StatusCode::NOT_MODIFIED, &etag));
    assert_eq!(kept.bytes().await.unwrap().len(), 0);
}

#[tokio::test]
async fn patch_changes_named_fields_only_and_raises_the_etag() {
    let server = Server::start(&[]);
    let listings = Listings::of(&server);
    let draft = listings.upload(&[1]).await;
    let before = listings.etag(1).await;
    let (status, changed) =
        listings.patch(1, json!({"description": "wörn\nonce", "price_suggested": 12.5})).await;
    assert_eq!(status, 200, "{changed}");
    assert_eq!(
        (&changed["title"], &changed["description"], &changed["price_suggested"], &changed["status"]),
        (&json!(""), &json!("wörn\nonce"), &json!(12.5), &json!("draft"))
    );
    assert_eq!((&changed["photos"], &changed["created_at"]), (&draft["photos"], &draft["created_at"]));
    assert!(changed["updated_at"].as_str() > draft["updated_at"].as_str());
    assert_ne!(listings.etag(1).await, before);
    assert_eq!(listings.get("/1").await, (200, changed.clone()));
    for state in ["ready", "published", "archived", "draft"] {
        assert_eq!(listings.patch(1, json!({"status": state})).await.1["status"], state);
    }
    let (status, cleared) = listings.patch(1, json!({"price_suggested": null, "title": "coat"})).await;
    assert_eq!((status, &cleared["price_suggested"], &cleared["title"]), (200, &Value::Null, &json!("coat")));
    assert_eq!(cleared["description"], "wörn\nonce");
    // A change of nothing is no change.
    let etag = listings.etag(1).await;
    assert_eq!(listings.patch(1, json!({"title": "coat"})).await, (200, cleared.clone()));
    assert_eq!(listings.patch(1, json!({})).await, (200, cleared));
    assert_eq!(listings.etag(1).await, etag);
}

#[tokio::test]
async fn patch_with_a_wrong_member_is_422_that_names_it_and_changes_nothing() {
    let server = Server::start(&[]);
    let listings = Listings::of(&server);
    listings.upload(&[1]).await;
    let before = listings.get("/1").await;
    for (body, member, kind_of_problem) in [
        (json!({"title": "x".repeat(161)}), "title", "bad-title"),
        (json!({"title": null}), "title", "bad-member"),
        (json!({"title": "a\u{0}"}), "title", "bad-title"),
        (json!({"title": "good", "description": "x".repeat(4001)}), "description", "bad-member"),
        (json!({"title": "good", "description": 7}), "description", "bad-member"),
        (json!({"price_suggested": -1}), "price_suggested", "bad-member"),
        (json!({"price_suggested": 1.005}), "price_suggested", "bad-member"),
        (json!({"price_suggested": "12"}), "price_suggested", "bad-member"),
        (json!({"price_suggested": 1e300}), "price_suggested", "bad-member"),
        (json!({"title": "good", "status": "sold"}), "status", "bad-member"),
        (json!({"status": null}), "status", "bad-member"),
        (json!({"title": "good", "id": 7}), "id", "bad-member"),
        (json!({"photos": []}), "photos", "bad-member"),
        (json!({"created_at": "2020-01-01T00:00:00Z"}), "created_at", "bad-member"),
        (json!({"colour": "blue"}), "colour", "bad-member"),
    ] {
        let (status, problem) = listings.patch(1, body.clone()).await;
        assert_eq!((status, kind(&problem)), (422, kind_of_problem), "{body} {problem}");
        assert_eq!(problem["pointer"], format!("/{member}"), "{problem}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(member.split('_').next().unwrap()), "{detail}");
    }
    assert_eq!(listings.get("/1").await, before);
}

#[tokio::test]
async fn body_that_is_no_json_object_is_refused() {
    let server = Server::start(&[]);
    let listings = Listings::of(&server);
    listings.upload(&[1]).await;
    let patch = async |content_type: &str, body: &str| {
        let request = listings.client.patch(server.url("/api/v1/listings/1"));
        let request = request.header("content-type", content_type).body(body.to_owned());
        answer(request.send().await.unwrap()).await
    };
    let merge_patch = "application/merge-patch+json";
    assert_eq!(patch(merge_patch, r#"{"title":"a"}"#).await.0, 200);
    assert_eq!(patch("Application/JSON; charset=utf-8", r#"{"title":"b"}"#).await.0, 200);
    for body in ["", "{", "[]", "null", "7", r#"{"title":"a","title":"b"}"#, "{\"title\":\"\u{1}\"}"] {
        let (status, problem) = patch(merge_patch, body).await;
        assert_eq!((status, kind(&problem)), (400, "malformed-json"), "{body} {problem}");
    }
    assert_eq!(kind(&patch("application/json-patch+json", "[]").await.1), "not-json");
    assert_eq!(kind(&patch("multipart/form-data", "{}").await.1), "not-json");
    let large = format!("{{\"description\":\"{}\"}}", "x".repeat(70_000));
    assert_eq!(patch(merge_patch, &large).await.0, 413);
    assert_eq!(listings.get("/1").await.1["title"], "b");
}

#[tokio::test]
async fn list_has_the_newest_first_and_pages_are_stable_while_others_upload() {
    let server = Server::start(&[]);
    let listings = Listings::of(&server);
    for number in 0..25 {
        listings.upload(&[number % 3]).await;
    }
    let (status, first) = listings.get("?limit=10").await;
    assert_eq!(status, 200);
    let ids = |page: &Value| -> Vec<u64> {
        page["items"].as_array().unwrap().iter().map(|draft| draft["id"].as_u64().unwrap()).collect()
    };
    assert_eq!(ids(&first), (16..=25).rev().collect::<Vec<u64>>());
    assert_eq!(first["items"][0], listings.get("/25").await.1);
    let mut seen = ids(&first);
    let mut cursor = first["next_cursor"].as_str().map(str::to_owned);
    while let Some(at) = cursor {
        listings.upload(&[1]).await;
        let (_, page) = listings.get(&format!("?limit=10&cursor={at}")).await;
        seen.extend(ids(&page));
        cursor = page["next_cursor"].as_str().map(str::to_owned);
    }
    assert_eq!(seen, (1..=25).rev().collect::<Vec<u64>>());
    assert_eq!(listings.get("").await.1["items"].as_array().unwrap().len(), 20);
    listings.patch(3, json!({"status": "published"})).await;
    listings.patch(7, json!({"status": "published"})).await;
    let (_, published) = listings.get("?status=published").await;
    assert_eq!((ids(&published), &published["next_cursor"]), (vec![7, 3], &Value::Null));
    assert_eq!(listings.get("?status=ready").await.1, json!({"items": [], "next_cursor": null}));
    for bad in ["limit=0", "limit=101", "limit=x", "limit=", "status=sold", "cursor=x", "limit=1&limit=2"] {
        let (status, problem) = listings.get(&format!("?{bad}")).await;
        assert_eq!((status, kind(&problem)), (422, "bad-parameter"), "{bad}");
        assert_eq!(problem["parameter"], bad.split('=').next().unwrap());
    }
}

#[tokio::test]
async fn changed_draft_is_412_and_a_change_that_needs_if_match_428() {
    let server = Server::start(&[]);
    let listings = Listings::of(&server);
    listings.upload(&[1, 2]).await;
    let old = listings.etag(1).await;
    listings.patch(1, json!({"title": "new"})).await;
    let order = json!({"order": [1, 0]});
    let (photo, photos) = ("/1/photos/0", "/1/photos/order");
    for (method, path, body) in [
        (Method::PATCH, "/1", Some(json!({"title": "lost"}))),
        (Method::DELETE, "/1", None),
        (Method::DELETE, photo, None),
        (Method::PUT, photos, Some(order.clone())),
    ] {
        for etag in [old.as_str(), "\"other\"", &format!("W/{}", listings.etag(1).await)] {
            let response = listings.send(method.clone(), path, Some(etag), body.clone()).await;
            assert_eq!(response.status(), 412, "{method} {path}");
        }
    }
    let (status, problem) =
        listings.append("1/photos", form(&[file(&photo_numbered(64, 48, 3))]), Some(&old)).await;
    assert_eq!((status, kind(&problem)), (412, "precondition-failed"));
    for (method, path, body) in [(Method::DELETE, photo, None), (Method::PUT, photos, Some(order.clone()))] {
        let (status, problem) = answer(listings.send(method, path, None, body).await).await;
        assert_eq!((status, kind(&problem)), (428, "precondition-required"));
    }
    // What does not exist is said first.
    assert_eq!(listings.send(Method::DELETE, "/9/photos/0", None, None).await.status(), 404);
    assert_eq!(listings.send(Method::DELETE, "/1/photos/2", None, None).await.status(), 404);
    assert_eq!(
        listings.send(Method::PUT, "/9/photos/order", Some("*"), Some(order.clone())).await.status(),
        404
    );
    // Any of several tags will do, and `*` is any version.
    let tags = format!("\"other\", {}", listings.etag(1).await);
    assert_eq!(listings.send(Method::PUT, photos, Some(&tags), Some(order.clone())).await.status(), 200);
    assert_eq!(listings.send(Method::PUT, photos, Some("*"), Some(order)).await.status(), 200);
}

#[tokio::test]
async fn photo_is_removed_and_the_rest_moves_up() {
    let server = Server::start(&[]);
    let listings = Listings::of(&server);
    let before = urls(&listings.upload(&[1, 2, 3]).await);
    let etag = listings.etag(1).await;
    let response = listings.send(Method::DELETE, "/1/photos/1", Some(&etag), None).await;
    let next = response.headers()["etag"].to_str().unwrap().to_owned();
    let (status, draft) = answer(response).await;
    assert_eq!((status, urls(&draft)), (200, vec![before[0].clone(), before[2].clone()]));
    for _ in 0..2 {
        let etag = listings.etag(1).await;
        assert_eq!(listings.send(Method::DELETE, "/1/photos/0", Some(&etag), None).await.status(), 200);
    }
    assert_eq!(listings.get("/1").await.1["photos"], json!([]), "the last photo may be removed");
    assert_eq!(listings.send(Method::DELETE, "/1/photos/0", Some(&next), None).await.status(), 404);
    // The files stay for the grace time, and a photo that comes again is the same.
    assert_eq!(server.get(&before[0]).await.status(), 200);
    assert_eq!(urls(&listings.upload(&[1, 2, 3]).await), before);
}

#[tokio::test]
async fn photos_are_sorted_by_their_indices() {
    let server = Server::start(&[]);
    let listings = Listings::of(&server);
    let before = urls(&listings.upload(&[1, 2, 3]).await);
    let etag = listings.etag(1).await;
    let body = json!({"order": [2, 0, 1]});
    let (status, draft) =
        answer(listings.send(Method::PUT, "/1/photos/order", Some(&etag), Some(body)).await).await;
    assert_eq!((status, urls(&draft)), (200, [2, 0, 1].map(|at: usize| before[at].clone()).to_vec()));
}

#[tokio::test]
async fn order_that_is_no_permutation_is_422() {
    let server = Server::start(&[]);
    let listings = Listings::of(&server);
    listings.upload(&[1, 2, 3]).await;
    let before = listings.get("/1").await;
    for order in [json!([0, 1]), json!([0, 1, 1]), json!([0, 1, 3]), json!([0, 1, 2, 3]), json!([])] {
        let (status, problem) = answer(
            listings.send(Method::PUT, "/1/photos/order", Some("*"), Some(json!({"order": order}))).await,
        )
        .await;
        assert_eq!((status, kind(&problem)), (422, "bad-order"), "{order}");
    }
    for body in [
        json!({}),
        json!({"order": "0"}),
        json!({"order": [0.5]}),
        json!({"order": [-1]}),
        json!({"order": [], "x": 1}),
    ] {
        let (status, problem) =
            answer(listings.send(Method::PUT, "/1/photos/order", Some("*"), Some(body.clone())).await).await;
        assert_eq!((status, kind(&problem)), (422, "bad-member"), "{body}");
    }
    assert_eq!(listings.get("/1").await, before);
}

#[tokio::test]
async fn photos_are_appended_up_to_the_limit_of_a_draft() {
    let server = Server::start(&[("MAX_UPLOADS_PER_REQUEST", "3"), ("MAX_PHOTOS_PER_DRAFT", "4")]);
    let listings = Listings::of(&server);
    let first = listings.upload(&[1, 2]).await;
    let two = [photo_numbered(64, 48, 3), photo_numbered(64, 48, 1)];
    let (status, draft) = listings.append("1/photos", form(&[file(&two[0]), file(&two[1])]), None).await;
    assert_eq!(status, 200, "{draft}");
    let photos = urls(&draft);
    assert_eq!(
        (&photos[..2], &photos[3]),
        (&urls(&first)[..], &photos[0]),
        "an equal photo is the same media"
    );
    assert_eq!(server.get(&photos[2]).await.status(), 200);
    assert_eq!(listings.get("/1").await, (200, draft));
    let files = server.files();
    let (status, problem) =
        listings.append("1/photos", form(&[file(&photo_numbered(64, 48, 9))]), None).await;
    assert_eq!((status, kind(&problem)), (413, "draft-full"));
    let three: Vec<_> = (4..7).map(|number| photo_numbered(64, 48, number)).collect();
    let three: Vec<_> = three.iter().map(|photo| file(photo)).collect();
    listings.upload(&[5, 6]).await;
    let (status, problem) = listings.append("2/photos", form(&three), None).await;
    assert_eq!((status, kind(&problem)), (413, "draft-full"), "{problem}");
    assert_eq!(listings.get("/2").await.1["photos"].as_array().unwrap().len(), 2);
    assert_eq!(server.files().len(), files.len() + 2, "refused photos leave no file");
    assert_eq!(listings.append("9/photos", form(&three), None).await.0, 404);
    let (status, problem) = listings.append("2/photos", form(&[file(b"%PDF-1.7")]), None).await;
    assert_eq!((status, kind(&problem)), (415, "unsupported-image"));
}

#[tokio::test]
async fn deleted_draft_is_404_and_its_id_is_not_used_again() {
    let server = Server::start(&[]);
    let listings = Listings::of(&server);
    let draft = listings.upload(&[1]).await;
    let response = listings.send(Method::DELETE, "/1", None, None).await;
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    assert!(!response.headers().contains_key("content-type"));
    for method in [Method::GET, Method::PATCH, Method::DELETE] {
        let body = (method == Method::PATCH).then(|| json!({}));
        assert_eq!(listings.send(method, "/1", None, body).await.status(), 404);
    }
    assert_eq!(listings.get("").await.1["items"], json!([]));
    assert_eq!(server.get(&urls(&draft)[0]).await.status(), 200, "the grace time has just begun");
    assert_eq!(listings.upload(&[1]).await["id"], 2);
    let dir = server.stop();
    let server = Server::start_in(dir, &[]);
    let listings = Listings::of(&server);
    assert_eq!(listings.get("/1").await.0, 404);
    assert_eq!(listings.send(Method::DELETE, "/2", None, None).await.status(), 204);
    let dir = server.stop();
    let server = Server::start_in(dir, &[]);
    assert_eq!(Listings::of(&server).upload(&[2]).await["id"], 3);
}

#[tokio::test]
async fn draft_without_a_form_is_created_and_gets_photos_later() {
    let server = Server::start(&[]);
    let listings = Listings::of(&server);
    let body = json!({"title": "coat", "description": "blue", "price_suggested": 5, "uploads": []});
    let response = listings.send(Method::POST, "", None, Some(body)).await;
    assert_eq!(response.status(), StatusCode::CREATED);
    assert_eq!(response.headers()["location"], "/api/v1/listings/1");
    let (_, draft) = answer(response).await;
    assert_eq!(
        (&draft["title"], &draft["description"], &draft["photos"]),
        (&json!("coat"), &json!("blue"), &json!([]))
    );
    assert_eq!(draft["price_suggested"].as_f64(), Some(5.0));
    assert_eq!(listings.append("1/photos", form(&[file(&photo(64, 48))]), None).await.0, 200);
    assert_eq!(answer(listings.send(Method::POST, "", None, Some(json!({}))).await).await.0, 201);
    for bad in [json!({"status": "ready"}), json!({"uploads": 7}), json!({"title": 1})] {
        assert_eq!(answer(listings.send(Method::POST, "", None, Some(bad)).await).await.0, 422);
    }
}

#[tokio::test]
async fn bad_photos_are_left_out_and_named_if_the_client_asks_for_it() {
    let server = Server::start(&[("MAX_FILE_SIZE_MB", "1")]);
    let good = [photo_numbered(64, 48, 1), photo_numbered(64, 48, 2)];
    let whole = photo(640, 480);
    let (cut, large) = (&whole[..whole.len() / 2], [photo(64, 48), vec![0; 1 << 20]].concat());
    let parts = [
        file_named("notes.pdf", b"%PDF-1.7"),
        file(&good[0]),
        file_named("cut.jpg", cut),
        file_named("large.jpg", &large),
        file_named("empty.jpg", b""),
        file_named("cut again.jpg", cut),
        file(&good[1]),
    ];
    let path = "/api/v1/ingest/upload?on_error=skip";
    let post = async |path: &str, body: Vec<u8>| {
        let content_type = format!("multipart/form-data; boundary={BOUNDARY}");
        let request = Client::new().post(server.url(path)).header("content-type", content_type);
        answer(request.body(body).send().await.unwrap()).await
    };
    let (status, draft) = post(path, form(&parts)).await;
    assert_eq!(status, 201, "{draft}");
    let mut alone = Vec::new();
    for photo in &good {
        alone.extend(urls(&server.upload(form(&[file(photo)])).await.1));
    }
    assert_eq!(urls(&draft), alone);
    let rejected: Vec<(u64, &str, u64)> = draft["rejected"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| {
            let problem = &it["problem"];
            assert!(
                problem["type"].is_string() && problem["title"].is_string() && problem["detail"].is_string()
            );
            (
                it["file_index"].as_u64().unwrap(),
                it["filename"].as_str().unwrap(),
                problem["status"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        rejected,
        [
            (0, "notes.pdf", 415),
            (2, "cut.jpg", 422),
            (3, "large.jpg", 413),
            (4, "empty.jpg", 422),
            (5, "cut again.jpg", 422)
        ]
    );
    server.logs(&["left out", "file_index=3"]).await;
    let (_, mut read) = answer(server.get("/api/v1/listings/1").await).await;
    assert_eq!(read.get("rejected"), None);
    read["rejected"] = draft["rejected"].clone();
    assert_eq!(read, draft);
    // All of them bad is the error of the first; nothing bad is an empty list.
    let files = server.files();
    let (status, problem) = post(path, form(&[file_named("cut.jpg", cut), file(b"%PDF-1.7")])).await;
    assert_eq!((status, &problem["file_index"], &problem["filename"]), (422, &json!(0), &json!("cut.jpg")));
    let (status, problem) = post(path, form(&[file(b"%PDF-1.7"), file_named("cut.jpg", cut)])).await;
    assert_eq!((status, kind(&problem)), (415, "unsupported-image"));
    assert_eq!(server.files(), files);
    assert_eq!(post(path, form(&[file(&good[0])])).await.1["rejected"], json!([]));
    assert_eq!(kind(&post(path, form(&[file(b""), file(b"")])).await.1), "no-photo");
    assert_eq!(post("/api/v1/ingest/upload?on_error=ignore", form(&parts)).await.0, 422);
    // Without the parameter one bad photo ends the upload.
    assert_eq!(post("/api/v1/ingest/upload", form(&parts)).await.0, 415);
    let (status, draft) =
        post("/api/v1/listings/1/photos?on_error=skip", form(&[file(cut), file(&good[0])])).await;
    assert_eq!((status, urls(&draft).len(), draft["rejected"].as_array().unwrap().len()), (200, 3, 1));
}

#[tokio::test]
async fn below_the_floor_of_free_space_drafts_are_only_read_and_removed() {
    let server = Server::start(&[]);
    Listings::of(&server).upload(&[1, 2]).await;
    let server = Server::start_in(server.stop(), &[("MIN_FREE_DISK_MB", "1048576")]);
    let listings = Listings::of(&server);
    let before = listings.get("/1").await;
    let order = json!({"order": [1, 0]});
    for (method, path, body) in [
        (Method::POST, "", json!({"title": "a"})),
        (Method::PATCH, "/1", json!({"title": "a"})),
        (Method::PUT, "/1/photos/order", order),
    ] {
        let etag = (!path.is_empty()).then_some("*");
        let (status, problem) = answer(listings.send(method, path, etag, Some(body)).await).await;
        assert_eq!((status, kind(&problem)), (507, "storage-full"), "{path}");
    }
    assert_eq!(listings.append("1/photos", form(&[file(&photo(64, 48))]), None).await.0, 507);
    assert_eq!(listings.get("/1").await, before);
    assert_eq!(listings.send(Method::DELETE, "/1", None, None).await.status(), 204);
}
