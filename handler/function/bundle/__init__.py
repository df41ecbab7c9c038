"""The bundle for FunctionGraph: one ZIP file with all that the function needs.

``sources`` finds our own modules, ``wheels`` gets those of others, ``archive`` writes the file, always the
same bytes for the same input.
"""
