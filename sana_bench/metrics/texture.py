"""What goes wrong with a picture at 2K and is not seen at 299 pixels: softness, upscaling, blocks, seams of tiles, lost texture."""

from __future__ import annotations

from sana_bench.metrics import MetricContext, ScoredSample, Unscored, register_metric


class _OfTexture:
    """A value of the extractor `texture` as it is."""

    feature: str

    def __init__(self, context: MetricContext) -> None:
        pass

    def score(self, sample: ScoredSample) -> float | Unscored:
        return float(sample.features["texture"][self.feature][0])


# A blur of one pixel takes more than a decade; a tenth of one is a fifth of what enlarging by a quarter does.
@register_metric("sharpness_spectrum", version=1, kind="sample", extractor="texture", higher_is_better=True, unit="log10 of a power ratio", budget=0.1,
                 sees=("picture_blurred", "picture_upscaled"))
class SharpnessSpectrum(_OfTexture):
    """How much of a picture's detail reaches to the finest scale, at native resolution; an upscaled or blurred picture has less.

    Formula: log10 of the mean power at 0.25 to 0.5 cycles a pixel over that at 0.006 to 0.02, over sixteen native tiles of 256 px, weighed by
        the latter.
    Source: power spectra of natural images fall evenly (Field 1987); that generators' do not is known since Durall et al. 2020 (arXiv 2003.01826).
    Limits: noise raises it as detail does, and a shallow depth of field lowers it rightly. It says nothing of what is sharp.
    Use: compares two models on the same prompts. Read it beside a look at the worst pairs.
    """

    feature = "sharpness"


@register_metric("jpeg_blockiness", version=1, kind="sample", extractor="texture", higher_is_better=False, unit="step across over within blocks", budget=0.05,
                 sees=("picture_compressed",))
class JpegBlockiness(_OfTexture):
    """How much larger steps are across the borders of 8 x 8 blocks than within them; 1 where there are no blocks.

    Formula: mean absolute difference of neighbouring pixels across multiples of eight over that elsewhere, mean of both directions.
    Source: Wang, Bovik and Evans 2000, "Blind measurement of blocking artifacts in images".
    Limits: only blocks that start at the image's corner; a resized JPEG hides them.
    Use: finds models that learned from compressed pictures, and files that were saved badly.
    """

    feature = "blockiness"


@register_metric("tiling_seam", version=1, kind="sample", extractor="texture", higher_is_better=False, unit="8-bit values", budget=0.5,
                 sees=("picture_tiled",))
class TilingSeam(_OfTexture):
    """The worst straight line along which a picture's brightness jumps, as a VAE that decodes in tiles leaves it; 0 without.

    Formula: largest excess of the step across a row or column over those within 16 pixels; a step is the median over bands of 256 pixels of
        the size of the median difference.
    Source: ours; a step that runs through all rows is what tiles share and objects do not.
    Limits: straight edges along rows or columns over half of the picture, such as frames and walls, raise it too; coarse texture hides
        faint seams.
    Use: compares two ways of decoding, or two models on the same prompts.
    """

    feature = "seam"


@register_metric("glcm_entropy", version=1, kind="sample", extractor="texture", higher_is_better=True, unit="bits", budget=0.2, usual=False,
                 sees=("picture_blurred",))
class GlcmEntropy(_OfTexture):
    """How varied neighbouring pixels are (grey-level co-occurrence), on native tiles; less is smoother.

    Formula: entropy of the co-occurrence of 64 grey levels at distance 1, mean over sixteen native tiles of 256 px.
    Source: Haralick 1973; as a score of 4K images in Diffusion-4K (arXiv 2503.18352).
    Limits: noise raises it. Plain backgrounds lower it rightly.
    Use: compares two models on the same prompts, beside sharpness_spectrum.
    """

    feature = "glcm_entropy"


@register_metric("compression_ratio", version=1, kind="sample", extractor="texture", higher_is_better=False, unit="raw over JPEG bytes", budget=0.5, usual=False,
                 sees=("picture_blurred",))
class CompressionRatio(_OfTexture):
    """How well a picture's native tiles compress as JPEG of quality 95; more is emptier.

    Formula: raw bytes over JPEG bytes of sixteen native tiles of 256 px.
    Source: Diffusion-4K (arXiv 2503.18352), section 4.
    Limits: noise lowers it. Plain backgrounds raise it rightly.
    Use: compares two models on the same prompts, beside sharpness_spectrum.
    """

    feature = "compression_ratio"
