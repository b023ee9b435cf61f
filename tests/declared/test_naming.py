"""What a server calls the tunnels of clients that name none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.declared import naming
from tasks.declared.written import tunnel_interface


@pytest.mark.parametrize(
    ("host", "interface"),
    [
        ("web1", "sit-web1"),
        ("web1.example.net", "sit-web1"),
        ("elevenchars.example.net", "sit-elevenchars"),
        ("wordpress-eu-1.example.net", "sit-wordp-wonzw"),
        ("wordpress-eu-2.example.net", "sit-wordp-ffnhw"),
        ("wordpress-eu-1.example.org", "sit-wordp-vbque"),
        ("127.0.0.21", "sit-7f000015"),
        ("127.0.0.22", "sit-7f000016"),
        ("2001:db8::5", "sit-2001d-4ozy4"),
        ("bücher.example", "sit-bcher-y23tp"),
        ("@ssh/web1.example.net", "sit-web1"),
        ("@ssh/203.0.113.20", "sit-cb007114"),
        ("@docker/debian/12", "sit-debia-wh4im"),
        ("@local", "sit-local"),
    ],
)
def test_the_name_comes_of_the_host_alone(host: str, interface: str) -> None:
    assert naming.server_interface(host) == interface


@given(st.text())
def test_any_name_of_a_host_makes_an_interface(host: str) -> None:
    name = naming.server_interface(host)
    assert tunnel_interface(name) == name
