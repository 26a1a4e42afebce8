"""Group admission: answers repeated requests, defers duplicates, and locks viewing sessions."""

from collections.abc import Sequence
from uuid import UUID

from asyncpg import Connection, Record

from app.domain import Catalog
from app.errors import Conflict, Gone, NotFound
from app.serving.group_result import GroupResult
from app.serving.outcomes import Served, ServedAd
from app.serving.pending import PendingRequest
from app.serving.upstream_ads import UpstreamAds
from app.store import serves, sessions
from app.store.serves import EarlierServe


class GroupAdmission:
    """Admits the requests of one group, inside its transaction."""

    def __init__(
        self, connection: "Connection[Record]", catalog: Catalog, ads: UpstreamAds, result: GroupResult
    ) -> None:
        self._connection = connection
        self._catalog = catalog
        self._ads = ads
        self._result = result
        self.played: dict[UUID | None, tuple[str, ...]] = {}
        """Ids of the creatives that were served in each viewing session of the group."""

    async def admit(self, group: Sequence[PendingRequest]) -> list[PendingRequest]:
        """Return the requests that the group decides; the result has the others."""
        return await self._lock_sessions(await self.answer_repeats(self._drop_duplicates(group)))

    def _drop_duplicates(self, group: Sequence[PendingRequest]) -> list[PendingRequest]:
        """Defer requests whose id the group already has: the next group answers them as repeats."""
        first: dict[UUID, PendingRequest] = {}
        for pending in group:
            if first.setdefault(pending.request_key, pending) is not pending:
                self._result.deferred.append(pending)
        return list(first.values())

    async def answer_repeats(self, requests: Sequence[PendingRequest]) -> list[PendingRequest]:
        """Answer the requests that an earlier attempt has served; return the others."""
        keys = [pending.request_key for pending in requests if pending.progress.may_have_been_served]
        if not keys:
            return list(requests)
        earlier = await serves.find_serves(self._connection, keys)
        for pending in requests:
            if found := earlier.get(pending.request_key):
                self._answer_repeat(pending, found)
        return [pending for pending in requests if pending.request_key not in earlier]

    def _answer_repeat(self, pending: PendingRequest, found: list[EarlierServe]) -> None:
        if found[0].fingerprint != pending.fingerprint:
            error = Conflict("request_id was already used with different parameters")
            self._result.failed.append((pending, error))
            return
        ads = tuple(self._rebuild_ad(pending, serve) for serve in found)
        self._result.served.append((pending, Served(pending.request_key, found[0].served_at, ads, repeat=True)))

    def _rebuild_ad(self, pending: PendingRequest, serve: EarlierServe) -> ServedAd:
        """Return the ad of an earlier serve.

        Upstream documents are stored for named requests only; an unnamed one still has the ads of its last attempt.
        """
        if serve.upstream_id is None:
            creatives = self._catalog.creatives.get(serve.campaign_id, ())
            creative = next((creative for creative in creatives if creative.id == serve.creative_id), None)
            return ServedAd(serve.slot, serve.campaign_id, creative, None)
        if serve.document is not None:
            fetched = self._ads.from_stored_document(serve.upstream_id, serve.document)
            return ServedAd(serve.slot, serve.campaign_id, None, fetched)
        paid_ads = pending.progress.paid_ads
        attempted = (ad for ad in paid_ads if (ad.slot, ad.campaign_id) == (serve.slot, serve.campaign_id))
        return next(attempted, ServedAd(serve.slot, serve.campaign_id, None, None))

    async def _lock_sessions(self, requests: list[PendingRequest]) -> list[PendingRequest]:
        """Lock the viewing sessions of the group; return the requests with a running session or none."""
        session_ids = {pending.request.session_id for pending in requests if pending.request.session_id is not None}
        if not session_ids:
            return requests
        rows = await sessions.lock(self._connection, list(session_ids))
        admitted: list[PendingRequest] = []
        for pending in requests:
            session_id = pending.request.session_id
            row = None if session_id is None else rows.get(session_id)
            if session_id is None:
                admitted.append(pending)
            elif row is None:
                self._result.failed.append((pending, NotFound(f"session {session_id} does not exist")))
            elif row.over:
                self._result.failed.append((pending, Gone(f"session {session_id} has ended")))
            else:
                pending.join_session(row.user_key, row.correlator, row.last_campaigns)
                self.played[session_id] = row.played
                admitted.append(pending)
        return admitted
