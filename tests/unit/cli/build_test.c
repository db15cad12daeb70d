/* SPDX-License-Identifier: Apache-2.0 */
/* cli/build: the job, with shell scripts as compilers; languages; what to watch; stamps. */
#include "cli/build/build.h"

#include "cli/build/sdk.h"
#include "cli/build/stamp.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- a folder of its own, which is the current one ---- */

static char folder[] = "/tmp/warpgrid-build.XXXXXX";

static void put(const char *name, const char *text) {
  char path[512];
  snprintf(path, sizeof path, "%s", name);
  for (char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
    *slash = '\0';
    mkdir(path, 0777);
    *slash = '/';
  }
  FILE *f = fopen(name, "w");
  assert_non_null(f);
  assert_true(fputs(text, f) >= 0);
  assert_int_equal(fclose(f), 0);
  assert_int_equal(chmod(name, 0777), 0);
}

/** The content of a file, of a component without its header; "" when there is none. */
static const char *content(const char *name) {
  static char text[4096];
  FILE *f = fopen(name, "r");
  size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
  text[n] = '\0';
  if (f) fclose(f);
  return n > 8 && memcmp(text, "\0asm\r\0\1", 8) == 0 ? text + 8 : text;
}

static void clear_folder(void) {
  char command[128];
  assert_int_equal(chdir("/"), 0);
  snprintf(command, sizeof command, "rm -rf '%s' && mkdir '%s'", folder, folder);
  assert_int_equal(system(command), 0);
  assert_int_equal(chdir(folder), 0);
}

static int setup(void **state) {
  (void)state;
  clear_folder();
  put("sdk/guest.flags", "worlds: service-p2 command-p2\nlink: -Wl,-s\n");
  setenv("WARPGRID_SDK", "sdk", 1);
  setenv("WARPGRID_CACHE", "cache", 1);
  setenv("WARPGRID_CLANG", "./compiler", 1);
  return 0;
}

static wg_config *config_of(const char *text) {
  wg_error err;
  wg_config *c = NULL;
  if (wg_config_parse("warp.toml", text, strlen(text), NULL, NULL, &c, &err) != WG_OK)
    fail_msg("%s", err.msg);
  return c;
}

/** A compiler that does `body` when it is asked to compile; $out is the file to write. */
static void compiler(const char *body) {
  char text[1024];
  snprintf(text, sizeof text,
           "#!/bin/sh\ncomponent() { printf '\\0asm\\r\\0\\1\\0'; cat \"$@\"; }\nout=\nwhile [ $# "
           "-gt 0 ]; do case $1 in\n"
           "-M) echo 'main.o: src/main.c'; exit 0 ;; -o) out=$2 ;; esac; shift; done\n%s\n",
           body);
  put("compiler", text);
}

static const char good[] = "component src/main.c >\"$out\"; echo a warning >&2";

static cli_build_result build(const wg_config *c, bool always) {
  wg_error err;
  cli_build *b = NULL;
  const cli_build_request r = {.config = c, .always = always, .capture = true};
  if (cli_build_start(&r, &b, &err) != WG_OK || cli_build_wait(b, &err) != WG_OK)
    fail_msg("%s", err.msg);
  cli_build_result result = *cli_build_get_result(b);
  static char messages[256];
  snprintf(messages, sizeof messages, "%s", result.messages);
  result.messages = messages;
  result.output = NULL;
  cli_build_free(b);
  return result;
}

/* ---- the job ---- */

static void a_build_makes_its_output(void **state) {
  (void)state;
  wg_config *c = config_of("name = \"app\"\n");
  put("src/main.c", "one\n");
  compiler(good);
  cli_build_result r = build(c, false);
  assert_int_equal(r.exit_code, 0);
  assert_false(r.fresh);
  assert_int_equal(r.bytes, 12);
  assert_string_equal(r.lang, "c");
  assert_string_equal(r.world, "service-p2");
  assert_string_equal(r.messages, "a warning\n");
  assert_string_equal(content("dist/app.wasm"), "one\n");
  /* Nothing changed, then the source, then the output; then it is told to build anyway. */
  assert_true(build(c, false).fresh);
  put("src/main.c", "two\n");
  assert_false(build(c, false).fresh);
  assert_string_equal(content("dist/app.wasm"), "two\n");
  put("dist/app.wasm", "spoilt\n");
  assert_false(build(c, false).fresh);
  assert_string_equal(content("dist/app.wasm"), "two\n");
  assert_true(build(c, false).fresh);
  assert_false(build(c, true).fresh);
  /* Another compiler is another build. */
  compiler("component src/main.c src/main.c >\"$out\"");
  assert_false(build(c, false).fresh);
  assert_string_equal(content("dist/app.wasm"), "two\ntwo\n");
  wg_config_free(c);
}

static void what_changes_while_it_builds_is_built_again(void **state) {
  (void)state;
  wg_config *c = config_of("name = \"app\"\n");
  put("src/main.c", "one\n");
  compiler("component src/main.c >\"$out\"; echo later >>src/main.c");
  assert_false(build(c, false).fresh);
  compiler(good);
  assert_false(build(c, false).fresh);
  assert_string_equal(content("dist/app.wasm"), "one\nlater\n");
  wg_config_free(c);
}

static void a_failure_changes_nothing(void **state) {
  (void)state;
  wg_config *c = config_of("name = \"app\"\n");
  put("src/main.c", "one\n");
  compiler("echo broken; echo half >\"$out\"; exit 7");
  cli_build_result r = build(c, false);
  assert_int_equal(r.exit_code, 7);
  assert_string_equal(r.messages, "broken\n");
  assert_int_equal(access("dist", F_OK), -1);
  put("dist/app.wasm", "good\n");
  assert_int_equal(build(c, false).exit_code, 7);
  assert_string_equal(content("dist/app.wasm"), "good\n");
  assert_int_equal(system("test \"$(ls -A dist)\" = app.wasm"), 0);
  compiler("kill -SEGV $$");
  assert_int_equal(build(c, false).exit_code, 128 + SIGSEGV);
  wg_config_free(c);
}

static void what_is_no_component_takes_no_place(void **state) {
  (void)state;
  wg_config *c = config_of("name = \"app\"\n");
  put("src/main.c", "one\n");
  put("dist/app.wasm", "good\n");
  static const char *const bodies[] = {"", "printf '\\0asm\\1\\0\\0\\0' >\"$out\"", "rm \"$out\""};
  for (size_t i = 0; i < WG_COUNT(bodies); i++) {
    compiler(bodies[i]);
    wg_error err = {0};
    cli_build *b = NULL;
    const cli_build_request r = {.config = c, .capture = true};
    assert_int_equal(cli_build_start(&r, &b, &err), WG_OK);
    assert_int_equal(cli_build_wait(b, &err), WG_COMPONENT);
    assert_string_equal(err.msg, "the compiler made no component");
    cli_build_free(b);
    assert_string_equal(content("dist/app.wasm"), "good\n");
    assert_int_equal(system("test \"$(ls -A dist)\" = app.wasm"), 0);
  }
  wg_config_free(c);
}

static cli_build *start(const wg_config *c) {
  wg_error err;
  cli_build *b = NULL;
  const cli_build_request r = {.config = c, .capture = true};
  if (cli_build_start(&r, &b, &err) != WG_OK) fail_msg("%s", err.msg);
  return b;
}

/** Steps until the compiler has written its file with process numbers. */
static void step_until(cli_build *b, const char *file) {
  wg_error err;
  bool ended = false;
  for (int i = 0; i < 3000 && !*content(file); i++) {
    struct pollfd p = {.fd = cli_build_fd(b), .events = POLLIN};
    poll(&p, 1, 10);
    assert_int_equal(cli_build_step(b, &ended, &err), WG_OK);
    assert_false(ended);
  }
  assert_true(*content(file));
}

static void expect_gone(const char *file) {
  int first = 0, second = 0;
  assert_int_equal(sscanf(content(file), "%d %d", &first, &second), 2);
  assert_int_equal(kill(first, 0), -1);
  assert_int_equal(errno, ESRCH);
  /* A grandchild dies a moment later, and is collected by the system's first process. */
  char path[64], line[256] = "";
  snprintf(path, sizeof path, "/proc/%d/stat", second);
  for (int i = 0; i < 1000; i++) {
    FILE *f = fopen(path, "r");
    bool gone = !f || !fgets(line, sizeof line, f) || strstr(line, ") Z ");
    if (f) fclose(f);
    if (gone) return;
    usleep(5000);
  }
  fail_msg("it still runs: %s", line);
}

static void a_cancelled_build_leaves_nothing(void **state) {
  (void)state;
  wg_config *c = config_of("name = \"app\"\n");
  put("src/main.c", "one\n");
  /* One that ends when told to, and one that does not; both with a child. */
  const char *const kinds[] = {"", "trap '' TERM; "};
  for (size_t i = 0; i < WG_COUNT(kinds); i++) {
    char body[256];
    snprintf(body, sizeof body,
             "%ssleep 600 & echo \"$$ $!\" >pids.new; mv pids.new pids; wait; wait", kinds[i]);
    compiler(body);
    unlink("pids");
    cli_build *b = start(c);
    step_until(b, "pids");
    cli_build_cancel(b);
    cli_build_cancel(b);
    assert_int_not_equal(cli_build_get_result(b)->exit_code, 0);
    bool ended = false;
    wg_error err;
    assert_int_equal(cli_build_step(b, &ended, &err), WG_OK);
    assert_true(ended);
    cli_build_free(b);
    expect_gone("pids");
    assert_int_equal(access("dist", F_OK), -1);
  }
  wg_config_free(c);
}

static void what_a_compiler_leaves_running_is_ended(void **state) {
  (void)state;
  wg_config *c = config_of("name = \"app\"\n");
  put("src/main.c", "one\n");
  compiler("sleep 600 >/dev/null 2>&1 & echo \"$$ $!\" >pids; echo x | component >\"$out\"");
  assert_int_equal(build(c, false).exit_code, 0);
  expect_gone("pids");
  wg_config_free(c);
}

static void mistakes_are_told_at_once(void **state) {
  (void)state;
  static const struct {
    cli_build_request r;
    const char *config, *message;
    wg_code code;
  } cases[] = {
      {{.world = "service-p9"}, "", "unknown world 'service-p9'", WG_INVALID},
      {{.output = "src/"}, "", "'src/' is no name of a file", WG_INVALID},
      {{.output = "src"}, "", "cannot write 'src': it is a folder", WG_IO},
      {{.output = "/proc/none/x.wasm"}, "", "cannot make folder '/proc/none'", WG_IO},
      {{.lang = "go"}, "", "language 'go' is not available in this version", WG_UNSUPPORTED},
      {{0}, "[build]\nsources = [\"none/*.c\"]\n", "no source matches 'none/*.c'", WG_NOT_FOUND},
      {{.lang = "rust"}, "", "cannot read 'Cargo.toml'", WG_NOT_FOUND},
      {{.lang = "rust", .world = "service-p2"}, "", "'--world' is for C projects", WG_INVALID},
  };
  put("src/main.c", "one\n");
  compiler(good);
  for (size_t i = 0; i < WG_COUNT(cases); i++) {
    wg_error err = {0};
    wg_config *c = config_of(cases[i].config);
    cli_build *b = NULL;
    cli_build_request r = cases[i].r;
    r.config = c;
    wg_code code = cli_build_start(&r, &b, &err);
    if (code == WG_OK) code = cli_build_wait(b, &err);
    assert_int_equal(code, cases[i].code);
    assert_ptr_equal(strstr(err.msg, cases[i].message), err.msg);
    cli_build_free(b);
    wg_config_free(c);
  }
  setenv("WARPGRID_CLANG", "./no-such-compiler", 1);
  wg_error err = {0};
  wg_config *c = config_of("name = \"app\"\n");
  cli_build *b = NULL;
  assert_int_equal(cli_build_start(&(cli_build_request){.config = c}, &b, &err), WG_NOT_FOUND);
  assert_string_equal(err.msg, "cannot run './no-such-compiler': no such file or directory");
  assert_non_null(strstr(err.hint, "apt-get install"));
  wg_config_free(c);
}

/* ---- languages ---- */

static void languages(void **state) {
  (void)state;
  static const struct {
    const char *files[3];
    const char *config, *option;
    const char *found; /* name, or NULL: the message */
    const char *message;
  } cases[] = {
      {{"src/a.c"}, "", NULL, "c", NULL},
      {{"CMakeLists.txt"}, "", NULL, "c", NULL},
      {{NULL}, "[build]\nsources = [\"a.c\"]\n", NULL, "c", NULL},
      {{"Cargo.toml", "src/a.c"}, "", NULL, "rust", NULL},
      {{"Cargo.toml"}, "lang = \"c\"\n", NULL, "c", NULL},
      {{"Cargo.toml"}, "lang = \"c\"\n", "rust", "rust", NULL},
      {{"go.mod"},
       "",
       NULL,
       NULL,
       "this looks like a Go project (go.mod), which is not packed yet"},
      {{"package.json"},
       "",
       NULL,
       NULL,
       "this looks like a TypeScript project (package.json), "
       "which is not packed yet"},
      {{"package.json", "bunfig.toml"},
       "",
       NULL,
       NULL,
       "this looks like a Bun project (bunfig.toml), "
       "which is not packed yet"},
      {{"bun.lock", "package.json"},
       "",
       NULL,
       NULL,
       "this looks like a Bun project (bun.lock), "
       "which is not packed yet"},
      {{"Cargo.toml", "CMakeLists.txt"},
       "",
       NULL,
       NULL,
       "cannot tell the language: 'CMakeLists.txt' "
       "says C, 'Cargo.toml' says Rust"},
      {{"Cargo.toml"},
       "[build]\nsources = [\"a.c\"]\n",
       NULL,
       NULL,
       "cannot tell the language: '[build] sources' says C, 'Cargo.toml' says Rust"},
      {{"go.mod", "package.json"}, "", "rust", "rust", NULL},
      {{NULL}, "", NULL, NULL, "cannot tell the language of the project in '.'"},
      {{NULL}, "", "cobol", NULL, "unknown language 'cobol'"},
      {{NULL}, "lang = \"bun\"\n", NULL, NULL, "language 'bun' is not available in this version"},
  };
  for (size_t i = 0; i < WG_COUNT(cases); i++) {
    clear_folder();
    for (size_t k = 0; k < 3 && cases[i].files[k]; k++) put(cases[i].files[k], "");
    wg_config *c = config_of(cases[i].config);
    wg_error err = {0};
    const cli_language *l = NULL;
    wg_code code = cli_language_find(c, cases[i].option, &l, &err);
    if (cases[i].found) {
      assert_int_equal(code, WG_OK);
      assert_string_equal(l->name, cases[i].found);
    } else {
      assert_int_not_equal(code, WG_OK);
      assert_string_equal(err.msg, cases[i].message);
      assert_true(err.hint[0] != '\0');
    }
    wg_config_free(c);
  }
}

/* ---- what to watch ---- */

static void expect_inputs(const char *config, const char *expected) {
  static const char *const kinds[] = {"file", "folder", "tree"};
  char text[2048] = "";
  wg_error err;
  cli_inputs in;
  wg_config *c = config_of(config);
  assert_int_equal(cli_build_inputs(&(cli_build_request){.config = c}, &in, &err), WG_OK);
  for (size_t i = 0; i < in.count; i++) {
    size_t n = strlen(text);
    snprintf(text + n, sizeof text - n, "%s %s\n", kinds[in.list[i].kind], in.list[i].path);
  }
  assert_string_equal(text, expected);
  cli_inputs_release(&in);
  wg_config_free(c);
}

static void inputs_of_c(void **state) {
  (void)state;
  put("src/main.c", "");
  expect_inputs("", "file warp.toml\ntree src\n");
  expect_inputs("[build]\nsources = [\"main.c\", \"src/*.c\", \"src/util.c\", \"lib/*/x.c\"]\n"
                "flags = [\"-Iinclude\", \"-I\", \"/opt/inc\", \"-O3\"]\n",
                "file warp.toml\nfolder .\ntree src\ntree lib\nfolder include\nfolder /opt/inc\n");
}

static void inputs_of_rust(void **state) {
  (void)state;
  put("Cargo.toml", "[package]\nname = \"a\"\n[dependencies]\nserde = \"1\"\n"
                    "shared = { path = \"../shared\", version = \"1\" }\n"
                    "[target.'cfg(unix)'.dependencies.inner]\npath = \"inner\"\n");
  put("inner/Cargo.toml", "[build-dependencies]\nself = { path = \".\" }\n");
  expect_inputs("",
                "file warp.toml\n"
                "file Cargo.toml\nfile Cargo.lock\nfile build.rs\nfile rust-toolchain.toml\n"
                "file .cargo/config.toml\ntree src\n"
                "file ../shared/Cargo.toml\nfile ../shared/Cargo.lock\nfile ../shared/build.rs\n"
                "file ../shared/rust-toolchain.toml\nfile ../shared/.cargo/config.toml\n"
                "tree ../shared/src\n"
                "file inner/Cargo.toml\nfile inner/Cargo.lock\nfile inner/build.rs\n"
                "file inner/rust-toolchain.toml\nfile inner/.cargo/config.toml\ntree inner/src\n");
  /* A manifest that cargo will not like is watched all the same. */
  put("Cargo.toml", "[package\n");
  expect_inputs("", "file warp.toml\n"
                    "file Cargo.toml\nfile Cargo.lock\nfile build.rs\nfile rust-toolchain.toml\n"
                    "file .cargo/config.toml\ntree src\n");
}

/* ---- stamps ---- */

static void expect_deps(const char *text, const char *expected) {
  char joined[512] = "";
  char **list = NULL;
  wg_error err;
  assert_int_equal(cli_deps_read(text, &list, &err), WG_OK);
  for (char **d = list; d && *d; d++) {
    strncat(joined, *d, sizeof joined - strlen(joined) - 1);
    strncat(joined, "|", sizeof joined - strlen(joined) - 1);
  }
  assert_string_equal(joined, expected);
  cli_list_free(list);
}

static void dependencies(void **state) {
  (void)state;
  expect_deps("", "");
  expect_deps("a.o: a.c a.h \\\n  /usr/b.h\nb.o: \\\n b.c\n", "a.c|a.h|/usr/b.h|b.c|");
  expect_deps("a.o: my\\ file.c cost$$.h a\\#b.h dir\\x.h\\\n y.h",
              "my file.c|cost$.h|a#b.h|dir\\x.h|y.h|");
  expect_deps("a.o:\r\n\\", "\\|");
  char *long_name = calloc(1, 10001);
  assert_non_null(long_name);
  memset(long_name, 'a', 10000);
  char **list = NULL;
  wg_error err;
  assert_int_equal(cli_deps_read(long_name, &list, &err), WG_INVALID);
  cli_list_free(list);
  free(long_name);
}

static void hashes(void **state) {
  (void)state;
  char a[CLI_HASH_SIZE], b[CLI_HASH_SIZE];
  cli_hash *h = cli_hash_new();
  cli_hash_end(h, a);
  assert_string_equal(a, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  /* Where one text ends and the next begins counts. */
  h = cli_hash_new();
  cli_hash_text(h, "ab");
  cli_hash_text(h, "c");
  cli_hash_end(h, a);
  h = cli_hash_new();
  cli_hash_text(h, "a");
  cli_hash_text(h, "bc");
  cli_hash_end(h, b);
  assert_string_not_equal(a, b);
  put("there", "x");
  h = cli_hash_new();
  assert_true(cli_hash_file(h, ".", "there"));
  assert_false(cli_hash_file(h, ".", "missing"));
  assert_false(cli_hash_file(h, ".", ""));
  cli_hash_end(h, a);
}

static void stamps(void **state) {
  (void)state;
  char made[CLI_HASH_SIZE];
  put("out", "result");
  assert_false(cli_stamp_matches("out", "key"));
  assert_true(cli_hash_of_file("out", made));
  cli_stamp_write("out", "key", made);
  assert_true(cli_stamp_matches("out", "key"));
  assert_false(cli_stamp_matches("out", "another"));
  put("out", "changed");
  assert_false(cli_stamp_matches("out", "key"));
  /* It is about what was made, not about what somebody has put there since. */
  cli_stamp_write("out", "key", made);
  assert_false(cli_stamp_matches("out", "key"));
  put("out", "result");
  assert_true(cli_stamp_matches("out", "key"));
  setenv("WARPGRID_CACHE", "/proc/none", 1); /* no cache: no skip, and no failure */
  cli_stamp_write("out", "key", made);
  assert_false(cli_stamp_matches("out", "key"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(a_build_makes_its_output, setup),
      cmocka_unit_test_setup(what_is_no_component_takes_no_place, setup),
      cmocka_unit_test_setup(what_changes_while_it_builds_is_built_again, setup),
      cmocka_unit_test_setup(a_failure_changes_nothing, setup),
      cmocka_unit_test_setup(a_cancelled_build_leaves_nothing, setup),
      cmocka_unit_test_setup(what_a_compiler_leaves_running_is_ended, setup),
      cmocka_unit_test_setup(mistakes_are_told_at_once, setup),
      cmocka_unit_test_setup(languages, setup),
      cmocka_unit_test_setup(inputs_of_c, setup),
      cmocka_unit_test_setup(inputs_of_rust, setup),
      cmocka_unit_test_setup(dependencies, setup),
      cmocka_unit_test_setup(hashes, setup),
      cmocka_unit_test_setup(stamps, setup),
  };
  if (!mkdtemp(folder)) return 1;
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  char command[128];
  snprintf(command, sizeof command, "rm -rf '%s'", folder);
  return chdir("/") != 0 || system(command) != 0 ? 1 : failed;
}
