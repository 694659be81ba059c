-- A database as version 1 left it, with one user: its tables, a passkey, a session that is signed in, and an event.
-- `BYTES` is the database's type of byte strings, `HEX` one of its literals. Never edited: it is what is out there.
CREATE TABLE schema_version (version BIGINT NOT NULL);
INSERT INTO schema_version (version) VALUES (1);

CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);

CREATE TABLE users (
    id TEXT PRIMARY KEY,
    handle BYTES NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    last_login_at BIGINT,
    blocked BIGINT NOT NULL
);

CREATE TABLE identifiers (
    kind TEXT NOT NULL,
    value TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    verified BIGINT NOT NULL,
    PRIMARY KEY (kind, value)
);
CREATE INDEX identifiers_of_user ON identifiers (user_id);

CREATE TABLE credentials (
    credential_id BYTES PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    public_key BYTES NOT NULL,
    sign_count BIGINT NOT NULL,
    backup_eligible BIGINT NOT NULL,
    backup_state BIGINT NOT NULL,
    user_verified BIGINT NOT NULL,
    aaguid TEXT NOT NULL,
    transports TEXT NOT NULL,
    attachment TEXT,
    name TEXT,
    user_agent TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    last_used_at BIGINT
);
CREATE INDEX credentials_of_user ON credentials (user_id);

CREATE TABLE passwords (
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    set_at BIGINT NOT NULL,
    hash TEXT NOT NULL,
    PRIMARY KEY (user_id, set_at)
);

CREATE TABLE totp (
    user_id TEXT PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    secret BYTES NOT NULL,
    confirmed BIGINT NOT NULL,
    last_step BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE recovery_codes (
    user_id TEXT PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    digest BYTES NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE remembered_devices (
    digest BYTES PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    expires_at BIGINT NOT NULL
);

CREATE TABLE put_off (
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    prompt TEXT NOT NULL,
    until BIGINT NOT NULL,
    PRIMARY KEY (user_id, prompt)
);

CREATE TABLE sessions (
    digest BYTES PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    user_id TEXT REFERENCES users (id) ON DELETE CASCADE,
    data TEXT NOT NULL,
    user_agent TEXT NOT NULL,
    ip TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX sessions_of_user ON sessions (user_id);

CREATE TABLE challenges (
    challenge BYTES PRIMARY KEY,
    kind TEXT NOT NULL,
    session_id TEXT NOT NULL,
    user_id TEXT,
    data TEXT NOT NULL,
    expires_at BIGINT NOT NULL
);

CREATE TABLE codes (
    id TEXT PRIMARY KEY,
    purpose TEXT NOT NULL,
    target TEXT NOT NULL,
    digest BYTES NOT NULL,
    tries BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);

CREATE TABLE limits (
    name TEXT PRIMARY KEY,
    count BIGINT NOT NULL,
    level BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);

CREATE TABLE events (
    id TEXT PRIMARY KEY,
    date BIGINT NOT NULL,
    type TEXT NOT NULL,
    user_id TEXT,
    data TEXT NOT NULL,
    transcript TEXT
);
CREATE INDEX events_by_type ON events (type, id);

CREATE TABLE outbox (
    id TEXT PRIMARY KEY,
    sent_at BIGINT NOT NULL,
    recipient TEXT NOT NULL,
    subject TEXT NOT NULL,
    body TEXT NOT NULL
);

INSERT INTO settings (name, value) VALUES ('rp_id', 'localhost');
INSERT INTO settings (name, value) VALUES ('secret', 'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA');
INSERT INTO settings (name, value) VALUES ('policy', '{"passkey":{"max_per_user":3}}');
INSERT INTO users (id, handle, created_at, last_login_at, blocked)
    VALUES ('usr_ada', HEX(09090909090909090909090909090909090909090909090909090909090909090909090909090909090909090909090909090909090909090909090909090909), 1740000000000, 1740000000000, 0);
INSERT INTO identifiers (kind, value, user_id, verified) VALUES ('email', 'ada@example.org', 'usr_ada', 1);
INSERT INTO credentials (credential_id, id, user_id, public_key, sign_count, backup_eligible, backup_state,
    user_verified, aaguid, transports, attachment, name, user_agent, created_at, last_used_at)
    VALUES (HEX(0505050505050505050505050505050505050505050505050505050505050505), 'pky_ada', 'usr_ada',
    HEX(a50102032620012158201e18532fd4754c02f3041d9c75ceb33b83ffd81ac7ce4fe882ccb1c98bc5896e225820a46c311c4e2ff40dd96a3653e6e45445d32dfe486eced75c7a90c6a18881c0a3),
    0, 1, 1, 1, '00000000-0000-0000-0000-000000000000', 'internal hybrid', 'platform', 'The old phone', '',
    1740000000000, NULL);
INSERT INTO sessions (digest, id, user_id, data, user_agent, ip, created_at, seen_at, expires_at)
    VALUES (HEX(a90cd71fa0fa412e5726c0ae5960604ba2c33799fe846ca73d3d58057275fdc4), 'ses_ada', 'usr_ada', '{"authenticated_at":1749999990000,"amr":["phr"]}', '', '127.0.0.1',
    1749999990000, 1749999990000, 1750100000000);
INSERT INTO events (id, date, type, user_id, data, transcript)
    VALUES ('01749999990000000000000001', 1749999990000, 's', 'usr_ada',
    '{"log_id":"01749999990000000000000001","type":"s","user_id":"usr_ada"}', NULL);
