"""Settings are read from a file and from flags, and what is wrong in them is said."""

import pytest
from pydantic import ValidationError

from enrich.config import JobConfig
from enrich.errors import ConfigError
from enrich.settings_files import describe_invalid, load_yaml, parse_settings


@pytest.fixture
def file(tmp_path):
    return tmp_path / "job.yaml"


def test_an_unknown_key_is_named_together_with_the_known_ones(file):
    file.write_text("batchsize: 5\n")
    with pytest.raises(ConfigError) as error:
        load_yaml(file, JobConfig)
    assert "unknown key 'batchsize'" in str(error.value)
    assert all(key in str(error.value) for key in JobConfig.model_fields)


def test_an_unknown_key_of_a_part_is_named_with_those_of_that_part(file):
    file.write_text("image_limits: {max_pixel: 5}\nread_thread: 1\n")
    with pytest.raises(ConfigError) as error:
        load_yaml(file, JobConfig)
    nested, top = str(error.value).split("; unknown")
    assert "'image_limits.max_pixel' (known:" in nested and "max_pixels" in nested
    assert "read_threads" not in nested and "read_threads" in top


def test_every_wrong_value_is_named_with_what_was_found(file):
    file.write_text("batch_size: -5\ncolumns: {title: [1]}\n")
    with pytest.raises(ConfigError, match=r"job\.yaml: columns\.title: .* found \[1\]; batch_size"):
        load_yaml(file, JobConfig)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("max_deleted_share: yes", True),
        ("max_crashing_products: no", False),
        ("image_limits: {max_bytes: yes}", True),
        ("columns: {title: off}", False),
    ],
)
def test_a_truth_value_of_yaml_is_no_number(file, line, found):
    file.write_text(f"{line}\n")
    with pytest.raises(ConfigError, match=f"yes, no, on and off, found {found}"):
        load_yaml(file, JobConfig)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"batch_size: [5\n", "is not valid YAML"),
        (b"- batch_size\n", "expected lines like"),
        (b"report_dir: pages: x\n", r"not allowed here \(line 1, column 18\)"),
        (b"catalog: \xff\xfe\n", "is not valid YAML"),
        (b"catalog: 2026-13-45\n", "is not valid YAML"),
        (b"[" * 5_000, "is not valid YAML"),
        (b"catalog: a\ncatalog: b\n", "catalog comes twice"),
        (b"catalog: !!python/object/apply:os.getcwd []\n", "is not valid YAML"),
    ],
)
def test_a_file_that_is_no_settings_is_a_config_error(file, content, message):
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as error:
        load_yaml(file, JobConfig)
    assert str(file) in str(error.value)
    # The last line is what Airflow makes known.
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_is_a_config_error(file):
    for path in (file, file.parent):
        with pytest.raises(ConfigError, match=f"no configuration in {path}"):
            load_yaml(path, JobConfig)


def test_an_empty_file_means_the_defaults(file):
    file.write_text("# nothing\n")
    assert load_yaml(file, JobConfig) == JobConfig()


def test_an_override_goes_before_the_file_unless_it_is_none(file):
    file.write_text("catalog: from_file\ndatabase: from_file\n")
    settings = load_yaml(file, JobConfig, {"catalog": "from_flag", "database": None})
    assert (settings.catalog, settings.database) == ("from_flag", "from_file")


def test_what_is_stated_goes_before_the_file_also_where_it_is_null_and_flags_before_it(file):
    file.write_text("image_root: from_file\ncatalog: from_file\n")
    stated = {"image_root": None, "catalog": "stated", "database": "stated"}
    settings = load_yaml(file, JobConfig, {"catalog": "from_flag", "database": None}, stated)
    assert (settings.image_root, settings.catalog) == (None, "from_flag")
    assert settings.database == "stated"


def test_an_override_is_validated_too(file):
    file.write_text("")
    with pytest.raises(ConfigError, match="database"):
        load_yaml(file, JobConfig, {"database": "x; DROP TABLE"})


def test_what_a_flag_says_is_not_blamed_on_the_file(file):
    file.write_text("catalog: shop")
    with pytest.raises(ConfigError) as error:
        load_yaml(file, JobConfig, {"database": "1a-b"})
    assert str(error.value).startswith("database: ")
    file.write_text("batch_size: 0")
    with pytest.raises(ConfigError, match=str(file)):
        load_yaml(file, JobConfig, {"database": "1a-b"})


def test_settings_on_the_command_line_have_their_values_as_in_yaml():
    given = ["modality_wise=false", "phases=[{epochs: 2}]", "name=a=b"]
    assert parse_settings(given) == {
        "modality_wise": False,
        "phases": [{"epochs": 2}],
        "name": "a=b",
    }


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("seed", "expected KEY=VALUE"),
        ("seed=[", "seed"),
        ("seed=2026-13-45", "seed"),
        ("towers={vision: a, vision: b}", "vision comes twice"),
    ],
)
def test_a_setting_that_cannot_be_read_is_an_error(given, problem):
    with pytest.raises(ConfigError, match=problem) as error:
        parse_settings([given])
    assert "\n" not in str(error.value)


def test_problems_are_described_in_one_line():
    with pytest.raises(ValidationError) as error:
        JobConfig.model_validate({"no": 1, "batch_size": 0, "image_limits": {"max_bytes": "x"}})
    text = describe_invalid(error.value, JobConfig)
    assert "\n" not in text and text.count("; ") == 2


def test_of_a_long_address_no_part_of_its_password_is_shown(file):
    file.write_text(f"catalog: [https://feed:{'eyJ' * 1_000}@shop/products.csv]\n")
    with pytest.raises(ConfigError, match=r"found \['https://\*\*\*@shop/products\.csv'\]"):
        load_yaml(file, JobConfig)
