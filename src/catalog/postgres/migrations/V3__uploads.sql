-- Resumable uploads. A finished one refers to its photo, which no draft has yet.

CREATE TABLE upload (
    id bytea PRIMARY KEY CHECK (octet_length(id) = 16),
    user_id bigint,
    request text NOT NULL,
    length bigint CHECK (length >= 0),
    acknowledged bigint NOT NULL CHECK (acknowledged >= 0),
    writer bigint NOT NULL CHECK (writer >= 0),
    layout text NOT NULL,
    -- The state as JSON; a finished upload has the id of its photo in media_id, too.
    state text NOT NULL,
    media_id bigint REFERENCES media (id),
    created timestamptz NOT NULL,
    expires timestamptz NOT NULL
);
CREATE INDEX upload_by_expiry ON upload (expires);
CREATE INDEX upload_by_media ON upload (media_id) WHERE media_id IS NOT NULL;
