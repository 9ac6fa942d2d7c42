r"""HiFiC's second stage with few channels: from the first stage's weights, with a critic.

    python -m training.gan --config hific_gan --workdir OUT \
        --data IMAGES --validation OTHER_IMAGES --set start=FIRST/weights.npz

Machine: two CPU cores with AVX-512, shared with other work. Time: 6 minutes, 257 steps. Result on 8
photos that were not trained on, from the 0.262 bpp, 20.54 dB and LPIPS 0.447 of hific.py: 0.264
bpp, 20.63 dB, 0.439. The critic's accuracy was 56 % after its head start, and 60 to 83 % later.
These are too few steps for visible details. They show that both networks keep learning and that the
rate is kept.

The critic's learning rate is higher than the model's, and only the critic is trained in the first
tenth of the run: at equal rates, the critic is soon no better than chance. The paper's settings:
--steps 1000000 --set arguments.channels=60
--set arguments.latents=220 --set arguments.hyper=320 --set arguments.blocks=9 --set crop=256
--set rate=1e-4 --set critic_rate=1e-4 --set 'critic_widths=(64,128,256,512)'
--set head_start=0.0 --set target=0.14 --set warmup=0.0 --set decay=0.5 --set downscale=1.3333
--set clip_norm=1e9 --set spike=1e9 --set average=0.0 (and targets of 0.30, 0.45), and for LPIPS
weights of AlexNet. tfc_models/training/hific_config.py lists the remaining differences.
"""

from tfc_models.training.hific_config import HificTraining

CONFIG = HificTraining(
    model="hific",
    arguments={"channels": 8, "latents": 48, "hyper": 32, "blocks": 2},
    minutes=6,
    crop=192,
    rate=2e-4,
    critic_rate=1e-3,
    critic_widths=(32, 64, 128, 256),
    head_start=0.1,
    adversarial=0.15,
    target=0.3,
    warmup=0.02,
    decay=0.25,
)
