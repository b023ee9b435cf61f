"""Pure: whether NetworkManager's configuration keeps it away from a new tunnel.

As NetworkManager.conf(5) has it, and nm-core-utils.c (nm_match_spec_device()) does it. What a rule
of udev says with NM_UNMANAGED keeps it from none that it makes itself, as 1.42 showed.
"""

import re
from fnmatch import fnmatchcase

# What `nmcli` calls a sit tunnel.
_TYPE, _DRIVER = "iptunnel", "sit"
_FALSE = {"0", "false", "no", "off"}

Sections = dict[str, dict[str, str]]


def sections(text: str) -> Sections:
    """The merged configuration, as `NetworkManager --print-config` prints it."""
    found: Sections = {}
    keys: dict[str, str] = {}
    for line in text.splitlines():
        if line.startswith("[") and line.endswith("]"):
            keys = found.setdefault(line[1:-1], {})
        elif not line.startswith("#") and "=" in line:
            key, _, value = line.partition("=")
            keys[key] = value
    return found


def setting_for(interface: str, configuration: Sections) -> str | None:
    """The setting that has NetworkManager leave the interface alone; None where none surely does.

    A section that surely doesn't fit is passed over; of those that may, all must say the same.
    """
    devices = configuration.get("keyfile", {}).get("unmanaged-devices", "")
    if _matches(devices, interface):
        return f"[keyfile] unmanaged-devices={devices}"
    said = _of_sections(configuration, interface)
    if said and all(value.lower() in _FALSE and is_sure for _, value, is_sure in said):
        section, value, _ = said[0]
        return f"[{section}] managed={value}"
    return None


def _of_sections(configuration: Sections, interface: str) -> list[tuple[str, str, bool]]:
    """Each [device…] section with a word on it that may be for the interface, and is for sure."""
    found = []
    for section, keys in configuration.items():
        if section.startswith("device") and "managed" in keys:
            is_match = "match-device" not in keys or _matches(keys["match-device"], interface)
            if is_match is not False:
                found.append((section, keys["managed"], bool(is_match)))
    return found


def _matches(specs: str, interface: str) -> bool | None:
    """Whether a list of devices has a sit tunnel of that name in it; None where that isn't sure."""
    # Nothing in a tunnel's name needs a backslash.
    words = [word.strip() for word in re.split("[,;]", specs.strip("\"'"))]
    excluded = [_is(word[7:], interface) for word in words if word.lower().startswith("except:")]
    named = [_is(w, interface) for w in words if w and not w.lower().startswith("except:")]
    if True in excluded:
        return False
    if None in excluded:
        return None
    if not named:
        return bool(excluded)
    if True in named:
        return True
    return None if None in named else False


def _is(spec: str, interface: str) -> bool | None:
    tag, colon, value = spec.partition(":")
    match tag.lower() if colon else "":
        case "":
            return spec in {"*", interface}
        case "type":
            return value == _TYPE
        case "interface-name":
            if value.startswith("="):
                return value[1:] == interface
            # Of all patterns' marks, only these two mean something here.
            pattern = value.removeprefix("~").replace("[", "[[]")
            return fnmatchcase(interface, pattern)
        case "driver":
            # With a slash, it is for a version too.
            return None if "/" in value else value == _DRIVER
    # A hardware address, or what no tunnel has.
    return False
