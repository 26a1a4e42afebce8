from pathlib import Path

from app.domain import NoFillReason, VastVersion
from app.web.query import PARAMETERS

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "players.md").read_text()
SETUP = (DOCS / "player-setup.md").read_text()


def test_the_page_of_players_names_every_parameter_reason_and_version() -> None:
    assert [name for name in (*PARAMETERS, *NoFillReason, *VastVersion) if f"`{name}`" not in PAGE] == []


def test_it_sets_up_the_players_that_people_use_each_with_its_tag_url() -> None:
    for player in ("video.js", "Fluid Player", "Google IMA", "ExoPlayer / Media3", "AWS MediaTailor"):
        section = SETUP.partition(f"### {player}")[2].partition("\n### ")[0]
        assert "https://ads.example/v" in section, player
