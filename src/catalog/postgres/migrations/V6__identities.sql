-- Users of identity providers. New ones get ids that are far above those of this server's own tokens.

CREATE SEQUENCE identity_user_id_seq START 1099511627777;

CREATE TABLE identity (
    issuer text NOT NULL,
    subject text NOT NULL,
    user_id bigint NOT NULL UNIQUE REFERENCES "user" ON DELETE CASCADE,
    created timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (issuer, subject)
);

ALTER SEQUENCE identity_user_id_seq OWNED BY identity.user_id;
