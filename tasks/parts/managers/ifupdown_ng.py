"""Pure: ifupdown-ng (ifup(8), interfaces-ng(5), interfaces-tunnel(5))."""

from collections.abc import Collection, Iterable, Mapping

from tasks.parts.managers.ifupdown import FOLDER, STAGED, Ifupdown
from tasks.parts.part import Site


class IfupdownNg(Ifupdown):
    """As with ifupdown: stanzas of one interface are added up. Tunnels have words of their own.

    A command that fails keeps every interface after it down at boot, so none in a stanza may.
    """

    name = "ifupdown-ng"
    seconds_each = None
    # Up to 0.12 there are no patterns, and a line with one fails the whole file: then nothing is
    # up, and no evidence is found.
    source = f"source-directory {FOLDER}"

    def _switched_off(self, site: Site, settings: Mapping[str, str]) -> Iterable[str]:
        # It knows no EXCLUDE_INTERFACES.
        if site.ends and settings.get("auto_executor_selection") == "0":
            yield (
                "/etc/network/ifupdown-ng.conf has auto_executor_selection = 0, so nothing would "
                "make the tunnels at the next boot: take that line out"
            )

    def _check(self, interfaces: Collection[str]) -> str:
        # `ifup --no-act` finds fault with nothing. An address that it can't read is not there, and
        # then there is no last of so many lines.
        found = f'ifquery --interfaces="{STAGED}" --property address {" ".join(interfaces)}'
        return f"{found} | sed -n {len(interfaces)}p | grep ."
