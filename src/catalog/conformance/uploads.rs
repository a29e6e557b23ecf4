//! What a catalog must do for resumable uploads. Runs against an empty catalog.

use std::sync::Arc;
use std::time::Duration;

use super::{draft, photo};
use crate::catalog::{Catalog, ChangeError, NewDraft, UploadChange, UploadRow, UploadState};
use crate::model::{Media, MediaId, Timestamp, UploadId, UserId};

pub(in crate::catalog) async fn run(catalog: Arc<dyn Catalog>) {
    upload_is_read_back_and_changed_by_its_writer_alone(&*catalog).await;
    failed_upload_never_changes_again(&*catalog).await;
    form_whose_draft_is_recorded_never_changes_again(&*catalog).await;
    photo_of_a_finished_upload_stays_until_the_upload_is_removed(&*catalog).await;
    upload_with_the_id_of_another_is_not_recorded(&*catalog).await;
    draft_gets_the_photos_of_uploads_once(&*catalog).await;
    draft_with_an_unusable_upload_is_refused_and_changes_nothing(&*catalog).await;
    expired_uploads_are_found_and_removed(&*catalog).await;
    uploads_are_read_in_pages(&*catalog).await;
    one_of_concurrent_writers_claims_an_upload(&catalog).await;
    one_of_concurrent_drafts_gets_the_photo_of_an_upload(&catalog).await;
}

fn user(id: u64) -> Option<UserId> {
    UserId::try_from(id).ok()
}

fn later() -> Timestamp {
    Timestamp::now().plus(Duration::from_secs(3600))
}

async fn created(catalog: &dyn Catalog, owner: Option<UserId>) -> UploadRow {
    let now = Timestamp::now();
    let request = "{\"kind\":\"photo\"}".into();
    let row = UploadRow { writer: 0, ..UploadRow::new(UploadId::random(), owner, request, now, later()) };
    assert!(catalog.create_upload(row.clone()).await.unwrap());
    row
}

/// Returns a finished upload of a photo with this name, and the photo.
async fn finished(catalog: &dyn Catalog, owner: Option<UserId>, name: &str) -> (UploadRow, Media) {
    let row = created(catalog, owner).await;
    let finish = UploadChange::Finish { length: 7, photo: photo(name) };
    let row = catalog.change_upload(row.id, 0, finish).await.unwrap().unwrap();
    assert_eq!((row.offset, row.length), (7, Some(7)));
    let UploadState::Finished(media) = row.state else { panic!("{row:?}") };
    let media = catalog.media(media).await.unwrap().unwrap();
    (row, media)
}

async fn is_unreferenced(catalog: &dyn Catalog, media: MediaId) -> bool {
    let found = catalog.unreferenced_media(later(), 1000).await.unwrap();
    found.iter().any(|found| found.id == media)
}

async fn upload_is_read_back_and_changed_by_its_writer_alone(catalog: &dyn Catalog) {
    let row = created(catalog, user(7)).await;
    assert_eq!(catalog.upload(row.id).await.unwrap(), Some(row.clone()));
    assert_eq!(catalog.upload(UploadId::random()).await.unwrap(), None);
    let (layout, expires) = ("1:0".to_owned(), later().plus(Duration::from_secs(5)));
    let claim = UploadChange::Claim { offset: 0, layout: layout.clone(), expires };
    let claimed = catalog.change_upload(row.id, 0, claim.clone()).await.unwrap();
    let expected = UploadRow { writer: 1, layout, expires, ..row.clone() };
    assert_eq!(claimed, Some(expected.clone()));
    assert_eq!(catalog.change_upload(row.id, 0, claim).await.unwrap(), None, "another one is the writer");
    let expires = expires.plus(Duration::from_secs(5));
    let advance = |offset, length| UploadChange::Advance { offset, length, expires };
    let advanced = catalog.change_upload(row.id, 1, advance(5, Some(9))).await.unwrap();
    let expected = UploadRow { offset: 5, length: Some(9), expires, ..expected };
    assert_eq!(advanced, Some(expected.clone()));
    assert_eq!(catalog.change_upload(row.id, 0, advance(6, None)).await.unwrap(), None);
    // Neither does an offset decrease, nor does a length change.
    let again = catalog.change_upload(row.id, 1, advance(4, Some(8))).await.unwrap();
    assert_eq!(again, Some(expected.clone()));
    assert_eq!(catalog.upload(row.id).await.unwrap(), Some(expected.clone()));
    assert_eq!(catalog.change_upload(UploadId::random(), 0, advance(1, None)).await.unwrap(), None);
    // Its layout would hide bytes that were acknowledged since it was made.
    let claim = |offset| UploadChange::Claim { offset, layout: format!("1:0,2:{offset}"), expires };
    assert_eq!(
        catalog.change_upload(row.id, 1, claim(0)).await.unwrap(),
        None,
        "five bytes are acknowledged"
    );
    let claimed = catalog.change_upload(row.id, 1, claim(5)).await.unwrap();
    assert_eq!(claimed, Some(UploadRow { writer: 2, layout: "1:0,2:5".into(), ..expected }));
}

async fn failed_upload_never_changes_again(catalog: &dyn Catalog) {
    let row = created(catalog, None).await;
    let failed = catalog.change_upload(row.id, 0, UploadChange::Fail("why".into())).await.unwrap();
    assert_eq!(failed, Some(UploadRow { state: UploadState::Failed("why".into()), ..row.clone() }));
    for change in [
        UploadChange::Advance { offset: 1, length: None, expires: later() },
        UploadChange::Finish { length: 1, photo: photo("of a failed upload") },
        UploadChange::Claim { offset: 0, layout: String::new(), expires: later() },
    ] {
        assert_eq!(catalog.change_upload(row.id, 0, change).await.unwrap(), None);
    }
    let keys = [photo("of a failed upload").key];
    assert_eq!(catalog.without_row(&keys).await.unwrap(), keys, "a refused change records no photo");
}

async fn form_whose_draft_is_recorded_never_changes_again(catalog: &dyn Catalog) {
    let row = created(catalog, user(8)).await;
    let made = catalog.create_draft(draft("of a form", &[])).await.unwrap();
    let ingest = UploadChange::Ingest(made.id);
    assert_eq!(catalog.change_upload(row.id, 1, ingest.clone()).await.unwrap(), None);
    let ingested = catalog.change_upload(row.id, 0, ingest.clone()).await.unwrap();
    assert_eq!(ingested, Some(UploadRow { state: UploadState::Ingested(made.id), ..row.clone() }));
    assert_eq!(catalog.upload(row.id).await.unwrap(), ingested);
    assert_eq!(catalog.change_upload(row.id, 0, ingest).await.unwrap(), None);
    assert!(catalog.remove_upload(row.id, None).await.unwrap());
    assert!(catalog.draft(made.id).await.unwrap().is_some());
}

async fn photo_of_a_finished_upload_stays_until_the_upload_is_removed(catalog: &dyn Catalog) {
    let (row, media) = finished(catalog, user(8), "u1").await;
    assert_eq!((media.key, media.owner), (photo("u1").key, user(8)));
    assert_eq!(catalog.media_of_source(photo("u1").source).await.unwrap(), Some(media.clone()));
    assert!(!is_unreferenced(catalog, media.id).await);
    assert!(!catalog.remove_media(media.id, later()).await.unwrap());
    // A draft that comes and goes leaves the reference of the upload.
    let made = catalog.create_draft(draft("", &["u1"])).await.unwrap();
    catalog.delete_draft(made.id, None).await.unwrap();
    assert!(!catalog.remove_media(media.id, later()).await.unwrap());
    assert!(catalog.remove_upload(row.id, None).await.unwrap());
    assert!(!catalog.remove_upload(row.id, None).await.unwrap());
    assert!(is_unreferenced(catalog, media.id).await);
    assert!(catalog.remove_media(media.id, later()).await.unwrap());
}

async fn upload_with_the_id_of_another_is_not_recorded(catalog: &dyn Catalog) {
    let (row, media) = finished(catalog, user(8), "u9").await;
    let again = UploadRow { state: UploadState::Receiving, expires: later(), ..row.clone() };
    assert!(!catalog.create_upload(again.clone()).await.unwrap());
    assert_eq!(catalog.record_upload(again.clone(), photo("u10")).await.unwrap(), None);
    assert_eq!(catalog.upload(row.id).await.unwrap(), Some(row.clone()));
    let keys = [photo("u10").key];
    assert_eq!(catalog.without_row(&keys).await.unwrap(), keys);
    // It has one entry in the index of expiry, which goes with it.
    assert!(catalog.remove_upload(row.id, None).await.unwrap());
    assert!(!catalog.expired_uploads(later(), 1000).await.unwrap().contains(&row.id));
    assert!(catalog.remove_media(media.id, later()).await.unwrap());
    let recorded = catalog.record_upload(again.clone(), photo("u10")).await.unwrap().unwrap();
    let UploadState::Finished(media) = recorded.state else { panic!("{recorded:?}") };
    assert_eq!(catalog.media(media).await.unwrap().unwrap().key, photo("u10").key);
    assert!(!catalog.remove_media(media, later()).await.unwrap());
    assert_eq!(catalog.upload(row.id).await.unwrap(), Some(recorded));
    assert!(catalog.remove_upload(row.id, None).await.unwrap());
    assert!(catalog.remove_media(media, later()).await.unwrap());
}

async fn draft_gets_the_photos_of_uploads_once(catalog: &dyn Catalog) {
    let (first, one) = finished(catalog, user(9), "u2").await;
    let (second, two) = finished(catalog, user(9), "u3").await;
    let new = NewDraft { uploads: vec![second.id, first.id], owner: user(9), ..draft("of uploads", &["u4"]) };
    let made = catalog.create_draft(new).await.unwrap();
    let ids: Vec<MediaId> = made.photos.iter().skip(1).map(|media| media.id).collect();
    assert_eq!((made.photos.len(), ids), (3, vec![two.id, one.id]));
    assert_eq!(catalog.draft(made.id).await.unwrap().as_ref(), Some(&made));
    let row = catalog.upload(first.id).await.unwrap().unwrap();
    assert_eq!(row.state, UploadState::InDraft(one.id, made.id));
    let again = NewDraft { uploads: vec![first.id], owner: user(9), ..NewDraft::default() };
    let again = catalog.create_draft(again).await;
    assert!(matches!(again, Err(ChangeError::UnusableUpload { index: 0 })), "{again:?}");
    // The upload refers to the photo no more.
    catalog.delete_draft(made.id, None).await.unwrap();
    assert!(is_unreferenced(catalog, one.id).await);
    assert!(catalog.remove_media(one.id, later()).await.unwrap());
    assert!(catalog.remove_upload(first.id, None).await.unwrap());
}

async fn draft_with_an_unusable_upload_is_refused_and_changes_nothing(catalog: &dyn Catalog) {
    let (good, media) = finished(catalog, user(9), "u5").await;
    let (foreign, _) = finished(catalog, user(10), "u6").await;
    let receiving = created(catalog, user(9)).await;
    for bad in [foreign.id, receiving.id, UploadId::random(), good.id] {
        let new = NewDraft { uploads: vec![good.id, bad], owner: user(9), ..draft("", &["u7"]) };
        let refused = catalog.create_draft(new).await;
        assert!(matches!(refused, Err(ChangeError::UnusableUpload { index: 1 })), "{refused:?}");
    }
    assert_eq!(catalog.upload(good.id).await.unwrap().unwrap().state, UploadState::Finished(media.id));
    let keys = [photo("u7").key];
    assert_eq!(catalog.without_row(&keys).await.unwrap(), keys);
    assert!(!is_unreferenced(catalog, media.id).await);
}

async fn expired_uploads_are_found_and_removed(catalog: &dyn Catalog) {
    let old = created(catalog, None).await;
    let expires = Timestamp::from_millis(1_000);
    let claim = UploadChange::Claim { offset: 0, layout: String::new(), expires };
    catalog.change_upload(old.id, 0, claim).await.unwrap().unwrap();
    let fresh = created(catalog, None).await;
    let just_before = Timestamp::from_millis(999);
    assert_eq!(catalog.expired_uploads(just_before, 9).await.unwrap(), []);
    assert_eq!(catalog.expired_uploads(expires, 9).await.unwrap(), [old.id]);
    assert_eq!(catalog.expired_uploads(Timestamp::now(), 9).await.unwrap(), [old.id]);
    assert!(!catalog.remove_upload(old.id, Some(just_before)).await.unwrap());
    assert!(!catalog.remove_upload(fresh.id, Some(expires)).await.unwrap());
    assert!(catalog.remove_upload(old.id, Some(expires)).await.unwrap());
    assert_eq!(catalog.expired_uploads(expires, 9).await.unwrap(), []);
    assert_eq!(catalog.upload(old.id).await.unwrap(), None);
    assert_eq!(catalog.upload(fresh.id).await.unwrap(), Some(fresh));
}

async fn uploads_are_read_in_pages(catalog: &dyn Catalog) {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = catalog.uploads_page(after, 2).await.unwrap();
        assert!(page.len() <= 2);
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        all.extend(page);
    }
    assert!(all.len() > 5 && all.is_sorted_by(|one, next| one.id < next.id), "{all:?}");
    for row in all {
        assert_eq!(catalog.upload(row.id).await.unwrap(), Some(row));
    }
}

async fn one_of_concurrent_writers_claims_an_upload(catalog: &Arc<dyn Catalog>) {
    let row = created(&**catalog, None).await;
    let claims: Vec<_> = (0..8)
        .map(|n| {
            let (catalog, id) = (Arc::clone(catalog), row.id);
            let claim = UploadChange::Claim { offset: 0, layout: n.to_string(), expires: later() };
            tokio::spawn(async move { catalog.change_upload(id, 0, claim).await.unwrap() })
        })
        .collect();
    let mut claimed = Vec::new();
    for claim in claims {
        claimed.extend(claim.await.unwrap());
    }
    assert_eq!(claimed.len(), 1, "{claimed:?}");
    assert_eq!(catalog.upload(row.id).await.unwrap().as_ref(), claimed.first());
}

async fn one_of_concurrent_drafts_gets_the_photo_of_an_upload(catalog: &Arc<dyn Catalog>) {
    let (row, _) = finished(&**catalog, user(11), "u8").await;
    let drafts: Vec<_> = (0..8)
        .map(|_| {
            let (catalog, uploads) = (Arc::clone(catalog), vec![row.id]);
            let new = NewDraft { uploads, owner: user(11), ..NewDraft::default() };
            tokio::spawn(async move { catalog.create_draft(new).await.ok() })
        })
        .collect();
    let mut made = Vec::new();
    for draft in drafts {
        made.extend(draft.await.unwrap());
    }
    assert_eq!(made.len(), 1, "{made:?}");
}
