//! Keeps the conversions of recent colour profiles. To prepare one takes 0.6 ms for a camera's profile and 25 ms for that of a
//! printer, and a camera writes the same profile into all its photos.
//!
//! All workers share them. The memory is bounded, whatever profiles clients send, and is not charged to the budget.

use std::sync::{Arc, Mutex, PoisonError};

use super::colour::Conversion;
use super::layout::Model;

/// Most profiles whose conversions are kept.
const MOST_PROFILES: usize = 8;
/// Most bytes of these profiles together. The tables that are made from a profile take some times its length.
const MOST_BYTES: usize = 2 << 20;

static RECENT: Mutex<Recent> = Mutex::new(Recent { entries: Vec::new() });

struct Recent {
    /// The most recent one is last.
    entries: Vec<Entry>,
}

struct Entry {
    model: Model,
    profile: Vec<u8>,
    conversion: Arc<Conversion>,
}

/// Returns the conversion for a picture of this model with this profile.
pub(super) fn conversion(model: Model, profile: Option<&[u8]>) -> Arc<Conversion> {
    let Some(profile) = profile else { return Arc::new(Conversion::new(model, None)) };
    // No code that holds the lock can panic halfway through a change.
    let recent = || RECENT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = recent().find(model, profile) {
        return known;
    }
    // Prepared without the lock, so that an expensive profile does not make other workers wait.
    let conversion = Arc::new(Conversion::new(model, Some(profile)));
    recent().add(Entry { model, profile: profile.to_vec(), conversion: Arc::clone(&conversion) });
    conversion
}

impl Recent {
    fn position(&self, model: Model, profile: &[u8]) -> Option<usize> {
        self.entries.iter().position(|entry| entry.model == model && entry.profile == profile)
    }

    fn find(&mut self, model: Model, profile: &[u8]) -> Option<Arc<Conversion>> {
        let entry = self.entries.remove(self.position(model, profile)?);
        let conversion = Arc::clone(&entry.conversion);
        self.entries.push(entry);
        Some(conversion)
    }

    fn add(&mut self, entry: Entry) {
        // Another worker may have prepared the same profile at the same time.
        if entry.profile.len() > MOST_BYTES || self.position(entry.model, &entry.profile).is_some() {
            return;
        }
        self.entries.push(entry);
        let bytes = |entries: &[Entry]| entries.iter().map(|entry| entry.profile.len()).sum::<usize>();
        while self.entries.len() > MOST_PROFILES || bytes(&self.entries) > MOST_BYTES {
            self.entries.remove(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(length: usize, first: u8) -> Entry {
        let mut profile = vec![0; length];
        profile[0] = first;
        Entry { model: Model::Rgb, profile, conversion: Arc::new(Conversion::None) }
    }

    #[test]
    fn same_profile_is_prepared_once() {
        let profile = moxcms::ColorProfile::new_display_p3().encode().unwrap();
        let first = conversion(Model::YCbCr, Some(&profile));
        assert!(Arc::ptr_eq(&first, &conversion(Model::YCbCr, Some(&profile))));
        assert!(matches!(*first, Conversion::YCbCr(_, Some(_))));
        assert!(matches!(*conversion(Model::Rgb, Some(&profile)), Conversion::Rgb(_)), "of another model");
    }

    #[test]
    fn many_and_long_profiles_push_out_the_oldest() {
        let mut recent = Recent { entries: Vec::new() };
        (0..20).for_each(|n| recent.add(entry(100, n)));
        assert_eq!(recent.entries.len(), MOST_PROFILES);
        assert!(recent.find(Model::Rgb, &entry(100, 12).profile).is_some());
        recent.add(entry(100, 20));
        assert!(recent.find(Model::Rgb, &entry(100, 12).profile).is_some(), "it was used");
        assert!(recent.find(Model::Rgb, &entry(100, 13).profile).is_none());
        recent.add(entry(MOST_BYTES, 0));
        assert_eq!(recent.entries.len(), 1);
        recent.add(entry(MOST_BYTES + 1, 0));
        assert_eq!(recent.entries[0].profile.len(), MOST_BYTES, "a longer one is not kept");
    }
}
