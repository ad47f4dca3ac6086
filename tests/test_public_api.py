"""What `featx` offers: every name documented, with an example that runs and hints on its signature."""

import inspect

import pytest

import featx

PUBLIC = {name: getattr(featx, name) for name in featx.__all__}
CONTRACT = {
    *(
        "ImageSource",
        "FolderSource",
        "ManifestSource",
        "ArraySource",
        "HDF5Source",
        "DatasetSource",
        "as_source",
        "as_value_source",
    ),
    *("BackboneSpec", "register_backbone", "list_backbones", "load_backbone"),
    *("FeatureExtractor", "extract", "FeatureStore", "FeatureSet", "ExtractionSpec"),
    *("HeadSpec", "register_head", "list_heads", "HeadSearch", "save_head", "load_head"),
    *("evaluate", "Evaluation", "compare", "Comparison", "ImageClassifier"),
    *("to_keras", "check_parity", "register_converter", "ConversionError", "ParityError"),
    *("attach_head", "export_model", "load_exported"),
    *("FeatxError", "SourceError", "DecodeError", "BackboneError", "StoreError", "StoreCorruptError"),
    *("StoreMismatchError", "MissingPackageError"),
}

# Their docstring is all that there is to say; the hierarchy is drawn in featx.errors.
NEED_NO_EXAMPLE = {name for name in featx.__all__ if name.endswith(("Error", "Warning"))} | {
    "ImageSource",  # abstract
    "Evaluation",  # made by evaluate
    "Comparison",  # made by compare
    "NestedScores",  # made by nested_scores
}


def test_the_contract_is_kept():
    assert set(featx.__all__) >= CONTRACT


@pytest.mark.parametrize("name", PUBLIC)
def test_every_name_is_documented_with_an_example(name):
    documentation = inspect.getdoc(PUBLIC[name])
    assert documentation
    assert name in NEED_NO_EXAMPLE or ">>>" in documentation or "See `" in documentation


@pytest.mark.parametrize("name", [name for name, value in PUBLIC.items() if inspect.isfunction(value)])
def test_every_function_is_hinted(name):
    signature = inspect.signature(PUBLIC[name])
    assert signature.return_annotation is not inspect.Signature.empty
    for parameter in signature.parameters.values():
        assert parameter.annotation is not inspect.Parameter.empty


@pytest.mark.parametrize("name", [name for name, value in PUBLIC.items() if inspect.isfunction(value)])
def test_every_parameter_of_a_function_is_described(name):
    documentation = inspect.getdoc(PUBLIC[name])
    for parameter in inspect.signature(PUBLIC[name]).parameters:
        assert (
            f"{parameter} :" in documentation
            or f"{parameter}\n" in documentation
            or f"{parameter}, " in documentation
        )


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, value in PUBLIC.items()
        if inspect.isclass(value) and not name.endswith(("Error", "Warning"))
    ],
)
def test_every_public_method_is_documented(name):
    for method, value in vars(PUBLIC[name]).items():
        if not method.startswith("_") and (
            inspect.isfunction(value) or isinstance(value, classmethod | property)
        ):
            assert inspect.getdoc(getattr(PUBLIC[name], method)), f"{name}.{method}"


def test_the_first_parameters_are_those_of_the_contract():
    expected = {
        "FeatureExtractor": ["backbone", "pooling", "taps", "input_size"],
        "extract": ["source", "extractor", "store", "dtype", "resume", "on_error", "workers", "verbose"],
        "load_backbone": ["backbone", "pooling", "taps", "input_size"],
        "HeadSearch": ["heads", "scoring", "cv", "refit"],
        "evaluate": ["head", "X", "y", "class_names", "groups"],
        "compare": ["a", "b", "X", "y"],
        "to_keras": ["head"],
        "check_parity": ["head", "model", "X", "atol"],
        "register_converter": ["estimator_type"],
        "export_model": ["model", "path", "format"],
        "load_exported": ["path"],
        "ManifestSource": ["csv_path", "path_column", "label_column", "group_column", "root"],
        "HDF5Source": ["path", "images", "labels"],
        "ImageClassifier": ["backbone", "head", "store"],
        "as_source": ["images", "labels"],
        "as_value_source": ["values", "labels"],
    }
    for name, first in expected.items():
        assert list(inspect.signature(PUBLIC[name]).parameters)[: len(first)] == first


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = featx.nonsense
    assert set(featx.__all__) <= set(dir(featx))


def test_every_error_is_a_featx_error_and_a_builtin_one():
    bases = {
        "SourceError": ValueError,
        "DecodeError": ValueError,
        "BackboneError": ValueError,
        "HeadError": ValueError,
        "StoreError": OSError,
        "StoreCorruptError": OSError,
        "StoreMismatchError": OSError,
        "MissingPackageError": ImportError,
        "ConversionError": TypeError,
        "ParityError": TypeError,
    }
    for name, builtin in bases.items():
        assert issubclass(PUBLIC[name], featx.FeatxError)
        assert issubclass(PUBLIC[name], builtin)
