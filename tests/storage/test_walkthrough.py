"""examples/seed_walkthrough.py says what it should, on a disk and on S3."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.storage.s3_server import S3Server

ROOT = Path(__file__).parents[2]

SAID = """\

== Two variables and their sum
v1 = [10.]  v2 = [2.]  v1 + v2 = [12.]

== Save: four files
saved as model.ckpt
checkpoint
model.ckpt.data-00000-of-00001
model.ckpt.index
model.ckpt.meta

== Save as TensorFlow before 1.0 did: three files
checkpoint
model.ckpt
model.ckpt.meta

== Restore by declaring the variables again
v1 + v2 = [12.]
and from the old format: [12.]

== Restore by importing the graph, and run it
add:0 = [12.]

== A part of the variables
v1 restored: [10.]  v2 as it was: [2.]

== Under other names
[('other-v1', [1]), ('other-v2', [1])]
(('v1', 'other-v1'),)
v1 = [10.]

== A name that is not there
missing: ('v3',)  not asked for: ('v2',)
v1 is as it was: [10.]

== The newest five
['model.ckpt-200.index', 'model.ckpt-300.index', 'model.ckpt-400.index', 'model.ckpt-500.index', 'model.ckpt-600.index']
latest: model.ckpt-600

== Moving averages
weight = 8.0  its average = 5.0
['weight', 'weight/ExponentialMovingAverage']
restored for an evaluation: weight = 5.0

== The MetaGraph
read back from JSON, it is the same: True
meta_info_def: 2.21.0 ['AddV2', 'Assign', 'Const', 'Identity', 'NoOp', 'PlaceholderWithDefault', 'RestoreV2', \
'SaveV2', 'VariableV2']
graph_def: ['v1/initial_value', 'v1', 'v1/Assign', 'v1/read', 'v2/initial_value', 'v2', 'v2/Assign', 'v2/read', 'add']
saver_def: save/control_dependency:0 save/restore_all 5
collection_def: {'trainable_variables': 2, 'variables': 2}

== Freeze
['v1 (Const)', 'v2 (Const)', 'add (AddV2)']
"""


def walk(*arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "seed_walkthrough.py"), *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_on_a_disk() -> None:
    assert walk() == SAID


def test_on_s3(s3_server: S3Server) -> None:
    options = {"endpoint_url": s3_server.url, "key": "testing", "secret": "testing-secret"}
    assert walk("s3://bucket/model", STORAGE_OPTIONS=json.dumps(options)) == SAID
