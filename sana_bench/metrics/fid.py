"""FID, and nothing else under this name: the Fréchet distance on FID's own Inception-v3."""

from __future__ import annotations

from sana_bench.metrics import register_metric
from sana_bench.metrics.frechet import Frechet


# A choice: published models of one generation differ by one or more at 30,000 images, where the bias is small.
@register_metric("fid", version=1, kind="set", extractor="inception_v3", higher_is_better=False, unit="squared feature units", budget=1.0,
                 needs_reference=True, fewest_images=5000, usual=False, sees=("set_collapsed", "one_gender"))
class Fid(Frechet):
    """Fréchet Inception distance to real people; below 5,000 images it is mostly bias, shown beside it, and decides nothing.

    Below that, lost diversity can lower it even at one number of images: a model whose images are 10 % less spread scores better than a
    perfect one up to N = 1,000. What few images alone would read is printed beside the value.

    Formula: |m_g - m_r|^2 + Tr(S_g) + Tr(S_r) - 2 Tr((S_g S_r)^(1/2)) over means and covariances of 2,048 pooled features.
    Source: Heusel et al. 2017 (arXiv 1706.08500); weights of pytorch-fid and torch-fidelity; resizing of clean-fid (arXiv 2104.11222).
    Limits: it sees 299 x 299 pixels, 2 % of a 2K image, with a classifier of ImageNet, which has no class for people: neither blur and noise
        at 2K nor a broken hand. It depends on N and on the reference people, so it is comparable with no published value.
    Use: compares two models at the same N with the same real images, with 5,000 images or more, beside a measure of variety.
    """
