/* SPDX-License-Identifier: Apache-2.0 */
/** @file script_server.h  A server that says fixed bytes, whatever it is told: other protocols, and
 *  PostgreSQL as nobody should speak it. One connection after another, on a thread. */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct script_server {
  /* set before script_start(); borrowed */
  const void *first; /* said to whoever connects; NULL: nothing */
  size_t first_len;
  const void *answer; /* said once the client has said something; NULL: nothing */
  size_t answer_len;
  unsigned times; /* the answer is said so often; 0: once */
  bool ends; /* closes then; else it waits until the client does */
  /* to be read */
  uint16_t port;
  _Atomic unsigned open; /* connections that it has not closed yet */
  struct script_impl *impl;
} script_server;

void script_start(script_server *s);
void script_stop(script_server *s);
