/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/common.h"
#include "cli/report.h"
#include "config/config.h"
#include "vfs/standard.h"

#include <unistd.h>

static int print_schema(void) {
  wg_buf out;
  wg_buf_init(&out, 1 << 20);
  wg_config_schema(&out);
  ui_print("%.*s", (int)wg_buf_len(&out), (const char *)wg_buf_head(&out));
  wg_buf_release(&out);
  return CLI_DONE;
}

/** One validation: the configuration, and what of its components is there. */
typedef struct validation {
  common_engine engine;
  wg_config *config; /**< for its path and the names of its components */
  bool strict;
  bool ok;
  size_t checked; /**< components */
  wg_buf list;    /**< under --json: an object a component */
} validation;

static const char *component_at(const validation *v, const cli_args *args, size_t i) {
  if (args->file) return i == 0 ? args->file : NULL;
  if (v->config->service_count)
    return i < v->config->service_count ? v->config->services[i].component : NULL;
  return i == 0 ? v->config->component : NULL;
}

static void add_json(validation *v, const char *path, const cli_report *r, const char *problem) {
  wg_buf_printf(&v->list, "%s{\"file\":", v->checked ? "," : "");
  ui_json_string(&v->list, path);
  cli_report_json(r, &v->list);
  wg_buf_printf(&v->list, ",\"problem\":");
  ui_json_string(&v->list, problem);
  wg_buf_put_u8(&v->list, '}');
}

static void print_component(const validation *v, const char *path, const cli_report *r) {
  bool service = r->kind == WG_COMPONENT_P2_SERVICE || r->kind == WG_COMPONENT_P3_SERVICE;
  if (v->checked) ui_print("\n");
  char kind[64];
  ui_say("%s: %s", path, cli_report_kind(r, kind));
  cli_report_print(r);
  cli_report_print_findings(r);
  if (r->finding_count == 0 && v->ok) ui_say("ok: it can be %s here", service ? "served" : "run");
}

/** Links it, for what the names of interfaces do not tell: a function that the host's version lacks.
 *  What else a start needs, such as its folders, may come later. @param err  empty when it links */
static bool links(const validation *v, wg_component *component, wg_error *err) {
  wg_app *app = NULL;
  wg_code code = wg_engine_instantiate(v->engine.engine, component, NULL, &app, err);
  wg_app_free(app);
  if (code == WG_LINK || code == WG_INVALID) return false;
  *err = (wg_error){.code = WG_OK};
  return true;
}

/** Checks one component that is there. @return CLI_DONE, or the code of a failure that was told */
static int check_component(validation *v, const cli_args *args, const char *path) {
  wg_error err = {.code = WG_OK};
  wg_component *component;
  unsigned flags = cli_flag(args, "trusted") ? WG_LOAD_TRUSTED : 0;
  if (wg_engine_load(v->engine.engine, path, flags, &component, &err) != WG_OK)
    return ui_fail("validate", &err, CLI_FAILED);
  cli_report r;
  cli_report_read(&r, v->engine.engine, component);
  if (r.finding_count == 0 && !links(v, component, &err)) cli_report_add(&r, &err);
  v->ok = v->ok && r.finding_count == 0;
  if (ui_json())
    add_json(v, path, &r, err.msg);
  else
    print_component(v, path, &r);
  v->checked++;
  cli_report_release(&r);
  wg_component_free(component);
  return CLI_DONE;
}

static void print_json(const validation *v, const cli_args *args) {
  wg_buf out;
  ui_json_begin(&out, "validate", v->ok);
  wg_buf_printf(&out, ",\"config\":");
  if (v->config->path)
    ui_json_string(&out, v->config->path);
  else
    wg_buf_printf(&out, "null");
  wg_buf_printf(&out, ",\"warnings\":[");
  wg_buf_put(&out, wg_buf_head(&v->engine.told), wg_buf_len(&v->engine.told));
  wg_buf_put_u8(&out, ']');
  size_t n = wg_buf_len(&v->list);
  const char *list = (const char *)wg_buf_head(&v->list);
  if (!args->file && v->config->service_count)
    wg_buf_printf(&out, ",\"components\":[%.*s]", (int)n, list);
  else if (v->checked) /* the members of the one object */
    wg_buf_printf(&out, ",%.*s", (int)(n - 2), list + 1);
  else
    wg_buf_printf(&out, ",\"file\":null");
  ui_json_end(&out);
}

/** What is missing is no finding: a project begins without a component. */
static void print_rest(const validation *v, const cli_args *args) {
  const char *path;
  for (size_t i = 0; !args->file && (path = component_at(v, args, i)); i++)
    if (access(path, F_OK) != 0)
      ui_say("%s: not there yet, so not checked; 'warp pack' makes it", path);
  if (v->strict && v->engine.warnings)
    ui_print("findings\n- warnings about the configuration: %u\n", v->engine.warnings);
  else if (!v->checked)
    ui_print("ok: %s\n", v->config->path);
}

static wg_names *names_of(void *user) { return wg_names_ref(user); }

/** Makes the virtual files, as a start does: those of the host must be there. */
static wg_code check_files(const wg_config *c, wg_error *err) {
  wg_names *names;
  wg_vfs *files = NULL;
  if (!(c->shims & WG_SHIM_FILESYSTEM)) return WG_OK;
  wg_code code = wg_names_new(c, NULL, &names, err);
  if (code != WG_OK) return code;
  const wg_vfs_options options = {
      .config = c, .name = c->name, .env = (const char *const *)c->env, .names = {names_of, names}};
  code = wg_vfs_new(&options, &files, err);
  wg_vfs_free(files);
  wg_names_unref(names);
  return code;
}

static int validate(validation *v, const cli_args *args) {
  wg_error err;
  const char *path;
  if (wg_config_load(cli_value(args, "config"), NULL, NULL, &v->config, &err) != WG_OK)
    return ui_fail("validate", &err, CLI_FAILED);
  if (check_files(v->config, &err) != WG_OK) return ui_fail("validate", &err, CLI_FAILED);
  v->strict = cli_flag(args, "strict");
  v->ok = !(v->strict && v->engine.warnings);
  int code = CLI_DONE;
  for (size_t i = 0; code == CLI_DONE && (path = component_at(v, args, i)); i++)
    if (args->file || access(path, F_OK) == 0) code = check_component(v, args, path);
  if (code != CLI_DONE) return code;
  if (!v->checked && !v->config->path) {
    wg_error_set(&err, WG_NOT_FOUND, 0, "there is nothing to check: neither 'warp.toml' nor '%s'",
                 v->config->component);
    wg_error_hint(&err, "run 'warp init', or give a file: warp validate FILE");
    return ui_fail("validate", &err, CLI_FAILED);
  }
  if (ui_json())
    print_json(v, args);
  else
    print_rest(v, args);
  return v->ok ? CLI_DONE : CLI_FAILED;
}

int cmd_validate(const cli_args *args) {
  if (cli_flag(args, "schema")) return print_schema();
  wg_engine_options options = {0};
  int code = common_options_read(args, WG_LOG_ERROR, &options);
  if (code != CLI_DONE) return code;
  validation v = {0};
  wg_buf_init(&v.list, 16 << 20);
  code = common_engine_new(args, &options, &v.engine);
  if (code == CLI_DONE) code = validate(&v, args);
  wg_buf_release(&v.list);
  wg_config_free(v.config);
  common_free(&v.engine);
  return code;
}
