# SPDX-License-Identifier: Apache-2.0
"""How little memory makes the experts of a model come and go, for tests."""
import re
import subprocess


def least_ram(sluice, model, *flags):
    """The least --ram (in steps of 1 MiB) with which the model runs with these flags: few experts fit then."""
    for mebibytes in range(16, 1024):
        done = subprocess.run([sluice, "run", "-m", str(model), "-p", "a", "-n", "0", "-no-cnv", "--disk-profile", "off",
                               "--no-warm-start", "--no-show-timings", *flags, "--ram", f"{mebibytes}M"], capture_output=True,
                              text=True, check=False, timeout=60)
        if done.returncode == 0:
            assert re.search(r"\(\d+ %, the rest is read when needed\)", done.stderr), done.stderr
            return f"{mebibytes}M"
        assert "of memory are too little" in done.stderr, done.stderr
    raise AssertionError("no --ram below 1 GiB is enough")
