/* SPDX-License-Identifier: Apache-2.0 */
/* US-103: the files that every guest finds, what they tell, and what warp.toml adds. */
#include "vfs/standard.h"
#include "vfs/zoneinfo.h"

#include "dns/sentinel.h"
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define LIST(...) ((char *[]){__VA_ARGS__, NULL})

/** A configuration without a file. */
static wg_config plain(void) {
  static char *servers[] = {"127.0.0.1", NULL};
  return (wg_config){.name = "shop",
                     .dir = ".",
                     .memory_bytes = 128 << 20,
                     .shims = WG_SHIM_ALL,
                     .dns_domain = "warp.local",
                     .nameservers = servers,
                     .timezone = "UTC"};
}

static wg_vfs_options options_of(const wg_config *c) {
  static const char *const args[] = {"shop", "--port", "80", NULL};
  static const char *const env[] = {"A=1", "SECRET=s3", NULL};
  return (wg_vfs_options){.config = c, .name = "shop", .args = args, .env = env};
}

/** The names that maps follow. */
static wg_names *names;
static wg_names *current(void *user) {
  assert_ptr_equal(user, &names);
  return wg_names_ref(names);
}
static void publish(const wg_config *c, const wg_registry_answer *more) {
  wg_error err;
  wg_names_unref(names);
  if (wg_names_new(c, more, &names, &err) != WG_OK) fail_msg("%s", err.msg);
}

static wg_vfs *make(wg_vfs_options *o) {
  wg_vfs *v;
  wg_error err;
  publish(o->config, NULL);
  o->names = (wg_vfs_names){current, &names};
  if (wg_vfs_new(o, &v, &err) != WG_OK) fail_msg("%s", err.msg);
  return v;
}

static wg_vfs_node find(wg_vfs *v, const char *path) {
  wg_path canonical;
  wg_vfs_node n;
  assert_int_equal(wg_vfs_find(v, "", 0, path, strlen(path), &canonical, &n), WG_OK);
  return n;
}

static char *content(wg_vfs *v, const char *path, size_t *size) {
  wg_vfs_node n = find(v, path);
  if (n.type != WG_VFS_FILE) fail_msg("%s is no file", path);
  uint64_t version = 0;
  int fd;
  wg_error err;
  if (wg_vfs_open(v, n.id, &version, &fd, &err) != WG_OK) fail_msg("%s", err.msg);
  char *text = calloc(1, n.size + 2);
  assert_int_equal(pread(fd, text, n.size + 1, 0), n.size);
  close(fd);
  if (size) *size = n.size;
  return text;
}

static void assert_content(wg_vfs *v, const char *path, const char *expect) {
  char *text = content(v, path, NULL);
  assert_string_equal(text, expect);
  free(text);
}

static void assert_bytes(wg_vfs *v, const char *path, const char *expect, size_t n) {
  size_t size;
  char *text = content(v, path, &size);
  assert_int_equal(size, n);
  assert_memory_equal(text, expect, n);
  free(text);
}

/** True when the content has the line. */
static bool has_line(wg_vfs *v, const char *path, const char *line) {
  char *text = content(v, path, NULL), *save = text;
  bool found = false;
  for (char *l; (l = strsep(&save, "\n"));) found = found || strcmp(l, line) == 0;
  free(text);
  return found;
}

static void us_103_every_path_is_there(void **state) {
  (void)state;
  wg_config c = plain();
  wg_vfs_options o = options_of(&c);
  wg_vfs *v = make(&o);
  static const char *const devices[] = {"/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"};
  for (size_t i = 0; i < WG_COUNT(devices); i++) {
    assert_int_equal(find(v, devices[i]).type, WG_VFS_DEVICE);
    assert_int_equal(find(v, devices[i]).flags, i == 0 ? WG_VFS_WRITABLE : 0);
  }
  assert_content(v, "/etc/resolv.conf", "nameserver 127.0.0.1\n");
  assert_content(v, "/etc/hosts", "127.0.0.1\tlocalhost\n::1\tlocalhost\n127.0.0.1\tshop\n");
  assert_content(v, "/etc/hostname", "shop\n");
  assert_content(v, "/etc/timezone", "UTC\n");
  assert_content(v, "/etc/passwd", "warp:x:1000:1000::/:/usr/sbin/nologin\n");
  assert_content(v, "/etc/group", "warp:x:1000:\n");
  assert_content(v, "/proc/self/comm", "shop\n");
  assert_bytes(v, "/proc/self/cmdline",
               "shop\0--port\0"
               "80",
               15);
  assert_bytes(v, "/proc/self/environ", "A=1\0SECRET=s3", 14);
  assert_true(has_line(v, "/proc/self/status", "Name:\tshop"));
  assert_true(has_line(v, "/proc/self/status", "Pid:\t1"));
  assert_true(has_line(v, "/proc/self/status", "Uid:\t1000\t1000\t1000\t1000"));
  assert_true(has_line(v, "/proc/self/status", "VmSize:\t  131072 kB"));
  char *stat = content(v, "/proc/self/stat", NULL);
  size_t fields = 1;
  for (char *p = stat; *p; p++) fields += *p == ' ';
  assert_int_equal(fields, 52);
  free(stat);
  assert_int_equal(find(v, "/proc").flags, WG_VFS_WHOLE);
  assert_int_equal(find(v, "/proc/self").type, WG_VFS_DIRECTORY);
  assert_int_equal(find(v, "/proc/self/exe").type, WG_VFS_MISSING);
  assert_int_equal(find(v, "/proc/self/fd/0").type, WG_VFS_MISSING);
  assert_int_equal(find(v, "/proc/cpuinfo").type, WG_VFS_MISSING);
  assert_int_equal(find(v, "/proc/thread-self/environ").type, WG_VFS_MISSING);
  assert_int_equal(find(v, "/etc").flags, 0); /* real files may stand beside the virtual ones */
  assert_int_equal(find(v, "/etc/shadow").type, WG_VFS_NONE);
  assert_int_equal(wg_vfs_get_stats(v).snapshots, 11);
  wg_vfs_free(v);
}

/* ---- time ---- */

static void us_103_the_whole_time_zone_database(void **state) {
  (void)state;
  wg_config c = plain();
  wg_vfs_options o = options_of(&c);
  wg_vfs *v = make(&o);
  assert_int_equal(find(v, "/usr/share/zoneinfo").flags, WG_VFS_WHOLE);
  assert_int_equal(find(v, "/usr/share/zoneinfo/Mars/Olympus").type, WG_VFS_MISSING);
  assert_int_equal(find(v, "/usr/share/zoneinfo/posix").type, WG_VFS_MISSING);
  assert_int_equal(find(v, "/usr/share/zoneinfo/right").type, WG_VFS_MISSING);
  assert_int_equal(find(v, "/usr/share/zoneinfo/localtime").type, WG_VFS_MISSING);
  assert_true(wg_zoneinfo_count() > 500);
  assert_true(wg_zoneinfo_contents() > 300 && wg_zoneinfo_contents() < wg_zoneinfo_count());
  assert_true(atoi(wg_zoneinfo_version()) >= 2023);
  size_t zones = 0;
  for (size_t i = 0; i < wg_zoneinfo_count(); i++) {
    wg_zoneinfo_file f = wg_zoneinfo_at(i);
    char path[256];
    if (i) assert_true(wg_path_compare(wg_zoneinfo_at(i - 1).name, f.name) < 0);
    snprintf(path, sizeof path, "/usr/share/zoneinfo/%s", f.name);
    wg_vfs_node n = find(v, path);
    assert_int_equal(n.type, WG_VFS_FILE);
    assert_int_equal(n.size, f.size);
    zones += wg_zone_exists(NULL, f.name);
    if (i % 10 == 0) assert_bytes(v, path, (const char *)f.bytes, f.size);
  }
  assert_true(zones > 500);
  static const char *const known[] = {"UTC",          "US/Eastern",
                                      "US/Pacific",   "Europe/London",
                                      "Asia/Kolkata", "America/Argentina/Buenos_Aires"};
  for (size_t i = 0; i < WG_COUNT(known); i++) assert_true(wg_zone_exists(NULL, known[i]));
  static const char *const tables[] = {"tzdata.zi", "zone.tab", "zone1970.tab", "iso3166.tab"};
  for (size_t i = 0; i < WG_COUNT(tables); i++) {
    char path[256];
    snprintf(path, sizeof path, "/usr/share/zoneinfo/%s", tables[i]);
    assert_int_equal(find(v, path).type, WG_VFS_FILE);
    assert_false(wg_zone_exists(NULL, tables[i]));
  }
  /* Two names of one zone are one file. */
  assert_int_equal(find(v, "/usr/share/zoneinfo/US/Eastern").id,
                   find(v, "/usr/share/zoneinfo/America/New_York").id);
  wg_vfs_free(v);
}

static void us_103_local_time(void **state) {
  (void)state;
  static const struct {
    const char *timezone, *tz, *zone;
  } table[] = {
      {"UTC", NULL, "UTC"},
      {"Europe/London", NULL, "Europe/London"},
      {"Europe/London", "TZ=US/Pacific", "US/Pacific"},
      {"Europe/London", "TZ=:US/Pacific", "US/Pacific"},
      {"Europe/London", "TZ=/usr/share/zoneinfo/Asia/Tokyo", "Asia/Tokyo"},
      {"Europe/London", "TZ=", "Europe/London"},
      {"Europe/London", "TZ=CET-1CEST,M3.5.0,M10.5.0/3", "Europe/London"},
      {"Europe/London", "TZX=US/Pacific", "Europe/London"},
  };
  for (size_t i = 0; i < WG_COUNT(table); i++) {
    wg_config c = plain();
    char timezone[64], path[128], expect[64];
    snprintf(timezone, sizeof timezone, "%s", table[i].timezone);
    c.timezone = timezone;
    wg_vfs_options o = options_of(&c);
    const char *env[] = {"A=1", table[i].tz, NULL};
    o.env = env;
    wg_vfs *v = make(&o);
    snprintf(path, sizeof path, "/usr/share/zoneinfo/%s", table[i].zone);
    assert_int_equal(find(v, "/etc/localtime").id, find(v, path).id);
    snprintf(expect, sizeof expect, "%s\n", table[i].zone);
    assert_content(v, "/etc/timezone", expect);
    char *head = content(v, "/etc/localtime", NULL);
    assert_memory_equal(head, "TZif", 4);
    free(head);
    wg_vfs_free(v);
  }
  wg_config c = plain();
  wg_vfs_options o = options_of(&c);
  const char *env[] = {"TZ=Europe/Lodnon", NULL};
  o.env = env;
  wg_vfs *v;
  wg_error err;
  assert_int_equal(wg_vfs_new(&o, &v, &err), WG_CONFIG);
  assert_string_equal(err.msg, "the variable 'TZ': unknown time zone 'Europe/Lodnon'");
  c.timezone = LIST("Mars/Olympus")[0];
  assert_int_equal(wg_vfs_new(&(wg_vfs_options){.config = &c, .name = "x"}, &v, &err), WG_CONFIG);
  assert_string_equal(err.msg, "'timezone': unknown time zone 'Mars/Olympus'");
}

static char folder[] = "/tmp/wg-vfs-XXXXXX";
static int make_folder(void **state) {
  (void)state;
  return mkdtemp(folder) ? 0 : -1;
}
static int drop_folder(void **state) {
  (void)state;
  char command[64];
  wg_names_unref(names);
  snprintf(command, sizeof command, "rm -rf %s", folder);
  return system(command);
}
static void shell(const char *script) {
  char command[1024];
  snprintf(command, sizeof command, "cd %s && %s", folder, script);
  assert_int_equal(system(command), 0);
}

static void us_103_time_zones_of_a_folder(void **state) {
  (void)state;
  shell("mkdir -p z/Mars z/posix z/.git && printf 'TZif%044d' 1 >z/Mars/Olympus && "
        "ln z/Mars/Olympus z/Hard && ln -s Mars/Olympus z/Soft && ln -s . z/Loop && "
        "ln -s gone z/Gone && mkfifo z/Fifo && touch z/posix/x z/.git/y z/localtime && "
        "echo text >z/zone.tab");
  wg_config c = plain();
  char zones[64];
  snprintf(zones, sizeof zones, "%s/z", folder);
  c.zoneinfo = zones;
  c.timezone = LIST("Soft")[0];
  wg_vfs_options o = options_of(&c);
  wg_vfs *v = make(&o);
  wg_vfs_node n = find(v, "/usr/share/zoneinfo/Mars/Olympus");
  assert_int_equal(n.size, 48);
  assert_int_equal(find(v, "/usr/share/zoneinfo/Hard").id, n.id);
  assert_int_equal(find(v, "/usr/share/zoneinfo/Soft").id, n.id);
  assert_int_equal(find(v, "/etc/localtime").id, n.id);
  assert_content(v, "/usr/share/zoneinfo/zone.tab", "text\n");
  static const char *const missing[] = {"UTC",   "Loop",      "Gone", "Fifo",
                                        "posix", "localtime", ".git"};
  for (size_t i = 0; i < WG_COUNT(missing); i++) {
    char path[64];
    snprintf(path, sizeof path, "/usr/share/zoneinfo/%s", missing[i]);
    assert_int_equal(find(v, path).type, WG_VFS_MISSING);
  }
  /* The map holds what was there. */
  shell("rm -r z && mkdir z");
  assert_content(v, "/usr/share/zoneinfo/zone.tab", "text\n");
  wg_vfs_free(v);
  wg_error err;
  assert_int_equal(wg_vfs_new(&o, &v, &err), WG_CONFIG); /* no Soft any more */
  shell("rmdir z");
  assert_int_equal(wg_vfs_new(&o, &v, &err), WG_IO);
  assert_non_null(strstr(err.msg, "cannot read '"));
}

/* ---- names ---- */

static void us_103_hosts_of_all_kinds(void **state) {
  (void)state;
  wg_config c = plain();
  wg_registry_entry registry[] = {{"svc.warp.local", LIST("10.0.0.1", "fd00::1"), 2},
                                  {"db.example", LIST("10.0.0.9"), 1},
                                  {"both", LIST("10.0.0.2"), 1}};
  wg_registry_entry hosts[] = {{"both", LIST("10.1.1.1"), 1},
                               {"db.example", LIST("10.1.1.2"), 1},
                               {"own", LIST("10.1.1.3", "10.1.1.4"), 2}};
  wg_database_config databases[] = {
      {.name = "main", .host = "db.example", .port = 5432, .user = "joe"},
      {.name = "second", .host = "db.example", .port = 5433, .user = "joe"},
      {.name = "near", .host = "localhost", .port = 5432, .user = "joe"},
      {.name = "bad\nname", .host = "10.2.2.2", .port = 5432, .user = "joe"}};
  c.registry = registry;
  c.registry_count = 3;
  c.hosts = hosts;
  c.host_count = 3;
  c.databases = databases;
  c.database_count = 4;
  wg_vfs_options o = options_of(&c);
  wg_vfs *v = make(&o);
  uint8_t raw[16];
  char four[64], six[64], own[4][2][64], expect[2048];
  assert_true(wg_dns_sentinel(&c, 0, AF_INET, raw));
  inet_ntop(AF_INET, raw, four, sizeof four);
  assert_true(wg_dns_sentinel(&c, 0, AF_INET6, raw));
  inet_ntop(AF_INET6, raw, six, sizeof six);
  for (size_t i = 0; i < 8; i++) {
    int family = i % 2 ? AF_INET6 : AF_INET;
    assert_true(wg_dns_sentinel_own(&c, i / 2, family, raw));
    inet_ntop(family, raw, own[i / 2][i % 2], sizeof own[0][0]);
  }
  snprintf(expect, sizeof expect,
           "127.0.0.1\tlocalhost\n::1\tlocalhost\n"
           "%s\tdb.example\n%s\tdb.example\n"
           "%s\tmain.db.warp.local\n%s\tmain.db.warp.local\n"
           "%s\tnear.db.warp.local\n%s\tnear.db.warp.local\n"
           "%s\tsecond.db.warp.local\n%s\tsecond.db.warp.local\n"
           "10.0.0.2\tboth\n10.0.0.1\tsvc.warp.local\nfd00::1\tsvc.warp.local\n"
           "10.1.1.3\town\n10.1.1.4\town\n127.0.0.1\tshop\n",
           four, six, own[0][0], own[0][1], own[2][0], own[2][1], own[1][0], own[1][1]);
  assert_content(v, "/etc/hosts", expect);

  snprintf(expect, sizeof expect,
           "# Databases: connect without credentials, the host logs in.\n"
           "# NAME PROTOCOL HOST PORT DATABASE ADDRESS...\n"
           "main postgres db.example 5432 * %s %s %s %s\n"
           "second postgres db.example 5433 * %s %s %s %s\n"
           "near postgres localhost 5432 * %s %s\nbad_name postgres 10.2.2.2 5432 * %s %s\n",
           four, own[0][0], six, own[0][1], four, own[1][0], six, own[1][1], own[2][0], own[2][1],
           own[3][0], own[3][1]);
  assert_content(v, "/etc/warpgrid/proxy.conf", expect);
  wg_vfs_free(v);
}

static void us_103_proxy_conf_has_no_credentials(void **state) {
  (void)state;
  wg_config c = plain();
  wg_database_config d = {.name = "main",
                          .protocol = WG_DB_REDIS,
                          .host = "cache.example",
                          .port = 6379,
                          .database = "3",
                          .address = "10.9.9.9",
                          .user = "joe-the-user",
                          .password = {.bytes = "pw-secret", .len = 9}};
  c.databases = &d;
  c.database_count = 1;
  wg_vfs_options o = options_of(&c);
  wg_vfs *v = make(&o);
  char *text = content(v, "/etc/warpgrid/proxy.conf", NULL);
  assert_non_null(strstr(text, "\nmain redis cache.example 6379 3 240.77."));
  assert_null(strstr(text, "joe-the-user"));
  assert_null(strstr(text, "pw-secret"));
  assert_null(strstr(text, "10.9.9.9"));
  free(text);
  wg_vfs_free(v);
}

static void us_103_name_servers(void **state) {
  (void)state;
  wg_config c = plain();
  wg_vfs_options o = options_of(&c);
  c.nameservers = LIST("10.0.0.53", "fd00::53");
  wg_vfs *v = make(&o);
  assert_content(v, "/etc/resolv.conf", "nameserver 10.0.0.53\nnameserver fd00::53\n");
  wg_vfs_free(v);
  c.nameservers = NULL;
  v = make(&o);
  assert_content(v, "/etc/resolv.conf", "");
  wg_vfs_free(v);
}

static void us_103_hosts_follow_names_that_change(void **state) {
  (void)state;
  static const char first[] = "{\"services\":{\"moving\":[\"10.0.0.7\"],\"shop\":[\"10.0.0.6\"]}}",
                    second[] = "{\"services\":{\"moving\":[\"10.0.0.8\",\"fd00::8\"]}}";
  wg_config c = plain();
  wg_registry_entry registry[] = {{"static", LIST("10.0.0.1"), 1}};
  wg_registry_entry hosts[] = {{"moving", LIST("10.1.1.1"), 1},
                               {"localhost", LIST("127.0.0.2"), 1}};
  wg_registry_answer *more;
  wg_vfs_options o = options_of(&c);
  c.registry = registry;
  c.registry_count = 1;
  c.hosts = hosts;
  c.host_count = 2;
  wg_vfs *v = make(&o);
  assert_content(v, "/etc/hosts",
                 "127.0.0.2\tlocalhost\n10.0.0.1\tstatic\n10.1.1.1\tmoving\n127.0.0.1\tshop\n");
  uint64_t snapshots = wg_vfs_get_stats(v).snapshots, id = find(v, "/etc/hosts").id, version = 0;
  int old, fd;
  assert_int_equal(wg_vfs_open(v, id, &version, &old, NULL), WG_OK);
  assert_int_equal(wg_registry_parse(first, strlen(first), &more, NULL), WG_OK);
  publish(&c, more);
  wg_registry_answer_free(more);
  assert_content(v, "/etc/hosts",
                 "127.0.0.2\tlocalhost\n10.0.0.7\tmoving\n10.0.0.6\tshop\n10.0.0.1\tstatic\n");
  assert_int_equal(wg_registry_parse(second, strlen(second), &more, NULL), WG_OK);
  publish(&c, more);
  wg_registry_answer_free(more);
  assert_int_equal(wg_vfs_open(v, id, &version, &fd, NULL), WG_OK);
  assert_true(fd >= 0);
  assert_content(v, "/etc/hosts",
                 "127.0.0.2\tlocalhost\n10.0.0.8\tmoving\nfd00::8\tmoving\n10.0.0.1\tstatic\n"
                 "127.0.0.1\tshop\n");
  assert_int_equal(wg_vfs_get_stats(v).snapshots, snapshots + 2);
  close(fd);
  assert_int_equal(wg_vfs_open(v, id, &version, &fd, NULL), WG_OK);
  assert_int_equal(fd, -1);
  close(old);
  wg_vfs_free(v);
}

/** More than a file may hold: whole lines, and a word about the rest. */
static void a_registry_of_many_names(void **state) {
  (void)state;
  enum { MANY = 4000, ADDRESSES = 10 };
  wg_buf json;
  wg_buf_init(&json, 4 << 20);
  wg_buf_printf(&json, "{\"services\":{");
  for (unsigned i = 0; i < MANY; i++) {
    wg_buf_printf(&json, "%s\"s%05u.a%050d.b%050d.c%050d.d%050d.local\":[", i ? "," : "", i, 0, 0,
                  0, 0);
    for (unsigned k = 0; k < ADDRESSES; k++)
      wg_buf_printf(&json, "%s\"10.%u.%u.%u\"", k ? "," : "", k, i >> 8, i & 255);
    wg_buf_put_u8(&json, ']');
  }
  wg_buf_printf(&json, "}}");
  wg_registry_answer *more;
  wg_error err;
  if (wg_registry_parse(wg_buf_head(&json), wg_buf_len(&json), &more, &err) != WG_OK)
    fail_msg("%s", err.msg);
  wg_config c = plain();
  wg_vfs_options o = options_of(&c);
  wg_vfs *v = make(&o);
  publish(&c, more);
  wg_registry_answer_free(more);
  wg_buf_release(&json);
  size_t n;
  char *text = content(v, "/etc/hosts", &n);
  assert_true(n > (8 << 20) - 1024 && n <= (8 << 20) + 64);
  assert_non_null(strstr(text, "10.9.0.255\ts00255.a000"));
  const char end[] = "# and more than there is room for\n127.0.0.1\tshop\n";
  assert_string_equal(text + n - strlen(end), end);
  free(text);
  wg_vfs_free(v);
}

/** A name that an embedder gave is a word in files, whatever it holds. */
static void strange_names(void **state) {
  (void)state;
  wg_config c = plain();
  wg_vfs_options o = options_of(&c);
  o.name = "my shop\n10.6.6.6 evil and a name that goes on for more than sixty-four bytes";
  wg_vfs *v = make(&o);
  assert_content(v, "/etc/hostname",
                 "my-shop-10.6.6.6-evil-and-a-name-that-goes-on-for-more-than-six\n");
  assert_content(v, "/proc/self/comm", "my-shop-10.6.6.\n");
  o.args = NULL;
  o.env = NULL;
  wg_vfs_free(v);
  v = make(&o);
  assert_content(v, "/proc/self/cmdline", "");
  assert_content(v, "/proc/self/environ", "");
  wg_vfs_free(v);
}

/* ---- extra_virtual_paths ---- */

static wg_code with_extra(wg_virtual_path extra, wg_vfs **out, wg_error *err) {
  wg_config c = plain();
  extra.line = 7;
  extra.column = 3;
  c.virtual_paths = &extra;
  c.virtual_path_count = 1;
  wg_vfs_options o = options_of(&c);
  o.names = (wg_vfs_names){current, &names};
  return wg_vfs_new(&o, out, err);
}

static void us_103_extra_paths(void **state) {
  (void)state;
  shell("printf one >one && printf two >two");
  char one[64], two[64];
  snprintf(one, sizeof one, "%s/one", folder);
  snprintf(two, sizeof two, "%s/two", folder);
  wg_config c = plain();
  wg_virtual_path extra[] = {{.guest = "/app/one", .host = one},
                             {.guest = "/app/two", .host = two, .live = true},
                             {.guest = "/app/text", .text = "inline\n"},
                             {.guest = "/etc/hostname", .text = "mine\n"},
                             {.guest = "/dev/zero", .text = "0"},
                             {.guest = "/proc/self/limits", .text = "none\n"},
                             {.guest = "/usr/share/zoneinfo/UTC", .text = "changed"}};
  c.virtual_paths = extra;
  c.virtual_path_count = WG_COUNT(extra);
  wg_vfs_options o = options_of(&c);
  wg_vfs *v = make(&o);
  shell("printf uno >one && printf zwei >two");
  assert_content(v, "/app/one", "one"); /* as it was */
  assert_content(v, "/app/two", "zwei"); /* as it is */
  assert_content(v, "/app/text", "inline\n");
  assert_content(v, "/etc/hostname", "mine\n");
  assert_content(v, "/dev/zero", "0");
  assert_content(v, "/proc/self/limits", "none\n");
  assert_content(v, "/usr/share/zoneinfo/UTC", "changed");
  assert_int_equal(find(v, "/app").type, WG_VFS_DIRECTORY);
  assert_int_equal(find(v, "/app").flags, 0);
  assert_int_equal(find(v, "/proc/self/exe").type, WG_VFS_MISSING);
  wg_vfs_free(v);
}

static void us_103_extra_paths_that_fail(void **state) {
  (void)state;
  shell("mkfifo fifo && truncate -s 16777217 big && truncate -s 16777216 largest");
  wg_vfs *v;
  wg_error err;
  char path[64], expect[256];
  snprintf(path, sizeof path, "%s/gone", folder);
  assert_int_equal(with_extra((wg_virtual_path){.guest = "/x", .host = path}, &v, &err), WG_CONFIG);
  snprintf(expect, sizeof expect,
           "warp.toml:7:3: '/x': cannot read '%s': no such file or directory", path);
  assert_string_equal(err.msg, expect);
  assert_int_equal(
      with_extra((wg_virtual_path){.guest = "/x", .host = path, .live = true}, &v, &err),
      WG_CONFIG);
  assert_string_equal(err.msg, expect);
  snprintf(path, sizeof path, "%s/fifo", folder);
  assert_int_equal(with_extra((wg_virtual_path){.guest = "/x", .host = path}, &v, &err), WG_CONFIG);
  snprintf(expect, sizeof expect, "warp.toml:7:3: '/x': '%s' is not a regular file", path);
  assert_string_equal(err.msg, expect);
  assert_int_equal(with_extra((wg_virtual_path){.guest = "/x", .host = "/dev/zero"}, &v, &err),
                   WG_CONFIG);
  assert_int_equal(with_extra((wg_virtual_path){.guest = "/x", .host = folder}, &v, &err),
                   WG_CONFIG);
  snprintf(path, sizeof path, "%s/big", folder);
  assert_int_equal(with_extra((wg_virtual_path){.guest = "/x", .host = path}, &v, &err), WG_CONFIG);
  snprintf(expect, sizeof expect, "warp.toml:7:3: '/x': '%s' is larger than 16 MiB", path);
  assert_string_equal(err.msg, expect);
  assert_non_null(strstr(err.hint, "live = true"));
  snprintf(path, sizeof path, "%s/largest", folder);
  assert_int_equal(with_extra((wg_virtual_path){.guest = "/x", .host = path}, &v, &err), WG_OK);
  assert_int_equal(find(v, "/x").size, WG_VFS_CONTENT_MAX);
  wg_vfs_free(v);
  static const char *const clashes[][2] = {
      {"/etc", "warp.toml:7:3: '/etc': it cannot be a file beside '/etc/group'"},
      {"/etc/hosts/x", "warp.toml:7:3: '/etc/hosts/x': it cannot be a file beside '/etc/hosts'"},
      {"/proc/self",
       "warp.toml:7:3: '/proc/self': it cannot be a file beside '/proc/self/cmdline'"},
      {"/dev/null/x", "warp.toml:7:3: '/dev/null/x': it cannot be a file beside '/dev/null'"}};
  for (size_t i = 0; i < WG_COUNT(clashes); i++) {
    char guest[32];
    snprintf(guest, sizeof guest, "%s", clashes[i][0]);
    assert_int_equal(with_extra((wg_virtual_path){.guest = guest, .text = ""}, &v, &err),
                     WG_CONFIG);
    assert_string_equal(err.msg, clashes[i][1]);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(us_103_every_path_is_there),
      cmocka_unit_test(us_103_the_whole_time_zone_database),
      cmocka_unit_test(us_103_local_time),
      cmocka_unit_test(us_103_time_zones_of_a_folder),
      cmocka_unit_test(us_103_hosts_of_all_kinds),
      cmocka_unit_test(us_103_proxy_conf_has_no_credentials),
      cmocka_unit_test(us_103_name_servers),
      cmocka_unit_test(us_103_hosts_follow_names_that_change),
      cmocka_unit_test(a_registry_of_many_names),
      cmocka_unit_test(strange_names),
      cmocka_unit_test(us_103_extra_paths),
      cmocka_unit_test(us_103_extra_paths_that_fail),
  };
  return cmocka_run_group_tests(tests, make_folder, drop_folder);
}
