use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::mpsc;

use super::*;
use crate::catalog::{NewDraft, NewPhoto, SledCatalog};
use crate::disk::FreeDisk;
use crate::media::LocalStore;
use crate::model::{MediaKey, SourceId};

const PHOTO: &[u8] = b"a photo";

/// Answers every delivery with 204, and sends the type that `webhook-id` and body are about.
fn receiver() -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (sender, got) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut line, mut length) = (String::new(), 0);
            while reader.read_line(&mut line).is_ok_and(|read| read > 0) {
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                    length = value.trim().parse().unwrap();
                }
                if line == "\r\n" {
                    let mut body = vec![0; std::mem::take(&mut length)];
                    std::io::Read::read_exact(&mut reader, &mut body).unwrap();
                    let _ = sender.send(String::from_utf8(body).unwrap());
                    (&stream).write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
                }
                line.clear();
            }
        }
    });
    (url, got)
}

#[tokio::test]
async fn removed_photo_is_told_once_its_file_is_gone_and_not_if_it_came_again() {
    let dir = tempfile::tempdir().unwrap();
    let catalog =
        Arc::new(SledCatalog::open_with(&dir.path().join("db"), FreeDisk::Bytes(0), true).await.unwrap());
    let store = Arc::new(LocalStore::open(&dir.path().join("media"), FreeDisk::Bytes(0)).unwrap());
    let (url, got) = receiver();
    let webhook = Webhook { url: url.parse().unwrap(), secret: SigningSecret::new("a secret of this test") };
    let render = Box::new(|event: &Event| Bytes::from(event.what.name()));
    let events = Events::new(
        Arc::clone(&catalog) as _,
        Arc::clone(&catalog) as _,
        Arc::clone(&store) as _,
        webhook,
        render,
    )
    .unwrap();
    let new = || {
        let (key, source) = (MediaKey::of(PHOTO), SourceId::from_digest([1; 32]));
        let photo = NewPhoto { key, width: 4, height: 3, size_bytes: 7, source, facts: None };
        NewDraft { photos: vec![photo], ..NewDraft::default() }
    };
    let key = MediaKey::of(PHOTO);
    let publish = async || {
        let staging = store.begin();
        staging.stage(Bytes::from_static(PHOTO)).await.unwrap();
        staging.publish().await.unwrap().commit().await;
    };
    let remove_row = async || {
        let draft = catalog.create_draft(new()).await.unwrap();
        catalog.delete_draft(draft.id, None).await.unwrap();
        assert!(catalog.remove_media(draft.photos[0].id, Timestamp::now()).await.unwrap());
        // Those of the draft.
        while events.deliver_due().await.unwrap() > 0 {}
    };
    let reported = || got.try_iter().filter(|body| body == "photo.removed").count();

    publish().await;
    remove_row().await;
    assert_eq!(reported(), 0, "the file is still there");
    assert!(catalog.oldest_event().await.unwrap().is_some());
    store.remove(&[key]).await.unwrap();
    let row = catalog.take_due_events(Timestamp::now().plus(2 * LEASE), LEASE, 9).await.unwrap().remove(0);
    events.deliver(&row).await.unwrap();
    assert_eq!(reported(), 1);
    assert_eq!(catalog.oldest_event().await.unwrap(), None);

    publish().await;
    remove_row().await;
    catalog.create_draft(new()).await.unwrap();
    while events.deliver_due().await.unwrap() > 0 {}
    for row in catalog.take_due_events(Timestamp::now().plus(2 * LEASE), LEASE, 9).await.unwrap() {
        events.deliver(&row).await.unwrap();
    }
    assert_eq!(reported(), 0, "the photo came again");
    assert_eq!(catalog.oldest_event().await.unwrap(), None);
}

#[test]
fn pauses_grow_and_a_receiver_may_ask_for_longer_ones() {
    let silent = DeliveryError::Silent;
    let pauses = [0, 1, 2, 3, 9, 1000].map(|failures| pause_after(failures, &silent).as_secs_f64());
    for (pause, seconds) in pauses.into_iter().zip([1.0, 5.0, 30.0, 120.0, 21_600.0, 21_600.0]) {
        assert!((seconds * 0.89..=seconds * 1.11).contains(&pause), "{pause} for {seconds}");
    }
    let busy = |seconds| {
        DeliveryError::Refused(hyper::StatusCode::SERVICE_UNAVAILABLE, Some(Duration::from_secs(seconds)))
    };
    assert_eq!(pause_after(0, &busy(50)), Duration::from_secs(50));
    assert_eq!(pause_after(0, &busy(1 << 40)), Duration::from_secs(3600));
}
