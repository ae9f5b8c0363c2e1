"""The table of attacks. A new one is a function and a row in the module of its kind."""

import attack_cache
import attack_checkpoints
import attack_images
import attack_parts
import attack_readers
import attack_requests
import attack_results
import attack_series
import attack_watch
from attack_frame import Attack

__all__ = ["ATTACKS"]

ATTACKS: tuple[Attack, ...] = (
    *attack_readers.ATTACKS,
    *attack_images.ATTACKS,
    *attack_checkpoints.ATTACKS,
    *attack_parts.ATTACKS,
    *attack_cache.ATTACKS,
    *attack_watch.ATTACKS,
    *attack_results.ATTACKS,
    *attack_series.ATTACKS,
    *attack_requests.ATTACKS,
)
