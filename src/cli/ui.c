/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/ui.h"

#include "base/text.h"
#include "cli/cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { JSON_MAX = 16 << 20 };

static bool as_json;
static bool in_color;

void ui_setup(ui_color color, bool json) {
  const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
  bool plain = (no_color && *no_color) || (term && strcmp(term, "dumb") == 0);
  as_json = json;
  in_color = color == UI_COLOR_ALWAYS || (color == UI_COLOR_AUTO && !plain && isatty(2));
}

bool ui_json(void) { return as_json; }
bool ui_colored(void) { return in_color; }

void ui_print(const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  vprintf(fmt, ap);
  va_end(ap);
}

unsigned ui_width(int fd) {
  struct winsize size;
  if (!isatty(fd) || ioctl(fd, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col < 20 ? 20 : size.ws_col > 120 ? 120 : size.ws_col;
}

void ui_wrap(wg_buf *out, const char *text, unsigned column, unsigned indent, unsigned width) {
  bool first = true; /* of its line: is never put on another one */
  while (*text) {
    size_t len = strcspn(text, " \n");
    unsigned columns = 0;
    for (size_t i = 0; i < len; i++) columns += ((unsigned char)text[i] & 0xC0) != 0x80;
    if (len && !first && column + 1 + columns > width) {
      wg_buf_printf(out, "\n%*s", (int)indent, "");
      column = indent;
    } else if (len && !first) {
      wg_buf_put_u8(out, ' ');
      column++;
    }
    wg_buf_put(out, text, len);
    column += columns;
    if (len) first = false;
    text += len;
    if (*text == '\n') {
      wg_buf_put_u8(out, '\n');
      if (text[1]) wg_buf_printf(out, "%*s", (int)indent, "");
      column = indent;
      first = true;
    }
    if (*text) text++;
  }
}

void ui_say(const char *fmt, ...) {
  char *text;
  va_list ap;
  va_start(ap, fmt);
  int n = vasprintf(&text, fmt, ap);
  va_end(ap);
  if (n < 0) return;
  wg_buf line;
  wg_buf_init(&line, 1 << 20);
  if (isatty(1))
    ui_wrap(&line, text, 0, 2, ui_width(1));
  else
    wg_buf_put(&line, text, (size_t)n);
  ui_print("%.*s\n", (int)wg_buf_len(&line), (const char *)wg_buf_head(&line));
  wg_buf_release(&line);
  free(text);
}

/** Appends the text so that nothing in it can steer the terminal. */
static void put_safe(wg_buf *out, const char *text) {
  for (const char *p = text; *p; p++) {
    unsigned char c = (unsigned char)*p;
    if (c == '\n' || c == '\t' || (c >= 0x20 && c != 0x7F))
      wg_buf_put_u8(out, c);
    else
      wg_buf_printf(out, "\\x%02x", c);
  }
  wg_buf_put_u8(out, 0);
}

void ui_safe(const char *text, char *out, size_t size) {
  wg_buf safe;
  wg_buf_init(&safe, 1 << 16);
  put_safe(&safe, text);
  snprintf(out, size, "%s", safe.failed ? "" : (const char *)wg_buf_head(&safe));
  wg_buf_release(&safe);
}

/** A label in colour, then the text. */
static void put_labelled(const char *label, const char *sgr, const char *text) {
  wg_buf line, safe;
  wg_buf_init(&line, 1 << 16);
  wg_buf_init(&safe, 1 << 16);
  if (in_color)
    wg_buf_printf(&line, "\x1b[%sm%s\x1b[0m ", sgr, label);
  else
    wg_buf_printf(&line, "%s ", label);
  put_safe(&safe, text);
  /* A terminal would break lines anywhere; a file or another program gets each as it is. Texts of
   * several lines (a backtrace) are laid out already. */
  const char *told = safe.failed ? "" : (const char *)wg_buf_head(&safe);
  if (isatty(2) && !strchr(told, '\n'))
    ui_wrap(&line, told, (unsigned)strlen(label) + 1, 2, ui_width(2));
  else
    wg_buf_put(&line, told, strlen(told));
  wg_buf_put_u8(&line, '\n');
  if (line.data) fwrite(wg_buf_head(&line), 1, wg_buf_len(&line), stderr);
  wg_buf_release(&line);
  wg_buf_release(&safe);
}

void ui_note(const char *label, const char *text) {
  fflush(stdout);
  put_labelled(label, "1;36", text);
}

bool ui_ask(const char *question, char *answer, size_t size) {
  fflush(stdout);
  fputs(question, stderr);
  fflush(stderr);
  size_t n = 0;
  int c;
  while ((c = getchar()) != EOF && c != '\n')
    if (n + 1 < size) answer[n++] = (char)c;
  answer[n] = '\0';
  if (c == EOF) fputc('\n', stderr);
  return c != EOF;
}

void ui_warn(const char *text) { put_labelled("warning:", "1;33", text); }

int ui_fail(const char *command, const wg_error *err, int exit_code) {
  if (as_json) {
    wg_buf out;
    ui_json_begin(&out, command, false);
    wg_buf_printf(&out, ",\"error\":{\"code\":");
    ui_json_string(&out, wg_code_name(err->code));
    wg_buf_printf(&out, ",\"message\":");
    ui_json_string(&out, err->msg);
    wg_buf_printf(&out, ",\"hint\":");
    ui_json_string(&out, err->hint);
    wg_buf_printf(&out, "}");
    ui_json_end(&out);
    return exit_code;
  }
  fflush(stdout);
  put_labelled("error:", "1;31", err->msg);
  if (err->hint[0]) put_labelled("hint:", "1;36", err->hint);
  return exit_code;
}

int ui_usage(const char *command, const char *hint, const char *fmt, ...) {
  wg_error err;
  char text[sizeof err.msg];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  wg_error_set(&err, WG_INVALID, 0, "%s", text);
  wg_error_hint(&err, "%s", hint);
  return ui_fail(command, &err, CLI_USAGE);
}

bool ui_flush(void) { return fflush(stdout) == 0 && !ferror(stdout); }

void ui_json_string(wg_buf *out, const char *text) { wg_buf_put_json(out, text); }

void ui_json_begin(wg_buf *out, const char *command, bool ok) {
  wg_buf_init(out, JSON_MAX);
  wg_buf_printf(out, "{\"version\":%d,\"command\":", UI_JSON_VERSION);
  ui_json_string(out, command);
  wg_buf_printf(out, ",\"ok\":%s", ok ? "true" : "false");
}

void ui_json_end(wg_buf *out) {
  wg_buf_printf(out, "}\n");
  if (!out->failed) fwrite(wg_buf_head(out), 1, wg_buf_len(out), stdout);
  wg_buf_release(out);
  fflush(stdout);
}
