/* SPDX-License-Identifier: Apache-2.0 */
/* start -> STEP --next()--> STEP ... --build_done()--> ended
 *            `--failed, cancelled--> ended: the temporary file and new folders are gone */
#include "cli/build/build.h"

#include "base/text.h"
#include "cli/build/pipeline.h"
#include "cli/paths.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

enum {
  EXIT_CANNOT_RUN = 127,
  GRACE_MS = 1000, /* between SIGTERM and SIGKILL */
  GROUP_MS = 200,  /* for the children of a step to be gone, after SIGKILL */
  MESSAGES_MAX = 1 << 20,
  KEPT_MAX = 16 << 20
};

char *build_path(const char *dir, const char *name) {
  if (*name == '/' || strcmp(dir, ".") == 0) return strdup(name);
  char *path;
  return asprintf(&path, "%s/%s", dir, name) < 0 ? NULL : path;
}

void build_say(cli_build *b, const char *fmt, ...) {
  if (!b->say) return;
  char *line;
  va_list ap;
  va_start(ap, fmt);
  int n = vasprintf(&line, fmt, ap);
  va_end(ap);
  if (n < 0) return;
  b->say(b->user, line);
  free(line);
}

/* ---- the output ---- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *place) {
  (void)st, (void)type, (void)place;
  return remove(path) != 0 && errno != ENOENT;
}

/** Removes the temporary file, and what tools that were killed left beside it. */
static void drop_temporary(cli_build *b) {
  if (!b->temporary) return;
  *strrchr(b->temporary, '/') = '\0';
  nftw(b->temporary, remove_one, 8, FTW_DEPTH | FTW_PHYS);
  free(b->temporary);
  b->temporary = NULL;
}

/** Leaves the disk as it was. */
static void build_undo(cli_build *b) {
  drop_temporary(b);
  if (!b->made_from) return;
  for (char *slash = strrchr(b->target, '/'); slash && (size_t)(slash - b->target) >= b->made_from;
       slash = strrchr(b->target, '/')) {
    *slash = '\0';
    rmdir(b->target); /* fails when somebody put something there meanwhile, as it should */
  }
  b->made_from = 0;
}

wg_code build_temporary(cli_build *b, wg_error *err) {
  wg_code code = cli_make_folders(b->target, &b->made_from, err);
  if (code != WG_OK) return code;
  /* In a hidden folder of its own: linkers have temporary files of their own beside their output,
   * and leave them there when they are killed. */
  const char *slash = strrchr(b->target, '/');
  char *folder;
  if (asprintf(&folder, "%.*s/.%s.XXXXXX", (int)(slash - b->target), b->target, slash + 1) < 0)
    return wg_error_set(err, WG_NOMEM, 0, "out of memory");
  if (!mkdtemp(folder)) {
    code = wg_error_set(err, WG_IO, errno, "cannot write '%s': %s", b->output, wg_os_error(errno));
    free(folder);
    return code;
  }
  if (asprintf(&b->temporary, "%s%s", folder, slash) < 0) {
    b->temporary = NULL;
    code = wg_error_set(err, WG_NOMEM, 0, "out of memory");
    rmdir(folder);
    free(folder);
    return code;
  }
  free(folder);
  int fd = open(b->temporary, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
  if (fd < 0) {
    code = wg_error_set(err, WG_IO, errno, "cannot write '%s': %s", b->output, wg_os_error(errno));
    drop_temporary(b);
    return code;
  }
  close(fd);
  return WG_OK;
}

bool build_is_component(const char *path) {
  static const char component[8] = {0, 'a', 's', 'm', 13, 0, 1, 0};
  char found[sizeof component];
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  bool is = fd >= 0 && read(fd, found, sizeof found) == (ssize_t)sizeof found &&
            memcmp(found, component, sizeof found) == 0;
  if (fd >= 0) close(fd);
  return is;
}

wg_code build_install(cli_build *b, wg_error *err) {
  /* It was made private, but the component is like any other output of a compiler. */
  mode_t mask = umask(0);
  umask(mask);
  if (chmod(b->temporary, 0666 & ~mask) != 0 || rename(b->temporary, b->target) != 0)
    return wg_error_set(err, WG_IO, errno, "cannot write '%s': %s", b->output, wg_os_error(errno));
  drop_temporary(b);
  return WG_OK;
}

wg_code build_done(cli_build *b, int exit_code, wg_error *err) {
  struct stat made;
  b->ended = true;
  b->result.exit_code = exit_code;
  b->result.seconds = (double)(wg_clock_us(CLOCK_MONOTONIC) - b->started_us) / 1e6;
  if (exit_code != 0) return WG_OK;
  if (stat(b->target, &made) != 0)
    return wg_error_set(err, WG_IO, errno, "cannot read '%s': %s", b->output, wg_os_error(errno));
  b->result.bytes = (uint64_t)made.st_size;
  b->made_from = 0; /* they have something to hold now */
  return WG_OK;
}

/* ---- steps ---- */

static int memory_file(const char *name, wg_error *err) {
  int fd = memfd_create(name, MFD_CLOEXEC);
  if (fd < 0) wg_error_set(err, WG_IO, errno, "cannot make a memory file: %s", wg_os_error(errno));
  return fd;
}

/** The text of a memory file, at most `max` bytes of it. */
static char *memory_text(int fd, size_t max) {
  struct stat s;
  if (fd < 0 || fstat(fd, &s) != 0) return NULL;
  size_t len = (uint64_t)s.st_size < max ? (size_t)s.st_size : max, have = 0;
  char *text = malloc(len + 1);
  if (!text) return NULL;
  while (have < len) {
    ssize_t n = pread(fd, text + have, len - have, (off_t)have);
    if (n <= 0) break;
    have += (size_t)n;
  }
  text[have] = '\0';
  return text;
}

char *build_kept(cli_build *b) { return memory_text(b->kept, KEPT_MAX); }

static bool overridden(const char *variable, char *const *env) {
  size_t n = strcspn(variable, "=");
  for (; env && *env; env++)
    if (strncmp(*env, variable, n) == 0 && (*env)[n] == '=') return true;
  return false;
}

/** Our environment with `env` in it; the texts are borrowed. */
static char **merged_environment(char *const *env) {
  size_t n = 0;
  for (char **e = environ; *e; e++) n++;
  for (char *const *e = env; e && *e; e++) n++;
  char **merged = calloc(n + 1, sizeof *merged);
  if (!merged) return NULL;
  n = 0;
  for (char **e = environ; *e; e++)
    if (!overridden(*e, env)) merged[n++] = *e;
  for (char *const *e = env; e && *e; e++) merged[n++] = *e;
  return merged;
}

static void say_command(cli_build *b, char *const *argv, char *const *env) {
  if (!b->show_commands) return;
  wg_buf line;
  wg_buf_init(&line, 1 << 20);
  for (; env && *env; env++) wg_buf_printf(&line, "%s ", *env);
  for (char *const *a = argv; *a; a++) wg_buf_printf(&line, "%s%s", a == argv ? "" : " ", *a);
  build_say(b, "%.*s", (int)wg_buf_len(&line), (const char *)wg_buf_head(&line));
  wg_buf_release(&line);
}

/** posix_spawnp() of a step. @return 0 or an errno */
static int spawn_step(cli_build *b, char *const *argv, char **environment, step_output output) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  sigset_t standard, blocked;
  int messages = b->messages >= 0 ? b->messages : STDERR_FILENO;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addchdir_np(&actions, b->config->dir);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  /* stdout before stderr, which may be the source of the copy */
  posix_spawn_file_actions_adddup2(&actions, output == STEP_MESSAGES ? messages : b->kept,
                                   STDOUT_FILENO);
  if (output == STEP_QUIET)
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  else if (messages != STDERR_FILENO)
    posix_spawn_file_actions_adddup2(&actions, messages, STDERR_FILENO);
  posix_spawnattr_init(&attributes);
  sigemptyset(&blocked);
  /* It is not the terminal's foreground, but writes there: `stty tostop` shall not stop it. */
  sigaddset(&blocked, SIGTTOU);
  sigemptyset(&standard);
  sigaddset(&standard, SIGINT);
  sigaddset(&standard, SIGQUIT);
  sigaddset(&standard, SIGTERM);
  sigaddset(&standard, SIGPIPE);
  posix_spawnattr_setsigdefault(&attributes, &standard);
  posix_spawnattr_setsigmask(&attributes, &blocked);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
  int rc = posix_spawnp(&b->pid, argv[0], &actions, &attributes, argv, environment);
  if (rc != 0) b->pid = 0;
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  return rc;
}

static wg_code cannot_run(const char *tool, int sys, const char *hint, wg_error *err) {
  wg_error_set(err, sys == ENOENT ? WG_NOT_FOUND : WG_IO, sys, "cannot run '%s': %s", tool,
               sys ? wg_os_error(sys) : "it could not be started");
  wg_error_hint(err, "%s", hint);
  return err ? err->code : WG_IO;
}

wg_code build_run(cli_build *b, char *const *argv, char *const *env, step_output output,
                  const char *hint, wg_code (*next)(cli_build *b, int exit_code, wg_error *err),
                  wg_error *err) {
  WG_ASSERT(!b->pid && !b->ended);
  b->next = next;
  say_command(b, argv, env);
  if (ftruncate(b->kept, 0) != 0 || lseek(b->kept, 0, SEEK_SET) != 0)
    return wg_error_set(err, WG_IO, errno, "cannot clear a memory file: %s", wg_os_error(errno));
  free(b->tool);
  b->tool = strdup(argv[0]);
  char **environment = merged_environment(env);
  if (!environment || !b->tool) {
    free(environment);
    return wg_error_set(err, WG_NOMEM, 0, "out of memory");
  }
  fflush(stderr); /* its messages come after ours */
  int rc = spawn_step(b, argv, environment, output);
  free(environment);
  if (rc != 0) return cannot_run(argv[0], rc, hint, err);
  b->pidfd = pidfd_open(b->pid, 0);
  struct epoll_event readable = {.events = EPOLLIN};
  if (b->pidfd >= 0 && epoll_ctl(b->epoll, EPOLL_CTL_ADD, b->pidfd, &readable) == 0) return WG_OK;
  wg_error_set(err, WG_IO, errno, "cannot watch '%s': %s", argv[0], wg_os_error(errno));
  cli_build_cancel(b);
  return WG_IO;
}

/** Waits for the step's end. @return false: not within timeout_ms (-1: no limit) */
static bool step_ended(const cli_build *b, int timeout_ms) {
  struct pollfd p = {.fd = b->pidfd, .events = POLLIN};
  int rc;
  do rc = poll(&p, 1, timeout_ms);
  while (rc < 0 && errno == EINTR);
  return rc != 0;
}

/** Collects the step that has ended, and ends what it left behind in its group. */
static int step_reap(cli_build *b) {
  int status = 0;
  /* Not collected yet, so the number is still that of our group. */
  kill(-b->pid, SIGKILL);
  while (waitpid(b->pid, &status, 0) < 0 && errno == EINTR) continue;
  /* Its children may be on their way out, with a file half made: wait for them, within reason. */
  for (int ms = 0; ms < GROUP_MS && kill(-b->pid, 0) == 0; ms++)
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
  if (b->pidfd >= 0) close(b->pidfd); /* which takes it out of the epoll */
  b->pidfd = -1;
  b->pid = 0;
  b->result.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  return b->result.signal ? 128 + b->result.signal : WEXITSTATUS(status);
}

static void build_fail(cli_build *b) {
  b->ended = true;
  b->result.exit_code = 1;
  b->result.seconds = (double)(wg_clock_us(CLOCK_MONOTONIC) - b->started_us) / 1e6;
}

wg_code cli_build_step(cli_build *b, bool *ended, wg_error *err) {
  wg_code code = WG_OK;
  if (b->pid && step_ended(b, 0)) {
    int exit_code = step_reap(b);
    if (exit_code == EXIT_CANNOT_RUN)
      code = cannot_run(b->tool, 0, "see what it wrote above", err);
    else
      code = b->next(b, exit_code, err);
    if (code != WG_OK) build_fail(b);
    if (b->ended) build_undo(b);
  }
  *ended = b->ended;
  return code;
}

wg_code cli_build_wait(cli_build *b, wg_error *err) {
  bool ended = b->ended;
  wg_code code = WG_OK;
  while (code == WG_OK && !ended) {
    step_ended(b, -1);
    code = cli_build_step(b, &ended, err);
  }
  return code;
}

void cli_build_failure(const cli_build_result *r, wg_error *err) {
  if (r->signal)
    wg_error_set(err, WG_INVALID, 0, "the compiler was ended by signal %d (%s)", r->signal,
                 strsignal(r->signal));
  else
    wg_error_set(err, WG_INVALID, 0, "the compiler failed with exit code %d", r->exit_code);
}

void cli_build_cancel(cli_build *b) {
  if (b->pid) {
    kill(-b->pid, SIGTERM);
    if (b->pidfd >= 0) step_ended(b, GRACE_MS);
    step_reap(b);
  }
  if (!b->ended) build_fail(b);
  build_undo(b);
}

/* ---- from start to end ---- */

/** The output's absolute name: steps run in the project's folder. */
static wg_code build_target(cli_build *b, const char *output, wg_error *err) {
  size_t len = strlen(output);
  if (!len || output[len - 1] == '/') {
    wg_error_set(err, WG_INVALID, 0, "'%s' is no name of a file", output);
    wg_error_hint(err, "write the component's name, too: %sapp.wasm", output);
    return WG_INVALID;
  }
  char here[4096] = "";
  if (output[0] != '/' && !getcwd(here, sizeof here))
    return wg_error_set(err, WG_IO, errno, "cannot find the current folder: %s",
                        wg_os_error(errno));
  b->output = strdup(output);
  if (!b->output || asprintf(&b->target, "%s%s%s", here, *here ? "/" : "", output) < 0) {
    b->target = NULL;
    return wg_error_set(err, WG_NOMEM, 0, "out of memory");
  }
  b->result.output = b->output;
  struct stat there;
  if (stat(b->target, &there) == 0 && S_ISDIR(there.st_mode))
    return wg_error_set(err, WG_IO, EISDIR, "cannot write '%s': it is a folder", output);
  return WG_OK;
}

static wg_code build_setup(cli_build *b, const cli_build_request *r, wg_error *err) {
  const cli_language *language;
  wg_code code = cli_language_find(r->config, r->lang, &language, err);
  if (code != WG_OK) return code;
  b->pipeline = language->pipeline;
  b->result.lang = language->name;
  code = build_target(b, r->output ? r->output : r->config->component, err);
  if (code != WG_OK) return code;
  if (r->world && !(b->world = strdup(r->world)))
    return wg_error_set(err, WG_NOMEM, 0, "out of memory");
  b->epoll = epoll_create1(EPOLL_CLOEXEC);
  if (b->epoll < 0)
    return wg_error_set(err, WG_IO, errno, "cannot watch a build: %s", wg_os_error(errno));
  if ((b->kept = memory_file("warp-step", err)) < 0) return WG_IO;
  if (r->capture && (b->messages = memory_file("warp-messages", err)) < 0) return WG_IO;
  return WG_OK;
}

wg_code cli_build_start(const cli_build_request *r, cli_build **out, wg_error *err) {
  cli_build *b = malloc(sizeof *b);
  if (!b) return wg_error_set(err, WG_NOMEM, 0, "out of memory");
  *b = (cli_build){.config = r->config,
                   .debug = r->debug,
                   .always = r->always,
                   .color = r->color,
                   .show_commands = r->show_commands,
                   .say = r->say,
                   .user = r->user,
                   .pidfd = -1,
                   .epoll = -1,
                   .messages = -1,
                   .kept = -1,
                   .started_us = wg_clock_us(CLOCK_MONOTONIC)};
  wg_code code = build_setup(b, r, err);
  if (code == WG_OK) code = b->pipeline->begin(b, err);
  if (code != WG_OK) {
    cli_build_free(b);
    return code;
  }
  WG_ASSERT(b->pid);
  *out = b;
  return WG_OK;
}

int cli_build_fd(const cli_build *b) { return b->epoll; }

const cli_build_result *cli_build_get_result(cli_build *b) {
  if (!b->messages_text) b->messages_text = memory_text(b->messages, MESSAGES_MAX);
  b->result.messages = b->messages_text ? b->messages_text : "";
  return &b->result;
}

void cli_build_free(cli_build *b) {
  if (!b) return;
  cli_build_cancel(b);
  if (b->state && b->pipeline->release) b->pipeline->release(b->state);
  if (b->epoll >= 0) close(b->epoll);
  if (b->kept >= 0) close(b->kept);
  if (b->messages >= 0) close(b->messages);
  free(b->messages_text);
  free(b->tool);
  free(b->world);
  free(b->target);
  free(b->output);
  free(b);
}

/* ---- what it is made of ---- */

wg_code build_input(cli_inputs *out, char *path, cli_input_kind kind, wg_error *err) {
  for (size_t i = 0; path && i < out->count; i++) {
    if (out->list[i].kind != kind || strcmp(out->list[i].path, path) != 0) continue;
    free(path);
    return WG_OK;
  }
  cli_input *grown = path ? realloc(out->list, (out->count + 1) * sizeof *grown) : NULL;
  if (!grown) {
    free(path);
    return wg_error_set(err, WG_NOMEM, 0, "out of memory");
  }
  out->list = grown;
  grown[out->count++] = (cli_input){path, kind};
  return WG_OK;
}

wg_code cli_build_inputs(const cli_build_request *r, cli_inputs *out, wg_error *err) {
  const cli_language *language;
  *out = (cli_inputs){0};
  wg_code code = cli_language_find(r->config, r->lang, &language, err);
  if (code == WG_OK) {
    char *path =
        r->config->path ? strdup(r->config->path) : build_path(r->config->dir, "warp.toml");
    code = build_input(out, path, CLI_INPUT_FILE, err);
  }
  if (code == WG_OK) code = language->pipeline->inputs(r, out, err);
  if (code != WG_OK) cli_inputs_release(out);
  return code;
}

void cli_inputs_release(cli_inputs *inputs) {
  for (size_t i = 0; i < inputs->count; i++) free(inputs->list[i].path);
  free(inputs->list);
  *inputs = (cli_inputs){0};
}
