"""Page formats: PAGE XML, ALTO, hOCR, ABBYY XML, METS, Tesseract's tables, PDF.

Each format has one parser, and all parsers yield the same ``layout.Page``: regions and lines with their
polygons, texts and ids, in reading order. ``samples`` makes rows of pages, by line, region or page.
"""
