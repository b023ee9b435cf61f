"""Pure: ifupdown2 (ifup(8), ifreload(8))."""

import base64
import io
import pickletools
from collections.abc import Collection, Iterable, Mapping
from itertools import pairwise

from tasks.host.render import render
from tasks.host.state import OWNED, File, HostState, UnreadableStateError
from tasks.parts import sit
from tasks.parts.managers.ifupdown import STAGED, Ifupdown
from tasks.parts.part import UNREACHABLE_METRIC, Site

_CONFIGURATION = "/etc/network/ifupdown2/ifupdown2.conf"
_HOOKS = "/etc/network/if-up.d"
_HOOKS_BEFORE = "/etc/network/if-pre-up.d"


class Ifupdown2(Ifupdown):
    """Tunnels as stanzas, what is added to other interfaces as scripts that run when they come up.

    Stanzas of one interface are taken for one, with the method of the first that is read: after
    Culvert's `manual`, the host's own `dhcp` would not run.
    """

    name = "ifupdown2"
    seconds_each = None
    folders = (*Ifupdown.folders, _HOOKS, _HOOKS_BEFORE)
    # ifupdown2 comes without them.
    own_folders = ("network/if-up.d", "network/if-pre-up.d")

    @property
    def _record(self) -> str:
        return "the record of what is up"

    def _stanzas(self, record: str) -> Mapping[str, str]:
        try:
            # It knows no logical interfaces.
            return {name: name for name in _pickled_names(base64.b64decode(record))}
        except ValueError as error:
            raise UnreadableStateError(
                f"ifupdown2's record has an unexpected form: {error}"
            ) from error

    def _includes(self, line: str) -> bool:
        # 3.0 knows no `source-directory`, no relative paths, and one pattern for each line.
        match line.split():
            case ["source", pattern, *_]:
                return pattern.startswith("/") and super()._includes(f"source {pattern}")
        return False

    def files(self, site: Site, state: HostState) -> dict[str, File]:
        if not site.ends:
            return super().files(site, state)
        # A stanza's own `pre-up` comes before its tunnel is made, its `up` after that is up.
        text = render("ifupdown2/tunnels", ends=site.ends, unheard=sit.UNHEARD)
        hook = File(text, mode=0o755)
        return {**super().files(site, state), f"{_HOOKS_BEFORE}/{OWNED}-tunnels": hook}

    def _main(self, settings: Mapping[str, str]) -> str:
        return settings.get("default_interfaces_configfile") or super()._main(settings)

    def _switched_off(self, site: Site, settings: Mapping[str, str]) -> Iterable[str]:
        yield from super()._switched_off(site, settings)
        # Without the line they aren't run either.
        helped = [*site.added_to, *(end.interface for end in site.ends)]
        if helped and settings.get("addon_scripts_support") != "1":
            yield (
                f"{_CONFIGURATION} hasn't addon_scripts_support=1, so nothing would run Culvert's "
                f"scripts for {' and '.join(helped)} in /etc/network: set it so"
            )

    def _additions(self, site: Site) -> dict[str, File]:
        files = {}
        if site.adds_to_external:
            text = render(
                "ifupdown2/external-interface",
                interface=site.external_interface,
                proxied=site.proxied,
                routed_here=site.node.routed_here,
                metric=UNREACHABLE_METRIC,
            )
            files[f"{_HOOKS}/{OWNED}-external-interface"] = File(text, mode=0o755)
        if site.lans:
            text = render("ifupdown2/local-area-networks", lans=site.lans)
            files[f"{_HOOKS}/{OWNED}-local-area-networks"] = File(text, mode=0o755)
        return files

    def _check(self, interfaces: Collection[str]) -> str:
        del interfaces
        return f'ifup --all --syntax-check --interfaces="{STAGED}" 2>&1'


def _pickled_names(record: bytes) -> Iterable[str]:
    """The `name` of each object in ifupdown2's record: pickles, one after another.

    Told from their opcodes: to unpickle would be to run what the host sends.
    """
    stream = io.BytesIO(record)
    while stream.tell() < len(record):
        strings = [a for _, a, _ in pickletools.genops(stream) if isinstance(a, str)]
        yield from [value for key, value in pairwise(strings) if key == "name"][:1]
