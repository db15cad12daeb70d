-- SPDX-License-Identifier: Apache-2.0
-- The schema that the test applications share (US-701). For a fresh database, run by its owner.
BEGIN;

CREATE TABLE test_users (
  id         serial PRIMARY KEY,
  name       text NOT NULL,
  email      text NOT NULL UNIQUE,
  created_at timestamptz NOT NULL DEFAULT now()
);

INSERT INTO test_users (name, email) VALUES
  ('Ada Lovelace', 'ada@example.com'),
  ('Grace Hopper', 'grace@example.com'),
  ('Alan Turing', 'alan@example.com'),
  ('Edsger Dijkstra', 'edsger@example.com'),
  ('Barbara Liskov', 'barbara@example.com');

CREATE TABLE test_analytics (
  id         bigserial PRIMARY KEY,
  event      text NOT NULL,
  user_id    integer REFERENCES test_users (id) ON DELETE SET NULL,
  payload    jsonb NOT NULL DEFAULT '{}',
  created_at timestamptz NOT NULL DEFAULT now()
);

COMMIT;
