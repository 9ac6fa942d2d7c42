r"""Removal of channels from the decoder of the zoo's default model.

    python -m training.narrow_decoder --config narrow --workdir OUT \
        --data IMAGES --validation OTHER_IMAGES --targets 0.6,0.45,0.33

Machine: two CPU cores with AVX512-BF16, shared with other trainings. Time: 9.5 minutes for 0.6, and
5.6 each for 0.45 and 0.33 (--steps 300), in bfloat16. PSNR of 0.33 on 4 images, against the model's
own decoder: 0.60 dB less at quality 0, 0.79 at 30, 1.07 at 60 and 1.68 at 100. After training
(config decoder, distortion=mse, 27 minutes), 0.26, 0.30, 0.39 and 0.60 dB less on 8 images.
"""

from tfc_models.training.narrowing_config import NarrowingTraining

CONFIG = NarrowingTraining(
    model="gained-checkerboard",
    steps=400,
    batch=4,
    crop=192,
    average=0.98,
    clip_norm=30.0,
)
