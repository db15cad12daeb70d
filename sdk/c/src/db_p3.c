/* SPDX-License-Identifier: Apache-2.0 */
/* database-proxy by `warpgrid:shim-async@0.1`: a call that waits lets other tasks run. Arguments
 * and results stay in this frame, which is safe because every call is awaited here. */
#include "db.h"
#include "task.h"
#include <stdlib.h>

static wasi3_string_t db_string(const char *s) {
  return (wasi3_string_t){(uint8_t *)(uintptr_t)s, s == NULL ? 0 : strlen(s)};
}

static bool db_fail(wg_db_error *err, warpgrid_shim_async_database_proxy_db_error_t *from) {
  const wasi3_string_t *text = &from->val.invalid_handle; /* all cases carry one string */
  wg_db_error_set(err, (wg_db_errc)from->tag, text->ptr, text->len);
  warpgrid_shim_async_database_proxy_db_error_free(from);
  return false;
}

bool wg_db_connect(wg_db_kind kind, const wg_pg_config *config, uint64_t *handle,
                   wg_db_error *err) {
  warpgrid_shim_async_database_proxy_connect_config_t to = {
      .protocol = (uint8_t)kind,
      .host = db_string(config->host),
      .port = config->port,
      .database = db_string(config->database),
      .user = db_string(config->user),
      .password = {.is_some = config->password != NULL, .val = db_string(config->password)},
  };
  warpgrid_shim_async_database_proxy_result_connection_handle_db_error_t result;
  wg_task_await_subtask(warpgrid_shim_async_database_proxy_connect(&to, &result));
  if (result.is_err) return db_fail(err, &result.val.err);
  *handle = result.val.ok;
  return true;
}

bool wg_db_open(const char *host, uint16_t port, uint64_t *handle, wg_db_error *err) {
  wasi3_string_t to = db_string(host);
  warpgrid_shim_async_database_proxy_db_error_t why;
  return warpgrid_shim_async_database_proxy_open(&to, port, handle, &why) || db_fail(err, &why);
}

bool wg_db_send(uint64_t handle, const void *bytes, size_t len, size_t *sent, wg_db_error *err) {
  wasi3_list_u8_t data = {(uint8_t *)(uintptr_t)bytes, len};
  warpgrid_shim_async_database_proxy_result_u64_db_error_t result;
  wg_task_await_subtask(warpgrid_shim_async_database_proxy_send(handle, data, &result));
  if (result.is_err) return db_fail(err, &result.val.err);
  *sent = (size_t)result.val.ok;
  return true;
}

bool wg_db_recv(uint64_t handle, uint32_t max_bytes, wg_db_bytes *got, wg_db_error *err) {
  warpgrid_shim_async_database_proxy_result_list_u8_db_error_t result;
  wg_task_await_subtask(warpgrid_shim_async_database_proxy_recv(handle, max_bytes, &result));
  if (result.is_err) return db_fail(err, &result.val.err);
  /* An empty list has no memory behind its pointer. */
  *got = (wg_db_bytes){result.val.ok.len == 0 ? NULL : result.val.ok.ptr, result.val.ok.len};
  return true;
}

bool wg_db_close(uint64_t handle, wg_db_error *err) {
  warpgrid_shim_async_database_proxy_result_void_db_error_t result;
  wg_task_await_subtask(warpgrid_shim_async_database_proxy_close(handle, &result));
  return !result.is_err || db_fail(err, &result.val.err);
}
