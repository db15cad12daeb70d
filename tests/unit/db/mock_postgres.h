/* SPDX-License-Identifier: Apache-2.0 */
/** @file mock_postgres.h  A PostgreSQL server of threads and blocking sockets, for tests: it speaks
 *  enough of protocol 3.0 to be logged in to and asked, and misbehaves where it is told to.
 *
 *  A simple query is a command:
 *    ""               EmptyQueryResponse, unless `ping` says otherwise
 *    "BEGIN"          into a transaction; "FAIL" fails it; "ROLLBACK", "DISCARD ALL", others: done
 *    "ROWS n size"    n DataRow messages of `size` bytes each, whose bytes run through 0..255
 *    "PID"            one row: the number of the connection
 *    "SET name value" a ParameterStatus
 *    "TICKETS"        done, and two session tickets behind the answer (TLS 1.3)
 *    "TICKET"         done, and half of a session ticket that takes several records; the other half
 *                     when `ticket_held` is over (TLS 1.3)
 *    "KEYS"           new keys for both directions, then done (TLS 1.3)
 *    "LATE"           one row; its end when `end_held` is over
 *    "COPYIN"         CopyInResponse; ends with CopyDone or CopyFail
 *    "SLEEP"          no answer until it is canceled, then ErrorResponse 57014
 *    "HANG"           no answer, for ever
 *    "DIE"            half of a DataRow, then the connection is cut
 *    "GO"             the connection is cut at a message boundary, without a word
 *    "FATAL"          ErrorResponse 57P01, then the connection is closed
 *    "GARBAGE"        a message of length 3
 *  Extended queries: Parse is remembered; Bind of a set_config() sets a parameter; the parameter
 *  "bad" is refused with 42704; Sync answers. Statement names live until DISCARD ALL, and a second
 *  Parse of one name fails with 42P05. */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum mock_auth { MOCK_TRUST, MOCK_CLEARTEXT, MOCK_MD5, MOCK_SCRAM, MOCK_GSS } mock_auth;

/** Where the server goes wrong on the way to TLS. */
typedef enum mock_tls_fault {
  MOCK_TLS_FINE,
  MOCK_TLS_MUTE, /* no answer to SSLRequest */
  MOCK_TLS_GONE, /* closes in place of an answer */
  MOCK_TLS_ERROR, /* ErrorResponse in place of an answer */
  MOCK_TLS_GARBAGE, /* another byte */
  MOCK_TLS_STUFFED, /* 'S' and more in one packet */
  MOCK_TLS_STUFFED_NO, /* 'N' and more in one packet */
  MOCK_TLS_LATE_STUFF, /* 'S', and plain text in place of the handshake */
  MOCK_TLS_STALL, /* 'S', then nothing */
  MOCK_TLS_STALL_MID, /* half of its first flight, then nothing */
  MOCK_TLS_HANG_UP, /* half of its first flight, then the end of the stream */
  MOCK_TLS_HALF_CLOSE, /* half of its first flight, then the end of its direction only */
  MOCK_TLS_RESET /* half of its first flight, then a reset */
} mock_tls_fault;

typedef struct mock_pg {
  /* set before mock_pg_start() */
  mock_auth auth;
  const char *user, *password, *database; /* default: "app", "secret", "shop" */
  unsigned iterations; /* of SCRAM; 0: 4096 */
  const char *socket_dir; /* listen on its ".s.PGSQL.<port>" in place of TCP */
  bool ipv6;
  const char *tls_cert, *tls_key; /* PEM files; NULL: SSLRequest is answered 'N' */
  const char *tls_client_ca; /* asks for a certificate of the client from this issuer */
  int tls_version; /* the only one that it speaks, TLS1_2_VERSION and so on; 0: all */
  bool tls_direct; /* without SSLRequest; ALPN is wanted */
  bool tls_only, plain_only; /* refuses log-ins in plain text, or under TLS, by 28000 */
  bool tls_no_plus; /* SCRAM without -PLUS */
  bool tls_resumes; /* tickets and sessions; else none */
  unsigned small_buffers; /* bytes of the socket's buffers; 0: the system's */
  /* may change at any time */
  _Atomic bool split; /* one byte a write */
  _Atomic bool wrong_signature; /* SCRAM: pretends to know the password */
  _Atomic bool skip_final; /* SCRAM: AuthenticationOk without server-final */
  _Atomic bool wrong_nonce;
  _Atomic bool mute; /* accepts, and never says a word */
  _Atomic bool ping_hangs, ping_fails;
  _Atomic bool reset_fails, reset_hangs;
  _Atomic unsigned notices; /* of 60 kB, in front of the answer to "", DISCARD ALL and Sync */
  _Atomic mock_tls_fault tls_fault;
  _Atomic bool tickets_when_idle; /* behind the answer to DISCARD ALL (TLS 1.3) */
  _Atomic bool renewed; /* another certificate since the sessions that it resumes were made */
  _Atomic bool ticket_held;
  _Atomic bool end_held;
  _Atomic unsigned tls_chunk; /* ciphertext goes out in packets of so many bytes; 0: as it comes */
  _Atomic bool cancel_held; /* cancel requests are read, and acted on when this is over */
  _Atomic bool tells; /* reports what it is at log-in, as PostgreSQL 14 does */
  _Atomic bool standby, read_only; /* what it is then */
  _Atomic bool full; /* refuses log-ins with 53300 */
  _Atomic unsigned login_delay_ms;
  _Atomic unsigned stall_at; /* says nothing more from this message of the log-in on; 0: never */
  _Atomic bool stall_half; /* but half of that message */
  /* to be read */
  uint16_t port;
  _Atomic unsigned tls_logins, tls_resumed, tls_plus, tls_clients; /* with a certificate */
  _Atomic bool tls_asked; /* SSLRequest came */
  char sni[256]; /* of the last connection */
  _Atomic unsigned cancels_read, cancels; /* requests: that came; that were acted on */
  _Atomic unsigned sleeps; /* that began */
  _Atomic unsigned cancels_tls; /* that came under TLS */
  _Atomic unsigned half_tickets; /* that were sent in half */
  _Atomic unsigned stalled; /* connections that stall_at holds */
  _Atomic unsigned accepted, logins, open, pings, resets, rollbacks, terminates, parses;
  _Atomic unsigned readies; /* ReadyForQuery messages that were sent */
  struct mock_pg_impl *impl;
} mock_pg;

void mock_pg_start(mock_pg *m);
/** Cuts all connections and listens no more; starting again takes the same port. */
void mock_pg_stop(mock_pg *m);
/** Listens no more, and leaves the connections alone. */
void mock_pg_refuse(mock_pg *m);
/** Cuts all connections and goes on listening. */
void mock_pg_kill(mock_pg *m);
/** Says FATAL 57P01 on all connections and closes them. */
void mock_pg_terminate(mock_pg *m);
/** Copies what connection `n` (1-based, in order of acceptance) received after its log-in. The
 *  caller frees. */
uint8_t *mock_pg_received(mock_pg *m, unsigned n, size_t *len);
