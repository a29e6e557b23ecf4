-- Ids of media and drafts are drawn from sequences: a number may be left out after a failure, and none is given twice.
-- What refers to a media row is not bound to it: an import records damaged rows as they are, so that nothing is lost.

CREATE TABLE "user" (
    id bigint PRIMARY KEY CHECK (id > 0),
    created timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE media (
    id bigint PRIMARY KEY,
    key bytea NOT NULL UNIQUE CHECK (octet_length(key) = 32),
    width bigint NOT NULL CHECK (width BETWEEN 0 AND 4294967295),
    height bigint NOT NULL CHECK (height BETWEEN 0 AND 4294967295),
    size_bytes bigint NOT NULL CHECK (size_bytes >= 0),
    user_id bigint REFERENCES "user",
    created timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE draft (
    id bigint PRIMARY KEY,
    title text NOT NULL,
    description text NOT NULL,
    status text NOT NULL CHECK (status = 'draft'),
    price_suggested double precision,
    user_id bigint REFERENCES "user",
    created timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE draft_photo (
    draft_id bigint NOT NULL REFERENCES draft ON DELETE CASCADE,
    order_index bigint NOT NULL CHECK (order_index >= 0),
    media_id bigint NOT NULL,
    PRIMARY KEY (draft_id, order_index)
);

-- What a photo was made of, and the media that was last made of it.
CREATE TABLE source (
    id bytea PRIMARY KEY CHECK (octet_length(id) = 32),
    media_id bigint NOT NULL
);

CREATE SEQUENCE media_id_seq OWNED BY media.id;
CREATE SEQUENCE draft_id_seq OWNED BY draft.id;

-- One row: when the catalog was created, and whether an import into it has begun and not ended.
CREATE TABLE catalog_state (
    is_one boolean PRIMARY KEY DEFAULT true CHECK (is_one),
    created timestamptz NOT NULL DEFAULT now(),
    is_partial boolean NOT NULL DEFAULT false
);
INSERT INTO catalog_state DEFAULT VALUES;
