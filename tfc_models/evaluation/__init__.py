"""What codecs cost and what they give, measured on real files: ours beside the others'."""

from tfc_models.evaluation.contenders import (
    Contender,
    Setting,
    model_contender,
    model_setting,
    peer_contender,
)
from tfc_models.evaluation.journal import Journal, JournalError
from tfc_models.evaluation.measuring import Coded, Figures, code, measure, timed
from tfc_models.evaluation.peers import PEERS, Peer, nearest_setting
from tfc_models.evaluation.results import (
    Picture,
    Row,
    against_published,
    bd_markdown,
    bd_notes,
    bd_rates,
    bd_tables,
    curves,
    document,
    gaps,
    means,
    published_beside,
    published_tables,
    table,
)
from tfc_models.evaluation.running import Evaluation, Source

__all__ = [
    "PEERS",
    "Coded",
    "Contender",
    "Evaluation",
    "Figures",
    "Journal",
    "JournalError",
    "Peer",
    "Picture",
    "Row",
    "Setting",
    "Source",
    "against_published",
    "bd_markdown",
    "bd_notes",
    "bd_rates",
    "bd_tables",
    "code",
    "curves",
    "document",
    "gaps",
    "means",
    "measure",
    "model_contender",
    "model_setting",
    "nearest_setting",
    "peer_contender",
    "published_beside",
    "published_tables",
    "table",
    "timed",
]
