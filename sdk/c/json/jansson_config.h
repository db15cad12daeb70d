/* SPDX-License-Identifier: Apache-2.0 */
/* What jansson's configure script would find out about wasm32-wasip2. */
#pragma once
#define JSON_INLINE inline
#define JSON_INTEGER_IS_LONG_LONG 1
#define JSON_HAVE_LOCALECONV 0 /* there is one locale */
#define JSON_HAVE_ATOMIC_BUILTINS 0
#define JSON_HAVE_SYNC_BUILTINS 0
/* The parser recurses: this deep fits the stack of a WASI 0.3 task (sdk/c/src/task.c). */
#define JSON_PARSER_MAX_DEPTH 128
