//! Finds the user of a subject, and remembers it, so that most requests do not read the catalog. That a subject has no user is not remembered.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::catalog::{Catalog, CatalogError, Identity};
use crate::model::UserId;

/// Most subjects of one generation. A full one replaces the older one. Two full generations take 1.9 MB.
const GENERATION: usize = 8192;
/// How long a user is remembered. Until then a running server takes an erased subject for its former user, and records under its id.
const REMEMBERED: Duration = Duration::from_secs(300);

/// Finds the users of subjects.
pub(crate) struct Subjects {
    catalog: Arc<dyn Catalog>,
    known: Mutex<Known>,
}

/// Users by the digest of their subject.
#[derive(Default)]
struct Known {
    young: HashMap<[u8; 32], (UserId, Instant)>,
    old: HashMap<[u8; 32], (UserId, Instant)>,
}

impl Subjects {
    /// Finds users in `catalog`.
    pub(crate) fn new(catalog: Arc<dyn Catalog>) -> Self {
        Self { catalog, known: Mutex::default() }
    }

    /// Returns the user of a subject, if it is remembered, and moves it to the younger generation.
    pub(crate) fn known(&self, identity: &Identity) -> Option<UserId> {
        let mut known = self.lock();
        let digest = digest(identity);
        let found = known.young.get(&digest).or_else(|| known.old.get(&digest)).copied();
        let (user, since) = found.filter(|(_, since)| since.elapsed() < REMEMBERED)?;
        if !known.young.contains_key(&digest) {
            known.remember(digest, user, since);
        }
        Some(user)
    }

    /// Returns the user of a subject, or `None` if it has none yet.
    ///
    /// # Errors
    /// The catalog failed.
    pub(crate) async fn find(&self, identity: &Identity) -> Result<Option<UserId>, CatalogError> {
        if let Some(user) = self.known(identity) {
            return Ok(Some(user));
        }
        let found = self.catalog.user_of(identity).await?;
        if let Some(user) = found {
            self.lock().remember(digest(identity), user, Instant::now());
        }
        Ok(found)
    }

    /// Returns the user of a subject, and records a new one for a subject that has none.
    ///
    /// # Errors
    /// The catalog failed, or has no room.
    pub(crate) async fn find_or_create(&self, identity: &Identity) -> Result<UserId, CatalogError> {
        if let Some(user) = self.find(identity).await? {
            return Ok(user);
        }
        // A new user takes room, and is refused where a photo would be.
        self.catalog.check().await?;
        let user = self.catalog.user_for(identity).await?;
        self.lock().remember(digest(identity), user, Instant::now());
        Ok(user)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn remember(&mut self, digest: [u8; 32], user: UserId, since: Instant) {
        if self.young.len() >= GENERATION {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(digest, (user, since));
    }
}

/// Returns the hash of a subject. The issuer is left out, because a server has one provider.
fn digest(identity: &Identity) -> [u8; 32] {
    *blake3::hash(identity.subject.as_bytes()).as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::SledCatalog;
    use crate::disk::FreeDisk;

    fn identity(subject: &str) -> Identity {
        Identity { issuer: "https://id.example".into(), subject: subject.into() }
    }

    #[tokio::test]
    async fn subject_is_remembered_and_reading_records_none() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Arc::new(SledCatalog::open(dir.path(), FreeDisk::Bytes(0)).await.unwrap());
        let subjects = Subjects::new(catalog);
        let anna = identity("anna");
        assert_eq!(subjects.find(&anna).await.unwrap(), None);
        assert_eq!(subjects.known(&anna), None);
        let user = subjects.find_or_create(&anna).await.unwrap();
        assert_eq!(subjects.known(&anna), Some(user));
        assert_eq!(subjects.find(&anna).await.unwrap(), Some(user));
        assert_eq!(subjects.known(&identity("ben")), None);
    }

    #[test]
    fn number_of_remembered_subjects_is_bounded() {
        let mut known = Known::default();
        for number in 0..GENERATION as u64 * 5 {
            let digest = *blake3::hash(&number.to_be_bytes()).as_bytes();
            known.remember(digest, UserId::UNKNOWN_SUBJECT, Instant::now());
            assert!(known.young.len() + known.old.len() <= 2 * GENERATION);
            assert!(known.young.contains_key(&digest));
        }
    }
}
