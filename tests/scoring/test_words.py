"""Tests of the words of a text and their weights."""

from hypothesis import given
from hypothesis import strategies as st

from sentiment.scoring.words import align_words


@given(st.lists(st.tuples(st.text("aéß.'", min_size=1), st.sampled_from(["", " ", "<br />", "\n"]))))
def test_aligned_words_reproduce_the_text_apart_from_white_space(parts: list[tuple[str, str]]) -> None:
    text = "".join(between + token for token, between in parts)
    words = align_words(text, [token for token, _ in parts], [1.0] * len(parts))
    assert [(word.text, word.follows_space) for word in words] == [(token, between != "") for token, between in parts]


def test_weights_are_scaled_to_the_largest_and_small_ones_are_not_shaded() -> None:
    words = align_words("bad but good !", ["bad", "but", "good", "!"], [-2.0, 0.02, 1.0, 0.0])
    assert [word.weight for word in words] == [-1.0, 0.0, 0.5, 0.0]
    assert align_words("dull", ["dull"], [0.0])[0].weight == 0.0
