/* SPDX-License-Identifier: Apache-2.0 */
/* The languages that `warp pack` knows, and which of them a project is written in. */
#include "base/buf.h"
#include "cli/build/build.h"
#include "cli/build/pipeline.h"
#include "config/value.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MARKERS(...) \
  (const char *const[]) { __VA_ARGS__, NULL }

/* In the order in which they are looked for. */
const cli_language cli_languages[] = {
    {"c", "C", MARKERS("CMakeLists.txt"), &build_c},
    {"rust", "Rust", MARKERS("Cargo.toml"), &build_rust},
    {"go", "Go", MARKERS("go.mod"), NULL},
    {"bun", "Bun", MARKERS("bunfig.toml", "bun.lock", "bun.lockb"), NULL},
    {"typescript", "TypeScript", MARKERS("package.json"), NULL},
    {"js", "JavaScript", NULL, NULL}, /* asked for by name only: its marker is TypeScript's, too */
};
const size_t cli_language_count = WG_COUNT(cli_languages);

/** "this version packs: c, rust" */
static void hint_available(wg_error *err) {
  wg_buf names;
  wg_buf_init(&names, 256);
  for (size_t i = 0; i < cli_language_count; i++)
    if (cli_languages[i].pipeline)
      wg_buf_printf(&names, "%s%s", wg_buf_len(&names) ? ", " : "", cli_languages[i].name);
  wg_error_hint(err, "this version packs: %.*s", (int)wg_buf_len(&names),
                (const char *)wg_buf_head(&names));
  wg_buf_release(&names);
}

static wg_code by_name(const char *name, const cli_language **out, wg_error *err) {
  const char *names[WG_COUNT(cli_languages)];
  for (size_t i = 0; i < cli_language_count; i++) {
    names[i] = cli_languages[i].name;
    if (strcmp(name, cli_languages[i].name) != 0) continue;
    *out = &cli_languages[i];
    if (cli_languages[i].pipeline) return WG_OK;
    wg_error_set(err, WG_UNSUPPORTED, 0, "language '%s' is not available in this version", name);
    hint_available(err);
    return WG_UNSUPPORTED;
  }
  const char *near = cfg_nearest_of(name, names, cli_language_count);
  wg_error_set(err, WG_UNSUPPORTED, 0, "unknown language '%s'", name);
  if (near)
    wg_error_hint(err, "did you mean '%s'?", near);
  else
    hint_available(err);
  return WG_UNSUPPORTED;
}

static bool there_is(const char *dir, const char *name) {
  char *path = build_path(dir, name);
  bool found = path && access(path, F_OK) == 0;
  free(path);
  return found;
}

/** True when src/ has C sources: what a C project has that says nothing else. */
static bool has_c_sources(const char *dir) {
  char *path = build_path(dir, "src");
  DIR *folder = path ? opendir(path) : NULL;
  free(path);
  if (!folder) return false;
  bool found = false;
  for (struct dirent *e; !found && (e = readdir(folder));) {
    size_t n = strlen(e->d_name);
    found = e->d_name[0] != '.' && n > 2 && strcmp(e->d_name + n - 2, ".c") == 0;
  }
  closedir(folder);
  return found;
}

/** What tells that the project is in this language; NULL: nothing does. */
static const char *marker_of(const wg_config *config, const cli_language *l) {
  if (l->pipeline == &build_c && config->build_sources && *config->build_sources)
    return "[build] sources";
  for (const char *const *m = l->markers; m && *m; m++)
    if (there_is(config->dir, *m)) return *m;
  return NULL;
}

static wg_code ambiguous(const cli_language *a, const char *a_marker, const cli_language *b,
                         const char *b_marker, wg_error *err) {
  wg_error_set(err, WG_INVALID, 0, "cannot tell the language: '%s' says %s, '%s' says %s", a_marker,
               a->title, b_marker, b->title);
  wg_error_hint(err, "pass --lang %s or --lang %s, or write lang = \"%s\" in warp.toml", a->name,
                b->name, a->name);
  return WG_INVALID;
}

static wg_code none_found(const wg_config *config, wg_error *err) {
  wg_buf names;
  wg_buf_init(&names, sizeof err->hint);
  for (size_t i = 0; i < cli_language_count; i++)
    for (const char *const *m = cli_languages[i].markers; m && *m; m++)
      wg_buf_printf(&names, "%s, ", *m);
  wg_error_set(err, WG_NOT_FOUND, 0, "cannot tell the language of the project in '%s'",
               config->dir);
  wg_error_hint(err,
                "looked for %.*s[build] sources and src/*.c; pass --lang LANG, or write "
                "lang = \"LANG\" in warp.toml",
                (int)wg_buf_len(&names), (const char *)wg_buf_head(&names));
  wg_buf_release(&names);
  return WG_NOT_FOUND;
}

wg_code cli_language_find(const wg_config *config, const char *lang, const cli_language **out,
                          wg_error *err) {
  if (!lang) lang = config->lang;
  if (lang) return by_name(lang, out, err);
  const cli_language *found = NULL;
  const char *marker = NULL;
  for (size_t i = 0; i < cli_language_count; i++) {
    const cli_language *l = &cli_languages[i];
    const char *m = marker_of(config, l);
    if (!m) continue;
    /* Every Bun project has a package.json. */
    if (found && strcmp(found->name, "bun") == 0 && strcmp(m, "package.json") == 0) continue;
    if (found) return ambiguous(found, marker, l, m, err);
    found = l;
    marker = m;
  }
  if (!found && has_c_sources(config->dir)) found = &cli_languages[0];
  if (!found) return none_found(config, err);
  *out = found;
  if (found->pipeline) return WG_OK;
  wg_error_set(err, WG_UNSUPPORTED, 0, "this looks like a %s project (%s), which is not packed yet",
               found->title, marker);
  hint_available(err);
  return WG_UNSUPPORTED;
}
