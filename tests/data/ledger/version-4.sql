SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
SET default_tablespace = '';
SET default_table_access_method = heap;
CREATE TABLE public.snapshot_backup_check (
    id integer NOT NULL,
    checked_at double precision NOT NULL
);
CREATE TABLE public.snapshot_backup_key (
    id integer NOT NULL,
    state_key text NOT NULL
);
CREATE TABLE public.snapshot_backup_ledger (
    project_id text NOT NULL,
    snapshot_id text NOT NULL,
    state text NOT NULL,
    token text,
    lease_until double precision NOT NULL,
    updated_at double precision NOT NULL,
    settled integer NOT NULL,
    rest text NOT NULL
);
CREATE TABLE public.snapshot_backup_queue (
    group_name text NOT NULL,
    project_id text NOT NULL,
    until double precision NOT NULL,
    numbers text NOT NULL
);
CREATE TABLE public.snapshot_backup_schema (
    version integer NOT NULL
);
CREATE TABLE public.snapshot_backup_slot (
    project_id text NOT NULL,
    snapshot_id text NOT NULL,
    group_name text NOT NULL,
    since double precision NOT NULL,
    until double precision NOT NULL
);
CREATE TABLE public.snapshot_backup_sweep (
    id integer NOT NULL,
    since double precision NOT NULL,
    owner text,
    held_until double precision NOT NULL
);
CREATE TABLE public.snapshot_backup_waiting (
    id text NOT NULL,
    project_id text,
    snapshot_id text,
    reason text NOT NULL,
    waits integer NOT NULL,
    recorded_at double precision NOT NULL,
    due_at double precision NOT NULL,
    sweep_at double precision NOT NULL,
    swept integer NOT NULL,
    body bytea NOT NULL
);
INSERT INTO public.snapshot_backup_key VALUES (1, 'af986c036f075e2f066020431f6339a8a124c2772743b7c16e38759e84e4d1a9');
INSERT INTO public.snapshot_backup_ledger VALUES ('project', 'claimed', 'open', '651d63d59f07f4d156459c8986ef6994-0', 1795732114.04665, 1795732094.04665, 0, '{}');
INSERT INTO public.snapshot_backup_ledger VALUES ('project', 'doubt', 'open', NULL, 0, 1795732094.069433, 0, '{"doubt":{"since":1795000000.0,"looks":1,"look_after":1795000005.0}}');
INSERT INTO public.snapshot_backup_ledger VALUES ('project', 'created', 'made', NULL, 0, 1795732094.100675, 0, '{"backup":{"id":"b-created","name":"nightly"},"made_at":1795732094.100675}');
INSERT INTO public.snapshot_backup_ledger VALUES ('project', 'completed', 'completed', NULL, 0, 1795732094.122638, 1, '{"backup":{"id":"b-completed","name":"nightly"},"made_at":1795732094.110816,"end":{"backup":{"id":"b-completed","status":"available","size":4},"seconds":5.25,"attempts":1}}');
INSERT INTO public.snapshot_backup_ledger VALUES ('project', 'refused', 'open', NULL, 0, 1795732094.144963, 1, '{"failures":{"event-refused":{"failure":{"category":"refused","status":400,"code":"X","message":"no: \"code\":\"skipped\""},"attempts":1}}}');
INSERT INTO public.snapshot_backup_ledger VALUES ('project', 'released', 'open', NULL, 0, 1795732094.161487, 1, '{}');
INSERT INTO public.snapshot_backup_ledger VALUES ('project', 'skipped', 'open', NULL, 0, 1795732094.175617, 1, '{"failures":{"event-skipped":{"failure":{"category":"refused","code":"skipped","message":"the backup service''s own"}}}}');
INSERT INTO public.snapshot_backup_ledger VALUES ('project', 'error', 'error', NULL, 0, 1795732094.204153, 1, '{"end":{"failure":{"category":"backup_error","message":"it ended in error"},"attempts":2},"failures":{"event-error":{"failure":{"category":"backup_error","message":"it ended in error"},"attempts":2}},"spoiled":["b-error"]}');
INSERT INTO public.snapshot_backup_schema VALUES (4);
INSERT INTO public.snapshot_backup_sweep VALUES (1, 1795732093.947304, NULL, 0);
INSERT INTO public.snapshot_backup_waiting VALUES ('waits', 'project', 'created', 'track', 1, 1795732094.215176, 1795732124.215176, 1795732124.215176, 0, '\x626f6479');
ALTER TABLE ONLY public.snapshot_backup_check
    ADD CONSTRAINT snapshot_backup_check_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.snapshot_backup_key
    ADD CONSTRAINT snapshot_backup_key_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.snapshot_backup_ledger
    ADD CONSTRAINT snapshot_backup_ledger_pkey PRIMARY KEY (project_id, snapshot_id);
ALTER TABLE ONLY public.snapshot_backup_queue
    ADD CONSTRAINT snapshot_backup_queue_pkey PRIMARY KEY (group_name, project_id);
ALTER TABLE ONLY public.snapshot_backup_slot
    ADD CONSTRAINT snapshot_backup_slot_pkey PRIMARY KEY (project_id, snapshot_id, group_name);
ALTER TABLE ONLY public.snapshot_backup_sweep
    ADD CONSTRAINT snapshot_backup_sweep_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.snapshot_backup_waiting
    ADD CONSTRAINT snapshot_backup_waiting_pkey PRIMARY KEY (id);
CREATE INDEX snapshot_backup_ledger_by_age ON public.snapshot_backup_ledger USING btree (settled, updated_at);
CREATE INDEX snapshot_backup_slot_by_group ON public.snapshot_backup_slot USING btree (group_name, project_id, until);
CREATE INDEX snapshot_backup_waiting_by_snapshot ON public.snapshot_backup_waiting USING btree (project_id, snapshot_id);
CREATE INDEX snapshot_backup_waiting_by_sweep ON public.snapshot_backup_waiting USING btree (sweep_at);
