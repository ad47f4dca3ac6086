"""Model files that an attacker would send: archives, descriptions and heads."""

from __future__ import annotations

import io
import json
import pickle
import struct
import warnings
import zipfile
from functools import cache, partial

import joblib
import numpy as np
import sklearn
import skops.io
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline

from featx.files import sha256_hex
from featx.heads.columns import TakeColumns
from featx.heads.neighbors import WeightedNeighbors
from featx.heads.persistence import FORMAT_VERSION
from tests.faults.malicious import Payload, encrypted, zip_bytes


def packed(members, compression=zipfile.ZIP_DEFLATED):
    return zip_bytes(members, compression)


@cache
def digits(n_classes=10):
    """Features as extraction gives them, and their classes."""
    X, y = load_digits(return_X_y=True)
    is_kept = y < n_classes
    return X[is_kept][:150].astype(np.float32), y[is_kept][:150]


@cache
def small_head():
    X, y = digits(n_classes=2)
    return LogisticRegression().fit(X[:, 20:24], y)


def head_bytes(edit=lambda schema: schema, files=None, compression=zipfile.ZIP_STORED):
    """The small head as skops writes it, with another schema or other members."""
    with zipfile.ZipFile(io.BytesIO(skops.io.dumps(small_head()))) as file:
        members = {name: file.read(name) for name in file.namelist()}
    members["schema.json"] = json.dumps(edit(json.loads(members["schema.json"]))).encode()
    arrays = {name: data for name, data in members.items() if name.endswith(".npy")}
    members |= {name: (files or (lambda data: data))(data) for name, data in arrays.items()}
    return zip_bytes(members.items(), compression)


def model_file(head, extra=(), **fields):
    """A model file around any head, whose checksum is right: an attacker can compute one too."""
    model = {
        "format_version": FORMAT_VERSION,
        "class_names": ["cat", "dog"],
        "extraction_spec": None,
        "extraction_specs": [],
        "metrics": {},
        "training_images": [],
        "excluded_images": [],
        "versions": {"scikit-learn": sklearn.__version__},
        "head_sha256": sha256_hex(head),
    } | fields
    return packed([("model.json", json.dumps(model)), ("head.skops", head), *extra])


def node(module, name, loader, **content):
    return {"__module__": module, "__class__": name, "__loader__": loader, **content}


def json_node(value):
    return node("builtins", "str", "JsonNode", content=json.dumps(value), is_json=True)


def list_node(kind, *items):
    return node("builtins", kind, f"{kind.title()}Node", content=list(items))


def in_place_of_the_head(new):
    return lambda schema: new | {"protocol": schema["protocol"], "_skops_version": schema["_skops_version"]}


def in_place_of_the_coefficients(new):
    def edit(schema):
        schema["content"]["content"]["coef_"] = new
        return schema

    return edit


SHELL = node("os", "system", "FunctionNode")
COMMAND = list_node("tuple", json_node("touch PWNED"))
DICT = node("builtins", "dict", "DictNode", content={}, key_types=list_node("list"))
PAYLOADS = {
    "function": SHELL,
    "type": node("builtins", "eval", "TypeNode"),
    "partial": node(
        "functools",
        "partial",
        "PartialNode",
        content={"func": SHELL, "args": COMMAND, "kwds": DICT, "namespace": json_node(None)},
    ),
    "constructor": node("os", "system", "ConstructorFromReduceNode", content=COMMAND),
    "constructor of ours": node("canary", "Canary", "ConstructorFromReduceNode", content=COMMAND),
    "object": node("canary", "Canary", "ObjectNode", content=DICT),
    "object outside scikit-learn": node("subprocess", "Popen", "ObjectNode", content=DICT),
    "list of another class": node("canary", "Canary", "ListNode", content=[]),
    "dict of another class": node("canary", "Canary", "DictNode", content={}, key_types=list_node("list")),
    "array of another class": node("canary", "Canary", "NdArrayNode", type="json", content=[], shape=COMMAND),
    "tree of another class": node("canary", "Canary", "TreeNode", __reduce__={"args": COMMAND}, content=DICT),
    "operator": node("operator", "methodcaller", "OperatorFuncNode", attrs=COMMAND),
    "operator elsewhere": node("os", "system", "OperatorFuncNode", attrs=COMMAND),
    "method": node(
        "sklearn.linear_model._logistic",
        "LogisticRegression",
        "MethodNode",
        content={
            "func": "__init__",
            "obj": node("sklearn.linear_model._logistic", "LogisticRegression", "ObjectNode"),
        },
    ),
    "random generator": node(
        "canary", "Canary", "RandomGeneratorNode", content={"bit_generator": {"bit_generator": "Canary"}}
    ),
    "terminal codes": node("canary", "\x1b[2J\nloaded", "ObjectNode"),
    "unknown loader": node("canary", "Canary", "CanaryNode"),
    "no loader": {"__module__": "canary", "__class__": "Canary"},
    "unknown cache": node("canary", "Canary", "CachedNode"),
    "numbers for names": node(1, 2, "ObjectNode"),
    "cycle": node("builtins", "list", "ListNode", __id__=1, content=[{"__id__": 1}]),
}
NOT_A_HEAD = {"number": json_node(3), "list": list_node("list", json_node(3)), "nothing": json_node(None)}


def deep_list(schema):
    nested = json_node(0)
    for _ in range(200):
        nested = list_node("list", nested)
    return in_place_of_the_head(nested)(schema)


def pickled_array(_):
    buffer = io.BytesIO()
    np.save(buffer, np.array([Payload()]), allow_pickle=True)
    return buffer.getvalue()


def huge_array(_):
    """A header that claims 8 TB."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "<f8", "fortran_order": False, "shape": (10**6, 10**6)}
    )
    return buffer.getvalue()


def joblib_bytes():
    buffer = io.BytesIO()
    joblib.dump(Payload(), buffer)
    return buffer.getvalue()


def lying_bomb():
    """A member of 100 MiB that claims 1,000 bytes."""
    size = 100 * 2**20
    data = packed([("model.json", bytes(size)), ("head.skops", b"")])
    return data.replace(struct.pack("<I", size), struct.pack("<I", 1000))


def lying_bomb_in_a_head():
    size = 100 * 2**20
    data = packed([("schema.json", bytes(size))])
    return model_file(data.replace(struct.pack("<I", size), struct.pack("<I", 100)))


def repeated_member():
    head = head_bytes()
    return model_file(head, [("head.skops", head)])


HOSTILE = {
    "pickle": lambda: pickle.dumps(Payload()),
    "joblib": joblib_bytes,
    "empty file": lambda: b"",
    "text": lambda: b"<!DOCTYPE html>",
    "bare skops": head_bytes,
    "empty archive": lambda: packed([]),
    "no head": lambda: packed([("model.json", "{}")]),
    "no description": lambda: packed([("head.skops", head_bytes())]),
    "extra member": lambda: model_file(head_bytes(), [("extra.py", "")]),
    "repeated member": repeated_member,
    "path above": lambda: model_file(head_bytes(), [("../../CANARY", "x")]),
    "absolute path": lambda: model_file(head_bytes(), [("/CANARY", "x")]),
    "path to itself": lambda: packed([("./model.json", "{}"), ("head.skops", head_bytes())]),
    "folder": lambda: packed([("model.json/", ""), ("head.skops", head_bytes())]),
    "encrypted": lambda: encrypted(model_file(head_bytes())),
    "pickle for a description": lambda: zip_bytes(
        [("model.json", pickle.dumps(Payload())), ("head.skops", b"")]
    ),
    "list for a description": lambda: packed([("model.json", "[]"), ("head.skops", b"")]),
    "deep description": lambda: packed([("model.json", "[" * 10**5), ("head.skops", b"")]),
    "pickle for a head": lambda: model_file(pickle.dumps(Payload())),
    "joblib for a head": lambda: model_file(joblib_bytes()),
    "no bytes for a head": lambda: model_file(b""),
    "newer format": lambda: model_file(head_bytes(), format_version=FORMAT_VERSION + 1),
    "specs of no kind": lambda: model_file(head_bytes(), extraction_specs=[1]),
    "training images of no kind": lambda: model_file(head_bytes(), training_images=[1]),
    "excluded images of no kind": lambda: model_file(head_bytes(), excluded_images=[{}]),
    "no format": lambda: model_file(head_bytes(), format_version=None),
    "format in words": lambda: model_file(head_bytes(), format_version="\x1b[2J" * 1000),
    "other checksum": lambda: model_file(head_bytes(), head_sha256="0" * 64),
    "no checksum": lambda: model_file(head_bytes(), head_sha256=None),
    **{
        f"{name} of another kind": partial(lambda name: model_file(head_bytes(), **{name: 3}), name)
        for name in (
            "class_names",
            "extraction_spec",
            "metrics",
            "training_images",
            "excluded_images",
            "versions",
        )
    },
    "lying bomb": lying_bomb,
    "lying bomb in a head": lying_bomb_in_a_head,
    "bomb in a description": lambda: zip_bytes(
        [("model.json", bytes(2**26)), ("head.skops", b"")], zipfile.ZIP_LZMA
    ),
    "bomb in a head": lambda: model_file(
        head_bytes(files=lambda _: bytes(2**24), compression=zipfile.ZIP_LZMA)
    ),
    "compressed head": lambda: model_file(head_bytes(compression=zipfile.ZIP_DEFLATED)),
    "pickle in an array": lambda: model_file(head_bytes(files=pickled_array)),
    "huge array": lambda: model_file(head_bytes(files=huge_array)),
    "no array": lambda: model_file(head_bytes(files=lambda _: b"")),
    "deep head": lambda: model_file(head_bytes(deep_list)),
    "list for a schema": lambda: model_file(head_bytes(lambda _: [])),
    "no schema": lambda: model_file(packed([("x", "")], zipfile.ZIP_STORED)),
    "protocol of another kind": lambda: model_file(head_bytes(lambda schema: schema | {"protocol": "2"})),
    "newer protocol": lambda: model_file(head_bytes(lambda schema: schema | {"protocol": 10**6})),
    **{
        f"{name} for a head": partial(lambda new: model_file(head_bytes(in_place_of_the_head(new))), new)
        for name, new in {**PAYLOADS, **NOT_A_HEAD}.items()
    },
    **{
        f"{name} in a head": partial(
            lambda new: model_file(head_bytes(in_place_of_the_coefficients(new))), new
        )
        for name, new in PAYLOADS.items()
    },
}


# ------------------------------------------------------------------- heads that load, of hostile numbers
#
# featx's own types and scikit-learn's are built, whatever their attributes are: what then answers is numbers.


def fitted(kind):
    """A small head whose attributes are going to be altered."""
    X, y = digits(n_classes=2)
    X = X[:, 20:24]
    if kind == "columns":
        head = LogisticRegression().fit(X[:, :2], y)
        return Pipeline([("columns", TakeColumns((0, 2)).fit(X)), ("head", head)])
    if kind == "neighbors":
        return WeightedNeighbors(n_neighbors=3, algorithm="brute").fit(X, y)
    if kind == "network":
        with warnings.catch_warnings():
            # Five steps are enough for a network that nobody asks.
            warnings.simplefilter("ignore")
            return MLPClassifier((4,), max_iter=5, random_state=0).fit(X, y)
    return LogisticRegression().fit(X, y)


def altered(kind, **attributes):
    """A model file whose head has other attributes; a name may lead into a step, ``columns.columns``."""
    head = fitted(kind)
    for name, value in attributes.items():
        step, _, attribute = name.rpartition("__")
        setattr(head.named_steps[step] if step else head, attribute, value)
    return model_file(skops.io.dumps(head, compression=zipfile.ZIP_STORED))


ANSWERS = {
    "columns beyond": lambda: altered("columns", columns__columns=[0, 10**9]),
    "columns below": lambda: altered("columns", columns__columns=[-1, -(10**9)]),
    "columns of objects": lambda: altered("columns", columns__columns=np.array(["a", None], object)),
    "columns of words": lambda: altered("columns", columns__columns="ab"),
    "columns of columns": lambda: altered("columns", columns__columns=[[0], [1]]),
    "columns without end": lambda: altered("columns", columns__columns=(0, 10**18)),
    "a step of huge columns": lambda: altered("columns", columns__columns=(0, 2, 10**30)),
    "columns of another width": lambda: altered("columns", columns__n_features_in_=10**12),
    "width in words": lambda: altered("columns", columns__n_features_in_="many"),
    "weights of words": lambda: altered("neighbors", sample_weight_="abc"),
    "fewer weights": lambda: altered("neighbors", sample_weight_=np.ones(1)),
    "more neighbours than samples": lambda: altered("neighbors", n_neighbors=10**9),
    "negative neighbours": lambda: altered("neighbors", n_neighbors=-1),
    "unknown metric": lambda: altered("neighbors", metric="os.system"),
    "fewer samples": lambda: altered("neighbors", _fit_X=np.zeros((0, 4))),
    "votes of no class": lambda: altered("neighbors", _y=np.full(150, 10**6)),
    "no classes": lambda: altered("plain", classes_=np.array([])),
    "classes of objects": lambda: altered("plain", classes_=np.array([None, {"a": 1}], object)),
    "coefficients of words": lambda: altered("plain", coef_=np.array([["a"] * 4])),
    "coefficients that are no array": lambda: altered("plain", coef_={"a": 1}),
    "no coefficients": lambda: altered("plain", coef_=np.zeros((0, 0))),
    "coefficients of terabytes": lambda: altered("plain", intercept_=np.zeros((1, 1, 4))),
    "unknown activation": lambda: altered("network", activation="os.system"),
    "weights of no network": lambda: altered("network", coefs_=[]),
    "optimizer of words": lambda: altered("network", _optimizer="adam"),
    "no layers": lambda: altered("network", n_layers_=10**9),
}
