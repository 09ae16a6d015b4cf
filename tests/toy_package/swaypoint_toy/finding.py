"""A finding: how few points carry half of the influence."""

import numpy as np

from swaypoint.findings import Finding
from swaypoint.folder.audit_folder import AuditFolder


def toy(folder: AuditFolder) -> list[Finding]:
    cook = folder.scores()["cook"].to_numpy().astype(np.float64)
    order = np.argsort(-cook, kind="stable")
    count = int(np.searchsorted(np.cumsum(cook[order]), 0.5 * cook.sum())) + 1
    share = count / len(cook)
    return [
        Finding(
            name="half of the influence",
            sentence=f"{count:,} of {len(cook):,} points carry half of the influence",
            severity="high" if share < 0.01 else "medium" if share < 0.1 else "low",
            evidence={"share": share},
            index=order[:count],
            remedy=f"look at them: swaypoint show {folder.path} --top {count}",
        )
    ]
