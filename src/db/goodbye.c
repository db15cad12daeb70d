/* SPDX-License-Identifier: Apache-2.0 */
/** @file goodbye.c  The end of a session that its guest wants: ENDED of the picture in session.c, up to
 *  LOST.
 *
 *  Terminate is withheld, so the server goes on: it answers what was asked before, and when the guest
 *  has read that, it is the next guest's. What the guest left unfinished (an extended query without its
 *  Sync, a COPY without its end, half a message, what could not be counted) it would wait for for ever,
 *  and the guest for the end of its stream. So it is told the end, says what it owes, and closes. */
#include "db/db_internal.h"
#include <sys/socket.h>

void wg__goodbye_say(wg_server *srv) {
  if (!wg__server_flush(srv))
    wg__server_look(srv); /* who reads finds the end */
  else if (wg_buf_len(&srv->out))
    wg__server_arm(srv, WG_WATCH_WRITE);
}

static void hang_up(wg_server *srv, bool within) {
  if (within) { /* no words can follow; what it answered before still comes */
    shutdown(srv->fd, SHUT_WR);
    return;
  }
  srv->ops->bye(srv->wire, &srv->out);
  wg__goodbye_say(srv);
}

void wg__session_return(const wg_session *s, wg_server *srv, bool fit) {
  bool dirty = s->used || s->wire->touched || !wg_list_empty(&srv->cancels);
  wg__pool_return(srv, fit, dirty ? &s->wire->track : NULL);
}

bool wg__session_over(const wg_session *s) {
  return s->state == SES_ENDED && s->srv->ops->idle(&s->wire->track);
}

void wg__session_part(wg_session *s) {
  wg_db_worker *w = s->guest->worker;
  wg_guard guard = {s, w->guards};
  wg_server *srv = wg__session_detach(s);
  if (srv->ops->parting) srv->ops->parting(&s->wire->track, &s->to_guest);
  wg__session_enter(s, SES_LOST);
  s->swallowed = true;
  w->guards = &guard;
  wg__session_return(s, srv, true);
  w->guards = guard.next;
  if (guard.s) wg__session_changed(s);
}

void wg__session_finish(wg_session *s) {
  wg_wire_track *t = &s->wire->track;
  wg_server *srv = s->srv;
  if (wg__session_over(s)) {
    wg__session_part(s);
    return;
  }
  if (!s->hung_up && srv->ops->unfinished(t)) {
    s->hung_up = true;
    t->tainted = true;
    hang_up(srv, t->client.have || t->client.left);
  }
  wg__session_changed(s);
}

void wg__session_end(wg_session *s) {
  s->wire->track.ended = true;
  wg__session_enter(s, SES_ENDED);
  wg__session_finish(s);
}
