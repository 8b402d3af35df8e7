# SPDX-License-Identifier: Apache-2.0
"""Writes a small offline catalogue of offers in the form that gpuhunt downloads.

Invented offers at invented prices: only that they go through the real server matters.
"""

import csv
import io
import pathlib
import sys
import zipfile

from gpuhunt._internal.catalog import OFFLINE_PROVIDERS
from gpuhunt._internal.storage import CATALOG_V2_FIELDS

OFFERS = [
    # instance, region, price, cpus, memory, gpus, gpu, gpu memory, spot, disk, vendor
    ("standin-h100", "XX-1", 2.0, 16, 128, 1, "H100", 80, False, "", "nvidia"),
    ("standin-h100", "XX-1", 1.5, 16, 128, 1, "H100", 80, True, "", "nvidia"),
    ("standin-l4", "XX-2", 0.5, 8, 32, 1, "L4", 24, False, "", "nvidia"),
    ("standin-mi300x", "XX-1", 3.0, 16, 128, 1, "MI300X", 192, False, "", "amd"),
    ("standin-cpu", "XX-1", 0.1, 4, 16, 0, "", "", False, 40, ""),
]


def main(root: str) -> None:
    for provider in OFFLINE_PROVIDERS:
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerow(CATALOG_V2_FIELDS)
        for offer in OFFERS if provider == "runpod" else ():
            writer.writerow([*offer, "", "x86", '{"pod_counts": [1]}' if offer[6] else "{}"])
        folder = pathlib.Path(root) / provider / "test"
        folder.mkdir(parents=True)
        (folder.parent / "version").write_text("test")
        with zipfile.ZipFile(folder / "catalog.zip", "w") as archive:
            archive.writestr(f"{provider}.csv", text.getvalue())


if __name__ == "__main__":
    main(sys.argv[1])
