/* SPDX-License-Identifier: Apache-2.0 */
/* Local times for test_libc.py: reads lines "ZONE SECONDS", prints each with its local time and what
 * mktime() makes of that. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int main(void) {
  char zone[128], text[128];
  long long seconds;
  while (scanf("%127s %lld", zone, &seconds) == 2) {
    time_t t = (time_t)seconds;
    struct tm tm;
    setenv("TZ", zone, 1);
    localtime_r(&t, &tm);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    printf("%s %lld %s %ld %s %lld\n", zone, seconds, text, (long)tm.tm_gmtoff, tm.tm_zone,
           (long long)mktime(&tm) - seconds);
  }
  return 0;
}
