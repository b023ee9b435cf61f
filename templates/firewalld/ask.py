from firewall.client import FirewallClient

running = FirewallClient()
kept = running.config()
print("zone", running.getDefaultZone())


def settings(found):
    told = {str(key): value for key, value in found.getSettingsDict().items() if value}
    # NetworkManager puts interfaces into zones anew after each reload.
    for key in ("version", "short", "description", "interfaces"):
        told.pop(key, None)
    return {
        key: sorted(map(str, value)) if isinstance(value, list) else str(value)
        for key, value in told.items()
    }


def compare(kind, names, there, here):
    for name in names:
        if name.startswith("{{ ours }}-"):
            continue
        now = settings(there(name))
        try:
            then = settings(here(name).getSettings())
        except Exception:
            then = None
        if now != then:
            print("differs", kind, name)
        if kind == "policy":
            print("policy", name, now.get("priority", 0))


compare("zone", running.getZones(), running.getZoneSettings, kept.getZoneByName)
compare("policy", running.getPolicies(), running.getPolicySettings, kept.getPolicyByName)
if sorted(map(str, running.getAllRules())) != sorted(map(str, kept.direct().getAllRules())):
    print("differs direct rules")
