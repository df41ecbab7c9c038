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
CREATE TABLE public.snapshot_backup_schema (
    version integer NOT NULL
);
INSERT INTO public.snapshot_backup_key VALUES (1, '5c2047ac9cbf72942bcfc15789b5a7aa7b529c6e7cfab573531ad59906df8896');
INSERT INTO public.snapshot_backup_ledger VALUES ('project', 'claimed', 'open', 'b2c3d82a9cc0b29959d3a4523eaebc6f-0', 1795707824.484356, 1795707804.484356, 0, '{}');
INSERT INTO public.snapshot_backup_ledger VALUES ('project', 'doubt', 'open', NULL, 0, 1795707804.526971, 0, '{"doubt":{"since":1795000000.0,"looks":1,"look_after":1795000005.0}}');
INSERT INTO public.snapshot_backup_ledger VALUES ('project', 'created', 'made', NULL, 0, 1795707804.559988, 0, '{"backup":{"id":"b-created","name":"nightly"},"made_at":1795707804.559988}');
INSERT INTO public.snapshot_backup_ledger VALUES ('project', 'completed', 'completed', NULL, 0, 1795707804.619352, 1, '{"backup":{"id":"b-completed","name":"nightly"},"made_at":1795707804.595853,"end":{"backup":{"id":"b-completed","status":"available","size":4},"seconds":5.25,"attempts":1}}');
INSERT INTO public.snapshot_backup_ledger VALUES ('project', 'refused', 'open', NULL, 0, 1795707804.666023, 1, '{"failures":{"event-refused":{"failure":{"category":"refused","status":400,"code":"X","message":"no"},"attempts":1}}}');
INSERT INTO public.snapshot_backup_ledger VALUES ('project', 'released', 'open', NULL, 0, 1795707804.711112, 1, '{}');
INSERT INTO public.snapshot_backup_schema VALUES (2);
ALTER TABLE ONLY public.snapshot_backup_check
    ADD CONSTRAINT snapshot_backup_check_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.snapshot_backup_key
    ADD CONSTRAINT snapshot_backup_key_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.snapshot_backup_ledger
    ADD CONSTRAINT snapshot_backup_ledger_pkey PRIMARY KEY (project_id, snapshot_id);
CREATE INDEX snapshot_backup_ledger_by_age ON public.snapshot_backup_ledger USING btree (settled, updated_at);
