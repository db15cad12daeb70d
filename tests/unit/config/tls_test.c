/* SPDX-License-Identifier: Apache-2.0 */
/* US-111: keys of TLS in [databases.NAME]: what contradicts itself, and files that are looked at when
 * warp.toml is read. */
#include "config/support.h"
#include "db/certs.h"
#include "db/tls.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define DB "[databases.d]\nuser = 'u'\n"

static void us_111_defaults_and_words(void **state) {
  (void)state;
  wg_config *c = parse_ok(DB);
  const wg_tls_config *t = &c->databases[0].tls;
  assert_int_equal(t->mode, WG_TLS_AUTO);
  assert_int_equal(t->negotiation, WG_TLS_ASK);
  assert_int_equal(t->min_version, WG_TLS_1_2);
  assert_int_equal(t->channel_binding, WG_TLS_BINDING_PREFER);
  assert_null(t->ca);
  assert_null(t->made);
  wg_config_free(c);
  const char *words[] = {"auto",    "disable",   "allow",      "prefer",
                         "require", "verify-ca", "verify-full"};
  for (int i = 0; i < 7; i++) {
    char text[200];
    snprintf(text, sizeof text, DB "tls = '%s'\n", words[i]);
    c = parse_ok(text);
    assert_int_equal(c->databases[0].tls.mode, i);
    assert_int_equal(c->databases[0].tls.made != NULL, i >= WG_TLS_ALLOW);
    wg_config_free(c);
  }
}

static void us_111_all_keys(void **state) {
  (void)state;
  char text[1000];
  snprintf(text, sizeof text,
           DB "tls = 'verify-full'\ntls_negotiation = 'direct'\ntls_ca = '%s'\n"
              "tls_cert = '%s'\ntls_key = '%s'\ntls_server_name = 'Db.Example'\n"
              "tls_min_version = '1.3'\nchannel_binding = 'require'\n",
           certs_path("ca", "crt"), certs_path("client", "crt"), certs_path("client", "key"));
  wg_config *c = parse_ok(text), *other = parse_ok(text);
  const wg_tls_config *t = &c->databases[0].tls;
  assert_int_equal(t->negotiation, WG_TLS_DIRECT);
  assert_int_equal(t->min_version, WG_TLS_1_3);
  assert_int_equal(t->channel_binding, WG_TLS_BINDING_REQUIRE);
  assert_string_equal(t->server_name, "Db.Example");
  assert_non_null(t->made);
  assert_true(wg_config_same_databases(c, other));
  wg_config_free(other);
  /* The same words, another certificate in the file: for a reload that is a change. */
  certs_make(&(cert_spec){.file = "client", .cn = "app", .issuer = "ca"});
  other = parse_ok(text);
  assert_false(wg_config_same_databases(c, other));
  wg_config_free(other);
  wg_config_free(c);
}

static void us_111_contradictions(void **state) {
  (void)state;
  parse_fails(DB "tls = 'yes'",
              "w.toml:3:7: 'tls' must be one of "
              "auto|disable|allow|prefer|require|verify-ca|verify-full, got \"yes\"",
              NULL);
  parse_fails(DB "tls_min_version = '1.1'",
              "w.toml:3:19: 'tls_min_version' must be one of 1.2|1.3, got \"1.1\"", NULL);
  parse_fails(DB "tls = 'require'\naddress = '/run/postgresql'",
              "w.toml:3:7: 'tls': there is no TLS over the Unix socket of 'address'",
              "leave 'tls' out");
  const char *weak[] = {"disable", "allow", "prefer"};
  for (int i = 0; i < 3; i++) {
    char text[200];
    snprintf(text, sizeof text, DB "tls = '%s'\nchannel_binding = 'require'", weak[i]);
    parse_fails(text, "w.toml:4:19: 'channel_binding' needs TLS, which 'tls' does not make sure of",
                "verify-full");
    snprintf(text, sizeof text, DB "tls = '%s'\ntls_negotiation = 'direct'", weak[i]);
    parse_fails(text, "w.toml:4:19: 'tls_negotiation' needs TLS, which 'tls' does not make sure of",
                "verify-full");
  }
  parse_fails(DB "tls_key = 'k'", "w.toml:3:11: 'tls_key' needs 'tls_cert'", NULL);
  parse_fails(DB "tls_server_name = 'a b'",
              "w.toml:3:19: 'tls_server_name': 'a b' is not a host name", NULL);
}

static void us_111_files(void **state) {
  (void)state;
  char text[600], message[600];
  parse_fails(DB "tls_ca = '/nonexistent/ca.crt'",
              "w.toml:3:10: 'tls_ca': cannot read '/nonexistent/ca.crt': No such file or directory",
              NULL);
  certs_write("text", "crt", "nothing\n", 0644);
  snprintf(text, sizeof text, DB "tls = 'verify-ca'\ntls_ca = '%s'", certs_path("text", "crt"));
  snprintf(message, sizeof message, "w.toml:4:10: 'tls_ca': '%s' has no certificate in PEM form",
           certs_path("text", "crt"));
  parse_fails(text, message, "openssl x509");
  certs_write("open", "key", "", 0644);
  snprintf(text, sizeof text, DB "tls_cert = '%s'\ntls_key = '%s'", certs_path("client", "crt"),
           certs_path("open", "key"));
  snprintf(message, sizeof message,
           "w.toml:4:11: 'tls_key': the private key '%s' can be read by others (mode 0644)",
           certs_path("open", "key"));
  parse_fails(text, message, "chmod 600");
  snprintf(text, sizeof text, DB "tls_cert = '%s'\ntls_key = '%s'", certs_path("client", "crt"),
           certs_path("server", "key"));
  snprintf(message, sizeof message,
           "w.toml:4:11: 'tls_key': '%s' does not belong to the certificate of 'tls_cert'",
           certs_path("server", "key"));
  parse_fails(text, message, NULL);
  /* With TLS off nobody looks at them. */
  wg_config_free(parse_ok(DB "tls = 'disable'\ntls_ca = '/nonexistent/ca.crt'"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(us_111_defaults_and_words),
      cmocka_unit_test(us_111_contradictions),
      cmocka_unit_test(us_111_files),
      cmocka_unit_test(us_111_all_keys),
  };
  return cmocka_run_group_tests(tests, certs_setup, certs_teardown);
}
