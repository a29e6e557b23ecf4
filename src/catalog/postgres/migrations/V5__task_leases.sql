-- Which instance does a background task, until when, and what it noted for the next one.

CREATE TABLE task_lease (
    task text PRIMARY KEY,
    holder bigint NOT NULL,
    until timestamptz NOT NULL,
    notes text NOT NULL
);
