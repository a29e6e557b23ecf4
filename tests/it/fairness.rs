//! Fair sharing of workers: how long the expensive photos of other clients delay a cheap one.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::support::{BOUNDARY, Server, UPLOAD, eventually, file, form, photo_numbered};

const QUEUED: &str = "pool_queue_depth";

/// Returns a PNG of zeros that declares, and takes, enough work to count as long.
fn expensive_png() -> Vec<u8> {
    const SIDE: u32 = 7000;
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, SIDE, SIDE);
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_depth(png::BitDepth::Sixteen);
    encoder.set_filter(png::Filter::NoFilter);
    let mut writer = encoder.write_header().unwrap();
    let mut pixels = writer.stream_writer().unwrap();
    let row = vec![0; SIDE as usize * 8];
    for _ in 0..SIDE {
        std::io::Write::write_all(&mut pixels, &row).unwrap();
    }
    pixels.finish().unwrap();
    writer.finish().unwrap();
    file
}

/// Uploads from this address, which counts as a separate client.
fn upload_from(server: &Server, address: [u8; 4], form: Vec<u8>) -> impl Future<Output = u16> + use<> {
    let client = reqwest::Client::builder().local_address(IpAddr::from(Ipv4Addr::from(address))).build();
    let request = client.unwrap().post(server.url(UPLOAD)).body(form);
    let request = request.header("content-type", format!("multipart/form-data; boundary={BOUNDARY}"));
    async move { request.send().await.unwrap().status().as_u16() }
}

/// Two clients upload this many expensive photos each.
async fn occupy(server: &Server, photos: u8) {
    let png = expensive_png();
    for address in 1..=2 {
        // Bytes after the end make each photo different.
        let files: Vec<Vec<u8>> = (0..photos).map(|n| [&*png, &[address, n]].concat()).collect();
        let parts: Vec<_> = files.iter().map(|data| file(data)).collect();
        // The upload ends when its server does.
        drop(tokio::spawn(upload_from(server, [127, 0, 1, address], form(&parts))));
    }
    let all = 2 * u64::from(photos);
    eventually("all of them wait, but for those that run", || server.metric(QUEUED) >= all - 2).await;
}

#[tokio::test]
async fn cheap_photo_waits_only_for_running_expensive_photos() {
    for workers in ["1", "2"] {
        let server = Server::start(&[("WORKERS", workers)]);
        occupy(&server, 4).await;
        let before = server.metric(QUEUED);
        for n in 1..=3 {
            let cheap = form(&[file(&photo_numbered(64, 48, n.into()))]);
            assert_eq!(upload_from(&server, [127, 0, 2, n], cheap).await, 201);
        }
        // The last of the expensive ones may have come after the first look.
        let served = before.saturating_sub(server.metric(QUEUED));
        assert!(served <= 4, "{served} expensive photos were served with 3 cheap ones by {workers}");
    }
}

#[tokio::test]
async fn client_that_fills_the_queue_is_503_before_its_body_and_others_are_201() {
    let server = Server::start(&[("WORKERS", "2"), ("POOL_WAIT_SECONDS", "5")]);
    occupy(&server, 8).await;
    let cheap = |n: u8| form(&[file(&photo_numbered(64, 48, n.into()))]);
    assert_eq!(upload_from(&server, [127, 0, 1, 1], cheap(1)).await, 503);
    for n in 1..=3 {
        let sent = upload_from(&server, [127, 0, 2, n], cheap(n));
        let answer = tokio::time::timeout(Duration::from_secs(60), sent).await;
        assert_eq!(answer.expect("the upload must be answered"), 201);
    }
}
