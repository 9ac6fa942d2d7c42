"""A decoder of more realism for the zoo's default model, against a critic.

    python -m training.realism --config training/configs/realism_critic.py --workdir OUT \\
        --data PICTURES --validation OTHER_PICTURES --set start=WEIGHTS_OF_realism.py

Machine: two CPU cores with AVX-512, shared with other work. LPIPS dB
"""

from training.config import RealismTraining

CONFIG = RealismTraining(
    model="gained-checkerboard",
    minutes=42,
    crop=128,
    rate=1e-4,
    average=0.999,
    warmup=0.01,
    gamma=0.0012,
    adversarial=0.06,
    critic_rate=1e-3,
    critic_widths=(32, 64, 128, 256),
    head_start=0.04,
)
