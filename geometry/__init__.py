"""Outline the regions of a label map: exactly or simplified, with or without shared borders.

This package is private to ``poligons_from_seg``, which has the public functions. In order of use:

    runs.py     find straight runs of pixel edges in a label map, and link them to outlines
    rings.py    join the runs to the exact rings of every region
    chains.py   select the corners of the outlines that are worth a vertex
    fit.py      fit the vertices to the outlines, within the tolerance
    regions.py  cut rings into arcs, simplify these, and make valid polygons of them
    limit.py    enforce the limit of vertices per ring
    arrays.py   types of arrays; ranges in flat arrays

Coordinates are pixel corners: x right, y down, (0, 0) the outer corner of the top left pixel. The
region lies on the right of its rings' direction on screen: exteriors run clockwise on screen
(positive shoelace area with y down), holes counter-clockwise. All rings are in one flat array of
points with an array of offsets, so that the cost of a numpy call is paid once per picture.
"""
