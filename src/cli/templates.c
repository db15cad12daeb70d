/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/templates.h"

#include <stdio.h>
#include <string.h>

static const char mark[] = "@@";
enum { MARK = sizeof mark - 1 };

/** True when `word` stands in the text. */
static bool is_word(const char *text, size_t len, const char *word) {
  return strlen(word) == len && memcmp(text, word, len) == 0;
}

static const char *value_of(const cli_template_values *v, const char *name, size_t len) {
  if (is_word(name, len, "name")) return v->name;
  if (is_word(name, len, "http")) return v->http;
  if (is_word(name, len, "database")) return v->database;
  return NULL;
}

static void render_line(wg_buf *out, const char *line, const char *end,
                        const cli_template_values *values) {
  while (line < end) {
    const char *value = NULL, *close = NULL;
    if (end - line > MARK && memcmp(line, mark, MARK) == 0) {
      close = strstr(line + MARK, mark);
      if (close && close < end)
        value = value_of(values, line + MARK, (size_t)(close - line) - MARK);
      WG_ASSERT(value); /* a slip in a template of ours */
      wg_buf_printf(out, "%s", value);
      line = close + MARK;
    } else {
      wg_buf_put_u8(out, (uint8_t)*line++);
    }
  }
}

void cli_template_render(wg_buf *out, const char *text, const cli_template_values *values) {
  bool skip = false;
  while (*text) {
    const char *end = strchrnul(text, '\n'), *next = *end ? end + 1 : end;
    const char *begin = strstr(text, "@@if "), *close = strstr(text, "@@end");
    if (begin && begin < end) {
      const char *word = begin + 5;
      size_t len = strcspn(word, " \n");
      skip = !is_word(word, len, values->http) && !is_word(word, len, values->database);
    } else if (close && close < end) {
      skip = false;
    } else if (!skip) {
      render_line(out, text, next, values);
    }
    text = next;
  }
}

void cli_template_name(const char *folder, char out[64]) {
  size_t n = 0;
  for (const char *p = folder; *p && n < 63; p++) {
    char c = *p;
    if (c >= 'A' && c <= 'Z') c = (char)(c - 'A' + 'a');
    bool letter = c >= 'a' && c <= 'z', digit = c >= '0' && c <= '9';
    if (n == 0 && !letter) continue;
    if (letter || digit)
      out[n++] = c;
    else if (out[n - 1] != '-')
      out[n++] = '-';
  }
  while (n && out[n - 1] == '-') n--;
  out[n] = '\0';
  if (n == 0) snprintf(out, 64, "service");
}

bool cli_template_name_ok(const char *name) {
  size_t n = strlen(name);
  return n >= 1 && n <= 63 && name[0] >= 'a' && name[0] <= 'z' && name[n - 1] != '-' &&
         strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == n;
}
