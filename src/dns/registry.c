/* SPDX-License-Identifier: Apache-2.0 */
/** @file registry.c
 *
 *    OFF --configure--> WAITING --interval--> ASKING --answer--> WAITING      any --no URL--> OFF
 *
 *  Whether it is up is told apart from that: the log hears of each change once. */
#include "dns/registry.h"

#include "base/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ETAG_MAX = 256 };

struct wg_registry {
  wg_deadlines *deadlines;
  const wg_registry_ops *ops;
  void *ctx;
  enum { REGISTRY_OFF, REGISTRY_WAITING, REGISTRY_ASKING } state;
  enum { HEALTH_UNKNOWN, HEALTH_UP, HEALTH_DOWN } health;
  wg_deadline next;
  bool began; /* the first GET is over */
  char *url;
  wg_secret authorization; /* "Bearer ..."; empty: none */
  uint32_t interval_ms, timeout_ms;
  char etag[ETAG_MAX];
  wg_registry_answer *answer;
};

static const char *shown_url(const wg_registry *r, char out[128]) {
  snprintf(out, 128, "%.*s", (int)strcspn(r->url, "?"), r->url); /* a query may hold a key */
  return out;
}

/* ---- states ---- */

static void wait_ms(wg_registry *r, uint32_t ms) {
  r->state = REGISTRY_WAITING;
  wg_deadline_stop(&r->next);
  wg_deadline_start(wg_deadlines_class(r->deadlines, ms), &r->next);
}

/** The end of a GET. */
static void registry_settle(wg_registry *r) {
  wait_ms(r, r->interval_ms);
  if (r->began) return;
  r->began = true;
  r->ops->first(r->ctx);
}

static void registry_down(wg_registry *r, const char *why) {
  char url[128];
  if (r->health != HEALTH_DOWN)
    wg_log(NULL, WG_LOG_WARN, "registry_down", WG_KV_S("url", shown_url(r, url)),
           WG_KV_S("error", why), WG_KV_U("names_kept", r->answer ? r->answer->count : 0));
  r->health = HEALTH_DOWN;
}

static void registry_up(wg_registry *r) {
  char url[128];
  if (r->health != HEALTH_UP)
    wg_log(NULL, WG_LOG_INFO, "registry_up", WG_KV_S("url", shown_url(r, url)),
           WG_KV_U("names", r->answer->count));
  r->health = HEALTH_UP;
}

static void on_next(wg_deadline *d) {
  wg_registry *r = WG_CONTAINER(d, wg_registry, next);
  wg_error err;
  const wg_registry_request request = {.url = r->url,
                                       .etag = r->answer ? r->etag : "",
                                       .authorization =
                                           r->authorization.len ? r->authorization.bytes : "",
                                       .timeout_ms = r->timeout_ms,
                                       .max_bytes = WG_REGISTRY_BYTES_MAX};
  r->state = REGISTRY_ASKING;
  if (r->ops->fetch(r->ctx, &request, &err) == WG_OK) return;
  registry_down(r, err.msg);
  registry_settle(r);
}

static void take(wg_registry *r, const char *etag, const void *body, size_t len) {
  wg_registry_answer *fresh;
  wg_error err;
  if (wg_registry_parse(body, len, &fresh, &err) != WG_OK) {
    registry_down(r, err.msg);
    return;
  }
  r->etag[0] = '\0';
  if (strlen(etag) < sizeof r->etag) memcpy(r->etag, etag, strlen(etag) + 1);
  bool same = wg_registry_answer_equal(r->answer, fresh);
  wg_registry_answer *old = same ? fresh : r->answer;
  if (!same) r->answer = fresh;
  wg_registry_answer_free(old);
  registry_up(r);
  if (same) return;
  wg_log(NULL, WG_LOG_DEBUG, "registry_changed", WG_KV_U("names", r->answer->count));
  r->ops->changed(r->ctx);
}

void wg_registry_fetched(wg_registry *r, uint32_t status, const char *etag, const void *body,
                         size_t len, const char *error) {
  char text[64];
  WG_ASSERT(r->state == REGISTRY_ASKING);
  switch (status) {
  case 200: take(r, etag, body, len); break;
  case 304:
    if (r->answer)
      registry_up(r);
    else
      registry_down(r, "HTTP status 304, but there is nothing that it could be the same as");
    break;
  case 0: registry_down(r, error ? error : "no answer"); break;
  default:
    snprintf(text, sizeof text, "HTTP status %" PRIu32, status);
    registry_down(r, text);
    break;
  }
  registry_settle(r);
}

/* ---- life ---- */

wg_code wg_registry_new(wg_deadlines *deadlines, const wg_registry_ops *ops, void *ctx,
                        wg_registry **out, wg_error *err) {
  wg_registry *r = calloc(1, sizeof *r);
  if (!r) return wg_error_set(err, WG_NOMEM, 0, "registry: out of memory");
  r->deadlines = deadlines;
  r->ops = ops;
  r->ctx = ctx;
  wg_deadline_init(&r->next, on_next);
  *out = r;
  return WG_OK;
}

static void stop(wg_registry *r) {
  wg_deadline_stop(&r->next);
  if (r->state == REGISTRY_ASKING) r->ops->cancel(r->ctx);
  r->state = REGISTRY_OFF;
}

void wg_registry_free(wg_registry *r) {
  if (!r) return;
  stop(r);
  free(r->url);
  wg_secret_release(&r->authorization);
  wg_registry_answer_free(r->answer);
  free(r);
}

/** "Bearer TOKEN". */
static wg_code authorization_of(const wg_config *c, wg_secret *out, wg_error *err) {
  static const char scheme[] = "Bearer ";
  const wg_secret *token = &c->registry_token;
  *out = (wg_secret){0};
  if (token->len == 0) return WG_OK;
  size_t n = sizeof scheme - 1;
  char *text = malloc(n + token->len);
  if (!text) return wg_error_set(err, WG_NOMEM, 0, "registry: out of memory");
  memcpy(text, scheme, n);
  memcpy(text + n, token->bytes, token->len);
  wg_code code = wg_secret_set(out, text, n + token->len, err);
  wg_wipe(text, n + token->len);
  free(text);
  return code;
}

static bool same_secret(const wg_secret *a, const wg_secret *b) {
  return a->len == b->len && (a->len == 0 || memcmp(a->bytes, b->bytes, a->len) == 0);
}

wg_code wg_registry_configure(wg_registry *r, const wg_config *c, wg_error *err) {
  if (!c->registry_url) {
    stop(r);
    free(r->url);
    r->url = NULL;
    wg_registry_answer_free(r->answer);
    r->answer = NULL;
    r->health = HEALTH_UNKNOWN;
    return WG_OK;
  }
  wg_secret authorization;
  wg_code code = authorization_of(c, &authorization, err);
  if (code != WG_OK) return code;
  bool same_url = r->url && strcmp(r->url, c->registry_url) == 0;
  if (same_url && r->interval_ms == c->registry_interval_ms &&
      r->timeout_ms == c->registry_timeout_ms && same_secret(&r->authorization, &authorization)) {
    wg_secret_release(&authorization);
    return WG_OK;
  }
  char *url = strdup(c->registry_url);
  if (!url) {
    wg_secret_release(&authorization);
    return wg_error_set(err, WG_NOMEM, 0, "registry: out of memory");
  }
  stop(r);
  free(r->url);
  wg_secret_release(&r->authorization);
  r->url = url;
  r->authorization = authorization;
  r->interval_ms = c->registry_interval_ms;
  r->timeout_ms = c->registry_timeout_ms;
  if (!same_url) {
    r->etag[0] = '\0';
    r->health = HEALTH_UNKNOWN;
  }
  wait_ms(r, 0);
  return WG_OK;
}

const wg_registry_answer *wg_registry_last(const wg_registry *r) { return r->answer; }
