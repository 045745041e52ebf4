"""What `make mutants` switches off is still there: it takes too long to find that out only when it runs."""

from __future__ import annotations

import re

import pytest

from mutants import MUTANTS, ROOT, TESTS, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_safeguard_stands_where_the_mutant_looks_for_it(mutant: Mutant) -> None:
    text = (ROOT / mutant.file).read_text(encoding="utf-8")
    assert re.search(mutant.pattern, text), f"{mutant.file}: {mutant.pattern}"
    assert re.sub(mutant.pattern, lambda _: mutant.replacement, text) != text


def test_the_tests_that_must_notice_are_there() -> None:
    assert [path for path in TESTS if not (ROOT / path).is_file()] == []
