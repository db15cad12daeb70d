/* SPDX-License-Identifier: Apache-2.0 */
/* Several connections at once in WASI 0.2: the connections as streams, and one poll for all. */
#include "db_loop.h"
#include <stdlib.h>
#include <warpgrid/sdk/clock.h>
#include <world.h>

enum { MAX_LANES = 1000 };

typedef struct ends {
  wasi_io_streams_borrow_input_stream_t in;
  wasi_io_streams_borrow_output_stream_t out;
} ends;

static void send_query(lane *l, const ends *e) {
  wasi_io_streams_stream_error_t err;
  uint64_t room;
  wasi2_list_u8_t bytes = {(uint8_t *)(uintptr_t)query_bytes, query_len};
  if (!wasi_io_streams_method_output_stream_check_write(e->out, &room, &err) || room < query_len ||
      !wasi_io_streams_method_output_stream_write(e->out, &bytes, &err) ||
      !wasi_io_streams_method_output_stream_flush(e->out, &err))
    fail("send", "the stream does not take a query");
  l->sent_at = wg_now_ns();
}

void loop_lanes(lane *lanes, size_t count, size_t warmup, size_t n, timing *t) {
  static ends all[MAX_LANES];
  static wasi_io_poll_borrow_pollable_t ready[MAX_LANES];
  if (count > MAX_LANES) fail("usage", "too many connections");
  for (size_t i = 0; i < count; i++) {
    warpgrid_shim_database_proxy_tuple2_own_input_stream_own_output_stream_t both;
    warpgrid_shim_database_proxy_db_error_t err;
    if (!warpgrid_shim_database_proxy_streams(lanes[i].handle, &both, &err))
      fail("streams", "refused");
    all[i].in = wasi_io_streams_borrow_input_stream(both.f0);
    all[i].out = wasi_io_streams_borrow_output_stream(both.f1);
    ready[i] =
        wasi_io_poll_borrow_pollable(wasi_io_streams_method_input_stream_subscribe(all[i].in));
  }
  size_t started = 0, done = 0;
  for (; started < count; started++) send_query(&lanes[started], &all[started]);
  if (warmup == 0) timing_begin(t);
  while (done < warmup + n) {
    wasi_io_poll_list_borrow_pollable_t list = {ready, count};
    wasi2_list_u32_t which;
    wasi_io_poll_poll(&list, &which);
    for (size_t k = 0; k < which.len; k++) {
      size_t i = which.ptr[k];
      wasi2_list_u8_t got;
      wasi_io_streams_stream_error_t err;
      if (!wasi_io_streams_method_input_stream_read(all[i].in, 65536, &got, &err))
        fail("recv", "the stream ended");
      int complete = lane_take(&lanes[i], got.ptr, got.len);
      wasi2_list_u8_free(&got);
      if (!complete) continue;
      if (done >= warmup) timing_add(t, wg_now_ns() - lanes[i].sent_at);
      if (++done == warmup) timing_begin(t);
      if (started++ < warmup + n) send_query(&lanes[i], &all[i]);
    }
    wasi2_list_u32_free(&which);
  }
}
