/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include <signal.h>

int main(int argc, char **argv) {
  /* A peer or reader that goes away is an error of one write, not the end of the process. */
  signal(SIGPIPE, SIG_IGN);
  return cli_main(argc, argv);
}
