/* SPDX-License-Identifier: Apache-2.0 */
/* US-201: the smallest program links with both sysroots. */
#include "check.h"

static void us_201_a_program_runs(void) {}

static const struct check_test tests[] = {
    TEST(us_201_a_program_runs, ANYWHERE),
};

int main(void) { return check_run(tests, sizeof tests / sizeof *tests); }
