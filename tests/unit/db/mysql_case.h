/* SPDX-License-Identifier: Apache-2.0 */
/** @file mysql_case.h  A MySQL server by script, for tests of the codec's side towards it. */
#pragma once
#include "db/wire/mysql.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const wg_wire_ops *const my = &wg_wire_mysql;

enum {
  SERVER_CAPS = MY_OFFERED | MY_CAP_SSL | MY_CAP_COMPRESS | 1 << 7 /* LOCAL_FILES */,
  USUAL = MY_CAP_LONG_FLAG | MY_CAP_MULTI_STATEMENTS | MY_CAP_MULTI_RESULTS | MY_CAP_DEPRECATE_EOF
};

static const my_hello hello = {.version = "5.5.5-10.11.4-MariaDB",
                               .caps = (uint32_t)SERVER_CAPS,
                               .thread = 7,
                               .status = MY_STATUS_AUTOCOMMIT,
                               .charset = 45,
                               .plugin = MY_PLUGIN_NATIVE,
                               .scramble = "abcdefghijklmnopqrs"};

static inline void put_packet(wg_buf *b, uint8_t seq, const void *p, size_t n) {
  size_t at = my_begin(b, seq);
  wg_buf_put(b, p, n);
  my_end(b, at);
}

typedef struct login_case {
  wg_secret password;
  wg_wire_login login;
  wg_wire_server *s;
  wg_buf script, in, out;
  size_t step; /* bytes that come at a time */
  wg_error err;
} login_case;

static inline void login_begin(login_case *c, const char *password, size_t step) {
  memset(c, 0, sizeof *c);
  c->password = (wg_secret){(char *)password, strlen(password)};
  c->login = (wg_wire_login){.user = "app",
                             .database = "shop",
                             .password = &c->password,
                             .shape = (uint64_t)45 << 32 | USUAL};
  c->s = my->server_new(&c->login);
  c->step = step;
  wg_buf_init(&c->script, 1 << 20);
  wg_buf_init(&c->in, WG_WIRE_IN_MAX);
  wg_buf_init(&c->out, WG_WIRE_OUT_MAX);
}

static inline void login_end(login_case *c) {
  my->server_free(c->s);
  wg_buf_release(&c->script);
  wg_buf_release(&c->in);
  wg_buf_release(&c->out);
}

/** Feeds what was scripted, `step` bytes at a time. */
static inline wg_wire_step feed(login_case *c) {
  wg_wire_step step = my->login(c->s, &c->in, &c->out, &c->err);
  while (step == WG_WIRE_MORE && wg_buf_len(&c->script)) {
    size_t n = wg_buf_len(&c->script) < c->step ? wg_buf_len(&c->script) : c->step;
    wg_buf_put(&c->in, wg_buf_head(&c->script), n);
    wg_buf_consume(&c->script, n);
    step = my->login(c->s, &c->in, &c->out, &c->err);
  }
  return step;
}

static inline void script_names(wg_buf *b, bool deprecate_eof) {
  uint8_t seq = 1;
  put_packet(b, seq++, "\2", 1);
  put_packet(b, seq++, "\3def\0\0\0\1a\0\x0c\x2d\0\0\0\0\0\xfd\0\0\0\0\0", 22);
  put_packet(b, seq++, "\3def\0\0\0\1b\0\x0c\x2d\0\0\0\0\0\xfd\0\0\0\0\0", 22);
  if (!deprecate_eof) put_packet(b, seq++, "\xfe\0\0\2\0", 5);
  put_packet(b, seq++, "\7utf8mb4\x12utf8mb4_general_ci", 27);
  if (deprecate_eof)
    put_packet(b, seq, "\xfe\0\0\2\0\0\0", 7);
  else
    put_packet(b, seq, "\xfe\0\0\2\0", 5);
}

static inline void script_ok(wg_buf *b, uint8_t seq) {
  my_put_ok(b, seq, MY_STATUS_AUTOCOMMIT);
  script_names(b, true);
}

static inline void script_switch(wg_buf *b, uint8_t seq, const char *plugin, const char *data,
                                 size_t n) {
  size_t at = my_begin(b, seq);
  wg_buf_put_u8(b, 0xFE);
  wg_buf_put_cstr(b, plugin);
  wg_buf_put(b, data, n);
  my_end(b, at);
}

/** The next packet that the client wrote. */
static inline wg_reader wrote(login_case *c, uint8_t seq) {
  wg_reader body;
  uint8_t got;
  assert_int_equal(my_next(&c->out, &got, &body, &c->err), WG_WIRE_OK);
  assert_int_equal(got, seq);
  return body;
}
