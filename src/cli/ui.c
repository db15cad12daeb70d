/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/ui.h"
const char *ui_program(void) { return "warp"; }
