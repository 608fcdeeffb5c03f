"""tsframe: deep locally connected ReLU networks expanded on their teacher's graph. The package of The Teacher's Graph."""
from .hierarchy import Hierarchy
from .teacher import Teacher
from .batchnorm import BatchNorm
from .ladder import Ladder
from .student import Student
from .expansion import (Expansion, Residuals, backward, bias_update, expand, measure, reduced_loss, residuals,
                        weight_update)
from .convexity import best_linear, linear_loss, margins, separating_weights, vertices
from .factors import block_masks, leak, product_teacher, random_teacher, separate, spread
from .training import History, train
from .curvature import sharpness
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
