/* SPDX-License-Identifier: Apache-2.0 */
/** @file replay.c  Runs the files of a corpus folder through a fuzz target, without libFuzzer, so
 *  that inputs which once broke a parser stay tests of every build. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static int replay_file(const char *path) {
  FILE *f = fopen(path, "rb");
  if (!f) {
    perror(path);
    return 1;
  }
  uint8_t *data = NULL;
  size_t len = 0, cap = 0, n;
  do {
    if (cap - len < 4096) {
      cap = cap ? cap * 2 : 8192;
      data = realloc(data, cap);
      if (!data) abort();
    }
    n = fread(data + len, 1, cap - len, f);
    len += n;
  } while (n);
  fclose(f);
  /* Exactly as much memory as input, so that a sanitizer sees a read past the end. */
  uint8_t *exact = malloc(len ? len : 1);
  if (!exact) abort();
  for (size_t i = 0; i < len; i++) exact[i] = data[i];
  free(data);
  LLVMFuzzerTestOneInput(exact, len);
  free(exact);
  return 0;
}

int main(int argc, char **argv) {
  int failed = 0, files = 0;
  for (int i = 1; i < argc; i++) {
    DIR *dir = opendir(argv[i]);
    if (!dir) {
      perror(argv[i]);
      return 1;
    }
    for (struct dirent *e; (e = readdir(dir));) {
      if (e->d_name[0] == '.') continue;
      char path[4096];
      snprintf(path, sizeof path, "%s/%s", argv[i], e->d_name);
      failed |= replay_file(path);
      files++;
    }
    closedir(dir);
  }
  printf("%d inputs replayed\n", files);
  return failed || files == 0;
}
