/* SPDX-License-Identifier: Apache-2.0 */
/** @file feed.h  The HTTP registry on the control thread: its GETs through the runtime, its names to
 *  the workers. Everything on that thread. */
#pragma once
#include "engine/engine_internal.h"

typedef struct wg_feed wg_feed;
/** Asks from the loop, once that runs.
 *  @param t      borrowed; must outlive it
 *  @param first  called once, when the first answer came or did not come in time; at once and within
 *                the call when there is no URL */
WG_MUSTCHECK wg_code wg__feed_new(wg_engine *e, wg_thread *t, void (*first)(void *user), void *user,
                                  wg_feed **out, wg_error *err);
/** While the thread's runtime worker lives; run the loop afterwards. NULL is fine. */
void wg__feed_free(wg_feed *f);
/** Takes [registry] of a configuration that is to be served, and makes its names.
 *  @param out  for the caller, as wg_names_new() gives them */
WG_MUSTCHECK wg_code wg__feed_names(wg_feed *f, const wg_config *config, wg_names **out,
                                    wg_error *err);
