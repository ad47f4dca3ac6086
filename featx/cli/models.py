"""Commands that make Keras models of a head: finetune, export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featx.cli.options import AsJson, Seed, Source, Store, make_source
from featx.cli.printing import print_evaluations, print_json, print_rows, say, with_interval

if TYPE_CHECKING:
    from featx.files import StrPath

Model = Annotated[Path, typer.Argument(help="Model file, as search writes it.")]
OwnBackbone = Annotated[
    str | None, typer.Option(help=".keras file, where the model needs a backbone of your own.")
]


def finetune(
    model: Model,
    source: Source,
    *,
    out: Annotated[
        Path | None, typer.Option(help="Model to write: .keras, .onnx, .tflite or a folder.")
    ] = None,
    validation: Annotated[str | None, typer.Option(help="Images to decide by, in place of a share.")] = None,
    validation_size: Annotated[float, typer.Option(help="That share.")] = 0.2,
    unfreeze: Annotated[str, typer.Option(help="none, last:N blocks, or all.")] = "last:1",
    learning_rate: Annotated[float, typer.Option(help="Of the head and the last block.")] = 1e-5,
    block_decay: Annotated[float, typer.Option(help="Share of it that the block before learns at.")] = 0.8,
    epochs: Annotated[int, typer.Option(help="At most.")] = 5,
    patience: Annotated[int, typer.Option(help="Epochs without a better score before it stops.")] = 3,
    batch_size: Annotated[int, typer.Option(help="Images in a step.")] = 32,
    guard: Annotated[
        bool, typer.Option(help="Keep the frozen model where training does not beat it.")
    ] = True,
    balanced: Annotated[bool, typer.Option(help="Give all classes the same weight.")] = False,
    flip: Annotated[
        str | None, typer.Option(help="Augment: horizontal, vertical or horizontal_and_vertical.")
    ] = None,
    rotation_degrees: Annotated[float, typer.Option(help="Augment: rotate by up to this.")] = 0.0,
    shift: Annotated[float, typer.Option(help="Augment: shift by up to this share.")] = 0.0,
    zoom: Annotated[float, typer.Option(help="Augment: zoom by up to this share.")] = 0.0,
    shear: Annotated[float, typer.Option(help="Augment: shear by up to this share.")] = 0.0,
    batch_norm: Annotated[str, typer.Option(help="inference, or train.")] = "inference",
    precision: Annotated[str, typer.Option(help="float32 or bfloat16, while it trains.")] = "float32",
    checkpoint: Annotated[Path | None, typer.Option(help="File to resume from after a kill.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Learning curves to draw: .png, .svg or .pdf.")] = None,
    backbone: OwnBackbone = None,
    store: Store = "cache",
    random_state: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Train backbone and head end to end, from the fitted head; the better model comes back."""
    from featx.files import check_target
    from featx.insight.plots import check_plot, plot_history
    from featx.insight.proportions import wilson_interval
    from featx.model_jobs import finetune_model
    from featx.models.augmentation import Augmentation
    from featx.models.export import check_export_target, export_model

    inputs: list[StrPath] = [model, source, *([] if validation is None else [validation])]
    for target in (checkpoint, plot):
        check_target(target, *inputs)
    if plot is not None:
        check_plot(plot)
    if out is not None:
        check_export_target(out, "auto", *inputs)
    augmentation = Augmentation(flip, rotation_degrees, shift, zoom, shear)  # type: ignore[arg-type]
    found = finetune_model(
        model,
        make_source(source),
        backbone=backbone,
        store=store,
        validation_data=None if validation is None else make_source(validation),
        verbose=1,
        validation_size=validation_size,
        unfreeze=unfreeze,
        learning_rate=learning_rate,
        block_decay=block_decay,
        epochs=epochs,
        patience=patience,
        batch_size=batch_size,
        guard=guard,
        class_weight="balanced" if balanced else None,
        augmentation=None if augmentation == Augmentation() else augmentation,
        batch_norm=batch_norm,
        precision=precision,
        checkpoint=checkpoint,
        random_state=random_state,
    )
    tuner, result = found.tuner, found.tuner.result_
    if out is not None:
        export_model(tuner.model_, out)
    if plot is not None:
        plot_history(tuner.history_, plot, frozen=result.to_dict()["frozen"])
    if as_json:
        print_json({**found.to_dict(), "model": out})
        return
    print_rows(
        [
            {"epoch": index + 1, **{name: f"{values[index]:.4g}" for name, values in tuner.history_.items()}}
            for index in range(result.n_epochs)
        ]
    )
    print_rows(
        [
            {"validation part": name, "n": result.n_validation,
             "accuracy": with_interval(score.accuracy, wilson_interval(score.accuracy, result.n_validation)),
             "log loss": f"{score.log_loss:.4f}", "": "kept" if name == result.kept else ""}
            for name, score in (("frozen", result.frozen), ("finetuned", result.finetuned))
        ]
    )  # fmt: skip
    if found.test is not None and found.frozen_test is not None:
        parts = {"frozen": found.frozen_test, f"kept: {result.kept}": found.test}
        print_evaluations("Images that neither was trained on", parts)
    if out is not None:
        say(f"wrote {out}")


def export(
    model: Annotated[Path, typer.Argument(help="Model file, or a .keras file that finetune wrote.")],
    path: Annotated[Path, typer.Argument(help="File to write; for a SavedModel, a folder.")],
    *,
    format: Annotated[  # noqa: A002 - the option's name
        str, typer.Option(help="auto (by the path's ending), keras, onnx, litert or saved_model.")
    ] = "auto",
    images: Annotated[str | None, typer.Option(help="Images of yours to compare on: the first 64.")] = None,
    backbone: OwnBackbone = None,
    as_json: AsJson = False,
) -> None:
    """Write one file that classifies images without featx, compared with the model before it is kept."""
    from featx.model_jobs import export_model_file
    from featx.models.export import check_export_target

    check_export_target(path, format, model, *([] if images is None else [images]))
    compared = None if images is None else make_source(images).without_labels()
    report = export_model_file(model, path, format=format, images=compared, backbone=backbone)
    if as_json:
        print_json(vars(report))
        return
    say(
        f"wrote {report.path} ({report.format}); largest difference on {report.n_images} images "
        f"{report.max_abs_difference:.2g}"
    )
