//! Records photos and drafts. A draft is created in one transaction of two round trips; see `transaction`.

use std::collections::{BTreeMap, HashMap};

use deadpool_postgres::Client;
use futures_util::future::{join, join4};
use tokio_postgres::{Row, Statement};

use super::attempts;
use super::params::boxed;
use super::rows::{self, Half, locks, number};
use super::transaction::{BEGIN, Commit, Failed, Steps, Work};
use super::uploads;
use crate::catalog::{CatalogError, Happening, NewDraft, NewPhoto};
use crate::model::{Draft, DraftId, DraftStatus, Media, MediaKey, UserId};

/// Lets another instance wait until this transaction has ended before it checks the outcome: see
/// [`lock_keys`](crate::catalog::Catalog::lock_keys). It also excludes transactions that remove references to these photos.
const LOCK: &str = "SELECT pg_advisory_xact_lock_shared(name) FROM unnest($1::bigint[]) AS name";

pub(super) const USER: &str = r#"INSERT INTO "user" (id) SELECT given.id FROM unnest($1::bigint[]) AS given (id)
    WHERE NOT EXISTS (SELECT FROM "user" u WHERE u.id = given.id) ORDER BY given.id ON CONFLICT DO NOTHING"#;

/// Inserts missing media rows and returns the rows of all keys, except a row that another transaction inserted at the
/// same moment. Ids are assigned in the order of the upload, and rows are inserted in the order of their keys.
const MEDIA: &str = "
    WITH input AS MATERIALIZED (
        SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::bigint[], $6::text[])
            WITH ORDINALITY AS input (key, width, height, size_bytes, facts, place)
    ), missing AS MATERIALIZED (
        SELECT nextval('media_id_seq') AS id, ordered.* FROM (
            SELECT * FROM input WHERE NOT EXISTS (SELECT FROM media WHERE media.key = input.key) ORDER BY place
        ) AS ordered
    ), made AS (
        INSERT INTO media (id, key, width, height, size_bytes, user_id, facts)
            SELECT id, key, width, height, size_bytes, $5::bigint, facts FROM missing ORDER BY key
            ON CONFLICT (key) DO NOTHING
            RETURNING id, key, width, height, size_bytes, user_id, facts
    )
    SELECT m.id, m.key, m.width, m.height, m.size_bytes, m.user_id, m.facts FROM media m JOIN input USING (key)
    UNION ALL SELECT id, key, width, height, size_bytes, user_id, facts FROM made";

/// Ends the time without a draft of the photos with these ids.
pub(super) const REFERENCED: &str = "
    UPDATE media SET unreferenced_since = NULL FROM (
        SELECT id FROM media WHERE id = ANY($1::bigint[]) AND unreferenced_since IS NOT NULL ORDER BY id FOR UPDATE
    ) AS locked WHERE media.id = locked.id";

/// Records the columns that [`sources`] returns. A retried upload finds unchanged sources and writes nothing.
pub(super) const SOURCES: &str = "
    INSERT INTO source (id, media_id)
    SELECT input.id, input.media_id FROM unnest($1::bytea[], $2::bigint[]) AS input (id, media_id)
    LEFT JOIN source s ON s.id = input.id WHERE s.media_id IS DISTINCT FROM input.media_id
    ORDER BY input.id
    ON CONFLICT (id) DO UPDATE SET media_id = excluded.media_id";

/// Draws the id and the time of a draft.
const DRAW: &str = "SELECT nextval('draft_id_seq'), date_trunc('milliseconds', now())";

const DRAFT: &str = "
    WITH made AS (
        INSERT INTO draft (id, title, description, status, price_suggested, user_id, created, updated)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $7)
    )
    INSERT INTO draft_photo (draft_id, order_index, media_id)
        SELECT $1, photo.place - 1, photo.media_id FROM unnest($8::bigint[]) WITH ORDINALITY AS photo (media_id, place)";

/// Creates a draft.
pub(super) struct CreateDraft<'a> {
    pub(super) new: &'a NewDraft,
    /// Whether the change records an event. So it is in the other transactions.
    pub(super) events: bool,
}

impl Work for CreateDraft<'_> {
    type Output = Draft;

    async fn run(&self, client: &Client, commit: &Commit) -> Result<Draft, Failed> {
        let Self { new, events } = self;
        // Preparing costs a round trip only once per connection.
        let user = client.prepare_cached(USER).await?;
        let recording = Recording::prepare(client).await?;
        let draw = client.prepare_cached(DRAW).await?;

        let owner = new.owner.map(|owner| number(owner.get()));
        let users = Vec::from_iter(owner);
        let (begun, made_user, photos, drawn) = join4(
            client.batch_execute(BEGIN),
            client.execute(&user, &[&users]),
            recording.media(client, &new.photos, new.owner),
            client.query_one(&draw, &[]),
        )
        .await;
        begun?;
        made_user?;
        let (mut photos, drawn) = (photos?, drawn?);
        let id = DraftId(rows::id(&drawn, 0)?);
        let created = rows::time(&drawn, 1)?;
        let mut steps = Steps::default();
        photos.extend(uploads::take(client, &mut steps, &new.uploads, id, new.owner).await?);
        let draft = Draft {
            id,
            title: new.title.clone(),
            description: new.description.clone(),
            status: DraftStatus::Draft,
            price_suggested: new.price_suggested,
            photos,
            owner: new.owner,
            created,
            updated: created,
            version: 1,
        };

        let ids: Vec<i64> = draft.photos.iter().map(|photo| number(photo.id.0)).collect();
        let (source_ids, source_media) = sources(&new.photos, &ids);
        let source_ids: Vec<Vec<u8>> = source_ids.into_iter().map(<[u8]>::to_vec).collect();
        steps.add(client, REFERENCED, boxed![ids.clone()]).await?;
        steps.add(client, SOURCES, boxed![source_ids, source_media]).await?;
        let (id, status) = (number(draft.id.0), draft.status.name());
        let Draft { title, description, price_suggested, .. } = draft.clone();
        let created_at = rows::system_time(created);
        let fields = boxed![id, title, description, status, price_suggested, owner, created_at, ids];
        steps.add(client, DRAFT, fields).await?;
        for (sql, params) in attempts::statements(new.attempt.as_ref(), &draft, created)? {
            steps.add(client, sql, params).await?;
        }
        if *events {
            steps.add_event(client, Happening::created(&draft), created).await?;
        }
        steps.commit(client, commit).await?;
        Ok(draft)
    }
}

/// The prepared statements that find or insert the media rows of photos.
pub(super) struct Recording {
    lock: Statement,
    media: Statement,
    again: Statement,
}

impl Recording {
    pub(super) async fn prepare(client: &Client) -> Result<Self, tokio_postgres::Error> {
        Ok(Self {
            lock: client.prepare_cached(LOCK).await?,
            media: client.prepare_cached(MEDIA).await?,
            again: client
                .prepare_cached(&format!("SELECT {} FROM media m WHERE m.key = ANY($1)", rows::MEDIA))
                .await?,
        })
    }

    /// Locks `photos` and returns their media rows, which are inserted where there are none.
    pub(super) async fn media(
        &self,
        client: &Client,
        photos: &[NewPhoto],
        owner: Option<UserId>,
    ) -> Result<Vec<Media>, Failed> {
        let Columns { keys, widths, heights, lengths, facts } = &Columns::of(photos)?;
        let owner = owner.map(|owner| number(owner.get()));
        let names = locks(photos.iter().map(|photo| photo.key), Half::Record);
        let (locked, found) = join(
            client.execute(&self.lock, &[&names]),
            client.query(&self.media, &[keys, widths, heights, lengths, &owner, facts]),
        )
        .await;
        locked?;
        let mut known = by_key(&found?)?;
        if known.len() < keys.len() {
            known.extend(by_key(&client.query(&self.again, &[keys]).await?)?);
        }
        let row = |photo: &NewPhoto| {
            let row = known.get(&photo.key).cloned();
            row.ok_or_else(|| CatalogError::Corrupt(format!("the media row of {} was removed", photo.key)))
        };
        Ok(photos.iter().map(row).collect::<Result<_, _>>()?)
    }
}

/// Returns the columns of the sources of `photos`, whose media have these ids. If a source occurs twice, the last photo counts.
pub(super) fn sources<'a>(photos: &'a [NewPhoto], ids: &[i64]) -> (Vec<&'a [u8]>, Vec<i64>) {
    let entry = |(photo, id): (&'a NewPhoto, &i64)| (photo.source.as_bytes().as_slice(), *id);
    photos.iter().zip(ids).map(entry).collect::<BTreeMap<_, _>>().into_iter().unzip()
}

fn by_key(rows: &[Row]) -> Result<HashMap<MediaKey, Media>, CatalogError> {
    rows.iter().map(|row| rows::media(row, 0).map(|media| (media.key, media))).collect()
}

/// Distinct photos in order, as column arrays.
#[derive(Default)]
struct Columns<'a> {
    keys: Vec<&'a [u8]>,
    widths: Vec<i64>,
    heights: Vec<i64>,
    lengths: Vec<i64>,
    facts: Vec<Option<String>>,
}

impl<'a> Columns<'a> {
    fn of(photos: &'a [NewPhoto]) -> Result<Self, CatalogError> {
        let mut columns = Self::default();
        for NewPhoto { key, width, height, size_bytes, source: _, facts } in photos {
            if columns.keys.contains(&key.as_bytes().as_slice()) {
                continue;
            }
            let too_long = |_| {
                CatalogError::Corrupt(format!("a photo of {size_bytes} bytes is too large for PostgreSQL"))
            };
            columns.keys.push(key.as_bytes());
            columns.widths.push(i64::from(*width));
            columns.heights.push(i64::from(*height));
            columns.lengths.push(i64::try_from(*size_bytes).map_err(too_long)?);
            columns.facts.push(rows::facts_text(facts.as_ref())?);
        }
        Ok(columns)
    }
}
