"""Titles name labels by the labels' own names and by the words of a lexicon."""

import numpy as np
import pytest

from enrich.lexicon import Evidence, LabelFinder, Lexicon, choose_title, weigh
from schemas.labels import ATTRIBUTE_LABELS, LANGUAGES, read_language

COLORS = ("red", "green", "Off White", "blue", "multicolor")
WORDS = Lexicon.of_labels(
    {
        "color": {
            "blue": ("navy", "sea green"),
            "multicolor": ("red and blue",),
            "gold": ("brass",),
        },
        "style": {"boho": ("gypsy",)},
    }
)


def find(title, lexicon=WORDS, own=None):
    """Return the colors that a title names, in the order of the labels."""
    finder = LabelFinder({"color": COLORS}, lexicon, own={"color": own or {}})
    return [COLORS[at] for at in np.flatnonzero(finder.find([(title, None)])["color"].every)]


@pytest.mark.parametrize(
    ("title", "named"),
    [
        ("A Red shirt", ["red"]),
        ("Shirt in NAVY", ["blue"]),
        ("off  white shirt", ["Off White"]),
        ("Brass lamp", []),
        ("Redwood table, infrared", []),
        ("A gypsy dress", []),
        ("", []),
        (None, []),
    ],
)
def test_a_label_is_named_by_its_name_or_a_word_of_the_lexicon(title, named):
    assert find(title) == named


@pytest.mark.parametrize(
    ("title", "named"),
    [
        ("Sea green shirt", ["blue"]),
        ("Red and blue shirt", ["multicolor"]),
        ("Sea shirt, green", ["green"]),
    ],
)
def test_the_longest_word_is_the_one_that_counts(title, named):
    assert find(title) == named


def test_a_title_may_name_several_labels_and_one_label_twice():
    assert find("Red shirt with navy collar, red again") == ["red", "blue"]


def test_attributes_are_looked_for_apart_from_each_other():
    finder = LabelFinder({"color": ("navy",), "style": ("navy look", "boho")}, WORDS)
    found = finder.find([("A navy look", None), ("gypsy skirt", None), ("navy", None)])
    assert found["color"].every.tolist() == [[True], [False], [True]]
    assert found["style"].every.tolist() == [[True, False], [False, True], [False, False]]


def test_descriptions_are_read_for_attributes_without_a_head_alone():
    labels = {"color": ("red", "blue"), "fabric": ("silk", "silk red")}
    finder = LabelFinder(labels, Lexicon({}), in_descriptions=["fabric"])
    texts = [("Red shirt", "silk, not blue"), ("silk", "with silk red"), (None, "blue silk")]
    found = finder.find(texts)
    assert found["color"].every.tolist() == [[True, False], [False, False], [False, True]]
    assert found["fabric"].every.tolist() == [[True, False]] * 3, "what a title says comes first"


def test_a_word_taken_out_is_found_no_more_and_one_put_in_is():
    own = {"navy": None, "sea green": "green", "ink": "blue", "no": None, "Red": None}
    assert find("navy", own=own) == []
    assert find("sea green", own=own) == ["green"]
    assert find("ink", own=own) == ["blue"]
    assert find("red", own=own) == ["red"], "a label's own name stays"


def test_a_source_may_have_words_of_an_attribute_that_the_lexicon_lacks():
    assert find("crimson", Lexicon({}), own={"crimson": "red"}) == ["red"]


def test_a_label_that_the_lexicon_has_as_a_word_of_another_means_itself():
    finder = LabelFinder({"color": ("blue", "Navy")}, WORDS)
    assert finder.find([("navy shirt", None)])["color"].every.tolist() == [[False, True]]
    own = LabelFinder({"color": ("blue", "Navy")}, WORDS, own={"color": {"navy": "blue"}})
    assert own.find([("navy shirt", None)])["color"].every.tolist() == [[True, False]]


def test_words_of_labels_in_capitals_are_found():
    finder = LabelFinder({"color": ("Blue", "Red")}, WORDS, own={"color": {"rot": "red"}})
    found = finder.find([("navy", None), ("rot", None)])["color"]
    assert found.every.tolist() == [[True, False], [False, True]]


def test_words_beside_those_that_the_text_tower_has_learnt_are_unread():
    own = {"rot": "red", "navy": "blue", "sea green": "green"}
    finder = LabelFinder({"color": COLORS}, WORDS, own={"color": own})
    titles = ["Hemd rot", "navy", "sea green", "rot, red", "rot, green"]
    found = finder.find([(title, None) for title in titles])["color"]
    unread = [[COLORS[at] for at in np.flatnonzero(row)] for row in found.unread]
    assert unread == [["red"], [], ["green"], [], ["red"]]
    assert np.array_equal(found.every.sum(1), [1, 1, 1, 1, 2])


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_names_labels_of_the_bundled_checkpoint(language):
    words = read_language(language)
    assert words.keys() == {"color", "pattern"}
    for attribute, by_word in words.items():
        assert set(by_word.values()) == set(ATTRIBUTE_LABELS[attribute])


@pytest.mark.parametrize(
    ("word", "title"),
    [
        ("红色", "纯棉红色衬衫"),
        ("แดง", "เสื้อแดงผ้าฝ้าย"),
        ("赤", "ｼｬﾂ赤ｺｯﾄﾝ"),
        ("rouge", "Chemise\u00a0Rouge"),
        ("weiß", "Hemd WEISS"),
        ("κόκκινος", "ΚΌΚΚΙΝΟΣ"),
    ],
    ids=["Chinese", "Thai", "Japanese", "French", "German", "Greek"],
)
def test_words_of_other_scripts_and_cases_are_found(word, title):
    assert find(title, Lexicon({"color": {word: "red"}})) == ["red"]


@pytest.mark.parametrize("title", ["p\u0131nk", "P\u0130NK", "\u017fhirt", "\u212a"])
def test_letters_that_are_nearly_alike_stop_nothing(title):
    found = LabelFinder({"color": ("pink", "shirt", "k")}, Lexicon({})).find([(title, None)])
    assert found["color"].every.shape == (1, 3)


@pytest.mark.parametrize(
    ("title", "named"),
    [
        ("<b>Red</b> shirt", ["red"]),
        ("off&nbsp;white shirt", ["Off White"]),
        ('<span style="color:red">Blue</span> shirt', ["blue"]),
        ("<!-- red -->shirt", []),
    ],
)
def test_markup_of_a_title_names_nothing_and_hides_nothing(title, named):
    assert find(title) == named


def test_labels_are_looked_for_in_the_title_and_without_one_in_the_description():
    assert choose_title("shirt", "red") == "shirt"
    assert choose_title("", "red") == choose_title(None, "red") == "red"
    assert choose_title(None, None) is None


def test_what_a_text_says_of_an_answer_is_by_the_labels_that_it_names():
    named = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 1, 1], [0, 0, 0]], dtype=bool)
    places = weigh(named, np.zeros(5, dtype=np.int64))
    assert [[*Evidence][place] for place in places] == [
        Evidence.NAMED,
        Evidence.CONTRADICTED,
        Evidence.SEVERAL,
        Evidence.SEVERAL,
        Evidence.SILENT,
    ]
