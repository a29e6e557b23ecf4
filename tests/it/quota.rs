//! The storage quota of a client: 429 for new photos above it, and for nothing else.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::{Client, Response};
use serde_json::Value;

use crate::support::{BOUNDARY, Server, UPLOAD, file, form, noise};

/// Returns a photo of about 115 kB when stored: nine fit into 1 MiB.
fn large(number: u32) -> Vec<u8> {
    noise(480, 360, number)
}

async fn bytes_kept(server: &Server) -> u64 {
    let root = server.media_root();
    server.files().iter().map(|name| std::fs::metadata(root.join(name)).unwrap().len()).sum()
}

fn retry_after(response: &Response) -> u64 {
    response.headers()["retry-after"].to_str().unwrap().parse().unwrap()
}

async fn upload_from(server: &Server, address: &str, photo: &[u8]) -> u16 {
    let request = Client::new().post(server.url(UPLOAD)).header("x-forwarded-for", address);
    let request = request.header("content-type", format!("multipart/form-data; boundary={BOUNDARY}"));
    request.body(form(&[file(photo)])).send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn new_photo_above_the_quota_is_429_and_stored_photo_is_201() {
    let server = Server::start(&[("UPLOAD_QUOTA", "1MB/day")]);
    let mut stored = 0;
    let refused = loop {
        let response = server.post(form(&[file(&large(stored))])).await;
        match response.status().as_u16() {
            201 => stored += 1,
            _ => break response,
        }
    };
    assert!((7..12).contains(&stored), "{stored}");
    assert!(bytes_kept(&server).await <= 1 << 20);
    let wait = retry_after(&refused);
    assert!((1..86_400 / 4).contains(&wait), "{wait}: a part of one photo is missing");
    let problem: Value = refused.json().await.unwrap();
    assert_eq!(problem["type"], "urn:problem-type:vintedbot:upload-quota", "{problem}");
    assert_eq!(server.labelled_metric("rejects_total{reason=\"upload-quota\"}").await, 1);

    // Retries and other files with the same pixels are not new photos. In one form with a new photo they are refused.
    let first = large(0);
    let same_pixels = [first.as_slice(), b"x"].concat();
    assert_eq!(server.upload(form(&[file(&first), file(&large(1))])).await.0, 201);
    assert_eq!(server.upload(form(&[file(&same_pixels)])).await.0, 201);
    assert_eq!(server.upload(form(&[file(&first), file(&large(stored))])).await.0, 429);
    assert_eq!(server.files().len(), stored as usize, "no file of a refused upload is kept");
    let next = server.upload(form(&[file(&first)])).await.1;
    assert_eq!(next["id"], u64::from(stored) + 3, "a refused upload takes no id");
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_uploads_stay_within_the_quota_and_failed_ones_are_free() {
    let server = Server::start(&[("UPLOAD_QUOTA", "1MB/day")]);
    let cut = &large(99)[..20_000];
    let failing = (0..12).map(|n| server.upload(form_of(&[&large(n), cut])));
    assert!(join_all(failing).await.iter().all(|(status, _)| [422, 429].contains(status)));
    let uploads = (0..16).map(|n| server.upload(form_of(&[&large(100 + n)])));
    let statuses: Vec<u16> = join_all(uploads).await.iter().map(|(status, _)| *status).collect();
    let stored = statuses.iter().filter(|status| **status == 201).count();
    assert!(
        (7..12).contains(&stored) && statuses.iter().all(|status| [201, 429].contains(status)),
        "{statuses:?}"
    );
    assert_eq!(server.files().len(), stored);
    assert!(bytes_kept(&server).await <= 1 << 20);
}

fn form_of(photos: &[&[u8]]) -> Vec<u8> {
    form(&photos.iter().map(|photo| file(photo)).collect::<Vec<_>>())
}

#[tokio::test]
async fn quota_is_available_again_after_retry_after() {
    let server = Server::start(&[("UPLOAD_QUOTA", "1MB/20seconds")]);
    for number in 0..30 {
        let response = server.post(form(&[file(&large(number))])).await;
        if response.status() == 201 {
            continue;
        }
        let wait = retry_after(&response);
        assert!((1..=4).contains(&wait), "{wait}");
        tokio::time::sleep(Duration::from_secs(wait)).await;
        assert_eq!(server.upload(form(&[file(&large(number))])).await.0, 201);
        return;
    }
    panic!("30 photos of 115 kB in less than 50 seconds");
}

#[tokio::test]
async fn each_client_and_each_ipv6_network_has_one_quota() {
    let server = Server::start(&[("UPLOAD_QUOTA", "1MB/day"), ("TRUSTED_PROXIES", "127.0.0.0/8")]);
    let (mut number, mut status) = (0, 201);
    while status == 201 {
        number += 1;
        status = upload_from(&server, "2001:db8::1", &large(number)).await;
    }
    assert_eq!(status, 429);
    assert_eq!(upload_from(&server, "2001:db8::ffff:2", &large(number)).await, 429, "the same /64 network");
    assert_eq!(upload_from(&server, "2001:db8:0:1::1", &large(number)).await, 201);
    assert_eq!(upload_from(&server, "203.0.113.1", &large(number + 1)).await, 201);
}

#[tokio::test]
async fn photo_larger_than_the_quota_is_429_and_free() {
    let server = Server::start(&[("UPLOAD_QUOTA", "1MB/day")]);
    let refused = server.post(form(&[file(&noise(1600, 1200, 1))])).await;
    assert_eq!((refused.status().as_u16(), retry_after(&refused)), (429, 86_400));
    let problem: Value = refused.json().await.unwrap();
    assert!(problem["detail"].as_str().unwrap().contains("larger than the whole quota"), "{problem}");
    for number in 0..4 {
        assert_eq!(server.upload(form(&[file(&large(number))])).await.0, 201);
    }
}
