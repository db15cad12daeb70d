/* SPDX-License-Identifier: Apache-2.0 */
/** @file ui.h  All printing of `warp`: results on stdout, everything else on stderr. */
#pragma once
#include "base/buf.h"

enum { UI_JSON_VERSION = 1 };
typedef enum ui_color { UI_COLOR_AUTO, UI_COLOR_ALWAYS, UI_COLOR_NEVER } ui_color;

/** Process-wide; before anything is printed. */
void ui_setup(ui_color color, bool json);
bool ui_json(void);
/** True when what goes to stderr is coloured. */
bool ui_colored(void);
/** Columns of the terminal behind a file descriptor, 20 to 120; 80 when it is none. */
unsigned ui_width(int fd);
/** Appends text, broken between words so that no line is longer than `width` columns, where that
 *  is possible. Newlines in the text stay.
 *  @param column  where the text begins in its line
 *  @param indent  of all lines but the first */
void ui_wrap(wg_buf *out, const char *text, unsigned column, unsigned indent, unsigned width);

/** Copies text so that nothing in it can steer a terminal: controls become \xNN. Cut to `size`. */
void ui_safe(const char *text, char *out, size_t size);
/** A sentence as a result: a line on stdout, which a terminal breaks between words. */
void ui_say(const char *fmt, ...) WG_PRINTF(1, 2);
/** Prints a table on stdout, its columns aligned; a terminal that is too narrow gets a block a row.
 *  @param heads    of the columns; the first one names the row
 *  @param numbers  a bit a column: aligned at its right
 *  @param cells    rows of `columns` texts */
void ui_table(const char *const *heads, size_t columns, unsigned numbers, const char *const *cells,
              size_t rows);
/** A result, on stdout. */
void ui_print(const char *fmt, ...) WG_PRINTF(1, 2);
/** "warning: ...", on stderr. */
void ui_warn(const char *text);
/** "LABEL text", on stderr: what is good to know beside the result. */
void ui_note(const char *label, const char *text);
/** Asks on stderr and reads a line of stdin, without its end; what is longer than `size` is cut.
 *  Only for a terminal. @return false at the end of input */
bool ui_ask(const char *question, char *answer, size_t size);
/** "error: ..." and "hint: ..." on stderr, where a terminal breaks them between words; under --json
 *  one object on stdout. @return the code */
int ui_fail(const char *command, const wg_error *err, int exit_code);
/** A mistake in the command line: error, hint, exit code 2. */
int ui_usage(const char *command, const char *hint, const char *fmt, ...) WG_PRINTF(3, 4);
/** Flushes stdout. @return false when a result could not be written */
bool ui_flush(void);

/* JSON text, written by hand: `comma` remembers nothing, so callers place their own. */
/** Appends a string with its quotes (RFC 8259, section 7). */
void ui_json_string(wg_buf *out, const char *text);
/** Begins {"version":1,"command":...,"ok":... */
void ui_json_begin(wg_buf *out, const char *command, bool ok);
/** Ends the object and prints it as one line; releases the buffer. */
void ui_json_end(wg_buf *out);
