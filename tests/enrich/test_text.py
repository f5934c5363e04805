"""Whatever a shop writes becomes one clean text of bounded length."""

import time

import pytest

from enrich.text import MAX_CHARACTERS, build_text, normalise


def test_control_characters_and_lone_surrogates_go_and_the_rest_can_be_encoded():
    text = normalise("red\x00 shirt\x1b[1m \ud800with\udfff\x07 collar\u200b")
    assert text == "red shirt [1m with collar"
    assert text.encode()


@pytest.mark.parametrize("value", [float("nan"), 7, True, b"shirt", ["shirt"], {}])
def test_what_is_no_text_counts_as_none(value):
    assert normalise(value) == ""  # type: ignore[arg-type]
    assert build_text("shirt", value) == "shirt"  # type: ignore[arg-type]


def test_accents_by_the_million_are_sorted_in_no_time():
    begin = time.process_time()
    assert build_text("a" + "\u0301\u0323" * 2_000_000, "\u0f73\u0f75\u0f81" * 1_000_000)
    assert time.process_time() - begin < 10


def test_a_control_character_between_words_does_not_join_them():
    assert normalise("red\x00shirt\u2028blue\tshoes") == "red shirt blue shoes"


@pytest.mark.parametrize("nothing", [None, "", "   ", "\n\t", "\x00\x01", "\ud800", "\u00a0\u200b"])
def test_a_text_of_nothing_is_the_empty_string(nothing):
    assert normalise(nothing) == ""
    assert build_text(nothing, nothing) == ""


def test_a_missing_title_or_description_leaves_no_separator():
    assert build_text("shirt", None) == build_text(None, "shirt") == "shirt"
    assert build_text("shirt", "of cotton") == "shirt. of cotton"


@pytest.mark.parametrize("letter", ["a", "a ", "\ufdfa", "\U0001f525", "\x00a"])
def test_a_huge_description_is_cut_and_keeps_the_title(letter):
    text = build_text("Red shirt", letter * 3_000_000)
    assert text.startswith("Red shirt. ")
    assert len(text) <= MAX_CHARACTERS


def test_a_description_of_a_thousand_characters_is_read_to_its_end():
    assert build_text("shirt", "warm " * 200 + "red").endswith("warm red")


def test_words_behind_a_long_style_sheet_are_read():
    sheet = "<style>" + "p {color: blue} " * 200 + "</style>"
    assert build_text("shirt", sheet + "of red cotton") == "shirt. of red cotton"


@pytest.mark.parametrize(
    "text",
    [
        "\u0642\u0645\u064a\u0635 \u0623\u062d\u0645\u0631",  # Arabic
        "\u05d7\u05d5\u05dc\u05e6\u05d4 \u05d0\u05d3\u05d5\u05de\u05d4",  # Hebrew
        "\u0932\u093e\u0932 \u0915\u092e\u0940\u091c",  # Hindi
        "\u8d64\u3044\u30b7\u30e3\u30c4",  # Japanese
        "hot \U0001f525 shirt \U0001f455",
    ],
)
def test_right_to_left_other_scripts_and_emoji_survive(text):
    assert normalise(text) == text


def test_compatible_writings_of_a_word_become_one():
    assert normalise("\uff32\uff45\uff44  \ufb01t") == normalise("Red fit") == "Red fit"
    assert normalise("cafe\u0301") == normalise("caf\u00e9")


def test_a_word_with_a_soft_hyphen_or_a_joiner_in_it_stays_one_word():
    assert normalise("Tur\u00adquoise dunkel\u200dblau \ufeffred") == "Turquoise dunkelblau red"


@pytest.mark.parametrize(
    ("markup", "read"),
    [
        ("<p class='x'>red<br/>shirt</p>", "red shirt"),
        ('<P><SPAN STYLE="font-weight: 400;">red</SPAN>\n</P ><h2\tid=a>shirt', "red shirt"),
        ("red &amp; blue&nbsp;shirt &#8211; 5&#x201d;", 'red & blue shirt \u2013 5"'),
        ("&lt;p&gt;red &amp;amp; blue&amp;nbsp;shirt&lt;/p&gt;", "red & blue shirt"),
        ("<!-- blue <b> -->red<!---->shirt<!-- blue", "red shirt"),
        ("<style>p > b {color: blue}</style>red<SCRIPT src=x>a < b</Script>shirt", "red shirt"),
        ("red shirt<style>p {color: blue}", "red shirt"),
        ('red shirt<img src="data:image/png;base64,' + "A" * 9_000, "red shirt"),
        ('<img alt="Blue &gt; Dresses" src="a.jpg">red shirt', "red shirt"),
        ('<b data-cell="{&quot;&lt;i&gt;blue&lt;/i&gt;&quot;}" id="b">red shirt</b>', "red shirt"),
        ("<o:p></o:p>red<svg width=1><path d='M0'/></svg>shirt", "red shirt"),
    ],
)
def test_markup_is_not_read(markup, read):
    assert normalise(markup).replace("\u201d", '"') == read


@pytest.mark.parametrize(
    "nothing", ["<p></p>", "&nbsp;", "<p>&nbsp;<br></p>", "&lt;p&gt;&lt;/p&gt;"]
)
def test_markup_around_nothing_is_the_empty_string(nothing):
    assert build_text(nothing, nothing) == ""


@pytest.mark.parametrize(
    "text",
    [
        *("I <3 you", "a<b and c>d", "<NIKE> shirt <Limited Edition>", "<- left ->"),
        *("AT&T", "black&copper", "&;", "<p", "<size = 5>", "Tee <Style No. 5> red"),
    ],
)
def test_signs_that_are_no_markup_stay(text):
    assert normalise(text) == text


@pytest.mark.parametrize(
    "piece", ["<", "<p a=", "</", "<!--", "<style>", "<a" + " " * 99, "&#", "&amp;lt;p "]
)
def test_marks_by_the_thousand_are_looked_at_once(piece, monkeypatch):
    monkeypatch.setattr("enrich.text.LONGEST_READ", 200_000)
    for start in ("", "<style>", "<p a="):
        begin = time.process_time()
        normalise(start + piece * (100_000 // len(piece)))
        assert time.process_time() - begin < 1
