"""A host in Python: what the commands of a plan's steps make of one, as the kernel and others do.

Each command has an entry in a table; one that has none is a mistake in the test, not a failure on
the host. What a tunnel's manager does is read out of the file that is there at that moment.
"""

import base64
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from netaddr import IPAddress, IPNetwork

from tasks.host.changes import Changes, Step
from tasks.host.state import File, HostState, Link, Route, Unit
from tasks.parts import filtering, sit
from tests.samples import answers, bare, filter_answer

_ALL = "net/ipv6/conf/all/forwarding"
_DEFAULT = "net/ipv6/conf/default"
# Of the kernel's own.
_DEFAULTS = {"accept_ra": "1", "accept_redirects": "1", "autoconf": "1", "hop_limit": "64"}
_SERVICES = "/etc/systemd/system"
_NETPLAN = "/etc/netplan"
_GENERATED = "/run/systemd/network"
_PRE_UP = "/etc/network/if-pre-up.d/60-culvert-tunnels"


class FailedError(Exception):
    """A command that ends with another status than 0."""


class UnknownCommandError(Exception):
    """A command that the simulation has no entry for."""


@dataclass
class Service:
    """One that was seen: as what it runs, and by what systemd holds of its file."""

    is_active: bool = False
    is_enabled: bool = False
    held: str | None = None
    # What it was started with.
    runs: tuple[str | None, ...] = ()


@dataclass
class Host:
    """What a state has, and what no state has and must come back all the same."""

    files: dict[str, File] = field(default_factory=dict)
    links: dict[str, Link] = field(default_factory=dict)
    routes: list[Route] = field(default_factory=list)
    proxies: set[tuple[str, str]] = field(default_factory=set)
    sysctls: dict[str, str] = field(default_factory=dict)
    services: dict[str, Service] = field(default_factory=dict)
    # Culvert's, as the process has it that holds it.
    table: str | None = None
    # What NetworkManager knows, by the paths of their files, and netplan's in /run.
    connections: dict[str, str] = field(default_factory=dict)
    generated: dict[str, str] = field(default_factory=dict)
    # Beside its files: new ones that wait, old ones that are kept. A run takes away what is left.
    beside: dict[str, File] = field(default_factory=dict)
    # Of old ones, with what puts the host back.
    copies: dict[str, File] = field(default_factory=dict)

    def copied(self) -> "Host":
        return Host(
            files=dict(self.files),
            links=dict(self.links),
            routes=list(self.routes),
            proxies=set(self.proxies),
            sysctls=dict(self.sysctls),
            services={name: replace(each) for name, each in self.services.items()},
            table=self.table,
            connections=dict(self.connections),
            generated=dict(self.generated),
            beside=dict(self.beside),
            copies=dict(self.copies),
        )

    def told(self) -> dict[str, object]:
        """All of it in a form that can be compared."""
        return {
            "files": self.files,
            "links": {
                n: replace(x, addresses=tuple(sorted(x.addresses))) for n, x in self.links.items()
            },
            "routes": sorted(self.routes, key=repr),
            "proxies": self.proxies,
            "sysctls": self.sysctls,
            "services": {
                n: (s.is_active, s.is_enabled, s.runs)
                for n, s in self.services.items()
                if s.is_active or s.is_enabled
            },
            "table": self.table and parsed(self.table),
            "connections": self.connections,
            "generated": self.generated,
        }


def parsed(text: str) -> object:
    return filtering._parsed(text)


def starting(manager: str, role: str) -> tuple[Host, HostState]:
    """A host before the first run, and the state that what is read of it is put into."""
    state = bare(manager, role)
    host = Host(
        files=dict(state.files),
        links=dict(state.links),
        routes=list(state.routes),
        sysctls=dict(state.sysctls),
        services={
            name: Service(unit.is_active, unit.is_enabled) for name, unit in state.units.items()
        },
    )
    host.sysctls |= {f"{_DEFAULT}/{key}": value for key, value in _DEFAULTS.items()}
    return host, replace(state, sit_is_module=True)


def read(host: Host, of: HostState, manager: str) -> HostState:
    """The host as a run reads it."""
    running = host.table or ""
    table = host.files.get(filtering.FILE)
    of_file = _table_of(table.text) if table else ""
    inside = [name for name in host.links if name.startswith("eth")]
    units = {name: Unit(True, s.is_active, s.is_enabled) for name, s in host.services.items()}
    return replace(
        of,
        files={path: file for path, file in host.files.items() if "culvert" in path},
        links=dict(host.links),
        routes=tuple(host.routes),
        proxies=frozenset((IPAddress(address), device) for address, device in host.proxies),
        sysctls=dict(host.sysctls),
        units={**of.units, **units},
        answers={**answers(manager, *inside), **filter_answer(running, of_file)},
    )


def _table_of(text: str) -> str:
    """What the file has loaded, as it is listed."""
    return text[text.rindex("\ntable inet culvert {") :].strip()


# --- What runs on it -----------------------------------------------------------------------------


def apply(changes: Changes, host: Host) -> None:
    """A run that succeeds."""
    begin(changes, host, len(changes.actions))


def begin(changes: Changes, host: Host, number: int, parts: int | None = None) -> None:
    """A run that ends after so many actions, of which the last came no further than some parts."""
    host.beside = {
        each.staged.removeprefix("$root"): each.after for each in changes.files if each.after
    }
    host.copies = {each.path: host.files[each.path] for each in changes.files if each.before}
    shell = Shell(host)
    for check in changes.checks:
        shell.run(check)
    done = changes.actions[:number]
    last = [] if parts is None else parts_of(done.pop())[:parts]
    for command in [*(each for action in done for each in action.commands), *last]:
        shell.run(command)


def take_back(changes: Changes, host: Host, number: int) -> None:
    """The way back of a run that came so far: whatever becomes of a command, the next one runs."""
    shell = Shell(host, is_tolerant=True)
    for action in reversed(changes.actions[:number]):
        for command in action.undo:
            shell.run(command)
    host.beside = {}


def parts_of(action: Step) -> list[str]:
    """What it does one after another, also what one process does."""
    return [part for command in action.commands for part in _parts(command)]


def _parts(command: str) -> Iterable[str]:
    if found := re.fullmatch(r"batch '(ip.*)' '([^']+)'( -force)?( \|\| true)?", command):
        return [f"{found[1]} {line}{found[4] or ''}" for line in found[2].splitlines()]
    if found := re.fullmatch(r"rename <<END\n(.*)\nEND", command, re.DOTALL):
        return [f"rename <<END\n{line}\nEND" for line in found[1].splitlines()]
    if found := re.fullmatch(r"(delete_links|lenient ifup --force) ([\w. -]+)", command):
        return [f"{found[1]} {name}" for name in found[2].split()]
    if found := re.fullmatch(r"(nmcli .* delete) (uuid [\w -]+)( >.*)", command):
        return [f"{found[1]} uuid{uuid}{found[3]}" for uuid in found[2].split("uuid")[1:]]
    return [command]


class Shell:
    """One script, with a $scratch of its own."""

    def __init__(self, host: Host, *, is_tolerant: bool = False) -> None:
        self._host = host
        self._scratch: dict[str, str] = {}
        self._is_tolerant = is_tolerant

    def run(self, command: str) -> None:
        """A command of a step; as with `set -e`, unless each failure is passed over."""
        try:
            self._run(command)
        except FailedError:
            if not self._is_tolerant:
                raise

    def _run(self, command: str) -> None:
        for pattern, meaning in _MEANINGS:
            if found := pattern.fullmatch(command):
                meaning(self, **found.groupdict())
                return
        raise UnknownCommandError(command)

    # --- The shell's own ---------------------------------------------------------------------

    def _nothing(self) -> None:
        pass

    def _either(self, one: str, other: str) -> None:
        try:
            self._run(one)
        except FailedError:
            self._run(other)

    def _passed_over(self, command: str) -> None:
        self._either(command, ":")

    def _batch(self, program: str, lines: str, force: str | None) -> None:
        failed = []
        for line in lines.splitlines():
            try:
                self._run(f"{program} {line}")
            except FailedError:
                # iproute2 itself ends there, whatever it was told.
                if not force or line.startswith("neighbour "):
                    raise
                failed.append(line)
        _must(not failed)

    def _is_no_scratch(self, folder: str, otherwise: str) -> None:
        if not any(path.startswith(f"{folder}/") for path in self._scratch):
            for each in otherwise.split("; "):
                self._run(each)

    def _copy_here(self, sources: str, folder: str) -> None:
        for source in sources.split():
            path = source.removeprefix("$root")
            file = self._host.beside.get(path) or self._host.files.get(path)
            _must(file is not None)
            assert file is not None
            self._scratch[f"$scratch{folder.rstrip('/')}/{path.rpartition('/')[2]}"] = file.text

    def _copy_back(self, sources: str, folder: str) -> None:
        for source in sources.replace('"', "").split():
            _must(source in self._scratch)
            name = source.rpartition("/")[2]
            self._host.files[f"{folder}/{name}"] = File(self._scratch[source], 0o600)

    def _write_anew(self, path: str, content: str) -> None:
        if path not in self._host.files:
            self._host.files[path] = File(base64.b64decode(content).decode(), 0o600)

    def _decode(self, content: str, target: str) -> None:
        self._scratch[target] = base64.b64decode(content).decode()

    def _write(self, target: str, text: str) -> None:
        self._scratch[target] = text

    # --- Files ---------------------------------------------------------------------------------

    def _rename(self, lines: str) -> None:
        for line in lines.splitlines():
            old, new = line.split()
            if old.startswith("$scratch"):
                _must(old in self._scratch)
                self._scratch[new] = self._scratch.pop(old)
            else:
                self._put(old, new)

    def _put(self, source: str, target: str) -> None:
        path = source.removeprefix("$root")
        _must(path in self._host.beside)
        self._host.files[target] = self._host.beside.pop(path)

    def _keep(self, path: str, kept: str) -> None:
        _must(path in self._host.files)
        self._host.beside[kept] = self._host.files[path]

    def _bring_back(self, path: str) -> None:
        folder, _, name = path.rpartition("/")
        kept = self._host.beside.pop(f"{folder}/.{name}.old", None)
        self._host.files[path] = kept or self._host.copies[path]

    def _remove(self, paths: str) -> None:
        for path in paths.split():
            self._host.files.pop(path, None)
            self._host.generated.pop(path, None)

    # --- The kernel --------------------------------------------------------------------------

    def _set(self, path: str, value: str) -> None:
        host = self._host
        _must(path in host.sysctls)
        host.sysctls[path] = value.strip("'")
        if path == _ALL:
            for each in host.sysctls:
                if each.endswith("/forwarding"):
                    host.sysctls[each] = value

    def _load_module(self) -> None:
        if "sit0" not in self._host.links:
            self._appear(Link("sit0", "sit", False, 1480))

    def _unload_module(self) -> None:
        tunnels = {name for name, link in self._host.links.items() if link.kind == "sit"}
        if tunnels == {"sit0"}:
            self._vanish("sit0")

    def _appear(self, link: Link) -> None:
        self._host.links[link.name] = link
        of_new = {
            path.replace("/default/", f"/{link.name}/"): value
            for path, value in self._host.sysctls.items()
            if path.startswith(f"{_DEFAULT}/")
        }
        self._host.sysctls |= of_new | {f"net/ipv6/conf/{link.name}/mtu": str(link.mtu)}

    def _vanish(self, name: str) -> None:
        host = self._host
        _must(name in host.links)
        del host.links[name]
        host.routes[:] = [route for route in host.routes if route.device != name]
        host.proxies -= {entry for entry in host.proxies if entry[1] == name}
        for path in [path for path in host.sysctls if path.split("/")[3] == name]:
            del host.sysctls[path]

    def _add_link(self, name: str, mtu: str, local: str, remote: str, ttl: str) -> None:
        self._load_module()
        _must(name not in self._host.links)
        link = Link(name, "sit", False, int(mtu), (), *_ends(local, remote), _ttl(ttl))
        self._must_be_alone(link)
        self._appear(link)

    def _change_tunnel(self, name: str, local: str, remote: str, ttl: str) -> None:
        _must(name in self._host.links)
        here, there = _ends(local, remote)
        link = replace(self._host.links[name], local=here, remote=there, ttl=_ttl(ttl))
        self._must_be_alone(link)
        self._host.links[name] = link

    def _must_be_alone(self, link: Link) -> None:
        """The kernel allows one tunnel for each pair of addresses."""
        others = [each for name, each in self._host.links.items() if name != link.name]
        _must(
            (link.local, link.remote)
            not in [(each.local, each.remote) for each in others if each.kind == "sit"]
        )

    def _delete_links(self, names: str) -> None:
        for name in names.split():
            if name in self._host.links:
                self._vanish(name)

    def _set_mtu(self, name: str, mtu: str) -> None:
        _must(name in self._host.links)
        self._host.links[name] = replace(self._host.links[name], mtu=int(mtu))
        self._host.sysctls[f"net/ipv6/conf/{name}/mtu"] = mtu

    def _up(self, name: str) -> None:
        _must(name in self._host.links)
        link = self._host.links[name]
        if link.is_up:
            return
        self._host.links[name] = replace(link, is_up=True)
        if link.kind == "sit" and link.local:
            self._add_address(str(IPAddress((0xFE80 << 112) | int(link.local), 6)) + "/64", name)
        for network in link.addresses:
            self._connect(network, name)

    def _down(self, name: str) -> None:
        _must(name in self._host.links)
        link = self._host.links[name]
        if link.is_up:
            kept = tuple(each for each in link.addresses if ":" not in each)
            self._host.links[name] = replace(link, is_up=False, addresses=kept)
            self._host.routes[:] = [r for r in self._host.routes if r.device != name]

    def _add_address(self, network: str, name: str, flag: str | None = None) -> None:
        _must(name in self._host.links)
        link = self._host.links[name]
        held = {each.partition("/")[0] for each in link.addresses}
        _must(network.partition("/")[0] not in held)
        self._host.links[name] = replace(link, addresses=(*link.addresses, network))
        if link.is_up and not flag:
            self._connect(network, name)

    def _connect(self, network: str, name: str) -> None:
        found = IPNetwork(network)
        route = Route(str(found.cidr), None, name, "kernel", 256)
        if found.version == 6 and found.prefixlen < 128 and route not in self._host.routes:
            self._host.routes.append(route)

    def _delete_address(self, network: str, name: str) -> None:
        _must(name in self._host.links and network in self._host.links[name].addresses)
        link = self._host.links[name]
        left = tuple(each for each in link.addresses if each != network)
        self._host.links[name] = replace(link, addresses=left)
        cidr = str(IPNetwork(network).cidr)
        if cidr not in [str(IPNetwork(each).cidr) for each in left]:
            route = Route(cidr, None, name, "kernel", 256)
            self._host.routes[:] = [each for each in self._host.routes if each != route]

    def _add_route(self, words: str) -> None:
        route = _route(words)
        link = self._host.links.get(route.device)
        _must(link is not None and link.is_up)
        _must(
            not any(
                (each.destination, each.metric) == (route.destination, route.metric)
                for each in self._host.routes
            )
        )
        if route.gateway:
            _must(
                any(
                    each.device == route.device
                    and not each.gateway
                    and IPAddress(route.gateway) in each.network
                    for each in self._host.routes
                )
            )
        self._host.routes.append(route)

    def _replace_route(self, words: str) -> None:
        wanted = _route(words)
        self._host.routes[:] = [
            each
            for each in self._host.routes
            if (each.destination, each.metric) != (wanted.destination, wanted.metric)
        ]
        self._add_route(words)

    def _delete_route(self, words: str) -> None:
        keys = _keys(words)
        wanted = _route(words)
        for each in self._host.routes:
            if (
                (each.destination, each.device, each.type)
                == (wanted.destination, wanted.device, wanted.type)
                and ("via" not in keys or each.gateway == wanted.gateway)
                and ("metric" not in keys or each.metric == wanted.metric)
                and ("proto" not in keys or each.protocol == wanted.protocol)
            ):
                self._host.routes.remove(each)
                return
        raise FailedError(words)

    def _flush_routes(self, name: str, protocol: str) -> None:
        self._host.routes[:] = [
            each for each in self._host.routes if (each.device, each.protocol) != (name, protocol)
        ]

    def _flush_addresses(self, name: str) -> None:
        _must(name in self._host.links)
        for network in self._host.links[name].addresses:
            if not network.startswith("fe80"):
                self._delete_address(network, name)

    def _add_proxy(self, address: str, device: str) -> None:
        _must(device in self._host.links)
        self._host.proxies.add((address, device))

    def _delete_proxy(self, address: str, device: str) -> None:
        _must((address, device) in self._host.proxies)
        self._host.proxies.remove((address, device))

    def _are_up(self, words: str) -> None:
        names, networks = words.split()[::2], words.split()[1::2]
        for name, network in zip(names, networks, strict=True):
            link = self._host.links.get(name)
            _must(link is not None and link.is_up and network in link.addresses)

    # --- Managers ----------------------------------------------------------------------------

    def _stanza(self, interface: str) -> dict[str, list[str]]:
        file = self._host.files.get(f"/etc/network/interfaces.d/60-culvert-{interface}")
        _must(file is not None)
        assert file is not None
        words: dict[str, list[str]] = {}
        for line in file.text.splitlines():
            key, _, value = line.strip().partition(" ")
            words.setdefault(key, []).append(value.removesuffix(" || true"))
        return words

    def _ifup(self, interfaces: str) -> None:
        for name in interfaces.split():
            try:
                self._ifup_one(name)
            except FailedError:
                # As ifupdown-ng does; its end says nothing, since the host's hooks have part in it.
                return

    def _ifup_missing(self, interfaces: str) -> None:
        for name in interfaces.split():
            if name not in self._host.links:
                self._ifup(name)

    def _ifup_one(self, interface: str) -> None:
        words = self._stanza(interface)
        if "tunnel-mode" in words:
            remote = words.get("tunnel-endpoint") or words["tunnel-remote"]
            local, mtu, ttl = words["tunnel-local"], words["mtu"], words["tunnel-ttl"]
            if interface not in self._host.links:
                self._add_link(interface, mtu[0], local[0], remote[0], ttl[0])
            else:
                self._change_tunnel(interface, local[0], remote[0], ttl[0])
                self._set_mtu(interface, mtu[0])
        for each in words.get("pre-up", []):
            self._hook(each)
        hook = self._host.files.get(_PRE_UP)
        hooked = re.findall(r"[\w.-]+", hook.text) if hook else []
        if "tunnel-endpoint" in words and interface in hooked:
            for key in sit.UNHEARD:
                self._set(f"net/ipv6/conf/{interface}/{key}", "0")
        self._up(interface)
        self._passed_over(f"ip address add {words['address'][0]} dev {interface}")
        for each in words.get("post-up", []):
            self._hook(each)

    def _hook(self, command: str) -> None:
        found = re.fullmatch(r"echo (\d+) >/proc/sys/(\S+)", command)
        self._run(f"sysctl {found[2]} {found[1]}" if found else command)

    def _ifdown(self, interfaces: str) -> None:
        for name in interfaces.split():
            self._stanza(name)
            self._vanish(name)

    def _ifdown_each(self, interfaces: str) -> None:
        try:
            self._ifdown(interfaces)
        except FailedError:
            for name in interfaces.split():
                if name in self._host.links:
                    self._passed_over(f"ifdown --force {name}")

    def _load_connections(self, paths: str) -> None:
        for path in paths.split():
            file = self._host.files.get(path)
            _must(file is not None)
            assert file is not None
            self._host.connections[path] = file.text
            name = path.rpartition("60-culvert-")[2].removesuffix(".nmconnection")
            # NetworkManager would make it, which is not what any step means.
            assert name in self._host.links, f"{path} is loaded without a link"

    def _delete_connections(self, uuids: str) -> None:
        known = {f"uuid={uuid}" for uuid in uuids.split() if uuid != "uuid"}
        for path, text in [*self._host.connections.items()]:
            if found := known & {*text.split()}:
                known -= found
                del self._host.connections[path]
                self._host.files.pop(path, None)
        _must(not known)

    def _gather(self, root: str, new: str | None) -> None:
        for path, file in self._host.files.items():
            if path.startswith(_NETPLAN):
                self._scratch[f"{root}{path}"] = file.text
        for line in (new or "").splitlines():
            source, target = line.split()
            self._scratch[target] = self._host.beside[source.removeprefix("$root")].text

    def _generate(self, root: str) -> None:
        for path, text in [*self._scratch.items()]:
            prefix = f"{root}{_NETPLAN}/60-culvert-"
            if path.startswith(prefix):
                name = path.removeprefix(prefix).removesuffix(".yaml")
                for kind in ("netdev", "network"):
                    to = f"{root}{_GENERATED}/10-netplan-{name}.{kind}"
                    self._scratch[to] = f"{kind} of {text}"

    def _put_generated(self, made: str) -> None:
        for each in made.split():
            start = each.strip('"*.') + "."
            found = [path for path in self._scratch if path.startswith(start)]
            _must(bool(found))
            for path in found:
                name = path.rpartition("/")[2]
                self._host.generated[f"{_GENERATED}/{name}"] = self._scratch.pop(path)

    # --- Services ----------------------------------------------------------------------------

    def _service(self, name: str) -> Service:
        return self._host.services.setdefault(name, Service())

    def _unit_text(self, name: str) -> str | None:
        file = self._host.files.get(f"{_SERVICES}/{name}")
        return file.text if file else None

    def _daemon_reload(self) -> None:
        for name, service in self._host.services.items():
            service.held = self._unit_text(name)

    def _start(self, name: str) -> None:
        service = self._service(name)
        if service.is_active:
            return
        if service.held is None:
            service.held = self._unit_text(name)
        _must(service.held is not None or name == "networkd-dispatcher.service")
        service.is_active = True
        paths = re.findall(r"/etc/culvert/\S+", service.held or "")
        service.runs = (service.held, *map(self._text, paths))
        if name == filtering.SERVICE:
            self._reload(name)

    def _text(self, path: str) -> str | None:
        # What is reloaded is no part of what it was started with.
        file = self._host.files.get(path)
        return file.text if file and path != filtering.FILE else None

    def _stop(self, name: str) -> None:
        service = self._service(name)
        _must(service.held is not None or name == "networkd-dispatcher.service")
        service.is_active, service.runs = False, ()
        if name == filtering.SERVICE:
            self._host.table = None

    def _restart(self, name: str) -> None:
        if self._service(name).is_active:
            self._stop(name)
        self._start(name)

    def _reload(self, name: str) -> None:
        _must(name == filtering.SERVICE and self._service(name).is_active)
        file = self._host.files.get(filtering.FILE)
        _must(file is not None)
        assert file is not None
        self._host.table = _table_of(file.text)

    def _enable(self, name: str) -> None:
        _must(self._unit_text(name) is not None)
        self._service(name).is_enabled = True
        self._daemon_reload()

    def _disable(self, name: str) -> None:
        _must(self._unit_text(name) is not None)
        self._service(name).is_enabled = False

    def _load_table(self, path: str) -> None:
        _must(self._service(filtering.SERVICE).is_active and path in self._scratch)
        text = self._scratch[path]
        if text.startswith("table "):
            self._host.table = _table_of(text)
            return
        assert self._host.table is not None
        rules, elements = filtering._parsed(self._host.table)
        for line in text.splitlines():
            found = re.fullmatch(r"(add|delete) element inet culvert (\S+) \{ (.*) \}", line)
            assert found, line
            element = found[2], found[3]
            _must((element in elements) == (found[1] == "delete"))
            elements = elements ^ {element}
        # The one text that has these.
        file = self._host.files[filtering.FILE]
        assert (rules, elements) == filtering._parsed(_table_of(file.text))
        self._host.table = _table_of(file.text)


def _must(is_so: bool) -> None:
    if not is_so:
        raise FailedError


def _ends(local: str, remote: str) -> tuple[IPAddress | None, IPAddress | None]:
    here, there = (None if each == "any" else IPAddress(each) for each in (local, remote))
    return here, there


def _ttl(ttl: str) -> int:
    return 0 if ttl == "inherit" else int(ttl)


def _keys(words: str) -> dict[str, str]:
    parts = words.split()
    return dict(zip(parts[-2::-2], parts[::-2], strict=False))


def _route(words: str) -> Route:
    first, *rest = words.split()
    kind = "unicast"
    if first == "unreachable":
        kind, first, rest = first, rest[0], rest[1:]
    keys = dict(zip(rest[::2], rest[1::2], strict=True))
    assert keys.keys() <= {"via", "dev", "proto", "metric"}, words
    metric, protocol = int(keys.get("metric", 1024)), keys.get("proto", "boot")
    return Route(first, keys.get("via"), keys["dev"], protocol, metric, kind)


_NAME = r"(?P<name>[\w.@-]+)"
_ENDS = r"local (?P<local>\S+) remote (?P<remote>\S+) ttl (?P<ttl>\w+)"
_SCRATCH = r'"?(?P<target>\$scratch[^"\s]*)"?'

_TABLE: Iterable[tuple[str, Callable[..., None]]] = (
    (r":|true", Shell._nothing),
    (re.escape(sit.UNLOAD), Shell._unload_module),
    (r"modprobe sit", Shell._load_module),
    (r"\{\n(?P<command>.*)\n\} 2>/dev/null \|\| true", Shell._passed_over),
    (r"batch '(?P<program>ip.*)' '(?P<lines>[^']+)'(?P<force> -force)?", Shell._batch),
    (r"delete_links (?P<names>.*)", Shell._delete_links),
    (r"are_up (?P<words>.*)", Shell._are_up),
    (r"rename <<END\n(?P<lines>.*)\nEND", Shell._rename),
    (r"ln -f (?P<path>\S+) (?P<kept>\S+)", Shell._keep),
    (r"mv -f (?P<source>\$root\S+) (?P<target>\S+)", Shell._put),
    (r"rm -f (?P<paths>[\w./ @-]+)( \|\| \{ step=.*)?", Shell._remove),
    (r"bring_back (?P<path>\S+)", Shell._bring_back),
    (r'\[ -e "(?P<folder>\S+)" \] \|\| \{ (?P<otherwise>.*); \}', Shell._is_no_scratch),
    (r"(?P<command>.*) \|\| true", Shell._passed_over),
    (rf"ip link add {_NAME} mtu (?P<mtu>\d+) type sit {_ENDS}", Shell._add_link),
    (rf"ip tunnel change {_NAME} mode sit {_ENDS}", Shell._change_tunnel),
    (rf"ip link set dev {_NAME} mtu (?P<mtu>\d+)", Shell._set_mtu),
    (rf"ip link set dev {_NAME} up", Shell._up),
    (rf"ip link set dev {_NAME} down", Shell._down),
    (
        rf"ip (-6 )?address add (?P<network>\S+) dev {_NAME}(?P<flag> noprefixroute)?",
        Shell._add_address,
    ),
    (rf"ip (-6 )?address delete (?P<network>\S+) dev {_NAME}", Shell._delete_address),
    (rf"ip -6 route flush dev {_NAME} proto (?P<protocol>\w+)", Shell._flush_routes),
    (rf"ip address flush dev {_NAME} scope global", Shell._flush_addresses),
    (r"ip -6 route add (?P<words>.*)", Shell._add_route),
    (r"ip -6 route replace (?P<words>.*)", Shell._replace_route),
    (r"ip -6 route delete (?P<words>.*)", Shell._delete_route),
    (r"ip -6 neighbour add proxy (?P<address>\S+) dev (?P<device>\S+)", Shell._add_proxy),
    (r"ip -6 neighbour delete proxy (?P<address>\S+) dev (?P<device>\S+)", Shell._delete_proxy),
    (r"sysctl(?:_again)? (?P<path>\S+) (?P<value>\S+)", Shell._set),
    (r"lenient ifup --force (?P<interfaces>[\w. -]+)", Shell._ifup),
    (r"for each in (?P<interfaces>[\w. -]+); do .* lenient ifup .*; done", Shell._ifup_missing),
    (r"ifdown --force (?P<interfaces>[\w. -]+)", Shell._ifdown),
    (r"ifdown --force (?P<interfaces>[\w. -]+) \|\| for each .*; done", Shell._ifdown_each),
    # What looks at new files, and finds no fault with them.
    (
        r"(listed=|case |ifup --|nmcli --offline |radvd --configtest |cat ).*2>&1.*|"
        r"case \$listed in.*|ifquery .*|nmcli --offline .*|cat [^<]*interfaces\"",
        Shell._nothing,
    ),
    (
        r"tries=0; until .*\$\(nmcli connection load (?P<paths>[\w./ -]+?) 2>&1\) .*",
        Shell._load_connections,
    ),
    (
        r"nmcli --wait \d+ connection delete (?P<uuids>uuid [\w -]+) >/dev/null 2>&1",
        Shell._delete_connections,
    ),
    (
        rf'gather "(?P<root>\S+)" /lib/netplan {_NETPLAN} /run/netplan( <<END\n(?P<new>.*)\nEND)?',
        Shell._gather,
    ),
    (r'netplan generate --root-dir "(?P<root>\S+)"', Shell._generate),
    (rf'mv -f (?P<made>("\S+"\.\* )+){_GENERATED}/', Shell._put_generated),
    (r'cp -p (?P<sources>[^"]+) "\$scratch(?P<folder>[^"]*)"', Shell._copy_here),
    (r'cp -p (?P<sources>("\$scratch\S+" )+)(?P<folder>/\S+)/', Shell._copy_back),
    (rf"echo (?P<content>\S+) \| base64 -d >{_SCRATCH}", Shell._decode),
    (rf"cat >{_SCRATCH} <<'END'\n(?P<text>.*)\nEND", Shell._write),
    (rf'{filtering.HOLDER} load "?(?P<path>[^"]+)"?', Shell._load_table),
    (
        r"\[ -e (?P<path>\S+) \] \|\| \(umask 077; echo (?P<content>\S+) \| base64 -d >\S+\)",
        Shell._write_anew,
    ),
    (r"systemctl daemon-reload", Shell._daemon_reload),
    (rf"systemctl start {_NAME}", Shell._start),
    (rf"systemctl stop {_NAME}", Shell._stop),
    (rf"systemctl restart {_NAME}", Shell._restart),
    (rf"systemctl reload {_NAME}", Shell._reload),
    (rf"systemctl --quiet enable {_NAME}", Shell._enable),
    (rf"systemctl --quiet disable {_NAME}", Shell._disable),
    (r"systemctl reset-failed \S+ 2>/dev/null", Shell._nothing),
)
_MEANINGS = [(re.compile(pattern, re.DOTALL), meaning) for pattern, meaning in _TABLE]
