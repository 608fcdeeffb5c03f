"""Floor 6. Certificates of the numbered statements: `certify()` computes and shows them."""
from . import setting                            # noqa: F401  (importing it registers Part I)
from . import batchnorm                          # noqa: F401  (Part II, in the order of the book)
from . import nonlinearity                       # noqa: F401
from . import disentanglement                    # noqa: F401
from . import overfitting                        # noqa: F401
from . import noise                              # noqa: F401
from . import relu_teachers                      # noqa: F401  (Part III)
from . import winners                            # noqa: F401
from . import specialization                     # noqa: F401
from . import deep                               # noqa: F401
from .registry import Certificate, Certificates, certify
