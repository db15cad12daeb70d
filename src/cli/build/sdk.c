/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/build/sdk.h"

#include "cli/paths.h"

#include "base/buf.h"
#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FLAGS_FILE_MAX = 1 << 20 };

wg_code cli_list_add(char ***list, const char *text, wg_error *err) {
  size_t n = 0;
  while (*list && (*list)[n]) n++;
  char **grown = realloc(*list, (n + 2) * sizeof *grown);
  char *copy = strdup(text);
  if (grown) *list = grown;
  if (!grown || !copy) {
    if (grown) grown[n] = NULL;
    free(copy);
    return wg_error_set(err, WG_NOMEM, 0, "out of memory");
  }
  grown[n] = copy;
  grown[n + 1] = NULL;
  return WG_OK;
}

void cli_list_free(char **list) {
  for (char **p = list; p && *p; p++) free(*p);
  free(list);
}

/** Reads a whole text file; NULL with errno when it cannot. */
static char *read_text(const char *path) {
  FILE *f = fopen(path, "re");
  if (!f) return NULL;
  char *text = malloc(FLAGS_FILE_MAX + 1);
  size_t n = text ? fread(text, 1, FLAGS_FILE_MAX, f) : 0;
  if (text) text[n] = '\0';
  fclose(f);
  return text;
}

/** Takes `dir` as the SDK when guest.flags is in it. */
static bool sdk_try(cli_sdk *out, const char *dir) {
  char path[4352];
  snprintf(path, sizeof path, "%s/guest.flags", dir);
  char *flags = read_text(path);
  if (!flags) return false;
  char *absolute = realpath(dir, NULL);
  if (!absolute) {
    free(flags);
    return false;
  }
  *out = (cli_sdk){absolute, flags};
  return true;
}

wg_code cli_sdk_find(cli_sdk *out, wg_error *err) {
  const char *given = getenv("WARPGRID_SDK");
  if (given && *given) {
    if (sdk_try(out, given)) return WG_OK;
    wg_error_set(err, WG_NOT_FOUND, 0, "WARPGRID_SDK: no guest.flags in '%s'", given);
    wg_error_hint(err, "make one with: scripts/build-guest-c.sh --sdk DIR");
    return WG_NOT_FOUND;
  }
  char self[4096], dir[4224];
  wg_code code = cli_own_folder(self, err);
  if (code != WG_OK) return code;
  static const char *const places[] = {"sdk/c", "../share/warpgrid/sdk/c"}; /* built, installed */
  for (size_t i = 0; i < WG_COUNT(places); i++) {
    snprintf(dir, sizeof dir, "%s/%s", self, places[i]);
    if (sdk_try(out, dir)) return WG_OK;
  }
  wg_error_set(err, WG_NOT_FOUND, 0, "no C SDK was found for '%s/warp'", self);
  wg_error_hint(err, "run: scripts/build-guest-c.sh --sdk %s/sdk/c\nor set WARPGRID_SDK", self);
  return WG_NOT_FOUND;
}

void cli_sdk_release(cli_sdk *sdk) {
  free(sdk->dir);
  free(sdk->flags);
  *sdk = (cli_sdk){0};
}

/** One word with ${SDK} replaced. */
static wg_code add_word(const cli_sdk *sdk, const char *word, size_t len, char ***list,
                        wg_error *err) {
  static const char mark[] = "${SDK}";
  wg_buf out;
  wg_buf_init(&out, 1 << 16);
  for (size_t i = 0; i < len;) {
    if (len - i >= sizeof mark - 1 && memcmp(word + i, mark, sizeof mark - 1) == 0) {
      wg_buf_put(&out, sdk->dir, strlen(sdk->dir));
      i += sizeof mark - 1;
    } else {
      wg_buf_put_u8(&out, (uint8_t)word[i++]);
    }
  }
  wg_buf_put_u8(&out, 0);
  wg_code code = out.failed ? wg_error_set(err, WG_NOMEM, 0, "out of memory")
                            : cli_list_add(list, (const char *)wg_buf_head(&out), err);
  wg_buf_release(&out);
  return code;
}

wg_code cli_sdk_words(const cli_sdk *sdk, const char *key, const char *part, char ***list,
                      wg_error *err) {
  char name[128];
  int n = snprintf(name, sizeof name, "%s%s%s:", key, part ? "." : "", part ? part : "");
  if (n < 0 || (size_t)n >= sizeof name) return WG_OK; /* no key is that long */
  const char *next;
  for (const char *line = sdk->flags; *line; line = next) {
    const char *end = strchrnul(line, '\n');
    next = *end ? end + 1 : end;
    if (strncmp(line, name, (size_t)n) != 0) continue;
    for (const char *p = line + n; p < end;) {
      size_t len = strcspn(p, " \t\n");
      if (len) {
        wg_code code = add_word(sdk, p, len, list, err);
        if (code != WG_OK) return code;
      }
      p += len ? len : 1;
    }
  }
  return WG_OK;
}
