"""A decoder of more realism for the zoo's default model, against a critic.

    python -m training.realism --config realism_critic --workdir OUT \\
        --data IMAGES --validation OTHER_IMAGES --set start=WEIGHTS

Machine: two CPU cores with AVX-512, shared with other work. Time: 2,600 steps in 31 minutes, from
500 steps of realism.py with gamma 1e-3, before LPIPS was compared at several scales and what the
critic says was weighed by the rate as all else is. The critic was right in 73 % of places in its
head start, and in 51 to 56 % from then on: what it sees is soon drawn, and little changes on 8
photos never trained on: quality 15, 28.44 dB, LPIPS 0.171 before, 28.49 and 0.171 after 1,100
steps. It takes longer than that to learn from a critic.
"""

from tfc_models.training.config import RealismTraining

CONFIG = RealismTraining(
    model="gained-checkerboard",
    minutes=42,
    crop=128,
    rate=1e-4,
    average=0.999,
    warmup=0.01,
    gamma=1.2e-3,
    adversarial=0.06,
    critic_rate=1e-3,
    critic_widths=(32, 64, 128, 256),
    head_start=0.04,
)
