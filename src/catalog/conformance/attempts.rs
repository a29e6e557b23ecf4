//! What a catalog must do for requests that a client repeats under one key. Runs against an empty catalog.

use std::sync::Arc;
use std::time::Duration;

use super::{draft, photo};
use crate::catalog::{Begun, Catalog, Change, ChangeError, NewAttempt, NewDraft, RequestHead};
use crate::model::{AttemptId, Timestamp};

pub(in crate::catalog) async fn run(catalog: Arc<dyn Catalog>) {
    recorded_attempt_is_returned_with_its_draft(&*catalog).await;
    claimed_attempt_is_in_progress_until_the_claim_is_dropped(&*catalog).await;
    second_record_of_an_attempt_is_refused_and_records_nothing(&*catalog).await;
    failed_change_records_no_attempt(&*catalog).await;
    expired_attempt_is_forgotten_and_replaced(&*catalog).await;
    concurrent_records_of_an_attempt_succeed_once(&catalog).await;
}

fn id(name: &str) -> AttemptId {
    AttemptId::new(None, name)
}

fn since() -> Timestamp {
    Timestamp::now().minus(Duration::from_secs(3600))
}

fn attempt(name: &str) -> NewAttempt {
    let request = RequestHead { path: "/a".into(), content_length: Some(7) };
    NewAttempt { id: id(name), request, note: "[\"a note\"]".into(), since: since() }
}

fn with_attempt(name: &str) -> NewDraft {
    NewDraft { attempt: Some(attempt(name)), ..draft("tried", &["a1", "a2"]) }
}

async fn is_claimed(catalog: &dyn Catalog, name: &str) -> bool {
    matches!(catalog.begin_attempt(id(name), since()).await.unwrap(), Begun::Claimed(_))
}

async fn recorded_attempt_is_returned_with_its_draft(catalog: &dyn Catalog) {
    assert!(is_claimed(catalog, "k1").await);
    let made = catalog.create_draft(with_attempt("k1")).await.unwrap();
    let Begun::Done(done) = catalog.begin_attempt(id("k1"), since()).await.unwrap() else { panic!() };
    assert_eq!(
        (&done.draft, &done.request, done.note.as_str()),
        (&made, &attempt("k1").request, "[\"a note\"]")
    );
    assert!(done.created >= since());
    let change = Change::Append { photos: vec![photo("a3")], max: 9, attempt: Some(attempt("k2")) };
    let changed = catalog.change_draft(made.id, None, change).await.unwrap();
    let Begun::Done(done) = catalog.begin_attempt(id("k2"), since()).await.unwrap() else { panic!() };
    assert_eq!(done.draft, changed);
    // It says what the draft was then, even after changes or removal.
    catalog.delete_draft(made.id, None).await.unwrap();
    let Begun::Done(done) = catalog.begin_attempt(id("k1"), since()).await.unwrap() else { panic!() };
    assert_eq!(done.draft, made);
}

async fn claimed_attempt_is_in_progress_until_the_claim_is_dropped(catalog: &dyn Catalog) {
    let Begun::Claimed(claim) = catalog.begin_attempt(id("k3"), since()).await.unwrap() else { panic!() };
    assert!(matches!(catalog.begin_attempt(id("k3"), since()).await.unwrap(), Begun::InWork));
    assert!(is_claimed(catalog, "k4").await, "another one is free");
    drop(claim);
    // A catalog may release a claim a moment later.
    while !is_claimed(catalog, "k3").await {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn second_record_of_an_attempt_is_refused_and_records_nothing(catalog: &dyn Catalog) {
    let first = catalog.create_draft(with_attempt("k5")).await.unwrap();
    let second = catalog.create_draft(NewDraft { title: "second".into(), ..with_attempt("k5") }).await;
    assert!(matches!(second, Err(ChangeError::Repeated)), "{second:?}");
    let change = Change::Append { photos: vec![photo("a4")], max: 9, attempt: Some(attempt("k5")) };
    let change = catalog.change_draft(first.id, None, change).await;
    assert!(matches!(change, Err(ChangeError::Repeated)), "{change:?}");
    assert_eq!(catalog.draft(first.id).await.unwrap(), Some(first));
    catalog.check().await.unwrap();
}

async fn failed_change_records_no_attempt(catalog: &dyn Catalog) {
    let made = catalog.create_draft(draft("", &["a1"])).await.unwrap();
    let change = Change::Append { photos: vec![photo("a5")], max: 1, attempt: Some(attempt("k6")) };
    assert!(catalog.change_draft(made.id, None, change).await.is_err());
    assert!(is_claimed(catalog, "k6").await);
}

async fn expired_attempt_is_forgotten_and_replaced(catalog: &dyn Catalog) {
    catalog.create_draft(with_attempt("k7")).await.unwrap();
    let future = Timestamp::now().plus(Duration::from_secs(3600));
    assert!(matches!(catalog.begin_attempt(id("k7"), future).await.unwrap(), Begun::Claimed(_)));
    let late = NewAttempt { since: future, note: "late".into(), ..attempt("k7") };
    catalog.create_draft(NewDraft { attempt: Some(late), ..draft("", &["a1"]) }).await.unwrap();
    loop {
        match catalog.begin_attempt(id("k7"), since()).await.unwrap() {
            Begun::Done(done) => break assert_eq!(done.note, "late"),
            Begun::InWork => tokio::time::sleep(Duration::from_millis(2)).await,
            Begun::Claimed(_) => panic!(),
        }
    }
    assert_eq!(catalog.forget_attempts(since(), 100).await.unwrap(), 0);
    assert_eq!(catalog.forget_attempts(future, 1).await.unwrap(), 1);
    while catalog.forget_attempts(future, 1).await.unwrap() > 0 {}
    while !is_claimed(catalog, "k7").await {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn concurrent_records_of_an_attempt_succeed_once(catalog: &Arc<dyn Catalog>) {
    let record = |_| {
        let catalog = Arc::clone(catalog);
        tokio::spawn(async move { catalog.create_draft(with_attempt("k8")).await })
    };
    let recorded = futures_util::future::join_all((0..12).map(record)).await;
    let (made, refused): (Vec<_>, Vec<_>) = recorded.into_iter().map(Result::unwrap).partition(Result::is_ok);
    assert_eq!(made.len(), 1);
    assert!(refused.iter().all(|refused| matches!(refused, Err(ChangeError::Repeated))), "{refused:?}");
}
