"""tsframe: deep locally connected ReLU networks expanded on their teacher's graph. The package of The Teacher's Graph."""
from .hierarchy import Hierarchy
from .teacher import Teacher
from .batchnorm import BatchNorm
from .ladder import Ladder
from .student import Student
from .dense import Dense
from .draws import dense_student, dense_teacher, near_teacher, normal_inputs, tuned
from .expansion import (Expansion, Residuals, backward, bias_update, expand, measure, reduced_loss, residuals,
                        weight_update)
from .relu_teacher import (Alignment, GradientExpansion, alignment, averaged_update, balance, fixed_readout,
                           gradient_expansion, homogeneous, small_gradient)
from . import gaussian
from .convexity import best_linear, linear_loss, margins, separating_weights, vertices
from .factors import block_masks, leak, product_teacher, random_teacher, separate, spread
from .training import History, train
from .curvature import sharpness
from .ensembles import train_dense
from .correspondence import (Correlation, Group, Match, assignment, best_match, colinear_groups, contribution, correlation,
                             layer_correlations, ranks, state_correlations, table_correlations)
from .sweeps import sweep
from .certificates import Certificate, certify

__version__ = "0.1.0"
__all__ = [
    "Hierarchy", "Teacher", "BatchNorm", "Ladder", "Student",           # the setting
    "Expansion", "expand", "backward", "weight_update", "bias_update", "reduced_loss", "measure",
    "random_teacher", "product_teacher", "spread", "block_masks", "leak", "separate",       # factors
    "Residuals", "residuals", "History", "train", "sharpness",          # training
    "margins", "vertices", "separating_weights", "linear_loss", "best_linear",      # convexity
    "Certificate", "certify",                                           # the statements, checked
]
