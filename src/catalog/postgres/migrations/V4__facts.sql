-- What is known of the pixels of a photo, as JSON; null: nobody looked at them yet. Instances of the version before insert none.

ALTER TABLE media ADD COLUMN facts text;
