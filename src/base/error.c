/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <warpgrid/error.h>

#undef wg_error_set /* a macro under the analyzer */

/** Ends a text that did not fit with "..." instead of in mid-word without a sign. */
static void error_mark_cut(char *text, size_t cap, int wanted) {
  if (wanted < 0)
    text[0] = '\0';
  else if ((size_t)wanted >= cap)
    memcpy(text + cap - 4, "...", 4);
}

wg_code wg_error_set(wg_error *err, wg_code code, int sys, const char *fmt, ...) {
  if (!err) return code;
  /* The new text may quote the old one, so build it apart. */
  char text[sizeof err->msg];
  va_list ap;
  va_start(ap, fmt);
  int n = vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  error_mark_cut(text, sizeof text, n);
  memcpy(err->msg, text, sizeof text);
  err->code = code;
  err->sys = sys;
  err->hint[0] = '\0';
  return code;
}

void wg_error_wrap(wg_error *err, const char *fmt, ...) {
  if (!err) return;
  char context[sizeof err->msg], text[sizeof err->msg];
  va_list ap;
  va_start(ap, fmt);
  int n = vsnprintf(context, sizeof context, fmt, ap);
  va_end(ap);
  error_mark_cut(context, sizeof context, n);
  n = snprintf(text, sizeof text, "%s: %s", context, err->msg);
  error_mark_cut(text, sizeof text, n);
  memcpy(err->msg, text, sizeof text);
}

void wg_error_hint(wg_error *err, const char *fmt, ...) {
  if (!err) return;
  char text[sizeof err->hint];
  va_list ap;
  va_start(ap, fmt);
  int n = vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  error_mark_cut(text, sizeof text, n);
  memcpy(err->hint, text, sizeof text);
}

const char *wg_code_name(wg_code code) {
  switch (code) {
#define XX(name, value, text) \
  case WG_##name: return text;
    WG_CODE_MAP(XX)
#undef XX
  }
  return "unknown";
}
