/* SPDX-License-Identifier: Apache-2.0 */
/** @file cmd_pack.c  `warp pack --lang c`: one run of clang, which compiles the sources and links
 *  them with the SDK. The new component takes its place only when it is whole. */
#include "base/buf.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/sdk.h"
#include "cli/ui.h"
#include "config/config.h"
#include "config/value.h"

#include <errno.h>
#include <glob.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { EXIT_CANNOT_RUN = 127 };

typedef struct pack {
  const cli_args *args;
  wg_config *config;
  cli_sdk sdk;
  const char *world;
  char *output;    /**< relative to the current folder */
  char *temporary; /**< beside it; removed at the end if it is still there */
  char **argv;
} pack;

static void on_warning(void *user, const char *text) {
  (void)user;
  if (!ui_json()) ui_warn(text);
}

/** A language of warp.toml, or what the sources look like. */
static wg_code pack_language(const pack *p, wg_error *err) {
  const char *lang = cli_value(p->args, "lang");
  if (!lang) lang = p->config->lang;
  if (!lang || strcmp(lang, "c") == 0) return WG_OK;
  wg_error_set(err, WG_UNSUPPORTED, 0, "language '%s' is not available in this version", lang);
  wg_error_hint(err, "this version packs: c");
  return WG_UNSUPPORTED;
}

static wg_code pack_world(pack *p, wg_error *err) {
  p->world = cli_value(p->args, "world");
  if (!p->world) p->world = p->config->build_world ? p->config->build_world : "service-p2";
  char **worlds = NULL;
  wg_code code = cli_sdk_words(&p->sdk, "worlds", NULL, &worlds, err);
  if (code == WG_OK) {
    bool known = false;
    size_t count = 0;
    for (; worlds && worlds[count]; count++) known |= strcmp(worlds[count], p->world) == 0;
    if (!known) {
      const char *near = cfg_nearest_of(p->world, (const char *const *)worlds, count);
      code = wg_error_set(err, WG_INVALID, 0, "unknown world '%s'", p->world);
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
static wg_code pack_glob(pack *p, const char *pattern, wg_error *err) {
  const char *dir = p->config->dir;
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
  for (size_t i = 0; code == WG_OK && i < found.gl_pathc; i++)
    code = cli_list_add(&p->argv, found.gl_pathv[i] + skip, err);
  if (rc == 0) globfree(&found);
  return code;
}

/** The whole command line of the compiler. */
static wg_code pack_argv(pack *p, wg_error *err) {
  static const char *const standard_sources[] = {"src/*.c", NULL};
  const char *clang = getenv("WARPGRID_CLANG");
  const char *const *sources = (const char *const *)p->config->build_sources;
  if (!sources || !*sources) sources = standard_sources;
  wg_code code = cli_list_add(&p->argv, clang && *clang ? clang : "clang-22", err);
  if (code == WG_OK) code = cli_sdk_words(&p->sdk, "compile", NULL, &p->argv, err);
  if (code == WG_OK) code = cli_sdk_words(&p->sdk, "compile", p->world, &p->argv, err);
  for (char **f = p->config->build_flags; code == WG_OK && f && *f; f++)
    code = cli_list_add(&p->argv, *f, err);
  for (; code == WG_OK && *sources; sources++) code = pack_glob(p, *sources, err);
  if (code == WG_OK) code = cli_sdk_words(&p->sdk, "link", NULL, &p->argv, err);
  if (code == WG_OK) code = cli_sdk_words(&p->sdk, "link", p->world, &p->argv, err);
  if (code == WG_OK) code = cli_list_add(&p->argv, "-o", err);
  return code;
}

/** Makes the folders of a path. */
static wg_code make_folders(const char *path, wg_error *err) {
  char folder[4096];
  snprintf(folder, sizeof folder, "%s", path);
  for (char *slash = strchr(folder + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
    *slash = '\0';
    if (mkdir(folder, 0777) != 0 && errno != EEXIST)
      return wg_error_set(err, WG_IO, errno, "cannot make folder '%s': %s", folder,
                          wg_os_error(errno));
    *slash = '/';
  }
  return WG_OK;
}

/** The temporary file, under an absolute name: the compiler runs in the project's folder. */
static wg_code pack_temporary(pack *p, wg_error *err) {
  const char *given = cli_value(p->args, "output");
  p->output = strdup(given ? given : p->config->component);
  if (!p->output) return wg_error_set(err, WG_NOMEM, 0, "out of memory");
  wg_code code = make_folders(p->output, err);
  if (code != WG_OK) return code;
  char here[4096] = "";
  if (p->output[0] != '/' && !getcwd(here, sizeof here))
    return wg_error_set(err, WG_IO, errno, "cannot find the current folder: %s",
                        wg_os_error(errno));
  char *name;
  if (asprintf(&name, "%s%s%s.XXXXXX", here, *here ? "/" : "", p->output) < 0)
    return wg_error_set(err, WG_NOMEM, 0, "out of memory");
  p->temporary = name;
  int fd = mkstemp(p->temporary);
  if (fd < 0) {
    code = wg_error_set(err, WG_IO, errno, "cannot write '%s': %s", p->output, wg_os_error(errno));
    free(p->temporary);
    p->temporary = NULL;
    return code;
  }
  close(fd);
  return cli_list_add(&p->argv, p->temporary, err);
}

/** Runs the compiler in the project's folder; its messages go to our stderr as they are.
 *  @param exit_code  its exit code; 130 when it was interrupted */
static wg_code pack_compile(const pack *p, int *exit_code, wg_error *err) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  sigset_t restored;
  /* Ctrl-C ends the compiler; we stay to remove what it left. */
  struct sigaction ignore = {.sa_handler = SIG_IGN}, interrupt, quit;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addchdir_np(&actions, p->config->dir);
  posix_spawn_file_actions_adddup2(&actions, 2, 1); /* stdout is for results */
  posix_spawnattr_init(&attributes);
  sigemptyset(&restored);
  sigaddset(&restored, SIGINT);
  sigaddset(&restored, SIGQUIT);
  sigaddset(&restored, SIGPIPE);
  posix_spawnattr_setsigdefault(&attributes, &restored);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
  sigaction(SIGINT, &ignore, &interrupt);
  sigaction(SIGQUIT, &ignore, &quit);
  pid_t pid;
  int status = 0;
  int rc = posix_spawnp(&pid, p->argv[0], &actions, &attributes, p->argv, environ);
  if (rc == 0)
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
  sigaction(SIGINT, &interrupt, NULL);
  sigaction(SIGQUIT, &quit, NULL);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (rc != 0 || (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_CANNOT_RUN)) {
    wg_error_set(err, rc == ENOENT ? WG_NOT_FOUND : WG_IO, rc, "cannot run the compiler '%s': %s",
                 p->argv[0], rc ? wg_os_error(rc) : "it could not be started");
    wg_error_hint(err, "install it with scripts/bootstrap.sh (Debian: apt-get install clang-22 "
                       "lld-22), or set WARPGRID_CLANG");
    return err->code;
  }
  *exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return WG_OK;
}

static void pack_print_command(const pack *p) {
  for (char **a = p->argv; *a; a++) fprintf(stderr, "%s%s", a == p->argv ? "" : " ", *a);
  fputc('\n', stderr);
}

static wg_code pack_finish(pack *p, wg_error *err) {
  struct stat made;
  /* mkstemp made it private, but the component is like any other output of a compiler. */
  mode_t mask = umask(0);
  umask(mask);
  if (stat(p->temporary, &made) != 0 || chmod(p->temporary, 0666 & ~mask) != 0 ||
      rename(p->temporary, p->output) != 0)
    return wg_error_set(err, WG_IO, errno, "cannot write '%s': %s", p->output, wg_os_error(errno));
  free(p->temporary);
  p->temporary = NULL;
  if (ui_json()) {
    wg_buf out;
    ui_json_begin(&out, "pack", true);
    wg_buf_printf(&out, ",\"output\":");
    ui_json_string(&out, p->output);
    wg_buf_printf(&out, ",\"world\":");
    ui_json_string(&out, p->world);
    wg_buf_printf(&out, ",\"bytes\":%lld", (long long)made.st_size);
    ui_json_end(&out);
  } else {
    ui_print("%s\n", p->output);
  }
  return WG_OK;
}

int cmd_pack(const cli_args *args) {
  wg_error err;
  pack p = {.args = args};
  int exit_code = CLI_DONE;
  wg_code code = wg_config_load(cli_value(args, "config"), on_warning, NULL, &p.config, &err);
  if (code == WG_OK) code = pack_language(&p, &err);
  if (code == WG_OK) code = cli_sdk_find(&p.sdk, &err);
  if (code == WG_OK) code = pack_world(&p, &err);
  if (code == WG_OK) code = pack_argv(&p, &err);
  if (code == WG_OK) code = pack_temporary(&p, &err);
  if (code == WG_OK) {
    if (cli_flag(args, "verbose")) pack_print_command(&p);
    code = pack_compile(&p, &exit_code, &err);
  }
  if (code == WG_OK && exit_code == CLI_DONE) code = pack_finish(&p, &err);
  if (code != WG_OK) {
    exit_code = ui_fail("pack", &err, CLI_FAILED);
  } else if (exit_code != CLI_DONE && ui_json()) {
    wg_error_set(&err, WG_INVALID, 0, "the compiler failed with exit code %d", exit_code);
    ui_fail("pack", &err, exit_code);
  }
  if (p.temporary) unlink(p.temporary);
  free(p.temporary);
  free(p.output);
  cli_list_free(p.argv);
  cli_sdk_release(&p.sdk);
  wg_config_free(p.config);
  return exit_code;
}
