/* SPDX-License-Identifier: Apache-2.0 */
/* How a process ended: there is none, so no status is one of these. */
#pragma once

#define WIFEXITED(status) ((status) >= 0)
#define WEXITSTATUS(status) (status)
#define WIFSIGNALED(status) 0
#define WTERMSIG(status) 0
#define WIFSTOPPED(status) 0
#define WSTOPSIG(status) 0
