r"""A decoder of the zoo's default model, trained for squared error and LPIPS.

    python -m training.decoder --config decoder --workdir OUT \
        --data IMAGES --validation OTHER_IMAGES

Machine: two CPU cores with AVX-512, shared with two other trainings. Time: with crop=128 and
batch=4, a step took 0.9 s. The run writes PSNR in dB and LPIPS at three qualities to
validation.csv.
"""

from tfc_models.training.decoder_config import DecoderTraining

CONFIG = DecoderTraining(
    model="gained-checkerboard",
    steps=400,
    batch=8,
    crop=128,
    distortion="0.0005*mse + lpips",
)
