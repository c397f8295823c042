"""Pictures of receptive fields: everything is where it is, and what is written can be read."""

import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from jaxcv.analysis import Window, chain_receptive_field
from jaxcv.plot import draw_feature_maps, draw_receptive_field

FIELD = chain_receptive_field([Window(3, 2, 1), Window((3, 5), (2, 1), 1)])
IMAGE = np.linspace(0, 1, 9 * 12 * 3).reshape(9, 12, 3)
LECTURE = [Window(3, 2, 1), Window(3, 2, 1)]


def boxes(axes, linewidth):
    """Rows and columns inside each outline of this width."""
    found = []
    for patch in axes.patches:
        if isinstance(patch, Rectangle) and patch.get_linewidth() == linewidth:
            left, top = (round(at + 0.5) for at in patch.get_xy())
            bottom, right = top + patch.get_height(), left + patch.get_width()
            found.append((range(top, bottom), range(left, right)))
    return found


def squares(axes, color):
    """(y, x) of the features drawn as squares with this fill."""
    return {
        tuple(np.round(patch.get_center()[::-1], 6))
        for patch in axes.patches
        if patch.get_width() < 1 and patch.get_facecolor() == to_rgba(color)
    }


def check_texts(figure):
    """No text is cut off, and none lies on another."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    beyond = {
        label
        for axes in figure.axes
        for which, axis in enumerate((axes.xaxis, axes.yaxis))
        for label in axis.get_ticklabels()
        if not np.ptp([*axis.get_view_interval(), label.get_position()[which]])
        <= np.ptp(axis.get_view_interval())
    }
    texts = [t for t in figure.findobj(Text) if t.get_text() and t.get_visible()]
    texts = [text for text in texts if text not in beyond]
    extents = [text.get_window_extent(canvas.get_renderer()) for text in texts]
    for text, box in zip(texts, extents, strict=True):
        inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 + 1
        assert inside and box.y1 <= figure.bbox.y1 + 1, text
    for (text, a), (other, b) in itertools.combinations(zip(texts, extents, strict=True), 2):
        apart = a.x1 < b.x0 or b.x1 < a.x0 or a.y1 < b.y0 or b.y1 < a.y0
        assert apart, (text, other)


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
@pytest.mark.parametrize("position", [(1, 2), (0, 3)])
def test_the_field_is_where_it_is(position, dtype):
    image = (IMAGE * (255 if dtype == np.uint8 else 1)).astype(dtype)
    figure = draw_receptive_field(FIELD, position, image, (3, 4), title="a title")
    check_texts(figure)
    (axes,) = figure.axes
    rows, columns = FIELD.box(*position)
    assert boxes(axes, 2) == [(rows, columns)]
    centres, own = (set(zip(*line.get_data(), strict=True)) for line in axes.get_lines())
    (y, x), (down, right) = FIELD.centre, FIELD.jump
    features = itertools.product(range(3), range(4))
    assert centres == {(x + right * j, y + down * i) for i, j in features}
    assert own == {(x + right * position[1], y + down * position[0])}

    left, end = axes.get_xlim()
    assert left <= min(columns.start, 0) - 0.5 and end >= max(columns.stop, 12) - 0.5
    bottom, top = axes.get_ylim()
    assert top <= min(rows.start, 0) - 0.5 and bottom >= max(rows.stop, 9) - 0.5
    for shown in axes.get_images():
        assert shown.get_extent() == [-0.5, 11.5, 8.5, -0.5]
        np.testing.assert_array_equal(shown.get_array(), image)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    padding = ["padding"] if position == (0, 3) else []
    assert labels == [
        f"feature {position} sees {len(rows)} × {len(columns)} pixels",
        "its centre",
        "centres of all 3 × 4 features, 4 × 2 pixels apart",
        *padding,
    ]


def test_the_effective_field_is_a_share_of_the_largest():
    effective = np.arange(9 * 12).reshape(9, 12)
    figure = draw_receptive_field(FIELD, (1, 1), IMAGE[..., :1], (3, 4), effective=effective)
    check_texts(figure)
    first, second = figure.axes[:2]
    (shown,) = second.get_images()
    np.testing.assert_allclose(shown.get_array(), effective / effective.max())
    assert boxes(first, 2) == boxes(second, 2) == [FIELD.box(1, 1)]
    draw_receptive_field(FIELD, (1, 1), IMAGE, (3, 4), effective=np.zeros((9, 12)))


def test_the_lecture():
    figure = draw_feature_maps(LECTURE, 5, (0, 1), title="5 × 5 to 2 × 2")
    check_texts(figure)
    above, below = figure.axes[:3], figure.axes[3:]
    titles = [axes.get_title() for axes in above]
    assert titles == ["image: 5 × 5", "map 1: 3 × 3", "map 2: 2 × 2"]
    layers = [axes.texts[0].get_text() for axes in above]
    assert layers == ["", *["3 × 3, stride 2, padding 1"] * 2]
    # The one row of padding that there is, not that which padding of the next map would read.
    assert [boxes(axes, 2) for axes in above] == [
        [(range(-1, 4), range(1, 6))],
        [(range(-1, 2), range(1, 4))],
        [(range(1), range(1, 2))],
    ]
    assert [axes.get_xlabel() for axes in below] == [
        f"one sees {size} × {size} pixels" for size in (1, 3, 7)
    ]
    assert boxes(below[2], 2) == [(range(-3, 4), range(1, 8))]
    assert squares(below[2], "#d55e00") == {(0, 4)}
    assert squares(below[2], "#fadcc7") == {(0, 0), (4, 0), (4, 4)}
    assert len(squares(below[1], "#009e73")) == 1
    assert len(squares(below[1], "#c8ecdf")) == 8
    assert len(squares(below[0], "#cfe4f3")) == 24


@pytest.mark.parametrize(
    ("windows", "size", "position"),
    [
        ([], 4, (1, 2)),
        ([(1, 1, 2)], 3, (0, 0)),
        ([Window((3, 1), 1, (1, 0)), Window(2, 2), Window(3, 1, 2, 2)], (9, 12), (1, 5)),
    ],
)
def test_any_chain_has_a_picture(windows, size, position):
    figure = draw_feature_maps(windows, size, position)
    check_texts(figure)
    assert len(figure.axes) == 2 * (len(windows) + 1)
    field = chain_receptive_field(windows)
    assert boxes(figure.axes[-1], 2) == [field.box(*position)]


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"position=\(3, 0\)"):
        draw_receptive_field(FIELD, (3, 0), IMAGE, (3, 4))
    with pytest.raises(ValueError, match="image has shape"):
        draw_receptive_field(FIELD, (0, 0), IMAGE[..., 0], (3, 4))
    with pytest.raises(ValueError, match="effective has shape"):
        draw_receptive_field(FIELD, (0, 0), IMAGE, (3, 4), effective=np.ones((2, 2)))
    with pytest.raises(ValueError, match=r"position=\(2, 0\)"):
        draw_feature_maps(LECTURE, 5, (2, 0))
    with pytest.raises(ValueError, match="size has height and width"):
        draw_feature_maps([Window(7)], 5, (0, 0))
