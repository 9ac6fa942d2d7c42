r"""`gained-stem4` with a checkerboard context: config of the zoo's default model.

    python -m training.main --config gained_checkerboard --workdir OUT \
        --data IMAGES --validation OTHER_IMAGES --set start=WEIGHTS

Starts from weights of `gained-stem4`; the context's weights start at zero. Machine: two CPU cores
with AMX, shared with other work. Time: 4,427 steps in 82 minutes, a quarter of which the run was
suspended. Result on 8 photos that were not trained on, before and after, at quality 0: 0.116 bpp,
27.30 dB and 0.113, 27.35; 25: 0.234, 29.88 and 0.229, 29.90; 50: 0.461, 32.80 and 0.455, 32.84;
75: 0.839, 35.90 and 0.832, 35.94; 100: 1.391, 38.85 and 1.385, 38.92.
"""

from tfc_models.training.config import Config

CONFIG = Config(
    model="gained-checkerboard",
    arguments={"kernel": "rdft"},
    minutes=82,
    crop=192,
    average=0.9995,
    warmup=0.02,
    decay=0.6,
    last_rate=0.0,
)
