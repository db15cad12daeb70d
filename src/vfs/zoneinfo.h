/* SPDX-License-Identifier: Apache-2.0 */
/** @file zoneinfo.h  Time zones: the built-in database of names, or a folder of the host. */
#pragma once
#include "base/base.h"

/** A file of the built-in database; everything static. */
typedef struct wg_zoneinfo_file {
  const char *name; /**< "Europe/London", "tzdata.zi" */
  const uint8_t *bytes;
  size_t size;
  size_t content; /**< below wg_zoneinfo_contents(); files with the same content share it */
} wg_zoneinfo_file;

/** "2025b": of the time zone database that was built in. */
const char *wg_zoneinfo_version(void);
size_t wg_zoneinfo_count(void);
/** How many of them differ. */
size_t wg_zoneinfo_contents(void);
/** The i'th, in the order of wg_path_compare(). */
wg_zoneinfo_file wg_zoneinfo_at(size_t i);

/** True when a name is that of a zone: a compiled one, not a table beside them.
 *  @param folder  of the host; NULL: the built-in zones */
bool wg_zone_exists(const char *folder, const char *name);

typedef enum wg_tz_kind {
  WG_TZ_OTHER, /**< empty, a rule such as "CET-1CEST", or a file elsewhere: libc's own business */
  WG_TZ_ZONE,
  WG_TZ_UNKNOWN /**< looks like the name of a zone, and is none */
} wg_tz_kind;
/** What a value of the variable TZ stands for.
 *  @param name  gets the zone's name, part of `value`, unless WG_TZ_OTHER */
wg_tz_kind wg_tz_read(const char *folder, const char *value, const char **name);
