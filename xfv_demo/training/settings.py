"""How an xCos head is trained: what can be chosen, checked before any work is done."""

from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from xfv_demo.errors import XfvError
from xfv_demo.models.feature_grid import XCOS_CHANNELS

Identification = Literal["cosface", "arcface", "none"]


@dataclass(frozen=True)
class TrainingSettings:
    """How a head is trained.

    Attributes:
        channels: How many of the grid's channels are left after the projection.
        by_cell: Whether each cell has a projection of its own; the published head has one for all.
        epochs: How often the head is validated; together with `steps` the length of the training.
        steps: Batches in an epoch.
        batch_pairs: Pairs in a batch, half of them genuine.
        learning_rate: Adam's (with amsgrad, as published) at its highest; it falls to zero by a cosine.
        hard_impostors: Share of the impostor pairs that are drawn for being alike.
        variants: How many variants of each image there are: itself, its mirror image, and drawn ones.
        identification: The margin of the identification loss, or none.
        identification_weight: What that loss counts beside the loss to the teacher's cosine.
        initial: "affine" starts from the projection that keeps most of what the embedder's own affine head
            looks at, "random" from random numbers, "auto" from the former where there is one.
        validation_share: Of the people, the share that is held out to choose the best epoch by.
        fine_tune: Whether the embedder's own weights are trained too. Each step then runs the whole network
            on 2 * `batch_pairs` photos, and the variants are drawn anew each time.
        backbone_learning_rate: SGD's for these weights at its highest; it falls as the other one does.
        seed: What all that is random is drawn from.
    """

    channels: int = XCOS_CHANNELS
    by_cell: bool = True
    epochs: int = 20
    steps: int = 250
    batch_pairs: int = 256
    learning_rate: float = 5e-3
    hard_impostors: float = 0.3
    variants: int = 4
    identification: Identification = "cosface"
    identification_weight: float = 1e-3
    initial: Literal["auto", "affine", "random"] = "auto"
    validation_share: float = 0.1
    fine_tune: bool = False
    backbone_learning_rate: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        """Checks all values."""
        for name in ("channels", "epochs", "steps", "batch_pairs", "variants"):
            if getattr(self, name) < 1:
                raise XfvError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.batch_pairs < 2:
            raise XfvError("batch_pairs must be at least 2: one genuine and one impostor pair")
        for name in ("learning_rate", "backbone_learning_rate"):
            if not 0 < getattr(self, name) < 1:
                raise XfvError(f"{name} must lie between 0 and 1, not {getattr(self, name)}")
        for name in ("hard_impostors", "identification_weight"):
            if not 0 <= getattr(self, name) <= 1:
                raise XfvError(f"{name} must lie in [0, 1], not {getattr(self, name)}")
        if not 0 < self.validation_share < 1:
            raise XfvError(f"validation_share must lie between 0 and 1, not {self.validation_share}")
        if self.identification not in get_args(Identification):
            raise XfvError(f"identification must be one of {', '.join(get_args(Identification))}")
        if self.initial not in ("auto", "affine", "random"):
            raise XfvError(f"initial must be auto, affine or random, not {self.initial}")

    @property
    def kept_variants(self) -> int:
        """How many variants' grids training reads: with fine-tuning only those of the photos as they are."""
        return 1 if self.fine_tune else self.variants


def settings_from(values: dict[str, Any]) -> TrainingSettings:
    """Settings from a file's values.

    Args:
        values: By name; what is missing has its default.

    Returns:
        The settings.

    Raises:
        XfvError: A name is unknown, or a value of another type or out of its range.
    """
    known = {one.name: type(one.default) for one in fields(TrainingSettings)}
    for name, value in values.items():
        if name not in known:
            raise XfvError(f'there is no setting "{name}"; there are {", ".join(known)}')
        fits = isinstance(value, (int, float) if known[name] is float else known[name])
        # To Python a truth is a number.
        if not fits or isinstance(value, bool) != (known[name] is bool):
            raise XfvError(f"the setting {name} must be of type {known[name].__name__}, not {value!r}")
    return TrainingSettings(**values)
