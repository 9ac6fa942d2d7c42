"""HiFiC's second stage, narrow: as the first one, from its weights, with a critic.

    python -m training.gan --config hific_gan --workdir OUT \\
        --data IMAGES --validation OTHER_IMAGES --set start=FIRST/weights.npz

Machine: two CPU cores with AVX-512, shared with other work. Time: 6 minutes, 257 steps. On 8
photos never trained on, from the 0.262 bpp, 20.54 dB and LPIPS 0.447 of hific.py: 0.264 bpp, 20.63
dB, 0.439. The critic was right in 56 of 100 places after its head start, then in 60 to 83. Too few
steps to see what it is for: they show that both go on learning and that the rate stays.

The critic's rate is a few times the model's, and it has a tenth of the time for itself: at equal
rates a model soon outruns it. The paper's numbers: --steps 1000000 --set arguments.channels=60
--set arguments.latents=220 --set arguments.hyper=320 --set arguments.blocks=9 --set crop=256
--set rate=1e-4 --set critic_rate=1e-4 --set 'critic_widths=(64,128,256,512)'
--set head_start=0.0 --set target=0.14 --set warmup=0.0 --set decay=0.5 --set downscale=1.3333
--set clip_norm=1e9 --set spike=1e9 --set average=0.0 (and targets of 0.30, 0.45), and for LPIPS
weights of AlexNet. What stays ours is in tfc_models/training/hific_config.py.
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
