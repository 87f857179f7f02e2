"""Outlines of the regions of a label map: exact, simplified, with borders in common.

Private parts of ``poligons_from_seg``, which has the public functions. In order of use:

    runs.py     label map -> straight runs of pixel edges, linked to outlines
    rings.py    runs -> the exact rings of every region
    chains.py   which corners of the outlines are worth a vertex
    fit.py      where these vertices lie best, and how far the outline may stray from the edges
    regions.py  rings -> arcs -> simplified rings that are valid polygons
    limit.py    rings with no more vertices than allowed, whatever it takes
    arrays.py   names of array types; ranges in flat arrays

Coordinates are pixel corners: x right, y down, (0, 0) the outer corner of the top left pixel.
Walking along a ring its region lies to the right on screen: exteriors run clockwise on screen
(positive shoelace area with y down), holes the other way round. Many rings are one flat array of
points with an array of offsets, so that the cost of a numpy call is paid once per picture.
"""
