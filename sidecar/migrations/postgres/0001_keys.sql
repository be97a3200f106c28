-- Keys, their versions, wrapped secrets and usage, approvals; and who is told of changes. Names without a schema:
-- `keypod store migrate` sets search_path to the configured one. A migration is never edited once released: its
-- checksum is in every database.

CREATE TABLE keys (
    id                bytea  NOT NULL PRIMARY KEY CHECK (octet_length(id) = 8),
    name              text   COLLATE "C" NOT NULL UNIQUE,
    created_at        bigint NOT NULL CHECK (created_at >= 0),
    rotation_period_s bigint CHECK (rotation_period_s >= 0),
    messages_max      bigint NOT NULL CHECK (messages_max >= 0),
    bytes_max         bigint NOT NULL CHECK (bytes_max >= 0),
    primary_version   bigint NOT NULL CHECK (primary_version BETWEEN 1 AND 4294967295)
);

-- Usage is counted here, several times a second under load: room on each page keeps those updates off the index.
CREATE TABLE versions (
    key_id        bytea  NOT NULL REFERENCES keys (id),
    version       bigint NOT NULL CHECK (version BETWEEN 1 AND 4294967295),
    state         text   NOT NULL CHECK (state IN ('enabled', 'decrypt_only', 'disabled', 'destroyed')),
    created_at    bigint NOT NULL CHECK (created_at >= 0),
    destroy_at    bigint CHECK (destroy_at >= 0),
    messages_used bigint NOT NULL CHECK (messages_used >= 0),
    bytes_used    bigint NOT NULL CHECK (bytes_used >= 0),
    revision      bigint NOT NULL CHECK (revision >= 0),
    PRIMARY KEY (key_id, version)
) WITH (fillfactor = 50);

-- `position` keeps the order in which the wrappings were given.
CREATE TABLE wrappings (
    key_id   bytea  NOT NULL,
    version  bigint NOT NULL,
    position bigint NOT NULL CHECK (position >= 0),
    root     text   COLLATE "C" NOT NULL,
    wrapped  bytea  NOT NULL CHECK (octet_length(wrapped) > 0),
    PRIMARY KEY (key_id, version, position),
    UNIQUE (key_id, version, root),
    FOREIGN KEY (key_id, version) REFERENCES versions (key_id, version)
);
-- Random bytes do not compress, and a wrapping is small.
ALTER TABLE wrappings ALTER COLUMN wrapped SET STORAGE EXTERNAL;

-- At most one approval waits for a version.
CREATE TABLE approvals (
    id           text   COLLATE "C" NOT NULL PRIMARY KEY CHECK (length(id) = 32),
    key_id       bytea  NOT NULL,
    version      bigint NOT NULL,
    requested_by text   NOT NULL,
    requested_at bigint NOT NULL CHECK (requested_at >= 0),
    expires_at   bigint NOT NULL CHECK (expires_at >= 0),
    UNIQUE (key_id, version),
    FOREIGN KEY (key_id, version) REFERENCES versions (key_id, version)
);

-- One row: `probe` flips at each health check.
CREATE TABLE health (
    id    bigint  NOT NULL PRIMARY KEY CHECK (id = 1),
    probe boolean NOT NULL
) WITH (fillfactor = 10);
INSERT INTO health (id, probe) VALUES (1, false);

-- Tells every sidecar that listens which key changed, whoever changed it: the payload is the key's id in
-- hexadecimal, or `*` if everything may have changed. The channel is the schema's own, so that two schemas of one
-- database do not hear each other; a hash, because a channel's name is no longer than a schema's.
CREATE FUNCTION tell_of_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    channel text := 'keypod_' || left(encode(sha256(convert_to(TG_TABLE_SCHEMA, 'UTF8')), 'hex'), 32);
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        PERFORM pg_catalog.pg_notify(channel, '*');
        RETURN NULL;
    END IF;
    IF TG_TABLE_NAME = 'keys' THEN
        IF TG_OP <> 'INSERT' THEN
            PERFORM pg_catalog.pg_notify(channel, encode(OLD.id, 'hex'));
        END IF;
        IF TG_OP <> 'DELETE' THEN
            PERFORM pg_catalog.pg_notify(channel, encode(NEW.id, 'hex'));
        END IF;
    ELSE
        IF TG_OP <> 'INSERT' THEN
            PERFORM pg_catalog.pg_notify(channel, encode(OLD.key_id, 'hex'));
        END IF;
        IF TG_OP <> 'DELETE' THEN
            PERFORM pg_catalog.pg_notify(channel, encode(NEW.key_id, 'hex'));
        END IF;
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER told AFTER INSERT OR UPDATE OR DELETE ON keys
    FOR EACH ROW EXECUTE FUNCTION tell_of_change();
CREATE TRIGGER told AFTER INSERT OR DELETE ON versions
    FOR EACH ROW EXECUTE FUNCTION tell_of_change();
-- Never for usage: `messages_used` and `bytes_used` are not among these.
CREATE TRIGGER told_of_update AFTER UPDATE ON versions
    FOR EACH ROW
    WHEN ((OLD.key_id, OLD.version, OLD.state, OLD.created_at, OLD.destroy_at, OLD.revision)
        IS DISTINCT FROM (NEW.key_id, NEW.version, NEW.state, NEW.created_at, NEW.destroy_at, NEW.revision))
    EXECUTE FUNCTION tell_of_change();
CREATE TRIGGER told AFTER INSERT OR UPDATE OR DELETE ON wrappings
    FOR EACH ROW EXECUTE FUNCTION tell_of_change();
CREATE TRIGGER told_of_truncate AFTER TRUNCATE ON keys
    FOR EACH STATEMENT EXECUTE FUNCTION tell_of_change();
CREATE TRIGGER told_of_truncate AFTER TRUNCATE ON versions
    FOR EACH STATEMENT EXECUTE FUNCTION tell_of_change();
CREATE TRIGGER told_of_truncate AFTER TRUNCATE ON wrappings
    FOR EACH STATEMENT EXECUTE FUNCTION tell_of_change();
