"""firewalld, by the chains that it made in the lab: 1.3.3 on Debian 12, 2.3.1 on Debian 13."""

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.declared.model import Node
from tasks.host import nft_listing
from tasks.host.state import File, HostState, Unit
from tasks.parts.firewalls import firewalld
from tasks.planning.obstacles import ObstacleError
from tasks.planning.plan import plan
from tests import namespaces
from tests.samples import bare, node

pytestmark = namespaces.needed

GONE = Node("fra1.example.net", None, None, (), is_cleared=True)
POLICIES = "/etc/firewalld/policies"
INSIDE = f"{POLICIES}/60-culvert-in.xml"
FORWARD = f"{POLICIES}/60-culvert-forward.xml"
RELOAD = firewalld.RELOADED
SIT = "sit-web1"
# What it answers to, less what is of no account.
ANSWER = "file /etc/firewalld/zones/*.xml\nzone public\npolicy allow-host-ipv6 -15000\n"

OUTER = "ip daddr 198.51.100.10 ip saddr 203.0.113.20 meta l4proto ipv6 accept"
INNER = "ip6 saddr 2001:db8:1::3 accept\nip6 daddr 2001:db8:1::3 accept"

each_version = pytest.mark.parametrize("version", [1, 2])


def chains(version: int, *, outer: str, inner: str, loaded: bool, bound: str) -> str:
    """Its table, less the chains in which nothing ever stands."""
    into, through = (
        (f"jump filter_{kind}_policy_60-culvert-{name}" if loaded else "")
        for kind, name in (("IN", "in"), ("FWD", "forward"))
    )
    refuse = "reject with icmpx admin-prohibited"
    if version == 1:
        dispatch = f"""
chain filter_INPUT_ZONES {{ goto filter_IN_public; }}
chain filter_FORWARD_ZONES {{ goto filter_FWD_public; }}
chain filter_IN_public {{ {into}; jump filter_IN_public_allow; {refuse}; }}
chain filter_FWD_public {{ {through}; jump filter_FWD_public_allow; {refuse}; }}
"""
    else:
        ways = [
            f'{way} "{bound}" {what}'
            for way in ("iifname", "oifname")
            for what in (through, "jump filter_FWD_public", refuse)
            if bound and what
        ]
        dispatch = f"""
chain filter_IN_public {{ jump filter_IN_public_allow; }}
chain filter_FWD_public {{ jump filter_FWD_public_allow; }}
chain filter_INPUT_POLICIES {{ {into}; jump filter_IN_public; {refuse}; }}
chain filter_FORWARD_POLICIES {{ {"; ".join(ways)}; jump filter_FWD_public; {refuse}; }}
"""
    kind = "ZONES" if version == 1 else "POLICIES"
    hooks = "".join(
        f"""
chain filter_{hook} {{
    type filter hook {hook.lower()} priority 10; policy accept;
    ct state {{ established, related }} accept
    jump filter_{hook}_{kind}
    {refuse}
}}
"""
        for hook in ("INPUT", "FORWARD")
    )
    policies = f"""
chain filter_IN_policy_60-culvert-in_allow {{
{outer}
}}
chain filter_FWD_policy_60-culvert-forward_allow {{
{inner}
}}
chain filter_IN_policy_60-culvert-in {{ jump filter_IN_policy_60-culvert-in_allow; }}
chain filter_FWD_policy_60-culvert-forward {{ jump filter_FWD_policy_60-culvert-forward_allow; }}
"""
    let_in = f'oifname "{bound}" accept' if bound else ""
    zone = f"""
chain filter_IN_public_allow {{ tcp dport 22 accept; }}
chain filter_FWD_public_allow {{ {let_in}; }}
"""
    # Before those that jump to them.
    ordered = (policies if loaded else "") + zone + dispatch + hooks
    return f"table inet firewalld {{{ordered.replace('{ ;', '{').replace('; ;', ';')}}}"


def host(
    version: int,
    *,
    outer: str = OUTER,
    inner: str = INNER,
    loaded: bool = False,
    bound: str = "",
    answer: str = ANSWER,
    files: dict[str, File] | None = None,
) -> HostState:
    text = chains(version, outer=outer, inner=inner, loaded=loaded, bound=bound)
    listing = namespaces.run([f"nft -f - <<'END'\n{text}\nEND", "nft -j list ruleset"])
    state = bare("ifupdown", "server")
    unit = Unit(is_loaded=True, is_active=True, is_enabled=True)
    return replace(
        state,
        ruleset=nft_listing.parse(listing),
        units={**state.units, "firewalld.service": unit},
        answers={**state.answers, "firewalld": answer},
        files={**state.files, **(files or {})},
    )


def written(state: HostState, wanted: Node | None = None) -> dict[str, File]:
    """Its files, once a run is through."""
    files = dict(state.files)
    for change in plan(wanted or node("server"), state).changes.files:
        if change.after:
            files[change.path] = change.after
        else:
            files.pop(change.path)
    return {path: file for path, file in files.items() if path.startswith(POLICIES)}


def run(state: HostState, wanted: Node | None = None) -> list[str]:
    changes = plan(wanted or node("server"), state).changes
    found = [each for step in changes.steps for each in step.commands]
    return [each for each in found if "firewall" in each]


@each_version
def test_it_gets_policies_of_culverts_own(version: int) -> None:
    files = written(host(version))
    assert (
        '<rule family="ipv4"><source address="203.0.113.20"/>'
        '<destination address="198.51.100.10"/><protocol value="41"/><accept/></rule>'
    ) in files[INSIDE].text
    for word in ("source", "destination"):
        rule = f'<rule family="ipv6"><{word} address="2001:db8:1::3"/><accept/></rule>'
        assert rule in files[FORWARD].text
    assert run(host(version))[-1] == RELOAD


def test_version_2_has_the_tunnel_put_into_the_zone_in_which_it_is() -> None:
    assert run(host(1)) == [RELOAD]
    assert not any("description" in file.text for file in written(host(1)).values())
    zone, shipped = (f"{at}/firewalld/zones/public.xml" for at in ("/etc", "/usr/lib"))
    line = f'<interface name="{SIT}"/>'
    assert run(host(2)) == [
        f"[ -e {zone} ] || cp {shipped} {zone}",
        f"sed -i 's|^[[:space:]]*</zone>|  {line}\\n&|' {zone}",
        f"grep -qF '{line}' {zone}",
        RELOAD,
    ]
    told = f"Culvert put into the zone public, whose file it made: {SIT}"
    assert told in written(host(2))[FORWARD].text
    kept = ANSWER.replace("*.xml", "public.xml")
    told = f"Culvert put into the zone public: {SIT}"
    assert told in written(host(2, answer=kept))[FORWARD].text


def test_version_2_needs_no_more_where_a_zone_names_the_uplink() -> None:
    assert run(host(2, bound="eth0")) == [RELOAD]


@each_version
def test_what_was_told_is_not_told_again(version: int) -> None:
    files = written(host(version))
    state = host(version, loaded=True, bound=SIT if version == 2 else "", files=files)
    assert run(state) == []
    assert written(state) == files


@each_version
def test_what_it_lost_as_it_runs_is_told_again(version: int) -> None:
    files = written(host(version))
    bound = SIT if version == 2 else ""
    state = host(version, loaded=True, bound=bound, files=files, outer="")
    assert run(state) == [
        'firewall-cmd --policy=60-culvert-in --add-rich-rule=\'rule family="ipv4" source '
        'address="203.0.113.20" destination address="198.51.100.10" protocol value="41" accept\''
    ]


@each_version
def test_all_of_it_is_taken_back(version: int) -> None:
    files = written(host(version))
    state = host(version, loaded=True, bound=SIT if version == 2 else "", files=files)
    assert written(state, GONE) == {}
    found = run(state, GONE)
    assert found[-1] == RELOAD
    if version == 2:
        zone = "/etc/firewalld/zones/public.xml"
        assert found[:-1] == [
            f"sed -i '\\|^[[:space:]]*<interface name=\"sit\\-web1\"/>$|d' {zone}",
            f"if cmp -s {zone} /usr/lib/firewalld/zones/public.xml; then rm {zone}; fi",
        ]


def test_a_reload_that_would_lose_settings_is_refused() -> None:
    with pytest.raises(ObstacleError) as caught:
        plan(node("server"), host(1, answer=f"{ANSWER}differs zone public\n"))
    assert "`firewall-cmd --runtime-to-permanent` keeps them" in caught.value.sentences[0]
    # Once there are policies, none is needed.
    files = written(host(1))
    state = host(1, loaded=True, files=files, answer=f"{ANSWER}differs zone public\n")
    assert run(state) == []
    # And none is made.
    assert RELOAD not in run(state, GONE)
    assert "--remove-rich-rule=" in run(state, GONE)[0]


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("", 0),
        ("Error: Did not receive a reply. Possible causes include: many", 0),
        ("Error: INVALID_RULE: bad", 1),
    ],
)
def test_a_reload_that_takes_longer_than_its_command_waits_is_waited_for(
    tmp_path: Path, said: str, status: int
) -> None:
    program = tmp_path / "firewall-cmd"
    reload = f"echo '{said}' >&2; exit 1" if said else "exit 0"
    program.write_text(f'#!/bin/sh\n[ "$1" = --state ] || {{ {reload}; }}\necho running\n')
    program.chmod(0o755)
    path = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    command = ["sh", "-euc", RELOAD]
    done = subprocess.run(command, env=path, capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert done.stderr == (f"{said}\n" if status else "")


def test_a_policy_that_comes_first_is_not_overruled() -> None:
    state = host(1, loaded=True, outer=f"{OUTER.removesuffix('accept')}drop")
    text = chains(1, outer=f"{OUTER.removesuffix('accept')}drop", inner="", loaded=True, bound="")
    listing = namespaces.run(
        [f"nft -f - <<'END'\n{text.replace('60-culvert', 'mine')}\nEND", "nft -j list ruleset"]
    )
    answer = f"{ANSWER}policy mine-in -100\n"
    state = replace(
        state,
        ruleset=nft_listing.parse(listing),
        answers={**state.answers, "firewalld": answer},
    )
    with pytest.raises(ObstacleError) as caught:
        plan(node("server"), state)
    assert "comes before the rules that firewalld lets be added" in caught.value.sentences[0]


def test_a_host_that_is_left_alone_is_told_of_a_policy_of_ones_own() -> None:
    wanted = replace(node("server"), leaves_firewall=True)
    with pytest.raises(ObstacleError) as caught:
        plan(wanted, host(2))
    lines = [line.strip() for line in caught.value.sentences if line.startswith("    ")]
    assert any("--new-policy=tunnels-in" in line for line in lines)
    assert f"firewall-cmd --permanent --zone=public --add-interface={SIT}" in lines
    assert lines[-1].endswith(" && firewall-cmd --reload")


@pytest.mark.parametrize("done", [0, 1, 2, 3])
def test_a_zone_is_written_back(done: int, tmp_path: Path) -> None:
    """From wherever the run came to, with the zone's file that Culvert made or without one."""
    shipped = "<zone>\n  <service name='ssh'/>\n</zone>\n"
    bound = shipped.replace("</zone>", f'  <interface name="{SIT}"/>\n</zone>')
    files = written(host(2))
    deployed = host(2, loaded=True, bound=SIT, files=files)
    for changes, before in (
        (plan(node("server"), host(2)).changes, None),
        (plan(GONE, deployed).changes, bound),
    ):
        steps = [step for step in changes.steps if "/etc/firewalld/zones" in str(step.commands)]
        for folder in ("etc", "usr/lib"):
            (tmp_path / folder / "firewalld/zones").mkdir(parents=True, exist_ok=True)
        (tmp_path / "usr/lib/firewalld/zones/public.xml").write_text(shipped)
        zone = tmp_path / "etc/firewalld/zones/public.xml"
        zone.unlink(missing_ok=True)
        if before is not None:
            zone.write_text(before)
        begun = steps[:done]
        commands = [each for step in begun for each in step.commands]
        commands += [each for step in reversed(begun) for each in step.undo]
        for command in commands:
            here = re.sub(r"/(etc|usr/lib)/firewalld", rf"{tmp_path}/\1/firewalld", command)
            subprocess.run(["sh", "-c", here], check=False)
        assert (zone.read_text() if zone.exists() else None) == before


def test_what_it_is_told_as_it_runs_is_taken_back_in_the_same_way() -> None:
    state = host(1, loaded=True, files=written(host(1)), outer="")
    changes = plan(node("server"), state).changes
    told = [step for step in changes.steps if "rich-rule" in str(step.commands)]
    for step in told:
        assert step.undo == tuple(c.replace("--add-rich", "--remove-rich") for c in step.commands)
    assert told
    # Nor is anything lost by a reload that the run itself doesn't need.
    assert RELOAD not in str([step.undo for step in changes.removals])
