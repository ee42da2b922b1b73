"""answer RUN: computes cases one after another, so that PyTorch starts once for all of them.

RUN is tests/reference/run.py. Each line of standard input is a JSON list of its arguments; each line of standard output
a JSON object with what it printed (`said`), and with what went wrong (`wrong`, null where nothing did).
"""

import contextlib
import io
import json
import os
import runpy
import sys
import traceback

import torch

torch.set_num_threads(1)
run = os.path.abspath(sys.argv[1])
sys.path.insert(0, os.path.dirname(run))


def forget_modules():
    """Nothing of one case is left for the next one: no fault stays planted."""
    beside = os.path.dirname(run) + os.sep
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(beside):
            del sys.modules[name]


def answer(arguments):
    forget_modules()
    torch.set_default_dtype(torch.float32)
    sys.argv = [run, *arguments]
    said, wrong = io.StringIO(), None
    try:
        with contextlib.redirect_stdout(said):
            runpy.run_path(run, run_name="__main__")
    except SystemExit as end:
        wrong = str(end) if end.code else None
    except Exception:
        wrong = traceback.format_exc()
    return {"said": said.getvalue(), "wrong": wrong}


for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))), flush=True)
