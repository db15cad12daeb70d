/* SPDX-License-Identifier: Apache-2.0 */
/* What counts as a save: in place, by rename, in new folders; and what does not. */
#include "cli/dev/watch_tree.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

typedef struct fixture {
  char dir[64];
  watch_tree *w;
} fixture;

static char *at(const fixture *f, const char *name) {
  static char paths[8][256];
  static unsigned next;
  char *p = paths[next++ % 8];
  snprintf(p, sizeof paths[0], "%s/%s", f->dir, name);
  return p;
}

static void put(const fixture *f, const char *name) {
  FILE *out = fopen(at(f, name), "w");
  assert_non_null(out);
  fputs("x", out);
  fclose(out);
}

static int setup(void **state) {
  fixture *f = calloc(1, sizeof *f);
  wg_error err;
  strcpy(f->dir, "/tmp/warpgrid-watch.XXXXXX");
  assert_non_null(mkdtemp(f->dir));
  assert_int_equal(mkdir(at(f, "src"), 0777), 0);
  put(f, "src/main.c");
  put(f, "warp.toml");
  assert_int_equal(watch_tree_new(&f->w, &err), WG_OK);
  *state = f;
  return 0;
}

static int teardown(void **state) {
  fixture *f = *state;
  char command[128];
  watch_tree_free(f->w);
  snprintf(command, sizeof command, "rm -rf '%s'", f->dir);
  assert_int_equal(system(command), 0);
  free(f);
  return 0;
}

static void watch(fixture *f, const char *ignored, unsigned count, ...) {
  cli_input list[8];
  wg_error err;
  va_list ap;
  va_start(ap, count);
  for (unsigned i = 0; i < count; i++) {
    list[i].path = at(f, va_arg(ap, const char *));
    list[i].kind = (cli_input_kind)va_arg(ap, int);
  }
  va_end(ap);
  assert_int_equal(watch_tree_set(f->w, &(cli_inputs){list, count}, ignored, &err), WG_OK);
}

/** inotify tells before the call that changed something returns: nothing is waited for. */
static const char *change(fixture *f) {
  static watch_change c;
  c = (watch_change){0};
  watch_tree_read(f->w, &c);
  return c.events ? c.name : NULL;
}

#define USUAL 2, "src", CLI_INPUT_FOLDER, "warp.toml", CLI_INPUT_FILE

static void test_saves_in_place_and_by_rename(void **state) {
  fixture *f = *state;
  watch(f, NULL, USUAL);
  assert_null(change(f));
  put(f, "src/main.c");
  assert_string_equal(change(f), "main.c");
  assert_null(change(f));
  put(f, "src/.main.c.tmp");
  assert_null(change(f));
  assert_int_equal(rename(at(f, "src/.main.c.tmp"), at(f, "src/main.c")), 0);
  assert_string_equal(change(f), "main.c");
  put(f, "src/sedXyZ123"); /* a temporary name that looks like any other */
  assert_int_equal(rename(at(f, "src/sedXyZ123"), at(f, "src/main.c")), 0);
  assert_string_equal(change(f), "main.c");
  put(f, "src/more.h");
  assert_string_equal(change(f), "more.h");
  unlink(at(f, "src/more.h"));
  assert_string_equal(change(f), "more.h");
  put(f, "warp.toml");
  assert_string_equal(change(f), "warp.toml");
  assert_int_equal(symlink("main.c", at(f, "src/link.c")), 0);
  assert_string_equal(change(f), "link.c");
  assert_int_equal(link(at(f, "src/main.c"), at(f, "src/hard.c")), 0);
  assert_string_equal(change(f), "hard.c");
}

static void test_what_does_not_count(void **state) {
  fixture *f = *state;
  watch(f, at(f, "src/out.wasm"), USUAL);
  static const char *const names[] = {"src/.hidden",  "src/main.c~",  "src/#main.c#", "src/4913",
                                      "src/main.swp", "src/out.wasm", "README.md",    "src/x.tmp"};
  for (size_t i = 0; i < WG_COUNT(names); i++) {
    put(f, names[i]);
    assert_null(change(f));
    unlink(at(f, names[i]));
    assert_null(change(f));
  }
  assert_int_equal(mkdir(at(f, "src/below"), 0777), 0); /* a folder, not a tree */
  put(f, "src/below/a.c");
  assert_null(change(f));
  /* Opened for writing and not closed yet: half a file. */
  int fd = open(at(f, "src/half.c"), O_CREAT | O_WRONLY, 0666);
  assert_true(fd >= 0);
  assert_null(change(f));
  close(fd);
  assert_string_equal(change(f), "half.c");
}

static void test_trees(void **state) {
  fixture *f = *state;
  assert_int_equal(mkdir(at(f, "src/a"), 0777), 0);
  watch(f, NULL, 1, "src", CLI_INPUT_TREE);
  assert_int_equal(watch_tree_count(f->w), 2);
  put(f, "src/a/one.rs");
  assert_string_equal(change(f), "one.rs");
  assert_int_equal(mkdir(at(f, "src/a/b"), 0777), 0);
  assert_string_equal(change(f), "b");
  put(f, "src/a/b/two.rs");
  assert_string_equal(change(f), "two.rs");
  static const char *const skipped[] = {"src/target", "src/dist", "src/.git", "src/node_modules"};
  for (size_t i = 0; i < WG_COUNT(skipped); i++) {
    char inside[64];
    assert_int_equal(mkdir(at(f, skipped[i]), 0777), 0);
    snprintf(inside, sizeof inside, "%s/x.rs", skipped[i]);
    put(f, inside);
    assert_null(change(f));
  }
  /* Moved away and back: watched again. */
  assert_int_equal(rename(at(f, "src/a"), at(f, "away")), 0);
  assert_non_null(change(f));
  assert_int_equal(rename(at(f, "away"), at(f, "src/a")), 0);
  assert_non_null(change(f));
  put(f, "src/a/b/two.rs");
  assert_string_equal(change(f), "two.rs");
  /* A link to a folder above is no way down. */
  assert_int_equal(symlink("..", at(f, "src/a/up")), 0);
  (void)change(f);
  watch(f, NULL, 1, "src", CLI_INPUT_TREE);
  assert_int_equal(watch_tree_count(f->w), 3);
}

static void test_what_is_not_there_yet(void **state) {
  fixture *f = *state;
  watch(f, NULL, 2, "lib/deep", CLI_INPUT_FOLDER, "conf/app.toml", CLI_INPUT_FILE);
  assert_int_equal(mkdir(at(f, "targetXyZ"), 0777), 0); /* what else appears there is no input */
  put(f, "other.c");
  assert_null(change(f));
  assert_int_equal(mkdir(at(f, "lib"), 0777), 0);
  assert_non_null(change(f));
  assert_int_equal(mkdir(at(f, "lib/deep"), 0777), 0);
  assert_non_null(change(f));
  put(f, "lib/deep/x.h");
  assert_string_equal(change(f), "x.h");
  assert_int_equal(mkdir(at(f, "conf"), 0777), 0);
  assert_non_null(change(f));
  put(f, "conf/app.toml");
  assert_string_equal(change(f), "app.toml");
  put(f, "conf/app.toml");
  assert_string_equal(change(f), "app.toml");
  /* And gone. */
  unlink(at(f, "lib/deep/x.h"));
  assert_non_null(change(f));
  assert_int_equal(rmdir(at(f, "lib/deep")), 0);
  assert_non_null(change(f));
  assert_int_equal(mkdir(at(f, "lib/deep"), 0777), 0);
  assert_non_null(change(f));
  put(f, "lib/deep/x.h");
  assert_string_equal(change(f), "x.h");
}

static void test_other_inputs_replace_the_old(void **state) {
  fixture *f = *state;
  watch(f, NULL, USUAL);
  watch(f, NULL, 1, "warp.toml", CLI_INPUT_FILE);
  (void)change(f);
  put(f, "src/main.c");
  assert_null(change(f));
  put(f, "warp.toml");
  assert_string_equal(change(f), "warp.toml");
}

static void test_when_it_was_saved(void **state) {
  fixture *f = *state;
  struct timespec now;
  watch(f, NULL, USUAL);
  put(f, "src/main.c");
  usleep(30000);
  watch_change c = {0};
  watch_tree_read(f->w, &c);
  clock_gettime(CLOCK_MONOTONIC, &now);
  uint64_t now_us = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
  assert_int_equal(c.events, 1);
  assert_in_range(now_us - c.at_us, 25000, 1900000); /* since the save, not since it was read */
  watch_change kept = c;
  put(f, "src/other.c");
  watch_tree_read(f->w, &c);
  assert_int_equal(c.events, 2);
  assert_int_equal(c.at_us, kept.at_us); /* the first save counts */
  assert_string_equal(c.name, "main.c");
}

static void test_many_at_once(void **state) {
  fixture *f = *state;
  watch(f, NULL, USUAL);
  for (int i = 0; i < 2000; i++) {
    char name[32];
    snprintf(name, sizeof name, "src/f%d.c", i);
    put(f, name);
  }
  assert_string_equal(change(f), "f0.c");
  assert_null(change(f));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_saves_in_place_and_by_rename, setup, teardown),
      cmocka_unit_test_setup_teardown(test_what_does_not_count, setup, teardown),
      cmocka_unit_test_setup_teardown(test_trees, setup, teardown),
      cmocka_unit_test_setup_teardown(test_what_is_not_there_yet, setup, teardown),
      cmocka_unit_test_setup_teardown(test_other_inputs_replace_the_old, setup, teardown),
      cmocka_unit_test_setup_teardown(test_when_it_was_saved, setup, teardown),
      cmocka_unit_test_setup_teardown(test_many_at_once, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
