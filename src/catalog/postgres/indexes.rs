//! Compares what the database does not derive by itself with the drafts: which photos no draft has.

use std::sync::Arc;

use super::pool::Connections;
use super::rows::{self, is_referenced};
use crate::catalog::{CatalogError, IndexFault};
use crate::model::MediaId;

/// Rows that are compared in one step.
const PAGE: i64 = 10_000;

const COMPARE: &str = concat!(
    "SELECT m.id, m.unreferenced_since IS NULL, ",
    is_referenced!("m.id"),
    " FROM media m WHERE m.id > $1 ORDER BY m.id LIMIT $2"
);

const CORRECT: &str = concat!(
    "UPDATE media SET unreferenced_since = CASE WHEN NOT ",
    is_referenced!("media.id"),
    " THEN date_trunc('milliseconds', now()) END WHERE id = ANY($1::bigint[])"
);

impl Connections {
    /// See [`Restorable::check_indexes`](crate::catalog::Restorable::check_indexes).
    pub(super) async fn check_indexes(
        self: &Arc<Self>,
        repair: bool,
    ) -> Result<Vec<IndexFault>, CatalogError> {
        let (mut faults, mut last) = (Vec::new(), 0_i64);
        loop {
            let page = self.read(COMPARE, &[&last, &PAGE]).await?;
            let Some(end) = page.last() else { return Ok(faults) };
            last = rows::column(end, 0)?;
            let mut wrong: Vec<i64> = Vec::new();
            for row in &page {
                let media = MediaId(rows::id(row, 0)?);
                match (rows::column(row, 1)?, rows::column(row, 2)?) {
                    (true, true) | (false, false) => continue,
                    (false, true) => faults.push(IndexFault::Undercounted(media)),
                    (true, false) => faults.push(IndexFault::Overcounted(media)),
                }
                wrong.push(rows::column(row, 0)?);
            }
            if repair && !wrong.is_empty() {
                self.write(CORRECT, &[&wrong]).await?;
            }
        }
    }
}
