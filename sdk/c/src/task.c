/* SPDX-License-Identifier: Apache-2.0 */
#include "task.h"
#include <stdbool.h>
#include <stdlib.h>

void wg_task_begin(wg_task *t) {
  t->set = 0;
  wasi3_context_set_0(t);
}

void wg_task_end(wg_task *t) {
  if (t->set != 0) wasi3_waitable_set_drop(t->set);
  t->set = 0;
}

wg_task *wg_task_current(void) { return wasi3_context_get_0(); }

void wg_task_join(wg_task *t, uint32_t waitable) {
  if (t->set == 0) t->set = wasi3_waitable_set_new();
  wasi3_waitable_join(waitable, t->set);
}

void wg_task_leave(uint32_t waitable) { wasi3_waitable_join(waitable, 0); }

#if WG_STACKFUL
/* 128 KiB are enough for printf and for a parser of nested data; a guest that recurses deeper than
 * that can have more by -DWG_TASK_STACK=bytes. */
#ifndef WG_TASK_STACK
#define WG_TASK_STACK (128 * 1024)
#endif
enum { STACK_CANARY = 0x57475354 };

/* Lies at the low end of a stack, which grows down towards it. */
struct stack {
  uint32_t canary;
  struct stack *next; /* of the free list */
  uint32_t pad[2];    /* a multiple of 16, as the stack pointer must be */
};
static struct stack *free_stacks;

/** Called from the assembly below: the high end of a stack. */
char *wg__stack_take(void);
/** Called from the assembly below, while the stack is still in use. */
void wg__stack_give(char *top);

char *wg__stack_take(void) {
  struct stack *s = free_stacks;
  if (s != NULL) {
    free_stacks = s->next;
  } else {
    s = aligned_alloc(16, WG_TASK_STACK);
    if (s == NULL) __builtin_trap(); /* no way to answer without a stack */
    s->canary = STACK_CANARY;
  }
  return (char *)s + WG_TASK_STACK;
}

static struct stack *stack_checked(char *top) {
  struct stack *s = (struct stack *)(void *)(top - WG_TASK_STACK);
  if (s->canary != STACK_CANARY) __builtin_trap(); /* overflow: the heap below is damaged */
  return s;
}

void wg__stack_give(char *top) {
  struct stack *s = stack_checked(top);
  s->next = free_stacks;
  free_stacks = s;
}

/* The stack pointer stays on the task's stack at the end: whatever runs next sets its own, and
 * until then nothing is taken from the free list. */
__asm__("	.text\n"
        "	.section	.text.wg_task_run,\"\",@\n"
        "	.globaltype	__stack_pointer, i32\n"
        "	.functype	wg__stack_take () -> (i32)\n"
        "	.functype	wg__stack_give (i32) -> ()\n"
        "	.functype	wg_task_main (i32) -> ()\n"
        "	.globl	wg_task_run\n"
        "	.type	wg_task_run,@function\n"
        "wg_task_run:\n"
        "	.functype	wg_task_run (i32) -> ()\n"
        "	.local	i32\n"
        "	call	wg__stack_take\n"
        "	local.tee	1\n"
        "	global.set	__stack_pointer\n"
        "	local.get	0\n"
        "	call	wg_task_main\n"
        "	local.get	1\n"
        "	call	wg__stack_give\n"
        "	end_function\n");
#endif

/* A wait is rare beside what it waits for, so it may cost a call: not inlined, so that the stack
 * pointer it saves is its own caller's. */
__attribute__((noinline)) wasi3_event_t wg_task_wait(wg_task *t) {
  wasi3_event_t event;
#if WG_STACKFUL
  void *stack_pointer;
  __asm__ volatile(".globaltype __stack_pointer, i32\n"
                   "global.get __stack_pointer\n"
                   "local.set %0"
                   : "=r"(stack_pointer)
                   :
                   : "memory");
#endif
  wasi3_waitable_set_wait(t->set, &event);
#if WG_STACKFUL
  __asm__ volatile("local.get %0\n"
                   "global.set __stack_pointer"
                   :
                   : "r"(stack_pointer)
                   : "memory");
#endif
  return event;
}

void wg_task_await_subtask(wasi3_subtask_status_t status) {
  if (WASI3_SUBTASK_STATE(status) == WASI3_SUBTASK_RETURNED) return;
  wasi3_subtask_t subtask = WASI3_SUBTASK_HANDLE(status);
  wg_task *t = wg_task_current();
  wg_task_join(t, subtask);
  wasi3_event_t event;
  do event = wg_task_wait(t);
  while (event.waitable != subtask || event.code < WASI3_SUBTASK_RETURNED);
  wg_task_leave(subtask);
  wasi3_subtask_drop(subtask);
}
