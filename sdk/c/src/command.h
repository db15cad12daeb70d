/* SPDX-License-Identifier: Apache-2.0 */
/** @file command.h  Entry of a WASI 0.3 command. */
#pragma once

/** Defined by the program. @return 0 for success; anything else makes the run an error */
int wg_main(void);
