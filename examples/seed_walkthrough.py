"""Everything tf.train.Saver is known for, without TensorFlow: one story in one file.

    python examples/seed_walkthrough.py                     in a directory of its own, on this disk
    python examples/seed_walkthrough.py s3://bucket/model   on S3, GCS, or any other store that fsspec reaches

Options for the store are read from the environment variable STORAGE_OPTIONS, as JSON:
{"endpoint_url": "http://localhost:5000", "key": "...", "secret": "..."}.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np

import ckptstore as ck
from ckptstore.storage import from_url

Options = Mapping[str, Any] | None


def heading(text: str) -> None:
    print(f"\n== {text}")


def files(where: str, options: Options) -> list[str]:
    """What is there, but for what ckptstore keeps for itself."""
    with from_url(where, options) as store:
        return sorted(meta.key for meta in store.list() if not meta.key.startswith("."))


def declare() -> tuple[ck.Variable, ck.Variable, ck.Tensor]:
    """Two variables and their sum, in a fresh default graph."""
    ck.reset_default_graph()
    v1 = ck.Variable(np.array([1.0], np.float32), name="v1")
    v2 = ck.Variable(np.array([2.0], np.float32), name="v2")
    return v1, v2, v1 + v2


def walk(url: str, options: Options = None) -> None:
    heading("Two variables and their sum")
    v1, v2, total = declare()
    v1.assign([10.0])
    print("v1 =", v1.numpy(), " v2 =", v2.numpy(), " v1 + v2 =", total.eval())

    heading("Save: four files")
    path = ck.Saver(storage_options=options).save(f"{url}/model.ckpt")
    print("saved as", path.rpartition("/")[2])
    print(*files(url, options), sep="\n")

    heading("Save as TensorFlow before 1.0 did: three files")
    old = ck.Saver(name="old", write_version=ck.SaverDef.V1, storage_options=options)
    old_path = old.save(f"{url}/v1/model.ckpt")
    print(*files(f"{url}/v1", options), sep="\n")

    heading("Restore by declaring the variables again")
    v1, v2, total = declare()
    saver = ck.Saver(storage_options=options)
    saver.restore(path)
    print("v1 + v2 =", total.eval())
    saver.restore(old_path)
    print("and from the old format:", total.eval())

    heading("Restore by importing the graph, and run it")
    graph = ck.Graph()
    imported = ck.import_meta_graph(f"{path}.meta", graph=graph, storage_options=options)
    imported.restore(path)
    print("add:0 =", imported.graph.run("add:0"))

    heading("A part of the variables")
    v1, v2, total = declare()
    only = ck.Saver([v1], storage_options=options)
    only.restore(path)
    print("v1 restored:", v1.numpy(), " v2 as it was:", v2.numpy())

    heading("Under other names")
    aliased = ck.Saver({"other-v1": v1, "other-v2": v2}, name="aliases", storage_options=options)
    other = aliased.save(f"{url}/aliases/model.ckpt", write_meta_graph=False)
    print(ck.list_variables(other, storage_options=options))
    v1.assign([0.0])
    print(aliased.restore(other, names=["*-v1"]).used)
    print("v1 =", v1.numpy())

    heading("A name that is not there")
    try:
        ck.Saver({"v1": v1, "v3": v2}, name="wrong", storage_options=options).restore(path)
    except ck.TensorNotFoundError as error:
        print("missing:", error.missing, " not asked for:", error.unexpected)
        print("v1 is as it was:", v1.numpy())

    heading("The newest five")
    counted = ck.Saver([v1, v2], max_to_keep=5, name="counted", storage_options=options)
    for step in range(100, 700, 100):
        counted.save(f"{url}/steps/model.ckpt", global_step=step, write_meta_graph=False)
    print([file for file in files(f"{url}/steps", options) if file.endswith(".index")])
    print("latest:", ck.latest_checkpoint(f"{url}/steps", storage_options=options).rpartition("/")[2])

    heading("Moving averages")
    ck.reset_default_graph()
    weight = ck.Variable(np.float32(0.0), name="weight")
    ema = ck.ExponentialMovingAverage(0.5)
    for value in (0.0, 4.0, 8.0):
        weight.assign(np.float32(value))
        ema.apply([weight])
    print("weight =", weight.numpy(), " its average =", ema.average(weight).numpy())
    averaged = ck.Saver(storage_options=options).save(f"{url}/ema/model.ckpt")
    print([name for name, _ in ck.list_variables(averaged, storage_options=options)])
    ck.Saver(ema.variables_to_restore(), name="evaluation", storage_options=options).restore(averaged)
    print("restored for an evaluation: weight =", weight.numpy())

    heading("The MetaGraph")
    meta = imported.export_meta_graph(f"{url}/combined.json", as_json=True)
    again = ck.load_meta_graph(f"{url}/combined.json", storage_options=options)
    print("read back from JSON, it is the same:", again.to_bytes() == meta.to_bytes())
    info = meta.meta_info_def
    print("meta_info_def:", info.tensorflow_version, [op.name for op in info.stripped_op_list.op])
    print("graph_def:", [node.name for node in meta.graph_def.node if not node.name.startswith("save")])
    print("saver_def:", meta.saver_def.save_tensor_name, meta.saver_def.restore_op_name, meta.saver_def.max_to_keep)
    print("collection_def:", {key: len(items) for key, items in meta.collections.items()})

    heading("Freeze")
    frozen = ck.freeze_graph(f"{path}.meta", path, ["add"], f"{url}/frozen.pb", storage_options=options)
    print([f"{node.name} ({node.op})" for node in frozen.node])


def main(arguments: list[str]) -> None:
    text = os.environ.get("STORAGE_OPTIONS")
    if arguments:
        walk(arguments[0].rstrip("/"), json.loads(text) if text else None)
        return
    with tempfile.TemporaryDirectory() as directory:
        walk(directory)


if __name__ == "__main__":
    main(sys.argv[1:])
