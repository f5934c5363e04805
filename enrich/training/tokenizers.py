"""Trains the small text tower's tokenizer on the catalog's text, and looks at published ones."""

from collections.abc import Iterable

from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from enrich.errors import ConfigError

_SPECIAL = ["<pad>", "<start>", "<end>"]


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """Returns a lower-casing byte-level BPE tokenizer: any script can be encoded, none is unknown.

    Every text ends in `<end>`, also when it is cut, because that token stands for the whole.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=_SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        min_frequency=3,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in _SPECIAL[1:]],
    )
    return tokenizer


def with_plain_quotes(tokenizer: Tokenizer) -> Tokenizer:
    """Lets a CLIP's tokenizer read typographic quotes as ' and ", as those of its training were.

    OpenAI and open_clip clean texts with ftfy first, which transformers leaves out. Of what ftfy
    does to a sound text, these quotes are all that `build_text` does not do.
    """
    straightened = [
        normalizers.Replace(Regex("[\u02bc\u2018-\u201b]"), "'"),
        normalizers.Replace(Regex("[\u201c-\u201f]"), '"'),
    ]
    own = [] if tokenizer.normalizer is None else [tokenizer.normalizer]
    tokenizer.normalizer = normalizers.Sequence(straightened + own)
    return tokenizer


def require_words(tokenizer: Tokenizer, size: int, name: str) -> None:
    """Checks that a published tokenizer is that of the model whose `size` tokens it is to name.

    Raises:
        ConfigError: it has more of them, tells no words apart, or marks no end of a text.
    """
    tokens = tokenizer.get_vocab_size()
    # transformers makes up an empty one where the files are not there.
    is_empty = tokenizer.encode("red").ids == tokenizer.encode("tan").ids
    if tokens > size or is_empty or not tokenizer.encode("").ids:
        raise ConfigError(
            f"the tokenizer for '{name}' has {tokens} tokens and the model {size}, or it tells no "
            "words apart, or does not mark where a text ends: put the model's own tokenizer.json "
            "beside its weights"
        )
