-- Keys, their versions, wrapped secrets and usage, approvals. A migration is never edited once released: its
-- checksum is in every database. Each one ends by setting user_version to its own number.

PRAGMA application_id = 1265659748; -- "Kpod" in ASCII

CREATE TABLE keys (
    id                BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 8),
    name              TEXT    NOT NULL UNIQUE,
    created_at        INTEGER NOT NULL CHECK (created_at >= 0),
    rotation_period_s INTEGER CHECK (rotation_period_s >= 0),
    messages_max      INTEGER NOT NULL CHECK (messages_max >= 0),
    bytes_max         INTEGER NOT NULL CHECK (bytes_max >= 0),
    primary_version   INTEGER NOT NULL CHECK (primary_version BETWEEN 1 AND 4294967295)
) STRICT;

CREATE TABLE versions (
    key_id        BLOB    NOT NULL REFERENCES keys (id),
    version       INTEGER NOT NULL CHECK (version BETWEEN 1 AND 4294967295),
    state         TEXT    NOT NULL CHECK (state IN ('enabled', 'decrypt_only', 'disabled', 'destroyed')),
    created_at    INTEGER NOT NULL CHECK (created_at >= 0),
    destroy_at    INTEGER CHECK (destroy_at >= 0),
    messages_used INTEGER NOT NULL CHECK (messages_used >= 0),
    bytes_used    INTEGER NOT NULL CHECK (bytes_used >= 0),
    revision      INTEGER NOT NULL CHECK (revision >= 0),
    PRIMARY KEY (key_id, version)
) STRICT, WITHOUT ROWID;

-- `position` keeps the order in which the wrappings were given.
CREATE TABLE wrappings (
    key_id   BLOB    NOT NULL,
    version  INTEGER NOT NULL,
    position INTEGER NOT NULL CHECK (position >= 0),
    root     TEXT    NOT NULL,
    wrapped  BLOB    NOT NULL,
    PRIMARY KEY (key_id, version, position),
    UNIQUE (key_id, version, root),
    FOREIGN KEY (key_id, version) REFERENCES versions (key_id, version)
) STRICT;

-- At most one approval waits for a version.
CREATE TABLE approvals (
    id           TEXT    NOT NULL PRIMARY KEY CHECK (length(id) = 32),
    key_id       BLOB    NOT NULL,
    version      INTEGER NOT NULL,
    requested_by TEXT    NOT NULL,
    requested_at INTEGER NOT NULL CHECK (requested_at >= 0),
    expires_at   INTEGER NOT NULL CHECK (expires_at >= 0),
    UNIQUE (key_id, version),
    FOREIGN KEY (key_id, version) REFERENCES versions (key_id, version)
) STRICT;

-- One row: `probe` flips at each health check; `scrub_due` says that deleted wrappings may still be legible
-- somewhere in the file.
CREATE TABLE health (
    id        INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    probe     INTEGER NOT NULL CHECK (probe IN (0, 1)),
    scrub_due INTEGER NOT NULL CHECK (scrub_due IN (0, 1))
) STRICT;
INSERT INTO health (id, probe, scrub_due) VALUES (1, 0, 0);

PRAGMA user_version = 1;
