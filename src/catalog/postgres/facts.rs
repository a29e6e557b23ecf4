//! Records what is known of the pixels of photos. A row has it as JSON.

use deadpool_postgres::Client;

use super::params::boxed;
use super::rows::{facts_text, number};
use super::transaction::{BEGIN, Commit, Failed, Steps, Work};
use crate::model::{MediaId, PhotoFacts};

/// Rows are locked in the order in which other transactions update them.
const RECORD: &str = "
    UPDATE media SET facts = locked.facts FROM (
        SELECT m.id, given.facts FROM media m JOIN unnest($1::bigint[], $2::text[]) AS given (id, facts) USING (id)
        WHERE m.facts IS NULL ORDER BY m.id FOR UPDATE OF m
    ) AS locked WHERE media.id = locked.id";

/// See [`Catalog::record_facts`](crate::catalog::Catalog::record_facts).
pub(super) struct RecordFacts<'a>(pub(super) &'a [(MediaId, PhotoFacts)]);

impl Work for RecordFacts<'_> {
    type Output = ();

    async fn run(&self, client: &Client, commit: &Commit) -> Result<(), Failed> {
        client.batch_execute(BEGIN).await?;
        let ids: Vec<i64> = self.0.iter().map(|(id, _)| number(id.0)).collect();
        let facts = self.0.iter().map(|(_, facts)| facts_text(Some(facts))).collect::<Result<Vec<_>, _>>()?;
        let mut steps = Steps::default();
        steps.add(client, RECORD, boxed![ids, facts]).await?;
        steps.commit(client, commit).await?;
        Ok(())
    }
}
