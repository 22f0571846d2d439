"""Draws a chart as SVG, without scripts, links or external fonts, readable on white and on black."""

import datetime as dt
import re
import sys
import xml.etree.ElementTree as ET

from services.gateway.reports.chart import Plot

MEDIA_TYPE = "image/svg+xml"
END = b"</svg>"
WIDTH, HEIGHT = 900, 480
MAX_HEIGHT = 1400
BAR_HEIGHT = 22
MAX_VERTICAL_BARS, MAX_VERTICAL_LABEL = 12, 12
"""With more bars or longer labels, bars are horizontal."""
MAX_LABELS = 16
INK = "#757575"
"""Equal contrast on white and on black."""
COLOURS = ("#3b82f6", "#d97706", "#059669", "#db2777", "#8b5cf6", "#0891b2", "#dc2626", "#788291")
FONT = "system-ui, sans-serif"
NO_ROWS = "There are no rows."
FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML does not allow."""


def draw(plot: Plot, *, name: str, title: str, limits: str = "") -> bytes:
    """Returns the image without its end tag, see `add_note`. The same plot always gives the same bytes.

    `name` distinguishes charts on one page; `limits` describes rows and labels that are not shown.
    """
    import pygal  # noqa: PLC0415 - most gateways never draw
    from pygal.style import Style  # noqa: PLC0415

    # pygal hooks into every import to find plugins, in a way that Python warns of. We use no plugins.
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, pygal.PluginImportFixer)]

    horizontal = plot.kind == "bar" and _is_horizontal(plot.labels)
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
    height = min(MAX_HEIGHT, max(HEIGHT, 130 + BAR_HEIGHT * len(plot.labels) * _bars(plot))) if horizontal else HEIGHT
    every = max(1, -(-len(plot.labels) // MAX_LABELS))
    chart = kinds[plot.kind, plot.stacked, horizontal](
        style=style,
        js=(),
        css=("file://style.css", "file://graph.css", f"inline:{_rules(name)}"),
        width=WIDTH,
        height=height,
        explicit_size=True,
        margin_bottom=30,
        title=_clean_text(title),
        x_title=_clean_text(plot.y if horizontal else plot.x),
        y_title=_clean_text(plot.x if horizontal else plot.y),
        no_data_text=NO_ROWS,
        show_legend=bool(plot.series),
        legend_at_bottom=False,
        truncate_legend=-1,
        truncate_label=-1,
        value_formatter=_number,
        allow_interruptions=True,
        dots_size=2,
        fill=plot.kind == "line" and plot.stacked,
        x_label_rotation=0 if horizontal or len("".join(plot.labels[::every])) < MAX_LABELS * 5 else 30,
        show_minor_x_labels=horizontal or every == 1,
        x_labels_major_every=None if horizontal or every == 1 else every,
        include_x_axis=True,  # otherwise small differences look large
    )
    chart.uuid = name
    order = slice(None, None, -1) if horizontal else slice(None)  # horizontal bars are counted from the bottom
    chart.x_labels = [_clean_text(label) for label in plot.labels][order]
    for series in plot.series:
        chart.add(_clean_text(series.name), series.values[order])
    root = chart.render_tree()
    _clean_tree(root, limits)
    drawn: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return drawn.removesuffix(END)


def add_note(drawn: bytes, computed_at: dt.datetime, version: int, lag_versions: int) -> bytes:
    """Returns the complete image with a note about its freshness."""
    behind = f", behind by {lag_versions:,}" if lag_versions else ""
    note = f"as of {computed_at:%Y-%m-%d %H:%M:%S} UTC, version {version}{behind}"
    return b'%b<text class="note" x="98%%" y="98%%">%b</text>%b' % (drawn, note.encode(), END)


def _rules(name: str) -> str:
    """Returns CSS rules: text is selectable, and guide lines are faint."""
    chart = f"#chart-{name}"
    note = f"{chart} .note,{chart} .limits{{font-size:11px;fill:{INK}}}{chart} .note{{text-anchor:end}}"
    return f"{chart}{{-webkit-user-select:text;user-select:text}}{chart} .guide.line{{stroke-opacity:.4}}{note}"


def _is_horizontal(labels: list[str]) -> bool:
    return len(labels) > MAX_VERTICAL_BARS or max(map(len, labels), default=0) > MAX_VERTICAL_LABEL


def _bars(plot: Plot) -> int:
    """Returns the number of bars per label."""
    return 1 if plot.stacked else max(1, len(plot.series))


def _clean_tree(root: ET.Element, limits: str) -> None:
    """Removes elements that need a script, and gives each bar a tooltip."""
    root.set("role", "img")
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (ET.Comment, "script") or "tooltip-overlay" in child.get("class", ""):
                parent.remove(child)
        descriptions = {child.get("class"): child for child in parent if child.tag == "desc"}
        if descriptions:
            texts = [descriptions[kind].text or "" for kind in ("x_label", "value") if kind in descriptions]
            for child in descriptions.values():
                parent.remove(child)
            ET.SubElement(parent, "title").text = ": ".join(text for text in texts if text)
    if limits:
        ET.SubElement(root, "text", {"class": "limits", "x": "2%", "y": "98%"}).text = f"Shown: {limits}"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value == round(value) else f"{value:,.6g}"


def _clean_text(text: str) -> str:
    return FORBIDDEN.sub("\ufffd", text)
