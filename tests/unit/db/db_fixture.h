/* SPDX-License-Identifier: Apache-2.0 */
/** @file db_fixture.h  A worker with its loop, a clock that tests move, a declared database, and a
 *  guest that blocks: what the tests of src/db share. */
#pragma once
#include "db/db_internal.h"
#include "db/mock_postgres.h"
#include "db/wire/scram.h"
#include <uv.h>

typedef struct db_worker_fixture {
  uv_loop_t uv;
  wg_loop loop;
  wg_dns *dns;
  wg_db_worker *w;
} db_worker_fixture;

typedef struct db_fixture {
  mock_pg mock;
  wg_config config;
  wg_database_config database;
  _Atomic uint64_t skew_ms; /* added to the monotonic clock */
  _Atomic uint64_t frozen_ms; /* what stands for the monotonic clock; 0: it runs */
  wg_db *db;
  db_worker_fixture one;    /* the only worker of most tests */
  wg_db_guest *guest;       /* its guest */
  bool real;                /* the test brings its own server: no mock is started */
  int fds;                  /* open before */
} db_fixture;

/** The result of an asynchronous call. */
typedef struct db_result {
  wg_db_req req;
  bool done;
  unsigned order;           /* among all results: 1 came first */
  wg_code code;
  wg_error err;
} db_result;

/** Defaults: one database "main" of f->mock (not started yet), pool of 2, timeouts of seconds. */
void db_fixture_init(db_fixture *f);
/** Starts mock and worker from what is in *f. */
void db_fixture_start(db_fixture *f);
/** Frees all, runs the loop dry, and asserts that no fd was leaked. */
void db_fixture_stop(db_fixture *f);
void db_worker_fixture_start(db_fixture *f, db_worker_fixture *wf, unsigned number);
void db_worker_fixture_stop(db_worker_fixture *wf);

/** Runs the loop until *flag, at most 5 s of real time. */
void db_run_until(db_worker_fixture *wf, const bool *flag);
/** Sleeps until the mock has sent `total` ReadyForQuery messages, those of log-ins and resets
 *  included, at most 5 s. */
void db_await_ready(const db_fixture *f, unsigned total);
/** Runs the loop for what is due now. */
void db_run(db_worker_fixture *wf);
/** Stops the clock but for db_advance(), for tests that count single milliseconds. */
void db_freeze(db_fixture *f);
/** Moves the clock and expires what is due then. */
void db_advance(db_fixture *f, uint64_t ms);
wg_db_stats db_stats(db_fixture *f);
/** Runs the loop until the statistics say so, at most 5 s. */
void db_run_until_stats(db_fixture *f, unsigned active, unsigned idle, unsigned total);

void db_start_connect(wg_db_guest *g, db_result *r);
void db_start_connect_to(wg_db_guest *g, const wg_db_target *target, db_result *r);
/** Connects and blocks; 0 and *err on failure. */
uint64_t db_connect(db_fixture *f, wg_db_guest *g, wg_error *err);
/** Speaks the start-up; the answers are read up to ReadyForQuery. */
void db_greet(db_fixture *f, wg_db_guest *g, uint64_t handle);
/** Connect and start-up, both without failure. */
uint64_t db_open(db_fixture *f, wg_db_guest *g);
void db_send(db_fixture *f, wg_db_guest *g, uint64_t handle, const void *p, size_t n);
void db_query(db_fixture *f, wg_db_guest *g, uint64_t handle, const char *sql);
/** A message of this type and body. */
void db_say(db_fixture *f, uint64_t handle, char type, const void *p, size_t n);
/** A log-in by SCRAM-SHA-256 as a guest's own driver speaks it, up to the proof, whose answer is not
 *  read. @param offer  the mechanisms that the server must offer, a comma between two */
void db_scram(db_fixture *f, uint64_t handle, const char *password, wg_scram_channel channel,
              const char *offer);
/** Blocks for bytes: as wg_db_recv, never WG_AGAIN. */
ssize_t db_recv(db_fixture *f, wg_db_guest *g, uint64_t handle, void *p, size_t cap, wg_error *err);
/** Reads whole messages until one of type `last`; returns its body's first byte, or -1 at the end
 *  of the stream. What came before is in *all (may be NULL; the caller frees). */
int db_read_until(db_fixture *f, wg_db_guest *g, uint64_t handle, char last, uint8_t **all,
                  size_t *len);
/** A simple query whose answer is one row of text. */
void db_ask(db_fixture *f, wg_db_guest *g, uint64_t handle, const char *sql, char *out, size_t cap);
/** True when ErrorResponse `p` (a whole message) has this SQLSTATE. */
bool db_is_error(const uint8_t *p, size_t n, const char *sqlstate);
/** The process that the session is with, as text. */
void db_pid(db_fixture *f, uint64_t handle, char out[16]);
/** A start-up packet of protocol 3.0 from name, value, ..., NULL. */
size_t db_startup(uint8_t *out, ...);
/** Closes a handle, which must be open. */
void db_close(wg_db_guest *g, uint64_t handle);
int db_open_fds(void);
