"""What a host answers to the script that reads it: the text of which a state is parsed."""

import base64
import json
import re
import shlex
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from tasks.host import asking, rollback
from tasks.host.state import OWNED, File, HostState, Line, Link, Route

Kind = Literal["read", "rehearse", "clear", "change", "extend", "recall", "confirm", "verify"]


def kind(script: str) -> Kind:
    """What a script is for, by what stands in it."""
    if OWNED in script and "@@ culvert" in script:
        return "read"
    if script.startswith("main()"):
        if "@@ rehearsed" in script:
            return "rehearse"
        if "@@ ended" in script:
            return "confirm"
        if "mine()" in script:
            return "recall" if "\nwent_back\n" in script else "extend"
        return "clear" if "\nclear " in script else "change"
    assert "\nprove();\n" in script, script
    return "verify"


def run_of(script: str) -> str:
    """How the run is called of which a script is."""
    found = re.search(r"^run=(\S+)", script, re.MULTILINE)
    return shlex.split(found[1])[0] if found else ""


def sections(text: str) -> dict[str, str]:
    """The sections of an answer, in their order."""
    parts = re.split(rf"^{asking.MARK}(.+)$", text, flags=re.MULTILINE)
    return {name: body.strip("\n") for name, body in zip(parts[1::2], parts[2::2], strict=True)}


def text(found: Mapping[str, str]) -> str:
    """An answer of these sections."""
    return "".join(f"\n{asking.MARK}{name}\n{body}\n" for name, body in found.items())


def of(state: HostState) -> dict[str, str]:
    """The sections that tell of a state: of what `tests.samples` has, all."""
    return {
        "uid": str(state.uid),
        "machine": "5d1bb7d0-2f5c-4e0e-9b7e-52c0a1f4ad6e\nnet:[4026531840]",
        "unreadable": "",
        "files": "\n".join(file(path, each) for path, each in state.files.items()),
        "addresses": json.dumps(
            [
                *map(_link, state.links.values()),
                *_RULES,
                *({"dst": str(a), "dev": device} for a, device in state.ipv4_devices.items()),
            ]
        ),
        "routes": '\n[{"ifname": "lo"}]\n'.join(
            [
                json.dumps(_RULES),
                _routes(r for r in state.routes if r.destination == "default"),
                *(
                    _routes(r for r in state.routes if r.protocol == protocol)
                    for protocol in asking.PROTOCOLS
                ),
                json.dumps([{"dst": str(a), "dev": d, "proxy": None} for a, d in state.proxies]),
                "",
            ]
        ),
        "listeners": "",
        "sysctls": "\n".join(f"/proc/sys/{path}:{v}" for path, v in state.sysctls.items()),
        "ufw": "",
        "sysctl-files": "\n".join(state.sysctl_files),
        "sysctl-lines": "\n".join(_line(e) for each in state.sysctl_files.values() for e in each),
        **{f"{asking.ANSWER}{name}": said for name, said in state.answers.items()},
        "units": "\n\n".join(
            f"Id={name}\nLoadState={'loaded' if unit.is_loaded else 'not-found'}\n"
            f"ActiveState={'active' if unit.is_active else 'inactive'}\n"
            f"UnitFileState={'enabled' if unit.is_enabled else 'disabled'}"
            for name, unit in state.units.items()
        ),
        "radvd": "installed" if state.has_radvd else "",
        "sit": "0",
        "sit-loading": "",
        "programs": "",
        "room": "",
        "stamp": state.stamp,
        "holder": "cut off" if state.is_cut_off else state.holder,
        "report": state.report,
        "copies": "\n".join(
            file(f"{rollback.COPIES}{path}", found) for path, found in state.copies.items()
        ),
        "record": f"by {state.recorded_by}\n{state.record}" if state.record else "",
        "warnings": "",
        "lines": "\n".join(map(_line, state.lines)),
        "end": "",
    }


_RULES = [
    {"priority": 0, "src": "all", "table": "local"},
    {"priority": 32766, "src": "all", "table": "main"},
]


def file(path: str, found: File) -> str:
    """The line of a file."""
    words = (base64.b64encode(text.encode()).decode() for text in (path, found.text))
    return f"{found.mode:04o} {' '.join(words)}"


def _link(link: Link) -> dict[str, Any]:
    found: dict[str, Any] = {
        "ifname": link.name,
        "flags": ["UP"] if link.is_up else [],
        "mtu": link.mtu,
        "addr_info": [
            {"local": local, "prefixlen": int(length)}
            for local, _, length in (network.partition("/") for network in link.addresses)
        ],
    }
    if link.kind is not None:
        data = {"local": str(link.local), "remote": str(link.remote), "ttl": link.ttl}
        found["linkinfo"] = {"info_kind": link.kind, "info_data": data}
    return found


def _routes(routes: Iterable[Route]) -> str:
    keys = {"gateway": "gateway", "dev": "device", "protocol": "protocol", "metric": "metric"}
    return json.dumps(
        [
            {"dst": route.destination, "type": route.type}
            | {key: value for key, name in keys.items() if (value := getattr(route, name))}
            for route in routes
        ]
    )


def _line(line: Line) -> str:
    return f"{line.path}:{line.number}:{line.text}"
