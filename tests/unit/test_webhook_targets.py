"""Which addresses a webhook may be sent to."""

import pytest

from adapters.webhooks import BadUrl, Target, is_public, parse

NEVER = [
    "", "webhook+https://", "https://hooks.example.org/x", "webhook+ftp://hooks.example.org/x", "file:///etc/passwd",
    "gopher://127.0.0.1", "webhook+https://user:pw@hooks.example.org/", "webhook+https://user@hooks.example.org/",
    "webhook+https://①②⑦.0.0.1/", "webhook+https://hooks.example.org\\@127.0.0.1/", "webhook+https://a#@127.0.0.1/",
    "webhook+https://hooks.example.org/#x", "webhook+https://hooks.example.org/a\tb", "webhook+https://a b/",
    "webhook+https://hooks.example.org:0/", "webhook+https://hooks.example.org:65536/", "webhook+https://h/\r\nx: y",
    "webhook+https://hooks.example.org/" + "a" * 10_240, "webhook+https://[fe80::1%25eth0]/", "webhook+https://[/",
]  # fmt: skip
PRIVATE = [
    "0.0.0.0", "127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.169.254", "224.0.0.1",
    "255.255.255.255", "::", "::1", "fe80::1", "fc00::1", "fd00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
    "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::a00:1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "fe80::1%eth0",
    "2001:0:4136:e378:8000:63bf:80ff:fffe", "2001:db8::1",
    "fec0::1", "::ffff:0:7f00:1", "5f00::1", "::ffff:0:0:1",
]  # fmt: skip


@pytest.mark.parametrize("url", NEVER)
@pytest.mark.parametrize("allow_private", [True, False])
def test_an_address_of_another_form_is_refused(url: str, allow_private: bool) -> None:
    with pytest.raises(BadUrl) as caught:
        parse(url, allow_private)
    assert "example.org" not in str(caught.value)


@pytest.mark.parametrize("url", ["webhook+http://hooks.example.org/", "webhook+https://hooks.example.org:5672/"])
def test_plain_http_and_other_ports_need_leave(url: str) -> None:
    with pytest.raises(BadUrl, match=r"notify\.allow_private"):
        parse(url, allow_private=False)
    assert parse(url, allow_private=True).host == "hooks.example.org"


def test_an_address_keeps_its_path_and_query() -> None:
    target = parse("webhook+https://hooks.example.org/in?key=a%20b", allow_private=False)
    assert target == Target("https", "hooks.example.org", 443, "/in?key=a%20b")
    assert target.netloc == "hooks.example.org"
    assert parse("webhook+https://[2606:4700::1]:8443?a", allow_private=True).netloc == "[2606:4700::1]:8443"


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_public_is_seen_through_every_disguise(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:4700:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8"])
def test_a_public_address_is_let_through(address: str) -> None:
    assert is_public(address)
