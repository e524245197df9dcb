"""Which addresses may be fetched from."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmony.tools.browser.guard import Policy

STRICT = Policy()
EVERYTHING = Policy(also=(ip_network("0.0.0.0/0"), ip_network("::/0")))


def inside(address: IPv4Address) -> list[IPv6Address]:
    """The IPv6 addresses that lead to an IPv4 address."""
    number = int(address)
    prefix = int(IPv6Address("64:ff9b::"))
    return [
        IPv6Address(0xFFFF_0000_0000 | number),
        IPv6Address(prefix | number),
        IPv6Address(0x2002 << 112 | number << 80),
        IPv6Address(0x2001_0000 << 96 | number << 64 | 0x0808_0808 ^ 0xFFFF_FFFF),
        IPv6Address(0x2001_0000 << 96 | 0x0808_0808 << 64 | number ^ 0xFFFF_FFFF),
    ]


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "2a00:1450::1"]
)
def test_public_addresses_are_allowed(address: str) -> None:
    """And so are the IPv6 forms of the IPv4 ones."""
    allowed = ip_address(address)
    assert STRICT.allows(allowed)
    if isinstance(allowed, IPv4Address):
        assert all(STRICT.allows(form) for form in inside(allowed))


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "127.0.0.1",
        "169.254.1.1",
        "172.16.0.1",
        "192.0.2.1",
        "192.168.1.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "64:ff9b:1::8.8.8.8",
        "100::1",
        "2001:db8::1",
        "fc00::1",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ],
)
def test_other_addresses_are_refused(address: str) -> None:
    """Private, local, shared, reserved, documentation, multicast; and their IPv6 forms."""
    refused = ip_address(address)
    assert not STRICT.allows(refused)
    assert EVERYTHING.allows(refused)
    if isinstance(refused, IPv4Address):
        assert not any(STRICT.allows(form) for form in inside(refused))


@pytest.mark.parametrize("address", ["169.254.169.254", "168.63.129.16", "100.100.100.200", "fd00:ec2::254"])
def test_metadata_services_are_always_refused(address: str) -> None:
    """Whatever else a policy allows, and in every form."""
    metadata = ip_address(address)
    assert not EVERYTHING.allows(metadata)
    if isinstance(metadata, IPv4Address):
        assert not any(EVERYTHING.allows(form) for form in inside(metadata))


@given(st.ip_addresses(v=4))
def test_an_ipv6_form_is_judged_as_the_address_in_it(address: IPv4Address) -> None:
    """No form opens what the address itself does not."""
    assert {STRICT.allows(form) for form in inside(address)} == {STRICT.allows(address)}


def test_a_policy_can_allow_a_network() -> None:
    """And no more than it."""
    policy = Policy(also=(ip_network("10.1.0.0/16"),))
    assert policy.allows(ip_address("10.1.2.3"))
    assert policy.allows(ip_address("::ffff:10.1.2.3"))
    assert not policy.allows(ip_address("10.2.2.3"))
