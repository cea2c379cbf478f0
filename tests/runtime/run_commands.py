"""Runs commands of `pocketrnn` one after the other in this process; for tests whose library reads the environment once.

Standard input holds a JSON list of [arguments, variables]; what is printed, of [exit status, output, errors].
"""

from __future__ import annotations

import json
import os
import sys

from click.testing import CliRunner

from pocketrnn.commands.cli import main

if __name__ == "__main__":
    said = []
    for arguments, variables in json.load(sys.stdin):
        os.environ.update(variables)
        done = CliRunner().invoke(main, arguments)
        said.append([done.exit_code, done.stdout, done.stderr])
    print(json.dumps(said))
