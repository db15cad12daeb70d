/* SPDX-License-Identifier: Apache-2.0 */
/* US-207: local time by the name of a zone. Times and names are those of the IANA database. */
#include "check.h"

#include <time.h>

/** A time in a zone: "2024-01-15 07:00:00 EST -0500 0", the last one tm_isdst. */
static const char *in_zone(const char *zone, time_t t) {
  static char text[128];
  struct tm tm;
  if (zone)
    setenv("TZ", zone, 1);
  else
    unsetenv("TZ");
  if (!localtime_r(&t, &tm)) return "no time";
  size_t n = strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S %Z %z", &tm);
  snprintf(text + n, sizeof text - n, " %d", tm.tm_isdst);
  return text;
}

static const time_t winter = 1705320000 /* 2024-01-15 12:00 UTC */, summer = 1721044800 /* 07-15 */;

static void us_207_zones_by_name(void) {
  CHECK_TEXT(in_zone("America/New_York", winter), "2024-01-15 07:00:00 EST -0500 0");
  CHECK_TEXT(in_zone("America/New_York", summer), "2024-07-15 08:00:00 EDT -0400 1");
  CHECK_TEXT(in_zone("Europe/London", winter), "2024-01-15 12:00:00 GMT +0000 0");
  CHECK_TEXT(in_zone("Europe/London", summer), "2024-07-15 13:00:00 BST +0100 1");
  CHECK_TEXT(in_zone("Asia/Kathmandu", winter), "2024-01-15 17:45:00 +0545 +0545 0");
  CHECK_TEXT(in_zone(":Europe/Berlin", summer), "2024-07-15 14:00:00 CEST +0200 1");
  CHECK_TEXT(in_zone("Australia/Lord_Howe", winter), "2024-01-15 23:00:00 +11 +1100 1");
}

static void us_207_the_second_of_a_change(void) {
  /* Berlin: 2024-03-31 01:00 UTC forward, 2024-10-27 01:00 UTC back. */
  CHECK_TEXT(in_zone("Europe/Berlin", 1711846799), "2024-03-31 01:59:59 CET +0100 0");
  CHECK_TEXT(in_zone("Europe/Berlin", 1711846800), "2024-03-31 03:00:00 CEST +0200 1");
  CHECK_TEXT(in_zone("Europe/Berlin", 1729990799), "2024-10-27 02:59:59 CEST +0200 1");
  CHECK_TEXT(in_zone("Europe/Berlin", 1729990800), "2024-10-27 02:00:00 CET +0100 0");
}

static void us_207_far_in_time(void) {
  /* Past the table's end the rule at the end of the file holds; before its start, local mean time. */
  CHECK_TEXT(in_zone("Europe/Berlin", 4088188800), "2099-07-20 02:00:00 CEST +0200 1");
  CHECK_TEXT(in_zone("Europe/Berlin", 4073068800), "2099-01-26 01:00:00 CET +0100 0");
  CHECK_TEXT(in_zone("America/Santiago", 4088188800), "2099-07-19 20:00:00 -04 -0400 0");
  CHECK_TEXT(in_zone("Europe/Berlin", -2524521600), "1890-01-01 00:53:28 LMT +0053 0");
}

static void us_207_rules_as_text(void) {
  CHECK_TEXT(in_zone("EST5EDT,M3.2.0,M11.1.0", winter), "2024-01-15 07:00:00 EST -0500 0");
  CHECK_TEXT(in_zone("EST5EDT,M3.2.0,M11.1.0", summer), "2024-07-15 08:00:00 EDT -0400 1");
  CHECK_TEXT(in_zone("<+0330>-3:30", winter), "2024-01-15 15:30:00 +0330 +0330 0");
  CHECK_TEXT(in_zone("JST-9", winter), "2024-01-15 21:00:00 JST +0900 0");
}

static void us_207_unknown_zones_are_utc(void) {
  CHECK_TEXT(in_zone("No/Such_Zone", winter), "2024-01-15 12:00:00 UTC +0000 0");
  CHECK_TEXT(in_zone("../../../etc/hosts", winter), "2024-01-15 12:00:00 UTC +0000 0");
  CHECK_TEXT(in_zone("/etc/hosts", winter), "2024-01-15 12:00:00 UTC +0000 0");
  CHECK_TEXT(in_zone("", winter), "2024-01-15 12:00:00 UTC +0000 0");
  CHECK_TEXT(in_zone("UTC", winter), "2024-01-15 12:00:00 UTC +0000 0");
}

static void us_207_mktime_knows_the_zone(void) {
  setenv("TZ", "Europe/Berlin", 1);
  struct tm tm = {.tm_year = 124, .tm_mon = 6, .tm_mday = 15, .tm_hour = 14, .tm_isdst = -1};
  CHECK_INT(mktime(&tm), summer);
  CHECK_INT(tm.tm_isdst, 1);
  struct tm cold = {.tm_year = 124, .tm_mon = 0, .tm_mday = 15, .tm_hour = 13, .tm_isdst = -1};
  CHECK_INT(mktime(&cold), winter);
  CHECK_INT(cold.tm_isdst, 0);
  /* The hour that comes twice: tm_isdst decides. */
  struct tm first = {
      .tm_year = 124, .tm_mon = 9, .tm_mday = 27, .tm_hour = 2, .tm_min = 30, .tm_isdst = 1};
  struct tm second = first;
  second.tm_isdst = 0;
  CHECK_INT(mktime(&first), 1729989000);
  CHECK_INT(mktime(&second), 1729992600);
  /* The hour that does not come is read as one after the change. */
  struct tm none = {
      .tm_year = 124, .tm_mon = 2, .tm_mday = 31, .tm_hour = 2, .tm_min = 30, .tm_isdst = -1};
  time_t t = mktime(&none);
  CHECK(t == 1711848600 || t == 1711845000);
}

static void us_207_gmtime_and_timegm_stay(void) {
  setenv("TZ", "America/New_York", 1);
  struct tm tm;
  time_t t = winter;
  CHECK(gmtime_r(&t, &tm) != NULL);
  CHECK_INT(tm.tm_hour, 12);
  CHECK_INT(timegm(&tm), winter);
}

static void us_207_zones_change_while_a_program_runs(void) {
  for (int i = 0; i < 100; i++) {
    CHECK_TEXT(in_zone("Asia/Tokyo", winter), "2024-01-15 21:00:00 JST +0900 0");
    CHECK_TEXT(in_zone("Europe/Paris", winter), "2024-01-15 13:00:00 CET +0100 0");
  }
}

static void us_207_without_a_warpgrid_all_is_utc(void) {
  CHECK_TEXT(in_zone("America/New_York", winter), "2024-01-15 12:00:00 UTC +0000 0");
  CHECK_TEXT(in_zone(NULL, summer), "2024-07-15 12:00:00 UTC +0000 0");
}

static const struct check_test tests[] = {
    TEST(us_207_zones_by_name, WARPGRID),
    TEST(us_207_the_second_of_a_change, WARPGRID),
    TEST(us_207_far_in_time, WARPGRID),
    TEST(us_207_mktime_knows_the_zone, WARPGRID),
    TEST(us_207_zones_change_while_a_program_runs, WARPGRID),
    TEST(us_207_rules_as_text, PATCHED),
    TEST(us_207_unknown_zones_are_utc, PATCHED),
    TEST(us_207_gmtime_and_timegm_stay, ANYWHERE),
    TEST(us_207_without_a_warpgrid_all_is_utc, VANILLA | STOCK | MOCK),
};

int main(void) { return check_run(tests, sizeof tests / sizeof *tests); }
