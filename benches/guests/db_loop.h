/* SPDX-License-Identifier: Apache-2.0 */
/** @file db_loop.h  Between db_loop.c and the part that differs between the WASI generations. */
#pragma once
#include <stddef.h>
#include <stdint.h>

/** Times of single operations and of the whole; begun after the warm-up. */
typedef struct timing {
  uint64_t *samples;
  size_t count, cap;
  uint64_t wall;
} timing;

void timing_begin(timing *t);
void timing_add(timing *t, uint64_t ns);

/** A connection with a statement prepared on it, below the client library. */
typedef struct lane {
  uint64_t handle;
  uint64_t sent_at;
  uint8_t frame[5]; /* header of the server's message that is being read */
  size_t frame_len;
  size_t skip; /* bytes of it that are still to come */
} lane;

/** Bind, Describe, Execute, Sync of the prepared statement. */
extern const uint8_t *query_bytes;
extern size_t query_len;

/** Takes what the server sent. @return 1 when the answer is complete, 0 when more must come; ends
 *  the program when it is an error */
int lane_take(lane *l, const uint8_t *p, size_t len);

/** Runs warmup + n queries over all lanes, one in flight on each; begins `t` after the warm-up. */
void loop_lanes(lane *lanes, size_t count, size_t warmup, size_t n, timing *t);

_Noreturn void fail(const char *what, const char *why);
