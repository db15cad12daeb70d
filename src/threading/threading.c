/* SPDX-License-Identifier: Apache-2.0 */
#include "threading/threading.h"

const char *wg_threading_name(wg_threading model) {
  switch (model) {
  case WG_THREADING_PARALLEL_REQUIRED: return "parallel-required";
  case WG_THREADING_COOPERATIVE: return "cooperative";
  case WG_THREADING_NONE: break;
  }
  return "none";
}

wg_code wg_threading_declare(wg_threading *current, wg_threading model, atomic_bool *warned,
                             const wg_log_ctx *lc) {
  if (*current != WG_THREADING_NONE ||
      (model != WG_THREADING_PARALLEL_REQUIRED && model != WG_THREADING_COOPERATIVE))
    return WG_INVALID;
  *current = model;
  if (model == WG_THREADING_PARALLEL_REQUIRED && !atomic_exchange(warned, true))
    wg_log(lc, WG_LOG_WARN, "threading_not_parallel",
           WG_KV_S("reason", "the component requires parallel threads, which this version does not "
                             "have; its instances run cooperatively, on one thread each"));
  return WG_OK;
}
