"""Every special address is of its class, whatever it is written as or embedded in; every other way to write a host is refused."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helm_ai_kernel.pep.address import DIALLED, AddressClass, check_host, classify, is_literal
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import Refused

# The registries of IANA as they stood in 2026 (iana-ipv4-special-registry, iana-ipv6-special-registry), multicast and reserved
# space, by themselves: the product's table is not read. Ranges that embed IPv4 addresses are not here.
SPECIAL = [
    "0.0.0.0/8", "0.0.0.0/32", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
    "192.0.0.0/29", "192.0.0.8/32", "192.0.0.9/32", "192.0.0.10/32", "192.0.0.170/32", "192.0.0.171/32", "192.0.2.0/24",
    "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15",
    "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "255.255.255.255/32", "168.63.129.16/32",
    "::1/128", "::/128", "::/96", "64:ff9b:1::/48", "100::/64", "100:0:0:1::/64", "2001:1::1/128", "2001:1::2/128",
    "2001:1::3/128", "2001:2::/48", "2001:3::/32", "2001:4:112::/48", "2001:10::/28", "2001:20::/28", "2001:30::/28",
    "2001:db8::/32", "2620:4f:8000::/48", "3fff::/20", "4000::/3", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
]  # fmt: skip

ROWS = [  # faults 9.15 and what is like it
    ("127.0.0.1", "loopback"), ("127.255.255.254", "loopback"), ("::1", "loopback"), ("::ffff:127.0.0.1", "loopback"),
    ("169.254.169.254", "metadata"), ("::ffff:a9fe:a9fe", "metadata"), ("64:ff9b::a9fe:a9fe", "metadata"),
    ("2002:a9fe:a9fe::", "metadata"), ("2002:a9fe:a9fe::1", "metadata"), ("::ffff:0:a9fe:a9fe", "metadata"),
    ("2001:0:a9fe:a9fe::", "metadata"), ("2001:0:808:808:0:0:5601:5601", "metadata"), ("2a00::5efe:a9fe:a9fe", "metadata"),
    ("2a00::200:5efe:7f00:1", "loopback"), ("169.254.170.2", "metadata"), ("169.254.1.1", "link-local"),
    ("100.100.100.200", "metadata"), ("168.63.129.16", "metadata"), ("192.0.0.192", "metadata"), ("fd00:ec2::254", "metadata"),
    ("fd20:ce::254", "metadata"), ("169.254.42.42", "metadata"), ("::ffff:169.254.42.42", "metadata"),
    ("169.254.42.41", "link-local"), ("fd00:42::42", "metadata"), ("fd00:c1::a9fe:a9fe", "metadata"),
    ("fd00:a9fe:a9fe::1", "metadata"),
    ("fd00:100::100:200", "metadata"), ("fd00:42::41", "private"),
    ("fd00::1", "private"), ("fec0::1", "private"), ("fe80::1", "link-local"),
    ("10.0.0.1", "private"), ("172.31.255.255", "private"), ("172.32.0.0", "global"), ("192.168.1.1", "private"),
    ("::ffff:192.168.1.1", "private"), ("64:ff9b::c0a8:101", "private"), ("100.64.0.1", "shared"), ("100.128.0.0", "global"),
    ("224.0.0.1", "multicast"), ("ff02::1", "multicast"), ("0.0.0.0", "unspecified"), ("0.1.2.3", "unspecified"),
    ("::", "unspecified"), ("192.0.0.8", "reserved"), ("255.255.255.255", "reserved"), ("240.0.0.1", "reserved"),
    ("198.19.0.1", "reserved"), ("192.0.2.1", "documentation"), ("2001:db8::1", "documentation"), ("3fff::1", "documentation"),
    ("::7f00:1", "reserved"), ("64:ff9b:1::a9fe:a9fe", "reserved"), ("5f00::1", "reserved"), ("4000::1", "reserved"),
    ("8.8.8.8", "global"), ("2606:4700::1111", "global"), ("::ffff:8.8.8.8", "global"), ("2002:808:808::1", "global"),
    ("64:ff9b::808:808", "global"), ("2001:0:808:808:0:0:f7f7:f7f7", "global"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "kind"), ROWS)
def test_an_address_is_of_its_class(text: str, kind: str) -> None:
    assert classify(text) is AddressClass(kind)


@pytest.mark.parametrize("network", SPECIAL)
def test_the_ends_of_a_special_range_are_never_global(network: str) -> None:
    ends = ipaddress.ip_network(network)
    assert AddressClass.GLOBAL not in {classify(str(ends[0])), classify(str(ends[-1]))}


@given(st.sampled_from(SPECIAL).flatmap(lambda network: st.ip_addresses(network=network)))
def test_no_address_of_a_special_range_is_global(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    assert classify(str(address)) is not AddressClass.GLOBAL


def six(value: int) -> str:
    return str(ipaddress.IPv6Address(value))


@given(st.one_of(st.ip_addresses(v=4), st.sampled_from(SPECIAL[:27]).flatmap(lambda net: st.ip_addresses(network=net))))
def test_an_address_that_is_embedded_keeps_its_class(inner: ipaddress.IPv4Address) -> None:
    kind, value = classify(str(inner)), int(inner)
    for prefix in ("::ffff:0:0", "::ffff:0:0:0", "64:ff9b::"):
        assert classify(six(int(ipaddress.IPv6Address(prefix)) | value)) is kind
    assert classify(six(0x2002 << 112 | value << 80)) is kind
    teredo = 0x20010000 << 96
    assert classify(six(teredo | 0x08080808 << 64 | value ^ 0xFFFFFFFF)) is kind
    assert classify(six(teredo | value << 64 | 0x08080808 ^ 0xFFFFFFFF)) is kind
    assert classify(six(0x2A00 << 112 | 0x5EFE << 32 | value)) is kind


@given(st.ip_addresses(v=6))
def test_nothing_outside_the_space_that_is_allocated_for_it_is_global_by_itself(address: ipaddress.IPv6Address) -> None:
    if classify(str(address)) is AddressClass.GLOBAL:
        embeds = ipaddress.IPv6Address("64:ff9b::"), ipaddress.IPv6Address("::ffff:0:0"), ipaddress.IPv6Address("::ffff:0:0:0")
        assert int(address) >> 125 == 1 or any(int(address) >> 32 == int(prefix) >> 32 for prefix in embeds)


@pytest.mark.parametrize(
    "text",
    [
        "fe80::1%lo", "fe80::1%25lo", "::1%1", "", "localhost", "127.1", "0x7f.0.0.1", "0177.0.0.1", "127.0.0.1:80", "[::1]",
        "1.2.3.4 ", "1.2.3.256", "12345", "①②⑦.⓪.⓪.①", "127。0。0。1", "\u0667.0.0.1", "127.0.0.1\n", "::1\0",
    ],
)  # fmt: skip
def test_what_is_no_address_or_means_one_on_this_machine_only_is_refused(text: str) -> None:
    with pytest.raises(Refused) as caught:
        classify(text)
    assert (caught.value.reason, caught.value.sub) == (Reason.ERR_EGRESS_DENIED, "address")


@pytest.mark.parametrize(
    "text",
    [
        "api.example.com", "a", "localhost", "xn--bcher-kva.example", "1password.com", "a-b.c", "127.0.0.1", "8.8.8.8", "::1",
        "2606:4700::1111", "1.2.3.4.example", "0x.example", "64:ff9b::808:808",
    ],
)  # fmt: skip
def test_a_host_is_a_name_or_an_address_written_the_one_way(text: str) -> None:
    assert check_host(text) == text
    assert is_literal(text) == (":" in text or text in ("127.0.0.1", "8.8.8.8"))


@pytest.mark.parametrize(
    "text",
    [
        "0", "127.1", "2130706433", "0x7f.1", "0x7f000001", "0177.0.0.1", "127.0.0.01", "1.2.3.4.", "1.2.3", "1.2.3.4.5",
        "1.2.3.256", "a.0x7f", "a.0x", "a.1", "①②⑦.⓪.⓪.①", "127。0。0。1", "\uff11\uff12\uff17.0.0.1", "api.example.com.",
        "localhost.", ".a", "a..b", "", ".", "-a.b", "a-.b", "a_b.c", "API.example.com", "bücher.example", "a b", "a\r\nb",
        "a\n", "a\0b", "a%2eb", "fe80::1%lo", "[::1]", "::ffff:127.0.0.1", "::ffff:7f00:1", "::FFFF", "2001:DB8::1",
        "0:0:0:0:0:0:0:1", "::0001", "user@host", "host:80", "host:80@evil", "evil#@good", "a/b", "a\\b", "a?b", "*",
        "a" * 64 + ".b", ".".join(["a" * 63] * 4) + ".b",
    ],
)  # fmt: skip
def test_every_other_way_to_write_a_host_is_refused(text: str) -> None:
    with pytest.raises(Refused) as caught:
        check_host(text)
    assert caught.value.reason is Reason.ERR_EGRESS_DENIED
    assert str(caught.value).isprintable() and str(caught.value).isascii()


@given(st.text(alphabet="0123456789abcfx.:%[]@#-٠①。", max_size=20))
def test_what_passes_for_a_host_is_itself_an_address_or_no_reader_takes_it_for_one(text: str) -> None:
    try:
        check_host(text)
    except Refused:
        return
    if is_literal(text):
        assert ipaddress.ip_address(text).compressed == text
        return
    last = text.rpartition(".")[2]
    assert not last.isdigit() and not last.startswith("0x")  # the WHATWG's "ends in a number"
    with pytest.raises(ValueError, match="does not appear"):
        ipaddress.ip_address(text)


def test_no_catalogue_can_name_a_class_that_is_nobodys_api() -> None:
    assert {kind.value for kind in DIALLED} == {"global", "loopback", "private", "shared", "link-local"}
