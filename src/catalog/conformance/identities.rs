//! What a catalog must do with users of identity providers. `one` and `other` are the same catalog, as two instances have it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::draft;
use crate::catalog::{Identity, IdentityRow, NewDraft, Restorable, Restore, RestoreError, Row};
use crate::model::UserId;

fn identity(issuer: &str, subject: &str) -> Identity {
    Identity { issuer: issuer.into(), subject: subject.into() }
}

fn user(id: u64) -> UserId {
    UserId::try_from(id).unwrap()
}

pub(in crate::catalog) async fn run(one: Arc<dyn Restorable>, other: Arc<dyn Restorable>) {
    subject_has_one_user(&*one, &*other).await;
    callers_at_the_same_time_get_one_user(&one, &other).await;
    id_of_another_user_is_skipped(&*one).await;
    rows_are_read_in_pages(&*one).await;
    rows_are_restored_and_never_replaced(&*one).await;
    removed_user_is_not_given_again(&*one).await;
}

async fn subject_has_one_user(one: &dyn Restorable, other: &dyn Restorable) {
    let anna = identity("https://id.example", "anna \u{1f45f}");
    assert_eq!(one.user_of(&anna).await.unwrap(), None);
    assert_eq!(one.identities_page(None, 10).await.unwrap(), []);
    let first = one.user_for(&anna).await.unwrap();
    assert_eq!(first.get(), UserId::FIRST_OF_PROVIDER);
    for catalog in [one, other] {
        assert_eq!(catalog.user_for(&anna).await.unwrap(), first);
        assert_eq!(catalog.user_of(&anna).await.unwrap(), Some(first));
    }
    // The two texts are compared apart from each other, and exactly.
    let mut users = BTreeSet::from([first]);
    for (issuer, subject) in [
        ("https://id.example", "Anna \u{1f45f}"),
        ("https://id.example", "anna \u{1f45f} "),
        ("https://other.example", "anna \u{1f45f}"),
        ("https://id.examplea", "nna \u{1f45f}"),
    ] {
        let new = identity(issuer, subject);
        assert_eq!(other.user_of(&new).await.unwrap(), None, "{issuer} {subject}");
        assert!(users.insert(other.user_for(&new).await.unwrap()), "{issuer} {subject}");
    }
}

async fn callers_at_the_same_time_get_one_user(one: &Arc<dyn Restorable>, other: &Arc<dyn Restorable>) {
    let callers = (0..60).map(|number: usize| {
        let catalog = Arc::clone(if number.is_multiple_of(2) { one } else { other });
        tokio::spawn(async move {
            let subject = (number / 2 % 5).to_string();
            let user = catalog.user_for(&identity("at the same time", &subject)).await.unwrap();
            (subject, user)
        })
    });
    let found = futures_util::future::join_all(callers.collect::<Vec<_>>()).await;
    let found: BTreeSet<_> = found.into_iter().map(Result::unwrap).collect();
    assert_eq!(found.len(), 5, "{found:?}");
    let users: BTreeSet<UserId> = found.into_iter().map(|(_, user)| user).collect();
    assert_eq!(users.len(), 5, "{users:?}");
}

/// A token of the server may be for any id.
async fn id_of_another_user_is_skipped(catalog: &dyn Restorable) {
    let last = catalog.user_for(&identity("skip", "before")).await.unwrap().get();
    for id in [last + 1, last + 2] {
        let new = NewDraft { owner: Some(user(id)), ..draft("", &[]) };
        catalog.create_draft(new).await.unwrap();
    }
    let next = catalog.user_for(&identity("skip", "after")).await.unwrap();
    assert!(next.get() > last + 2, "{next}");
}

async fn rows_are_read_in_pages(catalog: &dyn Restorable) {
    let all = catalog.identities_page(None, 1000).await.unwrap();
    assert!(all.len() > 10 && all.is_sorted_by_key(|row| row.user));
    let mut paged: Vec<IdentityRow> = Vec::new();
    loop {
        let page = catalog.identities_page(paged.last().map(|row| row.user), 4).await.unwrap();
        assert!(page.len() <= 4);
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, all);
    for row in all {
        assert_eq!(catalog.user_of(&row.identity()).await.unwrap(), Some(row.user));
    }
}

async fn rows_are_restored_and_never_replaced(catalog: &dyn Restorable) {
    let last = catalog.identities_page(None, 1000).await.unwrap().pop().unwrap();
    let row = |id, subject: &str| IdentityRow {
        user: user(id),
        issuer: "restored".into(),
        subject: subject.into(),
    };
    let high = last.user.get() + 1000;
    let rows = [row(high, "high"), row(7, "low")];
    for _ in 0..2 {
        let rows = rows.iter().cloned().map(Row::Identity).collect();
        catalog.restore(Restore::Rows(rows)).await.unwrap();
    }
    for row in &rows {
        assert_eq!(catalog.user_for(&row.identity()).await.unwrap(), row.user);
    }
    let next = catalog.user_for(&identity("restored", "new")).await.unwrap();
    assert!(next.get() > high, "{next}");
    for other in [row(high, "another subject"), row(high + 5000, "high")] {
        match catalog.restore(Restore::Rows(vec![Row::Identity(other)])).await {
            Err(RestoreError::Conflict(text)) => assert!(text.contains("the subject of user"), "{text}"),
            done => panic!("{done:?}"),
        }
    }
}

async fn removed_user_is_not_given_again(catalog: &dyn Restorable) {
    let gone = identity("removed", "gone");
    let user = catalog.user_for(&gone).await.unwrap();
    let photos = draft("", &["of a removed user"]);
    let made = catalog.create_draft(NewDraft { owner: Some(user), ..photos }).await.unwrap();
    assert!(!catalog.remove_user(user).await.unwrap(), "a draft has the user");
    assert_eq!(catalog.user_of(&gone).await.unwrap(), Some(user));
    catalog.delete_draft(made.id, None).await.unwrap();
    assert!(!catalog.remove_user(user).await.unwrap(), "a media row has the user");
    catalog.erase(user, &[], &[made.photos[0].id]).await.unwrap();
    assert!(catalog.remove_user(user).await.unwrap());
    assert!(!catalog.remove_user(user).await.unwrap());
    assert_eq!(catalog.user_of(&gone).await.unwrap(), None);
    let again = catalog.user_for(&gone).await.unwrap();
    assert!(again > user, "{again}");
}
