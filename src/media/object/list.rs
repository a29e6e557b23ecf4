//! Lists the photos of a bucket in order of keys.
//!
//! S3 and most services list objects in the order of their names, and can begin behind any name. `<sha256>.jpg` is then directly
//! before its renditions `<sha256>/<longer side>.jpg`. If a service has another order, as S3's directory buckets do, all of its
//! answers are read and sorted, once for each part that fits the memory.

use std::mem;
use std::sync::Arc;
use std::vec;

use futures_util::stream::{self, BoxStream, StreamExt};
use object_store::ObjectMeta;
use object_store::list::PaginatedListOptions;

use super::bucket::{Bucket, PHOTOS, stored};
use super::renditions::name_of;
use crate::media::by_key::{Entry, Pages, Smallest};
use crate::media::{ListPage, MediaError, MediaName};
use crate::model::MediaKey;

/// Entries of a page that is not one answer of the service.
const PAGE: usize = 1000;
/// Entries that are in memory at the same time while they are sorted: 4 MB.
const SORTED: usize = 1 << 16;

/// The state of a listing.
struct Listing {
    bucket: Arc<Bucket>,
    pages: Pages,
    /// Where the next answer begins; `None`: the first one.
    token: Option<String>,
    order: Order,
}

enum Order {
    /// Answers come in order so far, up to this place.
    ByName(Option<(MediaKey, bool)>),
    /// Answers come in another order, and are being read.
    Collecting(Smallest<Entry>),
    /// What was read, sorted; and whether nothing comes after it.
    Sorted(vec::IntoIter<Entry>, bool),
}

pub(super) fn pages_by_key(
    bucket: Arc<Bucket>,
    after: Option<MediaKey>,
) -> BoxStream<'static, Result<ListPage, MediaError>> {
    let start = Listing { bucket, pages: Pages::after(after), token: None, order: Order::ByName(None) };
    stream::try_unfold(Some(start), |listing| async move {
        let Some(mut listing) = listing else { return Ok(None) };
        let page = listing.next_page().await?;
        let rest = (!page.is_end).then_some(listing);
        Ok(Some((page, rest)))
    })
    .boxed()
}

impl Listing {
    /// Returns the next page, with at most one request.
    async fn next_page(&mut self) -> Result<ListPage, MediaError> {
        let sorting = || Order::Collecting(Smallest::new(SORTED));
        match &mut self.order {
            Order::ByName(greatest) => {
                let greatest = *greatest;
                let entries = self.request(self.pages.last()).await?;
                let places = || entries.iter().map(Entry::place);
                if places().is_sorted() && places().next().is_none_or(|first| Some(first) >= greatest) {
                    self.order = Order::ByName(places().next_back().or(greatest));
                    return Ok(self.pages.page(entries, self.token.is_none()));
                }
                tracing::warn!(
                    bucket = self.bucket.name,
                    "the bucket is not listed in the order of names, so that all of it is listed for each {SORTED} photos"
                );
                (self.order, self.token) = (sorting(), None);
            }
            Order::Collecting(_) => {
                let entries = self.request(None).await?;
                let is_last = self.token.is_none();
                let is_new = |entry: &Entry| Some(entry.place().0) > self.pages.last();
                let Order::Collecting(smallest) = &mut self.order else { return Ok(ListPage::default()) };
                entries.into_iter().filter(is_new).for_each(|entry| smallest.push(entry));
                if is_last {
                    let (sorted, is_whole) = mem::replace(smallest, Smallest::new(0)).into_sorted();
                    self.order = Order::Sorted(sorted.into_iter(), is_whole);
                }
            }
            Order::Sorted(sorted, is_whole) => {
                let is_end = *is_whole && sorted.len() <= PAGE;
                let page = self.pages.page(sorted.by_ref().take(PAGE), is_end);
                if sorted.len() == 0 {
                    self.order = sorting();
                }
                return Ok(page);
            }
        }
        Ok(self.pages.page([], false))
    }

    /// Makes a request for what follows the last one. The first one begins after the photo with the key `after`.
    async fn request(&mut self, after: Option<MediaKey>) -> Result<Vec<Entry>, MediaError> {
        let token = self.token.take();
        let offset = after.filter(|_| token.is_none()).map(|key| format!("{PHOTOS}{}", MediaName::from(key)));
        let options = PaginatedListOptions { offset, page_token: token, ..Default::default() };
        let page = self.bucket.ask(self.bucket.client.list_paginated(Some(PHOTOS), options)).await?;
        self.token = page.page_token;
        Ok(page.result.objects.iter().filter_map(entry).collect())
    }
}

/// Returns what an object is, if it is a photo or a rendition.
fn entry(object: &ObjectMeta) -> Option<Entry> {
    let rendition = || name_of(object).map(|name| Entry::Rendition(name.key));
    stored(object).map(Entry::Photo).or_else(rendition)
}
