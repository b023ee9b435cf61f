"""Pure: netplan with systemd-networkd underneath (netplan(5), systemd.network(5))."""

from collections.abc import Iterable, Sequence

from tasks.managers.manager import Site
from tasks.render import render
from tasks.state import OWNED, File, HostState

_FOLDER = "/etc/netplan"
_DISPATCHER = f"/etc/networkd-dispatcher/routable.d/{OWNED}"
# Where netplan puts what it makes of its files, and how it calls the file of an interface.
_GENERATED = "/run/systemd/network/10-netplan-"


class Netplan:
    """Tunnels as files of netplan's, proxy entries held by networkd and networkd-dispatcher.

    Of the two, networkd's drop-in keeps proxying on through every path on which it configures the
    interface; the dispatcher's script brings back what was flushed when it becomes routable.
    """

    name = "netplan"
    looked_for = f"`networkctl` shows it configured from {_GENERATED}… (netplan)"

    def evidence(self, state: HostState, interface: str) -> str | None:
        link = state.networkd.get(interface)
        if link is None or link.state not in {"configured", "configuring"}:
            return None
        if not (link.network_file or "").startswith(_GENERATED):
            return None
        return f"networkd has it {link.state} from {link.network_file}"

    def obstacles(self, state: HostState, site: Site) -> Iterable[str]:
        ours = {f"10-netplan-{end.interface}" for end in site.ends} | {
            f"10-netplan-{interface}" for path in state.files if (interface := self.defines(path))
        }
        for pending in state.netplan_pending:
            if pending.startswith("error: "):
                yield f"`netplan generate` refuses the host's own files: {pending[7:].strip()}"
            elif pending.rpartition(".")[0] not in ours:
                yield (
                    f"/etc/netplan has changes that were never applied (they concern {pending}); "
                    "adding a tunnel would apply them too: run `netplan apply` or take them back"
                )
        if site.proxied and not (
            state.networkd[site.external_interface].network_file or ""
        ).startswith(_GENERATED):
            yield f"networkd's file for {site.external_interface} isn't netplan's"

    def files(self, site: Site) -> dict[str, File]:
        files = {
            f"{_FOLDER}/{OWNED}-{end.interface}.yaml": File(
                # netplan warns of files that others may read.
                render("netplan/tunnel.yaml", end=end),
                mode=0o600,
            )
            for end in site.ends
        }
        if site.proxied:
            values = {"interface": site.external_interface, "proxied": site.proxied}
            files[_drop_in(site.external_interface)] = File(
                render("netplan/external-interface.network", **values)
            )
            # Anything but 0755 is skipped without a word.
            files[_DISPATCHER] = File(render("netplan/networkd-dispatcher", **values), mode=0o755)
        return files

    def defines(self, path: str) -> str | None:
        prefix = f"{_FOLDER}/{OWNED}-"
        if not path.startswith(prefix):
            return None
        return path.removeprefix(prefix).removesuffix(".yaml")

    def remove(self, interface: str) -> Sequence[str]:
        return (f"ip link delete {interface}",)

    def apply(self, site: Site, state: HostState, changed_files: Iterable[str]) -> Sequence[str]:
        absent = site.absent(state)
        commands = []
        if absent or any(self.defines(path) for path in changed_files):
            commands += ["netplan generate", "networkctl reload"]
        if absent:
            waited = " ".join(f"--interface={end.interface}:routable" for end in absent)
            commands.append(f"/lib/systemd/systemd-networkd-wait-online --timeout=20 {waited}")
        if site.proxied and state.dispatcher_is_loaded and not state.dispatcher_is_active:
            # Its unit starts only where there is a script.
            commands.append("systemctl start networkd-dispatcher.service")
        return commands


def _drop_in(interface: str) -> str:
    return f"/etc/systemd/network/10-netplan-{interface}.network.d/{OWNED}.conf"
