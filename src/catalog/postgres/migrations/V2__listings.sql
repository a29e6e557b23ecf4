-- Drafts are changed, listed and removed, and photos without a draft are removed later.

ALTER TABLE draft DROP CONSTRAINT draft_status_check;
ALTER TABLE draft ADD CONSTRAINT draft_status_check CHECK (status IN ('draft', 'ready', 'published', 'archived'));
-- Instances of the version before, which may still run, insert neither.
ALTER TABLE draft ADD COLUMN updated timestamptz NOT NULL DEFAULT now();
ALTER TABLE draft ADD COLUMN version bigint NOT NULL DEFAULT 1 CHECK (version >= 0);
CREATE INDEX draft_by_owner ON draft (coalesce(user_id, 0), id);
CREATE INDEX draft_by_owner_and_status ON draft (coalesce(user_id, 0), status, id);

CREATE INDEX draft_photo_by_media ON draft_photo (media_id, draft_id);
CREATE INDEX source_by_media ON source (media_id);

-- When the last draft that referred to the photo ceased to; null: a draft refers to it.
ALTER TABLE media ADD COLUMN unreferenced_since timestamptz;
UPDATE media SET unreferenced_since = now()
    WHERE NOT EXISTS (SELECT FROM draft_photo p WHERE p.media_id = media.id);
CREATE INDEX media_unreferenced ON media (unreferenced_since, id) WHERE unreferenced_since IS NOT NULL;

-- Requests that succeeded under an Idempotency-Key. The answer is the draft as JSON, and what the answer had beside it.
CREATE TABLE attempt (
    id bytea PRIMARY KEY CHECK (octet_length(id) = 32),
    path text NOT NULL,
    content_length bigint CHECK (content_length >= 0),
    created timestamptz NOT NULL,
    draft text NOT NULL,
    note text NOT NULL
);
CREATE INDEX attempt_by_time ON attempt (created);

-- Requests that are in work. An instance renews those that it holds, so that an old one is of an instance that ended.
CREATE TABLE attempt_claim (
    id bytea PRIMARY KEY CHECK (octet_length(id) = 32),
    holder bigint NOT NULL,
    renewed timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX attempt_claim_by_holder ON attempt_claim (holder);
CREATE INDEX attempt_claim_by_time ON attempt_claim (renewed);

-- Events that are not delivered. Numbers of one subject ascend: a change of a draft locks its row before it draws one.
CREATE TABLE event (
    number bigint PRIMARY KEY,
    subject_kind smallint NOT NULL,
    subject_id bigint NOT NULL,
    event text NOT NULL
);
CREATE SEQUENCE event_number_seq OWNED BY event.number;
CREATE INDEX event_by_subject ON event (subject_kind, subject_id, number);

-- When the first event of a subject is delivered. A row while the subject has events.
CREATE TABLE delivery (
    subject_kind smallint NOT NULL,
    subject_id bigint NOT NULL,
    due timestamptz NOT NULL,
    failures bigint NOT NULL DEFAULT 0,
    events bigint NOT NULL DEFAULT 1,
    PRIMARY KEY (subject_kind, subject_id)
);
CREATE INDEX delivery_by_due ON delivery (due);
