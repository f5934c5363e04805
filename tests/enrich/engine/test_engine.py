"""One answer a product, in order, whatever is broken: by the engine, and by the fake one too."""

import hashlib
import pickle
import shutil
import time
import weakref
from unittest.mock import Mock

import pytest
import torch

from bench.fake_engine import FakeEngineSpec
from enrich.classifiers.manifest import BUNDLED, fetch_manifest, read_manifest
from enrich.config import JobConfig
from enrich.engine.columns import to_enriched
from enrich.engine.spec import build_spec, name_model_version, open_engine
from enrich.errors import CheckpointError
from enrich.images.decoding import decode_pixels
from enrich.images.settings import ImageLimits
from enrich.records import Modalities, Product, Status

CPU = torch.device("cpu")
BATCH = 4


@pytest.fixture(scope="module", autouse=True)
def exact():
    """Computes in float32, so that answers can be compared digit by digit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("enrich.engine.device.choose_dtype", lambda device: torch.float32)
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory, write_jpeg):
    folder = tmp_path_factory.mktemp("shop")
    for name, color in (("red", (220, 20, 20)), ("blue", (20, 20, 220)), ("grey", (120,) * 3)):
        write_jpeg(folder / f"{name}.jpg", color)
    (folder / "cut.jpg").write_bytes((folder / "red.jpg").read_bytes()[:700])
    write_jpeg(folder / "large.jpg", side=150)
    return folder


def _make_spec(checkpoint, root):
    manifest = read_manifest(checkpoint)
    settings = JobConfig(
        checkpoint=str(checkpoint),
        image_limits=ImageLimits(max_pixels=20_000),
        batch_size=BATCH,
        read_threads=2,
    )
    return build_spec(settings, manifest, str(root))


@pytest.fixture(scope="module")
def spec(tiny_checkpoint, root):
    return _make_spec(tiny_checkpoint, root)


@pytest.fixture(scope="module")
def engine(spec):
    return spec.build(CPU)


@pytest.fixture(scope="module", params=["engine", "fake"])
def any_spec(request, spec):
    return spec if request.param == "engine" else FakeEngineSpec()


PRODUCTS = [
    Product("whole", "red shirt", "of cotton", "red.jpg"),
    Product("no words", None, " ", "blue.jpg"),
    Product("no picture", "blue shoes", None, None),
    Product("nothing", None, None, None),
    Product("nothing either", "\x00", "", "gone.jpg"),
    Product("cut", "green dress", None, "cut.jpg"),
    Product("large", "white shirt", None, "large.jpg"),
    Product("climbs", "striped shirt", None, "../../etc/passwd"),
    Product("gone", "plain", None, "gone.jpg"),
    Product("cut and no words", "", None, "cut.jpg"),
    Product("surrogate", "plain \ud800", None, "\udcff.jpg"),
    Product("grey", "grey shirt", "soft", "grey.jpg"),
    Product("whole", "red shirt", "of cotton", "red.jpg"),
]


def test_a_checkpoint_in_a_store_is_fetched_once(tiny_checkpoint, tmp_path):
    away = shutil.copytree(tiny_checkpoint, tmp_path / "away")
    manifest = fetch_manifest(f"file://{away}")
    shutil.rmtree(away)
    engine = open_engine(manifest, str(tmp_path))
    assert engine.classifier is not None
    assert engine.spec.model_version == name_model_version(manifest, 0.90)


def test_every_product_gets_one_answer_in_order(any_spec):
    engine = any_spec.build(CPU)
    wanted = [product.product_id for product in PRODUCTS]
    for count in (0, 1, BATCH, BATCH + 1, len(PRODUCTS)):
        answers = list(engine.enrich(iter(PRODUCTS[:count])))
        assert [answer.product_id for answer in answers] == wanted[:count]
    broken_only = [PRODUCTS[3]] * (2 * BATCH + 1)
    assert len(list(engine.enrich(broken_only))) == len(broken_only)


def test_encodings_are_those_that_answers_are_made_of(any_spec):
    engine, answerer = any_spec.build(CPU), any_spec.build_answerer()
    encoded, answers = list(engine.encode(PRODUCTS)), list(engine.enrich(PRODUCTS))
    for one, other in zip(encoded, answers, strict=True):
        assert (one.product_id, one.status, one.modalities) == (
            *(other.product_id, other.status, other.modalities),
        )
        assert (one.error, one.image_digest) == (other.error, other.image_digest)
        assert (one.vectors is None) == (one.modalities is None)
    again = to_enriched(encoded, answerer, any_spec.attributes)
    assert [one.product_id for one in again] == [one.product_id for one in answers]
    for one, other in zip(again, answers, strict=True):
        assert one.predictions == other.predictions


def test_answers_obey_the_contract(any_spec):
    for answer in any_spec.build(CPU).enrich(PRODUCTS):
        if answer.modalities is None:
            assert answer.predictions == () and answer.error
            continue
        assert (answer.status is Status.OK) == (answer.modalities is Modalities.IMAGE_AND_TEXT)
        assert [p.attribute for p in answer.predictions] == list(any_spec.attributes)
        for prediction in answer.predictions:
            labels = any_spec.attributes[prediction.attribute]
            candidates = [prediction.label, *(a.label for a in prediction.alternatives)]
            assert set(candidates) <= set(labels) and len(set(candidates)) == len(candidates)
            confidences = [prediction.confidence, *(a.confidence for a in prediction.alternatives)]
            assert confidences == sorted(confidences, reverse=True)
            assert confidences[-1] >= 0 and sum(confidences) <= 1 + 1e-6
            assert 0 <= prediction.image_weight <= 1


def test_a_spec_is_small_and_survives_pickling(any_spec):
    pickled = pickle.dumps(any_spec)
    assert len(pickled) < 4_000
    again = pickle.loads(pickled)
    assert again == any_spec
    assert list(again.build(CPU).enrich(PRODUCTS)) == list(any_spec.build(CPU).enrich(PRODUCTS))


def test_the_spec_of_the_bundled_checkpoint_is_small_too(root):
    assert len(pickle.dumps(_make_spec(BUNDLED, root))) < 4_000


def _only(engine, product):
    (answer,) = engine.enrich([product])
    return answer


def test_each_product_is_answered_from_what_can_be_read_of_it(engine):
    found = {a.product_id: (a.status, a.modalities, bool(a.error)) for a in engine.enrich(PRODUCTS)}
    text = Modalities.TEXT
    assert found == {
        "whole": (Status.OK, Modalities.IMAGE_AND_TEXT, False),
        "grey": (Status.OK, Modalities.IMAGE_AND_TEXT, False),
        "no words": (Status.TEXT_EMPTY, Modalities.IMAGE, False),
        "no picture": (Status.IMAGE_MISSING, text, True),
        "nothing": (Status.IMAGE_MISSING, None, True),
        "nothing either": (Status.IMAGE_MISSING, None, True),
        "cut": (Status.IMAGE_CORRUPT, text, True),
        "large": (Status.IMAGE_TOO_LARGE, text, True),
        "climbs": (Status.IMAGE_FORBIDDEN, text, True),
        "gone": (Status.IMAGE_MISSING, text, True),
        "cut and no words": (Status.IMAGE_CORRUPT, None, True),
        "surrogate": (Status.IMAGE_MISSING, text, True),
    }


def test_an_answer_does_not_depend_on_its_neighbours(engine):
    for product, together in zip(PRODUCTS, engine.enrich(PRODUCTS), strict=True):
        alone = _only(engine, product)
        assert (alone.product_id, alone.status) == (together.product_id, together.status)
        for one, other in zip(alone.predictions, together.predictions, strict=True):
            assert (one.attribute, one.label) == (other.attribute, other.label)
            assert one.confidence == pytest.approx(other.confidence, abs=1e-4)
            assert one.image_weight == pytest.approx(other.image_weight, abs=1e-4)


def test_a_precision_without_thresholds_is_refused(tiny_checkpoint):
    manifest = read_manifest(tiny_checkpoint)
    assert name_model_version(manifest, 0.90) != name_model_version(manifest, 0.95)
    with pytest.raises(CheckpointError, match=r"0\.8"):
        name_model_version(manifest, 0.8)


@pytest.mark.parametrize("lanes, window", [(1, 4), (4, 16), (16, 16)])
def test_the_engine_reads_ahead_by_a_bounded_number_of_products(engine, lanes, window, monkeypatch):
    monkeypatch.setattr(engine, "lanes", lanes)
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield PRODUCTS[0]

    answers = engine.enrich(endless())
    for _ in range(3 * BATCH):
        next(answers)
    # A window is so many batches; one is answered, one computes, one waits and one is read.
    assert taken <= 4 * (window * BATCH)
    answers.close()


def _note_batches(engine, monkeypatch):
    """Returns the list that the texts of each batch are added to."""
    seen: list[list[str]] = []
    build = engine.build_inputs

    def note(batch):
        seen.append([one.text for one in batch])
        return build(batch)

    monkeypatch.setattr(engine, "build_inputs", note)
    return seen


def test_texts_of_about_equal_length_share_a_batch_and_answers_keep_their_order(
    engine, monkeypatch
):
    products = [
        Product(str(number), f"{number:02d}" + " shirt" * (1 + number % 4), None, "red.jpg")
        for number in range(4 * BATCH)
    ]
    alone = [_only(engine, product) for product in products]
    batches = _note_batches(engine, monkeypatch)
    together = list(engine.enrich(products))
    assert [{len(text) for text in batch} for batch in batches] == [{8}, {14}, {20}, {26}]
    for one, other in zip(alone, together, strict=True):
        assert one.product_id == other.product_id
        assert [p.label for p in one.predictions] == [p.label for p in other.predictions]
        for before, after in zip(one.predictions, other.predictions, strict=True):
            assert before.confidence == pytest.approx(after.confidence, abs=1e-4)


def test_equal_pictures_with_equal_texts_are_computed_once(engine, root, monkeypatch):
    (root / "red again.jpg").write_bytes((root / "red.jpg").read_bytes())
    batches = _note_batches(engine, monkeypatch)
    decoded: list[bytes] = []

    def note(data, **limits):
        decoded.append(data)
        time.sleep(0.2)  # meanwhile all threads come
        return decode_pixels(data, **limits)

    monkeypatch.setattr("enrich.engine.engine.decode_pixels", note)
    monkeypatch.setattr(engine, "_read_threads", 4)
    products = [
        Product("a", "red shirt", None, "red.jpg"),
        Product("b", "red shirt", None, "red again.jpg"),
        Product("c", "red shirt", None, "blue.jpg"),
        Product("d", "RED shirt", None, "red.jpg"),
        Product("e", "red shirt", None, None),
        Product("f", "red shirt", None, "gone.jpg"),
    ]
    answers = {answer.product_id: answer for answer in engine.enrich(products)}
    assert sum(map(len, batches)) == 4 and len(decoded) == 2
    assert answers["a"].predictions == answers["b"].predictions != answers["c"].predictions
    assert answers["e"].predictions == answers["f"].predictions
    assert answers["e"].error != answers["f"].error


def test_what_is_answered_is_let_go_before_the_next_is_waited_for(engine, monkeypatch):
    answers: list[weakref.ref[torch.Tensor]] = []
    encode = engine.encode_windows

    def note(encoded):
        answers.append(weakref.ref(encoded[1]))
        return encoded

    def products():
        for number in range(50 * BATCH):
            held.append(sum(answer() is not None for answer in answers))
            yield Product(str(number), f"shirt {number}", None, None)

    held: list[int] = []
    monkeypatch.setattr(engine, "encode_windows", lambda products: map(note, encode(products)))
    for run in (engine.encode, engine.enrich):
        held.clear()
        assert len(list(run(products()))) == len(held)
        assert len(answers) > 3 and not any(held)


@pytest.mark.parametrize(
    ("classifier", "wanted", "opened"),
    [
        (
            "text_only",
            {
                "whole": (Status.OK, Modalities.TEXT, False),
                "no words": (Status.TEXT_EMPTY, None, True),
                "no picture": (Status.OK, Modalities.TEXT, False),
                "nothing": (Status.TEXT_EMPTY, None, True),
            },
            0,
        ),
        (
            "image_only",
            {
                "whole": (Status.OK, Modalities.IMAGE, False),
                "no words": (Status.OK, Modalities.IMAGE, False),
                "no picture": (Status.IMAGE_MISSING, None, True),
                "nothing": (Status.IMAGE_MISSING, None, True),
            },
            4,
        ),
    ],
)
def test_what_a_classifier_does_not_read_is_not_opened(
    classifier, wanted, opened, make_checkpoint, small_config, root
):
    folder = make_checkpoint(small_config.model_copy(update={"classifier": classifier}))
    engine = _make_spec(folder, root).build(CPU)
    engine._store = Mock(wraps=engine._store)
    answers = list(engine.enrich(PRODUCTS[:4]))
    assert {a.product_id: (a.status, a.modalities, bool(a.error)) for a in answers} == wanted
    assert all(bool(one.predictions) == (one.modalities is not None) for one in answers)
    assert engine._store.read.call_count == opened


def test_pictures_are_forgotten_at_the_end(engine, root):
    list(engine.enrich([Product("a", "shirt", None, "red.jpg")]))
    assert not engine._pixel_cache._pictures


def test_an_encoding_and_an_answer_say_which_file_they_rest_on(engine, root):
    products = [Product(name, "shirt", None, f"{name}.jpg") for name in ("red", "cut", "nowhere")]
    digests = [
        hashlib.sha256((root / f"{name}.jpg").read_bytes()).hexdigest() for name in ("red", "cut")
    ]

    for run in (engine.encode, engine.enrich):
        assert [one.image_digest for one in run(products)] == [*digests, None]
