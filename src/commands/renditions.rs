//! Makes the renditions that a store lacks.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use futures_util::stream::{self, StreamExt};

use super::Verdict;
use super::report::{note, refuse_if_read_only, say, with_causes};
use crate::budget::Budget;
use crate::config::Settings;
use crate::imaging::Pool;
use crate::media::RenditionName;
use crate::model::{ClientKey, Media};
use crate::renditions::{Counts, Places, Renditions, Rules};
use crate::stores::{self, Mode, Stores};

/// Rows of one page.
const PAGE: usize = 256;

/// Makes the renditions of all photos of the catalog.
pub(super) async fn make(settings: &Settings) -> Result<Verdict, String> {
    refuse_if_read_only(settings)?;
    let Stores { catalog, media } = stores::open(settings, Mode::Existing).await?;
    let budget = Budget::new(settings.memory_budget_bytes);
    let pool = Pool::start(settings.workers, budget.images, settings.pool_queue, settings.pool_wait);
    let pool = pool.map_err(|error| format!("the image pool cannot start: {error}"))?;
    let sizes = settings.rendition_sizes.clone();
    let rules = Rules { sizes: sizes.clone(), recipe: settings.recipe(), keeps: true };
    let places = Places { photos: media.store, renditions: media.renditions, scratch: media.scratch };
    let renditions = &Arc::new(Renditions::new(rules, places, Arc::new(pool), budget.outputs));
    let operator = ClientKey::from(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let (mut photos, mut missing, mut after) = (0_u64, 0_u64, None);
    loop {
        let page = catalog.media_page(after, PAGE).await.map_err(with_causes)?;
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        photos += page.len() as u64;
        let names = page.iter().flat_map(|Media { key, width, height, .. }| {
            sizes.of(*width, *height).map(|size| RenditionName { key: *key, side: size.side })
        });
        let names: Vec<RenditionName> = names.collect();
        let making = names.into_iter().map(async |name| (name, renditions.head(operator, name).await));
        let mut making = stream::iter(making).buffer_unordered(2 * settings.workers);
        while let Some((name, made)) = making.next().await {
            if let Err(error) = made {
                missing += 1;
                say(&format!("rendition-missing {name}: {error}"));
            }
        }
    }
    let Counts { made, not_kept } = renditions.counts();
    if not_kept > 0 {
        say(&format!("rendition-not-kept {not_kept} renditions: the store is full or does not answer"));
    }
    note(&format!(
        "Looked at {photos} photos and made {} renditions; {missing} cannot be made.",
        made - not_kept
    ));
    Ok(if missing + not_kept == 0 { Verdict::Well } else { Verdict::Problems })
}
