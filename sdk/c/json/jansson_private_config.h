/* SPDX-License-Identifier: Apache-2.0 */
/* What jansson's configure script would find out about wasm32-wasip2. */
#pragma once
#define HAVE_STDINT_H 1
#define HAVE_UNISTD_H 1
#define HAVE_SYS_TYPES_H 1
#define HAVE_STRTOLL 1
#define INITIAL_HASHTABLE_ORDER 3
