"""Webhooks of the whole server: events reach their receivers, and dead ones delay neither ads nor other receivers."""

import asyncio
import signal

import orjson

from app.campaign_file.apply import apply
from app.campaign_file.parser import read_draft
from app.launch.databases import command_store
from tests.campaigns import own_campaign, set_up
from tests.integration.webhooks.receiver import LOOPBACK, SECRET, Receiver
from tests.launched import free_port
from tests.players import UNHURRIED, Players, becomes, connected, disagreements, idle_in_transaction, serving
from tests.web_server import served

ADS = 100
SETTINGS = UNHURRIED | {"WEBHOOK_PRIVATE_NETWORKS": "127.0.0.0/8", "CLIENT_REQUESTS_PER_S": "0"}


async def set_up_webhooks(database_url: str, **urls: str) -> None:
    """Webhooks by id, all with the same secret."""
    entries = [{"id": webhook_id, "url": url, "secret": SECRET} for webhook_id, url in urls.items()]
    async with command_store(database_url) as store:
        await apply(store, read_draft("test.toml", {"webhooks": entries}), webhook_networks=LOOPBACK)


async def failed_attempts(database_url: str, webhook_id: str) -> int:
    async with connected(database_url) as connection:
        attempts: int | None = await connection.fetchval(
            "SELECT max(attempts) FROM webhook_deliveries WHERE webhook_id = $1", webhook_id
        )
    return attempts or 0


def types(receiver: Receiver) -> list[str]:
    return [orjson.loads(body)["type"] for _, body in receiver.messages]


async def test_receivers_that_hang_or_are_dead_hold_up_neither_ads_nor_others(database: str, app_database: str) -> None:
    await set_up(database, own_campaign("spring", cpm="2500", budgets={"lifetime": "250"}))
    hanging, good = Receiver(), Receiver()
    never = asyncio.get_running_loop().create_future()
    hanging.answer = lambda: asyncio.shield(never)
    async with served(hanging) as hanging_url, served(good) as good_url:
        dead_url = f"http://127.0.0.1:{free_port()}/"
        await set_up_webhooks(database, hangs=hanging_url, dead=dead_url, chat=good_url)
        async with serving(app_database, WORKERS="2", **SETTINGS) as launched, Players(launched.url) as players:
            first = await players.ask_all({"campaign_id": "spring"} for _ in range(ADS * 9 // 10))
            await becomes(lambda: _have_messages(1, hanging, good))
            # The receiver still hangs: no transaction waits for it, and ads are served.
            await becomes(lambda: _none_in_transaction(database))
            rest = await players.ask_all({"campaign_id": "spring"} for _ in range(ADS))
            assert [answer.filled for answer in first] == [True] * (ADS * 9 // 10)
            assert sum(answer.filled for answer in rest) == ADS // 10
            await becomes(lambda: _have_messages(2, good))
            await becomes(lambda: _has_failed(database, "dead"))
            assert len(hanging.messages) == 1
            never.set_result(None)
    assert types(good) == ["budget.reached_80_percent", "budget.reached_100_percent"]
    assert await disagreements(database) == []


async def _have_messages(count: int, *receivers: Receiver) -> bool:
    return all(len(receiver.messages) >= count for receiver in receivers)


async def _none_in_transaction(url: str) -> bool:
    return await idle_in_transaction(url) == 0


async def _has_failed(url: str, webhook_id: str) -> bool:
    return await failed_attempts(url, webhook_id) > 0


async def test_an_event_is_repeated_if_its_sender_is_killed_before_the_answer(database: str, app_database: str) -> None:
    await set_up(database, own_campaign("spring", cpm="2500", budgets={"lifetime": "2.50"}))
    receiver = Receiver()
    never = asyncio.get_running_loop().create_future()
    receiver.answer = lambda: asyncio.shield(never)
    async with served(receiver) as url:
        await set_up_webhooks(database, chat=url)
        async with serving(app_database, WORKERS="1", **SETTINGS) as launched:
            async with Players(launched.url) as players:
                assert (await players.ask(campaign_id="spring")).filled
            await becomes(lambda: _have_messages(1, receiver))
            (worker,) = launched.workers()
            worker.send_signal(signal.SIGKILL)
            receiver.answer = None
            never.set_result(None)
            await becomes(lambda: _have_messages(3, receiver), 90)
    ids = receiver.ids
    assert ids[0] == ids[1]
    assert ids[2] != ids[0]
    assert types(receiver)[:3] == [
        "budget.reached_80_percent",
        "budget.reached_80_percent",
        "budget.reached_100_percent",
    ]
