/* SPDX-License-Identifier: Apache-2.0 */
/** @file task.h  Waiting in a WASI 0.3 task.
 *
 *  The component model lifts an async export in one of two ways:
 *
 *  stackful (WG_STACKFUL)  The export is an ordinary call that may wait in the middle; the host
 *      keeps its WebAssembly stack meanwhile and lets other tasks of the instance run. What the
 *      host does not keep is C's own stack in linear memory, which all tasks would share. So each
 *      task runs on a stack of its own, and the stack pointer is put back after each wait.
 *  callback                The export returns to the host in order to wait, and the host calls
 *      back. A wait in the middle of C code is still possible, but holds up the whole instance.
 *
 *  Every wait of a guest must go through this file: a wait that forgets the stack pointer would
 *  let two tasks write over each other's frames. */
#pragma once
#include <stdint.h>
#include <world.h>

/** One task; lives in the component model's context slot 0 while the task runs. */
typedef struct wg_task {
  wasi3_waitable_set_t set; /**< 0: none yet */
} wg_task;

/** Makes `t` the running task's. */
void wg_task_begin(wg_task *t);
/** Drops the set; nothing may be joined to it any more. */
void wg_task_end(wg_task *t);
/** The running task's. */
wg_task *wg_task_current(void);
/** Adds a waitable to the task's set; wg_task_leave() takes it out. */
void wg_task_join(wg_task *t, uint32_t waitable);
void wg_task_leave(uint32_t waitable);
/** Waits for one event of the set. Other tasks may run meanwhile. */
wasi3_event_t wg_task_wait(wg_task *t);
/** Waits until a call of an async import has returned, and drops its subtask. */
void wg_task_await_subtask(wasi3_subtask_status_t status);

#if WG_STACKFUL
/** What the task does, on its own stack; defined once in the program. */
void wg_task_main(uint32_t argument);
/** Runs wg_task_main() on a stack of its own. The lifted export does nothing else. */
void wg_task_run(uint32_t argument);
#endif
