/* SPDX-License-Identifier: Apache-2.0 */
/** @file threading.h  What a guest declares of its threads. Every instance runs on one thread,
 *  whatever it declares: an operator whose program expects otherwise is warned. */
#pragma once
#include "base/log.h"
#include <stdatomic.h>
#include <warpgrid/engine.h>

/** "none", "parallel-required", "cooperative". Static. */
const char *wg_threading_name(wg_threading model);

/** Declares the model of an instance, once. The first instance of a component that requires
 *  parallel threads logs "threading_not_parallel"; the others are silent.
 *  @param current  the instance's; stays when it was declared before
 *  @param warned   the component's; any thread may share it
 *  @param lc       where the instance is, for the log
 *  @return WG_OK; WG_INVALID: declared before, or `model` is none to declare */
WG_MUSTCHECK wg_code wg_threading_declare(wg_threading *current, wg_threading model,
                                          atomic_bool *warned, const wg_log_ctx *lc);
