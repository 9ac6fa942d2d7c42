r"""A realism decoder for the zoo's default model, trained with a critic.

    python -m training.realism --config realism_critic --workdir OUT \
        --data IMAGES --validation OTHER_IMAGES --set start=WEIGHTS

Machine: two CPU cores with AVX-512, shared with other work. Time: 2,600 steps in 31 minutes, from
500 steps of realism.py with gamma 1e-3. This was before LPIPS was evaluated at several scales and
the adversarial loss was weighted by the rate like the other losses. The critic's accuracy was 73 %
in its head start, and 51 to 56 % later. Results on 8 photos that were not trained on hardly
changed: quality 15, 28.44 dB and LPIPS 0.171 before, 28.49 and 0.171 after 1,100 steps. Learning
from a critic takes longer.
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
