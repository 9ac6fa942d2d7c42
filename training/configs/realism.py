"""A decoder of more realism for the zoo's default model, without a critic.

    python -m training.realism --config training/configs/realism.py --workdir OUT \\
        --data PICTURES --validation OTHER_PICTURES

Machine: two CPU cores with AVX-512, shared with other work. Time: 1,240 steps in 12 minutes. On 8
photos never trained on, faithful and at realism 1: quality 15, 28.82 dB, LPIPS 0.249 and 28.43,
0.154; quality 30, 30.46 dB, LPIPS 0.189 and 30.03, 0.117. What LPIPS does not see, as a fine grid
over smooth dark places, remains: see realism_critic.py.
"""

from training.config import RealismTraining

CONFIG = RealismTraining(
    model="gained-checkerboard",
    minutes=12,
    crop=128,
    rate=3e-4,
    average=0.999,
)
