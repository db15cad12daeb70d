/* SPDX-License-Identifier: Apache-2.0 */
#include "db/wire/postgres.h"
#include <string.h>

/* Both streams are rows of messages: type byte, length (4 bytes, counts itself), body.
 *
 *   at a boundary --type--> in the header --4 bytes of length--> in the body --its last byte--+
 *         ^------------------------------------------------------------------------------------+
 *
 * What the walk counts (section 55.2): each Query, FunctionCall and Sync is answered by one
 * ReadyForQuery. The session is idle when none is owed, no extended query waits for its Sync, and
 * both streams stand at a boundary. Where the count can go wrong it must err towards "not idle":
 * a session that is closed without need costs a log-in, one that is reused in the middle of an
 * answer hands a guest another guest's rows. */

static bool at_boundary(const wg_wire_walk *w) { return w->have == 0 && w->left == 0; }

static wg_wire_step bad_length(const char *who, const wg_wire_walk *w, wg_error *err) {
  wg_error_set(err, WG_PROTOCOL, 0,
               "postgres: the %s announced a message 0x%02x of %u bytes, outside 4..%d", who,
               w->type, w->length, PG_MESSAGE_MAX);
  return WG_WIRE_ERROR;
}

/** Takes header bytes; true when the header is complete. The type byte must be in already. */
static bool walk_header(wg_wire_walk *w, const uint8_t *p, size_t n, size_t *i) {
  while (w->have < 5 && *i < n) {
    w->length = w->length << 8 | p[(*i)++];
    w->have++;
  }
  return w->have == 5;
}

static void walk_begin(wg_wire_walk *w, uint8_t type) {
  w->type = type;
  w->length = 0;
  w->have = 1;
  w->body = false;
}

/** @param sync  true: the answer ends an extended query */
static void owe(wg_wire_track *t, bool sync) {
  if (t->pending < 64) {
    uint64_t bit = (uint64_t)1 << t->pending;
    t->kinds = sync ? t->kinds | bit : t->kinds & ~bit;
  } /* beyond, the kind is taken for "simple": see on_copy_in() */
  if (t->pending == UINT32_MAX)
    t->tainted = true;
  else
    t->pending++;
  t->open = false;
}

static void paid(wg_wire_track *t) {
  if (t->pending == 0) {
    t->tainted = true; /* an answer to nothing that we saw */
    return;
  }
  t->pending--;
  t->kinds >>= 1;
}

static void on_client_message(wg_wire_track *t) {
  switch (t->client.type) {
  case 'Q':
  case 'F': owe(t, false); break;
  case 'S': owe(t, true); break;
  case 'P':
  case 'B':
  case 'D':
  case 'E':
  case 'C': t->open = true; break;
  case 'c':
  case 'f': t->copying = false; break;
  case 'H': /* Flush */
  case 'd': break;
  default: t->tainted = true; break; /* let the server say what it thinks of it */
  }
}

wg_wire_step pg_track_client(wg_wire_track *t, const uint8_t *p, size_t n, size_t *pass,
                             wg_error *err) {
  wg_wire_walk *w = &t->client;
  *pass = n;
  for (size_t i = 0; i < n;) {
    if (w->left) {
      size_t skip = n - i < w->left ? n - i : (size_t)w->left;
      w->left -= skip;
      i += skip;
      continue;
    }
    if (w->have == 0) {
      /* Terminate ends the guest's session, not the server's. Its type alone decides, as the rest
       * may come later. */
      if (p[i] == 'X') {
        t->ended = true;
        *pass = i;
        return WG_WIRE_OK;
      }
      walk_begin(w, p[i++]);
    }
    if (!walk_header(w, p, n, &i)) break;
    if (w->length < 4 || w->length > PG_MESSAGE_MAX) return bad_length("guest", w, err);
    w->have = 0;
    w->left = w->length - 4;
    on_client_message(t);
  }
  return WG_WIRE_OK;
}

/** CopyInResponse. A Sync that the guest sent behind the Execute of this COPY is read in copy mode,
 *  where the server ignores it (section 55.2.6): no ReadyForQuery will come for it. */
static void on_copy_in(wg_wire_track *t) {
  t->copying = true;
  if (t->pending == 0) {
    if (!t->open) t->tainted = true; /* nobody asked for one */
    return; /* extended, and its Sync is still to come */
  }
  if (!(t->kinds & 1)) return; /* a simple COPY: its answer comes at the end */
  if (t->pending > 1)
    t->tainted = true; /* how many of them are ignored cannot be told from here */
  else
    paid(t);
  t->open = true;
}

static wg_wire_step on_server_message_begin(wg_wire_track *t, pg_server *s, wg_error *err) {
  switch (t->server.type) {
  case 'C':
  case 'E': t->copying = false; break;
  case 'Z':
    if (t->server.left == 1) break;
    wg_error_set(err, WG_PROTOCOL, 0, "postgres: ReadyForQuery of %u bytes, not 5",
                 t->server.length);
    return WG_WIRE_ERROR;
  case 'G': on_copy_in(t); break;
  case 'S':
    wg_buf_clear(&s->capture);
    if (t->server.left > PG_PARAM_BYTES_MAX) t->tainted = true;
    break;
  case 'K':
    wg_buf_clear(&s->capture);
    t->tainted = true;
    break;
  case 'W': /* CopyBothResponse: replication */
  case 'R':
  case 'v': t->tainted = true; break;
  default: break;
  }
  return WG_WIRE_OK;
}

/** A guest's own log-in is what BackendKeyData ends; the pool's is over when a guest comes. */
static bool relays_key(const wg_wire_track *t, const pg_server *s) {
  return t->server.type == 'K' && t->server.length == 12 && s->state <= PG_ASKED &&
         s->base.told_key == 0;
}

static void on_key(pg_server *s) {
  wg_reader r = wg_reader_of(wg_buf_head(&s->capture), wg_buf_len(&s->capture));
  uint32_t pid = wg_take_u32(&r), key = wg_take_u32(&r);
  if (r.failed) return; /* no memory: its guest cannot cancel */
  s->pid = pid;
  s->key = key;
  s->base.told_key = (uint64_t)pid << 32 | key;
}

static wg_wire_step on_server_message_end(wg_wire_track *t, pg_server *s, wg_error *err) {
  switch (t->server.type) {
  case 'Z':
    t->txn = t->server.first;
    if (t->txn != 'I' && t->txn != 'T' && t->txn != 'E') {
      wg_error_set(err, WG_PROTOCOL, 0, "postgres: transaction status 0x%02x", t->txn);
      return WG_WIRE_ERROR;
    }
    paid(t);
    break;
  case 'S':
    if (wg_buf_len(&s->capture) == 0 ||
        !pg_param_take(s, wg_reader_of(wg_buf_head(&s->capture), wg_buf_len(&s->capture))))
      t->tainted = true; /* what this session would tell the next guest is no longer sure */
    break;
  case 'K':
    if (relays_key(t, s) && wg_buf_len(&s->capture)) on_key(s);
    break;
  default: break;
  }
  return WG_WIRE_OK;
}

wg_wire_step pg_track_server(wg_wire_track *t, wg_wire_server *base, const uint8_t *p, size_t n,
                             wg_error *err) {
  pg_server *s = (pg_server *)base;
  wg_wire_walk *w = &t->server;
  for (size_t i = 0; i < n;) {
    if (w->left) {
      size_t part = n - i < w->left ? n - i : (size_t)w->left;
      if (!w->body) {
        w->first = p[i];
        w->body = true;
      }
      if ((w->type == 'S' && !t->tainted) || relays_key(t, s)) wg_buf_put(&s->capture, p + i, part);
      w->left -= part;
      i += part;
    } else {
      if (w->have == 0) walk_begin(w, p[i++]);
      if (!walk_header(w, p, n, &i)) break;
      if (w->length < 4 || w->length > PG_MESSAGE_MAX) return bad_length("server", w, err);
      w->have = 0;
      w->left = w->length - 4;
      if (on_server_message_begin(t, s, err) != WG_WIRE_OK) return WG_WIRE_ERROR;
    }
    if (w->left == 0 && on_server_message_end(t, s, err) != WG_WIRE_OK) return WG_WIRE_ERROR;
  }
  return WG_WIRE_OK;
}

bool pg_idle(const wg_wire_track *t) {
  return !t->tainted && !t->open && t->pending == 0 && at_boundary(&t->client) &&
         at_boundary(&t->server);
}

bool pg_unfinished(const wg_wire_track *t) {
  return t->tainted || t->open || t->copying || !at_boundary(&t->client);
}

void pg_farewell(const wg_wire_track *t, const char *message, wg_buf *to_guest) {
  if (!at_boundary(&t->server)) return;
  if (t->server.type == 'E') return; /* the server has said why by itself */
  pg_put_fatal(to_guest, "08006", message, NULL);
}
