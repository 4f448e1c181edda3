"""What a data set is, before hours go into it (`kerascnn check`).

    task ──> of_request ──> census ──────────> files (broken, unusual, sizes)
    (guessed) splits as     look: one pass     duplicates (bytes, perceptual hashes)
              in training   over the files     counts (classes, objects, pixels)
                                                    │
                                                    v
                            findings ──> report (text, JSON), page (samples, check.html.j2)

No framework is loaded, but for the page of a classifier's augmented images.
"""
