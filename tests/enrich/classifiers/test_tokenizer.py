"""The tokens of a text's beginning are those of the whole text."""

import copy
import random
from unittest.mock import Mock

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from enrich.classifiers.towers import TextEncoder

LENGTH = 8
WORDS = [
    "red",
    "shirt,",
    "t-shirt",
    "Überwurf",
    "काली",
    "黒いシャツ",
    '16"x18"',
    "it's",
    "9",
    "e\u0301",
    "-",
]
GAPS = [" ", " ", " ", "  ", "   ", "\n", " \n ", "\u00a0", " \u0301"]


def _text(drawn):
    """Return some words, some of them long, with gaps of all kinds."""
    words = drawn.choices(WORDS, k=drawn.randint(0, 60))
    return "".join(word * drawn.choice((1, 1, 1, 40)) + drawn.choice(GAPS) for word in words)


def _trained(model, trainer, split):
    made = Tokenizer(model)
    made.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    made.pre_tokenizer = split
    drawn = random.Random(1)
    made.train_from_iterator([_text(drawn) for _ in range(200)], trainer)
    made.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>",
        special_tokens=[(token, made.token_to_id(token)) for token in ("<start>", "<end>")],
    )
    return made


SPECIAL = ["<pad>", "<start>", "<end>", "<unk>"]
OTHERS = {
    "by word": lambda: _trained(
        models.WordPiece(unk_token="<unk>"),
        trainers.WordPieceTrainer(vocab_size=200, special_tokens=SPECIAL, show_progress=False),
        pre_tokenizers.BertPreTokenizer(),
    ),
    "by what is likely": lambda: _trained(
        models.Unigram(),
        trainers.UnigramTrainer(
            vocab_size=200, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False
        ),
        pre_tokenizers.Metaspace(),
    ),
    "without words": lambda: _trained(
        models.BPE(unk_token="<unk>"),
        trainers.BpeTrainer(vocab_size=200, special_tokens=SPECIAL, show_progress=False),
        None,
    ),
}


@pytest.mark.parametrize("kind", ["by bytes", *OTHERS])
def test_tokens_are_those_of_the_whole_text(kind, tokenizer):
    used = OTHERS[kind]() if kind in OTHERS else copy.deepcopy(tokenizer)
    encode, drawn = TextEncoder(used, LENGTH), random.Random(0)
    for _ in range(40):
        texts = [_text(drawn) for _ in range(5)]
        ids, mask = encode(texts)
        whole = used.encode_batch(texts)
        assert ids.tolist() == [one.ids for one in whole]
        assert mask.int().tolist() == [one.attention_mask for one in whole]
        assert ids.shape[1] == max(map(sum, mask.tolist())) <= LENGTH


def test_a_long_text_is_not_read_to_its_end(tokenizer):
    encode = TextEncoder(copy.deepcopy(tokenizer), LENGTH)
    encode.tokenizer = Mock(wraps=encode.tokenizer)
    encode(["blue shoes " * 1_000, "red shirt"])
    read = [text for call in encode.tokenizer.method_calls for text in call.args[0]]
    assert len(read) == 2 and max(map(len, read)) < 10 * LENGTH
