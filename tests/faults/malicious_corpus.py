"""The whole corpus of malicious artefacts, by what kind of file they pass for, and one honest file of each.

Here are also those files that featx keeps for itself in places that others may write to: journals,
checkpoints, and what stands in a store.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from featx.files import sha256_hex
from tests.faults import malicious, malicious_heads
from tests.faults.malicious import Artefact, npy_bytes, secret, writer, zip_bytes

# ------------------------------------------------------------------------------------------- specs


def spec_fields(**others) -> str:
    """The spec of a packaged backbone, with other fields."""
    from featx import FeatureExtractor

    fields = json.loads(FeatureExtractor("efficientnet_lite0").fit().spec_.to_json())
    return json.dumps({**fields, **others})


def model_of(text: Callable[[], str]) -> Callable[[Path], None]:
    """A head that says it is for features of this spec."""

    def build(path: Path) -> None:
        head = malicious_heads.head_bytes()
        path.write_bytes(malicious_heads.model_file(head, extraction_spec=text()))

    return build


def path_to_a_model() -> str:
    """A good model in the folder of secrets: opening it would be seen."""
    path = secret("secret.keras")
    Path(path).write_bytes(malicious.keras_file())
    return path


SPECS = {
    "backbone is a path": lambda: spec_fields(backbone=path_to_a_model(), preprocessing="unit"),
    "backbone is /etc/passwd": lambda: spec_fields(backbone="/etc/passwd"),
    "backbone is a relative path": lambda: spec_fields(backbone="../../x.keras", preprocessing="unit"),
    "backbone is an address": lambda: spec_fields(backbone="http://[::1]:9/x.keras"),
    "backbone is a number": lambda: spec_fields(backbone=3),
    "backbone is a list": lambda: spec_fields(backbone=["a"]),
    "backbone of escapes": lambda: spec_fields(backbone="\x1b[2J\nerror: all is well"),
    "input of terabytes": lambda: spec_fields(input_size=[2**20, 2**20]),
    "input of words": lambda: spec_fields(input_size="ab"),
    "negative input": lambda: spec_fields(input_size=[-1, 224]),
    "billions of views": lambda: spec_fields(n_views=10**9, views=["flip"], view_seed=0),
    "views of words": lambda: spec_fields(n_views="many"),
    "taps of numbers": lambda: spec_fields(taps=[1, 2]),
    "taps elsewhere": lambda: spec_fields(taps=["../../etc/passwd:avg"]),
    "blocks of numbers": lambda: spec_fields(feature_blocks=[1]),
    "blocks of infinity": lambda: spec_fields(feature_blocks=[["a", float("inf")]]),
    "seed of words": lambda: spec_fields(weights="random", weights_seed="a"),
    "precision of words": lambda: spec_fields(precision="os.system"),
    "preprocessing of numbers": lambda: spec_fields(preprocessing=3),
    "another version": lambda: spec_fields(version="\x1b[2J" * 1000),
    "one more field": lambda: spec_fields(evil=1),
    "deep": lambda: "[" * 100_000,
    "a list": lambda: "[]",
    "no JSON": lambda: "os.system",
}


# -------------------------------------------------------------------------- checkpoints and journals


def checkpoint(arrays: dict[str, bytes], **described) -> dict[str, bytes]:
    state = {"format_version": 1, "run": {}, "state": {}, "arrays_sha256": "0" * 64, **described}
    return {"state.json": json.dumps(state).encode(), **arrays}


ARRAYS = {"weights/0.npy": npy_bytes(np.arange(4.0))}
CHECKPOINTS = {
    **{
        name: lambda name=name: malicious.archive_tricks(checkpoint(ARRAYS), "weights/0.npy")[name]()
        for name in malicious.KERAS_ARCHIVES
        if name not in ("a pipe", "a folder")
    },
    "pickle": lambda: malicious.pickle.dumps(malicious.Payload()),
    "pickle in an array": lambda: zip_bytes(checkpoint({"a.npy": npy_bytes(malicious.PICKLED)}).items()),
    "terabytes in an array": lambda: zip_bytes(
        checkpoint({"a.npy": malicious.NPY["claims terabytes"]()}).items()
    ),
    "code in an array": lambda: zip_bytes(checkpoint({"a.npy": malicious.NPY["code for a shape"]()}).items()),
    "other digest": lambda: zip_bytes(checkpoint(ARRAYS).items()),
    "deep state": lambda: zip_bytes([("state.json", b"[" * 10**6)]),
    "state of words": lambda: zip_bytes(checkpoint({}, state="a", run="b").items()),
}


def journal_line(text: bytes) -> bytes:
    return b"\n%s %08x\n" % (text, zlib.crc32(text))


def journal_of(*entries: object) -> bytes:
    """Lines whose checksums are right; of a problem that an attacker may well know."""
    texts = [entry if isinstance(entry, bytes) else json.dumps(entry).encode() for entry in entries]
    return b"".join(map(journal_line, texts))


CELL = {
    "problem": "",
    "candidate": "a",
    "fold": 0,
    "fit_time": 0.0,
    "score_time": 0.0,
    "scores": {},
    "error": "",
}
JOURNALS = {
    "deep line": lambda: journal_of(b"{" + b'"a":{' * 100_000),
    "deep lists": lambda: journal_of(CELL, b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "no JSON": lambda: journal_of(CELL, b"os.system"),
    "list for a line": lambda: journal_of(CELL, [1, 2]),
    "no problem": lambda: journal_of({"candidate": "a"}),
    "scores of words": lambda: journal_of({**CELL, "scores": "abc"}),
    "fold of words": lambda: journal_of({**CELL, "fold": ["a"]}),
    "digits": lambda: journal_of(CELL, b'{"fold": ' + b"9" * 100_000 + b"}"),
    "another file": lambda: b"#!/bin/sh\ntouch PWNED\n",
    "pickle": lambda: malicious.pickle.dumps(malicious.Payload()),
}


def own_journal(change: Callable[[dict], None]) -> Callable[[Path], None]:
    """A journal of the very problem that is searched, whose lines were changed and summed up anew."""

    def build(path: Path) -> None:
        from featx import HeadSearch

        HeadSearch("knn", cv=3, journal=path).fit(*malicious_heads.digits(n_classes=2))
        lines = [line.rpartition(b" ")[0] for line in path.read_bytes().split(b"\n") if line]
        entries = [json.loads(line) for line in lines]
        for entry in entries:
            change(entry)
        path.write_bytes(journal_of(*entries))

    return build


OWN_JOURNALS = {
    "own lines without scores": own_journal(lambda entry: entry.pop("scores")),
    "own lines of words": own_journal(lambda entry: entry.update(scores={"score": "high"})),
    "own lines of lists": own_journal(lambda entry: entry.update(scores=[1], error=[1])),
    "own lines without a fold": own_journal(lambda entry: entry.update(fold=None)),
    "own lines of objects": own_journal(lambda entry: entry.update(candidate={"a": 1})),
}


# ------------------------------------------------------------------------------------------- stores


def graph_of(engine: str, graph: Callable[[], bytes], weights: bytes = b"") -> Callable[[Path], None]:
    """A converted model as a store keeps it: its name is the digest of whatever is in it."""

    def build(path: Path) -> None:
        path.mkdir(parents=True)
        content = graph()
        data = len(content).to_bytes(8, "little") + content + weights
        (path / f"{engine}-{sha256_hex(data)}.graph").write_bytes(data)

    return build


def openvino_xml(version: str = "opset1", head: str = "") -> bytes:
    layers = f"""<layer id="0" name="x" type="Parameter" version="{version}">
    <data shape="1,3" element_type="f32"/>
    <output><port id="0" precision="FP32"><dim>1</dim><dim>3</dim></port></output></layer>
    <layer id="1" name="y" type="Result" version="{version}"><input><port id="0" precision="FP32"><dim>1</dim>
    <dim>3</dim></port></input></layer>"""
    edges = '<edge from-layer="0" from-port="0" to-layer="1" to-port="0"/>'
    net = f'<net name="m" version="11"><layers>{layers}</layers><edges>{edges}</edges></net>'
    return f'<?xml version="1.0"?>{head}{net}'.encode()


ENTITIES = '<!DOCTYPE net [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
GRAPHS = {
    "ONNX weights elsewhere": graph_of("onnx", lambda: onnx_graph(malicious.outside(secret("secret.bin")))),
    "ONNX weights above": graph_of("onnx", lambda: onnx_graph(malicious.outside("../secret/secret.bin"))),
    "ONNX operation of its own": graph_of("onnx", lambda: onnx_graph(malicious.python_operation)),
    "ONNX function of its own": graph_of("onnx", lambda: onnx_graph(malicious.own_function)),
    "no ONNX": graph_of("onnx", lambda: b"\x08" + bytes(100)),
    "OpenVINO extension": graph_of("openvino", lambda: openvino_xml("extension")),
    "OpenVINO entities": graph_of("openvino", lambda: openvino_xml(head=ENTITIES)),
    "OpenVINO file": graph_of(
        "openvino", lambda: openvino_xml(head='<!DOCTYPE net [<!ENTITY a SYSTEM "file:///etc/passwd">]>')
    ),
    "no OpenVINO": graph_of("openvino", lambda: b"<net"),
}


def onnx_graph(change) -> bytes:
    return malicious.onnx_model(change).SerializeToString()


def store_with(change: Callable[[Path], None]) -> Callable[[Path], None]:
    """A store of a real run, of whose rows none are left, with something changed beside them."""

    def build(path: Path) -> None:
        import featx

        extractor = featx.FeatureExtractor("MobileNetV2", input_size=(32, 32), weights=None)
        images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype(np.uint8)
        featx.extract(images, extractor, store=path)
        (folder,) = (path / "features").iterdir()
        for shard in folder.glob("*.h5"):
            shard.unlink()
        change(folder)

    return build


def decisions(change: Callable[[dict], object]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        found = list(folder.glob("engine-*.json"))
        assert found, "the run kept no decision"
        for path in found:
            fields = json.loads(path.read_text())
            changed = change(fields)
            path.write_bytes(changed if isinstance(changed, bytes) else json.dumps(fields).encode())

    return store_with(edit)


def linked_decision(folder: Path) -> None:
    for path in folder.glob("engine-*.json"):
        path.unlink()
        path.symlink_to(secret("secret.txt"))


STORES = {
    "graph elsewhere": decisions(lambda fields: fields.update(graph="../../../../etc/passwd")),
    "graph is a path": decisions(lambda fields: fields.update(graph=secret("secret.bin"))),
    "graph is a number": decisions(lambda fields: fields.update(graph=3)),
    "billions of rows": decisions(lambda fields: fields.update(batch_size=10**9)),
    "rows of words": decisions(lambda fields: fields.update(batch_size="many")),
    "no rows": decisions(lambda fields: fields.update(batch_size=-1)),
    "unknown engine": decisions(lambda fields: fields.update(engine="os.system")),
    "unknown precision": decisions(lambda fields: fields.update(precision="float1")),
    "share of words": decisions(lambda fields: fields.update(precision="bfloat16", float32_share="a")),
    "one more field": decisions(lambda fields: fields.update(evil=1)),
    "deep decision": decisions(lambda _: b"[" * 100_000),
    "endless decision": decisions(lambda _: b" " * 2**21),
    "decision of bytes": decisions(lambda _: b"\xff\xfe\xff"),
    "decision is a link": store_with(linked_decision),
    "deep spec": store_with(lambda folder: (folder / "spec.json").write_text("[" * 100_000) and None),
    "spec of numbers": store_with(lambda folder: (folder / "spec.json").write_text("3") and None),
}


# --------------------------------------------------------------------------------------------- all


def listed(builders: dict[str, Callable[[Path], None]], *, harmless: bool = False) -> list[Artefact]:
    return [Artefact(name, build, harmless) for name, build in builders.items()]


def written(makers: dict[str, Callable[[], bytes]], *, harmless: bool = False) -> list[Artefact]:
    return listed({name: writer(make) for name, make in makers.items()}, harmless=harmless)


CORPUS: dict[str, list[Artefact]] = {
    "keras": listed({**malicious.KERAS_CONFIGS, **malicious.KERAS_WEIGHTS, **malicious.KERAS_ARCHIVES}),
    "heads": written(malicious_heads.HOSTILE),
    "answers": written(malicious_heads.ANSWERS, harmless=True),
    "specs": listed({name: model_of(text) for name, text in SPECS.items()}),
    "npy": [*written(malicious.NPY), Artefact("a pipe", malicious.KERAS_ARCHIVES["a pipe"])],
    "npz": written(malicious.NPZ),
    "features": listed(
        {name: partial(malicious.features_with, trick=trick) for name, trick in malicious.HDF5_TRICKS.items()}
    ),
    "images": listed(
        {name: partial(malicious.images_with, trick=trick) for name, trick in malicious.HDF5_TRICKS.items()}
    ),
    "onnx": written(malicious.ONNX),
    "litert": written(malicious.LITERT),
    "saved_model": listed(malicious.SAVED_MODEL),
    "graphs": listed(GRAPHS),
    "checkpoints": written(CHECKPOINTS),
    "journals": [*written(JOURNALS, harmless=True), *listed(OWN_JOURNALS, harmless=True)],
    "stores": listed(STORES, harmless=True),
}

# Not of the corpus: what the watch itself is tried on.
WATCHED = [Artefact("pickle", writer(lambda: malicious.pickle.dumps(malicious.Payload())))]

HONEST: dict[str, Callable[[Path], None]] = {
    "watched": writer(lambda: b""),
    "keras": writer(malicious.keras_file),
    "heads": writer(lambda: malicious_heads.model_file(malicious_heads.head_bytes())),
    "answers": writer(lambda: malicious_heads.altered("columns")),
    "specs": model_of(spec_fields),
    "npy": writer(lambda: npy_bytes(malicious.IMAGES)),
    "npz": writer(lambda: zip_bytes(malicious.npz().items())),
    "features": lambda path: malicious.features_with(path, honest_rows),
    "images": lambda path: malicious.images_with(path, honest_images),
    "onnx": writer(malicious.onnx_bytes),
    "litert": writer(lambda: b""),
    "saved_model": lambda path: malicious.saved_model(path, malicious.zeros),
    "graphs": graph_of("openvino", openvino_xml),
    "checkpoints": writer(lambda: zip_bytes(checkpoint(ARRAYS).items())),
    "journals": own_journal(lambda _: None),
    "stores": store_with(lambda _: None),
}


def honest_rows(file, name: str) -> None:
    file[name] = np.eye(16, 4, dtype=np.float32)


def honest_images(file, name: str) -> None:
    file[name] = np.zeros((16, 8, 8, 3), np.uint8)
