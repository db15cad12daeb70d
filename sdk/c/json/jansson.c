/* SPDX-License-Identifier: Apache-2.0 */
/* jansson as one source, from where scripts/fetch-guest-json.sh put it. */
#pragma clang diagnostic ignored "-Weverything"
#define HAVE_CONFIG_H 1
#include <dump.c>
#include <error.c>
#include <hashtable.c>
#include <load.c>
#include <memory.c>
#include <pack_unpack.c>
#include <strbuffer.c>
#include <strconv.c>
#include <utf.c>
#include <value.c>
