/* SPDX-License-Identifier: Apache-2.0 */
/** @file fuzz.h  The entry point that libFuzzer calls and declares nowhere; included by force. */
#pragma once
#include <stddef.h>
#include <stdint.h>

/** One input. The bytes are in memory of exactly their size. @return 0 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
