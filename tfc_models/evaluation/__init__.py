"""Size, quality and time of codecs, measured on real files: models beside standard codecs.

This package imports `codec`, `analysis`, `metrics` and the packages below them, not `cli`.
"""

from tfc_models.evaluation.bd_rates import (
    BDRate,
    against_published,
    bd_markdown,
    bd_notes,
    bd_rates,
    bd_tables,
    falling_quality,
    published_beside,
    published_tables,
    settings_table,
)
from tfc_models.evaluation.contenders import (
    Contender,
    Setting,
    model_contender,
    model_library,
    model_setting,
    options_text,
    peer_contender,
    peer_setting,
)
from tfc_models.evaluation.equal import EqualSize, Trial, size_at_quality
from tfc_models.evaluation.journal import Journal, JournalError
from tfc_models.evaluation.measuring import Coded, Figures, code, measure, timed
from tfc_models.evaluation.peers import PEERS, Peer, at_speed, nearest_setting
from tfc_models.evaluation.quality_metrics import QualityMetric, quality_metric
from tfc_models.evaluation.results import (
    Mean,
    MeasuredImage,
    Row,
    curves,
    document,
    gaps,
    means,
    table,
)
from tfc_models.evaluation.running import Evaluation, Source
from tfc_models.packages import MissingError

__all__ = [
    "PEERS",
    "BDRate",
    "Coded",
    "Contender",
    "EqualSize",
    "Evaluation",
    "Figures",
    "Journal",
    "JournalError",
    "Mean",
    "MeasuredImage",
    "MissingError",
    "Peer",
    "QualityMetric",
    "Row",
    "Setting",
    "Source",
    "Trial",
    "against_published",
    "at_speed",
    "bd_markdown",
    "bd_notes",
    "bd_rates",
    "bd_tables",
    "code",
    "curves",
    "document",
    "falling_quality",
    "gaps",
    "means",
    "measure",
    "model_contender",
    "model_library",
    "model_setting",
    "nearest_setting",
    "options_text",
    "peer_contender",
    "peer_setting",
    "published_beside",
    "published_tables",
    "quality_metric",
    "settings_table",
    "size_at_quality",
    "table",
    "timed",
]
