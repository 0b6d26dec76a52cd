"""Moving speech from one emotion towards another, behind one interface.

A `Steerer` analyses a clip once (`analyse`) and renders any number of deltas from it (`render`); `steer` is
both. Delta 0 gives the clip back, sample for sample; 1 is one emotion further, -1 one back. `LatentSteerer`
moves an encoder's frames along an axis, `ProsodySteerer` pitch, timing, energy and voice quality,
`HybridSteerer` both. `prepare` makes a steerer from a corpus, or loads it; `judge` its judge; a `Studio` has
all that the sliders of a panel ask for.
"""

from emolib.steering import shipped
from emolib.steering.base import Steerer, check_delta
from emolib.steering.latent import LatentSteerer
from emolib.steering.preparation import METHODS, Roles, Studio, judge, prepare, roles, rotations
from emolib.steering.prosodic import HybridSteerer, ProsodySteerer, blend
