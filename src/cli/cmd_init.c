/* SPDX-License-Identifier: Apache-2.0 */
/** @file cmd_init.c  `warp init`: a new project out of a template. Everything is checked before
 *  anything is written; a file that is there is never touched. */
#include "base/text.h"
#include "cli/build/sdk.h"
#include "cli/cli.h"
#include "cli/paths.h"
#include "cli/templates.h"
#include "cli/ui.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_MAX = 1 << 20 };

typedef struct init {
  const cli_args *args;
  const char *dir; /**< as given; "." when not */
  char name[64];
  char template[32], http[32], database[32]; /**< choices of the table */
  bool asks; /**< somebody is there to be asked */
  bool assumed;   /**< a parameter was neither given nor asked for */
  char **paths;   /**< of the files, as they are written and printed */
  size_t written; /**< how many of them are there */
} init;

/* ---- parameters ---- */

/** Asks until the answer is one of the words, or the standard by an empty line.
 *  @return false at the end of input */
static bool ask_choice(const char *what, const char *choices, char *value, size_t size) {
  char standard[64], answer[64];
  snprintf(standard, sizeof standard, "%s", value);
  for (;;) {
    char question[160];
    size_t n = (size_t)snprintf(question, sizeof question, "%s", what);
    const char *at = choices, *word;
    size_t len;
    for (bool first = true; cli_next_choice(&at, &word, &len); first = false)
      n += (size_t)snprintf(question + n, sizeof question - n, "%s%.*s", first ? " (" : ", ",
                            (int)len, word);
    snprintf(question + n, sizeof question - n, "%s [%s]: ", choices ? ")" : "", standard);
    if (!ui_ask(question, answer, sizeof answer)) return false;
    if (!answer[0]) snprintf(answer, sizeof answer, "%s", standard);
    bool ok = choices ? cli_choice_index(choices, answer) >= 0 : cli_template_name_ok(answer);
    if (ok) {
      snprintf(value, size, "%s", answer);
      return true;
    }
    ui_warn(choices ? "please answer with one of these words"
                    : "a name has lower-case letters, digits and '-', and begins with a letter");
  }
}

/** The value of an option with choices: given, asked for, or the standard one.
 *  @param standard  NULL: the first one
 *  @return false at the end of input */
static bool read_choice(init *x, const char *option, const char *standard, char out[32]) {
  const cli_option *o = x->args->command->options;
  while (strcmp(o->name, option) != 0) o++;
  const char *given = cli_value(x->args, option);
  const char *value = given ? given : standard ? standard : o->choices;
  snprintf(out, 32, "%.*s", (int)strcspn(value, "|"), value);
  if (given) return true;
  if (x->asks) return ask_choice(option, o->choices, out, 32);
  x->assumed = true;
  return true;
}

/** The name that a project in this folder has by itself. */
static void folder_name(const char *dir, char out[64]) {
  char *whole = realpath(dir, NULL); /* "." has no name of its own; a new folder is not there */
  char *text = whole ? whole : strdup(dir);
  size_t n = text ? strlen(text) : 0;
  while (n > 1 && text[n - 1] == '/') text[--n] = '\0';
  const char *slash = text ? strrchr(text, '/') : NULL;
  cli_template_name(slash ? slash + 1 : text ? text : "", out);
  free(text);
}

static int canceled(void) {
  wg_error err;
  wg_error_set(&err, WG_CANCELED, 0, "no answer; nothing was written");
  wg_error_hint(&err, "pass --yes to take what is proposed");
  return ui_fail("init", &err, CLI_FAILED);
}

static int read_parameters(init *x) {
  const char *name = cli_value(x->args, "name");
  if (name && !cli_template_name_ok(name))
    return ui_usage("init", "write --name my-service",
                    "'--name' must be lower-case letters, digits and '-', from 1 to 63, and begin "
                    "with a letter, got '%s'",
                    name);
  x->dir = x->args->file ? x->args->file : ".";
  x->asks = !cli_flag(x->args, "yes") && !ui_json() && isatty(0) && isatty(2);
  if (name)
    snprintf(x->name, sizeof x->name, "%s", name);
  else
    folder_name(x->dir, x->name);
  if (!read_choice(x, "template", NULL, x->template)) return canceled();
  bool async = strcmp(x->template, "async-rust") == 0, c = strcmp(x->template, "c") == 0;
  if (!name && x->asks && !ask_choice("name", NULL, x->name, sizeof x->name)) return canceled();
  if (!name && !x->asks) x->assumed = true;
  const char *http = cli_value(x->args, "http"), *database = cli_value(x->args, "database");
  if (async && http && strcmp(http, "p3") != 0)
    return ui_usage("init", "leave --http out, or pass --template rust",
                    "the template 'async-rust' is of WASI 0.3, got '--http %s'", http);
  if (async)
    snprintf(x->http, sizeof x->http, "p3");
  else if (!read_choice(x, "http", NULL, x->http))
    return canceled();
  if (c || async)
    return read_choice(x, "database", async ? "postgres" : NULL, x->database) ? CLI_DONE
                                                                              : canceled();
  if (database && strcmp(database, "none") != 0)
    return ui_usage("init", "leave it out, or pass --template c or async-rust",
                    "the template '%s' has no database in this version", x->template);
  snprintf(x->database, sizeof x->database, "none");
  return CLI_DONE;
}

/** Cargo.lock of a template pins its packages by name: a project of the same name would be taken
 *  for one of them. */
static wg_code check_free_name(const init *x, wg_error *err) {
  char line[80];
  snprintf(line, sizeof line, "\nname = \"%s\"\n", x->name);
  for (const cli_template_file *f = cli_template_files; f->template_name; f++) {
    if (strcmp(f->template_name, x->template) != 0 || strcmp(f->path, "Cargo.lock") != 0 ||
        !strstr(f->text, line))
      continue;
    wg_error_set(err, WG_INVALID, 0, "'%s' is the name of a package that the template uses",
                 x->name);
    wg_error_hint(err, "pass --name %s-service", x->name);
    return WG_INVALID;
  }
  return WG_OK;
}

/** A word for the shell: quoted where it must be. @param out  4 x its length + 3 bytes */
static const char *shell_word(const char *word, char *out) {
  static const char plain[] =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./+:";
  if (word[strspn(word, plain)] == '\0') return word;
  char *to = out;
  *to++ = '\'';
  for (; *word; word++) {
    if (*word == '\'')
      to = stpcpy(to, "'\\''");
    else
      *to++ = *word;
  }
  *to++ = '\'';
  *to = '\0';
  return out;
}

/** The commands that come next, as one line of a shell. NULL: out of memory. */
static char *next_line(const init *x) {
  char *line = NULL, *space = malloc(4 * strlen(x->dir) + 3);
  if (!space) return NULL;
  if (strcmp(x->dir, ".") == 0)
    line = strdup("warp dev");
  else if (asprintf(&line, "cd %s && warp dev", shell_word(x->dir, space)) < 0)
    line = NULL;
  free(space);
  return line;
}

/* ---- files ---- */

static const char *file_name(const cli_template_file *f) {
  return strcmp(f->path, "gitignore") == 0 ? ".gitignore" : f->path;
}

static wg_code add_path(init *x, const cli_template_file *f, wg_error *err) {
  char *whole;
  size_t n = strlen(x->dir);
  while (n > 1 && x->dir[n - 1] == '/') n--;
  bool here = strcmp(x->dir, ".") == 0, root = n == 1 && x->dir[0] == '/';
  if (asprintf(&whole, "%.*s%s%s", here ? 0 : (int)n, x->dir, here || root ? "" : "/",
               file_name(f)) < 0)
    return wg_error_set(err, WG_NOMEM, 0, "out of memory");
  wg_code code = cli_list_add(&x->paths, whole, err);
  free(whole);
  return code;
}

static bool of_template(const init *x, const cli_template_file *f) {
  return strcmp(f->template_name, x->template) == 0 || strcmp(f->template_name, "all") == 0;
}

/** Makes the list of paths and looks whether one of them is taken. */
static wg_code plan(init *x, wg_error *err) {
  wg_buf taken;
  wg_buf_init(&taken, FILE_MAX);
  struct stat st;
  size_t n = 0;
  wg_code code = WG_OK;
  for (const cli_template_file *f = cli_template_files; f->path && code == WG_OK; f++) {
    if (!of_template(x, f)) continue;
    code = add_path(x, f, err);
    if (code == WG_OK && lstat(x->paths[n++], &st) == 0)
      wg_buf_printf(&taken, "%s%s", wg_buf_len(&taken) ? ", " : "", file_name(f));
  }
  if (code == WG_OK && wg_buf_len(&taken)) {
    code = wg_error_set(err, WG_INVALID, 0, "nothing was written, because '%s' already has %.*s",
                        x->dir, (int)wg_buf_len(&taken), (const char *)wg_buf_head(&taken));
    wg_error_hint(err, "give another folder: warp init DIR");
  }
  wg_buf_release(&taken);
  return code;
}

static wg_code write_file(const char *path, const wg_buf *text, wg_error *err) {
  size_t n = strlen(path), done = 0;
  mode_t mode = n > 3 && strcmp(path + n - 3, ".sh") == 0 ? 0777 : 0666;
  int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
  int sys = fd < 0 ? errno : 0;
  while (fd >= 0 && sys == 0 && done < wg_buf_len(text)) {
    ssize_t put = write(fd, wg_buf_head(text) + done, wg_buf_len(text) - done);
    if (put > 0)
      done += (size_t)put;
    else if (errno != EINTR)
      sys = errno;
  }
  if (fd >= 0 && close(fd) != 0 && sys == 0) sys = errno;
  if (sys == 0) return WG_OK;
  if (fd >= 0) unlink(path);
  return wg_error_set(err, WG_IO, sys, "cannot write '%s': %s", path, wg_os_error(sys));
}

static wg_code write_all(init *x, wg_error *err) {
  const cli_template_values values = {x->name, x->http, x->database};
  wg_code code = WG_OK;
  for (const cli_template_file *f = cli_template_files; f->path && code == WG_OK; f++) {
    if (!of_template(x, f)) continue;
    wg_buf text;
    wg_buf_init(&text, FILE_MAX);
    if (f->verbatim)
      wg_buf_put(&text, f->text, strlen(f->text));
    else
      cli_template_render(&text, f->text, &values);
    if (text.failed) code = wg_error_set(err, WG_NOMEM, 0, "out of memory");
    if (code == WG_OK) code = cli_make_folders(x->paths[x->written], NULL, err);
    if (code == WG_OK) code = write_file(x->paths[x->written], &text, err);
    if (code == WG_OK) x->written++;
    wg_buf_release(&text);
  }
  if (code != WG_OK)
    while (x->written) unlink(x->paths[--x->written]);
  return code;
}

/* ---- the result ---- */

static void print_json(const init *x) {
  wg_buf out;
  ui_json_begin(&out, "init", true);
  const char *pairs[][2] = {{"template", x->template},
                            {"name", x->name},
                            {"http", x->http},
                            {"database", x->database},
                            {"dir", x->dir}};
  for (size_t i = 0; i < WG_COUNT(pairs); i++) {
    wg_buf_printf(&out, ",\"%s\":", pairs[i][0]);
    ui_json_string(&out, pairs[i][1]);
  }
  wg_buf_printf(&out, ",\"files\":[");
  for (size_t i = 0; i < x->written; i++) {
    if (i) wg_buf_put_u8(&out, ',');
    ui_json_string(&out, x->paths[i]);
  }
  char *next = next_line(x);
  wg_buf_printf(&out, "],\"next\":[");
  ui_json_string(&out, next ? next : "");
  wg_buf_put_u8(&out, ']');
  free(next);
  ui_json_end(&out);
}

static void print_text(const init *x) {
  for (size_t i = 0; i < x->written; i++) ui_print("%s\n", x->paths[i]);
  if (x->assumed) {
    char text[512];
    snprintf(text, sizeof text, "--template %s --name %s --http %s --database %s", x->template,
             x->name, x->http, x->database);
    ui_note("taken:", text);
  }
  char *next = next_line(x);
  if (next) ui_note("next:", next);
  free(next);
}

int cmd_init(const cli_args *args) {
  init x = {.args = args};
  wg_error err;
  int exit_code = read_parameters(&x);
  if (exit_code != CLI_DONE) return exit_code;
  wg_code code = check_free_name(&x, &err);
  if (code == WG_OK) code = plan(&x, &err);
  if (code == WG_OK) code = write_all(&x, &err);
  if (code != WG_OK)
    exit_code = ui_fail("init", &err, CLI_FAILED);
  else if (ui_json())
    print_json(&x);
  else
    print_text(&x);
  cli_list_free(x.paths);
  return exit_code;
}
