r"""The zoo's default model, fine-tuned with PIM-bands in its distortion.

    python -m training.main --config gained_checkerboard_pim_bands \
        --workdir OUT --data IMAGES --validation OTHER_IMAGES

Machine: two CPU cores with AVX-512, shared with other work. Time: 600 steps in 20 minutes. Result
on 8 photos that were not trained on, before and after, at quality 25: 0.229 bpp, 29.90 dB and
0.149, 27.64; 50: 0.455, 32.84 and 0.314, 30.50; 75: 0.832, 35.94 and 0.621, 33.70. For a comparison
at equal file size, see docs/perceptual.md.
"""

from tfc_models.training.config import Config

CONFIG = Config(
    model="gained-checkerboard",
    arguments={"kernel": "rdft", "distortion": "0.25*mse + 20*pim-bands"},
    start="tfc_models/zoo/weights/gained-checkerboard.v3.tfcw",
    steps=600,
    crop=128,
    average=0.995,
    last_rate=0.0,
)
