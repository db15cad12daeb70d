/* SPDX-License-Identifier: Apache-2.0 */
/** @file sdk.h  The C SDK for guests on this machine: where it is, and its guest.flags, which say
 *  how a guest is compiled and linked. */
#pragma once
#include "base/base.h"

typedef struct cli_sdk {
  char *dir;
  char *flags; /**< text of guest.flags */
} cli_sdk;

/** Looks in $WARPGRID_SDK, else in sdk/c beside the executable, else where it is installed:
 *  ../share/warpgrid/sdk/c.
 *  @param out  cli_sdk_release() afterwards
 *  @return WG_OK; WG_NOT_FOUND with a hint how to get it; WG_IO, WG_NOMEM */
WG_MUSTCHECK wg_code cli_sdk_find(cli_sdk *out, wg_error *err);
void cli_sdk_release(cli_sdk *sdk);

/** Appends the words of a key to a NULL-terminated list, ${SDK} filled in.
 *  @param key   "compile", "link", "worlds"
 *  @param part  "service-p2" for "compile.service-p2"; NULL: the key itself */
WG_MUSTCHECK wg_code cli_sdk_words(const cli_sdk *sdk, const char *key, const char *part,
                                   char ***list, wg_error *err);

/** NULL-terminated lists of texts. */
WG_MUSTCHECK wg_code cli_list_add(char ***list, const char *text, wg_error *err);
void cli_list_free(char **list);
