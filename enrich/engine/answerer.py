"""Answers from stored vectors: heads, calibration and thresholds.

Computes on the CPU in float32, for many products at a time. Needs no encoder.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from jaxtyping import Float
from schemas.labels import ABSTENTIONS, NOT_APPLICABLE, RESERVED, UNSURE
from torch import Tensor

from enrich.calibration import LeastTable, places_of
from enrich.classifiers.calibrated import apply_layer, at_temperatures, join_embeds, to_layer
from enrich.classifiers.checkpoint import load_answering
from enrich.classifiers.cma_clip import cls_of
from enrich.classifiers.interface import ModelOutput, Vectors
from enrich.classifiers.manifest import Manifest
from enrich.engine.columns import AttributeAnswers, to_record_batch
from enrich.engine.spec import EngineSpec, name_own_words, rename, rename_sets
from enrich.lexicon import LabelFinder, Named, ProductText, weigh
from enrich.records import EnrichedProduct, Modalities
from enrich.unseen import FEWEST, AttributeProfile, Reference, SourceProfile

ALTERNATIVES = 3
# Few enough for a core's cache: twice as quick as 20,000 at once.
_ROWS_AT_ONCE = 2_000
# Places in ABSTENTIONS.
_GIVEN, _UNSURE = -1, ABSTENTIONS.index(UNSURE)
_NOT_APPLICABLE = ABSTENTIONS.index(NOT_APPLICABLE)


class Answerer:
    """A checkpoint's heads, calibration and thresholds."""

    def __init__(self, manifest: Manifest, spec: EngineSpec) -> None:
        """Load the heads of the checkpoint that the recipe names.

        Raises CheckpointError if the weights do not fit the configuration, and NoAnswer if the
        files are not those any more that the manifest was read from.
        """
        self.classifier = load_answering(manifest)
        self._shapes = manifest.config.vectors or {}
        self._width = sum(map(math.prod, self._shapes.values()))
        # In the checkpoint's own words.
        self.answers = answers = manifest.config.answers
        renamings = rename(answers, spec.own.labels)
        self._attributes = rename_sets(answers, renamings)
        self._own = {a: torch.from_numpy(one.to_matrix()) for a, one in renamings.items()}
        # The kind of NULL that each answer means.
        self._nulls = {
            attribute: np.array([ABSTENTIONS.index(a) if a in RESERVED else _GIVEN for a in said])
            for attribute, said in self._attributes.items()
        }
        self._applies_to = {a: pa.array(sets, pa.string()) for a, sets in spec.applies_to.items()}
        self.calibration = manifest.calibration
        self._corrections = {a: to_layer(one) for a, one in self.calibration.corrections.items()}
        self._least = {a: LeastTable.of(found) for a, found in spec.thresholds.items()}
        # Attributes that were added as a whole after training.
        self.headless = manifest.config.headless
        # Confidences of attributes that nobody has labelled yet mean nothing.
        self._guessed = manifest.guessed
        names = name_own_words(spec.own.labels, answers)
        own = {a: {**spec.own.words.get(a, {}), **names.get(a, {})} for a in answers}
        self._finder = LabelFinder(answers, manifest.lexicon, self.headless, own)

    def answer(
        self,
        vectors: Sequence[bytes],
        modalities: Sequence[str],
        texts: Sequence[ProductText],
        categories: Sequence[str | None] | None = None,
    ) -> pa.RecordBatch:
        """Return the columns of `columns.answer_fields`, a row for each of the vectors.

        Vectors are float16 in little endian, as `Engine.encode` yields them, and modalities are
        values of `Modalities`. Label words are looked for in title and description. To a product
        without a category all attributes apply.
        """
        categories = [None] * len(vectors) if categories is None else categories
        read_from = [Modalities(one) for one in modalities]
        batches = [
            self._answer(
                vectors[start:stop],
                read_from[start:stop],
                texts[start:stop],
                categories[start:stop],
            )
            for start in range(0, max(1, len(vectors)), _ROWS_AT_ONCE)
            for stop in [start + _ROWS_AT_ONCE]
        ]
        return pa.concat_batches(batches)

    def _answer(
        self,
        vectors: Sequence[bytes],
        modalities: list[Modalities],
        texts: Sequence[ProductText],
        categories: Sequence[str | None],
    ) -> pa.RecordBatch:
        output = self.read(self._unpack(vectors), modalities)
        named = self._finder.find(texts)
        probs = self.probabilities(output, modalities, named)
        places = places_of(modalities)
        return to_record_batch(
            [
                self._to_answers(
                    attribute,
                    self._rename(attribute, probs[attribute]),
                    self._rename_named(attribute, named[attribute].every),
                    output,
                    places,
                    categories,
                )
                for attribute in self._attributes
            ]
        )

    @torch.inference_mode()
    def read(self, packed: Float[Tensor, "B N"], modalities: Sequence[Modalities]) -> ModelOutput:
        """Return logits before calibration.

        A row of `packed` has a product's vectors, one after the other, as `Engine.encode_windows`
        yields them.
        """
        has_image, has_text = (
            torch.tensor([one is not other for one in modalities], dtype=torch.bool)
            for other in (Modalities.TEXT, Modalities.IMAGE)
        )
        return self.classifier.answer(Vectors.unpack(packed, self._shapes, has_image, has_text))

    @torch.inference_mode()
    def probabilities(
        self,
        output: ModelOutput,
        modalities: Sequence[Modalities],
        named: Mapping[str, Named],
    ) -> dict[str, Float[Tensor, "B _"]]:
        """Return calibrated probabilities per attribute; rows were read from `modalities`.

        `named` is as `find_named` returns it.
        """
        embeds = join_embeds(output.vectors)
        return {
            attribute: at_temperatures(
                apply_layer(
                    self.add_unread(attribute, logits, named[attribute]),
                    embeds,
                    torch.from_numpy(named[attribute].every),
                    self._corrections.get(attribute),
                ),
                [self.calibration.attributes[attribute][found] for found in modalities],
                output.image_weight.get(attribute),
            )
            for attribute, logits in output.logits.items()
        }

    def add_unread(
        self, attribute: str, logits: Float[Tensor, "B C"], named: Named
    ) -> Float[Tensor, "B C"]:
        """Return the logits with what words say that the text tower has not learnt.

        Each label that such a word names gains the checkpoint's fitted weight.
        """
        weight = self.calibration.unread_weights.get(attribute, 0.0)
        if not weight or not named.unread.any():
            return logits
        return logits + weight * torch.from_numpy(named.unread)

    def profile(
        self,
        reference: Reference,
        vectors: Sequence[bytes],
        modalities: Sequence[str],
        texts: Sequence[ProductText],
    ) -> SourceProfile | None:
        """Return the profile of a source by a sample; None with too few pictures.

        `reference` has pictures of training. Vectors, modalities and texts are as in `answer`.
        """
        read_from = [Modalities(one) for one in modalities]
        output = self.read(self._unpack(vectors), read_from)
        pictures = cls_of(output.vectors)[0][output.vectors.has_image].numpy()
        if len(pictures) < FEWEST:
            return None
        far_away = reference.share_far_away(pictures)
        named = self._finder.find(texts)
        probs = self.probabilities(output, read_from, named)
        return SourceProfile(
            products=len(vectors),
            far_away=far_away,
            attributes={
                attribute: AttributeProfile.of(
                    found.numpy(),
                    named[attribute].every,
                    far_away,
                    is_convention=attribute in self.calibration.transfer.conventions,
                )
                for attribute, found in probs.items()
                if attribute not in self._guessed
            },
        )

    def _unpack(self, vectors: Sequence[bytes]) -> Float[Tensor, "B N"]:
        packed = np.frombuffer(b"".join(vectors), "<f2").reshape(-1, self._width)
        return torch.from_numpy(packed.astype(np.float32))

    def find_named(self, texts: Sequence[ProductText]) -> dict[str, Named]:
        """Return by attribute which labels each text names."""
        return self._finder.find(texts)

    def thresholds_of(self, answer: EnrichedProduct, text: ProductText) -> dict[str, float]:
        """Return by attribute the least confidence at which this answer is given.

        inf is never. The product of the answer could be read; `text` is its title and description.
        """
        assert answer.modalities is not None
        named = self._finder.find([text])
        places, found = places_of([answer.modalities]), {}
        for one in answer.predictions:
            best = np.array([self._attributes[one.attribute].index(one.label)])
            evidence = weigh(self._rename_named(one.attribute, named[one.attribute].every), best)
            found[one.attribute] = self._least[one.attribute].find(places, evidence, best).item()
        return found

    def _rename(self, attribute: str, probs: Float[Tensor, "B C"]) -> Float[Tensor, "B D"]:
        """Return the probabilities of a source's own labels."""
        if attribute not in self._own:
            return probs
        summed = probs @ self._own[attribute]
        # 0 where all that is likely is never answered.
        return summed / summed.sum(1, keepdim=True).clamp(min=1e-9)

    def _rename_named(self, attribute: str, named: np.ndarray) -> np.ndarray:
        """Return which of a source's own labels texts name, (B, D)."""
        own = self._own.get(attribute)
        return named if own is None else named.astype(np.float32) @ own.numpy() > 0

    def _to_answers(
        self,
        attribute: str,
        probs: Float[Tensor, "B C"],
        named: np.ndarray,
        output: ModelOutput,
        places: np.ndarray,
        categories: Sequence[str | None],
    ) -> AttributeAnswers:
        labels = self._attributes[attribute]
        best = probs.topk(min(1 + ALTERNATIVES, len(labels)), dim=1)
        confidences = best.values.double().numpy()
        weight = output.image_weight.get(attribute)
        first = best.indices[:, 0].numpy()
        least = self._least[attribute].find(places, weigh(named, first), first)
        # Not `<`: a confidence that is NaN is below no threshold, and no answer either.
        reason = np.where(~(confidences[:, 0] >= least), _UNSURE, self._nulls[attribute][first])
        reason[self._is_outside(attribute, categories)] = _NOT_APPLICABLE
        return AttributeAnswers(
            attribute,
            labels,
            best.indices.numpy(),
            confidences,
            reason,
            None if weight is None else weight.double().numpy(),
            np.where(named.sum(1) == 1, named.argmax(1), -1),
        )

    def _is_outside(self, attribute: str, categories: Sequence[str | None]) -> np.ndarray:
        """Return which products have a category without this attribute, (B,)."""
        known = self._applies_to.get(attribute)
        if known is None:
            return np.zeros(len(categories), dtype=bool)
        given = pa.array(categories, pa.string())
        inside = pc.is_in(given, value_set=known)
        return pc.and_(pc.is_valid(given), pc.invert(inside)).to_numpy(zero_copy_only=False)
