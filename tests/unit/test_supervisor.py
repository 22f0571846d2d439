"""The supervisor that keeps the parts of a stack alive, without any part."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from deploy.local.state import Home
from tests.stack import ROOT

SECONDS = 20.0


def test_a_signal_may_come_as_soon_as_the_pid_is_there(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    command = [sys.executable, "-m", "deploy.local.supervisor"]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "MILLRACE_HOME": str(tmp_path)})
    while not (home.pid("supervisor").exists() and home.pid("supervisor").read_text()):
        assert process.poll() is None
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    assert process.wait(SECONDS) == 0
