"""What records say beside each other: `compare` holds new ones against old ones, `gates` fails a build by it."""

from edgecnn.report.compare import compare
from edgecnn.report.gates import check, parse_limits
from edgecnn.report.rows import Row

__all__ = ["Row", "check", "compare", "parse_limits"]
