/* SPDX-License-Identifier: Apache-2.0 */
#include "db/wire/redis.h"
#include <string.h>
#include <strings.h>

/* From the guest:
 *
 *   BETWEEN --'*'--> COUNT --n <= 0--> BETWEEN         (no answer)
 *                      \--n--> LENGTH --'$', length--> BODY --last of n--> BETWEEN  (one answer)
 *                                ^----------------------+
 *   BETWEEN --anything else--> INLINE --line break--> BETWEEN  (one answer, unless it was empty)
 *
 * From the server: a value is a line, or a length and as many bytes, or a count and as many values; the
 * counts still open are a stack. Where either walk meets what it does not know it is LOST: all passes,
 * and the connection is not used again. */

enum { C_BETWEEN, C_COUNT, C_LENGTH, C_BODY, C_INLINE, C_LOST };
enum { S_BETWEEN, S_LINE, S_LENGTH, S_BODY, S_COUNT, S_LOST };

enum { NUMBER_MORE, NUMBER_DONE, NUMBER_BAD };

static void number_begin(wg_redis_number *x) { memset(x, 0, sizeof *x); }

/** One byte of "123\r\n". */
static int number_byte(wg_redis_number *x, uint8_t c) {
  if (x->cr) return c == '\n' && x->digits ? NUMBER_DONE : NUMBER_BAD;
  if (c == '\r') {
    x->cr = true;
    return NUMBER_MORE;
  }
  if (c == '-' && !x->minus && x->digits == 0) {
    x->minus = true;
    return NUMBER_MORE;
  }
  if (c < '0' || c > '9' || x->digits == 18) return NUMBER_BAD;
  x->value = x->value * 10 + (uint64_t)(c - '0');
  x->digits++;
  return NUMBER_MORE;
}

/* ---- commands ---- */

/** What a command does to a session. */
enum { LISTENS = 1, STAYS = 2, CLIENT = 4, HELLO = 8, HARMLESS = 16, BLOCKS = 32, SCRIPT = 64 };

typedef struct known_word {
  uint8_t len;
  uint8_t does;
  char text[13];
} known_word;

#define WORD(text, does) {sizeof text - 1, does, text}

static const known_word commands[] = {
    WORD("subscribe", LISTENS),
    WORD("psubscribe", LISTENS),
    WORD("ssubscribe", LISTENS),
    WORD("unsubscribe", LISTENS),
    WORD("punsubscribe", LISTENS),
    WORD("sunsubscribe", LISTENS),
    WORD("monitor", LISTENS),
    WORD("sync", LISTENS),
    WORD("psync", LISTENS),
    WORD("replconf", LISTENS),
    /* what a reset would not undo, or would have to know */
    WORD("auth", STAYS),
    WORD("reset", STAYS),
    WORD("debug", STAYS),
    WORD("quit", STAYS),
    WORD("client", CLIENT),
    WORD("hello", HELLO),
    WORD("script", SCRIPT),
    /* may wait for others, as long as they were told */
    WORD("blpop", BLOCKS),
    WORD("brpop", BLOCKS),
    WORD("brpoplpush", BLOCKS),
    WORD("blmove", BLOCKS),
    WORD("blmpop", BLOCKS),
    WORD("bzpopmin", BLOCKS),
    WORD("bzpopmax", BLOCKS),
    WORD("bzmpop", BLOCKS),
    WORD("xread", BLOCKS),
    WORD("xreadgroup", BLOCKS),
    WORD("wait", BLOCKS),
    WORD("waitaof", BLOCKS),
};

static const known_word script_commands[] = {WORD("debug", STAYS)};

static const known_word client_commands[] = {
    WORD("setname", HARMLESS),      WORD("getname", HARMLESS), WORD("setinfo", HARMLESS),
    WORD("id", HARMLESS),           WORD("info", HARMLESS),    WORD("list", HARMLESS),
    WORD("tracking", HARMLESS),     WORD("caching", HARMLESS), WORD("getredir", HARMLESS),
    WORD("trackinginfo", HARMLESS), WORD("reply", STAYS), /* its own answer may not come */
};

/** @return what the table says of a word; 0: nothing */
static unsigned word_does(const void *word, size_t len, const known_word *all, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (all[i].len == len && strncasecmp(word, all[i].text, len) == 0) return all[i].does;
  return 0;
}

static void owe(wg_wire_track *t) {
  if (t->pending == UINT32_MAX)
    t->tainted = true;
  else
    t->pending++;
}

/** Keeps what may be a word that matters. */
static void word_bytes(wg_redis_track *r, const uint8_t *p, size_t n) {
  if (r->arg > 1) return;
  size_t have = r->word_len[r->arg], room = sizeof r->word[0] - have;
  if (have > sizeof r->word[0]) return;
  memcpy(r->word[r->arg] + have, p, n < room ? n : room);
  r->word_len[r->arg] = (uint8_t)(n <= room ? have + n : sizeof r->word[0] + 1); /* too long */
}

/** The command that was just counted stays with the connection, unless it is refused: drivers ask for
 *  what most servers do not have. */
static void doubt(wg_wire_track *t) {
  if (t->pending > 64)
    t->tainted = true;
  else
    t->kinds |= (uint64_t)1 << (t->pending - 1);
}

/** A command is whole: what it does to the session. */
static void on_command(wg_wire_track *t) {
  wg_redis_track *r = &t->redis;
  unsigned does = word_does(r->word[0], r->word_len[0], commands, WG_COUNT(commands));
  if (does & LISTENS) t->listens = true;
  if (does & (LISTENS | STAYS)) t->tainted = true;
  unsigned client = 0, script = 0;
  if (does & CLIENT)
    client = word_does(r->word[1], r->word_len[1], client_commands, WG_COUNT(client_commands));
  if (does & SCRIPT)
    script = word_does(r->word[1], r->word_len[1], script_commands, WG_COUNT(script_commands));
  if ((client | script) & STAYS) t->tainted = true;
  if ((does & HELLO) && r->args > 2) t->tainted = true; /* perhaps with AUTH */
  owe(t);
  if ((does & CLIENT) && !client) doubt(t);
  if (does & BLOCKS) t->patient = t->pending;
}

static void client_enter(wg_wire_track *t, uint8_t part) {
  wg_redis_track *r = &t->redis;
  r->client = part;
  t->client.have = part != C_BETWEEN;
  if (part == C_COUNT || part == C_LENGTH || part == C_INLINE) number_begin(&r->client_number);
  if (part == C_LENGTH) r->dollar = false;
  if (part == C_LOST) t->tainted = true;
}

static void command_begin(wg_wire_track *t, uint8_t first) {
  wg_redis_track *r = &t->redis;
  r->arg = 0;
  r->args = 0;
  r->word_len[0] = r->word_len[1] = 0;
  r->filled = false;
  client_enter(t, first == '*' ? C_COUNT : C_INLINE);
}

/** A word of an array is whole.  @return true: and with it the command */
static bool arg_end(wg_wire_track *t) {
  wg_redis_track *r = &t->redis;
  if (r->arg < 2) r->arg++;
  if (--r->args_left > 0) {
    client_enter(t, C_LENGTH);
    return false;
  }
  on_command(t);
  client_enter(t, C_BETWEEN);
  return true;
}

/** @return true: the line is at its end */
static bool inline_byte(wg_wire_track *t, uint8_t c) {
  wg_redis_track *r = &t->redis;
  if (c == '\n') {
    if (r->filled) {
      if (r->word_len[r->arg < 2 ? r->arg : 1]) r->args++;
      on_command(t);
    }
    client_enter(t, C_BETWEEN);
    return true;
  }
  if (r->client_number.cr) t->tainted = true; /* it was no line break, and parts words */
  r->client_number.cr = c == '\r';
  if (c == '\r') return false;
  if (c == ' ' || c == '\t') {
    if (r->arg < 2 && r->word_len[r->arg]) r->arg++, r->args++;
    return false;
  }
  r->filled = true;
  if (c < ' ' || c > '~' || c == '"' || c == '\'' || c == '\\') t->tainted = true; /* quoting */
  word_bytes(r, &c, 1);
  if (r->arg == 2) r->args = 3;
  return false;
}

/** Whether the name that is now whole ends the guest's session. Only a goodbye that nothing of was
 *  passed on can be withheld, and only where nothing stands in the way of using the connection again:
 *  else the server answers it, and closes. */
static bool is_goodbye(const wg_wire_track *t, bool begun_here) {
  return begun_here && !t->tainted && t->redis.arg == 0 && t->redis.word_len[0] == 4 &&
         strncasecmp(t->redis.word[0], "quit", 4) == 0;
}

static void part(wg_wire_track *t) {
  t->ended = t->redis.goodbye = true;
  client_enter(t, C_BETWEEN);
}

/** "*3\r\n" of at most four digits.  @return its bytes; 0: it is something else, or not all there */
static size_t short_number(const uint8_t *p, size_t n, uint8_t mark, size_t *value) {
  if (n < 4 || p[0] != mark) return 0;
  size_t i = 1;
  for (*value = 0; i < n && i < 5 && p[i] >= '0' && p[i] <= '9'; i++)
    *value = *value * 10 + (size_t)(p[i] - '0');
  return i > 1 && i + 1 < n && p[i] == '\r' && p[i + 1] == '\n' ? i + 2 : 0;
}

/** Most commands come whole, are small, and do nothing to the session.
 *  @return the bytes of one, which was counted; 0: it is to be walked over */
static size_t plain_command(wg_wire_track *t, const uint8_t *p, size_t n) {
  size_t count, len, at = short_number(p, n, '*', &count);
  if (at == 0 || count == 0) return 0;
  for (size_t i = 0; i < count; i++) {
    size_t head = short_number(p + at, n - at, '$', &len);
    if (head == 0 || n - at - head < len + 2) return 0;
    at += head;
    if (i == 0 && word_does(p + at, len, commands, WG_COUNT(commands))) return 0;
    at += len + 2;
  }
  owe(t);
  return at;
}

size_t rd_walk_client(wg_wire_track *t, const uint8_t *p, size_t n, size_t *pass) {
  wg_redis_track *r = &t->redis;
  bool begun_here = false;
  size_t begin = 0, i = 0;
  *pass = n;
  while (i < n) {
    switch (r->client) {
    case C_BETWEEN:
      if (!begun_here && (begin = plain_command(t, p + i, n - i)) > 0) return i + begin;
      begin = i;
      begun_here = true;
      command_begin(t, p[i]);
      if (p[i] == '*') i++;
      break;
    case C_COUNT: {
      int step;
      do step = number_byte(&r->client_number, p[i++]);
      while (step == NUMBER_MORE && i < n);
      if (step == NUMBER_BAD || r->client_number.value > INT32_MAX) client_enter(t, C_LOST);
      if (step != NUMBER_DONE) break;
      if (r->client_number.minus || r->client_number.value == 0) {
        client_enter(t, C_BETWEEN);
        return i;
      }
      r->args = r->args_left = (uint32_t)r->client_number.value;
      client_enter(t, C_LENGTH);
      break;
    }
    case C_LENGTH: {
      if (!r->dollar) {
        r->dollar = true;
        if (p[i++] != '$') client_enter(t, C_LOST);
        break;
      }
      int step;
      do step = number_byte(&r->client_number, p[i++]);
      while (step == NUMBER_MORE && i < n);
      if (step == NUMBER_BAD || r->client_number.minus) client_enter(t, C_LOST);
      if (step != NUMBER_DONE || r->client == C_LOST) break;
      t->client.left = r->client_number.value + 2; /* and the line break behind it */
      r->client = C_BODY;
      break;
    }
    case C_BODY: {
      size_t some = n - i < t->client.left ? n - i : (size_t)t->client.left;
      size_t of_word = t->client.left > 2 ? (size_t)(t->client.left - 2) : 0;
      word_bytes(r, p + i, some < of_word ? some : of_word);
      t->client.left -= some;
      i += some;
      if (t->client.left <= 2 && is_goodbye(t, begun_here)) {
        *pass = begin;
        t->client.left = 0;
        part(t);
        return n;
      }
      if (t->client.left == 0 && arg_end(t)) return i;
      break;
    }
    case C_INLINE:
      if (p[i] == '\n' && r->args == 0 && is_goodbye(t, begun_here)) {
        *pass = begin;
        part(t);
        return n;
      }
      if (inline_byte(t, p[i++])) return i;
      break;
    default: return n;
    }
  }
  return i;
}

wg_wire_step rd_track_client(wg_wire_track *t, const uint8_t *p, size_t n, size_t *pass,
                             wg_error *err) {
  (void)err;
  *pass = n;
  for (size_t at = 0; at < n && !t->ended;) {
    size_t some;
    size_t walked = rd_walk_client(t, p + at, n - at, &some);
    if (t->ended) *pass = at + some;
    at += walked;
  }
  return WG_WIRE_OK;
}

/* ---- answers ---- */

bool rd_server_between(const wg_wire_track *t) {
  return t->redis.server == S_BETWEEN && t->redis.depth == 0;
}

static void server_enter(wg_wire_track *t, uint8_t part) {
  t->redis.server = part;
  if (part == S_LOST) t->tainted = true;
  t->server.have = !rd_server_between(t);
}

/** A value is whole.  @return true: it was no part of another one */
static bool value_end(wg_wire_track *t) {
  wg_redis_track *r = &t->redis;
  bool refusal = r->depth == 0 && (t->server.type == '-' || t->server.type == '!');
  while (r->depth > 0) {
    unsigned top = r->depth - 1u;
    if (--r->open[top] > 0) {
      server_enter(t, S_BETWEEN);
      return false;
    }
    r->depth--;
    bool aside = r->aside >> top & 1; /* an attribute or a push: no value of whom it stands in */
    if (!aside) continue;
    server_enter(t, S_BETWEEN);
    return r->depth == 0;
  }
  server_enter(t, S_BETWEEN);
  if (t->pending == 0)
    t->tainted = true; /* an answer to nothing that we saw */
  else
    t->pending--;
  if (t->patient) t->patient--;
  if ((t->kinds & 1) && !refusal) t->tainted = true;
  t->kinds >>= 1;
  return true;
}

/** @return true: a value that was no part of another is whole */
static bool on_count(wg_wire_track *t) {
  wg_redis_track *r = &t->redis;
  uint64_t n = r->server_number.value;
  bool twice = t->server.type == '%' || t->server.type == '|';
  bool aside = t->server.type == '|' || t->server.type == '>';
  if (n > INT32_MAX || (r->server_number.minus && aside) || (n == 0 && aside)) {
    server_enter(t, S_LOST);
    return false;
  }
  if (r->server_number.minus || n == 0) return value_end(t);
  if (r->depth == WG_REDIS_DEPTH) {
    server_enter(t, S_LOST);
    return false;
  }
  r->open[r->depth] = (uint32_t)(twice ? n * 2 : n);
  r->aside = (uint16_t)((r->aside & ~(1u << r->depth)) | (unsigned)aside << r->depth);
  r->depth++;
  server_enter(t, S_BETWEEN);
  return false;
}

static void value_begin(wg_wire_track *t, uint8_t type) {
  wg_redis_track *r = &t->redis;
  t->server.type = type;
  number_begin(&r->server_number);
  switch (type) {
  case '+':
  case '-':
  case ':':
  case '_':
  case ',':
  case '#':
  case '(': server_enter(t, S_LINE); break;
  case '$':
  case '!':
  case '=': server_enter(t, S_LENGTH); break;
  case '*':
  case '%':
  case '~':
  case '|':
  case '>': server_enter(t, S_COUNT); break;
  default: server_enter(t, S_LOST); break;
  }
}

size_t rd_walk_server(wg_wire_track *t, const uint8_t *p, size_t n) {
  wg_redis_track *r = &t->redis;
  for (size_t i = 0; i < n;) {
    int step;
    bool whole = false;
    switch (r->server) {
    case S_BETWEEN: value_begin(t, p[i++]); break;
    case S_LINE:
      whole = p[i] == '\n' && r->server_number.cr;
      r->server_number.cr = p[i++] == '\r';
      if (whole) {
        whole = value_end(t);
      } else if (!r->server_number.cr) { /* on to what may be its end */
        const uint8_t *at = memchr(p + i, '\r', n - i);
        i = at ? (size_t)(at - p) : n;
      }
      break;
    case S_LENGTH:
    case S_COUNT:
      do step = number_byte(&r->server_number, p[i++]);
      while (step == NUMBER_MORE && i < n);
      if (step == NUMBER_BAD) server_enter(t, S_LOST);
      if (step != NUMBER_DONE) break;
      if (r->server == S_COUNT) {
        whole = on_count(t);
      } else if (r->server_number.minus) {
        whole = value_end(t);
      } else {
        t->server.left = r->server_number.value + 2;
        server_enter(t, S_BODY);
      }
      break;
    case S_BODY: {
      size_t some = n - i < t->server.left ? n - i : (size_t)t->server.left;
      t->server.left -= some;
      i += some;
      if (t->server.left == 0) whole = value_end(t);
      break;
    }
    default: return n;
    }
    if (whole) return i;
  }
  return n;
}

wg_wire_step rd_track_server(wg_wire_track *t, wg_wire_server *s, const uint8_t *p, size_t n,
                             wg_error *err) {
  (void)s;
  (void)err;
  for (size_t at = 0; at < n;) at += rd_walk_server(t, p + at, n - at);
  return WG_WIRE_OK;
}

bool rd_idle(const wg_wire_track *t) {
  return !t->tainted && t->pending == 0 && t->redis.client == C_BETWEEN && rd_server_between(t);
}

bool rd_unfinished(const wg_wire_track *t) { return t->tainted || t->client.have; }

void rd_put_error(wg_buf *out, const char *prefix, const char *text) {
  wg_buf_printf(out, "-%s ", prefix);
  for (; *text; text++) wg_buf_put_u8(out, *text == '\r' || *text == '\n' ? ' ' : (uint8_t)*text);
  wg_buf_put(out, "\r\n", 2);
}

void rd_parting(const wg_wire_track *t, wg_buf *to_guest) {
  if (t->redis.goodbye) wg_buf_put(to_guest, "+OK\r\n", 5);
}

void rd_farewell(const wg_wire_track *t, const char *message, wg_buf *to_guest) {
  if (!rd_server_between(t) || t->pending == 0) return; /* who asked nothing reads the end */
  rd_put_error(to_guest, "ERR", message);
}
