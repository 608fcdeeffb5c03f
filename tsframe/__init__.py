"""tsframe: deep locally connected ReLU networks expanded on their teacher's graph. The package of The Teacher's Graph."""
from .hierarchy import Hierarchy
from .teacher import Teacher
from .ladder import Ladder
from .student import Student
from .expansion import (Expansion, Residuals, backward, bias_update, expand, measure, reduced_loss, residuals,
                        weight_update)
from .training import History, train

__version__ = "0.1.0"
