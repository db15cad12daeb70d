/* SPDX-License-Identifier: Apache-2.0 */
/* A hostile server's SCRAM messages: the first line of the input is server-first, the rest
 * server-final. Nothing but the right signature may end in success. */
#include "db/wire/scram.h"

#include <stdlib.h>
#include <string.h>

#define REQUIRE(x) ((x) ? (void)0 : abort())

static const wg_secret password = {(char *)"pencil", 6};

/* Half a million rounds of SHA-256 teach a fuzzer nothing. */
static bool is_slow(const char *p, size_t n) {
  for (size_t i = 0; i + 6 < n; i++)
    if (p[i] == 'i' && p[i + 1] == '=' && memcmp(p + i + 2, "4096", 4) != 0 && p[i + 4] >= '0' &&
        p[i + 4] <= '9' && p[i + 5] >= '0' && p[i + 5] <= '9')
      return true;
  return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const char *text = (const char *)data;
  const char *line = size ? memchr(text, '\n', size) : NULL;
  size_t first = line ? (size_t)(line - text) : size;
  if (is_slow(text, size)) return 0;
  wg_scram s = {0};
  wg_buf out;
  wg_error err;
  memcpy(s.nonce, "rOprNGfwEbeRWgbNEkqO", 21);
  wg_buf_init(&out, 8192);
  REQUIRE(wg_scram_first(&s, "user", &out, &err) == WG_OK);
  wg_buf_clear(&out);
  wg_code code = wg_scram_final(&s, text, first, &password, &out, &err);
  while (code == WG_AGAIN) code = wg_scram_rounds(&s, &out, &err);
  if (code == WG_OK) {
    size_t n = wg_buf_len(&out);
    const char *proof = memmem(wg_buf_head(&out), n, ",p=", 3);
    REQUIRE(proof && (const uint8_t *)proof + 3 + 44 == wg_buf_head(&out) + n);
    const char *rest = line ? line + 1 : text + size;
    size_t len = (size_t)(text + size - rest);
    if (wg_scram_verify(&s, rest, len, &err) == WG_OK) REQUIRE(len >= 46 && rest[0] == 'v');
  } else {
    REQUIRE(wg_buf_len(&out) == 0);
  }
  wg_scram_wipe(&s);
  wg_buf_release(&out);
  return 0;
}
