"""The network that says where a hand or a face is damaged: EfficientNet-lite0 up to stride 16 and a small dense head.

Legend: B views, L skeleton lines, SIDE = 224, MAP = 28.
"""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from sana_bench.evidence import FOLDER, network_file
from sana_bench.features.efficientnet import IMAGENET_MEAN, IMAGENET_STD, load_pretrained
from sana_bench.features.upright_view import Part

STAGES = 5
"""Stages of EfficientNet-lite0 that are used: 112 channels at stride 16. The third has 40 at stride 8."""
FROZEN_STAGES = {"hand": 2, "face": 0}
"""Where there are any, the stem and these first stages keep ImageNet's weights: their gradients are half of the cost, and hands are
trained nearly three times as long."""
WIDTH = 96


class DamageNet(nn.Module):
    """Views and skeletons to a map of damage and one logit a view.

    The skeleton is given to the head, so that it can ask whether what it sees belongs where it lies: skin without a bone, a
    bone without skin.
    """

    def __init__(self, part: Part):
        super().__init__()
        import timm

        trunk = timm.create_model("efficientnet_lite0", pretrained=False)
        load_pretrained(trunk)
        self.stem, self.blocks = nn.Sequential(trunk.conv_stem, trunk.bn1), trunk.blocks[:STAGES]
        frozen = FROZEN_STAGES[part.name]
        for module in (self.stem, *self.blocks[:frozen]) if frozen else ():
            module.requires_grad_(False)
        self.join = nn.Conv2d(40 + 112 + len(part.lines), WIDTH, 1)
        self.mix = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        self.to_map, self.to_logit = nn.Conv2d(WIDTH, 1, 1), nn.Linear(2 * WIDTH, 1)

    def forward(self, views_B3HW: torch.Tensor, skeletons_BLMM: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, 3, SIDE, SIDE) uint8 values in [0, 255] and (B, L, MAP, MAP) -> (B, MAP, MAP) and (B,) logits."""
        mean, std = (views_B3HW.new_tensor(each).view(1, 3, 1, 1) for each in (IMAGENET_MEAN, IMAGENET_STD))
        coarse, fine = self.stem((views_B3HW / 255 - mean) / std), None  # no gradient before the first stage that learns
        for index, block in enumerate(self.blocks):
            coarse = block(coarse)
            fine = coarse if index == 2 else fine
        enlarged = F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
        hidden = F.silu(self.join(torch.cat([enlarged, fine, skeletons_BLMM], dim=1)))
        hidden = F.silu(self.mix(F.dropout(hidden, 0.1, self.training)))
        damage = self.to_map(hidden)[:, 0]
        weight = torch.softmax(damage.flatten(1), dim=1)
        pooled = torch.cat([(hidden.flatten(2) * weight[:, None]).sum(dim=-1), hidden.mean(dim=(2, 3))], dim=1)
        return damage, self.to_logit(F.dropout(pooled, 0.2, self.training))[:, 0]

    def train(self, mode: bool = True) -> DamageNet:
        """Batch statistics stay those of ImageNet: a few dozen hands have none of their own."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self


def for_inference(network: DamageNet) -> DamageNet:
    """A copy with the batch statistics multiplied into the weights, which answers in two thirds of the time."""
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    network = copy.deepcopy(network).eval()
    for module in list(network.modules()):
        name_before, before = "", None
        for name, child in list(module.named_children()):  # in the order in which they are applied
            if isinstance(child, nn.BatchNorm2d) and before is not None:
                setattr(module, name_before, fuse_conv_bn_eval(before, child))
                setattr(module, name, child.act)  # timm's normalisation brings its activation along
            name_before, before = name, child if isinstance(child, nn.Conv2d) else None
    return network.to(memory_format=torch.channels_last)


def load_network(part: Part, folder: Path = FOLDER) -> DamageNet:
    """The trained network of a part in float32 and eval mode."""
    from safetensors.torch import load_file

    network = DamageNet(part)
    network.load_state_dict({name: value.float() if value.is_floating_point() else value
                             for name, value in load_file(network_file(part.name, folder)).items()})
    return network.eval()


def save_network(network: DamageNet, part: Part, folder: Path = FOLDER) -> None:
    """In half precision."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: (value.half() if value.is_floating_point() else value).contiguous() for name, value in network.state_dict().items()},
              network_file(part.name, folder))
