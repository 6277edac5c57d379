"""Evidence and prior: on paper, and in words that claim no more."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfv_demo.errors import XfvError
from xfv_demo.findings import Prior, chance_in_words, ratio_in_words, support_in_words


@pytest.mark.parametrize(
    ("odds", "ratio", "posterior"),
    [("1:1", 0.0, 1 / 2), ("1:1", 3.0, 1000 / 1001), ("1:1000", 3.0, 1 / 2), ("99:1", -2.0, 99 / 199)],
)
def test_posterior_odds_are_prior_odds_times_the_ratio(odds, ratio, posterior):
    assert Prior.parse(odds).posterior(ratio) == pytest.approx(posterior)


@pytest.mark.parametrize("text", ["1:1000", "1:1000000", "99:1", "0.5:2", "1:999999999999"])
def test_a_prior_reads_as_it_was_given(text):
    assert str(Prior.parse(f" {text} ")) == text


@pytest.mark.parametrize(
    "text", ["", "1", "0:1", "1:0", "-1:2", "1:inf", "nan:1", "1e400:1", "1:2:3", "1/2", "a:b", "1:1\n2"]
)
def test_what_is_no_prior_is_refused(text):
    with pytest.raises(XfvError, match="such as 1:1000") as caught:
        Prior.parse(text)
    assert str(caught.value).isprintable()


@given(st.text(max_size=20))
def test_any_text_is_odds_or_refused(text):
    try:
        prior = Prior.parse(text)
    except XfvError:
        return
    assert 0 < prior.posterior(-9) < prior.posterior(9) <= 1
    assert Prior.parse(str(prior)) == prior


@pytest.mark.parametrize(
    ("ratio", "word"),
    [
        (0.31, " weakly "),
        (1.0, " weakly "),
        (1.01, " moderately "),
        (2.01, " moderately strongly "),
        # What 3,000 pairs carry is a thousand, which is as it is shown no more than moderately strong.
        (3.0000004, " moderately strongly "),
        (3.01, " strongly "),
        (4.5, " very strongly "),
        (7.0, " extremely strongly "),
    ],
)
def test_words_as_in_forensic_practice(ratio, word):
    assert f"the findings support{word}that the photos show one person rather than two" == support_in_words(
        ratio
    )
    assert support_in_words(-ratio).endswith(f"{word}that the photos show two people rather than one")


def test_hardly_any_evidence_supports_neither():
    for ratio in (0.0, 0.3, -0.3):
        assert "neither" in support_in_words(ratio)


@pytest.mark.parametrize(
    ("ratio", "words"),
    [
        (3.0, "1,000 times as likely of one person as of two"),
        (math.log10(158), "160 times as likely of one person as of two"),
        (math.log10(1.34), "1.3 times as likely of one person as of two"),
        (-math.log10(9.97), "10 times as likely of two people as of one"),
    ],
)
def test_the_ratio_in_words(ratio, words):
    assert ratio_in_words(ratio) == words


@pytest.mark.parametrize(
    ("probability", "words"),
    [
        (1.0, "over 99.9 %"),
        (0.99949, "over 99.9 %"),
        (0.5, "50.0 %"),
        (0.0123, "1.2 %"),
        (1 / 4210, "1 in 4,200"),
        (1e-6, "1 in 1,000,000"),
        (1e-9, "under 1 in 1,000,000"),
    ],
)
def test_a_chance_is_neither_certain_nor_impossible(probability, words):
    assert chance_in_words(probability) == words
