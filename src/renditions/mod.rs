//! The use case "a smaller copy of a photo": made at the first request, then kept beside the photo.
//!
//! Anyone may ask for a rendition, so the work is bounded: it runs on the image pool in the share of the client, few are in
//! progress at the same time, their sources wait on disk, and all who ask for the same one share one computation.

mod error;
mod make;
mod single_flight;
mod unkept;

use std::sync::Arc;

use futures_util::FutureExt;

pub(crate) use self::error::RenditionError;
use self::single_flight::SingleFlight;
use self::unkept::Unkept;
use crate::budget::Share;
use crate::disk::Scratch;
use crate::imaging::{Pool, Recipe, RenditionSizes};
use crate::ingest::Admission;
use crate::media::{Link, MediaStore, OpenRendition, RenditionName, RenditionStore, StoredRendition};
use crate::model::ClientKey;
use crate::telemetry::metrics::{Counter, Metrics, Unit};

/// Renditions in progress from which on each client is limited to its share. Each has one open file.
const IN_PROGRESS: usize = 128;

/// What a server makes, and whether it may write.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    /// The renditions that may be asked for.
    pub sizes: RenditionSizes,
    /// How photos are made.
    pub recipe: Recipe,
    /// Whether renditions are kept. Otherwise each request makes its own.
    pub keeps: bool,
}

/// The stores of photos and of their renditions, and a directory for photos of a bucket while a worker waits for them.
pub(crate) struct Places {
    /// The photos.
    pub photos: Arc<dyn MediaStore>,
    /// The renditions.
    pub renditions: Arc<dyn RenditionStore>,
    /// The directory.
    pub scratch: Scratch,
}

/// What was made since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Renditions that were made.
    pub made: u64,
    /// Those that the store did not keep.
    pub not_kept: u64,
}

/// Makes and opens renditions.
pub(crate) struct Renditions {
    rules: Rules,
    places: Places,
    pool: Arc<Pool>,
    /// Memory of renditions that are made and not kept yet.
    outputs: Arc<Share>,
    in_progress: Arc<Admission>,
    flights: SingleFlight<RenditionName, Result<Made, RenditionError>>,
    made: Counter,
    not_kept: Counter,
}

/// Where a rendition is that was made.
#[derive(Debug, Clone)]
enum Made {
    /// In the store.
    Kept,
    /// In memory, because the store did not keep it.
    Unkept(Arc<Unkept>),
}

/// A rendition that exists.
enum Found {
    Kept(StoredRendition),
    Unkept(Arc<Unkept>),
}

/// A rendition for a reader.
pub(crate) enum Readable {
    /// The store has it, and gives a link to it.
    Link(StoredRendition, Link),
    /// Its bytes come through this server.
    Open(OpenRendition),
}

impl Renditions {
    /// Combines the parts. The worker's results are accounted in `outputs`.
    pub(crate) fn new(rules: Rules, places: Places, pool: Arc<Pool>, outputs: Arc<Share>) -> Self {
        Self {
            rules,
            places,
            pool,
            outputs,
            in_progress: Admission::new(IN_PROGRESS),
            flights: SingleFlight::default(),
            made: Counter::default(),
            not_kept: Counter::default(),
        }
    }

    /// Registers the metrics of renditions.
    pub(crate) fn register(&self, metrics: &mut Metrics) {
        let unit = Unit::Of("renditions");
        let help = "Smaller copies of stored photos that were made";
        metrics.register("renditions_made", unit, help, self.made.clone());
        let help = "Smaller copies that the store did not keep, so that the next request makes them again";
        metrics.register("renditions_not_kept", unit, help, self.not_kept.clone());
    }

    /// Returns what was made since the start.
    pub(crate) fn counts(&self) -> Counts {
        Counts { made: self.made.get(), not_kept: self.not_kept.get() }
    }

    /// Returns a rendition for a reader, and makes it first if the store has none. `client` pays for that.
    ///
    /// # Errors
    /// See [`RenditionError`].
    pub(crate) async fn get(
        self: &Arc<Self>,
        client: ClientKey,
        name: RenditionName,
    ) -> Result<Readable, RenditionError> {
        self.check(name)?;
        let store = &self.places.renditions;
        if let Some(link) = self.link(name).await? {
            return Ok(match self.find(client, name).await? {
                Found::Kept(stored) => Readable::Link(stored, link),
                Found::Unkept(unkept) => Readable::Open(unkept.open()),
            });
        }
        if let Some(open) = store.open_rendition(name).await? {
            return Ok(Readable::Open(open));
        }
        match self.make(client, name).await? {
            Made::Kept => {
                store.open_rendition(name).await?.map(Readable::Open).ok_or(RenditionError::NotFound)
            }
            Made::Unkept(unkept) => Ok(Readable::Open(unkept.open())),
        }
    }

    /// Returns what is known about a rendition, and makes it first if the store has none. `client` pays for that.
    ///
    /// # Errors
    /// See [`RenditionError`].
    pub(crate) async fn head(
        self: &Arc<Self>,
        client: ClientKey,
        name: RenditionName,
    ) -> Result<StoredRendition, RenditionError> {
        self.check(name)?;
        Ok(match self.find(client, name).await? {
            Found::Kept(stored) => stored,
            Found::Unkept(unkept) => unkept.stored(),
        })
    }

    async fn find(self: &Arc<Self>, client: ClientKey, name: RenditionName) -> Result<Found, RenditionError> {
        let store = &self.places.renditions;
        if let Some(stored) = store.find_rendition(name).await? {
            return Ok(Found::Kept(stored));
        }
        match self.make(client, name).await? {
            Made::Kept => store.find_rendition(name).await?.map(Found::Kept).ok_or(RenditionError::NotFound),
            Made::Unkept(unkept) => Ok(Found::Unkept(unkept)),
        }
    }

    /// Returns a URL from which a client can read a rendition that the store has, or `None` if there is no such URL.
    async fn link(&self, name: RenditionName) -> Result<Option<Link>, RenditionError> {
        if !self.rules.keeps {
            return Ok(None);
        }
        Ok(self.places.renditions.rendition_link(name).await?)
    }

    fn check(&self, name: RenditionName) -> Result<(), RenditionError> {
        if self.rules.sizes.has(name.side) { Ok(()) } else { Err(RenditionError::NotFound) }
    }

    /// Makes a rendition, or waits for the one that is in progress.
    async fn make(self: &Arc<Self>, client: ClientKey, name: RenditionName) -> Result<Made, RenditionError> {
        let join = || {
            let renditions = Arc::clone(self);
            self.flights.join(name, || async move { renditions.make_now(client, name).await }.boxed())
        };
        let (flight, is_own) = join();
        match flight.await {
            // The client that began it had no room; this one may have some.
            Err(RenditionError::Busy { .. }) if !is_own => join().0.await,
            made => made,
        }
    }
}
