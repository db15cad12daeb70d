/* SPDX-License-Identifier: Apache-2.0 */
/** @file main.c  wasm-symbols: the tool by which scripts/build-libc.sh looks into libc.a and hooks
 *  functions of it. Not part of `warp`. */
#include "base/file.h"
#include "base/text.h"
#include "object/plan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { OUTPUT_MAX = 1 << 30, PATH_SIZE = 4096 };

static const char usage[] =
    "usage: wasm-symbols list FILE\n"
    "       wasm-symbols index FILE DIR\n"
    "       wasm-symbols rename IN PLAN OUT [OBJECT...]\n"
    "\n"
    "Looks into archives (GNU ar) of relocatable WebAssembly objects, and into single objects.\n"
    "\n"
    "  list    a line for each public definition: member, symbol, kind, binding, signature, its\n"
    "          other names, and what uses it inside of its member, with tabs between\n"
    "  index   the same as one small file a definition, DIR/MEMBER/SYMBOL\n"
    "  rename  writes the archive OUT: IN, with other names for some definitions, and the OBJECTs\n"
    "          as new members at its end. Lines of PLAN: MEMBER SYMBOL NEW-NAME SIGNATURE. MEMBER "
    "*\n"
    "          is whichever defines SYMBOL. It is an error when there is no such definition, when\n"
    "          it has another signature or another name, or is used inside of its member: such a\n"
    "          use would not reach what takes the symbol's place.\n";

static int fail(const wg_error *err) {
  fprintf(stderr, "error: %s\n", err->msg);
  if (err->hint[0]) fprintf(stderr, "hint: %s\n", err->hint);
  return 1;
}

static const char *base_name(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

/** An archive, or a single object as an archive of one. */
static wg_code open_archive(const char *path, wg_file *f, wg_archive *a, wg_error *err) {
  wg_code code = wg_file_read(path, f, err);
  if (code != WG_OK) return code;
  *a = (wg_archive){0};
  if (wg_archive_is(f->bytes, f->len))
    code = wg_archive_read(f->bytes, f->len, a, err);
  else
    code = wg_archive_add(a, base_name(path), f->bytes, f->len, err);
  if (code == WG_OK) return code;
  wg_error_wrap(err, "'%s'", path);
  wg_file_release(f);
  return code;
}

static wg_code print_item(void *user, const wg_plan_item *i, wg_error *err) {
  (void)user;
  (void)err;
  printf("%s\t%s\t%s\t%s\t%s\t%s\t%s\n", i->member, i->symbol, i->kind, i->binding, i->signature,
         i->aliases, i->users);
  return WG_OK;
}

static wg_code make_folder(const char *path, wg_error *err) {
  if (mkdir(path, 0777) == 0 || errno == EEXIST) return WG_OK;
  return wg_error_set(err, WG_IO, errno, "cannot make '%s': %s", path, wg_os_error(errno));
}

static wg_code write_item(void *user, const wg_plan_item *i, wg_error *err) {
  char path[PATH_SIZE];
  if (strchr(i->member, '/') || strchr(i->symbol, '/') || i->member[0] == '.' ||
      i->symbol[0] == '.' || !i->symbol[0])
    return wg_error_set(err, WG_UNSUPPORTED, 0, "'%s' of member '%s' is no name for a file",
                        i->symbol, i->member);
  int n = snprintf(path, sizeof path, "%s/%s", (const char *)user, i->member);
  wg_code code = make_folder(path, err);
  if (code != WG_OK) return code;
  if ((size_t)n + strlen(i->symbol) + 2 > sizeof path)
    return wg_error_set(err, WG_INVALID, 0, "the path of '%s' is too long", i->symbol);
  snprintf(path + n, sizeof path - (size_t)n, "/%s", i->symbol);
  FILE *f = fopen(path, "w");
  if (f) {
    fprintf(f, "kind %s\nbinding %s\nsignature %s\naliases %s\nusers %s\n", i->kind, i->binding,
            i->signature, i->aliases, i->users);
    if (fclose(f) == 0) return WG_OK;
  }
  return wg_error_set(err, WG_IO, errno, "cannot write '%s': %s", path, wg_os_error(errno));
}

/** Writes aside and moves, so that OUT is whole or as before. */
static wg_code write_output(const char *path, const wg_buf *b, wg_error *err) {
  char aside[PATH_SIZE];
  snprintf(aside, sizeof aside, "%s.part", path);
  FILE *f = fopen(aside, "wb");
  if (f) {
    bool ok = fwrite(wg_buf_head(b), 1, wg_buf_len(b), f) == wg_buf_len(b);
    ok = fclose(f) == 0 && ok;
    if (ok && rename(aside, path) == 0) return WG_OK;
  }
  int sys = errno;
  remove(aside);
  return wg_error_set(err, WG_IO, sys, "cannot write '%s': %s", path, wg_os_error(sys));
}

static wg_code add_objects(wg_archive *a, wg_file *files, char **paths, wg_error *err) {
  wg_code code = WG_OK;
  for (size_t i = 0; paths[i] && code == WG_OK; i++) {
    code = wg_file_read(paths[i], &files[i], err);
    if (code == WG_OK)
      code = wg_archive_add(a, base_name(paths[i]), files[i].bytes, files[i].len, err);
  }
  return code;
}

/** IN with the plan's names; then the objects at its end, which may define the old ones. */
static wg_code rename_and_add(const wg_archive *in, const char *plan_path, char **objects,
                              size_t object_count, const char *out_path, wg_error *err) {
  static wg_plan plan;
  wg_file text = {0}, *files = calloc(object_count + 1, sizeof *files);
  wg_archive changed = {0};
  wg_buf middle, out;
  wg_buf_init(&middle, OUTPUT_MAX);
  wg_buf_init(&out, OUTPUT_MAX);
  wg_code code =
      files ? wg_file_read(plan_path, &text, err) : wg_error_set(err, WG_NOMEM, 0, "out of memory");
  if (code == WG_OK) {
    code = wg_plan_read((const char *)text.bytes, text.len, &plan, err);
    if (code != WG_OK) wg_error_wrap(err, "'%s'", plan_path);
  }
  if (code == WG_OK) code = wg_plan_apply(&plan, in, &middle, err);
  if (code == WG_OK)
    code = wg_archive_read(wg_buf_head(&middle), wg_buf_len(&middle), &changed, err);
  if (code == WG_OK) code = add_objects(&changed, files, objects, err);
  if (code == WG_OK) code = wg_archive_write(&changed, &out, err);
  if (code == WG_OK) code = write_output(out_path, &out, err);
  wg_archive_release(&changed);
  wg_buf_release(&middle);
  wg_buf_release(&out);
  wg_plan_release(&plan);
  wg_file_release(&text);
  for (size_t i = 0; files && i < object_count; i++) wg_file_release(&files[i]);
  free(files);
  return code;
}

int main(int argc, char **argv) {
  const char *command = argc > 1 ? argv[1] : "";
  if (strcmp(command, "--help") == 0 || strcmp(command, "-h") == 0) {
    fputs(usage, stdout);
    return 0;
  }
  bool list = strcmp(command, "list") == 0 && argc == 3;
  bool index = strcmp(command, "index") == 0 && argc == 4;
  if (!list && !index && !(strcmp(command, "rename") == 0 && argc >= 5)) {
    fputs(usage, stderr);
    return 2;
  }
  wg_error err = {0};
  wg_file file;
  wg_archive archive;
  wg_code code = open_archive(argv[2], &file, &archive, &err);
  if (code != WG_OK) return fail(&err);
  if (list)
    code = wg_plan_each(&archive, print_item, NULL, &err);
  else if (index) {
    code = make_folder(argv[3], &err);
    if (code == WG_OK) code = wg_plan_each(&archive, write_item, argv[3], &err);
  } else {
    code = rename_and_add(&archive, argv[3], argv + 5, (size_t)argc - 5, argv[4], &err);
  }
  wg_archive_release(&archive);
  wg_file_release(&file);
  if (code != WG_OK) return fail(&err);
  return fflush(stdout) == 0 ? 0 : 1;
}
