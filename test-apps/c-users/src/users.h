/* SPDX-License-Identifier: Apache-2.0 */
/** @file users.h  The table test_users: what can be asked of it, and how it fails. */
#pragma once
#include <warpgrid/sdk/json.h>
#include <warpgrid/sdk/pg.h>

/* Each function leases a connection for as long as it runs. The JSON belongs to the caller; NULL
 * says that *err is filled in. */

/** @param after  rows with a greater id only
 *  @return an array of users, ordered by id */
json_t *users_list(int64_t after, int64_t limit, wg_pg_error *err);
/** @return a user; JSON null when there is none of this id */
json_t *users_get(int64_t id, wg_pg_error *err);
/** @return the new user */
json_t *users_add(wg_str name, wg_str email, wg_pg_error *err);
/** @return JSON true, or false when there is none of this id */
json_t *users_remove(int64_t id, wg_pg_error *err);
/** @return the number of users */
json_t *users_count(wg_pg_error *err);
