/* SPDX-License-Identifier: Apache-2.0 */
/* Why TLS failed, in words. What a certificate says of itself is foreign text: it is shown in
 * printable ASCII only, and cut. */
#include "db/tls_internal.h"
#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

enum { NAMES_SHOWN = 5, NAME_SHOWN = 100 };

const char *wg__tls_reason(void) {
  unsigned long e = ERR_get_error();
  const char *text = e ? ERR_reason_error_string(e) : NULL;
  ERR_clear_error();
  return text ? text : "no reason given";
}

/** Appends foreign text. */
static void put_foreign(wg_buf *b, const void *p, size_t n) {
  const uint8_t *c = p;
  for (size_t i = 0; i < n && i < NAME_SHOWN; i++)
    wg_buf_put_u8(b, c[i] > ' ' && c[i] < 0x7F && c[i] != '\'' ? c[i] : '?');
}

/** The subject's or issuer's common name, else its last part. */
static void put_name(wg_buf *b, const X509_NAME *name) {
  int i = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
  if (i < 0) i = X509_NAME_entry_count(name) - 1;
  const X509_NAME_ENTRY *e = i < 0 ? NULL : X509_NAME_get_entry(name, i);
  const ASN1_STRING *s = e ? X509_NAME_ENTRY_get_data(e) : NULL;
  if (!s || ASN1_STRING_length(s) == 0) {
    wg_buf_printf(b, "without a name");
    return;
  }
  const uint8_t *p = ASN1_STRING_get0_data(s);
  wg_buf_put_u8(b, '\'');
  for (int k = 0; k < ASN1_STRING_length(s) && k < NAME_SHOWN; k++)
    wg_buf_put_u8(b, (p[k] == ' ' || (p[k] > ' ' && p[k] < 0x7F && p[k] != '\'')) ? p[k] : '?');
  wg_buf_put_u8(b, '\'');
}

static void put_time(wg_buf *b, const ASN1_TIME *t) {
  struct tm tm;
  if (ASN1_TIME_to_tm(t, &tm) == 1)
    wg_buf_printf(b, "%04d-%02d-%02d %02d:%02d:%02d UTC", tm.tm_year + 1900, tm.tm_mon + 1,
                  tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
  else
    wg_buf_printf(b, "an unreadable time");
}

/** What the certificate is for: "'db.example', '10.0.0.1'". */
static void put_names(wg_buf *b, X509 *x) {
  GENERAL_NAMES *names = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
  int shown = 0, more = 0;
  for (int i = 0; names && i < sk_GENERAL_NAME_num(names); i++) {
    const GENERAL_NAME *n = sk_GENERAL_NAME_value(names, i);
    char ip[INET6_ADDRSTRLEN] = "";
    const uint8_t *p;
    int len;
    if (n->type == GEN_DNS) {
      p = ASN1_STRING_get0_data(n->d.dNSName);
      len = ASN1_STRING_length(n->d.dNSName);
    } else if (n->type == GEN_IPADD && (ASN1_STRING_length(n->d.iPAddress) == 4 ||
                                        ASN1_STRING_length(n->d.iPAddress) == 16)) {
      len = ASN1_STRING_length(n->d.iPAddress);
      inet_ntop(len == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(n->d.iPAddress), ip,
                sizeof ip);
      p = (const uint8_t *)ip;
      len = (int)strlen(ip);
    } else {
      continue;
    }
    if (shown == NAMES_SHOWN) {
      more++;
      continue;
    }
    wg_buf_printf(b, shown++ ? ", '" : "'");
    put_foreign(b, p, (size_t)len);
    wg_buf_put_u8(b, '\'');
  }
  if (more) wg_buf_printf(b, " and %d more", more);
  if (shown == 0) put_name(b, X509_get_subject_name(x));
  GENERAL_NAMES_free(names);
}

int wg__tls_on_verify(int ok, X509_STORE_CTX *ctx) {
  SSL *ssl = X509_STORE_CTX_get_ex_data(ctx, SSL_get_ex_data_X509_STORE_CTX_idx());
  wg_tls_conn *c = SSL_get_app_data(ssl);
  X509 *x = X509_STORE_CTX_get_current_cert(ctx);
  if (ok || c->why.code != WG_OK || !x) return ok;
  const char *which =
      X509_STORE_CTX_get_error_depth(ctx) ? "its issuer's certificate" : "the server's certificate";
  int problem = X509_STORE_CTX_get_error(ctx);
  const char *hint = "";
  wg_buf b;
  wg_buf_init(&b, 2048);
  switch (problem) {
  case X509_V_ERR_CERT_HAS_EXPIRED:
    wg_buf_printf(&b, "%s, of ", which);
    put_name(&b, X509_get_subject_name(x));
    wg_buf_printf(&b, ", has expired on ");
    put_time(&b, X509_get0_notAfter(x));
    hint = "renew it on the server; is this machine's clock right?";
    break;
  case X509_V_ERR_CERT_NOT_YET_VALID:
    wg_buf_printf(&b, "%s, of ", which);
    put_name(&b, X509_get_subject_name(x));
    wg_buf_printf(&b, ", is not yet valid, but from ");
    put_time(&b, X509_get0_notBefore(x));
    hint = "is this machine's clock right?";
    break;
  case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    wg_buf_printf(&b, "the server's certificate, of ");
    put_name(&b, X509_get_subject_name(x));
    wg_buf_printf(&b, ", is self-signed and not among the trusted");
    hint = "if it is the right one, put it into a file and name that in tls_ca";
    break;
  case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
  case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
  case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
  case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    wg_buf_printf(&b, "the server's certificate is from an issuer that is not trusted: ");
    put_name(&b, X509_get_issuer_name(x));
    hint = c->tls->has_ca ? "the file of tls_ca has no certificate of that issuer"
                          : "the system does not know that issuer: name its certificate in tls_ca";
    break;
  case X509_V_ERR_HOSTNAME_MISMATCH:
  case X509_V_ERR_IP_ADDRESS_MISMATCH:
    wg_buf_printf(&b, "the server's certificate is for ");
    put_names(&b, x);
    wg_buf_printf(&b, ", not for '%.100s'", c->name);
    hint = "if that is the right server, say its name in tls_server_name";
    break;
  default:
    wg_buf_printf(&b, "%s, of ", which);
    put_name(&b, X509_get_subject_name(x));
    wg_buf_printf(&b, ", is refused: %s", X509_verify_cert_error_string(problem));
    break;
  }
  wg_error_set(&c->why, WG_AUTH, 0, "%.*s", (int)wg_buf_len(&b), (const char *)wg_buf_head(&b));
  wg_error_hint(&c->why, "%s", hint);
  wg_buf_release(&b);
  return ok;
}

static wg_code refused_own(const wg_tls_conn *c, wg_error *err, const char *what) {
  wg_error_set(err, WG_AUTH, 0, "the server refused the host's certificate: %s", what);
  wg_error_hint(err, c->tls->has_cert ? "check tls_cert; the chain to an issuer that the server "
                                        "trusts belongs into that file"
                                      : "give tls_cert and tls_key");
  return WG_AUTH;
}

wg_code wg__tls_explain(wg_tls_conn *c, wg_error *err) {
  unsigned long e = ERR_get_error();
  const char *text = e ? ERR_reason_error_string(e) : NULL;
  int reason = ERR_GET_LIB(e) == ERR_LIB_SSL ? ERR_GET_REASON(e) : 0;
  ERR_clear_error();
  if (c->why.code != WG_OK) {
    *err = c->why;
    return err->code;
  }
  switch (reason) {
  case SSL_R_UNEXPECTED_EOF_WHILE_READING:
    return wg_error_set(err, WG_LOST, 0, "the server closed the connection%s",
                        c->up ? "" : " during the TLS handshake");
  case SSL_R_WRONG_VERSION_NUMBER:
  case SSL_R_PACKET_LENGTH_TOO_LONG:
  case SSL_R_HTTP_REQUEST:
    wg_error_set(err, WG_PROTOCOL, 0, "what the server sent is not TLS");
    wg_error_hint(err, "does the server at this port speak TLS, and with this tls_negotiation?");
    return WG_PROTOCOL;
  case SSL_R_UNSUPPORTED_PROTOCOL:
  case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
  case SSL_R_NO_PROTOCOLS_AVAILABLE:
    wg_error_set(err, WG_UNSUPPORTED, 0,
                 "the server's protocol version is too low: it does not speak TLS %s",
                 SSL_get_min_proto_version(c->ssl) == TLS1_3_VERSION ? "1.3" : "1.2 or newer");
    wg_error_hint(err, "tls_min_version says what is taken");
    return WG_UNSUPPORTED;
  case SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL:
    wg_error_set(err, WG_UNSUPPORTED, 0, "the server does not know the application protocol '%s'",
                 c->alpn ? c->alpn : "");
    wg_error_hint(err, "is it another kind of server?");
    return WG_UNSUPPORTED;
  case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED: return refused_own(c, err, "it wants one");
  case SSL_R_TLSV1_ALERT_UNKNOWN_CA: return refused_own(c, err, "its issuer is unknown to it");
  case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED: return refused_own(c, err, "it has expired");
  case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED: return refused_own(c, err, "it is revoked");
  case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
  case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
  case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
  case SSL_R_TLSV1_ALERT_ACCESS_DENIED: return refused_own(c, err, "it gave no reason");
  case SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE:
    wg_error_set(err, WG_UNSUPPORTED, 0,
                 "the server broke the TLS handshake off: no cipher in "
                 "common, or it wants a certificate of the host");
    if (!c->tls->has_cert) wg_error_hint(err, "if it wants one, give tls_cert and tls_key");
    return WG_UNSUPPORTED;
  default: break;
  }
  if (c->read_sys || c->write_sys) {
    int sys = c->read_sys ? c->read_sys : c->write_sys;
    return wg_error_set(err, WG_LOST, sys, "the connection was lost: %s", strerror(sys));
  }
  if (!text && c->eof)
    return wg_error_set(err, WG_LOST, 0, "the server closed the connection%s",
                        c->up ? "" : " during the TLS handshake");
  return wg_error_set(err, WG_PROTOCOL, 0, "TLS with the server failed: %s",
                      text ? text : "no reason given");
}
