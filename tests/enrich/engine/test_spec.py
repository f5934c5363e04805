"""The recipe that goes from a driver to workers with other working directories."""

import pytest

from enrich.classifiers.manifest import BUNDLED, read_manifest
from enrich.config import JobConfig
from enrich.engine.spec import build_spec
from enrich.errors import ConfigError


def test_local_places_are_those_of_the_driver_wherever_a_worker_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = JobConfig(
        checkpoint="checkpoints/mine", allowed_image_roots=("more", "s3://bucket/more")
    )
    spec = build_spec(config, read_manifest(BUNDLED), "shop/images")
    assert spec.checkpoint == f"{tmp_path}/checkpoints/mine"
    assert spec.image_root == f"{tmp_path}/shop/images"
    assert spec.allowed_roots == (f"{tmp_path}/more", "s3://bucket/more")
    for given, place in (("s3://b/i", "s3://b/i"), ("file:/data/i", "file:///data/i")):
        assert build_spec(config, read_manifest(BUNDLED), given).image_root == place


def test_limits_and_roots_have_a_digest_and_nothing_else_changes_it():
    manifest = read_manifest(BUNDLED)

    def digest(root="/shop", **settings):
        return build_spec(JobConfig(**settings), manifest, root).limits_digest

    own = digest()
    assert len(own) == 12 and own == digest(batch_size=8, target_precision=0.95)
    others = [
        digest("/other"),
        digest(allowed_image_roots=("/more",)),
        digest(image_hosts=("cdn.example.com",)),
        digest(image_limits={"max_pixels": 10}),
    ]
    assert len({own, *others}) == 5


@pytest.mark.parametrize(
    ("lexicon", "listed"),
    [
        ({"colour": {"navy": "blue"}}, "found colour, expected one of color, pattern, style"),
        ({"color": {"navy": "bleu"}}, "found bleu, expected one of .*blue.*red"),
        ({"color": {"Blue": None}}, "takes out 'Blue', which is a label's own name"),
    ],
)
def test_words_that_cannot_be_used_are_refused(lexicon, listed):
    with pytest.raises(ConfigError, match=listed):
        build_spec(JobConfig(lexicon=lexicon), read_manifest(BUNDLED), ".")


def test_a_sources_own_words_are_part_of_the_version_of_its_answers():
    manifest = read_manifest(BUNDLED)

    def version(lexicon):
        spec = build_spec(JobConfig(lexicon=lexicon), manifest, ".")
        assert spec.own.words == lexicon
        return spec.model_version

    own = {"color": {"ink": "blue", "navy": None}}
    assert version(own) == version({"color": {"navy": None, "ink": "blue"}})
    assert len({version(own), version({}), version({"color": {"ink": "black", "navy": None}})}) == 3
