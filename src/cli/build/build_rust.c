/* SPDX-License-Identifier: Apache-2.0 */
/* Rust: `cargo build`, which knows best whether anything has changed; its component is copied when
 * it differs from what is there.
 *
 *   WARPGRID_RUSTC -----------------------------------------------> cargo
 *   probe: rustc has wasm32-wasip2? --yes-------------------------> cargo
 *     no: a toolchain of build-guest-rust.sh in the cache? --yes--> cargo
 *     no: rustup target add --works--> probe again
 *     no: build-guest-rust.sh --works-----------------------------> cargo */
#include "base/text.h"
#include "cli/build/cargo.h"
#include "cli/build/pipeline.h"
#include "cli/build/sdk.h"
#include "cli/build/stamp.h"
#include "cli/paths.h"
#include "config/doc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define TARGET "wasm32-wasip2"

enum { MANIFEST_MAX = 4 << 20, PACKAGES_MAX = 256 };

typedef struct rust_build {
  char *rustc;    /**< to give to cargo; NULL: its own choice */
  char *manifest; /**< absolute path of Cargo.toml */
  bool added;     /**< rustup was asked already */
} rust_build;

static const char install_hint[] =
    "install Rust with rustup, then: rustup target add " TARGET
    "\n(Debian: apt-get install --no-install-recommends rustc-web cargo-web rust-web-src "
    "rust-web-llvm, then scripts/build-guest-rust.sh)";

static void rust_release(void *state) {
  rust_build *r = state;
  free(r->rustc);
  free(r->manifest);
  free(r);
}

/* ---- cargo ---- */

/** A file that is mapped; zero when it cannot be read. */
typedef struct mapped {
  void *bytes;
  size_t len;
} mapped;

static mapped map_file(const char *path) {
  struct stat s;
  mapped m = {0};
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd >= 0 && fstat(fd, &s) == 0 && S_ISREG(s.st_mode) && s.st_size > 0) {
    m.bytes = mmap(NULL, (size_t)s.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    m.len = (size_t)s.st_size;
  }
  if (fd >= 0) close(fd);
  return m.bytes == MAP_FAILED ? (mapped){0} : m;
}
static void unmap(mapped m) {
  if (m.bytes) munmap(m.bytes, m.len);
}

static wg_code write_temporary(cli_build *b, mapped from, wg_error *err) {
  wg_code code = build_temporary(b, err);
  if (code != WG_OK) return code;
  int fd = open(b->temporary, O_WRONLY | O_CLOEXEC);
  size_t done = 0;
  while (fd >= 0 && done < from.len) {
    ssize_t n = write(fd, (const char *)from.bytes + done, from.len - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) break;
    done += (size_t)n;
  }
  if (fd < 0 || done < from.len)
    code = wg_error_set(err, WG_IO, errno, "cannot write '%s': %s", b->output, wg_os_error(errno));
  if (fd >= 0) close(fd);
  return code;
}

/** Copies what cargo made, unless it is there already. */
static wg_code rust_take(cli_build *b, const char *wasm, wg_error *err) {
  if (!build_is_component(wasm)) {
    wg_error_set(err, WG_COMPONENT, 0, "cargo made '%s', which is not a component", wasm);
    wg_error_hint(err, "leave the linker of " TARGET " as it is (see .cargo/config.toml)");
    return WG_COMPONENT;
  }
  mapped made = map_file(wasm), there = map_file(b->target);
  if (!made.bytes) {
    unmap(there);
    return wg_error_set(err, WG_IO, errno, "cannot read '%s': %s", wasm, wg_os_error(errno));
  }
  b->result.fresh =
      there.bytes && made.len == there.len && memcmp(made.bytes, there.bytes, made.len) == 0;
  unmap(there);
  wg_code code = WG_OK;
  if (!b->result.fresh) {
    code = write_temporary(b, made, err);
    if (code == WG_OK) code = build_install(b, err);
  }
  unmap(made);
  return code == WG_OK ? build_done(b, 0, err) : code;
}

static wg_code on_cargo(cli_build *b, int exit_code, wg_error *err) {
  rust_build *r = b->state;
  if (exit_code != 0) return build_done(b, exit_code, err);
  char *messages = build_kept(b);
  if (!messages) return wg_error_set(err, WG_NOMEM, 0, "out of memory");
  cargo_made made;
  cargo_find_made(messages, r->manifest, &made);
  free(messages);
  wg_code code;
  if (made.other) {
    code = wg_error_set(err, WG_INVALID, 0, "the package makes several components: '%s', '%s'",
                        basename(made.wasm), basename(made.other));
    wg_error_hint(err,
                  "choose one in warp.toml: [build] flags = [\"--bin\", \"NAME\"] or [\"--lib\"]");
  } else if (made.wasm) {
    code = rust_take(b, made.wasm, err);
  } else if (made.elsewhere) {
    code = wg_error_set(err, WG_INVALID, 0, "'%s' is a workspace without a package of its own",
                        r->manifest);
    wg_error_hint(err, "put warp.toml beside the Cargo.toml of one package");
  } else {
    code = wg_error_set(err, WG_INVALID, 0, "the package of '%s' makes no component", r->manifest);
    wg_error_hint(err, "it needs src/main.rs, or [lib] crate-type = [\"cdylib\"]");
  }
  cargo_made_release(&made);
  return code;
}

static wg_code rust_compile(cli_build *b, wg_error *err) {
  const rust_build *r = b->state;
  char **argv = NULL, **env = NULL, *assignment = NULL;
  const char *const words[] = {"cargo",
                               "build",
                               "--target",
                               TARGET,
                               "--message-format",
                               "json-render-diagnostics",
                               "--color",
                               b->color ? "always" : "never",
                               b->debug ? NULL : "--release",
                               NULL};
  wg_code code = WG_OK;
  for (const char *const *w = words; code == WG_OK && *w; w++) code = cli_list_add(&argv, *w, err);
  for (char **f = b->config->build_flags; code == WG_OK && f && *f; f++)
    code = cli_list_add(&argv, *f, err);
  if (code == WG_OK && r->rustc) {
    if (asprintf(&assignment, "RUSTC=%s", r->rustc) < 0) assignment = NULL;
    code = assignment ? cli_list_add(&env, assignment, err)
                      : wg_error_set(err, WG_NOMEM, 0, "out of memory");
    free(assignment);
  }
  if (code == WG_OK) code = build_run(b, argv, env, STEP_RESULT, install_hint, on_cargo, err);
  cli_list_free(argv);
  cli_list_free(env);
  return code;
}

/* ---- the toolchain ---- */

static wg_code rust_probe(cli_build *b, wg_error *err);

static wg_code cannot_have_target(wg_error *err) {
  wg_error_set(err, WG_NOT_FOUND, 0, "this Rust toolchain cannot compile for " TARGET);
  wg_error_hint(err, "run: rustup target add " TARGET
                     "\nor scripts/build-guest-rust.sh, and set WARPGRID_RUSTC to what it prints");
  return WG_NOT_FOUND;
}

static wg_code on_fallback(cli_build *b, int exit_code, wg_error *err) {
  rust_build *r = b->state;
  char *path = exit_code == 0 ? build_kept(b) : NULL;
  if (path) path[strcspn(path, "\n")] = '\0';
  if (!path || access(path, X_OK) != 0) {
    free(path);
    return cannot_have_target(err);
  }
  r->rustc = path;
  return rust_compile(b, err);
}

/** The script that makes a toolchain, beside a built or an installed warp; NULL: not found. */
static char *fallback_script(void) {
  static const char *const places[] = {"../../scripts", "../share/warpgrid/scripts"};
  char self[4096], path[4224];
  wg_error ignored;
  if (cli_own_folder(self, &ignored) != WG_OK) return NULL;
  for (size_t i = 0; i < WG_COUNT(places); i++) {
    snprintf(path, sizeof path, "%s/%s/build-guest-rust.sh", self, places[i]);
    if (access(path, X_OK) == 0) return realpath(path, NULL);
  }
  return NULL;
}

static wg_code rust_fallback(cli_build *b, wg_error *err) {
  char *script = fallback_script();
  if (!script) return cannot_have_target(err);
  build_say(b, "building a Rust library for " TARGET " from Debian's sources, once: 2 minutes "
               "(scripts/build-guest-rust.sh)");
  char *const argv[] = {script, NULL};
  wg_code code = build_run(b, argv, NULL, STEP_RESULT, "", on_fallback, err);
  free(script);
  return code;
}

static wg_code on_added(cli_build *b, int exit_code, wg_error *err) {
  return exit_code == 0 ? rust_probe(b, err) : rust_fallback(b, err);
}

/** rustc cannot, so others are asked. */
static wg_code rust_without_target(cli_build *b, wg_error *err) {
  rust_build *r = b->state;
  char *rustc = cli_cache_path("guest-rust/current/bin/rustc");
  if (rustc && access(rustc, X_OK) == 0) {
    r->rustc = rustc;
    return rust_compile(b, err);
  }
  free(rustc);
  if (!r->added) {
    r->added = true;
    wg_error none = {0};
    char *const argv[] = {"rustup", "target", "add", TARGET, NULL};
    build_say(b, "installing Rust's library for " TARGET " (rustup target add " TARGET ")");
    wg_code code = build_run(b, argv, NULL, STEP_MESSAGES, "", on_added, &none);
    if (code == WG_OK) return code;
  }
  return rust_fallback(b, err);
}

static wg_code on_probed(cli_build *b, int exit_code, wg_error *err) {
  char *folder = exit_code == 0 ? build_kept(b) : NULL;
  if (folder) folder[strcspn(folder, "\n")] = '\0';
  DIR *dir = folder ? opendir(folder) : NULL;
  bool there = false;
  for (struct dirent *e; dir && !there && (e = readdir(dir));)
    there = strncmp(e->d_name, "libstd-", 7) == 0;
  if (dir) closedir(dir);
  free(folder);
  return there ? rust_compile(b, err) : rust_without_target(b, err);
}

static wg_code rust_probe(cli_build *b, wg_error *err) {
  const char *given = getenv("RUSTC");
  char *rustc = strdup(given && *given ? given : "rustc");
  if (!rustc) return wg_error_set(err, WG_NOMEM, 0, "out of memory");
  char *const argv[] = {rustc, "--print", "target-libdir", "--target", TARGET, NULL};
  wg_code code = build_run(b, argv, NULL, STEP_QUIET, install_hint, on_probed, err);
  free(rustc);
  return code;
}

static wg_code rust_begin(cli_build *b, wg_error *err) {
  if (b->world || b->config->build_world) {
    wg_error_set(err, WG_INVALID, 0, "%s is for C projects",
                 b->world ? "'--world'" : "'world' of [build]");
    wg_error_hint(err,
                  "leave it out: a Rust project's crates say what it exports (wasip2, wasip3)");
    return WG_INVALID;
  }
  rust_build *r = calloc(1, sizeof *r);
  if (!r) return wg_error_set(err, WG_NOMEM, 0, "out of memory");
  b->state = r;
  char *manifest = build_path(b->config->dir, "Cargo.toml");
  if (!manifest) return wg_error_set(err, WG_NOMEM, 0, "out of memory");
  r->manifest = realpath(manifest, NULL);
  if (!r->manifest) {
    wg_error_set(err, WG_NOT_FOUND, errno, "cannot read '%s': %s", manifest, wg_os_error(errno));
    wg_error_hint(err, "make a package with: cargo init");
  }
  free(manifest);
  if (!r->manifest) return WG_NOT_FOUND;
  const char *rustc = getenv("WARPGRID_RUSTC");
  if (!rustc || !*rustc) return rust_probe(b, err);
  if (access(rustc, X_OK) != 0) {
    wg_error_set(err, WG_NOT_FOUND, errno, "WARPGRID_RUSTC: cannot run '%s': %s", rustc,
                 wg_os_error(errno));
    wg_error_hint(err, "set it to what scripts/build-guest-rust.sh prints, or unset it");
    return WG_NOT_FOUND;
  }
  r->rustc = strdup(rustc);
  return r->rustc ? rust_compile(b, err) : wg_error_set(err, WG_NOMEM, 0, "out of memory");
}

/* ---- what to watch ---- */

static const cfg_node *member(const cfg_node *table, const char *key) {
  const cfg_node *n = table ? table->child : NULL;
  while (n && strcmp(n->key, key) != 0) n = n->next;
  return n;
}

/** Adds the folders of path dependencies to `packages`. */
static wg_code add_paths(const cfg_node *dependencies, const char *dir, char ***packages,
                         wg_error *err) {
  wg_code code = WG_OK;
  const cfg_node *d = dependencies ? dependencies->child : NULL;
  for (; code == WG_OK && d; d = d->next) {
    const cfg_node *path = d->type == WGRT_TOML_TABLE_BEGIN ? member(d, "path") : NULL;
    if (!path || path->type != WGRT_TOML_STRING) continue;
    char *folder = build_path(dir, path->text);
    code = folder ? cli_list_add(packages, folder, err)
                  : wg_error_set(err, WG_NOMEM, 0, "out of memory");
    free(folder);
  }
  return code;
}

/** The packages that a manifest names by path. One that cannot be read names none: cargo tells. */
static wg_code manifest_packages(const char *dir, char ***packages, wg_error *err) {
  char *manifest = build_path(dir, "Cargo.toml");
  mapped text = manifest ? map_file(manifest) : (mapped){0};
  cfg_node *root = NULL;
  wg_code code = WG_OK;
  free(manifest);
  if (text.bytes && text.len <= MANIFEST_MAX &&
      cfg_doc_parse(text.bytes, text.len, &root, NULL) == WG_OK) {
    code = add_paths(member(root, "dependencies"), dir, packages, err);
    if (code == WG_OK) code = add_paths(member(root, "build-dependencies"), dir, packages, err);
    const cfg_node *workspace = member(root, "workspace"), *target = member(root, "target");
    if (code == WG_OK) code = add_paths(member(workspace, "dependencies"), dir, packages, err);
    for (const cfg_node *t = target ? target->child : NULL; code == WG_OK && t; t = t->next)
      code = add_paths(member(t, "dependencies"), dir, packages, err);
    cfg_doc_free(root);
  }
  unmap(text);
  return code;
}

static wg_code package_inputs(const char *dir, cli_inputs *out, wg_error *err) {
  static const char *const files[] = {"Cargo.toml", "Cargo.lock", "build.rs", "rust-toolchain.toml",
                                      ".cargo/config.toml"};
  wg_code code = WG_OK;
  for (size_t i = 0; code == WG_OK && i < WG_COUNT(files); i++)
    code = build_input(out, build_path(dir, files[i]), CLI_INPUT_FILE, err);
  return code == WG_OK ? build_input(out, build_path(dir, "src"), CLI_INPUT_TREE, err) : code;
}

static wg_code rust_inputs(const cli_build_request *r, cli_inputs *out, wg_error *err) {
  char **packages = NULL, **seen = NULL; /* as they are called, and where they are */
  wg_code code = cli_list_add(&packages, r->config->dir, err);
  for (size_t i = 0; code == WG_OK && i < PACKAGES_MAX && packages[i]; i++) {
    char *place = realpath(packages[i], NULL);
    bool again = false;
    for (char **s = seen; place && s && *s; s++) again |= strcmp(*s, place) == 0;
    if (place && !again) code = cli_list_add(&seen, place, err);
    free(place);
    if (again) continue;
    if (code == WG_OK) code = package_inputs(packages[i], out, err);
    if (code == WG_OK) code = manifest_packages(packages[i], &packages, err);
  }
  cli_list_free(packages);
  cli_list_free(seen);
  return code;
}

const cli_pipeline build_rust = {rust_begin, rust_inputs, rust_release};
