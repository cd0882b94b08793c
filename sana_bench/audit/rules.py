"""What counts as a fault of an image, and how much of what a folder may have: a TOML file, and `--limit name=value`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from sana_bench.config import read_toml, validate
from sana_bench.errors import ConfigError
from sana_bench.metrics.perceived import ATTRIBUTES
from sana_bench.registry import near_names
from sana_bench.train_config import BalanceSection, Section

Share = Annotated[float | None, Field(ge=0, le=1)]
COMMAND_LINE = "--limit"
GROUPS = [f"{attribute}={name}" for attribute, perceived in ATTRIBUTES.items() for name in perceived.classes]


def _check_group(bounds: BalanceSection) -> BalanceSection:
    if bounds.group not in GROUPS:
        raise ValueError(f'no perceived group "{bounds.group}".{near_names(bounds.group, GROUPS)} Known: {", ".join(GROUPS)}')
    return bounds


class LimitSection(Section):
    """What is declared to hold; what is left out is only reported. All but `min_images` are shares of the images, in [0, 1]."""

    min_images: Annotated[int | None, Field(ge=1)] = None
    """Images that can be read."""
    min_share_at_resolution: Share = None
    """Images of which a view at the resolution needs no enlargement."""
    max_unreadable: Share = None
    max_missing_captions: Share = None
    max_captions_without_image: Share = None
    """Lines of the metadata whose image is missing, over the number of images."""
    max_bad_lines: Share = None
    """Other lines of the metadata that training would refuse, over the number of images."""
    max_short_captions: Share = None
    max_long_captions: Share = None
    max_duplicate_captions: Share = None
    max_blank: Share = None
    """Images of one colour or a smooth gradient, such as a failed export leaves."""
    max_blurred: Share = None
    max_compressed: Share = None
    max_duplicates: Share = None
    """Files with the content of another; the first of each is not counted."""
    max_near_duplicates: Share = None
    """Pictures that look like another; the largest of each group is not counted."""
    min_faces: Share = None
    """Images in which a face is found."""
    min_hands: Share = None
    """Images in which a hand is found."""
    max_implausible_faces: Share = None
    """Images with a face below `fault.min_plausibility`."""
    max_implausible_hands: Share = None
    group: tuple[Annotated[BalanceSection, AfterValidator(_check_group)], ...] = ()
    """Bounds on the share of perceived groups as they are seen, uncorrected, among the images in which the attribute is perceived at all."""


class FaultSection(Section):
    """From where on something is a fault."""

    min_sharpness: float = -6.0
    """log10 of a power ratio, as the metric sharpness_spectrum. 280 photographs of OpenPeople lie above -5.5; a blur of two pixels takes those of
    2K to -6.6 and less, one of a single pixel to -5.5 to -6.2."""
    max_blockiness: Annotated[float, Field(gt=1)] = 2.0
    """As the metric jpeg_blockiness. The same photographs lie below 1.7; JPEG of quality 20 takes half of them above 2.4, of 10 all above 2.2."""
    min_words: Annotated[int, Field(ge=0)] = 5
    """Words of a caption."""
    min_plausibility: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Of a hand or a face, as hand_plausibility and face_plausibility rate it. 0.5 is where whole and damaged are equally likely, much less is
    unusual enough to be looked at: of whole photographs of OpenPeople's people that nothing has learned from, 3 of 30 hands and 3 of 69 faces."""
    max_differing_bits: Annotated[int, Field(ge=0, le=63)] = 12
    """Of 255, between two pictures that look the same."""


class AuditRules(Section):
    """A limits file."""

    limit: LimitSection = LimitSection()
    fault: FaultSection = FaultSection()


def load_rules(path: Path | None, limits: Sequence[str] = ()) -> AuditRules:
    """Read a limits file and put `name=value` limits over it; a perceived group as a name (`gender=feminine=0.3`) is its least share.

    Raises:
        ConfigError: no such file, not TOML, an unknown name (with the nearest one), or a value that is none: all of them in one message.
    """
    try:
        values = read_toml(path) if path else {}
    except OSError as error:
        raise ConfigError(f"no limits file {path} ({error.strerror}): it is TOML with tables [limit] and [fault], see sana-bench audit --help") from error
    if limits and not isinstance(values.setdefault("limit", {}), dict):
        raise ConfigError(f"{path}: limit is a table, as [limit]")
    for each in limits:
        _put_over(values["limit"], each)
    return validate(AuditRules, values, path.name if path else COMMAND_LINE)


def _put_over(limits: dict, text: str) -> None:
    name, equals, value = text.rpartition("=")
    try:
        number = float(value)
    except ValueError:
        equals = ""
    if not equals or not name:
        raise ConfigError(f'{COMMAND_LINE} takes name=value, such as max_blurred=0.05 or gender=feminine=0.3, not "{text}"')
    if "=" not in name:
        limits[name] = number
        return
    others = [group for group in limits.get("group", ()) if not isinstance(group, dict) or group.get("group") != name]
    limits["group"] = [*others, {"group": name, "min_share": number}]
