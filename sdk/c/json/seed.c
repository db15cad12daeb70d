/* SPDX-License-Identifier: Apache-2.0 */
/* Stands in for jansson's hashtable_seed.c, which wants /dev/urandom or the time of day. Objects
 * of a hostile client must not be able to choose their collisions, so the seed is random. */
#include <jansson.h>
#include <stdint.h>
#include <unistd.h>

extern volatile uint32_t hashtable_seed; /* of jansson; 0: not chosen yet */
volatile uint32_t hashtable_seed = 0;

void json_object_seed(size_t seed) {
  uint32_t value = (uint32_t)seed;
  if (hashtable_seed != 0) return;
  while (value == 0)
    if (getentropy(&value, sizeof value) != 0) __builtin_trap();
  hashtable_seed = value;
}
