"""Checks of the documentation that need no run of its commands."""

from __future__ import annotations

import pathlib
import re

import pytest

from tfc_models import zoo

ROOT = pathlib.Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("serving/**/*.md")])
CODE = sorted(p for f in ("tfc_models", "training", "serving") for p in (ROOT / f).rglob("*.py"))
CARDS = sorted(zoo.FOLDER.glob("*.md"))


def test_installation_is_from_a_clone():
    """The package is in no index; pip adds extras to an installed package."""
    for page in [*PAGES, *CODE]:
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"pip install (?!'tfc-models\[)[^\n]*tfc-models", text), page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_of_the_repository_are_valid(page):
    for target in re.findall(r"\]\(([\w./-]+)(?:#[\w-]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_cards_state_what_was_selected_on_their_evaluation_images(card):
    text = card.read_text(encoding="utf-8")
    assert "chosen by looking at" in text
    assert "images that it was not trained on" not in text


def test_no_page_claims_equal_pixels_on_every_machine():
    for page in PAGES:
        assert "same image on every machine" not in page.read_text(encoding="utf-8"), page
