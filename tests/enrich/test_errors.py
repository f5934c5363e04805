"""Passwords and tokens are hidden wherever text is shown, and refused in the settings."""

import pytest

from enrich.config import JobConfig
from enrich.errors import ConfigError, describe_error, redact
from enrich.settings_files import load_yaml

SECRET = "hunter2/x+y"


@pytest.mark.parametrize(
    "text",
    [
        f"s3://AKIA:{SECRET}@bucket/images",
        f"cannot read 's3a://AKIA:{SECRET}@bucket': no such key",
        f"jdbc:postgresql://host:5432/metastore?user=me&password={SECRET}",
        f"s3://bucket/x?X-Amz-Expires=60&X-Amz-Signature={SECRET}&a=b",
        f"DefaultEndpointsProtocol=https;AccountName=me;AccountKey={SECRET};EndpointSuffix=x",
        f"fs.s3a.secret.key={SECRET}, fs.s3a.endpoint=host",
        f"s3://AKIA:12/{SECRET}@bucket/images",
        f"api-key='{SECRET}'",
        f"https://host/a.jpg?e=1&h={SECRET}",
        f'["https://host/a.jpg?{SECRET}","b.jpg"]',
        f"found {{'url': 'x', 'password': '{SECRET}'}}",
        f"password='a, b&{SECRET}; c', user=me",
    ],
)
def test_what_looks_like_a_secret_is_hidden(text):
    shown = redact(text)
    assert "hunter2" not in shown and "***" in shown
    assert redact(shown) == shown


@pytest.mark.parametrize("scheme", ["https", "s3", "hdfs", "jdbc:postgresql"])
def test_a_user_whose_name_is_an_e_mail_address_has_a_password_too(scheme):
    shown = redact(f"nothing at {scheme}://me@corp.com:hunter2@store:8020/models")
    assert shown == f"nothing at {scheme}://***@store:8020/models"


@pytest.mark.parametrize(
    "text",
    [
        "abfss://container@account.dfs.core.windows.net/images",
        "hdfs://me@namenode:8020/images",
        "hdfs://namenode:8020/2026@summer",
        "hdfs://me@namenode:8020/2026@summer",
        "s3://bucket/2026@summer/shirt: blue.jpg",
        "file:/home/me@work/a:b@c",
        "jdbc:derby:;databaseName=/x/metastore;create=true",
        "s3://bucket/x?region=eu-west-1&endpoint_override=http://127.0.0.1:5000",
        "tokenizer.json cannot be read: 3 tokens = 2",
        "mail ana@example.com",
    ],
)
def test_what_is_no_secret_stays(text):
    assert redact(text) == text


@pytest.mark.parametrize("setting", ["catalog", "image_root", "checkpoint", "allowed_image_roots"])
def test_an_address_with_a_password_is_refused_without_showing_it(tmp_path, setting):
    address = f"s3://AKIA:{SECRET}@bucket/x"
    file = tmp_path / "job.yaml"
    file.write_text(f"{setting}: {[address] if setting.endswith('roots') else address}\n")
    with pytest.raises(ConfigError, match=rf"{setting} holds a password .*s3://\*\*\*@bucket"):
        load_yaml(file, JobConfig)


def test_a_wrong_value_is_named_without_its_password(tmp_path):
    file = tmp_path / "job.yaml"
    file.write_text(f"image_root: ['s3://AKIA:{SECRET}@bucket/x']\n")
    with pytest.raises(ConfigError, match=r"image_root: .*found \['s3://\*\*\*@bucket/x'\]"):
        load_yaml(file, JobConfig)


def test_an_error_that_repeats_a_file_s_name_fits_any_table_and_no_terminal_obeys_it():
    shown = describe_error(OSError("no \ud800file\x1b[31m\u202e 'caf\u00e9.jpg'\nat line 1"))
    assert shown == "no \ufffdfile\ufffd[31m\ufffd 'caf\u00e9.jpg'"
    assert shown.encode()


def test_a_login_is_hidden_in_an_error_that_is_cut_within_it():
    login = f"AKIA:{SECRET * 20}"
    shown = describe_error(OSError(f"{'no such file ' * 20}s3://{login}@bucket/a.jpg"))
    assert "hunter2" not in shown and shown.endswith("s3://***@bucket/a.jpg")
