"""What the pictures of the benches have in common: the page with its title, the legend, the scale."""
from html import escape

GRID, GREY, BLUE, ORANGE = "#e4e4e4", "#999", "#4269a5", "#d97a28"


def page(width, height, title, lines):
    """The beginning; `</svg>` is left to the caller. The lines say how it was made."""
    yield (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
           f'font-size="11"><rect width="100%" height="100%" fill="white"/>')
    yield text(16, 22, title, 'font-size="15" font-weight="bold"')
    yield from (text(16, 40 + 15 * row, line, 'fill="#555"') for row, line in enumerate(lines))


def text(x, y, said, more=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" {more}>{escape(said)}</text>'


def legend(entries, x, y, step):
    """Of (name, colour)."""
    for index, (name, colour) in enumerate(entries):
        at = x + step * index
        yield f'<circle cx="{at}" cy="{y - 4}" r="4" fill="{colour}"/>' + text(at + 9, y, name)


def nice(most):
    """The next 1, 2, 4 or 8 of a power of ten above it."""
    power = 0.01
    while True:
        for digit in (1, 2, 4, 8):
            if digit * power >= most:
                return digit * power
        power *= 10
