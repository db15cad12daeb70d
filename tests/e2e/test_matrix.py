# SPDX-License-Identifier: Apache-2.0
"""US-121, US-122: every shim on and off alone, for WASI 0.2 and 0.3, in C and in Rust."""
import json

import pytest

SHIMS = ("filesystem", "dns", "signals", "database_proxy", "threading")


def interface(shim, generation):
    """Threading has no call that waits, so there is one interface for both generations."""
    package = "shim-async" if generation == "p3" and shim != "threading" else "shim"
    return f"warpgrid:{package}/{shim.replace('_', '-')}@0.1.0"


def c_guest(guest, shim, generation):
    """A C guest that imports one shim, or "all" of them."""
    return guest(f"uses-{shim.replace('_', '-')}" + ("-p3" if generation == "p3" else ""))


def imports(warp, component):
    out = warp("inspect", component, "--json")
    assert out.returncode == 0, out.stderr
    names = (i["name"] for i in json.loads(out.stdout)["imports"])
    return {name for name in names if name.startswith("warpgrid:")}


@pytest.mark.parametrize("generation", ["p2", "p3"])
def test_us_122_a_c_guest_imports_what_it_calls_and_no_more(warp, guest, generation):
    """The SDK's worlds have every shim; what a program does not call is not in its component."""
    for shim in SHIMS:
        assert imports(warp, c_guest(guest, shim, generation)) == {interface(shim, generation)}
    every = {interface(shim, generation) for shim in SHIMS}
    assert imports(warp, c_guest(guest, "all", generation)) == every
    for name in (f"hello-{generation}", f"stock-service-{generation}", "stock"):
        assert imports(warp, guest(name)) == set()
