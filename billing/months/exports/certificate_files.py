"""The files of a certificate: as `verify.py` reads it, and as a PDF.

Invariant: the same certificate makes the same bytes.
"""

import json
from typing import BinaryIO, Final

from billing.models import Certificate
from billing.months.certificates.issuing import as_file
from billing.months.exports.pages.certificate_pdf import write_certificate

FORMATS: Final = {
    "certificate": ("certificate.json", "application/json"),
    "certificate-pdf": ("certificate.pdf", "application/pdf"),
}


def write_file(certificate: Certificate, format_name: str, out: BinaryIO) -> None:
    """Write one of FORMATS."""
    file = as_file(certificate)
    if format_name == "certificate":
        out.write(json.dumps(file, indent=1, sort_keys=True).encode() + b"\n")
    else:
        write_certificate(json.loads(certificate.text), file, out)
