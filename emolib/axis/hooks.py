"""Moving the hidden states of a running network along emotion axes, by hooks on its blocks.

`apply_axes` does so while its context is open; `EmotionAxis.apply` is its short form for one axis.

References
----------
Adding: N. Panickssery et al. (2023), "Steering Llama 2 via Contrastive Activation Addition",
arXiv:2312.06681. Projecting out: A. Arditi et al. (2024), "Refusal in Language Models Is Mediated by a Single
Direction", arXiv:2406.11717. Rotating: H. M. Vu, T. M. Nguyen (2025), "Angular Steering: Behavior Control via
Rotation in Activation Space", arXiv:2510.26243.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from emolib.encoders import FAMILIES, DeferredEncoder

if TYPE_CHECKING:
    from emolib.axis.estimator import EmotionAxis

Operator = Literal["add", "project_out", "rotate"]
OPERATORS: tuple[str, ...] = get_args(Operator)
#: Where a network of each `config.model_type` keeps its blocks: the ending of the module list's name. Of
#: text-to-speech networks these are the blocks that read the text, of SpeechT5 those that make the sound.
BLOCKS: Mapping[str, str] = {
    **dict.fromkeys(FAMILIES, "encoder.layers"),
    "vits": "text_encoder.encoder.layers",
    "speecht5": "decoder.wrapped_decoder.layers",
    "fastspeech2_conformer": "encoder.conformer_layers",
    "fastspeech2_conformer_with_hifigan": "encoder.conformer_layers",
}


@contextlib.contextmanager
def apply_axes(
    model: Any, plan: Mapping[int, tuple["EmotionAxis", float | ArrayLike]], *, operator: Operator = "add",
    frames: slice | ArrayLike | None = None, keep_norm: bool = False, blocks: str | None = None,
) -> Iterator[None]:  # fmt: skip
    """Move a network's hidden states along axes while the context is open.

    Parameters
    ----------
    model : Encoder, voice of `emolib.tts`, or torch module
    plan : mapping of layer to (axis, strength)
        Layers as `Encoder.encode` counts them: 0 is what enters the first block, k what block k puts out. A
        strength of 1 is one emotion further, as `EmotionAxis.shift` has it; an array, (K,), is a course over
        the time of a clip, stretched to its frames.
    operator : {"add", "project_out", "rotate"}
        ``add``: h + s * vector_. ``project_out``: takes away the share s of a frame's distance from `centre_`
        along the axis, with 1 all of it. ``rotate``: turns a frame towards the axis, along an arc as long as
        the step that ``add`` takes; its length stays, and it never turns beyond the axis.
    frames : slice or array-like of bool, optional
        The frames of a clip that are moved; a mask is stretched to the clip's frames. All by default.
    keep_norm : bool
        Bring each moved frame back to its length.
    blocks : str, optional
        The name of the module list, as in ``model.named_modules()``, where it isn't the usual one (`BLOCKS`).

    Raises
    ------
    ValueError
        If the network's blocks can't be found, it lacks a layer, an axis is of another encoder, layer or
        width, or a strength, operator or selection isn't what is expected.

    Notes
    -----
    Strength 0 leaves every bit as it was. In an encoder of the package, a clip's frames are its own, whatever
    its neighbours in the batch; in a bare module, they are all that its blocks see, padding included. VITS
    and FastSpeech2-Conformer see one frame a token; SpeechT5 makes its frames one by one, so that a course or
    a selection is refused. Contexts may be nested.

    Examples
    --------
    >>> with apply_axes(encoder, {2: (axes[2], 1.0), 3: (axes[3], 0.5)}):  # doctest: +SKIP
    ...     [hidden_states] = encoder.encode([wave], 16_000)
    """
    running = model.load() if isinstance(model, DeferredEncoder) else model
    modules = find_blocks(getattr(running, "network", running), blocks)
    if operator not in OPERATORS:
        raise ValueError(f"unknown operator {operator!r}; expected one of: {', '.join(OPERATORS)}")
    is_encoder = hasattr(running, "fingerprint")
    of = {"encoder": running.name, "fingerprint": running.fingerprint} if is_encoder else {}
    with contextlib.ExitStack() as handles:  # it removes them, whatever happens
        for layer, (axis, strength) in plan.items():
            if layer not in range(len(modules) + 1):
                raise ValueError(
                    f"layer {layer} of a network of {len(modules)} blocks; expected 0 to {len(modules)} (an "
                    f"encoder has no blocks above the highest layer that it was loaded for)"
                )
            axis.check(**of, layer=layer, pooling="mean")
            move = _Move(axis, strength, operator, frames, keep_norm, running)
            if layer == 0 and move.strength.any():
                handles.enter_context(modules[0].register_forward_pre_hook(move.before, with_kwargs=True))
            elif move.strength.any():
                handles.enter_context(modules[layer - 1].register_forward_hook(move.after))
        yield


def find_blocks(network: Any, blocks: str | None = None) -> torch.nn.ModuleList:
    """Return the list of a network's blocks, by its name or by the family's.

    Raises
    ------
    ValueError
        If there is no such list, or the family is unknown.
    """
    named = network.named_modules() if isinstance(network, torch.nn.Module) else ()
    lists = {name: part for name, part in named if isinstance(part, torch.nn.ModuleList) and len(part)}
    ending = f".{BLOCKS.get(_kind(network), '?')}"
    # a part of a model, such as Whisper's encoder alone, has the end of the name alone
    usual = [name for name in lists if f".{name}".endswith(ending) or ending.endswith(f".{name}")]
    found = usual if blocks is None else [name for name in lists if name == blocks]
    if len(found) != 1:
        wanted = f"list of blocks {blocks!r}" if blocks else "list of blocks that is known"
        raise ValueError(
            f"{type(network).__name__} has no {wanted}; name one of its module lists with blocks=: "
            f"{', '.join(lists) or 'it has none'}"
        )
    return lists[found[0]]


class _Move:
    """What happens to the hidden states of one layer."""

    def __init__(
        self, axis: "EmotionAxis", strength: float | ArrayLike, operator: Operator,
        frames: slice | ArrayLike | None, keep_norm: bool, model: Any,
    ) -> None:  # fmt: skip
        self.strength = np.asarray(strength, np.float64)
        if self.strength.ndim > 1 or not self.strength.size or not np.isfinite(self.strength).all():
            raise ValueError(
                f"strength {strength!r}; expected a finite number, or finite numbers over time, (K,)"
            )
        self.is_constant = self.strength.ndim == 0 and frames is None
        whole = slice(None) if frames is None else frames
        self.frames = whole if isinstance(whole, slice) else np.asarray(whole)
        if not isinstance(self.frames, slice) and (self.frames.dtype != bool or self.frames.ndim != 1):
            raise ValueError(f"frames {frames!r}; expected a slice, or True and False over time, (K,)")
        network = getattr(model, "network", model)
        if _kind(network) == "speecht5" and not self.is_constant:
            raise ValueError(
                "a course over time or a selection of frames in SpeechT5, which makes one frame at a time; "
                "expected one number and all frames"
            )
        self.n_extra = network.extra_tokens.shape[1] if _kind(network) == "emotion2vec" else 0
        self.operator, self.keep_norm, self.model = operator, keep_norm, model
        self.direction, self.scale = torch.from_numpy(axis.direction_), axis.scale_
        self.centre = float(axis.centre_ @ axis.direction_)

    def before(self, _module: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """Move what enters a block."""
        if args:
            return (self(args[0]), *args[1:]), kwargs
        return args, kwargs | {"hidden_states": self(kwargs["hidden_states"])}

    def after(self, _module: Any, _args: Any, output: Any) -> Any:
        """Move what a block puts out, alone or first of a tuple."""
        return (self(output[0]), *output[1:]) if isinstance(output, tuple) else self(output)

    def __call__(self, hidden: Tensor) -> Tensor:
        """Move hidden states, (B, T, D)."""
        if hidden.shape[-1] != len(self.direction):
            raise ValueError(
                f"an axis in {len(self.direction)} dimensions and hidden states of {hidden.shape[-1]}; fit "
                f"the axis on this layer"
            )
        own = hidden[:, self.n_extra :]
        exact = own.to(torch.promote_types(own.dtype, torch.float32))
        weight = self._weight(exact)
        moved = getattr(self, f"_{self.operator}")(exact, weight, self.direction.to(exact))
        if self.keep_norm and self.operator != "rotate":
            moved = moved * (_length(exact) / _length(moved).clamp_min(1e-12))
        if isinstance(weight, Tensor):
            moved = torch.where(weight == 0, exact, moved)
        moved = moved.to(hidden.dtype)
        return torch.cat([hidden[:, : self.n_extra], moved], dim=1) if self.n_extra else moved

    def _add(self, hidden: Tensor, weight: Tensor | float, direction: Tensor) -> Tensor:
        return hidden + weight * (self.scale * direction)

    def _project_out(self, hidden: Tensor, weight: Tensor | float, direction: Tensor) -> Tensor:
        along = (hidden @ direction)[..., None]
        return torch.addcmul(hidden, weight * (self.centre - along), direction)

    def _rotate(self, hidden: Tensor, weight: Tensor | float, direction: Tensor) -> Tensor:
        along, length = (hidden @ direction)[..., None], _length(hidden)
        across = torch.addcmul(hidden, -along, direction)
        width = _length(across)
        angle = torch.atan2(width, along) - weight * self.scale / length.clamp_min(1e-12)
        angle = angle.clamp(0, torch.pi)
        aside = across * (length * angle.sin() / width.clamp_min(1e-12))
        return torch.addcmul(aside, length * angle.cos(), direction)

    def _weight(self, hidden: Tensor) -> Tensor | float:
        """Return the strength, one number or (1 or B, T, 1)."""
        if self.is_constant:
            return float(self.strength)
        n = hidden.shape[1]
        # of each clip in the batch: its first frame here, how many are here, and how many it has
        places = getattr(self.model, "places", None) or [(0, n, n)]
        rows = [
            np.pad(self._course(whole)[first : first + here], (0, n - here), mode="edge")
            for first, here, whole in places
        ]
        return torch.from_numpy(np.stack(rows)[..., None]).to(hidden)

    def _course(self, n_frames: int) -> NDArray[np.float64]:
        """Return the strength over the frames of a clip, (T,)."""
        at = (np.arange(n_frames) + 0.5) / n_frames
        given = np.atleast_1d(self.strength)
        course = np.interp(at, (np.arange(len(given)) + 0.5) / len(given), given)
        if isinstance(self.frames, slice):
            chosen = np.zeros(n_frames, bool)
            chosen[self.frames] = True
        else:
            chosen = self.frames[(at * len(self.frames)).astype(int)]
        return course * chosen


def _kind(network: Any) -> str:
    return str(getattr(getattr(network, "config", None), "model_type", ""))


def _length(vectors: Tensor) -> Tensor:
    return torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
