//! What a catalog must do that records events. Runs against an empty catalog.

use std::sync::Arc;
use std::time::Duration;

use super::draft;
use crate::catalog::{Change, DueEvent, EventRow, Fields, Happening, NewDraft, Restorable};
use crate::model::{Draft, DraftId, DraftStatus, MediaKey, Timestamp, UserId};

const LEASE: Duration = Duration::from_secs(60);

pub(in crate::catalog) async fn run(catalog: Arc<dyn Restorable>) {
    assert_eq!(catalog.oldest_event().await.unwrap(), None);
    assert_eq!(take(&*catalog, later(0)).await, []);
    events_of_a_draft_come_one_after_the_other(&*catalog).await;
    refused_and_empty_changes_record_no_event(&*catalog).await;
    postponed_event_comes_again_and_holds_back_only_its_draft(&*catalog).await;
    removed_photo_is_an_event(&*catalog).await;
    removed_events_leave_the_later_ones_of_their_draft(&*catalog).await;
    concurrent_changes_are_events_in_the_order_of_their_versions(&catalog).await;
    concurrent_takers_share_the_events(&catalog).await;
}

/// A time that is surely after every event of this test, plus some seconds.
fn later(seconds: u64) -> Timestamp {
    Timestamp::now().plus(Duration::from_secs(10 + seconds))
}

async fn take(catalog: &dyn Restorable, now: Timestamp) -> Vec<DueEvent> {
    catalog.take_due_events(now, LEASE, 100).await.unwrap()
}

fn status(status: DraftStatus) -> Change {
    Change::Fields(Fields { status: Some(status), ..Fields::default() })
}

async fn made(catalog: &dyn Restorable, photos: &[&str]) -> Draft {
    catalog.create_draft(draft("of events", photos)).await.unwrap()
}

/// Delivers everything that is left.
async fn drain(catalog: &dyn Restorable) -> Vec<EventRow> {
    let mut rows = Vec::new();
    loop {
        // Each round is after the leases of the one before.
        let due = take(catalog, later(1_000_000)).await;
        if due.is_empty() {
            assert_eq!(catalog.oldest_event().await.unwrap(), None);
            return rows;
        }
        for event in due {
            catalog.finish_event(&event.row).await.unwrap();
            rows.push(event.row);
        }
    }
}

async fn events_of_a_draft_come_one_after_the_other(catalog: &dyn Restorable) {
    let draft = made(catalog, &["e1"]).await;
    let changed = catalog.change_draft(draft.id, None, status(DraftStatus::Ready)).await.unwrap();
    catalog.delete_draft(draft.id, None).await.unwrap();
    assert!(catalog.oldest_event().await.unwrap().unwrap() <= Timestamp::now().plus(Duration::from_secs(5)));
    let expected = [
        Happening::DraftCreated(Box::new(draft.clone())),
        Happening::DraftUpdated(Box::new(changed)),
        Happening::DraftDeleted(draft.id),
    ];
    for (round, what) in (0..).zip(expected) {
        let due = take(catalog, later(round)).await;
        assert_eq!(due.iter().map(|event| &event.row.event.what).collect::<Vec<_>>(), [&what]);
        assert_eq!(due[0].failures, 0);
        assert_eq!(take(catalog, later(round)).await, [], "it is leased");
        let again = take(catalog, later(round).plus(2 * LEASE)).await;
        assert_eq!(again[0].row, due[0].row, "after the lease it is due again");
        catalog.finish_event(&due[0].row).await.unwrap();
        catalog.finish_event(&due[0].row).await.unwrap();
    }
    assert_eq!(take(catalog, later(10)).await, []);
    assert_eq!(catalog.oldest_event().await.unwrap(), None);
}

async fn refused_and_empty_changes_record_no_event(catalog: &dyn Restorable) {
    let draft = made(catalog, &["e2"]).await;
    drain(catalog).await;
    assert!(catalog.change_draft(draft.id, Some(99), status(DraftStatus::Ready)).await.is_err());
    assert!(catalog.change_draft(draft.id, None, Change::RemovePhoto(7)).await.is_err());
    assert!(catalog.delete_draft(DraftId(1 << 40), None).await.is_err());
    assert!(catalog.delete_draft(draft.id, Some(99)).await.is_err());
    catalog.change_draft(draft.id, None, status(DraftStatus::Draft)).await.unwrap();
    assert_eq!(take(catalog, later(0)).await, []);
}

async fn postponed_event_comes_again_and_holds_back_only_its_draft(catalog: &dyn Restorable) {
    let (one, other) = (made(catalog, &["e3"]).await, made(catalog, &["e3"]).await);
    catalog.change_draft(one.id, None, status(DraftStatus::Ready)).await.unwrap();
    let due = take(catalog, later(0)).await;
    assert_eq!(due.len(), 2, "one of each draft");
    let of = |draft: &Draft| due.iter().find(|it| it.row.event.what.subject() == subject(draft)).unwrap();
    let (first, second) = (of(&one), of(&other));
    catalog.finish_event(&second.row).await.unwrap();
    catalog.postpone_event(&first.row, later(100), true).await.unwrap();
    assert_eq!(take(catalog, later(50)).await, []);
    let again = take(catalog, later(200)).await;
    assert_eq!((&again[0].row, again[0].failures, again.len()), (&first.row, 1, 1));
    catalog.postpone_event(&first.row, later(100), false).await.unwrap();
    assert_eq!(take(catalog, later(200)).await[0].failures, 1, "a mere pause is no failure");
    catalog.finish_event(&first.row).await.unwrap();
    let next = take(catalog, later(0)).await;
    assert_eq!((next[0].row.event.what.name(), next[0].failures), ("draft.updated", 0));
    drain(catalog).await;
}

fn subject(draft: &Draft) -> crate::catalog::Subject {
    Happening::DraftDeleted(draft.id).subject()
}

async fn removed_photo_is_an_event(catalog: &dyn Restorable) {
    let draft = made(catalog, &["e4"]).await;
    let media = draft.photos[0].clone();
    assert!(!catalog.remove_media(media.id, later(0)).await.unwrap(), "it has a draft");
    catalog.delete_draft(draft.id, None).await.unwrap();
    drain(catalog).await;
    assert!(catalog.remove_media(media.id, later(0)).await.unwrap());
    assert!(!catalog.remove_media(media.id, later(0)).await.unwrap());
    let rows = drain(catalog).await;
    let key = MediaKey::of(b"e4");
    assert_eq!(
        rows.iter().map(|row| row.event.what.clone()).collect::<Vec<_>>(),
        [Happening::PhotoRemoved { id: media.id, key, width: Some(media.width), height: Some(media.height) }]
    );
}

async fn removed_events_leave_the_later_ones_of_their_draft(catalog: &dyn Restorable) {
    let owner = UserId::try_from(91).ok();
    let owned = catalog.create_draft(NewDraft { owner, ..draft("of a user", &["e7"]) }).await.unwrap();
    catalog.change_draft(owned.id, None, status(DraftStatus::Ready)).await.unwrap();
    let (kept, gone) = (made(catalog, &["e7"]).await, made(catalog, &["e7"]).await);
    let rows = catalog.events_page(None, 100).await.unwrap();
    let owners: Vec<Option<UserId>> = rows.iter().map(|row| row.event.what.owner()).collect();
    assert_eq!(owners, [owner, owner, None, None]);
    let due = take(catalog, later(0)).await;
    let of = |draft: &Draft| due.iter().find(|it| it.row.event.what.subject() == subject(draft)).unwrap();
    catalog.postpone_event(&of(&gone).row, later(100), true).await.unwrap();
    catalog.delete_draft(owned.id, None).await.unwrap();

    let removed = [&rows[..2], &rows[3..]].concat();
    assert_eq!(catalog.remove_events(&removed).await.unwrap(), 3);
    assert_eq!(catalog.remove_events(&removed).await.unwrap(), 0);
    assert_eq!(take(catalog, later(30)).await, [], "what was taken is still leased");
    // Its delivery ends, and changes nothing.
    catalog.finish_event(&of(&owned).row).await.unwrap();
    let left: Vec<Happening> = drain(catalog).await.into_iter().map(|row| row.event.what).collect();
    let created = Happening::DraftCreated(Box::new(kept.without_photo_owners()));
    assert!(left.len() == 2 && left.contains(&created), "{left:?}");
    assert!(left.contains(&Happening::DraftDeleted(owned.id)), "{left:?}");
    // A subject without events begins anew.
    catalog.delete_draft(gone.id, None).await.unwrap();
    let again = take(catalog, later(0)).await;
    assert_eq!((again.len(), again[0].failures), (1, 0));
    drain(catalog).await;
}

async fn concurrent_changes_are_events_in_the_order_of_their_versions(catalog: &Arc<dyn Restorable>) {
    let draft = made(&**catalog, &["e5"]).await;
    let change = |number: usize| {
        let (catalog, id) = (Arc::clone(catalog), draft.id);
        tokio::spawn(async move {
            let title = Some(format!("title {number}"));
            let change = Change::Fields(Fields { title, ..Fields::default() });
            catalog.change_draft(id, None, change).await.unwrap();
        })
    };
    futures_util::future::join_all((0..16).map(change)).await;
    let versions: Vec<u64> = drain(&**catalog)
        .await
        .iter()
        .map(|row| match &row.event.what {
            Happening::DraftCreated(draft) | Happening::DraftUpdated(draft) => draft.version,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(versions, (1..=17).collect::<Vec<u64>>());
}

async fn concurrent_takers_share_the_events(catalog: &Arc<dyn Restorable>) {
    for _ in 0..24 {
        made(&**catalog, &["e6"]).await;
    }
    let take = |_| {
        let catalog = Arc::clone(catalog);
        tokio::spawn(async move { catalog.take_due_events(later(0), LEASE, 5).await.unwrap() })
    };
    let taken = futures_util::future::join_all((0..8).map(take)).await;
    let mut taken: Vec<DueEvent> = taken.into_iter().flat_map(Result::unwrap).collect();
    assert!(!taken.is_empty());
    // Takers that look at the same moment may leave events to the next one.
    taken.extend(catalog.take_due_events(later(0), LEASE, 100).await.unwrap());
    let mut numbers: Vec<u64> = taken.iter().map(|event| event.row.number).collect();
    let count = numbers.len();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!((numbers.len(), count), (24, 24), "each event was given once");
    drain(&**catalog).await;
}
