"""The state of the BiasExplorer, without widgets: table, attribute, score, threshold, rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import traitlets as t

from serfiq_widgets.errors import BadTable, SerfiqError
from serfiq_widgets.evaluation import groups
from serfiq_widgets.evaluation.bias import GroupedScores, GroupRow, group_scores
from serfiq_widgets.evaluation.groups import SCORES, ScoreTable
from serfiq_widgets.resources import PACKAGE
from serfiq_widgets.widgets.errors_shown import HasMessage

BUNDLED = PACKAGE / "bundled" / "utkface_mini.npz"
NO_GROUPS = (*SCORES, "path", "sha256", "box", "error")
SPANS = {"quality": (0.0, 100.0)}
QUALITY_MIDDLE = 50.0
STEPS = 100  # least number of thresholds over a range


class BiasState(HasMessage):
    """Groups of scored images at a threshold.

    Parameters
    ----------
    table : mapping of arrays, data frame or ScoreTable, optional
        Scores and groups; if not given, the bundled table of UTKFace.
    by : sequence of str, optional
        The columns that define groups; if not given, all suitable ones.
    edges : mapping of str to sequence of float, optional
        Bins of a column of numbers.

    Attributes
    ----------
    attribute, column : str
        The column of the groups and the column of the score; one of ``attributes`` and of
        ``columns``.
    threshold : float
        Images below it are discarded; kept within ``span``.
    grouped : GroupedScores
        The scores by group (read it, don't set it).
    rows : list of GroupRow
        The numbers of each group at the threshold (read it, don't set it).
    message : str
        The last error, empty if there is none.

    Raises
    ------
    BadTable
        It is no table, or no column has groups or scores.
    """

    attribute = t.Unicode()
    column = t.Unicode()
    threshold = t.Float(QUALITY_MIDDLE)
    grouped = t.Instance(GroupedScores)
    rows: list[GroupRow] = t.List()  # type: ignore[assignment]  # traitlets makes the list

    def __init__(
        self,
        table: Any = None,
        by: Sequence[str] | None = None,
        edges: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        super().__init__()
        given = groups.load(BUNDLED) if table is None else groups.as_table(table)
        self._edges = dict(edges or {})
        self.table = self._with_names(given)
        self.columns = self.table.scores
        if not self.columns:
            raise BadTable(f"The table has no column of scores: {', '.join(SCORES)}.")
        self.attributes = list(by) if by else self._groupings()
        if not self.attributes:
            raise BadTable("No column of the table says two to 24 groups: name them with by=[...].")
        self._known: dict[tuple[str, str], GroupedScores] = {}
        self.grouped = self._group(self.attributes[0], self.columns[0])
        with self.hold_trait_notifications():
            self.attribute, self.column = self.attributes[0], self.columns[0]
        self.threshold = self.middle

    @property
    def span(self) -> tuple[float, float]:
        """Lowest and highest threshold."""
        if self.column in SPANS:
            return SPANS[self.column]
        low, high = self.grouped.range
        step = self.step
        return round(math.floor(low / step) * step, 9), round(math.ceil(high / step) * step, 9)

    @property
    def step(self) -> float:
        """A round step that gives at least `STEPS` thresholds."""
        if self.column in SPANS:
            return 1.0
        low, high = self.grouped.range
        step: float = 10 ** math.floor(math.log10(max(high - low, 1e-9) / STEPS))
        return step

    @property
    def middle(self) -> float:
        """The initial threshold: 50 for a quality, else the one that discards 10 %."""
        if self.column in SPANS:
            return QUALITY_MIDDLE
        low, high = self.span
        total = self.grouped.counts.sum()
        while high - low > self.step:
            middle = (low + high) / 2
            fewer = self.grouped.below(middle).sum() < total / 10
            low, high = (middle, high) if fewer else (low, middle)
        return round(round(low / self.step) * self.step, 9)

    @t.validate("attribute")
    def _an_attribute(self, proposal: dict[str, Any]) -> str:
        return self._one_of(self.attributes, proposal["value"])

    @t.validate("column")
    def _a_column(self, proposal: dict[str, Any]) -> str:
        return self._one_of(self.columns, proposal["value"])

    @t.validate("threshold")
    def _within(self, proposal: dict[str, Any]) -> float:
        low, high = self.span
        value: float = proposal["value"]
        return self.middle if math.isnan(value) else min(max(value, low), high)

    @staticmethod
    def _one_of(names: Sequence[str], name: str) -> str:
        if name not in names:
            raise BadTable(f"'{name}' is not among {', '.join(names)}.")
        return name

    @t.observe("attribute", "column")
    def _regroup(self, change: dict[str, Any]) -> None:
        self.grouped = self._group(self.attribute, self.column)
        if change["name"] == "column":
            self.threshold = self.middle

    @t.observe("grouped", "threshold")
    def _count(self, _: dict[str, Any]) -> None:
        self.rows = self.grouped.rows(self.threshold)

    def _group(self, attribute: str, column: str) -> GroupedScores:
        """Sort the scores into groups, once per attribute and score."""
        key = (attribute, column)
        if key not in self._known:
            codes = groups.labels(self.table, attribute, self._edges.get(attribute))
            self._known[key] = group_scores(self.table.numbers(column), codes)
        return self._known[key]

    def _with_names(self, table: ScoreTable) -> ScoreTable:
        """Add groups from the file names, if they contain any."""
        if "path" not in table.columns:
            return table
        try:
            return groups.with_groups(table)[0]
        except BadTable:
            return table

    def _groupings(self) -> list[str]:
        """Return the columns that divide the images into a few groups."""
        found = []
        for name in self.table.columns:
            if name in NO_GROUPS:
                continue
            try:
                codes = groups.labels(self.table, name, self._edges.get(name)).codes
            except SerfiqError:
                continue
            if len(set(codes.tolist()) - {-1}) > 1:
                found.append(name)
        return found
