/* SPDX-License-Identifier: Apache-2.0 */
/* C: one run of clang, which compiles the sources and links them with the SDK. Before it, a quick
 * run of the preprocessor names all files that go in; when neither they nor the tools have changed
 * since the last time, that is all. */
#include "base/text.h"
#include "cli/build/pipeline.h"
#include "cli/build/sdk.h"
#include "cli/build/stamp.h"
#include "config/value.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct c_build {
  cli_sdk sdk;
  const char *world; /**< in b->world, or in the configuration */
  char **compile;    /**< compiler and its flags, without the sources */
  char **sources;
  char **link;
  char **deps; /**< the files that went in, as the preprocessor tells; NULL: not known */
  char key[CLI_HASH_SIZE]; /**< of all that goes in; "": not known */
} c_build;

static const char install_hint[] =
    "install it with scripts/bootstrap.sh (Debian: apt-get install clang-22 lld-22), or set "
    "WARPGRID_CLANG";
static const char *const standard_sources[] = {"src/*.c", NULL};

static void c_release(void *state) {
  c_build *c = state;
  cli_sdk_release(&c->sdk);
  cli_list_free(c->compile);
  cli_list_free(c->sources);
  cli_list_free(c->link);
  cli_list_free(c->deps);
  free(c);
}

static const char *const *source_patterns(const wg_config *config) {
  const char *const *given = (const char *const *)config->build_sources;
  return given && *given ? given : standard_sources;
}

static wg_code c_world(cli_build *b, c_build *c, wg_error *err) {
  c->world = b->world ? b->world : b->config->build_world;
  if (!c->world) c->world = "service-p2";
  b->result.world = c->world;
  char **worlds = NULL;
  wg_code code = cli_sdk_words(&c->sdk, "worlds", NULL, &worlds, err);
  if (code == WG_OK) {
    bool known = false;
    size_t count = 0;
    for (; worlds && worlds[count]; count++) known |= strcmp(worlds[count], c->world) == 0;
    if (!known) {
      const char *near = cfg_nearest_of(c->world, (const char *const *)worlds, count);
      code = wg_error_set(err, WG_INVALID, 0, "unknown world '%s'", c->world);
      wg_buf hint;
      wg_buf_init(&hint, sizeof err->hint);
      if (near)
        wg_buf_printf(&hint, "did you mean '%s'?", near);
      else
        wg_buf_printf(&hint, "one of:");
      for (size_t i = 0; i < count && !near; i++) wg_buf_printf(&hint, " %s", worlds[i]);
      wg_error_hint(err, "%.*s", (int)wg_buf_len(&hint), (const char *)wg_buf_head(&hint));
      wg_buf_release(&hint);
    }
  }
  cli_list_free(worlds);
  return code;
}

/** Adds what a pattern names, relative to the project's folder, which is the compiler's. */
static wg_code add_glob(const char *dir, const char *pattern, char ***list, wg_error *err) {
  bool absolute = pattern[0] == '/';
  size_t skip = absolute ? 0 : strlen(dir) + 1;
  wg_buf path;
  wg_buf_init(&path, 8192);
  for (const char *c = absolute ? "" : dir; *c; c++) {
    if (strchr("*?[\\", *c)) wg_buf_put_u8(&path, '\\'); /* the folder's name is no pattern */
    wg_buf_put_u8(&path, (uint8_t)*c);
  }
  wg_buf_printf(&path, "%s%s", absolute ? "" : "/", pattern);
  wg_buf_put_u8(&path, 0);
  if (path.failed) {
    wg_buf_release(&path);
    return wg_error_set(err, WG_INVALID, 0, "the path of a source is too long");
  }
  glob_t found;
  int rc = glob((const char *)wg_buf_head(&path), 0, NULL, &found);
  wg_buf_release(&path);
  wg_code code = WG_OK;
  if (rc == GLOB_NOSPACE) {
    code = wg_error_set(err, WG_NOMEM, 0, "out of memory");
  } else if (rc != 0) {
    code = wg_error_set(err, WG_NOT_FOUND, 0, "no source matches '%s'%s%s%s", pattern,
                        strcmp(dir, ".") ? " in '" : "", strcmp(dir, ".") ? dir : "",
                        strcmp(dir, ".") ? "'" : "");
    wg_error_hint(err, "name them in warp.toml: [build] sources = [\"main.c\"]");
  }
  for (size_t i = 0; code == WG_OK && i < found.gl_pathc; i++) {
    const char *name = found.gl_pathv[i] + skip;
    char *plain = NULL; /* "-DX.c" and "@x.c" are files here, and would be flags there */
    if ((name[0] == '-' || name[0] == '@') && asprintf(&plain, "./%s", name) < 0)
      code = wg_error_set(err, WG_NOMEM, 0, "out of memory");
    else
      code = cli_list_add(list, plain ? plain : name, err);
    free(plain);
  }
  if (rc == 0) globfree(&found);
  return code;
}

static wg_code add_all(char ***list, char *const *words, wg_error *err) {
  wg_code code = WG_OK;
  for (; code == WG_OK && words && *words; words++) code = cli_list_add(list, *words, err);
  return code;
}

/** Whether a project brings its own C library. */
static bool has_sysroot(char *const *flags) {
  for (; flags && *flags; flags++)
    if (strncmp(*flags, "--sysroot", 9) == 0) return true;
  return false;
}

/** The parts of the command line. The project's flags come after ours and win. */
static wg_code c_words(cli_build *b, c_build *c, wg_error *err) {
  const char *clang = getenv("WARPGRID_CLANG");
  wg_code code = cli_list_add(&c->compile, clang && *clang ? clang : "clang-22", err);
  if (code == WG_OK) code = cli_sdk_words(&c->sdk, "compile", NULL, &c->compile, err);
  if (code == WG_OK) code = cli_sdk_words(&c->sdk, "compile", c->world, &c->compile, err);
  if (code == WG_OK && b->debug) code = cli_list_add(&c->compile, "-O0", err);
  if (code == WG_OK && b->debug) code = cli_list_add(&c->compile, "-g", err);
  if (code == WG_OK) code = add_all(&c->compile, b->config->build_flags, err);
  const char *const *pattern = source_patterns(b->config);
  for (; code == WG_OK && *pattern; pattern++)
    code = add_glob(b->config->dir, *pattern, &c->sources, err);
  char **link = NULL;
  if (code == WG_OK) code = cli_sdk_words(&c->sdk, "link", NULL, &link, err);
  if (code == WG_OK) code = cli_sdk_words(&c->sdk, "link", c->world, &link, err);
  bool own = has_sysroot(b->config->build_flags);
  for (char **w = link; code == WG_OK && w && *w; w++) {
    if (b->debug && strcmp(*w, "-Wl,-s") == 0) continue;
    if (own && strncmp(*w, "--sysroot=", 10) == 0) continue;
    code = cli_list_add(&c->link, *w, err);
  }
  cli_list_free(link);
  return code;
}

/* ---- has anything changed? ---- */

/** Adds the compiler and what it loads and starts: its program is a small one on some systems, and
 *  the linker and the compiler's own library are files that no flag names. */
static void hash_tools(cli_hash *h, const char *compiler) {
  static const char *const parts[] = {
      "wasm-ld",
      "../lib/libclang-cpp.so*",
      "../lib/libLLVM*.so*",
      "../../*/libLLVM*.so*", /* Debian */
      "../lib/clang/*/lib/wasi/*",
      "../lib/clang/*/lib/wasm32*/*",
  };
  char *real = cli_hash_program(h, compiler), pattern[8192];
  free(cli_hash_program(h, "wasm-ld")); /* when there is none beside the compiler */
  char *slash = real ? strrchr(real, '/') : NULL;
  for (size_t i = 0; slash && i < WG_COUNT(parts); i++) {
    glob_t found;
    int n = snprintf(pattern, sizeof pattern, "%.*s/%s", (int)(slash - real), real, parts[i]);
    if (n < 0 || (size_t)n >= sizeof pattern || glob(pattern, 0, NULL, &found) != 0) continue;
    for (size_t f = 0; f < found.gl_pathc; f++) cli_hash_identity(h, found.gl_pathv[f]);
    globfree(&found);
  }
  free(real);
}

/** Adds the files that a word of the command line names: "main.o", "-fuse-ld=FILE",
 *  "-Wl,--component-type,FILE". */
static void hash_word(cli_hash *h, const char *dir, const char *word) {
  static const char *const objects[] = {"libc.a", "crt1-command.o", "crt1-reactor.o"};
  cli_hash_text(h, word);
  for (const char *p = word; *p; p += *p != '\0') {
    size_t len = strcspn(p, "=,");
    char *part = strndup(p, len);
    if (part) cli_hash_file(h, dir, part);
    free(part);
    p += len;
    if (!*p) break;
  }
  if (strncmp(word, "--sysroot=", 10) != 0) return;
  for (size_t i = 0; i < WG_COUNT(objects); i++) {
    char name[64];
    snprintf(name, sizeof name, "lib/wasm32-wasip2/%s", objects[i]);
    cli_hash_file(h, word + 10, name);
  }
}

/** Whether the project's flags or the environment bring in files that only the linker finds. */
static bool has_hidden_files(char *const *flags) {
  static const char *const starts[] = {"-l",        "-L",        "@",         "-B",
                                       "--config",  "--library", "--sysroot", "-isysroot",
                                       "-resource", "-Xclang",   "--ld-path"};
  if (getenv("CCC_OVERRIDE_OPTIONS") || getenv("COMPILER_PATH")) return true;
  for (; flags && *flags; flags++)
    for (const char *part = *flags; part; part = strchr(part, ',')) {
      part += *part == ',';
      for (size_t i = 0; i < WG_COUNT(starts); i++)
        if (strncmp(part, starts[i], strlen(starts[i])) == 0) return true;
    }
  return false;
}

/** The key of everything that decides the component; "" when it cannot be told. */
static void c_key(cli_build *b, const c_build *c, char key[CLI_HASH_SIZE]) {
  const char *dir = b->config->dir;
  char *const *const lists[] = {c->compile, c->sources, c->link};
  key[0] = '\0';
  if (has_hidden_files(b->config->build_flags)) return;
  cli_hash *h = cli_hash_new();
  if (!h) return;
  cli_hash_text(h, "c 2");
  hash_tools(h, c->compile[0]);
  for (size_t i = 0; i < WG_COUNT(lists); i++)
    for (char *const *w = lists[i]; w && *w; w++) hash_word(h, dir, *w);
  bool known = c->deps != NULL;
  for (char *const *d = c->deps; d && *d; d++) {
    cli_hash_text(h, *d);
    known = cli_hash_file(h, dir, *d) && known;
  }
  cli_hash_end(h, key);
  if (!known) key[0] = '\0';
}

static wg_code on_compiled(cli_build *b, int exit_code, wg_error *err) {
  c_build *c = b->state;
  if (exit_code != 0) return build_done(b, exit_code, err);
  if (!build_is_component(b->temporary)) {
    wg_error_set(err, WG_COMPONENT, 0, "the compiler made no component");
    wg_error_hint(err, "leave out of [build] flags what keeps it from that, as -E, -### and "
                       "-Wl,--skip-wit-component do");
    return WG_COMPONENT;
  }
  /* A file that was saved meanwhile may have gone in or not: then nothing is known. */
  char key[CLI_HASH_SIZE] = "", made[CLI_HASH_SIZE];
  if (c->key[0]) c_key(b, c, key);
  bool known = c->key[0] && strcmp(key, c->key) == 0 && cli_hash_of_file(b->temporary, made);
  wg_code code = build_install(b, err);
  if (code != WG_OK) return code;
  if (known) cli_stamp_write(b->target, key, made);
  return build_done(b, 0, err);
}

static wg_code c_compile(cli_build *b, wg_error *err) {
  c_build *c = b->state;
  wg_code code = build_temporary(b, err);
  if (code != WG_OK) return code;
  char **argv = NULL;
  code = add_all(&argv, c->compile, err);
  if (code == WG_OK)
    code = cli_list_add(&argv, b->color ? "-fcolor-diagnostics" : "-fno-color-diagnostics", err);
  if (code == WG_OK) code = add_all(&argv, c->sources, err);
  if (code == WG_OK) code = add_all(&argv, c->link, err);
  if (code == WG_OK) code = cli_list_add(&argv, "-o", err);
  if (code == WG_OK) code = cli_list_add(&argv, b->temporary, err);
  if (code == WG_OK) code = build_run(b, argv, NULL, STEP_MESSAGES, install_hint, on_compiled, err);
  cli_list_free(argv);
  return code;
}

static wg_code on_scanned(cli_build *b, int exit_code, wg_error *err) {
  c_build *c = b->state;
  char *text = exit_code == 0 ? build_kept(b) : NULL;
  /* What the preprocessor does not like, the compiler will tell. */
  if (text && cli_deps_read(text, &c->deps, err) != WG_OK) {
    cli_list_free(c->deps);
    c->deps = NULL;
  }
  free(text);
  c_key(b, c, c->key);
  if (c->key[0] && cli_stamp_matches(b->target, c->key)) {
    b->result.fresh = true;
    return build_done(b, 0, err);
  }
  return c_compile(b, err);
}

static wg_code c_scan(cli_build *b, wg_error *err) {
  c_build *c = b->state;
  char **argv = NULL;
  wg_code code = add_all(&argv, c->compile, err);
  if (code == WG_OK) code = cli_list_add(&argv, "-M", err);
  if (code == WG_OK) code = add_all(&argv, c->sources, err);
  if (code == WG_OK) code = build_run(b, argv, NULL, STEP_QUIET, install_hint, on_scanned, err);
  cli_list_free(argv);
  return code;
}

static wg_code c_begin(cli_build *b, wg_error *err) {
  c_build *c = calloc(1, sizeof *c);
  if (!c) return wg_error_set(err, WG_NOMEM, 0, "out of memory");
  b->state = c;
  wg_code code = cli_sdk_find(&c->sdk, err);
  if (code == WG_OK) code = c_world(b, c, err);
  if (code == WG_OK) code = c_words(b, c, err);
  if (code != WG_OK) return code;
  return b->always ? c_compile(b, err) : c_scan(b, err);
}

/* ---- what to watch ---- */

static wg_code add_folder(const wg_config *config, const char *name, size_t len, cli_inputs *out,
                          wg_error *err) {
  char *folder = strndup(name, len);
  char *path = folder ? build_path(config->dir, len ? folder : ".") : NULL;
  free(folder);
  return build_input(out, path, CLI_INPUT_FOLDER, err);
}

/** The folders of the sources and all below them, where headers are, too, and those of flags that
 *  name one. The project's own folder counts without what is below: builds write there. */
static wg_code c_inputs(const cli_build_request *r, cli_inputs *out, wg_error *err) {
  static const char *const flags[] = {"-I", "-iquote", "-isystem", "-idirafter"};
  const wg_config *config = r->config;
  wg_code code = WG_OK;
  for (const char *const *p = source_patterns(config); code == WG_OK && *p; p++) {
    /* The folder in front of the first wildcard; with a wildcard in folders, all below. */
    size_t plain = strcspn(*p, "*?[");
    const char *slash = memrchr(*p, '/', plain);
    size_t len = slash ? (size_t)(slash - *p) : 0;
    bool tree = strchr(*p + plain, '/') || len > 0;
    if (tree) {
      char *folder = strndup(*p, len);
      code = build_input(out, folder ? build_path(config->dir, len ? folder : ".") : NULL,
                         CLI_INPUT_TREE, err);
      free(folder);
    } else {
      code = add_folder(config, *p, len, out, err);
    }
  }
  for (char **f = config->build_flags; code == WG_OK && f && *f; f++)
    for (size_t i = 0; code == WG_OK && i < WG_COUNT(flags); i++) {
      size_t len = strlen(flags[i]);
      if (strncmp(*f, flags[i], len) != 0) continue;
      const char *name = (*f)[len] ? *f + len : f[1];
      if (name) code = add_folder(config, name, strlen(name), out, err);
      break;
    }
  return code;
}

const cli_pipeline build_c = {c_begin, c_inputs, c_release};
