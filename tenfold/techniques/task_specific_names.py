"""What the rows of the scorecard are called that task-specific tuning adds."""

from __future__ import annotations

ZERO_SHOT = "zero_shot"
FEW_SHOT = "few_shot"
WORDS = "words_alone"
ALONE = "task@alone"
DOMAIN = "domain"
TASK = "task"
CALIBRATED = "calibrated"
