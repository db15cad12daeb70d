/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/build/stamp.h"

#include "cli/paths.h"

#include "base/buf.h"
#include "cli/build/sdk.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WHOLE_MAX = 8 << 20 };

struct cli_hash {
  EVP_MD_CTX *ctx;
  bool failed;
};

cli_hash *cli_hash_new(void) {
  cli_hash *h = malloc(sizeof *h);
  if (!h) return NULL;
  *h = (cli_hash){.ctx = EVP_MD_CTX_new()};
  if (h->ctx && EVP_DigestInit_ex(h->ctx, EVP_sha256(), NULL) == 1) return h;
  EVP_MD_CTX_free(h->ctx);
  free(h);
  return NULL;
}

static void hash_bytes(cli_hash *h, const void *p, size_t n) {
  if (EVP_DigestUpdate(h->ctx, p, n) != 1) h->failed = true;
}

void cli_hash_text(cli_hash *h, const char *text) { hash_bytes(h, text, strlen(text) + 1); }

static void hash_identity(cli_hash *h, const struct stat *s) {
  const int64_t facts[] = {(int64_t)s->st_dev, (int64_t)s->st_ino, s->st_size, s->st_mtim.tv_sec,
                           s->st_mtim.tv_nsec};
  hash_bytes(h, facts, sizeof facts);
}

void cli_hash_identity(cli_hash *h, const char *path) {
  struct stat s;
  cli_hash_text(h, path);
  if (stat(path, &s) == 0)
    hash_identity(h, &s);
  else
    cli_hash_text(h, "none");
}

bool cli_hash_file(cli_hash *h, const char *dir, const char *name) {
  char path[8192];
  int n =
      snprintf(path, sizeof path, "%s%s%s", *name == '/' ? "" : dir, *name == '/' ? "" : "/", name);
  int fd = n > 0 && (size_t)n < sizeof path ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
  struct stat s;
  if (fd < 0 || fstat(fd, &s) != 0 || !S_ISREG(s.st_mode)) {
    if (fd >= 0) close(fd);
    cli_hash_text(h, "none");
    return false;
  }
  const int64_t size = s.st_size;
  hash_bytes(h, &size, sizeof size);
  bool read_all = true;
  if (s.st_size > WHOLE_MAX) {
    hash_identity(h, &s);
  } else {
    char block[1 << 14];
    ssize_t got;
    while ((got = read(fd, block, sizeof block)) > 0) hash_bytes(h, block, (size_t)got);
    read_all = got == 0;
  }
  close(fd);
  return read_all;
}

char *cli_hash_program(cli_hash *h, const char *name) {
  const char *path = getenv("PATH");
  struct stat s;
  char file[8192];
  cli_hash_text(h, name);
  if (strchr(name, '/')) path = "";
  while (path) {
    size_t len = strcspn(path, ":");
    int n = snprintf(file, sizeof file, "%.*s%s%s", (int)len, path, len ? "/" : "", name);
    if (n > 0 && (size_t)n < sizeof file && stat(file, &s) == 0 && S_ISREG(s.st_mode)) {
      cli_hash_text(h, file);
      hash_identity(h, &s);
      return realpath(file, NULL);
    }
    path = path[len] ? path + len + 1 : NULL;
  }
  return NULL;
}

void cli_hash_end(cli_hash *h, char hex[CLI_HASH_SIZE]) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned len = 0;
  bool ok = EVP_DigestFinal_ex(h->ctx, digest, &len) == 1 && !h->failed;
  hex[0] = '\0';
  for (unsigned i = 0; ok && i < len && 2 * i + 2 < CLI_HASH_SIZE; i++)
    snprintf(hex + (size_t)2 * i, 3, "%02x", digest[i]);
  EVP_MD_CTX_free(h->ctx);
  free(h);
}

char *cli_cache_path(const char *name) {
  const char *base = getenv("WARPGRID_CACHE"), *below = "";
  if (!base || !*base) base = getenv("XDG_CACHE_HOME");
  if (!base || !*base) {
    base = getenv("HOME");
    below = "/.cache";
  }
  char *path;
  if (!base || !*base || asprintf(&path, "%s%s/warpgrid/%s", base, below, name) < 0) return NULL;
  return path;
}

bool cli_hash_of_file(const char *path, char hex[CLI_HASH_SIZE]) {
  cli_hash *h = cli_hash_new();
  hex[0] = '\0';
  if (!h) return false;
  bool there = cli_hash_file(h, ".", path);
  cli_hash_end(h, hex);
  return there && hex[0];
}

/* ---- stamps ---- */

/** The stamp's path, and what it must say; NULL: it cannot be told. */
static char *stamp_text(const char *output, const char *key, const char *made, char **path) {
  char name[CLI_HASH_SIZE + 8] = "pack/";
  cli_hash *h = cli_hash_new();
  if (!h) return NULL;
  cli_hash_text(h, output);
  cli_hash_end(h, name + 5);
  char *text;
  if (!name[5] || !(*path = cli_cache_path(name))) return NULL;
  if (asprintf(&text, "%s %s\n", key, made) >= 0) return text;
  free(*path);
  return NULL;
}

bool cli_stamp_matches(const char *output, const char *key) {
  char made[CLI_HASH_SIZE], found[2 * CLI_HASH_SIZE + 2], *path, *text;
  if (!cli_hash_of_file(output, made)) return false;
  if (!(text = stamp_text(output, key, made, &path))) return false;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t n = fd >= 0 ? read(fd, found, sizeof found) : -1;
  if (fd >= 0) close(fd);
  bool same = n >= 0 && (size_t)n == strlen(text) && memcmp(found, text, (size_t)n) == 0;
  free(path);
  free(text);
  return same;
}

void cli_stamp_write(const char *output, const char *key, const char *made) {
  char *path, *text = stamp_text(output, key, made, &path);
  if (!text) return;
  wg_error ignored; /* without a folder the open fails, too: the next build is not skipped */
  (void)!cli_make_folders(path, NULL, &ignored);
  /* Written in one go, and compared as a whole: half of one is none. */
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd >= 0) {
    if (write(fd, text, strlen(text)) < 0) unlink(path);
    close(fd);
  }
  free(path);
  free(text);
}

/* ---- rules of make ---- */

wg_code cli_deps_read(const char *text, char ***list, wg_error *err) {
  wg_code code = WG_OK;
  wg_buf word;
  wg_buf_init(&word, 8192);
  for (const char *p = text; code == WG_OK && *p;) {
    if (strchr(" \t\r\n", *p)) {
      p++;
      continue;
    }
    if (p[0] == '\\' && (p[1] == '\n' || p[1] == '\r')) {
      p += 2;
      continue;
    }
    wg_buf_clear(&word);
    for (; *p && !strchr(" \t\r\n", *p); p++) {
      if (p[0] == '\\' && (p[1] == '\n' || p[1] == '\r')) break;
      if (p[0] == '\\' && p[1] && strchr(" \t#", p[1]))
        p++;
      else if (p[0] == '$' && p[1] == '$')
        p++;
      wg_buf_put_u8(&word, (uint8_t)*p);
    }
    bool target = p[-1] == ':';
    wg_buf_put_u8(&word, 0);
    if (word.failed)
      code = wg_error_set(err, word.nomem ? WG_NOMEM : WG_INVALID, 0,
                          "the compiler names a file that is too long");
    else if (!target)
      code = cli_list_add(list, (const char *)wg_buf_head(&word), err);
  }
  wg_buf_release(&word);
  return code;
}
