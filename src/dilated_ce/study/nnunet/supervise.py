"""Runs a command, and ends it with all that it started once its standard input is closed.

    python supervise.py COMMAND ...

The input is a pipe from who asked for the command. However that one ends, even killed, the pipe is
closed then: no training goes on that nobody knows of. It has to be first in a session of its own.
"""

import os
import signal
import subprocess
import sys
import threading


def main() -> None:
    """Carry the command out, and end as it does."""
    process = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    threading.Thread(target=_end_with_input, args=(process,), daemon=True).start()
    code = process.wait()
    sys.exit(code if code >= 0 else 128 - code)


def _end_with_input(process: "subprocess.Popen[bytes]") -> None:
    while os.read(0, 4096):
        pass
    if hasattr(os, "killpg"):
        os.killpg(0, signal.SIGKILL)
    process.kill()


if __name__ == "__main__":
    main()
