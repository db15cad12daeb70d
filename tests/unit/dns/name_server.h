/* SPDX-License-Identifier: Apache-2.0 */
/** @file name_server.h  A real name server (NSD of Debian) in a folder and on a port of its own. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct name_server {
  pid_t pid;
  uint16_t port; /* of 127.0.0.1, UDP and TCP */
  char dir[64];
  char address[32]; /* "127.0.0.1:PORT" */
} name_server;

/** Serves the zones example.test (ZONE) and 2.0.192.in-addr.arpa; the zone broken.test has no file,
 *  so that its names are answered SERVFAIL.
 *  @return false with a printed reason when the machine has no nsd */
bool name_server_start(name_server *s);
void name_server_stop(name_server *s);

/** A UDP socket of 127.0.0.1 that never answers. @return its fd */
int silent_server(char address[32]);
