"""All rewrite rules, by the pass that runs them. The tests of rules go over this table."""

from __future__ import annotations

from collections.abc import Mapping

from cnncc.ir.rewrite import Rule
from cnncc.passes.drop_identities import RULES as IDENTITIES
from cnncc.passes.drop_taps import RULES as TAPS
from cnncc.passes.fold_batchnorm import RULES as BATCH_NORMS
from cnncc.passes.fold_constants import RULES as CONSTANTS
from cnncc.passes.fold_scales import RULES as SCALES
from cnncc.passes.fuse_epilogues import RULES as EPILOGUES
from cnncc.passes.join_activations import RULES as ACTIVATIONS
from cnncc.passes.join_moves import RULES as MOVES
from cnncc.passes.join_norms import RULES as NORMS
from cnncc.passes.join_permutes import RULES as PERMUTES
from cnncc.passes.join_rows import RULES as ROWS
from cnncc.passes.join_tables import RULES as TABLES
from cnncc.passes.merge_siblings import RULES as SIBLINGS

RULES: Mapping[str, tuple[Rule, ...]] = {
    "drop_identities": IDENTITIES,
    "fold_constants": CONSTANTS,
    "join_moves": MOVES,
    "drop_taps": TAPS,
    "join_activations": ACTIVATIONS,
    "fold_scales": SCALES,
    "join_norms": NORMS,
    "join_permutes": PERMUTES,
    "join_rows": ROWS,
    "join_tables": TABLES,
    "fold_batchnorm": BATCH_NORMS,
    "fuse_epilogues": EPILOGUES,
    "merge_siblings": SIBLINGS,
}
