"""A decoder of more realism for the zoo's default model: what is in the zoo ended with this.

    python -m training.realism --config training/configs/realism.py --workdir OUT \\
        --data PICTURES --validation OTHER_PICTURES

Machine: two CPU cores with AVX-512, shared with other work. Time: 2,000 steps in 11 minutes (with
--steps 2000), from weights of earlier runs (--set start=WEIGHTS). On 8 photos never trained on,
faithful, as it began, and as it ended: quality 15, 28.82 dB and LPIPS 0.249, 28.72 and 0.175, 28.62
and 0.161; quality 30, 30.46 dB and 0.189, 30.34 and 0.135, 30.25 and 0.125. From the model's own
decoder, with a quarter of this gamma and without noise, 1,240 steps gave 28.43 dB and 0.154 at
quality 15, and drew grids.
"""

from training.config import RealismTraining

CONFIG = RealismTraining(
    model="gained-checkerboard",
    minutes=12,
    crop=128,
    rate=3e-4,
    average=0.999,
    gamma=4e-3,
)
