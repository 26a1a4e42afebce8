"""Limits for client addresses: which addresses are one client, what passes, and the memory that it takes."""

import tracemalloc
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.observability.metrics import Metrics
from app.web.client_limits import ADDRESSES_MAX, BURST_S, AddressRates, ClientLimits
from app.web.clients import ClientReader

BYTES_MAX = 7_000_000
PROXY = "10.0.0.1"


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def limits(requests_per_s: int = 5, workers: int = 1, clock: Clock | None = None) -> ClientLimits:
    return ClientLimits(
        ClientReader([ip_network("10.0.0.0/8")]),
        Metrics(),
        requests_per_s=requests_per_s,
        workers=workers,
        unlimited=[ip_network("192.0.2.0/24"), ip_network("2001:db8:1::/48")],
        clock=clock or Clock(),
    )


def passed(limit: ClientLimits, peer: str, count: int = 100, **headers: str) -> int:
    """The number of requests that pass at one time, of `count`."""
    raw = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return sum(limit.allows("ad_request", peer, raw) for _ in range(count))


@given(gaps_s=st.lists(st.floats(0, 3), min_size=1, max_size=100), rate=st.integers(1, 50), workers=st.integers(1, 4))
def test_no_sequence_of_requests_gets_more_than_its_rate_and_its_burst(
    gaps_s: list[float], rate: int, workers: int
) -> None:
    clock = Clock()
    rates = AddressRates(workers / rate, BURST_S, clock)
    began, passes = clock.now, 0
    for gap_s in gaps_s:
        clock.now += gap_s
        waits_s = rates.wait_s("a")
        assert rates.take("a") == waits_s
        passes += waits_s == 0
    share = rate / workers
    assert passes <= max(1, share * BURST_S) + share * (clock.now - began) + 1e-3


def test_after_the_reported_wait_one_more_passes_and_not_before() -> None:
    clock = Clock()
    rates = AddressRates(0.2, BURST_S, clock)
    assert [rates.take("a") for _ in range(5)] == [0.0] * 5
    wait_s = rates.take("a")
    assert wait_s == pytest.approx(0.2, abs=1e-5)
    clock.now += wait_s * 0.9
    assert rates.take("a") > 0
    clock.now += wait_s * 0.2
    assert rates.take("a") == 0
    assert rates.take("b") == 0


def test_workers_share_the_rate_and_each_lets_one_pass_at_least() -> None:
    assert passed(limits(requests_per_s=40, workers=4), "203.0.113.1") == 10
    assert passed(limits(requests_per_s=1, workers=4), "203.0.113.1") == 1


def test_zero_is_no_limit() -> None:
    assert passed(limits(requests_per_s=0), "203.0.113.1") == 100


@pytest.mark.parametrize(
    "peer", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", "192.0.2.7", "2001:db8:1::7", PROXY]
)
def test_loopback_proxies_and_listed_networks_have_no_limit(peer: str) -> None:
    assert passed(limits(), peer) == 100


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("203.0.113.1", "::ffff:203.0.113.1"),
        ("2001:db8::1", "2001:db8:0:0:ffff:ffff:ffff:ffff"),
    ],
)
def test_an_ipv6_network_of_64_bits_and_a_mapped_address_are_one_client(first: str, second: str) -> None:
    limit = limits()
    assert passed(limit, first) == 5
    assert passed(limit, second) == 0


@pytest.mark.parametrize(("first", "second"), [("203.0.113.1", "203.0.113.2"), ("2001:db8::1", "2001:db8:0:1::1")])
def test_another_address_is_another_client(first: str, second: str) -> None:
    limit = limits()
    assert (passed(limit, first), passed(limit, second)) == (5, 5)


def test_behind_a_proxy_each_viewer_is_a_client_despite_other_headers() -> None:
    limit = limits()
    assert passed(limit, PROXY, x_forwarded_for="203.0.113.1") == 5
    assert passed(limit, PROXY, x_forwarded_for="198.51.100.9, 203.0.113.1") == 0
    assert passed(limit, PROXY, x_forwarded_for="203.0.113.1", x_device_ip="198.51.100.9") == 0
    assert passed(limit, PROXY, x_forwarded_for="203.0.113.2") == 5
    assert passed(limit, "203.0.113.3", x_forwarded_for="127.0.0.1") == 5


def test_the_table_has_a_bound_and_forgets_idle_clients() -> None:
    clock = Clock()
    rates = AddressRates(1.0, 1.0, clock)
    tracemalloc.start()
    for number in range(ADDRESSES_MAX * 2):
        rates.take(f"2001:db8:{number >> 16:x}:{number & 0xFFFF:x}::/64")
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(rates) == ADDRESSES_MAX
    assert used < BYTES_MAX
    assert rates.take("2001:db8:0:0::/64") == 0
    clock.now += 1.5
    rates.take("203.0.113.1")
    assert len(rates) == 1
