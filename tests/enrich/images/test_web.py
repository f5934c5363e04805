"""Images by URL come from allowed hosts and public addresses alone, within their limits."""

import socket
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from image_host import image_host, reach_this_machine

from enrich.config import JobConfig
from enrich.images import web
from enrich.images.settings import ImageLimits, ImageProblem, ImageReading, ImageStat
from enrich.images.store import ImageStore
from enrich.records import Status

PICTURE = b"a picture" * 1_000
ONCE = ImageReading(attempts=1, timeout_s=5)


@pytest.fixture
def names(monkeypatch):
    return reach_this_machine(monkeypatch)


@pytest.fixture
def host(names):
    with image_host() as served:
        yield served


def store(host, reading=ONCE, max_bytes=100_000):
    allowed = (f"cdn.example.com:{host.port}", f"img.example.com:{host.port}")
    limits = ImageLimits(max_bytes=max_bytes)
    return ImageStore("/nowhere", limits=limits, reading=reading, hosts=allowed)


def problem(store, url):
    with pytest.raises(ImageProblem) as raised:
        store.read(url)
    return raised.value


def test_a_picture_of_an_allowed_host_is_read(host):
    host.sends("/a%20b.jpg?v=1", PICTURE)
    assert store(host).read(host.url("/a b.jpg?v=1#top")) == PICTURE
    assert host.asked[f"cdn.example.com:{host.port}"] == 1


def test_connections_are_used_again(host):
    url = host.sends("/a.jpg", PICTURE)
    for _ in range(5):
        assert store(host).read(url) == PICTURE
    assert host.connections == 1


def test_a_connection_that_the_host_closed_is_not_used_again(host):
    def close_afterwards(request):
        request.send_response(200)
        request.send_header("Content-Length", "1")
        request.end_headers()
        request.wfile.write(b"x")
        request.close_connection = True

    host.answers["/a.jpg"] = close_afterwards
    for _ in range(3):
        assert store(host).read(host.url("/a.jpg")) == b"x"
        time.sleep(0.05)


# Hosts and addresses


@pytest.mark.parametrize(
    "url",
    [
        "http://evil.example.com/a.jpg",
        "http://cdn.example.com/a.jpg",
        "http://cdn.example.com.evil.com:{port}/a.jpg",
        "http://cdn.example.com:{port}@evil.com/a.jpg",
        "http://me:hush@cdn.example.com:{port}/a.jpg",
        "http://evil.com\\@cdn.example.com:{port}/a.jpg",
        "http://cdn.example.com:{port}\r\nHost: evil.com/a.jpg",
        "http://127.0.0.1:{port}/a.jpg",
    ],
)
def test_only_the_hosts_of_the_setting_are_asked(host, url):
    host.sends("/a.jpg", PICTURE)
    refused = problem(store(host), url.format(port=host.port))
    assert refused.status is Status.IMAGE_FORBIDDEN and "hush" not in str(refused)
    assert not host.asked


def test_without_the_setting_a_url_is_refused_and_the_setting_named():
    refused = problem(ImageStore("/nowhere"), "https://cdn.example.com/a.jpg?token=hush")
    assert refused.status is Status.IMAGE_FORBIDDEN
    assert "image_hosts" in str(refused) and "hush" not in str(refused)


ADDRESSES = [
    "10.0.0.1",
    "127.0.0.2",
    "169.254.169.254",
    "100.100.100.200",
    "192.0.0.192",
    "::1",
    "fe80::1",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a00:1::1",
    "8.8.8.8 10.0.0.1",
]


@pytest.mark.parametrize("addresses", ADDRESSES)
def test_a_name_that_leads_to_no_public_address_is_refused(host, names, addresses, monkeypatch):
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: pytest.fail("connected"))
    names["cdn.example.com"] = addresses
    assert problem(store(host), host.url("/a.jpg")).status is Status.IMAGE_FORBIDDEN


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_an_address_of_the_internet_is_public(address):
    assert web.is_public(str(ip_address(address)))


def test_a_name_is_resolved_once_for_check_and_connection(host, names):
    host.sends("/a.jpg", PICTURE)
    assert store(host).read(host.url("/a.jpg")) == PICTURE
    assert names.asked == 1


# Redirects


def test_a_redirect_may_hold_raw_utf_8(host):
    host.sends("/r%C3%B6ck.jpg", PICTURE)
    url = host.sends("/here.jpg", b"moved", 302, Location="/r\xc3\xb6ck.jpg")
    assert store(host).read(url) == PICTURE


def test_a_redirect_to_an_allowed_host_is_followed(host):
    host.sends("/there.jpg", PICTURE)
    host.sends("/here.jpg", b"moved", 302, Location=host.url("/there.jpg", "img.example.com"))
    assert store(host).read(host.url("/here.jpg")) == PICTURE
    assert host.asked[f"img.example.com:{host.port}"] == 1


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://127.0.0.1:{port}/there.jpg",
        "//evil.example.com/there.jpg",
        "file:///etc/hostname",
        "http://[bad/there.jpg",
        "ftp://cdn.example.com:{port}/there.jpg",
    ],
)
def test_a_redirect_to_another_place_is_refused(host, target):
    host.sends("/there.jpg", PICTURE)
    url = host.sends("/here.jpg", status=301, Location=target.format(port=host.port))
    assert problem(store(host), url).status is Status.IMAGE_FORBIDDEN
    assert host.asked.total() == 2


def test_a_redirect_to_a_name_with_a_private_address_is_refused(host, names):
    names["img.example.com"] = "10.0.0.1"
    target = host.url("/there.jpg", "img.example.com")
    url = host.sends("/here.jpg", status=307, Location=target)
    assert problem(store(host), url).status is Status.IMAGE_FORBIDDEN


def test_redirects_in_a_circle_end(host):
    url = host.sends("/loop.jpg", status=302, Location="/loop.jpg")
    assert problem(store(host), url).status is Status.IMAGE_UNREADABLE
    assert host.asked["GET /loop.jpg"] == web.MOST_REDIRECTS + 1


# Size and time


def test_a_picture_that_says_it_is_too_large_is_not_read(host):
    url = host.sends("/a.jpg", b"", Content_Length="1000000000000")
    assert problem(store(host), url).status is Status.IMAGE_TOO_LARGE


@pytest.mark.parametrize("size", [99_999, 100_000, 100_001])
def test_a_picture_without_a_size_is_read_up_to_the_limit(host, size):
    def stream(request):
        request.send_response(200)
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        request.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (size, b"x" * size))

    host.answers["/a.jpg"] = stream
    if size <= 100_000:
        assert len(store(host).read(host.url("/a.jpg"))) == size
    else:
        assert problem(store(host), host.url("/a.jpg")).status is Status.IMAGE_TOO_LARGE


def drip(request, lines):
    for byte in lines:
        request.wfile.write(bytes([byte]))
        time.sleep(0.1)


@pytest.mark.parametrize(
    "answer",
    [
        lambda request: time.sleep(3),
        lambda request: drip(request, b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n"),
        lambda request: drip(request, b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 90),
    ],
    ids=["silent", "slow headers", "slow body"],
)
def test_a_slow_host_costs_no_more_than_the_time_limit(host, answer):
    host.answers["/a.jpg"] = answer
    begin = time.monotonic()
    slow = store(host, ImageReading(attempts=1, timeout_s=0.5))
    assert problem(slow, host.url("/a.jpg")).status is Status.IMAGE_UNREADABLE
    assert time.monotonic() - begin < 1.5


@pytest.mark.parametrize("body", [b"half", b""])
def test_half_a_picture_is_asked_for_again(host, body):
    url = host.sends("/a.jpg", body, Content_Length="4000", Connection="close")
    again = store(host, ImageReading(attempts=2, timeout_s=5))
    assert problem(again, url).status is Status.IMAGE_UNREADABLE
    assert host.asked["GET /a.jpg"] == 2


# Statuses


@pytest.mark.parametrize(
    ("status", "expected", "requests"),
    [
        (404, Status.IMAGE_MISSING, 1),
        (410, Status.IMAGE_MISSING, 1),
        (403, Status.IMAGE_UNREADABLE, 1),
        (204, Status.IMAGE_UNREADABLE, 1),
        (429, Status.IMAGE_UNREADABLE, 3),
        (500, Status.IMAGE_UNREADABLE, 3),
        (503, Status.IMAGE_UNREADABLE, 3),
    ],
)
def test_a_status_says_whether_to_ask_again(host, status, expected, requests):
    url = host.sends("/a.jpg", status=status)
    assert problem(store(host, ImageReading(timeout_s=9)), url).status is expected
    assert host.asked["GET /a.jpg"] == requests


@pytest.mark.parametrize("page", [b"<!DOCTYPE html>not here", b"\xef\xbb\xbf\r\n <html>"])
def test_a_page_instead_of_a_picture_is_a_missing_picture(host, page):
    assert problem(store(host), host.sends("/a.jpg", page)).status is Status.IMAGE_MISSING


def once(host, first):
    """Answer the next request for a picture in one way, and others with the picture."""
    url = host.sends("/a.jpg", PICTURE)
    later = host.answers["/a.jpg"]

    def answer(request):
        host.answers["/a.jpg"] = later
        first(request)

    host.answers["/a.jpg"] = answer
    return url


@pytest.mark.parametrize(("status", "form"), [(429, "1"), (429, "1.0"), (503, "date")])
def test_a_pause_that_a_host_asks_for_is_kept(host, status, form):
    pause = in_http(datetime.now(UTC) + timedelta(seconds=2)) if form == "date" else form
    host.sends("/busy.jpg", status=status, Retry_After=pause)
    busy = host.answers["/busy.jpg"]
    begin = time.monotonic()
    assert store(host, ImageReading(timeout_s=9)).read(once(host, busy)) == PICTURE
    assert time.monotonic() - begin > 0.9


def test_a_pause_longer_than_the_time_limit_is_waited_for(host, monkeypatch):
    monkeypatch.setattr(web, "LONGEST_PAUSE_S", 1.5)
    host.sends("/busy.jpg", status=429, Retry_After="86400")
    busy = host.answers["/busy.jpg"]
    quick = store(host, ImageReading(attempts=2, timeout_s=1))
    assert quick.read(once(host, busy)) == PICTURE
    assert host.asked["GET /a.jpg"] == 2


def test_few_requests_at_a_time_go_to_one_host(host):
    at_once, most, lock = 0, 0, threading.Lock()
    url = host.sends("/a.jpg", PICTURE)
    send = host.answers["/a.jpg"]

    def count(request):
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.05)
        with lock:
            at_once -= 1
        send(request)

    host.answers["/a.jpg"] = count
    threads = [threading.Thread(target=store(host).read, args=(url,)) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert host.asked["GET /a.jpg"] == 30
    assert 1 < most <= web.MOST_AT_ONCE


# Size and time without the bytes


def in_http(moment):
    return format_datetime(moment, usegmt=True)


MOMENT = datetime(2026, 11, 30, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"ETag": '"1"', "Last_Modified": in_http(MOMENT)}, ImageStat(9_000, '"1"', MOMENT)),
        ({"Last_Modified": "never"}, ImageStat(9_000, None, None)),
        ({"ETag": 'W/"2"', "Content_Length": "many"}, ImageStat(0, 'W/"2"', None)),
    ],
)
def test_a_host_is_asked_for_size_etag_and_time_without_the_bytes(host, headers, expected):
    url = host.sends("/a.jpg", PICTURE, **headers)
    assert store(host).stat(url) == expected
    assert store(host).stat(url) == expected
    assert host.asked["HEAD /a.jpg"] == 2 and host.connections == 1


@pytest.mark.parametrize("status", [400, 403, 405, 501])
def test_a_host_that_refuses_the_question_tells_nothing(host, status):
    assert store(host).stat(host.sends("/a.jpg", status=status)) == ImageStat(0, None, None)


def test_a_picture_that_is_not_there_has_no_size(host):
    with pytest.raises(ImageProblem) as raised:
        store(host).stat(host.url("/nowhere.jpg"))
    assert raised.value.status is Status.IMAGE_MISSING


# https


@pytest.fixture
def certificate(tmp_path):
    """A file with the key and the certificate of cdn.example.com, which signed itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "cdn.example.com")])
    built = x509.CertificateBuilder(name, name, key.public_key(), 1)
    built = built.not_valid_before(MOMENT - timedelta(days=9_999))
    built = built.not_valid_after(MOMENT + timedelta(days=9_999))
    names = x509.SubjectAlternativeName([x509.DNSName("cdn.example.com")])
    signed = built.add_extension(names, critical=False).sign(key, hashes.SHA256())
    plain = serialization.NoEncryption()
    pem = serialization.Encoding.PEM
    written = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    file = tmp_path / "host.pem"
    file.write_bytes(written + signed.public_bytes(pem))
    return file


@pytest.mark.parametrize("name", ["cdn.example.com", "img.example.com"])
def test_a_certificate_counts_for_its_own_name_alone(host, certificate, monkeypatch, name):
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(certificate)
    trusts = ssl.create_default_context(cafile=str(certificate))
    monkeypatch.setattr(web, "open_tls", lambda: trusts)
    with image_host(served) as secure:
        secure.sends("/a.jpg", PICTURE)
        url = secure.url("/a.jpg", name, "https")
        if name == "cdn.example.com":
            assert store(secure).read(url) == store(secure).read(url) == PICTURE
            assert secure.connections == 1
        else:
            assert problem(store(secure), url).status is Status.IMAGE_UNREADABLE
            assert not secure.asked


def test_a_redirect_from_https_to_http_is_refused(host, certificate, monkeypatch):
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(certificate)
    trusts = ssl.create_default_context(cafile=str(certificate))
    monkeypatch.setattr(web, "open_tls", lambda: trusts)
    with image_host(served) as secure:
        secure.sends("/a.jpg", status=302, Location=host.sends("/a.jpg", PICTURE))
        allowed = tuple(f"cdn.example.com:{one.port}" for one in (host, secure))
        both = ImageStore("/nowhere", reading=ONCE, hosts=allowed)
        refused = problem(both, secure.url("/a.jpg", scheme="https"))
        assert refused.status is Status.IMAGE_FORBIDDEN and not host.asked


# Settings


@pytest.mark.parametrize(
    "host",
    [
        *("https://cdn.example.com", "*.example.com", "CDN.example.com", "cdn.example.com:443"),
        *("a/b", "", "me@host"),
    ],
)
def test_a_host_that_is_not_a_name_is_refused(host):
    with pytest.raises(ValueError, match=r"cdn\.example\.com"):
        JobConfig(image_hosts=(host,))
