"""Deliveries to a real receiver: signed, in order, at least once, with retries."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from app.domain import WebhookStatus
from app.store.connections import Store
from tests.integration.webhooks.receiver import (
    SECRET,
    pending,
    receiving,
    record,
    send_until,
    sender,
    set_up_webhook,
)

PAGE = Path(__file__).parents[3] / "docs" / "webhooks.md"


def documented_verify() -> Any:
    """The function that docs/webhooks.md recommends."""
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert code
    namespace: dict[str, Any] = {}
    exec(code[1], namespace)
    return namespace["verify"]


async def test_the_documented_code_verifies_a_message_and_no_other(store: Store) -> None:
    verify = documented_verify()
    async with receiving(store) as receiver, sender(store) as sends:
        await record(store, "spring")
        await send_until(sends, lambda: bool(receiver.messages))
    headers, body = receiver.messages[0]
    verify(SECRET, headers, body)
    for changed, other_body in (
        (headers, body + b" "),
        (headers | {"webhook-id": "evt_0"}, body),
        (headers | {"webhook-timestamp": str(int(headers["webhook-timestamp"]) + 1)}, body),
    ):
        with pytest.raises(ValueError, match="wrong signature"):
            verify(SECRET, changed, other_body)
    with pytest.raises(ValueError, match="too old"):
        verify(SECRET, headers | {"webhook-timestamp": str(int(headers["webhook-timestamp"]) - 301)}, body)


async def test_events_arrive_in_order_each_once(store: Store) -> None:
    names = [f"campaign{number}" for number in range(20)]
    async with receiving(store) as receiver, sender(store) as first, sender(store) as second:
        await record(store, *names)
        await asyncio.gather(
            *(send_until(sends, lambda: len(receiver.messages) >= len(names)) for sends in (first, second))
        )
        await first.poll()
        await first.wait()
    assert receiver.subjects == names
    assert await pending(store) == []


async def test_an_event_is_sent_again_after_errors_and_before_the_next_one(store: Store) -> None:
    async with receiving(store) as receiver, sender(store) as sends:
        receiver.statuses = [500, 429, 302]
        await record(store, "first", "second")
        await send_until(sends, lambda: len(receiver.messages) == 5)
        await sends.wait()
    assert receiver.subjects == ["first"] * 4 + ["second"]
    assert len(set(receiver.ids)) == 2
    assert await pending(store) == []


async def test_a_receiver_that_does_not_answer_in_time_gets_the_event_again(store: Store) -> None:
    async with receiving(store) as receiver, sender(store, timeout_s=1.0) as sends:
        never = asyncio.get_running_loop().create_future()
        receiver.answer = lambda: asyncio.shield(never)
        await record(store, "spring")
        await send_until(sends, lambda: bool(receiver.messages))
        assert await pending(store) == [("spring", 1, "timeout: no response within 1 s")]
        receiver.answer = None
        never.set_result(None)
        await send_until(sends, lambda: len(receiver.messages) >= 2)
        await sends.wait()
    assert set(receiver.subjects) == {"spring"}
    assert await pending(store) == []


async def test_a_sender_that_dies_between_the_post_and_its_record_repeats_the_event(store: Store) -> None:
    async with receiving(store) as receiver:
        async with sender(store, lease_s=0.5) as dies:
            arrived = asyncio.Event()
            never = asyncio.get_running_loop().create_future()

            async def hang() -> None:
                arrived.set()
                await asyncio.shield(never)

            receiver.answer = lambda: asyncio.ensure_future(hang())
            await record(store, "first", "second")
            await dies.poll()
            await arrived.wait()
        receiver.answer = None
        never.set_result(None)
        async with sender(store) as sends:
            await sends.poll()
            await sends.wait()
            await send_until(sends, lambda: len(receiver.messages) == 3)
            await sends.wait()
    assert receiver.subjects == ["first", "first", "second"]
    assert receiver.ids[0] == receiver.ids[1]
    assert await pending(store) == []


async def test_a_dead_receiver_does_not_hold_up_another(store: Store) -> None:
    await set_up_webhook(store, id="dead", url="http://127.0.0.1:1/")
    async with receiving(store) as receiver, sender(store) as sends:
        await record(store, "first", "second")
        await send_until(sends, lambda: len(receiver.messages) == 2)
        await sends.wait()
    left = await pending(store)
    assert [subject for subject, _, _ in left] == ["first", "second"]
    assert left[0][2] == "connection: ClientConnectorError"


async def test_events_for_a_paused_webhook_wait(store: Store) -> None:
    async with receiving(store, status="paused") as receiver, sender(store) as sends:
        await record(store, "first", "second")
        await sends.poll()
        await sends.wait()
        assert receiver.messages == []
        async with store.connection() as connection:
            url = await connection.fetchval("SELECT url FROM webhooks")
        await set_up_webhook(store, url=url, status=str(WebhookStatus.ACTIVE))
        await send_until(sends, lambda: len(receiver.messages) == 2)
    assert receiver.subjects == ["first", "second"]


async def test_a_webhook_receives_the_types_that_it_names(store: Store) -> None:
    async with receiving(store, events=["campaign.over"]) as receiver, sender(store) as sends:
        async with store.connection() as connection:
            await connection.execute("INSERT INTO outbox (event, subject, payload) VALUES ('books.agree', 'b', '{}')")
        await record(store, "spring")
        await send_until(sends, lambda: bool(receiver.messages))
        await sends.wait()
    assert receiver.subjects == ["spring"]
    assert await pending(store) == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_nothing_is_posted_to_a_private_address(store: Store, host: str) -> None:
    async with receiving(store) as receiver, sender(store, networks=[]) as strict:
        async with store.connection() as connection:
            await connection.execute("UPDATE webhooks SET url = replace(url, '127.0.0.1', $1)", host)
        await record(store, "spring")
        await strict.poll()
        await strict.wait()
        assert receiver.messages == []
        assert await pending(store) == [("spring", 1, "address: the URL leads to an address that is not public")]


async def test_an_event_that_commits_late_is_not_missed(store: Store) -> None:
    async with receiving(store) as receiver, sender(store) as sends:
        async with store.transaction() as connection:
            await connection.execute(
                "INSERT INTO outbox (event, subject, payload) "
                "VALUES ('campaign.over', 'campaign late', '{\"campaign_id\": \"late\"}')"
            )
            await record(store, "early")
            await send_until(sends, lambda: receiver.subjects == ["early"])
            await sends.wait()
        await send_until(sends, lambda: len(receiver.messages) == 2)
    assert receiver.subjects == ["early", "late"]
