"""Whether an Ad contains anything that a player can show."""

from app.vast.element_tree import Element, child_uris, children, descendants, local_name, text_content

_LINEAR_FILES = ("MediaFile", "Mezzanine", "InteractiveCreativeFile")
_NONLINEAR_RESOURCES = ("StaticResource", "IFrameResource", "HTMLResource")
_NONLINEAR_RESOURCES_VAST1 = ("URL", "Code")


def is_playable(inline_or_wrapper: Element) -> bool:
    """Whether an InLine has a media file or a nonlinear resource, or a Wrapper has a VASTAdTagURI.

    Companions do not count, because they only accompany an ad (VAST 4.2 section 3.13).
    """
    if local_name(inline_or_wrapper) == "Wrapper":
        return bool(child_uris(inline_or_wrapper, "VASTAdTagURI") or child_uris(inline_or_wrapper, "VASTAdTagURL"))
    return _has_linear(inline_or_wrapper) or _has_nonlinear(inline_or_wrapper)


def _has_linear(inline: Element) -> bool:
    """Whether there is a media file; in VAST 1 they are in a Video element."""
    parents = (("Creatives", "Creative", "Linear"), ("Video",))
    return any(
        text_content(file)
        for names in parents
        for media_files in descendants(inline, *names, "MediaFiles")
        for name in _LINEAR_FILES
        for file in children(media_files, name)
    )


def _has_nonlinear(inline: Element) -> bool:
    shown = (
        *((("Creatives", "Creative", "NonLinearAds", "NonLinear"), name) for name in _NONLINEAR_RESOURCES),
        *((("NonLinearAds", "NonLinear"), name) for name in _NONLINEAR_RESOURCES_VAST1),
    )
    return any(text_content(item) for names, name in shown for item in descendants(inline, *names, name))
