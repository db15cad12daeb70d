/* SPDX-License-Identifier: Apache-2.0 */
/* Several connections at once in WASI 0.3: a call in flight on each, and one set to wait on. */
#include "../../sdk/c/src/task.h"
#include "db_loop.h"
#include <stdlib.h>
#include <warpgrid/sdk/clock.h>

typedef struct call {
  warpgrid_shim_async_database_proxy_result_list_u8_db_error_t got;
  uint32_t subtask; /* 0: none is in flight */
} call;

/* Takes what recv brought. @return 1 when the answer is complete */
static int take(lane *l, call *c) {
  if (c->got.is_err || c->got.val.ok.len == 0) fail("recv", "the connection ended");
  int complete = lane_take(l, c->got.val.ok.ptr, c->got.val.ok.len);
  free(c->got.val.ok.ptr);
  return complete;
}

static void send_query(lane *l) {
  warpgrid_shim_async_database_proxy_result_u64_db_error_t sent;
  wasi3_list_u8_t bytes = {(uint8_t *)(uintptr_t)query_bytes, query_len};
  wg_task_await_subtask(warpgrid_shim_async_database_proxy_send(l->handle, bytes, &sent));
  if (sent.is_err || sent.val.ok != query_len) fail("send", "the connection does not take a query");
  l->sent_at = wg_now_ns();
}

/* Calls recv until it has to wait or the answer is complete. @return 1 when it is complete */
static int receive(wg_task *task, lane *l, call *c) {
  for (;;) {
    wasi3_subtask_status_t status =
        warpgrid_shim_async_database_proxy_recv(l->handle, 65536, &c->got);
    if (WASI3_SUBTASK_STATE(status) != WASI3_SUBTASK_RETURNED) {
      c->subtask = WASI3_SUBTASK_HANDLE(status);
      wg_task_join(task, c->subtask);
      return 0;
    }
    if (take(l, c)) return 1;
  }
}

void loop_lanes(lane *lanes, size_t count, size_t warmup, size_t n, timing *t) {
  wg_task *task = wg_task_current();
  call *calls = calloc(count, sizeof *calls);
  if (calls == NULL) fail("memory", "none left");
  size_t started = 0, done = 0, total = warmup + n;
  if (warmup == 0) timing_begin(t);
  /* A lane goes round until it has to wait, then the next one; events bring them back. */
  size_t next = 0;
  while (done < total) {
    lane *l;
    call *c;
    int complete = 0;
    if (next < count && started < total) {
      l = &lanes[next];
      c = &calls[next++];
      started++;
      send_query(l);
      complete = receive(task, l, c);
    } else {
      wasi3_event_t event = wg_task_wait(task);
      size_t i = 0;
      while (i < count && calls[i].subtask != event.waitable) i++;
      if (i == count || event.code < WASI3_SUBTASK_RETURNED) continue;
      l = &lanes[i];
      c = &calls[i];
      wg_task_leave(c->subtask);
      wasi3_subtask_drop(c->subtask);
      c->subtask = 0;
      complete = take(l, c) || receive(task, l, c);
    }
    while (complete) {
      if (done >= warmup) timing_add(t, wg_now_ns() - l->sent_at);
      if (++done == warmup) timing_begin(t);
      if (started == total) break;
      started++;
      send_query(l);
      complete = receive(task, l, c);
    }
  }
  free(calls);
}
