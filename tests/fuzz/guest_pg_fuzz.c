/* SPDX-License-Identifier: Apache-2.0 */
/* The guests' PostgreSQL client against a server that sends anything. The first byte says how many
 * bytes one recv brings; the rest is what the server says, start-up included. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../sdk/c/src/db.c"
#include "../../sdk/c/src/pg.c"
#include "../../sdk/c/src/str.c"

static const uint8_t *said;
static size_t said_len, chunk;

bool wg_db_connect(wg_db_kind kind, const wg_pg_config *config, uint64_t *handle,
                   wg_db_error *err) {
  (void)kind;
  (void)config;
  (void)err;
  *handle = 1;
  return true;
}

bool wg_db_send(uint64_t handle, const void *bytes, size_t len, size_t *sent, wg_db_error *err) {
  (void)handle;
  (void)bytes;
  (void)err;
  *sent = len;
  return true;
}

bool wg_db_recv(uint64_t handle, uint32_t max_bytes, wg_db_bytes *got, wg_db_error *err) {
  (void)handle;
  (void)err;
  size_t n = said_len < chunk ? said_len : chunk;
  if (n > max_bytes) n = max_bytes;
  *got = (wg_db_bytes){n == 0 ? NULL : malloc(n), n};
  if (n > 0) memcpy(got->ptr, said, n);
  said += n;
  said_len -= n;
  return true;
}

bool wg_db_close(uint64_t handle, wg_db_error *err) {
  (void)handle;
  (void)err;
  return true;
}

/* Reads every field, so that a sanitizer sees one that is not there. */
static void touch(const wg_pg_result *r) {
  volatile unsigned sum = 0;
  for (size_t column = 0; column < wg_pg_columns(r); column++) {
    wg_str name = wg_pg_column(r, column);
    for (size_t i = 0; i < name.len; i++) sum += (unsigned char)name.ptr[i];
    for (size_t row = 0; row < wg_pg_rows(r); row++) {
      wg_str field = wg_pg_text(r, row, column);
      assert(wg_pg_is_null(r, row, column) == (field.ptr == NULL));
      for (size_t i = 0; i < field.len; i++) sum += (unsigned char)field.ptr[i];
      int64_t number;
      bool truth;
      wg_pg_int64(r, row, column, &number);
      wg_pg_boolean(r, row, column, &truth);
    }
  }
  (void)wg_pg_affected(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0) return 0;
  chunk = (size_t)data[0] + 1;
  said = data + 1;
  said_len = size - 1;
  static const wg_pg_config config = {.host = "db", .user = "app", .password = "pw"};
  wg_pg_error err;
  wg_pg *c = wg_pg_connect(&config, &err);
  if (c == NULL) {
    assert(err.code != WG_PG_OK);
    return 0;
  }
  const wg_pg_param params[] = {wg_pg_int(1), wg_pg_cstr("x")};
  for (int i = 0; i < 4; i++) {
    wg_pg_result *r = i == 1 ? wg_pg_query_prepared(c, "s", params, 2, &err)
                             : wg_pg_query(c, "SELECT", params, 2, &err);
    if (r != NULL)
      touch(r);
    else
      assert(err.code != WG_PG_OK);
    wg_pg_free(r);
  }
  wg_pg_close(c);
  return 0;
}
