from __future__ import annotations

from tenfold.evaluation.figures import share_text


def test_a_small_share_keeps_two_digits() -> None:
    shares = {0.0: "0.00%", 770 / 23_390_211: "0.0033%", 0.0001: "0.01%", 0.02894: "2.89%", 1.0: "100.00%"}
    assert {share: share_text(share) for share in shares} == shares
