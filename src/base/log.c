/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include "base/text.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* A line lives on the stack and goes out in one write(2), so lines of several threads never mix.
 * Longer ones are cut at a pair's end or inside a string, and say so. */
enum { LOG_LINE_MAX = 12 * 1024, LOG_TAIL = 64 };

static wg_log_level log_level = WG_LOG_INFO;
static wg_log_format log_format = WG_LOG_LOGFMT;
static int log_fd = 2;
static void (*log_sink)(void *user, const char *line, size_t len);
static void *log_sink_user;

void wg_log_setup(wg_log_level level, wg_log_format format, int fd) {
  log_level = level;
  log_format = format;
  log_fd = fd;
}

bool wg_log_enabled(wg_log_level level) { return level <= log_level; }

void wg__log_sink(void (*sink)(void *user, const char *line, size_t len), void *user) {
  log_sink = sink;
  log_sink_user = user;
}

typedef struct log_line {
  char text[LOG_LINE_MAX];
  size_t len;
  bool cut;
} log_line;

static bool line_room(log_line *l, size_t n) {
  if (l->cut || n > sizeof l->text - LOG_TAIL - l->len) l->cut = true;
  return !l->cut;
}

static void line_raw(log_line *l, const char *p, size_t n) {
  if (!line_room(l, n)) return;
  memcpy(l->text + l->len, p, n);
  l->len += n;
}

static void line_str(log_line *l, const char *s) { line_raw(l, s, strlen(s)); }

static void line_fmt(log_line *l, const char *fmt, ...) WG_PRINTF(2, 3);
static void line_fmt(log_line *l, const char *fmt, ...) {
  char text[128];
  va_list ap;
  va_start(ap, fmt);
  int n = vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  if (n > 0) line_raw(l, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}

/** JSON's escapes serve both formats. */
static void line_escaped(log_line *l, const char *s, size_t n) {
  char out[8];
  size_t len;
  for (size_t i = 0; i < n && !l->cut;) {
    i += wg_json_escape(s + i, n - i, out, &len);
    line_raw(l, out, len);
  }
}

static void line_quoted(log_line *l, const char *s, size_t n) {
  line_str(l, "\"");
  if (l->cut) return; /* no room for any of it: the pair is left out */
  line_escaped(l, s, n);
  line_str(l, "\"");
  if (l->cut) { /* the reserved tail has room for this */
    memcpy(l->text + l->len, "...\"", 4);
    l->len += 4;
  }
}

static bool logfmt_plain(const char *s, size_t n) {
  for (size_t i = 0; i < n; i++) {
    unsigned char c = (unsigned char)s[i];
    if (c <= ' ' || c == '"' || c == '=' || c == '\\' || c >= 0x7F) return false;
  }
  return n > 0;
}

static void line_text(log_line *l, const char *s, size_t n) {
  if (log_format == WG_LOG_LOGFMT && n <= LOG_LINE_MAX - LOG_TAIL - l->len && logfmt_plain(s, n))
    line_raw(l, s, n);
  else if (line_room(l, 2))
    line_quoted(l, s, n);
}

static void line_key(log_line *l, const char *key) {
  if (log_format == WG_LOG_JSON) {
    line_str(l, ",\"");
    line_str(l, key);
    line_str(l, "\":");
  } else {
    line_str(l, " ");
    line_str(l, key);
    line_str(l, "=");
  }
}

static void line_pair(log_line *l, const wg_kv *kv) {
  size_t before = l->len;
  line_key(l, kv->key);
  if (l->cut) {
    l->len = before;
    return;
  }
  switch (kv->type) {
  case WG_KV_STR:
    if (kv->v.s)
      line_text(l, kv->v.s, strlen(kv->v.s));
    else
      line_str(l, log_format == WG_LOG_JSON ? "null" : "\"\"");
    break;
  case WG_KV_STRN: line_text(l, kv->v.strn.p ? kv->v.strn.p : "", kv->v.strn.n); break;
  case WG_KV_INT: line_fmt(l, "%" PRId64, kv->v.i); break;
  case WG_KV_UINT: line_fmt(l, "%" PRIu64, kv->v.u); break;
  case WG_KV_BOOL: line_str(l, kv->v.b ? "true" : "false"); break;
  case WG_KV_DOUBLE:
    if (isfinite(kv->v.d))
      line_fmt(l, "%.6g", kv->v.d);
    else
      line_str(l, "null");
    break;
  case WG_KV_SECRET: line_text(l, "***", 3); break;
  }
  /* A pair whose key or number did not fit is left out whole; a cut string stays, closed. */
  if (l->cut && l->text[l->len - 1] != '"') l->len = before;
}

static void line_out(log_line *l) {
  if (log_sink) {
    l->text[l->len] = '\0';
    log_sink(log_sink_user, l->text, l->len);
    return;
  }
  l->text[l->len] = '\n';
  const char *p = l->text;
  size_t left = l->len + 1;
  while (left) {
    ssize_t n = write(log_fd, p, left);
    if (n > 0) {
      p += n;
      left -= (size_t)n;
    } else if (n < 0 && errno == EAGAIN) {
      /* stderr shares its open file with whoever started us and may be non-blocking: wait a
       * moment, but never let a stuck reader of the log stop the service. */
      struct pollfd fd = {.fd = log_fd, .events = POLLOUT};
      if (poll(&fd, 1, 100) <= 0) return;
    } else if (!(n < 0 && errno == EINTR)) {
      return; /* nowhere left to complain */
    }
  }
}

void wg__log(const wg_log_ctx *ctx, wg_log_level level, const char *event, const wg_kv *kv,
             size_t n) {
  static const char *const names[] = {"error", "warn", "info", "debug"};
  if (!wg_log_enabled(level)) return;
  log_line l;
  l.len = 0;
  l.cut = false;
  struct timespec now;
  struct tm utc;
  char when[32];
  clock_gettime(CLOCK_REALTIME, &now);
  gmtime_r(&now.tv_sec, &utc);
  strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &utc);
  bool json = log_format == WG_LOG_JSON;
  line_fmt(&l, json ? "{\"time\":\"%s.%03ldZ\",\"level\":\"%s\"" : "time=%s.%03ldZ level=%s", when,
           now.tv_nsec / 1000000, names[level]);
  line_pair(&l, &WG_KV_S("event", event));
  if (ctx && ctx->app) line_pair(&l, &WG_KV_S("app", ctx->app));
  if (ctx && ctx->worker) line_pair(&l, &WG_KV_U("worker", ctx->worker));
  if (ctx && ctx->request) line_pair(&l, &WG_KV_U("request", ctx->request));
  for (size_t i = 0; i < n && !l.cut; i++) line_pair(&l, &kv[i]);
  if (l.cut) {
    const char *mark = json ? ",\"cut\":true" : " cut=true";
    memcpy(l.text + l.len, mark, strlen(mark));
    l.len += strlen(mark);
  }
  if (json) l.text[l.len++] = '}';
  line_out(&l);
}

bool wg_log_allow(wg_log_limit *l, uint32_t burst, uint64_t now_ms, uint32_t *suppressed) {
  uint64_t second = now_ms / 1000 + 1; /* 0 stands for "never" */
  if (second != l->second) {
    l->second = second;
    l->passed = 0;
  }
  if (l->passed >= burst) {
    if (l->suppressed < UINT32_MAX) l->suppressed++;
    return false;
  }
  l->passed++;
  *suppressed = l->suppressed;
  l->suppressed = 0;
  return true;
}
