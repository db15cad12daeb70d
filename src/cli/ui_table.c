/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/ui.h"

#include <string.h>
#include <unistd.h>

enum { COLUMNS_MAX = 16, GAP = 2 };

static size_t columns_of(const char *text) {
  size_t n = 0;
  for (; *text; text++) n += ((unsigned char)*text & 0xC0) != 0x80;
  return n;
}

static void print_row(const char *const *cells, const size_t *widths, size_t columns,
                      unsigned numbers) {
  for (size_t i = 0; i < columns; i++) {
    size_t used = columns_of(cells[i]);
    int space = (int)(widths[i] - used);
    bool right = numbers >> i & 1, last = i + 1 == columns;
    ui_print("%*s%s%*s", right ? space : 0, "", cells[i], right || last ? 0 : space, "");
    ui_print("%*s", last ? 0 : GAP, "");
  }
  ui_print("\n");
}

static void print_block(const char *const *heads, const char *const *cells, size_t columns) {
  size_t width = 0;
  for (size_t i = 1; i < columns; i++)
    if (columns_of(heads[i]) > width) width = columns_of(heads[i]);
  ui_print("%s %s\n", heads[0], cells[0]);
  for (size_t i = 1; i < columns; i++) {
    if (!*cells[i]) continue;
    ui_print("  %s%*s  %s\n", heads[i], (int)(width - columns_of(heads[i])), "", cells[i]);
  }
}

void ui_table(const char *const *heads, size_t columns, unsigned numbers, const char *const *cells,
              size_t rows) {
  WG_ASSERT(columns <= COLUMNS_MAX);
  size_t widths[COLUMNS_MAX] = {0}, total = GAP * (columns - 1);
  for (size_t i = 0; i < columns; i++) {
    widths[i] = columns_of(heads[i]);
    for (size_t r = 0; r < rows; r++)
      if (columns_of(cells[r * columns + i]) > widths[i])
        widths[i] = columns_of(cells[r * columns + i]);
    total += widths[i];
  }
  if (isatty(1) && total > ui_width(1)) {
    for (size_t r = 0; r < rows; r++) print_block(heads, cells + r * columns, columns);
    return;
  }
  print_row(heads, widths, columns, numbers);
  for (size_t r = 0; r < rows; r++) print_row(cells + r * columns, widths, columns, numbers);
}
