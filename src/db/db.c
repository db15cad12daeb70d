/* SPDX-License-Identifier: Apache-2.0 */
#include "db/db_internal.h"
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

/* A worker:  RUNNING --drain--> DRAINING --last server gone | deadline--> DRAINED (done is called)
 *            any --free--> its uv handles close, then its memory goes
 * While it drains it takes no new connects; guests that have a session or wait for one go on. */

static void worker_enter(wg_db_worker *w, wg_worker_state next) {
  WG_ASSERT(next == w->state + 1);
  w->state = next;
  if (next != WORKER_DRAINED) return;
  wg_deadline_stop(&w->drain);
  wg_log0(&w->log, WG_LOG_DEBUG, "db_drained");
  w->drained(w->drained_user);
}

/* ---- the process ---- */

static bool has_mysql_guests(const wg_config *config) {
  for (size_t i = 0; i < config->database_count; i++)
    if (config->databases[i].protocol == WG_DB_MYSQL &&
        config->databases[i].auth == WG_DB_AUTH_GUEST)
      return true;
  return false;
}

wg_code wg_db_new(const wg_config *config, wg_db **out, wg_error *err) {
  wg_db *db = calloc(1, sizeof *db);
  if (!db) return wg_error_set(err, WG_NOMEM, 0, "databases: out of memory");
  db->config = config;
  if (has_mysql_guests(config)) wg_mysql_key_prepare();
  wg_random_bytes(db->salt, sizeof db->salt);
  pthread_mutex_init(&db->lock, NULL);
  pthread_mutex_init(&db->cancel_lock, NULL);
  for (size_t i = 0; i < WG_COUNT(db->keys); i++) wg_list_init(&db->keys[i]);
  wg_list_init(&db->pools);
  wg_list_init(&db->loopbacks);
  wg_list_init(&db->counts);
  wg_list_init(&db->hellos);
  *out = db;
  return WG_OK;
}

void wg_db_free(wg_db *db) {
  if (!db) return;
  WG_ASSERT(db->workers == 0);
  for (wg_node *n; (n = wg_list_first(&db->pools));) {
    wg_list_remove(&db->pools, n);
    wg__pool_free(WG_CONTAINER(n, wg_pool, by_db));
  }
  wg__counts_free(db);
  wg__hellos_free(db);
  wg__loopbacks_free(db);
  if (has_mysql_guests(db->config)) wg_mysql_key_release();
  pthread_mutex_destroy(&db->lock);
  pthread_mutex_destroy(&db->cancel_lock);
  free(db);
}

/* ---- keys ---- */

static bool same(const char *a, const char *b) { return a == b || (a && b && strcmp(a, b) == 0); }

/** Everything that a connection is fixed to by its log-in, but for its shape. */
static bool pool_serves(const wg_pool *pool, const wg_database_config *config, const char *database,
                        const char *user, const uint8_t digest[32]) {
  const wg_database_config *c = pool->config;
  return c->auth == config->auth && c->protocol == config->protocol && c->port == config->port &&
         c->address_port == config->address_port && same(c->host, config->host) &&
         same(c->address, config->address) && same(pool->database, database) &&
         wg_db_same_hosts(c, config) && same(pool->user, user) &&
         CRYPTO_memcmp(pool->digest, digest, 32) == 0 && wg_tls_same(&c->tls, &config->tls);
}

/** SHA-256 of the salt and the password, so that the digest is of no use elsewhere. */
static wg_code digest_of(const wg_db *db, const char *password, size_t len, uint8_t digest[32],
                         wg_error *err) {
  EVP_MD_CTX *c = EVP_MD_CTX_new();
  bool ok = c && EVP_DigestInit_ex(c, EVP_sha256(), NULL) == 1 &&
            EVP_DigestUpdate(c, db->salt, sizeof db->salt) == 1 &&
            EVP_DigestUpdate(c, password, len) == 1 && EVP_DigestFinal_ex(c, digest, NULL) == 1;
  EVP_MD_CTX_free(c);
  if (ok) return WG_OK;
  return wg_error_set(err, WG_IO, 0, "databases: the crypto library cannot compute SHA-256");
}

/** Shapes are the guests' choice: of one log-in there are few at a time. Where one is too many, the
 *  pool that was unused for longest makes room. The db's lock is held.
 *  @return false: all of them are in use */
static bool shape_fits(wg_db *db, const wg_database_config *config, const char *database,
                       const char *user, const uint8_t digest[32]) {
  size_t shapes = 0;
  uint64_t oldest_ms = 0;
  wg_pool *oldest = NULL;
  for (wg_node *n = wg_list_first(&db->pools); n; n = wg_list_next(&db->pools, n)) {
    wg_pool *pool = WG_CONTAINER(n, wg_pool, by_db);
    uint64_t used_ms;
    if ((pool->shape & WG_WIRE_SHAPE_GUESS) || atomic_load(&pool->retiring) ||
        !pool_serves(pool, config, database, user, digest))
      continue;
    shapes++;
    if (!wg__pool_rests(pool, &used_ms) || (oldest && used_ms >= oldest_ms)) continue;
    oldest = pool;
    oldest_ms = used_ms;
  }
  if (shapes < DB_SHAPES_MAX) return true;
  if (oldest) wg__pool_retire(oldest);
  return oldest;
}

/** The pool of a key, made at need. The db's lock is held. */
static wg_code pool_find(wg_db *db, const wg_database_config *config, const char *database,
                         const wg_credentials *who, uint64_t shape, wg_pool **out, wg_error *err) {
  uint8_t digest[32];
  bool guest = config->auth == WG_DB_AUTH_GUEST;
  const char *user = config->auth == WG_DB_AUTH_SERVICE ? config->user : guest ? who->user : NULL;
  const char *password = guest ? who->password : config->password.len ? config->password.bytes : "";
  wg_code code =
      digest_of(db, password, guest ? who->password_len : config->password.len, digest, err);
  if (code != WG_OK) return code;
  wg_pool *found = NULL;
  for (wg_node *n = wg_list_first(&db->pools); n && !found; n = wg_list_next(&db->pools, n)) {
    wg_pool *pool = WG_CONTAINER(n, wg_pool, by_db);
    if (pool->shape == shape && pool_serves(pool, config, database, user, digest)) found = pool;
  }
  *out = found;
  if (found && !atomic_load(&found->retiring)) return WG_OK;
  if (shape && !(shape & WG_WIRE_SHAPE_GUESS) && !shape_fits(db, config, database, user, digest)) {
    wg_error_set(err, WG_EXHAUSTED, 0,
                 "database '%s': %d kinds of connections are in use already (SQLSTATE 53300)",
                 config->name, DB_SHAPES_MAX);
    wg_error_hint(err, "a kind is what a driver asks for: capabilities and character set");
    return WG_EXHAUSTED;
  }
  if (found) {
    atomic_store(&found->retiring, false);
    return WG_OK;
  }
  /* Those that warp.toml spells out are as many as it has. */
  if (db->pools.count >= DB_POOLS_MAX && (guest || !config->database)) {
    wg_error_set(err, WG_EXHAUSTED, 0, "database '%s': %d pools exist already", config->name,
                 DB_POOLS_MAX);
    wg_error_hint(err, "guests asked for that many databases, or as that many users");
    return WG_EXHAUSTED;
  }
  wg_pool *pool = calloc(1, sizeof *pool);
  if (pool) pool->database = strdup(database);
  if (pool && user) pool->user = strdup(user);
  if (!pool || !pool->database || (user && !pool->user)) {
    if (pool) free(pool->database), free(pool->user);
    free(pool);
    return wg_error_set(err, WG_NOMEM, 0, "database '%s': out of memory", config->name);
  }
  pool->db = db;
  pool->config = config;
  pool->auth = config->auth;
  pool->shape = shape;
  pool->ops = wg_wire_of(config->protocol);
  memcpy(pool->digest, digest, 32);
  wg_tls_cache_init(&pool->resume);
  wg_scram_cache_init(&pool->keys);
  pthread_mutex_init(&pool->lock, NULL);
  for (size_t i = 0; i < SRV_STATES; i++) wg_list_init(&pool->servers[i]);
  wg_list_init(&pool->turns);
  wg_list_init(&pool->locals);
  wg_node_init(&pool->by_db);
  wg_list_push_back(&db->pools, &pool->by_db);
  *out = pool;
  return WG_OK;
}

/** Keys that guests chose come and go: when a new one was made, this worker's sides of those that
 *  nobody uses go, and pools that were only ours; those of databases that guests name when there is
 *  little room left. From the loop only: whoever calls a guest back may do so in the middle of a walk
 *  over what is freed here. Those that another shape has the place of go as well. */
static void sweep(wg_db_worker *w) {
  w->sweeps = false;
  pthread_mutex_lock(&w->db->lock);
  bool named = w->db->pools.count > DB_POOLS_MAX / 4 * 3;
  pthread_mutex_unlock(&w->db->lock);
  for (wg_node *n = wg_list_first(&w->locals), *next; n; n = next) {
    wg_local *local = WG_CONTAINER(n, wg_local, by_worker);
    wg_pool *pool = local->pool;
    next = wg_list_next(&w->locals, n);
    bool leaves = named || atomic_load(&pool->retiring);
    if (!wg__pool_chosen(pool) || (pool->auth != WG_DB_AUTH_GUEST && !leaves)) continue;
    if (!wg__local_unused(local) || wg__cancels_use(w, pool)) continue;
    for (wg_node *g = wg_list_first(&w->guests); g; g = wg_list_next(&w->guests, g))
      wg__turns_forget(WG_CONTAINER(g, wg_db_guest, by_worker), local);
    pthread_mutex_lock(&w->db->lock); /* before the pool's own: nobody finds it meanwhile */
    wg__local_free(local);
    if (wg_list_empty(&pool->locals)) {
      wg_list_remove(&w->db->pools, &pool->by_db);
      wg__counts_keep(pool);
      wg__pool_free(pool);
    }
    pthread_mutex_unlock(&w->db->lock);
  }
}

/** With the db's lock held from the search to the end: another worker sweeps a pool away that no
 *  worker has joined. */
static wg_code local_join(wg_db_worker *w, const wg_database_config *config, const char *database,
                          const wg_credentials *who, uint64_t shape, wg_local **out,
                          wg_error *err) {
  wg_pool *pool = NULL;
  wg_code code = pool_find(w->db, config, database, who, shape, &pool, err);
  if (code != WG_OK) return code;
  for (wg_node *n = wg_list_first(&w->locals); n; n = wg_list_next(&w->locals, n)) {
    *out = WG_CONTAINER(n, wg_local, by_worker);
    if ((*out)->pool == pool) return WG_OK; /* another [databases.NAME] with the same key */
  }
  wg_local *local = calloc(1, sizeof *local);
  if (local) wg__local_init(local, pool, w);
  if (!local || !local->connect || !local->talk || !local->retry_class || !local->tidy_class ||
      !local->finish) {
    free(local);
    return wg_error_set(err, WG_NOMEM, 0, "database '%s': out of memory", config->name);
  }
  wg_list_push_back(&w->locals, &local->by_worker);
  pthread_mutex_lock(&pool->lock);
  wg_list_push_back(&pool->locals, &local->by_pool);
  pthread_mutex_unlock(&pool->lock);
  *out = local;
  return WG_OK;
}

static wg_code local_new(wg_db_worker *w, const wg_database_config *config, const char *database,
                         const wg_credentials *who, uint64_t shape, wg_local **out, wg_error *err) {
  pthread_mutex_lock(&w->db->lock);
  size_t before = w->locals.count;
  wg_code code = local_join(w, config, database, who, shape, out, err);
  pthread_mutex_unlock(&w->db->lock);
  if (wg__key_chosen(config, shape) && (code != WG_OK || w->locals.count > before)) {
    w->sweeps = true;
    uv_async_send(&w->wake);
  }
  return code;
}

/** A local of this worker that serves the service's log-in to `database` with this shape. */
static wg_local *local_find(const wg_db_worker *w, const wg_database_config *config,
                            const char *database, uint64_t shape) {
  for (wg_node *n = wg_list_first(&w->locals); n; n = wg_list_next(&w->locals, n)) {
    wg_local *local = WG_CONTAINER(n, wg_local, by_worker);
    const wg_pool *pool = local->pool;
    if (pool->config == config && pool->shape == shape && !atomic_load(&pool->retiring) &&
        strcmp(pool->database, database) == 0)
      return local;
  }
  return NULL;
}

wg_code wg__worker_pool(wg_db_worker *w, const wg_database_config *config, const char *database,
                        size_t database_len, const wg_credentials *who, uint64_t shape,
                        wg_local **out, wg_error *err) {
  const wg_config *all = w->db->config;
  bool declared = false, guest = config->auth == WG_DB_AUTH_GUEST;
  for (size_t i = 0; i < all->database_count && !declared; i++) {
    declared = config == &all->databases[i];
    if (!declared || !config->database || guest || shape) continue;
    if (!w->by_database[i]) {
      wg_code code = local_new(w, config, config->database, who, 0, &w->by_database[i], err);
      if (code != WG_OK) return code;
    }
    *out = w->by_database[i];
    return WG_OK;
  }
  const char *known = config->database;
  char *name = NULL;
  if (!known && database_len) {
    known = name = strndup(database, database_len);
    if (!name) return wg_error_set(err, WG_NOMEM, 0, "database '%s': out of memory", config->name);
  }
  /* As the server itself does, an unnamed database is the one named like the user, or none. */
  if (!known) known = wg_wire_of(config->protocol)->unnamed;
  if (!known) known = who ? who->user : config->user;
  wg_code code = WG_OK;
  *out = guest ? NULL : local_find(w, config, known, shape);
  if (!*out) code = local_new(w, config, known, who, shape, out, err);
  free(name);
  return code;
}

/* ---- workers ---- */

static void on_wake(uv_async_t *async) {
  wg_db_worker *w = async->data;
  for (;;) {
    pthread_mutex_lock(&w->inbox_lock);
    wg_server *srv = WG_ITEM(wg_list_first(&w->inbox), wg_server, by_worker);
    if (srv) wg_list_remove(&w->inbox, &srv->by_worker);
    pthread_mutex_unlock(&w->inbox_lock);
    if (!srv) break;
    wg__pool_arrived(srv);
  }
  wg_server *busy = WG_ITEM(wg_list_first(&w->busy), wg_server, by_busy);
  if (busy) { /* one a turn, however many there are */
    wg_list_remove(&w->busy, &busy->by_busy);
    wg__server_talk(busy);
    if (!wg_list_empty(&w->busy)) uv_async_send(&w->wake);
  }
  wg__cancels_arrived(w);
  for (wg_node *n = wg_list_first(&w->locals); n; n = wg_list_next(&w->locals, n)) {
    wg_local *local = WG_CONTAINER(n, wg_local, by_worker);
    wg__pool_pump(local);
    if (!atomic_load(&local->pool->retiring)) continue;
    wg__pool_leave(local);
    w->sweeps = true;
  }
  if (w->sweeps) sweep(w);
  if (w->state == WORKER_DRAINING && wg_list_empty(&w->servers)) worker_enter(w, WORKER_DRAINED);
}

void wg__worker_check_drained(wg_db_worker *w) {
  /* From the loop, not from here: whoever took the last server away is still at work. */
  if (w->state == WORKER_DRAINING && !w->freeing && wg_list_empty(&w->servers))
    uv_async_send(&w->wake);
}

/** Cuts whatever is left of servers. */
static void cut_all(wg_db_worker *w, const char *why) {
  wg_error err;
  wg_error_set(&err, WG_LOST, 0, "%s", why);
  for (wg_node *n; (n = wg_list_first(&w->servers));) {
    wg_server *srv = WG_CONTAINER(n, wg_server, by_worker);
    srv->end = END_STOP;
    if (srv->session)
      wg__session_cut(srv->session, &err);
    else
      wg__server_enter(srv, SRV_CLOSED);
  }
}

static void on_drain_deadline(wg_deadline *d) {
  wg_db_worker *w = WG_CONTAINER(d, wg_db_worker, drain);
  wg_log(&w->log, WG_LOG_WARN, "db_drain_timeout", WG_KV_U("connections", w->servers.count));
  cut_all(w, "the host is stopping");
  wg__worker_check_drained(w);
}

/** Databases with min_idle have a pool before a guest asks for one. The first connections are made
 *  a moment later, when all workers are there to share them. */
static wg_code keep_ready(wg_db_worker *w, wg_error *err) {
  const wg_config *c = w->db->config;
  for (size_t i = 0; i < c->database_count; i++) {
    const wg_database_config *d = &c->databases[i];
    wg_local *local;
    if (d->pool.min_idle == 0 || d->auth != WG_DB_AUTH_SERVICE || !d->database ||
        !wg_wire_of(d->protocol) || wg_wire_of(d->protocol)->shape)
      continue; /* the last: nobody knows yet what guests need */
    wg_code code = wg__worker_pool(w, d, NULL, 0, NULL, 0, &local, err);
    if (code != WG_OK) return code;
    wg_deadline_start(local->retry_class, &local->tidy);
  }
  return WG_OK;
}

wg_code wg_db_worker_new(wg_db *db, const wg_loop *loop, wg_dns *dns, wg_db_worker **out,
                         wg_error *err) {
  size_t databases = db->config->database_count;
  wg_db_worker *w = calloc(1, sizeof *w);
  if (w) w->by_database = calloc(databases ? databases : 1, sizeof(wg_local *));
  if (!w || !w->by_database) {
    free(w);
    return wg_error_set(err, WG_NOMEM, 0, "databases: out of memory");
  }
  w->db = db;
  w->loop = loop;
  w->dns = dns;
  w->next_serial = 1;
  w->log = (wg_log_ctx){.app = db->config->name, .worker = loop->worker};
  wg_list_init(&w->locals);
  wg_list_init(&w->servers);
  wg_list_init(&w->busy);
  wg_list_init(&w->guests);
  wg_list_init(&w->inbox);
  wg_list_init(&w->cancel_inbox);
  wg_list_init(&w->cancels);
  wg_deadline_init(&w->drain, on_drain_deadline);
  wg_code code = wg_deadlines_new(loop, &w->deadlines, err);
  int rc = code == WG_OK ? uv_async_init(loop->uv, &w->wake, on_wake) : 0;
  if (rc != 0) code = wg_error_set(err, WG_IO, rc, "databases: %s", uv_strerror(rc));
  if (code != WG_OK) {
    wg_deadlines_free(w->deadlines);
    free(w->by_database);
    free(w);
    return code;
  }
  w->wake.data = w;
  pthread_mutex_init(&w->inbox_lock, NULL);
  pthread_mutex_lock(&db->lock);
  db->workers++;
  pthread_mutex_unlock(&db->lock);
  code = keep_ready(w, err);
  if (code != WG_OK) {
    wg_db_worker_free(w);
    return code;
  }
  *out = w;
  return WG_OK;
}

void wg_db_worker_drain(wg_db_worker *w, void (*done)(void *user), void *user) {
  WG_ASSERT(w->state == WORKER_RUNNING);
  w->drained = done;
  w->drained_user = user;
  worker_enter(w, WORKER_DRAINING);
  uint64_t longest = w->db->config->pool.drain_timeout_ms;
  for (wg_node *n = wg_list_first(&w->locals); n; n = wg_list_next(&w->locals, n)) {
    wg_local *local = WG_CONTAINER(n, wg_local, by_worker);
    if (local->pool->config->pool.drain_timeout_ms > longest)
      longest = local->pool->config->pool.drain_timeout_ms;
    for (wg_node *i; (i = wg_list_first(&local->idle));) {
      wg_server *srv = WG_CONTAINER(i, wg_server, by_local);
      wg__server_dismiss(srv, END_STOP);
    }
  }
  wg_deadline_start(wg_deadlines_class(w->deadlines, longest), &w->drain);
  wg__worker_check_drained(w);
}

static void on_wake_closed(uv_handle_t *h) {
  wg_db_worker *w = h->data;
  pthread_mutex_destroy(&w->inbox_lock);
  free(w->by_database);
  free(w);
}

void wg_db_worker_free(wg_db_worker *w) {
  if (!w) return;
  WG_ASSERT(wg_list_empty(&w->guests));
  w->freeing = true;
  cut_all(w, "the worker is gone");
  wg__cancels_stop(w);
  /* No guest of ours waits any more, so no other worker has a reason to send us a server: what is
   * in the inbox now was promised to requests that were canceled since. */
  for (wg_server *srv; (srv = WG_ITEM(wg_list_first(&w->inbox), wg_server, by_worker));) {
    pthread_mutex_lock(&w->inbox_lock);
    wg_list_remove(&w->inbox, &srv->by_worker);
    pthread_mutex_unlock(&w->inbox_lock);
    wg_list_push_back(&w->servers, &srv->by_worker);
    srv->end = END_STOP;
    wg__server_enter(srv, SRV_CLOSED);
  }
  for (wg_node *n; (n = wg_list_first(&w->locals));) {
    wg_local *local = WG_CONTAINER(n, wg_local, by_worker);
    wg__pool_pump(local); /* room was made; other workers may use it */
    wg__local_free(local);
  }
  wg_deadline_stop(&w->drain);
  wg_deadlines_free(w->deadlines);
  pthread_mutex_lock(&w->db->lock);
  w->db->workers--;
  pthread_mutex_unlock(&w->db->lock);
  uv_close((uv_handle_t *)&w->wake, on_wake_closed);
}
