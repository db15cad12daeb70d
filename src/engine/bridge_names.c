/* SPDX-License-Identifier: Apache-2.0 */
/** @file bridge_names.c  The runtime's view of src/dns: what a guest asks, as wgrt.h says it. */
#include "engine/engine_internal.h"
#include <string.h>

/** Lives in the op, so that nothing is allocated. */
typedef struct lookup {
  wg_dns_req req;
  wg_instance *instance;
} lookup;
_Static_assert(sizeof(lookup) <= sizeof(((wgrt_op_resolve *)0)->space), "room for a lookup");
_Static_assert((int)WGRT_RESOLVE_ADDRESSES == (int)WG_DNS_ADDRESSES, "same order");
_Static_assert((int)WGRT_RESOLVE_REVERSE == (int)WG_DNS_REVERSE, "same order");
_Static_assert((int)WGRT_RESOLVE_RECORDS == (int)WG_DNS_RECORDS, "same order");

static lookup *lookup_of(wgrt_op_resolve *op) { return (lookup *)(void *)op->space; }

static void give_addresses(wgrt_op_resolve *op, const wg_dns_req *req) {
  wg_instance *asker = lookup_of(op)->instance;
  wg_allow_learn(&asker->learned, wg__instance_allow(asker), (const char *)op->name.p, op->name.n,
                 req->addresses, req->count, req->ttl_s, wg_now_ms(&asker->worker->loop.clock));
  op->count = 0;
  for (size_t i = 0; i < req->count && op->count < op->cap; i++) {
    const wg_dns_addr *from = &req->addresses[i];
    wgrt_address *to = &op->out[op->count++];
    *to = (wgrt_address){.family = from->family, .ttl_s = req->ttl_s};
    memcpy(to->bytes, from->bytes, sizeof to->bytes);
  }
  wgrt_op_complete(&op->op, 0, NULL);
}

static void on_resolved(wg_dns_req *req, const wg_error *err) {
  wgrt_op_resolve *op = req->user;
  lookup_of(op)->instance->lookups--;
  if (err)
    wg__op_complete(&op->op, err);
  else if (op->what == WGRT_RESOLVE_ADDRESSES)
    give_addresses(op, req);
  else
    wgrt_op_complete(&op->op, req->count ? 1 : 0, req->count ? req->text : NULL);
}

static void bridge_resolve(void *ctx, void *inst, wgrt_op_resolve *op) {
  wg_worker *w = ctx;
  wg_instance *i = inst;
  lookup *k = lookup_of(op);
  if (i->lookups >= WG_LOOKUPS_MAX) {
    wg_error err;
    wg_error_set(&err, WG_EXHAUSTED, 0, "the instance has %d lookups in progress", WG_LOOKUPS_MAX);
    k->req.lookup = NULL;
    wg__op_complete(&op->op, &err);
    return;
  }
  k->instance = i;
  i->lookups++;
  wg_dns_question q = {.what = (wg_dns_what)op->what,
                       .name = (const char *)op->name.p,
                       .len = op->name.n,
                       .rrtype = (wg_dns_rrtype)op->rrtype};
  if (op->what == WGRT_RESOLVE_REVERSE) {
    q.address.family = op->address.family;
    memcpy(q.address.bytes, op->address.bytes, op->address.family == 4 ? 4 : 16);
  }
  wg_dns_ask(w->dns, &q, &k->req, on_resolved, op);
}

static void bridge_resolve_cancel(void *ctx, void *inst, wgrt_op_resolve *op) {
  ((wg_instance *)inst)->lookups--;
  wg_dns_cancel(((wg_worker *)ctx)->dns, &lookup_of(op)->req);
}

void wg__bridge_names(wgrt_host *out) {
  out->resolve = bridge_resolve;
  out->resolve_cancel = bridge_resolve_cancel;
}
