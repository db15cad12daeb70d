/* SPDX-License-Identifier: Apache-2.0 */
/* A program as `wasi:cli/run@0.3`. libc of this target is a WASI 0.2 one: it prints, but its
 * main() would be exported as `wasi:cli/run@0.2`, so the program's entry has another name. */
#include "command.h"
#include "task.h"
#include <stdio.h>

void wg_task_main(uint32_t unused) {
  (void)unused;
  wg_task t;
  wg_task_begin(&t);
  int status = wg_main();
  fflush(stdout);
  wg_task_end(&t);
  exports_wasi_cli_run_result_void_void_t result = {.is_err = status != 0};
  exports_wasi_cli_run_run_return(result);
}

void wg_export_run(void);
__attribute__((export_name("[async-lift-stackful]wasi:cli/run@0.3.0#run"))) void
wg_export_run(void) {
  wg_task_run(0);
}
