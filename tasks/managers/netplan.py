"""Pure: netplan with systemd-networkd underneath (netplan(5), systemd.network(5))."""

from collections.abc import Iterable, Mapping

from tasks import kernel
from tasks.managers.manager import Site
from tasks.model import End
from tasks.render import render
from tasks.state import OWNED, File, HostState

_FOLDER = "/etc/netplan"
# Routable comes when the uplink is back, configured also when networkd only went over it again. A
# mode other than 0755 is skipped without a word.
_DISPATCHER = tuple(
    f"/etc/networkd-dispatcher/{state}.d/{OWNED}" for state in ("configured", "routable")
)
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
        link = state.networkd.get(site.external_interface)
        if site.proxied and not (link and (link.network_file or "").startswith(_GENERATED)):
            yield (
                f"networkd has no file of netplan's for {site.external_interface}, so nothing "
                "would keep proxying on there"
            )

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
            script = File(render("netplan/networkd-dispatcher", **values), mode=0o755)
            files |= dict.fromkeys(_DISPATCHER, script)
        return files

    def defines(self, path: str) -> str | None:
        prefix = f"{_FOLDER}/{OWNED}-"
        if not path.startswith(prefix):
            return None
        return path.removeprefix(prefix).removesuffix(".yaml")

    def checks(self, staged: Mapping[str, str]) -> Iterable[str]:
        tunnels = {path: waiting for path, waiting in staged.items() if self.defines(path)}
        if tunnels:
            # At boot, one file that netplan can't read would leave the host without any network.
            yield 'mkdir -p "$scratch/etc" && cp -a /etc/netplan "$scratch/etc/"'
            for path, waiting in tunnels.items():
                yield f'cp -p {waiting} "$scratch{path}"'
            yield 'netplan generate --root-dir "$scratch"'

    def create(self, end: End) -> Iterable[str]:
        # Not by networkd: whenever it reloads its files, it takes the uplink's IPv4 address away
        # for a moment (252: link_reconfigure() drops what it is to configure again).
        return kernel.creation(end)

    def remove(self, interface: str) -> Iterable[str]:
        yield f"rm -f {_GENERATED}{interface}.netdev {_GENERATED}{interface}.network"

    def refresh(self, site: Site, state: HostState, changed: Iterable[str]) -> Iterable[str]:
        for path in changed:
            interface = self.defines(path)
            if interface in {end.interface for end in site.ends}:
                # What netplan makes of the tunnel's file and nothing else, for the next time that
                # networkd reads its files.
                yield f'mv -f "$scratch{_GENERATED}{interface}".* {_GENERATED.rpartition("/")[0]}/'
        if site.proxied and state.dispatcher_is_loaded and not state.dispatcher_is_active:
            # Its unit starts only where there is a script.
            yield "systemctl start networkd-dispatcher.service"


def _drop_in(interface: str) -> str:
    return f"/etc/systemd/network/10-netplan-{interface}.network.d/{OWNED}.conf"
