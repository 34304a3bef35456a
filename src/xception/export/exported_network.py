"""What an exported file computes: the folded network, with what is put before and after it."""

import copy
from typing import Literal

import torch
from torch import Tensor, nn

from xception.data.preprocessing import Preprocessing
from xception.export.folding import fold_batch_norms

Head = Literal["logits", "softmax", "none"]
OUTPUTS: dict[Head, str] = {"logits": "logits", "softmax": "probabilities", "none": "features"}


class ExportedNetwork(nn.Module):
    """From images to logits, probabilities or features.

    Args:
        folded: A network without BatchNorms, and without its logistic regression where features
            are wanted.
        preprocessing: Given, the input is pixels, and they are scaled as this says.
        softmax: Whether the output is probabilities.
        half: Whether the network computes in float16. Input and output stay as they are.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, folded: nn.Module, preprocessing: Preprocessing | None, *, softmax: bool, half: bool
    ) -> None:
        super().__init__()
        self.network = folded.half() if half else folded
        self.takes_pixels = preprocessing is not None
        self.softmax, self.half_precision = softmax, half
        if preprocessing:
            # In float32 and times 255, as Preprocessing.normalize has them: the same bits.
            for name in ("mean", "std"):
                values = torch.tensor(getattr(preprocessing, name)).view(3, 1, 1) * 255
                self.register_buffer(name, values)

    def forward(self, images: Tensor) -> Tensor:
        """Maps images to the output.

        Args:
            images: (N, S, S, 3) uint8 if the network takes pixels; else (N, in_channels, S, S)
                float32 in the range that the network was trained with.

        Returns:
            (N, C) float32.
        """
        x = images
        if self.takes_pixels:
            # Plane by plane: traced in channels_last, the global pooling becomes seven operations.
            x = x.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
            x = (x - self.mean) / self.std
        if self.half_precision:
            x = x.half()
        found = self.network(x)
        if self.half_precision:
            found = found.float()
        return found.softmax(1) if self.softmax else found


def headless(model: nn.Module) -> nn.Module:
    """A copy in eval mode that gives what the logistic regression reads."""
    copied = copy.deepcopy(model).eval()
    copied.reset_classifier(0)  # type: ignore[operator] # every network of create_model has it
    return copied


def build_network(
    model: nn.Module, preprocessing: Preprocessing, *, head: Head, pixels: bool, half: bool
) -> ExportedNetwork:
    """Puts together what is exported of a model.

    Args:
        model: A network of `create_model`; it stays as it is.
        preprocessing: The model's.
        head: What comes out: "logits", "softmax" (probabilities) or "none" (features).
        pixels: Whether it takes pixels.
        half: Whether it computes in float16.
    """
    folded = fold_batch_norms(headless(model) if head == "none" else model)
    return ExportedNetwork(
        folded, preprocessing if pixels else None, softmax=head == "softmax", half=half
    ).eval()
