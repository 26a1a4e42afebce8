"""A cache of compiled documents: many upstreams send the same document again and again."""

from collections import OrderedDict

from app.errors import NoAd
from app.vast.compiled_document import CompiledDocument
from app.vast.parser import parse

CACHE_BYTES_MAX = 32 * 2**20
CACHED_BODY_BYTES_MAX = 32_768
"""Documents with larger bodies are not cached."""


class DocumentCache:
    """Compiles bodies with trackers that report to `base_url`, and caches the most recently used small documents."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        self._documents: OrderedDict[bytes, tuple[CompiledDocument, int]] = OrderedDict()
        self.size_bytes = 0

    def compile(self, body: bytes) -> CompiledDocument:
        """Return the compiled document; raise UnusableVast, or its subclass NoAd for a document without an ad."""
        if len(body) > CACHED_BODY_BYTES_MAX:
            return self._compile(body)
        cached = self._documents.pop(body, None)
        if cached is None:
            document = self._compile(body)
        else:
            document, size_bytes = cached
            self.size_bytes -= size_bytes
        self._store(body, document)
        return document

    def _store(self, body: bytes, document: CompiledDocument) -> None:
        """Store the document as the most recently used one, with its present size, and evict others if necessary."""
        size_bytes = document.size_bytes
        self._documents[body] = (document, size_bytes)
        self.size_bytes += size_bytes
        while self.size_bytes > CACHE_BYTES_MAX:
            _, (_, evicted_bytes) = self._documents.popitem(last=False)
            self.size_bytes -= evicted_bytes

    def _compile(self, body: bytes) -> CompiledDocument:
        parsed = parse(body)
        if not parsed.has_ad:
            reason = "no Ad in the document has anything to play"
            raise NoAd(reason, parsed.error_urls, has_ads=bool(parsed.ads))
        return CompiledDocument(body, parsed, self._base_url)
