/* SPDX-License-Identifier: Apache-2.0 */
/** @file builder.c  Paths in any order become a list in order, and that a tree. */
#include "vfs/vfs_internal.h"

#include <stdlib.h>
#include <string.h>

enum { CHUNK_BYTES = 16 * 1024 };

/** A path with what is there. */
typedef struct built {
  const char *path; /**< canonical, in the arena */
  uint32_t source; /**< a file's; WHOLE: a directory */
} built;
enum { WHOLE = UINT32_MAX };

struct wg_vfs_builder {
  built *list; /**< in the order of wg_path_compare(), each path once */
  size_t count, cap;
  vfs_source *sources;
  size_t source_count, source_cap;
  vfs_chunk *names;
  wg_error failure; /**< the first one */
};

void wg__vfs_chunks_free(vfs_chunk *c) {
  while (c) {
    vfs_chunk *next = c->next;
    free(c);
    c = next;
  }
}

void wg__vfs_source_release(vfs_source *s) {
  switch (s->kind) {
  case VFS_STATIC: break;
  case VFS_COPY:
    if (s->u.bytes) wg_wipe((void *)(uintptr_t)s->u.bytes, s->size);
    free((void *)(uintptr_t)s->u.bytes);
    break;
  case VFS_PROVIDER:
    if (s->u.provider.release) s->u.provider.release(s->u.provider.user);
    break;
  case VFS_DEVICE:
  case VFS_LIVE: free(s->u.host); break;
  }
}

wg_vfs_builder *wg_vfs_builder_new(void) { return calloc(1, sizeof(wg_vfs_builder)); }

void wg_vfs_builder_free(wg_vfs_builder *b) {
  if (!b) return;
  for (size_t i = 0; i < b->source_count; i++) wg__vfs_source_release(&b->sources[i]);
  wg__vfs_chunks_free(b->names);
  free(b->sources);
  free(b->list);
  free(b);
}

static bool going(const wg_vfs_builder *b) { return b && b->failure.code == WG_OK; }

static void no_memory(wg_vfs_builder *b) {
  wg_error_set(&b->failure, WG_NOMEM, 0, "out of memory");
}

/** A copy of a text that lives as long as the map; NULL: out of memory. */
static const char *keep(wg_vfs_builder *b, const char *text, size_t n) {
  vfs_chunk *c = b->names;
  if (!c || c->size - c->used < n + 1) {
    size_t size = n + 1 > CHUNK_BYTES ? n + 1 : CHUNK_BYTES;
    c = malloc(sizeof *c + size);
    if (!c) return NULL;
    *c = (vfs_chunk){.next = b->names, .size = size};
    b->names = c;
  }
  char *to = c->text + c->used;
  memcpy(to, text, n);
  to[n] = '\0';
  c->used += n + 1;
  return to;
}

/** Room for one more of a growing array; NULL: out of memory, and the array stays. */
static void *grow(void *list, size_t count, size_t *cap, size_t size) {
  if (count < *cap) return list;
  size_t more = *cap ? *cap * 2 : 64;
  void *grown = realloc(list, more * size);
  if (grown) *cap = more;
  return grown;
}

/** True when `path` stands somewhere below `folder`. */
static bool is_below(const char *path, const char *folder) {
  size_t n = strlen(folder);
  return strncmp(path, folder, n) == 0 && (path[n] == '/' || (n == 1 && path[1]));
}

/** Where a path stands in the list, or would. */
static size_t place_of(const wg_vfs_builder *b, const char *path, bool *there) {
  size_t low = 0, high = b->count;
  /* Most come in order. */
  if (high && wg_path_compare(path, b->list[high - 1].path) > 0) low = high;
  while (low < high) {
    size_t mid = low + (high - low) / 2;
    int c = wg_path_compare(path, b->list[mid].path);
    if (c == 0) {
      *there = true;
      return mid;
    }
    if (c < 0)
      high = mid;
    else
      low = mid + 1;
  }
  *there = false;
  return low;
}

/** The entry that a file, or a whole directory, cannot stand beside: what is below a path follows
 *  it directly, so only neighbours can be it. */
static const built *clash_at(const wg_vfs_builder *b, size_t at, bool there, const char *path,
                             bool whole) {
  if (there && (b->list[at].source == WHOLE) != whole) return &b->list[at];
  size_t after = at + there;
  if (at > 0 && b->list[at - 1].source != WHOLE && is_below(path, b->list[at - 1].path))
    return &b->list[at - 1];
  return !whole && after < b->count && is_below(b->list[after].path, path) ? &b->list[after] : NULL;
}

static void add_path(wg_vfs_builder *b, const char *given, uint32_t source) {
  wg_path p;
  if (wg_path_canonical("", 0, given, strlen(given), &p) != WG_PATH_OK ||
      (source != WHOLE && p.directory)) {
    wg_error_set(&b->failure, WG_INVALID, 0, "'%s' is not the absolute path of a file", given);
    return;
  }
  bool there;
  size_t at = place_of(b, p.text, &there);
  const built *other = clash_at(b, at, there, p.text, source == WHOLE);
  if (other) {
    wg_error_set(&b->failure, WG_INVALID, 0, "'%.200s' cannot be a virtual file beside '%.200s'",
                 p.text, other->path);
    return;
  }
  if (there) {
    b->list[at].source = source;
    return;
  }
  built *grown = grow(b->list, b->count, &b->cap, sizeof *grown);
  if (grown) b->list = grown;
  const char *name = grown ? keep(b, p.text, p.len) : NULL;
  if (!name) {
    no_memory(b);
    return;
  }
  memmove(b->list + at + 1, b->list + at, (b->count - at) * sizeof *b->list);
  b->list[at] = (built){.path = name, .source = source};
  b->count++;
}

/** Takes the source, also on failure. */
static void add_source(wg_vfs_builder *b, const char *path, vfs_source *s) {
  vfs_source *grown = NULL;
  if (going(b)) {
    grown = grow(b->sources, b->source_count, &b->source_cap, sizeof *grown);
    if (!grown) no_memory(b);
  }
  if (!grown) {
    wg__vfs_source_release(s);
    return;
  }
  b->sources = grown;
  b->sources[b->source_count] = *s;
  add_path(b, path, (uint32_t)b->source_count++);
}

void wg_vfs_add_static(wg_vfs_builder *b, const char *path, const void *bytes, size_t size) {
  add_source(b, path, &(vfs_source){.kind = VFS_STATIC, .size = size, .u.bytes = bytes});
}

void wg_vfs_add_copy(wg_vfs_builder *b, const char *path, const void *bytes, size_t size) {
  if (!going(b)) return;
  uint8_t *copy = malloc(size ? size : 1);
  if (!copy) {
    no_memory(b);
    return;
  }
  if (size) memcpy(copy, bytes, size);
  add_source(b, path, &(vfs_source){.kind = VFS_COPY, .size = size, .u.bytes = copy});
}

void wg_vfs_add_provider(wg_vfs_builder *b, const char *path, const wg_vfs_provider *p) {
  if (!p) {
    if (going(b)) no_memory(b);
    return;
  }
  add_source(b, path, &(vfs_source){.kind = VFS_PROVIDER, .u.provider = *p});
}

static void add_host(wg_vfs_builder *b, const char *path, const char *host, vfs_source_kind kind,
                     bool writable) {
  if (!going(b)) return;
  char *copy = strdup(host);
  if (!copy) {
    no_memory(b);
    return;
  }
  add_source(b, path, &(vfs_source){.kind = kind, .writable = writable, .u.host = copy});
}

void wg_vfs_add_device(wg_vfs_builder *b, const char *path, const char *host, bool writable) {
  add_host(b, path, host, VFS_DEVICE, writable);
}

void wg_vfs_add_live(wg_vfs_builder *b, const char *path, const char *host) {
  add_host(b, path, host, VFS_LIVE, false);
}

void wg_vfs_add_link(wg_vfs_builder *b, const char *path, const char *target) {
  if (!going(b)) return;
  bool there;
  size_t at = place_of(b, target, &there);
  if (there && b->list[at].source != WHOLE)
    add_path(b, path, b->list[at].source);
  else
    wg_error_set(&b->failure, WG_INVALID, 0, "'%s' cannot be a link to '%s', which is not there",
                 path, target);
}

size_t wg__vfs_sources(const wg_vfs_builder *b) { return b->source_count; }

void wg__vfs_add_again(wg_vfs_builder *b, const char *path, size_t source) {
  if (going(b)) add_path(b, path, (uint32_t)source);
}

void wg_vfs_add_whole(wg_vfs_builder *b, const char *path) {
  if (going(b)) add_path(b, path, WHOLE);
}

const char *wg_vfs_builder_clash(const wg_vfs_builder *b, const char *path) {
  bool there;
  size_t at = b ? place_of(b, path, &there) : 0;
  const built *other = b ? clash_at(b, at, there, path, false) : NULL;
  return other ? other->path : NULL;
}

/* ---- from the list to the tree ---- */

/** Parts of a path that the one before it does not begin with. */
static size_t new_parts(const char *path, const char *before) {
  size_t parts = 0;
  while (path[1]) {
    size_t n = 1 + strcspn(path + 1, "/");
    bool same = parts == 0 && strncmp(path, before, n) == 0 && (!before[n] || before[n] == '/');
    if (same)
      before += n;
    else
      parts++;
    path += n;
    if (!*path) break;
  }
  return parts;
}

/** Where the children of a directory that is being made come from. */
typedef struct span {
  size_t from, to; /**< in the list */
  size_t prefix; /**< bytes of the directory's path; 0 for "/" */
} span;

/** Makes the children of entries[at]. */
static void make_children(const wg_vfs_builder *b, wg_vfs *v, span *spans, size_t at) {
  vfs_entry *dir = &v->entries[at];
  const span s = spans[at];
  dir->first = (uint32_t)v->entry_count;
  for (size_t i = s.from; i < s.to;) {
    const char *path = b->list[i].path;
    if (!path[s.prefix] || !path[1]) { /* the directory itself */
      i++;
      continue;
    }
    const char *name = path + s.prefix + 1;
    size_t n = strcspn(name, "/"), prefix = s.prefix + 1 + n, end = i;
    while (end < s.to && strncmp(b->list[end].path, path, prefix) == 0 &&
           (b->list[end].path[prefix] == '/' || !b->list[end].path[prefix]))
      end++;
    bool itself = !path[prefix], file = itself && b->list[i].source != WHOLE;
    spans[v->entry_count] = (span){i, end, prefix};
    v->entries[v->entry_count++] = (vfs_entry){
        .name = name,
        .name_len = (uint32_t)n,
        .directory = !file,
        .whole = !file && (dir->whole || itself),
        .first = file ? b->list[i].source : 0,
    };
    v->file_count += file;
    i = end;
  }
  dir->count = (uint32_t)v->entry_count - dir->first;
}

static wg_code make_tree(wg_vfs_builder *b, wg_vfs *v, wg_error *err) {
  size_t most = 1;
  for (size_t i = 0; i < b->count; i++)
    most += new_parts(b->list[i].path, i ? b->list[i - 1].path : "/");
  span *spans = calloc(most, sizeof *spans);
  v->entries = calloc(most, sizeof *v->entries);
  if (!spans || !v->entries) {
    free(spans);
    return wg_error_set(err, WG_NOMEM, 0, "out of memory");
  }
  bool whole = b->count && strcmp(b->list[0].path, "/") == 0;
  spans[0] = (span){0, b->count, 0};
  v->entries[0] = (vfs_entry){.name = "", .directory = true, .whole = whole};
  v->entry_count = 1;
  for (size_t at = 0; at < v->entry_count; at++)
    if (v->entries[at].directory) make_children(b, v, spans, at);
  WG_ASSERT(v->entry_count <= most);
  free(spans);
  return WG_OK;
}

wg_code wg_vfs_build(wg_vfs_builder *b, wg_vfs **out, wg_error *err) {
  wg_vfs *v = b ? calloc(1, sizeof *v) : NULL;
  wg_code code = WG_OK;
  if (b && b->failure.code != WG_OK) {
    code = b->failure.code;
    if (err) *err = b->failure;
  } else if (!v) {
    code = wg_error_set(err, WG_NOMEM, 0, "out of memory");
  }
  if (code == WG_OK) code = make_tree(b, v, err);
  if (code == WG_OK) {
    v->snapshots = calloc(b->source_count + 1, sizeof *v->snapshots);
    if (!v->snapshots) code = wg_error_set(err, WG_NOMEM, 0, "out of memory");
  }
  if (code == WG_OK && pthread_mutex_init(&v->lock, NULL) != 0)
    code = wg_error_set(err, WG_NOMEM, 0, "out of memory");
  if (code != WG_OK) {
    if (v) {
      free(v->entries);
      free(v->snapshots);
      free(v);
    }
    wg_vfs_builder_free(b);
    return code;
  }
  for (size_t i = 0; i < b->source_count; i++) v->snapshots[i].fd = -1;
  v->sources = b->sources;
  v->source_count = b->source_count;
  v->names = b->names;
  b->sources = NULL;
  b->source_count = 0;
  b->names = NULL;
  wg_vfs_builder_free(b);
  *out = v;
  return WG_OK;
}
