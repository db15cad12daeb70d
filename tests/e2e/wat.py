# SPDX-License-Identifier: Apache-2.0
"""Small components as text, for what a compiler would not produce: `warp` reads .wat too."""

# One function of each shim with its real type, as an import that a host must satisfy.
SHIM_IMPORTS = {
    "filesystem": """
  (import "warpgrid:shim/filesystem@0.1.0" (instance
    (type (enum "invalid-path" "is-directory" "read-only" "io"))
    (export (;1;) "fs-error" (type (eq 0)))
    (type (list u8))
    (type (option 2))
    (type (result 3 (error 1)))
    (type (func (param "path" string) (result 4)))
    (export "read-virtual" (func (type 5)))))""",
    "dns": """
  (import "warpgrid:shim/dns@0.1.0" (instance
    (type (enum "invalid-name" "host-not-found" "temporary-failure" "would-block"))
    (export (;1;) "dns-error" (type (eq 0)))
    (type (tuple u8 u8 u8 u8))
    (type (tuple u16 u16 u16 u16 u16 u16 u16 u16))
    (type (variant (case "ipv4" 2) (case "ipv6" 3)))
    (export (;5;) "ip-address" (type (eq 4)))
    (type (record (field "address" 5) (field "ttl" u32)))
    (export (;7;) "ip-address-record" (type (eq 6)))
    (type (list 7))
    (type (result 8 (error 1)))
    (type (func (param "hostname" string) (result 9)))
    (export "resolve-address" (func (type 10)))))""",
    "signals": """
  (import "warpgrid:shim/signals@0.1.0" (instance
    (type (enum "terminate" "hangup" "interrupt"))
    (export (;1;) "signal-type" (type (eq 0)))
    (type (option 1))
    (type (func (result 2)))
    (export "poll-signal" (func (type 3)))))""",
    "database_proxy": """
  (import "warpgrid:shim/database-proxy@0.1.0" (instance
    (type (variant (case "invalid-handle" string) (case "invalid-argument" string)
      (case "not-allowed" string) (case "connection-failed" string)
      (case "connection-lost" string) (case "authentication-failed" string)
      (case "pool-exhausted" string) (case "timeout" string) (case "would-block" string)
      (case "unsupported" string)))
    (export (;1;) "db-error" (type (eq 0)))
    (type (result (error 1)))
    (type (func (param "handle" u64) (result 2)))
    (export "close" (func (type 3)))))""",
    "threading": """
  (import "warpgrid:shim/threading@0.1.0" (instance
    (type (enum "parallel-required" "cooperative"))
    (export (;1;) "threading-model" (type (eq 0)))
    (type (enum "already-declared"))
    (export (;3;) "threading-error" (type (eq 2)))
    (type (result (error 3)))
    (type (func (param "model" 1) (result 4)))
    (export "declare-threading-model" (func (type 5)))))""",
}
INTERFACES = {k: f"warpgrid:shim/{k.replace('_', '-')}@0.1.0" for k in SHIM_IMPORTS}

# Nobody has this one.
UNKNOWN_IMPORT = """
  (import "acme:billing/invoices@1.0.0" (instance (export "send" (func (param "id" u64)))))"""


def importing(name):
    """An import of an interface for a function that no host has in it."""
    return f'(import "{name}" (instance (export "no-such-function" (func))))'


def command(body="i32.const 0", imports="", export="wasi:cli/run@0.2.0"):
    """A wasi:cli/run component, or one that exports something else of that shape; `body` leaves 0
    (success) or 1 on the stack."""
    return f"""(component{imports}
  (core module $m
    (memory (export "memory") 1)
    (func $where_it_fails (export "run") (result i32) {body}))
  (core instance $i (instantiate $m))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $cli (export "run" (func $run)))
  (export "{export}" (instance $cli)))
"""


def service(body="unreachable", imports=""):
    """A wasi:http/incoming-handler component whose `body` runs for each request. It owns the
    request (local 0) and the outparam (local 1) and never answers by itself."""
    return f"""(component{imports}
  (import "wasi:http/types@0.2.0" (instance $types
    (export "incoming-request" (type (sub resource)))
    (export "response-outparam" (type (sub resource)))))
  (alias export $types "incoming-request" (type $request))
  (alias export $types "response-outparam" (type $outparam))
  (core module $m
    (memory (export "memory") 1)
    (func $where_it_fails (param i32 i32) {body})
    (func (export "handle") (param i32 i32) local.get 0 local.get 1 call $where_it_fails))
  (core instance $i (instantiate $m))
  (func $handle (param "request" (own $request)) (param "response-out" (own $outparam))
    (canon lift (core func $i "handle")))
  (component $export
    (import "request" (type $request (sub resource)))
    (import "outparam" (type $outparam (sub resource)))
    (import "handle" (func $handle
      (param "request" (own $request)) (param "response-out" (own $outparam))))
    (export "handle" (func $handle)))
  (instance $handler (instantiate $export
    (with "request" (type $request)) (with "outparam" (type $outparam))
    (with "handle" (func $handle))))
  (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))
"""


TRAP = "unreachable"
SPIN = "(loop $forever (br $forever))"
# Asks for memory, 1 MiB at a time, until refused; then traps.
HOARD = "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable"
RETURN_WITHOUT_ANSWER = "nop"
RECURSE = "local.get 0 local.get 1 call $where_it_fails"
