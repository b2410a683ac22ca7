-- A platform without an HTTP API: Deadpan reads its PostgreSQL. Run as its owner.

CREATE TABLE posts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    text text NOT NULL,
    images jsonb NOT NULL DEFAULT '[]',
    author text,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- [snippet: outbox]
-- Ids to push are recorded in the transaction that changes the post, whoever changes it.
CREATE TABLE posts_to_push (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    post_id bigint NOT NULL
);

CREATE FUNCTION note_post() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO posts_to_push (post_id) VALUES (COALESCE(NEW.id, OLD.id));
    RETURN NULL;
END
$$;

CREATE TRIGGER note_post AFTER INSERT OR DELETE OR UPDATE OF text, images ON posts
    FOR EACH ROW EXECUTE FUNCTION note_post();
-- [end]

-- [snippet: reader]
-- For DEADPAN_SOURCE_DATABASE_URL: a role that can read posts and nothing else.
CREATE ROLE deadpan_reader LOGIN PASSWORD 'READER_PASSWORD';
GRANT SELECT ON posts TO deadpan_reader;
-- [end]
