# SPDX-License-Identifier: Apache-2.0
"""``python -m roofline``."""

from roofline.cli.main import entry

if __name__ == "__main__":
    entry()
