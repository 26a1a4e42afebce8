"""The tag of a creative whose ad another server has, as a campaign file has it."""

from pydantic import ValidationInfo, field_validator

from app.campaign_file.fields import Url
from app.campaign_file.table import Table


class VastTagTable(Table):
    """The keys of a creative that become the VASTAdTagURI and the attributes of its Wrapper."""

    vast_tag_url: Url | None = None
    follow_additional_wrappers: bool | None = None
    fallback_on_no_ad: bool | None = None

    @field_validator("follow_additional_wrappers", "fallback_on_no_ad")
    @classmethod
    def attributes_have_a_tag(cls, value: bool | None, info: ValidationInfo) -> bool | None:
        """Reject an attribute of a Wrapper for a creative that is no Wrapper."""
        if value is not None and info.data.get("vast_tag_url", "") is None:
            raise ValueError("requires vast_tag_url")
        return value
