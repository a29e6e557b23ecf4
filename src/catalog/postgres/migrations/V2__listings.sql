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
