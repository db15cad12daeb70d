/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/dev/watch_tree.h"

#include "base/text.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* One watch a folder, whatever inputs are in it: the kernel gives a folder one number, and editors
 * that save by rename make a file's own watch useless. */

enum {
  DEPTH_MAX = 64,
  EVENTS = IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_CREATE | IN_DELETE_SELF |
           IN_MOVE_SELF | IN_ONLYDIR
};
/** A save that is further away than this is no save but a file with an old time moved in. */
static const uint64_t plausible_us = 2000000;

typedef struct folder {
  int wd;
  char *path;
  char **files;  /* names that count; NULL-terminated; NULL: none by name */
  bool all;      /* all of its files count */
  bool tree;     /* and all below its folders */
  char **awaited; /* names that lead to an input that is not there yet; NULL-terminated */
} folder;

struct watch_tree {
  int fd;
  folder *folders;
  size_t count, room;
  char *ignored_folder, *ignored_name;
  /* the inputs, to look again when a folder appears or goes */
  cli_input *inputs;
  size_t input_count;
  bool look_again;
};

wg_code watch_tree_new(watch_tree **out, wg_error *err) {
  watch_tree *w = calloc(1, sizeof *w);
  if (!w) return wg_error_set(err, WG_NOMEM, 0, "out of memory");
  w->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  if (w->fd < 0) {
    int sys = errno;
    free(w);
    wg_error_set(err, WG_IO, sys, "cannot watch files: %s", wg_os_error(sys));
    if (sys == EMFILE) wg_error_hint(err, "raise fs.inotify.max_user_instances by sysctl");
    return WG_IO;
  }
  *out = w;
  return WG_OK;
}

static void folder_release(folder *f) {
  free(f->path);
  char **const lists[] = {f->files, f->awaited};
  for (size_t i = 0; i < WG_COUNT(lists); i++) {
    for (char **p = lists[i]; p && *p; p++) free(*p);
    free(lists[i]);
  }
}

static void forget_folders(watch_tree *w) {
  for (size_t i = 0; i < w->count; i++) {
    (void)inotify_rm_watch(w->fd, w->folders[i].wd); /* gone already when its folder is */
    folder_release(&w->folders[i]);
  }
  w->count = 0;
}

static void forget_inputs(watch_tree *w) {
  for (size_t i = 0; i < w->input_count; i++) free(w->inputs[i].path);
  free(w->inputs);
  w->inputs = NULL;
  w->input_count = 0;
  free(w->ignored_folder);
  free(w->ignored_name);
  w->ignored_folder = w->ignored_name = NULL;
}

void watch_tree_free(watch_tree *w) {
  if (!w) return;
  forget_folders(w);
  forget_inputs(w);
  free(w->folders);
  close(w->fd);
  free(w);
}

int watch_tree_fd(const watch_tree *w) { return w->fd; }
size_t watch_tree_count(const watch_tree *w) { return w->count; }

/* ---- names ---- */

static bool skipped_folder(const char *name) {
  return name[0] == '.' || strcmp(name, "dist") == 0 || strcmp(name, "target") == 0 ||
         strcmp(name, "node_modules") == 0;
}

/** Files that editors and compilers keep for themselves. */
static bool skipped_file(const char *name) {
  size_t n = strlen(name);
  return name[0] == '.' || name[0] == '#' || (n && name[n - 1] == '~') ||
         strcmp(name, "4913") == 0 /* vim asks itself whether it may write here */ ||
         (n > 4 && (strcmp(name + n - 4, ".swp") == 0 || strcmp(name + n - 4, ".tmp") == 0));
}

static bool in_list(char *const *list, const char *name) {
  for (; list && *list; list++)
    if (strcmp(*list, name) == 0) return true;
  return false;
}

/** True when a file of this name in this folder is an input. */
static bool counts(const watch_tree *w, const folder *f, const char *name) {
  if (in_list(f->files, name) || in_list(f->awaited, name)) return true;
  if (!f->all) return false;
  if (w->ignored_name && strcmp(name, w->ignored_name) == 0 &&
      strcmp(f->path, w->ignored_folder) == 0)
    return false;
  return !skipped_file(name);
}

/* ---- folders ---- */

static wg_code no_memory(wg_error *err) { return wg_error_set(err, WG_NOMEM, 0, "out of memory"); }

/** The watch of a folder, new or known. The pointer is good until the next one is added.
 *  @return WG_NOT_FOUND: there is no such folder */
static wg_code folder_add(watch_tree *w, const char *path, folder **out, wg_error *err) {
  char *real = realpath(path, NULL);
  if (!real) {
    if (errno == ENOMEM) return no_memory(err);
    return wg_error_set(err, WG_NOT_FOUND, errno, "no folder '%s'", path);
  }
  int wd = inotify_add_watch(w->fd, real, EVENTS);
  if (wd < 0) {
    int sys = errno;
    free(real);
    if (sys == ENOENT || sys == ENOTDIR || sys == EACCES)
      return wg_error_set(err, WG_NOT_FOUND, sys, "no folder '%s'", path);
    wg_error_set(err, sys == ENOSPC ? WG_EXHAUSTED : WG_IO, sys, "cannot watch '%s': %s", path,
                 wg_os_error(sys));
    if (sys == ENOSPC) wg_error_hint(err, "raise fs.inotify.max_user_watches by sysctl");
    return err ? err->code : WG_IO;
  }
  for (size_t i = 0; i < w->count; i++)
    if (w->folders[i].wd == wd) {
      free(real);
      *out = &w->folders[i];
      return WG_OK;
    }
  if (w->count == WATCH_FOLDERS_MAX) {
    free(real);
    (void)inotify_rm_watch(w->fd, wd);
    return wg_error_set(err, WG_EXHAUSTED, 0, "cannot watch '%s': more than %d folders", path,
                        WATCH_FOLDERS_MAX);
  }
  if (w->count == w->room) {
    size_t room = w->room ? 2 * w->room : 16;
    folder *grown = realloc(w->folders, room * sizeof *grown);
    if (!grown) {
      free(real);
      return no_memory(err);
    }
    w->folders = grown;
    w->room = room;
  }
  w->folders[w->count] = (folder){.wd = wd, .path = real};
  *out = &w->folders[w->count++];
  return WG_OK;
}

static wg_code add_name(char ***list, const char *name, wg_error *err) {
  size_t n = 0;
  if (in_list(*list, name)) return WG_OK;
  while (*list && (*list)[n]) n++;
  char **grown = realloc(*list, (n + 2) * sizeof *grown);
  if (!grown) return no_memory(err);
  *list = grown;
  grown[n] = strdup(name);
  grown[n + 1] = NULL;
  return grown[n] ? WG_OK : no_memory(err);
}

/** Watches a folder, and what is below it, if `tree`. */
static wg_code add_folder(watch_tree *w, const char *path, bool tree, unsigned depth,
                          wg_error *err) {
  folder *f;
  wg_code code = folder_add(w, path, &f, err);
  if (code != WG_OK) return code;
  bool known = f->tree;
  f->all = true;
  f->tree |= tree;
  if (!tree || known || depth == DEPTH_MAX) return WG_OK;
  DIR *d = opendir(path);
  if (!d) return WG_OK; /* gone again */
  for (struct dirent *e; code == WG_OK && (e = readdir(d));) {
    char below[PATH_MAX];
    struct stat s;
    if (skipped_folder(e->d_name)) continue;
    int n = snprintf(below, sizeof below, "%s/%s", path, e->d_name);
    if (n < 0 || (size_t)n >= sizeof below || lstat(below, &s) != 0 || !S_ISDIR(s.st_mode))
      continue; /* a link that leads up would never end */
    code = add_folder(w, below, true, depth + 1, err);
    if (code == WG_NOT_FOUND) code = WG_OK;
  }
  closedir(d);
  return code;
}

/** Watches the nearest folder above that exists, for what leads to the path to appear there. */
static wg_code add_awaited(watch_tree *w, const char *path, wg_error *err) {
  char above[PATH_MAX], name[PATH_MAX];
  if ((size_t)snprintf(above, sizeof above, "%s", path) >= sizeof above) return WG_OK;
  for (;;) {
    char *slash = strrchr(above, '/');
    snprintf(name, sizeof name, "%s", slash ? slash + 1 : above);
    if (!slash)
      snprintf(above, sizeof above, ".");
    else
      above[slash == above ? 1 : slash - above] = '\0';
    folder *f;
    wg_code code = folder_add(w, above, &f, err);
    if (code == WG_OK) return add_name(&f->awaited, name, err);
    if (code != WG_NOT_FOUND || !slash || slash == above) return code;
  }
}

static wg_code add_input(watch_tree *w, const cli_input *input, wg_error *err) {
  wg_code code;
  if (input->kind == CLI_INPUT_FILE) {
    char above[PATH_MAX];
    folder *f;
    const char *slash = strrchr(input->path, '/'), *name = slash ? slash + 1 : input->path;
    int n = snprintf(above, sizeof above, "%.*s", slash ? (int)(slash - input->path) : 1,
                     slash ? input->path : ".");
    if (n < 0 || (size_t)n >= sizeof above) return WG_OK;
    code = folder_add(w, n ? above : "/", &f, err);
    if (code == WG_OK) return add_name(&f->files, name, err);
  } else {
    code = add_folder(w, input->path, input->kind == CLI_INPUT_TREE, 0, err);
  }
  return code == WG_NOT_FOUND ? add_awaited(w, input->path, err) : code;
}

/** Watches the inputs as they are now. */
static wg_code look(watch_tree *w, wg_error *err) {
  wg_code code = WG_OK;
  w->look_again = false;
  forget_folders(w);
  for (size_t i = 0; i < w->input_count && code == WG_OK; i++)
    code = add_input(w, &w->inputs[i], err);
  return code;
}

/** The real path of a folder that may be still to be made: that of the nearest one above that is
 *  there, and the rest as it is called. NULL: out of memory, or not to be told. */
static char *real_folder(const char *path) {
  char above[PATH_MAX];
  size_t len = strlen(path);
  if (len >= sizeof above) return NULL;
  memcpy(above, path, len + 1);
  for (;;) {
    char *real = realpath(len ? above : *path == '/' ? "/" : ".", NULL), *whole;
    if (real || errno != ENOENT || !len) {
      const char *rest = path + len + (path[len] == '/');
      if (!real || !*rest) return real;
      int n = asprintf(&whole, "%s/%s", strcmp(real, "/") == 0 ? "" : real, rest);
      free(real);
      return n < 0 ? NULL : whole;
    }
    while (len && above[len - 1] != '/') len--;
    if (len) len--;
    above[len] = '\0';
  }
}

/** Splits the path of the output into a real folder and a name. */
static wg_code set_ignored(watch_tree *w, const char *path, wg_error *err) {
  const char *slash = strrchr(path, '/');
  char *above = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
  w->ignored_folder = above ? real_folder(above) : NULL;
  bool memory = !above || (!w->ignored_folder && errno == ENOMEM);
  free(above);
  if (w->ignored_folder) w->ignored_name = strdup(slash ? slash + 1 : path);
  if (memory || (w->ignored_folder && !w->ignored_name)) return no_memory(err);
  return WG_OK;
}

wg_code watch_tree_set(watch_tree *w, const cli_inputs *inputs, const char *ignored,
                       wg_error *err) {
  forget_inputs(w);
  w->inputs = calloc(inputs->count ? inputs->count : 1, sizeof *w->inputs);
  if (!w->inputs) return no_memory(err);
  for (; w->input_count < inputs->count; w->input_count++) {
    const cli_input *from = &inputs->list[w->input_count];
    w->inputs[w->input_count] = (cli_input){strdup(from->path), from->kind};
    if (!w->inputs[w->input_count].path) return no_memory(err);
  }
  wg_code code = ignored ? set_ignored(w, ignored, err) : WG_OK;
  return code == WG_OK ? look(w, err) : code;
}

/* ---- events ---- */

/** @param better  the name is the one that people know, when another is there already */
static void changed(watch_change *change, const folder *f, const char *name, bool better) {
  if (change->events == 0 || better) snprintf(change->name, sizeof change->name, "%s", name);
  if (change->events++ > 0) return;
  uint64_t now = wg_clock_us(CLOCK_MONOTONIC), real = wg_clock_us(CLOCK_REALTIME);
  char path[PATH_MAX];
  struct stat s;
  change->at_us = now;
  int n = f ? snprintf(path, sizeof path, "%s/%s", f->path, name) : -1;
  if (n < 0 || (size_t)n >= sizeof path || stat(path, &s) != 0) return;
  uint64_t saved = (uint64_t)s.st_mtim.tv_sec * 1000000 + (uint64_t)s.st_mtim.tv_nsec / 1000;
  if (saved <= real && real - saved < plausible_us) change->at_us = now - (real - saved);
}

static folder *folder_of(watch_tree *w, int wd) {
  for (size_t i = 0; i < w->count; i++)
    if (w->folders[i].wd == wd) return &w->folders[i];
  return NULL;
}

/** True for the output's folder and those above it, which a build makes and takes away again. */
static bool leads_to_output(const watch_tree *w, const char *path) {
  size_t n = strlen(path);
  return w->ignored_folder && strncmp(w->ignored_folder, path, n) == 0 &&
         (w->ignored_folder[n] == '/' || !w->ignored_folder[n]);
}

/** True for a folder that a build made: with nothing in it that somebody else put there. */
static bool made_by_build(const watch_tree *w, const char *path) {
  bool ours = leads_to_output(w, path);
  DIR *d = ours ? opendir(path) : NULL;
  for (struct dirent *e; d && ours && (e = readdir(d));) {
    char below[PATH_MAX];
    int n = snprintf(below, sizeof below, "%s/%s", path, e->d_name);
    ours = skipped_file(e->d_name) || strcmp(e->d_name, w->ignored_name) == 0 ||
           (n > 0 && (size_t)n < sizeof below && leads_to_output(w, below));
  }
  if (d) closedir(d);
  return ours;
}

static void on_event(watch_tree *w, const struct inotify_event *e, watch_change *change) {
  if (e->mask & IN_Q_OVERFLOW) { /* something was lost: look at all, and build */
    w->look_again = true;
    changed(change, NULL, "many files", true);
    return;
  }
  folder *f = folder_of(w, e->wd);
  if (!f) return; /* of a folder that is not watched any more */
  if (e->mask & (IN_IGNORED | IN_DELETE_SELF | IN_MOVE_SELF)) {
    if (e->mask & IN_MOVE_SELF || !leads_to_output(w, f->path))
      changed(change, NULL, f->path, false);
    w->look_again = true;
    return;
  }
  if (!e->len) return;
  if (e->mask & IN_ISDIR) {
    char below[PATH_MAX];
    int n = snprintf(below, sizeof below, "%s/%s", f->path, e->name);
    bool fits = n > 0 && (size_t)n < sizeof below;
    bool ours = fits && e->mask & (IN_CREATE | IN_DELETE) && made_by_build(w, below);
    if (in_list(f->awaited, e->name)) {
      w->look_again = true;
      if (!ours) changed(change, f, e->name, false);
      return;
    }
    if (!f->tree || skipped_folder(e->name)) return;
    /* Also for what was put into it before it was watched. */
    if (!ours) changed(change, f, e->name, false);
    if (fits && (e->mask & (IN_CREATE | IN_MOVED_TO)))
      w->look_again |= add_folder(w, below, true, 1, NULL) == WG_NOMEM;
    return;
  }
  if (e->mask & IN_CREATE) { /* an open file comes again when it is closed; a link does not */
    char path[PATH_MAX];
    struct stat s;
    int n = snprintf(path, sizeof path, "%s/%s", f->path, e->name);
    if (n < 0 || (size_t)n >= sizeof path || lstat(path, &s) != 0) return;
    if (!S_ISLNK(s.st_mode) && s.st_nlink < 2) return;
  }
  /* What is moved in place has its own name at last; it was written under another one. */
  if (counts(w, f, e->name)) changed(change, f, e->name, e->mask & IN_MOVED_TO);
}

void watch_tree_read(watch_tree *w, watch_change *change) {
  char buffer[16384] __attribute__((aligned(__alignof__(struct inotify_event))));
  for (;;) {
    ssize_t n = read(w->fd, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    for (char *p = buffer; p < buffer + n;) {
      const struct inotify_event *e = (const struct inotify_event *)(void *)p;
      p += sizeof *e + e->len;
      on_event(w, e, change);
    }
  }
  /* What cannot be watched now is looked for again with the next event. */
  if (w->look_again) (void)!look(w, NULL);
}
