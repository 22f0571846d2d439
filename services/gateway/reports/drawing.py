"""Draws a plot as SVG: without a script, an address or a font from outside, readable on white and on black."""

import datetime as dt
import re
import sys
import xml.etree.ElementTree as ET

from services.gateway.reports.chart import Plot

MEDIA_TYPE = "image/svg+xml"
END = b"</svg>"
WIDTH, HEIGHT = 900, 480
TALLEST = 1400
BAR_HEIGHT = 22
MOST_UPRIGHT, LONGEST_UPRIGHT = 12, 12
"""Bars, and characters of their labels, that can stand side by side; more lie one under the other."""
MOST_LABELS = 16
INK = "#757575"
"""As far from white as from black."""
COLOURS = ("#3b82f6", "#d97706", "#059669", "#db2777", "#8b5cf6", "#0891b2", "#dc2626", "#788291")
FONT = "system-ui, sans-serif"
NOTHING = "There are no rows."
FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that no XML may have."""


def draw(plot: Plot, *, name: str, title: str, limits: str = "") -> bytes:
    """The image up to its end, see `noted`. The same plot is drawn with the same bytes.

    `name` tells charts apart that stand on one page; `limits` is said about what is not shown.
    """
    import pygal  # noqa: PLC0415 - most gateways never draw
    from pygal.style import Style  # noqa: PLC0415

    # It wants to be asked about every import, for maps that we don't have, and in a way that Python warns of.
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, pygal.PluginImportFixer)]

    lying = plot.kind == "bar" and _must_lie(plot.labels)
    kinds = {
        ("bar", False, False): pygal.Bar,
        ("bar", True, False): pygal.StackedBar,
        ("bar", False, True): pygal.HorizontalBar,
        ("bar", True, True): pygal.HorizontalStackedBar,
        ("line", False, False): pygal.Line,
        ("line", True, False): pygal.StackedLine,
    }
    style = Style(
        background="transparent",
        plot_background="transparent",
        foreground=INK,
        foreground_strong=INK,
        foreground_subtle=INK,
        colors=COLOURS,
        font_family=FONT,
        opacity=".9",
        title_font_size=16,
        legend_font_size=13,
        label_font_size=11,
        major_label_font_size=11,
        no_data_font_size=20,
        guide_stroke_color=INK,
        major_guide_stroke_color=INK,
    )
    height = min(TALLEST, max(HEIGHT, 130 + BAR_HEIGHT * len(plot.labels) * _bars(plot))) if lying else HEIGHT
    every = max(1, -(-len(plot.labels) // MOST_LABELS))
    chart = kinds[plot.kind, plot.stacked, lying](
        style=style,
        js=(),
        css=("file://style.css", "file://graph.css", f"inline:{_rules(name)}"),
        width=WIDTH,
        height=height,
        explicit_size=True,
        margin_bottom=30,
        title=_clean(title),
        x_title=_clean(plot.y if lying else plot.x),
        y_title=_clean(plot.x if lying else plot.y),
        no_data_text=NOTHING,
        show_legend=bool(plot.series),
        legend_at_bottom=False,
        truncate_legend=-1,
        truncate_label=-1,
        value_formatter=_number,
        allow_interruptions=True,
        dots_size=2,
        fill=plot.kind == "line" and plot.stacked,
        x_label_rotation=0 if lying or len("".join(plot.labels[::every])) < MOST_LABELS * 5 else 30,
        show_minor_x_labels=lying or every == 1,
        x_labels_major_every=None if lying or every == 1 else every,
        include_x_axis=True,  # or small differences look like large ones
    )
    chart.uuid = name
    order = slice(None, None, -1) if lying else slice(None)  # what lies is counted from below
    chart.x_labels = [_clean(label) for label in plot.labels][order]
    for series in plot.series:
        chart.add(_clean(series.name), series.values[order])
    root = chart.render_tree()
    _tidy(root, limits)
    drawn: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return drawn.removesuffix(END)


def noted(drawn: bytes, computed_at: dt.datetime, version: int, lag_versions: int) -> bytes:
    """What was drawn, with its freshness and its end."""
    behind = f", behind by {lag_versions:,}" if lag_versions else ""
    note = f"as of {computed_at:%Y-%m-%d %H:%M:%S} UTC, version {version}{behind}"
    return b'%b<text class="note" x="98%%" y="98%%">%b</text>%b' % (drawn, note.encode(), END)


def _rules(name: str) -> str:
    """Text can be selected; what the numbers are measured by stands back."""
    here = f"#chart-{name}"
    note = f"{here} .note,{here} .limits{{font-size:11px;fill:{INK}}}{here} .note{{text-anchor:end}}"
    return f"{here}{{-webkit-user-select:text;user-select:text}}{here} .guide.line{{stroke-opacity:.4}}{note}"


def _must_lie(labels: list[str]) -> bool:
    return len(labels) > MOST_UPRIGHT or max(map(len, labels), default=0) > LONGEST_UPRIGHT


def _bars(plot: Plot) -> int:
    """That lie under each other for each label."""
    return 1 if plot.stacked else max(1, len(plot.series))


def _tidy(root: ET.Element, limits: str) -> None:
    """Takes out what is for a script, and says what a bar is when it is pointed at."""
    root.set("role", "img")
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (ET.Comment, "script") or "tooltip-overlay" in child.get("class", ""):
                parent.remove(child)
        told = {child.get("class"): child for child in parent if child.tag == "desc"}
        if told:
            texts = [told[kind].text or "" for kind in ("x_label", "value") if kind in told]
            for child in told.values():
                parent.remove(child)
            ET.SubElement(parent, "title").text = ": ".join(text for text in texts if text)
    if limits:
        ET.SubElement(root, "text", {"class": "limits", "x": "2%", "y": "98%"}).text = f"Shown: {limits}"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value == round(value) else f"{value:,.6g}"


def _clean(text: str) -> str:
    return FORBIDDEN.sub("\ufffd", text)
