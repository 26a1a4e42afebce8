"""Renders the VAST documents of served requests."""

from typing import NamedTuple

from app.domain import Catalog, Creative, VastVersion
from app.serving.outcomes import Served, ServedAd
from app.serving.tokens import TokenSigner
from app.vast.own_ads import empty_document, own_ad, own_document, vast_document
from app.vast.response_template import ResponseTemplate

TEMPLATES_MAX = 10_000
"""Maximum number of cached templates."""

TemplateKey = tuple[str, VastVersion, bool]
"""The id of a creative, the VAST version, and whether the ad is part of a pod."""


class _Compiled(NamedTuple):
    """A template, and what it was compiled from."""

    creative: Creative
    advertiser: str
    template: ResponseTemplate


class Answers:
    """Compiles each creative once for each VAST version, and fills in the values of each serve."""

    def __init__(self, signer: TokenSigner, base_url: str) -> None:
        self._signer = signer
        self._base_url = base_url
        self._compiled: dict[TemplateKey, _Compiled] = {}

    def vast(self, served: Served, version: VastVersion, catalog: Catalog) -> bytes:
        """Return the document: an upstream's single ad in its own version, a pod in the latest version of its ads."""
        if len(served.ads) > 1:
            return self._pod(served, version, catalog)
        ad = served.ads[0]
        if ad.fetched is not None:
            return ad.fetched.document.single_ad_document(ad.position).render(self._values(served, ad))
        if ad.creative is None:
            return empty_document(version)
        template = self._own(ad.creative, version, catalog, in_pod=False)
        return template.render(self._values(served, ad))

    def _pod(self, served: Served, version: VastVersion, catalog: Catalog) -> bytes:
        fetched = [ad.fetched for ad in served.ads if ad.fetched is not None]
        version = max((version, *(upstream_ad.document.version for upstream_ad in fetched)))
        ads: list[bytes] = []
        for ad in served.ads:
            template = self._in_pod(ad, version, catalog)
            if template is not None:
                ads.append(template.render(self._values(served, ad) | {"sequence": str(len(ads) + 1)}))
        return vast_document(version, ads)

    def _in_pod(self, ad: ServedAd, version: VastVersion, catalog: Catalog) -> ResponseTemplate | None:
        """Return None for an ad of an earlier attempt that is not known any more."""
        if ad.fetched is not None:
            return ad.fetched.document.pod_fragment(ad.position, version)
        return self._own(ad.creative, version, catalog, in_pod=True) if ad.creative is not None else None

    def _own(self, creative: Creative, version: VastVersion, catalog: Catalog, *, in_pod: bool) -> ResponseTemplate:
        advertiser = catalog.advertiser_name(catalog.campaigns[creative.campaign_id])
        key = (creative.id, version, in_pod)
        cached = self._compiled.get(key)
        # An unchanged creative is the same object in the next catalog revision.
        if cached is not None and cached.creative is creative and cached.advertiser == advertiser:
            return cached.template
        if len(self._compiled) >= TEMPLATES_MAX:
            self._compiled.clear()
        compile_own = own_ad if in_pod else own_document
        template = compile_own(creative, advertiser, version, self._base_url)
        self._compiled[key] = _Compiled(creative, advertiser, template)
        return template

    def _values(self, served: Served, ad: ServedAd) -> dict[str, str]:
        """Return the values for the placeholders of the ad's template."""
        destination = None if ad.creative is None else ad.creative.click_through
        tokens = self._signer.sign_all(served.request_key, ad.slot, served.served_at, ad.campaign_id, destination)
        tokens["ad_serving_id"] = _ad_serving_id(served, ad)
        return tokens


def _ad_serving_id(served: Served, ad: ServedAd) -> str:
    """Return an id that is unique to the served ad (VAST 4.2 section 3.4.3), and the same in a repeat."""
    return f"{served.request_key}-{ad.slot}"
