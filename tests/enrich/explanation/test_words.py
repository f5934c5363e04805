"""Words are what a person would call so, whatever pieces the tokenizer makes of them."""

import pytest
from tokenizers import Tokenizer

from enrich.explanation.words import read_words, without


def _tokens_as_text(tokenizer: Tokenizer, text: str, tokens: tuple[int, ...]) -> str:
    ids = tokenizer.encode(text).ids
    return tokenizer.decode([ids[position] for position in tokens]).strip()


def test_every_piece_of_a_word_belongs_to_it(tokenizer: Tokenizer) -> None:
    text = "Quixotic zebra shirt"
    tokenizer.no_truncation()
    words = read_words(tokenizer, text)
    assert [word.text for word in words] == ["quixotic", "zebra", "shirt"]
    assert len(words[0].tokens) > 1
    for word in words:
        assert _tokens_as_text(tokenizer, text, word.tokens) == word.text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("women's t-shirt, red/white.", ["women's", "t-shirt", "red", "white"]),
        ('- 16"x18" (renewed) …', ["16", "x18", "renewed"]),
        ("rouge «clair»", ["rouge", "clair"]),
        ("काली कमीज", ["काली", "कमीज"]),
        ("תיק שחור", ["תיק", "שחור"]),
        ("$x^2$", ["x^2"]),
        ("!?", []),
    ],
)
def test_punctuation_parts_words_only_where_a_reader_would(
    tokenizer: Tokenizer, text: str, words: list[str]
) -> None:
    tokenizer.no_truncation()
    assert [word.text for word in read_words(tokenizer, text)] == words


def test_a_word_that_stands_twice_is_one_word_with_the_tokens_of_both(
    tokenizer: Tokenizer,
) -> None:
    (shirt, red) = read_words(tokenizer, "shirt Red red")
    assert (shirt.spans, red.spans) == (((0, 5),), ((6, 9), (10, 13)))
    assert len(red.tokens) == 2 * len(read_words(tokenizer, "red")[0].tokens)
    assert without(red, "shirt Red red") == "shirt"


def test_a_word_behind_the_cut_is_not_read(tokenizer: Tokenizer) -> None:
    tokenizer.enable_truncation(4)
    try:
        assert [word.text for word in read_words(tokenizer, "a red striped shirt")] == ["a", "red"]
    finally:
        tokenizer.no_truncation()


def test_a_word_left_out_takes_no_other_with_it(tokenizer: Tokenizer) -> None:
    text = "a redder red, a red-ish red"
    words = {word.text: word for word in read_words(tokenizer, text)}
    assert without(words["red"], text) == "a redder , a red-ish"
