"""Charts of what the cost model says and what was measured: plain values in, a matplotlib figure out.

matplotlib is an extra (``paceline[plot]``): pages import these modules where a chart is wanted, and nowhere else.

Example:
    >>> from paceline.plots.save import check_plot, save_plot
    >>> from paceline.plots.speedup import Curve, speedup_chart
    >>> check_plot(path := Path("speedup.png"))
    >>> save_plot(speedup_chart([Curve(label="drafter on gpu", lengths=(1, 2), speedups=(1.2, 1.3))]), path)
"""
