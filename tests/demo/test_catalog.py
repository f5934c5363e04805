"""The demo catalog holds 300 sound products, and faults that are what their names say."""

from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from demo.catalog import FAULTS, PLANTED, read_labels, score_answers, write_demo_catalog
from enrich.classifiers.manifest import BUNDLED, read_manifest
from enrich.errors import ConfigError

FOLDER = Path(__file__).parents[2] / "demo"
UNREADABLE = {"JPEG truncated", "web page instead of an image", "image file empty"}
SOUND_IMAGES = {"text empty", "product id null", "title in emoji"} | {
    name for name in FAULTS if name.startswith(("WebP", "PNG", "JPEG in", "JPEG turned"))
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "catalog"
    write_demo_catalog(folder)
    return folder


@pytest.fixture(scope="module")
def rows(folder):
    return pd.read_parquet(folder / "products.parquet")


@pytest.fixture(scope="module")
def faulty(rows):
    """Rows with a planted fault, and its name."""
    places = [10 + 11 * number for number in range(len(PLANTED))]
    return rows.loc[places].assign(fault=PLANTED)


def is_decodable(file):
    try:
        with Image.open(file) as image:
            image.load()
    except (OSError, Image.DecompressionBombError):
        return False
    return True


def test_photographs_are_small_and_hold_no_metadata():
    files = list((FOLDER / "photographs").iterdir())
    assert len(files) == 300 and sum(file.stat().st_size for file in files) < 5_000_000
    for file in files:
        with Image.open(file) as image:
            assert max(image.size) == 320
            assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}


def test_sound_products_have_an_id_a_title_and_a_photograph_of_their_own(folder, rows, faulty):
    sound = rows.drop(faulty.index)
    assert len(sound) == 300
    assert sound[["product_id", "image_path"]].nunique().eq(300).all()
    assert sound[["title", "category"]].notna().all(axis=None)
    assert all(is_decodable(folder / path) for path in sound.image_path)


def test_labels_by_hand_are_labels_of_the_bundled_checkpoint():
    labels = read_labels()
    attributes = read_manifest(BUNDLED).config.attributes
    assert set(labels.columns) == {"color", "pattern"}
    for attribute in labels:
        assert set(labels[attribute].dropna()) <= set(attributes[attribute])
        assert labels[attribute].notna().sum() >= 190


def test_faults_of_images_are_what_their_names_say(folder, faulty):
    for row in faulty.itertuples():
        file = folder / str(row.image_path)
        if row.fault in SOUND_IMAGES:
            assert is_decodable(file), row.fault
        elif row.fault in UNREADABLE:
            assert file.is_file() and not is_decodable(file), row.fault
        elif row.fault.endswith("image missing") or row.fault == "image file missing":
            assert not file.exists()
    by_fault = faulty.drop_duplicates("fault").set_index("fault").image_path
    assert by_fault["image path leaves the folder"] == "../../etc/passwd"
    assert by_fault.isna()[["image path null"]].all()
    absurd = (folder / by_fault["image header absurd"]).read_bytes()
    assert len(absurd) < 1000 and absurd[16:24] == (60_000).to_bytes(4, "big") * 2


def test_faults_of_texts_and_ids_are_what_their_names_say(rows, faulty):
    by_fault = faulty.drop_duplicates("fault").set_index("fault")
    assert len(by_fault.description["description of 20,000 characters"]) == 20_000
    assert by_fault.title["text empty"] == "" and pd.isna(by_fault.description["text empty"])
    assert not by_fault.title["text empty and image missing"].strip()
    assert rows.product_id.isna().sum() == (faulty.fault == "product id null").sum() == 1
    repeated = rows[rows.product_id.notna() & rows.duplicated("product_id")]
    assert list(repeated.index) == list(faulty.index[faulty.fault == "product id duplicated"])
    assert len(repeated) == 2


def test_fewer_products_are_the_first_ones_and_faults_can_be_left_out(tmp_path, rows):
    write_demo_catalog(tmp_path / "few", products=25)
    assert pd.read_parquet(tmp_path / "few" / "products.parquet").equals(rows[:27])
    write_demo_catalog(tmp_path / "sound", products=25, faults=False)
    sound = pd.read_parquet(tmp_path / "sound" / "products.parquet")
    assert sound.product_id.tolist() == rows.product_id.drop([10, 21])[:25].tolist()


def test_a_folder_with_files_is_left_alone(tmp_path):
    (tmp_path / "mine.jpg").write_bytes(b"precious")
    with pytest.raises(ConfigError, match="expected an empty folder"):
        write_demo_catalog(tmp_path, products=1)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.jpg"]


def test_a_failure_leaves_no_half_catalog(tmp_path, monkeypatch):
    monkeypatch.setitem(FAULTS, PLANTED[0], lambda row, photograph: {}[row["title"]])
    with pytest.raises(KeyError):
        write_demo_catalog(tmp_path / "demo")
    assert not list(tmp_path.iterdir())


def test_scores_count_labelled_answered_and_right_products():
    labels = read_labels()
    colors = labels.color.dropna()
    blue, red = (colors.index[colors == color][:2] for color in ("blue", "red"))
    unlabelled = labels.index[labels.color.isna()][:1]
    published = pd.DataFrame(
        {
            "product_id": [*blue, *red, *unlabelled, "of another shop"],
            "color": ["blue", "red", "red", None, "red", "blue"],
            "color_confidence": 0.99,
        }
    )
    assert score_answers(published) == {"color": (4, 3, 2)}
