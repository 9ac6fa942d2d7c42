r"""A decoder of the zoo's default model, trained for squared error and LPIPS.

    python -m training.decoder --config decoder --workdir OUT \
        --data IMAGES --validation OTHER_IMAGES

Machine: two CPU cores with AVX-512, shared with other work. Time: 400 steps with bfloat16 took 6
minutes (γ = 0.001), 150 steps in float32 one minute. Result of 150 steps at qualities 0, 10, 20 and
35 (docs/reports/perception.md) on 8 photos at quality 10: 28.04 dB and LPIPS 0.153, where the
model's own decoder has 28.59 dB and 0.273.
"""

from tfc_models.training.decoder_config import DecoderTraining

CONFIG = DecoderTraining(
    model="gained-checkerboard",
    steps=400,
    batch=4,
    crop=128,
    rate=2e-4,
    average=0.99,
    distortion="0.0005*mse + lpips",
)
