"""What every stage of a training uses: files, progress, threads, drawings and words."""
