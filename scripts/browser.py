"""Installs Chromium for the tests of the studio where the system has none and its package manager has one.

Needs nothing of the project. Where nothing can be installed it says so and ends well, and the tests skip.
"""

from __future__ import annotations

import os
import shutil
import subprocess

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PACKAGES = ("chromium", "fonts-noto-cjk", "fonts-noto-color-emoji")  # the fonts are for the pictures


def main() -> None:
    """Look for a browser, and install one if there is none."""
    if any(map(shutil.which, BROWSERS)):
        return
    if not shutil.which("apt-get"):
        print("no browser, and no apt-get to install one: tests of the studio will be skipped")
        return
    become = [] if os.geteuid() == 0 else ["sudo", "-n"] if shutil.which("sudo") else []
    quietly = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "-y", "--no-install-recommends", *PACKAGES]):
        done = subprocess.run(
            [*become, "apt-get", "-qq", *command], env=quietly, stdout=subprocess.DEVNULL, check=False
        )
        if done.returncode:
            print("chromium cannot be installed here: tests of the studio will be skipped; install it yourself")
            return


if __name__ == "__main__":
    main()
