"""The decision whether a user may be identified, on which frequency caps and macros depend."""

from collections.abc import Mapping

from app.privacy.gpp import gpp_allows
from app.privacy.tcf import tcf_allows
from app.privacy.us_privacy import us_privacy_allows


def identification_allowed(values: Mapping[str, str]) -> bool:
    """Whether the privacy signals among a request's parameters allow identification; True without any signal.

    `coppa=1`, `lmt=1` and `gpc=1` each forbid it. With `gdpr=1`, or with `gdpr_consent` unless `gdpr=0`, the consent
    string must allow it; so must `us_privacy` and the applicable sections of `gpp`. An unreadable string forbids it.
    """
    if "1" in (values.get("coppa"), values.get("lmt"), values.get("gpc")):
        return False
    consent = values.get("gdpr_consent", "")
    gdpr = values.get("gdpr", "1" if consent else "0")
    if gdpr == "1" and not tcf_allows(consent):
        return False
    us_privacy = values.get("us_privacy")
    if us_privacy is not None and not us_privacy_allows(us_privacy):
        return False
    return gpp_allows(values.get("gpp", ""), values.get("gpp_sid"))
