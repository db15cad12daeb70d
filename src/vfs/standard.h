/* SPDX-License-Identifier: Apache-2.0 */
/** @file standard.h  The files that guests of a configuration find, whatever the host has. */
#pragma once
#include "config/config.h"
#include "dns/names.h"
#include "vfs/vfs.h"

/** Where /etc/hosts comes from. */
typedef struct wg_vfs_names {
  wg_names *(*current)(void *user); /**< gives a reference; any thread, must not block */
  void *user; /**< must outlive the map */
} wg_vfs_names;

/** What the files of one app tell. */
typedef struct wg_vfs_options {
  const wg_config *config; /**< borrowed for the call */
  const char *name; /**< of the app: its host name */
  const char *const *args; /**< its command line, NULL-terminated */
  const char *const *env; /**< "K=V", what the guest gets anyway; NULL-terminated; NULL: none */
  wg_vfs_names names;
} wg_vfs_options;

/** Makes the map: /dev/{null,zero,random,urandom}, /etc/{hosts,hostname,resolv.conf,localtime,
 *  timezone,passwd,group}, /etc/warpgrid/proxy.conf, /proc/self/{cmdline,comm,environ,stat,status},
 *  /usr/share/zoneinfo, and `extra_virtual_paths`, which may replace them. Reads files of the host.
 *  @return WG_OK; WG_CONFIG with "file:line:column: ..." for an extra path that cannot be read or
 *          clashes, or for a time zone that is none; WG_IO, WG_NOMEM */
WG_MUSTCHECK wg_code wg_vfs_new(const wg_vfs_options *o, wg_vfs **out, wg_error *err);

/** Adds /etc/hosts: localhost, the app itself, sentinels of databases, the registry and [hosts]. A
 *  name stands there for what it resolves to, and follows names that change. */
void wg__vfs_add_hosts(wg_vfs_builder *b, const wg_vfs_options *o);
/** Appends /etc/warpgrid/proxy.conf: never a user or a password. */
void wg__vfs_put_databases(const wg_config *c, wg_buf *out);
/** Adds /usr/share/zoneinfo: the built-in zones, or a folder's.
 *  @return WG_OK; WG_IO, WG_CONFIG: not a folder of zones, WG_NOMEM */
WG_MUSTCHECK wg_code wg__vfs_add_zones(wg_vfs_builder *b, const char *folder, wg_error *err);
