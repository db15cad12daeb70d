/* SPDX-License-Identifier: Apache-2.0 */
#include "db/real_server.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static struct sockaddr_in loopback(uint16_t port) {
  return (struct sockaddr_in){
      .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

uint16_t real_free_port(void) {
  struct sockaddr_in in = loopback(0);
  socklen_t len = sizeof in;
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  REAL_CHECK(".", bind(fd, (struct sockaddr *)&in, len) == 0);
  getsockname(fd, (struct sockaddr *)&in, &len);
  close(fd);
  return ntohs(in.sin_port);
}

bool real_reach(uint16_t port, void *first, size_t n) {
  struct sockaddr_in in = loopback(port);
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  bool up = connect(fd, (struct sockaddr *)&in, sizeof in) == 0 &&
            (n == 0 || recv(fd, first, n, MSG_WAITALL) == (ssize_t)n);
  close(fd);
  return up;
}

pid_t real_launch(const char *dir, const char *const *args, bool (*answers)(void)) {
  fflush(NULL);
  pid_t pid = fork();
  if (pid == 0) {
    char log[128];
    snprintf(log, sizeof log, "%s/log", dir);
    if (!freopen(log, "a", stdout) || dup2(fileno(stdout), 2) < 0) _exit(1);
    for (int fd = 3; fd < 256; fd++) close(fd);
    execv(args[0], (char *const *)args);
    _exit(1);
  }
  REAL_CHECK(dir, pid > 0);
  for (int i = 0; i < 1200; i++) {
    if (waitpid(pid, NULL, WNOHANG) == pid) return 0;
    if (answers()) return pid;
    usleep(25000);
  }
  fprintf(stderr, "%s: no answer within 30 s; see %s/log\n", args[0], dir);
  abort();
}

void real_end(pid_t *pid, int sig) {
  if (*pid <= 0) return;
  kill(*pid, sig);
  waitpid(*pid, NULL, 0);
  *pid = 0;
}

void real_freeze(pid_t pid, bool frozen) {
  int status;
  REAL_CHECK(".", kill(pid, frozen ? SIGSTOP : SIGCONT) == 0);
  if (frozen) REAL_CHECK(".", waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
}

void real_remove(char *dir) {
  char command[128];
  if (!dir[0]) return;
  snprintf(command, sizeof command, "rm -rf %s", dir);
  REAL_CHECK(dir, system(command) == 0);
  dir[0] = '\0';
}
